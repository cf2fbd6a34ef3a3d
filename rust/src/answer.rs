//! One request's answer: its head is judged, then its body is collected whole or relayed as a stream.
//!
//! | the upstream says | what becomes of it |
//! |---|---|
//! | 2xx, encoded although we asked for `identity` | unfit `upstream_encoded` |
//! | 2xx event stream, a stream was asked for | relayed: see [`crate::relay`] |
//! | 2xx JSON, no stream was asked for | collected, checked to be whole, edited as the plan says |
//! | any other 2xx | unfit: `upstream_not_stream`, `upstream_not_json`, `upstream_empty`; its usage is still read |
//! | 3xx | unfit `upstream_redirect`: credentials do not follow redirects |
//! | 4xx, 5xx | error status, with at most `error_body` bytes of its body |

use crate::dialect::read_body;
use crate::http1::{BodyKind, Head as HttpHead, Piece};
use crate::json::scan::{Cursor, Kind};
use crate::page::Facts;
use crate::plan::{End, Micros, Plan};
use crate::relay::{Account, Relay, Step};
use std::sync::Arc;

mod verdict;

pub use verdict::{Head, Verdict};

/// What the connection has to do after it handed bytes in.
#[derive(Debug)]
pub enum Turn {
    /// Go on reading.
    Going,
    /// The attempt has its verdict.
    Verdict(Box<Head>),
    /// The stream has ended for the client.
    Over(End),
}

/// One request's answer on its way in.
#[derive(Debug)]
pub struct Answer {
    plan: Arc<Plan>,
    choices: u32,
    sent_at: Micros,
    deadline: Micros,
    head: Option<HttpHead>,
    state: State,
    /// Body bytes of the upstream's answer.
    pub bytes_in: u64,
}

#[derive(Debug)]
enum State {
    Waiting,
    Collecting { purpose: Purpose, body: Vec<u8>, last_byte: Micros },
    Streaming(Box<Relay>),
    Given,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Whole,
    Error,
    Unfit(&'static str),
}

impl Answer {
    /// The answer to a request sent at `now`, which must have ended by `deadline`.
    pub fn new(plan: Arc<Plan>, choices: u32, now: Micros, deadline: Micros) -> Self {
        Self { plan, choices, sent_at: now, deadline, head: None, state: State::Waiting, bytes_in: 0 }
    }

    /// The plan it follows.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The upstream's head has come.
    pub fn on_head(&mut self, now: Micros, head: HttpHead) -> Turn {
        let status = head.status;
        let encoded = head.get("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity"));
        let kind = ContentKind::of(&head);
        let announced = match head.body {
            BodyKind::Length(n) => Some(n),
            BodyKind::None => Some(0),
            BodyKind::Chunked | BodyKind::Close => None,
        };
        self.head = Some(head);
        let limit = self.plan.limits.answer as u64;
        let purpose = match status {
            200..=299 if encoded => return self.unfit("upstream_encoded"),
            200..=299 if status == 204 || announced == Some(0) => return self.unfit("upstream_empty"),
            200..=299 if self.plan.stream && kind == ContentKind::EventStream => {
                let relay = Relay::new(Arc::clone(&self.plan), self.choices, self.sent_at);
                self.state = State::Streaming(Box::new(relay));
                return Turn::Going;
            }
            200..=299 if announced.is_some_and(|n| n > limit) => return self.unfit("upstream_too_large"),
            200..=299 if self.plan.stream => Purpose::Unfit("upstream_not_stream"),
            200..=299 if matches!(kind, ContentKind::EventStream | ContentKind::Html) => {
                Purpose::Unfit("upstream_not_json")
            }
            200..=299 => Purpose::Whole,
            400..=599 => Purpose::Error,
            _ => return self.unfit("upstream_redirect"),
        };
        let room = announced.unwrap_or(0).min(1 << 20) as usize;
        self.state = State::Collecting { purpose, body: Vec::with_capacity(room), last_byte: now };
        Turn::Going
    }

    /// A piece of the upstream's body.
    pub fn on_piece(&mut self, now: Micros, piece: Piece<'_>, out: &mut Vec<u8>) -> Turn {
        match piece {
            Piece::Data(data) => {
                self.bytes_in += data.len() as u64;
                self.on_data(now, data, out)
            }
            Piece::More => Turn::Going,
            Piece::End => self.on_end(now, true, out),
        }
    }

