//! Cuts slices into shards, adds parity, and seals each shard as a datagram of its own.
//!
//! The protect stage calls [`Packetizer::begin`] with a slice, then [`Packetizer::next_batch`]
//! until it says that nothing is left. Nothing here allocates after construction. A slice is
//! copied once, into the history of the last frames: parity over several slices is
//! made of it, and [`Packetizer::repeat`] sends from it what a client asks for again.
//!
//! - Data shards go first, as soon as their slice is there. The parity of a group follows the
//!   group's last data shard: [`Protection::slices_per_group`] says when that is.
//! - Each [`Batch`] is one GSO send: its datagrams have one size, but for the last.
//! - Builds with debug assertions drop as many shards of every group as it has parity, recover
//!   them and compare.

mod batch;
#[cfg(debug_assertions)]
mod check;
mod history;
mod parity;
#[cfg(test)]
mod tests;

use std::num::{NonZeroU8, NonZeroU32};
use std::ops::Range;

use crate::crypto::Sealer;
use crate::fec;
use crate::limits::{
    ACCESS_UNIT_BYTES_MAX, COLUMNS_PER_FRAME_MAX, DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN,
    GF16_PARITY_SHARDS_MAX, GSO_SEGMENTS_MAX, MEDIA_HEADER_BYTES, PARITY_PREFIX_BYTES,
    SHARD_BYTES_MAX, SHARD_BYTES_MIN, SLICES_PER_FRAME_MAX, TAG_BYTES,
};
use crate::media::{
    CaptureMicros, DataHeader, Descriptor, FrameHeader, Kind, ParityBody, ParityHeader,
};
use crate::units::{FrameId, SliceIndex, Timestamp};

use history::{History, Kept};
use parity::Parity;

pub use batch::{Batch, Cargo};

/// Largest payload of a parity datagram.
const PARITY_PAYLOAD_BYTES_MAX: usize = PARITY_PREFIX_BYTES + SHARD_BYTES_MAX;

/// What the packetizer must know of a slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SliceMeta {
    /// The frame that it belongs to.
    pub frame: FrameId,
    /// Its place in picture order; slices of a frame come in this order.
    pub index: SliceIndex,
    /// The last of its frame.
    pub last: bool,
    /// The frame is an IDR.
    pub keyframe: bool,
    /// The frame depends on nothing that the client reported lost.
    pub recovery: bool,
    /// When the frame's pixels were complete.
    pub captured: Timestamp,
}

/// Why a slice cannot be packetized. The slice before is unaffected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketizeError {
    /// A slice without bytes.
    #[error("slice {slice} of {frame} is empty")]
    Empty {
        /// Which frame.
        frame: FrameId,
        /// Which slice.
        slice: u8,
    },
    /// Its index is beyond the limit.
    #[error("slice {slice} of {frame} is beyond the {SLICES_PER_FRAME_MAX} slices of a frame")]
    SliceIndex {
        /// Which frame.
        frame: FrameId,
        /// Which slice.
        slice: u8,
    },
    /// The frame outgrows what a client holds, or what is kept of it here.
    #[error(
        "{frame} has {bytes} bytes up to slice {slice}; {bytes_max} can be sent: lower the bitrate"
    )]
    FrameTooLarge {
        /// Which frame.
        frame: FrameId,
        /// Which slice.
        slice: u8,
        /// Its size up to this slice, bytes.
        bytes: usize,
        /// What a frame can have, bytes; less where slices end in short shards.
        bytes_max: usize,
    },
}

/// What has been packetized so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketizeStats {
    /// Sealed datagrams with data, including dropped ones.
    pub data_datagrams: u64,
    /// Sealed datagrams with parity, including dropped ones.
    pub parity_datagrams: u64,
    /// Sealed datagrams with data that was sent before.
    pub repeated_datagrams: u64,
    /// Shards that were to be repeated, but are not kept any more.
    pub forgotten_shards: u64,
    /// Bytes of slices.
    pub slice_bytes: u64,
    /// Sealed datagrams that [`Packetizer::set_drop_every`] left out.
    pub dropped_datagrams: u64,
}

