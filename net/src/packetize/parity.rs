//! Parity of a frame's columns: which of them share a group, and the shards that are made of them.
//!
//! A group is sealed when the slices are there that it ends with ([`Protection::slices_per_group`]).
//! Of a large frame most groups are made before, between two slices, while their columns are still
//! in the cache and the frame's end does not wait for them.
//!
//! ```text
//! grow ─▶ make_early (after each slice) ─▶ open: the groups in order, then what is left
//! ```

use std::ops::Range;

use super::Protection;
#[cfg(debug_assertions)]
use super::check::SelfCheck;
use super::history::{History, Kept};
use crate::fec::{self, Code, Encoder};
use crate::limits::{
    DESCRIPTOR_BYTES, GF16_DATA_SHARDS_MAX, GF16_PARITY_SHARDS_MAX, GROUPS_PER_FRAME_MAX,
    SHARD_BYTES_MAX,
};

/// Data shards of a group, where a frame has more than fit one. Parity costs k × m: a frame of 400
/// shards takes 0.2 ms as one block and a third of that in pieces. Smaller ones would save more
/// time, but need more parity for the same loss: at 5 % and a round trip of 80 ms, where frames have
/// 40 to 90 short shards, groups of 64 take 26.4 % and whole frames 21.1 % (`loss-5-rtt-80`).
const GROUP_DATA_SHARDS: usize = 96;

/// Data shards of a group that is made before its frame's end; at least as many are left for the
/// end, so that no group is small. Two thirds of the largest, since there are several then.
const EARLY_DATA_SHARDS: usize = 64;
/// Groups that may be made early: the rest is for what a frame of any size has left at its end.
const EARLY_GROUPS_MAX: usize = GROUPS_PER_FRAME_MAX / 2;

/// Columns that share parity, and where that is.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) columns: Range<usize>,
    pub(super) shard_bytes: usize,
    pub(super) parity_shards: usize,
    pub(super) code: Code,
    /// Its first shard, and the parity of its first descriptor, bytes into the buffers.
    shards_at: usize,
    descriptors_at: usize,
    /// The parity shard that is sealed next.
    pub(super) next: usize,
}

impl Group {
    fn is_finished(&self) -> bool {
        self.next >= self.parity_shards
    }
}

/// Makes the parity of one frame after the other.
pub(super) struct Parity {
    encoder: Encoder,
    shards: Box<[u8]>,
    descriptors: Box<[u8]>,
    /// How frames are protected, from the next group on.
    pub(super) protection: Protection,
    /// Columns whose parity is still to be made.
    unprotected: Range<usize>,
    /// Slices since the last group that ended with one.
    slices_in_group: u8,
    /// Groups of the frame so far.
    groups: usize,
    /// Made early and not sealed yet, from `next_early` on.
    early: Vec<Group>,
    next_early: usize,
    /// The group being sealed.
    group: Group,
    #[cfg(debug_assertions)]
    check: SelfCheck,
}

impl Parity {
    pub(super) fn new(protection: Protection) -> Self {
        Self {
            encoder: Encoder::new(),
            shards: vec![0; GF16_PARITY_SHARDS_MAX * SHARD_BYTES_MAX].into_boxed_slice(),
            descriptors: vec![0; GF16_PARITY_SHARDS_MAX * DESCRIPTOR_BYTES].into_boxed_slice(),
            protection,
            unprotected: 0..0,
            slices_in_group: 0,
            groups: 0,
            early: Vec::with_capacity(EARLY_GROUPS_MAX),
            next_early: 0,
            group: Group::default(),
            #[cfg(debug_assertions)]
            check: SelfCheck::new(),
        }
    }

    pub(super) fn begin_frame(&mut self) {
        self.unprotected = 0..0;
        self.slices_in_group = 0;
        self.groups = 0;
        self.early.clear();
        self.next_early = 0;
        self.group = Group::default();
    }

    /// A slice was added to the frame, whose columns end here now.
    pub(super) fn grow(&mut self, columns_end: usize) {
        self.unprotected.end = columns_end;
        self.slices_in_group = self.slices_in_group.saturating_add(1);
    }

    /// Makes the parity that needs no column of the slices to come.
    pub(super) fn make_early(&mut self, history: &History, kept: &Kept) {
        while self.unprotected.len() >= 2 * EARLY_DATA_SHARDS
            && self.protection.is_on()
            && self.groups < EARLY_GROUPS_MAX
        {
            let (shards_at, descriptors_at) = self.early.last().map_or((0, 0), Group::end);
            let columns = self.unprotected.start..self.unprotected.start + EARLY_DATA_SHARDS;
            let group = self.plan(history, kept, columns, shards_at, descriptors_at);
            let (shards_end, descriptors_end) = group.end();
            if shards_end > self.shards.len() || descriptors_end > self.descriptors.len() {
                return;
            }
            self.unprotected.start = group.columns.end;
            self.groups += 1;
            self.encode(history, kept, &group);
            self.early.push(group);
        }
    }

