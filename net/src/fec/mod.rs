//! Forward error correction: from `k` data shards of one block `m` parity shards are made, and any
//! `k` of the `k + m` give the data back.
//!
//! Two codes, named per block in the media header ([`Code`]):
//!
//! | code | field | good at | limits |
//! |---|---|---|---|
//! | [`Code::Gf8`] | GF(2⁸), systematic Cauchy, [`gf8`] | slices: no floor on decode | k + m ≤ 255 |
//! | [`Code::Gf16`] | GF(2¹⁶), Leopard, [`gf16`] | whole pictures: n·log n | k ≤ 2048, m ≤ 1024 |
//!
//! FEC runs over plaintext and every shard is sealed by itself, so whatever reaches [`Decoder`]
//! was authenticated. It still panics on nothing: counts and sizes that do not fit are errors.
//!
//! All shards of a block have the same size; the caller pads the last one with zeros. Nothing here
//! allocates after `new`.

pub mod gf16;
pub mod gf8;
#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::limits::{
    GF8_SHARDS_MAX, GF16_DATA_SHARDS_MAX, GF16_PARITY_SHARDS_MAX, SHARD_BYTES_MAX,
};

/// FEC code of a block, as named in the media header.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Code {
    /// No parity: the block is lost with its first shard.
    #[default]
    None = 0,
    /// Systematic Cauchy over GF(2⁸), see [`gf8`].
    Gf8 = 1,
    /// Leopard over GF(2¹⁶), see [`gf16`].
    Gf16 = 2,
}

impl Code {
    /// The code that a media header's byte names; `None` for a value that no code has.
    #[must_use]
    pub const fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::None),
            1 => Some(Self::Gf8),
            2 => Some(Self::Gf16),
            _ => None,
        }
    }

    /// The byte that stands for the code in the media header.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        self as u8
    }

    /// True if a block of `data_shards` and `parity_shards` is within the code's limits.
    #[must_use]
    pub const fn fits(self, data_shards: usize, parity_shards: usize) -> bool {
        if data_shards == 0 {
            return false;
        }
        match self {
            Self::None => parity_shards == 0 && data_shards <= GF16_DATA_SHARDS_MAX,
            Self::Gf8 => {
                data_shards <= GF8_SHARDS_MAX && parity_shards <= GF8_SHARDS_MAX - data_shards
            }
            Self::Gf16 => {
                data_shards <= GF16_DATA_SHARDS_MAX && parity_shards <= GF16_PARITY_SHARDS_MAX
            }
        }
    }
}

/// Data shards of the largest block that goes to [`Code::Gf8`] although [`Code::Gf16`] could have
/// it too.
///
/// Measured by `bench::micro::fec::codes`, µs for 1344-byte shards and 20 % of parity, decode with
/// every parity shard needed (one Zen 4 core with GFNI and AVX-512, shared, load 3 on 2 cores):
///
/// | k/m | Gf8 encode, decode | with AVX2 only | Gf16 encode, decode |
/// |---|---|---|---|
/// | 50/10 | 5, 8 | 14, 17 | 14, 309 |
/// | 100/20 | 21, 32 | 53, 63 | 33, 324 |
/// | 128/26 | 23, 34 | 61, 70 | 26, 269 |
/// | 160/32 | 35, 50 | 95, 110 | 33, 279 |
/// | 212/43 | 78, 113 | 182, 206 | 57 to 70, 398 to 478 |
///
/// So encoding crosses over at 160 with the best kernel. An older processor crosses over at 50,
/// but a block that needs its parity waits for the decoder too, and there Gf16 never wins.
pub const GF8_DATA_SHARDS_CROSSOVER: usize = 160;

/// The code for a block of `data_shards` and `parity_shards`: [`Code::None`] without parity,
/// [`Code::Gf8`] up to [`GF8_DATA_SHARDS_CROSSOVER`] data shards, [`Code::Gf16`] above.
#[must_use]
pub const fn choose(data_shards: usize, parity_shards: usize) -> Code {
    if parity_shards == 0 {
        Code::None
    } else if data_shards <= GF8_DATA_SHARDS_CROSSOVER && Code::Gf8.fits(data_shards, parity_shards)
    {
        Code::Gf8
    } else {
        Code::Gf16
    }
}

