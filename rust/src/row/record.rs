//! What is written into a spool, and how: frames of length, CRC and a record. `ends.rs` reads them.
//!
//! Rules of this file:
//!
//! - A frame is eight bytes (the length of what follows and its CRC-32), then a byte that tells kind and version, the
//!   record's sequence in eight bytes, and the rest of the record as a `MessagePack` array; numbers are little-endian.
//!   What a released version has written stays readable: fields are added at the end; whatever else changes gets a new
//!   kind. No release wrote the kind 0x12, an end with its columns in another order: it counts as damaged.

use super::{cut, micros, Row};

/// The longest frame that is written or believed, in bytes.
pub(super) const LONGEST: usize = 1 << 16;
/// Kinds of records.
pub(super) const ADMITTED: u8 = 0x11;
pub(super) const FINISHED: u8 = 0x13;
/// Length and CRC; with kind and sequence.
pub(super) const HEAD: usize = 8;
pub(super) const BOTH: usize = HEAD + 9;
/// Counts end here: every reader of JSON holds it exactly.
const MOST: u64 = (1 << 53) - 1;

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    Count,
    MaybeCount,
    Flag,
}

use Type::{Count, Flag, MaybeCount, Text};

/// The fields of an admission: when, id, endpoint, stream, caller and its group, model as asked and as configured,
/// configuration.
pub(super) const OF_ADMITTED: [Type; 9] = [Count, Text, Text, Flag, Text, Text, Text, Text, Text];

/// The fields of an end, in the order of the store's columns: first what each has of its own (when, ids, duration,
/// attempts, tokens, costs, first content, bytes), then what it has in common with others of its kind (endpoint, stream,
/// caller and its group, models, target, the upstream's model, credential, status, error, outcome, provenances, price,
/// configuration).
pub(super) const OF_OWN: [Type; 17] = [
    Count, Text, Text, Count, Text, Count, Count, Count, Count, Count, // to the tokens
    MaybeCount, MaybeCount, MaybeCount, Count, Count, Count, Count,
];
pub(super) const OF_SAME: [Type; 16] =
    [Text, Flag, Text, Text, Text, Text, Text, Text, Text, Count, Text, Text, Text, Text, Text, Text];

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
    let mut frame = Frame::new(FINISHED, sequence, OF_OWN.len() + OF_SAME.len());
    frame.time(row.received_at);
    frame.text(row.id.as_ref());
    frame.text(cut(row.upstream_request_id.as_ref()).0);
    frame.time(row.duration);
    frame.text(&row.kept_attempts());
    for count in [
        usage.tokens.input,
        usage.tokens.output,
        usage.tokens.cached_input,
        usage.tokens.cache_write,
        usage.tokens.reasoning,
    ] {
        frame.count(count);
    }
    frame.maybe(row.cost);
    frame.maybe(row.credits);
    frame.maybe(row.time_to_first_content.map(|seconds| micros(seconds).unsigned_abs()));
    for count in [row.bytes_in, row.bytes_out, row.upstream_bytes_in, row.upstream_bytes_out] {
        frame.count(count);
    }
    frame.text(row.endpoint.as_ref());
    frame.flag(row.stream);
    frame.text(row.caller.as_ref());
    frame.text(row.group.as_ref());
    frame.text(cut(row.requested_model.as_ref()).0);
    frame.text(row.model.as_ref());
    frame.text(row.target.as_ref());
    frame.text(cut(row.upstream_model.as_ref()).0);
    frame.text(row.credential.as_ref());
    frame.count(row.status);
    frame.text(row.error_code.as_ref());
    frame.text(row.outcome.as_ref());
    frame.text(usage.input_provenance.as_ref());
    frame.text(usage.output_provenance.as_ref());
    frame.text(row.price.as_ref());
    frame.text(row.configuration.as_ref());
    frame.whole()
}

/// A frame that is being written.
pub(super) struct Frame(Vec<u8>);

impl Frame {
    pub(super) fn new(kind: u8, sequence: u64, fields: usize) -> Self {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend_from_slice(&[0; HEAD]);
        bytes.push(kind);
        bytes.extend_from_slice(&sequence.to_le_bytes());
        bytes.push(0xDC);
        bytes.extend_from_slice(&(fields as u16).to_be_bytes());
        Self(bytes)
    }

    pub(super) fn text(&mut self, text: &str) {
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
    pub(super) fn count(&mut self, count: u64) {
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
    pub(super) fn maybe(&mut self, figure: Option<u64>) {
        match figure {
            Some(figure) => self.number(figure.min(i64::MAX.unsigned_abs())),
            None => self.0.push(0xC0),
        }
    }

    pub(super) fn flag(&mut self, flag: bool) {
        self.0.push(0xC2 | u8::from(flag));
    }

    /// The frame with its length and its check. One that would not be believed, which no request makes, is empty.
    pub(super) fn whole(mut self) -> Vec<u8> {
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
