//! The kernels with `vgf2p8affineqb`. Multiplication by a constant is linear over bits in any
//! field, so one affine instruction does it for polynomial 0x11D although the multiplication that
//! the processor has built in (`vgf2p8mulb`) is for 0x11B only.
//!
//! Two columns go into a sum at a time: with AVX-512 one three-way exclusive or adds both.

use std::arch::x86_64::*;

use super::super::tables::AFFINE;
use super::{GROUP_ROWS, Job, scalar};

/// Bytes of a 512-bit vector.
const WIDE: usize = 64;
/// Bytes of a 256-bit vector.
const HALF: usize = 32;
/// Rows that the 16 registers of AVX2 carry at once.
const ROWS_256: usize = 4;

/// The product with 512-bit vectors, in tiles of two; the first bytes, up to where the inputs are
/// aligned, and the last ones go through masks.
#[target_feature(enable = "gfni,avx512f,avx512bw")]
pub(super) fn run_512(job: &mut Job<'_>) {
    let head = unaligned_head(job);
    let mut offset = 0;
    while offset < job.shard_bytes {
        let end = if offset < head { head } else { job.shard_bytes };
        let left = end - offset;
        for first in (0..job.outputs.len()).step_by(GROUP_ROWS) {
            let rows = (job.outputs.len() - first).min(GROUP_ROWS);
            if left >= 2 * WIDE {
                rows_512::<2, false>(job, first, rows, offset, !0);
            } else if left >= WIDE {
                rows_512::<1, false>(job, first, rows, offset, !0);
            } else {
                rows_512::<1, true>(job, first, rows, offset, (1 << left) - 1);
            }
        }
        offset += if left >= 2 * WIDE {
            2 * WIDE
        } else {
            left.min(WIDE)
        };
    }
}

/// Bytes of each input before it is aligned to a vector. A vector as wide as a cache line that is
/// not aligned touches two of them with every load, which costs up to half of the speed. None where
/// the inputs are not all aligned alike.
fn unaligned_head(job: &Job<'_>) -> usize {
    let mut heads = job
        .inputs
        .iter()
        .map(|input| input.addr().wrapping_neg() % WIDE);
    match heads.next() {
        Some(head) if head < job.shard_bytes && heads.all(|other| other == head) => head,
        _ => 0,
    }
}

/// Turns the number of rows into a constant, so that all sums are registers.
#[target_feature(enable = "gfni,avx512f,avx512bw")]
fn rows_512<const VECTORS: usize, const MASKED: bool>(
    job: &mut Job<'_>,
    first: usize,
    rows: usize,
    offset: usize,
    mask: u64,
) {
    match rows {
        1 => block_512::<1, VECTORS, MASKED>(job, first, offset, mask),
        2 => block_512::<2, VECTORS, MASKED>(job, first, offset, mask),
        3 => block_512::<3, VECTORS, MASKED>(job, first, offset, mask),
        4 => block_512::<4, VECTORS, MASKED>(job, first, offset, mask),
        5 => block_512::<5, VECTORS, MASKED>(job, first, offset, mask),
        6 => block_512::<6, VECTORS, MASKED>(job, first, offset, mask),
        7 => block_512::<7, VECTORS, MASKED>(job, first, offset, mask),
        _ => block_512::<8, VECTORS, MASKED>(job, first, offset, mask),
    }
}

