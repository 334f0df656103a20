//! Every provider's reading of any journal.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| paseo_fuzz::session(data));
