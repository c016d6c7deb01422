//! The client's end: a jitter buffer that puts packets in order, drops repeats, and gives out
//! one each 5 ms.
//!
//! Rule: call [`AudioReceiver::poll`] until it says how long to wait.
//!
//! - **When a packet plays**: at the path's smallest delay (of the last 10 s), plus the jitter (all
//!   but 1 in 1000 of the delays of the last 10 s lie below it) and 1 ms, plus the time until its
//!   farthest copy arrives; at most [`DELAY_MAX`]. While nothing is lost, no copies come and none is
//!   waited for.
//! - **When that grows** the play-out stretches: what came too late and was not played yet is
//!   played now, else one is concealed without passing over it. **When it shrinks** for a second,
//!   one packet is left out, and not another within 200 ms. The same two hold the play-out to the
//!   host's clock where the crystals differ (at 100 ppm one packet in 50 s).
//! - **After [`CONCEALED_RUN_MAX`] packets missing in a row** the receiver is idle and starts anew
//!   with the next datagram: a decoder's concealment is silence by then.
//!
//! Memory: a ring of 128 packets (131 KiB). A packet too far ahead for it starts the play-out
//! anew at that packet; one too far behind is dropped.

use std::time::Duration;

use super::datagram::{AudioDatagram, AudioReport, REPORT_DATAGRAMS};
use super::{DISTANCE_MAX, PACKET_BYTES_MAX, PACKET_INTERVAL};
use crate::units::Timestamp;

/// Longest time from a packet's earliest possible arrival to its playing.
pub const DELAY_MAX: Duration = Duration::from_millis(120);
/// Packets missing in a row before the receiver waits for a new start: 100 ms.
pub const CONCEALED_RUN_MAX: u32 = 20;
/// Time between two reports.
pub const REPORT_INTERVAL: Duration = Duration::from_millis(100);

const INTERVAL_NS: i64 = PACKET_INTERVAL.as_nanos() as i64;
/// Packets of the ring.
const RING: usize = 128;
/// Numbers beyond the next one that are kept.
const AHEAD_MAX: u64 = 64;
/// Numbers before the next one that are still known; all that a report tells of.
const BEHIND_MAX: u64 = 64;
const _: () = assert!(AHEAD_MAX + BEHIND_MAX <= RING as u64);
const _: () = assert!(BEHIND_MAX >= REPORT_DATAGRAMS as u64);
const _: () = assert!(DELAY_MAX.as_nanos() < AHEAD_MAX as u128 * PACKET_INTERVAL.as_nanos());
/// Delays remembered: 10 s.
const DELAYS: usize = 2048;
/// Of these, as many may lie above the jitter.
const OUTLIERS: usize = DELAYS / 1000;
/// Datagrams between two looks at all delays.
const LOOK_INTERVAL: usize = 16;
/// Jitter taken for true until [`JITTER_KNOWN`] delays are known, and the least afterwards.
const JITTER_FIRST_NS: i64 = 5_000_000;
const JITTER_NS_MIN: i64 = 1_000_000;
const JITTER_KNOWN: usize = 64;
/// Added to the jitter, so that drift calls for a stretch before it makes packets late.
const MARGIN_NS: i64 = 1_000_000;
/// Play-out this much early is let pass: less than a packet cannot be put right.
const EARLY_NS_MAX: i64 = 500_000;
const _: () = assert!(EARLY_NS_MAX < MARGIN_NS);
/// Play-out this much late is too late: a packet and a half, so that leaving one out does not
/// call for a stretch.
const SURPLUS_NS_MAX: i64 = INTERVAL_NS + INTERVAL_NS / 2;
/// Ticks of surplus before a packet is left out.
const SURPLUS_TICKS: u32 = 200;
/// Ticks between two that are left out.
const SKIP_TICKS: u32 = 40;
/// Farther behind than this the caller has slept, and ticks are not made up for.
const OVERSLEPT: Duration = Duration::from_millis(50);

/// Why there is no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConcealReason {
    /// It did not come, or came too late.
    Lost,
    /// The delay grows; nothing is passed over.
    Stretch,
}

