//! Memory that Python lends: a bank's cells in a mapping that other processes see too.
//!
//! The one file of the crate with `unsafe`: no safe way leads from a buffer of Python's to atomics, and without memory
//! that outlives a process, what one that was killed has counted would be lost.
#![allow(unsafe_code)]

use std::ops::Deref;
use std::slice;
use std::sync::atomic::AtomicU64;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// A writable, contiguous, aligned buffer of Python's, kept for as long as this lives.
pub struct Lent {
    buffer: PyBuffer<u8>,
}

impl Lent {
    /// Raises `BufferError` for what has no buffer, `ValueError` for one that cannot hold cells.
    pub fn new(owner: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = PyBuffer::get(owner)?;
        let aligned = buffer.buf_ptr().cast::<AtomicU64>().is_aligned();
        if buffer.readonly() || !buffer.is_c_contiguous() || !aligned {
            return Err(PyValueError::new_err("a bank's memory must be writable, contiguous and aligned"));
        }
        Ok(Self { buffer })
    }
}

impl Deref for Lent {
    type Target = [AtomicU64];

    fn deref(&self) -> &Self::Target {
        let cells = self.buffer.len_bytes() / size_of::<AtomicU64>();
        // SAFETY: the exporter keeps the memory in place while the buffer is held (`mmap` refuses to close or resize),
        // `new` has seen that it is writable, contiguous and aligned, and `cells` whole cells fit into it. Any bytes
        // are a valid AtomicU64, and whoever shares the mapping changes it by atomics alone, as this process does:
        // banks are the only users of a mapping made for one.
        unsafe { slice::from_raw_parts(self.buffer.buf_ptr().cast::<AtomicU64>(), cells) }
    }
}
