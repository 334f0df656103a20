//! The slots of cadences, for any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| paseo_fuzz::cadence(data));
