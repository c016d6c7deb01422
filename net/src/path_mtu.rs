//! The largest media datagram that the path carries: packetization layer path MTU discovery for
//! datagrams (DPLPMTUD, RFC 8899), fed by the receipts that the client sends anyway.
//!
//! Probes are media datagrams of type 0x04, padded to the size in question; ICMP is not listened
//! to. Sizes are those that a shard of a multiple of 64 bytes makes.
//!
//! ```text
//!                 ┌───────── raise timer ─────────┐
//!                 ▼                               │
//!  start ──▶ searching ──── nothing left ────▶ complete
//!                 ▲                               │
//!                 └── black hole: smaller at once ┘   (while searching, too)
//! ```
//!
//! - **Base**: [`BASE_BYTES`], from the first frame on. QUIC's handshake has shown that the path
//!   carries it, so an IDR at the start comes through where the path takes 1280 bytes, and the
//!   first frame waits for nothing; it has 0.6 % more headers than at the ceiling, for a round
//!   trip. To begin with the size agreed and verify it would cost such a path its first picture.
//! - **Search**: first the ceiling, which most paths carry; then halving. A size is given up after
//!   [`PROBES_MAX`] lost probes, or as many more as the measured loss asks so that chance alone
//!   does that once in 10 000 times. Probes keep [`PROBE_INTERVAL`] between them, so that a burst
//!   of loss does not take them all, and do not count as lost while nothing else arrives.
//! - **Black hole**: [`BLACK_HOLE_LOST`] datagrams of full size lost in a row while smaller
//!   ones arrived between them, [`BLACK_HOLE_SMALL`] times. Then the size falls at once to the
//!   base (from the base or below: to the largest that arrived meanwhile), and the search begins
//!   between the two. A burst of loss takes small ones, too, and does not look like that. From
//!   [`SUSPICION`] on small probes are sent, as there may be no other small ones, and probes of
//!   full size: of a still desktop's few datagrams it would take long to lose so many. Of those
//!   [`PROBES_MAX`] are enough.
//! - **Refusal**: what the kernel does not send because the first hop's interface takes less
//!   (`EMSGSIZE`) is an answer of the path: no probe is needed to give that size up.
//! - **Confirmation**: after [`CONFIRM_INTERVAL`] without a datagram of full size a probe asks
//!   whether one still passes.
//! - **Raise**: after [`RAISE_INTERVAL`] the sizes above are tried again (RFC 8899 section 5.1.1);
//!   once after [`RAISE_AFTER_FALL`] where a black hole was the cause.
//!
//! Whoever sends takes [`PathMtu::datagram_bytes_max`] at the beginning of a frame. Units: bytes of
//! UDP payload.

use std::time::Duration;

use crate::limits::{DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN, SHARD_BYTES_MAX};
use crate::units::Timestamp;

/// What a session begins with: RFC 8899 section 5.1.2, and what QUIC's padded Initials prove
/// (RFC 9000 section 14.1).
pub const BASE_BYTES: usize = 1200;
/// Lost probes that give a size up (RFC 8899 section 5.1.2).
pub const PROBES_MAX: u32 = 3;
/// Between two probes: at most 111 kbit/s of them, and longer than a burst of loss.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(100);
/// A probe of which nothing is heard is lost (RFC 8899 section 5.1.1: 1 s at least).
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Before a complete search is repeated (RFC 8899 section 5.1.1).
pub const RAISE_INTERVAL: Duration = Duration::from_secs(600);
/// The same for the first search after a black hole: routes come back.
pub const RAISE_AFTER_FALL: Duration = Duration::from_secs(60);
/// Without a receipt of full size before a probe asks.
pub const CONFIRM_INTERVAL: Duration = Duration::from_secs(15);
/// Datagrams of full size lost in a row: half a frame of 20 Mbit/s at 60 Hz. Random loss of 30 %
/// does that once in 10⁸ datagrams.
pub const BLACK_HOLE_LOST: u32 = 16;
/// Times that smaller ones arrived between two of them.
pub const BLACK_HOLE_SMALL: u32 = 3;

