//! What stock GameStream clients (Moonlight) speak beside the native protocol.

pub mod audio_fec;
