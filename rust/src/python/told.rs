//! Values of Python's objects, as the core wants them.

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyString, PyTuple};

/// Counts end here: what a column of every store, and every reader of JSON, holds.
const MOST: u64 = (1 << 53) - 1;

/// Names fields of a struct, and finds where they stand in the tuple of its values.
macro_rules! places {
    ($name:ident: $($field:ident)*) => {
        struct $name { $($field: usize),* }

        impl $name {
            fn find(fields: &[String]) -> PyResult<Self> {
                let place = |name: &str| fields.iter().position(|field| field == name).ok_or_else(|| {
                    PyValueError::new_err(format!("a {} has no {name}", stringify!($name)))
                });
                Ok(Self { $($field: place(stringify!($field))?),* })
            }
        }
    };
}
pub(super) use places;

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

/// Something whose values are read, each by what tells it from the others.
pub(super) trait Told<'py, At> {
    fn get(&self, at: At) -> PyResult<Bound<'py, PyAny>>;

    fn text(&self, at: At) -> PyResult<Text> {
        text(&self.get(at)?)
    }

    fn flag(&self, at: At) -> PyResult<bool> {
        self.get(at)?.is_truthy()
    }

    fn count(&self, at: At) -> PyResult<u64> {
        count(&self.get(at)?)
    }

    fn maybe_count(&self, at: At) -> PyResult<Option<u64>> {
        let value = self.get(at)?;
        if value.is_none() {
            Ok(None)
        } else {
            count(&value).map(Some)
        }
    }

    fn seconds(&self, at: At) -> PyResult<f64> {
        self.get(at)?.extract()
    }

    fn maybe_seconds(&self, at: At) -> PyResult<Option<f64>> {
        self.get(at)?.extract()
    }
}

/// An object, read by the names of its attributes.
pub(super) struct Named<'py>(pub(super) Bound<'py, PyAny>);

impl<'py> Named<'py> {
    pub(super) fn of(&self, name: &Bound<'py, PyString>) -> PyResult<Self> {
        self.0.getattr(name).map(Named)
    }
}

impl<'py> Told<'py, &Bound<'py, PyString>> for Named<'py> {
    fn get(&self, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        self.0.getattr(name)
    }
}

/// All values of a struct, read by their places.
pub(super) struct Values<'py>(pub(super) Bound<'py, PyTuple>);

impl<'py> Told<'py, usize> for Values<'py> {
    fn get(&self, place: usize) -> PyResult<Bound<'py, PyAny>> {
        self.0.get_item(place)
    }
}

pub(super) fn text(value: &Bound<'_, PyAny>) -> PyResult<Text> {
    let value = value.cast::<PyString>()?;
    Ok(match PyBackedStr::try_from(value.clone()) {
        Ok(text) => Text::Told(text),
        Err(_) => Text::Mended(value.to_string_lossy().into_owned()), // a lone surrogate
    })
}

/// A count; what is larger than any ends at the largest, and nothing is below 0.
pub(super) fn count(value: &Bound<'_, PyAny>) -> PyResult<u64> {
    value.extract::<u64>().or_else(|_| Ok(if value.lt(0)? { 0 } else { MOST }))
}
