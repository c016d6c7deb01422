//! The self check of builds with debug assertions: a code that does not recover is found in
//! development, not on a lossy line.

use crate::fec::{Code, Decoder, ShardSet};
use crate::limits::{GF16_DATA_SHARDS_MAX, GF16_PARITY_SHARDS_MAX, SHARD_BYTES_MAX};

use super::Layout;

/// Drops as many shards of each block as it has parity, recovers and compares.
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

    pub(super) fn drop_recover_compare(
        &mut self,
        code: Code,
        layout: Layout,
        data: &[u8],
        parity: &[u8],
    ) {
        let Layout {
            data_shards,
            shard_bytes,
        } = layout;
        let total = (data.len() + parity.len()) / shard_bytes;
        let shards = &mut self.shards[..data.len() + parity.len()];
        shards[..data.len()].copy_from_slice(data);
        shards[data.len()..].copy_from_slice(parity);
        // A fixed stride spreads the losses over data and parity, never the same shard twice.
        let mut present = ShardSet::new();
        let losses = total - data_shards;
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
        assert!(
            shards[..data.len()] == *data,
            "{code:?} {data_shards}+{losses} recovers wrongly"
        );
    }
}
