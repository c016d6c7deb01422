//! Places for sessions and the threads of their encoders: what the host has of each is shared by
//! all protocols.
//!
//! The encoders of all sessions together have at most as many threads as the machine has cores
//! ([`encoder_threads_max`]), but each has one. A session gets its threads when it takes its place
//! and keeps them until it has ended, because an encoder that is opened anew costs an IDR: as many
//! as it wants of those that are left, less one for each place that is still free. So whoever comes
//! later finds one, too, and what an ended session gives back is for the next that comes.

use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError};

use super::Registry;

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
    /// Threads that its encoder may have, at least 1.
    #[must_use]
    pub const fn encoder_threads(&self) -> u8 {
        self.encoder_threads
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.registry);
        taken.places -= 1;
        taken.threads -= usize::from(self.encoder_threads);
    }
}

/// Threads of all encoders together, but for the one that each has in any case: the cores that
/// this process may use.
#[must_use]
pub fn encoder_threads_max() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// A place of `places`, with at most `wanted` threads.
pub(super) fn take(registry: &Arc<Registry>, places: usize, wanted: u8) -> Option<Place> {
    let mut taken = lock(registry);
    if taken.places >= places {
        return None;
    }
    taken.places += 1;
    let free = places - taken.places;
    let encoder_threads = share(encoder_threads_max(), taken.threads, free, wanted);
    taken.threads += usize::from(encoder_threads);
    drop(taken);
    Some(Place {
        registry: Arc::clone(registry),
        encoder_threads,
    })
}

/// Threads of the next encoder, where `taken` of `all` are in use and `free` places are left after
/// its own.
fn share(all: usize, taken: usize, free: usize, wanted: u8) -> u8 {
    let left = all.saturating_sub(taken).saturating_sub(free);
    u8::try_from(left).unwrap_or(u8::MAX).min(wanted).max(1)
}

fn lock(registry: &Registry) -> std::sync::MutexGuard<'_, Taken> {
    registry.taken.lock().unwrap_or_else(PoisonError::into_inner)
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
        let all = encoder_threads_max();
        let place = take(&registry, 1, u8::MAX).expect("free");
        assert_eq!(usize::from(place.encoder_threads()), all.min(255));
        drop(place);
        let taken = lock(&registry);
        assert_eq!((taken.places, taken.threads), (0, 0));
    }

    /// Whatever comes and goes: never more than there are, but for the one that each has.
    #[test]
    fn all_encoders_together_keep_within_the_cores() {
        for all in 1..=20 {
            for places in 1..=16usize {
                for wanted in [1, 2, 5, 16] {
                    let mut taken = Vec::new();
                    for round in 0..60 {
                        let sum: usize = taken.iter().sum();
                        if taken.len() < places && round % 7 != 3 {
                            let free = places - taken.len() - 1;
                            taken.push(usize::from(share(all, sum, free, wanted)));
                        } else if !taken.is_empty() {
                            taken.remove(round % taken.len());
                        }
                        let sum: usize = taken.iter().sum();
                        assert!(sum <= all.max(places), "{taken:?} of {all}");
                        assert!(taken.iter().all(|it| (1..=usize::from(wanted)).contains(it)));
                    }
                }
            }
        }
        assert_eq!(share(8, 0, 3, 16), 5);
        assert_eq!(share(8, 0, 0, 16), 8);
    }
}
