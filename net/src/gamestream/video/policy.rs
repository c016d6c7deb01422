//! How many FEC blocks a frame is sent in.
//!
//! More blocks leave earlier, and each can lose fewer in a row. So: two, where each has packets
//! enough; one for small frames and after losses, since parity for the same residual then costs less
//! (at 5 % five packets for ten, but four for each five); four only after a long time without loss,
//! or where the operator says so.

use std::time::Duration;

use crate::units::Timestamp;

use super::BLOCKS_MAX;

/// The choices behind [`BlockPolicy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPolicyConfig {
    /// The operator's choice, if there is one: as many as slices allow, whatever is lost.
    pub fixed: Option<u8>,
    /// Data packets that a block has at least: below, the parity that a short block needs costs
    /// more than its head start is worth (10 packets at 50 Mbit/s are 2 ms).
    pub packets_min: usize,
    /// How long a frame stays one block after losses in a row or out of order.
    pub after_burst: Duration,
    /// And after any loss.
    pub after_loss: Duration,
    /// Time without any loss that makes a link clean.
    pub clean_after: Duration,
}

impl Default for BlockPolicyConfig {
    fn default() -> Self {
        Self {
            fixed: None,
            packets_min: 5,
            after_burst: Duration::from_secs(10),
            after_loss: Duration::from_secs(2),
            clean_after: Duration::from_secs(20),
        }
    }
}

/// Chooses the blocks of one session's frames.
#[derive(Clone, Debug)]
pub struct BlockPolicy {
    config: BlockPolicyConfig,
    began: Option<Timestamp>,
    last_loss: Option<Timestamp>,
    last_burst: Option<Timestamp>,
    /// Smoothed data packets of a frame that is no IDR, × 16.
    packets_16: usize,
}

impl BlockPolicy {
    /// Nothing is known: the first frames have two blocks.
    #[must_use]
    pub const fn new(config: BlockPolicyConfig) -> Self {
        Self {
            config,
            began: None,
            last_loss: None,
            last_burst: None,
            packets_16: 16 * 16,
        }
    }

    /// A frame went out in so many data packets.
    pub const fn handle_sent(&mut self, data_packets: usize, is_idr: bool) {
        if !is_idr {
            self.packets_16 = self.packets_16 - self.packets_16 / 16 + data_packets;
        }
    }

    /// The client reported packets missing; `is_burst` if more than two in a row, or a packet that
    /// came after one of the next block.
    pub const fn handle_loss(&mut self, now: Timestamp, is_burst: bool) {
        self.last_loss = Some(now);
        if is_burst {
            self.last_burst = Some(now);
        }
    }

    /// Losses in a row were seen lately.
    #[must_use]
    pub fn is_bursty(&self, now: Timestamp) -> bool {
        self.last_burst
            .is_some_and(|at| now.since(at) < self.config.after_burst)
    }

    /// Blocks of the next frame, which has so many slices (1: a whole picture).
    pub fn blocks(&mut self, now: Timestamp, slices: u8) -> u8 {
        let most = slices.clamp(1, BLOCKS_MAX);
        let began = *self.began.get_or_insert(now);
        if let Some(fixed) = self.config.fixed {
            return fixed.clamp(1, most);
        }
        let within = |at: Option<Timestamp>, span| at.is_some_and(|at| now.since(at) < span);
        if within(self.last_burst, self.config.after_burst)
            || within(self.last_loss, self.config.after_loss)
        {
            return 1;
        }
        let quiet = now.since(self.last_loss.unwrap_or(began));
        let wanted = if quiet >= self.config.clean_after {
            BLOCKS_MAX
        } else {
            2
        };
        let room = self.packets_16 / 16 / self.config.packets_min.max(1);
        // Never 3: the slices of four blocks are then uneven.
        match (wanted.min(most), room) {
            (_, 0 | 1) | (1, _) => 1,
            (4, room) if room >= 8 => 4,
            _ => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_ns(seconds * 1_000_000_000)
    }

    #[test]
    fn two_by_default_one_for_little_and_after_bursts_four_when_clean() {
        let mut policy = BlockPolicy::new(BlockPolicyConfig::default());
        assert_eq!(policy.blocks(at(1), 8), 2);
        assert_eq!(policy.blocks(at(1), 1), 1, "a whole picture");
        assert_eq!(policy.blocks(at(30), 8), 2, "clean, but of few packets");
        for _ in 0..200 {
            policy.handle_sent(60, false);
        }
        policy.handle_sent(9999, true);
        assert_eq!(policy.blocks(at(30), 8), 4);
        assert_eq!(policy.blocks(at(30), 2), 2);
        policy.handle_loss(at(31), false);
        assert_eq!(policy.blocks(at(32), 8), 1);
        assert_eq!(policy.blocks(at(33), 8), 2);
        policy.handle_loss(at(33), true);
        assert_eq!(policy.blocks(at(34), 8), 1);
        assert_eq!(policy.blocks(at(44), 8), 2);
        for _ in 0..200 {
            policy.handle_sent(3, false);
        }
        assert_eq!(policy.blocks(at(90), 8), 1);
        let fixed = BlockPolicyConfig {
            fixed: Some(9),
            ..BlockPolicyConfig::default()
        };
        assert_eq!(BlockPolicy::new(fixed).blocks(at(0), 8), 4);
        assert_eq!(BlockPolicy::new(fixed).blocks(at(0), 3), 3);
    }
}