/// Parity shards for `data_shards` at `percent` of them: rounded up, at least 1 if `percent` and
/// `data_shards` are not 0, at most [`GF16_PARITY_SHARDS_MAX`], so that [`choose`] always names a
/// code that [`Code::fits`] (as long as `data_shards` is within [`GF16_DATA_SHARDS_MAX`]).
#[must_use]
pub const fn parity_for(data_shards: usize, percent: u8) -> usize {
    let parity = data_shards.saturating_mul(percent as usize).div_ceil(100);
    if parity < GF16_PARITY_SHARDS_MAX {
        parity
    } else {
        GF16_PARITY_SHARDS_MAX
    }
}

/// Shards of the largest block of any code.
const SHARDS_MAX: usize = GF16_DATA_SHARDS_MAX + GF16_PARITY_SHARDS_MAX;
/// Words of 64 bits in a [`ShardSet`].
const WORDS: usize = SHARDS_MAX / 64;
const _: () = assert!(
    SHARDS_MAX.is_multiple_of(64),
    "the bitmap has no spare bits"
);
const _: () = assert!(GF8_SHARDS_MAX <= SHARDS_MAX);

/// Which shards of a block are present, data shards first, then parity: a bitmap of fixed size for
/// the largest block of any code, without heap.
#[derive(Clone, PartialEq, Eq)]
pub struct ShardSet {
    words: [u64; WORDS],
}

impl ShardSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { words: [0; WORDS] }
    }

    /// Takes every shard out.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Puts shard `index` in. True if it was not in already; false, and no change, for an index
    /// that no block has.
    pub fn insert(&mut self, index: usize) -> bool {
        let Some(word) = self.words.get_mut(index / 64) else {
            return false;
        };
        let bit = 1 << (index % 64);
        let newly = *word & bit == 0;
        *word |= bit;
        newly
    }

    /// True if shard `index` is in.
    #[must_use]
    pub fn contains(&self, index: usize) -> bool {
        self.words
            .get(index / 64)
            .is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Number of shards in the set.
    #[must_use]
    pub fn count(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// Number of shards in the set whose index lies in `range`.
    #[must_use]
    pub fn count_in(&self, range: Range<usize>) -> usize {
        let (start, end) = (range.start.min(SHARDS_MAX), range.end.min(SHARDS_MAX));
        let mut count = 0;
        let mut at = start;
        while at < end {
            let until = (at / 64 * 64 + 64).min(end);
            let ones = u64::MAX >> (64 - (until - at));
            count += (self.words[at / 64] >> (at % 64) & ones).count_ones() as usize;
            at = until;
        }
        count
    }
}

impl Default for ShardSet {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for ShardSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set()
            .entries((0..SHARDS_MAX).filter(|&index| self.contains(index)))
            .finish()
    }
}

/// Why a block was neither encoded nor recovered. Nothing was written in any of these cases.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum FecError {
    /// The code has no blocks of this shape.
    #[error(
        "{code:?} cannot have a block of {data_shards} data and {parity_shards} parity shards: \
         make the block smaller or name another code"
    )]
    Shape {
        /// The code named.
        code: Code,
        /// Data shards asked for.
        data_shards: usize,
        /// Parity shards asked for.
        parity_shards: usize,
    },
    /// The shard size is 0, too large, or odd with a code of 16-bit symbols.
    #[error(
        "{code:?} cannot use shards of {shard_bytes} bytes: take an even size from 2 to {max}",
        max = SHARD_BYTES_MAX
    )]
    ShardBytes {
        /// The code named.
        code: Code,
        /// Size asked for, bytes.
        shard_bytes: usize,
    },
    /// A buffer does not hold a whole number of shards.
    #[error("a buffer of {buffer_bytes} bytes is not a whole number of shards of {shard_bytes}")]
    NotWholeShards {
        /// Length of the buffer, bytes.
        buffer_bytes: usize,
        /// Size of a shard, bytes.
        shard_bytes: usize,
    },
    /// The buffer of a block has not the block's size.
    #[error("the block's buffer has {buffer_bytes} bytes and its shards need {needed_bytes}")]
    BufferBytes {
        /// Length of the buffer, bytes.
        buffer_bytes: usize,
        /// Data and parity shards together, bytes.
        needed_bytes: usize,
    },
    /// More shards are missing than there is parity for.
    #[error("{present} of the block's shards are present and {needed} are needed")]
    TooFewShards {
        /// Shards present, data and parity.
        present: usize,
        /// Shards needed: as many as the block has data shards.
        needed: usize,
    },
    /// The GF(2¹⁶) library refused what passed our own checks: a bug of ours.
    #[error("the GF(2^16) code refused the block: {0}")]
    Gf16(reed_solomon_simd::Error),
}

