//! HTTP/1.x as its client: a request head out, one response in; and, in [`incoming`], the plainest of clients' requests.
//!
//! No I/O and no clock: [`Parser`] is fed whatever a read brought, cut anywhere, and gives the head once and the body
//! as slices of what it was fed. Its memory is the unfinished head, at most [`Limits::head`] bytes; body bytes are
//! never stored. How the input was cut changes how a body is sliced, never what is read or refused.
//!
//! It is strict where two readers could disagree about where a response ends (RFC 9112 sections 6 and 7, and line
//! ends other than CRLF): such a response is refused whole, and its connection is of no further use.

mod body;
mod head;
pub mod incoming;
mod request;
pub mod whole;

#[cfg(test)]
mod tests;

pub use head::Head;
pub use request::{end_of_head, request_lines, Unsendable};

use body::Chunked;
use head::Lines;

/// The largest body or chunk that a response may announce, in bytes.
const MAX_LENGTH: u64 = 1 << 63;

/// Interim (1xx) responses skipped before the final one; more is an upstream that never answers.
const MAX_INTERIM: u8 = 16;

/// What a response may ask of our memory before its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, its blank line included; also of all trailers together.
    pub head: usize,
    /// Header lines of a head.
    pub headers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: 32 * 1024, headers: 128 }
    }
}

/// How the end of a response's body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// There is no body: 204, 304, or the answer to HEAD.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, until an empty one.
    Chunked,
    /// Until the connection is closed.
    Close,
}

/// Why a response was refused. Its connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The head is not HTTP/1.0 or HTTP/1.1, or holds control bytes, folded lines or line ends other than CRLF.
    BadHead,
    /// The head has more bytes or lines than [`Limits`] allows.
    HeadTooLarge,
    /// More than sixteen interim responses came before the final one.
    TooManyInterim,
    /// 101: the upstream wants to speak something else.
    Switching,
    /// Two readers could disagree about the body's end: Content-Length beside Transfer-Encoding, more than one of
    /// either, a length that is not plain digits, a coding other than `chunked`.
    BadFraming,
    /// A chunk's size line, or the line end after its data, is malformed.
    BadChunk,
    /// The trailers are malformed or larger than [`Limits::head`].
    BadTrailers,
}

impl Protocol {
    /// A stable word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadHead => "bad_head",
            Self::HeadTooLarge => "head_too_large",
            Self::TooManyInterim => "too_many_interim",
            Self::Switching => "switching_protocols",
            Self::BadFraming => "bad_framing",
            Self::BadChunk => "bad_chunk",
            Self::BadTrailers => "bad_trailers",
        }
    }
}

/// What [`Parser::body`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes of the body, never empty.
    Data(&'a [u8]),
    /// All of the input is used up and the body goes on.
    More,
    /// The body is complete; what is left of the input does not belong to this response.
    End,
}

/// What the end of the connection means for the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The response is complete.
    Clean,
    /// The response is truncated.
    Cut,
    /// No byte of the response had come: on a reused connection the request may be sent again.
    Nothing,
}

#[derive(Debug)]
enum State {
    Head,
    Length(u64),
    Chunked(Chunked),
    Close,
    Done,
    Failed(Protocol),
}

/// Reads one response; every exchange takes a new one.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    state: State,
    lines: Lines,
    interim: u8,
    untouched: bool,
    answers_head: bool,
}

impl Parser {
    /// A parser that has seen nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: State::Head, lines: Lines::default(), interim: 0, untouched: true, answers_head: false }
    }

    /// The same for the answer to a HEAD request, which has no body whatever its head says.
    pub fn answering_head(limits: Limits) -> Self {
        Self { answers_head: true, ..Self::new(limits) }
    }

    /// Reads the final response's head, skipping interim ones, and moves `data` past what it took.
    /// `None` means that all of `data` was taken and the head goes on, or that the head was given before.
    pub fn head(&mut self, data: &mut &[u8]) -> Result<Option<Head>, Protocol> {
        loop {
            match self.state {
                State::Head => {}
                State::Failed(why) => return Err(why),
                _ => return Ok(None),
            }
            if data.is_empty() {
                return Ok(None);
            }
            self.untouched = false;
            let complete = match self.lines.take(data, self.limits) {
                Ok(complete) => complete,
                Err(why) => return Err(self.fail(why)),
            };
            if !complete {
                return Ok(None);
            }
            let head = match std::mem::take(&mut self.lines).parse(self.answers_head) {
                Ok(head) => head,
                Err(why) => return Err(self.fail(why)),
            };
            match head.status {
                101 => return Err(self.fail(Protocol::Switching)),
                100..=199 if self.interim == MAX_INTERIM => return Err(self.fail(Protocol::TooManyInterim)),
                100..=199 => self.interim += 1,
                _ => {
                    self.state = match head.body {
                        BodyKind::None | BodyKind::Length(0) => State::Done,
                        BodyKind::Length(length) => State::Length(length),
                        BodyKind::Chunked => State::Chunked(Chunked::new(self.limits.head)),
                        BodyKind::Close => State::Close,
                    };
                    return Ok(Some(head));
                }
            }
        }
    }

    /// Reads the next piece of the body and moves `data` past what it took. To be called until it gives
    /// [`Piece::More`] or [`Piece::End`]; before the head was given it takes nothing and gives [`Piece::More`].
    pub fn body<'a>(&mut self, data: &mut &'a [u8]) -> Result<Piece<'a>, Protocol> {
        match &mut self.state {
            State::Head => Ok(Piece::More),
            State::Failed(why) => Err(*why),
            State::Done => Ok(Piece::End),
            _ if data.is_empty() => Ok(Piece::More),
            State::Close => Ok(Piece::Data(std::mem::take(data))),
            State::Length(left) => {
                let size = usize::try_from(*left).map_or(data.len(), |left| left.min(data.len()));
                let (piece, rest) = data.split_at(size);
                *data = rest;
                *left -= size as u64;
                if *left == 0 {
                    self.state = State::Done;
                }
                Ok(Piece::Data(piece))
            }
            State::Chunked(chunked) => match chunked.next(data) {
                Ok(piece) => {
                    if piece == Piece::End {
                        self.state = State::Done;
                    }
                    Ok(piece)
                }
                Err(why) => Err(self.fail(why)),
            },
        }
    }

    /// The connection has ended. `proper` says that its end can be trusted: plain TCP, or TLS after `close_notify`;
    /// only then is it the end of a body that is delimited by it.
    pub fn eof(&mut self, proper: bool) -> End {
        match self.state {
            State::Done => End::Clean,
            State::Close if proper => {
                self.state = State::Done;
                End::Clean
            }
            _ if self.untouched => End::Nothing,
            _ => End::Cut,
        }
    }

    /// No byte of the response has come yet.
    pub fn untouched(&self) -> bool {
        self.untouched
    }

    fn fail(&mut self, why: Protocol) -> Protocol {
        self.state = State::Failed(why);
        why
    }
}
