//! A database of `SQLite`: statements of Python's, and rows that go in without becoming Python's objects.
//!
//! Rules of this file:
//!
//! - Its library is our own, compiled in. No other copy of it in the same process may have a file of ours open: whichever
//!   closed it first would take the other's locks away (<https://sqlite.org/howtocorrupt.html>, 2.2.1).
//! - What statements say stands in `store/sqlite.py`; here it is known only which values they are given.

use crate::row::{self, Value};
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString, PyTuple};
use rusqlite::types::{ToSqlOutput, Value as Held, ValueRef};
use rusqlite::{params_from_iter, Connection, OpenFlags, ToSql};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::ends::{told, Ends, Sum};

create_exception!(sluicegate._native, DatabaseError, PyException, "SQLite did not do it; its own words.");

/// Where a row's values stand in its statement: instance, sequence, kind, then what it has of its own.
const INSTANCE: usize = 1;
const SEQUENCE: usize = 2;
const KIND: usize = 3;
const FIRST: usize = 4;
/// How many of its own.
const OWN: usize = 17;

/// A connection. Of one thread at a time, whichever that is; others wait.
#[pyclass(frozen, module = "sluicegate._native")]
pub struct Database(Mutex<Option<Connection>>);

#[pymethods]
impl Database {
    /// Opens a file, and makes it if `create`. `patience`: seconds to wait for another's transaction.
    #[new]
    fn open(py: Python<'_>, path: PathBuf, create: bool, patience: f64) -> PyResult<Self> {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags.set(OpenFlags::SQLITE_OPEN_CREATE, create);
        let open = || {
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(Duration::from_secs_f64(patience))?;
            Ok(Self(Mutex::new(Some(connection))))
        };
        py.detach(open).map_err(said)
    }

    /// Does what one statement says; the rows that it gives.
    #[pyo3(signature = (statement, values=Vec::new(), /))]
    fn ask<'py>(
        &self,
        py: Python<'py>,
        statement: &str,
        values: Vec<Bound<'py, PyAny>>,
    ) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let values = values.iter().map(held).collect::<PyResult<Vec<_>>>()?;
        let ask = |connection: &Connection| {
            let mut statement = connection.prepare_cached(statement)?;
            let columns = statement.column_count();
            let mut found = statement.query(params_from_iter(values))?;
            let mut rows: Vec<Vec<Held>> = Vec::new();
            while let Some(row) = found.next()? {
                rows.push((0..columns).map(|column| row.get(column)).collect::<Result<_, _>>()?);
            }
            Ok(rows)
        };
        self.with(py, ask)?.iter().map(|row| row_of(py, row)).collect()
    }

    /// Inserts ends and gives the sums of those that were new. `of_kind` is given the day since 1970 and what rows have in
    /// common, and gives a number; `of_row` is given instance, sequence, that number, and what each has of its own.
    #[pyo3(signature = (ends, of_kind, of_row, /))]
    fn insert<'py>(&self, py: Python<'py>, ends: &Ends, of_kind: &str, of_row: &str) -> PyResult<Vec<Sum<'py>>> {
        let new = self.with(py, |connection| insert(connection, ends, of_kind, of_row))?;
        told(py, &row::sums(&ends.data, ends.each().zip(new).filter_map(|(end, new)| new.then_some(end))))
    }

    /// Whether a transaction was begun.
    #[getter]
    fn in_transaction(&self, py: Python<'_>) -> bool {
        self.with(py, |connection| Ok(!connection.is_autocommit())).unwrap_or(false)
    }

    /// Disconnects; whoever asks then is told.
    fn close(&self, py: Python<'_>) {
        py.detach(|| drop(self.connection().take()));
    }
}

impl Database {
    fn connection(&self) -> MutexGuard<'_, Option<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the connection, without the interpreter.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        what: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send,
    ) -> PyResult<T> {
        let done = py.detach(|| self.connection().as_ref().map(what));
        done.ok_or_else(|| DatabaseError::new_err("the database is closed"))?.map_err(said)
    }
}

/// Inserts ends; which of them were new. A value stays bound until another takes its place.
fn insert(connection: &Connection, ends: &Ends, of_kind: &str, of_row: &str) -> rusqlite::Result<Vec<bool>> {
    let mut of_kind = connection.prepare_cached(of_kind)?;
    let mut of_row = connection.prepare_cached(of_row)?;
    of_row.raw_bind_parameter(INSTANCE, &ends.instance)?;
    let mut bound = [None; OWN];
    let mut kinds: HashMap<_, i64> = HashMap::new();
    let mut new = Vec::new();
    let mut last = None;
    for end in ends.each() {
        if !last.is_some_and(|last| end.is_like(last, &ends.data)) {
            let same = end.kind(&ends.data);
            let kind = if let Some(kind) = kinds.get(&same) {
                *kind
            } else {
                let values = [Value::Count(end.day())].into_iter().chain(end.same(&ends.data));
                let kind = of_kind.query_row(params_from_iter(values), |row| row.get(0))?;
                kinds.insert(same, kind);
                kind
            };
            of_row.raw_bind_parameter(KIND, kind)?;
        }
        of_row.raw_bind_parameter(SEQUENCE, i64::try_from(end.sequence).unwrap_or(i64::MAX))?;
        for ((number, bound), value) in (FIRST..).zip(&mut bound).zip(end.own(&ends.data)) {
            if *bound != Some(value) {
                *bound = Some(value);
                of_row.raw_bind_parameter(number, value)?;
            }
        }
        new.push(of_row.raw_execute()? > 0);
        last = Some(end);
    }
    Ok(new)
}

fn held(value: &Bound<'_, PyAny>) -> PyResult<Held> {
    if value.is_none() {
        Ok(Held::Null)
    } else if let Ok(text) = value.cast::<PyString>() {
        Ok(Held::Text(text.extract()?))
    } else if value.is_instance_of::<PyInt>() {
        Ok(Held::Integer(value.extract()?))
    } else {
        Err(PyTypeError::new_err("a value is text, a whole number or None"))
    }
}

fn row_of<'py>(py: Python<'py>, row: &[Held]) -> PyResult<Bound<'py, PyTuple>> {
    let one = |value: &Held| {
        Ok(match value {
            Held::Null => py.None().into_bound(py),
            Held::Integer(number) => number.into_pyobject(py)?.into_any(),
            Held::Real(number) => number.into_pyobject(py)?.into_any(),
            Held::Text(text) => text.into_pyobject(py)?.into_any(),
            Held::Blob(bytes) => bytes.into_pyobject(py)?.into_any(),
        })
    };
    PyTuple::new(py, row.iter().map(one).collect::<PyResult<Vec<_>>>()?)
}

fn said(error: rusqlite::Error) -> PyErr {
    DatabaseError::new_err(error.to_string())
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Count(count) => ValueRef::Integer(*count),
            Value::None => ValueRef::Null,
        }))
    }
}
