//! What is let through to ENet: datagrams whose every command is whole and such as a client
//! sends.
//!
//! A datagram is a header of 2 bytes (peer and flags, big-endian), 2 more with its time if the
//! highest bit is set, then commands: type and flags, channel, sequence (2), fields, data
//! (`enet/protocol.h`). Kept out, although ENet knows them:
//!
//! - fragments: no message of a client needs one, and they make ENet allocate what they announce;
//! - compressed datagrams, and answers to connections that this host never opens;
//! - connections without the connect data of a session;
//! - messages shorter than an encrypted one: empty ones would be queued without counting.

use super::{CHANNELS, PEERS_MAX};
use crate::gamestream::control::{HEAD_BYTES, MESSAGE_BYTES_MAX};

/// Largest datagram that clients of ENet make by default is 1392 bytes.
pub const DATAGRAM_BYTES_MAX: usize = 1400;
/// Who is not connected yet calls itself this.
const STRANGER: u16 = 0xfff;
/// The command that names what came, and when it was sent.
const ACKNOWLEDGE: u8 = 1;
/// Most commands in a datagram.
const COMMANDS_MAX: usize = 32;

/// Why a datagram is kept from ENet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It ends within its header or a command, or is too long, or has nothing in it.
    #[error("a control datagram of {bytes} bytes whose lengths disagree")]
    Length {
        /// Its size.
        bytes: usize,
    },
    /// It names a peer that cannot be.
    #[error("a control datagram of peer {peer}, which cannot be")]
    Peer {
        /// The peer.
        peer: u16,
    },
    /// A command that no client sends.
    #[error("a control datagram with command {command}, which no client sends")]
    Command {
        /// Its number.
        command: u8,
    },
    /// A channel that no client opens.
    #[error("a control datagram for channel {channel}: there are {CHANNELS}")]
    Channel {
        /// The channel.
        channel: u8,
    },
    /// Somebody without a session.
    #[error("a control connection with data {data:#x}, which belongs to no session")]
    Stranger {
        /// What it connects with.
        data: u32,
    },
}

/// What is known of a datagram that is let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// The place of the peer that it names, if it is connected.
    pub peer: Option<usize>,
    /// When the last datagram that it acknowledges was sent, ms modulo 2¹⁶ by ENet's clock here.
    pub acknowledged_ms: Option<u16>,
}

/// Looks through a datagram; `expected` is the connect data of sessions.
///
/// # Errors
/// [`Refused`].
pub fn screen(datagram: &[u8], expected: &[u32]) -> Result<Passed, Refused> {
    let bytes = datagram.len();
    let wrong = Refused::Length { bytes };
    if bytes > DATAGRAM_BYTES_MAX {
        return Err(wrong);
    }
    let (head, rest) = datagram.split_first_chunk::<2>().ok_or(wrong)?;
    let head = u16::from_be_bytes(*head);
    let peer = head & 0xfff;
    let is_compressed = head & 0x4000 != 0;
    if is_compressed || peer != STRANGER && usize::from(peer) >= PEERS_MAX {
        return Err(Refused::Peer { peer });
    }
    let time_bytes = if head & 0x8000 != 0 { 2 } else { 0 };
    let mut rest = rest.get(time_bytes..).ok_or(wrong)?;
    if rest.is_empty() {
        return Err(wrong);
    }
    let mut passed = Passed {
        peer: (peer != STRANGER).then_some(usize::from(peer)),
        acknowledged_ms: None,
    };
    for _ in 0..COMMANDS_MAX {
        let (command, after) = rest.split_at_checked(4).ok_or(wrong)?;
        let used = one(command, after, peer, expected)?;
        if command[0] & 0xf == ACKNOWLEDGE
            && let Some(&[_, _, high, low]) = after.first_chunk::<4>()
        {
            passed.acknowledged_ms = Some(u16::from_be_bytes([high, low]));
        }
        rest = after.get(used..).ok_or(wrong)?;
        if rest.is_empty() {
            return Ok(passed);
        }
    }
    Err(wrong)
}

/// Bytes that a command has after its own header.
fn one(command: &[u8], after: &[u8], peer: u16, expected: &[u32]) -> Result<usize, Refused> {
    let (number, channel) = (command[0] & 0xf, command[1]);
    let short = Refused::Length { bytes: after.len() };
    let refused = Refused::Command { command: number };
    if (peer == STRANGER) != (number == 2) {
        return Err(refused);
    }
    let is_data = matches!(number, 6 | 7 | 9);
    if is_data && usize::from(channel) >= CHANNELS {
        return Err(Refused::Channel { channel });
    }
    // Acknowledgements name the channel of what they acknowledge, control commands 255.
    if !is_data && channel != u8::MAX && usize::from(channel) >= CHANNELS {
        return Err(Refused::Channel { channel });
    }
    let fields = match number {
        ACKNOWLEDGE => 4,
        2 => 44,
        4 => 4,
        5 => 0,
        6 => 2,
        7 | 9 => 4,
        10 => 8,
        11 => 12,
        _ => return Err(refused),
    };
    let Some((fields, _)) = after.split_at_checked(fields) else {
        return Err(short);
    };
    match number {
        2 => {
            let word = |at: usize| {
                let bytes = [fields[at], fields[at + 1], fields[at + 2], fields[at + 3]];
                u32::from_be_bytes(bytes)
            };
            let (channels, data) = (word(12), word(40));
            if !(1..=255).contains(&channels) {
                return Err(refused);
            }
            if !expected.contains(&data) {
                return Err(Refused::Stranger { data });
            }
            Ok(fields.len())
        }
        6 | 7 | 9 => {
            let [.., high, low] = fields else {
                return Err(short);
            };
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if !(HEAD_BYTES..=MESSAGE_BYTES_MAX).contains(&length) {
                return Err(Refused::Length { bytes: length });
            }
            Ok(fields.len() + length)
        }
        _ => Ok(fields.len()),
    }
}
