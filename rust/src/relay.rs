//! One stream on its way from an upstream to a client: held, committed, relayed, ended.
//!
//! Body bytes come in as they are read, cut anywhere; what the client gets comes out, one HTTP chunk for each read.
//! The rules are design section 2 (commit, end) and 4 (the contract):
//!
//! 1. Until an event commits, everything is held and nothing is the client's: the attempt can still be given up.
//! 2. Events leave whole, in order and unaltered but for what the plan names. An event above the limit passes
//!    unparsed, unless the plan has to rewrite it.
//! 3. Whatever ends the stream early is told inside it: line ends for an event left open, then the dialect's error
//!    event, and no sentinel after it.
//! 4. A client that hears nothing for a while is written a comment, between events only, and only while it reads. It
//!    says nothing of the upstream: no time-out is put off by it.
//! 5. Time comes in as an argument; [`Relay::check`] looks at it once a second, no event sets a timer.

use crate::dialect::Reported;
use crate::plan::{End, Micros, Plan};
use crate::sse::{Splitter, BOM};
use std::sync::Arc;

mod last;
mod rewrite;
mod story;
#[cfg(test)]
mod tests;
mod written;

use story::{Mode, Story, Tail};
pub use written::Written;

/// What the caller of a method has to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Go on reading.
    Going,
    /// The answer is the client's now: open its message, then call [`Relay::open`].
    Commit,
    /// Before the commit: the upstream told of an error in-band.
    InBandError,
    /// Before the commit: the upstream's message ended; `clean` if HTTP says it was whole.
    EndedWithoutContent {
        /// False if the connection was cut.
        clean: bool,
    },
    /// Before the commit: nothing that commits came in time.
    TimedOut(End),
    /// After the commit: the stream has ended and its last bytes are written.
    Over(End),
}

/// What is known of a stream; readable at any time, also after a cancellation.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// The provider's last word on usage.
    pub reported: Option<Reported>,
    /// By the dialect's own rule the answer has finished.
    pub complete: bool,
    /// An error was seen inside the stream.
    pub error: bool,
    /// When the first content came.
    pub first_content: Option<Micros>,
    /// Events with data.
    pub events: u64,
    /// Events that are not valid JSON or UTF-8, or that were too large to be parsed.
    pub malformed: u64,
    /// How much the events with content say.
    pub written: Written,
    /// Body bytes written towards the client, without HTTP's framing.
    pub bytes_out: u64,
    /// Comments of ours among them.
    pub heartbeats: u64,
}

/// One stream.
#[derive(Debug)]
pub struct Relay {
    splitter: Splitter,
    story: Story,
}

impl Relay {
    /// A stream whose request was sent at `now`, with `choices` answers asked for.
    pub fn new(plan: Arc<Plan>, choices: u32, now: Micros) -> Self {
        Self { splitter: Splitter::new(), story: Story::new(plan, choices, now) }
    }

    /// Takes body bytes. What the client is to get is appended to `out`.
    pub fn feed(&mut self, now: Micros, data: &[u8], out: &mut Vec<u8>) -> Step {
        self.story.last_byte = now;
        if self.story.ended.is_some() {
            return Step::Going;
        }
        let step = self.story.write(out, |story, out| {
            let mut content = false;
            let mut blocks = self.splitter.feed(data);
            while let Some(block) = blocks.next() {
                content |= story.block(now, &block, false, out);
            }
            if content {
                story.observe_gap(now);
            }
        });
        self.over_limits(step, out)
    }

    /// The upstream's message has ended; `clean` if HTTP and TLS say that it is whole.
    pub fn eof(&mut self, now: Micros, clean: bool, out: &mut Vec<u8>) -> Step {
        if self.story.ended.is_some() {
            return Step::Going;
        }
        let tail = Tail::take(&mut self.splitter);
        self.story.write(out, |story, out| story.eof(now, clean, &tail, out))
    }

