//! What a row moves in the metrics: every figure of it, once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Row, Usage};
use crate::dialect::Tokens;
use crate::metrics::{Bank, FamilyId, Slot, OTHER};

/// Kinds of requests whose slots are kept at hand; beyond them slots are asked for again.
const KNOWN: usize = 8192;

/// The families that rows move, by their names; what each means stands in the table of series.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)] // each is named as its series
pub struct Families {
    pub requests: String,
    pub duration: String,
    pub overhead: String,
    pub bytes: String,
    pub tokens: String,
    pub first_content: String,
    pub malformed: String,
    pub heartbeats: String,
    pub disconnects: String,
    pub gen_ai_duration: String,
    pub gen_ai_usage: String,
    pub gen_ai_first: String,
    pub gen_ai_per_token: String,
}

/// Counts rows in a bank.
pub struct Counts {
    bank: Arc<Bank>,
    requests: FamilyId,
    tokens: FamilyId,
    malformed: FamilyId,
    disconnects: FamilyId,
    gen_ai_duration: FamilyId,
    gen_ai_usage: FamilyId,
    gen_ai_first: FamilyId,
    gen_ai_per_token: FamilyId,
    duration: Slot,
    overhead: Slot,
    /// From and to the client, from and to upstreams.
    bytes: [Slot; 4],
    first_content: Slot,
    heartbeats: Slot,
    /// What `gen_ai_provider_name` is for an upstream; one that is not here is its own provider.
    providers: HashMap<String, String>,
    known: Mutex<HashMap<String, Arc<Slots>>>,
}

/// What one kind of request moves: the same model, target, operation, status, error and provenances.
struct Slots {
    requests: Slot,
    gen_ai_duration: Slot,
    /// Input, cached input, cache write, then OpenTelemetry's input.
    input: Option<[Slot; 4]>,
    /// Output, reasoning, then OpenTelemetry's output.
    output: Option<[Slot; 3]>,
    /// Time to the first token, and per token after it; none where the request failed.
    pace: Option<[Slot; 2]>,
}

impl Counts {
    /// Counts in `bank`; the error names what the bank has not, or otherwise.
    pub fn new(bank: Arc<Bank>, names: &Families, providers: HashMap<String, String>) -> Result<Self, String> {
        let family = |name: &str| bank.family(name).ok_or_else(|| name.to_owned());
        let slot =
            |name: &str, labels: &[&str]| bank.slot(family(name)?, labels).map_err(|err| format!("{name}: {err}"));
        for phase in ["before_head", "before_commit", "streaming"] {
            slot(&names.disconnects, &[phase])?;
        }
        let bytes = |side, direction| slot(&names.bytes, &[side, direction]);
        Ok(Self {
            requests: family(&names.requests)?,
            tokens: family(&names.tokens)?,
            malformed: family(&names.malformed)?,
            disconnects: family(&names.disconnects)?,
            gen_ai_duration: family(&names.gen_ai_duration)?,
            gen_ai_usage: family(&names.gen_ai_usage)?,
            gen_ai_first: family(&names.gen_ai_first)?,
            gen_ai_per_token: family(&names.gen_ai_per_token)?,
            duration: slot(&names.duration, &[])?,
            overhead: slot(&names.overhead, &[])?,
            bytes: [
                bytes("client", "in")?,
                bytes("client", "out")?,
                bytes("upstream", "in")?,
                bytes("upstream", "out")?,
            ],
            first_content: slot(&names.first_content, &[])?,
            heartbeats: slot(&names.heartbeats, &[])?,
            providers,
            known: Mutex::default(),
            bank,
        })
    }

    /// Counts everything that a row says.
    pub fn count<S: AsRef<str>>(&self, row: &Row<S>) {
        let slots = self.slots(row);
        let bank = &self.bank;
        bank.add(slots.requests, 1);
        bank.record(slots.gen_ai_duration, row.duration);
        bank.record(self.duration, row.duration);
        bank.record(self.overhead, row.overhead);
        let bytes = [row.bytes_in, row.bytes_out, row.upstream_bytes_in, row.upstream_bytes_out];
        for (slot, bytes) in self.bytes.into_iter().zip(bytes) {
            bank.add(slot, bytes);
        }
        let Tokens { input, output, cached_input, cache_write, reasoning } = row.usage.tokens;
        if let Some([whole, cached, written, observed]) = slots.input {
            bank.add(whole, input);
            bank.add(cached, cached_input);
            bank.add(written, cache_write);
            bank.observe(observed, input);
        }
        if let Some([whole, hidden, observed]) = slots.output {
            bank.add(whole, output);
            bank.add(hidden, reasoning);
            bank.observe(observed, output);
        }
        if let Some(first) = row.time_to_first_content {
            bank.record(self.first_content, first);
            if let Some([to_first, per_token]) = slots.pace {
                bank.record(to_first, first);
                if output > 1 {
                    bank.record(per_token, (row.duration - first) / (output - 1) as f64);
                }
            }
        }
        self.count_what_is_rare(row);
    }

