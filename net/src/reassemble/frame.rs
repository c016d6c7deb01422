//! One frame in the making: its columns and the parity that came, in buffers of fixed size.

use std::ops::Range;

use crate::fec::{Code, Decoder, ShardSet, SplitBlock};
use crate::limits::{
    COLUMNS_PER_FRAME_MAX, DESCRIPTOR_BYTES, GROUPS_PER_FRAME_MAX, SHARD_BYTES_MIN,
    SLICES_PER_FRAME_MAX,
};
use crate::media::{DataHeader, Descriptor, FrameHeader, ParityBody, ParityHeader};
use crate::units::Timestamp;

use super::LossReason;
use super::unit::{AccessUnit, PooledBuffer};

/// Times of a frame of which something came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    /// Its first shard.
    pub(super) first: Timestamp,
    /// The latest shard that was of use.
    pub(super) latest: Timestamp,
    /// When it was complete.
    pub(super) complete: Option<Timestamp>,
}

/// What became of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Insert {
    /// Kept.
    Taken,
    /// Kept, and so many columns were recovered with it.
    Repaired(usize),
    /// Known, or not needed any more.
    Redundant,
    /// Contradicts what came before.
    Conflict,
    /// The frame is larger than what is held.
    NoRoom,
}

/// A set of numbers below [`COLUMNS_PER_FRAME_MAX`].
struct ColumnSet {
    words: Box<[u64; COLUMNS_PER_FRAME_MAX / 64]>,
    /// Words that may not be 0.
    used: usize,
}

impl ColumnSet {
    fn new() -> Self {
        Self {
            words: Box::new([0; COLUMNS_PER_FRAME_MAX / 64]),
            used: 0,
        }
    }

    fn clear(&mut self) {
        self.words[..self.used].fill(0);
        self.used = 0;
    }

    fn contains(&self, column: usize) -> bool {
        self.words[column / 64] >> (column % 64) & 1 == 1
    }

    fn insert(&mut self, column: usize) {
        self.words[column / 64] |= 1 << (column % 64);
        self.used = self.used.max(column / 64 + 1);
    }

    fn count_in(&self, range: Range<usize>) -> usize {
        range.filter(|&column| self.contains(column)).count()
    }
}

/// A parity group of which something came.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    code: Code,
    first: usize,
    data_shards: usize,
    parity_shards: usize,
    shard_bytes: usize,
    /// Where its parity begins: in shards of the frame's parity, and in bytes.
    parity_first: usize,
    parity_offset: usize,
    data_present: usize,
    parity_present: usize,
}

impl Group {
    fn columns(&self) -> Range<usize> {
        self.first..self.first + self.data_shards
    }

    fn can_be_recovered(&self) -> bool {
        self.data_present < self.data_shards
            && self.data_present + self.parity_present >= self.data_shards
    }
}

/// Why a frame will never be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    TooLarge,
    Undecodable,
}

/// One place of the window.
pub(super) struct Assembly {
    /// Columns, `shard_bytes` apart.
    data: Box<[u8]>,
    descriptors: Box<[[u8; DESCRIPTOR_BYTES]]>,
    present: ColumnSet,
    /// Parity shards of all groups.
    parity: Box<[u8]>,
    parity_used: usize,
    parity_descriptors: Box<[[u8; DESCRIPTOR_BYTES]]>,
    parity_shards: usize,
    parity_present: ColumnSet,
    groups: [Group; GROUPS_PER_FRAME_MAX],
    group_count: usize,
    header: FrameHeader,
    /// Size of a whole shard; 0 until a data shard or a recovery tells.
    shard_bytes: usize,
    /// Columns of the frame, once something said which is the last.
    end: Option<usize>,
    /// All columns that came lie below.
    highest: usize,
    /// All columns below came.
    prefix: usize,
    /// Columns of the slices of which all came, and all before them.
    whole_slices: usize,
    /// Columns that were handed over.
    handed: usize,
    unit_bytes: usize,
    unit_bytes_max: usize,
    begun: Option<Begun>,
    slice_complete: [Timestamp; SLICES_PER_FRAME_MAX as usize],
    slice_count: u8,
    broken: Option<Broken>,
    received_shards: u32,
    repaired_shards: u32,
}

