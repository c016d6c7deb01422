//! What stock GameStream clients (Moonlight) speak beside the native protocol.

pub mod http;
pub mod xml;
pub mod nvhttp;
pub mod pairing;
pub mod audio_fec;
