//! A request on its way through: what its body asks, what of it goes up, and the head before it.

use crate::http1;
use crate::json::splice::Segment;
use crate::request::{self, Ask as CoreAsk};
use crate::upload::Body;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use std::borrow::Cow;

pyo3::create_exception!(_native, Refused, PyValueError, "A body that cannot be served: `(code, param, message)`.");

/// What a request's body asks, as far as the gateway must know.
#[pyclass(frozen, module = "sluicegate._native")]
pub struct Ask {
    body: PyBackedBytes,
    core: CoreAsk,
}

#[pymethods]
impl Ask {
    /// Reads a whole body, nested at most `max_depth` deep. Raises `Refused`.
    #[new]
    fn new(body: PyBackedBytes, max_depth: usize) -> PyResult<Self> {
        match request::read(&body, max_depth) {
            Ok(core) => Ok(Self { body, core }),
            Err(refusal) => Err(Refused::new_err((refusal.code(), refusal.param(), refusal.to_string()))),
        }
    }

    #[getter]
    fn model(&self) -> &str {
        &self.core.model
    }

    #[getter]
    pub(super) fn stream(&self) -> bool {
        self.core.stream
    }

    /// The client itself asked for the usage event.
    #[getter]
    fn wants_usage(&self) -> bool {
        self.core.wants_usage()
    }

    /// `stream_options` stands in the body and is not null.
    #[getter]
    fn has_stream_options(&self) -> bool {
        matches!(self.core.stream_options, request::StreamOptions::Object { .. })
    }

    #[getter]
    pub(super) fn max_tokens(&self) -> Option<u64> {
        self.core.max_completion_tokens.or(self.core.max_tokens).or(self.core.max_output_tokens)
    }

    /// Answers asked for; 1 if it is not said.
    #[getter]
    pub(super) fn choices(&self) -> u32 {
        self.core.n.map_or(1, |n| u32::try_from(n).unwrap_or(u32::MAX)).max(1)
    }

    /// The body for a target: `model` put in place, usage asked for if `include_usage`, members `consumed` left out.
    fn splice(
        &self,
        py: Python<'_>,
        model: Option<&str>,
        include_usage: bool,
        consumed: Vec<String>,
    ) -> PyResult<Segments> {
        let consumed: Vec<&str> = consumed.iter().map(String::as_str).collect();
        let parts: Vec<Segment<'static>> = request::splice(&self.core, &self.body, model, include_usage, &consumed)
            .map_err(|malformed| PyValueError::new_err(malformed.what))?
            .into_iter()
            .map(|part| match part {
                Segment::Text(range) => Segment::Text(range),
                Segment::New(bytes) => Segment::New(Cow::Owned(bytes.into_owned())),
            })
            .collect();
        let length = parts.iter().map(length_of).sum();
        Ok(Segments { body: self.body.clone_ref(py), parts, length })
    }
}

impl Ask {
    /// Bytes of the body.
    pub(super) fn size(&self) -> u64 {
        self.body.len() as u64
    }
}

/// A request body with its replacements, as slices: the caller's bytes are not copied.
#[pyclass(frozen, module = "sluicegate._native")]
pub struct Segments {
    body: PyBackedBytes,
    parts: Vec<Segment<'static>>,
    /// Bytes in all.
    #[pyo3(get)]
    pub(super) length: u64,
}

impl Segments {
    pub(super) fn parts(&self, py: Python<'_>) -> (Body, Vec<Segment<'static>>) {
        (Box::new(self.body.clone_ref(py)), self.parts.clone())
    }
}

fn length_of(part: &Segment<'_>) -> u64 {
    match part {
        Segment::Text(range) => range.len() as u64,
        Segment::New(bytes) => bytes.len() as u64,
    }
}

/// The lines of a POST's head but for its length, which `Connection.send` adds. Raises `ValueError` for what would break
/// out of its line.
#[pyfunction]
pub fn request_lines<'py>(
    py: Python<'py>,
    target: &str,
    host: &str,
    headers: Vec<(String, String)>,
) -> PyResult<Bound<'py, PyBytes>> {
    let fields: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut head = Vec::with_capacity(512);
    http1::request_lines(&mut head, "POST", target, host, &fields)
        .map_err(|why| PyValueError::new_err(why.as_str()))?;
    Ok(PyBytes::new(py, &head))
}
