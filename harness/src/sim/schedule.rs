//! Things that change at given times: the rate of a link, its MTU, whether it is up.

use std::time::Duration;

use net::units::{BitsPerSecond, Timestamp};

/// A value that changes in steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps<T> {
    first: T,
    /// From when on, ascending, and what.
    later: Vec<(Timestamp, T)>,
}

impl<T: Copy> Steps<T> {
    /// Always the same.
    #[must_use]
    pub const fn constant(value: T) -> Self {
        Self {
            first: value,
            later: Vec::new(),
        }
    }

    /// The same until `at`, then `value`.
    ///
    /// # Panics
    /// If `at` is not after the step before.
    #[must_use]
    pub fn then(mut self, at: Duration, value: T) -> Self {
        let at = Timestamp::ZERO + at;
        assert!(
            self.later.last().is_none_or(|(before, _)| *before < at),
            "steps are given in the order of time"
        );
        self.later.push((at, value));
        self
    }

    /// The value at `now`.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> T {
        let passed = self.later.partition_point(|(from, _)| *from <= now);
        match passed {
            0 => self.first,
            n => self.later[n - 1].1,
        }
    }

    /// When the value changes next after `now`.
    fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let passed = self.later.partition_point(|(from, _)| *from <= now);
        self.later.get(passed).map(|(from, _)| *from)
    }
}

impl Steps<BitsPerSecond> {
    /// When `bytes` whose transmission begins at `start` have left, the rate changing under way if
    /// the steps say so. `None` if they never leave: the rate is zero from some time on.
    #[must_use]
    pub fn finish(&self, start: Timestamp, bytes: usize) -> Option<Timestamp> {
        const NS: u64 = 1_000_000_000;
        // Bits times nanoseconds a second: what a rate in bit/s takes one unit of each ns.
        let mut left = bytes as u64 * 8 * NS;
        let mut at = start;
        loop {
            let rate = self.at(at).0;
            let change = self.next_change(at);
            if rate > 0 {
                let done = Timestamp::from_ns(at.as_ns() + left.div_ceil(rate));
                if change.is_none_or(|change| done <= change) {
                    return Some(done);
                }
            }
            let change = change?;
            left -= rate * (change.as_ns() - at.as_ns());
            at = change;
        }
    }

    /// Bits that the rate could carry between two times.
    #[must_use]
    pub fn capacity_bits(&self, from: Timestamp, to: Timestamp) -> u64 {
        let mut at = from;
        let mut sum: u128 = 0;
        while at < to {
            let end = self.next_change(at).map_or(to, |change| change.min(to));
            sum += u128::from(self.at(at).0) * end.since(at).as_nanos();
            at = end;
        }
        (sum / 1_000_000_000) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_rate_that_changes_under_way() {
        let rate = Steps::constant(BitsPerSecond(8_000))
            .then(SECOND, BitsPerSecond(0))
            .then(2 * SECOND, BitsPerSecond(16_000));
        let half = Timestamp::ZERO + SECOND / 2;
        // 500 bytes until the stop, then 1000 bytes at twice the rate after it.
        let done = rate.finish(half, 1500).expect("it leaves");
        assert_eq!(done, Timestamp::ZERO + SECOND * 5 / 2);
        assert_eq!(rate.capacity_bits(half, done), 1500 * 8);
    }

    #[test]
    fn a_dead_rate_never_finishes() {
        let rate = Steps::constant(BitsPerSecond(8_000)).then(SECOND, BitsPerSecond(0));
        assert_eq!(
            rate.finish(Timestamp::ZERO, 1000),
            Some(Timestamp::ZERO + SECOND)
        );
        assert_eq!(rate.finish(Timestamp::ZERO, 1001), None);
    }
}
