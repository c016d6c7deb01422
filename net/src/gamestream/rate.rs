//! How much video a client's path takes, from what its reports tell: loss, frames that could not
//! be made whole, and the control stream's round trip, which shares the bottleneck's queue.
//!
//! Stock clients report no arrival times, so nothing is measured ahead of the loss. The rate
//! starts at what the client asked for and never exceeds it. It falls when the path is congested,
//! which is more loss than links have by themselves, or a queue that grows; it rises slowly, and
//! slower where it was congested before. Random loss up to [`LOSS_OF_CONGESTION`] is parity's task
//! and no reason to give up quality.
//!
//! Sans-IO: the caller tells what came and calls [`LinkRate::poll`] some ten times a second.

use std::time::Duration;

use crate::units::{BitsPerSecond, Timestamp};

/// Share of packets lost over [`LOSS_WINDOW`] that a queue's end explains better than the air.
pub const LOSS_OF_CONGESTION: f64 = 0.15;
/// What loss is looked at over.
pub const LOSS_WINDOW: Duration = Duration::from_millis(600);
/// Frames lost within [`DAMAGE_WINDOW`] that are congestion, too: blocks that are lost whole are in
/// no report of packets.
const DAMAGES_OF_CONGESTION: u32 = 4;
/// A queue that is full loses frames in a row; bursts of the air, eight a second at 5 % in eights,
/// come one by one.
const DAMAGE_WINDOW: Duration = Duration::from_millis(300);
/// A round trip that has grown by so much waits in a queue.
const QUEUE_OF_CONGESTION: Duration = Duration::from_millis(60);
/// The smallest round trip is forgotten after so long: the path may have changed.
const ROUND_TRIP_MEMORY: Duration = Duration::from_secs(30);
/// Between two steps down: until the step before shows in what the client reports.
const FALL_INTERVAL: Duration = Duration::from_millis(400);
/// A step down.
const FALL: f64 = 0.65;
/// Without congestion for so long, the rate rises.
const RISE_AFTER: Duration = Duration::from_secs(2);
/// Between two steps up.
const RISE_INTERVAL: Duration = Duration::from_millis(500);
/// A step up, and one near the rate that was congested last.
const RISE: f64 = 1.06;
const RISE_NEAR: f64 = 1.02;

/// The rate of one session.
#[derive(Clone, Debug)]
pub struct LinkRate {
    floor: f64,
    ceiling: f64,
    rate: f64,
    /// What was too much last.
    too_much: Option<f64>,
    last_congested: Option<Timestamp>,
    last_fall: Option<Timestamp>,
    last_rise: Timestamp,
    damages: [Option<Timestamp>; DAMAGES_OF_CONGESTION as usize],
    round_trip_min: Option<(Duration, Timestamp)>,
}

impl LinkRate {
    /// Between these two, bits a second on the wire; begins with the larger.
    #[must_use]
    pub fn new(now: Timestamp, floor: BitsPerSecond, ceiling: BitsPerSecond) -> Self {
        let ceiling = ceiling.0.max(1) as f64;
        Self {
            floor: (floor.0 as f64).min(ceiling),
            ceiling,
            rate: ceiling,
            too_much: None,
            last_congested: None,
            last_fall: None,
            last_rise: now,
            damages: [None; DAMAGES_OF_CONGESTION as usize],
            round_trip_min: None,
        }
    }

    /// The rate, parity included.
    #[must_use]
    pub const fn rate(&self) -> BitsPerSecond {
        BitsPerSecond(self.rate as u64)
    }

    /// It has fallen and waits until it may rise.
    #[must_use]
    pub fn is_congested(&self, now: Timestamp) -> bool {
        self.last_congested
            .is_some_and(|at| now.since(at) < RISE_AFTER)
    }

    /// What this round trip waits in a queue, over the smallest one known.
    #[must_use]
    pub fn queue_delay(&self, round_trip: Duration) -> Duration {
        let least = self.round_trip_min.map_or(round_trip, |(min, _)| min);
        round_trip.saturating_sub(least)
    }

    /// The client could not make a frame whole.
    pub fn handle_damage(&mut self, now: Timestamp) {
        self.damages.rotate_left(1);
        if let Some(newest) = self.damages.last_mut() {
            *newest = Some(now);
        }
    }

