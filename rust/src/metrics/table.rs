//! What a bank counts: families of series, declared once.

use std::fmt;

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
    /// Up and down; signed. Of several banks the sum is shown.
    Gauge,
    /// A gauge that every bank says alike, such as a version: of several banks the largest is shown.
    Level,
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

// === impl Family ===

impl Family {
    /// Label sets there is room for: `_other` has a place of its own.
    pub(super) fn room(&self) -> usize {
        if self.labels.is_empty() {
            1
        } else {
            self.cap + 1
        }
    }

    /// Cells per label set; a histogram's are its buckets, `+Inf` and the sum.
    pub(super) fn width(&self) -> usize {
        match &self.kind {
            Kind::Counter | Kind::Gauge | Kind::Level => 1,
            Kind::Histogram { bounds, .. } => bounds.len() + 2,
        }
    }

    /// Whether two families' cells mean the same, so that they can be added.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.name == other.name && self.kind == other.kind && self.labels == other.labels
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
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

impl fmt::Display for InvalidTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.family.is_empty() { "the table" } else { &self.family };
        write!(f, "{family} {}", self.what)
    }
}

impl std::error::Error for InvalidTable {}
