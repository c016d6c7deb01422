//! What the session's thread hands the sound server's: samples in order, the oldest dropped.
//!
//! A sound server takes a quantum at a time (5 to 43 ms), the client's packets come 5 ms at a time.
//! So after silence nothing is given out until a quantum and [`AHEAD`] are there; a quantum that is
//! not whole is filled up with silence, and it begins anew.

use std::sync::{Mutex, MutexGuard, PoisonError};

use net::audio::SAMPLE_RATE;

/// Samples beyond a quantum that are waited for: two packets of the client's.
const AHEAD: usize = SAMPLE_RATE as usize / 100;
/// Samples that are kept: 100 ms. Two of the longest quanta (2048), and what is ahead.
const KEPT: usize = SAMPLE_RATE as usize / 10;
/// Longest quantum that is waited for.
const QUANTUM_MAX: usize = KEPT - 2 * AHEAD;

/// The queue of one microphone.
pub(super) struct Fifo(Mutex<State>);

struct State {
    /// A ring.
    samples: Box<[f32; KEPT]>,
    start: usize,
    length: usize,
    /// Enough was there at the last look.
    flows: bool,
    dropped: u64,
}

impl Fifo {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State {
            samples: Box::new([0.0; KEPT]),
            start: 0,
            length: 0,
            flows: false,
            dropped: 0,
        }))
    }

    /// Takes samples; of more than there is room for, the oldest go.
    pub(super) fn push(&self, samples: &[f32]) {
        let mut state = self.lock();
        for &sample in samples {
            let place = (state.start + state.length) % KEPT;
            state.samples[place] = sample;
            if state.length < KEPT {
                state.length += 1;
            } else {
                state.start = (state.start + 1) % KEPT;
                state.dropped += 1;
            }
        }
    }

    /// Fills a quantum of little-endian floats.
    pub(super) fn fill(&self, out: &mut [u8]) {
        let (places, _) = out.as_chunks_mut::<4>();
        let mut state = self.lock();
        let wanted = places.len().min(QUANTUM_MAX) + AHEAD;
        state.flows = state.flows || state.length >= wanted;
        for place in places {
            let mut sample = 0.0;
            if state.flows && state.length > 0 {
                sample = state.samples[state.start];
                state.start = (state.start + 1) % KEPT;
                state.length -= 1;
            } else {
                state.flows = false;
            }
            *place = sample.to_le_bytes();
        }
    }

    /// Samples that went to make room for newer ones.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// A panic while it was held left samples and nothing that could be wrong.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(fifo: &Fifo, samples: usize) -> Vec<f32> {
        let mut bytes = vec![0; 4 * samples];
        fifo.fill(&mut bytes);
        let (samples, _) = bytes.as_chunks::<4>();
        samples.iter().map(|it| f32::from_le_bytes(*it)).collect()
    }

    fn ramp(range: std::ops::Range<usize>) -> Vec<f32> {
        range.map(|n| n as f32).collect()
    }

    #[test]
    fn quanta_are_whole_once_enough_is_there() {
        let fifo = Fifo::new();
        fifo.push(&ramp(1..1001));
        assert!(filled(&fifo, 1024).iter().all(|it| *it == 0.0));
        fifo.push(&ramp(1001..1601));
        assert_eq!(filled(&fifo, 1024), ramp(1..1025));
        // Packets and quanta are out of step, and it flows on.
        for round in 0..20 {
            let begin = 1601 + 1024 * round;
            fifo.push(&ramp(begin..begin + 1024));
            let next = 1025 + 1024 * round;
            assert_eq!(filled(&fifo, 1024), ramp(next..next + 1024));
        }
    }

    #[test]
    fn what_is_missing_is_silence_until_enough_is_there_again() {
        let fifo = Fifo::new();
        fifo.push(&ramp(1..2000));
        assert_eq!(filled(&fifo, 1500), ramp(1..1501));
        let last = filled(&fifo, 1500);
        assert_eq!(last[..499], ramp(1501..2000));
        assert!(last[499..].iter().all(|it| *it == 0.0));
        fifo.push(&ramp(1..100));
        assert!(filled(&fifo, 64).iter().all(|it| *it == 0.0));
    }

    #[test]
    fn of_too_much_the_oldest_is_dropped() {
        let fifo = Fifo::new();
        fifo.push(&ramp(0..KEPT + 7));
        assert_eq!(fifo.dropped(), 7);
        assert_eq!(filled(&fifo, 2), [7.0, 8.0]);
    }
}
