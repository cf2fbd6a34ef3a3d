//! What an API page wants to stand in an answer beside what the upstream said, put into its text.
//!
//! 1. Nothing of the answer is written anew: values are replaced and members added in place. What only the end of an
//!    answer tells (how long it took, what was used) is written when the end is there.
//! 2. A member that the upstream sent under a name of ours gives its place: no object says the same twice.
//! 3. The edits of one text are worked out from it as it came; where they stand in a block is the caller's to find.

use crate::dialect::{fold, Dialect, Reported};
use crate::json::scan::{Cursor, Kind, Malformed};
use crate::json::splice::{find, quote};
use crate::json::unescape::unescape;
use crate::tariff::Tariff;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

#[cfg(test)]
pub(crate) mod tests;

const CREDITS: &str = "credits_consumed";

/// What a page wants put into answers.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Said of the finished answer, in its body or its last event.
    pub note: Option<Note>,
    /// Usage names the credits by it.
    pub tariff: Option<Arc<Tariff>>,
    /// Finish reasons are among those the page knows.
    pub finishes: Option<Arc<Finishes>>,
}

/// A member said of a finished answer.
#[derive(Debug, Clone)]
pub struct Note {
    /// The member's name.
    pub name: Box<str>,
    /// Its value but for the end: an object, not empty, whose closing brace is missing.
    pub open: Box<[u8]>,
    /// The upstream's own text is repeated in it.
    pub raw: bool,
}

/// The finish reasons of a page, as JSON strings.
#[derive(Debug, Clone)]
pub struct Finishes {
    /// What upstreams say, without quotes, and what the page says instead.
    pub known: HashMap<Box<[u8]>, Box<[u8]>>,
    /// What the page says of all others.
    pub other: Box<[u8]>,
}

/// What is known when an answer, or its last event, is there.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// How the answer was read.
    pub dialect: Dialect,
    /// From the request to the answer's last event, in microseconds.
    pub latency: u64,
    /// The upstream's last word on usage.
    pub reported: Option<Reported>,
}

// === impl Page ===

impl Page {
    /// The edits of a whole answer.
    pub fn whole(&self, text: &[u8], facts: &Facts, put: &mut impl FnMut(Range<usize>, Vec<u8>)) {
        self.reasons(text, facts.dialect, put);
        self.credits(text, &["usage"], facts, put);
        self.note(text, facts, put);
    }

    /// The edits of an event's data. It `finishes` a choice, brings `usage`, or is the `last`.
    pub fn event(
        &self,
        text: &[u8],
        (finishes, usage, last): (bool, bool, bool),
        facts: &Facts,
        put: &mut impl FnMut(Range<usize>, Vec<u8>),
    ) {
        if finishes {
            self.reasons(text, facts.dialect, put);
        }
        if usage {
            self.credits(text, facts.dialect.usage_path(), facts, put);
        }
        if last {
            self.note(text, facts, put);
        }
    }

    /// Events must be seen whole, since what stands in any of them may have to be replaced.
    pub fn rewrites(&self) -> bool {
        self.tariff.is_some() || self.finishes.is_some()
    }

    fn reasons(&self, text: &[u8], dialect: Dialect, put: &mut impl FnMut(Range<usize>, Vec<u8>)) {
        if let Some(finishes) = self.finishes.as_deref().filter(|_| dialect.ends_with_done()) {
            // What is not JSON says nothing that could be replaced.
            let _ = finishes.replace(text, put);
        }
    }

    /// Only where both directions were told: what is left to estimate is not known here.
    fn credits(&self, text: &[u8], path: &[&str], facts: &Facts, put: &mut impl FnMut(Range<usize>, Vec<u8>)) {
        let (Some(tariff), Some(reported)) = (&self.tariff, facts.reported) else { return };
        if reported.input.is_none() || reported.output.is_none() {
            return;
        }
        let cost = tariff.cost(&fold(facts.dialect, &reported));
        let (Some(credits), Some(usage)) = (tariff.credits(cost), at(text, path)) else { return };
        if let Some((span, bytes)) = last_member(&text[usage.clone()], CREDITS, credits.to_string().as_bytes()) {
            put(usage.start + span.start..usage.start + span.end, bytes);
        }
    }

