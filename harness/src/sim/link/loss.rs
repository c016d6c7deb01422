//! Loss: independent, and in bursts.

use net::units::Timestamp;

use super::{Element, Outlet};
use crate::sim::packet::{Cause, PacketId};
use crate::sim::rng::{Chance, Rng};

/// Every datagram is lost with the same probability.
#[derive(Debug)]
pub struct RandomLoss {
    rng: Rng,
    chance: Chance,
}

impl RandomLoss {
    /// Loses `chance` of all.
    #[must_use]
    pub const fn new(rng: Rng, chance: Chance) -> Self {
        Self { rng, chance }
    }
}

impl Element for RandomLoss {
    fn offer(&mut self, _now: Timestamp, packet: PacketId, out: &mut Outlet<'_>) {
        if self.rng.happens(self.chance) {
            out.lose(packet, Cause::Random);
        } else {
            out.pass(packet);
        }
    }
}

/// The Gilbert-Elliott model: a good and a bad state, each with its own loss, left with a fixed
/// probability after every datagram (Gilbert 1960, Elliott 1963).
#[derive(Debug)]
pub struct GilbertElliott {
    rng: Rng,
    bad: bool,
    /// Good to bad, bad to good.
    enter: Chance,
    leave: Chance,
    loss_good: Chance,
    loss_bad: Chance,
}

impl GilbertElliott {
    /// All four probabilities: of entering and leaving the bad state, per datagram, and of loss in
    /// the good and in the bad state.
    #[must_use]
    pub const fn new(
        rng: Rng,
        enter: Chance,
        leave: Chance,
        loss_good: Chance,
        loss_bad: Chance,
    ) -> Self {
        Self {
            rng,
            bad: false,
            enter,
            leave,
            loss_good,
            loss_bad,
        }
    }

    /// Gilbert's simple form, all lost in the bad state and none in the good one: `share_ppm`
    /// millionths of all are lost, `burst` datagrams in a row on average.
    ///
    /// The bad state lasts 1/leave datagrams and its share of time is enter/(enter + leave), so
    /// leave = 1/burst and enter = share × leave/(1 − share).
    ///
    /// # Panics
    /// If `burst` is zero or everything is to be lost.
    #[must_use]
    pub const fn bursts(rng: Rng, share_ppm: u64, burst: u64) -> Self {
        assert!(share_ppm < 1_000_000 && burst > 0, "a share below all");
        Self::new(
            rng,
            Chance::ratio(share_ppm, (1_000_000 - share_ppm) * burst),
            Chance::ratio(1, burst),
            Chance::NEVER,
            Chance::ALWAYS,
        )
    }
}

impl Element for GilbertElliott {
    fn offer(&mut self, _now: Timestamp, packet: PacketId, out: &mut Outlet<'_>) {
        let change = if self.bad { self.leave } else { self.enter };
        if self.rng.happens(change) {
            self.bad = !self.bad;
        }
        let loss = if self.bad {
            self.loss_bad
        } else {
            self.loss_good
        };
        if self.rng.happens(loss) {
            let cause = if self.bad {
                Cause::Burst
            } else {
                Cause::Random
            };
            out.lose(packet, cause);
        } else {
            out.pass(packet);
        }
    }
}
