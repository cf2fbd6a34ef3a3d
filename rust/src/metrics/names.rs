//! Label sets written into a bank's cells, so that whoever shares the memory can read what is counted there.
//!
//! The first cell tells how many of the following are used; a record is a cell with its family and length, then the
//! label set's bytes, eight a cell. Records are only ever appended, and the first cell moves when one is whole: a
//! process that dies half-way through leaves nothing that could be misread.

use std::sync::atomic::{AtomicU64, Ordering};

use super::table::Family;
use super::{text, OTHER};

/// Cells per label set that the region is laid out for: the labels of `OpenTelemetry`'s series take 20 to 30.
const PER_SET: usize = 32;

/// Where the label sets of a table lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    /// Cells of the region, the first included.
    cells: usize,
    /// Cells that are kept for the `_other` sets.
    kept: usize,
}

impl Names {
    /// The region for a table.
    pub fn of(families: &[Family]) -> Self {
        let labelled = || families.iter().filter(|family| !family.labels.is_empty());
        let kept = labelled().map(|family| size(&other(family))).sum();
        let sets: usize = labelled().map(Family::room).sum();
        Self { cells: 1 + kept + sets * PER_SET, kept }
    }

    /// How many cells the region takes.
    pub fn len(self) -> usize {
        self.cells
    }

    /// Appends a record. False: there is no room; for a family's `_other` there always is, once.
    pub fn append(self, cells: &[AtomicU64], family: usize, labels: &str, is_other: bool) -> bool {
        let Some((used, records)) = cells[..self.cells].split_first() else { return false };
        let (at, size) = (used.load(Ordering::Relaxed) as usize, size(labels));
        let limit = records.len() - if is_other { 0 } else { self.kept };
        if at + size > limit {
            return false;
        }
        records[at].store((family as u64) << 32 | labels.len() as u64, Ordering::Relaxed);
        for (cell, bytes) in records[at + 1..].iter().zip(labels.as_bytes().chunks(8)) {
            let mut eight = [0; 8];
            eight[..bytes.len()].copy_from_slice(bytes);
            cell.store(u64::from_ne_bytes(eight), Ordering::Relaxed);
        }
        used.store((at + size) as u64, Ordering::Release);
        true
    }

    /// Gives every record from `from` on to `found`; returns where the next one will stand. Stops at what is broken.
    pub fn read(self, cells: &[AtomicU64], mut from: usize, mut found: impl FnMut(usize, String)) -> usize {
        let Some((used, records)) = cells[..self.cells].split_first() else { return from };
        let end = (used.load(Ordering::Acquire) as usize).min(records.len());
        while from < end {
            let head = records[from].load(Ordering::Relaxed);
            let length = head as u32 as usize;
            let next = from + 1 + length.div_ceil(8);
            if next > end {
                break;
            }
            let bytes = records[from + 1..next].iter().flat_map(|cell| cell.load(Ordering::Relaxed).to_ne_bytes());
            let Ok(labels) = String::from_utf8(bytes.take(length).collect()) else { break };
            found((head >> 32) as usize, labels);
            from = next;
        }
        from
    }
}

/// The label set that takes what is beyond a family's cap.
pub(super) fn other(family: &Family) -> String {
    text::label_set(&family.labels, &vec![OTHER; family.labels.len()])
}

fn size(labels: &str) -> usize {
    1 + labels.len().div_ceil(8)
}