/// A block in two buffers.
pub struct SplitBlock<'a> {
    /// Data shards, `stride_bytes` apart.
    pub data: &'a mut [u8],
    /// From the beginning of one data shard to that of the next, bytes; at least a shard.
    pub stride_bytes: usize,
    /// k.
    pub data_shards: usize,
    /// Parity shards, one after the other.
    pub parity: &'a [u8],
    /// m.
    pub parity_shards: usize,
}

impl SplitBlock<'_> {
    /// Every shard lies within its buffer. The counts are within the limits of a code.
    fn check(&self, shard_bytes: usize) -> Result<(), FecError> {
        let strides = self.stride_bytes.saturating_mul(self.data_shards - 1);
        for (buffer_bytes, needed_bytes) in [
            (self.data.len(), strides.saturating_add(shard_bytes)),
            (self.parity.len(), self.parity_shards * shard_bytes),
            (self.stride_bytes, shard_bytes),
        ] {
            if buffer_bytes < needed_bytes {
                return Err(FecError::BufferBytes {
                    buffer_bytes,
                    needed_bytes,
                });
            }
        }
        Ok(())
    }
}

/// Makes parity. Holds every table and work space for the largest block of either code, about
/// 3 MB, touched only as far as blocks need it.
pub struct Encoder {
    gf8: gf8::Encoder,
    gf16: gf16::Encoder,
}

impl Encoder {
    /// Allocates all that any block within the limits of the protocol needs. Uses the fastest
    /// GF(2⁸) kernel that this processor has.
    #[must_use]
    pub fn new() -> Self {
        Self::with_kernel(gf8::Kernel::best())
    }

    /// The same with a kernel of the caller's choice, for tests and benches.
    #[must_use]
    pub fn with_kernel(kernel: gf8::Kernel) -> Self {
        Self {
            gf8: gf8::Encoder::new(kernel),
            gf16: gf16::Encoder::new(),
        }
    }

    /// Writes the parity of one block.
    ///
    /// `data` is `k` shards of `shard_bytes` one after the other, already padded with zeros;
    /// `parity` gets `m` shards and its length says how many.
    ///
    /// # Errors
    /// [`FecError`], all but `TooFewShards` and `BufferBytes`.
    pub fn encode(
        &mut self,
        code: Code,
        shard_bytes: usize,
        data: &[u8],
        parity: &mut [u8],
    ) -> Result<(), FecError> {
        check_shard_bytes(code, shard_bytes)?;
        let data_shards = whole_shards(data.len(), shard_bytes)?;
        let data_shard = |index: usize| &data[index * shard_bytes..][..shard_bytes];
        self.encode_from(code, shard_bytes, data_shards, data_shard, parity)
    }

