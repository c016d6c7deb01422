//! What a picture will cost, measured before it is encoded: how many transform coefficients
//! would survive quantisation at each quantiser.
//!
//! A sample of macroblocks, spread over the damage, goes through what the encoder will do in
//! small: a motion search in the picture before, and H.264's 4×4 transform of both the
//! motion-compensated difference and of the texture itself. Each coefficient is entered by the
//! highest quantiser at which it is not rounded to zero. Counted from the top, that gives the
//! number of non-zero coefficients for every quantiser at once, to which the bits of a picture
//! are close to proportional (ρ-domain model: He, Mitra, 2001).
//!
//! Where grain or fine text is about as strong as the quantiser is coarse, a picture without
//! prediction doubles within two steps: every intra macroblock with a single coefficient codes
//! all of its blocks. So a macroblock's first coefficient counts as [`FIRST_COEFFICIENT`] more.
//!
//! Allocation-free. The cost does not grow with the picture, as the sample does not.

use crate::convert::Nv12;
use crate::frame::{Rect, Size};

/// Macroblocks sampled at most. The error of a mean over so many is below a tenth for contents
/// with texture everywhere, and the time well below
/// that of a slice.
const SAMPLES_MAX: usize = 128;
/// Quantisers of H.264: 0 to 51, and some above, so that a spectrum can be extrapolated.
pub(super) const QP_COUNT: usize = 64;
/// Largest coefficient of the unnormalised 4×4 transform of 9-bit differences.
const COEFFICIENT_MAX: usize = 36 * 255;
/// Quantisation steps of quantisers 0 to 5; each six more double them (H.264, clause 8.5: the
/// level scales 10, 11, 13, 14, 16, 18). Not an even scale: from 26 down to 25 it is 18 %.
const STEPS: [f32; 6] = [0.625, 0.6875, 0.8125, 0.875, 1.0, 1.125];
/// A coefficient survives if it is at least this many steps, by how many of its two directions
/// are odd: the norm of the unnormalised transform (H.264, clause 8.5.12), times 0.7 for the dead
/// zone (x264: 0.67 intra, 0.83 inter).
const THRESHOLD_STEPS: [f32; 3] = [4.0 * 0.7, 6.325 * 0.7, 10.0 * 0.7];
/// What an intra macroblock's first coefficient beside the mean values costs more than others,
/// in coefficients.
const FIRST_COEFFICIENT: u32 = 6;
/// Difference of half a macroblock below which no better vector is searched for: 1 a pixel.
const SAD_GOOD_ENOUGH: u32 = 128;

/// How many coefficients of the whole picture survive, for each quantiser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spectrum([f32; QP_COUNT]);

impl Spectrum {
    /// Nothing to code.
    pub const EMPTY: Self = Self([0.0; QP_COUNT]);

    /// Coefficients that survive at `qp`.
    #[must_use]
    pub fn at(&self, qp: u8) -> f32 {
        self.0[usize::from(qp).min(QP_COUNT - 1)]
    }

    /// The same for a quantiser that is a mean of several.
    #[must_use]
    pub fn between(&self, qp: f32) -> f32 {
        let below = qp.clamp(0.0, (QP_COUNT - 1) as f32).floor();
        let (low, high) = (self.at(below as u8), self.at(below as u8 + 1));
        low + (high - low) * (qp - below).clamp(0.0, 1.0)
    }

    /// That share of this one and the whole of the other.
    #[must_use]
    pub fn blend(&self, other: &Self, share: f32) -> Self {
        let mut sum = other.0;
        for (sum, own) in sum.iter_mut().zip(&self.0) {
            *sum += own * share;
        }
        Self(sum)
    }

    /// From the number of coefficients that survive at exactly this quantiser and below.
    #[must_use]
    pub fn from_counts(counts: &[u32; QP_COUNT], scale: f32) -> Self {
        let mut survivors = [0.0; QP_COUNT];
        let mut total = 0;
        for (survivor, count) in survivors.iter_mut().zip(counts).rev() {
            total += count;
            *survivor = total as f32 * scale;
        }
        Self(survivors)
    }
}

