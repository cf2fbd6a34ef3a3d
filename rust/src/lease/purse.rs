//! All that one request draws from: the shares of its key, its group and its model, each limit of theirs by itself.
//!
//! Rules: a request is admitted by all of them or by none. Shares are locked one after the other, so it is the caller's
//! to admit and settle from one thread at a time.

use super::{counted, Kind, Share, MOST};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a request's JSON for one token of its prompt: English text has 4.5 characters to a token, other tongues and
/// code fewer, and JSON adds its own.
const BYTES_PER_TOKEN: u64 = 4;
/// Which kinds of limits are told of, each with what stands before its reset.
const TOLD: [(Kind, &str); 2] =
    [(Kind::Requests, "\r\nx-ratelimit-reset-requests: "), (Kind::Tokens, "\r\nx-ratelimit-reset-tokens: ")];

/// What a request reserves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// Tokens of its prompt and the most it may write.
    pub tokens: i64,
    /// It is answered in pieces.
    pub stream: bool,
    /// What it costs at most, in nano-dollars.
    pub dollars: i64,
    /// What that is in credits.
    pub credits: i64,
}

/// What it came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Tokens, input and output.
    pub tokens: i64,
    /// Nano-dollars.
    pub dollars: i64,
    /// Credits.
    pub credits: i64,
}

/// Units that a request has reserved of one of a purse's shares, in a window of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    place: usize,
    window: i64,
    units: i64,
}

/// What whoever talks with the authority has to be told of one of a purse's shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// Which of them.
    pub place: usize,
    /// Units to ask for now, with 0 only to report; `None`: to report it from time to time from now on.
    pub ask: Option<i64>,
}

/// The shares of a request's limits, in order.
#[derive(Debug)]
pub struct Purse {
    shares: Vec<(Kind, Arc<Mutex<Share>>)>,
}

/// Estimates a request's tokens: of its prompt by its body's size in bytes, of its answer by what it may write.
///
/// `asked` is its own `max_tokens`, `most` the model's `max_output`, which is the most it gets either way; `default`
/// stands where neither is known. Each of several `choices` may be that long.
pub fn estimate(size: u64, asked: Option<u64>, most: Option<u64>, default: u64, choices: u32) -> (i64, i64) {
    let longest = most.unwrap_or(default);
    let output = asked.filter(|asked| most.is_none_or(|most| *asked <= most)).unwrap_or(longest);
    let units = |count: u64| i64::try_from(count).map_or(MOST, counted);
    (units(size / BYTES_PER_TOKEN + 1), units(output.saturating_mul(u64::from(choices))))
}

impl Purse {
    /// Of these shares, which others may have a part in.
    pub fn new(shares: Vec<Arc<Mutex<Share>>>) -> Self {
        let known = |share: Arc<Mutex<Share>>| {
            let kind = open(&share).limit().kind;
            (kind, share)
        };
        Self { shares: shares.into_iter().map(known).collect() }
    }

    /// Whether it has no shares.
    pub fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    /// Whether any of them counts this.
    pub fn counts(&self, kind: Kind) -> bool {
        self.shares.iter().any(|(its, _)| *its == kind)
    }

    /// Reserves all of a request's units; `None`, and nothing is taken, if something is lacking.
    pub fn take(&self, demand: &Demand, now: f64) -> Option<Vec<Taken>> {
        if self.wants(demand).any(|(_, share, units)| share.lacks(units, now) > 0) {
            return None;
        }
        let take = |(place, mut share, units): (usize, MutexGuard<'_, Share>, i64)| {
            let window = share.take(units);
            Taken { place, window, units }
        };
        let mut taken = Vec::with_capacity(self.shares.len());
        taken.extend(self.wants(demand).map(take));
        Some(taken)
    }

    /// Which shares must be filled up before such a request may be admitted, and by how many units.
    pub fn lacking(&self, demand: &Demand, now: f64) -> Vec<(usize, i64)> {
        self.wants(demand)
            .map(|(place, share, units)| (place, share.lacks(units, now)))
            .filter(|(_, lacks)| *lacks > 0)
            .collect()
    }

    /// Notes that such a request was refused; says which shares were not enough for it.
    pub fn refuse(&self, demand: &Demand, now: f64) -> Vec<usize> {
        let not_enough = |(place, mut share, units): (usize, MutexGuard<'_, Share>, i64)| {
            (share.lacks(units, now) > 0).then(|| {
                share.refused();
                place
            })
        };
        self.wants(demand).filter_map(not_enough).collect()
    }

    /// Puts what was used in the place of what was taken.
    pub fn settle(&self, taken: &[Taken], used: &Used, now: f64) -> Vec<Note> {
        let mut notes = Vec::new();
        for &Taken { place, window, units } in taken {
            let (kind, share) = &self.shares[place];
            let actual = match kind {
                Kind::Requests => continue,
                Kind::Tokens => used.tokens,
                Kind::Streams => units,
                Kind::Dollars => used.dollars,
                Kind::Credits => used.credits,
            };
            let mut share = open(share);
            let urgent = share.settle(window, units, actual, now);
            if !share.whole && (urgent || !share.watched) {
                notes.push(Note { place, ask: urgent.then_some(0) });
            }
        }
        notes
    }

    /// What is to be told after an admission: shares that nobody reports yet, or that run low.
    pub fn notes(&self, taken: &[Taken]) -> Vec<Note> {
        let note = |&Taken { place, .. }: &Taken| {
            let share = open(&self.shares[place].1);
            let ask = share.low().then(|| share.limit.lease());
            (!share.whole && (ask.is_some() || !share.watched)).then_some(Note { place, ask })
        };
        taken.iter().filter_map(note).collect()
    }

    /// Writes `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`: of several limits, the one with least left.
    ///
    /// Each stands as a line of a head, with its CRLF before it. A reset is written as a Go duration of whole seconds.
    pub fn write(&self, lines: &mut String, now: f64) {
        let mut digits = itoa::Buffer::new();
        for (kind, reset) in TOLD {
            let of_it = self.shares.iter().filter(|(its, _)| *its == kind);
            let figures = of_it.map(|(_, share)| (open(share).remaining(now), share));
            let Some((left, share)) = figures.min_by_key(|(left, _)| *left) else { continue };
            let share = open(share);
            lines.push_str(&share.told);
            lines.push_str(digits.format(left));
            lines.push_str(reset);
            lines.push_str(digits.format((share.ends - now).ceil().max(0.0) as i64));
            lines.push('s');
        }
    }

    /// What a request needs of each share it draws from, never more than the whole limit: that is what it waits for at
    /// most. Money that it is not expected to cost is still settled.
    fn wants<'a>(&'a self, demand: &'a Demand) -> impl Iterator<Item = (usize, MutexGuard<'a, Share>, i64)> {
        self.shares.iter().enumerate().filter_map(|(place, (kind, share))| {
            let units = match kind {
                Kind::Tokens => demand.tokens,
                Kind::Streams if !demand.stream => return None,
                Kind::Requests | Kind::Streams => 1,
                Kind::Dollars => demand.dollars,
                Kind::Credits => demand.credits,
            };
            let share = open(share);
            let units = counted(units).min(share.limit.capacity);
            Some((place, share, units))
        })
    }
}

fn open(share: &Mutex<Share>) -> MutexGuard<'_, Share> {
    share.lock().unwrap_or_else(PoisonError::into_inner)
}
