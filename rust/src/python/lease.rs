//! Limits: shares as who asks the authority sees them, and all of a request's in one call.

use crate::lease::{self, counted, Demand, Grant, Kind, Limit, Note, Used, MOST};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A holder's part in one limit.
#[pyclass(frozen, subclass, module = "sluicegate._native")]
pub struct Share(Arc<Mutex<lease::Share>>);

#[pymethods]
impl Share {
    /// Raises `ValueError` for a kind that there is not.
    #[new]
    #[pyo3(signature = (kind, capacity, *, level, whole))]
    fn new(kind: &str, capacity: i64, level: bool, whole: bool) -> PyResult<Self> {
        let kind = Kind::parse(kind).ok_or_else(|| PyValueError::new_err("no such kind of limit"))?;
        Ok(Self(Arc::new(Mutex::new(lease::Share::new(Limit { kind, capacity, level }, whole)))))
    }

    #[getter]
    fn window(&self) -> i64 {
        self.core().window()
    }

    #[getter]
    fn ends(&self) -> f64 {
        self.core().ends()
    }

    #[getter]
    fn free(&self) -> i64 {
        self.core().free()
    }

    #[getter]
    fn drawn(&self) -> i64 {
        self.core().drawn()
    }

    #[getter]
    fn busy(&self) -> bool {
        self.core().busy()
    }

    #[getter]
    fn watched(&self) -> bool {
        self.core().watched()
    }

    #[setter]
    fn set_watched(&self, watched: bool) {
        self.core().watch(watched);
    }

    fn resize(&self, capacity: i64) {
        self.core().resize(capacity);
    }

    fn remaining(&self, now: f64) -> i64 {
        self.core().remaining(now)
    }

    /// Window, drawn, kept, wanted; `None` is lacking in the last report, which gives the lease back.
    fn report(&self, lacking: Option<i64>, now: f64) -> (i64, i64, i64, i64) {
        let mut core = self.core();
        let report = match lacking {
            Some(units) => core.report(units, now),
            None => core.returned(now),
        };
        (report.window, report.drawn, report.kept, report.wanted)
    }

    #[allow(clippy::too_many_arguments)] // one for each figure of a grant
    fn heard(&self, window: i64, ends: f64, granted: i64, left: i64, lasts: f64, drawn: i64, asked: f64) {
        self.core().granted(&Grant { window, ends, granted, left, lasts, drawn }, asked);
    }

    fn alone(&self, ends: f64, window: i64) {
        self.core().alone(ends, window);
    }
}

impl Share {
    fn core(&self) -> MutexGuard<'_, lease::Share> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that one caller's requests for one model draw from.
#[pyclass(frozen, module = "sluicegate._native")]
pub struct Purse(Arc<lease::Purse>);

#[pymethods]
impl Purse {
    #[new]
    fn new(shares: Vec<PyRef<'_, Share>>) -> Self {
        Self(Arc::new(lease::Purse::new(shares.iter().map(|share| Arc::clone(&share.0)).collect())))
    }

    /// Reserves all of a request's units, or nothing and `None` if something is lacking.
    fn take(&self, now: f64, prompt: i64, output: i64, stream: bool, dollars: i64, credits: i64) -> Option<Taken> {
        let (prompt, output) = (counted(prompt), counted(output));
        let demand = Demand { tokens: prompt + output, stream, dollars, credits };
        let parts = self.0.take(&demand, now)?;
        Some(Taken { purse: Arc::clone(&self.0), parts: Mutex::new(parts), prompt, output })
    }

    /// The places of the shares that must be filled up before, and by how many units.
    fn lacking(
        &self,
        now: f64,
        prompt: i64,
        output: i64,
        stream: bool,
        dollars: i64,
        credits: i64,
    ) -> Vec<(usize, i64)> {
        let tokens = counted(prompt) + counted(output);
        self.0.lacking(&Demand { tokens, stream, dollars, credits }, now)
    }

    /// Notes that such a request was refused; the places of the shares that were not enough for it.
    fn refuse(&self, now: f64, prompt: i64, output: i64, stream: bool, dollars: i64, credits: i64) -> Vec<usize> {
        let tokens = counted(prompt) + counted(output);
        self.0.refuse(&Demand { tokens, stream, dollars, credits }, now)
    }

    fn lines(&self, now: f64) -> String {
        self.0.lines(now)
    }
}

/// What one request has reserved, until it is settled.
#[pyclass(frozen, module = "sluicegate._native")]
pub struct Taken {
    purse: Arc<lease::Purse>,
    parts: Mutex<Vec<lease::Taken>>,
    /// Tokens of the prompt, by estimate.
    #[pyo3(get)]
    prompt: i64,
    /// Tokens that it may write.
    #[pyo3(get)]
    output: i64,
}

#[pymethods]
impl Taken {
    #[getter]
    fn tokens(&self) -> i64 {
        self.prompt + self.output
    }

    /// Puts what was used in the place of what was reserved, once.
    fn settle(
        &self,
        now: f64,
        tokens: i64,
        dollars: &Bound<'_, PyAny>,
        credits: &Bound<'_, PyAny>,
    ) -> PyResult<Vec<(usize, Option<i64>)>> {
        let used = Used { tokens, dollars: units(dollars, 0)?, credits: units(credits, 0)? };
        let parts = std::mem::take(&mut *self.parts());
        Ok(told(&self.purse.settle(&parts, &used, now)))
    }

    /// What is to be told to whoever talks with the authority.
    fn notes(&self) -> Vec<(usize, Option<i64>)> {
        told(&self.purse.notes(&self.parts()))
    }
}

impl Taken {
    fn parts(&self) -> MutexGuard<'_, Vec<lease::Taken>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn told(notes: &[Note]) -> Vec<(usize, Option<i64>)> {
    notes.iter().map(|note| (note.place, note.ask)).collect()
}

/// A count of units from whatever an upstream or a price table came to: never negative, never above `2^53 - 1`.
///
/// What is no number at all (NaN, text, nothing) is `otherwise`: the reservation stands, rather than vanishing.
#[pyfunction]
#[pyo3(signature = (figure, otherwise=0))]
pub fn units(figure: &Bound<'_, PyAny>, otherwise: i64) -> PyResult<i64> {
    if figure.is_instance_of::<PyBool>() {
        return Ok(otherwise);
    }
    if let Ok(whole) = figure.cast::<PyInt>() {
        return match whole.extract::<i64>() {
            Ok(count) => Ok(counted(count)),
            Err(_) => Ok(if whole.lt(0)? { 0 } else { MOST }),
        };
    }
    match figure.cast::<PyFloat>() {
        Ok(figure) if !figure.value().is_nan() => Ok(counted(figure.value().ceil() as i64)),
        _ => Ok(otherwise),
    }
}