/// Full-size losses in a row that call for probes: 5 % of random loss does that once in 8000.
pub const SUSPICION: u32 = 3;

/// Around a shard: headers and tag.
const OVERHEAD_BYTES: usize = DATAGRAM_BYTES_MAX - SHARD_BYTES_MAX;
/// Between two sizes.
const STEP: usize = 64;
/// The smallest size; assumed to pass.
const FLOOR_BYTES: usize =
    OVERHEAD_BYTES + (DATAGRAM_BYTES_MIN - OVERHEAD_BYTES).next_multiple_of(STEP);
const _: () = assert!(FLOOR_BYTES >= DATAGRAM_BYTES_MIN && FLOOR_BYTES < BASE_BYTES);
const _: () = assert!((BASE_BYTES - OVERHEAD_BYTES).is_multiple_of(STEP));
/// Most probes for a size, whatever the loss.
const PROBES_LIMIT: u32 = 10;
/// How often chance may give a size up that passes.
const FALSE_LOSS: f64 = 1e-4;
/// Datagrams over which the loss is a mean.
const LOSS_WINDOW: f64 = 256.0;
/// Between the first small probes of a suspicion; an outage gets one each [`PROBE_INTERVAL`] after
/// them.
const SUSPICION_INTERVAL: Duration = Duration::from_millis(10);
const SUSPICION_PROBES: u32 = 6;
/// Something that was sent with a lost probe or this much later must arrive, or the probe does
/// not count.
const PROOF_MAX: Duration = Duration::from_millis(50);

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathMtuStats {
    /// Probes sent.
    pub probes: u64,
    /// Probes that count as lost.
    pub probes_lost: u64,
    /// Sizes given up by probing.
    pub refused: u64,
    /// Times that the path stopped carrying a size.
    pub black_holes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Between what is confirmed and `too_large`.
    Searching {
        /// Does not pass, or is above the ceiling.
        too_large: usize,
        /// Nothing was tried yet: the ceiling comes first.
        first: bool,
    },
    /// Nothing left to try before this time.
    Complete { raise: Timestamp },
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    bytes: usize,
    /// When it was asked for, then when it left.
    sent: Timestamp,
    has_left: bool,
}

/// Full-size datagrams lost in a row.
#[derive(Clone, Copy, Debug)]
struct Run {
    first_sent: Timestamp,
    lost: u32,
    /// A smaller one arrived after the last that was lost.
    small: bool,
    /// Times that a smaller one arrived before the next was lost.
    small_between: u32,
    /// Largest that arrived meanwhile.
    small_bytes: usize,
    /// Small probes sent.
    probes: u32,
    /// The loss before it.
    loss: f64,
}

/// The sender's machine.
#[derive(Debug)]
pub struct PathMtu {
    ceiling: usize,
    confirmed: usize,
    phase: Phase,
    probe: Option<Probe>,
    /// A lost one; whether the path lived then is not known yet.
    unproven: Option<Probe>,
    /// Lost probes of the present size.
    lost: u32,
    next_probe: Timestamp,
    /// Send time of the last datagram of full size that arrived.
    full: Timestamp,
    run: Option<Run>,
    /// Small probes are due from here on, while a run lasts.
    next_small: Timestamp,
    /// What was sent before says nothing of the present size.
    fallen: Timestamp,
    /// The present search follows a black hole.
    fell: bool,
    /// Newest send time of all that arrived.
    arrived: Timestamp,
    loss: f64,
    stats: PathMtuStats,
}

