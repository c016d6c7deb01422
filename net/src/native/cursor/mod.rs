//! The cursor plane: what the pointer looks like and where it is, from host to client, so that the
//! client draws it without waiting for a picture.
//!
//! * A **shape** goes on the stream, in parts of whole rows ([`ShapePart`]), once: the client keeps
//!   it at a place that the host names, and from then on its number is enough. The host keeps the
//!   book: what it has not named for the longest time gives its place to the next shape.
//! * The **state** ([`CursorState`]: visibility, position, which shape) goes as QUIC DATAGRAM at
//!   once, at most every [`DATAGRAM_INTERVAL`]; of those the newest sequence counts. The same
//!   packet goes on the stream for certain: at once where visibility or shape have changed, after
//!   the parts of that shape, else [`SETTLE_AFTER`] after the last change.
//!
//! | part of a shape, offset | size | field | | state, offset | size | field |
//! |---:|---:|---|---|---:|---:|---|
//! | 0 | 4 | number, not 0 | | 0 | 1 | 0xCD |
//! | 4 | 1 | place, below 16 | | 1 | 1 | visibility |
//! | 5 | 1 | ignored | | 2 | 4 | sequence, from 1, wraps |
//! | 6 | 2 | width, pixels | | 6 | 4 | number of the shape; 0 for none |
//! | 8 | 2 | height, pixels | | 10 | 4 | i32 x, pixels |
//! | 10 | 2 | hotspot from the left | | 14 | 4 | i32 y, pixels |
//! | 12 | 2 | hotspot from the top | | 18 | 2 | width of the output, pixels |
//! | 14 | 2 | first row here | | 20 | 2 | height of the output, pixels |
//! | 16 | 2 | rows n, at least 1 | | 22 | 4 | changed, µs of the host's clock, modulo 2^32 |
//! | 18 | 4 · width · n | B, G, R, A | | | | |

mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::bytes::{Reader, Writer};
use crate::cursor::{PIXEL_BYTES, Pointer, ShapeError, ShapeLayout, Visibility};
use crate::limits::{CURSOR_PART_BYTES_MAX, CURSOR_SHAPES_MAX, CURSOR_SIDE_PX_MAX};
use crate::media::CaptureMicros;

use super::messages::MessageError;

pub use receive::{CursorReceiver, CursorReceiverStats, SeenCursor};
pub use send::{CursorMessage, CursorSender};

/// First byte of a state inside QUIC DATAGRAM.
pub const CURSOR_DATAGRAM: u8 = 0xCD;
/// Size of a state.
pub const STATE_BYTES: usize = 26;
/// What a part holds before its pixels.
const PART_HEADER_BYTES: usize = 18;
/// A part with its pixels at most.
pub const PART_BYTES_MAX: usize = PART_HEADER_BYTES + CURSOR_PART_BYTES_MAX;
/// Between two datagrams at least: twice as often as the fastest usual display shows a picture. A
/// mouse that reports a thousand times a second costs no more.
pub const DATAGRAM_INTERVAL: Duration = Duration::from_millis(2);
/// A position that has not changed for so long is told by the stream, too. As with input.
pub const SETTLE_AFTER: Duration = Duration::from_millis(50);

const _: () = assert!(CURSOR_SHAPES_MAX <= u8::MAX as usize);
const _: () = assert!(CURSOR_SIDE_PX_MAX as usize * PIXEL_BYTES <= CURSOR_PART_BYTES_MAX);

/// Visibility, position and shape, as a packet tells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CursorState {
    /// Newer ones count.
    pub sequence: u32,
    /// Number of its shape; 0 for none.
    pub shape: u32,
    /// Where it is.
    pub pointer: Pointer,
    /// When it came to be so, on the host's clock.
    pub changed: CaptureMicros,
}