/// What to do for the next 5 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Playout<'a> {
    /// Decode this packet.
    Play {
        /// Capture time, µs of the host's clock mod 2³².
        captured_us: u32,
        /// The packet.
        packet: &'a [u8],
    },
    /// Let the decoder conceal 5 ms.
    Conceal(ConcealReason),
    /// Nothing is due before this time; a datagram may make it earlier only while idle.
    Wait(Timestamp),
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AudioReceiverStats {
    /// Packets given out.
    pub played: u64,
    /// Packets concealed because they were missing.
    pub concealed: u64,
    /// Intervals concealed because the delay grew.
    pub stretched: u64,
    /// Packets left out because the delay shrank.
    pub skipped: u64,
    /// Packets given out that came as a copy.
    pub repaired: u64,
    /// Datagrams that came after their packet's turn.
    pub late: u64,
    /// Datagrams that came again.
    pub repeated: u64,
    /// Times that play-out began.
    pub starts: u64,
}

/// A place of the ring.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Packet that the place belongs to.
    number: u64,
    /// Its own datagram came.
    heard: bool,
    /// Its bytes came in a copy, before the datagram.
    copied: bool,
    /// Length; 0 while it is missing and after it was played.
    length: usize,
    /// It was played.
    played: bool,
    captured_us: u32,
    bytes: [u8; PACKET_BYTES_MAX],
}

/// Where the play-out stands.
#[derive(Clone, Copy, Debug)]
struct Running {
    /// Packet of the next tick.
    next: u64,
    /// The next tick.
    tick: Timestamp,
    concealed_run: u32,
    surplus_ticks: u32,
    ticks_since_skip: u32,
}

/// Delays of datagrams against their numbers, ns: arrival less 5 ms for each number since the
/// play-out began.
#[derive(Debug)]
struct Delays {
    ring: Box<[i64; DELAYS]>,
    scratch: Box<[i64; DELAYS]>,
    count: usize,
    /// First number of the play-out; from here on numbers are small, whatever the peer sends.
    origin: u64,
    base: i64,
    jitter: i64,
}

/// The machine of one stream.
#[derive(Debug)]
pub struct AudioReceiver {
    slots: Box<[Slot; RING]>,
    running: Option<Running>,
    delays: Delays,
    /// Newest number heard, on 64 bits; starts at 2³² so that nothing lies below zero.
    newest: Option<u64>,
    /// Farthest copy of late, packets, and the number that it came with.
    distance: u8,
    distance_at: u64,
    report_due: Option<Timestamp>,
    stats: AudioReceiverStats,
}

impl Default for AudioReceiver {
    fn default() -> Self {
        Self::new()
    }
}

impl AudioReceiver {
    /// Idle until the first datagram.
    #[must_use]
    pub fn new() -> Self {
        let empty = Slot {
            number: 0,
            heard: false,
            copied: false,
            length: 0,
            played: false,
            captured_us: 0,
            bytes: [0; PACKET_BYTES_MAX],
        };
        Self {
            slots: vec![empty; RING]
                .into_boxed_slice()
                .try_into()
                .expect("as long as it was made"),
            running: None,
            delays: Delays::new(),
            newest: None,
            distance: 0,
            distance_at: 0,
            report_due: None,
            stats: AudioReceiverStats::default(),
        }
    }

    /// Counts since the start.
    #[must_use]
    pub const fn stats(&self) -> AudioReceiverStats {
        self.stats
    }

    /// Time from a packet's earliest possible arrival to its playing, as it is aimed at.
    #[must_use]
    pub fn delay(&self) -> Duration {
        let ns = self.delays.jitter + MARGIN_NS + i64::from(self.distance) * INTERVAL_NS;
        Duration::from_nanos(ns.unsigned_abs()).min(DELAY_MAX)
    }

