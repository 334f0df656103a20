//! The wire, for any text.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| paseo_fuzz::frames(data));