/// What was found in a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Content {
    /// Of what prediction from the picture before leaves, where it does predict.
    pub residual: Spectrum,
    /// Of the texture where nothing is predicted: what intra macroblocks of a P picture code.
    pub fresh: Spectrum,
    /// Of the picture's own texture: what an I picture has to code.
    pub texture: Spectrum,
    /// Share of the whole picture that may have changed, 0 to 1.
    pub damaged: f32,
    /// Share of the sampled macroblocks that the picture before does not predict, 0 to 1.
    pub unpredicted: f32,
}

/// Measures pictures of one size.
pub struct Analyser {
    size: Size,
    survives: Box<Survival>,
    /// Motion found at each sample of the picture before, pixels.
    motion: [(i32, i32); SAMPLES_MAX],
}

/// Eight 4×4 blocks, coefficient by coefficient.
type Blocks = [[i16; 8]; 16];

/// For a coefficient's odd directions and magnitude, the highest quantiser that it survives,
/// plus one.
struct Survival([[u8; COEFFICIENT_MAX + 1]; 3]);

impl Analyser {
    /// For pictures of that size.
    #[must_use]
    pub fn new(size: Size) -> Self {
        Self {
            size,
            survives: Box::new(Survival::new()),
            motion: [(0, 0); SAMPLES_MAX],
        }
    }

    /// The size it was made for.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// Compares `picture` with the one before it, inside what changed; where nothing did, there
    /// is no residual, and the texture is the whole picture's.
    pub fn analyse(&mut self, picture: &Nv12, previous: &Nv12, damage: Rect) -> Content {
        let damage = damage.clipped(self.size);
        let damaged = damage.area() as f32 / Rect::whole(self.size).area() as f32;
        let damage = if damage.is_empty() {
            Rect::whole(self.size)
        } else {
            damage
        };
        // Whole macroblocks only: those that hang over the edge are as the ones beside them.
        let columns = span(damage.x, damage.width, self.size.width);
        let rows = span(damage.y, damage.height, self.size.height);
        let macroblocks = columns.1 * rows.1;
        let mut sums = Sums::default();
        let (across, down) = lattice(columns.1, rows.1);
        for sample in 0..across * down {
            let (row, column) = (sample / across, sample % across);
            // Every other row is shifted by half a step, so that upright edges are not all
            // hit or all missed.
            let shift = 2 * column + row % 2;
            let x = columns.0 + (shift * columns.1 / (2 * across)).min(columns.1 - 1);
            let y = rows.0 + (2 * row + 1) * rows.1 / (2 * down);
            let hint = [self.motion[sample], self.motion[sample.saturating_sub(1)]];
            let planes = Planes { picture, previous };
            self.motion[sample] = sums.add(planes, x * 16, y * 16, hint, &self.survives);
        }
        // The transforms see half of each macroblock.
        let scale = 2.0 * macroblocks as f32 / sums.samples.max(1) as f32;
        Content {
            residual: Spectrum::from_counts(&sums.residual, scale),
            fresh: Spectrum::from_counts(&sums.fresh, scale),
            texture: Spectrum::from_counts(&sums.texture, scale),
            damaged,
            unpredicted: sums.unpredicted as f32 / sums.samples.max(1) as f32,
        }
    }
}

/// The quantisation step of a quantiser.
pub(super) fn step(qp: u8) -> f32 {
    STEPS[usize::from(qp % 6)] * f32::from(qp / 6).exp2()
}

impl Survival {
    fn new() -> Self {
        Self(THRESHOLD_STEPS.map(|threshold| {
            let mut survives = [0; COEFFICIENT_MAX + 1];
            for (magnitude, survives) in survives.iter_mut().enumerate() {
                let lives = |qp: &u8| magnitude as f32 >= threshold * step(*qp);
                *survives = (0..QP_COUNT as u8).take_while(lives).count() as u8;
            }
            survives
        }))
    }
}

#[derive(Clone, Copy)]
struct Planes<'a> {
    picture: &'a Nv12,
    previous: &'a Nv12,
}

/// What the samples add up to.
struct Sums {
    residual: [u32; QP_COUNT],
    fresh: [u32; QP_COUNT],
    texture: [u32; QP_COUNT],
    samples: u32,
    unpredicted: u32,
}

