//! What happens to a stream's events: read, held or passed on, and the words that end it.

use super::last::{Last, Standing};
use super::rewrite::{pass, pass_on};
use super::{Account, Step};
use crate::dialect::{Dialect, InBandError, Reader};
use crate::plan::{End, Micros, Plan};
use crate::sse::{Block, BlockKind, Fields, Splitter};
use std::sync::Arc;

/// Chunk sizes are written as eight hex digits so that they can be filled in afterwards (RFC 9112 7.1 allows zeros).
const CHUNK_HEAD: &[u8] = b"00000000\r\n";
/// At most this much of an in-band error's data is kept for the error answer.
const ERROR_DATA: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Holding,
    /// Committed, but the client's message is not open yet.
    Committed,
    Relaying {
        framed: bool,
    },
}

/// What a stream ends with when an event was left open.
pub(super) struct Tail {
    /// Its bytes; empty if they have left already.
    pub(super) bytes: Vec<u8>,
    /// What closes it.
    pub(super) ends: &'static [u8],
    /// It is the stream's first event.
    pub(super) first: bool,
    /// None was left open, but the last byte is a CR behind an LF: half a CRLF, or none of the stream's (a chunk's size
    /// that is one too large takes it from the framing). A reader that knows LF alone sees no line end in it, so before
    /// anything of ours it is made a CRLF, and the line behind it a blank one.
    pub(super) halved: bool,
}

impl Tail {
    pub(super) fn take(splitter: &mut Splitter) -> Self {
        let (ends, first) = (splitter.missing_line_ends(), splitter.pending_is_first());
        let halved = splitter.expects_line_feed();
        Self { bytes: splitter.finish(), ends, first, halved }
    }
}

/// Everything about a stream but the splitter, which lends its blocks while this reads them.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) plan: Arc<Plan>,
    pub(super) reader: Reader,
    pub(super) mode: Mode,
    pub(super) ended: Option<End>,
    pub(super) held: Vec<u8>,
    pub(super) error_data: Vec<u8>,
    pub(super) account: Account,
    pub(super) commits: bool,
    pub(super) done: bool,
    line_feed_given: bool,
    /// How much had been written when the clock was last looked at, and since when there was no more.
    seen: u64,
    pub(super) quiet_since: Micros,
    pub(super) finished_at: Option<Micros>,
    pub(super) sent_at: Micros,
    pub(super) last_byte: Micros,
    pub(super) last_content: Option<Micros>,
    pub(super) last: Last,
}

impl Story {
    pub(super) fn new(plan: Arc<Plan>, choices: u32, now: Micros) -> Self {
        Self {
            reader: Reader::new(plan.dialect, choices),
            plan,
            mode: Mode::Holding,
            ended: None,
            held: Vec::new(),
            error_data: Vec::new(),
            account: Account::default(),
            commits: false,
            done: false,
            line_feed_given: false,
            seen: 0,
            quiet_since: now,
            finished_at: None,
            sent_at: now,
            last_byte: now,
            last_content: None,
            last: Last::default(),
        }
    }