/// How frames are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Parity in percent of a group's data shards, rounded up.
    pub percent: u8,
    /// Parity shards beside the percent. What a group needs grows slower than the group: a base
    /// and a share fit it over a range of sizes ([`crate::ladder::parity`]).
    pub shards_base: u8,
    /// The fewest parity shards of a group, if `percent` is not 0.
    pub shards_min: u8,
    /// Slices whose shards share their parity, which follows the last of them. A group ends with
    /// its frame in any case; [`Protection::WHOLE_FRAME`] lets it end nowhere else.
    pub slices_per_group: NonZeroU8,
}

impl Protection {
    /// One parity for all slices, at the frame's end.
    pub const WHOLE_FRAME: NonZeroU8 = NonZeroU8::MAX;

    /// So many percent at the frame's end.
    #[must_use]
    pub const fn at_frame_end(percent: u8) -> Self {
        Self {
            percent,
            shards_base: 0,
            shards_min: 1,
            slices_per_group: Self::WHOLE_FRAME,
        }
    }

    /// True if groups get parity at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.percent > 0 || self.shards_base > 0
    }

    /// Parity shards for a group of so many data shards.
    #[must_use]
    pub fn parity_for(&self, data_shards: usize) -> usize {
        if !self.is_on() || data_shards == 0 {
            return 0;
        }
        let share = if self.percent > 0 {
            fec::parity_for(data_shards, self.percent).max(usize::from(self.shards_min))
        } else {
            0
        };
        (share + usize::from(self.shards_base)).min(GF16_PARITY_SHARDS_MAX)
    }
}

/// How the packetizer is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketizerConfig {
    /// How frames are protected, until [`Packetizer::set_protection`].
    pub protection: Protection,
    /// Largest datagram, bytes of UDP payload, as agreed in the Welcome. Clamped to
    /// `DATAGRAM_BYTES_MIN..=DATAGRAM_BYTES_MAX`.
    pub datagram_bytes_max: usize,
    /// Most datagrams in a batch, clamped to 1..=[`GSO_SEGMENTS_MAX`].
    pub batch_datagrams_max: usize,
    /// Shards of the last frames that are kept, bytes: no frame can be larger.
    pub history_bytes: usize,
}

impl Default for PacketizerConfig {
    fn default() -> Self {
        Self {
            protection: Protection::at_frame_end(20),
            datagram_bytes_max: DATAGRAM_BYTES_MAX,
            batch_datagrams_max: GSO_SEGMENTS_MAX,
            history_bytes: 8 << 20,
        }
    }
}

/// Columns of one frame that are to be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Which frame.
    pub frame: FrameId,
    /// Which of its columns.
    pub range: Range<u16>,
}

/// The host's protect stage for one session's video.
pub struct Packetizer {
    sealer: Sealer,
    history: History,
    parity: Parity,
    /// Where a parity shard is put together with what stands before it.
    parity_payload: Box<[u8; PARITY_PAYLOAD_BYTES_MAX]>,
    shard_bytes: u16,
    /// From the next frame on.
    next_shard_bytes: u16,
    batch_datagrams_max: usize,
    drop_every: Option<NonZeroU32>,
    since_drop: u32,
    meta: SliceMeta,
    /// Bytes of the frame so far.
    frame_bytes: usize,
    /// Columns of the slice in work that are still to be sealed.
    columns: Range<usize>,
    stats: PacketizeStats,
}

impl Packetizer {
    /// Allocates everything that packetizing needs.
    #[must_use]
    pub fn new(sealer: Sealer, config: PacketizerConfig) -> Self {
        let shard_bytes = shard_bytes(config.datagram_bytes_max);
        Self {
            sealer,
            history: History::new(config.history_bytes),
            parity: Parity::new(config.protection),
            parity_payload: Box::new([0; PARITY_PAYLOAD_BYTES_MAX]),
            shard_bytes,
            next_shard_bytes: shard_bytes,
            batch_datagrams_max: config.batch_datagrams_max.clamp(1, GSO_SEGMENTS_MAX),
            drop_every: None,
            since_drop: 0,
            meta: SliceMeta {
                frame: FrameId(0),
                index: SliceIndex(0),
                last: true,
                keyframe: false,
                recovery: false,
                captured: Timestamp::ZERO,
            },
            frame_bytes: 0,
            columns: 0..0,
            stats: PacketizeStats::default(),
        }
    }

