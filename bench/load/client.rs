//! The load: K connections in a closed loop, or requests at a fixed rate in an open one. Every answer is checked.

use crate::exchange::{Exchange, Figures};
use crate::meter::Processes;
use crate::options::{Failure, Options};
use crate::payload::Ask;
use crate::wire::ResponseReader;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const RETRY: Duration = Duration::from_millis(50);
const MOST_CONNECTIONS: usize = 4000;
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

struct Connection {
    socket: TcpStream,
    reader: ResponseReader,
    outbound: Vec<u8>,
    exchange: Option<Exchange>,
}

struct Load {
    poll: Poll,
    target: SocketAddr,
    request: Vec<u8>,
    ask: Ask,
    connections: Vec<Option<Connection>>,
    idle: Vec<usize>,
    figures: Figures,
}

impl Load {
    /// Sends a request that was due at `scheduled`, on an idle connection if there is one.
    fn send(&mut self, scheduled: Instant) {
        let free = self.idle.pop().filter(|&at| self.connections[at].is_some());
        let Some(at) =
            free.or_else(|| self.open().map_err(|error| self.figures.error(&format!("connect: {error}"))).ok())
        else {
            return;
        };
        if let Some(connection) = &mut self.connections[at] {
            connection.outbound.extend_from_slice(&self.request);
            connection.exchange = Some(Exchange::new(scheduled));
        }
        self.flush(at);
    }

    fn open(&mut self) -> io::Result<usize> {
        let mut socket = TcpStream::connect(self.target)?;
        socket.set_nodelay(true)?;
        let free = self.connections.iter().position(Option::is_none).unwrap_or(self.connections.len());
        if free >= MOST_CONNECTIONS {
            return Err(io::Error::other("too many connections: the target does not keep up"));
        }
        self.poll.registry().register(&mut socket, Token(free), Interest::READABLE | Interest::WRITABLE)?;
        let opened = Connection { socket, reader: ResponseReader::new(), outbound: Vec::new(), exchange: None };
        if free == self.connections.len() {
            self.connections.push(None);
        }
        self.connections[free] = Some(opened);
        Ok(free)
    }

    fn flush(&mut self, at: usize) {
        let Some(connection) = &mut self.connections[at] else { return };
        while !connection.outbound.is_empty() {
            match connection.socket.write(&connection.outbound) {
                Ok(size) => drop(connection.outbound.drain(..size)),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => return,
                Err(error) => return self.drop_connection(at, &format!("write: {error}")),
            }
        }
    }

    /// Reads all there is; the number of exchanges that ended (0 or 1).
    fn read(&mut self, at: usize, buffer: &mut [u8]) -> usize {
        let Some(connection) = &mut self.connections[at] else { return 0 };
        loop {
            let size = match connection.socket.read(buffer) {
                Ok(size) => size,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => {
                    return 0
                }
                Err(error) => {
                    self.drop_connection(at, &format!("read: {error}"));
                    return 1;
                }
            };
            let Some(exchange) = &mut connection.exchange else {
                self.connections[at] = None;
                return 0;
            };
            if size == 0 && !connection.reader.ends_with_close() {
                self.drop_connection(at, "the connection ended inside an answer");
                return 1;
            }
            if self.figures.measuring {
                self.figures.bytes += size as u64;
            }
            let (stream, now, figures) = (self.ask.stream, Instant::now(), &mut self.figures);
            let mut wrong = Ok(());
            let reader = &mut connection.reader;
            let whole = reader.feed(&buffer[..size], |piece| {
                if !stream {
                    exchange.pending.extend_from_slice(piece);
                } else if wrong.is_ok() {
                    wrong = exchange.feed(piece, now, figures);
                }
            });
            match wrong.and(whole) {
                Ok(false) if size > 0 => {}
                Ok(_) => {
                    self.finish(at, now);
                    return 1;
                }
                Err(error) => {
                    self.drop_connection(at, &error);
                    return 1;
                }
            }
        }
    }

    fn finish(&mut self, at: usize, now: Instant) {
        let Some(connection) = &mut self.connections[at] else { return };
        let Some(exchange) = connection.exchange.take() else { return };
        let closes = connection.reader.closes || connection.reader.ends_with_close();
        self.figures.answered += 1;
        if let Err(error) = exchange.verdict(connection.reader.status, self.ask) {
            self.figures.error(&error);
        } else if self.figures.measuring {
            self.figures.requests += 1;
            self.figures.duration.add((now - exchange.scheduled).as_micros() as u64);
        }
        if closes {
            self.connections[at] = None;
        } else {
            self.idle.push(at);
        }
    }

    fn drop_connection(&mut self, at: usize, why: &str) {
        self.connections[at] = None;
        self.figures.error(why);
    }

    /// Connections whose stream has brought its first event.
    fn begun(&self) -> usize {
        let exchanges = self.connections.iter().flatten().filter_map(|connection| connection.exchange.as_ref());
        exchanges.filter(|exchange| exchange.events > 0).count()
    }

    /// Whether an answer is owed.
    fn is_owed(&self) -> bool {
        self.connections.iter().flatten().any(|connection| connection.exchange.is_some())
    }

    /// Waits for sockets at most until `until`; the number of exchanges that ended.
    fn turn(&mut self, events: &mut Events, buffer: &mut [u8], until: Instant) -> Result<usize, Failure> {
        self.poll.poll(events, Some(until.saturating_duration_since(Instant::now())))?;
        let mut ended = 0;
        for event in &*events {
            let at = event.token().0;
            if event.is_writable() {
                self.flush(at);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                ended += self.read(at, buffer);
            }
        }
        Ok(ended)
    }
}

