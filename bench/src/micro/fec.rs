//! The FEC codes: GF(2⁸) by each kernel against the crate reed-solomon-erasure (with its SIMD), and
//! the two codes of the protocol against each other.

use std::time::Instant;

use net::fec::gf8::Kernel;
use net::fec::{Code, Decoder, Encoder, ShardSet};
use net::limits::SHARD_BYTES_MAX;
use reed_solomon_erasure::galois_8::ReedSolomon;
use serde::Serialize;

use super::median;

/// Blocks that the budget names: data and parity shards, of 1344 bytes each.
pub const SHAPES: [(usize, usize); 3] = [(20, 4), (50, 10), (200, 40)];

/// Rounds that give medians steady to a few percent, in about half a second for each shape.
pub const ROUNDS: usize = 101;

/// Least time of one sample, µs: a thousand times what reading the clock costs.
const SAMPLE_US_MIN: f64 = 40.0;

const WHY_SHAPES_FIT: &str = "the shapes are within the limits of the code";

/// One kernel on blocks of one shape.
#[derive(Clone, Debug, Serialize)]
pub struct EncodeRow {
    /// Data shards of a block.
    pub data_shards: usize,
    /// Parity shards of a block.
    pub parity_shards: usize,
    /// The kernel's name.
    pub kernel: &'static str,
    /// Time to encode a block, µs, median.
    pub encode_us: f64,
    /// Time of reed-solomon-erasure for the same block, µs, median.
    pub erasure_us: f64,
    /// How often `encode_us` goes into `erasure_us`: median over the rounds, each with samples of
    /// both one after the other.
    pub ratio: f64,
}

/// Encodes blocks of every one of [`SHAPES`] with every kernel that this processor has, fastest
/// first.
///
/// # Panics
/// If a code refuses a shape: a bug.
#[must_use]
pub fn compare(rounds: usize) -> Vec<EncodeRow> {
    SHAPES
        .into_iter()
        .flat_map(|shape| compare_shape(shape, rounds))
        .collect()
}

fn compare_shape((data_shards, parity_shards): (usize, usize), rounds: usize) -> Vec<EncodeRow> {
    let mut block = Block::new(data_shards, parity_shards);
    let mut shards: Vec<Vec<u8>> = block
        .bytes
        .chunks(SHARD_BYTES_MAX)
        .map(<[u8]>::to_vec)
        .collect();
    let erasure = ReedSolomon::new(data_shards, parity_shards).expect(WHY_SHAPES_FIT);
    let kernels = Kernel::ALL
        .into_iter()
        .filter(|kernel| kernel.is_available());
    let mut ours: Vec<_> = kernels
        .map(|kernel| (kernel, Encoder::with_kernel(kernel), Vec::new()))
        .collect();
    let mut theirs_us = Vec::new();
    for _ in 0..rounds {
        let erasure_us = sample_us(|| erasure.encode(&mut shards).expect(WHY_SHAPES_FIT));
        theirs_us.push(erasure_us);
        for (_, encoder, samples) in &mut ours {
            samples.push((sample_us(|| block.encode(encoder, Code::Gf8)), erasure_us));
        }
    }
    let erasure_us = median(theirs_us);
    let row = |(kernel, _, samples): (Kernel, Encoder, Vec<(f64, f64)>)| EncodeRow {
        data_shards,
        parity_shards,
        kernel: kernel.name(),
        encode_us: median(samples.iter().map(|(us, _)| *us).collect()),
        erasure_us,
        ratio: median(
            samples
                .iter()
                .map(|(us, erasure_us)| erasure_us / us)
                .collect(),
        ),
    };
    ours.into_iter().map(row).collect()
}

/// Both codes on blocks of one shape, GF(2⁸) by the processor's best kernel.
#[derive(Clone, Debug, Serialize)]
pub struct CodesRow {
    /// Data shards of a block.
    pub data_shards: usize,
    /// Parity shards of a block, and data shards lost of it.
    pub parity_shards: usize,
    /// GF(2⁸): time to encode, µs, median.
    pub gf8_encode_us: f64,
    /// GF(2⁸): time to recover as many data shards as there is parity, µs, median.
    pub gf8_decode_us: f64,
    /// GF(2¹⁶): time to encode, µs, median.
    pub gf16_encode_us: f64,
    /// GF(2¹⁶): time to recover as many data shards as there is parity, µs, median.
    pub gf16_decode_us: f64,
}