    /// The client's message is open: everything held leaves, and from now on everything at once. `begun`: something of
    /// ours stands in it already, behind which a byte order mark would be text.
    pub fn open(&mut self, now: Micros, framed: bool, begun: bool, out: &mut Vec<u8>) -> Step {
        let mut held = std::mem::take(&mut self.story.held);
        if begun {
            self.splitter.drop_mark();
            if held.starts_with(BOM) {
                held.drain(..BOM.len());
            }
        }
        self.story.mode = Mode::Relaying { framed };
        (self.story.last_byte, self.story.quiet_since) = (now, now);
        let step = self.story.write(out, |_, out| out.extend_from_slice(&held));
        match self.story.ended {
            Some(end) => Step::Over(end),
            None => step,
        }
    }

    /// Ends the stream for a reason of ours, or of the connection's, telling the client in-band.
    pub fn end(&mut self, end: End, out: &mut Vec<u8>) -> Step {
        if self.story.ended.is_some() {
            return Step::Going;
        }
        if self.story.mode == Mode::Holding {
            self.story.ended = Some(end);
            return Step::TimedOut(end);
        }
        let tail = Tail::take(&mut self.splitter);
        self.story.write(out, |story, out| story.end_badly(end, &tail, out))
    }

    /// Looks at the clock; once a second is enough. `stuck` while the client does not read: then silence is not the
    /// upstream's, and nothing is added to what the client has not read.
    pub fn check(&mut self, now: Micros, stuck: bool, out: &mut Vec<u8>) -> Step {
        let story = &self.story;
        if story.ended.is_some() {
            return Step::Going;
        }
        let times = story.plan.times;
        if story.mode == Mode::Holding && now.saturating_sub(story.sent_at) > times.first_content {
            return self.end(End::Stalled, out);
        }
        if story.finished_at.is_some_and(|at| now.saturating_sub(at) > times.done_grace) {
            let tail = Tail::take(&mut self.splitter);
            return self.story.write(out, |story, out| story.eof(now, true, &tail, out));
        }
        if !stuck && now.saturating_sub(story.last_byte) > times.idle {
            return self.end(End::Stalled, out);
        }
        if !stuck
            && matches!(story.mode, Mode::Relaying { .. })
            && !self.splitter.spilling()
            && self.story.is_quiet(now)
        {
            self.splitter.drop_mark();
            return self.story.heartbeat(now, self.splitter.expects_line_feed(), out);
        }
        Step::Going
    }

    /// The client reads again after a pause: silence counts from now.
    pub fn resumed(&mut self, now: Micros) {
        (self.story.last_byte, self.story.quiet_since) = (now, now);
    }

    /// Bytes kept in memory for this stream.
    pub fn held(&self) -> usize {
        self.story.held.len() + self.splitter.pending().len() + self.story.last.held()
    }

    /// True once the answer is the client's but its message is not open yet.
    pub fn waits_for_client(&self) -> bool {
        self.story.mode == Mode::Committed
    }

    /// True while nothing of it is the client's, and may be.
    pub fn holds(&self) -> bool {
        self.story.mode == Mode::Holding && self.story.ended.is_none()
    }

    /// True once the answer is the client's.
    pub fn waits_or_relays(&self) -> bool {
        self.story.mode != Mode::Holding
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<End> {
        self.story.ended
    }

    /// What is known so far.
    pub fn account(&self) -> Account {
        let story = &self.story;
        Account { reported: story.reader.reported(), complete: story.reader.complete(), ..story.account.clone() }
    }

    /// The data of the in-band error that kept the stream from being committed.
    pub fn error_data(&self) -> &[u8] {
        &self.story.error_data
    }

    fn over_limits(&mut self, step: Step, out: &mut Vec<u8>) -> Step {
        let limits = self.story.plan.limits;
        let pending = self.splitter.pending().len();
        if pending > limits.event && self.story.ended.is_none() {
            if self.story.plan.needs_whole_events() {
                // The event is given up, not relayed: half of it would hide the error event from SDKs.
                self.splitter.finish();
                return self.end(End::EventTooLarge, out);
            }
            let spilled = self.splitter.spill();
            self.story.account.malformed += 1;
            return self.story.write(out, |story, out| story.spill(&spilled, out));
        }
        if step == Step::Going && self.story.mode == Mode::Holding && pending + self.story.held.len() > limits.held {
            self.story.mode = Mode::Committed;
            return Step::Commit;
        }
        step
    }
}
