//! What Rust answers: the head an attempt comes to, and how a stream ended.

use crate::answer::Head as CoreHead;
use crate::connection::Outcome as CoreOutcome;
use crate::dialect::{fold, Dialect, Reported};
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
#[pyclass(frozen, get_all, module = "sluicegate._native")]
pub struct Head {
    verdict: &'static str,
    code: &'static str,
    detail: &'static str,
    status: u16,
    headers: Vec<(String, String)>,
    body: Py<PyBytes>,
    reported: Figures,
    tokens: Option<Counts>,
    untouched: bool,
    bytes_in: u64,
}

impl Head {
    pub(super) fn new(py: Python<'_>, head: CoreHead) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let http = head.http.as_ref();
        Self {
            verdict: head.verdict.as_str(),
            code: head.code,
            detail: head.detail,
            status: http.map_or(0, |http| http.status),
            headers: http.map_or_else(Vec::new, |http| {
                http.fields().map(|(name, value)| (text(name).to_ascii_lowercase(), text(value))).collect()
            }),
            body: PyBytes::new(py, &head.body).unbind(),
            reported: figures(head.reported.as_ref()),
            tokens: counts(head.dialect, head.reported.as_ref()),
            untouched: head.untouched,
            bytes_in: head.bytes_in,
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
    malformed: u64,
    bytes_in: u64,
    bytes_out: u64,
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
            malformed: account.malformed,
            bytes_in: outcome.bytes_in,
            bytes_out: account.bytes_out,
        }
    }
}