    /// The same for data shards that lie anywhere: `data_shard(i)` begins with shard `i`.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    ///
    /// # Panics
    /// If a data shard is shorter than `shard_bytes`.
    pub fn encode_from<'d>(
        &mut self,
        code: Code,
        shard_bytes: usize,
        data_shards: usize,
        data_shard: impl Fn(usize) -> &'d [u8],
        parity: &mut [u8],
    ) -> Result<(), FecError> {
        check_shard_bytes(code, shard_bytes)?;
        let parity_shards = whole_shards(parity.len(), shard_bytes)?;
        check_shape(code, data_shards, parity_shards)?;
        if parity_shards == 0 {
            return Ok(());
        }
        match code {
            Code::None => Ok(()),
            Code::Gf8 => {
                self.gf8
                    .encode(shard_bytes, data_shards, data_shard, parity);
                Ok(())
            }
            Code::Gf16 => self
                .gf16
                .encode(shard_bytes, data_shards, data_shard, parity),
        }
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

/// Recovers missing data shards. Holds every table and work space for the largest block of either
/// code, about 6 MB, touched only as far as blocks need it.
pub struct Decoder {
    gf8: gf8::Decoder,
    gf16: gf16::Decoder,
}

impl Decoder {
    /// Allocates all that any block within the limits of the protocol needs. Uses the fastest
    /// GF(2⁸) kernel that this processor has.
    #[must_use]
    pub fn new() -> Self {
        Self::with_kernel(gf8::Kernel::best())
    }

    /// The same with a kernel of the caller's choice, for tests and benches.
    #[must_use]
    pub fn with_kernel(kernel: gf8::Kernel) -> Self {
        Self {
            gf8: gf8::Decoder::new(kernel),
            gf16: gf16::Decoder::new(),
        }
    }

    /// Recovers the missing data shards of one block in place and returns how many there were.
    ///
    /// `shards` is `data_shards + parity_shards` shards of `shard_bytes` one after the other, data
    /// first; `present` says which of them hold what was sent. Missing parity is left as it is.
    /// With no data shard missing nothing is done, whatever the code.
    ///
    /// # Errors
    /// [`FecError::TooFewShards`] if more are missing than there is parity for; the other variants
    /// for a block that cannot be. `shards` is unchanged then.
    pub fn recover(
        &mut self,
        code: Code,
        shard_bytes: usize,
        data_shards: usize,
        parity_shards: usize,
        shards: &mut [u8],
        present: &ShardSet,
    ) -> Result<usize, FecError> {
        check_shard_bytes(code, shard_bytes)?;
        check_shape(code, data_shards, parity_shards)?;
        // Both factors are within the limits by now, so the product cannot overflow.
        let needed_bytes = (data_shards + parity_shards) * shard_bytes;
        if shards.len() != needed_bytes {
            return Err(FecError::BufferBytes {
                buffer_bytes: shards.len(),
                needed_bytes,
            });
        }
        let (data, parity) = shards.split_at_mut(data_shards * shard_bytes);
        let block = SplitBlock {
            data,
            stride_bytes: shard_bytes,
            data_shards,
            parity,
            parity_shards,
        };
        self.recover_split(code, shard_bytes, block, present)
    }

    /// The same for a block whose data and parity lie in buffers of their own.
    ///
    /// # Errors
    /// As [`Decoder::recover`].
    pub fn recover_split(
        &mut self,
        code: Code,
        shard_bytes: usize,
        block: SplitBlock<'_>,
        present: &ShardSet,
    ) -> Result<usize, FecError> {
        let (data_shards, parity_shards) = (block.data_shards, block.parity_shards);
        check_shard_bytes(code, shard_bytes)?;
        check_shape(code, data_shards, parity_shards)?;
        block.check(shard_bytes)?;
        let data_present = present.count_in(0..data_shards);
        if data_present == data_shards {
            return Ok(0);
        }
        let shards_present = present.count_in(0..data_shards + parity_shards);
        if shards_present < data_shards {
            return Err(FecError::TooFewShards {
                present: shards_present,
                needed: data_shards,
            });
        }
        match code {
            // Without parity the check above has returned already.
            Code::None => {}
            Code::Gf8 => {
                self.gf8.recover(shard_bytes, block, present);
            }
            Code::Gf16 => {
                self.gf16.recover(shard_bytes, block, present)?;
            }
        }
        Ok(data_shards - data_present)
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

fn check_shard_bytes(code: Code, shard_bytes: usize) -> Result<(), FecError> {
    let odd = code == Code::Gf16 && !shard_bytes.is_multiple_of(2);
    if shard_bytes == 0 || shard_bytes > SHARD_BYTES_MAX || odd {
        return Err(FecError::ShardBytes { code, shard_bytes });
    }
    Ok(())
}

fn whole_shards(buffer_bytes: usize, shard_bytes: usize) -> Result<usize, FecError> {
    if !buffer_bytes.is_multiple_of(shard_bytes) {
        return Err(FecError::NotWholeShards {
            buffer_bytes,
            shard_bytes,
        });
    }
    Ok(buffer_bytes / shard_bytes)
}

fn check_shape(code: Code, data_shards: usize, parity_shards: usize) -> Result<(), FecError> {
    if !code.fits(data_shards, parity_shards) {
        return Err(FecError::Shape {
            code,
            data_shards,
            parity_shards,
        });
    }
    Ok(())
}
