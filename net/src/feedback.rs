//! What a client tells its host about the path, a few hundred times a second.
//!
//! Feedback travels as a sealed media datagram of its own type, so that a lost packet of the
//! control stream never holds it up. It is worth nothing late and may be lost: each one carries
//! all that is current, and the receipts of the last 64 ms again. Taking one twice, or after a
//! younger one, changes nothing.
//!
//! The plaintext, little-endian; 52 bytes, 8 for each receipt and 8 for each want:
//!
//! | offset | size | field |
//! |---:|---:|---|
//! | 0 | 8 | when the client sent this, ns of the client's clock |
//! | 8 | 8 | authentic media datagrams received so far, of every type |
//! | 16 | 8 | base sequence: the lowest that a receipt names, 0 without receipts |
//! | 24 | 8 | arrival of the newest receipt, µs of the client's clock, 0 without receipts |
//! | 32 | 4 | newest frame delivered whole and in order, 0 if none |
//! | 36 | 4 | first frame lost since then, 0 if none |
//! | 40 | 4 | newest frame lost, 0 if none |
//! | 44 | 4 | time that the decoder took for its newest frame, µs; 0 unknown |
//! | 48 | 1 | access units waiting for the decoder, saturated |
//! | 49 | 1 | flags: bit 0 field 32 is in use, bit 1 fields 36 and 40 are |
//! | 50 | 1 | receipts r |
//! | 51 | 1 | wants w |
//! | 52 + 8 i | 4 | receipt i: first sequence of the run, from the base |
//! | +4 | 2 | datagrams in the run, at least 1 |
//! | +6 | 2 | arrival, µs before that of the newest receipt |
//! | 52 + 8 r + 8 j | 4 | want j: frame |
//! | +4 | 2 | first missing column |
//! | +6 | 2 | missing columns, at least 1 |
//!
//! [`Feedback::parse`] takes nothing for granted: every relation above is checked, the length is
//! exact, and unused fields are zero, so that there is one way to say a thing.

mod receipts;
#[cfg(test)]
mod tests;

pub use receipts::{FeedbackSchedule, ReceiptLog, ScheduleConfig};

use crate::bytes::{Reader, Truncated};
use crate::limits::{MEDIA_HEADER_BYTES, TAG_BYTES};
use crate::units::{FrameId, Timestamp};

/// Most receipts in a feedback. At 60 Hz and 50 Mbit/s a client that wakes for every fourth
/// datagram makes 80 runs in [`RECEIPT_WINDOW_US`].
pub const RECEIPTS_MAX: usize = 80;
/// Most wants in a feedback: a run of loss each, more than a repairable frame has.
pub const WANTS_MAX: usize = 16;
/// How far back receipts reach, µs before the newest: the ages fit their 16 bits, and twelve
/// feedbacks in a row must be lost before a receipt is.
pub const RECEIPT_WINDOW_US: u64 = 64_000;
const _: () = assert!(RECEIPT_WINDOW_US <= u16::MAX as u64);

/// Bytes of a feedback without receipts and wants.
pub const FEEDBACK_BYTES_MIN: usize = 52;
const ITEM_BYTES: usize = 8;
/// Bytes of the largest feedback.
pub const FEEDBACK_BYTES_MAX: usize = FEEDBACK_BYTES_MIN + ITEM_BYTES * (RECEIPTS_MAX + WANTS_MAX);
const _: () = assert!(RECEIPTS_MAX < 256);
const _: () = assert!(WANTS_MAX < 256);
const _: () = assert!(
    MEDIA_HEADER_BYTES + FEEDBACK_BYTES_MAX + TAG_BYTES <= 1280 - 40 - 8,
    "a feedback fits every path that carries the 1280 bytes that IPv6 demands"
);

const FLAG_LAST_GOOD: u8 = 1 << 0;
const FLAG_DAMAGED: u8 = 1 << 1;

/// A run of contiguous sequences that the client took from its socket at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// First sequence.
    pub first: u64,
    /// Datagrams, at least 1.
    pub count: u16,
    /// When, client's clock, whole microseconds.
    pub arrival: Timestamp,
}

/// Columns of a frame that the client would like to have again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// The frame.
    pub frame: FrameId,
    /// First missing column.
    pub first_column: u16,
    /// Missing columns, at least 1.
    pub count: u16,
}

/// Frames that the client cannot show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// First frame lost since the last good one.
    pub first_lost: FrameId,
    /// Newest frame lost; not before `first_lost`.
    pub newest_lost: FrameId,
}

/// A list of at most `N`, without allocation.
#[derive(Clone, Copy, Debug)]
pub struct List<T, const N: usize> {
    items: [T; N],
    len: usize,
}

