//! What a page puts into the events of a stream, and the last of them, in which a note is to stand: it is kept back
//! until what follows tells that it is the last.
//!
//! 1. What finishes a choice, what comes once all have finished, and what holds nothing but usage may be the last; it
//!    waits for the next event with data. Nothing else waits, and nothing waits where the page has no note.
//! 2. The sentinel, the end that counts as finished, or `done_grace` make it the last: it leaves with the note. Any
//!    other event, an error or a bad end lets it go without.
//! 3. Comments that come while it waits, and the LF of its cut CRLF, wait behind it.

use super::story::Story;
use crate::dialect::{Reading, Reported};
use crate::json::splice::Edits;
use crate::page::{Facts, Page};
use crate::plan::Micros;
use crate::sse::{without_lines, Block, BlockKind, Fields, BOM};

/// An event that may be the last.
#[derive(Debug)]
pub(super) struct Last {
    raw: Vec<u8>,
    first: bool,
    reading: Reading,
    at: Micros,
    /// What had been reported up to it.
    reported: Option<Reported>,
    /// What came after it and says nothing.
    behind: Vec<u8>,
}

impl Last {
    /// Bytes kept.
    pub(super) fn held(&self) -> usize {
        self.raw.len() + self.behind.len()
    }
}

impl Story {
    /// Passes an event on as the plan's page wants it, or keeps it back; true if some of it waits.
    #[cold]
    pub(super) fn keep(
        &mut self,
        now: Micros,
        block: &Block<'_>,
        fields: &Fields<'_>,
        reading: &Reading,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(page) = &self.plan.page else { return false };
        if !fields.has_data {
            return self.pass_behind(block, fields, reading, out);
        }
        let reported = self.reader.reported();
        if reading.terminal || fields.data.starts_with(b"[DONE]") {
            self.note_last(out);
        } else {
            let may_be_last = reading.finish || reading.usage_only || self.reader.complete();
            let is_object = !reading.malformed && fields.data.trim_ascii().starts_with(b"{");
            let waits = page.note.is_some() && may_be_last && is_object;
            self.let_go(out);
            if waits {
                let (raw, reading, behind) = (block.raw.to_vec(), reading.clone(), Vec::new());
                self.last = Some(Box::new(Last { raw, first: block.first, reading, at: now, reported, behind }));
                return true;
            }
        }
        if reading.finish || reading.usage {
            self.put(block, fields, reading, reported, None, out);
        } else {
            self.pass_on(block, fields, reading, out);
        }
        false
    }

    /// Where bytes go that belong behind what has come so far.
    #[cold]
    pub(super) fn behind<'a>(&'a mut self, out: &'a mut Vec<u8>) -> &'a mut Vec<u8> {
        self.last.as_mut().map_or(out, |last| &mut last.behind)
    }

    /// What waits is not the last: it leaves without the note.
    #[cold]
    pub(super) fn let_go(&mut self, out: &mut Vec<u8>) {
        if let Some(last) = self.last.take() {
            self.leave(&last, None, out);
        }
    }

    /// What waits is the last: it leaves with the note, which tells all that was reported until now.
    #[cold]
    pub(super) fn note_last(&mut self, out: &mut Vec<u8>) {
        if let Some(last) = self.last.take() {
            self.leave(&last, Some(last.at.saturating_sub(self.sent_at)), out);
        }
    }

    fn pass_behind(&mut self, block: &Block<'_>, fields: &Fields<'_>, reading: &Reading, out: &mut Vec<u8>) -> bool {
        let Some(mut last) = self.last.take() else {
            self.pass_on(block, fields, reading, out);
            return false;
        };
        let before = last.behind.len();
        self.pass_on(block, fields, reading, &mut last.behind);
        let (grew, too_much) = (last.behind.len() > before, last.behind.len() > self.plan.limits.held);
        self.last = Some(last);
        if too_much {
            self.let_go(out);
        }
        grew
    }

    fn leave(&self, last: &Last, latency: Option<Micros>, out: &mut Vec<u8>) {
        let block = Block { raw: &last.raw, kind: BlockKind::Event, first: last.first };
        let reported = if latency.is_some() { self.reader.reported() } else { last.reported };
        self.put(&block, &Fields::parse(&last.raw, last.first), &last.reading, reported, latency, out);
        out.extend_from_slice(&last.behind);
    }

    /// Writes an event with all that the page wants of it; it is the last if its `latency` is given.
    fn put(
        &self,
        block: &Block<'_>,
        fields: &Fields<'_>,
        reading: &Reading,
        reported: Option<Reported>,
        latency: Option<Micros>,
        out: &mut Vec<u8>,
    ) {
        let mut edits = Edits::new();
        for (range, bytes) in self.edits(fields, reading).into_iter().flatten() {
            edits.replace(range, bytes);
        }
        if let Some(page) = &self.plan.page {
            let facts = Facts { dialect: self.plan.dialect, latency: latency.unwrap_or(0), reported };
            page_edits(page, fields, (reading.finish, reading.usage, latency.is_some()), &facts, &mut edits);
        }
        let mut text = Vec::with_capacity(block.raw.len() + 512);
        edits.apply(block.raw, &mut text);
        let mark = block.first && block.raw.starts_with(BOM);
        if self.plan.tidy && (fields.dropped || mark) {
            without_lines(&text, block.first, out);
        } else {
            out.append(&mut text);
        }
    }
}

/// Lines of data are joined with LF, which may not stand in what is put into one of them; what would stretch over
/// several stays as it came.
fn page_edits(page: &Page, fields: &Fields<'_>, is: (bool, bool, bool), facts: &Facts, edits: &mut Edits<'_>) {
    let data: Vec<u8> = fields.data.iter().map(|&byte| if byte == b'\n' { b' ' } else { byte }).collect();
    page.event(&data, is, facts, &mut |span, bytes| {
        if let Some(range) = fields.raw_range(span) {
            edits.replace(range, bytes);
        }
    });
}
