//! The laws of every machine, for any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| paseo_fuzz::machines(data));
