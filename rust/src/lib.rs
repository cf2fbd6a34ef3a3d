//! The hot path of Sluicegate: everything that interprets bytes.
//!
//! # Layout
//!
//! - [`json`]: members of JSON text found and replaced in place, without building a tree.
//! - [`sse`]: event streams cut into events.
//! - [`dialect`]: what an event or a whole answer means; usage.
//! - [`request`]: what a request body asks, and its splicing. [`upload`]: the request on its way up.
//! - [`http1`], [`tls`]: a request's head out, a response in; rustls fed and drained by hand.
//! - [`plan`]: what is to be done to one exchange's bytes, and how it can end. [`page`]: what is put into answers.
//! - [`relay`]: one stream from an upstream to a client. [`answer`]: one request's answer, streamed or whole.
//! - [`connection`]: one pooled socket's life.
//! - [`tariff`]: what tokens cost, and what that is in credits. [`lease`]: what of a limit may be given away.
//! - [`row`]: what is left of a request: a line of the log, a record of the spool, figures in the metrics.
//! - [`metrics`]: counters and histograms in fixed arrays, and their text.
//!
//! Nothing here does I/O, reads a clock or knows Python, but for `python/`, the seam to asyncio.

pub mod answer;
pub mod connection;
#[cfg(test)]
extern crate self as sluicegate; // the fuzzers' checks name the crate from outside

#[cfg(test)]
mod corpus;
pub mod dialect;
pub mod http1;
pub mod json;
pub mod lease;
pub mod metrics;
pub mod page;
pub mod plan;
#[cfg(feature = "python")]
pub mod python;
pub mod relay;
pub mod request;
pub mod row;
#[cfg(test)]
mod seeds;
pub mod sse;
pub mod tariff;
pub mod tls;
pub mod upload;
