//! What a client reports of its packets and frames, and what the ladder takes from it.
//!
//! A client says less than the native one: 0x5502 for each block that lost packets, 0x0301 for
//! frames that it could not make whole, 0x0302 where nothing but an IDR helps; no word of what
//! arrived when. [`Reports`] keeps the loss of the last two seconds from it
//! ([`Reports::path`]), and puts 0x0301 as the [`Feedback`] that
//! [`Ladder::handle_feedback`](crate::ladder::Ladder::handle_feedback) knows.
//!
//! - A block that was recovered was reported before all of it was there: what is missing below
//!   the highest packet is lost, what lies above is not known. One that was given up is reported
//!   when the next begins: whatever is missing is lost.
//! - A block that lost everything is not reported. Its frame is, with 0x0301.
//! - Clients never say that they are whole again; they go on asking while they are not. So the
//!   damage is over when none has come for a while after a recovery was sent.

use std::time::Duration;

use crate::feedback::{Damage, Feedback};
use crate::ladder::Path;
use crate::units::{FrameId, Timestamp};

use super::control::FromClient;

/// What the loss covers; as in [`crate::rate`].
const WINDOW: Duration = Duration::from_secs(2);
const PARTS: usize = 10;
const PART_NS: u64 = WINDOW.as_nanos() as u64 / PARTS as u64;
/// A share of fewer packets than this says nothing.
const PACKETS_MIN: f64 = 500.0;
/// How many times what chance takes of a hit block makes a burst: three packets at little loss.
const BURST_FACTOR: f64 = 2.5;
/// A client that misses the recovery says so with the next frame. Shorter than what the ladder
/// waits, so that it does not take silence for the loss of the recovery.
const REPEAT_PATIENCE: Duration = Duration::from_millis(25);

/// Message 0x5502: what became of one FEC block that lost packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FecStatus {
    /// As counted on the wire.
    pub frame: u32,
    /// Highest RTP sequence of the block that came.
    pub highest_received: u16,
    /// First RTP sequence that did not come in order.
    pub next_contiguous: u16,
    /// Packets missing below the highest.
    pub missing_before_highest: u16,
    /// Data packets of the block.
    pub data_packets: u16,
    /// Parity packets of the block.
    pub parity_packets: u16,
    /// Data packets that came.
    pub data_received: u16,
    /// Parity packets that came.
    pub parity_received: u16,
    /// Parity, percent.
    pub percent: u8,
    /// Which block of the frame.
    pub block: u8,
    /// Blocks of the frame.
    pub blocks: u8,
}

impl FecStatus {
    /// True if the block was made whole.
    #[must_use]
    pub const fn is_recovered(&self) -> bool {
        self.data_received + self.parity_received >= self.data_packets
    }

    /// Packets of the block that are known to be lost.
    #[must_use]
    pub const fn lost(&self) -> u32 {
        if self.is_recovered() {
            return self.missing_before_highest as u32;
        }
        let sent = self.data_packets as u32 + self.parity_packets as u32;
        sent.saturating_sub(self.data_received as u32 + self.parity_received as u32)
    }
}

/// What a message asks of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Packets were lost; a burst if more in one block than chance explains.
    Loss {
        /// For [`super::video::BlockPolicy::handle_loss`].
        is_burst: bool,
    },
    /// Frames were lost: the ladder is to have [`Reports::feedback`], and nothing more of frame
    /// `last` is worth sending.
    Damage(Damage),
    /// The encoder begins anew, whatever the ladder thinks.
    Idr,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    index: u64,
    sent: u32,
    lost: u32,
    blocks: u32,
    blocks_hit: u32,
}

/// The reports of one session.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    parts: [Part; PARTS],
    damage: Option<Damage>,
    /// The recovery or IDR that answers, and when it was sent.
    answer: Option<(FrameId, Timestamp)>,
    newest_sent: Option<FrameId>,
    impossible: u64,
}

impl Reports {
    /// Nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reports of frames that were never sent.
    #[must_use]
    pub const fn impossible(&self) -> u64 {
        self.impossible
    }

    /// A block went out: so many packets with its parity.
    pub fn handle_sent(&mut self, now: Timestamp, frame: FrameId, packets: u32, recovers: bool) {
        let part = self.part(now);
        part.sent += packets;
        part.blocks += 1;
        self.newest_sent = Some(frame);
        // What was told before counts: this may come with the next frame only.
        if recovers && self.answer.is_none_or(|(known, _)| known.0 < frame.0) {
            self.handle_recovery(now, frame);
        }
    }

    /// Part of a frame went out that refers to nothing lost; what else is told of it comes later.
    pub fn handle_recovery(&mut self, now: Timestamp, frame: FrameId) {
        let is_answer = |damage: Damage| frame.0 > damage.newest_lost.0;
        if self.damage.is_some_and(is_answer) {
            self.answer = Some((frame, now));
        }
    }

