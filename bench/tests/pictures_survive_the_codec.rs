//! Drawn pictures go through every encoder of this build and a decoder: each marker is read
//! back, even at the coarsest quantiser, and decoded pixels are recognised as the drawn ones.

use std::sync::Arc;

use bench::marker;
use bench::picture::{Content, Look, Painter};
use bench::verify::{PSNR_DB_MIN, Verifier};
use gpu::decode::Decoder as _;
use gpu::decode::openh264::OpenH264Decoder;
use gpu::encode::{Encoder, EncoderConfig, PictureKind, SliceInfo, SliceSink, candidates};
use gpu::frame::{Frame, MemorySurface, PixelFormat, Rect, Size};
use net::limits::BITRATE_MIN;
use net::units::{BitsPerSecond, FrameId, Mode, SliceCount, Timestamp};

const SIZE: Size = Size {
    width: 640,
    height: 360,
};
const PICTURES: u32 = 20;

/// One access unit, slice after slice.
#[derive(Default)]
struct AccessUnit {
    bytes: Vec<u8>,
    used: usize,
}

impl SliceSink for AccessUnit {
    fn reserve(&mut self, filled: usize, bytes: usize) -> Option<&mut [u8]> {
        assert!(filled <= bytes);
        self.bytes
            .resize(self.bytes.len().max(self.used + bytes), 0);
        Some(&mut self.bytes[self.used..])
    }

    fn finish(&mut self, bytes: usize, _: SliceInfo) {
        self.used += bytes;
    }
}

fn open(kind: &gpu::encode::EncoderKind, bitrate: BitsPerSecond) -> Box<dyn Encoder> {
    let config = EncoderConfig {
        mode: Mode::new(640, 360, 60_000).expect("a valid mode"),
        bitrate,
        slices: SliceCount::new(4).expect("a valid count"),
        threads: 1,
    };
    (kind.open)(&config).expect("the encoder opens")
}

/// Sends pictures of `content` through the codec; the lowest PSNR of all of them, dB.
fn psnr_db_least(kind: &gpu::encode::EncoderKind, content: Content, bitrate: BitsPerSecond) -> f64 {
    let mut painter = Painter::new(Look { content, scene: 0 }, SIZE);
    let mut encoder = open(kind, bitrate);
    let mut decoder = OpenH264Decoder::open().expect("the decoder opens");
    let mut verifier = Verifier::default();
    let mut least = f64::MAX;
    for number in 0..PICTURES {
        let drawn = Timestamp::from_ns(7_000_000_000 + u64::from(number) * 16_667_000);
        let mut surface = MemorySurface::new(SIZE, PixelFormat::Bgrx);
        let stride = surface.stride();
        painter.paint(surface.bytes_mut(), stride, number, None);
        painter.stamp(surface.bytes_mut(), stride, number, drawn);
        let frame = Frame {
            surface: Arc::new(surface),
            damage: Rect::whole(SIZE),
            captured: drawn,
        };
        let picture_kind = if number == 0 {
            PictureKind::Idr
        } else {
            PictureKind::Delta
        };
        let mut unit = AccessUnit::default();
        encoder
            .encode(&frame, FrameId(number), picture_kind, &mut unit)
            .expect("the picture is encoded");
        let picture = decoder
            .decode(FrameId(number), &unit.bytes[..unit.used])
            .expect("the picture is decoded")
            .expect("zero latency: a picture out for each one in");
        let marker = marker::read(&picture).expect("the marker is read");
        assert_eq!((marker.number, marker.drawn), (number, drawn));
        let psnr = verifier.psnr_db(&picture, &marker).expect("comparable");
        least = least.min(psnr);
    }
    least
}

#[test]
fn every_content_is_recognised_at_an_ordinary_bitrate() {
    for kind in candidates() {
        for content in Content::ALL {
            let psnr = psnr_db_least(kind, content, BitsPerSecond::from_kbps(4000));
            println!("{} {} {psnr:.1} dB", kind.name, content.name());
            assert!(
                psnr > PSNR_DB_MIN,
                "{} {} {psnr}",
                kind.name,
                content.name()
            );
        }
    }
}

#[test]
fn markers_are_read_at_the_lowest_bitrate() {
    for kind in candidates() {
        let psnr = psnr_db_least(kind, Content::Game, BitsPerSecond(BITRATE_MIN));
        println!("{} {psnr:.1} dB", kind.name);
    }
}
