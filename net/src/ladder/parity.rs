//! How much parity a frame gets, from what the path loses.
//!
//! Two regimes, told apart by how many repeats still fit before a frame is due (rounds):
//!
//! - Repeats fit: parity is a thin first line that spares most frames the round trip, at least
//!   one shard a frame, more only while it is cheap. The repeats do the rest.
//! - None fits: parity must do it alone: the smallest m with P(more than m of the frame's
//!   k + m datagrams are lost) ≤ [`ParityConfig::residual_max`].
//!
//! All slices share one parity at the frame's end, which costs least: `LADDER.md` has the table.
//!
//! Loss is taken as bursts that begin at random and have geometric length: the number lost of n
//! datagrams is then compound Poisson-geometric (Pólya-Aeppli; Johnson, Kemp, Kotz, "Univariate
//! Discrete Distributions", section 9.7). Two measured numbers give its parameters: the share
//! lost p, and the mean run of losses b. A run of b at random loss p is 1 / (1 − p) long by
//! chance alone; what counts is how much longer it is.
//!
//! Only +, −, ×, ÷ are used, which IEEE 754 defines to the bit: the simulator gives the same
//! everywhere. Shares are 0 to 1.

use std::time::Duration;

use crate::fec;
use crate::limits::{FEC_PERCENT_MAX, GF16_DATA_SHARDS_MAX, GF16_PARITY_SHARDS_MAX};
use crate::packetize::Protection;
use crate::units::Timestamp;

/// What is known of a path. Anything may be in it: values are clamped, NaN is no loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Path {
    /// Share of datagrams lost, 0 to 1. Of fewer than some hundred datagrams it says nothing:
    /// such are better counted as if they were 500.
    pub loss_share: f64,
    /// Mean run of lost datagrams, at least 1.
    pub burst_mean: f64,
    /// Smoothed round trip.
    pub round_trip: Duration,
}

/// Size of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSize {
    /// Data shards.
    pub data_shards: usize,
    /// Its bytes in whole shards: less, as each slice ends in a short one. Parity shards are
    /// whole, so this is what they cost a share of.
    pub whole_shards: usize,
}

/// The choices behind [`Parity`]; `LADDER.md` names the runs that decided them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParityConfig {
    /// How long after its last datagram a frame is of use, as the client's
    /// [`super::WantsConfig::wait`].
    pub wait: Duration,
    /// From a loss until it is asked for, and the time both machines take for the rest.
    pub detection: Duration,
    /// Share of frames that parity may leave incomplete where no repeat helps. A loss costs all
    /// frames until a recovery arrives, 6 at 60 Hz and 80 ms: 0.02 % are 0.15 % not shown.
    pub residual_max: f64,
    /// Most parity where no repeat fits: this share and [`Self::strong_per_loss`] × the loss ×
    /// how much longer than by chance bursts are.
    pub strong_base: f64,
    /// See [`Self::strong_base`].
    pub strong_per_loss: f64,
    /// Most parity at all, share.
    pub share_max: f64,
    /// What counts as cheap where repeats fit: this share and [`Self::thin_per_loss`] × the loss.
    pub thin_base: f64,
    /// See [`Self::thin_base`].
    pub thin_per_loss: f64,
    /// Share of frames that cheap parity tries to spare the repeat for.
    pub thin_residual: f64,
    /// Time constant of the fall after loss has ceased.
    pub fall: Duration,
    /// Time constant of the loss that bounds the cost: a peak of the measurement is none.
    pub mean: Duration,
}

impl Default for ParityConfig {
    fn default() -> Self {
        Self {
            wait: super::FRAME_WAIT,
            detection: Duration::from_millis(8),
            residual_max: 0.0002,
            strong_base: 0.115,
            strong_per_loss: 3.0,
            share_max: 0.5,
            thin_base: 0.04,
            thin_per_loss: 0.5,
            thin_residual: 0.01,
            fall: Duration::from_secs(3),
            mean: Duration::from_secs(4),
        }
    }
}