    fn on_data(&mut self, now: Micros, data: &[u8], out: &mut Vec<u8>) -> Turn {
        match &mut self.state {
            State::Streaming(relay) => {
                let step = relay.feed(now, data, out);
                self.after(step)
            }
            State::Collecting { purpose, body, last_byte } => {
                *last_byte = now;
                let limits = self.plan.limits;
                let limit = if *purpose == Purpose::Error { limits.error_body } else { limits.answer };
                let room = limit.saturating_sub(body.len());
                body.extend_from_slice(&data[..data.len().min(room)]);
                match purpose {
                    _ if data.len() <= room => Turn::Going,
                    // What matters of an error stands at its beginning.
                    Purpose::Error => self.collected(now),
                    _ => self.unfit("upstream_too_large"),
                }
            }
            State::Waiting | State::Given => Turn::Going,
        }
    }

    /// The upstream's message has ended; `clean` if HTTP and TLS say that it is whole.
    pub fn on_end(&mut self, now: Micros, clean: bool, out: &mut Vec<u8>) -> Turn {
        match &mut self.state {
            State::Streaming(relay) => {
                let step = relay.eof(now, clean, out);
                self.after(step)
            }
            State::Collecting { purpose: Purpose::Error, .. } => self.collected(now),
            State::Collecting { .. } if clean => self.collected(now),
            State::Collecting { .. } | State::Waiting => self.lost("upstream_truncated", "cut inside the answer"),
            State::Given => Turn::Going,
        }
    }

    /// The connection broke; what it broke stands in `detail`.
    pub fn on_failure(&mut self, now: Micros, code: &'static str, detail: &'static str, out: &mut Vec<u8>) -> Turn {
        match &mut self.state {
            State::Streaming(relay) => {
                let step = if code == End::Protocol.as_str() && relay.waits_or_relays() {
                    relay.end(End::Protocol, out)
                } else {
                    relay.eof(now, false, out)
                };
                match step {
                    Step::EndedWithoutContent { .. } => self.lost(code, detail),
                    step => self.after(step),
                }
            }
            State::Collecting { .. } | State::Waiting => self.lost(code, detail),
            State::Given => Turn::Going,
        }
    }

    /// The client's message is open; see [`Relay::open`].
    pub fn open(&mut self, now: Micros, framed: bool, begun: bool, out: &mut Vec<u8>) -> Turn {
        match &mut self.state {
            State::Streaming(relay) => {
                let step = relay.open(now, framed, begun, out);
                self.after(step)
            }
            _ => Turn::Going,
        }
    }

    /// Ends it for a reason of ours.
    pub fn end(&mut self, end: End, out: &mut Vec<u8>) -> Turn {
        match &mut self.state {
            State::Streaming(relay) => {
                let step = relay.end(end, out);
                self.after(step)
            }
            State::Given => Turn::Going,
            State::Waiting | State::Collecting { .. } => self.timed_out(end),
        }
    }

    /// Looks at the clock; once a second is enough.
    pub fn check(&mut self, now: Micros, stuck: bool, out: &mut Vec<u8>) -> Turn {
        if now > self.deadline {
            return self.end(End::TooLong, out);
        }
        let times = self.plan.times;
        match &mut self.state {
            State::Streaming(relay) => {
                let step = relay.check(now, stuck, out);
                self.after(step)
            }
            // The status says what matters: it does not wait for the rest of its words.
            State::Collecting { purpose: Purpose::Error, last_byte, .. }
                if now.saturating_sub(*last_byte) > times.idle =>
            {
                self.collected(now)
            }
            // A stream that was asked for must begin in time, whatever else the upstream sends instead.
            State::Waiting | State::Collecting { .. }
                if self.plan.stream && now.saturating_sub(self.sent_at) > times.first_content =>
            {
                self.timed_out(End::Stalled)
            }
            _ => Turn::Going,
        }
    }

    /// The upstream has begun a stream of which nothing is the client's yet.
    pub fn is_held(&self) -> bool {
        matches!(&self.state, State::Streaming(relay) if relay.holds())
    }

    /// The relay, if it is a stream.
    pub fn relay(&mut self) -> Option<&mut Relay> {
        match &mut self.state {
            State::Streaming(relay) => Some(relay),
            _ => None,
        }
    }

    /// Bytes kept in memory for it.
    pub fn held(&self) -> usize {
        match &self.state {
            State::Streaming(relay) => relay.held(),
            State::Collecting { body, .. } => body.capacity(),
            State::Waiting | State::Given => 0,
        }
    }