    fn count_what_is_rare<S: AsRef<str>>(&self, row: &Row<S>) {
        if row.malformed_events > 0 {
            self.add(self.malformed, &[row.target.as_ref()], row.malformed_events);
        }
        if row.heartbeats > 0 {
            self.bank.add(self.heartbeats, row.heartbeats);
        }
        if !row.left.as_ref().is_empty() {
            self.add(self.disconnects, &[row.left.as_ref()], 1);
        }
        // What an attempt reported that did not become the answer: the provider has counted it, and so do we.
        for attempt in row.attempts.iter().filter(|attempt| !attempt.decisive) {
            if let Some(Usage { tokens, input_provenance, output_provenance, .. }) = &attempt.usage {
                for (direction, provenance, count) in [
                    ("input", input_provenance, tokens.input),
                    ("cached_input", input_provenance, tokens.cached_input),
                    ("cache_write", input_provenance, tokens.cache_write),
                    ("output", output_provenance, tokens.output),
                    ("reasoning", output_provenance, tokens.reasoning),
                ] {
                    if is_told(provenance.as_ref()) {
                        let labels = [row.model.as_ref(), attempt.target.as_ref(), direction, provenance.as_ref()];
                        self.add(self.tokens, &labels, count);
                    }
                }
            }
        }
    }

    fn add(&self, family: FamilyId, labels: &[&str], count: u64) {
        if let Ok(slot) = self.bank.slot(family, labels) {
            self.bank.add(slot, count);
        }
    }

    fn slots<S: AsRef<str>>(&self, row: &Row<S>) -> Arc<Slots> {
        let mut key = String::with_capacity(160);
        let usage = &row.usage;
        for part in [&row.model, &row.target, &row.upstream, &row.operation, &row.error_code] {
            key.push_str(part.as_ref());
            key.push('\0');
        }
        key.push_str(itoa::Buffer::new().format(row.status));
        key.push_str(usage.input_provenance.as_ref());
        key.push_str(usage.output_provenance.as_ref());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slots) = known.get(&key) {
            return Arc::clone(slots);
        }
        let slots = Arc::new(self.learn(row));
        if known.len() < KNOWN {
            known.insert(key, Arc::clone(&slots));
        }
        slots
    }

    fn learn<S: AsRef<str>>(&self, row: &Row<S>) -> Slots {
        let (model, target, upstream) = (row.model.as_ref(), row.target.as_ref(), row.upstream.as_ref());
        let provider = self.providers.get(upstream).map_or(upstream, String::as_str);
        let provider = if provider.is_empty() { OTHER } else { provider };
        let answering = target.strip_prefix(upstream).and_then(|rest| rest.strip_prefix('/')).unwrap_or(target);
        let asked = [row.operation.as_ref(), provider, model, answering];
        let also = |label| [asked[0], asked[1], asked[2], asked[3], label];
        // The numbers of labels are the table's, which Counts::new has not seen: a table that has others counts nothing.
        let nowhere = Slot::from_bits(u64::MAX);
        let slot = |family, labels: &[&str]| self.bank.slot(family, labels).unwrap_or(nowhere);
        let input = row.usage.input_provenance.as_ref();
        let output = row.usage.output_provenance.as_ref();
        let tokens = |direction, provenance| slot(self.tokens, &[model, target, direction, provenance]);
        let error = row.error_code.as_ref();
        Slots {
            requests: slot(self.requests, &[model, target, itoa::Buffer::new().format(row.status), error]),
            gen_ai_duration: slot(self.gen_ai_duration, &also(error)),
            input: is_told(input).then(|| {
                [
                    tokens("input", input),
                    tokens("cached_input", input),
                    tokens("cache_write", input),
                    slot(self.gen_ai_usage, &also("input")),
                ]
            }),
            output: is_told(output).then(|| {
                [tokens("output", output), tokens("reasoning", output), slot(self.gen_ai_usage, &also("output"))]
            }),
            pace: error.is_empty().then(|| [slot(self.gen_ai_first, &asked), slot(self.gen_ai_per_token, &asked)]),
        }
    }
}

/// Whether a direction's count came from anywhere.
fn is_told(provenance: &str) -> bool {
    !matches!(provenance, "" | "none")
}