impl Default for Sums {
    fn default() -> Self {
        let none = [0; QP_COUNT];
        Self {
            residual: none,
            fresh: none,
            texture: none,
            samples: 0,
            unpredicted: 0,
        }
    }
}

impl Sums {
    /// Measures the macroblock at (`x`, `y`); its motion.
    fn add(
        &mut self,
        planes: Planes<'_>,
        x: usize,
        y: usize,
        hints: [(i32, i32); 2],
        survives: &Survival,
    ) -> (i32, i32) {
        let (motion, _) = search(planes, x, y, hints);
        let (from_x, from_y) = moved(planes.previous, x, y, motion).unwrap_or((x, y));
        let mut texture = load(planes.picture, x, y);
        let reference = load(planes.previous, from_x, from_y);
        let mut residual = texture;
        for (row, other) in residual.iter_mut().zip(&reference) {
            for (value, other) in row.iter_mut().zip(other) {
                *value = value.wrapping_sub(*other);
            }
        }
        transform(&mut texture);
        transform(&mut residual);
        // Intra prediction takes at least the mean away.
        let mean = texture[0].iter().map(|&dc| i32::from(dc)).sum::<i32>() / 8;
        for dc in &mut texture[0] {
            *dc -= mean as i16;
        }
        let unpredicted = magnitude(&residual) > magnitude(&texture);
        self.samples += 1;
        self.unpredicted += u32::from(unpredicted);
        // Half of the macroblock is looked at, and the whole scaled by two for it.
        let first = FIRST_COEFFICIENT / 2;
        enter(&mut self.texture, &texture, survives, first);
        if unpredicted {
            enter(&mut self.fresh, &texture, survives, first);
        } else {
            enter(&mut self.residual, &residual, survives, 0);
        }
        if unpredicted { (0, 0) } else { motion }
    }
}

/// Position of the first whole macroblock that the damage touches along one axis, and how many.
fn span(start: u16, length: u16, side: u16) -> (usize, usize) {
    let whole = usize::from(side) / 16;
    let first = (usize::from(start) / 16).min(whole - 1);
    let end = (usize::from(start) + usize::from(length))
        .div_ceil(16)
        .min(whole);
    (first, end.saturating_sub(first).max(1))
}

/// Samples across and down, in the damage's own proportions.
fn lattice(columns: usize, rows: usize) -> (usize, usize) {
    if columns * rows <= SAMPLES_MAX {
        return (columns, rows);
    }
    let shrink = (SAMPLES_MAX as f32 / (columns * rows) as f32).sqrt();
    let across = ((columns as f32 * shrink) as usize).clamp(1, SAMPLES_MAX);
    let down = (SAMPLES_MAX / across).min(rows);
    (across, down)
}

/// Motion of a macroblock by a search like the encoder's fastest, and its difference.
fn search(planes: Planes<'_>, x: usize, y: usize, hints: [(i32, i32); 2]) -> ((i32, i32), u32) {
    let cost =
        |motion| moved(planes.previous, x, y, motion).map(|from| difference(planes, (x, y), from));
    let mut best = ((0, 0), cost((0, 0)).unwrap_or(u32::MAX));
    let improve = |best: &mut ((i32, i32), u32), motion: (i32, i32)| {
        if motion == best.0 {
            return false;
        }
        match cost(motion) {
            Some(cost) if cost < best.1 => {
                *best = (motion, cost);
                true
            }
            _ => false,
        }
    };
    for hint in hints {
        improve(&mut best, hint);
    }
    for (step, moves) in [(4, 3), (1, 5)] {
        for _ in 0..moves {
            if best.1 <= SAD_GOOD_ENOUGH {
                return best;
            }
            let (dx, dy) = best.0;
            let mut moved = false;
            for (sx, sy) in [(step, 0), (-step, 0), (0, step), (0, -step)] {
                moved |= improve(&mut best, (dx + sx, dy + sy));
            }
            if !moved {
                break;
            }
        }
    }
    best
}

/// Where a macroblock came from, if that lies inside the picture.
fn moved(plane: &Nv12, x: usize, y: usize, motion: (i32, i32)) -> Option<(usize, usize)> {
    let x = x.checked_add_signed(motion.0 as isize)?;
    let y = y.checked_add_signed(motion.1 as isize)?;
    let inside = x + 16 <= usize::from(plane.size.width) && y + 16 <= plane.size.height.into();
    inside.then_some((x, y))
}

