//! From authenticated shards back to access units, on the client.
//!
//! Sans-IO: every datagram goes to [`Reassembler::handle`], time passes by `now`, and after each
//! call the caller drains [`Reassembler::poll`] and sleeps until [`Reassembler::poll_timeout`].
//!
//! - Frames leave in order of their numbers, each once: as [`Event::Frame`], or within an
//!   [`Event::Lost`]. With [`Granularity::Slices`] the front frame leaves in parts, each as soon as
//!   its slices and all before them came; it can then still be lost. What comes after a loss is
//!   still delivered; what it is good for is the caller's to decide.
//! - Memory is allocated once, in [`Reassembler::new`]: see [`ReassemblerConfig::memory_bytes`].
//!   Every field of a header is held against it before anything is written.
//! - A frame is given up by time: no new shard for [`ReassemblerConfig::silence_max`], or
//!   [`ReassemblerConfig::age_max`] after its first, or [`ReassemblerConfig::reorder_grace`] after
//!   a newer frame was complete; or because a frame too far ahead
//!   ([`FRAMES_IN_FLIGHT_MAX`]) has begun.
//! - A parity group whose data shards are all there is never decoded; one that has any k of its
//!   k + m shards is recovered at once.

mod frame;
#[cfg(test)]
mod tests;
mod unit;

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use crate::fec::Decoder;
use crate::limits::{
    ACCESS_UNIT_BYTES_MAX, FRAMES_IN_FLIGHT_MAX, SHARD_BYTES_MAX, SLICES_PER_FRAME_MAX,
};
use crate::media::{ParityBody, VideoHeader};
use crate::units::{FrameId, Timestamp};

use frame::{Assembly, Insert};
use unit::UnitPool;

pub use unit::AccessUnit;

/// Events that wait for [`Reassembler::poll`] before neighbouring losses are merged. Frames among
/// them are bounded by the pool, so the queue never holds more than this and two for each buffer.
const EVENTS_MAX: usize = 4 * FRAMES_IN_FLIGHT_MAX;
/// How soon a complete frame that found no free buffer is tried again.
const POOL_RETRY: Duration = Duration::from_millis(1);

/// In what pieces frames leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Granularity {
    /// Whole.
    #[default]
    Frames,
    /// Slice by slice, or several at once where they came together, for a decoder that can begin
    /// with the first ones.
    Slices,
}

/// How a reassembler is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReassemblerConfig {
    /// The first frame of the session.
    pub first_frame: FrameId,
    /// A frame that got no new shard for so long is given up.
    pub silence_max: Duration,
    /// A frame that is incomplete so long after its first shard is given up.
    pub age_max: Duration,
    /// A frame is given up if it is incomplete so long after a newer one was complete.
    pub reorder_grace: Duration,
    /// Largest access unit, bytes; clamped to [`ACCESS_UNIT_BYTES_MAX`].
    pub access_unit_bytes_max: usize,
    /// Access units and parts that may be with the caller at once. A complete frame waits for one
    /// to be dropped; slices wait, too, and go together.
    pub access_units: usize,
    /// In what pieces frames leave.
    pub granularity: Granularity,
}

impl Default for ReassemblerConfig {
    fn default() -> Self {
        Self {
            first_frame: FrameId(0),
            silence_max: Duration::from_millis(50),
            age_max: Duration::from_millis(500),
            reorder_grace: Duration::from_millis(8),
            access_unit_bytes_max: 4 << 20,
            access_units: FRAMES_IN_FLIGHT_MAX,
            granularity: Granularity::Frames,
        }
    }
}

impl ReassemblerConfig {
    /// Data shards of one frame, bytes, and as many for its parity, which stays below the data:
    /// slices end in short shards that take a whole one's place, and small frames may have more
    /// parity than data.
    const fn arena_bytes(&self) -> usize {
        self.unit_bytes() + (SLICES_PER_FRAME_MAX as usize + 1) * SHARD_BYTES_MAX
    }

