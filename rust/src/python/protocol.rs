//! A connection to an upstream as an asyncio protocol: the only code that runs for each read.
//!
//! Rules of the seam (docs/ARCHITECTURE.md says how each was provoked):
//!
//! 1. The state sits behind a mutex that no panic poisons for good; nothing of Python is called while it is held.
//!    A callback feeds the core, takes what is to be done, unlocks, and then does it. What comes back meanwhile
//!    (`pause_writing` of one's own write) finds the lock free.
//! 2. No callback raises. A panic costs this connection: it is closed and its future resolves.
//! 3. Futures get a result, never `cancel()`, and only if they are not done.
//! 4. A failing write to the client means that the client left, and never blames the upstream.

use super::outcome::Outcome;
use super::plan::{Plan, TlsConfig};
use super::request::Segments;
use super::seat::{resolve, set_result, Seat, Sink, Todo, Transport};
use super::world::World;
use crate::connection::{Actions, Connection as Core, Resolution};
use crate::http1;
use crate::plan::{End, Micros};
use crate::tls::Tls;
use crate::upload::Upload;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::{intern, PyTraverseError, PyVisit};
use std::cell::RefCell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Above this the client's transport counts as full; aiohttp is told the same number.
const HIGH_WATER: usize = 64 * 1024;

thread_local! {
    /// Shared by all connections of a loop, so that an idle stream holds no buffer.
    static ACTIONS: RefCell<Actions> = RefCell::new(Actions::default());
}

/// One connection to an upstream.
#[pyclass(frozen, weakref, module = "sluicegate._native")]
pub struct Connection {
    seat: Mutex<Seat>,
    world: Py<World>,
}

#[pymethods]
impl Connection {
    /// `tls` and `server_name` for an encrypted one. Raises `ValueError` for a name no certificate can be for.
    #[new]
    #[pyo3(signature = (world, tls=None, server_name=""))]
    fn new(world: Py<World>, tls: Option<&TlsConfig>, server_name: &str) -> PyResult<Self> {
        let tls = tls
            .map(|config| Tls::new(config.shared(), server_name))
            .transpose()
            .map_err(|error| PyValueError::new_err(error.as_str()))?;
        let seat = Seat {
            core: Core::new(tls),
            transport: None,
            client: None,
            waiting: None,
            settled: None,
            unasked: 0,
            held: 0,
        };
        Ok(Self { seat: Mutex::new(seat), world })
    }

    // --- asyncio.Protocol ---

    fn connection_made(&self, py: Python<'_>, transport: Py<PyAny>) -> PyResult<()> {
        let write = transport.getattr(py, intern!(py, "write"))?;
        self.seat().transport = Some(Transport { write, whole: transport });
        self.run(py, |core, _, actions| core.opened(actions));
        Ok(())
    }

    fn data_received(&self, py: Python<'_>, data: &[u8]) {
        self.run(py, |core, now, actions| core.received(now, data, actions));
    }

    fn eof_received(&self, py: Python<'_>) -> bool {
        self.run(py, Core::eof);
        false
    }

    #[pyo3(signature = (_exc=None))]
    fn connection_lost(&self, py: Python<'_>, _exc: Option<Py<PyAny>>) {
        self.run(py, Core::lost);
        let gone = self.seat().transport.take();
        drop(gone);
    }

    fn pause_writing(&self, py: Python<'_>) {
        self.run(py, |core, _, actions| core.writable(false, actions));
    }

    fn resume_writing(&self, py: Python<'_>) {
        self.run(py, |core, _, actions| core.writable(true, actions));
    }

    // --- the three awaitables ---

    /// A future: `None` once TCP and TLS are up, else `(code, detail)`.
    fn ready(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let future = self.wait(py)?;
        let (idle, closed, (code, detail)) = {
            let seat = self.seat();
            (seat.core.is_idle(), seat.core.is_closed(), seat.core.why_not_ready())
        };
        if idle {
            self.resolve_now(py, Resolution::Ready);
        } else if closed {
            self.resolve_now(py, Resolution::NotReady(code, detail));
        }
        Ok(future)
    }

