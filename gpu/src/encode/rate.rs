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
//! P:   s · (4 R(q) + D(q) (1 − u) + 2.5 M d (1 − u))  +  i · (4 F(q) + 13.5 M d u)
//!      + f · 2 [T(q) − T(q_ref)]⁺ (1 − u d)
//! IDR: i · (4 T(q) + 10 M)
//! ```
//!
//! R counts the coefficients of what prediction leaves inside the damage, D those of the texture
//! there, which moving by parts of a pixel costs, F those of the texture that nothing predicts, T
//! those of the whole picture's texture. The last term is the price of quality: a picture coded
//! more finely than its reference codes the difference between the two, everywhere; it is what
//! makes the pictures after a cut large. The constants were fitted to x264's ultrafast pictures
//! at many quantisers, of cuts and gaps in synthetic games, desktops, pages and noise, and then
//! rounded. Error of the fit where more than 0.4 is unpredicted, as a power of two: 0.30 in the
//! mean square and 1.15 at worst; counting coefficients alone it was 0.53 and 1.7.
//!
//! s and i are learned from the sizes that came out, in the logarithm: i from cuts and IDR alone,
//! never below 1, s from all others, where it stands for i as well.
//! f is learned from pictures in which the quantiser fell. From one moving picture to the next a
//! falling quantiser is also held against the size of the picture before and a learned slope, and
//! the larger of both predictions counts: a step too far costs more than one too few.
//!
//! The spread of the error is learned as well, and the aim is lowered by it, so that a bad guess
//! still stays near [`LARGEST_SHARES`] of the picture's share of the bitrate.
//!
//! # Falls
//! What a falling quantiser costs depends on where it falls. At 33 or so and above grain is about
//! to be coded: it survives all at once, a step makes a picture 1.5 times as large, at worst 2, and
//! the model's coefficients hardly tell which picture it will be. At 30 and below the grain is
//! coded already and a step is what was learned about it. So each fall is aimed for with a
//! `Caution` between two, `COARSE` and `FINE`, mixed over `GRAIN_QP`.
//!
//! There are two aims. A fall by several steps stays below `Caution::several_max`. A fall by one
//! step may come to [`LARGEST_SHARES`] with the error seen in such falls, but never to more than
//! `Caution::known_max`, and is always allowed `FALL_MAX`. After `CALM_PICTURES` without a
//! surprise all is calm: such a fall may then be aimed for up to `CALM_FALL_MAX` whatever the
//! quantiser, and what made falls look dear is slowly forgotten, so that another is tried.
//!
//! # Surprise
//! A picture that is predicted much less than those before it (a cut, or what moved on while
//! pictures could not be captured) is one about which nothing is learned yet. It aims low, at
//! `SURPRISE_MAX`, and so that a quantiser one finer than it takes would still stay below
//! [`LARGEST_SHARES`]: where a step nearly doubles a picture, a small error of the counts is a
//! large one of the size.
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

use net::units::{BitsPerSecond, Mode, Timestamp};

use analysis::step;
pub use analysis::{Analyser, Content, Spectrum};

/// Largest picture that is aimed for with all known error added, in shares of the bitrate. The
/// pacer's and the client's buffers are laid out for 1.5.
pub const LARGEST_SHARES: f32 = 1.4;
/// How much coarser than a moving picture it is repeated for a client that lost it: what the repeat
/// refers to is several pictures older.
const REPEAT_COARSER: u8 = 3;
/// Finest quantiser that a still picture is refined to.
pub const QP_REFINED: u8 = 20;
/// How far the quantiser may fall from one picture to the next: the steps after a cut are
/// predictions from little knowledge, and quality that comes in three pictures is not missed.
pub const QP_FALL_MAX: u8 = 4;

