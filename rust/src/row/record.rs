//! What is written into a spool, and how: frames of length, CRC and a record.
//!
//! Rules of this file:
//!
//! - A frame is eight bytes (the length of what follows and its CRC-32), then a byte that tells kind and version, the
//!   record's sequence in eight bytes, and the rest of the record as a `MessagePack` array; numbers are little-endian.
//!   What was written by an older version stays readable: fields are added at the end; whatever else changes gets a new
//!   kind.
//! - A frame counts once all of it is there and its CRC agrees. Reading never fails: what cannot be read is passed over
//!   and counted, frame by frame as long as lengths can be believed.

use super::{cut, micros, Row};

/// The longest frame that is written or believed, in bytes.
const LONGEST: usize = 1 << 16;
/// Kinds of records.
const ADMITTED: u8 = 0x11;
const FINISHED: u8 = 0x12;
/// Length and CRC; with kind and sequence.
const HEAD: usize = 8;
const BOTH: usize = HEAD + 9;
/// Counts end here: every reader of JSON holds it exactly.
const MOST: u64 = (1 << 53) - 1;

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Count,
    MaybeCount,
    Flag,
}

use Kind::{Count, Flag, MaybeCount, Text};

/// The fields of an admission: when, id, endpoint, stream, caller and its group, model as asked and as configured,
/// configuration.
const OF_ADMITTED: [Kind; 9] = [Count, Text, Text, Flag, Text, Text, Text, Text, Text];

/// The fields of an end: the store's columns but for its first two, in their order.
const OF_FINISHED: [Kind; 33] = [
    Count, Text, Text, Text, Flag, Count, Text, Text, Text, Text, Text, Text, Text, Text, // to attempts
    Count, Text, Text, Count, Count, Count, Count, Count, Text, Text, // to the output's provenance
    MaybeCount, MaybeCount, Text, Text, MaybeCount, Count, Count, Count, Count,
];

/// A field as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value<'a> {
    /// Text.
    Text(&'a str),
    /// A count, or a flag as 0 or 1.
    Count(i64),
    /// Not known.
    None,
}

/// What a piece of a spool holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found<'a> {
    /// Ends by their sequences.
    pub finished: Vec<(u64, Vec<Value<'a>>)>,
    /// Admissions by their sequences, each as the bytes of its record.
    pub admitted: Vec<(u64, &'a [u8])>,
    /// Frames that could not be read.
    pub damaged: usize,
    /// Where the last whole frame ends.
    pub end: usize,
    /// What stands there can never become a frame, however much follows.
    pub unbelievable: bool,
}

/// The bytes to append for a request that may be served, before it goes anywhere.
pub fn admitted<S: AsRef<str>>(row: &Row<S>, sequence: u64) -> Vec<u8> {
    let mut frame = Frame::new(ADMITTED, sequence, OF_ADMITTED.len());
    frame.time(row.received_at);
    frame.text(row.id.as_ref());
    frame.text(row.endpoint.as_ref());
    frame.flag(row.stream);
    frame.text(row.caller.as_ref());
    frame.text(row.group.as_ref());
    frame.text(cut(row.requested_model.as_ref()).0);
    frame.text(row.model.as_ref());
    frame.text(row.configuration.as_ref());
    frame.whole()
}

/// The bytes to append for one that has ended.
pub(super) fn finished<S: AsRef<str>>(row: &Row<S>, sequence: u64) -> Vec<u8> {
    let usage = &row.usage;
    let mut frame = Frame::new(FINISHED, sequence, OF_FINISHED.len());
    frame.time(row.received_at);
    frame.text(row.id.as_ref());
    frame.text(cut(row.upstream_request_id.as_ref()).0);
    frame.text(row.endpoint.as_ref());
    frame.flag(row.stream);
    frame.time(row.duration);
    frame.text(row.caller.as_ref());
    frame.text(row.group.as_ref());
    frame.text(cut(row.requested_model.as_ref()).0);
    frame.text(row.model.as_ref());
    frame.text(row.target.as_ref());
    frame.text(cut(row.upstream_model.as_ref()).0);
    frame.text(row.credential.as_ref());
    frame.text(&row.kept_attempts());
    frame.count(row.status);
    frame.text(row.error_code.as_ref());
    frame.text(row.outcome.as_ref());
    for count in [
        usage.tokens.input,
        usage.tokens.output,
        usage.tokens.cached_input,
        usage.tokens.cache_write,
        usage.tokens.reasoning,
    ] {
        frame.count(count);
    }
    frame.text(usage.input_provenance.as_ref());
    frame.text(usage.output_provenance.as_ref());
    frame.maybe(row.cost);
    frame.maybe(row.credits);
    frame.text(row.price.as_ref());
    frame.text(row.configuration.as_ref());
    frame.maybe(row.time_to_first_content.map(|seconds| micros(seconds).unsigned_abs()));
    for count in [row.bytes_in, row.bytes_out, row.upstream_bytes_in, row.upstream_bytes_out] {
        frame.count(count);
    }
    frame.whole()
}

/// Reads the frames of `data` that are whole; stops before what is not, or has a length beyond belief.
pub fn read(data: &[u8]) -> Found<'_> {
    let mut found = Found::default();
    while let Some((length, rest)) = data[found.end..].split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((check, rest)) = rest.split_first_chunk::<4>() else { break };
        if !(BOTH - HEAD..=LONGEST).contains(&length) {
            found.unbelievable = true;
            break;
        }
        let Some(body) = rest.get(..length) else { break };
        found.end += HEAD + length;
        match body.split_first_chunk::<{ BOTH - HEAD }>() {
            Some(([kind, sequence @ ..], payload)) if crc32fast::hash(body) == u32::from_le_bytes(*check) => {
                found.note(*kind, u64::from_le_bytes(*sequence), payload);
            }
            _ => found.damaged += 1,
        }
    }
    found
}

