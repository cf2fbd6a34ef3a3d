//! A response cut differently is the same response.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| sluicegate::http1::seen::agree_however_cut(input));
