#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| baton::sip::transaction::fuzz::transaction(data));