    /// Decides anew: `loss_share` over [`LOSS_WINDOW`], and the control stream's round trip.
    pub fn poll(&mut self, now: Timestamp, loss_share: f64, round_trip: Duration) {
        let is_new = |(min, at): (Duration, Timestamp)| {
            round_trip <= min || now.since(at) > ROUND_TRIP_MEMORY
        };
        if self.round_trip_min.is_none_or(is_new) {
            self.round_trip_min = Some((round_trip, now));
        }
        let least = self.round_trip_min.map_or(round_trip, |(min, _)| min);
        let oldest = self.damages[0];
        let is_damaged = oldest.is_some_and(|at| now.since(at) <= DAMAGE_WINDOW);
        let is_queued = round_trip > least + QUEUE_OF_CONGESTION;
        if loss_share > LOSS_OF_CONGESTION || is_damaged || is_queued {
            self.last_congested = Some(now);
            self.fall(now);
        } else {
            self.rise(now);
        }
    }

    fn fall(&mut self, now: Timestamp) {
        let fell = |at: Timestamp| now.since(at) < FALL_INTERVAL;
        if self.last_fall.is_some_and(fell) {
            return;
        }
        self.too_much = Some(self.rate);
        self.last_fall = Some(now);
        self.rate = (self.rate * FALL).max(self.floor);
    }

    fn rise(&mut self, now: Timestamp) {
        let is_quiet = |at: Timestamp| now.since(at) >= RISE_AFTER;
        let waits = self.last_congested.is_some_and(|at| !is_quiet(at));
        if waits || now.since(self.last_rise) < RISE_INTERVAL {
            return;
        }
        self.last_rise = now;
        let is_near = self
            .too_much
            .is_some_and(|it| self.rate > 0.7 * it && self.rate < 1.1 * it);
        let step = if is_near { RISE_NEAR } else { RISE };
        self.rate = (self.rate * step).min(self.ceiling);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CEILING: BitsPerSecond = BitsPerSecond(10_000_000);
    const FLOOR: BitsPerSecond = BitsPerSecond(250_000);
    const ROUND_TRIP: Duration = Duration::from_millis(20);

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ns(1_000_000_000 + ms * 1_000_000)
    }

    /// Over `ms`, of a link that takes `link` and loses the rest.
    fn run(rate: &mut LinkRate, from_ms: u64, ms: u64, link: f64) {
        for step in 0..ms / 100 {
            let sent = rate.rate().0 as f64;
            let loss = ((sent - link) / sent).max(0.0);
            rate.poll(at(from_ms + step * 100), loss, ROUND_TRIP);
        }
    }

    #[test]
    fn it_finds_a_link_of_a_third_within_two_seconds_and_stays_near_it() {
        let mut rate = LinkRate::new(at(0), FLOOR, CEILING);
        run(&mut rate, 0, 2000, 3e6);
        assert!(rate.rate().0 <= 3_600_000, "{:?}", rate.rate());
        run(&mut rate, 2000, 20_000, 3e6);
        assert!(rate.rate().0 >= 2_000_000, "{:?}", rate.rate());
        run(&mut rate, 22_000, 60_000, 1e9);
        assert_eq!(rate.rate(), CEILING, "the link is free again");
    }

    #[test]
    fn random_loss_costs_no_quality() {
        let mut rate = LinkRate::new(at(0), FLOOR, CEILING);
        for step in 0..200 {
            rate.poll(at(step * 100), 0.08, ROUND_TRIP);
            if step % 10 == 0 {
                rate.handle_damage(at(step * 100));
            }
        }
        assert_eq!(rate.rate(), CEILING);
    }

    #[test]
    fn a_queue_and_frames_lost_in_a_row_are_congestion() {
        let mut rate = LinkRate::new(at(0), FLOOR, CEILING);
        rate.poll(at(0), 0.0, ROUND_TRIP);
        rate.poll(at(100), 0.0, ROUND_TRIP + Duration::from_millis(100));
        assert_eq!(rate.rate(), BitsPerSecond(6_500_000));
        let mut rate = LinkRate::new(at(0), FLOOR, CEILING);
        for frame in 0..4 {
            rate.handle_damage(at(16 * frame));
        }
        rate.poll(at(100), 0.0, ROUND_TRIP);
        assert_eq!(rate.rate(), BitsPerSecond(6_500_000));
        for step in 1..100 {
            rate.poll(at(100 + step * 500), 0.9, ROUND_TRIP);
        }
        assert_eq!(rate.rate(), FLOOR);
    }
}
