//! Limits: shares as who asks the authority sees them, and all of a request's in one call.

use super::request::Ask;
use super::tariff::Tariff;
use crate::lease::{self, counted, Demand, Grant, Kind, Limit, Note, Used, MOST};
use crate::row::{Row, Usage};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Statuses under which an upstream worked on a request though it may not have said how much: a client that left is 499.
const REACHED: [u64; 2] = [200, 499];

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
#[pyclass(frozen, subclass, module = "sluicegate._native")]
pub struct Purse {
    core: lease::Purse,
    /// Tokens that the model writes at most, and that stand where neither that nor the request says how many.
    most: Option<u64>,
    default: u64,
    hear: Option<Py<PyAny>>,
}

#[pymethods]
impl Purse {
    /// `hear` is told what whoever talks with the authority has to know.
    #[new]
    #[pyo3(signature = (shares, most, default, hear=None))]
    fn new(shares: Vec<PyRef<'_, Share>>, most: Option<u64>, default: u64, hear: Option<Py<PyAny>>) -> Self {
        let core = lease::Purse::new(shares.iter().map(|share| Arc::clone(&share.0)).collect());
        Self { core, most, default, hear }
    }

    /// Reserves all that a request may need, or nothing: then the reservation waits. None of no shares.
    #[pyo3(signature = (now, ask, tariff, /))]
    fn reserve(purse: &Bound<'_, Self>, now: f64, ask: &Ask, tariff: Option<&Tariff>) -> PyResult<Option<Reservation>> {
        let its = purse.get();
        if its.core.is_empty() {
            return Ok(None);
        }
        let (prompt, output) = lease::estimate(ask.size(), ask.max_tokens(), its.most, its.default, ask.choices());
        let (dollars, credits) =
            tariff.map_or((0, None), |tariff| tariff.bill(prompt.unsigned_abs(), output.unsigned_abs(), 0, 0, 0));
        let demand = Demand {
            tokens: prompt + output,
            stream: ask.stream(),
            dollars: whole(dollars),
            credits: whole(credits.unwrap_or(0)),
        };
        let reservation =
            Reservation { purse: purse.clone().unbind(), demand, prompt, output, parts: Mutex::new(None) };
        reservation.take(purse.py(), now)?;
        Ok(Some(reservation))
    }
}

impl Purse {
    fn tell(&self, py: Python<'_>, notes: &[Note]) -> PyResult<()> {
        if let (Some(hear), false) = (&self.hear, notes.is_empty()) {
            let told: Vec<_> = notes.iter().map(|note| (note.place, note.ask)).collect();
            hear.call1(py, (told,))?;
        }
        Ok(())
    }
}

/// What one request needs of its limits: reserved when it is admitted, settled when it has ended.
#[pyclass(frozen, module = "sluicegate._native")]
pub struct Reservation {
    purse: Py<Purse>,
    demand: Demand,
    /// Tokens of the prompt, by estimate.
    prompt: i64,
    /// Tokens that it may write.
    output: i64,
    /// What is reserved; none while it waits.
    parts: Mutex<Option<Vec<lease::Taken>>>,
}

#[pymethods]
impl Reservation {
    #[getter]
    pub(super) fn tokens(&self) -> i64 {
        self.prompt + self.output
    }

    #[getter]
    fn waits(&self) -> bool {
        self.parts().is_none()
    }

    /// Reserves all of it, or nothing and false if something is lacking.
    fn take(&self, py: Python<'_>, now: f64) -> PyResult<bool> {
        let purse = self.purse.get();
        let Some(taken) = purse.core.take(&self.demand, now) else { return Ok(false) };
        let notes = if purse.hear.is_some() { purse.core.notes(&taken) } else { Vec::new() };
        *self.parts() = Some(taken);
        purse.tell(py, &notes)?;
        Ok(true)
    }

    /// The places of the shares that must be filled up before, and by how many units.
    fn lacking(&self, now: f64) -> Vec<(usize, i64)> {
        self.purse.get().core.lacking(&self.demand, now)
    }

    /// Notes that the request was refused; the places of the shares that were not enough for it.
    fn refuse(&self, now: f64) -> Vec<usize> {
        self.purse.get().core.refuse(&self.demand, now)
    }

