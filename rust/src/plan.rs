//! What is to be done to one exchange's bytes, decided once per request, and how an exchange can end.
//!
//! Nothing here changes while bytes flow: a [`Plan`] is shared by every request that is treated alike.

use crate::dialect::Dialect;
use crate::json::splice::Edits;
use crate::metrics::{Bank, Slot};
use crate::page::{Facts, Page};
use std::ops::Range;
use std::sync::Arc;

/// Microseconds; points in time count from any fixed start.
pub type Micros = u64;

/// Bounds of one exchange's memory, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A response head.
    pub head: usize,
    /// One event that must be seen whole.
    pub event: usize,
    /// What is held back before the commit; more commits.
    pub held: usize,
    /// What is read of an error answer's body.
    pub error_body: usize,
    /// A whole (not streamed) answer.
    pub answer: usize,
}

/// How long an exchange may wait, each in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// From the request to the first event that commits.
    pub first_content: Micros,
    /// Between two reads of a stream, whatever they bring.
    pub idle: Micros,
    /// From the finish to the sentinel or the end of the upstream's message.
    pub done_grace: Micros,
    /// Silence towards the client before a comment is written; `Micros::MAX` for never.
    pub heartbeat: Micros,
}

/// What to do to the bytes of one kind of request.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How the upstream's bytes are read.
    pub dialect: Dialect,
    /// A stream was asked for.
    pub stream: bool,
    /// A JSON string, quotes included, put in place of the model's name in answers.
    pub model: Option<Box<[u8]>>,
    /// Usage-only events are dropped: the client did not ask for them.
    pub strip_usage: bool,
    /// `"choices":[]` becomes one empty choice.
    pub fill_choices: bool,
    /// A byte order mark, `id:` and `retry:` lines are dropped (they break the official SDK).
    pub tidy: bool,
    /// A finished stream without its sentinel gets one, and an event left open its line ends.
    pub ensure_done: bool,
    /// Text of a member put first into whole answers, without a comma.
    pub insert: Option<Box<[u8]>>,
    /// What an API page wants put into answers.
    pub page: Option<Page>,
    /// The dialect's sentinel event.
    pub done: Box<[u8]>,
    /// The comment that breaks a silence, blank line included.
    pub heartbeat: Box<[u8]>,
    /// The dialect's error event for each way a stream can end badly.
    pub errors: Vec<(End, Box<[u8]>)>,
    /// Memory bounds.
    pub limits: Limits,
    /// Time bounds.
    pub times: Times,
    /// Where gaps between events are observed.
    pub gaps: Option<(Arc<Bank>, Slot)>,
}

impl Plan {
    /// Parts of any event may have to be replaced.
    pub fn rewrites(&self) -> bool {
        self.model.is_some() || self.fill_choices
    }

    /// Events have to be seen whole.
    pub fn needs_whole_events(&self) -> bool {
        self.rewrites() || self.page.as_ref().is_some_and(Page::rewrites)
    }

    /// A whole answer as it is wanted: most often as it came. `model` is where its model's name stands.
    pub fn whole(&self, body: Vec<u8>, model: Option<Range<usize>>, facts: &Facts) -> Vec<u8> {
        let model = self.model.as_deref().zip(model);
        if model.is_none() && self.insert.is_none() && self.page.is_none() {
            return body;
        }
        let mut edits = Edits::new();
        if let Some(member) = &self.insert {
            let open = memchr::memchr(b'{', &body).map_or(0, |i| i + 1);
            let alone = body[open..].trim_ascii_start().starts_with(b"}");
            edits.replace(open..open, [&**member, if alone { b"" } else { b"," }].concat());
        }
        if let Some((name, span)) = model {
            edits.replace(span, name);
        }
        if let Some(page) = &self.page {
            page.whole(&body, facts, &mut |span, bytes| edits.replace(span, bytes));
        }
        let mut out = Vec::with_capacity(body.len() + 256);
        edits.apply(&body, &mut out);
        out
    }

    /// The event that tells the client of `end`; empty where there is none.
    pub fn error_event(&self, end: End) -> &[u8] {
        self.errors.iter().find(|(e, _)| *e == end).map_or(&[], |(_, bytes)| bytes)
    }
}

/// How a stream that was the client's ended. The names are codes of `errors.py`, but for `completed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Finished, by the dialect's own rule.
    Completed,
    /// The upstream told of an error inside the stream.
    ErrorInBand,
    /// The upstream ended before it had finished.
    Truncated,
    /// The upstream fell silent.
    Stalled,
    /// The upstream broke HTTP or TLS.
    Protocol,
    /// An event that had to be rewritten is above the limit.
    EventTooLarge,
    /// The whole lasted too long.
    TooLong,
    /// The gateway is shutting down.
    Draining,
    /// The client closed its connection.
    ClientLeft,
    /// The client stopped reading.
    ClientStalled,
    /// A fault of ours.
    Internal,
}

impl End {
    /// Every end, for tables.
    pub const ALL: [Self; 11] = [
        Self::Completed,
        Self::ErrorInBand,
        Self::Truncated,
        Self::Stalled,
        Self::Protocol,
        Self::EventTooLarge,
        Self::TooLong,
        Self::Draining,
        Self::ClientLeft,
        Self::ClientStalled,
        Self::Internal,
    ];

    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::ErrorInBand => "upstream_error_in_band",
            Self::Truncated => "upstream_truncated",
            Self::Stalled => "upstream_stalled",
            Self::Protocol => "upstream_protocol",
            Self::EventTooLarge => "upstream_event_too_large",
            Self::TooLong => "total_timeout",
            Self::Draining => "gateway_draining",
            Self::ClientLeft => "client_disconnected",
            Self::ClientStalled => "client_stalled",
            Self::Internal => "internal_error",
        }
    }

    /// The end of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.as_str() == name)
    }
}
