//! What is left of a request, as Python sees it: an exchange goes in, bytes come out.

use crate::dialect::Tokens;
use crate::metrics::Bank as CoreBank;
use crate::row::{self, Attempt, Counts, Families, Row, Usage, Value};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;

use super::metrics::Bank;

/// Counts end here: what a column of every store, and every reader of JSON, holds.
const MOST: u64 = (1 << 53) - 1;

/// Makes the rows of one configuration.
#[pyclass(frozen, module = "sluicegate._native")]
pub struct Rows {
    counts: Counts,
    configuration: PyBackedStr,
}

#[pymethods]
impl Rows {
    /// `families` are the names of the series that rows move; `providers` what each upstream is called in them.
    #[new]
    fn new(
        bank: &Bank,
        families: HashMap<String, String>,
        providers: HashMap<String, String>,
        configuration: PyBackedStr,
    ) -> PyResult<Self> {
        let bank: Arc<CoreBank> = bank.shared();
        let counts = Counts::new(bank, &named(families)?, providers).map_err(PyValueError::new_err)?;
        Ok(Self { counts, configuration })
    }

    /// The spool's record of an exchange that may be served.
    #[pyo3(signature = (exchange, sequence, /))]
    fn admitted<'py>(&self, exchange: &Bound<'py, PyAny>, sequence: u64) -> PyResult<Bound<'py, PyBytes>> {
        let py = exchange.py();
        let told = Told(exchange.clone());
        let row = Row {
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
        };
        Ok(PyBytes::new(py, &row::admitted(&row, sequence)))
    }

    /// Counts an exchange that ended at `now`; its line for the log and, if it was admitted, its record for the spool.
    #[pyo3(signature = (exchange, now, /))]
    fn ended<'py>(
        &self,
        exchange: &Bound<'py, PyAny>,
        now: f64,
    ) -> PyResult<(Bound<'py, PyBytes>, Option<Bound<'py, PyBytes>>)> {
        let py = exchange.py();
        let row = self.row(exchange, now)?;
        self.counts.count(&row);
        let sequence = exchange.getattr(intern!(py, "sequence"))?.extract::<u64>()?;
        let record = (sequence > 0).then(|| PyBytes::new(py, &row.record(sequence)));
        Ok((PyBytes::new(py, &row.line()), record))
    }
}

impl Rows {
    /// Overhead is the time in which nothing was asked of an upstream.
    fn row(&self, exchange: &Bound<'_, PyAny>, now: f64) -> PyResult<Row<Text>> {
        let py = exchange.py();
        let told = Told(exchange.clone());
        let usage = told.of(intern!(py, "usage"))?;
        let mut attempts = attempts(&told.0.getattr(intern!(py, "attempts"))?, &usage)?;
        if let Some(started) = told.maybe_seconds(intern!(py, "attempt_started"))? {
            attempts.push(decisive(&told, started, now)?);
        }
        let endpoint = told.of(intern!(py, "endpoint"))?;
        let duration = now - told.seconds(intern!(py, "received"))?;
        let mut upstream_time = 0.0;
        if let Some(dispatched) = told.maybe_seconds(intern!(py, "dispatched"))? {
            upstream_time = told.maybe_seconds(intern!(py, "answered"))?.unwrap_or(now)
                - dispatched
                - told.seconds(intern!(py, "between"))?;
        }
        let left_behind = |bytes: fn(&Attempt<Text>) -> u64| -> u64 {
            attempts.iter().filter(|attempt| !attempt.decisive).map(bytes).sum()
        };
        let reservation = told.of(intern!(py, "reservation"))?;
        let priced = told.of(intern!(py, "priced"))?;
        Ok(Row {
            id: told.text(intern!(py, "id"))?,
            upstream_request_id: told.text(intern!(py, "upstream_request_id"))?,
            endpoint: endpoint.text(intern!(py, "name"))?,
            operation: endpoint.text(intern!(py, "operation"))?,
            stream: told.flag(intern!(py, "stream"))?,
            received_at: told.seconds(intern!(py, "received_at"))?,
            duration,
            caller: told.text(intern!(py, "caller"))?,
            group: told.text(intern!(py, "group"))?,
            requested_model: told.text(intern!(py, "requested_model"))?,
            model: told.text(intern!(py, "model"))?,
            target: told.text(intern!(py, "target"))?,
            upstream: told.text(intern!(py, "upstream"))?,
            upstream_model: told.text(intern!(py, "upstream_model"))?,
            credential: told.text(intern!(py, "credential"))?,
            status: told.count(intern!(py, "status"))?,
            error_code: told.text(intern!(py, "error_code"))?,
            outcome: told.text(intern!(py, "outcome"))?,
            usage: usage.usage()?,
            time_to_first_content: told.maybe_seconds(intern!(py, "time_to_first_content"))?,
            overhead: (duration - upstream_time).max(0.0),
            bytes_in: told.of(intern!(py, "client"))?.count(intern!(py, "bytes_in"))?,
            bytes_out: told.count(intern!(py, "bytes_out"))?,
            upstream_bytes_in: told.count(intern!(py, "upstream_bytes_in"))? + left_behind(|attempt| attempt.bytes_in),
            upstream_bytes_out: told.count(intern!(py, "upstream_bytes_out"))?
                + left_behind(|attempt| attempt.bytes_out),
            events: told.count(intern!(py, "events"))?,
            malformed_events: told.count(intern!(py, "malformed_events"))?,
            heartbeats: told.count(intern!(py, "heartbeats"))?,
            left: told.text(intern!(py, "left"))?,
            reserved: if reservation.0.is_none() { 0 } else { reservation.count(intern!(py, "tokens"))? },
            configuration: Text::Told(self.configuration.clone_ref(py)),
            cost: told.maybe_count(intern!(py, "cost"))?,
            credits: told.maybe_count(intern!(py, "credits"))?,
            price: if priced.0.is_none() { Text::Empty } else { priced.text(intern!(py, "version"))? },
            attempts,
        })
    }
}

