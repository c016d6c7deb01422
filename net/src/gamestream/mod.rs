//! What stock GameStream clients (Moonlight) speak beside the native protocol.

pub mod audio;
pub mod audio_fec;
pub mod client_model;
pub mod control;
pub mod enet;
pub mod input;
pub mod ping;
pub mod reports;
pub mod rtsp;
pub mod sdp;
mod sys;
pub mod video;
