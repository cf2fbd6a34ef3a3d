//! What Rust answers: the head an attempt comes to, and how a stream ended.

use crate::answer::Head as CoreHead;
use crate::connection::Outcome as CoreOutcome;
use crate::dialect::{fold, Dialect, Reported};
use crate::http1::Head as HttpHead;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// `(name, count)` for each figure the provider gave, in its own meaning.
type Figures = Vec<(&'static str, u64)>;

fn figures(reported: Option<&Reported>) -> Figures {
    let Some(said) = reported else { return Vec::new() };
    [
        ("input", said.input),
        ("output", said.output),
        ("total", said.total),
        ("cached_read", said.cached_read),
        ("cache_write", said.cache_write),
        ("reasoning", said.reasoning),
    ]
    .into_iter()
    .filter_map(|(name, count)| Some((name, count?)))
    .collect()
}

/// Input, output, cached input, cache write, reasoning.
type Counts = (u64, u64, u64, u64, u64);

fn counts(dialect: Dialect, reported: Option<&Reported>) -> Option<Counts> {
    let tokens = fold(dialect, reported?);
    Some((tokens.input, tokens.output, tokens.cached_input, tokens.cache_write, tokens.reasoning))
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
    reported: Figures,
    #[pyo3(get)]
    tokens: Option<Counts>,
    #[pyo3(get)]
    untouched: bool,
    #[pyo3(get)]
    bytes_in: u64,
    http: Option<HttpHead>,
}

#[pymethods]
impl Head {
    /// The upstream's headers, names in lower case. Made when asked for: a good answer's interest nobody.
    #[getter]
    fn headers(&self) -> Vec<(String, String)> {
        let fields = self.http.iter().flat_map(HttpHead::fields);
        fields.map(|(name, value)| (text(name).to_ascii_lowercase(), text(value))).collect()
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
            reported: figures(head.reported.as_ref()),
            tokens: counts(head.dialect, head.reported.as_ref()),
            untouched: head.untouched,
            bytes_in: head.bytes_in,
            http: head.http,
        }
    }
}

/// How a stream ended and what it brought.
#[pyclass(frozen, get_all, module = "sluicegate._native")]
pub struct Outcome {
    end: &'static str,
    complete: bool,
    error: bool,
    reported: Figures,
    tokens: Option<Counts>,
    first_content: Option<f64>,
    events: u64,
    written: u64,
    malformed: u64,
    bytes_in: u64,
    bytes_out: u64,
    heartbeats: u64,
}

impl Outcome {
    pub(super) fn new(outcome: &CoreOutcome) -> Self {
        let account = &outcome.account;
        Self {
            end: outcome.end.as_str(),
            complete: account.complete,
            error: account.error,
            reported: figures(account.reported.as_ref()),
            tokens: counts(outcome.dialect, account.reported.as_ref()),
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
