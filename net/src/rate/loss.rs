//! How much is lost, and in what bursts.
//!
//! The fit is Gilbert's: a path is good or bad, in the bad state everything is lost. Two numbers
//! describe it: the share of loss and the mean length of a run of losses. They are what a choice
//! of parity needs, and they are counted, not filtered: a window of [`WINDOW`] in parts.

use std::time::Duration;

use crate::units::Timestamp;

use super::sent::Fate;

/// What the figures cover. At 2000 datagrams a second and 1 % in bursts of 8 these are five
/// bursts: less would make the share a game of dice.
pub const WINDOW: Duration = Duration::from_secs(2);
const PARTS: usize = 10;
const PART_NS: u64 = WINDOW.as_nanos() as u64 / PARTS as u64;

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    index: u64,
    arrived: u32,
    lost: u32,
    bursts: u32,
}

/// Loss over two seconds, or 0.4 s where that is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// Datagrams whose fate is known.
    pub datagrams: u32,
    /// Of these lost.
    pub lost: u32,
    /// Runs of consecutive losses.
    pub bursts: u32,
}

impl Loss {
    /// Share of lost datagrams, 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        f64::from(self.lost) / f64::from(self.datagrams.max(1))
    }

    /// Mean run of losses, datagrams, at least 1. Random loss of share p has 1 / (1 − p).
    #[must_use]
    pub fn burst_mean(&self) -> f64 {
        (f64::from(self.lost) / f64::from(self.bursts.max(1))).max(1.0)
    }
}

/// Counts fates.
#[derive(Debug, Default)]
pub struct LossMeter {
    parts: [Part; PARTS],
    was_lost: bool,
    total_lost: u64,
}

impl LossMeter {
    /// The next sequence's fate, as learnt at `now`.
    pub fn handle(&mut self, now: Timestamp, fate: Fate) {
        let index = now.as_ns() / PART_NS;
        let part = &mut self.parts[(index % PARTS as u64) as usize];
        if part.index != index {
            *part = Part {
                index,
                ..Part::default()
            };
        }
        let is_lost = fate == Fate::Lost;
        part.arrived += u32::from(!is_lost);
        part.lost += u32::from(is_lost);
        part.bursts += u32::from(is_lost && !self.was_lost);
        self.was_lost = is_lost;
        self.total_lost += u64::from(is_lost);
    }

    /// Forgets what the figures cover: an outage says nothing about the path before and after.
    pub fn forget(&mut self) {
        self.parts = [Part::default(); PARTS];
        self.was_lost = false;
    }

    /// The figures up to `now`.
    #[must_use]
    pub fn loss(&self, now: Timestamp) -> Loss {
        self.over(now, PARTS)
    }

    /// The figures of the last 0.4 s alone.
    #[must_use]
    pub fn loss_short(&self, now: Timestamp) -> Loss {
        self.over(now, 2)
    }

    /// All that were ever lost.
    #[must_use]
    pub const fn total_lost(&self) -> u64 {
        self.total_lost
    }

    fn over(&self, now: Timestamp, parts: usize) -> Loss {
        let index = now.as_ns() / PART_NS;
        let is_in = |part: &&Part| index.saturating_sub(part.index) < parts as u64;
        let mut loss = Loss::default();
        for part in self.parts.iter().filter(is_in) {
            loss.datagrams += part.arrived + part.lost;
            loss.lost += part.lost;
            loss.bursts += part.bursts;
        }
        loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_and_bursts_of_the_window() {
        let mut meter = LossMeter::default();
        let now = |ms: u64| Timestamp::from_ns(ms * 1_000_000);
        for i in 0..1000 {
            let fate = if i % 100 < 4 {
                Fate::Lost
            } else {
                Fate::Arrived
            };
            meter.handle(now(10_000 + i), fate);
        }
        let loss = meter.loss(now(11_000));
        assert_eq!((loss.datagrams, loss.lost, loss.bursts), (1000, 40, 10));
        assert!((loss.share() - 0.04).abs() < 1e-9 && (loss.burst_mean() - 4.0).abs() < 1e-9);
        assert_eq!(meter.loss(now(14_000)).datagrams, 0);
        assert_eq!(meter.total_lost(), 40);
        meter.forget();
        assert_eq!(meter.loss(now(11_000)), Loss::default());
        assert_eq!(meter.total_lost(), 40);
    }
}
