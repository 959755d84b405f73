#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wgrelay_fuzz::dataplane::fuzz::control(bytes));
