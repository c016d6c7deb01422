//! Delay, and what disturbs the order of arrival.

use std::time::Duration;

use net::units::Timestamp;

use super::{Element, Outlet};
use crate::sim::packet::PacketId;
use crate::sim::rng::{Chance, Rng};

/// The same delay for all: propagation.
#[derive(Debug)]
pub struct Delay {
    by: Duration,
}

impl Delay {
    /// Delays by `by`.
    #[must_use]
    pub const fn new(by: Duration) -> Self {
        Self { by }
    }
}

impl Element for Delay {
    fn offer(&mut self, now: Timestamp, packet: PacketId, out: &mut Outlet<'_>) {
        out.pass_at(packet, now + self.by);
    }
}

/// A delay that varies from datagram to datagram.
#[derive(Debug)]
pub struct Jitter {
    rng: Rng,
    up_to: Duration,
    /// Nothing overtakes: the release of the one before, where order is kept.
    not_before: Option<Timestamp>,
}

impl Jitter {
    /// Uniform from zero to `up_to`, and nothing overtakes, as in a queue with other traffic.
    #[must_use]
    pub const fn in_order(rng: Rng, up_to: Duration) -> Self {
        Self {
            rng,
            up_to,
            not_before: Some(Timestamp::ZERO),
        }
    }

    /// Uniform from zero to `up_to`, each for itself: datagrams closer than that are reordered.
    #[must_use]
    pub const fn free(rng: Rng, up_to: Duration) -> Self {
        Self {
            rng,
            up_to,
            not_before: None,
        }
    }
}

impl Element for Jitter {
    fn offer(&mut self, now: Timestamp, packet: PacketId, out: &mut Outlet<'_>) {
        let mut at = now + self.rng.between(Duration::ZERO, self.up_to);
        if let Some(before) = &mut self.not_before {
            at = at.max(*before);
            *before = at;
        }
        out.pass_at(packet, at);
    }
}

/// Holds some datagrams back while others overtake them.
#[derive(Debug)]
pub struct Reorder {
    rng: Rng,
    chance: Chance,
    by: Duration,
}

impl Reorder {
    /// Holds `chance` of all back by `by`.
    #[must_use]
    pub const fn new(rng: Rng, chance: Chance, by: Duration) -> Self {
        Self { rng, chance, by }
    }
}

impl Element for Reorder {
    fn offer(&mut self, now: Timestamp, packet: PacketId, out: &mut Outlet<'_>) {
        if self.rng.happens(self.chance) {
            out.pass_at(packet, now + self.by);
        } else {
            out.pass(packet);
        }
    }
}

/// Sends some datagrams twice.
#[derive(Debug)]
pub struct Duplicate {
    rng: Rng,
    chance: Chance,
    after: Duration,
}

impl Duplicate {
    /// Sends a copy of `chance` of all, `after` the original.
    #[must_use]
    pub const fn new(rng: Rng, chance: Chance, after: Duration) -> Self {
        Self { rng, chance, after }
    }
}

impl Element for Duplicate {
    fn offer(&mut self, now: Timestamp, packet: PacketId, out: &mut Outlet<'_>) {
        out.pass(packet);
        if self.rng.happens(self.chance) {
            let copy = out.copy(packet);
            out.pass_at(copy, now + self.after);
        }
    }
}