    /// True if there is parity to seal: of the group in work, or of the next one, which it begins.
    /// `is_complete` says that the frame has all of its slices.
    pub(super) fn open(&mut self, history: &History, kept: &Kept, is_complete: bool) -> bool {
        while self.group.is_finished() {
            if !self.is_due(is_complete) {
                return false;
            }
            match self.early.get(self.next_early) {
                Some(group) => {
                    self.group = group.clone();
                    self.next_early += 1;
                }
                None => self.make_next(history, kept),
            }
        }
        true
    }

    /// True if [`Self::open`] will find parity to seal; unlike that it computes none, so that data
    /// need not wait for it.
    pub(super) fn follows(&self, is_complete: bool) -> bool {
        let can_make = self.protection.is_on() && self.groups < GROUPS_PER_FRAME_MAX;
        let has_early = self.next_early < self.early.len();
        !self.group.is_finished() || self.is_due(is_complete) && (can_make || has_early)
    }

    /// The group in work: what is sealed next of it, and its number is `next`.
    pub(super) fn group(&self) -> &Group {
        &self.group
    }

    /// The parity of the group in work's descriptors, and its shard, that are sealed next.
    pub(super) fn next_shard(&self) -> ([u8; DESCRIPTOR_BYTES], &[u8]) {
        let group = &self.group;
        let mut descriptor = [0; DESCRIPTOR_BYTES];
        let at = group.descriptors_at + group.next * DESCRIPTOR_BYTES;
        descriptor.copy_from_slice(&self.descriptors[at..][..DESCRIPTOR_BYTES]);
        let at = group.shards_at + group.next * group.shard_bytes;
        (descriptor, &self.shards[at..][..group.shard_bytes])
    }

    /// It was sealed.
    pub(super) fn advance(&mut self) {
        self.group.next += 1;
    }

    /// Early groups always leave columns for the one that ends with a slice.
    fn is_due(&self, is_complete: bool) -> bool {
        let is_full = self.slices_in_group >= self.protection.slices_per_group.get();
        (is_complete || is_full) && !self.unprotected.is_empty()
    }

    /// Makes the parity of the columns that have none, or of as many of them as a group can have.
    /// All early groups are sealed: their room is free.
    fn make_next(&mut self, history: &History, kept: &Kept) {
        self.early.clear();
        self.next_early = 0;
        let left = self.unprotected.len();
        // Of a frame, so that all of its pieces have about one size.
        let groups_left = (GROUPS_PER_FRAME_MAX - self.groups.min(GROUPS_PER_FRAME_MAX - 1)).max(1);
        let pieces = left
            .div_ceil(GROUP_DATA_SHARDS)
            .min(groups_left)
            .max(left.div_ceil(GF16_DATA_SHARDS_MAX));
        let begin = self.unprotected.start;
        let columns = begin..begin + left.div_ceil(pieces);
        self.unprotected.start = columns.end;
        if self.unprotected.is_empty() {
            self.slices_in_group = 0;
        }
        self.groups += 1;
        let group = self.plan(history, kept, columns, 0, 0);
        if group.parity_shards == 0 || self.groups > GROUPS_PER_FRAME_MAX {
            return;
        }
        self.encode(history, kept, &group);
        self.group = group;
    }

    fn plan(
        &self,
        history: &History,
        kept: &Kept,
        columns: Range<usize>,
        shards_at: usize,
        descriptors_at: usize,
    ) -> Group {
        let longest = columns
            .clone()
            .map(|column| history.descriptor(kept, column).bytes)
            .max();
        let parity_shards = self.protection.parity_for(columns.len());
        Group {
            // GF(2¹⁶) takes whole words.
            shard_bytes: usize::from(longest.unwrap_or_default()).next_multiple_of(2),
            parity_shards,
            code: fec::choose(columns.len(), parity_shards),
            shards_at,
            descriptors_at,
            next: 0,
            columns,
        }
    }

    fn encode(&mut self, history: &History, kept: &Kept, group: &Group) {
        let first = group.columns.start;
        let shard = |index: usize| history.shard(kept, first + index);
        let descriptor = |index: usize| history.descriptor_bytes(kept, first + index);
        let (code, count) = (group.code, group.columns.len());
        let (shards_end, descriptors_end) = group.end();
        let parity = &mut self.shards[group.shards_at..shards_end];
        let descriptors = &mut self.descriptors[group.descriptors_at..descriptors_end];
        self.encoder
            .encode_from(code, group.shard_bytes, count, shard, parity)
            .expect("the group keeps to the limits of the code that `choose` chose");
        self.encoder
            .encode_from(code, DESCRIPTOR_BYTES, count, descriptor, descriptors)
            .expect("the same group");
        #[cfg(debug_assertions)]
        self.check
            .drop_recover_compare(code, group.shard_bytes, count, shard, parity);
    }
}

impl Group {
    /// Where its shards and the parity of its descriptors end, bytes into the buffers.
    fn end(&self) -> (usize, usize) {
        (
            self.shards_at + self.parity_shards * self.shard_bytes,
            self.descriptors_at + self.parity_shards * DESCRIPTOR_BYTES,
        )
    }
}
