//! GF(2⁸) for slice-sized blocks: systematic Cauchy code, polynomial 0x11D.
//!
//! Parity row `j` over data column `i` has the coefficient `1 / ((m + i) xor j)`, so `k + m ≤ 255`.
//! These are exactly the bytes that stock Moonlight's decoder (nanors) needs.
//!
//! Encode and decode are the same product of a matrix and a column of shards, done by one of the
//! [`Kernel`]s. Encode: the matrix above over the data. Decode: a matrix with one row for each lost
//! data shard over `k` shards that arrived. No submatrix is inverted for it, because a Cauchy code
//! is interpolation: with the point of data shard `i` at `m + i` and that of parity `j` at `j`,
//! `parity_j · ∏ᵢ(xᵢ + y_j)` and `dᵢ · ∏_{i'≠i}(xᵢ + x_i')` are values of one polynomial of degree
//! below `k`. Lagrange over the `k` arrived points gives, for lost shard `l` and arrived shard `p`,
//!
//! `D[l][p] = A_l · B_p / (z_l + z_p)`
//! - `A_l = ∏_r(x_l + y_r) / ∏_{l'≠l}(x_l + x_l')`, over used parity `r` and lost data `l'`
//! - `B_p = ∏_l(z_p + x_l) / ∏_{r≠p}(z_p + y_r)`, for data and parity alike
//!
//! because all other factors cancel. That is a table look-up for each coefficient and needs neither
//! scratch shards nor a second pass.

mod scalar;
mod sys;
mod tables;

use super::{ShardSet, SplitBlock};
use crate::limits::GF8_SHARDS_MAX;
use tables::{EXP, INV, LOG};

pub use sys::Kernel;

/// Rows of a [`Matrix`] that a kernel carries through one pass over the inputs.
const GROUP_ROWS: usize = 8;
/// Row groups of the largest matrix. `k + m ≤ 255`, so rows and columns are never both large, but
/// either can be.
const GROUPS_MAX: usize = GF8_SHARDS_MAX.div_ceil(GROUP_ROWS);

/// Coefficients in the order in which kernels read them: groups of [`GROUP_ROWS`] rows, in each
/// the columns one after the other, in each the group's rows. Unused rows are never read.
struct Matrix {
    groups: Box<[[[u8; GROUP_ROWS]; GF8_SHARDS_MAX]]>,
}

impl Matrix {
    fn new() -> Self {
        Self {
            groups: vec![[[0; GROUP_ROWS]; GF8_SHARDS_MAX]; GROUPS_MAX].into_boxed_slice(),
        }
    }

    fn set(&mut self, row: usize, column: usize, coefficient: u8) {
        self.groups[row / GROUP_ROWS][column][row % GROUP_ROWS] = coefficient;
    }
}

/// Makes parity. Callers have checked every count and size.
pub(super) struct Encoder {
    kernel: Kernel,
    matrix: Matrix,
    /// Parity shards that `matrix` is for; its coefficients do not depend on the data shards.
    parity_shards: usize,
    /// Columns of `matrix` that are filled in.
    columns: usize,
}

impl Encoder {
    pub(super) fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            matrix: Matrix::new(),
            parity_shards: 0,
            columns: 0,
        }
    }

    pub(super) fn encode<'d>(
        &mut self,
        shard_bytes: usize,
        data_shards: usize,
        data_shard: impl Fn(usize) -> &'d [u8],
        parity: &mut [u8],
    ) {
        let parity_shards = parity.len() / shard_bytes;
        if self.parity_shards != parity_shards {
            self.parity_shards = parity_shards;
            self.columns = 0;
        }
        for column in self.columns..data_shards {
            for row in 0..parity_shards {
                self.matrix
                    .set(row, column, INV[(parity_shards + column) ^ row]);
            }
        }
        self.columns = self.columns.max(data_shards);
        let (kernel, matrix) = (self.kernel, &self.matrix);
        sys::encode(kernel, matrix, shard_bytes, data_shards, data_shard, parity);
    }
}

/// Recovers data shards. Callers have checked every count and size, and that enough is present.
pub(super) struct Decoder {
    kernel: Kernel,
    matrix: Matrix,
}

impl Decoder {
    pub(super) fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            matrix: Matrix::new(),
        }
    }

    pub(super) fn recover(
        &mut self,
        shard_bytes: usize,
        block: SplitBlock<'_>,
        present: &ShardSet,
    ) {
        let (data_shards, parity_shards) = (block.data_shards, block.parity_shards);
        let (mut lost, mut lost_count) = ([0u8; GF8_SHARDS_MAX], 0);
        let (mut used, mut used_count) = ([0u8; GF8_SHARDS_MAX], 0);
        // Indexes are below GF8_SHARDS_MAX and fit a byte. Data that arrived comes first, then as
        // much of the parity as fills the places of the lost data.
        for index in 0..data_shards {
            if present.contains(index) {
                used[used_count] = index as u8;
                used_count += 1;
            } else {
                lost[lost_count] = index as u8;
                lost_count += 1;
            }
        }
        let parity = data_shards..data_shards + parity_shards;
        for index in parity
            .filter(|&index| present.contains(index))
            .take(lost_count)
        {
            used[used_count] = index as u8;
            used_count += 1;
        }
        let (lost, used) = (&lost[..lost_count], &used[..used_count]);
        self.fill(data_shards, parity_shards, lost, used);
        sys::recover(self.kernel, &self.matrix, shard_bytes, block, used, lost);
    }

    /// Writes `D[l][p]` of the module's head for the lost data shards over the used shards.
    fn fill(&mut self, data_shards: usize, parity_shards: usize, lost: &[u8], used: &[u8]) {
        let point = |index: u8| -> u8 {
            let index = usize::from(index);
            // Below 255 either way: the shape was checked.
            (if index < data_shards {
                parity_shards + index
            } else {
                index - data_shards
            }) as u8
        };
        let used_parity = &used[data_shards - lost.len()..];
        // Logarithm of ∏(z + a) / ∏_{b≠z}(z + b), the shape of both A and B.
        let quotient_log = |z: u8, above: &[u8], below: &[u8]| -> u32 {
            let log_sum = |points: &[u8]| -> u32 {
                points
                    .iter()
                    .map(|&p| z ^ point(p))
                    .filter(|&d| d != 0)
                    .map(log)
                    .sum()
            };
            // 255 - x is the logarithm of the inverse; sums of 255 terms below 255 fit easily.
            (log_sum(above) + 255 - log_sum(below) % 255) % 255
        };
        let mut lost_logs = [0; GF8_SHARDS_MAX];
        for (at, &l) in lost_logs.iter_mut().zip(lost) {
            *at = quotient_log(point(l), used_parity, lost);
        }
        for (column, &p) in used.iter().enumerate() {
            let used_log = quotient_log(point(p), lost, used_parity);
            for (row, &l) in lost.iter().enumerate() {
                let difference_log = log(point(l) ^ point(p));
                let sum = lost_logs[row] + used_log + 255 - difference_log;
                self.matrix.set(row, column, EXP[sum as usize]);
            }
        }
    }
}

fn log(element: u8) -> u32 {
    u32::from(LOG[usize::from(element)])
}