impl Assembly {
    /// `arena_bytes` for data and as many for parity.
    pub(super) fn new(arena_bytes: usize, unit_bytes_max: usize) -> Self {
        let descriptors = || vec![[0; DESCRIPTOR_BYTES]; COLUMNS_PER_FRAME_MAX].into_boxed_slice();
        Self {
            data: vec![0; arena_bytes].into_boxed_slice(),
            descriptors: descriptors(),
            present: ColumnSet::new(),
            parity: vec![0; arena_bytes].into_boxed_slice(),
            parity_used: 0,
            parity_descriptors: descriptors(),
            parity_shards: 0,
            parity_present: ColumnSet::new(),
            groups: [Group::default(); GROUPS_PER_FRAME_MAX],
            group_count: 0,
            header: FrameHeader::default(),
            shard_bytes: 0,
            end: None,
            highest: 0,
            prefix: 0,
            whole_slices: 0,
            handed: 0,
            unit_bytes: 0,
            unit_bytes_max,
            begun: None,
            slice_complete: [Timestamp::ZERO; SLICES_PER_FRAME_MAX as usize],
            slice_count: 0,
            broken: None,
            received_shards: 0,
            repaired_shards: 0,
        }
    }

    pub(super) const fn begun(&self) -> Option<Begun> {
        self.begun
    }

    pub(super) fn is_complete(&self) -> bool {
        self.begun.is_some_and(|begun| begun.complete.is_some())
    }

    /// True if slices can be handed over that were not.
    pub(super) const fn has_slices(&self) -> bool {
        self.broken.is_none() && self.handed < self.whole_slices
    }

    /// True if waiting for it is pointless.
    pub(super) const fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Forgets everything, for the next frame.
    pub(super) fn clear(&mut self) {
        self.present.clear();
        self.parity_present.clear();
        self.parity_used = 0;
        self.parity_shards = 0;
        self.group_count = 0;
        self.shard_bytes = 0;
        self.end = None;
        self.highest = 0;
        self.prefix = 0;
        self.whole_slices = 0;
        self.handed = 0;
        self.unit_bytes = 0;
        self.begun = None;
        self.slice_complete = [Timestamp::ZERO; SLICES_PER_FRAME_MAX as usize];
        self.slice_count = 0;
        self.broken = None;
        self.received_shards = 0;
        self.repaired_shards = 0;
    }

    /// Takes a data shard of this frame.
    pub(super) fn insert_data(
        &mut self,
        now: Timestamp,
        header: &DataHeader,
        payload: &[u8],
        decoder: &mut Decoder,
    ) -> Insert {
        let column = usize::from(header.column);
        let descriptor = header.descriptor;
        let end = descriptor.ends_frame().then_some(column + 1);
        let size = usize::from(header.shard_bytes);
        let other_size = self.shard_bytes != 0 && self.shard_bytes != size;
        if payload.len() != usize::from(descriptor.bytes)
            || other_size
            || self.contradicts(&header.frame, column + 1, end)
        {
            return Insert::Conflict;
        }
        if let Some(refused) = self.admit(now, &header.frame) {
            return refused;
        }
        self.shard_bytes = size;
        if self.present.contains(column) {
            return Insert::Redundant;
        }
        let at = column * size;
        if at + size > self.data.len() {
            self.broken = Some(Broken::TooLarge);
            return Insert::NoRoom;
        }
        self.end = self.end.or(end);
        let (shard, rest) = self.data[at..at + size].split_at_mut(payload.len());
        shard.copy_from_slice(payload);
        rest.fill(0);
        self.descriptors[column] = descriptor.to_wire();
        self.received_shards += 1;
        if let Some(begun) = &mut self.begun {
            begun.latest = now;
        }
        if !self.keep(column, descriptor) {
            return Insert::NoRoom;
        }
        let groups = self.groups[..self.group_count].iter_mut();
        for group in groups.filter(|group| group.columns().contains(&column)) {
            group.data_present += 1;
        }
        self.settle(now, decoder)
    }

