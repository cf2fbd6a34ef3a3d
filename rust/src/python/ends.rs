//! What a piece of a spool holds, as Python sees it: rows on their way into a store.

use crate::row::{self, End, Found, Value};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use std::collections::HashSet;

/// Ends of one spool, and what stood beside them.
#[pyclass(frozen, module = "sluicegate._native")]
pub struct Ends {
    /// The spool they are of.
    pub(super) instance: String,
    pub(super) data: PyBackedBytes,
    found: Found,
    /// The sequences of ends, in order.
    sequences: Vec<u64>,
}

/// A day's sum: the day since 1970, model, target, caller, group, then the figures.
pub(super) type Sum<'py> = Bound<'py, PyTuple>;

#[pymethods]
impl Ends {
    /// Reads the whole frames of `data`, of the spool called `instance`.
    #[new]
    fn read(py: Python<'_>, data: PyBackedBytes, instance: String) -> Self {
        let read = || {
            let found = row::read(&data);
            let mut sequences: Vec<u64> = found.ended.iter().map(|end| end.sequence).collect();
            sequences.sort_unstable();
            (found, sequences)
        };
        let (found, sequences) = py.detach(read);
        Self { instance, data, found, sequences }
    }

    /// The ends of requests that nobody saw end, by their admissions' records; what is none is left out.
    #[staticmethod]
    #[pyo3(signature = (admitted, instance, /))]
    fn unseen(py: Python<'_>, admitted: Vec<(u64, PyBackedBytes)>, instance: String) -> Self {
        let frames = admitted.iter().filter_map(|(sequence, record)| row::never_ended(*sequence, record));
        let data = PyBytes::new(py, &frames.flatten().collect::<Vec<u8>>());
        Self::read(py, data.into(), instance)
    }

    fn __len__(&self) -> usize {
        self.found.ended.len()
    }

    /// Frames that could not be read.
    #[getter]
    fn damaged(&self) -> usize {
        self.found.damaged
    }

    /// Where the last whole frame ends.
    #[getter]
    fn end(&self) -> usize {
        self.found.end
    }

    /// What stands there can never become a frame, however much follows.
    #[getter]
    fn unbelievable(&self) -> bool {
        self.found.unbelievable
    }

    /// Those of these sequences that ended here.
    #[pyo3(signature = (sequences, /))]
    fn among(&self, sequences: Vec<u64>) -> Vec<u64> {
        sequences.into_iter().filter(|sequence| self.has(*sequence)).collect()
    }

    /// The records of other admissions by their sequences.
    #[getter]
    fn admitted<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let admitted = PyDict::new(py);
        for (sequence, place) in &self.found.admitted {
            if !self.has(*sequence) {
                admitted.set_item(sequence, PyBytes::new(py, &self.data[place.clone()]))?;
            }
        }
        Ok(admitted)
    }

    /// Rows one by one, with all columns.
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        self.found.ended.iter().map(|end| self.row(py, end)).collect()
    }

    /// The sums of those whose sequences are among these.
    #[pyo3(signature = (sequences, /))]
    fn sums<'py>(&self, py: Python<'py>, sequences: HashSet<u64>) -> PyResult<Vec<Sum<'py>>> {
        told(py, &row::sums(&self.data, self.each().filter(|end| sequences.contains(&end.sequence))))
    }
}

impl Ends {
    fn has(&self, sequence: u64) -> bool {
        self.sequences.binary_search(&sequence).is_ok()
    }

    pub(super) fn each(&self) -> impl Iterator<Item = &End> {
        self.found.ended.iter()
    }

    fn row<'py>(&self, py: Python<'py>, end: &End) -> PyResult<Bound<'py, PyTuple>> {
        let mut row =
            vec![self.instance.as_str().into_pyobject(py)?.into_any(), end.sequence.into_pyobject(py)?.into_any()];
        for value in end.own(&self.data).chain(end.same(&self.data)) {
            row.push(match value {
                Value::Text(text) => text.into_pyobject(py)?.into_any(),
                Value::Count(count) => count.into_pyobject(py)?.into_any(),
                Value::None => py.None().into_bound(py),
            });
        }
        PyTuple::new(py, row)
    }
}

/// Sums as Python's tuples.
pub(super) fn told<'py>(py: Python<'py>, sums: &[row::Sum<'_>]) -> PyResult<Vec<Sum<'py>>> {
    let one = |(day, group, figures): &row::Sum<'_>| {
        let mut sum = vec![day.into_pyobject(py)?.into_any()];
        for text in group {
            sum.push(text.into_pyobject(py)?.into_any());
        }
        for figure in figures {
            sum.push(figure.into_pyobject(py)?.into_any());
        }
        PyTuple::new(py, sum)
    };
    sums.iter().map(one).collect()
}