/// The end of a request that nobody saw, by the bytes of its admission's record; none if these are not such.
pub fn unknown(payload: &[u8]) -> Option<Vec<Value<'_>>> {
    let seen = fields(payload, &OF_ADMITTED)?;
    let [received_at, id, endpoint, stream, caller, group, requested, model, configuration] = seen.try_into().ok()?;
    let (empty, zero) = (Value::Text(""), Value::Count(0));
    let mut row = vec![received_at, id, empty, endpoint, stream, zero, caller, group, requested, model];
    row.extend([empty; 4]); // target, upstream_model, credential, attempts
    row.extend([zero, empty, Value::Text("unknown")]);
    row.extend([zero; 5]);
    row.extend([Value::Text("none"); 2]);
    row.extend([Value::None, Value::None, empty, configuration, Value::None]);
    row.extend([zero; 4]);
    Some(row)
}

// === impl Found ===

impl<'a> Found<'a> {
    fn note(&mut self, kind: u8, sequence: u64, payload: &'a [u8]) {
        match kind {
            ADMITTED => self.admitted.push((sequence, payload)),
            FINISHED => match fields(payload, &OF_FINISHED) {
                Some(values) => self.finished.push((sequence, values)),
                None => self.damaged += 1,
            },
            _ => self.damaged += 1,
        }
    }
}

/// The first fields of a record, if they are of these kinds; what a newer version has added behind them is left out.
fn fields<'a>(payload: &'a [u8], kinds: &[Kind]) -> Option<Vec<Value<'a>>> {
    let mut rest = Packed(payload);
    if rest.array()? < kinds.len() {
        return None;
    }
    let mut values = Vec::with_capacity(kinds.len());
    for &kind in kinds {
        values.push(rest.value(kind)?);
    }
    Some(values)
}

// === writing ===

/// A frame that is being written.
struct Frame(Vec<u8>);

impl Frame {
    fn new(kind: u8, sequence: u64, fields: usize) -> Self {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend_from_slice(&[0; HEAD]);
        bytes.push(kind);
        bytes.extend_from_slice(&sequence.to_le_bytes());
        bytes.push(0xDC);
        bytes.extend_from_slice(&(fields as u16).to_be_bytes());
        Self(bytes)
    }

    fn text(&mut self, text: &str) {
        let length = text.len();
        match length {
            0..=31 => self.0.push(0xA0 | length as u8),
            32..=0xFF => self.0.extend_from_slice(&[0xD9, length as u8]),
            _ => {
                self.0.push(0xDB);
                self.0.extend_from_slice(&(length as u32).to_be_bytes());
            }
        }
        self.0.extend_from_slice(text.as_bytes());
    }

    /// A count; it ends where readers of JSON lose count.
    fn count(&mut self, count: u64) {
        self.number(count.min(MOST));
    }

    fn number(&mut self, number: u64) {
        match number {
            0..=0x7F => self.0.push(number as u8),
            0x80..=0xFFFF => {
                self.0.push(0xCD);
                self.0.extend_from_slice(&(number as u16).to_be_bytes());
            }
            _ => {
                self.0.push(0xCF);
                self.0.extend_from_slice(&number.to_be_bytes());
            }
        }
    }

    /// Seconds as a count of microseconds.
    fn time(&mut self, seconds: f64) {
        self.count(micros(seconds).max(0).unsigned_abs());
    }

    /// A figure that may not be known; it ends where a column does.
    fn maybe(&mut self, figure: Option<u64>) {
        match figure {
            Some(figure) => self.number(figure.min(i64::MAX.unsigned_abs())),
            None => self.0.push(0xC0),
        }
    }

    fn flag(&mut self, flag: bool) {
        self.0.push(0xC2 | u8::from(flag));
    }

    /// The frame with its length and its check. One that would not be believed, which no request makes, is empty.
    fn whole(mut self) -> Vec<u8> {
        let length = self.0.len() - HEAD;
        if length > LONGEST {
            return Vec::new();
        }
        let check = crc32fast::hash(&self.0[HEAD..]);
        self.0[..4].copy_from_slice(&(length as u32).to_le_bytes());
        self.0[4..HEAD].copy_from_slice(&check.to_le_bytes());
        self.0
    }
}

// === reading ===

/// `MessagePack` that is being read: as much of it as records are made of.
struct Packed<'a>(&'a [u8]);

impl<'a> Packed<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// A number of `bytes` bytes.
    fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn array(&mut self) -> Option<usize> {
        match self.byte()? {
            short @ 0x90..=0x9F => Some(usize::from(short & 15)),
            0xDC => Some(self.number(2)? as usize),
            _ => None,
        }
    }

    fn value(&mut self, kind: Kind) -> Option<Value<'a>> {
        let length = match (kind, self.byte()?) {
            (Count | MaybeCount, count @ 0..=0x7F) => return Some(Value::Count(i64::from(count))),
            (Count | MaybeCount, size @ 0xCC..=0xCF) => {
                let count = self.number(1 << (size - 0xCC))?;
                return i64::try_from(count).ok().map(Value::Count);
            }
            (MaybeCount, 0xC0) => return Some(Value::None),
            (Flag, flag @ 0xC2..=0xC3) => return Some(Value::Count(i64::from(flag & 1))),
            (Text, short @ 0xA0..=0xBF) => u64::from(short & 31),
            (Text, size @ 0xD9..=0xDB) => self.number(1 << (size - 0xD9))?,
            _ => return None,
        };
        std::str::from_utf8(self.take(length as usize)?).ok().map(Value::Text)
    }
}
