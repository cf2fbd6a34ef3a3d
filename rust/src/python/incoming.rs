//! Clients' plain requests as Python sees them.

use crate::http1::incoming;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

/// Reads the plainest of requests; made once with the bound of a head and the headers that go through.
#[pyclass(frozen, module = "sluicegate._native")]
pub struct Heads {
    limit: usize,
    forwarded: Vec<String>,
}

#[pymethods]
impl Heads {
    /// `limit` bytes of a head at most; `forwarded` are names in lower case.
    #[new]
    fn new(limit: usize, forwarded: Vec<String>) -> Self {
        Self { limit, forwarded }
    }

    /// The request that `data` is, if it is one plain request and nothing else; None: the server's parser has to look.
    #[pyo3(signature = (data, /))]
    fn read(&self, py: Python<'_>, data: &[u8]) -> Option<PlainHead> {
        let read = incoming::read(data, self.limit, &self.forwarded)?;
        Some(PlainHead {
            path: PyString::new(py, read.target.split('?').next().unwrap_or_default()).unbind(),
            body: PyBytes::new(py, read.body).unbind(),
            authorization: read.authorization.map(str::to_owned),
            api_key: read.api_key.map(str::to_owned),
            request_id: read.request_id.map(str::to_owned),
            json: read.json,
            forwarded: PyString::new(py, &read.forwarded).unbind(),
        })
    }
}

/// What a plain request says.
#[pyclass(frozen, get_all, module = "sluicegate._native")]
pub struct PlainHead {
    path: Py<PyString>,
    body: Py<PyBytes>,
    authorization: Option<String>,
    api_key: Option<String>,
    request_id: Option<String>,
    json: bool,
    forwarded: Py<PyString>,
}
