//! Fuzzes `tidepool_proxy::fuzzing::range`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidepool_proxy::fuzzing::range(data));
