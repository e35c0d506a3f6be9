//! See [`mica_fuzz::image`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mica_fuzz::image(data));