    /// Counters since the start.
    #[must_use]
    pub const fn stats(&self) -> PacketizeStats {
        self.stats
    }

    /// Datagrams sealed so far, which is also the next sequence.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sealer.sequence()
    }

    /// Data shards of the frame in work so far.
    #[must_use]
    pub const fn columns(&self) -> usize {
        self.columns.end
    }

    /// Bytes of the frame in work so far, in whole shards, rounded up: what its parity costs is
    /// a share of this.
    #[must_use]
    pub fn whole_shards(&self) -> usize {
        self.frame_bytes.div_ceil(usize::from(self.shard_bytes))
    }

    /// From the next group on.
    pub const fn set_protection(&mut self, protection: Protection) {
        self.parity.protection = protection;
    }

    /// From the next frame on: the largest datagram, clamped as in [`PacketizerConfig`].
    pub fn set_datagram_bytes_max(&mut self, bytes: usize) {
        self.next_shard_bytes = shard_bytes(bytes);
    }

    /// From the next batch on, clamped as in [`PacketizerConfig`].
    pub fn set_batch_datagrams_max(&mut self, datagrams: usize) {
        self.batch_datagrams_max = datagrams.clamp(1, GSO_SEGMENTS_MAX);
    }

    /// Leaves every Nth datagram out of its batch after sealing it, to test loss.
    pub const fn set_drop_every(&mut self, every: Option<NonZeroU32>) {
        self.drop_every = every;
        self.since_drop = 0;
    }

    /// Takes up a slice, whose bytes it copies. What is left of the slice before is abandoned.
    ///
    /// # Errors
    /// See [`PacketizeError`]; the packetizer then holds no slice.
    pub fn begin(&mut self, meta: &SliceMeta, data: &[u8]) -> Result<(), PacketizeError> {
        let (frame, slice) = (meta.frame, meta.index.0);
        self.columns = self.columns.end..self.columns.end;
        if data.is_empty() {
            return Err(PacketizeError::Empty { frame, slice });
        }
        if slice >= SLICES_PER_FRAME_MAX {
            return Err(PacketizeError::SliceIndex { frame, slice });
        }
        if frame != self.meta.frame || self.meta.last {
            self.begin_frame(meta);
        }
        let first = self.columns.end;
        let end = first + data.len().div_ceil(usize::from(self.shard_bytes));
        let bytes = self.frame_bytes + data.len();
        let columns_max = COLUMNS_PER_FRAME_MAX.min(self.history.capacity());
        if end > columns_max || bytes > ACCESS_UNIT_BYTES_MAX {
            return Err(PacketizeError::FrameTooLarge {
                frame,
                slice,
                bytes,
                bytes_max: ACCESS_UNIT_BYTES_MAX.min(columns_max * usize::from(self.shard_bytes)),
            });
        }
        self.meta = *meta;
        self.frame_bytes = bytes;
        let shards = data.chunks(usize::from(self.shard_bytes));
        for (column, shard) in (first..end).zip(shards) {
            let descriptor = Descriptor {
                bytes: shard.len() as u16,
                slice: meta.index,
                last_of_slice: column + 1 == end,
                last_slice: meta.last,
            };
            self.history.push(frame, shard, descriptor);
        }
        self.columns = first..end;
        self.parity.grow(end);
        self.stats.slice_bytes += data.len() as u64;
        Ok(())
    }

    /// Seals the next datagrams into `batch`; false (and `batch` untouched) when everything is
    /// sent that can be before the next slice.
    pub fn next_batch(&mut self, batch: &mut Batch) -> bool {
        // Before the first slice there is nothing.
        let Some(kept) = self.history.get(self.meta.frame) else {
            return false;
        };
        let first_of_slice = self.stands_at_slice_begin();
        let (history, is_complete) = (&self.history, self.meta.last);
        if self.columns.is_empty() && !self.parity.open(history, &kept, is_complete) {
            if !is_complete {
                self.parity.make_early(history, &kept);
            }
            return false;
        }
        if self.columns.is_empty() {
            self.seal_parity(&kept, batch);
        } else {
            self.seal_data(&kept, batch);
        }
        batch.first_of_slice = first_of_slice;
        batch.last_of_slice = self.columns.is_empty() && !self.parity.follows(is_complete);
        batch.last_of_frame = batch.last_of_slice && self.meta.last;
        true
    }

    /// Seals columns once more, as many as fit `batch`, and takes them from `columns`; false (and
    /// `batch` untouched) if nothing is left of them, or the frame is not kept any more.
    pub fn repeat(&mut self, columns: &mut Columns, batch: &mut Batch) -> bool {
        let Some(kept) = self.history.get(columns.frame) else {
            self.stats.forgotten_shards += columns.range.len() as u64;
            columns.range.start = columns.range.end;
            return false;
        };
        // What the frame does not have (yet) cannot be missing.
        let end = usize::from(columns.range.end).min(kept.columns);
        let mut rest = usize::from(columns.range.start)..end;
        if rest.is_empty() {
            columns.range.start = columns.range.end;
            return false;
        }
        let slice = self.history.descriptor(&kept, rest.start).slice;
        batch.clear(Cargo::Repeat, columns.frame, slice);
        batch.first_sequence = self.sealer.sequence();
        self.seal_columns(&kept, &mut rest, batch);
        columns.range.start = rest.start as u16;
        true
    }

    /// Seals one datagram of a type without header fields of its own as a batch. Padding counts as
    /// a probe of rate; the caller says so if it is one of size.
    ///
    /// # Panics
    /// If `payload` is larger than [`DATAGRAM_BYTES_MAX`] allows.
    pub fn plain(&mut self, kind: Kind, payload: &[u8], batch: &mut Batch) {
        let cargo = match kind {
            Kind::Padding => Cargo::Probe,
            _ => Cargo::Echo,
        };
        batch.clear(cargo, self.meta.frame, self.meta.index);
        batch.first_sequence = self.sealer.sequence();
        let sealed = seal(&mut self.sealer, kind.header(), payload, batch.room());
        batch.push(sealed);
    }

    fn begin_frame(&mut self, meta: &SliceMeta) {
        self.shard_bytes = self.next_shard_bytes;
        let header = FrameHeader {
            frame: meta.frame,
            keyframe: meta.keyframe,
            recovery: meta.recovery,
            captured: CaptureMicros::from(meta.captured),
        };
        self.history.begin(header, self.shard_bytes);
        self.frame_bytes = 0;
        self.columns = 0..0;
        self.parity.begin_frame();
        self.meta = SliceMeta {
            last: false,
            ..*meta
        };
    }

    fn stands_at_slice_begin(&self) -> bool {
        let first = self.columns.start;
        !self.columns.is_empty()
            && (first == 0
                || self
                    .history
                    .descriptor(&self.kept(), first - 1)
                    .last_of_slice)
    }

    /// The frame in work.
    fn kept(&self) -> Kept {
        self.history
            .get(self.meta.frame)
            .expect("begin checked that a frame fits the history")
    }

    fn seal_data(&mut self, kept: &Kept, batch: &mut Batch) {
        batch.clear(Cargo::Data, self.meta.frame, self.meta.index);
        batch.first_sequence = self.sealer.sequence();
        let mut columns = self.columns.clone();
        self.seal_columns(kept, &mut columns, batch);
        self.columns = columns;
    }

    /// Seals columns until the batch is full or one was shorter than the first.
    fn seal_columns(&mut self, kept: &Kept, columns: &mut Range<usize>, batch: &mut Batch) {
        let repeat = batch.cargo == Cargo::Repeat;
        for _ in 0..self.batch_datagrams_max {
            let Some(column) = columns.next() else {
                return;
            };
            let descriptor = self.history.descriptor(kept, column);
            let header = DataHeader {
                frame: kept.header,
                descriptor,
                repeat,
                column: u16::try_from(column).expect("below COLUMNS_PER_FRAME_MAX"),
                shard_bytes: kept.shard_bytes,
            };
            let mut wire = [0; MEDIA_HEADER_BYTES];
            header.write(&mut wire);
            let data = &self.history.shard(kept, column)[..usize::from(descriptor.bytes)];
            let sealed = seal(&mut self.sealer, wire, data, batch.room());
            if repeat {
                self.stats.repeated_datagrams += 1;
            } else {
                self.stats.data_datagrams += 1;
            }
            self.put(sealed, batch);
            if descriptor.bytes < kept.shard_bytes {
                return;
            }
        }
    }

    /// Seals parity, of several groups where their shards have one size.
    fn seal_parity(&mut self, kept: &Kept, batch: &mut Batch) {
        batch.clear(Cargo::Parity, self.meta.frame, self.meta.index);
        batch.first_sequence = self.sealer.sequence();
        let shard_bytes = self.parity.group().shard_bytes;
        let mut left = self.batch_datagrams_max;
        while left > 0
            && self.parity.open(&self.history, kept, self.meta.last)
            && self.parity.group().shard_bytes == shard_bytes
        {
            self.seal_parity_shard(kept, batch);
            left -= 1;
        }
    }

    /// Seals the next parity shard of the group in work.
    fn seal_parity_shard(&mut self, kept: &Kept, batch: &mut Batch) {
        let u16_of = |count: usize| u16::try_from(count).expect("limits keep it in 16 bits");
        let group = self.parity.group();
        let header = ParityHeader {
            frame: kept.header,
            last_group: self.meta.last && group.columns.end == kept.columns,
            code: group.code,
            first_column: u16_of(group.columns.start),
            index: u16_of(group.next),
        };
        let mut wire = [0; MEDIA_HEADER_BYTES];
        header.write(&mut wire);
        let (descriptor, shard) = self.parity.next_shard();
        let body = ParityBody {
            data_shards: u16_of(group.columns.len()),
            parity_shards: u16_of(group.parity_shards),
            descriptor,
            shard,
        };
        let payload = &mut self.parity_payload;
        payload[..PARITY_PREFIX_BYTES].copy_from_slice(&body.prefix());
        let payload = &mut payload[..PARITY_PREFIX_BYTES + shard.len()];
        payload[PARITY_PREFIX_BYTES..].copy_from_slice(shard);
        let sealed = seal(&mut self.sealer, wire, payload, batch.room());
        self.parity.advance();
        self.stats.parity_datagrams += 1;
        self.put(sealed, batch);
    }

    /// Keeps the datagram just sealed into the batch's room, unless it is one to be dropped.
    fn put(&mut self, sealed: usize, batch: &mut Batch) {
        if self.is_to_be_dropped() {
            self.stats.dropped_datagrams += 1;
        } else {
            batch.push(sealed);
        }
    }

    fn is_to_be_dropped(&mut self) -> bool {
        let Some(every) = self.drop_every else {
            return false;
        };
        self.since_drop += 1;
        if self.since_drop < every.get() {
            return false;
        }
        self.since_drop = 0;
        true
    }
}

/// Size of a whole shard where a datagram may have so many bytes: that of parity is the largest.
fn shard_bytes(datagram_bytes_max: usize) -> u16 {
    let datagram_bytes = datagram_bytes_max.clamp(DATAGRAM_BYTES_MIN, DATAGRAM_BYTES_MAX);
    let room = datagram_bytes - MEDIA_HEADER_BYTES - PARITY_PREFIX_BYTES - TAG_BYTES;
    (room / SHARD_BYTES_MIN * SHARD_BYTES_MIN) as u16
}

fn seal(
    sealer: &mut Sealer,
    mut header: [u8; MEDIA_HEADER_BYTES],
    payload: &[u8],
    room: &mut [u8],
) -> usize {
    sealer
        .seal(&mut header, payload, room)
        .expect("a batch has room for its segments, and 2⁶⁴ sequences outlast any session")
}
