//! A cursor over JSON text that finds members without building a tree.
//!
//! Two strictnesses, for two sides. What an upstream sends is read *leniently*: the cursor only needs to know where
//! a value ends, so lone surrogates, `1e400`, `NaN`, control characters or an invalid escape elsewhere in an event
//! never hide its usage. What a client sends is first checked *strictly* against RFC 8259 by
//! [`validate`](super::validate::validate), because what we route by must be what the upstream reads.
//!
//! Nothing recurses: nesting is a counter, so depth costs no call stack.
//! Every method is linear in the bytes it passes over.

// Results of three or four words go through memory, and its wait costs more than the call: inlined, a chat chunk takes
// 30 % fewer instructions (callgrind: 5,084 to 3,507 for 225 bytes).
#![allow(clippy::inline_always)]

use super::unescape::unescape;
use std::borrow::Cow;
use std::ops::Range;

#[cfg(test)]
mod tests;

/// The text is not JSON as far as it had to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Byte offset at which reading stopped.
    pub at: usize,
    /// What is wrong there, in words for the caller.
    pub what: &'static str,
}

/// What a value is, told by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// A digit or a minus sign.
    Number,
    /// `t` or `f`
    Bool,
    /// `n`
    Null,
    /// Anything else, also the end of the text.
    Other,
}

/// A member's name as it stands in the text, without its quotes.
#[derive(Debug, Clone)]
pub struct Key<'a> {
    /// The bytes between the quotes, escapes and all.
    pub raw: &'a [u8],
    /// Where the opening quote stands.
    pub at: usize,
    pub(super) escaped: bool,
}

impl<'a> Key<'a> {
    /// The name with its escapes resolved: `"\u0075sage"` is `usage`.
    pub fn name(&self) -> Cow<'a, [u8]> {
        if self.escaped {
            unescape(self.raw)
        } else {
            Cow::Borrowed(self.raw)
        }
    }
}

/// The bytes that end a number, `true`, `false`, `null` or what stands in their place.
static ENDS_SCALAR: [bool; 256] = {
    let (mut ends, bytes) = ([false; 256], b",}]:\"{[ \t\n\r");
    let mut i = 0;
    while i < bytes.len() {
        ends[bytes[i] as usize] = true;
        i += 1;
    }
    ends
};

/// A position in JSON text; values are passed over or entered, in one direction.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    text: &'a [u8],
    pos: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte of `text`.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, pos: 0 }
    }

    /// Starts at byte `pos` of `text`; spans stay relative to `text`.
    pub fn at(text: &'a [u8], pos: usize) -> Self {
        Self { text, pos: pos.min(text.len()) }
    }

    /// The whole text, which spans are relative to.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The current byte offset.
    pub fn position(&self) -> usize {
        self.pos
    }

    /// What the next value is; moves past white space only.
    #[inline(always)]
    pub fn peek(&mut self) -> Kind {
        self.white();
        match self.text.get(self.pos) {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') => Kind::Null,
            _ => Kind::Other,
        }
    }

    /// Enters an object; [`Cursor::key`] then walks its members.
    #[inline]
    pub fn object(&mut self) -> Result<(), Malformed> {
        self.expect(b'{', "an object is expected")
    }

    /// Enters an array; [`Cursor::element`] then walks its elements.
    #[inline]
    pub fn array(&mut self) -> Result<(), Malformed> {
        self.expect(b'[', "an array is expected")
    }

    /// Moves to the next member's value and returns its name; `None` once the object is closed.
    /// `first` starts as true and belongs to this one object. The value must be passed or entered before the next call.
    #[inline(always)]
    pub fn key(&mut self, first: &mut bool) -> Result<Option<Key<'a>>, Malformed> {
        self.white();
        match self.text.get(self.pos) {
            Some(b'}') => {
                self.pos += 1;
                return Ok(None);
            }
            Some(b',') if !*first => {
                self.pos += 1;
                self.white();
            }
            _ if !*first => return Err(self.malformed("a comma or } is expected after a member")),
            _ => {}
        }
        *first = false;
        let at = self.pos;
        let (span, escaped) = self.string()?;
        self.expect(b':', "a colon is expected after a member's name")?;
        Ok(Some(Key { raw: &self.text[span], at, escaped }))
    }

    /// Moves to the next element; false once the array is closed. `first` as in [`Cursor::key`].
    #[inline(always)]
    pub fn element(&mut self, first: &mut bool) -> Result<bool, Malformed> {
        self.white();
        if self.eat(b']') {
            return Ok(false);
        }
        if !*first {
            self.expect(b',', "a comma or ] is expected after an element")?;
        }
        *first = false;
        Ok(true)
    }

    /// Passes over one value of any kind and returns where it stands.
    #[inline(always)]
    pub fn skip(&mut self) -> Result<Range<usize>, Malformed> {
        let kind = self.peek();
        let start = self.pos;
        match kind {
            Kind::String => {
                self.string()?;
            }
            Kind::Object | Kind::Array => self.container()?,
            _ => self.scalar()?,
        }
        Ok(start..self.pos)
    }

    /// Only white space is left.
    pub fn end(&mut self) -> Result<(), Malformed> {
        self.white();
        if self.pos == self.text.len() {
            Ok(())
        } else {
            Err(self.malformed("there is something after the JSON value"))
        }
    }

    /// Passes over a string and returns the span between its quotes and whether it holds escapes.
    #[inline(always)]
    pub fn string(&mut self) -> Result<(Range<usize>, bool), Malformed> {
        self.white();
        if !self.eat(b'"') {
            return Err(self.malformed("a string is expected"));
        }
        let start = self.pos;
        let mut escaped = false;
        loop {
            match end_of_run::<false>(&self.text[self.pos..]) {
                Some(i) if self.text[self.pos + i] == b'"' => {
                    let end = self.pos + i;
                    self.pos = end + 1;
                    return Ok((start..end, escaped));
                }
                Some(i) if self.pos + i + 1 < self.text.len() => {
                    escaped = true;
                    self.pos += i + 2;
                }
                _ => return Err(self.malformed("a string is not closed")),
            }
        }
    }

    fn container(&mut self) -> Result<(), Malformed> {
        let mut depth = 0usize;
        while let Some(&byte) = self.text.get(self.pos) {
            match byte {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.pos += 1;
                        return Ok(());
                    }
                }
                _ => {}
            }
            self.pos += 1;
        }
        Err(self.malformed("an object or array is not closed"))
    }

    fn scalar(&mut self) -> Result<(), Malformed> {
        let start = self.pos;
        if self.text[start..].starts_with(b"null") {
            self.pos += 4;
        }
        while let Some(&byte) = self.text.get(self.pos) {
            if ENDS_SCALAR[usize::from(byte)] {
                break;
            }
            self.pos += 1;
        }
        if self.pos == start {
            return Err(self.malformed("a value is expected"));
        }
        Ok(())
    }

    #[inline(always)]
    fn white(&mut self) {
        while let Some(&byte) = self.text.get(self.pos) {
            if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return;
            }
            self.pos += 1;
        }
    }

    #[inline(always)]
    fn eat(&mut self, byte: u8) -> bool {
        let hit = self.text.get(self.pos) == Some(&byte);
        self.pos += usize::from(hit);
        hit
    }

    #[inline(always)]
    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Malformed> {
        self.white();
        if self.eat(byte) {
            Ok(())
        } else {
            Err(self.malformed(what))
        }
    }

    #[cold]
    fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { at: self.pos, what }
    }
}

