//! How much a stream's events say, for upstreams that do not tell.
//!
//! An event's JSON is nearly all frame, the same from event to event: what is longer than the shortest event is what
//! was written. Four bytes are taken for a token, and an event for one at least, since most providers send each token
//! in an event of its own.

/// The frame that is believed at most, in bytes: an answer in one large event has no shorter one beside it.
const FRAME: u64 = 320;
const BYTES_PER_TOKEN: u64 = 4;

/// What the events with content came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Written {
    events: u64,
    bytes: u64,
    shortest: u64,
}

impl Written {
    /// One event with content, and the length of its data.
    pub(super) fn add(&mut self, data: usize) {
        let length = data as u64;
        self.shortest = if self.events == 0 { length } else { self.shortest.min(length) };
        self.events += 1;
        self.bytes = self.bytes.saturating_add(length);
    }

    /// The tokens that is likely to be; 0 only where nothing was written.
    pub fn tokens(&self) -> u64 {
        let frame = self.shortest.saturating_sub(1).min(FRAME);
        let text = self.bytes.saturating_sub(frame.saturating_mul(self.events));
        text.div_ceil(BYTES_PER_TOKEN).max(self.events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(lengths: &[usize]) -> u64 {
        let mut written = Written::default();
        for length in lengths {
            written.add(*length);
        }
        written.tokens()
    }

    #[test]
    fn an_estimate_is_near_what_was_written() {
        assert_eq!(0, tokens(&[]));
        assert_eq!(1, tokens(&[250]), "one token in one event");
        assert_eq!(100, tokens(&[250; 100]), "a token in each event");
        assert_eq!(163, tokens(&[251, 265, 258, 252].repeat(25)), "words of some letters");
        assert_eq!(920, tokens(&[4000]), "an answer in one event");
        assert_eq!(1840, tokens(&[4000, 4000]), "an answer in two");
    }
}
