//! The metrics bank as Python sees it: slots are ints, seconds are floats, the table comes in as tuples.

use std::sync::atomic::AtomicU64;
use std::sync::Arc;

use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::lent::Lent;
use crate::metrics::{self, Cells, Family, InvalidTable, Kind, Scale, Slot};

/// Every metric of a process: see [`metrics::Bank`].
#[pyclass(frozen, module = "sluicegate._native")]
pub struct Bank {
    inner: Arc<metrics::Bank>,
}

/// One row of the table: name, kind, help, labels, buckets in the unit that is shown, cap.
type Row = (String, String, String, Vec<String>, Vec<f64>, usize);

impl Bank {
    /// The bank itself, for what counts without Python: the relay's event gaps.
    pub fn shared(&self) -> Arc<metrics::Bank> {
        Arc::clone(&self.inner)
    }
}

#[pymethods]
impl Bank {
    #[new]
    #[pyo3(signature = (families, memory, *, dropped=None))]
    fn new(families: Vec<Row>, memory: &Bound<'_, PyAny>, dropped: Option<&str>) -> PyResult<Self> {
        let families = table(families)?;
        Self::over(metrics::Bank::new(families, dropped, Cells::new(Lent::new(memory)?)))
    }

    #[staticmethod]
    fn reader(families: Vec<Row>, memory: &Bound<'_, PyAny>) -> PyResult<Self> {
        let families = table(families)?;
        Self::over(metrics::Bank::reader(families, Cells::new(Lent::new(memory)?)))
    }

    #[staticmethod]
    fn memory_needed(families: Vec<Row>) -> PyResult<usize> {
        Ok(metrics::Bank::<Cells>::cells_needed(&table(families)?) * size_of::<AtomicU64>())
    }

    fn absorb(&self, ended: &Self) {
        self.inner.absorb(&ended.inner);
    }

    #[pyo3(signature = (family, *labels))]
    fn slot(&self, family: &str, labels: Vec<String>) -> PyResult<u64> {
        let id = self.inner.family(family).ok_or_else(|| PyKeyError::new_err(family.to_owned()))?;
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let slot = self.inner.slot(id, &labels).map_err(|err| PyValueError::new_err(format!("{family}: {err}")))?;
        Ok(slot.to_bits())
    }

    #[pyo3(signature = (slot, n, /))]
    fn add(&self, slot: u64, n: i64) {
        self.inner.adjust(Slot::from_bits(slot), n);
    }

    #[pyo3(signature = (slot, value, /))]
    fn set(&self, slot: u64, value: i64) {
        self.inner.set(Slot::from_bits(slot), value);
    }

    #[pyo3(signature = (slot, value, /))]
    fn observe(&self, slot: u64, value: u64) {
        self.inner.observe(Slot::from_bits(slot), value);
    }

    #[pyo3(signature = (slot, seconds, /))]
    fn observe_seconds(&self, slot: u64, seconds: f64) {
        self.inner.record(Slot::from_bits(slot), seconds);
    }

    #[pyo3(signature = (slot, /))]
    fn value(&self, slot: u64) -> PyResult<i64> {
        self.inner.value(Slot::from_bits(slot)).ok_or_else(|| PyKeyError::new_err(slot))
    }
}

impl Bank {
    fn over(made: Result<metrics::Bank, InvalidTable>) -> PyResult<Self> {
        let bank = made.map_err(|err| PyValueError::new_err(err.to_string()))?;
        Ok(Self { inner: Arc::new(bank) })
    }
}

/// The text of several banks' sums, written without the interpreter lock.
#[pyfunction]
pub fn exposition<'py>(py: Python<'py>, banks: Vec<PyRef<'py, Bank>>) -> Bound<'py, PyBytes> {
    let banks: Vec<Arc<metrics::Bank>> = banks.iter().map(|bank| bank.shared()).collect();
    let text = py.detach(|| {
        let banks: Vec<&metrics::Bank> = banks.iter().map(AsRef::as_ref).collect();
        let mut text = Vec::with_capacity(64 * 1024);
        metrics::render(&banks, &mut text);
        text
    });
    PyBytes::new(py, &text)
}

fn table(rows: Vec<Row>) -> PyResult<Vec<Family>> {
    rows.into_iter().map(family).collect()
}

/// Times are kept in microseconds: whole metrics whose name ends in `_seconds`, as Prometheus names them.
fn family((name, kind, help, labels, buckets, cap): Row) -> PyResult<Family> {
    let kind = match kind.as_str() {
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        "level" => Kind::Level,
        "histogram" => {
            let (scale, unit) = if name.ends_with("_seconds") { (Scale::Micros, 1e6) } else { (Scale::Plain, 1.0) };
            Kind::Histogram { bounds: buckets.iter().map(|bound| whole(bound * unit)).collect(), scale }
        }
        _ => return Err(PyValueError::new_err(format!("{name}: {kind} is not counter, gauge, level or histogram"))),
    };
    Ok(Family { name, help, kind, labels, cap })
}

#[allow(clippy::cast_sign_loss)] // a negative bound becomes 0 by saturation
fn whole(bound: f64) -> u64 {
    bound.round() as u64
}