/// Chooses the parity of one session's frames.
#[derive(Clone, Debug)]
pub struct Parity {
    config: ParityConfig,
    /// Share lost, risen at once and fallen slowly.
    share: f64,
    /// How much longer bursts are than by chance, likewise.
    clumping: f64,
    /// Share lost, smoothed both ways.
    share_mean: f64,
    rounds: u32,
    /// Since when more rounds would fit than are counted on.
    more_rounds_since: Option<Timestamp>,
    began: Option<Timestamp>,
    updated: Option<Timestamp>,
    protection: Protection,
}

impl Parity {
    /// Until the first [`Self::update`]: one shard a frame.
    #[must_use]
    pub const fn new(config: ParityConfig) -> Self {
        Self {
            share: 0.0,
            clumping: 1.0,
            share_mean: 0.0,
            rounds: 0,
            more_rounds_since: None,
            began: None,
            updated: None,
            protection: Protection {
                percent: 0,
                shards_base: 1,
                shards_min: 1,
                slices_per_group: Protection::WHOLE_FRAME,
            },
            config,
        }
    }

    /// The choice.
    #[must_use]
    pub const fn protection(&self) -> Protection {
        self.protection
    }

    /// Repeats that fit before a frame is due.
    #[must_use]
    pub const fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Share of datagrams that parity alone must make good: none while a repeat comes in time.
    #[must_use]
    pub const fn share_alone(&self) -> f64 {
        if self.rounds == 0 { self.share } else { 0.0 }
    }

    /// Chooses anew, for frames of usually this size. Cheap enough for every feedback.
    pub fn update(&mut self, now: Timestamp, path: &Path, size: FrameSize) -> Protection {
        self.note(now, path);
        let k = size.data_shards.clamp(1, GF16_DATA_SHARDS_MAX);
        let whole = size.whole_shards.clamp(1, k);
        let shards = self.shards(k, |share| (whole as f64 * share) as usize);
        // The tangent of what is needed, through what is spent at k.
        let (low, high) = (k.div_ceil(2), (k + k / 2).min(GF16_DATA_SHARDS_MAX));
        let needed = |k: usize| self.shards(k, |_| k);
        let rise = needed(high).saturating_sub(needed(low));
        let percent = (100 * rise)
            .checked_div(high - low)
            .unwrap_or(0)
            .min(100 * shards / k)
            .min(usize::from(FEC_PERCENT_MAX)) as u8;
        let base = shards - fec::parity_for(k, percent).min(shards);
        self.protection.percent = percent;
        self.protection.shards_base = u8::try_from(base).unwrap_or(u8::MAX);
        self.protection
    }

    /// Parity shards for a frame of `k`; a share may cost so many.
    fn shards(&self, k: usize, cost: impl Fn(f64) -> usize) -> usize {
        let at_most = |share: f64| {
            let share = share.min(self.config.share_max);
            cost(share).clamp(1, GF16_PARITY_SHARDS_MAX)
        };
        let loss = self.share_mean * self.clumping;
        let cap = at_most(self.config.strong_base + self.config.strong_per_loss * loss);
        // What a round leaves missing: the want or the repeat was lost, and so on.
        let mut left = self.share;
        for _ in 0..self.rounds.min(4) {
            left *= (2.0 * self.share).min(1.0);
        }
        let needed = shards_for(k, left, self.clumping, self.config.residual_max, cap);
        if self.rounds == 0 {
            return needed.max(1);
        }
        let cheap = at_most(self.config.thin_base + self.config.thin_per_loss * self.share_mean);
        let sparing = self.config.thin_residual;
        let thin = shards_for(k, self.share, self.clumping, sparing, cheap);
        needed.max(thin).max(1)
    }

