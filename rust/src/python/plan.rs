//! What Python decides once per request and Rust follows: the plan, and how upstreams are trusted.

use super::metrics::Bank;
use super::tariff::Tariff;
use crate::dialect::Dialect;
use crate::json::splice::quote;
use crate::metrics::Slot;
use crate::page::{Finishes, Note, Page};
use crate::plan::{End, Limits, Micros, Plan as CorePlan, Times};
use crate::tls::Config;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

/// Roots, sessions and versions of TLS towards upstreams; shared by all connections that trust the same.
#[pyclass(frozen, module = "sluicegate._native")]
pub struct TlsConfig(Config);

#[pymethods]
impl TlsConfig {
    /// The system's roots and those of `extra_ca` (PEM). Raises `ValueError` if there is no root, or no certificate in it.
    #[new]
    #[pyo3(signature = (extra_ca=None))]
    fn new(py: Python<'_>, extra_ca: Option<Vec<u8>>) -> PyResult<Self> {
        py.detach(|| Config::new(extra_ca.as_deref())).map(Self).map_err(|error| PyValueError::new_err(error.as_str()))
    }
}

impl TlsConfig {
    pub(super) fn shared(&self) -> &Config {
        &self.0
    }
}

/// What to do to the bytes of one kind of request.
#[pyclass(frozen, module = "sluicegate._native")]
pub struct Plan(Arc<CorePlan>);

#[pymethods]
impl Plan {
    #[new]
    #[pyo3(signature = (*, dialect, stream, model, strip_usage, fill_choices, tidy, ensure_done, insert, finishes, done,
                        heartbeat, errors, limits, times, bank, gaps))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)] // one keyword for each line of the plan
    fn new(
        dialect: &str,
        stream: bool,
        model: Option<Vec<u8>>,
        strip_usage: bool,
        fill_choices: bool,
        tidy: bool,
        ensure_done: bool,
        insert: Option<Vec<u8>>,
        finishes: Option<(HashMap<String, String>, String)>,
        done: Vec<u8>,
        heartbeat: Vec<u8>,
        errors: HashMap<String, Vec<u8>>,
        limits: (usize, usize, usize, usize, usize),
        times: (f64, f64, f64, f64),
        bank: &Bank,
        gaps: u64,
    ) -> PyResult<Self> {
        let dialect = Dialect::parse(dialect).ok_or_else(|| PyValueError::new_err("no such dialect"))?;
        let errors = errors
            .into_iter()
            .map(|(code, event)| Some((End::parse(&code)?, event.into_boxed_slice())))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| PyValueError::new_err("no such end of a stream"))?;
        let finishes = finishes.map(|(known, other)| Finishes {
            known: known.into_iter().map(|(theirs, ours)| (theirs.into_bytes().into(), quote(&ours).into())).collect(),
            other: quote(&other).into(),
        });
        let (head, event, held, error_body, answer) = limits;
        let micros = |seconds: f64| {
            std::time::Duration::try_from_secs_f64(seconds).map_or(Micros::MAX, |d| d.as_micros() as Micros)
        };
        Ok(Self(Arc::new(CorePlan {
            dialect,
            stream,
            model: model.map(Vec::into_boxed_slice),
            strip_usage,
            fill_choices,
            tidy,
            ensure_done,
            insert: insert.map(Vec::into_boxed_slice),
            page: finishes.map(|finishes| Page { finishes: Some(Arc::new(finishes)), ..Page::default() }),
            done: done.into_boxed_slice(),
            heartbeat: heartbeat.into_boxed_slice(),
            errors,
            limits: Limits { head, event, held, error_body, answer },
            times: Times {
                first_content: micros(times.0),
                idle: micros(times.1),
                done_grace: micros(times.2),
                heartbeat: micros(times.3),
            },
            gaps: Some((bank.shared(), Slot::from_bits(gaps))),
        })))
    }

    /// The same plan for one request. `note`: a member's name, its value (an object without its closing brace) and
    /// whether the upstream's text is repeated in it, for the end of its answer; `tariff`: what its credits are.
    #[pyo3(signature = (*, note=None, tariff=None))]
    fn for_one(&self, note: Option<(String, Vec<u8>, bool)>, tariff: Option<&Tariff>) -> Self {
        let mut plan = CorePlan::clone(&self.0);
        let page = plan.page.get_or_insert_default();
        page.note = note.map(|(name, open, raw)| Note { name: name.into(), open: open.into(), raw });
        page.tariff = tariff.map(Tariff::shared);
        Self(Arc::new(plan))
    }
}

impl Plan {
    pub(super) fn shared(&self) -> Arc<CorePlan> {
        Arc::clone(&self.0)
    }
}
