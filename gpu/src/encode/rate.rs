//! The size of each picture, steered by its quantiser alone.
//!
//! x264's own rate control looks at a whole picture before it hands out the first slice, or
//! reacts a picture too late. This one predicts: [`Analyser`] counts, before a picture is
//! encoded, how many transform coefficients will survive at each quantiser, [`RateController`]
//! turns that into bits and takes the finest quantiser whose picture fits. Nothing here reads a
//! clock or allocates.
//!
//! # Model
//! For a picture of M macroblocks, of which a share d may have changed and of those a share u is
//! not predicted by the picture before, the bits at quantiser q are
//!
//! ```text
//! P:   s · (4 R(q) + 0.4 D(q) (1 − u) + M d (1.5 + 11 u))  +  f · 2 [T(q) − T(q_ref)]⁺ (1 − u d)
//! IDR: s · (4 T(q) + 10 M)
//! ```
//!
//! R counts the coefficients of what prediction leaves inside the damage, D those of the texture
//! there, which moving by parts of a pixel costs, T those of the whole picture's texture. The
//! last term is the price of quality: a picture coded more finely than its reference codes the
//! difference between the two, everywhere; it is what makes the pictures after a cut large. The
//! constants were fitted to x264's ultrafast pictures of seeded synthetic content at random
//! quantisers (median error 12 % for cuts).
//!
//! s is learned from the sizes that came out, in the logarithm, separately for predicted pictures
//! and for those that are not (cuts and IDR); a picture in between takes the mean weighted by u.
//! f is learned from pictures in which the quantiser fell. From one moving picture to the next a
//! falling quantiser is also held against the size of the picture before and a learned slope, and
//! the larger of both predictions counts: a step too far costs more than one too few.
//!
//! The spread of the error is learned as well, and the aim is lowered by it, so that a bad guess
//! still stays near [`LARGEST_SHARES`] of the picture's share of the bitrate.
//!
//! # Bucket
//! What a picture takes beyond its share is paid back over the next four. What it leaves over is
//! kept, but never more than `KEPT_MAX` of a share, and the aim rises by at most `EXTRA_MAX`
//! of one for it: bits that a still desktop did not need must not become a burst later.
//!
//! # Refinement
//! If nothing was damaged and the same picture is encoded again, R is empty and the quantiser
//! falls, by at most [`QP_FALL_MAX`] a picture and as far as the share allows, down to
//! [`QP_REFINED`], where a difference is no longer seen. Such a step may take more than a moving
//! picture would (2.5 shares were seen): nothing else is under way then. [`Encoded::qp`](super::Encoded::qp)
//! tells the caller when to stop: at or below [`QP_REFINED`].

mod analysis;

use std::ops::RangeInclusive;

use net::units::{BitsPerSecond, Mode};

use analysis::step;
pub use analysis::{Analyser, Content, Spectrum};

/// Largest picture that is aimed for with all known error added, in shares of the bitrate. The
/// pacer's and the client's buffers are laid out for 1.5.
pub const LARGEST_SHARES: f32 = 1.4;
/// Finest quantiser that a still picture is refined to.
pub const QP_REFINED: u8 = 20;
/// How far the quantiser may fall from one picture to the next: the steps after a cut are
/// predictions from little knowledge, and quality that comes in three pictures is not missed.
pub const QP_FALL_MAX: u8 = 4;

/// Error spreads (as a power of two) that a picture is kept below [`LARGEST_SHARES`] with.
const SPREADS: f32 = 1.5;
/// Share of a debt that each picture pays back.
const PAYBACK: f32 = 0.25;
/// log2 of how much larger a picture gets for each step that the quantiser falls, until seen.
const FALL_SLOPE: f32 = 0.45;
/// Bits of a macroblock that is skipped.
const SKIPPED: f32 = 0.25;
/// Factor of safety on what a falling quantiser will cost where the share is nearly used
/// already, so that little is to be won.
const FALL_MARGIN: f32 = 1.1;
/// The least that is assumed of it in a new scene.
const FALL_SLOPE_NEW: f32 = 0.55;
/// Quantiser below which the differences coded are mostly noise.
const NOISE_QP: u8 = 20;
/// The most that is aimed for with a cut, in shares. Such a prediction is off by half where scenes
/// of different kinds take turns, and the coarser start of a scene is gone three pictures later.
const CUT_MAX: f32 = 0.95;
/// The least that is aimed for, however much is owed, in shares.
const AIM_MIN: f32 = 0.3;
/// The most that is aimed for on top of a share if enough was kept, in shares.
const EXTRA_MAX: f32 = 0.35;
/// Bounds of the bucket, in shares: most that is kept, most that is owed.
const KEPT_MAX: f32 = 0.75;
const OWED_MAX: f32 = 2.0;

