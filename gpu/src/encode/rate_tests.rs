use proptest::prelude::*;

use super::analysis::QP_COUNT;
use super::*;

const SHARE: f32 = 166_664.0;

fn controller() -> RateController {
    let mode = Mode::new(1280, 720, 60_000).expect("valid");
    RateController::new(mode, BitsPerSecond::from_kbps(10_000), 11..=51)
}

/// A spectrum like those of real pictures: each step of the quantiser halves or so what is left.
fn spectrum(coefficients: f32) -> Spectrum {
    let mut counts = [0; QP_COUNT];
    for (qp, count) in (0u8..).zip(&mut counts) {
        *count = (coefficients * (-f32::from(qp) / 5.0).exp2()) as u32;
    }
    Spectrum::from_counts(&counts, 1.0)
}

fn content(texture: f32, residual: f32, unpredicted: f32) -> Content {
    Content {
        residual: spectrum(texture * residual * (1.0 - unpredicted)),
        fresh: spectrum(texture * unpredicted),
        texture: spectrum(texture),
        damaged: 1.0,
        unpredicted,
    }
}

/// An encoder whose pictures follow the model but for a factor of their own and some noise.
struct Simulated {
    controller: RateController,
    reference_qp: u8,
    noise: u32,
}

impl Simulated {
    fn new(seed: u32) -> Self {
        Self {
            controller: controller(),
            reference_qp: 51,
            noise: seed | 1,
        }
    }

    /// Shares of the bitrate that the picture took.
    fn encode(&mut self, content: &Content, factor: f32) -> f32 {
        let qp = self.controller.plan(content, false, Timestamp::ZERO);
        self.noise = self
            .noise
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        let noise = 0.9 + 0.2 * (self.noise >> 8) as f32 / (1 << 24) as f32;
        let (u, m) = (content.unpredicted, 3600.0);
        let finer = content.texture.at(qp) - content.texture.at(self.reference_qp);
        let bits = 4.0 * content.residual.at(qp)
            + 4.0 * content.fresh.at(qp)
            + 0.4 * content.texture.at(qp) * (1.0 - u)
            + 2.0 * finer.max(0.0) * (1.0 - u)
            + m * (1.5 + 11.0 * u);
        self.reference_qp = qp;
        let bits = bits * factor * noise;
        self.controller.encoded((bits / 8.0) as usize);
        bits / SHARE
    }
}

#[test]
fn a_steady_scene_fills_the_bitrate() {
    for (texture, factor) in [(4e6, 1.0), (1e7, 0.6), (3e6, 1.8), (2e7, 1.2)] {
        let mut encoder = Simulated::new(1);
        encoder.encode(&content(texture, 1.0, 1.0), factor);
        let moving = content(texture, 0.1, 0.0);
        let sizes: Vec<f32> = (0..240).map(|_| encoder.encode(&moving, factor)).collect();
        let fill = sizes[60..].iter().sum::<f32>() / 180.0;
        assert!(
            (0.85..1.05).contains(&fill),
            "{fill:.2} of the bitrate at factor {factor}"
        );
        assert!(sizes.iter().all(|&size| size <= 1.5), "{sizes:.2?}");
    }
}

#[test]
fn what_was_taken_too_much_is_paid_back() {
    let mut controller = controller();
    let scene = content(8e6, 0.1, 0.0);
    controller.plan(&scene, true, Timestamp::ZERO);
    controller.encoded(2 * SHARE as usize / 8);
    let in_debt = controller.aim(0.0, LARGEST_SHARES);
    assert!(in_debt < 0.8 * SHARE, "{in_debt}");
    for _ in 0..200 {
        controller.plan(&scene, false, Timestamp::ZERO);
        controller.encoded(0);
    }
    let rich = controller.aim(0.0, LARGEST_SHARES);
    assert!(rich <= (1.0 + EXTRA_MAX) * SHARE + 1.0, "{rich}");
}

#[test]
fn the_share_follows_the_bitrate() {
    let mut controller = controller();
    assert!((controller.share_bits() - SHARE).abs() < 8.0);
    controller.set_bitrate(BitsPerSecond::from_kbps(5_000));
    assert!((controller.share_bits() - SHARE / 2.0).abs() < 8.0);
}

proptest! {
    /// Scenes of any kind that fit at quantiser 51, cut at any time: once it has seen a cut,
    /// none bursts the bound.
    #[test]
    fn cuts_stay_bounded(
        scenes in prop::collection::vec((5e5f32..3e6, 0.02f32..0.4, 5usize..60), 2..8),
        factor in 0.7f32..1.4,
        seed: u32,
    ) {
        let mut encoder = Simulated::new(seed);
        for (place, (texture, residual, length)) in scenes.into_iter().enumerate() {
            let cut = encoder.encode(&content(texture, 1.0, 1.0), factor);
            let bound = if place == 0 { 1.8 } else { 1.5 };
            prop_assert!(cut <= bound, "cut {place} took {cut:.2} shares");
            for _ in 0..length {
                let size = encoder.encode(&content(texture, residual, 0.0), factor);
                prop_assert!(size <= 1.8, "{size:.2} shares after a cut");
            }
        }
    }

    /// Whatever an encoder returns, the quantiser stays in its range.
    #[test]
    fn the_quantiser_stays_in_range(
        pictures in prop::collection::vec(
            (0f32..1e8, 0f32..2.0, 0f32..=1.0, 0f32..=1.0, any::<bool>(), 0usize..10_000_000),
            1..80,
        ),
    ) {
        let mut controller = controller();
        for (texture, residual, unpredicted, damaged, idr, bytes) in pictures {
            let content = Content { damaged, ..content(texture, residual, unpredicted) };
            let qp = controller.plan(&content, idr, Timestamp::ZERO);
            prop_assert!((11..=51).contains(&qp));
            controller.encoded(bytes);
        }
    }
}

#[test]
fn a_repeat_is_coarser_comes_on_top_and_teaches_nothing() {
    let moving = content(60_000.0, 0.3, 0.1);
    let mut simulated = Simulated::new(3);
    assert_eq!(simulated.controller.plan_repeat(), None, "there is none");
    for _ in 0..60 {
        simulated.encode(&moving, 1.0);
    }
    let controller = &mut simulated.controller;
    let before = controller.plan(&moving, false, Timestamp::ZERO);
    controller.encoded(SHARE as usize / 8);
    let (scale, owed) = (controller.predicted.scale, controller.owed);
    assert_eq!(controller.plan_repeat(), Some(before + REPEAT_COARSER));
    controller.encoded(SHARE as usize / 4);
    assert_eq!(controller.predicted.scale, scale);
    assert!((controller.owed - owed - 2.0 * SHARE).abs() < SHARE / 100.0);
}
