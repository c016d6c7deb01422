#![no_main]

#[path = "../bodies/cursor_plane.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::run(data);
});
