//! What is left of a request, as Python sees it: an exchange goes in, bytes come out.

use crate::dialect::Tokens;
use crate::metrics::Bank as CoreBank;
use crate::row::{self, Attempt, Counts, Families, Row, Usage};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyList, PyTuple};
use std::collections::HashMap;
use std::sync::Arc;

use super::lease::Reservation;
use super::metrics::Bank;
use super::tail::Tail;
use super::told::{count, places, text, Named, Text, Told, Values};

/// Makes the rows of one configuration.
#[pyclass(frozen, module = "sluicegate._native")]
pub struct Rows {
    counts: Counts,
    configuration: PyBackedStr,
    astuple: Py<PyAny>,
    of_exchange: Exchange,
    of_usage: Used,
    of_tokens: Counted,
    tail: Option<Py<Tail>>,
}

places!(Exchange: id endpoint client received received_at caller group requested_model stream model target upstream
    upstream_model upstream_request_id credential upstream_status attempt_started attempts status error_code outcome usage
    time_to_first_content heartbeats dispatched answered between bytes_out upstream_bytes_in upstream_bytes_out events
    malformed_events priced cost credits sequence reservation left);
places!(Used: tokens input_provenance output_provenance reported);
places!(Counted: input output cached_input cache_write reasoning);

#[pymethods]
impl Rows {
    /// `families` are the names of the series that rows move; `providers` what each upstream is called in them. `fields` are
    /// those of an exchange, a usage and its tokens, whose values `astuple` gives in one call: 60 attributes one by one took
    /// three times as long. Records go to the `tail`, if there is one.
    #[new]
    #[pyo3(signature = (bank, families, providers, configuration, fields, astuple, tail))]
    fn new(
        bank: &Bank,
        families: HashMap<String, String>,
        providers: HashMap<String, String>,
        configuration: PyBackedStr,
        fields: [Vec<String>; 3],
        astuple: Py<PyAny>,
        tail: Option<Py<Tail>>,
    ) -> PyResult<Self> {
        let bank: Arc<CoreBank> = bank.shared();
        let counts = Counts::new(bank, &named(families)?, providers).map_err(PyValueError::new_err)?;
        let [exchange, usage, tokens] = fields;
        Ok(Self {
            counts,
            configuration,
            astuple,
            of_exchange: Exchange::find(&exchange)?,
            of_usage: Used::find(&usage)?,
            of_tokens: Counted::find(&tokens)?,
            tail,
        })
    }

    /// Appends the record of an exchange that may be served. Its sequence, or 0: it could not be, and is the spool's to do.
    #[pyo3(signature = (exchange, /))]
    fn admit(&self, exchange: &Bound<'_, PyAny>) -> PyResult<u64> {
        let Some(tail) = &self.tail else { return Ok(0) };
        let row = self.admission(exchange)?;
        Ok(tail.get().admit(|sequence| row::admitted(&row, sequence)).unwrap_or(0))
    }

    /// That record.
    #[pyo3(signature = (exchange, sequence, /))]
    fn admitted<'py>(&self, exchange: &Bound<'py, PyAny>, sequence: u64) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(exchange.py(), &row::admitted(&self.admission(exchange)?, sequence)))
    }

    /// Counts an exchange that ended at `now`; its line for the log. If it was admitted, its record is appended; one that
    /// could not be comes too, and is the spool's to do.
    #[pyo3(signature = (exchange, now, /))]
    fn ended<'py>(
        &self,
        exchange: &Bound<'py, PyAny>,
        now: f64,
    ) -> PyResult<(Bound<'py, PyBytes>, Option<Bound<'py, PyBytes>>)> {
        let py = exchange.py();
        let told = self.values(exchange)?;
        let row = self.row(py, &told, now)?;
        self.counts.count(&row);
        let sequence = told.get(self.of_exchange.sequence)?.extract::<u64>()?;
        let record = (sequence > 0).then(|| row.record(sequence));
        let left = record.filter(|record| !self.tail.as_ref().is_some_and(|tail| tail.get().finish(record)));
        if let Ok(reservation) = told.get(self.of_exchange.reservation)?.cast::<Reservation>() {
            reservation.get().end(py, &row, now)?;
        }
        Ok((PyBytes::new(py, &row.line()), left.map(|record| PyBytes::new(py, &record))))
    }
}