/// Share of a debt that each picture pays back.
const PAYBACK: f32 = 0.25;
/// log2 of how much larger a picture gets for each step that the quantiser falls, until seen.
const FALL_SLOPE: f32 = 0.45;
/// The most that is believed of it.
const FALL_SLOPE_MAX: f32 = 1.5;
/// How quickly it is learned that it is more, and that it is less, and forgotten.
const DEARER_PACE: f32 = 0.6;
const CHEAPER_PACE: f32 = 0.15;
const FALL_SLOPE_FORGOTTEN: f32 = 0.02;
/// How much cheaper and dearer than the picture before the next one may be by the model, factors.
const CHEAPER_MIN: f32 = 0.5;
const DEARER_MAX: f32 = 4.0;
/// Share that is nearly used, so that little is to be won by a finer quantiser.
const NEARLY_FULL: f32 = 0.8;
/// Bits of a macroblock that is skipped.
const SKIPPED: f32 = 0.25;
/// What may be aimed for in any case where the quantiser falls by one step, in shares.
const FALL_MAX: f32 = 1.12;
/// After so many pictures without a surprise all is calm: what was learned about falls is slowly
/// forgotten, and a fall by one step may be aimed for up to so many shares.
const CALM_PICTURES: u32 = 60;
const CALM_FALL_MAX: f32 = 1.25;
/// Quantisers between which grain passes from coded to gone, and the caution with falls from
/// [`FINE`] to [`COARSE`].
const GRAIN_QP: RangeInclusive<f32> = 30.0..=33.0;
/// What is believed of a falling quantiser's error before any was seen, log2, and what is left of
/// it after each calm picture without one, so that another is tried.
const FALL_SPREAD: f32 = 0.3;
const FALL_SPREAD_KEPT: f32 = 0.95;
/// How quickly that error is learned to be more, and less.
const SPREAD_RISE: f32 = 0.5;
const SPREAD_FALL: f32 = 0.1;
/// Share below which a calm picture makes the price of quality look lower, by how much, log2, and
/// the least that it comes to: unless it is tried now and then, nothing is learned about it.
const CALM_BITS: f32 = 0.85;
const CALM_FORGETS: f32 = 0.03;
const CALM_FINER_MIN: f32 = -0.7;
/// How much larger than the one before a late picture is taken to be that is no cut.
const LATE_MORE: f32 = 1.1;
/// Novelty of a scene that has settled: its quantiser falls by one step at a time.
const SETTLED: f32 = 0.3;
/// The most that is aimed for with a complete surprise, in shares. The coarser start of a scene
/// is gone three pictures later.
const SURPRISE_MAX: f32 = 0.9;
/// How much more of a picture must be unpredicted than usual to be a complete surprise, and how
/// quickly the usual follows.
const SURPRISE_RISE: f32 = 0.25;
const USUAL_RISE: f32 = 0.4;
const USUAL_FALL: f32 = 0.1;
/// From how many usual pauses on a picture counts as late, and how many more make it a complete
/// surprise: where a moving picture skips one or more, motion is further than can be searched.
const LATE_FROM: f32 = 1.3;
const LATE_RISE: f32 = 0.5;
/// How quickly the usual pause follows, and the longest that counts, seconds.
const PAUSE_PACE: f32 = 0.1;
const PAUSE_MAX: f32 = 0.1;
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
    /// Share of the whole picture that is usually unpredicted.
    usual: f32,
    /// 1 in a surprise, less and less after it: how quickly factors may fall.
    novelty: f32,
    /// When the picture before was captured, and the usual time between two, seconds.
    captured: Timestamp,
    pause: f32,
    /// How late the planned picture is, 0 to 1.
    late: f32,
    /// The whole picture's texture, pieced together from what was damaged.
    texture: Spectrum,
    /// Quantiser of what the next picture refers to, a mean over the picture.
    reference_qp: f32,
    /// The picture before.
    last: Option<Last>,
    /// log2 of how much larger a picture gets for each step that the quantiser falls.
    fall_slope: f32,
    /// How much more than predicted the worst pictures with a falling quantiser took, log2.
    fall_spread: f32,
    /// Pictures since the last surprise.
    calm_pictures: u32,
    planned: Option<Planned>,
}

/// What is learned about a class of pictures.
#[derive(Clone, Copy, Debug)]
struct Class {
    /// log2 of the factor between the model and the truth.
    scale: f32,
    /// How much larger than predicted the worst of the last pictures were, log2: rises fast,
    /// falls slowly.
    spread: f32,
}

