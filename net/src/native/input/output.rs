//! What applications say to controllers, from host to client: by QUIC DATAGRAM and, so that no
//! motor runs on, by the control stream. Both carry the same packet; the newest counts.
//!
//! | offset | size | field |
//! |---:|---:|---|
//! | 0 | 1 | 0xCA |
//! | 1 | 1 | kind: 1 rumble; others are ignored |
//! | 2 | 4 | sequence, from 1, wraps |
//! | 6 | 1 | controller |
//! | 7 | 2 | strong motor, 1/65535 |
//! | 9 | 2 | weak motor |

use crate::bytes::Reader;
use crate::input::{CONTROLLERS_MAX, PadOutput};

use super::{InputError, is_after};

/// First byte of a datagram with a controller's output inside QUIC DATAGRAM.
pub const OUTPUT_DATAGRAM: u8 = 0xCA;
/// Size of a packet.
pub const OUTPUT_BYTES: usize = 11;
/// Where a packet names its controller.
pub(in super::super) const CONTROLLER_AT: usize = 6;
const RUMBLE: u8 = 1;

/// The host's side.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutputSender {
    sequence: u32,
}

impl OutputSender {
    /// The packet that says it.
    pub fn packet(&mut self, output: PadOutput) -> [u8; OUTPUT_BYTES] {
        let PadOutput::Rumble {
            controller,
            strong,
            weak,
        } = output;
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = [0; OUTPUT_BYTES];
        packet[0] = OUTPUT_DATAGRAM;
        packet[1] = RUMBLE;
        packet[2..6].copy_from_slice(&self.sequence.to_le_bytes());
        packet[6] = controller;
        packet[7..9].copy_from_slice(&strong.to_le_bytes());
        packet[9..11].copy_from_slice(&weak.to_le_bytes());
        packet
    }
}

/// The client's side.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutputReceiver {
    newest: [u32; CONTROLLERS_MAX as usize],
}

impl OutputReceiver {
    /// What a packet says, if it is news.
    ///
    /// # Errors
    /// [`InputError`] if it is none.
    pub fn handle_packet(&mut self, bytes: &[u8]) -> Result<Option<PadOutput>, InputError> {
        let r = &mut Reader::new(bytes);
        let (first, kind, sequence) = (r.u8()?, r.u8()?, r.u32()?);
        if first != OUTPUT_DATAGRAM {
            return Err(InputError::Value {
                field: "kind of packet",
                value: first.into(),
            });
        }
        let controller = r.u8()?;
        let (strong, weak) = (r.u16()?, r.u16()?);
        let Some(newest) = self.newest.get_mut(usize::from(controller)) else {
            return Err(InputError::Value {
                field: "controller",
                value: controller.into(),
            });
        };
        if kind != RUMBLE || !is_after(sequence, *newest) {
            return Ok(None);
        }
        *newest = sequence;
        Ok(Some(PadOutput::Rumble {
            controller,
            strong,
            weak,
        }))
    }
}