impl PathMtu {
    /// Searches up to `ceiling` (the lesser of what both sides allow; held within
    /// [`DATAGRAM_BYTES_MIN`] and [`DATAGRAM_BYTES_MAX`]).
    #[must_use]
    pub fn new(now: Timestamp, ceiling: usize) -> Self {
        let ceiling = size_within(ceiling).max(FLOOR_BYTES);
        Self {
            ceiling,
            confirmed: ceiling.min(BASE_BYTES),
            phase: Phase::Searching {
                too_large: ceiling + STEP,
                first: true,
            },
            probe: None,
            unproven: None,
            lost: 0,
            next_probe: now,
            full: now,
            run: None,
            next_small: now,
            fallen: Timestamp::ZERO,
            fell: false,
            arrived: Timestamp::ZERO,
            loss: 0.0,
            stats: PathMtuStats::default(),
        }
    }

    /// Largest datagram that may be sent, bytes. Take it at the beginning of a frame.
    #[must_use]
    pub const fn datagram_bytes_max(&self) -> usize {
        self.confirmed
    }

    /// Largest shard that may be sent, bytes; a multiple of 64.
    #[must_use]
    pub const fn shard_bytes_max(&self) -> usize {
        self.confirmed - OVERHEAD_BYTES
    }

    /// True while larger sizes are being tried.
    #[must_use]
    pub const fn is_searching(&self) -> bool {
        matches!(self.phase, Phase::Searching { .. })
    }

    /// True if what was lost lately may have been lost for its size.
    #[must_use]
    pub fn is_suspicious(&self) -> bool {
        self.run.is_some_and(|run| run.lost >= SUSPICION)
    }

    /// Counts since the start.
    #[must_use]
    pub const fn stats(&self) -> PathMtuStats {
        self.stats
    }

    /// When [`Self::poll_probe`] may have something.
    #[must_use]
    pub fn poll_timeout(&self) -> Timestamp {
        let small = self.is_suspicious().then_some(self.next_small);
        let large = match (self.probe, self.phase) {
            (Some(probe), _) => probe.sent + PROBE_TIMEOUT,
            (None, Phase::Searching { .. }) => self.next_probe,
            (None, Phase::Complete { .. }) if self.is_suspicious() => self.next_probe,
            (None, Phase::Complete { raise }) => {
                let confirm = self.full + CONFIRM_INTERVAL;
                let due = if self.confirmed < self.ceiling {
                    raise.min(confirm)
                } else {
                    confirm
                };
                due.max(self.next_probe)
            }
        };
        small.map_or(large, |small| small.min(large))
    }

    /// The size of a probe that is to be sent soon after `now`, bytes;
    /// [`Self::handle_probe_sent`] says when it was.
    pub fn poll_probe(&mut self, now: Timestamp) -> Option<usize> {
        if let Some(probe) = self.probe
            && now.since(probe.sent) >= PROBE_TIMEOUT
        {
            if probe.has_left {
                self.handle_loss(now, probe.sent, probe.bytes);
            }
            // Of one that never left nothing is known.
            self.probe = None;
        }
        if self.is_suspicious() && now >= self.next_small {
            // Only its arrival is of interest: it is not kept as a probe.
            let run = self.run.as_mut().expect("a run is suspected");
            run.probes += 1;
            self.next_small = now
                + if run.probes < SUSPICION_PROBES {
                    SUSPICION_INTERVAL
                } else {
                    PROBE_INTERVAL
                };
            self.stats.probes += 1;
            return Some(FLOOR_BYTES);
        }
        if self.probe.is_some() || now < self.next_probe {
            return None;
        }
        let bytes = self.candidate(now)?;
        self.unproven = None;
        self.probe = Some(Probe {
            bytes,
            sent: now,
            has_left: false,
        });
        self.next_probe = now + PROBE_INTERVAL;
        if self.is_suspicious() {
            // What shows that the path lived when a probe of full size was lost.
            self.next_small = self.next_small.min(now + SUSPICION_INTERVAL);
        }
        self.stats.probes += 1;
        Some(bytes)
    }

