//! NAL units with a wider `frame_num` than x264 writes; why, see
//! [`frame_num`](crate::bitstream::frame_num).

use crate::bitstream::NalKind;
use crate::bitstream::frame_num::{GROWTH_BYTES, widen_slice, widen_sps};

/// x264's vector loads touch so much before and after a payload.
const SLACK_BYTES: usize = 64;

/// Follows the pictures of one encoder.
pub(super) struct FrameNums {
    newest: u32,
    /// The payload that was written last, between slack.
    buffer: Vec<u8>,
}

/// A payload as it is sent, but for emulation prevention.
pub(super) struct Wide<'a> {
    buffer: &'a [u8],
    bytes: usize,
}

impl Wide<'_> {
    pub(super) const fn len(&self) -> usize {
        self.bytes
    }

    /// From its first byte to the end of the slack after it.
    pub(super) fn with_slack(&self) -> &[u8] {
        &self.buffer[SLACK_BYTES..]
    }
}

impl FrameNums {
    /// For payloads of up to so many bytes; larger ones take more memory once.
    pub(super) fn new(payload_bytes: usize) -> Self {
        Self {
            newest: 0,
            buffer: Vec::with_capacity(payload_bytes + GROWTH_BYTES + 2 * SLACK_BYTES),
        }
    }

    /// What is sent in place of x264's payload. `None` if that is not as x264 is known to write it.
    pub(super) fn widen(&mut self, kind: NalKind, payload: &[u8]) -> Option<Wide<'_>> {
        let room = payload.len() + GROWTH_BYTES;
        self.buffer.clear();
        self.buffer.resize(room + 2 * SLACK_BYTES, 0);
        let out = &mut self.buffer[SLACK_BYTES..][..room];
        let bytes = match kind {
            NalKind::Sps => widen_sps(payload, out)?,
            NalKind::Slice => widen_slice(payload, false, &mut self.newest, out)?,
            NalKind::IdrSlice => widen_slice(payload, true, &mut self.newest, out)?,
            _ => {
                out[..payload.len()].copy_from_slice(payload);
                payload.len()
            }
        };
        Some(Wide {
            buffer: &self.buffer,
            bytes,
        })
    }
}
