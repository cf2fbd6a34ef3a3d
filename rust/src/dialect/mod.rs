//! What an event means: whether it commits, what it counts, whether the answer has finished.
//!
//! Rules of this module:
//!
//! 1. An event is walked once, front to back, and nothing is built: what it says is gathered in an [`Event`] and
//!    counts only if the whole of it was JSON. A malformed event commits and says nothing else.
//! 2. What is unknown commits. Only what certainly carries nothing an answer is made of does not: comments, pings,
//!    events that open a message or an empty part of one, empty deltas, and events that hold nothing but usage or
//!    prompt filters.
//! 3. An in-band error never commits and finishes nothing: whoever holds the stream decides what it ends.
//!
//! One file per family says what its events are; [`usage`] says what their counts mean.

mod anthropic;
mod chat;
mod cohere;
mod envelope;
mod gemini;
mod responses;
mod template;
mod usage;
mod value;

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::json::scan::{Cursor, Kind, Malformed};
use crate::json::validate::validate;
use crate::sse::Fields;
use template::Template;
use usage::Tally;

pub use usage::{fold, Reported, Tokens};

/// How an answer is spoken: which events there are and where they keep what we count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Chat completions: chunks of choices, ended by `[DONE]`.
    OpenAiChat,
    /// The older completions: as chat, with `text` in place of a delta.
    OpenAiCompletions,
    /// Responses: typed events, ended by `response.completed`, `.incomplete` or `.failed`.
    OpenAiResponses,
    /// Messages: named events, ended by `message_stop`.
    AnthropicMessages,
    /// `streamGenerateContent?alt=sse`: nameless chunks of candidates, ended by the connection.
    Gemini,
    /// Chat, version 2: typed events, ended by `message-end`.
    Cohere,
    /// Any other stream: relayed, never interpreted.
    Unknown,
}

/// Whether a caller's SDK notices an in-band error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InBandError {
    /// The official SDKs raise on it as it is.
    Visible,
    /// They pass over it or take it for content: it must be followed by the dialect's own error event.
    Invisible,
}

/// What one event says. The default says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// From here on the answer is the client's: this is part of it, or not known to be none.
    pub commits: bool,
    /// It carries generated content: text, reasoning, a tool call, a refusal, audio, an image.
    pub content: bool,
    /// It carries a finish reason.
    pub finish: bool,
    /// It is the event after which nothing of the answer follows, by the dialect's rule.
    pub terminal: bool,
    /// It reports an error inside a 200 stream.
    pub error: Option<InBandError>,
    /// It holds no choice but a usage object: a client that did not ask for usage does not expect it.
    pub usage_only: bool,
    /// It brings usage, be it beside a choice.
    pub usage: bool,
    /// Its data is not JSON.
    pub malformed: bool,
    /// Where the model's name stands in the event's data, quotes included.
    pub model: Option<Range<usize>>,
    /// Where the `[]` of an empty top-level `choices` stands in the event's data.
    pub empty_choices: Option<Range<usize>>,
}

/// What a whole answer that is no stream says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BodyReading {
    /// The usage it states.
    pub reported: Option<Reported>,
    /// Where the model's name stands in the body, quotes included.
    pub model: Option<Range<usize>>,
    /// It looks like an answer: it has the member the dialect keeps answers in (`choices`, `output`, `content`,
    /// `candidates`, `message`).
    pub choices: bool,
    /// It has an error, whatever its status says.
    pub error: bool,
    /// It is not JSON.
    pub malformed: bool,
}

/// Reads the events of one answer, in order, and remembers what they add up to. Of their bytes it holds those of one
/// short event, which the next is compared with.
#[derive(Debug, Clone)]
pub struct Reader {
    dialect: Dialect,
    /// How many choices were asked for, at least one.
    asked: u32,
    tally: Tally,
    choices: Choices,
    terminal: bool,
    /// The last event's data was `[DONE]` with blanks behind it.
    loosely_done: bool,
    template: Template,
}

/// What the walk over one event gathers, before any of it counts.
#[derive(Debug, Default)]
struct Event {
    reading: Reading,
    choices: Choices,
    usage: Option<Reported>,
    /// The usage is one choice's own, not the answer's.
    usage_of_one_choice: bool,
    /// The member that holds the dialect's answers is there; asked of whole bodies.
    answer: bool,
}

