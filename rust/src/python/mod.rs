//! The seam to Python: the only place that knows it.
//!
//! Classes here are frozen shells around the core. They turn Python's arguments into the core's, let go of the
//! interpreter around whatever takes long, and never keep a lock while Python code may run.

// pyo3 hands arguments over by value.
#![allow(clippy::needless_pass_by_value)]

use pyo3::panic::PanicException;
use pyo3::prelude::*;
use std::panic::set_hook;

mod database;
mod ends;
mod incoming;
mod lease;
mod lent;
mod metrics;
mod outcome;
mod plan;
mod protocol;
mod request;
mod rows;
mod seat;
mod tail;
mod tariff;
mod told;
mod world;

pub use metrics::Bank;

/// How this module was compiled: a benchmark refuses `debug`.
const BUILD_PROFILE: &str = if cfg!(debug_assertions) { "debug" } else { "release" };

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("build_profile", BUILD_PROFILE)?;
    module.add("version", env!("CARGO_PKG_VERSION"))?;
    set_hook(Box::new(|panic| {
        // Its words may quote content.
        let place = panic.location().map_or(("", 0), |at| (at.file(), at.line()));
        eprintln!("a panic at {}:{}", place.0, place.1);
    }));
    module.add("Panic", module.py().get_type::<PanicException>())?;
    module.add("Refused", module.py().get_type::<request::Refused>())?;
    module.add("DatabaseError", module.py().get_type::<database::DatabaseError>())?;
    module.add_class::<database::Database>()?;
    module.add_class::<ends::Ends>()?;
    module.add_class::<incoming::Heads>()?;
    module.add_class::<incoming::Plain>()?;
    module.add_class::<protocol::Connection>()?;
    module.add_class::<lease::Purse>()?;
    module.add_class::<lease::Reservation>()?;
    module.add_class::<lease::Share>()?;
    module.add_class::<outcome::Head>()?;
    module.add_class::<outcome::Outcome>()?;
    module.add_class::<plan::Plan>()?;
    module.add_class::<plan::TlsConfig>()?;
    module.add_class::<request::Ask>()?;
    module.add_class::<request::Segments>()?;
    module.add_class::<rows::Rows>()?;
    module.add_class::<tail::Tail>()?;
    module.add_class::<tariff::Tariff>()?;
    module.add_class::<world::World>()?;
    module.add_function(wrap_pyfunction!(lease::units, module)?)?;
    module.add_function(wrap_pyfunction!(request::request_lines, module)?)?;
    module.add_function(wrap_pyfunction!(incoming::answer_bytes, module)?)?;
    module.add_function(wrap_pyfunction!(incoming::answer_lines, module)?)?;
    module.add_function(wrap_pyfunction!(metrics::exposition, module)?)?;
    module.add_class::<Bank>()
}