    /// Takes a parity shard of this frame.
    pub(super) fn insert_parity(
        &mut self,
        now: Timestamp,
        header: &ParityHeader,
        body: &ParityBody<'_>,
        decoder: &mut Decoder,
    ) -> Insert {
        let group_end = usize::from(header.first_column) + usize::from(body.data_shards);
        let end = header.last_group.then_some(group_end);
        if self.contradicts(&header.frame, group_end, end) {
            return Insert::Conflict;
        }
        if let Some(refused) = self.admit(now, &header.frame) {
            return refused;
        }
        let index = match self.open_group(header, body) {
            Ok(index) => index,
            Err(refused) => return refused,
        };
        let group = &mut self.groups[index];
        let place = group.parity_first + usize::from(header.index);
        if group.data_present == group.data_shards || self.parity_present.contains(place) {
            return Insert::Redundant;
        }
        let at = group.parity_offset + usize::from(header.index) * group.shard_bytes;
        self.parity[at..at + group.shard_bytes].copy_from_slice(body.shard);
        self.parity_descriptors[place] = body.descriptor;
        self.parity_present.insert(place);
        group.parity_present += 1;
        self.end = self.end.or(end);
        self.received_shards += 1;
        if let Some(begun) = &mut self.begun {
            begun.latest = now;
        }
        self.settle(now, decoder)
    }

    /// Moves what was not handed over yet into `buffer`: the rest of a frame that is complete, the
    /// whole slices of another.
    pub(super) fn assemble(&mut self, mut buffer: PooledBuffer) -> AccessUnit {
        let begun = self.begun.expect("what has slices has begun");
        let ends = begun.complete.is_some();
        let columns = self.handed..if ends { self.prefix } else { self.whole_slices };
        for column in columns.clone() {
            let at = column * self.shard_bytes;
            let [low, high, ..] = self.descriptors[column];
            let bytes = usize::from(u16::from_le_bytes([low, high]));
            buffer.bytes.extend_from_slice(&self.data[at..at + bytes]);
        }
        self.handed = columns.end;
        let slices = &self.slice_complete[..usize::from(self.slice_count)];
        let newest = slices.iter().copied().max().unwrap_or(begun.latest);
        AccessUnit {
            buffer,
            frame: self.header.frame,
            begins: columns.start == 0,
            ends,
            keyframe: self.header.keyframe,
            recovery: self.header.recovery,
            captured: self.header.captured,
            received_first: begun.first,
            slice_complete: self.slice_complete,
            slice_count: self.slice_count,
            complete: begun.complete.unwrap_or(newest),
            repaired_shards: self.repaired_shards,
            received_shards: self.received_shards,
        }
    }

    /// Why it is not complete.
    pub(super) fn loss_reason(&self) -> LossReason {
        let Some(begun) = self.begun else {
            return LossReason::Missing;
        };
        debug_assert!(begun.complete.is_none(), "a complete frame is not lost");
        match self.broken {
            Some(Broken::TooLarge) => LossReason::TooLarge,
            Some(Broken::Undecodable) => LossReason::Undecodable,
            None => LossReason::Incomplete {
                column: self.prefix as u16,
                received: self.present.count_in(0..self.highest) as u16,
                columns: self.end.map(|end| end as u16),
            },
        }
    }

    /// Calls `missing` with each run of columns that must exist and have not come. If the host has
    /// sent all of the frame and its end is not known, the last run is open: up to `u16::MAX`.
    pub(super) fn missing(&self, sent_whole: bool, mut missing: impl FnMut(Range<u16>)) {
        let known = self.highest.max(self.groups_end());
        let end = self.end.unwrap_or(known);
        let open = sent_whole && self.end.is_none();
        let mut column = self.prefix;
        loop {
            while column < end && self.present.contains(column) {
                column += 1;
            }
            let first = column;
            while column < end && !self.present.contains(column) {
                column += 1;
            }
            if column >= end && open {
                return missing(first as u16..u16::MAX);
            }
            if first == column {
                return;
            }
            missing(first as u16..column as u16);
        }
    }