    /// A probe of `bytes` left at `sent`.
    pub fn handle_probe_sent(&mut self, sent: Timestamp, bytes: usize) {
        if let Some(probe) = &mut self.probe
            && probe.bytes == bytes
            && !probe.has_left
        {
            (probe.sent, probe.has_left) = (sent, true);
        }
    }

    /// The kernel refused to send a datagram of `bytes`, of media or a probe: the first hop takes
    /// no such size.
    pub fn handle_refusal(&mut self, now: Timestamp, bytes: usize) {
        if self.probe.is_some_and(|probe| probe.bytes == bytes) {
            self.probe = None;
        }
        if bytes <= self.confirmed {
            return self.fall(now, 0);
        }
        let bytes = size_within(bytes.saturating_add(STEP - 1));
        if let Phase::Searching { too_large, .. } = self.phase
            && bytes < too_large
        {
            self.give_up(now, bytes);
            self.next_probe = now;
        }
    }

    /// A datagram of `bytes`, sent at `sent`, arrived. For media of any kind and for probes.
    /// Receipts and losses come in the order of their sequences, as far as known.
    pub fn handle_receipt(&mut self, now: Timestamp, sent: Timestamp, bytes: usize) {
        self.arrived = self.arrived.max(sent);
        if let Some(probe) = self.unproven.take_if(|probe| probe.sent <= sent)
            && sent.since(probe.sent) <= PROOF_MAX
        {
            self.count_lost(now, probe);
        }
        if self.takes(sent, bytes) {
            self.probe = None;
            self.lost = 0;
        } else {
            self.loss -= self.loss / LOSS_WINDOW;
        }
        if sent < self.fallen {
            return;
        }
        if bytes > self.confirmed && bytes <= self.ceiling {
            self.confirmed = size_within(bytes).max(self.confirmed);
            self.lost = 0;
            self.unproven = None;
            self.advance(now);
        }
        if bytes > self.confirmed - STEP {
            self.full = self.full.max(sent);
            if matches!(self.phase, Phase::Complete { .. }) {
                // The probes that a suspicion lost.
                self.lost = 0;
            }
            if self.run.is_some_and(|run| sent >= run.first_sent) {
                self.run = None;
            }
        } else if let Some(run) = &mut self.run
            && sent >= run.first_sent
        {
            run.small_bytes = run.small_bytes.max(bytes);
            run.small = true;
        }
    }

    /// A datagram of `bytes`, sent at `sent`, is lost, as far as the receipts tell. To be called
    /// once for each.
    pub fn handle_loss(&mut self, now: Timestamp, sent: Timestamp, bytes: usize) {
        if self.takes(sent, bytes) {
            self.probe = None;
            let probe = Probe {
                bytes,
                sent,
                has_left: true,
            };
            if self.arrived >= sent {
                self.count_lost(now, probe);
            } else {
                // While nothing arrives, nothing is known of sizes.
                self.unproven = Some(probe);
            }
            return;
        }
        if sent < self.fallen {
            return;
        }
        let loss = self.loss;
        self.loss += (1.0 - loss) / LOSS_WINDOW;
        // Where one of full size that was sent with it or later has arrived, they do pass.
        let is_full = bytes <= self.confirmed && bytes > self.confirmed - STEP;
        if !is_full || sent <= self.full {
            return;
        }
        let run = self.run.get_or_insert(Run {
            first_sent: sent,
            lost: 0,
            small: false,
            small_between: 0,
            small_bytes: 0,
            probes: 0,
            loss,
        });
        run.lost = run.lost.saturating_add(1);
        run.small_between += u32::from(std::mem::take(&mut run.small));
        if run.lost >= BLACK_HOLE_LOST && run.small_between >= BLACK_HOLE_SMALL {
            let arrived = run.small_bytes;
            // What was lost for its size is not the path's loss.
            self.loss = run.loss;
            self.fall(now, arrived);
        }
    }