    /// When [`Self::poll`] has something; `None` while idle.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.running.map(|running| running.tick)
    }

    /// A datagram arrived. Any order and repeats are harmless.
    pub fn handle(&mut self, now: Timestamp, datagram: &AudioDatagram<'_>) {
        let number = self.unwrap(datagram.number);
        let next = self.running.map_or(number, |running| running.next);
        if number + BEHIND_MAX <= next {
            self.stats.late += 1;
            return;
        }
        if self.running.is_none() || number >= next + AHEAD_MAX {
            self.start(now, number);
        }
        let slot = self.slot(number);
        if slot.heard {
            self.stats.repeated += 1;
            return;
        }
        slot.heard = true;
        let late = number < self.running.map_or(number, |running| running.next);
        self.stats.late += u64::from(late);
        self.newest = self.newest.max(Some(number));
        self.report_due.get_or_insert(now + REPORT_INTERVAL);
        self.delays.record(now, number, late);
        self.note_distance(number, datagram);
        self.keep(number, datagram.captured_us, datagram.packet, false);
        for copy in datagram.copies() {
            let ago_us = u32::from(copy.distance) * PACKET_INTERVAL.as_micros() as u32;
            let captured_us = datagram.captured_us.wrapping_sub(ago_us);
            let number = number - u64::from(copy.distance);
            let next = self.running.map_or(number, |running| running.next);
            if number + BEHIND_MAX > next {
                self.keep(number, captured_us, copy.packet, true);
            }
        }
    }

    /// What to do for the 5 ms that begin now, or until when to wait.
    pub fn poll(&mut self, now: Timestamp) -> Playout<'_> {
        let Some(mut running) = self.running else {
            return Playout::Wait(now + PACKET_INTERVAL);
        };
        if now < running.tick {
            return Playout::Wait(running.tick);
        }
        if now.since(running.tick) > OVERSLEPT {
            running.tick = now;
        }
        let stretch = self.adapt(&mut running);
        running.tick = running.tick + PACKET_INTERVAL;
        if stretch {
            self.running = Some(running);
            self.stats.stretched += 1;
            return Playout::Conceal(ConcealReason::Stretch);
        }
        let number = running.next;
        running.next += 1;
        let length = std::mem::take(&mut self.slot(number).length);
        if length == 0 {
            running.concealed_run += 1;
            let idle = running.concealed_run >= CONCEALED_RUN_MAX && !self.holds_after(number);
            self.running = Some(running).filter(|_| !idle);
            self.stats.concealed += 1;
            return Playout::Conceal(ConcealReason::Lost);
        }
        running.concealed_run = 0;
        self.running = Some(running);
        self.stats.played += 1;
        self.stats.repaired += u64::from(self.slot(number).copied);
        let slot = self.slot(number);
        slot.played = true;
        Playout::Play {
            captured_us: slot.captured_us,
            packet: &slot.bytes[..length],
        }
    }

    /// The report that is due, if one is.
    pub fn poll_report(&mut self, now: Timestamp) -> Option<AudioReport> {
        let newest = self.newest?;
        if now < self.report_due? {
            return None;
        }
        // Without a datagram in the meantime there will be nothing new to report.
        self.report_due = None;
        let arrived = (0..REPORT_DATAGRAMS as u64).fold(0, |bits, i| {
            let slot = &self.slots[(newest - i) as usize % RING];
            bits | u64::from(slot.number == newest - i && slot.heard) << i
        });
        Some(AudioReport {
            delay_ms: self.delay().as_millis() as u16,
            newest: newest as u32,
            arrived,
        })
    }

    /// The number on 64 bits that is nearest to the newest.
    fn unwrap(&self, number: u32) -> u64 {
        match self.newest {
            None => (1 << 32) + u64::from(number),
            Some(newest) => {
                let ahead = number.wrapping_sub(newest as u32) as i32;
                let near = newest.saturating_add_signed(i64::from(ahead));
                // Whoever jumps back for ever ends far above zero all the same.
                if near >= 1 << 31 {
                    near
                } else {
                    near + (1 << 32)
                }
            }
        }
    }

    /// Play-out begins with `number`, once its copies could have come.
    fn start(&mut self, now: Timestamp, number: u64) {
        self.stats.starts += 1;
        self.delays.restart(number);
        self.newest = Some(number);
        self.running = Some(Running {
            next: number,
            tick: now + self.delay(),
            concealed_run: 0,
            surplus_ticks: 0,
            ticks_since_skip: 0,
        });
        // Numbers may come again after a jump, and mean other packets.
        for slot in self.slots.iter_mut() {
            slot.number = u64::MAX;
        }
    }

    /// The place of `number`, emptied if it was another's.
    fn slot(&mut self, number: u64) -> &mut Slot {
        let slot = &mut self.slots[number as usize % RING];
        if slot.number != number {
            slot.number = number;
            slot.heard = false;
            slot.copied = false;
            slot.played = false;
            slot.length = 0;
        }
        slot
    }

    fn keep(&mut self, number: u64, captured_us: u32, packet: &[u8], copied: bool) {
        let slot = self.slot(number);
        if slot.length == 0 && !slot.played {
            slot.bytes[..packet.len()].copy_from_slice(packet);
            slot.length = packet.len();
            slot.captured_us = captured_us;
            slot.copied = copied;
        }
    }

    /// Copies farther back are waited for at once, nearer ones after the history of delays.
    fn note_distance(&mut self, number: u64, datagram: &AudioDatagram<'_>) {
        let farthest = datagram.copies().map(|copy| copy.distance).max();
        let farthest = farthest.unwrap_or(0);
        debug_assert!(farthest <= DISTANCE_MAX);
        let forgotten = number.saturating_sub(self.distance_at) > RING as u64;
        if farthest >= self.distance || forgotten {
            self.distance = farthest;
            self.distance_at = number;
        }
    }

    fn holds_after(&self, number: u64) -> bool {
        self.slots
            .iter()
            .any(|slot| slot.number != u64::MAX && slot.number > number && slot.length > 0)
    }

    /// Moves the play-out towards the delay that is aimed at; true where this tick is a stretch.
    fn adapt(&mut self, running: &mut Running) -> bool {
        let delay_ns = self.delay().as_nanos() as i64;
        let surplus = |next: u64| {
            let due = self.delays.base + self.delays.due(next) + delay_ns;
            running.tick.as_ns() as i64 - due
        };
        let mut late_ns = surplus(running.next);
        running.ticks_since_skip = running.ticks_since_skip.saturating_add(1);
        if late_ns < -EARLY_NS_MAX {
            running.surplus_ticks = 0;
            let mut rewound = false;
            while late_ns < -EARLY_NS_MAX && self.slot(running.next - 1).length > 0 {
                running.next -= 1;
                late_ns += INTERVAL_NS;
                rewound = true;
            }
            return !rewound;
        }
        if late_ns <= SURPLUS_NS_MAX {
            running.surplus_ticks = 0;
            return false;
        }
        running.surplus_ticks += 1;
        if running.surplus_ticks >= SURPLUS_TICKS && running.ticks_since_skip >= SKIP_TICKS {
            self.slot(running.next).length = 0;
            running.next += 1;
            running.ticks_since_skip = 0;
            self.stats.skipped += 1;
        }
        false
    }
}