    /// All columns of known groups lie below.
    fn groups_end(&self) -> usize {
        let groups = self.groups[..self.group_count].iter();
        groups.map(|group| group.columns().end).max().unwrap_or(0)
    }

    /// True if what a datagram says of its frame, of columns below `needs`, and of the frame's end
    /// does not fit what came before.
    fn contradicts(&self, header: &FrameHeader, needs: usize, end: Option<usize>) -> bool {
        if self.begun.is_none() {
            return false;
        }
        let known = self.highest.max(self.groups_end());
        *header != self.header
            || self.end.is_some_and(|known| needs > known)
            || end.is_some_and(|end| end < known || self.end.is_some_and(|known| known != end))
    }

    /// Notes that something of the frame came; the answer if nothing more of it is wanted.
    fn admit(&mut self, now: Timestamp, header: &FrameHeader) -> Option<Insert> {
        let begun = self.begun.get_or_insert(Begun {
            first: now,
            latest: now,
            complete: None,
        });
        if begun.complete.is_some() {
            return Some(Insert::Redundant);
        }
        self.header = *header;
        self.broken.map(|_| Insert::NoRoom)
    }

    /// The group of a parity shard; gives it a place if it has none yet.
    fn open_group(
        &mut self,
        header: &ParityHeader,
        body: &ParityBody<'_>,
    ) -> Result<usize, Insert> {
        let mut group = Group {
            code: header.code,
            first: usize::from(header.first_column),
            data_shards: usize::from(body.data_shards),
            parity_shards: usize::from(body.parity_shards),
            shard_bytes: body.shard.len(),
            parity_first: self.parity_shards,
            parity_offset: self.parity_used,
            data_present: 0,
            parity_present: 0,
        };
        for (index, known) in self.groups[..self.group_count].iter().enumerate() {
            let same = (known.code, known.columns(), known.parity_shards)
                == (group.code, group.columns(), group.parity_shards)
                && known.shard_bytes == group.shard_bytes;
            if same {
                return Ok(index);
            }
            if known.first < group.columns().end && group.first < known.columns().end {
                return Err(Insert::Conflict);
            }
        }
        let parity_bytes = group.parity_shards * group.shard_bytes;
        let fits = self.group_count < GROUPS_PER_FRAME_MAX
            && self.parity_used + parity_bytes <= self.parity.len()
            && self.parity_shards + group.parity_shards <= COLUMNS_PER_FRAME_MAX;
        if !fits {
            // The data alone may still come whole.
            return Err(Insert::NoRoom);
        }
        group.data_present = self.present.count_in(group.columns());
        self.parity_used += parity_bytes;
        self.parity_shards += group.parity_shards;
        self.groups[self.group_count] = group;
        self.group_count += 1;
        Ok(self.group_count - 1)
    }

    /// Counts a column as present; false if the frame grows too large by it.
    fn keep(&mut self, column: usize, descriptor: Descriptor) -> bool {
        self.present.insert(column);
        self.highest = self.highest.max(column + 1);
        self.unit_bytes += usize::from(descriptor.bytes);
        if self.unit_bytes > self.unit_bytes_max {
            self.broken = Some(Broken::TooLarge);
        }
        self.broken.is_none()
    }