    const fn unit_bytes(&self) -> usize {
        if self.access_unit_bytes_max < ACCESS_UNIT_BYTES_MAX {
            self.access_unit_bytes_max
        } else {
            ACCESS_UNIT_BYTES_MAX
        }
    }

    /// Bytes of shards and access units that a reassembler ever holds; a page of it is touched
    /// (and becomes real memory) only when a frame that large comes.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        2 * FRAMES_IN_FLIGHT_MAX * self.arena_bytes() + self.access_units * self.unit_bytes()
    }
}

/// What the reassembler hands out.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a box would be an allocation for every frame"
)]
pub enum Event {
    /// An access unit, or with [`Granularity::Slices`] the next part of one.
    Frame(AccessUnit),
    /// Frames that will not come, or not to their end.
    Lost(Loss),
}

/// A run of lost frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The first of them.
    pub first: FrameId,
    /// The last of them; usually `first`.
    pub last: FrameId,
    /// Why the first one was given up.
    pub reason: LossReason,
}

impl Loss {
    /// How many frames, at least 1.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.last.0.wrapping_sub(self.first.0).wrapping_add(1)
    }
}

/// Data shards of one frame that have not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Which frame.
    pub frame: FrameId,
    /// Which of its columns.
    pub columns: Range<u16>,
}

/// Why a frame was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossReason {
    /// No datagram of it came, but of a newer one.
    Missing,
    /// Not all of it came in time.
    Incomplete {
        /// The first of its data shards that is missing.
        column: u16,
        /// How many of them there are.
        received: u16,
        /// How many it has, if that is known.
        columns: Option<u16>,
    },
    /// It is larger than this client holds.
    TooLarge,
    /// What parity gave back is no part of a frame, which no host causes that keeps to the
    /// protocol.
    Undecodable,
    /// It was complete, but the caller held every buffer until the window moved on.
    NoBuffer,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReassemblerStats {
    /// Datagrams handled.
    pub datagrams: u64,
    /// Bytes of shards handled.
    pub payload_bytes: u64,
    /// Shards that came twice, and parity that was not needed.
    pub redundant_shards: u64,
    /// Data shards of frames that had already left.
    pub late_shards: u64,
    /// Shards that contradict what came before of the same frame.
    pub conflicting_shards: u64,
    /// Shards for which there was no room.
    pub oversized_shards: u64,
    /// Data shards that were recovered from parity.
    pub repaired_shards: u64,
    /// Recoveries of a group.
    pub repaired_groups: u64,
    /// Frames delivered.
    pub frames: u64,
    /// Frames lost.
    pub lost_frames: u64,
}

/// The reassembler of one video stream.
pub struct Reassembler {
    config: ReassemblerConfig,
    /// Frame `f` is at `f % FRAMES_IN_FLIGHT_MAX` while it is within the window.
    window: [Assembly; FRAMES_IN_FLIGHT_MAX],
    /// How many of these are complete.
    complete_frames: usize,
    /// The frame that leaves next.
    front: FrameId,
    decoder: Decoder,
    pool: UnitPool,
    events: VecDeque<Event>,
    /// The latest `now`.
    now: Timestamp,
    stats: ReassemblerStats,
}

impl Reassembler {
    /// Allocates everything that it will ever use.
    #[must_use]
    pub fn new(config: ReassemblerConfig) -> Self {
        Self {
            window: std::array::from_fn(|_| {
                Assembly::new(config.arena_bytes(), config.unit_bytes())
            }),
            complete_frames: 0,
            front: config.first_frame,
            decoder: Decoder::new(),
            pool: UnitPool::new(config.access_units, config.unit_bytes()),
            events: VecDeque::with_capacity(EVENTS_MAX + 2 * config.access_units + 2),
            now: Timestamp::ZERO,
            stats: ReassemblerStats::default(),
            config,
        }
    }

    /// Counters since the start.
    #[must_use]
    pub const fn stats(&self) -> ReassemblerStats {
        self.stats
    }

    /// The frame that leaves next.
    #[must_use]
    pub const fn front(&self) -> FrameId {
        self.front
    }

