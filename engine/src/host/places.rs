//! Places for sessions and the threads of their encoders: what the host has of each is shared by
//! all protocols.
//!
//! The encoders of all sessions together have as many threads as the machine has cores
//! ([`encoder_threads_max`]), and each has at least one. A session gets its threads when it takes
//! its place, as many as it wants of those that are left, and keeps them until it is told to end,
//! because an encoder that is opened anew costs an IDR. So one that comes when all are in use has
//! one thread more than there are cores, and what an ended one gives back is for the next.

use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError};

use super::Registry;

/// Beyond so many threads a slice is too low to be worth its header.
const DEFAULT_MAX: u8 = 8;

/// What the sessions have.
#[derive(Debug, Default)]
pub(super) struct Taken {
    places: usize,
    threads: usize,
}

/// A session's place among those that the host serves at once; free again when dropped.
#[derive(Debug)]
pub struct Place {
    registry: Arc<Registry>,
    encoder_threads: u8,
}

impl Place {
    /// Threads that its encoder may have: at least 1 until they are given back.
    #[must_use]
    pub const fn encoder_threads(&self) -> u8 {
        self.encoder_threads
    }

    /// Its encoder is ending: its threads are for others, though its display still has the place.
    pub(crate) fn give_back_threads(&mut self) {
        let threads = usize::from(std::mem::take(&mut self.encoder_threads));
        lock(&self.registry).threads -= threads;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.give_back_threads();
        lock(&self.registry).places -= 1;
        self.registry.note_gone();
    }
}

/// Threads of all encoders together, but for the one that each has in any case: the cores that
/// this process may use.
#[must_use]
pub fn encoder_threads_max() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Threads of one encoder where nobody has said how many: half the cores and at least two, as far
/// as there are so many. Each has slices of its own to make, so one more helps as long as there are
/// slices: stock clients take at most four.
#[must_use]
pub fn encoder_threads_default() -> u8 {
    threads_of(encoder_threads_max())
}

/// [`encoder_threads_default`] on so many cores.
fn threads_of(cores: usize) -> u8 {
    let threads = (cores / 2).max(2).min(cores);
    u8::try_from(threads).unwrap_or(u8::MAX).min(DEFAULT_MAX)
}

/// A place of `places`, with at most `wanted` threads.
pub(super) fn take(registry: &Arc<Registry>, places: usize, wanted: u8) -> Option<Place> {
    let mut taken = lock(registry);
    if taken.places >= places {
        return None;
    }
    taken.places += 1;
    let encoder_threads = share(encoder_threads_max(), taken.threads, wanted);
    taken.threads += usize::from(encoder_threads);
    drop(taken);
    Some(Place {
        registry: Arc::clone(registry),
        encoder_threads,
    })
}

/// Threads of the next encoder, where `taken` of `all` are in use.
fn share(all: usize, taken: usize, wanted: u8) -> u8 {
    let left = all.saturating_sub(taken);
    u8::try_from(left).unwrap_or(u8::MAX).min(wanted).max(1)
}

fn lock(registry: &Registry) -> std::sync::MutexGuard<'_, Taken> {
    registry
        .taken
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_as_many_as_there_are_and_come_back() {
        let registry = Arc::new(Registry::default());
        let one = take(&registry, 2, 1).expect("free");
        let two = take(&registry, 2, 1).expect("free");
        assert!(take(&registry, 2, 1).is_none());
        drop(one);
        let again = take(&registry, 2, 1).expect("free again");
        assert!(take(&registry, 2, 1).is_none());
        drop((two, again));
        assert!(take(&registry, 1, 1).is_some());
    }

    #[test]
    fn what_an_encoder_had_is_for_the_next() {
        let registry = Arc::new(Registry::default());
        let all = encoder_threads_max().min(255);
        let threads = |place: &Place| usize::from(place.encoder_threads());
        let mut first = take(&registry, 3, u8::MAX).expect("free");
        assert_eq!(threads(&first), all);
        let second = take(&registry, 3, u8::MAX).expect("free");
        assert_eq!(threads(&second), 1, "all are in use, and each has one");
        drop(second);
        // It ends: the place is still its own, the threads are not.
        first.give_back_threads();
        let third = take(&registry, 2, u8::MAX).expect("free");
        assert_eq!(threads(&third), all);
        assert!(take(&registry, 2, 1).is_none());
        drop((first, third));
        let taken = lock(&registry);
        assert_eq!((taken.places, taken.threads), (0, 0));
    }

    #[test]
    fn an_encoder_has_half_the_cores_and_two_if_there_are_so_many() {
        assert_eq!(
            [1, 2, 3, 4, 8, 12, 64].map(threads_of),
            [1, 2, 2, 2, 4, 6, 8]
        );
    }

    /// Whatever comes and goes: no more than the cores, but for the one that each has in any case.
    #[test]
    fn all_encoders_together_keep_within_the_cores() {
        for (all, wanted) in [(1, 1), (2, 2), (2, 16), (8, 1), (8, 3), (8, 16), (64, 16)] {
            let mut taken: Vec<usize> = Vec::new();
            for round in 0..200 {
                let sum: usize = taken.iter().sum();
                if taken.len() < 16 && round % 7 != 3 {
                    let next = usize::from(share(all, sum, wanted));
                    assert!(
                        next == 1 || sum + next <= all,
                        "{next} beside {taken:?} of {all}"
                    );
                    assert!((1..=usize::from(wanted)).contains(&next));
                    taken.push(next);
                } else {
                    taken.remove(round % taken.len());
                }
            }
        }
    }
}
