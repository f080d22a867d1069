//! Fuzzes `tidepool_proxy::fuzzing::path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidepool_proxy::fuzzing::path(data));
