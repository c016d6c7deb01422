#![no_main]

#[path = "../bodies/clock_echo.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