#[target_feature(enable = "gfni,avx512f,avx512bw")]
fn block_512<const ROWS: usize, const VECTORS: usize, const MASKED: bool>(
    job: &mut Job<'_>,
    first: usize,
    offset: usize,
    mask: u64,
) {
    let mut sums = [[_mm512_setzero_si512(); VECTORS]; ROWS];
    let columns = job.group(first / GROUP_ROWS).chunks_exact(2);
    let inputs = job.inputs.chunks_exact(2);
    if let ([column], [input]) = (columns.remainder(), inputs.remainder()) {
        let data = load_512::<VECTORS, MASKED>(*input, offset, mask);
        for row in 0..ROWS {
            let by = _mm512_set1_epi64(AFFINE[usize::from(column[row])].cast_signed());
            for vector in 0..VECTORS {
                sums[row][vector] = _mm512_gf2p8affine_epi64_epi8::<0>(data[vector], by);
            }
        }
    }
    for (columns, inputs) in columns.zip(inputs) {
        let (left, right) = (columns[0], columns[1]);
        let data_left = load_512::<VECTORS, MASKED>(inputs[0], offset, mask);
        let data_right = load_512::<VECTORS, MASKED>(inputs[1], offset, mask);
        for row in 0..ROWS {
            let by_left = _mm512_set1_epi64(AFFINE[usize::from(left[row])].cast_signed());
            let by_right = _mm512_set1_epi64(AFFINE[usize::from(right[row])].cast_signed());
            for vector in 0..VECTORS {
                // 0x96 is the truth table of a ^ b ^ c.
                sums[row][vector] = _mm512_ternarylogic_epi64::<0x96>(
                    sums[row][vector],
                    _mm512_gf2p8affine_epi64_epi8::<0>(data_left[vector], by_left),
                    _mm512_gf2p8affine_epi64_epi8::<0>(data_right[vector], by_right),
                );
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        for (vector, sum) in sums.iter().enumerate() {
            let to = job.outputs[first + row].wrapping_add(offset + vector * WIDE);
            // SAFETY: an output is writable by the job's invariant, and its bytes from `offset` on
            // are at least VECTORS whole vectors or, if MASKED, as many as `mask` has bits.
            unsafe {
                if MASKED {
                    _mm512_mask_storeu_epi8(to.cast(), mask, *sum);
                } else {
                    _mm512_storeu_si512(to.cast(), *sum);
                }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "gfni,avx512f,avx512bw")]
fn load_512<const VECTORS: usize, const MASKED: bool>(
    input: *const u8,
    offset: usize,
    mask: u64,
) -> [__m512i; VECTORS] {
    let mut data = [_mm512_setzero_si512(); VECTORS];
    for (vector, data) in data.iter_mut().enumerate() {
        let from = input.wrapping_add(offset + vector * WIDE);
        // SAFETY: an input is readable by the job's invariant, and its bytes from `offset` on are
        // at least VECTORS whole vectors or, if MASKED, as many as `mask` has bits.
        *data = unsafe {
            if MASKED {
                _mm512_maskz_loadu_epi8(mask, from.cast())
            } else {
                _mm512_loadu_si512(from.cast())
            }
        };
    }
    data
}

/// The product with 256-bit vectors, in tiles of two; the last bytes are left to the scalar kernel.
#[target_feature(enable = "gfni,avx,avx2")]
pub(super) fn run_256(job: &mut Job<'_>) {
    let mut offset = 0;
    while job.shard_bytes - offset >= HALF {
        let two = job.shard_bytes - offset >= 2 * HALF;
        for first in (0..job.outputs.len()).step_by(ROWS_256) {
            let rows = (job.outputs.len() - first).min(ROWS_256);
            match (rows, two) {
                (1, true) => block_256::<1, 2>(job, first, offset),
                (2, true) => block_256::<2, 2>(job, first, offset),
                (3, true) => block_256::<3, 2>(job, first, offset),
                (_, true) => block_256::<4, 2>(job, first, offset),
                (1, false) => block_256::<1, 1>(job, first, offset),
                (2, false) => block_256::<2, 1>(job, first, offset),
                (3, false) => block_256::<3, 1>(job, first, offset),
                (_, false) => block_256::<4, 1>(job, first, offset),
            }
        }
        offset += if two { 2 * HALF } else { HALF };
    }
    let tail = offset..job.shard_bytes;
    scalar::run(job, tail);
}

#[target_feature(enable = "gfni,avx,avx2")]
fn block_256<const ROWS: usize, const VECTORS: usize>(
    job: &mut Job<'_>,
    first: usize,
    offset: usize,
) {
    let mut sums = [[_mm256_setzero_si256(); VECTORS]; ROWS];
    let first_in_group = first % GROUP_ROWS;
    for (column, &input) in job.group(first / GROUP_ROWS).iter().zip(job.inputs) {
        let mut data = [_mm256_setzero_si256(); VECTORS];
        for (vector, data) in data.iter_mut().enumerate() {
            let from = input.wrapping_add(offset + vector * HALF);
            // SAFETY: an input is readable by the job's invariant and has VECTORS whole vectors
            // from `offset` on.
            *data = unsafe { _mm256_loadu_si256(from.cast()) };
        }
        for row in 0..ROWS {
            let coefficient = column[(first_in_group + row) % GROUP_ROWS];
            let by = _mm256_set1_epi64x(AFFINE[usize::from(coefficient)].cast_signed());
            for vector in 0..VECTORS {
                let product = _mm256_gf2p8affine_epi64_epi8::<0>(data[vector], by);
                sums[row][vector] = _mm256_xor_si256(sums[row][vector], product);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        for (vector, sum) in sums.iter().enumerate() {
            let to = job.outputs[first + row].wrapping_add(offset + vector * HALF);
            // SAFETY: an output is writable by the job's invariant and has VECTORS whole vectors
            // from `offset` on.
            unsafe { _mm256_storeu_si256(to.cast(), *sum) };
        }
    }
}