/// Encodes and recovers blocks of the given data shards with 20 % of parity in both codes. This
/// is the measurement behind `net::fec::GF8_DATA_SHARDS_CROSSOVER`.
///
/// # Panics
/// If a shape does not fit GF(2⁸): `data_shards` goes up to 212.
#[must_use]
pub fn codes(data_shards: &[usize], rounds: usize) -> Vec<CodesRow> {
    codes_with(Kernel::best(), data_shards, rounds)
}

/// The same with a kernel of the caller's choice.
///
/// # Panics
/// If a shape does not fit GF(2⁸): `data_shards` goes up to 212.
#[must_use]
pub fn codes_with(kernel: Kernel, data_shards: &[usize], rounds: usize) -> Vec<CodesRow> {
    let mut encoder = Encoder::with_kernel(kernel);
    let mut decoder = Decoder::with_kernel(kernel);
    let row = |&data_shards: &usize| {
        let parity_shards = data_shards.div_ceil(5);
        let mut block = Block::new(data_shards, parity_shards);
        let mut samples: [Vec<f64>; 4] = Default::default();
        for _ in 0..rounds {
            for (code, at) in [(Code::Gf8, 0), (Code::Gf16, 2)] {
                samples[at].push(sample_us(|| block.encode(&mut encoder, code)));
                samples[at + 1].push(sample_us(|| block.recover(&mut decoder, code)));
            }
        }
        let [gf8_encode_us, gf8_decode_us, gf16_encode_us, gf16_decode_us] = samples.map(median);
        CodesRow {
            data_shards,
            parity_shards,
            gf8_encode_us,
            gf8_decode_us,
            gf16_encode_us,
            gf16_decode_us,
        }
    };
    data_shards.iter().map(row).collect()
}

/// A block of full shards with its first data shards lost, as many as it has parity.
struct Block {
    data_shards: usize,
    parity_shards: usize,
    bytes: Vec<u8>,
    present: ShardSet,
}

impl Block {
    fn new(data_shards: usize, parity_shards: usize) -> Self {
        let shards = data_shards + parity_shards;
        // Any bytes but zeros: no code looks at them.
        let bytes = (0..shards * SHARD_BYTES_MAX)
            .map(|i| (i * 31 + i / 251) as u8)
            .collect();
        let mut present = ShardSet::new();
        for index in parity_shards.min(data_shards)..shards {
            present.insert(index);
        }
        Self {
            data_shards,
            parity_shards,
            bytes,
            present,
        }
    }

    fn encode(&mut self, encoder: &mut Encoder, code: Code) {
        let (data, parity) = self.bytes.split_at_mut(self.data_shards * SHARD_BYTES_MAX);
        encoder
            .encode(code, SHARD_BYTES_MAX, data, parity)
            .expect(WHY_SHAPES_FIT);
    }

    fn recover(&mut self, decoder: &mut Decoder, code: Code) {
        let (data_shards, parity_shards) = (self.data_shards, self.parity_shards);
        let (bytes, present) = (&mut self.bytes, &self.present);
        decoder
            .recover(
                code,
                SHARD_BYTES_MAX,
                data_shards,
                parity_shards,
                bytes,
                present,
            )
            .expect(WHY_SHAPES_FIT);
    }
}

/// Time of one call, µs, from as many in a row as take long enough to be timed.
fn sample_us(mut call: impl FnMut()) -> f64 {
    let begin = Instant::now();
    let mut calls = 0;
    loop {
        call();
        calls += 1;
        // Doubling keeps the clock out of the loop of short calls.
        if u32::is_power_of_two(calls) {
            let us = begin.elapsed().as_secs_f64() * 1e6;
            if us >= SAMPLE_US_MIN {
                return us / f64::from(calls);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_and_kernel_has_its_row() {
        let kernels = Kernel::ALL
            .into_iter()
            .filter(|kernel| kernel.is_available())
            .count();
        let rows = compare(1);
        assert_eq!(rows.len(), SHAPES.len() * kernels);
        assert!(
            rows.iter()
                .all(|row| row.encode_us > 0.0 && row.ratio > 0.0)
        );
    }

    #[test]
    fn both_codes_are_measured_up_to_the_largest_block() {
        let rows = codes(&[4, 212], 1);
        assert_eq!(rows.len(), 2);
        assert!(
            rows.iter()
                .all(|row| row.gf8_decode_us > 0.0 && row.gf16_decode_us > 0.0)
        );
    }
}