    /// The client said something; what it asks for, if anything.
    pub fn handle(&mut self, now: Timestamp, message: &FromClient) -> Option<Report> {
        match message {
            FromClient::FecStatus(status) => self.status(now, status),
            FromClient::Invalidate { first, last } => self.invalidate(*first, *last),
            FromClient::RequestIdr => Some(Report::Idr),
            FromClient::LossStats(stats) if stats.lost > 0 => {
                let part = self.part(now);
                part.lost += stats.lost;
                part.blocks_hit += 1;
                Some(Report::Loss { is_burst: false })
            }
            _ => None,
        }
    }

    fn status(&mut self, now: Timestamp, status: &FecStatus) -> Option<Report> {
        let lost = status.lost();
        if lost == 0 {
            return None;
        }
        let part = self.part(now);
        part.lost += lost;
        part.blocks_hit += 1;
        let by_chance = self.by_chance(now);
        Some(Report::Loss {
            is_burst: f64::from(lost) > BURST_FACTOR * by_chance || !status.is_recovered(),
        })
    }

    fn invalidate(&mut self, first: u32, last: u32) -> Option<Report> {
        // Counted from 1 on the wire.
        let (Some(first), Some(last)) = (first.checked_sub(1), last.checked_sub(1)) else {
            self.impossible += 1;
            return None;
        };
        if self.newest_sent.is_none_or(|newest| last > newest.0) {
            self.impossible += 1;
            return None;
        }
        let damage = Damage {
            first_lost: FrameId(first),
            newest_lost: FrameId(last),
        };
        // A recovery is on its way; this was said before it came.
        if self.answer.is_some_and(|(frame, _)| frame.0 > last) {
            return None;
        }
        self.answer = None;
        self.damage = Some(damage);
        Some(Report::Damage(damage))
    }

    /// For the ladder, after [`Report::Damage`] and with every frame until it has none.
    pub fn feedback(&mut self, now: Timestamp, round_trip: Duration) -> Feedback {
        let is_over =
            |(_, sent): (FrameId, Timestamp)| now.since(sent) > round_trip + REPEAT_PATIENCE;
        if self.answer.is_some_and(is_over) {
            self.damage = None;
        }
        Feedback {
            sent: now,
            damage: self.damage,
            ..Feedback::default()
        }
    }

    /// For [`Ladder::handle_path`](crate::ladder::Ladder::handle_path).
    #[must_use]
    pub fn path(&self, now: Timestamp, round_trip: Duration) -> Path {
        let (sent, lost, ..) = self.sums(now);
        let loss_share = (lost / sent.max(PACKETS_MIN)).clamp(0.0, 1.0);
        Path {
            loss_share,
            burst_mean: self.clumping(now) / (1.0 - loss_share).max(0.1),
            round_trip,
        }
    }

    /// Share of packets lost over the last `span`, at most two seconds, in fifths of a second.
    #[must_use]
    pub fn loss_over(&self, now: Timestamp, span: Duration) -> f64 {
        let parts = (span.as_nanos() as u64).div_ceil(PART_NS).min(PARTS as u64);
        let (sent, lost, ..) = self.sums_of(now, parts);
        // A few packets say little.
        (lost / sent.max(PACKETS_MIN / 10.0)).clamp(0.0, 1.0)
    }

    /// How many more packets a hit block lost than it would by chance; 1 at least.
    fn clumping(&self, now: Timestamp) -> f64 {
        let (_, lost, _, hit) = self.sums(now);
        (lost / hit.max(1.0) / self.by_chance(now)).max(1.0)
    }

    /// Packets that random loss of the same share takes of a block that it hits; 1 at least.
    fn by_chance(&self, now: Timestamp) -> f64 {
        let (sent, lost, blocks, _) = self.sums(now);
        if sent < 1.0 {
            return 1.0;
        }
        let (share, size) = ((lost / sent).min(1.0), (sent / blocks.max(1.0)).min(255.0));
        let mut none = 1.0;
        for _ in 0..size as u32 {
            none *= 1.0 - share;
        }
        (size * share / (1.0 - none).max(1e-9)).max(1.0)
    }

    fn sums(&self, now: Timestamp) -> (f64, f64, f64, f64) {
        self.sums_of(now, PARTS as u64)
    }

    fn sums_of(&self, now: Timestamp, parts: u64) -> (f64, f64, f64, f64) {
        let index = now.as_ns() / PART_NS;
        let mut sums = (0.0, 0.0, 0.0, 0.0);
        for part in &self.parts {
            if part.index + parts > index {
                sums.0 += f64::from(part.sent);
                sums.1 += f64::from(part.lost);
                sums.2 += f64::from(part.blocks);
                sums.3 += f64::from(part.blocks_hit);
            }
        }
        sums
    }

    fn part(&mut self, now: Timestamp) -> &mut Part {
        let index = now.as_ns() / PART_NS;
        let part = &mut self.parts[(index % PARTS as u64) as usize];
        if part.index != index {
            *part = Part {
                index,
                ..Part::default()
            };
        }
        part
    }
}

#[cfg(test)]
#[path = "reports_tests.rs"]
mod tests;
