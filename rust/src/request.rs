//! What a request's body asks, and the few places of it that a gateway may change.
//!
//! Rules of this file:
//!
//! 1. What we route and account by must be what the upstream reads. So the JSON is checked strictly, and a second
//!    `model`, `stream` or `stream_options` is refused however it is spelt: escaped, or in the other letter case that
//!    some servers take for the same name.
//! 2. Everything else passes as it came, byte for byte: order, white space, number spellings, unknown members,
//!    invalid UTF-8 in strings.
//! 3. A body is never joined anew: [`splice`] gives segments, and copies nothing of it.

use std::fmt;
use std::ops::Range;

use crate::json::scan::{count, Cursor, Kind, Malformed};
use crate::json::splice::{insert_first, quote, remove, Edits, Segment};
use crate::json::unescape::unescape;
use crate::json::validate::validate_members;

#[cfg(test)]
mod tests;

/// What the gateway routes and accounts by; each may stand in a body once.
const ROUTED: [&str; 3] = ["model", "stream", "stream_options"];

/// What bounds the answer; of several the last counts, and what is no count is the upstream's business.
const COUNTS: [&str; 4] = ["max_tokens", "max_completion_tokens", "n", "max_output_tokens"];

const USAGE: &str = "stream_options.include_usage";

/// What a request asks, as far as the gateway must know, and where it stands in the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The model's name, escapes resolved; never empty.
    pub model: String,
    /// Where the model's value stands, quotes included.
    pub model_span: Range<usize>,
    /// An answer in pieces is asked for.
    pub stream: bool,
    /// What the answer in pieces shall hold.
    pub stream_options: StreamOptions,
    /// `max_tokens`, if it is a count.
    pub max_tokens: Option<u64>,
    /// `max_completion_tokens`, if it is a count.
    pub max_completion_tokens: Option<u64>,
    /// `max_output_tokens`, if it is a count: how the Responses API says it.
    pub max_output_tokens: Option<u64>,
    /// How many answers are asked for, if it is a count.
    pub n: Option<u64>,
    /// Where the body's brace stands.
    open: usize,
}

/// The member `stream_options`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamOptions {
    /// There is none.
    Absent,
    /// It is null, at this span.
    Null(Range<usize>),
    /// It is an object.
    Object {
        /// Where it stands, braces included.
        span: Range<usize>,
        /// Whether usage is asked for; `None` if the member is absent or null.
        include_usage: Option<bool>,
        /// Where that member's value stands, if there is one.
        include_usage_span: Option<Range<usize>>,
    },
}

