//! One pooled socket's life: TLS, then one HTTP exchange after another; fed bytes and the time, yielding actions.
//!
//! ```text
//! opening ─▶ handshaking ─▶ idle ⇄ busy ─▶ draining ─▶ idle
//!     any byte or end while idle, anything unclean, a stream ended early ─▶ closed
//! ```
//!
//! Every method appends to [`Actions`]; whoever owns the socket performs them afterwards, in the order of the fields.
//! A connection never writes by itself, never waits and never looks at a clock.

use crate::answer::{Answer, Head, Verdict};
use crate::http1::{self, End as MessageEnd, Parser};
use crate::plan::{End, Micros, Plan};
use crate::tls::Tls;
use crate::upload::Upload;
use std::sync::Arc;

mod actions;
mod reading;
#[cfg(test)]
mod tests;

pub use actions::{Actions, Outcome, Resolution};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Opening,
    Handshaking,
    Idle,
    Busy,
    Draining { until: Micros },
    Closed,
}

/// One connection to an upstream.
#[derive(Debug)]
pub struct Connection {
    tls: Option<Tls>,
    state: State,
    parser: Parser,
    answer: Option<Answer>,
    upload: Option<Upload>,
    outcome: Option<Outcome>,
    /// Why it never came up; it may fail before anybody asks.
    not_ready: Option<(&'static str, &'static str)>,
    head_seen: bool,
    message_over: bool,
    keep_alive: bool,
    writable: bool,
    /// The client does not read.
    stuck: bool,
    paused: bool,
}

impl Connection {
    /// A connection whose socket is being opened.
    pub fn new(tls: Option<Tls>) -> Self {
        Self {
            tls,
            state: State::Opening,
            parser: Parser::new(http1::Limits::default()),
            answer: None,
            upload: None,
            outcome: None,
            not_ready: None,
            head_seen: false,
            message_over: false,
            keep_alive: false,
            writable: true,
            stuck: false,
            paused: false,
        }
    }

    /// The socket is connected.
    pub fn opened(&mut self, actions: &mut Actions) {
        if let Some(tls) = &mut self.tls {
            self.state = State::Handshaking;
            tls.output(&mut actions.upstream);
        } else {
            self.state = State::Idle;
            actions.resolve = Some(Resolution::Ready);
        }
    }

    /// Bytes came from the upstream.
    pub fn received(&mut self, now: Micros, data: &[u8], actions: &mut Actions) {
        let Some(mut tls) = self.tls.take() else {
            return self.plaintext(now, data, actions);
        };
        let mut plain = std::mem::take(&mut actions.plain);
        plain.clear();
        let result = tls.received(data, &mut plain);
        tls.output(&mut actions.upstream);
        let up = !tls.handshaking();
        self.tls = Some(tls);
        if self.state == State::Handshaking && up && result.is_ok() {
            self.state = State::Idle;
            actions.resolve = Some(Resolution::Ready);
        }
        if !plain.is_empty() {
            self.plaintext(now, &plain, actions);
        }
        actions.plain = plain;
        if let Err(error) = result {
            self.tls_failed(now, error, actions);
        } else if self.tls.as_ref().is_some_and(Tls::closed_properly) && self.state != State::Closed {
            // A close_notify ends the upstream's side, whether the socket's end follows or not.
            self.eof(now, actions);
        }
        // A handshake's end or a KeyUpdate can have made room for request bytes.
        if self.upload.is_some() && self.writable {
            self.pump(actions);
        }
    }

    /// The upstream closed its side.
    pub fn eof(&mut self, now: Micros, actions: &mut Actions) {
        let proper = self.tls.as_ref().is_none_or(Tls::closed_properly);
        match self.state {
            State::Busy => match self.parser.eof(proper) {
                MessageEnd::Clean => {
                    self.keep_alive = false;
                    let turn = self.with_answer(actions, |answer, out| answer.on_end(now, true, out));
                    self.turn(now, turn, actions);
                }
                MessageEnd::Cut => {
                    self.fail(now, "upstream_truncated", "the connection ended inside the answer", actions);
                }
                MessageEnd::Nothing => self.fail_untouched(now, actions),
            },
            State::Opening | State::Handshaking => {
                self.never_ready("upstream_tls", "the connection ended inside the handshake", actions);
            }
            _ => {}
        }
        self.close(actions);
    }

    /// The socket is gone; `reset` if by an error.
    pub fn lost(&mut self, now: Micros, actions: &mut Actions) {
        match self.state {
            State::Busy if self.parser.untouched() => self.fail_untouched(now, actions),
            State::Busy => self.fail(now, "upstream_truncated", "the connection was reset", actions),
            State::Opening | State::Handshaking => {
                let code = if self.tls.is_some() { "upstream_tls" } else { "upstream_unreachable" };
                self.never_ready(code, "the connection was reset", actions);
            }
            _ => {}
        }
        self.close(actions);
    }

