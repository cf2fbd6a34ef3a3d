//! A client of ours against rustls' server, in memory.

use super::*;
use rcgen::{date_time_ymd, BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ServerConfig, ServerConnection, SupportedProtocolVersion};
use std::io::Read;

type Failure = Box<dyn std::error::Error>;

const VERSIONS: [(&str, &SupportedProtocolVersion); 2] = [("TLS 1.2", &TLS12), ("TLS 1.3", &TLS13)];

/// A root that we trust, and what it can vouch for.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Result<Self, Failure> {
        let mut params = CertificateParams::new([])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    fn client(&self) -> Result<Config, ConfigError> {
        Config::with_roots(RootCertStore::empty(), Some(self.pem.as_bytes()))
    }

    fn server(&self, names: &[&str], versions: &[&'static SupportedProtocolVersion]) -> Result<ServerConfig, Failure> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.server_with(&CertificateParams::new(names)?, versions)
    }

    fn server_with(
        &self,
        params: &CertificateParams,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<ServerConfig, Failure> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        server_config(certificate.der().clone(), &key, versions)
    }
}

fn server_config(
    certificate: CertificateDer<'static>,
    key: &KeyPair,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<ServerConfig, Failure> {
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Both ends of one connection, and what each has read.
struct Pair {
    client: Tls,
    server: ServerConnection,
    at_client: Vec<u8>,
    at_server: Vec<u8>,
}

impl Pair {
    fn new(client: &Config, server: &Arc<ServerConfig>, name: &str) -> Result<Self, Failure> {
        let client = Tls::new(client, name).map_err(TlsError::as_str)?;
        let server = ServerConnection::new(Arc::clone(server))?;
        Ok(Self { client, server, at_client: Vec::new(), at_server: Vec::new() })
    }

    fn connected(client: &Config, server: &Arc<ServerConfig>) -> Result<Self, Failure> {
        let mut pair = Self::new(client, server, "localhost")?;
        pair.settle(usize::MAX)?;
        assert!(!pair.client.handshaking() && !pair.server.is_handshaking());
        Ok(pair)
    }

    /// What the server has to say, as it would come out of a socket.
    fn flight(&mut self) -> Result<Vec<u8>, Failure> {
        let mut flight = Vec::new();
        while self.server.wants_write() {
            self.server.write_tls(&mut flight)?;
        }
        Ok(flight)
    }

    /// Brings to the server what the client has to say, and how many bytes that was.
    fn sent_on(&mut self) -> Result<usize, Failure> {
        let mut out = Vec::new();
        self.client.output(&mut out);
        assert!(!self.client.wants_output());
        let mut rest = out.as_slice();
        while !rest.is_empty() {
            self.server.read_tls(&mut rest)?;
            let state = self.server.process_new_packets()?;
            let start = self.at_server.len();
            self.at_server.resize(start + state.plaintext_bytes_to_read(), 0);
            self.server.reader().read_exact(&mut self.at_server[start..])?;
        }
        Ok(out.len())
    }

    /// Carries bytes both ways, to the client `size` at a time, until both are silent.
    fn settle(&mut self, size: usize) -> Result<(), Failure> {
        loop {
            let sent = self.sent_on()?;
            let flight = self.flight()?;
            if sent == 0 && flight.is_empty() {
                return Ok(());
            }
            for part in flight.chunks(size) {
                self.client.received(part, &mut self.at_client).map_err(TlsError::as_str)?;
            }
        }
    }
}

fn localhost() -> Result<(Config, Arc<ServerConfig>), Failure> {
    let authority = Authority::new("ours")?;
    let client = authority.client().map_err(ConfigError::as_str)?;
    Ok((client, Arc::new(authority.server(&["localhost"], &[&TLS13])?)))
}

#[test]
fn both_ends_understand_each_other() -> Result<(), Failure> {
    let authority = Authority::new("ours")?;
    let client = authority.client().map_err(ConfigError::as_str)?;
    for (version, protocol) in VERSIONS {
        let server = Arc::new(authority.server(&["localhost", "127.0.0.1", "::1"], &[protocol])?);
        for name in ["localhost", "LOCALHOST", "127.0.0.1", "::1"] {
            for size in [1, 5, 1000, usize::MAX] {
                let mut pair = Pair::new(&client, &server, name)?;
                assert!(pair.client.handshaking());
                pair.settle(size)?;
                assert!(!pair.client.handshaking(), "{version} {name} {size}");
                assert_eq!(Some(b"http/1.1".as_slice()), pair.server.alpn_protocol());
                pair.server.writer().write_all(b"an answer")?;
                assert_eq!(Ok(9), pair.client.send(b"a request"));
                pair.settle(size)?;
                assert_eq!((&b"an answer"[..], &b"a request"[..]), (&pair.at_client[..], &pair.at_server[..]));
            }
        }
    }
    Ok(())
}

#[test]
fn a_flight_may_be_cut_at_every_point() -> Result<(), Failure> {
    let authority = Authority::new("ours")?;
    for (version, protocol) in VERSIONS {
        let server = Arc::new(authority.server(&["localhost"], &[protocol])?);
        let mut cut = 1;
        let mut longest = usize::MAX;
        while cut < longest {
            let client = authority.client().map_err(ConfigError::as_str)?;
            let mut pair = Pair::new(&client, &server, "localhost")?;
            longest = 0;
            while pair.sent_on()? > 0 {
                if !pair.server.is_handshaking() {
                    pair.server.writer().write_all(b"an answer")?;
                }
                let flight = pair.flight()?;
                longest = longest.max(flight.len());
                let (before, after) = flight.split_at(cut.min(flight.len()));
                for part in [before, after] {
                    pair.client.received(part, &mut pair.at_client).map_err(TlsError::as_str)?;
                }
            }
            assert!(!pair.client.handshaking(), "{version} cut at {cut}");
            assert_eq!(b"an answer", pair.at_client.as_slice(), "{version} cut at {cut}");
            cut += 1;
        }
    }
    Ok(())
}

#[test]
fn certificates_that_are_not_to_be_trusted() -> Result<(), Failure> {
    let (authority, stranger) = (Authority::new("ours")?, Authority::new("a stranger's")?);
    let named = |name: &str| CertificateParams::new([name.to_owned()]);
    let (mut expired, mut early) = (named("localhost")?, named("localhost")?);
    (expired.not_before, expired.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    (early.not_before, early.not_after) = (date_time_ymd(4000, 1, 1), date_time_ymd(4001, 1, 1));
    let own_key = KeyPair::generate()?;
    let self_signed = named("localhost")?.self_signed(&own_key)?;
    for (version, protocol) in VERSIONS {
        let cases = [
            ("expired", authority.server_with(&expired, &[protocol])?, TlsError::CertificateExpired),
            ("not yet valid", authority.server_with(&early, &[protocol])?, TlsError::BadCertificate),
            ("another name", authority.server(&["example.com"], &[protocol])?, TlsError::NameMismatch),
            ("another authority", stranger.server(&["localhost"], &[protocol])?, TlsError::UnknownIssuer),
            ("self-signed", server_config(self_signed.der().clone(), &own_key, &[protocol])?, TlsError::UnknownIssuer),
        ];
        for (name, server, why) in cases {
            let client = authority.client().map_err(ConfigError::as_str)?;
            let mut pair = Pair::new(&client, &Arc::new(server), "localhost")?;
            pair.sent_on()?;
            let flight = pair.flight()?;
            assert_eq!(Err(why), pair.client.received(&flight, &mut pair.at_client), "{version} {name}");
            assert_eq!(Err(why), pair.client.received(b"", &mut pair.at_client), "{version} {name}: it stays so");
            assert_eq!(Err(why), pair.client.send(b"a request"), "{version} {name}: nothing is sent");
            let refusal = pair.sent_on().map_err(|error| error.downcast::<Error>().ok());
            assert!(
                matches!(refusal, Err(Some(ref error)) if matches!(**error, Error::AlertReceived(_))),
                "{version} {name}: the server is told: {refusal:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_second_connection_resumes_the_first() -> Result<(), Failure> {
    let authority = Authority::new("ours")?;
    for (version, protocol) in VERSIONS {
        let client = authority.client().map_err(ConfigError::as_str)?;
        let server = Arc::new(authority.server(&["localhost"], &[protocol])?);
        let resumed: Result<Vec<bool>, Failure> =
            (0..3).map(|_| Ok(Pair::connected(&client, &server)?.client.resumed())).collect();
        assert_eq!(vec![false, true, true], resumed?, "{version}");
    }
    Ok(())
}

#[test]
fn a_key_update_is_answered_at_once() -> Result<(), Failure> {
    let (client, server) = localhost()?;
    let mut pair = Pair::connected(&client, &server)?;
    for round in 1..=3 {
        pair.server.refresh_traffic_keys()?;
        pair.server.writer().write_all(b"an answer")?;
        let flight = pair.flight()?;
        pair.client.received(&flight, &mut pair.at_client).map_err(TlsError::as_str)?;
        assert!(pair.sent_on()? > 0, "the answer does not wait for a request");
        assert_eq!(Ok(9), pair.client.send(b"a request"));
        pair.settle(1)?;
        assert_eq!(
            (b"an answer".repeat(round), b"a request".repeat(round)),
            (pair.at_client.clone(), pair.at_server.clone())
        );
    }
    Ok(())
}

#[test]
fn only_close_notify_closes_properly() -> Result<(), Failure> {
    let (client, server) = localhost()?;
    let mut pair = Pair::connected(&client, &server)?;
    pair.server.writer().write_all(b"an answer")?;
    pair.settle(1)?;
    assert!(!pair.client.closed_properly(), "an end of the connection here is a truncation");
    pair.server.send_close_notify();
    let flight = [pair.flight()?, b"whatever comes after it".to_vec()].concat();
    for part in flight.chunks(1) {
        assert_eq!(Ok(()), pair.client.received(part, &mut pair.at_client));
    }
    assert!(pair.client.closed_properly());
    assert_eq!(b"an answer", pair.at_client.as_slice());
    assert_eq!(Ok(9), pair.client.send(b"a request"), "it closes one way");
    pair.client.close();
    pair.sent_on()?;
    assert!(pair.server.process_new_packets()?.peer_has_closed());
    assert_eq!(b"a request", pair.at_server.as_slice());
    Ok(())
}

#[test]
fn a_read_larger_than_any_buffer_of_rustls_is_taken_whole() -> Result<(), Failure> {
    let (client, server) = localhost()?;
    let mut pair = Pair::connected(&client, &server)?;
    pair.server.set_buffer_limit(None);
    let answer: Vec<u8> = (0..1_000_000u32).map(|number| (number % 251) as u8).collect();
    pair.server.writer().write_all(&answer)?;
    pair.settle(usize::MAX)?;
    assert_eq!(answer, pair.at_client);
    Ok(())
}

#[test]
fn many_small_records_in_one_read_are_taken_in_order() -> Result<(), Failure> {
    let (client, server) = localhost()?;
    let mut pair = Pair::connected(&client, &server)?;
    let events: Vec<String> = (0..400).map(|number| format!("data: {number}\n\n")).collect();
    let mut flight = Vec::new();
    for event in &events {
        pair.server.writer().write_all(event.as_bytes())?;
        flight.extend(pair.flight()?);
    }
    assert_eq!(Ok(()), pair.client.received(&flight, &mut pair.at_client));
    assert_eq!(events.concat().as_bytes(), pair.at_client.as_slice());
    Ok(())
}

#[test]
fn a_large_request_waits_for_its_turn() -> Result<(), Failure> {
    let (client, server) = localhost()?;
    let mut pair = Pair::connected(&client, &server)?;
    let request: Vec<u8> = (0..1_000_000u32).map(|number| (number % 251) as u8).collect();
    let mut rest = request.as_slice();
    while !rest.is_empty() {
        let taken = pair.client.send(rest).map_err(TlsError::as_str)?;
        assert!((1..=SEND_LIMIT).contains(&taken));
        rest = &rest[taken..];
        assert!(rest.is_empty() || pair.client.send(rest) == Ok(0), "a full buffer takes nothing");
        pair.sent_on()?;
    }
    assert_eq!(request, pair.at_server);
    Ok(())
}

#[test]
fn what_is_no_tls_is_refused() -> Result<(), Failure> {
    let (client, server) = localhost()?;
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", "\x15\x03", "SSH-2.0-OpenSSH\r\n"] {
        let mut whole = Pair::new(&client, &server, "localhost")?;
        let mut out = Vec::new();
        let refused = whole.client.received(answer.as_bytes(), &mut out);
        assert_eq!(if answer.len() > 2 { Err(TlsError::Protocol) } else { Ok(()) }, refused, "{answer:?}");
    }
    Ok(())
}

#[test]
fn a_forged_record_is_refused_and_what_came_before_it_stands() -> Result<(), Failure> {
    let (client, server) = localhost()?;
    let mut pair = Pair::connected(&client, &server)?;
    pair.server.writer().write_all(b"an answer")?;
    let mut flight = pair.flight()?;
    pair.server.writer().write_all(b"a forged answer")?;
    flight.extend(pair.flight()?);
    let last = flight.len() - 1;
    flight[last] ^= 1;
    assert_eq!(Err(TlsError::Protocol), pair.client.received(&flight, &mut pair.at_client));
    assert_eq!(b"an answer", pair.at_client.as_slice());
    assert!(pair.client.wants_output());
    let refusal = pair.sent_on().map_err(|error| error.downcast::<Error>().ok());
    assert!(matches!(refusal, Err(Some(error)) if *error == Error::AlertReceived(AlertDescription::BadRecordMac)));
    Ok(())
}

#[test]
fn a_server_that_refuses_us_is_told_apart() -> Result<(), Failure> {
    let authority = Authority::new("ours")?;
    let mut server = authority.server(&["localhost"], &[&TLS13])?;
    server.alpn_protocols = vec![b"h2".to_vec()];
    let client = authority.client().map_err(ConfigError::as_str)?;
    let mut pair = Pair::new(&client, &Arc::new(server), "localhost")?;
    assert!(pair.sent_on().is_err());
    let flight = pair.flight()?;
    assert_eq!(Err(TlsError::Alert), pair.client.received(&flight, &mut pair.at_client));
    Ok(())
}

#[test]
fn names_that_no_certificate_can_have() -> Result<(), Failure> {
    let (client, _) = localhost()?;
    for name in ["", "a b", "[::1]", "host:443", "-", "a..b"] {
        assert_eq!(Some(TlsError::BadName), Tls::new(&client, name).err(), "{name:?}");
    }
    Ok(())
}

#[test]
fn roots_are_there_or_nothing_starts() -> Result<(), Failure> {
    let authority = Authority::new("ours")?;
    let key = KeyPair::generate()?.serialize_pem();
    let broken = authority.pem.replace("-----END CERTIFICATE-----", "-----END-----");
    let cases: [(&str, Option<&str>, Option<ConfigError>); 6] = [
        ("none at all", None, Some(ConfigError::NoRoots)),
        ("an empty file", Some(""), Some(ConfigError::BadFile)),
        ("no PEM", Some("not a certificate"), Some(ConfigError::BadFile)),
        ("a key", Some(&key), Some(ConfigError::BadFile)),
        ("a cut certificate", Some(&broken), Some(ConfigError::BadFile)),
        ("a certificate", Some(&authority.pem), None),
    ];
    for (name, pem, why) in cases {
        let config = Config::with_roots(RootCertStore::empty(), pem.map(str::as_bytes));
        assert_eq!(why, config.err(), "{name}");
    }
    assert_eq!(None, Config::new(Some(authority.pem.as_bytes())).err(), "beside the system's");
    Ok(())
}
