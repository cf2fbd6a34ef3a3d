//! What the events of one stream have in common, so that the next one of their kind need not be walked: 300 instead of
//! 4,000 instructions for a chat chunk of 330 bytes (callgrind).
//!
//! A template is the data of an event that was walked, cut into literal pieces and at most [`SLOTS`] slots between
//! them. An event that consists of the same pieces, with something of the same kind in each slot, means the same. That
//! is exact, not likely, and rests on these rules:
//!
//! 1. A template is only learnt from an event that changed nothing of its [`Reader`](super::Reader) but to mark its
//!    choices as seen: it is content, commits, brings no usage, finishes and ends nothing, and is no error. To read it
//!    again changes nothing, since its choices' indices stand in its pieces.
//! 2. A slot is the inside of a string that is a member's value, or the number of a member in [`COUNTERS`]. Where it
//!    ends is found by the same lexer that walks: so the walk over the new event meets the same tokens as the one over
//!    the old, in the same order, up to what stands in the slots. (Outside of strings every quote begins one, in what
//!    is walked and in what is passed over; what the walk takes for a member's value follows a name and a colon.)
//! 3. Of a string's inside the walk asks whether it is empty, which both must not be, and nothing else, with two
//!    exceptions that never become slots: a `type` is compared with words, and the model's span is given out. Names
//!    with escapes, which could be `type`, are left alone with their values.
//! 4. Of those numbers it asks at most whether they are zero; a slot starts with 1 to 9 and holds digits only, and
//!    nothing but a comma or a closing brace follows. No dialect counts tokens or choices under these names.
//!
//! Who makes a dialect look at more of a string than this adds its name to rule 3: the tests compare the readings of
//! every recorded stream, and of mutated events, with those of a reader that has no template.

use std::ops::Range;

use crate::json::scan::Cursor;

use super::Reading;

/// The longest data that is remembered, in bytes: thousands of idle streams hold one each.
const LONGEST: usize = 2048;
/// How many slots there may be: text, padding, a counter, and one to spare.
const SLOTS: usize = 4;
/// Members whose numbers may differ from event to event.
const COUNTERS: [&[u8]; 2] = [b"sequence_number", b"created"];
/// After as many misses in a row learning becomes ever rarer: the stream's events have nothing in common.
const PATIENCE: u32 = 16;

/// The last plain event, and where the next may differ from it.
#[derive(Debug, Clone, Default)]
pub(super) struct Template {
    /// The event's data; empty as long as there is none.
    text: Vec<u8>,
    slots: [Slot; SLOTS],
    used: usize,
    model: Option<Range<usize>>,
    /// Events learnt from, or passed over, since the last one that fitted.
    misses: u32,
}

/// A place in an event's data where anything of its kind may stand.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    start: usize,
    end: usize,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    /// The inside of a string, quotes excluded.
    #[default]
    Text,
    /// Digits, the first of them not zero.
    Digits,
}

/// The values in an event's data that may become slots, in order.
struct Values<'a> {
    text: &'a [u8],
    pos: usize,
}

// === impl Template ===

impl Template {
    /// What an event with this data means; `None` if it has to be walked.
    #[inline]
    pub(super) fn reading(&mut self, data: &[u8]) -> Option<Reading> {
        if self.text.is_empty() {
            return None;
        }
        let (mut from, mut pos, mut moved) = (0, 0, 0);
        for slot in &self.slots[..self.used] {
            pos = after(&self.text[from..slot.start], data, pos)?;
            from = slot.end;
            pos = slot.kind.end(data, pos)?;
            if self.model.as_ref().is_some_and(|model| model.start >= from) {
                moved = pos.wrapping_sub(from);
            }
        }
        if data[pos..] != self.text[from..] {
            return None;
        }
        self.misses = 0;
        let model = self.model.as_ref().map(|span| span.start.wrapping_add(moved)..span.end.wrapping_add(moved));
        Some(Reading { commits: true, content: true, model, ..Reading::default() })
    }

