//! The time of day, for expiry: a clock that is set back gives nobody more time.

use std::time::{SystemTime, UNIX_EPOCH};

use net::units::Timestamp;

/// Seconds since 1970 by the system's clock; 0 for one that stands before that.
#[must_use]
pub fn unix_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// The latest time that the system's clock has told, going on with the monotonic clock: whoever
/// has expired once does not come back before the host is started anew.
#[derive(Clone, Copy, Debug)]
pub struct Wall {
    told_unix_s: u64,
    at: Timestamp,
}

impl Wall {
    /// What both clocks tell now.
    #[must_use]
    pub const fn new(system_unix_s: u64, now: Timestamp) -> Self {
        Self {
            told_unix_s: system_unix_s,
            at: now,
        }
    }

    /// Seconds since 1970, from what both clocks tell now.
    pub fn read(&mut self, system_unix_s: u64, now: Timestamp) -> u64 {
        let least = self.told_unix_s + now.since(self.at).as_secs();
        if system_unix_s > least {
            *self = Self::new(system_unix_s, now);
        }
        system_unix_s.max(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_ns(seconds * 1_000_000_000)
    }

    #[test]
    fn a_clock_that_is_set_back_goes_on() {
        let mut wall = Wall::new(1000, at(50));
        assert_eq!(wall.read(1010, at(60)), 1010);
        assert_eq!(wall.read(3, at(65)), 1015);
        assert_eq!(wall.read(1012, at(66)), 1016);
        assert_eq!(wall.read(1017, at(67)), 1017);
    }

    #[test]
    fn a_clock_that_is_set_forward_is_believed_for_good() {
        let mut wall = Wall::new(1000, at(0));
        assert_eq!(wall.read(9000, at(1)), 9000);
        assert_eq!(wall.read(1002, at(2)), 9001);
    }
}
