//! Counters, gauges and histograms as one fixed array of atomics, and their Prometheus text.
//!
//! Rules of this file:
//! - The table of families is declared once; where each one's cells lie follows from the table alone.
//! - The cells are *given*: whoever owns the memory decides how long it lives and who shares it.
//! - A label set gets a slot by [`Bank::slot`], under a lock, once; slots are never moved or freed.
//! - [`Bank::add`], [`Bank::set`], [`Bank::observe`] and [`Bank::render`] take no lock.
//! - A family holds `cap` label sets; whatever comes later is counted in the set whose labels are all `_other`.
//! - Everything is an integer. Seconds are kept as microseconds and written as exact decimals.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

#[cfg(test)]
mod tests;
mod text;

/// The value of every label of the set that takes what is beyond a family's cap.
pub const OTHER: &str = "_other";

/// What a histogram's integers stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// As they are: tokens, bytes.
    Plain,
    /// Microseconds, shown as seconds.
    Micros,
}

/// How a family's values grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Only up.
    Counter,
    /// Up and down; signed.
    Gauge,
    /// Observations sorted into buckets.
    Histogram {
        /// Upper bounds (inclusive), ascending, in the unit of `scale`; `+Inf` is implied.
        bounds: Vec<u64>,
        /// What the integers stand for.
        scale: Scale,
    },
}

/// One row of the table: a metric and the labels it is told apart by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// The series' name, without the suffixes of a histogram.
    pub name: String,
    /// One sentence for the reader of a dashboard.
    pub help: String,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// Names of the labels; none: there is exactly one series, and it is there from the start.
    pub labels: Vec<String>,
    /// How many label sets there may be before the rest is `_other`. Means nothing without labels.
    pub cap: usize,
}

/// Why a table cannot be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidTable {
    /// The family at fault, or `""` if it is the whole.
    pub family: String,
    /// What is wrong with it.
    pub what: &'static str,
}

/// A label set had another number of values than its family has labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongLabels {
    /// How many labels the family has.
    pub expected: usize,
    /// How many values were given.
    pub given: usize,
}

/// A family of a [`Bank`], found by [`Bank::family`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FamilyId(u32);

/// One label set of one family. It stays good for the bank's life and means nothing to another bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    family: u32,
    set: u32,
}

/// Every metric of a process.
pub struct Bank<C = Box<[AtomicU64]>> {
    families: Vec<Declared>,
    by_name: HashMap<String, FamilyId>,
    interned: Mutex<Vec<HashMap<Box<str>, u32>>>,
    cells: C,
}

/// A family, where its cells begin, and the label sets seen so far in order of appearance.
struct Declared {
    family: Family,
    first_cell: usize,
    width: usize,
    sets: Box<[OnceLock<Box<str>>]>,
    le: Vec<String>,
    /// Counts look-ups beyond this family's cap.
    dropped: Option<Slot>,
}

// === impl Family ===

impl Family {
    /// Label sets there is room for: `_other` has a place of its own.
    fn room(&self) -> usize {
        if self.labels.is_empty() {
            1
        } else {
            self.cap + 1
        }
    }

    /// Cells per label set; a histogram's are its buckets, `+Inf` and the sum.
    fn width(&self) -> usize {
        match &self.kind {
            Kind::Counter | Kind::Gauge => 1,
            Kind::Histogram { bounds, .. } => bounds.len() + 2,
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        if !is_name(&self.name) {
            return Err("is not a metric's name");
        }
        if !self.labels.iter().all(|label| is_name(label) && !label.starts_with("__") && label != "le") {
            return Err("has a label whose name is reserved or malformed");
        }
        if self.room() > u32::MAX as usize {
            return Err("has a cap beyond 2^32");
        }
        match &self.kind {
            Kind::Histogram { bounds, .. } if bounds.is_empty() || !bounds.windows(2).all(|pair| pair[0] < pair[1]) => {
                Err("needs ascending buckets")
            }
            _ => Ok(()),
        }
    }
}

/// Colons are for recording rules, so no name of ours has one.
fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

/// A gauge's cell holds its value in two's complement.
fn unsigned(value: i64) -> u64 {
    u64::from_ne_bytes(value.to_ne_bytes())
}

fn signed(cell: u64) -> i64 {
    i64::from_ne_bytes(cell.to_ne_bytes())
}

// === impl Slot ===

impl Slot {
    /// The slot as a number that Python can keep.
    pub fn to_bits(self) -> u64 {
        u64::from(self.family) << 32 | u64::from(self.set)
    }

