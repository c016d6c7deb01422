//! Which later datagrams carry a copy of a packet, decided from what was lost of late.
//!
//! The history of the last 10 s of datagrams, lost or not, is asked what each plan would have left
//! missing. That covers bursts, whatever their law. Few events say little, so chance is a floor:
//! at a loss of p, c copies leave p^(c + 1). The cheapest plan below [`RESIDUAL_MAX`] is taken, at
//! once; a cheaper one than the present only after it would have done for [`HOLD`]. Cost is
//! copies first (bandwidth), then distance (delay).

use std::time::Duration;

use super::datagram::{AudioReport, REPORT_DATAGRAMS};
use super::{COPIES_MAX, DISTANCE_MAX};
use crate::units::Timestamp;

/// Packets that may stay missing, share of all: half of the 0.1 % that the plane promises; the
/// rest is for lateness and for the time until a plan changes.
pub const RESIDUAL_MAX: f64 = 0.000_5;
/// How long a cheaper plan must have done before it is taken.
pub const HOLD: Duration = Duration::from_secs(5);

/// Plans by rising cost: distances of the copies, packets.
const PLANS: [&[u8]; 10] = [
    &[],
    &[1],
    &[2],
    &[4],
    &[1, 2],
    &[2, 4],
    &[4, 8],
    &[1, 2, 3],
    &[2, 4, 6],
    &[2, 5, 8],
];
const _: () = {
    let mut i = 0;
    while i < PLANS.len() {
        assert!(PLANS[i].len() <= COPIES_MAX);
        assert!(PLANS[i].is_empty() || PLANS[i][PLANS[i].len() - 1] <= DISTANCE_MAX);
        i += 1;
    }
};
/// Datagrams of the history: 10 s.
const HISTORY: usize = 2048;
/// Datagrams after which a rise of the loss is seen: 1.3 s.
const RECENT: usize = 256;
/// A datagram is lost when it is this much older than the newest that arrived: 40 ms.
const REORDERING: u64 = 8;
/// A plan that leaves this much more than the best is as good: no delay for next to nothing.
const AS_GOOD: f64 = 1.25;

/// A report that cannot be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("audio datagram {newest} was reported and {sent} were sent: ignore the report")]
pub struct ReportError {
    /// Number reported, mod 2³².
    pub newest: u32,
    /// Datagrams sent.
    pub sent: u64,
}

/// The host's decision.
#[derive(Debug)]
pub struct Redundancy {
    /// Bit `i % HISTORY`: the datagram that was judged as number i is lost.
    lost: Box<[u64; HISTORY / 64]>,
    /// Datagrams judged so far.
    judged: u64,
    /// Number of the next datagram to judge; those that no report told of are left out.
    next: u64,
    plan: usize,
    /// Since when a cheaper plan would have done.
    cheaper_since: Option<Timestamp>,
    /// The dearest of the plans that would have done since.
    cheaper: usize,
}

impl Default for Redundancy {
    fn default() -> Self {
        Self::new()
    }
}

impl Redundancy {
    /// Nothing lost yet: no copies.
    #[must_use]
    pub fn new() -> Self {
        Self {
            lost: Box::new([0; HISTORY / 64]),
            judged: 0,
            next: 0,
            plan: 0,
            cheaper_since: None,
            cheaper: 0,
        }
    }

    /// Distances of the copies that a datagram is to carry, packets, rising.
    #[must_use]
    pub fn plan(&self) -> &'static [u8] {
        PLANS[self.plan]
    }

    /// Share of datagrams lost lately, 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.share(HISTORY).max(self.share(RECENT))
    }

    /// The client reported; `sent` datagrams were sent so far, numbered from 0. Repeats and any
    /// order are harmless.
    ///
    /// # Errors
    /// [`ReportError`] where it tells of a datagram that was never sent.
    pub fn handle_report(
        &mut self,
        now: Timestamp,
        sent: u64,
        report: &AudioReport,
    ) -> Result<(), ReportError> {
        let error = ReportError {
            newest: report.newest,
            sent,
        };
        let last = sent.checked_sub(1).ok_or(error)?;
        let back = u64::from((last as u32).wrapping_sub(report.newest));
        let newest = last.checked_sub(back).ok_or(error)?;
        let first = newest.saturating_sub(REPORT_DATAGRAMS as u64 - 1);
        for number in first.max(self.next)..(newest + 1).saturating_sub(REORDERING) {
            self.judge(report.arrived >> (newest - number) & 1 == 0);
            self.next = number + 1;
        }
        self.decide(now);
        Ok(())
    }

    fn judge(&mut self, lost: bool) {
        let at = self.judged as usize % HISTORY;
        let bit = 1 << (at % 64);
        if lost {
            self.lost[at / 64] |= bit;
        } else {
            self.lost[at / 64] &= !bit;
        }
        self.judged += 1;
    }

    fn is_lost(&self, index: u64) -> bool {
        let at = index as usize % HISTORY;
        self.lost[at / 64] >> (at % 64) & 1 == 1
    }

    /// Indices of the history, newest `count` at most.
    fn window(&self, count: usize) -> std::ops::Range<u64> {
        self.judged.saturating_sub(count as u64)..self.judged
    }

    fn share(&self, count: usize) -> f64 {
        let lost = self.window(count).filter(|&i| self.is_lost(i)).count();
        // The first datagrams are not a sample of their own.
        lost as f64 / count.min(self.judged as usize).max(RECENT / 2) as f64
    }

    /// Shares that the plans leave missing.
    fn residuals(&self) -> [f64; PLANS.len()] {
        let mut left = [0u32; PLANS.len()];
        let window = self.window(HISTORY);
        for index in window.clone().filter(|&i| self.is_lost(i)) {
            for (left, plan) in left.iter_mut().zip(PLANS) {
                let gone = plan.iter().all(|&distance| {
                    let carrier = index + u64::from(distance);
                    carrier < window.end && self.is_lost(carrier)
                });
                *left += u32::from(gone);
            }
        }
        let judged = (window.end - window.start).max(RECENT as u64) as f64;
        let loss = self.loss();
        std::array::from_fn(|i| {
            // By multiplication: a power need not be the same on every machine.
            let chance = PLANS[i].iter().fold(loss, |chance, _| chance * loss);
            chance.max(f64::from(left[i]) / judged)
        })
    }

    fn decide(&mut self, now: Timestamp) {
        let residuals = self.residuals();
        let best = residuals.iter().copied().fold(f64::INFINITY, f64::min);
        let enough = RESIDUAL_MAX.max(best * AS_GOOD);
        let wanted = residuals
            .iter()
            .position(|&residual| residual <= enough)
            .expect("the best is enough");
        if wanted >= self.plan {
            self.plan = wanted;
            self.cheaper_since = None;
            return;
        }
        let since = *self.cheaper_since.get_or_insert_with(|| {
            self.cheaper = 0;
            now
        });
        self.cheaper = self.cheaper.max(wanted);
        if now.since(since) >= HOLD {
            self.plan = self.cheaper;
            self.cheaper_since = None;
        }
    }
}
