//! The upstream: answers as the request's text asks, on a plain and (with a certificate) on a TLS port.

use crate::options::{Failure, Options};
use crate::payload::{content_event, now_us, stream_end, stream_head, whole_answer, Ask};
use crate::wire::request_bounds;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PLAIN: Token = Token(0);
const TLS: Token = Token(1);
/// The longest sleep while a timer is near: what a new request may have to wait.
const SLICE: Duration = Duration::from_micros(200);

/// A stream under way.
struct Paced {
    ask: Ask,
    written: u32,
}

struct Connection {
    socket: TcpStream,
    tls: Option<ServerConnection>,
    inbound: Vec<u8>,
    outbound: Vec<u8>,
    paced: Option<Paced>,
}

impl Connection {
    /// Reads all there is; false once the peer has left.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        loop {
            let Some(tls) = &mut self.tls else {
                match self.socket.read(buffer) {
                    Ok(0) => return Ok(false),
                    Ok(size) => self.inbound.extend_from_slice(&buffer[..size]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                    Err(error) => return Err(error),
                }
                continue;
            };
            match tls.read_tls(&mut self.socket) {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
            let state = tls.process_new_packets().map_err(io::Error::other)?;
            if state.peer_has_closed() {
                return Ok(false);
            }
            let start = self.inbound.len();
            self.inbound.resize(start + state.plaintext_bytes_to_read(), 0);
            tls.reader().read_exact(&mut self.inbound[start..])?;
        }
    }

    /// Writes what the socket takes.
    fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            if !self.outbound.is_empty() && !tls.is_handshaking() {
                tls.writer().write_all(&self.outbound)?;
                self.outbound.clear();
            }
            while tls.wants_write() {
                match tls.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            return Ok(());
        }
        let mut sent = 0;
        while sent < self.outbound.len() {
            match self.socket.write(&self.outbound[sent..]) {
                Ok(size) => sent += size,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.outbound.drain(..sent);
        Ok(())
    }

    /// Begins the answer to a request; the time of the first timer, if it needs one.
    fn answer(&mut self, ask: Ask, now: Instant) -> io::Result<Option<Instant>> {
        if !ask.stream {
            whole_answer(&mut self.outbound);
            return Ok(None);
        }
        stream_head(&mut self.outbound);
        if ask.gap_us == 0 && !ask.hold {
            // A write for each event, as servers do: how many of them a proxy reads at once is its own affair.
            for index in 0..ask.events {
                content_event(&mut self.outbound, index, now_us());
                self.flush()?;
            }
            stream_end(&mut self.outbound, ask.events);
            return Ok(None);
        }
        content_event(&mut self.outbound, 0, now_us());
        self.paced = Some(Paced { ask, written: 1 });
        Ok((!ask.hold).then(|| now + Duration::from_micros(ask.gap_us)))
    }

    /// Writes the event that is due; the time of the next one, if there is one.
    fn tick(&mut self, due: Instant) -> Option<Instant> {
        let Paced { ask, written } = self.paced.as_mut()?;
        if *written < ask.events {
            content_event(&mut self.outbound, *written, now_us());
            *written += 1;
            return Some(due + Duration::from_micros(ask.gap_us));
        }
        stream_end(&mut self.outbound, ask.events);
        self.paced = None;
        None
    }
}

struct Server {
    poll: Poll,
    connections: HashMap<usize, Connection>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    next: usize,
}

impl Server {
    fn accept(&mut self, listener: &TcpListener, tls: Option<&Arc<ServerConfig>>) -> Result<(), Failure> {
        loop {
            let (mut socket, _) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            socket.set_nodelay(true)?;
            let id = self.next;
            self.next += 1;
            self.poll.registry().register(&mut socket, Token(id), Interest::READABLE | Interest::WRITABLE)?;
            let mut session = tls.map(|config| ServerConnection::new(Arc::clone(config))).transpose()?;
            if let Some(session) = &mut session {
                session.set_buffer_limit(None);
            }
            let connection =
                Connection { socket, tls: session, inbound: Vec::new(), outbound: Vec::new(), paced: None };
            self.connections.insert(id, connection);
        }
    }

    fn serve(&mut self, id: usize, readable: bool, buffer: &mut [u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let mut alive = Ok(true);
        if readable {
            alive = connection.read(buffer);
            while let Some((body, end)) = request_bounds(&connection.inbound) {
                let ask = Ask::read(&connection.inbound[body..end]);
                connection.inbound.drain(..end);
                match connection.answer(ask, Instant::now()) {
                    Ok(due) => self.timers.extend(due.map(|due| Reverse((due, id)))),
                    Err(error) => alive = Err(error),
                }
            }
        }
        if !matches!(alive, Ok(true)) || connection.flush().is_err() {
            self.connections.remove(&id);
        }
    }

    fn fire(&mut self, now: Instant) {
        while let Some(Reverse((due, id))) = self.timers.peek().copied() {
            if due > now {
                return;
            }
            self.timers.pop();
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            if let Some(next) = connection.tick(due) {
                self.timers.push(Reverse((next, id)));
            }
            if connection.flush().is_err() {
                self.connections.remove(&id);
            }
        }
    }
}

fn tls_config(options: &Options) -> Result<Option<Arc<ServerConfig>>, Failure> {
    let (Some(cert), Some(key)) = (options.text("cert"), options.text("key")) else { return Ok(None) };
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<Vec<_>, _>>()?;
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    Ok(Some(Arc::new(config)))
}

/// Prints `ready plain=PORT tls=PORT` (0 without a certificate) and serves until it is ended.
pub fn run(options: &Options) -> Result<(), Failure> {
    let tls = tls_config(options)?;
    let mut plain_listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    let mut tls_listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    let poll = Poll::new()?;
    poll.registry().register(&mut plain_listener, PLAIN, Interest::READABLE)?;
    poll.registry().register(&mut tls_listener, TLS, Interest::READABLE)?;
    let tls_port = if tls.is_some() { tls_listener.local_addr()?.port() } else { 0 };
    println!("ready plain={} tls={tls_port}", plain_listener.local_addr()?.port());

    let mut server = Server { poll, connections: HashMap::new(), timers: BinaryHeap::new(), next: 2 };
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let wait = server.timers.peek().map(|Reverse((due, _))| due.saturating_duration_since(Instant::now()));
        match wait {
            // epoll knows whole milliseconds; streams that fire together would spare the proxy its wake-ups.
            Some(short) if short < Duration::from_millis(1) => {
                server.poll.poll(&mut events, Some(Duration::ZERO))?;
                if events.is_empty() {
                    std::thread::sleep(short.min(SLICE));
                }
            }
            wait => server.poll.poll(&mut events, wait.map(|long| long.saturating_sub(Duration::from_millis(1))))?,
        }
        for event in &events {
            match event.token() {
                PLAIN => server.accept(&plain_listener, None)?,
                TLS => server.accept(&tls_listener, tls.as_ref())?,
                Token(id) => server.serve(id, event.is_readable() || event.is_read_closed(), &mut buffer),
            }
        }
        server.fire(Instant::now());
    }
}
