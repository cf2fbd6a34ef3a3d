//! What is left of a request: one row, written as a line of the access log, as a record of the ledger's spool, and
//! counted in the metrics.
//!
//! Rules of this file:
//!
//! - A line is one event, whatever is in it: pure ASCII, every control character escaped. Nobody's model name, path or
//!   request id can start a second line or move a terminal's cursor.
//! - Strings from outside are cut at 256 characters. Message content is not in a row, so it cannot be here.
//! - Times are told to the microsecond.

mod counts;
mod ends;
mod json;
mod record;
#[cfg(test)]
mod tests;

use crate::dialect::Tokens;
pub use counts::{Counts, Families};
pub use ends::{never_ended, read, sums, End, Found, Sum, Value};
use json::{name, Json};
pub use record::admitted;

/// The most characters of a string from outside.
const LONGEST: usize = 256;
/// What of a row's attempts is kept in a record, in bytes of JSON. Of more, those are told that were left and had used
/// something; and if even these are more, all without their figures.
const LONGEST_ATTEMPTS: usize = 16_000;
/// How many of those.
const MOST_ATTEMPTS: usize = 64;

/// Tokens with where each direction's figure came from: `provider`, `partial`, `estimated` or `none`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage<S> {
    /// The counts.
    pub tokens: Tokens,
    /// Whence the input's come.
    pub input_provenance: S,
    /// Whence the output's come.
    pub output_provenance: S,
    /// The provider's own spelling of them.
    pub reported: Vec<(S, u64)>,
}

/// One try at one target and how it ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attempt<S> {
    /// `upstream/model`.
    pub target: S,
    /// `completed`, or an error's code.
    pub outcome: S,
    /// The upstream's own status; 0 if none came.
    pub status: u64,
    /// What it reported; none: the row's usage is its.
    pub usage: Option<Usage<S>>,
    /// The credential's name.
    pub credential: S,
    /// The upstream's own id of the request.
    pub upstream_request_id: S,
    /// Seconds from the request's arrival.
    pub started: f64,
    /// Seconds from there.
    pub duration: f64,
    /// Bytes that came.
    pub bytes_in: u64,
    /// Bytes that went.
    pub bytes_out: u64,
    /// The row's target, error and usage are this attempt's.
    pub decisive: bool,
    /// Of one that was left: its price's version.
    pub price: S,
    /// And its nano-dollars, which are in the row's, too; none without a price, or without usage.
    pub cost: Option<u64>,
}

/// A request that has ended. `S` is text: borrowed, or kept alive by somebody else's means.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row<S> {
    /// The request's id.
    pub id: S,
    /// The upstream's own id of it.
    pub upstream_request_id: S,
    /// The way in.
    pub endpoint: S,
    /// That as OpenTelemetry calls it.
    pub operation: S,
    /// An answer in pieces was asked for.
    pub stream: bool,
    /// When its head had arrived: Unix time in seconds.
    pub received_at: f64,
    /// Seconds from then to the end.
    pub duration: f64,
    /// The key's name.
    pub caller: S,
    /// That key's group.
    pub group: S,
    /// The model as the caller named it.
    pub requested_model: S,
    /// The configured model's name.
    pub model: S,
    /// `upstream/model` as metrics say it.
    pub target: S,
    /// The upstream's name.
    pub upstream: S,
    /// The model as the upstream is asked for it.
    pub upstream_model: S,
    /// The name of the credential used there.
    pub credential: S,
    /// Every try.
    pub attempts: Vec<Attempt<S>>,
    /// The status the client saw, or would have.
    pub status: u64,
    /// The error's code; empty if it went well.
    pub error_code: S,
    /// How it ended.
    pub outcome: S,
    /// What it used.
    pub usage: Usage<S>,
    /// Seconds from its arrival to the first content.
    pub time_to_first_content: Option<f64>,
    /// Seconds in which nothing was asked of an upstream.
    pub overhead: f64,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// Body bytes from upstreams.
    pub upstream_bytes_in: u64,
    /// Bytes to upstreams.
    pub upstream_bytes_out: u64,
    /// Events with data.
    pub events: u64,
    /// Those that were not valid.
    pub malformed_events: u64,
    /// Comments of ours.
    pub heartbeats: u64,
    /// Where the client left: `before_head`, `before_commit`, `streaming`; empty if it did not.
    pub left: S,
    /// Tokens that limits held for it.
    pub reserved: u64,
    /// The configuration's version.
    pub configuration: S,
    /// Nano-dollars; none while there is no price.
    pub cost: Option<u64>,
    /// Credits, if they are billed.
    pub credits: Option<u64>,
    /// The price's version.
    pub price: S,
}

