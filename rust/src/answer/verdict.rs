//! The first word on an attempt: what it came to before anything was the client's.

use crate::dialect::{Dialect, Reported};
use crate::http1::Head as HttpHead;

/// What an attempt came to before anything was the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A stream that is the client's now.
    Committed,
    /// A whole answer.
    Body,
    /// An error answer of the upstream's.
    ErrorStatus,
    /// An error inside a stream, before anything else.
    InBandError,
    /// A stream that ended without saying anything.
    EndedWithoutContent,
    /// Nothing came in time.
    TimedOut,
    /// The connection ended, or broke HTTP or TLS.
    Lost,
    /// Not what was asked for.
    Unfit,
}

impl Verdict {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Body => "body",
            Self::ErrorStatus => "error_status",
            Self::InBandError => "in_band_error",
            Self::EndedWithoutContent => "ended_without_content",
            Self::TimedOut => "timed_out",
            Self::Lost => "lost",
            Self::Unfit => "unfit",
        }
    }
}

/// The first word on an attempt: everything the gateway needs to decide.
#[derive(Debug, Clone)]
pub struct Head {
    /// What it came to.
    pub verdict: Verdict,
    /// How the answer was read.
    pub dialect: Dialect,
    /// A code of `errors.py`, empty if nothing went wrong.
    pub code: &'static str,
    /// What exactly broke, for logs; static text.
    pub detail: &'static str,
    /// The upstream's own head, if one came.
    pub http: Option<HttpHead>,
    /// The whole answer, the error's body, or the data of an in-band error.
    pub body: Vec<u8>,
    /// What the answer says of usage, if it says so outside a stream.
    pub reported: Option<Reported>,
    /// Not one byte of an answer came: a reused connection may be tried once more on a fresh one.
    pub untouched: bool,
    /// Body bytes that came.
    pub bytes_in: u64,
}

impl Head {
    /// A head without an answer.
    pub fn without_answer(verdict: Verdict, code: &'static str, detail: &'static str) -> Self {
        Self {
            verdict,
            dialect: Dialect::Unknown,
            code,
            detail,
            http: None,
            body: Vec::new(),
            reported: None,
            untouched: false,
            bytes_in: 0,
        }
    }
}