impl<T: Copy + Default, const N: usize> List<T, N> {
    /// Adds one; false (and nothing added) if the list is full.
    pub fn push(&mut self, item: T) -> bool {
        let Some(place) = self.items.get_mut(self.len) else {
            return false;
        };
        *place = item;
        self.len += 1;
        true
    }

    /// What is in it.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        &self.items[..self.len]
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

impl<T: Copy + Default, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        Self {
            items: [T::default(); N],
            len: 0,
        }
    }
}

impl<T: Copy + Default + PartialEq, const N: usize> PartialEq for List<T, N> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

/// One feedback. A value from [`Feedback::parse`] keeps to every limit of this module.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Feedback {
    /// When the client sent it, client's clock.
    pub sent: Timestamp,
    /// Authentic media datagrams that the client has received so far.
    pub received: u64,
    /// What arrived when.
    pub receipts: List<Receipt, RECEIPTS_MAX>,
    /// What should be repeated.
    pub wants: List<Want, WANTS_MAX>,
    /// Newest frame delivered whole and in order.
    pub last_good: Option<FrameId>,
    /// Set while the picture is damaged.
    pub damage: Option<Damage>,
    /// Decode time of the newest frame, µs; 0 unknown.
    pub decode_us: u32,
    /// Access units waiting for the decoder.
    pub waiting_units: u8,
}

/// Why bytes are not a feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedbackError {
    /// They end too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// More follows than was announced.
    #[error("{bytes} bytes behind the end of a feedback")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// More receipts or wants than a feedback has.
    #[error("{receipts} receipts and {wants} wants, where {RECEIPTS_MAX} and {WANTS_MAX} fit")]
    Count {
        /// Claimed receipts.
        receipts: u8,
        /// Claimed wants.
        wants: u8,
    },
    /// A flag that this version does not know.
    #[error("feedback flags {flags:#04x} are not known to this version")]
    Flags {
        /// All flags.
        flags: u8,
    },
    /// A field is set that its flag or count says is not in use.
    #[error("the feedback field at offset {offset} is set but not in use")]
    Unused {
        /// Where.
        offset: u8,
    },
    /// An empty run, a sequence beyond 2⁶⁴, a base that no run has, or a time before zero.
    #[error("receipt {index} names no run of datagrams")]
    Receipt {
        /// Which.
        index: u8,
    },
    /// An empty run or a column beyond 2¹⁶.
    #[error("want {index} names no columns")]
    Want {
        /// Which.
        index: u8,
    },
    /// The newest lost frame lies before the first.
    #[error("{newest} lost before {first}")]
    Damage {
        /// First lost.
        first: FrameId,
        /// Newest lost.
        newest: FrameId,
    },
}