/// Chooses each picture's quantiser. Calls alternate: [`Self::plan`], [`Self::encoded`].
#[derive(Debug)]
pub struct RateController {
    mode: Mode,
    qp_range: RangeInclusive<u8>,
    /// A picture's share of the bitrate, bits.
    share: f32,
    /// Macroblocks of a picture.
    macroblocks: f32,
    /// Bits owed (positive) or kept.
    owed: f32,
    predicted: Class,
    unpredicted: Class,
    /// Of what it costs to be finer than the reference.
    finer: Class,
    /// The whole picture's texture, pieced together from what was damaged.
    texture: Spectrum,
    /// Quantiser of what the next picture refers to, a mean over the picture.
    reference_qp: f32,
    /// The picture before.
    last: Option<Last>,
    /// log2 of how much larger a picture gets for each step that the quantiser falls.
    fall_slope: f32,
    planned: Option<Planned>,
}

/// What is learned about a class of pictures.
#[derive(Clone, Copy, Debug)]
struct Class {
    /// log2 of the factor between the model and the truth.
    scale: f32,
    /// Mean error of predictions, log2.
    spread: f32,
}

/// The picture between `plan` and `encoded`.
#[derive(Clone, Copy, Debug)]
struct Planned {
    qp: u8,
    /// Bits by the model, before learned factors: had its reference been coded at the same
    /// quantiser, and for being finer.
    steady: f32,
    finer: f32,
    /// Bits that were predicted.
    bits: f32,
    /// Weight of the unpredicted class, 0 to 1.
    unpredicted: f32,
    damaged: f32,
}

/// What the next picture is compared with.
#[derive(Clone, Copy, Debug)]
struct Last {
    qp: u8,
    bits: f32,
    steady: f32,
    /// It was an IDR or the first of a scene, whose size says nothing about the next.
    unpredicted: bool,
    damaged: f32,
}

impl Last {
    /// Its size says something about a next picture of that kind: both move, neither is a cut.
    fn compares(&self, damaged: f32, unpredicted: f32) -> bool {
        !self.unpredicted && unpredicted <= 0.5 && self.damaged > 0.0 && damaged > 0.0
    }
}

impl RateController {
    /// For an encoder of that mode whose quantisers lie in `qp_range`.
    #[must_use]
    pub fn new(mode: Mode, bitrate: BitsPerSecond, qp_range: RangeInclusive<u8>) -> Self {
        let side = |pixels: u16| f32::from(pixels.div_ceil(16));
        let mut this = Self {
            mode,
            qp_range,
            share: 0.0,
            macroblocks: side(mode.width()) * side(mode.height()),
            owed: 0.0,
            predicted: Class {
                scale: 0.0,
                spread: 0.3,
            },
            unpredicted: Class {
                scale: 0.0,
                spread: 0.3,
            },
            finer: Class {
                scale: 0.0,
                spread: 0.3,
            },
            texture: Spectrum::EMPTY,
            reference_qp: 51.0,
            last: None,
            fall_slope: FALL_SLOPE,
            planned: None,
        };
        this.set_bitrate(bitrate);
        this
    }

    /// From the next picture on. What is owed or kept scales along.
    pub fn set_bitrate(&mut self, bitrate: BitsPerSecond) {
        let share = (bitrate.bytes_per_frame(self.mode.refresh()) as f32 * 8.0).max(1.0);
        self.owed *= if self.share > 0.0 {
            share / self.share
        } else {
            0.0
        };
        self.share = share;
    }

    /// A picture's share of the bitrate, bits.
    #[must_use]
    pub fn share_bits(&self) -> f32 {
        self.share
    }