    /// Remembers the data of an event that did not fit, was walked, and is one that rule 1 allows. What it differs in
    /// from the one before becomes a slot; if that cannot be, it is remembered without slots.
    pub(super) fn learn(&mut self, data: &[u8], model: Option<&Range<usize>>) {
        self.misses = self.misses.saturating_add(1);
        if data.len() > LONGEST || (self.misses > PATIENCE && !self.misses.is_power_of_two()) {
            return;
        }
        (self.slots, self.used) = self.slots_in(data, model).unwrap_or_default();
        self.model = model.cloned();
        self.text.clear();
        self.text.reserve_exact(data.len());
        self.text.extend_from_slice(data);
    }

    /// Where `data` differs from the event before; `None` if it does so elsewhere than in slots.
    fn slots_in(&self, data: &[u8], model: Option<&Range<usize>>) -> Option<([Slot; SLOTS], usize)> {
        let (mut slots, mut used) = ([Slot::default(); SLOTS], 0);
        let (mut from, mut pos) = (0, 0);
        let (mut olds, mut news) = (Values { text: &self.text, pos: 0 }, Values { text: data, pos: 0 });
        while let (Some(old), Some(new)) = (olds.next(), news.next()) {
            if self.text[from..old.start] != data[pos..new.start] {
                return None;
            }
            let (before, now) = (&self.text[old.start..old.end], &data[new.start..new.end]);
            let was_slot = self.slots[..self.used].iter().any(|slot| slot.start == old.start);
            // What is empty now stays a piece: the next one that is not will be learnt from.
            if (was_slot || before != now) && !now.is_empty() {
                let is_model = model.is_some_and(|span| span.contains(&new.start));
                if is_model || old.kind != new.kind {
                    return None;
                }
                *slots.get_mut(used)? = new;
                used += 1;
            }
            (from, pos) = (old.end, new.end);
        }
        (self.text[from..] == data[pos..]).then_some((slots, used))
    }
}

/// The offset behind `piece`, which must stand at `pos`.
#[inline]
fn after(piece: &[u8], data: &[u8], pos: usize) -> Option<usize> {
    data[pos..].starts_with(piece).then_some(pos + piece.len())
}

// === impl Kind ===

impl Kind {
    /// Where what stands at `pos` ends; `None` if it is nothing of this kind. A string's quote stands before `pos`.
    #[inline]
    fn end(self, data: &[u8], pos: usize) -> Option<usize> {
        let end = match self {
            Self::Text => Cursor::at(data, pos - 1).string().ok()?.0.end,
            Self::Digits if data.get(pos) == Some(&b'0') => pos,
            Self::Digits => pos + data[pos..].iter().take_while(|byte| byte.is_ascii_digit()).count(),
        };
        (end > pos).then_some(end)
    }
}

// === impl Values ===

impl Iterator for Values<'_> {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        loop {
            self.pos += memchr::memchr(b'"', &self.text[self.pos..])?;
            let mut cursor = Cursor::at(self.text, self.pos);
            let (name, escaped) = cursor.string().ok()?;
            self.pos = cursor.position();
            let rest = self.text[self.pos..].trim_ascii_start();
            let Some(value) = rest.strip_prefix(b":").map(<[u8]>::trim_ascii_start) else { continue };
            let (name, start) = (&self.text[name], self.text.len() - value.len());
            if escaped || name == b"type" {
                continue;
            }
            if value.starts_with(b"\"") {
                let mut cursor = Cursor::at(self.text, start);
                let (inside, _) = cursor.string().ok()?;
                self.pos = cursor.position();
                return Some(Slot { start: inside.start, end: inside.end, kind: Kind::Text });
            }
            if COUNTERS.contains(&name) {
                let Some(end) = Kind::Digits.end(self.text, start) else { continue };
                if matches!(self.text.get(end), Some(b',' | b'}')) {
                    self.pos = end;
                    return Some(Slot { start, end, kind: Kind::Digits });
                }
            }
        }
    }
}
