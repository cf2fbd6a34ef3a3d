//! An upstream's bytes, cut differently, give the client the same answer.
#![no_main]

#[path = "../checks/connection.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::check(data));