    /// Takes an authenticated shard, `payload`, whose `header` came from [`VideoHeader::parse`].
    pub fn handle(&mut self, now: Timestamp, header: &VideoHeader, payload: &[u8]) {
        self.now = now;
        self.stats.datagrams += 1;
        self.stats.payload_bytes += payload.len() as u64;
        let frame = header.frame().frame;
        let Some(ahead) = ahead_of(self.front, frame) else {
            match header {
                VideoHeader::Data(_) => self.stats.late_shards += 1,
                VideoHeader::Parity(_) => self.stats.redundant_shards += 1,
            }
            return;
        };
        if ahead >= FRAMES_IN_FLIGHT_MAX as u32 {
            self.push_window(frame);
        }
        let decoder = &mut self.decoder;
        let assembly = &mut self.window[slot(frame)];
        let was_complete = assembly.is_complete();
        let insert = match header {
            VideoHeader::Data(data) => assembly.insert_data(now, data, payload, decoder),
            VideoHeader::Parity(parity) => match ParityBody::parse(parity, payload) {
                Ok(body) => assembly.insert_parity(now, parity, &body, decoder),
                Err(_) => Insert::Conflict,
            },
        };
        self.complete_frames += usize::from(!was_complete && assembly.is_complete());
        match insert {
            Insert::Taken => {}
            Insert::Repaired(shards) => {
                self.stats.repaired_groups += 1;
                self.stats.repaired_shards += shards as u64;
            }
            Insert::Redundant => self.stats.redundant_shards += 1,
            Insert::Conflict => self.stats.conflicting_shards += 1,
            Insert::NoRoom => self.stats.oversized_shards += 1,
        }
    }

    /// Calls `gap` for each run of data shards that must exist and have not come, oldest frame
    /// first. Once a newer frame has begun, what is missing of an older one may reach to its
    /// unknown end: the run then ends at `u16::MAX`.
    pub fn gaps(&self, mut gap: impl FnMut(Gap)) {
        let ahead = 0..FRAMES_IN_FLIGHT_MAX as u32;
        let frames = ahead.map(|ahead| FrameId(self.front.0.wrapping_add(ahead)));
        let newest = frames
            .clone()
            .rfind(|&frame| self.window[slot(frame)].begun().is_some());
        let Some(newest) = newest else { return };
        for frame in frames.take_while(|&frame| frame != newest.next()) {
            let assembly = &self.window[slot(frame)];
            if assembly.is_complete() || assembly.is_broken() {
                continue;
            }
            let is_newest = frame == newest;
            assembly.missing(!is_newest, |columns| gap(Gap { frame, columns }));
        }
    }

    /// From now on: how long an incomplete frame is waited for after a newer one was complete.
    pub const fn set_reorder_grace(&mut self, grace: Duration) {
        self.config.reorder_grace = grace;
    }

    /// From now on: in what pieces frames leave. The rest of a frame of which parts have left comes
    /// as one, then.
    pub const fn set_granularity(&mut self, granularity: Granularity) {
        self.config.granularity = granularity;
    }

    /// When the first of the frames that wait for an incomplete front frame was complete.
    #[must_use]
    pub fn newer_complete(&self) -> Option<Timestamp> {
        if self.complete_frames == 0 {
            return None;
        }
        let begun = self.window.iter().filter_map(Assembly::begun);
        begun.filter_map(|begun| begun.complete).min()
    }