impl Rows {
    fn values<'py>(&self, of: &Bound<'py, PyAny>) -> PyResult<Values<'py>> {
        Ok(Values(self.astuple.bind(of.py()).call1((of,))?.cast_into()?))
    }

    fn admission(&self, exchange: &Bound<'_, PyAny>) -> PyResult<Row<Text>> {
        let py = exchange.py();
        let told = Named(exchange.clone());
        Ok(Row {
            id: told.text(intern!(py, "id"))?,
            endpoint: told.of(intern!(py, "endpoint"))?.text(intern!(py, "name"))?,
            stream: told.flag(intern!(py, "stream"))?,
            received_at: told.seconds(intern!(py, "received_at"))?,
            caller: told.text(intern!(py, "caller"))?,
            group: told.text(intern!(py, "group"))?,
            requested_model: told.text(intern!(py, "requested_model"))?,
            model: told.text(intern!(py, "model"))?,
            configuration: Text::Told(self.configuration.clone_ref(py)),
            ..Row::default()
        })
    }

    /// Overhead is the time in which nothing was asked of an upstream.
    fn row(&self, py: Python<'_>, told: &Values<'_>, now: f64) -> PyResult<Row<Text>> {
        let at = &self.of_exchange;
        let usage = told.get(at.usage)?;
        let mut attempts = self.attempts(&told.get(at.attempts)?, &usage)?;
        if let Some(started) = told.maybe_seconds(at.attempt_started)? {
            attempts.push(decisive(told, at, started, now)?);
        }
        let endpoint = Named(told.get(at.endpoint)?);
        let duration = now - told.seconds(at.received)?;
        let mut upstream_time = 0.0;
        if let Some(dispatched) = told.maybe_seconds(at.dispatched)? {
            upstream_time = told.maybe_seconds(at.answered)?.unwrap_or(now) - dispatched - told.seconds(at.between)?;
        }
        let left_behind = |bytes: fn(&Attempt<Text>) -> u64| -> u64 {
            attempts.iter().filter(|attempt| !attempt.decisive).map(bytes).sum()
        };
        let reservation = Named(told.get(at.reservation)?);
        let priced = Named(told.get(at.priced)?);
        Ok(Row {
            id: told.text(at.id)?,
            upstream_request_id: told.text(at.upstream_request_id)?,
            endpoint: endpoint.text(intern!(py, "name"))?,
            operation: endpoint.text(intern!(py, "operation"))?,
            stream: told.flag(at.stream)?,
            received_at: told.seconds(at.received_at)?,
            duration,
            caller: told.text(at.caller)?,
            group: told.text(at.group)?,
            requested_model: told.text(at.requested_model)?,
            model: told.text(at.model)?,
            target: told.text(at.target)?,
            upstream: told.text(at.upstream)?,
            upstream_model: told.text(at.upstream_model)?,
            credential: told.text(at.credential)?,
            status: told.count(at.status)?,
            error_code: told.text(at.error_code)?,
            outcome: told.text(at.outcome)?,
            usage: self.usage(&usage)?,
            time_to_first_content: told.maybe_seconds(at.time_to_first_content)?,
            overhead: (duration - upstream_time).max(0.0),
            bytes_in: Named(told.get(at.client)?).count(intern!(py, "bytes_in"))?,
            bytes_out: told.count(at.bytes_out)?,
            upstream_bytes_in: told.count(at.upstream_bytes_in)? + left_behind(|attempt| attempt.bytes_in),
            upstream_bytes_out: told.count(at.upstream_bytes_out)? + left_behind(|attempt| attempt.bytes_out),
            events: told.count(at.events)?,
            malformed_events: told.count(at.malformed_events)?,
            heartbeats: told.count(at.heartbeats)?,
            left: told.text(at.left)?,
            reserved: if reservation.0.is_none() { 0 } else { reservation.count(intern!(py, "tokens"))? },
            configuration: Text::Told(self.configuration.clone_ref(py)),
            cost: told.maybe_count(at.cost)?,
            credits: told.maybe_count(at.credits)?,
            price: if priced.0.is_none() { Text::Empty } else { priced.text(intern!(py, "version"))? },
            attempts,
        })
    }

    fn usage(&self, usage: &Bound<'_, PyAny>) -> PyResult<Usage<Text>> {
        let (at, told) = (&self.of_usage, self.values(usage)?);
        let (of, tokens) = (&self.of_tokens, self.values(&told.get(at.tokens)?)?);
        let reported = told.get(at.reported)?;
        let reported = reported.cast::<PyTuple>()?.iter().map(|said| {
            let said = said.cast_into::<PyTuple>()?;
            Ok((text(&said.get_item(0)?)?, count(&said.get_item(1)?)?))
        });
        Ok(Usage {
            tokens: Tokens {
                input: tokens.count(of.input)?,
                output: tokens.count(of.output)?,
                cached_input: tokens.count(of.cached_input)?,
                cache_write: tokens.count(of.cache_write)?,
                reasoning: tokens.count(of.reasoning)?,
            },
            input_provenance: told.text(at.input_provenance)?,
            output_provenance: told.text(at.output_provenance)?,
            reported: reported.collect::<PyResult<_>>()?,
        })
    }

    /// Those that were left.
    fn attempts<'py>(&self, list: &Bound<'py, PyAny>, whole: &Bound<'py, PyAny>) -> PyResult<Vec<Attempt<Text>>> {
        let py = list.py();
        let one = |attempt: Bound<'py, PyAny>| {
            let told = Named(attempt);
            let usage = told.get(intern!(py, "usage"))?;
            let decisive = told.flag(intern!(py, "decisive"))?;
            Ok(Attempt {
                target: told.text(intern!(py, "target"))?,
                outcome: told.text(intern!(py, "outcome"))?,
                status: told.count(intern!(py, "status"))?,
                usage: if usage.is(whole) { None } else { Some(self.usage(&usage)?) },
                credential: told.text(intern!(py, "credential"))?,
                upstream_request_id: told.text(intern!(py, "upstream_request_id"))?,
                started: told.seconds(intern!(py, "started"))?,
                duration: told.seconds(intern!(py, "duration"))?,
                bytes_in: told.count(intern!(py, "bytes_in"))?,
                bytes_out: told.count(intern!(py, "bytes_out"))?,
                decisive,
                price: if decisive { Text::Empty } else { told.text(intern!(py, "price"))? },
                cost: if decisive { None } else { told.maybe_count(intern!(py, "cost"))? },
            })
        };
        list.cast::<PyList>()?.iter().map(one).collect()
    }
}

