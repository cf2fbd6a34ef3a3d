//! The lease algorithm, as a holder of leases plays it: what of each limit it may give away by itself.
//!
//! A limit is a number of units: requests or tokens of a minute, money or credits of a window, streams at a time. One
//! authority (`python/sluicegate/limits/authority.py` is its half) knows what each holder has drawn and has on lease. A
//! holder reserves a request's units out of its lease at admission, without asking; if its lease does not hold them it
//! asks for more. At the end the reservation is settled with what was really used.
//!
//! Rules of this file:
//!
//! - No clock: `now` is monotonic seconds and passed in.
//! - What a holder tells its authority are totals, never differences: a report that is lost, or comes twice, changes
//!   nothing.
//! - A lease is trusted for as long as the authority said, counted from the moment of asking: the holder forgets it
//!   before the authority gives it to somebody else.
//! - Every figure lies between 0 and [`MOST`] and stays there, whatever it is told.
//! - The bound: what is used beyond a limit is at most what the requests in flight use above their reservations, and the
//!   leases of holders that died or were cut off.

mod purse;

pub use purse::{estimate, Demand, Note, Purse, Taken, Used};

/// Counts saturate here: the largest integer that every JSON and Lua reader holds exactly, 2^53 - 1.
pub const MOST: i64 = (1 << 53) - 1;
/// A lease is this part of its limit: with more holders than that, they ask more often.
const PARTS: i64 = 16;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Requests of a window.
    Requests,
    /// Tokens of a window, input and output.
    Tokens,
    /// Streams at a time.
    Streams,
    /// Nano-dollars of a window.
    Dollars,
    /// Credits of a window.
    Credits,
}

/// One limit, as far as its counting goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What is counted.
    pub kind: Kind,
    /// How many units fit into it.
    pub capacity: i64,
    /// It has no window: what is taken is given back, as streams are.
    pub level: bool,
}

/// What a holder tells its authority about one limit, and what it wants of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Start of the window that the figures belong to.
    pub window: i64,
    /// What the holder has taken in that window altogether; of a level nothing.
    pub drawn: i64,
    /// What it holds on lease from now on; of a level, with what is in use.
    pub kept: i64,
    /// What it would like on top.
    pub wanted: i64,
}

/// The authority's answer. `ends` and `lasts` are seconds from the moment of asking.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grant {
    /// Start of the present window.
    pub window: i64,
    /// Until that window ends.
    pub ends: f64,
    /// Units more on lease.
    pub granted: i64,
    /// Units left for others beside them.
    pub left: i64,
    /// Until the lease ends.
    pub lasts: f64,
    /// What the holder has drawn in `window` by its own reports: where it goes on from.
    pub drawn: i64,
}

/// A holder's part in one limit.
#[derive(Debug, Clone)]
pub struct Share {
    limit: Limit,
    /// It is the only holder, and leases all there is.
    whole: bool,
    window: i64,
    /// When that window ends.
    ends: f64,
    /// When the lease ends: never after its window.
    until: f64,
    /// Units on lease that no request has.
    free: i64,
    /// Units that requests have taken in this window; a level's: that are in use.
    drawn: i64,
    /// What the authority had left, when it was last asked.
    left: i64,
    /// Something was taken since the last report.
    active: bool,
    /// What is free is not a lease, but what this holder allows itself without its authority.
    alone: bool,
    /// How often `drawn` has changed; how often it had when it was last told, and when that was last answered.
    changes: u64,
    asked: u64,
    heard: u64,
    /// A request was refused though all that was granted was there.
    short: bool,
    /// Somebody reports it from time to time.
    watched: bool,
    /// What stands before the units left, in the lines of a head that tell of it.
    told: String,
}

/// A count as it may be used: not negative, not above [`MOST`].
pub fn counted(units: i64) -> i64 {
    units.clamp(0, MOST)
}

// === impl Kind ===

impl Kind {
    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Requests, Self::Tokens, Self::Streams, Self::Dollars, Self::Credits]
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Streams => "streams",
            Self::Dollars => "dollars",
            Self::Credits => "credits",
        }
    }
}

// === impl Limit ===

impl Limit {
    /// Units of an ordinary lease.
    pub fn lease(&self) -> i64 {
        (self.capacity / PARTS).max(1)
    }

    fn told(&self) -> String {
        let (capacity, kind) = (self.capacity, self.kind.name());
        format!("\r\nx-ratelimit-limit-{kind}: {capacity}\r\nx-ratelimit-remaining-{kind}: ")
    }
}

// === impl Share ===

impl Share {
    /// A part of which nothing is known yet. `whole`: it is the limit's only holder, and leases all there is.
    pub fn new(limit: Limit, whole: bool) -> Self {
        let limit = Limit { capacity: counted(limit.capacity), ..limit };
        Self {
            limit,
            whole,
            window: 0,
            ends: f64::NEG_INFINITY,
            until: f64::NEG_INFINITY,
            free: 0,
            drawn: 0,
            left: limit.capacity,
            active: false,
            alone: false,
            changes: 0,
            asked: 0,
            heard: 0,
            short: false,
            watched: false,
            told: limit.told(),
        }
    }

    /// What it is a part of.
    pub fn limit(&self) -> &Limit {
        &self.limit
    }

    /// Start of the window that all figures belong to; 0 while none is known, and of a level always.
    pub fn window(&self) -> i64 {
        self.window
    }

    /// When that window ends.
    pub fn ends(&self) -> f64 {
        self.ends
    }

    /// Units on lease that no request has.
    pub fn free(&self) -> i64 {
        self.free
    }

    /// Units that requests have taken in this window; of a level: that are in use.
    pub fn drawn(&self) -> i64 {
        self.drawn
    }

