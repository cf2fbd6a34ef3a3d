//! JSON seen as text: found and replaced in place, never built into a tree and never written anew.

pub mod scan;
pub mod splice;
pub mod unescape;
pub mod validate;
