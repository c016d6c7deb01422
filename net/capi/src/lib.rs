//! `libpunktfunk`: the native client behind a C ABI, for programs that bring their own decoder,
//! window and sound device. What the functions do stands in `include/punktfunk.h`, which is
//! generated from [`ffi`] and [`types`]; what crosses the wire in `net/PROTOCOL.md`.
//!
//! Rules of the border:
//! * Every function catches panics and answers with a [`status::PunktfunkStatus`]; the text of a
//!   thread's last failure is its own ([`ffi`]).
//! * Every structure begins with its size as the caller compiled it and only ever grows at its end
//!   ([`ffi`] says what becomes of the rest).
//! * A status or constant keeps its number for ever: `numbers.txt` lists them, a test compares.
//! * The session may be used from any number of threads; [`session`] says how.

pub mod types;
pub mod status;
pub mod options;
pub mod events;
pub mod session;
pub mod ffi;