    /// The quantiser for a picture of that content.
    pub fn plan(&mut self, content: &Content, idr: bool) -> u8 {
        self.texture = if content.damaged > 0.5 || content.damaged == 0.0 {
            content.texture
        } else {
            self.texture.blend(&content.texture, 1.0 - content.damaged)
        };
        let unpredicted = if idr { 1.0 } else { content.unpredicted };
        let spread = mix(self.predicted.spread, self.unpredicted.spread, unpredicted);
        let most = if !idr && unpredicted > 0.5 {
            CUT_MAX
        } else {
            LARGEST_SHARES
        };
        let aim = self.aim(spread, most);
        let mut qp = *self.qp_range.end();
        let lowest = self.lowest(content, unpredicted);
        while qp > lowest && self.predict(content, idr, qp - 1) <= aim {
            qp -= 1;
        }
        self.planned = Some(Planned {
            qp,
            steady: self.steady(content, idr, qp),
            finer: self.finer(content, idr, qp),
            bits: self.predict(content, idr, qp),
            unpredicted,
            damaged: content.damaged,
        });
        qp
    }

    /// The planned picture took that many bytes.
    pub fn encoded(&mut self, bytes: usize) {
        let Some(planned) = self.planned.take() else {
            return;
        };
        let bits = bytes as f32 * 8.0;
        self.owed =
            (self.owed + bits - self.share).clamp(-KEPT_MAX * self.share, OWED_MAX * self.share);
        self.learn_scales(planned, bits.max(1.0));
        if planned.damaged == 0.0 {
            // A still picture has time: what made the last step look too dear is forgotten little
            // by little, so that another is tried.
            self.finer.scale -= 0.05 * self.finer.scale;
            self.predicted.spread -= 0.05 * self.predicted.spread;
        }
        self.learn_slope(planned, bits);
        let (qp, steady) = (planned.qp, planned.steady);
        let unpredicted = planned.unpredicted > 0.5;
        self.last = Some(Last {
            qp,
            bits,
            steady,
            unpredicted,
            damaged: planned.damaged,
        });
        let qp = f32::from(planned.qp);
        let coded = if qp < self.reference_qp {
            1.0
        } else {
            planned.damaged
        };
        self.reference_qp += (qp - self.reference_qp) * coded;
    }

    /// Bits to aim for: below `most` shares, and with all known error below [`LARGEST_SHARES`].
    fn aim(&self, spread: f32, most: f32) -> f32 {
        let wanted = if self.owed > 0.0 {
            self.share - self.owed * PAYBACK
        } else {
            self.share + (-self.owed).min(self.share * EXTRA_MAX)
        };
        let safe = self.share * LARGEST_SHARES * (-SPREADS * spread).exp2();
        wanted
            .max(self.share * AIM_MIN)
            .min(safe)
            .min(self.share * most)
    }

    /// The lowest quantiser that may be taken whatever it would cost.
    fn lowest(&self, content: &Content, unpredicted: f32) -> u8 {
        let floor = *self.qp_range.start();
        let Some(last) = self.last.filter(|_| unpredicted <= 0.5) else {
            return floor;
        };
        let floor = if content.damaged == 0.0 {
            QP_REFINED.min(last.qp)
        } else {
            floor
        };
        let fall = if last.unpredicted {
            QP_FALL_MAX + 1
        } else {
            QP_FALL_MAX
        };
        last.qp.saturating_sub(fall).max(floor)
    }

    /// Bits at that quantiser, as far as is known.
    fn predict(&self, content: &Content, idr: bool, qp: u8) -> f32 {
        let unpredicted = if idr { 1.0 } else { content.unpredicted };
        let scale = mix(self.predicted.scale, self.unpredicted.scale, unpredicted);
        let model = self.steady(content, idr, qp) * scale.exp2()
            + self.finer(content, idr, qp) * self.finer.scale.exp2();
        match self.last {
            // The size of the picture before says more than a count of coefficients.
            Some(last) if last.compares(content.damaged, unpredicted) && qp < last.qp => {
                let more = (self.steady(content, idr, last.qp) / last.steady).clamp(0.5, 4.0);
                let fall = steps(last.qp, qp) * (self.fall_slope + noise_slope(qp));
                let margin = if last.bits > 0.8 * self.share {
                    FALL_MARGIN
                } else {
                    1.0
                };
                model.max(last.bits * more * fall.exp2()) * margin
            }
            _ => model,
        }
    }

