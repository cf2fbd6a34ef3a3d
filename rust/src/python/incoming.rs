//! Clients' plain requests as Python sees them.

use crate::http1::{incoming, whole};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use super::lease::Reservation;

/// Bytes that an answer's own lines have room in.
const LINES: usize = 512;

/// Reads the plainest of requests; made once with the bound of a head and the headers that go through.
#[pyclass(frozen, module = "sluicegate._native")]
pub struct Heads {
    limit: usize,
    forwarded: Vec<String>,
    left: Vec<String>,
}

#[pymethods]
impl Heads {
    /// `limit` bytes of a head at most; `forwarded` and `left` (to the server's parser) are names in lower case.
    #[new]
    fn new(limit: usize, forwarded: Vec<String>, left: Vec<String>) -> Self {
        Self { limit, forwarded, left }
    }

    /// The request that `data` is, if it is one plain request and nothing else; None: the server's parser has to look.
    /// `connection` is the one it came on, `surplus` whether that is above the limit.
    #[pyo3(signature = (data, connection, surplus, /))]
    fn read(&self, py: Python<'_>, data: &[u8], connection: Py<PyAny>, surplus: bool) -> PyResult<Option<Plain>> {
        let Some(read) = incoming::read(data, self.limit, &self.forwarded, &self.left) else { return Ok(None) };
        let all = |value: Option<&str>| PyTuple::new(py, value);
        let credentials = PyTuple::new(py, [all(read.authorization)?, all(read.api_key)?])?;
        Ok(Some(Plain {
            connection,
            surplus,
            path: PyString::new(py, read.target.split('?').next().unwrap_or_default()).unbind(),
            body: PyBytes::new(py, read.body).unbind(),
            credentials: credentials.unbind(),
            given_id: read.request_id.map(str::to_owned),
            json: read.json,
            forwarded: PyString::new(py, &read.forwarded).unbind(),
        }))
    }
}

/// A plain request. It answers what `web.request.Parsed` answers, so the two are served alike.
#[pyclass(frozen, get_all, module = "sluicegate._native")]
pub struct Plain {
    connection: Py<PyAny>,
    surplus: bool,
    path: Py<PyString>,
    body: Py<PyBytes>,
    credentials: Py<PyTuple>,
    given_id: Option<String>,
    json: bool,
    forwarded: Py<PyString>,
}

/// What holds for every plain request.
#[pymethods]
impl Plain {
    #[classattr]
    fn method() -> &'static str {
        "POST"
    }

    #[classattr]
    fn http10() -> bool {
        false
    }

    #[classattr]
    fn keep_alive() -> bool {
        true
    }

    #[classattr]
    fn unread() -> bool {
        false
    }

    #[classattr]
    fn from_page() -> bool {
        false
    }

    #[classattr]
    fn upgrades() -> bool {
        false
    }
}

/// A whole answer's bytes: see [`whole::Answer`]. What is no character in `lines` or `request_id` is replaced.
#[pyfunction]
#[pyo3(signature = (status, reason, lines, request_id, typed, date, http10, keep_alive, body, bodiless, /))]
#[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)] // it has the one caller, who has a name for each
pub fn answer_bytes<'py>(
    py: Python<'py>,
    status: u16,
    reason: &str,
    lines: &Bound<'py, PyString>,
    request_id: &Bound<'py, PyString>,
    typed: bool,
    date: &str,
    http10: bool,
    keep_alive: bool,
    body: &[u8],
    bodiless: bool,
) -> Bound<'py, PyBytes> {
    let (lines, request_id) = (lines.to_string_lossy(), request_id.to_string_lossy());
    let (lines, request_id) = (lines.as_ref(), request_id.as_ref());
    let answer = whole::Answer { status, reason, lines, request_id, typed, date, http10, keep_alive };
    PyBytes::new(py, &answer.bytes(body, bodiless))
}

/// Headers that tell how many seconds a request took here and up there, how often it was tried, and how its limits stand.
#[pyfunction]
#[pyo3(signature = (gateway, upstream, attempts, reservation, now, /))]
pub fn answer_lines<'py>(
    py: Python<'py>,
    gateway: f64,
    upstream: f64,
    attempts: u64,
    reservation: Option<&Reservation>,
    now: f64,
) -> Bound<'py, PyString> {
    let mut lines = String::with_capacity(LINES);
    whole::write_timing(&mut lines, gateway, upstream, attempts);
    if let Some(reservation) = reservation {
        reservation.write(&mut lines, now);
    }
    PyString::new(py, &lines)
}
