#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zkd_fuzz::quorum(bytes));
