//! What a connection does with what it reads, and how an exchange on it ends.

use super::{Actions, Connection, Outcome, Resolution, State};
use crate::answer::{Answer, Turn, Verdict};
use crate::dialect::Dialect;
use crate::http1::{Piece, Protocol};
use crate::plan::{End, Micros};
use crate::relay::Account;
use crate::tls::TlsError;

/// How long the tail of an upstream's message may take after the client has its sentinel.
const DRAIN: Micros = 1_000_000;
/// Committed bytes that nobody relays yet stop the reading above this.
const HIGH_WATER: usize = 64 * 1024;

impl Connection {
    pub(super) fn plaintext(&mut self, now: Micros, mut data: &[u8], actions: &mut Actions) {
        while !data.is_empty() {
            match self.state {
                State::Busy | State::Draining { .. } if !self.message_over => {}
                // A byte nobody asked for: whatever it is, the next request must not read it.
                _ => return self.close(actions),
            }
            if !self.head_seen {
                match self.parser.head(&mut data) {
                    Ok(None) => return,
                    Ok(Some(head)) => {
                        self.head_seen = true;
                        self.keep_alive = head.keep_alive && self.upload.is_none();
                        // An early answer stops the upload: the rest of the body interests nobody.
                        self.upload = None;
                        let turn = self.with_answer(actions, |answer, _| answer.on_head(now, head));
                        self.turn(now, turn, actions);
                    }
                    Err(error) => return self.broken(now, error, actions),
                }
            }
            if !self.body(now, &mut data, actions) {
                return;
            }
        }
    }

    /// Hands body pieces on; false once nothing more can be done with the bytes.
    fn body(&mut self, now: Micros, data: &mut &[u8], actions: &mut Actions) -> bool {
        loop {
            if !matches!(self.state, State::Busy | State::Draining { .. }) {
                return true;
            }
            match self.parser.body(data) {
                Ok(Piece::More) => {
                    self.limit_held(actions);
                    return false;
                }
                Ok(Piece::End) => {
                    self.message_over = true;
                    let turn = self.with_answer(actions, |answer, out| answer.on_piece(now, Piece::End, out));
                    self.turn(now, turn, actions);
                    if matches!(self.state, State::Draining { .. }) {
                        self.rest(actions);
                    }
                    return true;
                }
                Ok(piece) => {
                    let turn = self.with_answer(actions, |answer, out| answer.on_piece(now, piece, out));
                    self.turn(now, turn, actions);
                }
                Err(error) => {
                    self.broken(now, error, actions);
                    return false;
                }
            }
        }
    }

    pub(super) fn with_answer(
        &mut self,
        actions: &mut Actions,
        work: impl FnOnce(&mut Answer, &mut Vec<u8>) -> Turn,
    ) -> Turn {
        match &mut self.answer {
            Some(answer) => work(answer, &mut actions.client),
            None => Turn::Going,
        }
    }

    /// Does what an answer's turn asks for.
    pub(super) fn turn(&mut self, now: Micros, turn: Turn, actions: &mut Actions) {
        match turn {
            Turn::Going => {}
            Turn::Verdict(head) => {
                let committed = head.verdict == Verdict::Committed;
                actions.resolve = Some(Resolution::Head(head));
                if committed {
                    self.limit_held(actions);
                } else {
                    self.rest_or_close(actions);
                }
            }
            Turn::Over(end) => {
                self.outcome = Some(self.tally(end));
                actions.resolve = Some(Resolution::Ended);
                let whole = matches!(end, End::Completed | End::ErrorInBand);
                if self.state == State::Busy && whole && self.keep_alive && !self.message_over {
                    self.state = State::Draining { until: now + DRAIN };
                    self.answer = None;
                    self.resume(actions);
                } else {
                    self.rest_or_close(actions);
                }
            }
        }
    }

    /// The exchange is over: the connection takes the next one if its message was read to the end.
    fn rest_or_close(&mut self, actions: &mut Actions) {
        if self.state == State::Busy && self.keep_alive && self.message_over {
            self.rest(actions);
        } else {
            self.answer = None;
            self.close(actions);
        }
    }

    pub(super) fn tally(&self, end: End) -> Outcome {
        match &self.answer {
            Some(answer) => {
                Outcome { dialect: answer.plan().dialect, end, account: answer.account(), bytes_in: answer.bytes_in }
            }
            None => Outcome { dialect: Dialect::Unknown, end, account: Account::default(), bytes_in: 0 },
        }
    }

    pub(super) fn rest(&mut self, actions: &mut Actions) {
        self.state = State::Idle;
        self.answer = None;
        self.resume(actions);
        actions.idle = true;
    }

    pub(super) fn close(&mut self, actions: &mut Actions) {
        if self.state != State::Closed {
            if let Some(tls) = &mut self.tls {
                tls.close();
                tls.output(&mut actions.upstream);
            }
            self.state = State::Closed;
            self.upload = None;
            actions.close = true;
            // A stream that is committed but not opened yet still has its last bytes to give.
            if !self.waits_for_client() {
                self.answer = None;
            }
        }
    }

    fn broken(&mut self, now: Micros, error: Protocol, actions: &mut Actions) {
        if matches!(self.state, State::Draining { .. }) {
            return self.close(actions);
        }
        self.fail(now, "upstream_protocol", error.as_str(), actions);
    }

    pub(super) fn never_ready(&mut self, code: &'static str, detail: &'static str, actions: &mut Actions) {
        self.not_ready = Some((code, detail));
        actions.resolve = Some(Resolution::NotReady(code, detail));
    }

    pub(super) fn tls_failed(&mut self, now: Micros, error: TlsError, actions: &mut Actions) {
        match self.state {
            State::Opening | State::Handshaking => {
                self.never_ready("upstream_tls", error.as_str(), actions);
                self.close(actions);
            }
            State::Busy => self.fail(now, "upstream_protocol", error.as_str(), actions),
            _ => self.close(actions),
        }
    }

    pub(super) fn fail(&mut self, now: Micros, code: &'static str, detail: &'static str, actions: &mut Actions) {
        let turn = self.with_answer(actions, |answer, out| answer.on_failure(now, code, detail, out));
        self.keep_alive = false;
        self.turn(now, turn, actions);
        self.close(actions);
    }

    pub(super) fn fail_untouched(&mut self, now: Micros, actions: &mut Actions) {
        self.fail(now, "upstream_lost", "the connection ended before an answer", actions);
        if let Some(Resolution::Head(head)) = &mut actions.resolve {
            head.untouched = true;
        }
    }

    pub(super) fn waits_for_client(&mut self) -> bool {
        self.answer.as_mut().and_then(Answer::relay).is_some_and(|relay| relay.waits_for_client())
    }

    pub(super) fn limit_held(&mut self, actions: &mut Actions) {
        if self.waits_for_client() && self.held() > HIGH_WATER {
            self.pause(actions);
        }
    }

    pub(super) fn pause(&mut self, actions: &mut Actions) {
        if !self.paused {
            self.paused = true;
            actions.pause = Some(true);
        }
    }

    pub(super) fn resume(&mut self, actions: &mut Actions) {
        if std::mem::take(&mut self.paused) {
            actions.pause = Some(false);
        }
    }
}
