//! A response's head: gathered line by line, parsed once, and what it says about its body.

use memchr::memchr;
use std::ops::Range;

use super::{BodyKind, Limits, Protocol, MAX_LENGTH};

/// Every head begins so. Whatever else answers (TLS, HTTP/2, a mail server) is refused at its first byte.
const PREFIX: &[u8] = b"HTTP/1.";

/// A final response's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// 200 to 599.
    pub status: u16,
    /// The connection may carry another request once this response is complete.
    pub keep_alive: bool,
    /// How the end of the body is told.
    pub body: BodyKind,
    bytes: Vec<u8>,
    fields: Vec<Field>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    name: Range<u32>,
    value: Range<u32>,
}

impl Head {
    /// The value of the first field called `name` (ASCII case does not matter), without surrounding blanks.
    pub fn get<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The values of all fields called `name`, in their order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields().filter(move |(found, _)| found.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Names as they were spelled, and values, in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| (self.slice(&field.name), self.slice(&field.value)))
    }

    fn slice(&self, range: &Range<u32>) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }
}

/// The bytes of an unfinished head, and how far they were looked at.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    scanned: usize,
    line_start: usize,
    count: usize,
}

impl Lines {
    /// Bytes of memory held.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes bytes from `data` up to the blank line; `true` once it has come. Every byte is looked at once.
    pub(super) fn take(&mut self, data: &mut &[u8], limits: Limits) -> Result<bool, Protocol> {
        let before = self.bytes.len();
        let size = data.len().min(limits.head.saturating_sub(before));
        self.bytes.extend_from_slice(&data[..size]);
        let known = self.bytes.len().min(PREFIX.len());
        if self.bytes[..known] != PREFIX[..known] {
            return Err(Protocol::BadHead);
        }
        if let Some(end) = self.blank_line(limits)? {
            self.bytes.truncate(end);
            *data = &data[end - before..];
            return Ok(true);
        }
        if self.bytes.len() >= limits.head {
            return Err(Protocol::HeadTooLarge);
        }
        *data = &[];
        Ok(false)
    }

    fn blank_line(&mut self, limits: Limits) -> Result<Option<usize>, Protocol> {
        while let Some(distance) = memchr(b'\n', &self.bytes[self.scanned..]) {
            let line_feed = self.scanned + distance;
            if line_feed == 0 || self.bytes[line_feed - 1] != b'\r' {
                return Err(Protocol::BadHead);
            }
            self.scanned = line_feed + 1;
            if line_feed - self.line_start == 1 {
                return Ok(Some(self.scanned));
            }
            self.line_start = self.scanned;
            self.count += 1;
            if self.count > limits.headers + 1 {
                return Err(Protocol::HeadTooLarge);
            }
        }
        self.scanned = self.bytes.len();
        Ok(None)
    }

    /// Parses the complete head.
    pub(super) fn parse(mut self, answers_head: bool) -> Result<Head, Protocol> {
        self.bytes.shrink_to_fit();
        let mut headers = vec![httparse::EMPTY_HEADER; self.count];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = httparse::ParserConfig::default().parse_response(&mut response, &self.bytes);
        if parsed != Ok(httparse::Status::Complete(self.bytes.len())) {
            return Err(Protocol::BadHead);
        }
        let (Some(status @ 100..=599), Some(version)) = (response.code, response.version) else {
            return Err(Protocol::BadHead);
        };
        let mut framing = Framing::default();
        let mut fields = Vec::with_capacity(response.headers.len());
        for header in response.headers.iter() {
            framing.see(header.name, header.value)?;
            fields.push(Field { name: self.range(header.name.as_bytes()), value: self.range(header.value) });
        }
        let body = match framing.body()? {
            _ if answers_head || matches!(status, 100..=199 | 204 | 304) => BodyKind::None,
            body => body,
        };
        let keep_alive = !framing.close
            && body != BodyKind::Close
            && (version == 1 || (framing.keep_alive && body != BodyKind::Chunked));
        Ok(Head { status, keep_alive, body, bytes: self.bytes, fields })
    }

    /// Where `part`, a slice of the head's bytes, lies in them. An empty one may lie anywhere.
    fn range(&self, part: &[u8]) -> Range<u32> {
        let start = (part.as_ptr() as usize).wrapping_sub(self.bytes.as_ptr() as usize);
        match start.checked_add(part.len()) {
            Some(end) if end <= self.bytes.len() => start as u32..end as u32,
            _ => 0..0,
        }
    }
}

#[derive(Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl Framing {
    fn see(&mut self, name: &str, value: &[u8]) -> Result<(), Protocol> {
        if name.eq_ignore_ascii_case("content-length") {
            let length = decimal(value).filter(|_| self.length.is_none()).ok_or(Protocol::BadFraming)?;
            self.length = Some(length);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Protocol::BadFraming);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case("connection") {
            for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                self.close |= token.eq_ignore_ascii_case(b"close");
                self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        Ok(())
    }

    fn body(&self) -> Result<BodyKind, Protocol> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Protocol::BadFraming),
            (Some(length), false) => Ok(BodyKind::Length(length)),
            (None, true) => Ok(BodyKind::Chunked),
            (None, false) => Ok(BodyKind::Close),
        }
    }
}

/// Plain digits that make a length we accept: no sign, no list, no blanks inside.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, digit| {
        let value = (*digit as char).to_digit(10)?;
        sum.checked_mul(10)?.checked_add(u64::from(value)).filter(|sum| *sum <= MAX_LENGTH)
    })
}
