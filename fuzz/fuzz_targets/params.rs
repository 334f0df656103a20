//! The arguments of every operation, for any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| paseo_fuzz::params(data));
