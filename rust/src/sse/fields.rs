//! The fields of one event, by the WHATWG rules: one space after the colon is dropped, several `data` lines are joined
//! with LF, names are case-sensitive, a line that starts with a colon is a comment.

use std::borrow::Cow;
use std::ops::Range;

use super::BOM;

#[cfg(test)]
mod tests;

/// What the lines of one event say. Nothing is copied but the data of an event with several `data` lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The event's type: the last `event` line's value, empty if there is none.
    pub name: &'a [u8],
    /// The values of the `data` lines, joined with LF.
    pub data: Cow<'a, [u8]>,
    /// There is a `data` line, be it empty: only then a reader dispatches the event.
    pub has_data: bool,
    /// The value of the first `error` line: no field of the standard, but how some servers report a failure.
    pub error: Option<&'a [u8]>,
    /// The last `id` line's value; one that holds NUL is ignored.
    pub id: Option<&'a [u8]>,
    /// The last `retry` line's value; one that is not all digits is ignored.
    pub retry: Option<&'a [u8]>,
    /// There are `id` or `retry` lines, which [`without_lines`] leaves out.
    pub dropped: bool,
    /// There is no field line, only comments and the blank line.
    pub only_comments: bool,
    raw: &'a [u8],
    /// Where the first `data` line's value stands in `raw`.
    data_at: usize,
    first: bool,
}

impl<'a> Fields<'a> {
    /// Reads a block's bytes, or what is pending at the end of a stream. `first` as in [`super::Block`].
    #[allow(clippy::inline_always)] // a call costs each event of a stream 25 instructions (callgrind)
    #[inline(always)]
    pub fn parse(raw: &'a [u8], first: bool) -> Self {
        let mut fields = Self {
            name: b"",
            data: Cow::Borrowed(b""),
            has_data: false,
            error: None,
            id: None,
            retry: None,
            dropped: false,
            only_comments: true,
            raw,
            data_at: 0,
            first,
        };
        for line in Lines::new(raw, first) {
            match line.field(raw) {
                Field::None => continue,
                Field::Data(value) => fields.add_data(&raw[value.clone()], value.start),
                Field::Other(b"event", value) => fields.name = value,
                Field::Other(b"error", value) => fields.error = fields.error.or(Some(value)),
                Field::Other(b"id", value) => {
                    fields.dropped = true;
                    fields.id = if value.contains(&0) { fields.id } else { Some(value) };
                }
                Field::Other(b"retry", value) => {
                    fields.dropped = true;
                    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
                    fields.retry = if digits { Some(value) } else { fields.retry };
                }
                Field::Other(..) => {}
            }
            fields.only_comments = false;
        }
        fields
    }

    fn add_data(&mut self, value: &'a [u8], at: usize) {
        if self.has_data {
            let data = self.data.to_mut();
            data.push(b'\n');
            data.extend_from_slice(value);
        } else {
            self.has_data = true;
            self.data = Cow::Borrowed(value);
            self.data_at = at;
        }
    }

    /// Where a span of `data` stands in the block's bytes; `None` if it crosses a line end or is outside.
    pub fn raw_range(&self, span: Range<usize>) -> Option<Range<usize>> {
        if span.start > span.end || span.end > self.data.len() {
            return None;
        }
        if let Cow::Borrowed(_) = self.data {
            return Some(self.data_at + span.start..self.data_at + span.end);
        }
        let mut start = 0;
        for line in Lines::new(self.raw, self.first) {
            let Field::Data(value) = line.field(self.raw) else { continue };
            if span.start <= start + value.len() {
                let at = value.start + (span.start - start);
                return (span.end <= start + value.len()).then(|| at..at + span.len());
            }
            start += value.len() + 1;
        }
        None
    }
}

/// Copies a block to `out` without byte order mark, `id` and `retry` lines; copies nothing if no other field and no
/// comment is left. `first` as in [`super::Block`].
///
/// Where a line that ended in CR comes to stand before a blank one that is an LF, one more LF keeps them apart: together they
/// were one line's end, and the event stayed open.
pub fn without_lines(raw: &[u8], first: bool, out: &mut Vec<u8>) {
    let before = out.len();
    let mut left = false;
    for line in Lines::new(raw, first) {
        if let Field::Other(b"id" | b"retry", _) = line.field(raw) {
            continue;
        }
        left |= line.start < line.end;
        let kept = &raw[line.start..line.next];
        if kept == b"\n" && out[before..].ends_with(b"\r") {
            out.push(b'\n');
        }
        out.extend_from_slice(kept);
    }
    if !left {
        out.truncate(before);
    }
}

/// The line ends that close an event left open, in its own line-end style; empty if nothing is pending.
pub fn missing_line_ends(pending: &[u8]) -> &'static [u8] {
    match (pending.last(), first_line_end_is_crlf(pending)) {
        (None, _) => b"",
        (Some(b'\r'), _) => b"\n\r\n",
        (Some(b'\n'), false) => b"\n",
        (Some(b'\n'), true) => b"\r\n",
        (Some(_), false) => b"\n\n",
        (Some(_), true) => b"\r\n\r\n",
    }
}

/// Whether the first line of `text` ends in CRLF.
pub(super) fn first_line_end_is_crlf(text: &[u8]) -> bool {
    memchr::memchr2(b'\n', b'\r', text).is_some_and(|i| text[i..].starts_with(b"\r\n"))
}

/// The lines of a block, without a byte order mark.
struct Lines<'a> {
    raw: &'a [u8],
    pos: usize,
}

/// A line's place in the block.
struct Line {
    start: usize,
    /// Where its line end starts.
    end: usize,
    /// Where the next line starts.
    next: usize,
}

/// What a line is.
enum Field<'a> {
    /// A comment or a blank line.
    None,
    /// A `data` line, and where its value stands.
    Data(Range<usize>),
    /// Any other field's name and value.
    Other(&'a [u8], &'a [u8]),
}

impl<'a> Lines<'a> {
    fn new(raw: &'a [u8], first: bool) -> Self {
        Self { raw, pos: if first && raw.starts_with(BOM) { BOM.len() } else { 0 } }
    }
}

impl Iterator for Lines<'_> {
    type Item = Line;

    #[inline]
    fn next(&mut self) -> Option<Line> {
        let (start, raw) = (self.pos, self.raw);
        if start == raw.len() {
            return None;
        }
        let end = match raw[start] {
            b'\n' | b'\r' => start,
            _ => memchr::memchr2(b'\n', b'\r', &raw[start..]).map_or(raw.len(), |i| start + i),
        };
        let next = match &raw[end..] {
            [b'\r', b'\n', ..] => end + 2,
            [_, ..] => end + 1,
            [] => end,
        };
        self.pos = next;
        Some(Line { start, end, next })
    }
}

impl Line {
    #[inline]
    fn field<'a>(&self, raw: &'a [u8]) -> Field<'a> {
        let line = &raw[self.start..self.end];
        if line.starts_with(b"data:") {
            return Field::Data(self.start + 5 + usize::from(line.get(5) == Some(&b' '))..self.end);
        }
        if line.is_empty() {
            return Field::None;
        }
        let colon = if line.starts_with(b"event:") { Some(5) } else { memchr::memchr(b':', line) };
        match colon {
            Some(0) => Field::None,
            Some(i) => Field::Other(&line[..i], &line[i + 1 + usize::from(line.get(i + 1) == Some(&b' '))..]),
            None if line == b"data" => Field::Data(self.end..self.end),
            None => Field::Other(line, b""),
        }
    }
}
