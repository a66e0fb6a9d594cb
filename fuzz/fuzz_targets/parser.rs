#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| baton::sip::message::fuzz::parser(data));
