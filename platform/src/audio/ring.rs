//! What the sound server's thread hands the session's: samples, newest wins.
//!
//! The lock is held for the copy of a few kilobytes and no longer, by either side; the side of the
//! sound server waits for nothing else. Nothing is allocated after [`Ring::new`].

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use net::audio::SAMPLE_RATE;
use net::units::Timestamp;

/// Samples of each channel that are kept: 80 ms. What is older is not worth hearing any more, and
/// no sound server's quantum is longer (2048 by default, 43 ms).
const KEPT: usize = SAMPLE_RATE as usize * 80 / 1000;

/// The ring of one source.
pub(super) struct Ring {
    channels: usize,
    state: Mutex<State>,
    more: Condvar,
}

struct State {
    /// Room for [`KEPT`] samples of each channel, interleaved.
    samples: Box<[f32]>,
    /// Place of the oldest.
    start: usize,
    /// How many there are, all channels together.
    length: usize,
    /// When the newest had been played.
    end: Timestamp,
    /// Samples of each channel that were overwritten.
    dropped: u64,
}

impl Ring {
    pub(super) fn new(channels: usize) -> Self {
        Self {
            channels,
            state: Mutex::new(State {
                samples: vec![0.0; KEPT * channels].into_boxed_slice(),
                start: 0,
                length: 0,
                end: Timestamp::ZERO,
                dropped: 0,
            }),
            more: Condvar::new(),
        }
    }

    /// Takes samples of all channels, as little-endian floats, that had been played at `end`. What
    /// is left of an incomplete set of channels is ignored.
    pub(super) fn push(&self, bytes: &[u8], end: Timestamp) {
        let frame_bytes = self.channels * size_of::<f32>();
        let mut frames = bytes.chunks_exact(frame_bytes);
        let mut state = self.lock();
        let capacity = state.samples.len();
        // Of more than there is room for, the end.
        let surplus = frames.len().saturating_sub(KEPT);
        state.dropped += surplus as u64;
        if surplus > 0 {
            let _ = frames.nth(surplus - 1);
        }
        for frame in frames {
            if state.length == capacity {
                state.start = (state.start + self.channels) % capacity;
                state.length -= self.channels;
                state.dropped += 1;
            }
            let place = (state.start + state.length) % capacity;
            let (samples, _) = frame.as_chunks::<4>();
            for (sample, bytes) in state.samples[place..].iter_mut().zip(samples) {
                *sample = f32::from_le_bytes(*bytes);
            }
            state.length += self.channels;
        }
        state.end = end;
        drop(state);
        self.more.notify_one();
    }

    /// Fills `out` with the oldest samples and tells when the first of them was played. `None` if
    /// there are not so many within `patience`; they are left in place then.
    pub(super) fn read(&self, out: &mut [f32], patience: Duration) -> Option<Timestamp> {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        while state.length < out.len() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.more.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let age = (state.length / self.channels) as u64 * 1_000_000_000 / u64::from(SAMPLE_RATE);
        let captured = state.end - Duration::from_nanos(age);
        let first = out.len().min(state.samples.len() - state.start);
        let (head, tail) = out.split_at_mut(first);
        head.copy_from_slice(&state.samples[state.start..][..first]);
        let rest = tail.len();
        tail.copy_from_slice(&state.samples[..rest]);
        state.start = (state.start + out.len()) % state.samples.len();
        state.length -= out.len();
        Some(captured)
    }

    /// Empties it.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        state.dropped += (state.length / self.channels) as u64;
        state.length = 0;
    }

    /// Samples of each channel that nobody read.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// A panic while it was held left samples and nothing that could be wrong.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(range: std::ops::Range<usize>) -> Vec<u8> {
        range
            .flat_map(|n| [n as f32, -(n as f32)])
            .flat_map(f32::to_le_bytes)
            .collect()
    }

    #[test]
    fn samples_come_out_in_order_with_their_time() {
        let ring = Ring::new(2);
        let end = Timestamp::from_ns(1_000_000_000);
        ring.push(&bytes(0..48), end);
        let mut out = [0.0; 48];
        let at = ring.read(&mut out, Duration::ZERO).expect("there are 48");
        assert_eq!(at, end - Duration::from_millis(1));
        assert_eq!(out[..4], [0.0, -0.0, 1.0, -1.0]);
        let at = ring.read(&mut out, Duration::ZERO).expect("there are 24");
        assert_eq!(at, end - Duration::from_micros(500));
        assert_eq!(out[..2], [24.0, -24.0]);
        assert_eq!(ring.read(&mut out, Duration::from_millis(1)), None);
    }

    #[test]
    fn the_newest_win_and_the_others_are_counted() {
        let ring = Ring::new(2);
        for part in 0..10 {
            let begin = part * 1000;
            ring.push(
                &bytes(begin..begin + 1000),
                Timestamp::ZERO + Duration::from_secs(1),
            );
        }
        let mut out = vec![0.0; 2 * KEPT];
        assert!(ring.read(&mut out, Duration::ZERO).is_some());
        let expected: Vec<f32> = (10_000 - KEPT..10_000)
            .flat_map(|n| [n as f32, -(n as f32)])
            .collect();
        assert_eq!(out, expected);
        assert_eq!(ring.dropped(), 10_000 - KEPT as u64);
    }

    #[test]
    fn more_than_the_ring_holds_leaves_its_end() {
        let ring = Ring::new(2);
        ring.push(
            &bytes(0..KEPT + 5),
            Timestamp::ZERO + Duration::from_secs(1),
        );
        let mut out = [0.0; 2];
        assert!(ring.read(&mut out, Duration::ZERO).is_some());
        assert_eq!(out, [5.0, -5.0]);
        assert_eq!(ring.dropped(), 5);
        ring.clear();
        assert_eq!(ring.dropped(), KEPT as u64 + 4);
    }
}
