//! Where a worker's spool grows: what a request leaves is appended here by the call that makes it.
//!
//! Rules of this file:
//!
//! - What a spool promises, and all that is rare, is `ledger/spool.py`'s. A record that cannot simply be appended is left
//!   to it as if it had never been tried: ends wait for the disk, the segment is full, there is no room, the disk took
//!   none of it or not all.
//! - A write that was short is cut back at once, so that the next record starts where a record starts.
//! - The interpreter is kept while a record is written. That takes 0.75 us, and a thread that got it in between may keep
//!   it for 5 ms.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Result, Write};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The segment that a spool is at, and how much of the spool may be used.
#[pyclass(frozen, module = "sluicegate._native")]
pub struct Tail {
    state: Mutex<State>,
}

struct State {
    size: u64,
    segment: u64,
    reserved: u64,
    file: Option<File>,
    offset: u64,
    /// Half a record stands behind the offset.
    torn: bool,
    others: u64,
    sequence: u64,
    open: u64,
    waits: bool,
}

#[pymethods]
impl Tail {
    /// Of a spool of `size` bytes in segments of `segment`, which keeps `reserved` free for each end to come.
    #[new]
    #[pyo3(signature = (*, size, segment, reserved))]
    fn new(size: u64, segment: u64, reserved: u64) -> Self {
        let state = State {
            size,
            segment,
            reserved,
            file: None,
            offset: 0,
            torn: false,
            others: 0,
            sequence: 0,
            open: 0,
            waits: false,
        };
        Self { state: Mutex::new(state) }
    }

    /// Goes on in a new file; the descriptor of the one before, which is the caller's to close, or -1.
    #[pyo3(signature = (path, /))]
    fn begin(&self, py: Python<'_>, path: PathBuf) -> PyResult<i32> {
        let made = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path);
        let made = made.map_err(|error| raised(py, &error))?;
        let mut state = self.state();
        let before = state.file.replace(made);
        (state.offset, state.torn) = (0, false);
        Ok(descriptor(before))
    }

    /// Lets go of the file; its descriptor, which is the caller's to close, or -1.
    fn end(&self) -> i32 {
        descriptor(self.state().file.take())
    }

    /// Appends a record. Raises `OSError`, and then nothing was.
    #[pyo3(signature = (record, /))]
    fn append(&self, py: Python<'_>, record: &[u8]) -> PyResult<()> {
        let done = self.state().append(record); // the lock is free again: what follows is Python
        done.map_err(|error| raised(py, &error))
    }

    #[pyo3(signature = (length, /))]
    fn fits(&self, length: u64) -> bool {
        self.state().fits(length)
    }

    #[pyo3(signature = (length, /))]
    fn has_room(&self, length: u64) -> bool {
        self.state().has_room(length)
    }

    fn next_sequence(&self) -> u64 {
        let mut state = self.state();
        state.sequence += 1;
        state.sequence
    }

    #[getter]
    fn descriptor(&self) -> i32 {
        self.state().file.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    #[getter]
    fn offset(&self) -> u64 {
        self.state().offset
    }

    #[getter]
    fn others(&self) -> u64 {
        self.state().others
    }

    #[setter]
    fn set_others(&self, bytes: u64) {
        self.state().others = bytes;
    }

    #[getter]
    fn open(&self) -> u64 {
        self.state().open
    }

    #[setter]
    fn set_open(&self, open: i64) {
        self.state().open = u64::try_from(open).unwrap_or(0);
    }

    #[getter]
    fn waits(&self) -> bool {
        self.state().waits
    }

    #[setter]
    fn set_waits(&self, waits: bool) {
        self.state().waits = waits;
    }
}

impl Tail {
    /// Appends an admission, whose record is made for its sequence; gives that, or none: it is Python's to do.
    pub(super) fn admit(&self, record: impl FnOnce(u64) -> Vec<u8>) -> Option<u64> {
        let mut state = self.state();
        let sequence = state.sequence + 1;
        let record = record(sequence);
        if !state.has_room(record.len() as u64) || !state.takes(&record) {
            return None;
        }
        state.sequence = sequence;
        state.open += 1;
        Some(sequence)
    }

    /// Appends an end; if it could not be, it is Python's to do.
    pub(super) fn finish(&self, record: &[u8]) -> bool {
        let mut state = self.state();
        let taken = state.takes(record);
        if taken {
            state.open = state.open.saturating_sub(1);
        }
        taken
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fits(&self, length: u64) -> bool {
        !self.torn && self.offset + length <= self.segment
    }

    fn has_room(&self, length: u64) -> bool {
        self.others + self.offset + length + self.reserved * (self.open + 1) <= self.size
    }

    /// Appends a record if nothing has to be done first.
    fn takes(&mut self, record: &[u8]) -> bool {
        !self.waits && self.fits(record.len() as u64) && self.append(record).is_ok()
    }

    fn append(&mut self, record: &[u8]) -> Result<()> {
        let file = self.file.as_mut().ok_or(ErrorKind::NotConnected)?;
        let written = loop {
            match file.write(record) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => break done?,
            }
        };
        if written < record.len() {
            self.torn = file.set_len(self.offset).is_err();
            return Err(ErrorKind::WriteZero.into());
        }
        self.offset += written as u64;
        Ok(())
    }
}

fn descriptor(file: Option<File>) -> i32 {
    file.map_or(-1, IntoRawFd::into_raw_fd)
}

/// As Python says it: by its number, which makes the class and the words.
fn raised(py: Python<'_>, error: &Error) -> PyErr {
    let Some(number) = error.raw_os_error() else { return PyOSError::new_err(error.to_string()) };
    let words = py.import("os").and_then(|os| os.call_method1("strerror", (number,))).map(Bound::unbind);
    words.map_or_else(|error| error, |words| PyOSError::new_err((number, words)))
}
