//! See [`mica_fuzz::compression`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mica_fuzz::compression(data));
