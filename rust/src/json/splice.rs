//! Replaces, inserts and removes members of a JSON object as text: whatever is not named stays byte for byte as it came.
//!
//! [`find`], [`insert_first`] and [`remove`] say *where*, as [`Edits`]; how the text is put together is the caller's
//! choice: into one buffer, or as segments of which only the new bytes were ever copied.

use std::borrow::Cow;
use std::ops::Range;

use super::scan::{Cursor, Malformed};

#[cfg(test)]
pub(crate) mod tests;

/// Replacements of spans of one text, kept in the order of the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits<'r> {
    list: Vec<(Range<usize>, Cow<'r, [u8]>)>,
}

/// A piece of an edited text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment<'r> {
    /// This span of the text, unaltered.
    Text(Range<usize>),
    /// These bytes instead.
    New(Cow<'r, [u8]>),
}

impl<'r> Edits<'r> {
    /// No edits: the text as it is.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `bytes` in the place of `span`; an empty span inserts, no bytes remove. Spans must not overlap; of two that
    /// do, the later one loses what the earlier one has taken. What is inserted at the start of a span comes before it.
    pub fn replace(&mut self, span: Range<usize>, bytes: impl Into<Cow<'r, [u8]>>) {
        let after = self.list.partition_point(|(other, _)| (other.start, other.end) <= (span.start, span.end));
        self.list.insert(after, (span, bytes.into()));
    }

    /// Whether the text stays as it is.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The edited text of `length` bytes as segments, in order, none of them empty.
    pub fn into_segments(self, length: usize) -> Vec<Segment<'r>> {
        let mut segments = Vec::with_capacity(2 * self.list.len() + 1);
        let mut pos = 0;
        for (span, bytes) in self.list {
            if pos < span.start.min(length) {
                segments.push(Segment::Text(pos..span.start.min(length)));
            }
            if !bytes.is_empty() {
                segments.push(Segment::New(bytes));
            }
            pos = pos.max(span.end);
        }
        if pos < length {
            segments.push(Segment::Text(pos..length));
        }
        segments
    }

    /// Appends the edited text to `out`.
    pub fn apply(&self, text: &[u8], out: &mut Vec<u8>) {
        let mut pos = 0;
        for (span, bytes) in &self.list {
            let start = span.start.min(text.len());
            out.extend_from_slice(&text[pos.min(start)..start]);
            out.extend_from_slice(bytes);
            pos = pos.max(span.end).min(text.len());
        }
        out.extend_from_slice(&text[pos..]);
    }
}

/// The span of the value of the last top-level member of that name, which is the one most readers take. Escaped
/// spellings of the name count; `text` is one object.
pub fn find(text: &[u8], name: &[u8]) -> Result<Option<Range<usize>>, Malformed> {
    let (mut cursor, mut first, mut found) = (Cursor::new(text), true, None);
    cursor.object()?;
    while let Some(key) = cursor.key(&mut first)? {
        let value = cursor.skip()?;
        if *key.name() == *name {
            found = Some(value);
        }
    }
    Ok(found)
}

/// Inserts `"name":value` as the first member of the object whose brace stands at `open`; the object keeps at least one
/// of its members, or has none. Only the object's head is read.
pub fn insert_first(
    edits: &mut Edits<'_>,
    text: &[u8],
    open: usize,
    name: &str,
    value: &[u8],
) -> Result<(), Malformed> {
    let mut cursor = Cursor::at(text, open);
    cursor.object()?;
    let inside = cursor.position();
    let mut member = quote(name);
    member.push(b':');
    member.extend_from_slice(value);
    if cursor.key(&mut true)?.is_some() {
        member.push(b',');
    }
    edits.replace(inside..inside, member);
    Ok(())
}

/// Removes every member, and one comma with each, of the object whose brace stands at `open`, if its name is chosen.
pub fn remove(
    edits: &mut Edits<'_>,
    text: &[u8],
    open: usize,
    chosen: impl Fn(&[u8]) -> bool,
) -> Result<(), Malformed> {
    let (mut cursor, mut first) = (Cursor::at(text, open), true);
    cursor.object()?;
    // A member after one that stays goes with the comma before it, others with the comma behind.
    let (mut one_stays, mut previous_end, mut leading) = (false, 0, None);
    while let Some(key) = cursor.key(&mut first)? {
        let value = cursor.skip()?;
        let goes = chosen(&key.name());
        match (goes, one_stays) {
            (true, true) => edits.replace(previous_end..value.end, &b""[..]),
            (true, false) => leading = Some(leading.map_or(key.at, |span: Range<usize>| span.start)..value.end),
            (false, _) => {
                if let Some(span) = leading.take() {
                    edits.replace(span.start..key.at, &b""[..]);
                }
                one_stays = true;
            }
        }
        previous_end = value.end;
    }
    if let Some(span) = leading {
        edits.replace(span, &b""[..]);
    }
    Ok(())
}

/// A string as JSON, quotes included. Only what must be escaped is.
pub fn quote(text: &str) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut out = Vec::with_capacity(text.len() + 2);
    out.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1F => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
    out
}
