//! The control stream's messages: sealed and opened ([`ControlCipher`]), and typed both ways
//! ([`FromClient`], [`ToClient`]). ENet carries them ([`super::enet`]).
//!
//! A message on the wire, little-endian (client: `ControlStream.c` of moonlight-common-c):
//!
//! | offset | size | field |
//! |---:|---:|---|
//! | 0 | 2 | 1: encrypted |
//! | 2 | 2 | length of everything behind this field |
//! | 4 | 4 | sequence, each sender's own, from 0 |
//! | 8 | 16 | tag |
//! | 24 | 2 | type (encrypted from here on, AES-128-GCM under the client's key) |
//! | 26 | 2 | length of the payload |
//! | 28 | … | payload |
//!
//! The nonce has 12 bytes: the sequence, zeros, "C" or "H" for who sends, "C". Clients that do
//! not know that take 16 bytes, the lowest byte of the sequence and zeros. Messages come on many
//! ENet channels, so sequences are out of order; each is taken once, within a window.

mod cipher;
mod messages;
#[cfg(test)]
mod tests;

pub use cipher::{ControlCipher, ControlError, NonceKind, Opened};
pub use messages::{
    AdaptiveTrigger, EndReason, FromClient, HdrMetadata, LossStats, MessageError, MotionKind,
    TO_CLIENT_BYTES_MAX, ToClient,
};

/// What goes before the payload of a sealed message.
pub const HEAD_BYTES: usize = 28;
/// Largest message taken, bytes: clients build theirs in a buffer of 256.
pub const MESSAGE_BYTES_MAX: usize = 512;