impl Feedback {
    /// Bytes that [`Self::write`] fills.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        FEEDBACK_BYTES_MIN + ITEM_BYTES * (self.receipts.len + self.wants.len)
    }

    /// Writes the plaintext to the front of `out` and returns its length.
    ///
    /// Receipts that lie more than 2³² sequences or [`RECEIPT_WINDOW_US`] from the rest are left
    /// out: no honest log has such.
    pub fn write(&self, out: &mut [u8; FEEDBACK_BYTES_MAX]) -> usize {
        let newest = self.receipts.as_slice().iter().map(|r| r.arrival).max();
        let newest_us = newest.map_or(0, |time| time.as_ns() / 1000);
        let base = self.receipts.as_slice().iter().map(|r| r.first).min();
        let base = base.unwrap_or(0);
        let mut at = FEEDBACK_BYTES_MIN;
        let mut receipts = 0;
        for receipt in self.receipts.as_slice() {
            let age_us = newest_us - receipt.arrival.as_ns() / 1000;
            let (Ok(first), Ok(age)) = (u32::try_from(receipt.first - base), u16::try_from(age_us))
            else {
                continue;
            };
            out[at..at + 4].copy_from_slice(&first.to_le_bytes());
            out[at + 4..at + 6].copy_from_slice(&receipt.count.to_le_bytes());
            out[at + 6..at + 8].copy_from_slice(&age.to_le_bytes());
            at += ITEM_BYTES;
            receipts += 1;
        }
        for want in self.wants.as_slice() {
            out[at..at + 4].copy_from_slice(&want.frame.0.to_le_bytes());
            out[at + 4..at + 6].copy_from_slice(&want.first_column.to_le_bytes());
            out[at + 6..at + 8].copy_from_slice(&want.count.to_le_bytes());
            at += ITEM_BYTES;
        }
        let lost = |pick: fn(&Damage) -> FrameId| self.damage.as_ref().map_or(0, |d| pick(d).0);
        out[0..8].copy_from_slice(&self.sent.as_ns().to_le_bytes());
        out[8..16].copy_from_slice(&self.received.to_le_bytes());
        out[16..24].copy_from_slice(&base.to_le_bytes());
        out[24..32].copy_from_slice(&newest_us.to_le_bytes());
        out[32..36].copy_from_slice(&self.last_good.map_or(0, |frame| frame.0).to_le_bytes());
        out[36..40].copy_from_slice(&lost(|d| d.first_lost).to_le_bytes());
        out[40..44].copy_from_slice(&lost(|d| d.newest_lost).to_le_bytes());
        out[44..48].copy_from_slice(&self.decode_us.to_le_bytes());
        out[48] = self.waiting_units;
        out[49] = if self.last_good.is_some() {
            FLAG_LAST_GOOD
        } else {
            0
        } | if self.damage.is_some() {
            FLAG_DAMAGED
        } else {
            0
        };
        out[50] = receipts;
        // WANTS_MAX fits a byte, by assertion.
        out[51] = self.wants.len as u8;
        at
    }

    /// Reads a plaintext that a peer sent.
    ///
    /// # Errors
    /// See [`FeedbackError`].
    pub fn parse(plaintext: &[u8]) -> Result<Self, FeedbackError> {
        let mut reader = Reader::new(plaintext);
        let mut feedback = Self {
            sent: Timestamp::from_ns(reader.u64()?),
            received: reader.u64()?,
            ..Self::default()
        };
        let (base, newest_us) = (reader.u64()?, reader.u64()?);
        let (last_good, first, newest) = (reader.u32()?, reader.u32()?, reader.u32()?);
        feedback.decode_us = reader.u32()?;
        feedback.waiting_units = reader.u8()?;
        let flags = reader.u8()?;
        let (receipts, wants) = (reader.u8()?, reader.u8()?);
        if usize::from(receipts) > RECEIPTS_MAX || usize::from(wants) > WANTS_MAX {
            return Err(FeedbackError::Count { receipts, wants });
        }
        if flags & !(FLAG_LAST_GOOD | FLAG_DAMAGED) != 0 {
            return Err(FeedbackError::Flags { flags });
        }
        feedback.last_good = (flags & FLAG_LAST_GOOD != 0).then_some(FrameId(last_good));
        feedback.damage = (flags & FLAG_DAMAGED != 0).then_some(Damage {
            first_lost: FrameId(first),
            newest_lost: FrameId(newest),
        });
        let unused = [
            (receipts == 0 && base != 0, 16),
            (receipts == 0 && newest_us != 0, 24),
            (feedback.last_good.is_none() && last_good != 0, 32),
            (feedback.damage.is_none() && first != 0, 36),
            (feedback.damage.is_none() && newest != 0, 40),
        ];
        if let Some(&(_, offset)) = unused.iter().find(|(is_set, _)| *is_set) {
            return Err(FeedbackError::Unused { offset });
        }
        if first > newest {
            let (first, newest) = (FrameId(first), FrameId(newest));
            return Err(FeedbackError::Damage { first, newest });
        }
        feedback.parse_receipts(&mut reader, receipts, base, newest_us)?;
        feedback.parse_wants(&mut reader, wants)?;
        match reader.left() {
            0 => Ok(feedback),
            bytes => Err(FeedbackError::Trailing { bytes }),
        }
    }

    fn parse_receipts(
        &mut self,
        reader: &mut Reader<'_>,
        count: u8,
        base: u64,
        newest_us: u64,
    ) -> Result<(), FeedbackError> {
        let (mut offset_min, mut age_min) = (u32::MAX, u16::MAX);
        for index in 0..count {
            let (offset, count, age) = (reader.u32()?, reader.u16()?, reader.u16()?);
            let first = base.checked_add(u64::from(offset));
            let end = first.and_then(|first| first.checked_add(u64::from(count)));
            let arrival_ns = newest_us
                .checked_sub(u64::from(age))
                .and_then(|us| us.checked_mul(1000));
            let (Some(first), Some(_), Some(arrival_ns), 1..) = (first, end, arrival_ns, count)
            else {
                return Err(FeedbackError::Receipt { index });
            };
            self.receipts.push(Receipt {
                first,
                count,
                arrival: Timestamp::from_ns(arrival_ns),
            });
            offset_min = offset_min.min(offset);
            age_min = age_min.min(age);
        }
        // The base is a run's first, and the newest arrival is a run's.
        if count > 0 && (offset_min != 0 || age_min != 0) {
            return Err(FeedbackError::Receipt { index: 0 });
        }
        Ok(())
    }

    fn parse_wants(&mut self, reader: &mut Reader<'_>, count: u8) -> Result<(), FeedbackError> {
        for index in 0..count {
            let want = Want {
                frame: FrameId(reader.u32()?),
                first_column: reader.u16()?,
                count: reader.u16()?,
            };
            if want.count == 0 || want.first_column.checked_add(want.count).is_none() {
                return Err(FeedbackError::Want { index });
            }
            self.wants.push(want);
        }
        Ok(())
    }
}
