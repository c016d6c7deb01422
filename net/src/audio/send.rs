//! The host's end: packets become datagrams, with copies as the client's reports ask.

use super::datagram::{self, AudioReport, COPY_BYTES, HEADER_BYTES, PacketCopy};
use super::redundancy::{Redundancy, ReportError};
use super::{AUDIO_DATAGRAM_BYTES_MAX, COPIES_MAX, DISTANCE_MAX, PACKET_BYTES_MAX};
use crate::units::Timestamp;

/// Packets kept for copies.
const KEPT: usize = DISTANCE_MAX as usize;

/// A packet that cannot be sent; it took no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AudioSendError {
    /// Empty or too long.
    #[error("an audio packet of {0} bytes: the encoder must make 1 to {PACKET_BYTES_MAX}")]
    PacketBytes(usize),
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    bytes: [u8; PACKET_BYTES_MAX],
    length: usize,
}

/// The machine of one stream.
#[derive(Debug)]
pub struct AudioSender {
    /// By number mod [`KEPT`].
    kept: Box<[Kept; KEPT]>,
    /// Number of the next packet.
    next: u64,
    redundancy: Redundancy,
}

impl Default for AudioSender {
    fn default() -> Self {
        Self::new()
    }
}

impl AudioSender {
    /// The first packet is number 0.
    #[must_use]
    pub fn new() -> Self {
        let empty = Kept {
            bytes: [0; PACKET_BYTES_MAX],
            length: 0,
        };
        Self {
            kept: Box::new([empty; KEPT]),
            next: 0,
            redundancy: Redundancy::new(),
        }
    }

    /// Packets sent.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.next
    }

    /// What is known of the path, and the copies that follow from it.
    #[must_use]
    pub const fn redundancy(&self) -> &Redundancy {
        &self.redundancy
    }

    /// The client reported.
    ///
    /// # Errors
    /// [`ReportError`] where the report cannot be true; nothing has changed then.
    pub fn handle_report(
        &mut self,
        now: Timestamp,
        report: &AudioReport,
    ) -> Result<(), ReportError> {
        self.redundancy.handle_report(now, self.next, report)
    }

    /// The next packet, captured at `captured` of the host's clock, becomes the datagram `out`
    /// (replaced; with a capacity of [`AUDIO_DATAGRAM_BYTES_MAX`] it never
    /// grows). Call it for every 5 ms that pass, or the
    /// client takes the gap for delay. Copies that do not fit are left out, farthest first.
    ///
    /// # Errors
    /// [`AudioSendError::PacketBytes`] where the packet is empty or too long.
    pub fn send(
        &mut self,
        captured: Timestamp,
        packet: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), AudioSendError> {
        if packet.is_empty() || packet.len() > PACKET_BYTES_MAX {
            return Err(AudioSendError::PacketBytes(packet.len()));
        }
        let mut copies = [None; COPIES_MAX];
        let mut bytes = HEADER_BYTES + packet.len();
        for (copy, &distance) in copies.iter_mut().zip(self.redundancy.plan()) {
            let Some(number) = self.next.checked_sub(u64::from(distance)) else {
                break;
            };
            let kept = &self.kept[number as usize % KEPT];
            bytes += COPY_BYTES + kept.length;
            if bytes > AUDIO_DATAGRAM_BYTES_MAX {
                break;
            }
            *copy = Some(PacketCopy {
                distance,
                packet: &kept.bytes[..kept.length],
            });
        }
        let captured_us = (captured.as_ns() / 1000) as u32;
        datagram::write(
            out,
            self.next as u32,
            captured_us,
            packet,
            copies.iter().copied().flatten(),
        );
        let kept = &mut self.kept[self.next as usize % KEPT];
        kept.bytes[..packet.len()].copy_from_slice(packet);
        kept.length = packet.len();
        self.next += 1;
        Ok(())
    }
}