/// When requests begin.
enum Schedule {
    /// This many at all times; the first ones `apart` from each other.
    Closed { wanted: usize, started: usize, apart: Duration },
    /// One every so often, whatever became of the others.
    Open { every: Duration },
}

fn request_bytes(options: &Options, ask: Ask, target: SocketAddr) -> Result<Vec<u8>, Failure> {
    let body = ask.body(options.text("model").unwrap_or("bench"), options.number("pad", 0)?);
    let path = options.text("path").unwrap_or("/v1/chat/completions");
    let extra = options.all("header").fold(String::new(), |lines, line| lines + line + "\r\n");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {target}\r\nAuthorization: Bearer {}\r\n{extra}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        options.text("key").unwrap_or("none"),
        body.len()
    );
    Ok((head + &body).into_bytes())
}

/// Drives the target and prints one line of JSON.
///
/// With `--drained 1` the window opens and closes with no request under way, so none is counted in part; with
/// `--requests N` it stays open until so many are answered, at most three times as long.
pub fn run(options: &Options) -> Result<(), Failure> {
    let stream = options.text("answer").unwrap_or("stream") == "stream";
    let (events, gap_us, hold) =
        (options.number("events", 200)?, options.number("gap-us", 0)?, options.number("hold", 0u8)? == 1);
    let ask = Ask { stream, events, gap_us, hold };
    let target = options.text("target").ok_or("--target HOST:PORT is missing")?.parse()?;
    let processes = Processes::parse(options.text("pids").unwrap_or(""));
    let request = request_bytes(options, ask, target)?;
    let (poll, connections, idle, figures) = (Poll::new()?, Vec::new(), Vec::new(), Figures::new());
    let mut load = Load { poll, target, request, ask, connections, idle, figures };
    let rate: f64 = options.number("rate", 0.0)?;
    let mut schedule = if rate > 0.0 {
        Schedule::Open { every: Duration::from_secs_f64(1.0 / rate) }
    } else {
        let (wanted, spread) = (options.number("connections", 1)?, options.number("spread", 1.0)?);
        Schedule::Closed { wanted, started: 0, apart: Duration::from_secs_f64(spread / wanted as f64) }
    };

    let resident_before = processes.resident();
    let begin = Instant::now();
    let window = begin + Duration::from_secs_f64(options.number("warm", 1.0)?);
    let length = Duration::from_secs_f64(options.number("seconds", 5.0)?);
    let least: u64 = options.number("requests", 0)?;
    let drained = options.number("drained", 0u8)? == 1;
    let (mut cpu, mut next, mut owed, mut opened_at, mut end) = (0, begin, 0, window, window + length);
    let (mut epoll, mut buffer) = (Events::with_capacity(1024), vec![0; 256 * 1024]);
    loop {
        let now = Instant::now();
        let waits = drained && load.is_owed();
        if now >= end + DRAIN_LIMIT {
            return Err("an answer is owed and does not come".into());
        }
        if load.figures.measuring && now >= end {
            if load.figures.requests < least && now < opened_at + 3 * length {
                end = now + RETRY;
            } else if !waits {
                break;
            }
        }
        if !load.figures.measuring && now >= window && !waits {
            load.figures.measuring = true;
            (cpu, opened_at, end) = (processes.cpu_ns(), now, now + length);
            if let (true, Schedule::Closed { wanted, started, .. }) = (drained, &schedule) {
                (owed, next) = (*started.min(wanted), now);
            }
        }
        let asks = !drained || now < if load.figures.measuring { end } else { window };
        while next <= now {
            match &mut schedule {
                _ if !asks => next = now + RETRY,
                Schedule::Open { every } => {
                    load.send(next);
                    next += *every;
                }
                Schedule::Closed { wanted, started, apart } if *started < *wanted => {
                    load.send(now);
                    *started += 1;
                    next += *apart;
                }
                Schedule::Closed { .. } => {
                    (0..owed).for_each(|_| load.send(now));
                    owed = 0;
                    next = now + RETRY;
                }
            }
        }
        if hold && load.begun() == options.number("connections", 1)? && end > now + Duration::from_secs(3) {
            end = now + Duration::from_secs(2);
        }
        let until = match (load.figures.measuring, asks) {
            (_, false) => next,
            (true, true) => end.min(next),
            (false, true) => window.min(next),
        };
        let errors = load.figures.errors;
        let ended = load.turn(&mut epoll, &mut buffer, until)?;
        if asks && matches!(schedule, Schedule::Closed { .. }) {
            // After an error the next attempt waits for the retry, or a dead target would spin the load.
            if load.figures.errors > errors {
                owed += ended;
            } else {
                (0..ended).for_each(|_| load.send(Instant::now()));
            }
        }
    }
    let seconds = opened_at.elapsed().as_secs_f64();
    let cpu = processes.cpu_ns().saturating_sub(cpu);
    report(&load, seconds, cpu, resident_before, processes.resident());
    Ok(())
}

fn report(load: &Load, seconds: f64, cpu_ns: u64, before: u64, after: u64) {
    let f = &load.figures;
    println!(
        "{{\"seconds\":{seconds:.3},\"answered\":{},\"requests\":{},\"events\":{},\"bytes\":{},\"errors\":{},\"first_errors\":{:?},\
         \"cpu_us\":{:.1},\"resident_before\":{before},\"resident\":{after},\"begun\":{},\"first_content_us\":{},\
         \"gap_us\":{},\"lag_us\":{},\"duration_us\":{}}}",
        f.answered,
        f.requests,
        f.events,
        f.bytes,
        f.errors,
        f.first_errors,
        cpu_ns as f64 / 1000.0,
        load.begun(),
        f.first_content.json(),
        f.gap.json(),
        f.lag.json(),
        f.duration.json()
    );
}
