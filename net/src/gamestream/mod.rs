//! What stock GameStream clients (Moonlight) speak beside the native protocol.

pub mod http;
pub mod xml;
pub mod nvhttp;
pub mod pairing;
pub mod audio;
pub mod audio_fec;
pub mod client_model;
pub mod control;
pub mod enet;
pub mod input;
pub mod ping;
pub mod reports;
pub mod rate;
pub mod rtsp;
pub mod sdp;
mod sys;
pub mod video;