/// How much caution a falling quantiser needs, which depends on how low it is already; see the
/// module's text.
#[derive(Clone, Copy, Debug)]
struct Caution {
    /// The least growth a step that is believed, log2, and the least in a new scene.
    slope_min: f32,
    slope_new: f32,
    /// The most that is aimed for where the quantiser falls by several steps, in shares.
    several_max: f32,
    /// The same for one step while scenes change, where such falls came out as predicted.
    known_max: f32,
    /// Share from which on the quantiser of a settled scene falls by one step at a time.
    settled_bits: f32,
    /// How much cheaper than the picture before the model may call the next one, a factor.
    cheaper_min: f32,
    /// Factor of safety where [`NEARLY_FULL`] of the share is used already.
    margin: f32,
}

/// Grain is coded already: a step adds to coefficients that are there.
const FINE: Caution = Caution {
    slope_min: 0.3,
    slope_new: 0.5,
    several_max: 1.0,
    known_max: 1.22,
    settled_bits: 0.7,
    cheaper_min: CHEAPER_MIN,
    margin: 1.0,
};
/// Grain is about to be coded: of over 700 falls in games with cuts the worst took 1.45 times
/// what was predicted, and the largest were those of several steps.
const COARSE: Caution = Caution {
    slope_min: 0.45,
    slope_new: 0.55,
    several_max: 0.97,
    known_max: FALL_MAX,
    settled_bits: 0.55,
    cheaper_min: 0.8,
    margin: 1.05,
};

impl Caution {
    /// Where the quantiser falls to `qp`.
    fn at(qp: u8) -> Self {
        let (fine, coarse) = (*GRAIN_QP.start(), *GRAIN_QP.end());
        let share = ((f32::from(qp) - fine) / (coarse - fine)).clamp(0.0, 1.0);
        let between = |value: fn(Self) -> f32| mix(value(FINE), value(COARSE), share);
        Self {
            slope_min: between(|caution| caution.slope_min),
            slope_new: between(|caution| caution.slope_new),
            several_max: between(|caution| caution.several_max),
            known_max: between(|caution| caution.known_max),
            settled_bits: between(|caution| caution.settled_bits),
            cheaper_min: between(|caution| caution.cheaper_min),
            margin: between(|caution| caution.margin),
        }
    }
}

/// The picture between `plan` and `encoded`.
#[derive(Clone, Copy, Debug)]
struct Planned {
    qp: u8,
    model: Model,
    /// Bits that were predicted.
    bits: f32,
    /// How little of it was to be expected, 0 to 1.
    surprise: f32,
    damaged: f32,
}

/// Bits of a picture by the model, before learned factors; see the module's text.
#[derive(Clone, Copy, Debug)]
struct Model {
    /// Of what is predicted, had its reference been coded at the same quantiser.
    predicted: f32,
    /// Of what is not.
    fresh: f32,
    /// For being finer than the reference.
    finer: f32,
}

