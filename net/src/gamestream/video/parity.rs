//! How much parity a block can have, as the client works it out from a percentage.
//!
//! Never as much as data: where all data is lost and all parity came, clients of 2022 to 2026 then
//! write `data − 1` bytes past the matrix that they invert (nanors' `invert_mat` scales a whole row
//! from its diagonal on; its buffer is 2 × parity × data bytes). Six packets and six of parity were
//! seen to end a client. With another number, or one packet, the matrix is smaller than its room.

use crate::limits::{GF8_SHARDS_MAX, SHARD_BYTES_MAX};

use super::PACKET_BYTES_MAX;

/// Data and parity packets of a block that has parity.
pub(super) const SHARDS_MAX: usize = GF8_SHARDS_MAX;
/// Columns of the largest packet beyond the largest shard of the code.
pub(super) const REST_BYTES_MAX: usize = PACKET_BYTES_MAX as usize - SHARD_BYTES_MAX;

/// Packets of a block, and the percentage that says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) data: usize,
    pub(super) parity: usize,
    /// The client computes parity as ⌈data × percent / 100⌉, which it must hit.
    pub(super) percent: u8,
}

impl Shape {
    /// A block of `data` packets (at least 1) with `wanted` of parity: the next that a percentage
    /// can say, or less where a block cannot have as many, and never as many as data, but for one.
    /// A block of 255 packets has none.
    pub(super) fn new(data: usize, wanted: usize) -> Self {
        let shape = Self::nearest(data, wanted);
        if data == 1 || shape.parity != data {
            return shape;
        }
        let more = Self::nearest(data, data + 1);
        match more.parity > data {
            true => more,
            false => Self::nearest(data, data - 1),
        }
    }

    fn nearest(data: usize, wanted: usize) -> Self {
        let wanted = wanted.min(SHARDS_MAX.saturating_sub(data));
        // The least percentage that gives as many, then less until it fits.
        let least = match wanted {
            0 => 0,
            wanted => (wanted - 1) * 100 / data + 1,
        };
        let percent = (0..=least.min(usize::from(u8::MAX)))
            .rev()
            .find(|&percent| data >= SHARDS_MAX || data + of(data, percent) <= SHARDS_MAX)
            .unwrap_or(0);
        let percent = if data >= SHARDS_MAX { 0 } else { percent };
        let parity = of(data, percent).min(super::PARITY_PACKETS_MAX);
        if of(data, percent) > parity {
            return Self::nearest(data, parity - parity / 8);
        }
        Self {
            data,
            parity,
            percent: percent as u8,
        }
    }
}

/// Parity packets that a block of `data` packets (at least 1) has where `wanted` are: what its
/// client can be told, and survives.
#[must_use]
pub fn parity_packets(data: usize, wanted: usize) -> usize {
    Shape::new(data.max(1), wanted).parity
}

/// `RtpVideoQueue.c` of moonlight-common-c.
const fn of(data: usize, percent: usize) -> usize {
    (data * percent).div_ceil(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_one_that_the_client_computes() {
        for data in 1..=650 {
            for wanted in 0..=96 {
                let shape = Shape::new(data, wanted);
                assert_eq!(of(data, shape.percent.into()), shape.parity);
                assert!(data == 1 || shape.parity != data, "{shape:?}");
                assert!(shape.parity == 0 || data + shape.parity <= SHARDS_MAX);
                assert!(shape.parity <= super::super::PARITY_PACKETS_MAX);
                let most = (255 * data)
                    .div_ceil(100)
                    .min(SHARDS_MAX.saturating_sub(data));
                if most >= wanted && data + wanted + 3 <= SHARDS_MAX && wanted <= 80 {
                    assert!(shape.parity >= wanted, "{data} + {wanted}: {shape:?}");
                    assert!(shape.parity <= wanted + data / 100 + 2, "{data} + {wanted}");
                }
            }
        }
        // The figures of a block of one and of two.
        assert_eq!(
            Shape::new(1, 9),
            Shape {
                data: 1,
                parity: 3,
                percent: 255
            }
        );
        assert_eq!(
            Shape::new(2, 2),
            Shape {
                data: 2,
                parity: 3,
                percent: 101
            }
        );
        assert_eq!(Shape::new(255, 9).parity, 0);
    }
}