    /// A future: the request's `Head`. `lines` are what `request_lines` gave. `total` seconds are left for the whole exchange.
    fn send(
        &self,
        py: Python<'_>,
        lines: &[u8],
        segments: &Segments,
        plan: &Plan,
        choices: u32,
        total: f64,
    ) -> PyResult<Py<PyAny>> {
        let (body, parts) = segments.parts(py);
        let mut head = Vec::with_capacity(lines.len() + 40);
        head.extend_from_slice(lines);
        http1::end_of_head(&mut head, segments.length);
        let (upload, plan) = (Upload::new(head, body, parts), plan.shared());
        let future = self.wait(py)?;
        self.run(py, |core, now, actions| {
            let left = Duration::try_from_secs_f64(total).map_or(0, |left| left.as_micros() as Micros);
            let deadline = now.saturating_add(left);
            core.begin(now, upload, plan, choices, deadline, actions);
        });
        Ok(future)
    }

    /// A future: `True` when the stream has ended, `False` when the client reads too slowly; then wait for it and call
    /// `resume`. `write` and `buffered` are bound methods of the client's transport; `framed` asks for HTTP chunks;
    /// `head` leaves in one write with what was held; it is empty if the message has begun already.
    fn relay(
        &self,
        py: Python<'_>,
        head: &[u8],
        write: Py<PyAny>,
        buffered: Py<PyAny>,
        framed: bool,
    ) -> PyResult<Py<PyAny>> {
        let future = self.wait(py)?;
        {
            let mut seat = self.seat();
            seat.client = Some(Sink { write, buffered });
            seat.unasked = 0;
        }
        self.run(py, |core, now, actions| {
            actions.client.extend_from_slice(head);
            core.open(now, framed, head.is_empty(), actions);
        });
        Ok(future)
    }

    /// The client has read: relays on. A future as of `relay`.
    fn resume(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let future = self.wait(py)?;
        self.run(py, Core::client_ready);
        Ok(future)
    }

    // --- the rest ---

    /// Nobody waits any more: no byte goes to the client from now on, and an unfinished exchange's connection is closed.
    fn detach(&self, py: Python<'_>) {
        let (client, waiting) = {
            let mut seat = self.seat();
            (seat.client.take(), seat.waiting.take())
        };
        drop((client, waiting));
        self.run(py, |core, _, actions| core.detach(actions));
    }

    /// The client left, and the upstream is read on without it: what comes is counted, and goes nowhere.
    fn forsake(&self, py: Python<'_>) {
        // Without a client yet it waits for its message to be opened, and still does.
        let Some(client) = self.seat().client.take() else { return };
        drop(client);
        self.run(py, Core::client_ready);
    }

    /// How the last stream ended, or how it stands.
    fn outcome(&self) -> Outcome {
        Outcome::new(&self.seat().core.outcome())
    }

    /// A future: `True` once the connection can take the next request, `False` if it never will.
    fn settle(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let future = self.world.get().create_future.call0(py)?;
        let (idle, closed, old) = {
            let mut seat = self.seat();
            let old = seat.settled.replace(future.clone_ref(py));
            (seat.core.is_idle(), seat.core.is_closed(), old)
        };
        drop(old);
        if idle || closed {
            let taken = self.seat().settled.take();
            set_result(py, taken, idle);
        }
        Ok(future)
    }

    /// The sweep: looks at every timer. Once a second is enough.
    fn check(&self, py: Python<'_>) {
        self.run(py, Core::check);
    }

    /// Ends the exchange with a code of `STREAM_ENDS`, told in-band. Raises `ValueError` for another code.
    fn end(&self, py: Python<'_>, code: &str) -> PyResult<()> {
        let end = End::parse(code).ok_or_else(|| PyValueError::new_err("no such end of a stream"))?;
        self.run(py, |core, now, actions| core.end(now, end, actions));
        Ok(())
    }