/// The attempt under way at the end, which is what the row says.
fn decisive(told: &Values<'_>, at: &Exchange, started: f64, now: f64) -> PyResult<Attempt<Text>> {
    Ok(Attempt {
        target: told.text(at.target)?,
        outcome: told.text(at.outcome)?,
        status: told.count(at.upstream_status)?,
        credential: told.text(at.credential)?,
        upstream_request_id: told.text(at.upstream_request_id)?,
        started: started - told.seconds(at.received)?,
        duration: now - started,
        bytes_in: told.count(at.upstream_bytes_in)?,
        bytes_out: told.count(at.upstream_bytes_out)?,
        decisive: true,
        ..Attempt::default()
    })
}

fn named(mut names: HashMap<String, String>) -> PyResult<Families> {
    let mut name = |of: &str| names.remove(of).ok_or_else(|| PyValueError::new_err(format!("no series for {of}")));
    Ok(Families {
        requests: name("requests")?,
        duration: name("duration")?,
        overhead: name("overhead")?,
        bytes: name("bytes")?,
        tokens: name("tokens")?,
        first_content: name("first_content")?,
        malformed: name("malformed")?,
        heartbeats: name("heartbeats")?,
        disconnects: name("disconnects")?,
        gen_ai_duration: name("gen_ai_duration")?,
        gen_ai_usage: name("gen_ai_usage")?,
        gen_ai_first: name("gen_ai_first")?,
        gen_ai_per_token: name("gen_ai_per_token")?,
    })
}