/// Where the first quote or backslash stands, or control character if `CONTROL`. Most runs are short: calling memchr
/// for each costs more than looking at their first 32 bytes eight at a time.
#[inline(always)]
pub(super) fn end_of_run<const CONTROL: bool>(text: &[u8]) -> Option<usize> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = 0x8080_8080_8080_8080;
    let mut rest = text;
    while let Some((bytes, behind)) = rest.split_first_chunk::<8>() {
        let at = text.len() - rest.len();
        if at == 32 {
            break;
        }
        let word = u64::from_le_bytes(*bytes);
        let (quote, slash) = (word ^ (EACH * 0x22), word ^ (EACH * 0x5C));
        // The lowest top bit left marks the first byte that is zero in either, or below 0x20.
        let mut marks = (quote.wrapping_sub(EACH) & !quote) | (slash.wrapping_sub(EACH) & !slash);
        if CONTROL {
            marks |= word.wrapping_sub(EACH * 0x20) & !word;
        }
        if marks & TOP != 0 {
            return Some(at + (marks & TOP).trailing_zeros() as usize / 8);
        }
        rest = behind;
    }
    let passed = text.len() - rest.len();
    let found = memchr::memchr2(b'"', b'\\', rest);
    let run = &rest[..found.unwrap_or(rest.len())];
    // A minimum the compiler takes 16 bytes at a time: 1 MB bodies are mostly one long string.
    if CONTROL && run.iter().fold(0xFF, |least, &byte| byte.min(least)) < 0x20 {
        return run.iter().position(|&byte| byte < 0x20).map(|i| passed + i);
    }
    found.map(|i| passed + i)
}

/// A count as providers write them: digits, or an integral decimal such as `12.0`; at most 2^53-1, where larger ones
/// saturate (design section 5). Negative, fractional, exponent, quoted and other values are `None`.
pub fn count(raw: &[u8]) -> Option<u64> {
    const LARGEST: u64 = (1 << 53) - 1;
    let (digits, fraction) = match memchr::memchr(b'.', raw) {
        Some(i) => (&raw[..i], Some(&raw[i + 1..])),
        None => (raw, None),
    };
    if digits.is_empty() || fraction.is_some_and(|f| f.is_empty() || f.iter().any(|&b| b != b'0')) {
        return None;
    }
    let mut n = 0u64;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        n = n.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
    }
    Some(n.min(LARGEST))
}
