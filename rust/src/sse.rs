//! WHATWG event streams, seen as bytes: cut into events wherever the network cut them, and passed on unaltered.
//!
//! Rules of this file:
//!
//! 1. Nothing is lost or added: the blocks' bytes, in order, and then [`Splitter::finish`] are the input.
//! 2. An event is given out at the byte that completes its blank line. A CR completes it at once; should an LF follow
//!    in the next read, it belongs to that CR and comes alone, as [`BlockKind::LineFeed`].
//! 3. Every byte is looked at once: where a read ended is remembered as a [`Place`], so that what is pending is never
//!    scanned again, and it is copied once.
//! 4. Bytes are never decoded: LF and CR do not occur inside a UTF-8 sequence.

mod fields;
#[cfg(test)]
mod tests;

pub use fields::{missing_line_ends, without_lines, Fields};

pub(crate) const BOM: &[u8] = b"\xEF\xBB\xBF";

/// The most memory a splitter keeps, in bytes, once an event that was cut has been given out: most events are shorter,
/// and thousands of idle streams hold one splitter each.
const KEPT: usize = 4096;

/// Where in an event the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the head of the stream, after this many bytes of a byte order mark.
    Head(usize),
    /// At the start of a line.
    Start,
    /// At the start of a line whose predecessor ended in CR: an LF here belongs to that CR.
    StartAfterCr,
    /// Inside a line.
    Line,
    /// After an event whose blank line is a CR: an LF here belongs to that CR.
    ClosedByCr,
}

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// A whole event, blank line included; maybe nothing but comments or a blank line.
    Event,
    /// The next piece of an event whose beginning was taken with [`Splitter::spill`].
    Spilled,
    /// The lone LF of a CRLF whose CR closed the previous event; it means nothing and is passed on at once.
    LineFeed,
}

/// A piece of the stream, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// All its bytes, up to and including the blank line.
    pub raw: &'a [u8],
    /// What it is.
    pub kind: BlockKind,
    /// The stream's first event, which may start with a byte order mark.
    pub first: bool,
}

/// Cuts a stream of bytes into events; holds only the bytes of an event that has not ended yet.
#[derive(Debug)]
pub struct Splitter {
    place: Place,
    carry: Vec<u8>,
    /// `carry` is an event already given out, kept because a block may still borrow it.
    given: bool,
    spilling: bool,
    started: bool,
    crlf: bool,
    /// Of [`Place::ClosedByCr`]: the line before ended in LF, so that one is to be expected.
    halved: bool,
}

/// The events that one read completes; lends them one by one.
#[derive(Debug)]
pub struct Blocks<'a> {
    splitter: &'a mut Splitter,
    data: &'a [u8],
    pos: usize,
}

// === impl Splitter ===

impl Default for Splitter {
    fn default() -> Self {
        Self::new()
    }
}

impl Splitter {
    /// Stands at the head of a stream, where a byte order mark may come.
    pub fn new() -> Self {
        let place = Place::Head(0);
        Self { place, carry: Vec::new(), given: false, spilling: false, started: false, crlf: false, halved: false }
    }

    /// Takes the next read. The blocks must be walked until there is none: only then has the rest of `data` been kept
    /// as pending. Events are slices of `data`, but for one that began in an earlier read.
    pub fn feed<'a>(&'a mut self, data: &'a [u8]) -> Blocks<'a> {
        self.release();
        Blocks { splitter: self, data, pos: 0 }
    }

    /// The bytes of the event that has not ended yet, a byte order mark included.
    pub fn pending(&self) -> &[u8] {
        if self.given {
            &[]
        } else {
            &self.carry
        }
    }

    /// Whether what is pending belongs to the stream's first event, which may start with a byte order mark.
    pub fn pending_is_first(&self) -> bool {
        !self.started
    }

    /// Gives the pending bytes away unparsed; the rest of that event comes as [`BlockKind::Spilled`] pieces.
    /// Without a pending event nothing changes.
    pub fn spill(&mut self) -> Vec<u8> {
        self.release();
        self.spilling |= !self.carry.is_empty();
        self.started |= self.spilling;
        std::mem::take(&mut self.carry)
    }

    /// Whether the event whose beginning was spilled has not ended yet: nothing may be written between its pieces.
    pub fn spilling(&self) -> bool {
        self.spilling
    }