    fn note(&mut self, now: Timestamp, path: &Path) {
        // Comparisons are false with NaN, which so becomes the lower bound.
        let share = clamp(path.loss_share, 0.0, 0.5);
        let clumping = clamp(path.burst_mean * (1.0 - share), 1.0, 64.0);
        let fits = self.config.wait.saturating_sub(self.config.detection);
        let rounds = fits.as_nanos() / path.round_trip.as_nanos().max(1_000_000);
        let rounds = rounds.min(u128::from(u8::MAX)) as u32;
        let Some(updated) = self.updated.replace(now) else {
            (self.share, self.share_mean, self.clumping) = (share, share, clumping);
            self.rounds = rounds;
            self.began = Some(now);
            return;
        };
        let elapsed = now.since(updated);
        // Of the first seconds all counts alike: the loss of a path is not small at first.
        let age = self.began.map_or(Duration::ZERO, |began| now.since(began));
        let mean = self.config.mean.min(age);
        let fall = step(elapsed, self.config.fall);
        self.share = fallen(self.share, share, fall);
        self.clumping = fallen(self.clumping, clumping, fall);
        self.share_mean += (share - self.share_mean) * step(elapsed, mean);
        if rounds > self.rounds {
            let since = *self.more_rounds_since.get_or_insert(now);
            if now.since(since) < self.config.fall {
                return;
            }
        }
        self.rounds = rounds;
        self.more_rounds_since = None;
    }
}

/// The fewest parity shards, at most `shards_max`, with which a group of `k` is incomplete at
/// most in a share `residual` of cases: `share` of datagrams lost, in bursts of `burst`.
#[must_use]
pub fn shards_for(k: usize, share: f64, burst: f64, residual: f64, shards_max: usize) -> usize {
    let (mut low, mut high) = (0, shards_max);
    // Mostly it is a few: the first steps double, and only then what lies between is halved.
    let mut is_bracketed = false;
    while low < high {
        let middle = if is_bracketed {
            low + (high - low) / 2
        } else {
            (2 * low).min(high - 1)
        };
        if is_enough(middle, k + middle, share, burst, residual) {
            is_bracketed = true;
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// P(more than `m` of `n` datagrams are lost), `share` of them in bursts of mean length `burst`.
#[must_use]
pub fn lost_more_than(m: usize, n: usize, share: f64, burst: f64) -> f64 {
    remainders(n, share, burst)
        .nth(m)
        .expect("there is one for every number")
}

/// True if that is at most `residual`. As it never grows with `m`, the sum ends where it is told.
fn is_enough(m: usize, n: usize, share: f64, burst: f64, residual: f64) -> bool {
    let mut up_to_m = remainders(n, share, burst).take(m + 1);
    up_to_m.any(|remainder| remainder <= residual)
}

/// P(more than 0 are lost), P(more than 1), …: none is above the one before it.
fn remainders(n: usize, share: f64, burst: f64) -> impl Iterator<Item = f64> {
    // e^−700 is the smallest that is no denormal; beyond it everything is lost anyway.
    let bursts = clamp(n as f64 * share / burst, 0.0, 700.0);
    let again = 1.0 - 1.0 / burst;
    // P(0), P(1), …: each from the two before.
    let (mut before, mut p) = (0.0, exp_minus(bursts));
    let mut sum = p;
    let mut i_f = 0.0;
    std::iter::from_fn(move || {
        let remainder = clamp(1.0 - sum, 0.0, 1.0);
        i_f += 1.0;
        let next = ((2.0 * again * (i_f - 1.0) + bursts * (1.0 - again)) * p
            - again * again * (i_f - 2.0) * before)
            / i_f;
        (before, p) = (p, if next > 0.0 { next } else { 0.0 });
        sum += p;
        Some(remainder)
    })
}

/// e^−x for x ≥ 0: halved to below 1/8, the series to x¹⁰, squared back. Good to 1e-13.
fn exp_minus(x: f64) -> f64 {
    let (mut x, mut halvings) = (x, 0);
    while x > 0.125 {
        x *= 0.5;
        halvings += 1;
    }
    let mut sum = 1.0;
    for i in (1..=10).rev() {
        sum = 1.0 - sum * x / f64::from(i);
    }
    for _ in 0..halvings {
        sum *= sum;
    }
    sum
}

fn clamp(x: f64, min: f64, max: f64) -> f64 {
    if x > max {
        max
    } else if x > min {
        x
    } else {
        min
    }
}

fn fallen(held: f64, measured: f64, step: f64) -> f64 {
    if measured >= held {
        measured
    } else {
        held + (measured - held) * step
    }
}

fn step(elapsed: Duration, constant: Duration) -> f64 {
    let constant_us = constant.as_micros().max(1) as f64;
    clamp(elapsed.as_micros() as f64 / constant_us, 0.0, 1.0)
}

#[cfg(test)]
#[path = "parity_tests.rs"]
mod tests;