/// Rows that are alike: what they have in common, and the columns of what each has of its own; none for one that is not
/// known of any of them.
type Alike<'py> = (Bound<'py, PyTuple>, Bound<'py, PyTuple>);

/// What a piece of a spool holds: rows of the store for the ends, other admissions by sequence, how many frames could not
/// be read, where the last whole one ends, and whether what stands there can never become one.
type Spooled<'py> = (Vec<Alike<'py>>, Bound<'py, PyDict>, usize, usize, bool);

/// Fields of an end that each row has of its own, besides its sequence, and those it has in common with others. The store
/// names the same ones.
const OWN: [usize; 16] = [0, 1, 2, 5, 17, 18, 19, 20, 21, 24, 25, 28, 29, 30, 31, 32];
const SAME: [usize; 17] = [3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 22, 23, 26, 27];
/// Those of a row's own that may not be known.
const MAYBE: [usize; 3] = [24, 25, 28];
/// Microseconds of a day: rows that are alike are of the same one.
const DAY: i64 = 86_400_000_000;

/// Ends, each with its sequence.
type Ends<'a> = Vec<(u64, Vec<Value<'a>>)>;
/// What rows that are alike have in common: the day, which figures are not known, and SAME.
type Common<'a> = (i64, [bool; MAYBE.len()], [Value<'a>; SAME.len()]);

/// Reads the whole frames of `data`, of the spool called `instance`.
#[pyfunction]
#[pyo3(signature = (data, instance, /))]
pub fn read_spool<'py>(data: &Bound<'py, PyBytes>, instance: &Bound<'py, PyString>) -> PyResult<Spooled<'py>> {
    let py = data.py();
    let bytes = data.as_bytes();
    let (found, kinds) = py.detach(|| {
        let mut found = row::read(bytes);
        let ended: HashSet<u64> = found.finished.iter().map(|(sequence, _)| *sequence).collect();
        found.admitted.retain(|(sequence, _)| !ended.contains(sequence));
        let kinds = kinds(std::mem::take(&mut found.finished));
        (found, kinds)
    });
    let mut rows = Vec::with_capacity(kinds.len());
    for ((_, _, same), ends) in kinds {
        let mut common = vec![instance.clone().into_any()];
        for value in same {
            common.push(value.into_pyobject(py)?);
        }
        let mut own = vec![PyList::new(py, ends.iter().map(|(sequence, _)| *sequence))?.into_any()];
        for place in OWN {
            own.push(match ends[0].1[place] {
                Value::None => py.None().into_bound(py),
                _ => PyList::new(py, ends.iter().map(|(_, values)| values[place]))?.into_any(),
            });
        }
        rows.push((PyTuple::new(py, common)?, PyTuple::new(py, own)?));
    }
    let admitted = PyDict::new(py);
    for (sequence, record) in found.admitted {
        admitted.set_item(sequence, PyBytes::new(py, record))?;
    }
    Ok((rows, admitted, found.damaged, found.end, found.unbelievable))
}

/// Ends by what they have in common.
fn kinds(finished: Ends<'_>) -> BTreeMap<Common<'_>, Ends<'_>> {
    let mut kinds = BTreeMap::<_, Ends<'_>>::new();
    for (sequence, values) in finished {
        let day = if let Value::Count(at) = values[0] { at / DAY } else { 0 };
        let unknown = MAYBE.map(|place| values[place] == Value::None);
        kinds.entry((day, unknown, SAME.map(|place| values[place]))).or_default().push((sequence, values));
    }
    kinds
}

/// The row of a request that nobody saw end, but for instance and sequence; `None` if these are not an admission's bytes.
#[pyfunction]
#[pyo3(signature = (record, /))]
pub fn unknown<'py>(py: Python<'py>, record: &[u8]) -> PyResult<Option<Bound<'py, PyTuple>>> {
    row::unknown(record).map(|values| PyTuple::new(py, values)).transpose()
}

impl<'py> IntoPyObject<'py> for Value<'_> {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = Infallible;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        Ok(match self {
            Value::Text(text) => PyString::new(py, text).into_any(),
            Value::Count(count) => count.into_pyobject(py)?.into_any(),
            Value::None => py.None().into_bound(py),
        })
    }
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