/// Sum of absolute differences of two macroblocks, every other row.
/// Wrapping, like all loops here that must become
/// vector code: the checks of a debug build would prevent it, and no sum comes near the bounds.
fn difference(planes: Planes<'_>, at: (usize, usize), from: (usize, usize)) -> u32 {
    let (a, b) = (planes.picture, planes.previous);
    let a = &a.luma[at.1 * a.stride + at.0..][..14 * a.stride + 16];
    let b = &b.luma[from.1 * b.stride + from.0..][..14 * b.stride + 16];
    let rows = a
        .chunks(planes.picture.stride)
        .zip(b.chunks(planes.previous.stride));
    rows.fold(0u32, |sum, (a, b)| {
        let (a, b) = (a.first_chunk::<16>(), b.first_chunk::<16>());
        let (a, b) = a.zip(b).expect("every row has 16 pixels");
        a.iter()
            .zip(b)
            .fold(sum, |sum, (a, b)| sum.wrapping_add(a.abs_diff(*b).into()))
    })
}

/// Every other 4×4 block of a macroblock, as on a chessboard.
fn load(plane: &Nv12, x: usize, y: usize) -> Blocks {
    let mut blocks = [[0; 8]; 16];
    for row in 0..16 {
        let pixels = &plane.luma[(y + row) * plane.stride + x..][..16];
        let block_row = row / 4;
        for half in 0..2 {
            let column = half * 8 + block_row % 2 * 4;
            for (index, &pixel) in pixels[column..column + 4].iter().enumerate() {
                blocks[row % 4 * 4 + index][block_row * 2 + half] = i16::from(pixel);
            }
        }
    }
    blocks
}

/// H.264's 4×4 transform of eight blocks at once, one in each lane.
fn transform(blocks: &mut Blocks) {
    for line in 0..4 {
        butterfly(blocks, [line * 4, line * 4 + 1, line * 4 + 2, line * 4 + 3]);
    }
    for line in 0..4 {
        butterfly(blocks, [line, line + 4, line + 8, line + 12]);
    }
}

fn butterfly(blocks: &mut Blocks, at: [usize; 4]) {
    let [a, b, c, d] = at.map(|index| blocks[index]);
    for lane in 0..8 {
        let sums = (a[lane].wrapping_add(d[lane]), b[lane].wrapping_add(c[lane]));
        let differences = (a[lane].wrapping_sub(d[lane]), b[lane].wrapping_sub(c[lane]));
        blocks[at[0]][lane] = sums.0.wrapping_add(sums.1);
        blocks[at[1]][lane] = differences.0.wrapping_mul(2).wrapping_add(differences.1);
        blocks[at[2]][lane] = sums.0.wrapping_sub(sums.1);
        blocks[at[3]][lane] = differences.0.wrapping_sub(differences.1.wrapping_mul(2));
    }
}

/// Sum of all coefficients' magnitudes, each by its norm.
fn magnitude(blocks: &Blocks) -> u32 {
    blocks.iter().enumerate().fold(0u32, |sum, (place, row)| {
        let weight = [10u32, 6, 4][place % 2 + place / 4 % 2];
        let row = row.iter().fold(0u32, |sum, value| {
            sum.wrapping_add(value.unsigned_abs().into())
        });
        sum.wrapping_add(row.wrapping_mul(weight))
    })
}

/// Counts each coefficient at the highest quantiser that it survives, and the first one beside
/// the mean values `first` times more.
fn enter(counts: &mut [u32; QP_COUNT], blocks: &Blocks, survives: &Survival, first: u32) {
    let mut highest = 0;
    for (place, row) in blocks.iter().enumerate() {
        let survives = &survives.0[place % 2 + place / 4 % 2];
        for value in row {
            let magnitude = usize::from(value.unsigned_abs()).min(COEFFICIENT_MAX);
            let lives = usize::from(survives[magnitude]);
            if let Some(qp) = lives.checked_sub(1) {
                counts[qp] += 1;
            }
            highest = highest.max(if place > 0 { lives } else { 0 });
        }
    }
    if let Some(qp) = highest.checked_sub(1) {
        counts[qp] += first;
    }
}
