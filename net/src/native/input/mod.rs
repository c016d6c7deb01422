//! The input plane: what a person does at the client, by QUIC DATAGRAM and by the control stream.
//!
//! Datagrams make input fast, the stream makes it certain. Both carry the same *packets*, and the
//! receiver applies whichever copy of a thing comes first:
//!
//! * The **log** holds what must neither be lost nor change its order (keys, buttons, text,
//!   contacts, a controller's buttons). Its events are numbered. A datagram carries the newest of
//!   them again for [`REPEAT_FOR`], the stream carries each once. A receiver that misses one waits
//!   for it, at worst as long as QUIC takes to repeat the stream's packet.
//! * The **snapshot** is the pointer: how far it has moved and the wheels have turned *since the
//!   session began*, and where it was last put. A lost datagram costs nothing once the next comes.
//! * **Loose** events (sticks, motion sensors, moving contacts) are worth nothing once there is a
//!   newer one of the same kind: the newest of each is in every datagram until it is settled.
//!
//! Snapshot and loose events count only in a packet that is newer than every one before. Once the
//! pointer rests for [`SETTLE_AFTER`] the stream tells the snapshot too, and a loose event that
//! has not changed for so long goes into the log: no stick stays bent because the last datagram
//! was lost. If the stream takes nothing for so long that the log is
//! full, it is replaced by the **state**: which keys and buttons are down.
//!
//! Order within a packet: state, snapshot (placed first, then moved), loose, log. A motion that
//! follows a transition therefore goes into a packet of its own. Where the packet before it is
//! lost, the click that comes with the next one is made where the pointer is by then.
//!
//! | offset | size | field |
//! |---:|---:|---|
//! | 0 | 1 | 0xC8 |
//! | 1 | 1 | flags: 1 a snapshot is there, 2 a state is there |
//! | 2 | 4 | sequence of the packet, from 1, wraps |
//! | 6 | 4 | number of the log's first event here, wraps |
//! | 10 | 1 | n, events of the log |
//! | 11 | 1 | m, loose events |
//! | 12 | 33 | state if flagged: 32 bytes with a bit for each virtual key, a byte for buttons |
//! | | 21 | snapshot if flagged: i32 right, down, vertical, horizontal; u8 times placed, wraps; u16 x, y |
//! | | | m loose events, then n of the log, as `codec.rs` tabulates them |
//!
//! Integers are little-endian; motion in the client's pixels, wheels in 1/120 notch, x and y in
//! 1/65535 of the picture.

mod codec;
mod output;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::bytes::Truncated;

pub(super) use output::CONTROLLER_AT;
pub use output::{OUTPUT_BYTES, OUTPUT_DATAGRAM, OutputReceiver, OutputSender};
pub use receive::{InputReceiver, ReceiverStats};
pub use send::{InputSender, SenderStats};

/// First byte of an input datagram inside QUIC DATAGRAM.
pub const INPUT_DATAGRAM: u8 = 0xC8;
/// Largest packet: what a QUIC packet of 1200 bytes carries beside its own framing (RFC 9221
/// leaves 1200 - 1 - 20 - 4 - 16 - 3), with some to spare.
pub const PACKET_BYTES_MAX: usize = 1100;
/// Header of a packet.
pub const HEADER_BYTES: usize = 12;
/// A snapshot.
const SNAPSHOT_BYTES: usize = 21;
/// A state.
const STATE_BYTES: usize = 33;
/// The longest event: text with its kind and length.
pub const EVENT_BYTES_MAX: usize = 2 + crate::input::TEXT_BYTES_MAX;
/// Most loose events at once. Sixteen sticks and ten fingers, rarely motion sensors beside; what
/// finds no room goes into the log.
pub const LOOSE_MAX: usize = 26;
const LOOSE_BYTES_MAX: usize = 18;
/// Most events of the log in a packet.
pub const LOG_EVENTS_PER_PACKET_MAX: usize = 16;
const _: () = assert!(
    HEADER_BYTES
        + STATE_BYTES
        + SNAPSHOT_BYTES
        + LOOSE_MAX * LOOSE_BYTES_MAX
        + LOG_EVENTS_PER_PACKET_MAX * EVENT_BYTES_MAX
        <= PACKET_BYTES_MAX
);
/// Most events of the log that the stream has not taken. A keyboard gives 100 transitions a second
/// when hammered on, so this is seconds of a stream that stands still.
pub const LOG_MAX: usize = 256;

/// Datagrams repeat an event of the log for this long.
pub const REPEAT_FOR: Duration = Duration::from_millis(60);
/// After a transition the datagram is repeated at these times even if nothing else happens: one
/// lost datagram then costs milliseconds and not the stream's round trips.
pub const REPEATS: [Duration; 2] = [Duration::from_millis(4), Duration::from_millis(16)];
/// So long after the last change the stream says where everything has come to rest.
pub const SETTLE_AFTER: Duration = Duration::from_millis(50);

/// An input packet is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// It ends too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// A number is outside what the protocol allows.
    #[error("{field} {value} is outside what the input plane allows")]
    Value {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u32,
    },
    /// There is more than was announced.
    #[error("{bytes} bytes follow the input packet's end")]
    Excess {
        /// How many.
        bytes: usize,
    },
}

/// Where the pointer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Snapshot {
    /// Right, down, vertical wheel, horizontal wheel, since the session began; they wrap.
    totals: [i32; 4],
    /// How often it was put somewhere; wraps.
    placements: u8,
    /// Where it was put last.
    position: (u16, u16),
}

/// True if `a` comes after `b` on a circle of 2^32 (RFC 1982 section 3.2).
const fn is_after(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}

/// Keys and buttons that are down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// A bit for each virtual key.
    pub keys: [u8; 32],
    /// A bit for each button, in the order of [`crate::input::PointerButton`].
    pub buttons: u8,
}

impl Held {
    /// Nothing is down.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// True if the key is down.
    #[must_use]
    pub const fn has_key(&self, virtual_key: u8) -> bool {
        self.keys[virtual_key as usize / 8] & 1 << (virtual_key % 8) != 0
    }

    const fn set_key(&mut self, virtual_key: u8, pressed: bool) {
        let bit = 1 << (virtual_key % 8);
        if pressed {
            self.keys[virtual_key as usize / 8] |= bit;
        } else {
            self.keys[virtual_key as usize / 8] &= !bit;
        }
    }

    /// Notes a transition.
    pub const fn note(&mut self, event: &crate::input::InputEvent) {
        match event {
            crate::input::InputEvent::Key(key) => self.set_key(key.virtual_key, key.pressed),
            crate::input::InputEvent::PointerButton { button, pressed } => {
                let bit = 1 << codec::button_to_wire(*button);
                if *pressed {
                    self.buttons |= bit;
                } else {
                    self.buttons &= !bit;
                }
            }
            _ => {}
        }
    }
}
