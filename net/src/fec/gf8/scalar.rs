//! The kernel for any processor, and the tail of the others: plain exclusive or, which compilers
//! vectorise for whatever there is.
//!
//! A coefficient is a sum of powers of 2, so the shards are first added up separately for each of
//! the eight powers, by the coefficient's bits, and the eight sums are put together once at the end.

use std::ops::Range;

use super::GROUP_ROWS;
use super::sys::Job;

/// Bytes of a shard that are summed up before they are written.
const TILE_BYTES: usize = 512;

/// Computes bytes `range` of every output.
pub(super) fn run(job: &mut Job<'_>, range: Range<usize>) {
    let mut start = range.start;
    while start < range.end {
        let end = (start + TILE_BYTES).min(range.end);
        for row in 0..job.output_count() {
            let mut sums = [[0; TILE_BYTES]; 8];
            for column in 0..job.input_count() {
                let coefficient = job.group(row / GROUP_ROWS)[column][row % GROUP_ROWS];
                let input = job.input(column, start..end);
                for (power, sum) in sums.iter_mut().enumerate() {
                    if coefficient >> power & 1 == 1 {
                        add(&mut sum[..end - start], input);
                    }
                }
            }
            let [lower @ .., mut total] = sums;
            for sum in lower.iter().rev() {
                double(&mut total[..end - start]);
                add(&mut total[..end - start], sum);
            }
            job.output(row, start..end)
                .copy_from_slice(&total[..end - start]);
        }
        start = end;
    }
}

/// `sum += bytes`
fn add(sum: &mut [u8], bytes: &[u8]) {
    for (sum, byte) in sum.iter_mut().zip(bytes) {
        *sum ^= byte;
    }
}

/// `bytes *= 2`
fn double(bytes: &mut [u8]) {
    for byte in bytes {
        *byte = (*byte << 1) ^ (0x1D & 0u8.wrapping_sub(*byte >> 7));
    }
}
