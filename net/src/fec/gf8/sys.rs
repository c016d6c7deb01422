//! The one place of the GF(2⁸) code with `unsafe`: the choice of a kernel, the shards that a kernel
//! works on, and the vector loads and stores of the kernels themselves.
//!
//! Every kernel does the same: `output[r] = Σ_c matrix[r][c] · input[c]`, in tiles of a few vectors
//! of all shards, so that the inputs of a tile stay in the first-level cache while the row groups
//! pass over them, and with the sums of a row group in registers.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod gfni;

use std::marker::PhantomData;
use std::ops::Range;
use std::{fmt, ptr, slice};

use super::super::SplitBlock;
use super::{GROUP_ROWS, Matrix, scalar};
use crate::limits::GF8_SHARDS_MAX;

/// A way of computing with the GF(2⁸) code. All give the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// `vgf2p8affineqb` on 64 bytes at once: GFNI with AVX-512 (Ice Lake, Zen 4 and later).
    Gfni512,
    /// `vgf2p8affineqb` on 32 bytes at once: GFNI with AVX2 (Alder Lake and later).
    Gfni256,
    /// Byte shuffles as two tables of 16 products, 32 bytes at once (Haswell, Zen and later).
    Avx2,
    /// Tables of products, on any processor.
    Scalar,
}

impl Kernel {
    /// All kernels, fastest first. This is the only place that has an order.
    pub const ALL: [Self; 4] = [Self::Gfni512, Self::Gfni256, Self::Avx2, Self::Scalar];

    /// The first of [`Kernel::ALL`] that this processor can run.
    #[must_use]
    pub fn best() -> Self {
        Self::ALL
            .into_iter()
            .find(|kernel| kernel.is_available())
            .unwrap_or(Self::Scalar)
    }

    /// True if this processor can run the kernel.
    #[must_use]
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Gfni512 => {
                is_x86_feature_detected!("gfni")
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
            }
            Self::Gfni256 => {
                is_x86_feature_detected!("gfni")
                    && is_x86_feature_detected!("avx")
                    && is_x86_feature_detected!("avx2")
            }
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            Self::Scalar => true,
        }
        #[cfg(not(target_arch = "x86_64"))]
        matches!(self, Self::Scalar)
    }

    /// The kernel's name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gfni512 => "gfni-avx512",
            Self::Gfni256 => "gfni-avx2",
            Self::Avx2 => "avx2",
            Self::Scalar => "scalar",
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `parity = matrix · data`: `data_shard(i)` is data shard `i`, parity is whole shards one after the
/// other.
///
/// # Panics
/// If a data shard is shorter than `shard_bytes`.
pub(super) fn encode<'d>(
    kernel: Kernel,
    matrix: &Matrix,
    shard_bytes: usize,
    data_shards: usize,
    data_shard: impl Fn(usize) -> &'d [u8],
    parity: &mut [u8],
) {
    let mut inputs = [ptr::null(); GF8_SHARDS_MAX];
    for (index, input) in inputs[..data_shards].iter_mut().enumerate() {
        *input = data_shard(index)[..shard_bytes].as_ptr();
    }
    let mut outputs = [ptr::null_mut(); GF8_SHARDS_MAX];
    let mut output_count = 0;
    for (output, shard) in outputs.iter_mut().zip(parity.chunks_exact_mut(shard_bytes)) {
        *output = shard.as_mut_ptr();
        output_count += 1;
    }
    let job = Job {
        matrix,
        shard_bytes,
        inputs: &inputs[..data_shards],
        outputs: &outputs[..output_count],
        buffers: PhantomData,
    };
    job.run(kernel);
}

