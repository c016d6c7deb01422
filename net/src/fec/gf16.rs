//! GF(2¹⁶) for large blocks: the Leopard code of the crate reed-solomon-simd, n·log n in the number
//! of shards, with a floor of some hundred microseconds on decode whatever the block.
//!
//! The work spaces are made once for the largest block and only reset afterwards: `reset` is free,
//! `new` allocates. Which of its two rates the crate uses follows from the counts alone, so both
//! ends agree; `tests::gf16_bytes_are_stable` holds the bytes against an update of the crate.

use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

use super::{FecError, ShardSet, SplitBlock};
use crate::limits::{GF16_DATA_SHARDS_MAX, GF16_PARITY_SHARDS_MAX, SHARD_BYTES_MAX};

const WHY_LIMITS_FIT: &str = "the largest block of the protocol is within the code's limits";

/// Makes parity. Callers have checked every count and size.
pub(super) struct Encoder(ReedSolomonEncoder);

impl Encoder {
    pub(super) fn new() -> Self {
        Self(
            ReedSolomonEncoder::new(
                GF16_DATA_SHARDS_MAX,
                GF16_PARITY_SHARDS_MAX,
                SHARD_BYTES_MAX,
            )
            .expect(WHY_LIMITS_FIT),
        )
    }

    pub(super) fn encode<'d>(
        &mut self,
        shard_bytes: usize,
        data_shards: usize,
        data_shard: impl Fn(usize) -> &'d [u8],
        parity: &mut [u8],
    ) -> Result<(), FecError> {
        let parity_shards = parity.len() / shard_bytes;
        self.0
            .reset(data_shards, parity_shards, shard_bytes)
            .map_err(FecError::Gf16)?;
        for shard in (0..data_shards).map(data_shard) {
            self.0
                .add_original_shard(&shard[..shard_bytes])
                .map_err(FecError::Gf16)?;
        }
        let made = self.0.encode().map_err(FecError::Gf16)?;
        for (to, from) in parity
            .chunks_exact_mut(shard_bytes)
            .zip(made.recovery_iter())
        {
            to.copy_from_slice(from);
        }
        Ok(())
    }
}

/// Recovers data shards. Callers have checked every count and size.
pub(super) struct Decoder(ReedSolomonDecoder);

impl Decoder {
    pub(super) fn new() -> Self {
        let decoder = ReedSolomonDecoder::new(
            GF16_DATA_SHARDS_MAX,
            GF16_PARITY_SHARDS_MAX,
            SHARD_BYTES_MAX,
        );
        let mut decoder = Self(decoder.expect(WHY_LIMITS_FIT));
        // The crate makes its last table (128 KB, a transform of 65 536 logarithms) at the first
        // block that misses something. That shall not be a block of a running session.
        let mut parity_alone = ShardSet::new();
        parity_alone.insert(1);
        let smallest = SplitBlock {
            data: &mut [0; 2],
            stride_bytes: 2,
            data_shards: 1,
            parity: &[0; 2],
            parity_shards: 1,
        };
        decoder
            .recover(2, smallest, &parity_alone)
            .expect(WHY_LIMITS_FIT);
        decoder
    }

    pub(super) fn recover(
        &mut self,
        shard_bytes: usize,
        block: SplitBlock<'_>,
        present: &ShardSet,
    ) -> Result<(), FecError> {
        let SplitBlock {
            data,
            stride_bytes,
            data_shards,
            parity,
            parity_shards,
        } = block;
        self.0
            .reset(data_shards, parity_shards, shard_bytes)
            .map_err(FecError::Gf16)?;
        for index in (0..data_shards + parity_shards).filter(|&index| present.contains(index)) {
            match index.checked_sub(data_shards) {
                None => {
                    let shard = &data[index * stride_bytes..][..shard_bytes];
                    self.0.add_original_shard(index, shard)
                }
                Some(row) => {
                    let shard = &parity[row * shard_bytes..][..shard_bytes];
                    self.0.add_recovery_shard(row, shard)
                }
            }
            .map_err(FecError::Gf16)?;
        }
        let restored = self.0.decode().map_err(FecError::Gf16)?;
        for (index, from) in restored.restored_original_iter() {
            data[index * stride_bytes..][..shard_bytes].copy_from_slice(from);
        }
        Ok(())
    }
}