    /// Sends a request. Only while idle: otherwise its verdict is `lost`.
    pub fn begin(
        &mut self,
        now: Micros,
        upload: Upload,
        plan: Arc<Plan>,
        choices: u32,
        deadline: Micros,
        actions: &mut Actions,
    ) {
        if self.state != State::Idle {
            let mut head = Head::without_answer(Verdict::Lost, "upstream_lost", "the connection was closed before");
            head.untouched = true;
            actions.resolve = Some(Resolution::Head(Box::new(head)));
            return;
        }
        self.state = State::Busy;
        self.parser = Parser::new(http1::Limits { head: plan.limits.head, ..http1::Limits::default() });
        self.answer = Some(Answer::new(plan, choices, now, deadline));
        self.outcome = None;
        self.upload = Some(upload);
        (self.head_seen, self.message_over, self.keep_alive, self.stuck) = (false, false, true, false);
        self.pump(actions);
    }

    /// Uploads one more slice.
    pub fn pump(&mut self, actions: &mut Actions) {
        let Some(upload) = &mut self.upload else { return };
        if !self.writable {
            return;
        }
        let slice = upload.slice();
        let taken = match &mut self.tls {
            None => {
                actions.upstream.extend_from_slice(slice);
                slice.len()
            }
            Some(tls) => {
                let taken = tls.send(slice).unwrap_or(0);
                tls.output(&mut actions.upstream);
                taken
            }
        };
        upload.advance(taken);
        if upload.is_empty() {
            self.upload = None;
        } else {
            actions.more = taken > 0;
        }
    }

    /// The socket's buffer is full (false) or has room again (true).
    pub fn writable(&mut self, room: bool, actions: &mut Actions) {
        self.writable = room;
        if room {
            self.pump(actions);
        }
    }

    /// The client's message is open: relay from now on. `begun`: there is something in it already.
    pub fn open(&mut self, now: Micros, framed: bool, begun: bool, actions: &mut Actions) {
        let turn = self.with_answer(actions, |answer, out| answer.open(now, framed, begun, out));
        self.resume(actions);
        self.turn(now, turn, actions);
    }

    /// The client reads too slowly.
    pub fn client_slow(&mut self, actions: &mut Actions) {
        if self.outcome.is_none() {
            self.stuck = true;
            self.pause(actions);
            actions.resolve = Some(Resolution::Paused);
        }
    }

    /// The client reads again.
    pub fn client_ready(&mut self, now: Micros, actions: &mut Actions) {
        self.stuck = false;
        if let Some(relay) = self.answer.as_mut().and_then(Answer::relay) {
            relay.resumed(now);
        }
        self.resume(actions);
        if self.outcome.is_some() {
            actions.resolve = Some(Resolution::Ended);
        }
    }

    /// Ends the exchange for a reason of ours, telling the client in-band if its message is open.
    pub fn end(&mut self, now: Micros, end: End, actions: &mut Actions) {
        let turn = self.with_answer(actions, |answer, out| answer.end(end, out));
        self.turn(now, turn, actions);
    }

    /// Nobody waits for the exchange any more. A connection that is not idle or draining is closed.
    pub fn detach(&mut self, actions: &mut Actions) {
        if self.answer.is_some() {
            self.outcome.get_or_insert(self.tally(End::ClientLeft));
            self.answer = None;
            self.close(actions);
        }
    }

    /// Looks at the clock; once a second is enough.
    pub fn check(&mut self, now: Micros, actions: &mut Actions) {
        match self.state {
            State::Busy => {
                let stuck = self.stuck;
                let turn = self.with_answer(actions, |answer, out| answer.check(now, stuck, out));
                self.turn(now, turn, actions);
            }
            State::Draining { until } if now > until => self.close(actions),
            _ => {}
        }
    }

    /// Closes it, whatever it is doing. Nobody waits for it.
    pub fn abort(&mut self, actions: &mut Actions) {
        self.detach(actions);
        self.close(actions);
    }

    /// A fault of ours: the connection is of no use any more. Whoever waits is told, and the client in-band if its
    /// message is open. Should the second fail, too, the first is in `actions` already.
    pub fn poison(&mut self, actions: &mut Actions) {
        let waits = self.waits_for_client();
        let open = self.answer.as_mut().and_then(Answer::relay).is_some_and(|relay| relay.waits_or_relays());
        actions.resolve = Some(match self.state {
            State::Opening | State::Handshaking => Resolution::NotReady("internal_error", "a panic"),
            _ if open && !waits => Resolution::Ended,
            _ => Resolution::Head(Box::new(Head::without_answer(Verdict::Lost, "internal_error", "a panic"))),
        });
        if open {
            self.outcome = Some(self.tally(End::Internal));
            self.with_answer(actions, |answer, out| answer.end(End::Internal, out));
            self.outcome = Some(self.tally(End::Internal));
        }
        self.close(actions);
    }

    /// Why it never came up: the code and what exactly went wrong.
    pub fn why_not_ready(&self) -> (&'static str, &'static str) {
        self.not_ready.unwrap_or(("upstream_unreachable", "the connection was closed"))
    }

    /// How the last stream ended; how it stands, if it has not.
    pub fn outcome(&self) -> Outcome {
        self.outcome.clone().unwrap_or_else(|| self.tally(End::ClientLeft))
    }

    /// A stream has begun, and nothing of it is the client's yet.
    pub fn is_answering(&self) -> bool {
        self.answer.as_ref().is_some_and(Answer::is_held)
    }

    /// It can take a request.
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// It will never take one again.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Bytes kept in memory for the exchange.
    pub fn held(&self) -> usize {
        self.answer.as_ref().map_or(0, Answer::held)
    }
}