    /// Closes the connection at once, whatever it is doing.
    fn abort(&self, py: Python<'_>) {
        self.run(py, |core, _, actions| core.abort(actions));
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Held only by a thread in the middle of a callback; then everything is alive anyway.
        let Ok(seat) = self.seat.try_lock() else { return Ok(()) };
        for held in [&seat.waiting, &seat.settled].into_iter().flatten() {
            visit.call(held)?;
        }
        if let Some(transport) = &seat.transport {
            visit.call(&transport.write)?;
            visit.call(&transport.whole)?;
        }
        if let Some(client) = &seat.client {
            visit.call(&client.write)?;
            visit.call(&client.buffered)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let gone = {
            let mut seat = self.seat();
            (seat.transport.take(), seat.client.take(), seat.waiting.take(), seat.settled.take())
        };
        drop(gone);
    }

    /// A stream has begun, and nothing of it is the client's yet.
    #[getter]
    fn answering(&self) -> bool {
        self.seat().core.is_answering()
    }

    /// It can take a request.
    #[getter]
    fn idle(&self) -> bool {
        self.seat().core.is_idle()
    }

    /// It will never take a request again.
    #[getter]
    fn closed(&self) -> bool {
        self.seat().core.is_closed()
    }
}

impl Connection {
    fn seat(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let future = self.world.get().create_future.call0(py)?;
        let old = self.seat().waiting.replace(future.clone_ref(py));
        match old {
            None => Ok(future),
            Some(_) => Err(PyRuntimeError::new_err("the connection is waited for already")),
        }
    }

    fn resolve_now(&self, py: Python<'_>, resolution: Resolution) {
        let waiting = self.seat().waiting.take();
        if let Some(future) = waiting {
            resolve(py, &future, resolution);
        }
    }

    /// Rule 1: feed under the lock, act outside it.
    fn run(&self, py: Python<'_>, work: impl FnOnce(&mut Core, Micros, &mut Actions)) {
        let todo = self.feed(py, work);
        let mut more = self.perform(py, todo);
        while more {
            let todo = self.feed(py, |core, _, actions| core.pump(actions));
            more = self.perform(py, todo);
        }
    }

    fn feed(&self, py: Python<'_>, work: impl FnOnce(&mut Core, Micros, &mut Actions)) -> Todo {
        let world = self.world.get();
        let now = world.now();
        ACTIONS.with_borrow_mut(|actions| {
            let mut seat = self.seat();
            actions.clear();
            if catch_unwind(AssertUnwindSafe(|| work(&mut seat.core, now, actions))).is_err() {
                actions.clear();
                if catch_unwind(AssertUnwindSafe(|| seat.core.poison(actions))).is_err() {
                    actions.client.clear();
                    actions.close = true;
                }
            }
            seat.collect(py, world, actions)
        })
    }

    /// Does what is to be done; true if there is more to upload.
    fn perform(&self, py: Python<'_>, todo: Todo) -> bool {
        if let Some((write, bytes)) = todo.upstream {
            // A transport that cannot write any more says so by connection_lost.
            let _ = write.call1(py, (bytes,));
        }
        if let Some((write, bytes)) = todo.client {
            if write.call1(py, (bytes,)).is_err() {
                let gone = self.seat().client.take();
                drop(gone);
                self.run(py, |core, now, actions| core.end(now, End::ClientLeft, actions));
            }
        }
        if let Some(buffered) = todo.ask {
            let full = buffered.call0(py).and_then(|size| size.extract::<usize>(py)).is_ok_and(|n| n > HIGH_WATER);
            if full && todo.resolve.is_none() {
                self.run(py, |core, _, actions| core.client_slow(actions));
            }
        }
        if let Some((transport, method)) = todo.control {
            let _ = transport.call_method0(py, method);
        }
        if let Some(transport) = todo.close {
            let _ = transport.call_method0(py, intern!(py, "abort"));
        }
        if let Some((future, resolution)) = todo.resolve {
            resolve(py, &future, resolution);
        }
        if let Some((future, idle)) = todo.settled {
            set_result(py, Some(future), idle);
        }
        todo.more
    }
}