impl<S: AsRef<str>> Row<S> {
    /// The row as a JSON object in one line of ASCII, without a line end; its members are the row's fields.
    pub fn line(&self) -> Vec<u8> {
        let mut json = Json::new(1536);
        json.open(b'{');
        json.text(name!("id"), self.id.as_ref());
        json.cut(name!("upstream_request_id"), self.upstream_request_id.as_ref());
        json.text(name!("endpoint"), self.endpoint.as_ref());
        json.text(name!("operation"), self.operation.as_ref());
        json.flag(name!("stream"), self.stream);
        json.seconds(name!("received_at"), self.received_at);
        json.seconds(name!("duration"), self.duration);
        json.text(name!("caller"), self.caller.as_ref());
        json.text(name!("group"), self.group.as_ref());
        json.cut(name!("requested_model"), self.requested_model.as_ref());
        json.text(name!("model"), self.model.as_ref());
        json.text(name!("target"), self.target.as_ref());
        json.text(name!("upstream"), self.upstream.as_ref());
        json.cut(name!("upstream_model"), self.upstream_model.as_ref());
        json.text(name!("credential"), self.credential.as_ref());
        json.name(name!("attempts"));
        self.write_attempts(&mut json, |_| true);
        json.count(name!("status"), self.status);
        json.text(name!("error_code"), self.error_code.as_ref());
        json.text(name!("outcome"), self.outcome.as_ref());
        json.name(name!("usage"));
        self.usage.write(&mut json);
        json.maybe_seconds(name!("time_to_first_content"), self.time_to_first_content);
        json.seconds(name!("overhead"), self.overhead);
        json.count(name!("bytes_in"), self.bytes_in);
        json.count(name!("bytes_out"), self.bytes_out);
        json.count(name!("upstream_bytes_in"), self.upstream_bytes_in);
        json.count(name!("upstream_bytes_out"), self.upstream_bytes_out);
        json.count(name!("events"), self.events);
        json.count(name!("malformed_events"), self.malformed_events);
        json.count(name!("heartbeats"), self.heartbeats);
        json.text(name!("left"), self.left.as_ref());
        json.count(name!("reserved"), self.reserved);
        json.text(name!("configuration"), self.configuration.as_ref());
        json.maybe_count(name!("cost"), self.cost);
        json.maybe_count(name!("credits"), self.credits);
        json.text(name!("price"), self.price.as_ref());
        json.close(b'}');
        json.text
    }

    /// The row as the bytes to append to a spool under this number.
    pub fn record(&self, sequence: u64) -> Vec<u8> {
        record::finished(self, sequence)
    }

    /// All attempts, as the ledger keeps them: empty if there was only one.
    fn kept_attempts(&self) -> String {
        if self.attempts.len() < 2 {
            return String::new();
        }
        let mut json = Json::new(1024);
        self.write_attempts(&mut json, |_| true);
        if json.text.len() > LONGEST_ATTEMPTS {
            json = Json::new(1024);
            self.write_attempts(&mut json, |attempt| {
                !attempt.decisive && !attempt.usage.as_ref().unwrap_or(&self.usage).is_none()
            });
        }
        if json.text.len() > LONGEST_ATTEMPTS {
            json = Json::new(1024);
            json.open(b'[');
            for attempt in self.attempts.iter().take(MOST_ATTEMPTS) {
                json.item();
                json.open(b'[');
                json.word(attempt.target.as_ref());
                json.word(attempt.outcome.as_ref());
                json.close(b']');
            }
            json.close(b']');
        }
        String::from_utf8(json.text).unwrap_or_default()
    }

    fn write_attempts(&self, json: &mut Json, which: impl Fn(&Attempt<S>) -> bool) {
        json.open(b'[');
        for attempt in self.attempts.iter().filter(|attempt| which(attempt)) {
            json.item();
            json.open(b'{');
            json.text(name!("target"), attempt.target.as_ref());
            json.text(name!("outcome"), attempt.outcome.as_ref());
            json.count(name!("status"), attempt.status);
            json.name(name!("usage"));
            attempt.usage.as_ref().unwrap_or(&self.usage).write(json);
            json.text(name!("credential"), attempt.credential.as_ref());
            json.seconds(name!("started"), attempt.started);
            json.seconds(name!("duration"), attempt.duration);
            json.count(name!("bytes_in"), attempt.bytes_in);
            json.count(name!("bytes_out"), attempt.bytes_out);
            json.flag(name!("decisive"), attempt.decisive);
            json.cut(name!("upstream_request_id"), attempt.upstream_request_id.as_ref());
            if !attempt.decisive {
                json.text(name!("price"), attempt.price.as_ref());
                json.maybe_count(name!("cost"), attempt.cost);
            }
            json.close(b'}');
        }
        json.close(b']');
    }
}

impl<S: AsRef<str>> Usage<S> {
    fn is_none(&self) -> bool {
        self.input_provenance.as_ref() == "none" && self.output_provenance.as_ref() == "none"
    }

    fn write(&self, json: &mut Json) {
        let Tokens { input, output, cached_input, cache_write, reasoning } = self.tokens;
        json.open(b'{');
        json.name(name!("tokens"));
        json.open(b'{');
        json.count(name!("input"), input);
        json.count(name!("output"), output);
        json.count(name!("cached_input"), cached_input);
        json.count(name!("cache_write"), cache_write);
        json.count(name!("reasoning"), reasoning);
        json.close(b'}');
        json.text(name!("input_provenance"), self.input_provenance.as_ref());
        json.text(name!("output_provenance"), self.output_provenance.as_ref());
        json.name(name!("reported"));
        json.open(b'[');
        for (name, count) in &self.reported {
            json.item();
            json.open(b'[');
            json.word(name.as_ref());
            json.number(*count);
            json.close(b']');
        }
        json.close(b']');
        json.close(b'}');
    }
}

/// At most 256 characters, and whether that is less than there are.
fn cut(text: &str) -> (&str, bool) {
    if text.len() <= LONGEST {
        return (text, false);
    }
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => (&text[..end], true),
        None => (text, false),
    }
}

/// Microseconds; what no clock says becomes 0.
fn micros(seconds: f64) -> i64 {
    (seconds * 1e6).round() as i64
}
