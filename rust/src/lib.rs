//! The hot path of Sluicegate: everything that interprets bytes.
//!
//! # Layout
//!
//! - [`dialect`]: what an event means: commit, content, finish, error, usage.
//! - [`http1`]: a request head out, one response in.
//! - [`json`]: members of JSON text found and replaced in place, without building a tree.
//! - [`metrics`]: counters and histograms as fixed arrays of atomics, and their Prometheus text.
//! - [`request`]: what a request body asks, and the few places of it that may change.
//! - [`sse`]: WHATWG event streams, cut into events as bytes.
//! - [`tls`]: rustls, fed and drained by hand.
//!
//! Nothing here does I/O, reads a clock or knows Python, but for `python/`, the seam to asyncio.

#[cfg(test)]
mod corpus;
pub mod dialect;
pub mod http1;
pub mod json;
pub mod metrics;
#[cfg(feature = "python")]
pub mod python;
pub mod request;
pub mod sse;
pub mod tls;
