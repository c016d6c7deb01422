//! The size of x264's pictures of the test card's own games, with a hard cut every second, as the
//! gate streams them: from several starts, and with pictures that were never captured. Sizes and
//! ratios only: the same on every machine.
#![cfg(feature = "x264")]

use std::sync::Arc;

use bench::picture::{Content, Look, Painter, SCENES};
use gpu::encode::x264::X264Encoder;
use gpu::encode::{Encoder, EncoderConfig, PictureKind, SliceInfo, SliceSink};
use gpu::frame::{Frame, MemorySurface, PixelFormat, Rect, Size};
use net::units::{BitsPerSecond, FrameId, Mode, SliceCount, Timestamp};

const SIZE: Size = Size {
    width: 1280,
    height: 720,
};
const HZ: u32 = 60;
/// Pictures of each film: every cut between two scenes comes at least twice.
const PICTURES: u32 = 12 * HZ;

#[derive(Default)]
struct Discard(Vec<u8>);

impl SliceSink for Discard {
    fn reserve(&mut self, _: usize, bytes: usize) -> Option<&mut [u8]> {
        self.0.resize(self.0.len().max(bytes), 0);
        Some(&mut self.0)
    }

    fn finish(&mut self, _: usize, _: SliceInfo) {}
}

/// What became of a film, in shares of the bitrate.
#[derive(Debug, Default)]
struct Sizes {
    largest: f64,
    largest_cut: f64,
    fill: f64,
}

/// Encodes from picture `start` on; in one of `skip` steps (0: never) pictures are missing.
fn encode(painters: &mut [Painter], start: u32, skip: u32) -> Sizes {
    let config = EncoderConfig {
        mode: Mode::new(SIZE.width.into(), SIZE.height.into(), HZ * 1000).expect("valid"),
        bitrate: BitsPerSecond::from_kbps(10_000),
        slices: SliceCount::new(8).expect("valid"),
        threads: 1,
    };
    let share = config.bitrate.bytes_per_frame(config.mode.refresh()) as f64;
    let mut encoder = X264Encoder::open(&config).expect("opens");
    let mut sizes = Sizes::default();
    let mut sink = Discard::default();
    let (mut number, mut scene) = (start, None);
    for id in 0..PICTURES {
        let missing = skip > 0 && (id * 7919).is_multiple_of(skip);
        number += if missing { 2 + id % 3 } else { 1 };
        let look = Look::at(Content::Game, number, HZ);
        let mut surface = MemorySurface::new(SIZE, PixelFormat::Bgrx);
        let stride = surface.stride();
        let painter = &mut painters[look.scene as usize];
        let time = Timestamp::from_ns(u64::from(number) * 1_000_000_000 / u64::from(HZ));
        painter.paint(surface.bytes_mut(), stride, number, None);
        painter.stamp(surface.bytes_mut(), stride, number, time);
        let frame = Frame {
            surface: Arc::new(surface),
            damage: Rect::whole(SIZE),
            captured: time,
        };
        let encoded = encoder
            .encode(&frame, FrameId(id), PictureKind::Delta, &mut sink)
            .expect("encodes");
        let shares = encoded.bytes as f64 / share;
        sizes.largest = sizes.largest.max(shares);
        if scene != Some(look.scene) {
            sizes.largest_cut = sizes.largest_cut.max(shares);
        }
        scene = Some(look.scene);
        sizes.fill += shares / f64::from(PICTURES);
    }
    sizes
}

#[test]
fn games_with_cuts_stay_within_one_and_a_half_shares() {
    let look = |scene| Look {
        content: Content::Game,
        scene,
    };
    let mut painters: Vec<_> = (0..SCENES)
        .map(|scene| Painter::new(look(scene), SIZE))
        .collect();
    for (start, skip) in [
        (0, 0),
        (35, 0),
        (5_000, 7),
        (12_345, 30),
        (77, 0),
        (4321, 60),
        (99_991, 0),
        (777_777, 3),
    ] {
        let sizes = encode(&mut painters, start, skip);
        println!("from {start}, missing one in {skip}: {sizes:.3?}");
        assert!(
            sizes.largest <= 1.5 && sizes.largest_cut <= 1.3 && sizes.fill >= 0.85,
            "from {start}, missing one in {skip}: {sizes:.3?}"
        );
    }
}