    /// The slot that `to_bits` gave. Any other number names a slot that may not exist, which counts nothing.
    pub fn from_bits(bits: u64) -> Self {
        Self { family: (bits >> 32) as u32, set: bits as u32 }
    }
}

// === impl Bank ===

impl<C: Deref<Target = [AtomicU64]>> Bank<C> {
    /// How many cells a table needs.
    pub fn cells_needed(families: &[Family]) -> usize {
        families.iter().map(|family| family.room() * family.width()).sum()
    }

    /// A bank over `cells`, which hold zeros or what an earlier bank of the same table left there.
    ///
    /// `dropped` names the family, a counter with one label, that counts look-ups beyond the others' caps;
    /// it has a set for each labelled family from the start.
    pub fn new(families: Vec<Family>, dropped: Option<&str>, cells: C) -> Result<Self, InvalidTable> {
        if cells.len() < Self::cells_needed(&families) {
            return Err(InvalidTable { family: String::new(), what: "needs more cells than there are" });
        }
        let mut bank = Self {
            interned: Mutex::new(vec![HashMap::new(); families.len()]),
            families: Vec::with_capacity(families.len()),
            by_name: HashMap::with_capacity(families.len()),
            cells,
        };
        let mut first_cell = 0;
        for family in families {
            bank.declare(family, &mut first_cell)?;
        }
        if let Some(name) = dropped {
            bank.count_dropped(name)?;
        }
        for (index, declared) in bank.families.iter().enumerate() {
            if declared.family.labels.is_empty() {
                bank.intern(index, String::new());
            }
        }
        Ok(bank)
    }

    fn declare(&mut self, family: Family, first_cell: &mut usize) -> Result<(), InvalidTable> {
        let id = FamilyId(self.families.len() as u32);
        let what = match family.check() {
            Ok(()) if self.by_name.insert(family.name.clone(), id).is_none() => None,
            Ok(()) => Some("is declared twice"),
            Err(what) => Some(what),
        };
        if let Some(what) = what {
            return Err(InvalidTable { family: family.name, what });
        }
        let declared = Declared {
            first_cell: *first_cell,
            width: family.width(),
            sets: (0..family.room()).map(|_| OnceLock::new()).collect(),
            le: text::bucket_labels(&family.kind),
            dropped: None,
            family,
        };
        *first_cell += declared.sets.len() * declared.width;
        self.families.push(declared);
        Ok(())
    }

    fn count_dropped(&mut self, name: &str) -> Result<(), InvalidTable> {
        let invalid = |what| InvalidTable { family: name.to_owned(), what };
        let counter = self.family(name).ok_or_else(|| invalid("is not in the table"))?;
        let family = &self.families[counter.0 as usize].family;
        if family.kind != Kind::Counter || family.labels.len() != 1 {
            return Err(invalid("must be a counter with one label to count dropped label sets"));
        }
        let labelled = |index: usize| index != counter.0 as usize && !self.families[index].family.labels.is_empty();
        let counted: Vec<usize> = (0..self.families.len()).filter(|&index| labelled(index)).collect();
        if family.cap < counted.len() {
            return Err(invalid("has a cap below the number of families it counts for"));
        }
        for index in counted {
            let of = self.families[index].family.name.clone();
            self.families[index].dropped = self.slot(counter, &[&of]).ok();
        }
        Ok(())
    }

    /// The family of that name.
    pub fn family(&self, name: &str) -> Option<FamilyId> {
        self.by_name.get(name).copied()
    }

    /// The slot of a label set, made when first asked for; beyond the cap `_other`'s. Takes a lock: ask once per set.
    pub fn slot(&self, family: FamilyId, labels: &[&str]) -> Result<Slot, WrongLabels> {
        let index = family.0 as usize;
        let names = &self.families[index].family.labels;
        if names.len() != labels.len() {
            return Err(WrongLabels { expected: names.len(), given: labels.len() });
        }
        Ok(self.intern(index, text::label_set(names, labels)))
    }

