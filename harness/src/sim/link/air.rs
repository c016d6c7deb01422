//! A radio that aggregates: it waits for the medium, then sends all that has gathered as one
//! burst (802.11 A-MPDU), and stalls now and then (a scan, a neighbour, a rate change).

use std::collections::VecDeque;
use std::time::Duration;

use net::units::{BitsPerSecond, Timestamp};

use super::{Element, Outlet};
use crate::sim::packet::{Cause, PacketId};
use crate::sim::rng::{Chance, Rng};

/// How a radio behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AggregationConfig {
    /// Shortest wait for the medium.
    pub access_min: Duration,
    /// Longest wait for the medium; uniform between.
    pub access_max: Duration,
    /// Share of accesses that stall.
    pub stall_chance: Chance,
    /// How long a stall lasts, on top.
    pub stall: Duration,
    /// Packets in one burst at most (an A-MPDU has at most 64 before 802.11ax).
    pub burst_packets_max: usize,
    /// Rate on the air within a burst.
    pub air_rate: BitsPerSecond,
    /// Packets that wait at most, drop-tail.
    pub queue_packets_max: usize,
}

/// The radio.
#[derive(Debug)]
pub struct Aggregation {
    rng: Rng,
    config: AggregationConfig,
    waiting: VecDeque<(PacketId, Timestamp)>,
    /// When it may send next; set while something waits.
    access: Option<Timestamp>,
    /// End of the burst on the air.
    busy_until: Timestamp,
}

impl Aggregation {
    /// An idle radio.
    ///
    /// # Panics
    /// If its rate or its burst is zero.
    #[must_use]
    pub fn new(rng: Rng, config: AggregationConfig) -> Self {
        assert!(
            config.air_rate.0 > 0 && config.burst_packets_max > 0,
            "a radio that never sends"
        );
        Self {
            rng,
            config,
            waiting: VecDeque::new(),
            access: None,
            busy_until: Timestamp::ZERO,
        }
    }

    fn contend(&mut self, now: Timestamp) {
        let config = &self.config;
        let mut wait = self.rng.between(config.access_min, config.access_max);
        if self.rng.happens(config.stall_chance) {
            wait += config.stall;
        }
        self.access = Some(now.max(self.busy_until) + wait);
    }
}

impl Element for Aggregation {
    fn offer(&mut self, now: Timestamp, packet: PacketId, out: &mut Outlet<'_>) {
        if self.waiting.len() >= self.config.queue_packets_max {
            out.lose(packet, Cause::QueueFull);
            return;
        }
        self.waiting.push_back((packet, now));
        if self.access.is_none() {
            self.contend(now);
        }
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        self.access
    }

    fn handle_timeout(&mut self, now: Timestamp, out: &mut Outlet<'_>) {
        let burst = self.waiting.len().min(self.config.burst_packets_max);
        let bytes = |(packet, _): &(PacketId, Timestamp)| out.packet(*packet).bytes() as u64;
        let bits = self.waiting.iter().take(burst).map(bytes).sum::<u64>() * 8;
        self.access = None;
        self.busy_until = now + Duration::from_nanos(bits * 1_000_000_000 / self.config.air_rate.0);
        // A receiver hands up an aggregate when all of it is there.
        for (packet, since) in self.waiting.drain(..burst) {
            out.queued(packet, since, now);
            out.pass_at(packet, self.busy_until);
        }
        if !self.waiting.is_empty() {
            self.contend(now);
        }
    }
}
