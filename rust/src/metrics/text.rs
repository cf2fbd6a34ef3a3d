//! The Prometheus text format 0.0.4, written without a float or an allocation per line.
//!
//! Order is the table's; within a family it is the order in which label sets first appeared.
//! A histogram's `_count` is the sum of the buckets just read, so a line never contradicts the one above it.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{signed, unsigned, Bank, Declared, Kind, Scale};

impl<C: Deref<Target = [AtomicU64]>> Bank<C> {
    /// Appends every family to `out`, `# HELP` and `# TYPE` first, also where there is no series yet.
    pub fn render(&self, out: &mut Vec<u8>) {
        render(&[self], out);
    }
}

/// Appends the families of all banks to `out`, each once: the sum of what they hold (the largest of a [`Kind::Level`]).
///
/// Order is the first bank's; what only later ones have follows. A family that is declared otherwise there is shown as
/// the first bank has it.
pub fn render<C: Deref<Target = [AtomicU64]>>(banks: &[&Bank<C>], out: &mut Vec<u8>) {
    let mut values = Vec::new();
    for (at, bank) in banks.iter().enumerate() {
        bank.catch_up();
        for declared in &bank.families {
            let name = declared.family.name.as_str();
            if banks[..at].iter().any(|earlier| earlier.family(name).is_some()) {
                continue;
            }
            declared.head(out);
            let others: Vec<_> = banks[at + 1..].iter().filter_map(|bank| bank.like(declared)).collect();
            if others.is_empty() {
                for (labels, cells) in declared.counted(&bank.cells) {
                    values.clear();
                    values.extend(cells.iter().map(|cell| cell.load(Relaxed)));
                    declared.series(labels, &values, out);
                }
                continue;
            }
            let mut sums = Sums::default();
            for (declared, cells) in [(declared, &bank.cells)].into_iter().chain(others) {
                declared.counted(cells).for_each(|(labels, cells)| sums.add(&declared.family.kind, labels, cells));
            }
            for (labels, values) in &sums.in_order {
                declared.series(labels, values, out);
            }
        }
    }
}

impl<C: Deref<Target = [AtomicU64]>> Bank<C> {
    /// The same family in this bank, and its cells.
    fn like(&self, declared: &Declared) -> Option<(&Declared, &C)> {
        self.catch_up();
        let own = &self.families[self.family(&declared.family.name)?.0 as usize];
        own.family.is_like(&declared.family).then_some((own, &self.cells))
    }
}

/// One family's label sets, and what several banks hold of each.
#[derive(Default)]
struct Sums<'a> {
    in_order: Vec<(&'a str, Vec<u64>)>,
    places: HashMap<&'a str, usize>,
}

impl<'a> Sums<'a> {
    fn add(&mut self, kind: &Kind, labels: &'a str, cells: &[AtomicU64]) {
        let at = *self.places.entry(labels).or_insert(self.in_order.len());
        if at == self.in_order.len() {
            self.in_order.push((labels, cells.iter().map(|cell| cell.load(Relaxed)).collect()));
            return;
        }
        for (sum, cell) in self.in_order[at].1.iter_mut().zip(cells) {
            let value = cell.load(Relaxed);
            *sum = match kind {
                Kind::Level => unsigned(signed(*sum).max(signed(value))),
                _ => sum.wrapping_add(value),
            };
        }
    }
}

impl Declared {
    fn head(&self, out: &mut Vec<u8>) {
        let kind = match self.family.kind {
            Kind::Counter => "counter",
            Kind::Gauge | Kind::Level => "gauge",
            Kind::Histogram { .. } => "histogram",
        };
        let name = self.family.name.as_str();
        let help = escape(&self.family.help, false);
        for part in ["# HELP ", name, " ", help.as_str(), "\n# TYPE ", name, " ", kind, "\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }

    fn series(&self, labels: &str, values: &[u64], out: &mut Vec<u8>) {
        match &self.family.kind {
            Kind::Counter => {
                self.name(out, "", labels, "");
                integer(values[0], out);
            }
            Kind::Gauge | Kind::Level => {
                let value = signed(values[0]);
                self.name(out, "", labels, if value < 0 { "-" } else { "" });
                integer(value.unsigned_abs(), out);
            }
            Kind::Histogram { scale, .. } => {
                let mut count = 0_u64;
                for (le, value) in self.le.iter().zip(values) {
                    count = count.wrapping_add(*value);
                    self.bucket(out, labels, le);
                    integer(count, out);
                    out.push(b'\n');
                }
                self.name(out, "_sum", labels, "");
                amount(values[values.len() - 1], *scale, out);
                out.push(b'\n');
                self.name(out, "_count", labels, "");
                integer(count, out);
            }
        }
        out.push(b'\n');
    }

    fn name(&self, out: &mut Vec<u8>, suffix: &str, labels: &str, sign: &str) {
        let (open, close) = if labels.is_empty() { ("", " ") } else { ("{", "} ") };
        for part in [&self.family.name, suffix, open, labels, close, sign] {
            out.extend_from_slice(part.as_bytes());
        }
    }

    fn bucket(&self, out: &mut Vec<u8>, labels: &str, le: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        for part in [&self.family.name, "_bucket{", labels, comma, "le=\"", le, "\"} "] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

/// `a="1",b="2"`: what stands between the braces, escaped, which also tells label sets apart.
pub(super) fn label_set(names: &[String], values: &[&str]) -> String {
    let mut set = String::new();
    for (name, value) in names.iter().zip(values) {
        let comma = if set.is_empty() { "" } else { "," };
        set.extend([comma, name, "=\"", escape(value, true).as_str(), "\""]);
    }
    set
}

/// The values of `le`, `+Inf` included. Whole numbers end in `.0`, which is how Prometheus 3 stores them.
pub(super) fn bucket_labels(kind: &Kind) -> Vec<String> {
    let Kind::Histogram { bounds, scale } = kind else { return Vec::new() };
    let finite = bounds.iter().map(|&bound| {
        let mut digits = Vec::new();
        amount(bound, *scale, &mut digits);
        if !digits.contains(&b'.') {
            digits.extend_from_slice(b".0");
        }
        digits.into_iter().map(char::from).collect()
    });
    finite.chain(["+Inf".to_owned()]).collect()
}

fn escape(text: &str, quotes: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '"' if quotes => escaped.push_str("\\\""),
            _ => escaped.push(char),
        }
    }
    escaped
}

fn amount(value: u64, scale: Scale, out: &mut Vec<u8>) {
    if scale == Scale::Plain {
        return integer(value, out);
    }
    integer(value / 1_000_000, out);
    let mut fraction = value % 1_000_000;
    if fraction == 0 {
        return;
    }
    out.push(b'.');
    while fraction > 0 {
        fraction *= 10;
        out.push(b'0' + (fraction / 1_000_000) as u8);
        fraction %= 1_000_000;
    }
}

fn integer(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}
