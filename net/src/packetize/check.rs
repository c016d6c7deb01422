//! The self check of builds with debug assertions: a code that does not recover is found in
//! development, not on a lossy line.

use crate::fec::{Code, Decoder, ShardSet};
use crate::limits::{GF16_DATA_SHARDS_MAX, GF16_PARITY_SHARDS_MAX, SHARD_BYTES_MAX};

/// Drops as many shards of each group as it has parity, recovers and compares.
pub(super) struct SelfCheck {
    decoder: Decoder,
    shards: Box<[u8]>,
}

impl SelfCheck {
    pub(super) fn new() -> Self {
        let shards = (GF16_DATA_SHARDS_MAX + GF16_PARITY_SHARDS_MAX) * SHARD_BYTES_MAX;
        Self {
            decoder: Decoder::new(),
            shards: vec![0; shards].into_boxed_slice(),
        }
    }

    pub(super) fn drop_recover_compare<'d>(
        &mut self,
        code: Code,
        shard_bytes: usize,
        data_shards: usize,
        data_shard: impl Fn(usize) -> &'d [u8],
        parity: &[u8],
    ) {
        let losses = parity.len() / shard_bytes;
        let total = data_shards + losses;
        let shards = &mut self.shards[..total * shard_bytes];
        let (data, rest) = shards.split_at_mut(data_shards * shard_bytes);
        rest.copy_from_slice(parity);
        for (index, shard) in data.chunks_exact_mut(shard_bytes).enumerate() {
            shard.copy_from_slice(&data_shard(index)[..shard_bytes]);
        }
        // A fixed stride spreads the losses over data and parity, never the same shard twice.
        let mut present = ShardSet::new();
        for shard in 0..total {
            let lost = shard * losses / total != (shard + 1) * losses / total;
            if lost {
                shards[shard * shard_bytes..][..shard_bytes].fill(0xA5);
            } else {
                present.insert(shard);
            }
        }
        self.decoder
            .recover(code, shard_bytes, data_shards, losses, shards, &present)
            .expect("as many shards as there are data shards are left");
        for index in 0..data_shards {
            assert!(
                shards[index * shard_bytes..][..shard_bytes] == data_shard(index)[..shard_bytes],
                "{code:?} {data_shards}+{losses} recovers wrongly"
            );
        }
    }
}