    /// How the limits stand.
    #[pyo3(signature = (now, /))]
    fn headers(&self, now: f64) -> Vec<(String, String)> {
        let mut lines = String::new();
        self.write(&mut lines, now);
        let named = lines.split("\r\n").filter_map(|line| line.split_once(": "));
        named.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Puts what was used in the place of what was reserved, once.
    #[pyo3(signature = (tokens, dollars, credits, now, /))]
    fn settle(
        &self,
        tokens: &Bound<'_, PyAny>,
        dollars: &Bound<'_, PyAny>,
        credits: &Bound<'_, PyAny>,
        now: f64,
    ) -> PyResult<()> {
        let used = Used { tokens: units(tokens)?, dollars: units(dollars)?, credits: units(credits)? };
        self.put(tokens.py(), &used, now)
    }
}

impl Reservation {
    /// The same as lines of a head, each with its CRLF before it.
    pub(super) fn write(&self, lines: &mut String, now: f64) {
        self.purse.get().core.write(lines, now);
    }

    fn parts(&self) -> MutexGuard<'_, Option<Vec<lease::Taken>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what a request has used, by its row, in the place of what was reserved for it, once.
    pub(super) fn end<S: AsRef<str>>(&self, py: Python<'_>, row: &Row<S>, now: f64) -> PyResult<()> {
        let used = Used {
            tokens: self.tokens_used(row),
            dollars: whole(row.cost.unwrap_or(0)),
            credits: whole(row.credits.unwrap_or(0)),
        };
        self.put(py, &used, now)
    }

    fn put(&self, py: Python<'_>, used: &Used, now: f64) -> PyResult<()> {
        let purse = self.purse.get();
        let parts = self.parts().replace(Vec::new()).unwrap_or_default();
        purse.tell(py, &purse.core.settle(&parts, used, now))
    }

    /// Tokens of all attempts together. Where an upstream said nothing, the estimate of what reached it stands, so that
    /// nobody gets tokens for nothing by leaving early.
    fn tokens_used<S: AsRef<str>>(&self, row: &Row<S>) -> i64 {
        if row.attempts.is_empty() {
            return 0;
        }
        let (input, output) = reported(&row.usage);
        let mut total = input.unwrap_or(0) + output.unwrap_or(0);
        if REACHED.contains(&row.status) {
            total += if input.is_none() { self.prompt } else { 0 };
            total += if output.is_none() { whole(row.events).min(self.output) } else { 0 };
        }
        for attempt in row.attempts.iter().filter(|attempt| !attempt.decisive) {
            let (input, output) = reported(attempt.usage.as_ref().unwrap_or(&row.usage));
            total = counted(total + input.unwrap_or(0) + output.unwrap_or(0));
        }
        counted(total)
    }
}

/// Input and output of a usage, as far as they are known.
fn reported<S: AsRef<str>>(usage: &Usage<S>) -> (Option<i64>, Option<i64>) {
    let known = |provenance: &S, figure| (provenance.as_ref() != "none").then(|| whole(figure));
    (known(&usage.input_provenance, usage.tokens.input), known(&usage.output_provenance, usage.tokens.output))
}

fn whole(figure: u64) -> i64 {
    i64::try_from(figure).map_or(MOST, counted)
}

/// A count of units from whatever an upstream or a price table came to: never negative, never above `2^53 - 1`, and 0
/// where it is no number at all (NaN, text, nothing).
#[pyfunction]
pub fn units(figure: &Bound<'_, PyAny>) -> PyResult<i64> {
    if figure.is_instance_of::<PyBool>() {
        return Ok(0);
    }
    if let Ok(whole) = figure.cast::<PyInt>() {
        return match whole.extract::<i64>() {
            Ok(count) => Ok(counted(count)),
            Err(_) => Ok(if whole.lt(0)? { 0 } else { MOST }),
        };
    }
    match figure.cast::<PyFloat>() {
        Ok(figure) if !figure.value().is_nan() => Ok(counted(figure.value().ceil() as i64)),
        _ => Ok(0),
    }
}
