//! When the nested compositor may draw: at the ticks of a grid that never drifts.
//!
//! Tick `n` lies `n` refreshes after the first, to the nanosecond, so that errors never add up.
//! There is no timer while nothing is drawn: a tick only matters when somebody waits for it.
//!
//! A tick lets the compositor draw one picture, and the next tick the next one, though the picture
//! may be late by half a refresh: then the tick is given belatedly, so that a compositor that takes
//! long, or an application that was late once, loses no tick. After stillness a picture may lie
//! anywhere between two ticks; the one after it then comes half a refresh later at the earliest.
//!
//! Invariant: no tick is given twice.

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

    /// The tick that lets the compositor draw again after a picture of `committed`, which the tick
    /// number `last` let (or one since, if the compositor had nothing to draw then). It may have
    /// passed. The compositor draws `lead` after a tick at the earliest.
    pub(super) fn after(&self, last: Option<u64>, committed: Timestamp, lead: Duration) -> Tick {
        let next = last.map_or(0, |last| last + 1);
        let (half, at) = (self.interval() / 2, self.at(next));
        if last.is_some() && committed < at + half {
            return Tick { at, number: next };
        }
        self.first_from(committed + half.saturating_sub(lead), next)
    }

    /// The first tick that is not before `time` and has at least that number.
    fn first_from(&self, time: Timestamp, least: u64) -> Tick {
        let since_ns = time.since(self.start).as_nanos();
        let passed = since_ns * u128::from(self.refresh.get()) / TICK_NS_MILLIHZ;
        let mut number = u64::try_from(passed).unwrap_or(u64::MAX - 2).max(least);
        while self.at(number) < time {
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

    /// A compositor that begins to draw `lead` after each tick that it is given, not before it was
    /// given it, and takes `takes` for it: the numbers of the ticks of its first 1000 pictures.
    fn ticks(grid: &Grid, lead: Duration, takes: impl Fn(u64) -> Duration) -> Vec<u64> {
        let mut tick = grid.after(None, START, lead);
        let mut given = tick.at;
        let draw = |picture| {
            let number = tick.number;
            let committed = given.max(tick.at + lead) + takes(picture);
            tick = grid.after(Some(number), committed, lead);
            given = committed.max(tick.at);
            number
        };
        (0..1000).map(draw).collect()
    }

    #[test]
    fn a_compositor_that_takes_less_than_a_refresh_gets_every_tick() {
        for millihz in [24_000, 59_940, 60_000, 119_881, 240_000] {
            let grid = grid(millihz);
            for lead_percent in [0, 50, 52, 90] {
                for takes_percent in [0, 10, 47, 55, 95] {
                    let lead = grid.interval() * lead_percent / 100;
                    let takes = grid.interval() * takes_percent / 100;
                    if lead + takes >= grid.interval() * 3 / 2 {
                        continue;
                    }
                    let ticks = ticks(&grid, lead, |_| takes);
                    let all = ticks.is_sorted_by(|one, next| *next == one + 1);
                    assert!(all, "{millihz} {lead_percent} {takes_percent}");
                }
            }
        }
    }

    #[test]
    fn what_is_late_once_loses_a_tick_at_most_and_none_is_given_twice() {
        let grid = grid(60_000);
        let interval = grid.interval();
        for late_percent in (0..300).step_by(7) {
            let takes = |picture: u64| match picture % 10 {
                0 => interval * late_percent / 100,
                _ => interval / 10,
            };
            let ticks = ticks(&grid, interval / 2, takes);
            assert!(ticks.is_sorted_by(|one, next| one < next));
            let lost = ticks[999] - 999;
            let whole = u64::from(late_percent) / 100 + 1;
            assert!(lost <= 100 * whole, "{late_percent} %: {lost}");
        }
    }

    #[test]
    fn a_picture_after_stillness_is_not_followed_at_once() {
        let grid = grid(60_000);
        let interval = grid.interval();
        for share in 0..1000 {
            let committed = START + interval * 70 + interval * share / 1000;
            for lead in [Duration::ZERO, interval / 4, interval / 2] {
                for last in [None, Some(3)] {
                    let next = grid.after(last, committed, lead).at + lead;
                    let gap = next.since(committed);
                    assert!(gap >= interval / 2, "{gap:?}");
                    assert!(
                        gap <= interval * 3 / 2 + Duration::from_nanos(70),
                        "{gap:?}"
                    );
                }
            }
        }
    }
}