    fn intern(&self, index: usize, labels: String) -> Slot {
        let declared = &self.families[index];
        let slot = |set| Slot { family: index as u32, set };
        let mut interned = self.interned.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut interned[index];
        if let Some(&set) = known.get(labels.as_str()) {
            return slot(set);
        }
        let names = &declared.family.labels;
        let last = declared.sets.len() - 1;
        let labels = if known.len() < last || names.is_empty() {
            labels
        } else {
            if let Some(dropped) = declared.dropped {
                self.add(dropped, 1);
            }
            text::label_set(names, &vec![OTHER; names.len()])
        };
        let set = known.len().min(last) as u32;
        let set = *known.entry(labels.clone().into_boxed_str()).or_insert(set);
        declared.sets[set as usize].get_or_init(|| labels.into_boxed_str());
        slot(set)
    }

    /// The cells of a slot, or none if there is no such slot.
    fn cells(&self, slot: Slot) -> Option<(&Declared, &[AtomicU64])> {
        let declared = self.families.get(slot.family as usize)?;
        let set = slot.set as usize;
        if set >= declared.sets.len() {
            return None;
        }
        let first = declared.first_cell + set * declared.width;
        Some((declared, self.cells.get(first..first + declared.width)?))
    }

    /// Adds to a counter or a gauge. A histogram stays as it is.
    pub fn add(&self, slot: Slot, n: u64) {
        if let Some((_, [cell])) = self.cells(slot) {
            cell.fetch_add(n, Relaxed);
        }
    }

    /// Moves a gauge up or down.
    pub fn adjust(&self, slot: Slot, by: i64) {
        self.add(slot, unsigned(by));
    }

    /// Sets a gauge (or a counter that is kept elsewhere). A histogram stays as it is.
    pub fn set(&self, slot: Slot, value: i64) {
        if let Some((_, [cell])) = self.cells(slot) {
            cell.store(unsigned(value), Relaxed);
        }
    }

    /// Counts one observation, in microseconds or plain units as its family says. Anything but a histogram stays.
    pub fn observe(&self, slot: Slot, value: u64) {
        let Some((Declared { family: Family { kind: Kind::Histogram { bounds, .. }, .. }, .. }, [buckets @ .., sum])) =
            self.cells(slot)
        else {
            return;
        };
        let bucket = bounds.iter().take_while(|&&bound| bound < value).count();
        buckets[bucket].fetch_add(1, Relaxed);
        sum.fetch_add(value, Relaxed);
    }

    /// What the slot's kind makes of a value: a counter grows by it, a gauge is set to it, a histogram observes it.
    ///
    /// The value is in the unit that is shown (seconds, not microseconds); less than nothing and NaN count as 0
    /// but for a gauge.
    #[allow(clippy::cast_sign_loss)] // `as` saturates, and 0 is meant for what is negative
    pub fn record(&self, slot: Slot, value: f64) {
        match self.families.get(slot.family as usize).map(|declared| &declared.family.kind) {
            Some(Kind::Counter) => self.add(slot, value as u64),
            Some(Kind::Gauge) => self.set(slot, value as i64),
            Some(Kind::Histogram { scale: Scale::Plain, .. }) => self.observe(slot, value as u64),
            Some(Kind::Histogram { scale: Scale::Micros, .. }) => self.observe(slot, (value * 1e6).round() as u64),
            None => {}
        }
    }

    /// A counter's or gauge's value, a histogram's number of observations; none if there is no such slot.
    pub fn value(&self, slot: Slot) -> Option<i64> {
        let (_, cells) = self.cells(slot)?;
        let counted = &cells[..cells.len().max(2) - 1];
        Some(signed(counted.iter().map(|cell| cell.load(Relaxed)).fold(0, u64::wrapping_add)))
    }
}

impl Bank {
    /// A bank that owns its memory.
    pub fn in_memory(families: Vec<Family>, dropped: Option<&str>) -> Result<Self, InvalidTable> {
        let cells = (0..Self::cells_needed(&families)).map(|_| AtomicU64::new(0)).collect();
        Self::new(families, dropped, cells)
    }
}

impl<C> fmt::Debug for Bank<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bank").field("families", &self.families.len()).finish_non_exhaustive()
    }
}

impl fmt::Display for InvalidTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.family.is_empty() { "the table" } else { &self.family };
        write!(f, "{family} {}", self.what)
    }
}

impl fmt::Display for WrongLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} label values, got {}", self.expected, self.given)
    }
}

impl std::error::Error for InvalidTable {}
impl std::error::Error for WrongLabels {}
