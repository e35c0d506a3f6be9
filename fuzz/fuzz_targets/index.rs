//! See [`mica_fuzz::index`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mica_fuzz::index(data));