    /// What is known of a stream so far, with times relative to when the request was sent.
    pub fn account(&self) -> Account {
        let mut account = match &self.state {
            State::Streaming(relay) => relay.account(),
            _ => Account::default(),
        };
        account.first_content = account.first_content.map(|at| at.saturating_sub(self.sent_at));
        account
    }

    fn after(&mut self, step: Step) -> Turn {
        let (verdict, code) = match step {
            Step::Going => return Turn::Going,
            Step::Over(end) => return Turn::Over(end),
            Step::Commit => return Turn::Verdict(Box::new(self.head_of(Verdict::Committed, ""))),
            Step::TimedOut(end) => return self.timed_out(end),
            Step::InBandError => (Verdict::InBandError, End::ErrorInBand.as_str()),
            Step::EndedWithoutContent { clean: true } => {
                (Verdict::EndedWithoutContent, "upstream_ended_without_content")
            }
            Step::EndedWithoutContent { clean: false } => (Verdict::EndedWithoutContent, End::Truncated.as_str()),
        };
        let mut head = self.head_of(verdict, code);
        if let State::Streaming(relay) = &self.state {
            head.body = relay.error_data().to_vec();
            head.reported = relay.account().reported;
        }
        Turn::Verdict(Box::new(head))
    }

    fn collected(&mut self, now: Micros) -> Turn {
        let State::Collecting { purpose, body, .. } = std::mem::replace(&mut self.state, State::Given) else {
            return Turn::Going;
        };
        let mut head = match purpose {
            Purpose::Error => self.head_of(Verdict::ErrorStatus, "upstream_error"),
            Purpose::Unfit(_) | Purpose::Whole if body.iter().all(u8::is_ascii_whitespace) => {
                self.head_of(Verdict::Unfit, "upstream_empty")
            }
            Purpose::Unfit(code) => self.head_of(Verdict::Unfit, code),
            Purpose::Whole => match whole_object(&body) {
                Some(true) => self.head_of(Verdict::Body, ""),
                Some(false) => self.head_of(Verdict::Lost, "upstream_truncated"),
                None => self.head_of(Verdict::Unfit, "upstream_not_json"),
            },
        };
        if purpose == Purpose::Error {
            head.body = body;
        } else {
            let reading = read_body(self.plan.dialect, &body);
            head.reported = reading.reported;
            if head.verdict == Verdict::Body {
                let latency = now.saturating_sub(self.sent_at);
                let facts = Facts { dialect: self.plan.dialect, latency, reported: head.reported };
                head.body = self.plan.whole(body, reading.model, &facts);
            }
        }
        Turn::Verdict(Box::new(head))
    }

    fn unfit(&mut self, code: &'static str) -> Turn {
        self.state = State::Given;
        Turn::Verdict(Box::new(self.head_of(Verdict::Unfit, code)))
    }

    fn timed_out(&mut self, end: End) -> Turn {
        let code = if end == End::Stalled { "upstream_timeout" } else { end.as_str() };
        let head = self.head_of(Verdict::TimedOut, code);
        self.state = State::Given;
        Turn::Verdict(Box::new(head))
    }

    fn lost(&mut self, code: &'static str, detail: &'static str) -> Turn {
        let mut head = self.head_of(Verdict::Lost, code);
        head.detail = detail;
        self.state = State::Given;
        Turn::Verdict(Box::new(head))
    }

    fn head_of(&mut self, verdict: Verdict, code: &'static str) -> Head {
        let mut head = Head::without_answer(verdict, code, "");
        head.bytes_in = self.bytes_in;
        head.dialect = self.plan.dialect;
        head.http = self.head.take();
        head
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ContentKind {
    EventStream,
    Html,
    Other,
}

impl ContentKind {
    fn of(head: &HttpHead) -> Self {
        let value = head.get("content-type").unwrap_or_default();
        let essence = value.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
        if essence.eq_ignore_ascii_case(b"text/event-stream") {
            Self::EventStream
        } else if essence.eq_ignore_ascii_case(b"text/html") {
            Self::Html
        } else {
            Self::Other
        }
    }
}

/// True for one whole JSON object, false for one that is cut, `None` for anything else.
fn whole_object(body: &[u8]) -> Option<bool> {
    let mut cursor = Cursor::new(body);
    if cursor.peek() != Kind::Object {
        return None;
    }
    match cursor.skip() {
        Ok(_) => cursor.end().is_ok().then_some(true),
        Err(_) => Some(false),
    }
}