/// Which choices were seen and which of them have finished, by index. Indices from 128 on are only known to exist.
#[derive(Debug, Clone, Copy, Default)]
struct Choices {
    seen: u128,
    finished: u128,
    beyond: bool,
}

// === impl Dialect ===

impl Dialect {
    /// Its name in plans, metrics and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai-chat",
            Self::OpenAiCompletions => "openai-completions",
            Self::OpenAiResponses => "openai-responses",
            Self::AnthropicMessages => "anthropic-messages",
            Self::Gemini => "gemini",
            Self::Cohere => "cohere",
            Self::Unknown => "unknown",
        }
    }

    /// The dialect of that name; `None` where there is no such name.
    pub fn parse(name: &str) -> Option<Self> {
        const ALL: [Dialect; 7] = [
            Dialect::OpenAiChat,
            Dialect::OpenAiCompletions,
            Dialect::OpenAiResponses,
            Dialect::AnthropicMessages,
            Dialect::Gemini,
            Dialect::Cohere,
            Dialect::Unknown,
        ];
        ALL.into_iter().find(|dialect| dialect.as_str() == name)
    }

    /// `[DONE]` ends its streams; its answers are `choices`, each with its `finish_reason`.
    pub fn ends_with_done(self) -> bool {
        matches!(self, Self::OpenAiChat | Self::OpenAiCompletions)
    }

    /// Where in the events of its streams the usage of the whole answer stands.
    pub fn usage_path(self) -> &'static [&'static str] {
        match self {
            Self::OpenAiResponses => &["response", "usage"],
            _ => &["usage"],
        }
    }
}

// === impl Choices ===

impl Choices {
    fn see(&mut self, index: u64, finished: bool) {
        match u32::try_from(index).ok().and_then(|index| 1u128.checked_shl(index)) {
            Some(bit) => {
                self.seen |= bit;
                self.finished |= if finished { bit } else { 0 };
            }
            None => self.beyond = true,
        }
    }

    fn add(&mut self, other: Self) {
        self.seen |= other.seen;
        self.finished |= other.finished;
        self.beyond |= other.beyond;
    }

    /// Every choice seen has finished, and no fewer than were asked for.
    fn all_finished(&self, asked: u32) -> bool {
        self.seen == self.finished && self.seen.count_ones() >= asked && !self.beyond
    }
}

// === impl Reading ===

impl Reading {
    /// It is content, and nothing else.
    fn is_plain(&self) -> bool {
        let plain = Self { commits: true, content: true, model: self.model.clone(), ..Self::default() };
        *self == plain
    }
}

// === impl Reader ===

impl Reader {
    /// For an answer of which `choices` were asked for (`n`; zero counts as one).
    pub fn new(dialect: Dialect, choices: u32) -> Self {
        let asked = choices.max(1);
        Self {
            dialect,
            asked,
            tally: Tally::new(dialect, asked),
            choices: Choices::default(),
            terminal: false,
            loosely_done: false,
            template: Template::default(),
        }
    }

    /// Reads the next event. Also the one left open at the end of the stream, if it is to count.
    pub fn read(&mut self, fields: &Fields<'_>) -> Reading {
        if self.dialect == Dialect::Unknown {
            return Reading { commits: fields.has_data, content: fields.has_data, ..Reading::default() };
        }
        let mut reading = if fields.has_data { self.read_data(fields) } else { Reading::default() };
        if reading.error.is_none() && fields.error.is_some_and(value::is_truthy) {
            reading.error = Some(InBandError::Invisible);
        }
        reading.commits &= reading.error.is_none();
        reading
    }

    /// The stream has ended: a last `[DONE]` with blanks behind it counts now.
    pub fn at_eof(&mut self) {
        self.terminal |= self.loosely_done;
    }

    /// By the dialect's rule the answer has finished: its terminal event was seen or, where finish reasons say so,
    /// every choice asked for and seen has one. Errors do not come into it.
    pub fn complete(&self) -> bool {
        let by_choices = self.dialect.ends_with_done() || self.dialect == Dialect::Gemini;
        self.terminal || (by_choices && self.choices.all_finished(self.asked))
    }

