//! TLS as its client, fed and drained by hand: ciphertext in, plaintext out, and back.
//!
//! rustls does the protocol; this file gives it bytes and takes bytes from it. Nothing here touches a socket. The
//! system's roots are read once, when a [`Config`] is made; certificates are judged by the wall clock, which rustls
//! reads itself.

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, Error, HandshakeKind, RootCertStore};
use std::io::{BufRead, Write};
use std::sync::Arc;

/// Bytes of plaintext or of ciphertext that a connection holds before [`Tls::send`] takes no more.
const SEND_LIMIT: usize = 128 * 1024;

/// Servers whose sessions are remembered for resumption.
const SESSIONS: usize = 256;

/// Why no configuration could be made. All of them are start-up errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigError {
    /// Neither the system nor the file gave a root certificate, so no upstream could ever be trusted.
    NoRoots,
    /// The file holds no certificate, or one that cannot be read.
    BadFile,
    /// rustls refused its own defaults.
    Provider,
}

impl ConfigError {
    /// A stable word for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoRoots => "no_root_certificates",
            Self::BadFile => "bad_ca_file",
            Self::Provider => "bad_provider",
        }
    }
}

/// Why a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsError {
    /// The certificate's time is over.
    CertificateExpired,
    /// No root that we trust vouches for the certificate; self-signed ones are among these.
    UnknownIssuer,
    /// The certificate is for another name.
    NameMismatch,
    /// The certificate is unusable for another reason: malformed, not yet valid, revoked, badly signed.
    BadCertificate,
    /// The peer does not speak TLS as we do, or a record was forged.
    Protocol,
    /// The peer refused with an alert.
    Alert,
    /// The name to connect to is neither a DNS name nor an IP address.
    BadName,
}

impl TlsError {
    /// A stable word for logs, metrics and error messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CertificateExpired => "certificate_expired",
            Self::UnknownIssuer => "unknown_issuer",
            Self::NameMismatch => "name_mismatch",
            Self::BadCertificate => "bad_certificate",
            Self::Protocol => "protocol",
            Self::Alert => "alert",
            Self::BadName => "bad_name",
        }
    }
}

impl From<Error> for TlsError {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidCertificate(why) => match why {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::CertificateExpired,
                CertificateError::UnknownIssuer => Self::UnknownIssuer,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    Self::NameMismatch
                }
                _ => Self::BadCertificate,
            },
            Error::NoCertificatesPresented | Error::UnsupportedNameType => Self::BadCertificate,
            Error::AlertReceived(_) => Self::Alert,
            _ => Self::Protocol,
        }
    }
}

/// What all connections to upstreams share: roots, versions, sessions to resume. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Config(Arc<ClientConfig>);

impl Config {
    /// The system's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` take their place) and those of `extra_ca_pem`.
    /// Reads files: to be called once, before anything is served.
    pub fn new(extra_ca_pem: Option<&[u8]>) -> Result<Self, ConfigError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self::with_roots(roots, extra_ca_pem)
    }

    fn with_roots(mut roots: RootCertStore, extra_ca_pem: Option<&[u8]>) -> Result<Self, ConfigError> {
        if let Some(pem) = extra_ca_pem {
            let before = roots.len();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|_| ConfigError::BadFile)?;
                roots.add(certificate).map_err(|_| ConfigError::BadFile)?;
            }
            if roots.len() == before {
                return Err(ConfigError::BadFile);
            }
        }
        if roots.is_empty() {
            return Err(ConfigError::NoRoots);
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| ConfigError::Provider)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Self(Arc::new(config)))
    }
}

/// One connection. After an error it is of no use but for [`Tls::output`], which has the alert for the peer.
#[derive(Debug)]
pub struct Tls {
    connection: ClientConnection,
    failed: Option<TlsError>,
    closed_properly: bool,
}

impl Tls {
    /// Begins a handshake; its first flight is ready for [`Tls::output`].
    /// `server_name` is what the certificate must be for: a DNS name, or an IP address without brackets.
    pub fn new(config: &Config, server_name: &str) -> Result<Self, TlsError> {
        let name = ServerName::try_from(server_name.to_owned()).map_err(|_| TlsError::BadName)?;
        let mut connection = ClientConnection::new(Arc::clone(&config.0), name)?;
        connection.set_buffer_limit(Some(SEND_LIMIT));
        Ok(Self { connection, failed: None, closed_properly: false })
    }

    /// Takes what was read from the socket and appends the plaintext in it to `plain`. There may be something to send
    /// afterwards: [`Tls::output`]. What follows the peer's `close_notify` is ignored.
    /// On an error, plaintext that came before it has been appended.
    pub fn received(&mut self, cipher: &[u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        if let Some(why) = self.failed {
            return Err(why);
        }
        let mut rest = cipher;
        while !rest.is_empty() && !self.closed_properly {
            if self.connection.read_tls(&mut rest).is_err() {
                return Err(self.fail(TlsError::Protocol));
            }
            let processed = self.connection.process_new_packets();
            self.take_plaintext(plain);
            match processed {
                Ok(state) => self.closed_properly = state.peer_has_closed(),
                Err(error) => return Err(self.fail(error.into())),
            }
        }
        self.answer_key_update();
        Ok(())
    }

    /// Encrypts as much of `plain` as the buffer's limit allows and says how much that was; the rest is to be offered
    /// again once [`Tls::output`] was taken. What is sent before the handshake's end waits for it.
    pub fn send(&mut self, plain: &[u8]) -> Result<usize, TlsError> {
        if let Some(why) = self.failed {
            return Err(why);
        }
        match self.connection.writer().write(plain) {
            Ok(taken) => Ok(taken),
            Err(_) => Err(self.fail(TlsError::Protocol)),
        }
    }

    /// Appends to `out` all that has to go to the peer.
    pub fn output(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() && matches!(self.connection.write_tls(out), Ok(1..)) {}
    }

    /// There is something for [`Tls::output`] to give.
    pub fn wants_output(&self) -> bool {
        self.connection.wants_write()
    }

    /// The handshake is not complete.
    pub fn handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// The handshake is complete and was short: the session of an earlier connection was resumed.
    pub fn resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The peer's `close_notify` has come: an end of the connection after it is no truncation.
    pub fn closed_properly(&self) -> bool {
        self.closed_properly
    }

    /// Makes our `close_notify` ready for [`Tls::output`].
    pub fn close(&mut self) {
        self.connection.send_close_notify();
    }

    fn take_plaintext(&mut self, plain: &mut Vec<u8>) {
        let mut reader = self.connection.reader();
        loop {
            let size = match reader.fill_buf() {
                Ok([]) | Err(_) => return,
                Ok(chunk) => {
                    plain.extend_from_slice(chunk);
                    chunk.len()
                }
            };
            reader.consume(size);
        }
    }

    /// rustls keeps its answer to a `KeyUpdate` until the next write; while an answer streams in there is none.
    fn answer_key_update(&mut self) {
        let _nothing_to_write = self.connection.writer().write(&[]);
    }

    fn fail(&mut self, why: TlsError) -> TlsError {
        self.failed = Some(why);
        why
    }
}

#[cfg(test)]
mod tests;
