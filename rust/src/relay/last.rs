//! The last event of a stream, in which the plan's page wants a note to stand: an event that may be the last is kept
//! back until what follows tells whether it is.
//!
//! 1. What finishes a choice, what comes once all have finished, and what holds nothing but usage may be the last; it
//!    waits for the next event with data. Nothing else waits, and nothing waits where the page has no note.
//! 2. The sentinel, the end that counts as finished, or `done_grace` make it the last: it leaves with the note. Any
//!    other event, an error or a bad end lets it go without.
//! 3. Comments that come while it waits, and the LF of its cut CRLF, wait behind it.

use super::rewrite::{pass_on, put};
use crate::dialect::{Reading, Reported};
use crate::plan::{Micros, Plan};
use crate::sse::{Block, BlockKind, Fields};

/// The event that may be the last, while there is one.
#[derive(Debug, Default)]
pub(super) struct Last(Option<Box<Waiting>>);

#[derive(Debug)]
struct Waiting {
    raw: Vec<u8>,
    first: bool,
    reading: Reading,
    /// From the request to it.
    latency: Micros,
    /// What had been reported up to it.
    reported: Option<Reported>,
    /// What came after it and says nothing.
    behind: Vec<u8>,
}

/// How the stream stands with the event that is looked at.
pub(super) struct Standing {
    /// What has been reported.
    pub(super) reported: Option<Reported>,
    /// Every choice has finished.
    pub(super) complete: bool,
    /// Time since the request was sent.
    pub(super) latency: Micros,
}

impl Last {
    /// Passes an event on as the plan's page wants it, or keeps it back; true if some of it waits.
    #[cold]
    pub(super) fn keep(
        &mut self,
        plan: &Plan,
        standing: &Standing,
        block: &Block<'_>,
        fields: &Fields<'_>,
        reading: &Reading,
        out: &mut Vec<u8>,
    ) -> bool {
        if !fields.has_data {
            return self.pass_behind(plan, block, fields, reading, out);
        }
        let reported = standing.reported;
        if reading.terminal || fields.data.starts_with(b"[DONE]") {
            self.note(plan, reported, out);
        } else {
            let may_be_last = reading.finish || reading.usage_only || standing.complete;
            let is_object = !reading.malformed && fields.data.trim_ascii().starts_with(b"{");
            let noted = plan.page.as_ref().is_some_and(|page| page.note.is_some());
            self.let_go(plan, out);
            if noted && may_be_last && is_object {
                self.0 = Some(Box::new(Waiting {
                    raw: block.raw.to_vec(),
                    first: block.first,
                    reading: reading.clone(),
                    latency: standing.latency,
                    reported,
                    behind: Vec::new(),
                }));
                return true;
            }
        }
        if reading.finish || reading.usage {
            put(plan, block, fields, reading, (reported, None), out);
        } else {
            pass_on(plan, block, fields, reading, out);
        }
        false
    }

    /// Where bytes go that belong behind what has come so far.
    #[cold]
    pub(super) fn behind<'a>(&'a mut self, out: &'a mut Vec<u8>) -> &'a mut Vec<u8> {
        self.0.as_mut().map_or(out, |waiting| &mut waiting.behind)
    }

    /// What waits is not the last: it leaves without the note.
    #[cold]
    pub(super) fn let_go(&mut self, plan: &Plan, out: &mut Vec<u8>) {
        if let Some(waiting) = self.0.take() {
            waiting.leave(plan, (waiting.reported, None), out);
        }
    }

    /// What waits is the last: it leaves with the note, which tells all that was `reported` until now.
    #[cold]
    pub(super) fn note(&mut self, plan: &Plan, reported: Option<Reported>, out: &mut Vec<u8>) {
        if let Some(waiting) = self.0.take() {
            waiting.leave(plan, (reported, Some(waiting.latency)), out);
        }
    }

    /// Bytes kept.
    pub(super) fn held(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.raw.len() + waiting.behind.len())
    }

    fn pass_behind(
        &mut self,
        plan: &Plan,
        block: &Block<'_>,
        fields: &Fields<'_>,
        reading: &Reading,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(waiting) = &mut self.0 else {
            pass_on(plan, block, fields, reading, out);
            return false;
        };
        let before = waiting.behind.len();
        pass_on(plan, block, fields, reading, &mut waiting.behind);
        let (grew, too_much) = (waiting.behind.len() > before, waiting.behind.len() > plan.limits.held);
        if too_much {
            self.let_go(plan, out);
        }
        grew
    }
}

impl Waiting {
    fn leave(&self, plan: &Plan, said: (Option<Reported>, Option<Micros>), out: &mut Vec<u8>) {
        let block = Block { raw: &self.raw, kind: BlockKind::Event, first: self.first };
        put(plan, &block, &Fields::parse(&self.raw, self.first), &self.reading, said, out);
        out.extend_from_slice(&self.behind);
    }
}
