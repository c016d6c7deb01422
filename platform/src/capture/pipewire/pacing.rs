//! How evenly pictures come: their distance in time to whole refreshes of the output.

use std::time::Duration;

use net::units::Timestamp;

/// A longer pause is a still desktop, not a late picture.
const PAUSE: Duration = Duration::from_millis(250);

/// What was seen of a node's pictures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pacing {
    /// Intervals that count.
    pub intervals: u64,
    last: Option<Timestamp>,
    sum_of_squares: f64,
}

impl Pacing {
    /// Nothing seen yet.
    pub(super) const NONE: Self = Self {
        intervals: 0,
        last: None,
        sum_of_squares: 0.0,
    };

    /// A picture of that time, on an output of that refresh interval.
    pub(super) fn note(&mut self, at: Timestamp, refresh: Duration) {
        let before = self.last.replace(at);
        let Some(interval) = before.map(|before| at.since(before)) else {
            return;
        };
        if interval > PAUSE || refresh.is_zero() {
            return;
        }
        let (interval, refresh) = (interval.as_secs_f64(), refresh.as_secs_f64());
        // Pictures that nobody drew are not late.
        let due = (interval / refresh).round().max(1.0) * refresh;
        self.sum_of_squares += (interval - due).powi(2);
        self.intervals += 1;
    }

    /// Standard deviation of the intervals from whole refreshes; `None` before there are any.
    #[must_use]
    pub fn judder(&self) -> Option<Duration> {
        (self.intervals > 0)
            .then(|| Duration::from_secs_f64((self.sum_of_squares / self.intervals as f64).sqrt()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_refreshes_are_no_judder_and_late_pictures_are() {
        let refresh = Duration::from_millis(10);
        let times = |times: &[u64]| {
            let mut pacing = Pacing::NONE;
            for ms in times {
                pacing.note(Timestamp::from_ns(ms * 1_000_000), refresh);
            }
            pacing
        };
        assert_eq!(times(&[5]).judder(), None);
        let even = times(&[0, 10, 20, 50, 60, 9000, 9010]);
        assert_eq!((even.intervals, even.judder()), (5, Some(Duration::ZERO)));
        let uneven = times(&[0, 12, 20]);
        let judder = uneven.judder().expect("two intervals").as_micros();
        assert!((1999..=2001).contains(&judder), "{judder} µs");
    }
}