    /// The terminal event was seen: `[DONE]`, `message_stop`, `response.completed`, `.incomplete` or `.failed`,
    /// `message-end`; on Gemini the finish reason of the last candidate, after which text may still come.
    pub fn terminal(&self) -> bool {
        self.terminal
    }

    /// The usage reported until now; `None` as long as nothing was said.
    pub fn reported(&self) -> Option<Reported> {
        self.tally.reported()
    }

    fn read_data(&mut self, fields: &Fields<'_>) -> Reading {
        let data = &*fields.data;
        if fields.name != b"error" {
            if let Some(reading) = self.template.reading(data) {
                self.loosely_done = false;
                return reading;
            }
        }
        if let Some(blanks) = data.strip_prefix(b"[DONE]") {
            if blanks.iter().all(|byte| matches!(byte, b' ' | b'\t')) {
                return self.read_done(blanks.is_empty());
            }
        }
        self.loosely_done = false;
        if data.iter().all(u8::is_ascii_whitespace) {
            return Reading::default();
        }
        let mut event = Event::default();
        match read_event(self.dialect, fields.name, data, &mut event) {
            Ok(()) => {
                let counts_nothing = event.usage.is_none();
                let reading = self.count(event);
                if counts_nothing && reading.is_plain() {
                    self.template.learn(data, reading.model.as_ref());
                }
                reading
            }
            Err(Malformed { .. }) => Reading { commits: true, malformed: true, ..Reading::default() },
        }
    }

    fn read_done(&mut self, exactly: bool) -> Reading {
        let ends = self.dialect.ends_with_done();
        self.loosely_done = ends && !exactly;
        self.terminal |= ends && exactly;
        Reading { commits: true, terminal: ends && exactly, ..Reading::default() }
    }

    fn count(&mut self, event: Event) -> Reading {
        let mut reading = event.reading;
        if let Some(usage) = event.usage {
            reading.usage = true;
            self.tally.add(usage, event.usage_of_one_choice || reading.usage_only);
        }
        if reading.error.is_some() {
            reading.finish = false;
        } else {
            self.choices.add(event.choices);
            reading.terminal |= self.dialect == Dialect::Gemini && reading.finish && self.complete();
        }
        self.terminal |= reading.terminal;
        reading
    }
}

/// Reads a whole answer that is no stream. Blank lines before it are passed over; so is a byte order mark.
pub fn read_body(dialect: Dialect, body: &[u8]) -> BodyReading {
    if dialect == Dialect::Unknown {
        return BodyReading::default();
    }
    let start = if body.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    let mut event = Event::default();
    if walk(dialect, b"", Cursor::at(body, start), &mut event).is_err() {
        return BodyReading { malformed: true, ..BodyReading::default() };
    }
    let mut tally = Tally::new(dialect, 1);
    if let Some(usage) = event.usage {
        tally.add(usage, false);
    }
    BodyReading {
        reported: tally.reported(),
        model: event.reading.model,
        choices: event.answer,
        error: event.reading.error.is_some(),
        malformed: false,
    }
}

fn read_event(dialect: Dialect, name: &[u8], data: &[u8], event: &mut Event) -> Result<(), Malformed> {
    const DEEPEST: usize = 1024;
    let mut cursor = Cursor::new(data);
    if cursor.peek() == Kind::Object {
        return walk(dialect, name, cursor, event);
    }
    event.reading.commits = true;
    validate(data, DEEPEST)
}

fn walk(dialect: Dialect, name: &[u8], mut cursor: Cursor<'_>, event: &mut Event) -> Result<(), Malformed> {
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions => chat::read(&mut cursor, name, event)?,
        Dialect::OpenAiResponses => responses::read(&mut cursor, name, event)?,
        Dialect::AnthropicMessages => anthropic::read(&mut cursor, name, event)?,
        Dialect::Gemini => gemini::read(&mut cursor, event)?,
        Dialect::Cohere => cohere::read(&mut cursor, event)?,
        Dialect::Unknown => {}
    }
    cursor.end()
}
