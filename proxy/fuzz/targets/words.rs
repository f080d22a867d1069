//! Fuzzes `tidepool_proxy::fuzzing::words`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidepool_proxy::fuzzing::words(data));
