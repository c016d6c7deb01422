//! The sending side: assigns sequences and seals.

use super::ffi::AeadContext;
use super::keys::MediaKeys;
use super::phase_of;
use crate::limits::{MEDIA_HEADER_BYTES, TAG_BYTES};
use crate::media::{FLAG_KEY_PHASE, FLAGS_OFFSET, SEQUENCE_OFFSET};

/// Why a datagram was not sealed. No sequence is used then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The output is too small.
    #[error("a datagram of {needed} bytes does not fit a buffer of {room}")]
    Room {
        /// Header, payload and tag, bytes.
        needed: usize,
        /// The buffer, bytes.
        room: usize,
    },
    /// All 2⁶⁴ sequences are used (in practice: the caller started at the wrong one).
    #[error("every sequence of this session is used; start a new session")]
    Exhausted,
}

/// Seals the datagrams of one direction. It alone numbers them, so no sequence, and with it no
/// nonce, is ever used twice.
pub struct Sealer {
    keys: MediaKeys,
    context: AeadContext,
    phase: u64,
    sequence: u64,
}

impl Sealer {
    /// Starts at sequence 0.
    #[must_use]
    pub fn new(mut keys: MediaKeys) -> Self {
        let context = keys.next_context();
        Self {
            keys,
            context,
            phase: 0,
            sequence: 0,
        }
    }

    /// The sequence of the next datagram, which is also the number of datagrams sealed so far.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Seals one datagram into the front of `out`: `header` with its sequence and key phase set,
    /// `plaintext` sealed, tag. Returns its length, bytes. Any media type will do.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn seal(
        &mut self,
        header: &mut [u8; MEDIA_HEADER_BYTES],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, SealError> {
        let needed = MEDIA_HEADER_BYTES + plaintext.len() + TAG_BYTES;
        let room = out.len();
        let Some((head, body)) = out.split_first_chunk_mut::<MEDIA_HEADER_BYTES>() else {
            return Err(SealError::Room { needed, room });
        };
        let Some((payload, tail)) = body.split_at_mut_checked(plaintext.len()) else {
            return Err(SealError::Room { needed, room });
        };
        let Some(tag) = tail.first_chunk_mut::<TAG_BYTES>() else {
            return Err(SealError::Room { needed, room });
        };
        let sequence = self.sequence;
        self.sequence = sequence.checked_add(1).ok_or(SealError::Exhausted)?;
        let phase = phase_of(sequence);
        while self.phase < phase {
            self.keys.rekey(&mut self.context);
            self.phase += 1;
        }
        header[SEQUENCE_OFFSET..SEQUENCE_OFFSET + 8].copy_from_slice(&sequence.to_le_bytes());
        header[FLAGS_OFFSET] &= !FLAG_KEY_PHASE;
        if phase % 2 == 1 {
            header[FLAGS_OFFSET] |= FLAG_KEY_PHASE;
        }
        *head = *header;
        self.context
            .seal(&self.keys.nonce(sequence), head, plaintext, payload, tag);
        Ok(needed)
    }

    /// Goes on at `sequence`, to test what is millions of datagrams away.
    #[cfg(test)]
    pub(super) fn skip_to(&mut self, sequence: u64) {
        assert!(sequence >= self.sequence, "a sequence is never used twice");
        self.sequence = sequence;
    }
}