    /// Runs `work` on what the client is to get, held or framed as its message wants it, and says what follows from it.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, work: impl FnOnce(&mut Self, &mut Vec<u8>)) -> Step {
        let Mode::Relaying { framed } = self.mode else {
            let mut held = std::mem::take(&mut self.held);
            work(self, &mut held);
            self.held = held;
            return self.step_while_held();
        };
        let start = out.len();
        if framed {
            out.extend_from_slice(CHUNK_HEAD);
        }
        let body = out.len();
        work(self, out);
        let length = out.len() - body;
        self.account.bytes_out += length as u64;
        if length == 0 {
            out.truncate(start);
        } else if framed {
            for (i, digit) in out[start..start + 8].iter_mut().enumerate() {
                *digit = b"0123456789abcdef"[(length >> (28 - 4 * i)) & 15];
            }
            out.extend_from_slice(b"\r\n");
        }
        self.ended.map_or(Step::Going, Step::Over)
    }

    fn step_while_held(&mut self) -> Step {
        if self.mode == Mode::Committed {
            return Step::Going;
        }
        if self.commits {
            self.mode = Mode::Committed;
            return Step::Commit;
        }
        match self.ended {
            Some(End::ErrorInBand) => Step::InBandError,
            Some(end) => Step::EndedWithoutContent { clean: end == End::Completed },
            None => Step::Going,
        }
    }

    /// One block; true if it brought content.
    pub(super) fn block(&mut self, now: Micros, block: &Block<'_>, at_eof: bool, out: &mut Vec<u8>) -> bool {
        if self.ended.is_some() {
            return false;
        }
        match block.kind {
            BlockKind::LineFeed if std::mem::take(&mut self.line_feed_given) => {}
            BlockKind::LineFeed => self.last.behind(out).extend_from_slice(block.raw),
            BlockKind::Spilled => self.spill(block.raw, out),
            BlockKind::Event => return self.event(now, block, at_eof, out),
        }
        false
    }

    fn event(&mut self, now: Micros, block: &Block<'_>, at_eof: bool, out: &mut Vec<u8>) -> bool {
        let (before, mut waits) = (out.len(), false);
        self.line_feed_given = false;
        let fields = Fields::parse(block.raw, block.first);
        let reading = self.reader.read(&fields);
        if fields.has_data {
            self.account.events += 1;
            let bad = reading.malformed || !is_utf8(&fields.data);
            self.account.malformed += u64::from(bad);
        }
        if let Some(error) = reading.error {
            self.account.error = true;
            if self.mode == Mode::Holding && !self.commits {
                let data = fields.error.unwrap_or(&fields.data);
                self.error_data.extend_from_slice(&data[..data.len().min(ERROR_DATA)]);
                self.ended = Some(End::ErrorInBand);
                return false;
            }
            self.last.let_go(&self.plan, out);
            pass_on(&self.plan, block, &fields, &reading, out);
            if error == InBandError::Invisible {
                self.give_line_feed(block, b"\r", out);
                out.extend_from_slice(self.plan.error_event(End::ErrorInBand));
            }
        } else if reading.usage_only && self.plan.strip_usage {
            // Dropped.
        } else if self.plan.page.is_none() {
            pass(&self.plan, block, &fields, &reading, out);
        } else {
            let (reported, complete) = (self.reader.reported(), self.reader.complete());
            let standing = Standing { reported, complete, latency: now.saturating_sub(self.sent_at) };
            waits = self.last.keep(&self.plan, &standing, block, &fields, &reading, out);
        }
        // An event that was dropped takes the LF of its cut CRLF with it.
        self.line_feed_given |= out.len() == before && !waits;
        self.commits |= reading.commits && !(at_eof && reading.malformed);
        if reading.content {
            self.account.written.add(fields.data.len());
            self.account.first_content.get_or_insert(now);
        }
        if reading.terminal && !self.plan.done.is_empty() {
            self.done = true;
            self.give_line_feed(block, b"\n\r", out);
            self.ended = Some(if self.account.error { End::ErrorInBand } else { End::Completed });
        } else if self.finished_at.is_none() && self.reader.complete() {
            self.finished_at = Some(now);
        }
        reading.content
    }

    /// An event that ends so may be half a CRLF, whose LF is still under way: it is given before anything of ours, or
    /// the end, and not again when it comes.
    fn give_line_feed(&mut self, block: &Block<'_>, halved: &[u8], out: &mut Vec<u8>) {
        if block.raw.ends_with(halved) && !self.line_feed_given {
            out.push(b'\n');
            self.line_feed_given = true;
        }
    }

    pub(super) fn spill(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        (self.commits, self.line_feed_given) = (true, false);
        self.last.let_go(&self.plan, out);
        out.extend_from_slice(raw);
    }

    pub(super) fn eof(&mut self, now: Micros, clean: bool, tail: &Tail, out: &mut Vec<u8>) {
        if tail.bytes.is_empty() {
            self.last.behind(out).extend_from_slice(tail.ends);
        } else {
            let raw = [&tail.bytes, tail.ends].concat();
            self.block(now, &Block { raw: &raw, kind: BlockKind::Event, first: tail.first }, true, out);
        }
        self.reader.at_eof();
        self.done |= self.reader.terminal();
        if self.ended.is_none() {
            let whole = self.reader.complete() || (clean && self.plan.dialect == Dialect::Unknown);
            self.ended = Some(match (self.account.error, whole) {
                (true, _) => End::ErrorInBand,
                (false, true) => End::Completed,
                (false, false) => End::Truncated,
            });
        }
        if self.mode == Mode::Holding && !self.commits {
            // Nothing of it will be relayed: the caller only learns whether HTTP called it whole.
            if self.ended != Some(End::ErrorInBand) {
                self.ended = Some(if clean { End::Completed } else { End::Truncated });
            }
            return;
        }
        match self.ended {
            Some(End::Completed) => self.last.note(&self.plan, self.reader.reported(), out),
            _ => self.last.let_go(&self.plan, out),
        }
        match self.ended {
            Some(End::Truncated) => self.put_behind(tail, self.plan.error_event(End::Truncated), out),
            Some(End::Completed) if !self.plan.ensure_done => out.truncate(out.len() - tail.ends.len()),
            Some(End::Completed) if !self.done => self.put_behind(tail, &self.plan.done, out),
            _ => {}
        }
    }

    pub(super) fn end_badly(&mut self, end: End, tail: &Tail, out: &mut Vec<u8>) {
        self.last.let_go(&self.plan, out);
        out.extend_from_slice(&tail.bytes);
        out.extend_from_slice(tail.ends);
        self.put_behind(tail, self.plan.error_event(end), out);
        self.ended = Some(end);
    }

    /// Ends the stream with an event of ours.
    fn put_behind(&self, tail: &Tail, event: &[u8], out: &mut Vec<u8>) {
        if tail.halved && !event.is_empty() {
            out.extend_from_slice(if self.line_feed_given { b"\n" } else { b"\n\n" });
        }
        out.extend_from_slice(event);
    }

    /// Whether nothing has been written for so long that a heartbeat is due. What was written since the last look left
    /// with the upstream's last byte, so no write has to note the time.
    pub(super) fn is_quiet(&mut self, now: Micros) -> bool {
        if self.account.bytes_out != self.seen {
            (self.seen, self.quiet_since) = (self.account.bytes_out, self.last_byte);
        }
        now.saturating_sub(self.quiet_since) >= self.plan.times.heartbeat
    }

    /// Writes the comment, after the LF of the last event if that is still to come (`halved`).
    pub(super) fn heartbeat(&mut self, now: Micros, halved: bool, out: &mut Vec<u8>) -> Step {
        let step = self.write(out, |story, out| {
            if halved && !story.line_feed_given {
                story.last.behind(out).push(b'\n');
                story.line_feed_given = true;
            }
            out.extend_from_slice(&story.plan.heartbeat);
        });
        self.account.heartbeats += 1;
        (self.seen, self.quiet_since) = (self.account.bytes_out, now);
        step
    }

    pub(super) fn observe_gap(&mut self, now: Micros) {
        if let (Some(last), Some((bank, slot))) = (self.last_content, &self.plan.gaps) {
            bank.observe(*slot, now.saturating_sub(last));
        }
        self.last_content = Some(now);
    }
}

/// Most events are plain ASCII, which one pass of vector instructions tells.
fn is_utf8(data: &[u8]) -> bool {
    data.iter().fold(0, |bits, &byte| bits | byte) < 0x80 || std::str::from_utf8(data).is_ok()
}