/// Why a body cannot be served. Its text is for the caller and says what to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not JSON by RFC 8259, or nested too deeply.
    InvalidJson(Malformed),
    /// JSON, but not an object.
    NotAnObject,
    /// A member the gateway needs is absent or null.
    Missing(&'static str),
    /// A member is of the wrong type.
    InvalidType {
        /// The member.
        param: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A member's value cannot be used.
    InvalidValue {
        /// The member.
        param: &'static str,
        /// What is wrong with it, or what would be right.
        what: &'static str,
    },
    /// A member stands there twice; readers disagree on which one counts.
    Duplicate(&'static str),
    /// A member's name is in the wrong letter case; readers disagree on whether it counts.
    Ambiguous(&'static str),
}

// === impl Refusal ===

impl Refusal {
    /// The stable code of an error answer.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidJson(_) | Self::NotAnObject => "invalid_json",
            Self::Missing(_) => "missing_parameter",
            Self::InvalidType { .. } => "invalid_type",
            Self::InvalidValue { .. } => "invalid_value",
            Self::Duplicate(_) => "duplicate_parameter",
            Self::Ambiguous(_) => "ambiguous_parameter",
        }
    }

    /// The member at fault, as a path from the top.
    pub fn param(&self) -> Option<&'static str> {
        match *self {
            Self::InvalidJson(_) | Self::NotAnObject => None,
            Self::Missing(param)
            | Self::Duplicate(param)
            | Self::Ambiguous(param)
            | Self::InvalidType { param, .. }
            | Self::InvalidValue { param, .. } => Some(param),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidJson(Malformed { at, what }) => {
                write!(f, "The request body is not valid JSON: at byte {at}, {what}.")
            }
            Self::NotAnObject => write!(f, "The request body must be a JSON object."),
            Self::Missing(param) => write!(f, "The parameter '{param}' is required."),
            Self::InvalidType { param, expected } => write!(f, "The parameter '{param}' must be {expected}."),
            Self::InvalidValue { param, what } => write!(f, "The parameter '{param}' {what}."),
            Self::Duplicate(param) => write!(f, "The parameter '{param}' is given twice; give it once."),
            Self::Ambiguous(param) => {
                write!(f, "A parameter is named like '{param}' but for its letter case; spell it '{param}'.")
            }
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::InvalidJson(malformed)
    }
}

// === impl Ask ===

impl Ask {
    /// The caller asked for a usage event, rather than getting one only because the gateway wants it.
    pub fn wants_usage(&self) -> bool {
        matches!(self.stream_options, StreamOptions::Object { include_usage: Some(true), .. })
    }
}

/// Reads a request's body, nested at most `max_depth` deep.
pub fn read(body: &[u8], max_depth: usize) -> Result<Ask, Refusal> {
    if body.starts_with(b"\xEF\xBB\xBF") {
        return Err(Malformed { at: 0, what: "a byte order mark stands before the JSON; send it without one" }.into());
    }
    let (mut spans, mut counts, mut refused) = ([const { None }; 3], [None; 4], Ok(()));
    validate_members(body, max_depth, |key, value| {
        let name = key.name();
        if let Some(i) = COUNTS.iter().position(|known| known.as_bytes() == &*name) {
            counts[i] = count(&body[value]);
        } else if let Some(i) = ROUTED.iter().position(|known| reads_as(&name, known)) {
            let kept = once(&mut spans[i], ROUTED[i], ROUTED[i], &name, value);
            refused = refused.and(kept);
        }
    })?;
    let mut cursor = Cursor::new(body);
    if cursor.peek() != Kind::Object {
        return Err(Refusal::NotAnObject);
    }
    refused?;
    let open = cursor.position();
    let [model_span, stream, stream_options] = spans;
    let model_span = model_span.ok_or(Refusal::Missing("model"))?;
    Ok(Ask {
        model: model(&body[model_span.clone()])?,
        model_span,
        stream: stream.map_or(Ok(None), |span| flag(&body[span], "stream"))?.unwrap_or(false),
        stream_options: stream_options.map_or(Ok(StreamOptions::Absent), |span| options(body, span))?,
        max_tokens: counts[0],
        max_completion_tokens: counts[1],
        n: counts[2],
        max_output_tokens: counts[3],
        open,
    })
}

/// The body as it goes to a target: `model` put in place, `stream_options.include_usage` set to true if
/// `include_usage`, and the members named in `consumed` removed (a removed `stream_options` counts as absent, `model`
/// always stays). Fails only if `body` is not what `ask` was read from.
pub fn splice<'m>(
    ask: &Ask,
    body: &[u8],
    model: Option<&'m str>,
    include_usage: bool,
    consumed: &[&str],
) -> Result<Vec<Segment<'m>>, Malformed> {
    let mut edits = Edits::new();
    if let Some(name) = model.filter(|name| *name != ask.model) {
        edits.replace(ask.model_span.clone(), quote(name));
    }
    if !consumed.is_empty() {
        let goes = |name: &[u8]| name != b"model" && consumed.iter().any(|consumed| consumed.as_bytes() == name);
        remove(&mut edits, body, ask.open, goes)?;
    }
    if include_usage {
        let absent = StreamOptions::Absent;
        match if consumed.contains(&"stream_options") { &absent } else { &ask.stream_options } {
            StreamOptions::Absent => {
                insert_first(&mut edits, body, ask.open, "stream_options", b"{\"include_usage\":true}")?;
            }
            StreamOptions::Null(span) => edits.replace(span.clone(), &b"{\"include_usage\":true}"[..]),
            StreamOptions::Object { include_usage: Some(true), .. } => {}
            StreamOptions::Object { include_usage_span: Some(span), .. } => {
                edits.replace(span.clone(), &b"true"[..]);
            }
            StreamOptions::Object { span, .. } => {
                insert_first(&mut edits, body, span.start, "include_usage", b"true")?;
            }
        }
    }
    Ok(edits.into_segments(body.len()))
}