impl CursorState {
    /// The packet, for both of its ways.
    #[must_use]
    pub fn packet(&self) -> [u8; STATE_BYTES] {
        let mut packet = [0; STATE_BYTES];
        let Pointer {
            visibility,
            x,
            y,
            output: (width, height),
        } = self.pointer;
        packet[0] = CURSOR_DATAGRAM;
        packet[1] = match visibility {
            Visibility::Hidden => 0,
            Visibility::Shown => 1,
            Visibility::Painted => 2,
        };
        packet[2..6].copy_from_slice(&self.sequence.to_le_bytes());
        packet[6..10].copy_from_slice(&self.shape.to_le_bytes());
        packet[10..14].copy_from_slice(&x.to_le_bytes());
        packet[14..18].copy_from_slice(&y.to_le_bytes());
        packet[18..20].copy_from_slice(&width.to_le_bytes());
        packet[20..22].copy_from_slice(&height.to_le_bytes());
        packet[22..26].copy_from_slice(&self.changed.0.to_le_bytes());
        packet
    }

    /// Reads a packet; what follows its last field is ignored.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        let r = &mut Reader::new(bytes);
        let kind = r.u8()?;
        if kind != CURSOR_DATAGRAM {
            return Err(value("kind of packet", kind));
        }
        let visibility = match r.u8()? {
            1 => Visibility::Shown,
            2 => Visibility::Painted,
            // What a later version means by others: nothing for this one to draw.
            _ => Visibility::Hidden,
        };
        let (sequence, shape) = (r.u32()?, r.u32()?);
        let (x, y) = (r.u32()?.cast_signed(), r.u32()?.cast_signed());
        Ok(Self {
            sequence,
            shape,
            pointer: Pointer {
                visibility,
                x,
                y,
                output: (r.u16()?, r.u16()?),
            },
            changed: CaptureMicros(r.u32()?),
        })
    }
}

/// Some rows of a shape, from the top down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapePart {
    /// Names the shape; not 0.
    pub number: u32,
    /// Where the client keeps it; what was there is forgotten with the first part.
    pub place: u8,
    /// Sides and hotspot.
    pub layout: ShapeLayout,
    /// The first row here; 0 begins the shape.
    pub first_row: u16,
    /// Whole rows, one at least.
    pub pixels: Vec<u8>,
}

impl ShapePart {
    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        let (hotspot_x, hotspot_y) = self.layout.hotspot();
        writer.u32(self.number);
        writer.u8(self.place);
        writer.u8(0);
        writer.u16(self.layout.width());
        writer.u16(self.layout.height());
        writer.u16(hotspot_x);
        writer.u16(hotspot_y);
        writer.u16(self.first_row);
        writer.u16((self.pixels.len() / self.layout.row_bytes()) as u16);
        writer.bytes(&self.pixels);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, MessageError> {
        let number = r.u32()?;
        if number == 0 {
            return Err(value("number of a cursor's shape", 0_u8));
        }
        let place = r.u8()?;
        if usize::from(place) >= CURSOR_SHAPES_MAX {
            return Err(value("place of a cursor's shape", place));
        }
        r.u8()?;
        let (width, height) = (r.u16()?, r.u16()?);
        let layout = ShapeLayout::new(width, height, (r.u16()?, r.u16()?))?;
        let (first_row, rows) = (r.u16()?, r.u16()?);
        let bytes = layout.row_bytes() * usize::from(rows);
        if rows == 0 || bytes > CURSOR_PART_BYTES_MAX {
            return Err(value("number of a cursor's rows", rows));
        }
        if first_row.checked_add(rows).is_none_or(|end| end > height) {
            return Err(value("first row of a cursor", first_row));
        }
        Ok(Self {
            number,
            place,
            layout,
            first_row,
            pixels: r.take(bytes)?.to_vec(),
        })
    }
}

fn value(field: &'static str, value: impl Into<u64>) -> MessageError {
    MessageError::Value {
        field,
        value: value.into(),
    }
}

impl From<ShapeError> for MessageError {
    fn from(error: ShapeError) -> Self {
        match error {
            ShapeError::Size { width, height } => value("size of a cursor", width.max(height)),
            ShapeError::Hotspot { x, .. } => value("hotspot of a cursor", x),
            ShapeError::Pixels { found, .. } => value("bytes of a cursor", found as u64),
        }
    }
}

/// True if `a` comes after `b` on a circle of 2^32 (RFC 1982 section 3.2).
const fn is_after(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}