/// `shards[lost] = matrix · shards[used]`, in place.
///
/// # Panics
/// If an index of `used` or `lost` is not in the block, one is in both, or `lost` names parity: the
/// caller makes both from one partition of the block.
pub(super) fn recover(
    kernel: Kernel,
    matrix: &Matrix,
    shard_bytes: usize,
    block: SplitBlock<'_>,
    used: &[u8],
    lost: &[u8],
) {
    let SplitBlock {
        data,
        stride_bytes,
        data_shards,
        parity,
        ..
    } = block;
    let mut is_lost = [false; 256];
    let base = data.as_mut_ptr();
    let data_shard = |index: u8| {
        let at = usize::from(index) * stride_bytes;
        assert!(usize::from(index) < data_shards, "a data shard");
        assert!(at + shard_bytes <= data.len(), "within the buffer");
        base.wrapping_add(at)
    };
    let mut outputs = [ptr::null_mut(); GF8_SHARDS_MAX];
    for (output, &index) in outputs.iter_mut().zip(lost) {
        assert!(!is_lost[usize::from(index)], "a shard is lost once");
        is_lost[usize::from(index)] = true;
        *output = data_shard(index);
    }
    let mut inputs = [ptr::null(); GF8_SHARDS_MAX];
    for (input, &index) in inputs.iter_mut().zip(used) {
        assert!(!is_lost[usize::from(index)], "a shard is used or lost");
        *input = match usize::from(index).checked_sub(data_shards) {
            None => data_shard(index).cast_const(),
            Some(row) => parity[row * shard_bytes..][..shard_bytes].as_ptr(),
        };
    }
    let job = Job {
        matrix,
        shard_bytes,
        inputs: &inputs[..used.len()],
        outputs: &outputs[..lost.len()],
        buffers: PhantomData,
    };
    job.run(kernel);
}

/// One product: where its inputs and outputs lie.
///
/// Invariant, kept by [`encode`] and [`recover`]: `shard_bytes` bytes from each input on are
/// readable, from each output on writable, while `'a` lasts, and no input overlaps an output.
/// Pointers, not slices, because in place both are in one buffer.
pub(super) struct Job<'a> {
    matrix: &'a Matrix,
    shard_bytes: usize,
    inputs: &'a [*const u8],
    outputs: &'a [*mut u8],
    buffers: PhantomData<&'a mut [u8]>,
}

impl Job<'_> {
    fn run(mut self, kernel: Kernel) {
        #[cfg(target_arch = "x86_64")]
        match kernel {
            // SAFETY: the features that the function names are those that were just checked; the
            // check reads a cached word.
            Kernel::Gfni512 if kernel.is_available() => return unsafe { gfni::run_512(&mut self) },
            // SAFETY: as above.
            Kernel::Gfni256 if kernel.is_available() => return unsafe { gfni::run_256(&mut self) },
            // SAFETY: as above.
            Kernel::Avx2 if kernel.is_available() => return unsafe { avx2::run(&mut self) },
            _ => {}
        }
        let _ = kernel;
        let whole = 0..self.shard_bytes;
        scalar::run(&mut self, whole);
    }

    /// Number of inputs, the matrix's columns.
    pub(super) fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// Number of outputs, the matrix's rows.
    pub(super) fn output_count(&self) -> usize {
        self.outputs.len()
    }

    /// The matrix's columns in row group `group`.
    pub(super) fn group(&self, group: usize) -> &[[u8; GROUP_ROWS]] {
        &self.matrix.groups[group][..self.inputs.len()]
    }

    /// Bytes `range` of input `column`.
    pub(super) fn input(&self, column: usize, range: Range<usize>) -> &[u8] {
        assert!(
            range.start <= range.end && range.end <= self.shard_bytes,
            "within a shard"
        );
        let from = self.inputs[column].wrapping_add(range.start);
        // SAFETY: readable by the invariant, within the shard by the assertion; outputs, the only
        // thing written, do not overlap it.
        unsafe { slice::from_raw_parts(from, range.len()) }
    }

    /// Bytes `range` of output `row`.
    pub(super) fn output(&mut self, row: usize, range: Range<usize>) -> &mut [u8] {
        assert!(
            range.start <= range.end && range.end <= self.shard_bytes,
            "within a shard"
        );
        let to = self.outputs[row].wrapping_add(range.start);
        // SAFETY: writable by the invariant, within the shard by the assertion; `&mut self` means
        // that no other slice of the job is alive.
        unsafe { slice::from_raw_parts_mut(to, range.len()) }
    }
}
