//! What is measured: histograms of microseconds, and what the kernel says about other processes.

use std::fs;

const STEPS: u64 = 64;

/// Counts of microseconds, exact to 1.6 %.
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub fn new() -> Self {
        Self { counts: vec![0; 64 * STEPS as usize], total: 0 }
    }

    pub fn add(&mut self, value: u64) {
        self.counts[slot(value)] += 1;
        self.total += 1;
    }

    /// The value that so many percent of all values do not exceed, in microseconds; 0 without values.
    pub fn percentile(&self, percent: u64) -> u64 {
        let wanted = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (slot, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper(slot as u64);
            }
        }
        0
    }

    /// `{"n":..,"p50":..,"p90":..,"p99":..}`, in microseconds.
    pub fn json(&self) -> String {
        let [p50, p90, p99] = [50, 90, 99].map(|percent| self.percentile(percent));
        format!("{{\"n\":{},\"p50\":{p50},\"p90\":{p90},\"p99\":{p99}}}", self.total)
    }
}

fn slot(value: u64) -> usize {
    if value < 2 * STEPS {
        return value as usize;
    }
    let shift = u64::from(value.ilog2()) - 6;
    ((shift * STEPS) + (value >> shift)) as usize
}

fn upper(slot: u64) -> u64 {
    if slot < 2 * STEPS {
        return slot;
    }
    let shift = slot / STEPS - 1;
    ((slot - shift * STEPS + 1) << shift) - 1
}

/// The processes under test, by id.
pub struct Processes(Vec<u32>);

impl Processes {
    /// From `12,34`.
    pub fn parse(list: &str) -> Self {
        Self(list.split(',').filter_map(|id| id.parse().ok()).collect())
    }

    /// Time on a CPU of all threads together, in nanoseconds (schedstat).
    pub fn cpu_ns(&self) -> u64 {
        let threads = self.0.iter().filter_map(|id| fs::read_dir(format!("/proc/{id}/task")).ok()).flatten().flatten();
        threads
            .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
            .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
            .sum()
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> u64 {
        let texts = self.0.iter().filter_map(|id| fs::read_to_string(format!("/proc/{id}/status")).ok());
        let kilobytes = texts.filter_map(|text| {
            text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse::<u64>().ok()
        });
        kilobytes.sum::<u64>() * 1024
    }
}