    /// After a shard came: recovers what can be, moves the prefix on, and looks whether the frame
    /// is complete.
    fn settle(&mut self, now: Timestamp, decoder: &mut Decoder) -> Insert {
        let mut repaired = 0;
        // All groups: the size of a whole shard may have been what one of them waited for.
        for index in 0..self.group_count {
            let group = &self.groups[index];
            if !group.can_be_recovered() {
                continue;
            }
            let Some(stride_bytes) = self.stride(group) else {
                continue;
            };
            self.shard_bytes = stride_bytes;
            match self.recover(index, decoder) {
                Ok(columns) => repaired += columns,
                Err(broken) => {
                    self.broken = Some(broken);
                    return Insert::NoRoom;
                }
            }
        }
        while self.prefix < self.highest && self.present.contains(self.prefix) {
            let [_, _, slice, _] = self.descriptors[self.prefix];
            let descriptor = Descriptor::from_wire(self.descriptors[self.prefix], self.shard_bytes);
            if descriptor.is_some_and(|descriptor| descriptor.last_of_slice) {
                self.slice_complete[usize::from(slice)] = now;
                self.slice_count = self.slice_count.max(slice + 1);
                self.whole_slices = self.prefix + 1;
            }
            self.prefix += 1;
        }
        if self.end == Some(self.prefix)
            && let Some(begun) = &mut self.begun
        {
            begun.complete = Some(now);
        }
        match repaired {
            0 => Insert::Taken,
            repaired => Insert::Repaired(repaired),
        }
    }

    /// How far columns lie apart: known from any data shard; without one only a group that is the
    /// whole frame can be placed.
    fn stride(&self, group: &Group) -> Option<usize> {
        if self.shard_bytes != 0 {
            return Some(self.shard_bytes);
        }
        let whole = group.first == 0 && self.end == Some(group.data_shards);
        whole.then(|| group.shard_bytes.next_multiple_of(SHARD_BYTES_MIN))
    }

    /// Recovers the missing columns of a group, which has enough; how many.
    fn recover(&mut self, index: usize, decoder: &mut Decoder) -> Result<usize, Broken> {
        let group = self.groups[index];
        let Group {
            code,
            data_shards,
            parity_shards,
            shard_bytes,
            ..
        } = group;
        let stride_bytes = self.shard_bytes;
        let columns = group.columns();
        if shard_bytes > stride_bytes || columns.end * stride_bytes > self.data.len() {
            return Err(Broken::TooLarge);
        }
        let mut present = ShardSet::new();
        for (shard, column) in columns.clone().enumerate() {
            if self.present.contains(column) {
                present.insert(shard);
            }
        }
        for shard in 0..parity_shards {
            if self.parity_present.contains(group.parity_first + shard) {
                present.insert(data_shards + shard);
            }
        }
        let parity = group.parity_first..group.parity_first + parity_shards;
        let descriptors = SplitBlock {
            data: self.descriptors[columns.clone()].as_flattened_mut(),
            stride_bytes: DESCRIPTOR_BYTES,
            data_shards,
            parity: self.parity_descriptors[parity].as_flattened(),
            parity_shards,
        };
        let parity_bytes = group.parity_offset..group.parity_offset + parity_shards * shard_bytes;
        let data = SplitBlock {
            data: &mut self.data[columns.start * stride_bytes..columns.end * stride_bytes],
            stride_bytes,
            data_shards,
            parity: &self.parity[parity_bytes],
            parity_shards,
        };
        let repaired = decoder
            .recover_split(code, DESCRIPTOR_BYTES, descriptors, &present)
            .and_then(|_| decoder.recover_split(code, shard_bytes, data, &present))
            .map_err(|_| Broken::Undecodable)?;
        for column in columns {
            if !self.present.contains(column) {
                self.take_recovered(column, shard_bytes)?;
            }
        }
        self.groups[index].data_present = data_shards;
        self.repaired_shards += repaired as u32;
        Ok(repaired)
    }

    fn take_recovered(&mut self, column: usize, shard_bytes: usize) -> Result<(), Broken> {
        let descriptor = Descriptor::from_wire(self.descriptors[column], self.shard_bytes)
            .filter(|descriptor| usize::from(descriptor.bytes) <= shard_bytes)
            .ok_or(Broken::Undecodable)?;
        if descriptor.ends_frame() {
            if self.end.is_some_and(|end| end != column + 1) || self.highest > column + 1 {
                return Err(Broken::Undecodable);
            }
            self.end = Some(column + 1);
        }
        if self.keep(column, descriptor) {
            Ok(())
        } else {
            Err(Broken::TooLarge)
        }
    }
}