/// Text of Python's, as it is; with a replacement for what is no character.
#[derive(Default)]
pub(super) enum Text {
    #[default]
    Empty,
    Told(PyBackedStr),
    Mended(String),
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        match self {
            Self::Empty => "",
            Self::Told(text) => text,
            Self::Mended(text) => text,
        }
    }
}

/// An object whose attributes are read.
pub(super) struct Told<'py>(pub(super) Bound<'py, PyAny>);

pub(super) type Name<'a, 'py> = &'a Bound<'py, PyString>;

impl<'py> Told<'py> {
    pub(super) fn of(&self, name: Name<'_, 'py>) -> PyResult<Self> {
        self.0.getattr(name).map(Told)
    }

    pub(super) fn text(&self, name: Name<'_, 'py>) -> PyResult<Text> {
        text(&self.0.getattr(name)?)
    }

    pub(super) fn flag(&self, name: Name<'_, 'py>) -> PyResult<bool> {
        self.0.getattr(name)?.is_truthy()
    }

    pub(super) fn count(&self, name: Name<'_, 'py>) -> PyResult<u64> {
        count(&self.0.getattr(name)?)
    }

    fn maybe_count(&self, name: Name<'_, 'py>) -> PyResult<Option<u64>> {
        let value = self.0.getattr(name)?;
        if value.is_none() {
            Ok(None)
        } else {
            count(&value).map(Some)
        }
    }

    fn seconds(&self, name: Name<'_, 'py>) -> PyResult<f64> {
        self.0.getattr(name)?.extract()
    }

    fn maybe_seconds(&self, name: Name<'_, 'py>) -> PyResult<Option<f64>> {
        self.0.getattr(name)?.extract()
    }

    /// The object as `Usage`.
    fn usage(&self) -> PyResult<Usage<Text>> {
        let py = self.0.py();
        let tokens = self.of(intern!(py, "tokens"))?;
        let reported = self.0.getattr(intern!(py, "reported"))?;
        let reported = reported.cast::<PyTuple>()?.iter().map(|said| {
            let said = said.cast_into::<PyTuple>()?;
            Ok((text(&said.get_item(0)?)?, count(&said.get_item(1)?)?))
        });
        Ok(Usage {
            tokens: Tokens {
                input: tokens.count(intern!(py, "input"))?,
                output: tokens.count(intern!(py, "output"))?,
                cached_input: tokens.count(intern!(py, "cached_input"))?,
                cache_write: tokens.count(intern!(py, "cache_write"))?,
                reasoning: tokens.count(intern!(py, "reasoning"))?,
            },
            input_provenance: self.text(intern!(py, "input_provenance"))?,
            output_provenance: self.text(intern!(py, "output_provenance"))?,
            reported: reported.collect::<PyResult<_>>()?,
        })
    }
}

fn attempts<'py>(list: &Bound<'py, PyAny>, whole: &Told<'py>) -> PyResult<Vec<Attempt<Text>>> {
    let py = list.py();
    let one = |attempt: Bound<'py, PyAny>| {
        let told = Told(attempt);
        let usage = told.of(intern!(py, "usage"))?;
        let decisive = told.flag(intern!(py, "decisive"))?;
        Ok(Attempt {
            target: told.text(intern!(py, "target"))?,
            outcome: told.text(intern!(py, "outcome"))?,
            status: told.count(intern!(py, "status"))?,
            usage: if usage.0.is(&whole.0) { None } else { Some(usage.usage()?) },
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

/// The attempt under way at the end, which is what the row says.
fn decisive(exchange: &Told<'_>, started: f64, now: f64) -> PyResult<Attempt<Text>> {
    let py = exchange.0.py();
    Ok(Attempt {
        target: exchange.text(intern!(py, "target"))?,
        outcome: exchange.text(intern!(py, "outcome"))?,
        status: exchange.count(intern!(py, "upstream_status"))?,
        credential: exchange.text(intern!(py, "credential"))?,
        upstream_request_id: exchange.text(intern!(py, "upstream_request_id"))?,
        started: started - exchange.seconds(intern!(py, "received"))?,
        duration: now - started,
        bytes_in: exchange.count(intern!(py, "upstream_bytes_in"))?,
        bytes_out: exchange.count(intern!(py, "upstream_bytes_out"))?,
        decisive: true,
        ..Attempt::default()
    })
}

fn text(value: &Bound<'_, PyAny>) -> PyResult<Text> {
    let value = value.cast::<PyString>()?;
    Ok(match PyBackedStr::try_from(value.clone()) {
        Ok(text) => Text::Told(text),
        Err(_) => Text::Mended(value.to_string_lossy().into_owned()), // a lone surrogate
    })
}

/// A count; what is larger than any ends at the largest, and nothing is below 0.
fn count(value: &Bound<'_, PyAny>) -> PyResult<u64> {
    value.extract::<u64>().or_else(|_| Ok(if value.lt(0)? { 0 } else { MOST }))
}
