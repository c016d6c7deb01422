//! The size of x264's pictures over hard cuts, one every second. Sizes and ratios only: the same
//! on every machine.
#![cfg(feature = "x264")]

mod content;

use content::{Collector, Film, frame};
use gpu::encode::rate::QP_REFINED;
use gpu::encode::x264::X264Encoder;
use gpu::encode::{Encoder, EncoderConfig, PictureKind};
use gpu::frame::{Frame, MemorySurface, PixelFormat, Rect, Size};
use net::units::{BitsPerSecond, FrameId, Mode, SliceCount};

struct Stream {
    encoder: X264Encoder,
    share: f64,
    id: u32,
}

impl Stream {
    fn open(size: Size, hz: u32, mbps: u64) -> Self {
        let config = EncoderConfig {
            mode: Mode::new(size.width.into(), size.height.into(), hz * 1000).expect("valid"),
            bitrate: BitsPerSecond::from_kbps(mbps * 1000),
            slices: SliceCount::new(8).expect("valid"),
            threads: 1,
        };
        let share = config.bitrate.bytes_per_frame(config.mode.refresh()) as f64;
        Self {
            encoder: X264Encoder::open(&config).expect("opens"),
            share,
            id: 0,
        }
    }

    /// Size in shares of the bitrate, and quantiser.
    fn encode(&mut self, frame: &Frame, kind: PictureKind) -> (f64, f32) {
        let mut sink = Collector::default();
        let id = FrameId(self.id);
        let encoded = self
            .encoder
            .encode(frame, id, kind, &mut sink)
            .expect("encodes");
        self.id += 1;
        (encoded.bytes as f64 / self.share, encoded.qp)
    }
}

/// Largest and mean size of the pictures after the first, in shares.
fn over_cuts(size: Size, hz: u32, mbps: u64, seconds: u32, seed: u64) -> (f64, f64) {
    let mut stream = Stream::open(size, hz, mbps);
    let mut film = Film::new(size, hz, seed);
    let (mut largest, mut sum) = (0f64, 0.0);
    for _ in 0..seconds * hz {
        let (shares, _) = stream.encode(&film.next().0, PictureKind::Delta);
        largest = largest.max(shares);
        sum += shares;
    }
    (largest, sum / f64::from(seconds * hz))
}

#[test]
fn cuts_at_720p60_and_10_mbit_stay_within_one_and_a_half_shares() {
    let (largest, fill) = over_cuts(
        Size {
            width: 1280,
            height: 720,
        },
        60,
        10,
        5,
        200,
    );
    assert!(
        largest <= 1.5,
        "the largest picture took {largest:.2} shares"
    );
    assert!(fill >= 0.85, "only {fill:.3} of the bitrate was used");
}

#[test]
fn cuts_at_1080p30_and_20_mbit_stay_within_one_and_a_half_shares() {
    let (largest, fill) = over_cuts(
        Size {
            width: 1920,
            height: 1080,
        },
        30,
        20,
        5,
        50,
    );
    assert!(
        largest <= 1.5,
        "the largest picture took {largest:.2} shares"
    );
    assert!(fill >= 0.85, "only {fill:.3} of the bitrate was used");
}

#[test]
fn an_idr_stays_within_its_bound() {
    let size = Size {
        width: 1280,
        height: 720,
    };
    let mut stream = Stream::open(size, 60, 10);
    let mut film = Film::new(size, 1000, 5);
    for id in 0..120 {
        let idr = id % 40 == 39;
        let kind = if idr {
            PictureKind::Idr
        } else {
            PictureKind::Delta
        };
        let (shares, _) = stream.encode(&film.next().0, kind);
        assert!(shares <= 1.6, "picture {id} took {shares:.2} shares");
    }
}

#[test]
fn a_still_picture_is_refined_and_then_costs_almost_nothing() {
    let size = Size {
        width: 1280,
        height: 720,
    };
    let mut stream = Stream::open(size, 60, 10);
    let (first, _) = Film::new(size, 60, 6).next();
    let (_, coarse) = stream.encode(&first, PictureKind::Delta);
    let still = Frame {
        damage: Rect {
            width: 0,
            ..Rect::whole(size)
        },
        ..first
    };
    let mut last = coarse;
    let mut pictures = 0;
    while last > f32::from(QP_REFINED) {
        let (shares, qp) = stream.encode(&still, PictureKind::Delta);
        // Nothing else is under way then, so a step may take more than a moving picture.
        assert!(
            qp <= last && shares <= 2.5,
            "{shares:.2} shares at {qp} after {last}"
        );
        last = qp;
        pictures += 1;
        assert!(pictures < 60, "still at {qp} after a second");
    }
    let (shares, qp) = stream.encode(&still, PictureKind::Delta);
    assert!(shares < 0.2 && qp == last, "{shares:.2} at {qp}");
}

#[test]
fn a_black_picture_and_its_end_do_no_harm() {
    let size = Size {
        width: 1280,
        height: 720,
    };
    let mut stream = Stream::open(size, 60, 10);
    let mut film = Film::new(size, 1000, 7);
    for id in 0..60 {
        let black = (20..40).contains(&id);
        let next = if black {
            frame(
                MemorySurface::new(size, PixelFormat::Bgrx),
                Rect::whole(size),
            )
        } else {
            film.next().0
        };
        let (shares, _) = stream.encode(&next, PictureKind::Delta);
        assert!(shares <= 1.6, "picture {id} took {shares:.2} shares");
    }
}
