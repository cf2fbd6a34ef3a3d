//! What Rust answers: the head an attempt comes to, and how a stream ended.

use crate::answer::Head as CoreHead;
use crate::connection::Outcome as CoreOutcome;
use crate::dialect::{fold, Dialect, Reported};
use crate::http1::Head as HttpHead;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

/// Input, output, cached input, cache write, reasoning.
type Counts = (u64, u64, u64, u64, u64);

/// What a provider said of usage: its counts with their one meaning, whether it spoke of the input and of the output,
/// and `(name, count)` for each figure it gave, in its own meaning.
type Usage<'py> = (Counts, bool, bool, Bound<'py, PyTuple>);

fn usage<'py>(py: Python<'py>, dialect: Dialect, reported: Option<&Reported>) -> PyResult<Option<Usage<'py>>> {
    let Some(said) = reported else { return Ok(None) };
    let figures: Vec<(Bound<'py, PyString>, u64)> = [
        ("input", said.input),
        ("output", said.output),
        ("total", said.total),
        ("cached_read", said.cached_read),
        ("cache_write", said.cache_write),
        ("reasoning", said.reasoning),
    ]
    .into_iter()
    .filter_map(|(name, count)| Some((PyString::intern(py, name), count?)))
    .collect();
    let tokens = fold(dialect, said);
    let counts = (tokens.input, tokens.output, tokens.cached_input, tokens.cache_write, tokens.reasoning);
    Ok(Some((counts, said.input.is_some(), said.output.is_some(), PyTuple::new(py, figures)?)))
}

/// The first word on an attempt.
#[pyclass(frozen, module = "sluicegate._native")]
pub struct Head {
    #[pyo3(get)]
    verdict: &'static str,
    #[pyo3(get)]
    code: &'static str,
    #[pyo3(get)]
    detail: &'static str,
    #[pyo3(get)]
    status: u16,
    #[pyo3(get)]
    body: Py<PyBytes>,
    #[pyo3(get)]
    untouched: bool,
    #[pyo3(get)]
    bytes_in: u64,
    http: Option<HttpHead>,
    dialect: Dialect,
    reported: Option<Reported>,
}

#[pymethods]
impl Head {
    /// The upstream's headers, names in lower case. Made when asked for: a good answer's interest nobody.
    #[getter]
    fn headers(&self) -> Vec<(String, String)> {
        let fields = self.http.iter().flat_map(HttpHead::fields);
        fields.map(|(name, value)| (text(name).to_ascii_lowercase(), text(value))).collect()
    }

    /// What the provider said of usage.
    #[getter]
    fn usage<'py>(&self, py: Python<'py>) -> PyResult<Option<Usage<'py>>> {
        usage(py, self.dialect, self.reported.as_ref())
    }

    /// The upstream's own id of the request; empty if it gave none. At most 128 bytes of it.
    #[getter]
    fn request_id(&self) -> String {
        let given = self.http.as_ref().and_then(|http| http.get("x-request-id").or_else(|| http.get("request-id")));
        given.map_or_else(String::new, |id| text(&id[..id.len().min(128)]))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Head {
    pub(super) fn new(py: Python<'_>, head: CoreHead) -> Self {
        Self {
            verdict: head.verdict.as_str(),
            code: head.code,
            detail: head.detail,
            status: head.http.as_ref().map_or(0, |http| http.status),
            body: PyBytes::new(py, &head.body).unbind(),
            dialect: head.dialect,
            reported: head.reported,
            untouched: head.untouched,
            bytes_in: head.bytes_in,
            http: head.http,
        }
    }
}

/// How a stream ended and what it brought.
#[pyclass(frozen, module = "sluicegate._native")]
pub struct Outcome {
    #[pyo3(get)]
    end: &'static str,
    #[pyo3(get)]
    complete: bool,
    #[pyo3(get)]
    error: bool,
    #[pyo3(get)]
    first_content: Option<f64>,
    #[pyo3(get)]
    events: u64,
    #[pyo3(get)]
    written: u64,
    #[pyo3(get)]
    malformed: u64,
    #[pyo3(get)]
    bytes_in: u64,
    #[pyo3(get)]
    bytes_out: u64,
    #[pyo3(get)]
    heartbeats: u64,
    dialect: Dialect,
    reported: Option<Reported>,
}

#[pymethods]
impl Outcome {
    /// What the provider said of usage.
    #[getter]
    fn usage<'py>(&self, py: Python<'py>) -> PyResult<Option<Usage<'py>>> {
        usage(py, self.dialect, self.reported.as_ref())
    }
}

impl Outcome {
    pub(super) fn new(outcome: &CoreOutcome) -> Self {
        let account = &outcome.account;
        Self {
            end: outcome.end.as_str(),
            complete: account.complete,
            error: account.error,
            dialect: outcome.dialect,
            reported: account.reported,
            first_content: account.first_content.map(|micros| micros as f64 / 1e6),
            events: account.events,
            written: account.written.tokens(),
            malformed: account.malformed,
            bytes_in: outcome.bytes_in,
            bytes_out: account.bytes_out,
            heartbeats: account.heartbeats,
        }
    }
}