    /// The line ends that close the event left open, spilled or pending, in the line-end style of the stream.
    /// Empty when none is open.
    pub fn missing_line_ends(&self) -> &'static [u8] {
        if !self.spilling && self.pending().is_empty() {
            return b"";
        }
        match (self.place, self.crlf || fields::first_line_end_is_crlf(self.pending())) {
            (Place::StartAfterCr, _) => b"\n\r\n",
            (Place::Start, false) => b"\n",
            (Place::Start, true) => b"\r\n",
            (_, false) => b"\n\n",
            (_, true) => b"\r\n\r\n",
        }
    }

    /// Whether a read ended inside the CRLF that closed the last event: its LF is still to come.
    pub fn expects_line_feed(&self) -> bool {
        self.place == Place::ClosedByCr && self.halved
    }

    /// Takes the byte order mark off a first event that is pending: what something was written before is no head.
    pub fn drop_mark(&mut self) {
        if !self.started && self.carry.starts_with(BOM) {
            self.carry.drain(..BOM.len());
        }
    }

    /// At the end of the stream: takes what is pending. Nothing is open afterwards.
    pub fn finish(&mut self) -> Vec<u8> {
        self.release();
        self.spilling = false;
        self.place = Place::Start;
        std::mem::take(&mut self.carry)
    }

    fn release(&mut self) {
        if self.given {
            self.given = false;
            if self.carry.capacity() > KEPT {
                self.carry = Vec::new();
            } else {
                self.carry.clear();
            }
        }
    }
}

// === impl Blocks ===

impl Blocks<'_> {
    /// The next block. After the last one the rest of the read has been kept as pending, or given out if spilling.
    #[allow(clippy::should_implement_trait)] // an Iterator cannot lend
    #[inline]
    pub fn next(&mut self) -> Option<Block<'_>> {
        self.splitter.release();
        let rest = &self.data[self.pos..];
        if rest.is_empty() {
            return None;
        }
        if self.splitter.place == Place::ClosedByCr {
            self.splitter.place = Place::Start;
            if rest[0] == b'\n' {
                self.splitter.crlf = true;
                self.pos += 1;
                return Some(Block { raw: &rest[..1], kind: BlockKind::LineFeed, first: false });
            }
        }
        let Some(end) = scan(&mut self.splitter.place, &mut self.splitter.halved, rest) else {
            self.pos = self.data.len();
            if self.splitter.spilling {
                return Some(Block { raw: rest, kind: BlockKind::Spilled, first: false });
            }
            self.splitter.carry.extend_from_slice(rest);
            return None;
        };
        self.pos += end;
        let splitter = &mut *self.splitter;
        splitter.crlf = rest[..end].ends_with(b"\r\n");
        let first = !std::mem::replace(&mut splitter.started, true);
        if std::mem::take(&mut splitter.spilling) {
            return Some(Block { raw: &rest[..end], kind: BlockKind::Spilled, first: false });
        }
        if splitter.carry.is_empty() {
            return Some(Block { raw: &rest[..end], kind: BlockKind::Event, first });
        }
        splitter.carry.extend_from_slice(&rest[..end]);
        splitter.given = true;
        Some(Block { raw: &splitter.carry, kind: BlockKind::Event, first })
    }

    /// The bytes of the read not looked at yet, such as those after a terminal event.
    pub fn rest(&self) -> &[u8] {
        &self.data[self.pos..]
    }
}

/// Looks for the end of the open event in `data`, which is not empty; returns the offset after its blank line.
#[inline]
fn scan(place: &mut Place, halved: &mut bool, data: &[u8]) -> Option<usize> {
    let (mut at, mut pos) = (*place, 0);
    let end = loop {
        if at == Place::Line {
            let Some(i) = memchr::memchr2(b'\n', b'\r', &data[pos..]) else { break None };
            at = if data[pos + i] == b'\n' { Place::Start } else { Place::StartAfterCr };
            pos += i + 1;
        }
        let Some(&byte) = data.get(pos) else { break None };
        match (at, byte) {
            (Place::Head(n), _) if byte == BOM[n] => at = if n == 2 { Place::Start } else { Place::Head(n + 1) },
            (Place::StartAfterCr, b'\n') => at = Place::Start,
            (Place::Head(1 | 2), _) => {
                at = Place::Line;
                continue;
            }
            (_, b'\n') => {
                at = Place::Start;
                break Some(pos + 1);
            }
            (_, b'\r') => {
                let followed = data.get(pos + 1);
                at = match followed {
                    None => {
                        *halved = at == Place::Start;
                        Place::ClosedByCr
                    }
                    Some(_) => Place::Start,
                };
                break Some(pos + 1 + usize::from(followed == Some(&b'\n')));
            }
            _ => at = Place::Line,
        }
        pos += 1;
    };
    *place = at;
    end
}