    /// The next event that is due at `now`; call it until it returns `None`.
    pub fn poll(&mut self, now: Timestamp) -> Option<Event> {
        self.now = now;
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if self.front_is_ready() {
                let unit = self.take_unit()?;
                return Some(Event::Frame(unit));
            }
            if self.deadline()? > now {
                return None;
            }
            self.give_up_front();
        }
    }

    /// When [`Self::poll`] must be called again if no datagram comes before (which may be past);
    /// `None` for not at all.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        if !self.events.is_empty() {
            return Some(self.now);
        }
        if self.front_is_ready() {
            return Some(self.now + POOL_RETRY);
        }
        self.deadline()
    }

    /// True if the front frame, or the next part of it, can leave.
    fn front_is_ready(&self) -> bool {
        let front = &self.window[slot(self.front)];
        front.is_complete() || self.config.granularity == Granularity::Slices && front.has_slices()
    }

    /// When the front frame is given up; `None` while nothing of it or of a newer one came.
    fn deadline(&self) -> Option<Timestamp> {
        let front = &self.window[slot(self.front)];
        if front.is_broken() {
            return Some(Timestamp::ZERO);
        }
        let begun = self.window.iter().filter_map(Assembly::begun);
        // Nothing of the front frame came: it is as old as the first of a newer one.
        let (first, latest) = match front.begun() {
            Some(begun) => (begun.first, begun.latest),
            None => {
                let first = begun.clone().map(|begun| begun.first).min()?;
                (first, first)
            }
        };
        let by_itself = (latest + self.config.silence_max).min(first + self.config.age_max);
        let by_newer = self
            .newer_complete()
            .map(|complete| complete + self.config.reorder_grace);
        Some(by_newer.map_or(by_itself, |by_newer| by_newer.min(by_itself)))
    }

    /// Makes room for `frame`, which lies beyond the window's end.
    fn push_window(&mut self, frame: FrameId) {
        let keep = FRAMES_IN_FLIGHT_MAX as u32;
        for _ in 0..FRAMES_IN_FLIGHT_MAX {
            if ahead_of(self.front, frame).is_none_or(|ahead| ahead < keep) {
                return;
            }
            if self.window[slot(self.front)].is_complete() {
                match self.take_unit() {
                    Some(unit) => self.events.push_back(Event::Frame(unit)),
                    None => self.lose(self.front, LossReason::NoBuffer),
                }
            } else {
                self.give_up_front();
            }
        }
        // The window is empty now, and a jump further than that is one run of missing frames.
        let first = self.front;
        let front = FrameId(frame.0.wrapping_sub(keep - 1));
        if ahead_of(first, front).is_some_and(|gap| gap > 0) {
            self.front = front;
            let last = FrameId(front.0.wrapping_sub(1));
            self.push_loss(Loss {
                first,
                last,
                reason: LossReason::Missing,
            });
        }
    }

    /// Gives the front frame up.
    fn give_up_front(&mut self) {
        let reason = self.window[slot(self.front)].loss_reason();
        self.lose(self.front, reason);
    }

    fn lose(&mut self, frame: FrameId, reason: LossReason) {
        let assembly = &mut self.window[slot(frame)];
        self.complete_frames -= usize::from(assembly.is_complete());
        assembly.clear();
        self.front = frame.next();
        self.push_loss(Loss {
            first: frame,
            last: frame,
            reason,
        });
    }

    /// What the front frame has to give, if a buffer is free.
    fn take_unit(&mut self) -> Option<AccessUnit> {
        let assembly = &mut self.window[slot(self.front)];
        let unit = assembly.assemble(self.pool.take()?);
        if unit.ends {
            self.complete_frames -= 1;
            assembly.clear();
            self.front = self.front.next();
            self.stats.frames += 1;
        }
        Some(unit)
    }

    fn push_loss(&mut self, loss: Loss) {
        self.stats.lost_frames += u64::from(loss.count());
        let full = self.events.len() >= EVENTS_MAX;
        // Neighbours of which nothing came are one run. Events leave in order without a gap, so
        // a loss before this one always adjoins it; a caller that does not poll gets longer runs.
        if let Some(Event::Lost(before)) = self.events.back_mut()
            && (full || before.reason == LossReason::Missing && loss.reason == LossReason::Missing)
        {
            before.last = loss.last;
            return;
        }
        self.events.push_back(Event::Lost(loss));
    }
}

/// How far `frame` lies ahead of `front`, modulo 2³²; `None` if it lies behind.
const fn ahead_of(front: FrameId, frame: FrameId) -> Option<u32> {
    let ahead = frame.0.wrapping_sub(front.0);
    if ahead <= u32::MAX / 2 {
        Some(ahead)
    } else {
        None
    }
}

const fn slot(frame: FrameId) -> usize {
    frame.0 as usize % FRAMES_IN_FLIGHT_MAX
}