impl Model {
    /// Had its reference been coded at the same quantiser.
    fn steady(&self) -> f32 {
        self.predicted + self.fresh
    }
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
    fn compares(&self, damaged: f32, surprise: f32) -> bool {
        !self.unpredicted && surprise <= 0.5 && self.damaged > 0.0 && damaged > 0.0
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
            usual: 0.0,
            novelty: 0.0,
            captured: Timestamp::ZERO,
            pause: 0.0,
            late: 0.0,
            texture: Spectrum::EMPTY,
            reference_qp: 51.0,
            last: None,
            fall_slope: FALL_SLOPE,
            fall_spread: FALL_SPREAD,
            calm_pictures: 0,
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

    /// The quantiser for a picture of that content, captured at that time.
    pub fn plan(&mut self, content: &Content, idr: bool, captured: Timestamp) -> u8 {
        self.look_at_time(captured);
        self.texture = if content.damaged > 0.5 || content.damaged == 0.0 {
            content.texture
        } else {
            self.texture.blend(&content.texture, 1.0 - content.damaged)
        };
        let surprise = self.surprise(content, idr);
        let spread = mix(self.predicted.spread, self.unpredicted.spread, surprise);
        let most = if idr { 0.0 } else { surprise };
        let aim = self.aim(spread, mix(LARGEST_SHARES, SURPRISE_MAX, most));
        let mut qp = *self.qp_range.end();
        let lowest = self.lowest(content, surprise);
        while qp > lowest && self.fits(content, idr, qp - 1, aim) {
            qp -= 1;
        }
        self.planned = Some(Planned {
            qp,
            model: self.model(content, idr, qp),
            bits: self.predict(content, idr, qp),
            surprise,
            damaged: content.damaged,
        });
        let unpredicted = content.unpredicted * content.damaged;
        let pace = if unpredicted > self.usual {
            USUAL_RISE
        } else {
            USUAL_FALL
        };
        self.usual += (unpredicted - self.usual) * pace;
        qp
    }

    /// In place of [`Self::plan`]: the moving picture before is encoded once more, referring to an
    /// older one. Nothing is learned of it, as the model knows only what moved since the one before.
    /// `None` if that did not move, or there is none.
    pub fn plan_repeat(&mut self) -> Option<u8> {
        let last = self.last.filter(|last| last.damaged > 0.0)?;
        let qp = (last.qp + REPEAT_COARSER).min(*self.qp_range.end());
        self.planned = None;
        self.reference_qp = qp.into();
        Some(qp)
    }

    /// The planned picture took that many bytes.
    pub fn encoded(&mut self, bytes: usize) {
        let bits = bytes as f32 * 8.0;
        let Some(planned) = self.planned.take() else {
            // A repeat comes on top: no share is its own.
            self.owed = (self.owed + bits).min(OWED_MAX * self.share);
            return;
        };
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
        self.learn_calm(planned, bits);
        let (qp, steady) = (planned.qp, planned.model.steady());
        let unpredicted = planned.surprise > 0.5;
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
        let safe = self.share * LARGEST_SHARES * (-spread).exp2();
        wanted
            .max(self.share * AIM_MIN)
            .min(safe)
            .min(self.share * most)
    }

    /// Sees whether the picture comes later after the one before than usual.
    fn look_at_time(&mut self, captured: Timestamp) {
        let pause = captured.since(self.captured).as_secs_f32();
        self.captured = captured;
        self.late = if self.pause > 0.0 {
            ((pause / self.pause - LATE_FROM) / LATE_RISE).clamp(0.0, 1.0)
        } else {
            0.0
        };
        let pause = pause.min(PAUSE_MAX);
        self.pause += (pause - self.pause) * PAUSE_PACE;
    }

    /// How much less is predicted of this picture than of those before, 0 to 1.
    fn surprise(&self, content: &Content, idr: bool) -> f32 {
        if idr {
            return 1.0;
        }
        self.rise(content).max(self.late).clamp(0.0, 1.0)
    }

    /// How much less is predicted of this picture than is usual: 1 is a complete surprise.
    fn rise(&self, content: &Content) -> f32 {
        (content.unpredicted * content.damaged - self.usual) / SURPRISE_RISE
    }

    /// Whether that quantiser keeps within `aim`, and after a surprise one finer within the bound.
    fn fits(&self, content: &Content, idr: bool, qp: u8, aim: f32) -> bool {
        let bound = self.share * LARGEST_SHARES;
        let falls = !idr && self.last.is_some_and(|last| qp < last.qp);
        let aim = if falls {
            aim.min(self.share * self.fall_max(qp))
        } else {
            aim
        };
        self.predict(content, idr, qp) <= aim
            && (idr
                || self.surprise(content, idr) < 0.5
                || self.predict(content, idr, qp.saturating_sub(1)) <= bound)
    }

    /// The most that is aimed for where the quantiser falls to `qp`, in shares.
    fn fall_max(&self, qp: u8) -> f32 {
        if self.last.is_none_or(|last| qp + 1 < last.qp) {
            return Caution::at(qp).several_max;
        }
        let most = if self.calm_pictures < CALM_PICTURES {
            Caution::at(qp).known_max
        } else {
            CALM_FALL_MAX
        };
        (LARGEST_SHARES * (-self.fall_spread).exp2()).clamp(FALL_MAX, most)
    }

    /// The lowest quantiser that may be taken whatever it would cost.
    fn lowest(&self, content: &Content, surprise: f32) -> u8 {
        let floor = *self.qp_range.start();
        let Some(last) = self.last.filter(|_| surprise <= 0.5) else {
            return floor;
        };
        let floor = if content.damaged == 0.0 {
            QP_REFINED.min(last.qp)
        } else {
            floor
        };
        let settled_bits = Caution::at(last.qp).settled_bits;
        let fall = if last.unpredicted {
            QP_FALL_MAX + 1
        } else if self.novelty < SETTLED && last.bits > settled_bits * self.share {
            1
        } else {
            QP_FALL_MAX
        };
        last.qp.saturating_sub(fall).max(floor)
    }

    /// Bits at that quantiser, as far as is known.
    fn predict(&self, content: &Content, idr: bool, qp: u8) -> f32 {
        let surprise = self.surprise(content, idr);
        let parts = self.model(content, idr, qp);
        let bits = self.without_finer(&parts, surprise) + parts.finer * self.finer.scale.exp2();
        match self.last {
            // The size of the picture before says more than a count of coefficients.
            Some(last) if last.compares(content.damaged, surprise) && qp < last.qp => {
                let steady = self.model(content, idr, last.qp).steady();
                let caution = Caution::at(qp);
                let more = (steady / last.steady).clamp(caution.cheaper_min, DEARER_MAX);
                let fall = steps(last.qp, qp) * self.fall_slope.max(caution.slope_min);
                let margin = if last.bits > NEARLY_FULL * self.share {
                    caution.margin
                } else {
                    1.0
                };
                bits.max(last.bits * more * fall.exp2()) * margin
            }
            Some(last) if qp <= last.qp && self.only_late(content, last) => {
                let fall = steps(last.qp, qp) * self.fall_slope;
                bits.max(last.bits * LATE_MORE * fall.exp2())
            }
            _ => bits,
        }
    }

    /// Whether a moving picture is late after one that says something about its size.
    fn only_late(&self, content: &Content, last: Last) -> bool {
        self.late > 0.0 && last.compares(content.damaged, self.rise(content))
    }

    /// Bits of all but what being finer costs. In a surprise the factor that was learned from
    /// other motion is not trusted to be a saving.
    fn without_finer(&self, model: &Model, surprise: f32) -> f32 {
        let usual = self.predicted.scale.exp2() * model.steady();
        let new = self.predicted.scale.max(0.0).exp2() * model.predicted
            + self.unpredicted.scale.exp2() * model.fresh;
        mix(usual, new, surprise)
    }

    /// Learns the factors between model and truth, each from pictures that show it.
    fn learn_scales(&mut self, planned: Planned, bits: f32) {
        let error = (bits / planned.bits.max(1.0)).log2();
        self.novelty *= 0.8;
        let model = planned.model;
        if planned.surprise > 0.5 {
            self.novelty = 1.0;
            // Scenes of several kinds may take turns: the dearest counts for longer.
            let pace = if error > 0.0 { 0.5 } else { 0.15 };
            if model.fresh > 0.7 * model.steady() {
                let scale = self.unpredicted.scale + error * pace;
                self.unpredicted.scale = scale.clamp(0.0, 1.5);
                self.unpredicted.miss(error);
            }
            // The scene is new: what was learned about the old one's motion may not hold.
            self.predicted.spread = self.predicted.spread.max(0.2);
            return;
        }
        // Nobody is hurt by a wrong guess at next to nothing.
        if bits.max(planned.bits) > 0.05 * self.share {
            self.predicted.miss(error);
        }
        let steady = self.without_finer(&model, planned.surprise);
        let finer = model.finer * self.finer.scale.exp2();
        if finer > 0.3 * (steady + finer) {
            let part = (bits - steady).max(0.1 * bits);
            self.finer.learn(part / model.finer, 0.5);
            if planned.damaged > 0.0 {
                // What it saved in one moving picture it costs in the next.
                self.finer.scale = self.finer.scale.max(0.0);
            }
        } else if planned.damaged > 0.0 {
            let error = (bits - finer).max(0.5 * bits) / steady;
            // Every other picture may be the dearer one: the factor stays near those.
            let pace = if error > 1.0 {
                0.5
            } else {
                mix(0.2, 0.4, self.novelty)
            };
            self.predicted
                .learn(error * self.predicted.scale.exp2(), pace);
        }
    }

    /// Learns what a falling quantiser costs: quickly that it is much, slowly that it is not.
    fn learn_slope(&mut self, planned: Planned, bits: f32) {
        self.fall_slope += (FALL_SLOPE - self.fall_slope) * FALL_SLOPE_FORGOTTEN;
        let Some(last) = self.last else { return };
        let caution = Caution::at(planned.qp);
        if planned.surprise > 0.5 {
            self.fall_slope = self.fall_slope.max(caution.slope_new);
        } else if planned.qp < last.qp && last.compares(planned.damaged, planned.surprise) {
            let more = (planned.model.steady() / last.steady).clamp(CHEAPER_MIN, DEARER_MAX);
            let slope = (bits / (last.bits * more)).log2() / steps(last.qp, planned.qp);
            let pace = if slope > self.fall_slope {
                DEARER_PACE
            } else {
                CHEAPER_PACE
            };
            self.fall_slope +=
                (slope.clamp(caution.slope_min, FALL_SLOPE_MAX) - self.fall_slope) * pace;
        }
    }

    /// Learns how far a falling quantiser's price is known, and forgets it where all is calm.
    fn learn_calm(&mut self, planned: Planned, bits: f32) {
        let Some(last) = self.last else { return };
        self.calm_pictures = if planned.surprise > 0.5 {
            0
        } else {
            self.calm_pictures.saturating_add(1)
        };
        if planned.qp < last.qp && last.compares(planned.damaged, planned.surprise) {
            let error = (bits.max(1.0) / planned.bits.max(1.0))
                .log2()
                .clamp(0.0, 1.0);
            let pace = if error > self.fall_spread {
                SPREAD_RISE
            } else {
                SPREAD_FALL
            };
            self.fall_spread += (error - self.fall_spread) * pace;
        } else if self.calm_pictures >= CALM_PICTURES {
            self.fall_spread *= FALL_SPREAD_KEPT;
            if bits < CALM_BITS * self.share && self.finer.scale > CALM_FINER_MIN {
                self.finer.scale = (self.finer.scale - CALM_FORGETS).max(CALM_FINER_MIN);
            }
        }
    }

    /// Bits at that quantiser before what was learned; see the module's text.
    fn model(&self, content: &Content, idr: bool, qp: u8) -> Model {
        let all = self.macroblocks;
        if idr {
            return Model {
                predicted: 0.0,
                fresh: 4.0 * self.texture.at(qp) + 10.0 * all,
                finer: 0.0,
            };
        }
        let (unpredicted, damaged) = (content.unpredicted, content.damaged);
        if damaged == 0.0 {
            return Model {
                predicted: SKIPPED * all,
                fresh: 0.0,
                finer: self.finer(content, qp),
            };
        }
        let predicted = 4.0 * content.residual.at(qp)
            + (content.texture.at(qp) + 2.5 * all * damaged) * (1.0 - unpredicted);
        Model {
            predicted: predicted.max(SKIPPED * all),
            fresh: 4.0 * content.fresh.at(qp) + 13.5 * all * damaged * unpredicted,
            finer: self.finer(content, qp),
        }
    }

    /// Bits on top for being finer than the reference.
    fn finer(&self, content: &Content, qp: u8) -> f32 {
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
        let pace = if error > self.spread { 0.3 } else { 0.1 };
        self.spread += (error.min(1.0) - self.spread) * pace;
    }
}

/// How far the quantiser falls: the mean of its own difference and of the quantisation step's, in
/// sixths of a doubling. The steps are uneven (33 to 32 is 8 %, 32 to 31 is 18 %), yet pictures
/// grew alike, by 0.5 to 0.7 in log2: the encoder's price of a bit follows the quantiser.
fn steps(from: u8, to: u8) -> f32 {
    let even = f32::from(from) - f32::from(to);
    (even + 6.0 * (step(from) / step(to)).log2()) / 2.0
}

fn mix(a: f32, b: f32, share_of_b: f32) -> f32 {
    a + (b - a) * share_of_b
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;
