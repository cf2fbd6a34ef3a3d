//! Counters, gauges and histograms as one fixed array of atomics, and their Prometheus text.
//!
//! Rules of this file:
//! - The table of families is declared once; where each one's cells lie follows from the table alone.
//! - The cells are *given*: whoever owns the memory decides how long it lives and who shares it. Label sets stand in
//!   them too, so that another process can read what one that died has counted.
//! - A label set gets a slot by [`Bank::slot`], under a lock, once; slots are never moved or freed.
//! - [`Bank::add`], [`Bank::set`], [`Bank::observe`] and [`Bank::render`] take no lock.
//! - A family holds `cap` label sets; whatever comes later is counted in the set whose labels are all `_other`.
//! - Everything is an integer. Seconds are kept as microseconds and written as exact decimals.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

mod names;
mod table;
mod text;

pub use table::{Family, InvalidTable, Kind, Scale};
#[cfg(test)]
mod tests;

use names::Names;
pub use text::render;

/// The value of every label of the set that takes what is beyond a family's cap.
pub const OTHER: &str = "_other";

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

/// The memory of a bank, wherever it is.
pub struct Cells(Box<dyn Deref<Target = [AtomicU64]> + Send + Sync>);

/// Every metric of a process.
pub struct Bank<C = Cells> {
    families: Vec<Declared>,
    by_name: HashMap<String, FamilyId>,
    interned: Mutex<Interned>,
    names: Names,
    /// Whether label sets are written into the cells; a bank that reads another's finds them there.
    writes: bool,
    cells: C,
}

/// The label sets by family, and how far they have been read from the cells.
struct Interned {
    sets: Vec<HashMap<Box<str>, u32>>,
    read: usize,
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
        Names::of(families).len() + families.iter().map(|family| family.room() * family.width()).sum::<usize>()
    }

    /// A bank that counts in `cells`, which hold zeros.
    ///
    /// `dropped` names the family, a counter with one label, that counts look-ups beyond the others' caps;
    /// it has a set for each labelled family from the start.
    pub fn new(families: Vec<Family>, dropped: Option<&str>, cells: C) -> Result<Self, InvalidTable> {
        let mut bank = Self::over(families, true, cells)?;
        if let Some(name) = dropped {
            bank.count_dropped(name)?;
        }
        Ok(bank)
    }

    /// A bank that shows what another one, of the same table, counts or has counted in `cells`. Not for counting.
    pub fn reader(families: Vec<Family>, cells: C) -> Result<Self, InvalidTable> {
        let bank = Self::over(families, false, cells)?;
        bank.catch_up();
        Ok(bank)
    }

    fn over(families: Vec<Family>, writes: bool, cells: C) -> Result<Self, InvalidTable> {
        if cells.len() < Self::cells_needed(&families) {
            return Err(InvalidTable { family: String::new(), what: "needs more cells than there are" });
        }
        let names = Names::of(&families);
        let mut bank = Self {
            interned: Mutex::new(Interned { sets: vec![HashMap::new(); families.len()], read: 0 }),
            families: Vec::with_capacity(families.len()),
            by_name: HashMap::with_capacity(families.len()),
            names,
            writes,
            cells,
        };
        let mut first_cell = names.len();
        for family in families {
            bank.declare(family, &mut first_cell)?;
        }
        for (index, declared) in bank.families.iter().enumerate() {
            if declared.family.labels.is_empty() {
                bank.intern(index, String::new());
            }
        }
        Ok(bank)
    }

    /// Learns the label sets that the bank which counts here has made since. A bank that counts itself knows its own.
    pub fn catch_up(&self) {
        if self.writes {
            return;
        }
        let mut interned = self.interned.lock().unwrap_or_else(PoisonError::into_inner);
        let Interned { sets, read } = &mut *interned;
        *read = self.names.read(&self.cells, *read, |family, labels| {
            let (Some(known), Some(declared)) = (sets.get_mut(family), self.families.get(family)) else { return };
            let set = known.len();
            if let Some(place) = declared.sets.get(set) {
                place.get_or_init(|| labels.as_str().into());
                known.insert(labels.into_boxed_str(), set as u32);
            }
        });
    }

    /// Adds what another bank has counted, once it no longer counts: counters and histograms, not what it showed of
    /// itself. Families that this bank does not have, or has otherwise, are left out.
    pub fn absorb(&self, ended: &Self) {
        ended.catch_up();
        for from in &ended.families {
            let Some(FamilyId(index)) = self.family(&from.family.name) else { continue };
            if matches!(from.family.kind, Kind::Gauge | Kind::Level) {
                continue;
            }
            if !self.families[index as usize].family.is_like(&from.family) {
                continue;
            }
            for (labels, cells) in from.counted(&ended.cells) {
                let slot = self.intern(index as usize, labels.to_owned());
                for (sum, cell) in self.cells(slot).into_iter().flat_map(|(_, cells)| cells).zip(cells) {
                    sum.fetch_add(cell.load(Relaxed), Relaxed);
                }
            }
        }
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
        let known = &mut interned.sets[index];
        if let Some(&set) = known.get(labels.as_str()) {
            return slot(set);
        }
        let plain = declared.family.labels.is_empty();
        let last = declared.sets.len() - 1;
        let write =
            |labels: &str, is_other| plain || !self.writes || self.names.append(&self.cells, index, labels, is_other);
        let labels = if plain || (known.len() < last && write(&labels, false)) {
            labels
        } else {
            if let Some(dropped) = declared.dropped {
                self.add(dropped, 1);
            }
            let other = names::other(&declared.family);
            if let Some(&set) = known.get(other.as_str()) {
                return slot(set);
            }
            write(&other, true);
            other
        };
        let set = known.len().min(last) as u32;
        declared.sets[set as usize].get_or_init(|| labels.as_str().into());
        known.insert(labels.into_boxed_str(), set);
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
            Some(Kind::Gauge | Kind::Level) => self.set(slot, value as i64),
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
        let cells: Box<[AtomicU64]> = (0..Self::cells_needed(&families)).map(|_| AtomicU64::new(0)).collect();
        Self::new(families, dropped, Cells::new(cells))
    }
}

impl Declared {
    /// Every label set seen so far and its cells, in order of appearance.
    fn counted<'a>(&'a self, cells: &'a [AtomicU64]) -> impl Iterator<Item = (&'a str, &'a [AtomicU64])> {
        let known = self.sets.iter().map_while(|labels| labels.get());
        known.zip(cells[self.first_cell..].chunks(self.width)).map(|(labels, cells)| (&**labels, cells))
    }
}

// === impl Cells ===

impl Cells {
    /// Memory that somebody else keeps, for as long as this lives.
    pub fn new(memory: impl Deref<Target = [AtomicU64]> + Send + Sync + 'static) -> Self {
        Self(Box::new(memory))
    }
}

impl Deref for Cells {
    type Target = [AtomicU64];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<C> fmt::Debug for Bank<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bank").field("families", &self.families.len()).finish_non_exhaustive()
    }
}

impl fmt::Display for WrongLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} label values, got {}", self.expected, self.given)
    }
}

impl std::error::Error for WrongLabels {}