    /// Whether somebody reports it from time to time.
    pub fn watched(&self) -> bool {
        self.watched
    }

    /// Says whether somebody does.
    pub fn watch(&mut self, watched: bool) {
        self.watched = watched;
    }

    /// Takes over the same limit with another capacity; what is drawn stays drawn.
    pub fn resize(&mut self, capacity: i64) {
        let capacity = counted(capacity);
        let more = capacity - self.limit.capacity;
        self.limit.capacity = capacity;
        self.told = self.limit.told();
        self.free = if self.whole { counted(self.free + more) } else { self.free.min(self.limit.lease()) };
    }

    /// Units that must be asked for before so many can be taken; 0: none, take them.
    pub fn lacks(&self, units: i64, now: f64) -> i64 {
        if now < self.until {
            (units - self.free).max(0)
        } else {
            units
        }
    }

    /// Notes that a request was refused, as what is on lease was not enough for it.
    pub fn refused(&mut self) {
        self.short = !self.whole;
    }

    /// Takes units that are not lacking; returns the window they are of, which settling them needs.
    pub fn take(&mut self, units: i64) -> i64 {
        self.free = counted(self.free - units);
        self.drawn = counted(self.drawn + units);
        self.active = true;
        self.changes += 1;
        self.window
    }

    /// Puts the units that were used in the place of those reserved in a window; true if the authority is to know.
    ///
    /// What was reserved too much goes back to the lease while its window lasts; what was used above a reservation of a
    /// window gone by is drawn from the present one. A level's units all come back.
    pub fn settle(&mut self, window: i64, reserved: i64, used: i64, now: f64) -> bool {
        let mut more = if self.limit.level { -counted(reserved) } else { counted(used) - counted(reserved) };
        if window != self.window {
            more = more.max(0);
        }
        if more == 0 {
            return false;
        }
        self.drawn = counted(self.drawn + more);
        self.changes += 1;
        if now >= self.until {
            self.free = 0;
            return true;
        }
        let free = self.free - more;
        self.free = counted(free);
        if free < 0 {
            self.left = counted(self.left + free);
            return true;
        }
        more < 0 && !self.whole && self.left < self.limit.lease()
    }

    /// Makes the report, with the wish for what is lacking or, if nothing is, for nothing.
    ///
    /// A holder that had to refuse a request gives all it holds back in its next report, whatever it wishes by then: if
    /// all holders kept what is of no use to any of them, nobody would be served, though there is enough for many.
    /// Without a wish a lease that was not drawn from since the last report is given back, and one that has grown by
    /// settlements is cut to its ordinary size; both also if the authority has less than a lease left for others.
    pub fn report(&mut self, lacking: i64, now: f64) -> Report {
        let lease = self.limit.lease();
        if now >= self.until || self.alone {
            self.free = 0;
            self.alone = false;
        }
        let lacking = if self.short && self.free > 0 { 0 } else { counted(lacking) };
        if lacking == 0 {
            self.free = if self.active && self.left >= lease && !self.short { self.free.min(lease) } else { 0 };
        }
        self.active = false;
        self.short = false;
        self.asked = self.changes;
        let wanted = match lacking {
            0 => 0,
            _ if self.whole => self.limit.capacity,
            _ => lacking.max(lease),
        };
        let (drawn, in_use) = if self.limit.level { (0, self.drawn) } else { (self.drawn, 0) };
        Report { window: self.window, drawn, kept: counted(self.free + in_use), wanted }
    }

    /// Makes the last report, which gives the lease back.
    pub fn returned(&mut self, now: f64) -> Report {
        self.active = false;
        self.left = 0;
        self.report(0, now)
    }

    /// Takes the authority's answer to a question of the moment `asked`.
    pub fn granted(&mut self, grant: &Grant, asked: f64) {
        self.heard = self.asked;
        self.short &= grant.granted <= 0;
        let early = self.enter(grant.window, grant.drawn);
        self.ends = asked + grant.ends;
        self.until = self.ends.min(asked + grant.lasts);
        self.free = counted(self.free + counted(grant.granted) - early);
        self.left = counted(grant.left);
    }

    /// Goes on without the authority: until it answers again, only what this holder itself has drawn counts.
    pub fn alone(&mut self, ends: f64, window: i64) {
        self.enter(window, 0);
        self.ends = ends;
        self.until = ends;
        self.free = counted(self.limit.capacity - self.drawn);
        self.left = 0;
        self.alone = true;
    }

    /// Goes on in a window from what was drawn in it; says what was drawn before any window was known, which is this
    /// one's and which nobody has heard of.
    fn enter(&mut self, window: i64, drawn: i64) -> i64 {
        if window == self.window {
            return 0;
        }
        let early = if self.window == 0 { self.drawn } else { 0 };
        self.window = window;
        self.drawn = counted(counted(drawn) + early);
        self.free = 0;
        self.changes += u64::from(early > 0);
        early
    }

    /// Whether it is time to ask for the next lease, before a request has to wait for it.
    pub fn low(&self) -> bool {
        let lease = self.limit.lease();
        !self.whole && self.free < lease / 4 && self.left >= lease
    }

    /// Whether the authority must hear of it from time to time: it holds a lease, or has drawn unreported.
    pub fn busy(&self) -> bool {
        self.changes != self.heard || self.free > 0 || (self.limit.level && self.drawn > 0)
    }

    /// Units left for everybody, as far as this holder knows.
    pub fn remaining(&self, now: f64) -> i64 {
        if now >= self.ends {
            return self.limit.capacity;
        }
        let free = if now < self.until { self.free } else { 0 };
        (self.left + free).min(self.limit.capacity)
    }
}

#[cfg(test)]
mod tests;