    fn note(&self, text: &[u8], facts: &Facts, put: &mut impl FnMut(Range<usize>, Vec<u8>)) {
        let placed = self.note.as_ref().and_then(|note| last_member(text, &note.name, &note.value(text, facts)));
        if let Some((span, bytes)) = placed {
            put(span, bytes);
        }
    }
}

// === impl Note ===

impl Note {
    /// Latency in milliseconds, usage as the ledger counts it and only as far as it was told, the upstream's text.
    fn value(&self, said: &[u8], facts: &Facts) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.open.len() + 128);
        out.extend_from_slice(&self.open);
        out.extend_from_slice(format!(",\"latency\":{}", facts.latency / 1000).as_bytes());
        if let Some(reported) = facts.reported {
            let tokens = fold(facts.dialect, &reported);
            let counts = [
                reported.input.map(|_| format!("\"prompt_tokens\":{}", tokens.input)),
                reported.output.map(|_| format!("\"completion_tokens\":{}", tokens.output)),
            ];
            let counts: Vec<String> = counts.into_iter().flatten().collect();
            out.extend_from_slice(format!(",\"billed_usage\":{{{}}}", counts.join(",")).as_bytes());
        }
        if self.raw {
            out.extend_from_slice(b",\"raw_response\":");
            out.extend_from_slice(said.trim_ascii());
        }
        out.push(b'}');
        out
    }
}

// === impl Finishes ===

impl Finishes {
    /// Replaces the `finish_reason` of every choice that has one and says something else than the page would.
    fn replace(&self, text: &[u8], put: &mut impl FnMut(Range<usize>, Vec<u8>)) -> Result<(), Malformed> {
        let Some(choices) = at(text, &["choices"]) else { return Ok(()) };
        let mut cursor = Cursor::at(text, choices.start);
        if cursor.peek() != Kind::Array {
            return Ok(());
        }
        cursor.array()?;
        let mut first = true;
        while cursor.element(&mut first)? {
            let choice = cursor.skip()?;
            let Ok(Some(value)) = find(&text[choice.clone()], b"finish_reason") else { continue };
            let value = choice.start + value.start..choice.start + value.end;
            let [b'"', inside @ .., b'"'] = &text[value.clone()] else { continue };
            let (inside, said) = (unescape(inside), &text[value.clone()]);
            let ours = self.known.get(&*inside).unwrap_or(&self.other);
            if **ours != *said && !inside.is_empty() {
                put(value, ours.to_vec());
            }
        }
        Ok(())
    }
}

/// The value at a path of members, from the top of an object; `None` if there is none.
fn at(text: &[u8], path: &[&str]) -> Option<Range<usize>> {
    let mut span = 0..text.len();
    for name in path {
        let value = find(&text[span.clone()], name.as_bytes()).ok()??;
        span = span.start + value.start..span.start + value.end;
    }
    Some(span)
}

/// Where in an object a member goes and what is put there: in the place of one of its name, or behind all others.
fn last_member(object: &[u8], name: &str, value: &[u8]) -> Option<(Range<usize>, Vec<u8>)> {
    let inside = object.trim_ascii().strip_prefix(b"{")?.strip_suffix(b"}")?;
    if let Ok(Some(span)) = find(object, name.as_bytes()) {
        return Some((span, value.to_vec()));
    }
    let close = object.trim_ascii_end().len() - 1;
    let comma: &[u8] = if inside.trim_ascii().is_empty() { b"" } else { b"," };
    Some((close..close, [comma, &quote(name), b":", value].concat()))
}
