//! The receiving side: checks phase and replay, authenticates, opens.

use super::ffi::AeadContext;
use super::keys::MediaKeys;
use super::phase_of;
use super::replay::{ReplayError, ReplayWindow};
use crate::limits::{MEDIA_HEADER_BYTES, TAG_BYTES};
use crate::media::{FLAG_KEY_PHASE, FLAGS_OFFSET, sequence_of};

/// Why a datagram was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Shorter than header and tag.
    #[error("a datagram of {bytes} bytes is shorter than a media header and a tag")]
    Short {
        /// Its length.
        bytes: usize,
    },
    /// Its key phase is neither the current one nor a neighbour, or its phase bit disagrees.
    #[error("sequence {sequence} lies in a key phase that is not in use")]
    Phase {
        /// Its sequence.
        sequence: u64,
    },
    /// Its sequence was accepted before.
    #[error("sequence {sequence} came twice")]
    Replayed {
        /// Its sequence.
        sequence: u64,
    },
    /// It is older than the replay window remembers.
    #[error("sequence {sequence} is older than the replay window")]
    Stale {
        /// Its sequence.
        sequence: u64,
    },
    /// The tag does not fit: forged, damaged, or of another session.
    #[error("sequence {sequence} is not authentic")]
    Forged {
        /// Its claimed sequence.
        sequence: u64,
    },
}

/// Opens the datagrams of one direction.
pub struct Opener {
    keys: MediaKeys,
    /// Phase of `current`. `next` is derived ahead, so a stranger's datagram never makes us
    /// derive anything.
    phase: u64,
    previous: Option<AeadContext>,
    current: AeadContext,
    next: AeadContext,
    replay: ReplayWindow,
}

impl Opener {
    /// Starts in key phase 0.
    #[must_use]
    pub fn new(mut keys: MediaKeys) -> Self {
        let current = keys.next_context();
        let next = keys.next_context();
        Self {
            keys,
            phase: 0,
            previous: None,
            current,
            next,
            replay: ReplayWindow::new(),
        }
    }

    /// Opens one datagram in place: its header (any media type) and its plaintext.
    ///
    /// # Errors
    /// See [`OpenError`]; the datagram's payload is then worthless, and no state has changed.
    pub fn open<'d>(
        &mut self,
        datagram: &'d mut [u8],
    ) -> Result<(&'d [u8; MEDIA_HEADER_BYTES], &'d [u8]), OpenError> {
        let bytes = datagram.len();
        let Some((header, body)) = datagram.split_first_chunk_mut::<MEDIA_HEADER_BYTES>() else {
            return Err(OpenError::Short { bytes });
        };
        let Some((payload, tag)) = body.split_last_chunk_mut::<TAG_BYTES>() else {
            return Err(OpenError::Short { bytes });
        };
        let sequence = sequence_of(header);
        let phase = phase_of(sequence);
        let context = self.context(phase).ok_or(OpenError::Phase { sequence })?;
        if (header[FLAGS_OFFSET] & FLAG_KEY_PHASE != 0) != (phase % 2 == 1) {
            return Err(OpenError::Phase { sequence });
        }
        self.replay.check(sequence).map_err(|error| match error {
            ReplayError::Repeated => OpenError::Replayed { sequence },
            ReplayError::TooOld => OpenError::Stale { sequence },
        })?;
        if !context.open(&self.keys.nonce(sequence), header, payload, tag) {
            return Err(OpenError::Forged { sequence });
        }
        self.replay.record(sequence);
        if phase > self.phase {
            self.advance();
        }
        Ok((header, payload))
    }

    fn context(&self, phase: u64) -> Option<&AeadContext> {
        if phase == self.phase {
            Some(&self.current)
        } else if phase == self.phase + 1 {
            Some(&self.next)
        } else if phase + 1 == self.phase {
            self.previous.as_ref()
        } else {
            None
        }
    }

    fn advance(&mut self) {
        self.phase += 1;
        std::mem::swap(&mut self.current, &mut self.next);
        // `next` now holds the phase before: keep it for what is still under way, and re-key the
        // one from before that.
        match &mut self.previous {
            Some(previous) => {
                std::mem::swap(previous, &mut self.next);
                self.keys.rekey(&mut self.next);
            }
            None => {
                let next = self.keys.next_context();
                self.previous = Some(std::mem::replace(&mut self.next, next));
            }
        }
    }
}
