//! One request and its answer, whose every event must be the one expected; and what is counted of all of them.

use crate::meter::Histogram;
use crate::payload::{now_us, read_event, Ask, Said, WHOLE_TEXT};
use memchr::memmem;
use std::time::Instant;

/// One request and what has come of its answer.
pub struct Exchange {
    pub scheduled: Instant,
    pub pending: Vec<u8>,
    pub events: u32,
    last_event: Option<Instant>,
    tokens: Option<u32>,
    done: bool,
}

/// What was measured between the window's start and its end.
pub struct Figures {
    pub measuring: bool,
    /// All of them, before the window too.
    pub answered: u64,
    pub requests: u64,
    pub events: u64,
    pub bytes: u64,
    pub first_content: Histogram,
    pub gap: Histogram,
    pub lag: Histogram,
    pub duration: Histogram,
    pub errors: u64,
    pub first_errors: Vec<String>,
}

impl Figures {
    pub fn new() -> Self {
        let [first_content, gap, lag, duration] = std::array::from_fn(|_| Histogram::new());
        let [answered, requests, events, bytes, errors] = [0; 5];
        let (measuring, first_errors) = (false, Vec::new());
        Self { measuring, answered, requests, events, bytes, first_content, gap, lag, duration, errors, first_errors }
    }

    pub fn error(&mut self, text: &str) {
        self.errors += 1;
        if self.first_errors.len() < 3 {
            let plain = |c: char| if c.is_ascii_graphic() && !"\"\\".contains(c) { c } else { ' ' };
            self.first_errors.push(text.chars().map(plain).collect());
        }
    }
}

impl Exchange {
    pub fn new(scheduled: Instant) -> Self {
        Self { scheduled, pending: Vec::new(), events: 0, last_event: None, tokens: None, done: false }
    }

    /// Takes a piece of a stream's body; every event must be the one expected.
    pub fn feed(&mut self, piece: &[u8], now: Instant, figures: &mut Figures) -> Result<(), String> {
        self.pending.extend_from_slice(piece);
        let mut start = 0;
        while let Some(length) = memmem::find(&self.pending[start..], b"\n\n") {
            let said = read_event(&self.pending[start..start + length]);
            start += length + 2;
            if self.done {
                return Err("an event behind [DONE]".into());
            }
            match said {
                Said::Content { index, at_us } if index == self.events => self.content(at_us, now, figures),
                Said::Content { index, .. } => return Err(format!("event {index} where {} was due", self.events)),
                Said::Usage(tokens) => self.tokens = Some(tokens),
                Said::Done => self.done = true,
                Said::Other => {}
            }
        }
        self.pending.drain(..start);
        Ok(())
    }

    pub fn content(&mut self, at_us: u64, now: Instant, figures: &mut Figures) {
        self.events += 1;
        let last = self.last_event.replace(now);
        if !figures.measuring {
            return;
        }
        figures.events += 1;
        match last {
            None => figures.first_content.add((now - self.scheduled).as_micros() as u64),
            Some(last) => figures.gap.add((now - last).as_micros() as u64),
        }
        if at_us > 0 {
            figures.lag.add(now_us().saturating_sub(at_us));
        }
    }

    /// The answer is whole: whether it is the right one.
    pub fn verdict(&self, status: u16, ask: Ask) -> Result<(), String> {
        if status != 200 {
            return Err(format!(
                "status {status}: {}",
                String::from_utf8_lossy(&self.pending[..self.pending.len().min(300)])
            ));
        }
        if !ask.stream {
            let right = memmem::find(&self.pending, WHOLE_TEXT.as_bytes()).is_some();
            return if right { Ok(()) } else { Err("another answer than the upstream's".into()) };
        }
        let (events, done, tokens) = (self.events, self.done, self.tokens);
        if (events, done, tokens) == (ask.events, true, Some(ask.events)) && self.pending.is_empty() {
            return Ok(());
        }
        let left = self.pending.len();
        Err(format!("{events} of {} events, [DONE] {done}, tokens {tokens:?}, {left} bytes left", ask.events))
    }
}
