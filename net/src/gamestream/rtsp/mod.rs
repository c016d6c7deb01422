//! RTSP as GameStream clients speak it: OPTIONS, DESCRIBE, SETUP of audio, video and control,
//! ANNOUNCE, PLAY, each on a TCP connection of its own that the host closes after its answer
//! (client: `RtspConnection.c` and `RtspParser.c` of moonlight-common-c).
//!
//! [`RtspReader`] collects one request, bounded in bytes; the caller bounds it in time
//! ([`REQUEST_PATIENCE`]). [`RtspSession`] says what order is legal and what is answered:
//!
//! ```text
//!          SETUP × 3            ANNOUNCE               PLAY
//! Setup ─────────────▶ Setup ─────────────▶ Announced ──────▶ Playing
//!   OPTIONS and DESCRIBE at any time; PLAY again is answered and does nothing
//! ```
//!
//! With `rtspenc://` in the session's URL a message is 24 bytes of header (length with bit 31
//! set, sequence, both big-endian, tag of 16) and AES-128-GCM ciphertext. The nonce is the
//! sequence, little-endian, then zeros, then "C" or "H" for who sends, then "R".

mod message;
mod session;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use message::{Method, Received, Request, RtspError, RtspReader, SealedRequest};
pub use session::{AnnounceError, Ports, RtspEvent, RtspSession, RtspSessionConfig, Status, Step};

/// How long a connection may take for its request: a client sends it at once.
pub const REQUEST_PATIENCE: Duration = Duration::from_secs(5);
/// Largest request, bytes: a session description and its head.
pub const REQUEST_BYTES_MAX: usize = super::sdp::SDP_BYTES_MAX + HEAD_BYTES_MAX;
/// Largest head of a request, bytes.
pub const HEAD_BYTES_MAX: usize = 4096;
/// What goes before an encrypted message.
const SEALED_HEAD_BYTES: usize = 24;
/// Set in the length of an encrypted message; no text begins with it.
const SEALED_BIT: u32 = 1 << 31;

/// The nonce of a message.
const fn nonce(sequence: u32, sender: u8) -> [u8; 12] {
    let [a, b, c, d] = sequence.to_le_bytes();
    [a, b, c, d, 0, 0, 0, 0, 0, 0, sender, b'R']
}
