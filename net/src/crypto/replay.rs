//! Remembers which sequences were accepted: a bitmap over the last
//! [`REPLAY_WINDOW`] ones (RFC 6479's ring of words, one bit a sequence).

use crate::limits::REPLAY_WINDOW;

const WORDS: usize = (REPLAY_WINDOW / 64) as usize;
const _: () = assert!(REPLAY_WINDOW.is_multiple_of(64));

/// Why a sequence is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplayError {
    /// Recorded before.
    Repeated,
    /// Below the window.
    TooOld,
}

/// The window. Bit `s % REPLAY_WINDOW` stands for sequence `s`, for `s` in
/// `end - REPLAY_WINDOW .. end`.
pub(crate) struct ReplayWindow {
    words: Box<[u64; WORDS]>,
    /// One above the highest sequence recorded.
    end: u64,
}

impl ReplayWindow {
    pub(crate) fn new() -> Self {
        Self {
            words: Box::new([0; WORDS]),
            end: 0,
        }
    }

    pub(crate) fn check(&self, sequence: u64) -> Result<(), ReplayError> {
        if sequence >= self.end {
            return Ok(());
        }
        if self.end - sequence > REPLAY_WINDOW {
            return Err(ReplayError::TooOld);
        }
        let (word, bit) = position(sequence);
        if self.words[word] & bit != 0 {
            Err(ReplayError::Repeated)
        } else {
            Ok(())
        }
    }

    /// Records a sequence that [`Self::check`] has let through.
    pub(crate) fn record(&mut self, sequence: u64) {
        if sequence >= self.end {
            // Everything from the old end up to the new one has not been seen yet.
            if sequence - self.end >= REPLAY_WINDOW {
                self.words.fill(0);
            } else {
                for unseen in self.end..=sequence {
                    let (word, bit) = position(unseen);
                    self.words[word] &= !bit;
                }
            }
            // The last sequence of all is never sealed, so this does not overflow in practice.
            self.end = sequence.saturating_add(1);
        }
        let (word, bit) = position(sequence);
        self.words[word] |= bit;
    }
}

const fn position(sequence: u64) -> (usize, u64) {
    let at = sequence % REPLAY_WINDOW;
    ((at / 64) as usize, 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a set that remembers everything.
        #[test]
        fn agrees_with_a_plain_set(
            steps in prop::collection::vec((0..3u8, 0..20_000u64), 1..300),
        ) {
            let mut window = ReplayWindow::new();
            let mut seen = BTreeSet::new();
            let mut end = 0u64;
            for (kind, amount) in steps {
                let sequence = match kind {
                    0 => end + amount % 4,
                    1 => end + amount,
                    _ => end.saturating_sub(amount),
                };
                let expected = if sequence < end && end - sequence > REPLAY_WINDOW {
                    Err(ReplayError::TooOld)
                } else if seen.contains(&sequence) {
                    Err(ReplayError::Repeated)
                } else {
                    Ok(())
                };
                prop_assert_eq!(window.check(sequence), expected);
                if expected.is_ok() {
                    window.record(sequence);
                    seen.insert(sequence);
                    end = end.max(sequence + 1);
                }
            }
        }
    }
}
