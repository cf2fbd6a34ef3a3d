//! Prices and credits: the one place where a request's cost is worked out, for rows and for streams alike.

use crate::dialect::Tokens;
use crate::tariff::{Rates, Rounding, Tariff as CoreTariff};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::Arc;

/// Input, output, cached input, cache write, reasoning, the request.
type Six = (u64, u64, u64, u64, u64, u64);

fn rates((input, output, cached_input, cache_write, reasoning, request): Six) -> Rates {
    Rates { input, output, cached_input, cache_write, reasoning, request }
}

/// The price of a target while it holds, and how it is billed in credits.
#[pyclass(frozen, module = "sluicegate._native")]
pub struct Tariff(Arc<CoreTariff>);

#[pymethods]
impl Tariff {
    /// `six` rates; `tiers` of (above so many input tokens, six rates); `credits`: nano-credits per dollar and the rule
    /// (`up`, `half_up`, `down`). Raises `ValueError` for another rule.
    #[new]
    #[pyo3(signature = (six, tiers, credits))]
    fn new(six: Six, tiers: Vec<(u64, Six)>, credits: Option<(u64, String)>) -> PyResult<Self> {
        let credits = credits
            .map(|(rate, rule)| Rounding::parse(&rule).map(|rounding| (rate, rounding)))
            .map(|known| known.ok_or_else(|| PyValueError::new_err("no such rounding")))
            .transpose()?;
        let tiers = tiers.into_iter().map(|(above, six)| (above, rates(six))).collect();
        Ok(Self(Arc::new(CoreTariff::new(rates(six), tiers, credits))))
    }

    /// Nano-dollars and credits of a request of so many tokens.
    pub(super) fn bill(
        &self,
        input: u64,
        output: u64,
        cached_input: u64,
        cache_write: u64,
        reasoning: u64,
    ) -> (u64, Option<u64>) {
        let cost = self.0.cost(&Tokens { input, output, cached_input, cache_write, reasoning });
        (cost, self.0.credits(cost))
    }
}

impl Tariff {
    pub(super) fn shared(&self) -> Arc<CoreTariff> {
        Arc::clone(&self.0)
    }
}
