//! What all connections of a process share.

use crate::plan::Micros;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

/// The clock's start, the loop's futures, the count of held bytes.
#[pyclass(frozen, module = "sluicegate._native")]
pub struct World {
    start: Instant,
    pub(super) held: AtomicI64,
    pub(super) create_future: Py<PyAny>,
}

#[pymethods]
impl World {
    /// `create_future` is the loop's.
    #[new]
    fn new(create_future: Py<PyAny>) -> Self {
        Self { start: Instant::now(), held: AtomicI64::new(0), create_future }
    }

    /// Bytes that all exchanges together keep in memory.
    #[getter]
    fn held(&self) -> i64 {
        self.held.load(Ordering::Relaxed)
    }
}

impl World {
    pub(super) fn now(&self) -> Micros {
        self.start.elapsed().as_micros() as Micros
    }
}
