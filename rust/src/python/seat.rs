//! What a connection's mutex guards, and what one callback leaves to be done once it is released.

use super::outcome::Head;
use super::world::World;
use crate::connection::{Actions, Connection as Core, Resolution};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pyo3::{intern, IntoPyObjectExt};
use std::sync::atomic::Ordering;

/// The client's buffer is asked for only after this much was written to it: the question costs 25-90 ns.
const ASK_AFTER: usize = 16 * 1024;

/// The upstream's transport, with its method that is called most.
pub(super) struct Transport {
    pub(super) write: Py<PyAny>,
    pub(super) whole: Py<PyAny>,
}

/// The client's transport, as far as the relay needs it.
pub(super) struct Sink {
    pub(super) write: Py<PyAny>,
    pub(super) buffered: Py<PyAny>,
}

/// Everything that changes.
pub(super) struct Seat {
    pub(super) core: Core,
    pub(super) transport: Option<Transport>,
    pub(super) client: Option<Sink>,
    pub(super) waiting: Option<Py<PyAny>>,
    pub(super) settled: Option<Py<PyAny>>,
    pub(super) unasked: usize,
    pub(super) held: i64,
}

/// What one callback leaves to be done, in this order.
#[derive(Default)]
pub(super) struct Todo {
    pub(super) upstream: Option<(Py<PyAny>, Py<PyBytes>)>,
    pub(super) client: Option<(Py<PyAny>, Py<PyBytes>)>,
    pub(super) ask: Option<Py<PyAny>>,
    pub(super) control: Option<(Py<PyAny>, &'static str)>,
    pub(super) close: Option<Py<PyAny>>,
    pub(super) resolve: Option<(Py<PyAny>, Resolution)>,
    pub(super) settled: Option<(Py<PyAny>, bool)>,
    pub(super) more: bool,
}

impl Seat {
    pub(super) fn collect(&mut self, py: Python<'_>, world: &World, actions: &mut Actions) -> Todo {
        let mut todo = Todo { more: actions.more, ..Todo::default() };
        let held = i64::try_from(self.core.held()).unwrap_or(i64::MAX);
        if held != self.held {
            world.held.fetch_add(held - self.held, Ordering::Relaxed);
            self.held = held;
        }
        if let Some(transport) = &self.transport {
            if !actions.upstream.is_empty() {
                todo.upstream = Some((transport.write.clone_ref(py), PyBytes::new(py, &actions.upstream).unbind()));
            }
            if let Some(pause) = actions.pause {
                let method = if pause { "pause_reading" } else { "resume_reading" };
                todo.control = Some((transport.whole.clone_ref(py), method));
            }
            if actions.close {
                todo.close = Some(transport.whole.clone_ref(py));
            }
        }
        if let Some(client) = self.client.as_ref().filter(|_| !actions.client.is_empty()) {
            todo.client = Some((client.write.clone_ref(py), PyBytes::new(py, &actions.client).unbind()));
            self.unasked += actions.client.len();
            if self.unasked >= ASK_AFTER {
                self.unasked = 0;
                todo.ask = Some(client.buffered.clone_ref(py));
            }
        }
        if let Some(resolution) = actions.resolve.take() {
            todo.resolve = self.waiting.take().map(|future| (future, resolution));
        }
        if actions.idle || self.core.is_closed() {
            todo.settled = self.settled.take().map(|future| (future, actions.idle));
        }
        todo
    }
}

pub(super) fn resolve(py: Python<'_>, future: &Py<PyAny>, resolution: Resolution) {
    match resolution {
        Resolution::Ready => set_result(py, Some(future.clone_ref(py)), py.None()),
        Resolution::NotReady(code, detail) => set_result(py, Some(future.clone_ref(py)), (code, detail)),
        Resolution::Head(head) => set_result(py, Some(future.clone_ref(py)), Head::new(py, *head)),
        Resolution::Ended => set_result(py, Some(future.clone_ref(py)), true),
        Resolution::Paused => set_result(py, Some(future.clone_ref(py)), false),
    }
}

/// Rule 3.
pub(super) fn set_result<'py>(py: Python<'py>, future: Option<Py<PyAny>>, value: impl IntoPyObjectExt<'py>) {
    let Some(future) = future else { return };
    let done = future.call_method0(py, intern!(py, "done")).and_then(|done| done.extract::<bool>(py));
    if let (Ok(false), Ok(value)) = (done, value.into_py_any(py)) {
        let _ = future.call_method1(py, intern!(py, "set_result"), (value,));
    }
}
