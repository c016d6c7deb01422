//! Loss protection of the native audio plane: Opus packets in, Opus packets out; no codec here.
//!
//! A packet is 5 ms. Each rides in a datagram of its own ([`datagram`]), and while the path loses
//! datagrams, as a copy in later ones too: [`send::AudioSender`] chooses which later ones from
//! what the client reports ([`redundancy`]). [`receive::AudioReceiver`] puts the packets in order,
//! drops repeats, waits as long as the measured jitter and the copies ask, and gives out one
//! packet, or the word to conceal one, each 5 ms.
//!
//! Copies rather than parity: a packet is small beside the headers around it, a copy needs one
//! arrival where parity needs several, and what a copy costs in delay is its distance alone. With
//! 80-byte packets (128 kbit/s) a datagram is about 160 bytes on the wire, and each copy adds 83.
//!
//! All of it is sans-IO and allocates nothing after construction.

pub mod layout;
pub mod datagram;
pub mod microphone;
pub mod receive;
pub mod redundancy;
pub mod send;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use datagram::{AudioDatagram, AudioDatagramError, AudioReport};
pub use layout::{CHANNELS_MAX, OpusLayout, Quality, SAMPLE_RATE, Speakers};
pub use microphone::{MicrophoneReceiver, MicrophoneSender};
pub use receive::{AudioReceiver, AudioReceiverStats, ConcealReason, Playout};
pub use send::{AudioSendError, AudioSender};

/// What a packet plays for: Opus at 48 kHz in packets of 240 samples.
pub const PACKET_INTERVAL: Duration = Duration::from_millis(5);

/// An audio datagram, bytes: what a QUIC DATAGRAM frame holds in the smallest UDP payload that
/// every QUIC path carries, 1200 (RFC 9000 section 14), less the short header (1, a connection id
/// of up to 20, a packet number of up to 4), the AEAD tag (16) and the frame's type and length (3).
pub const AUDIO_DATAGRAM_BYTES_MAX: usize = 1200 - (1 + 20 + 4) - 16 - 3;
/// An Opus packet, bytes: 1.6 Mbit/s at 5 ms, twice what eight channels of 100 kbit/s need.
pub const PACKET_BYTES_MAX: usize = 1024;
/// Most copies of earlier packets in a datagram.
pub const COPIES_MAX: usize = 3;
/// Farthest copy, packets: 40 ms, the most delay that redundancy may add.
pub const DISTANCE_MAX: u8 = 8;
const _: () = assert!(
    datagram::HEADER_BYTES + PACKET_BYTES_MAX <= AUDIO_DATAGRAM_BYTES_MAX,
    "the largest packet fits by itself"
);
