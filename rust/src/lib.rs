//! The hot path of Sluicegate: everything that interprets bytes.
//!
//! # Layout
//!
//! - [`json`]: members of JSON text found and replaced in place, without building a tree.
//! - [`sse`]: WHATWG event streams, cut into events as bytes.
//!
//! Nothing here does I/O, reads a clock or knows Python, but for `python/`, the seam to asyncio.

#[cfg(test)]
mod corpus;
pub mod json;
pub mod sse;
