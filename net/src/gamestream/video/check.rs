//! The self check of builds with debug assertions: a block that does not recover is found in
//! development, not on a lossy line.

use crate::fec::{Code, Decoder, ShardSet};
use crate::limits::SHARD_BYTES_MAX;

use super::parity::{SHARDS_MAX, Shape};

/// Drops one data packet of each block, recovers and compares.
pub(super) struct SelfCheck {
    decoder: Decoder,
    shards: Box<[u8]>,
    turn: usize,
}

impl SelfCheck {
    pub(super) fn new() -> Self {
        Self {
            decoder: Decoder::new(),
            shards: vec![0; SHARDS_MAX * SHARD_BYTES_MAX].into_boxed_slice(),
            turn: 0,
        }
    }

    /// The first `bytes` of each packet; `packet` gives data, `parity` begins with the parity.
    pub(super) fn drop_recover_compare<'d>(
        &mut self,
        shape: Shape,
        bytes: usize,
        packet: impl Fn(usize) -> &'d [u8],
        parity: &[u8],
    ) {
        if shape.parity == 0 {
            return;
        }
        let total = shape.data + shape.parity;
        let shards = &mut self.shards[..total * bytes];
        let (data, rest) = shards.split_at_mut(shape.data * bytes);
        for (at, shard) in data.chunks_exact_mut(bytes).enumerate() {
            shard.copy_from_slice(&packet(at)[..bytes]);
        }
        rest.copy_from_slice(&parity[..shape.parity * bytes]);
        let lost = self.turn % shape.data;
        self.turn += 1;
        data[lost * bytes..][..bytes].fill(0xa5);
        let mut present = ShardSet::new();
        for shard in (0..total).filter(|&shard| shard != lost) {
            present.insert(shard);
        }
        self.decoder
            .recover(Code::Gf8, bytes, shape.data, shape.parity, shards, &present)
            .expect("one is lost and there is parity");
        assert!(
            shards[lost * bytes..][..bytes] == packet(lost)[..bytes],
            "{shape:?} recovers wrongly"
        );
    }
}