impl Delays {
    fn new() -> Self {
        Self {
            ring: Box::new([0; DELAYS]),
            scratch: Box::new([0; DELAYS]),
            count: 0,
            origin: 0,
            base: 0,
            jitter: JITTER_FIRST_NS,
        }
    }

    /// The numbers may stand for other times now; the jitter is the best guess still.
    fn restart(&mut self, origin: u64) {
        self.count = 0;
        self.origin = origin;
        self.jitter = self.jitter.max(JITTER_FIRST_NS);
    }

    fn record(&mut self, now: Timestamp, number: u64, late: bool) {
        let delay = now.as_ns() as i64 - self.due(number);
        self.base = if self.count == 0 {
            delay
        } else {
            self.base.min(delay)
        };
        self.ring[self.count % DELAYS] = delay;
        self.count += 1;
        if late || self.count.is_multiple_of(LOOK_INTERVAL) {
            self.look();
        }
    }

    /// When `number` is due, less the delay, ns after the first.
    fn due(&self, number: u64) -> i64 {
        (number as i64 - self.origin as i64) * INTERVAL_NS
    }

    /// Base and jitter of all delays remembered.
    fn look(&mut self) {
        let count = self.count.min(DELAYS);
        let delays = &mut self.scratch[..count];
        delays.copy_from_slice(&self.ring[..count]);
        let outliers = OUTLIERS * count / DELAYS;
        let (below, &mut high, _) = delays.select_nth_unstable(count - 1 - outliers);
        self.base = below.iter().copied().min().unwrap_or(high);
        let least = if self.count < JITTER_KNOWN {
            self.jitter.max(JITTER_FIRST_NS)
        } else {
            JITTER_NS_MIN
        };
        self.jitter = (high - self.base)
            .max(least)
            .min(DELAY_MAX.as_nanos() as i64);
    }
}
