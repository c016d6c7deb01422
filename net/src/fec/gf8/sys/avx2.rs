//! The kernel with byte shuffles: a product is the sum of two table look-ups, one for each nibble,
//! and `vpshufb` does 32 look-ups in a table of 16 bytes at once.

use std::arch::x86_64::*;

use super::super::tables::NIBBLES;
use super::{GROUP_ROWS, Job, scalar};

/// Bytes of a vector.
const BYTES: usize = 32;
/// Rows that the 16 registers carry at once: 4 × 2 sums, 4 nibbles, 2 tables, 1 mask.
const ROWS: usize = 4;

/// The product in tiles of two vectors; the last bytes are left to the scalar kernel.
#[target_feature(enable = "avx2")]
pub(super) fn run(job: &mut Job<'_>) {
    let mut offset = 0;
    while job.shard_bytes - offset >= BYTES {
        let two = job.shard_bytes - offset >= 2 * BYTES;
        for first in (0..job.outputs.len()).step_by(ROWS) {
            let rows = (job.outputs.len() - first).min(ROWS);
            match (rows, two) {
                (1, true) => block::<1, 2>(job, first, offset),
                (2, true) => block::<2, 2>(job, first, offset),
                (3, true) => block::<3, 2>(job, first, offset),
                (_, true) => block::<4, 2>(job, first, offset),
                (1, false) => block::<1, 1>(job, first, offset),
                (2, false) => block::<2, 1>(job, first, offset),
                (3, false) => block::<3, 1>(job, first, offset),
                (_, false) => block::<4, 1>(job, first, offset),
            }
        }
        offset += if two { 2 * BYTES } else { BYTES };
    }
    let tail = offset..job.shard_bytes;
    scalar::run(job, tail);
}

#[target_feature(enable = "avx2")]
fn block<const ROWS: usize, const VECTORS: usize>(job: &mut Job<'_>, first: usize, offset: usize) {
    let mut sums = [[_mm256_setzero_si256(); VECTORS]; ROWS];
    let nibble = _mm256_set1_epi8(15);
    let first_in_group = first % GROUP_ROWS;
    for (column, &input) in job.group(first / GROUP_ROWS).iter().zip(job.inputs) {
        let mut low = [_mm256_setzero_si256(); VECTORS];
        let mut high = [_mm256_setzero_si256(); VECTORS];
        for vector in 0..VECTORS {
            let from = input.wrapping_add(offset + vector * BYTES);
            // SAFETY: an input is readable by the job's invariant and has VECTORS whole vectors
            // from `offset` on.
            let data = unsafe { _mm256_loadu_si256(from.cast()) };
            low[vector] = _mm256_and_si256(data, nibble);
            high[vector] = _mm256_and_si256(_mm256_srli_epi16::<4>(data), nibble);
        }
        for row in 0..ROWS {
            let coefficient = column[(first_in_group + row) % GROUP_ROWS];
            let table = NIBBLES[usize::from(coefficient)].as_ptr().cast::<__m128i>();
            // SAFETY: a table is 32 bytes, two halves of 16.
            let (of_low, of_high) =
                unsafe { (_mm_loadu_si128(table), _mm_loadu_si128(table.add(1))) };
            let of_low = _mm256_broadcastsi128_si256(of_low);
            let of_high = _mm256_broadcastsi128_si256(of_high);
            for vector in 0..VECTORS {
                let product = _mm256_xor_si256(
                    _mm256_shuffle_epi8(of_low, low[vector]),
                    _mm256_shuffle_epi8(of_high, high[vector]),
                );
                sums[row][vector] = _mm256_xor_si256(sums[row][vector], product);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        for (vector, sum) in sums.iter().enumerate() {
            let to = job.outputs[first + row].wrapping_add(offset + vector * BYTES);
            // SAFETY: an output is writable by the job's invariant and has VECTORS whole vectors
            // from `offset` on.
            unsafe { _mm256_storeu_si256(to.cast(), *sum) };
        }
    }
}
