//! See [`mica_fuzz::fuse`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mica_fuzz::fuse(data));
