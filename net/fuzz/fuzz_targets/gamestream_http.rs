#![no_main]

#[path = "../bodies/gamestream_http.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::run(data);
});
