//! When the nested compositor may draw: at the ticks of a grid that never drifts.
//!
//! Tick `n` lies `n` refreshes after the first, to the nanosecond, so that errors never add up.
//! There is no timer while nothing is drawn: a tick only matters when somebody waits for it.
//!
//! Invariants: a tick that is given is later than the commit it is given for, and the picture that
//! it lets the compositor draw comes half a refresh after the last one at the earliest.

use std::time::Duration;

use net::units::{RefreshMilliHz, Timestamp};

/// The ticks of a refresh rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    start: Timestamp,
    refresh: RefreshMilliHz,
}

/// A tick of a [`Grid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tick {
    /// When it is.
    pub(super) at: Timestamp,
    /// Which one, from 0.
    pub(super) number: u64,
}

impl Grid {
    /// The grid whose tick 0 is at `start`.
    pub(super) fn new(start: Timestamp, refresh: RefreshMilliHz) -> Self {
        Self { start, refresh }
    }

    /// From one tick to the next, rounded down to a nanosecond.
    pub(super) fn interval(&self) -> Duration {
        self.refresh.interval()
    }

    /// The tick at which the compositor may draw again after a picture of `committed`. It draws
    /// `lead` after that tick at the earliest.
    pub(super) fn after(&self, committed: Timestamp, lead: Duration) -> Tick {
        // A picture that came alone may be anywhere between two ticks: the next one only comes
        // sooner than a refresh after it if it need not come much sooner.
        let earliest = committed + (self.interval() / 2).saturating_sub(lead);
        self.first_later_than(earliest)
    }

    fn first_later_than(&self, time: Timestamp) -> Tick {
        let since_ns = time.since(self.start).as_nanos();
        let millihz = u128::from(self.refresh.get());
        let passed = since_ns * millihz / TICK_NS_MILLIHZ;
        // Rounding may have put the tick found on `time` itself, or before it.
        let mut number = u64::try_from(passed).unwrap_or(u64::MAX - 1);
        while self.at(number) <= time {
            number += 1;
        }
        let at = self.at(number);
        Tick { at, number }
    }

    fn at(&self, number: u64) -> Timestamp {
        let ns = u128::from(number) * TICK_NS_MILLIHZ / u128::from(self.refresh.get());
        self.start + Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

/// Nanoseconds of a refresh × its rate in mHz.
const TICK_NS_MILLIHZ: u128 = 1_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_ns(5_000_000_000);

    fn grid(millihz: u32) -> Grid {
        Grid::new(START, RefreshMilliHz::new(millihz).expect("a valid rate"))
    }

    #[test]
    fn sixty_ticks_are_a_second_and_not_a_nanosecond_less() {
        for (millihz, ticks) in [
            (60_000, 60),
            (120_000, 120),
            (59_940, 59_940),
            (144_000, 144),
        ] {
            let second = u64::from(millihz) / 1000;
            let at = grid(millihz).at(ticks * 1000);
            let seconds = ticks * 1000 * 1000 / u64::from(millihz);
            assert_eq!(at.since(START), Duration::from_secs(seconds), "{second} Hz");
        }
    }

    #[test]
    fn every_commit_gets_a_later_tick_and_a_steady_one_gets_them_all() {
        for millihz in [24_000, 59_940, 60_000, 119_881, 240_000] {
            let grid = grid(millihz);
            // Commits that come a while after the tick that let them: none is left out.
            for (share, lead_share) in [(0, 0), (3, 0), (4, 5), (7, 5), (9, 9)] {
                let lead = grid.interval() * lead_share / 10;
                let mut tick = grid.after(START, lead);
                for _ in 0..1000 {
                    let committed = tick.at + grid.interval() * share / 10;
                    let next = grid.after(committed, lead);
                    assert!(next.at > committed);
                    assert_eq!(
                        next.number,
                        tick.number + 1,
                        "{millihz} {share} {lead_share}"
                    );
                    tick = next;
                }
            }
        }
    }

    #[test]
    fn a_picture_just_before_a_tick_is_not_followed_at_once() {
        let grid = grid(60_000);
        let interval = grid.interval();
        for ns in (0..interval.as_nanos()).step_by(100_000) {
            let committed = START + interval * 7 + Duration::from_nanos(ns as u64);
            for lead in [Duration::ZERO, interval / 4, interval / 2] {
                let next = grid.after(committed, lead).at + lead;
                let gap = next.since(committed);
                assert!(gap >= interval / 2, "{gap:?}");
                assert!(
                    gap <= interval + interval / 2 + Duration::from_nanos(2),
                    "{gap:?}"
                );
            }
        }
    }
}
