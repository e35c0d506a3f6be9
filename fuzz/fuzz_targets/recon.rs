//! See [`mica_fuzz::recon`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mica_fuzz::recon(data));