    fn count_lost(&mut self, now: Timestamp, probe: Probe) {
        self.lost += 1;
        self.stats.probes_lost += 1;
        if self.lost >= self.probes_max() {
            self.give_up(now, probe.bytes);
        }
    }

    /// It is the probe on its way.
    fn takes(&self, sent: Timestamp, bytes: usize) -> bool {
        self.probe
            .is_some_and(|probe| (probe.sent, probe.bytes) == (sent, bytes))
    }

    /// What to probe next, if anything.
    fn candidate(&mut self, now: Timestamp) -> Option<usize> {
        if self.is_suspicious() {
            return Some(self.confirmed);
        }
        if let Phase::Complete { raise } = self.phase
            && now >= raise
            && self.confirmed < self.ceiling
        {
            self.lost = 0;
            self.phase = Phase::Searching {
                too_large: self.ceiling + STEP,
                first: true,
            };
        }
        self.advance(now);
        match self.phase {
            Phase::Searching { too_large, first } => {
                let half = (too_large - self.confirmed) / 2;
                Some(if first {
                    too_large - STEP
                } else {
                    self.confirmed
                        + half
                            .next_multiple_of(STEP)
                            .min(too_large - STEP - self.confirmed)
                })
            }
            Phase::Complete { .. } => {
                (now.since(self.full) >= CONFIRM_INTERVAL).then_some(self.confirmed)
            }
        }
    }

    /// The search ends where nothing lies between.
    fn advance(&mut self, now: Timestamp) {
        if let Phase::Searching { too_large, .. } = self.phase
            && self.confirmed + STEP >= too_large
        {
            let fell = std::mem::take(&mut self.fell);
            self.phase = Phase::Complete {
                raise: now
                    + if fell {
                        RAISE_AFTER_FALL
                    } else {
                        RAISE_INTERVAL
                    },
            };
        }
    }

    /// A size does not pass.
    fn give_up(&mut self, now: Timestamp, bytes: usize) {
        self.lost = 0;
        self.stats.refused += 1;
        if bytes <= self.confirmed {
            self.fall(now, FLOOR_BYTES);
        } else {
            self.phase = Phase::Searching {
                too_large: bytes,
                first: false,
            };
            self.advance(now);
        }
    }

    /// The present size stopped passing; `arrived` bytes did.
    fn fall(&mut self, now: Timestamp, arrived: usize) {
        self.run = None;
        if self.confirmed == FLOOR_BYTES {
            return;
        }
        self.stats.black_holes += 1;
        let too_large = self.confirmed;
        // A path that carries QUIC most likely carries the base; if not, the next fall is from it.
        let least = if too_large > BASE_BYTES {
            BASE_BYTES
        } else {
            FLOOR_BYTES
        };
        self.confirmed = size_within(arrived).clamp(least, too_large - STEP);
        self.phase = Phase::Searching {
            too_large,
            first: false,
        };
        self.probe = None;
        self.unproven = None;
        self.lost = 0;
        self.next_probe = now;
        self.full = now;
        self.fallen = now;
        self.fell = true;
        self.advance(now);
    }

    /// Lost probes that give a size up at the present loss.
    fn probes_max(&self) -> u32 {
        // By multiplication: a logarithm need not be the same on every machine.
        let mut chance = 1.0;
        let needed = (0..PROBES_LIMIT).take_while(|_| {
            let goes_on = chance > FALSE_LOSS;
            chance *= self.loss;
            goes_on
        });
        (needed.count() as u32).max(PROBES_MAX)
    }
}

/// The largest size of at most `bytes`, within the protocol's limits from above.
fn size_within(bytes: usize) -> usize {
    let shard = bytes.min(DATAGRAM_BYTES_MAX).saturating_sub(OVERHEAD_BYTES);
    OVERHEAD_BYTES + shard / STEP * STEP
}

#[cfg(test)]
#[path = "path_mtu/tests.rs"]
mod tests;