/// Keeps the span of a member that may come once, and under no other spelling than `known`.
fn once(
    slot: &mut Option<Range<usize>>,
    known: &str,
    param: &'static str,
    name: &[u8],
    value: Range<usize>,
) -> Result<(), Refusal> {
    if name != known.as_bytes() {
        return Err(Refusal::Ambiguous(param));
    }
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refusal::Duplicate(param)),
    }
}

/// Whether some JSON reader takes `name` for the member `known`: Go's ignores letter case and takes the long s for s.
fn reads_as(name: &[u8], known: &str) -> bool {
    if name.is_ascii() {
        return name.eq_ignore_ascii_case(known.as_bytes());
    }
    std::str::from_utf8(name).is_ok_and(|name| name.replace('\u{17F}', "s").eq_ignore_ascii_case(known))
}

fn model(value: &[u8]) -> Result<String, Refusal> {
    let inside = match value {
        b"null" => return Err(Refusal::Missing("model")),
        [b'"', inside @ .., b'"'] => inside,
        _ => return Err(Refusal::InvalidType { param: "model", expected: "a string" }),
    };
    if inside.is_empty() {
        return Err(Refusal::InvalidValue { param: "model", what: "must not be empty" });
    }
    if has_lone_surrogate(inside) {
        return Err(Refusal::InvalidValue { param: "model", what: "must not contain half of a surrogate pair" });
    }
    String::from_utf8(unescape(inside).into_owned())
        .map_err(|_| Refusal::InvalidValue { param: "model", what: "must be valid UTF-8" })
}

/// Whether an escape stands for half of a surrogate pair, which is no character. The escapes themselves are valid.
fn has_lone_surrogate(inside: &[u8]) -> bool {
    let low_half = |at: usize| match inside.get(at..at + 4)? {
        [b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B'] => Some(false),
        [b'\\', b'u', b'd' | b'D', b'c'..=b'f' | b'C'..=b'F'] => Some(true),
        _ => None,
    };
    let mut pos = 0;
    while let Some(i) = memchr::memchr(b'\\', &inside[pos..]) {
        pos += match (low_half(pos + i), low_half(pos + i + 6)) {
            (None, _) => i + 2,
            (Some(false), Some(true)) => i + 12,
            _ => return true,
        };
    }
    false
}

/// A boolean; absent and null are `None`.
fn flag(value: &[u8], param: &'static str) -> Result<Option<bool>, Refusal> {
    match value {
        b"true" => Ok(Some(true)),
        b"false" => Ok(Some(false)),
        b"null" => Ok(None),
        _ => Err(Refusal::InvalidType { param, expected: "true or false" }),
    }
}

fn options(body: &[u8], span: Range<usize>) -> Result<StreamOptions, Refusal> {
    let mut cursor = Cursor::at(body, span.start);
    match cursor.peek() {
        Kind::Null => return Ok(StreamOptions::Null(span)),
        Kind::Object => cursor.object()?,
        _ => return Err(Refusal::InvalidType { param: "stream_options", expected: "an object" }),
    }
    let (mut found, mut first) = (None, true);
    while let Some(key) = cursor.key(&mut first)? {
        let (name, value) = (key.name(), cursor.skip()?);
        if reads_as(&name, "include_usage") {
            once(&mut found, "include_usage", USAGE, &name, value)?;
        }
    }
    let include_usage = found.clone().map_or(Ok(None), |value| flag(&body[value], USAGE))?;
    Ok(StreamOptions::Object { span, include_usage, include_usage_span: found })
}