    /// Learns the factors between model and truth, each from pictures that show it.
    fn learn_scales(&mut self, planned: Planned, bits: f32) {
        let error = (bits / planned.bits.max(1.0)).log2();
        if planned.unpredicted > 0.5 {
            self.unpredicted.learn(bits / planned.steady, 0.3);
            self.unpredicted.miss(error);
            // The scene is new: what was learned about the old one's motion may not hold.
            self.predicted.spread = self.predicted.spread.max(0.2);
            return;
        }
        // Nobody is hurt by a wrong guess at next to nothing.
        if bits.max(planned.bits) > 0.05 * self.share {
            self.predicted.miss(error);
        }
        let steady = planned.steady * self.predicted.scale.exp2();
        let finer = planned.finer * self.finer.scale.exp2();
        if finer > 0.3 * (steady + finer) {
            self.finer
                .learn((bits - steady).max(0.1 * bits) / planned.finer, 0.5);
        } else if planned.damaged > 0.0 {
            self.predicted
                .learn((bits - finer).max(0.5 * bits) / planned.steady, 0.5);
        }
    }

    /// Learns what a falling quantiser costs: quickly that it is much, slowly that it is not.
    fn learn_slope(&mut self, planned: Planned, bits: f32) {
        self.fall_slope += (FALL_SLOPE - self.fall_slope) * 0.02;
        let Some(last) = self.last else { return };
        if planned.unpredicted > 0.5 {
            self.fall_slope = self.fall_slope.max(FALL_SLOPE_NEW);
        } else if planned.qp < last.qp && last.compares(planned.damaged, planned.unpredicted) {
            let more = (planned.steady / last.steady).clamp(0.5, 4.0);
            let slope = (bits / (last.bits * more)).log2() / steps(last.qp, planned.qp)
                - noise_slope(planned.qp);
            let pace = if slope > self.fall_slope { 0.6 } else { 0.15 };
            self.fall_slope += (slope.clamp(0.15, 1.5) - self.fall_slope) * pace;
        }
    }

    /// Bits of a picture that is no finer than its reference, before what was learned; see the
    /// module's text.
    fn steady(&self, content: &Content, idr: bool, qp: u8) -> f32 {
        if idr {
            return 4.0 * self.texture.at(qp) + 10.0 * self.macroblocks;
        }
        let (unpredicted, damaged) = (content.unpredicted, content.damaged);
        let moving = if damaged > 0.0 {
            content.texture.at(qp)
        } else {
            0.0
        };
        let bits = 4.0 * content.residual.at(qp)
            + 0.4 * moving * (1.0 - unpredicted)
            + self.macroblocks * damaged * (1.5 + 11.0 * unpredicted);
        bits.max(SKIPPED * self.macroblocks)
    }

    /// Bits on top of that for being finer than the reference.
    fn finer(&self, content: &Content, idr: bool, qp: u8) -> f32 {
        if idr {
            return 0.0;
        }
        let finer = (self.texture.at(qp) - self.texture.between(self.reference_qp)).max(0.0);
        2.0 * finer * (1.0 - content.unpredicted * content.damaged)
    }
}

impl Class {
    /// `factor` between model and truth would have been right.
    fn learn(&mut self, factor: f32, pace: f32) {
        self.scale = (self.scale + (factor.log2() - self.scale) * pace).clamp(-3.0, 3.0);
    }

    /// A prediction was wrong by `error`, log2.
    fn miss(&mut self, error: f32) {
        // Only pictures that came out larger than predicted are a danger; the others count half.
        let error = if error > 0.0 { error } else { -error / 2.0 };
        self.spread += (error.min(1.0) - self.spread) * 0.15;
    }
}

/// What is added to the slope at quantisers that begin to code noise, where a step can double a
/// picture and nobody sees what it bought.
fn noise_slope(qp: u8) -> f32 {
    f32::from(NOISE_QP.saturating_sub(qp)) * 0.1
}

/// How far the quantiser falls, in sixths of a doubling of the quantisation step.
fn steps(from: u8, to: u8) -> f32 {
    6.0 * (step(from) / step(to)).log2()
}

fn mix(a: f32, b: f32, share_of_b: f32) -> f32 {
    a + (b - a) * share_of_b
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;
