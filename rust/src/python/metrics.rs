//! The metrics bank as Python sees it: slots are ints, seconds are floats, the table comes in as tuples.

use std::sync::Arc;

use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::metrics::{self, Family, Kind, Scale, Slot};

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
    #[pyo3(signature = (families, *, dropped=None))]
    fn new(families: Vec<Row>, dropped: Option<&str>) -> PyResult<Self> {
        let families = families.into_iter().map(family).collect::<PyResult<_>>()?;
        let bank = metrics::Bank::in_memory(families, dropped).map_err(|err| PyValueError::new_err(err.to_string()))?;
        Ok(Self { inner: Arc::new(bank) })
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

    #[pyo3(signature = (slots, values, /))]
    fn record(&self, slots: &Bound<'_, PyList>, values: &Bound<'_, PyList>) -> PyResult<()> {
        if slots.len() != values.len() {
            return Err(PyValueError::new_err("there must be one value for each slot"));
        }
        for (slot, value) in slots.iter().zip(values.iter()) {
            self.inner.record(Slot::from_bits(slot.extract()?), value.extract()?);
        }
        Ok(())
    }

    #[pyo3(signature = (slot, /))]
    fn value(&self, slot: u64) -> PyResult<i64> {
        self.inner.value(Slot::from_bits(slot)).ok_or_else(|| PyKeyError::new_err(slot))
    }

    fn render<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let text = py.detach(|| {
            let mut text = Vec::with_capacity(64 * 1024);
            self.inner.render(&mut text);
            text
        });
        PyBytes::new(py, &text)
    }
}

/// Times are kept in microseconds: whole metrics whose name ends in `_seconds`, as Prometheus names them.
fn family((name, kind, help, labels, buckets, cap): Row) -> PyResult<Family> {
    let kind = match kind.as_str() {
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        "histogram" => {
            let (scale, unit) = if name.ends_with("_seconds") { (Scale::Micros, 1e6) } else { (Scale::Plain, 1.0) };
            Kind::Histogram { bounds: buckets.iter().map(|bound| whole(bound * unit)).collect(), scale }
        }
        _ => return Err(PyValueError::new_err(format!("{name}: {kind} is not counter, gauge or histogram"))),
    };
    Ok(Family { name, help, kind, labels, cap })
}

#[allow(clippy::cast_sign_loss)] // a negative bound becomes 0 by saturation
fn whole(bound: f64) -> u64 {
    bound.round() as u64
}
