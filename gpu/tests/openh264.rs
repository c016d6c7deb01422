//! The openh264 encoder and decoder as the pipeline sees them.

mod content;

use content::{Collector, Film, frame};
use gpu::bitstream::{Colour, NalKind, Sps, nals};
use gpu::decode::openh264::OpenH264Decoder;
use gpu::decode::{DecodeError, Decoder};
use gpu::encode::openh264::OpenH264Encoder;
use gpu::encode::{EncodeError, Encoder, EncoderConfig, PictureKind, candidates};
use gpu::frame::{MemorySurface, PixelFormat, Rect, Size};
use net::units::{BitsPerSecond, FrameId, Mode, SliceCount};

const SIZE: Size = Size {
    width: 640,
    height: 360,
};

fn open(kbps: u64) -> OpenH264Encoder {
    let config = EncoderConfig {
        mode: Mode::new(SIZE.width.into(), SIZE.height.into(), 30_000).expect("valid"),
        bitrate: BitsPerSecond::from_kbps(kbps),
        slices: SliceCount::new(8).expect("valid"),
        threads: 1,
    };
    OpenH264Encoder::open(&config).expect("opens")
}

#[test]
fn a_picture_is_one_slice_and_decodes() {
    let mut encoder = open(8_000);
    let mut decoder = OpenH264Decoder::open().expect("opens");
    let mut film = Film::new(SIZE, 60, 1);
    for id in 0..10 {
        let mut sink = Collector::default();
        let kind = if id == 6 {
            PictureKind::Idr
        } else {
            PictureKind::Delta
        };
        let encoded = encoder
            .encode(&film.next().0, FrameId(id), kind, &mut sink)
            .expect("works");
        assert_eq!(sink.slices.len(), 1);
        let info = sink.slices[0].1;
        assert!(info.last && info.index.0 == 0);
        assert_eq!(
            (encoded.keyframe, info.keyframe),
            (id == 0 || id == 6, encoded.keyframe)
        );
        assert!(
            (1.0..=51.0).contains(&encoded.qp),
            "quantiser {}",
            encoded.qp
        );
        let unit = sink.take();
        assert_eq!(unit.len(), encoded.bytes);
        if encoded.keyframe {
            let sps = nals(&unit)
                .find(|nal| nal.kind == NalKind::Sps)
                .expect("has one");
            let sps = Sps::parse(&sps).expect("reads");
            assert_eq!((sps.width, sps.height), (640, 360));
            assert_eq!(sps.colour, Some(Colour::BT709_LIMITED));
        }
        let picture = decoder
            .decode(FrameId(id), &unit)
            .expect("decodes")
            .expect("shows");
        assert_eq!((picture.width, picture.height), (640, 360));
    }
}

#[test]
fn the_bitrate_changes_without_an_idr() {
    let mut encoder = open(8_000);
    let mut film = Film::new(SIZE, 1000, 2);
    let mut sizes = [0, 0];
    for id in 0..90 {
        if id == 30 {
            encoder
                .reconfigure(BitsPerSecond::from_kbps(1_500), SliceCount::ONE)
                .expect("works");
        }
        let mut sink = Collector::default();
        let encoded = encoder
            .encode(&film.next().0, FrameId(id), PictureKind::Delta, &mut sink)
            .expect("works");
        assert_eq!(encoded.keyframe, id == 0);
        match id {
            15..30 => sizes[0] += encoded.bytes,
            75..90 => sizes[1] += encoded.bytes,
            _ => {}
        }
    }
    assert!(sizes[0] > 3 * sizes[1], "{sizes:?}");
}

#[test]
fn what_does_not_fit_is_an_error() {
    let size = Size {
        width: 320,
        height: 256,
    };
    let wrong = frame(
        MemorySurface::new(size, PixelFormat::Bgrx),
        Rect::whole(size),
    );
    let result = open(1000).encode(
        &wrong,
        FrameId(0),
        PictureKind::Delta,
        &mut Collector::default(),
    );
    assert!(matches!(
        result,
        Err(EncodeError::Surface {
            encoder: "openh264",
            ..
        })
    ));
    let mode = Mode::new(4096, 2160, 30_000).expect("valid");
    let bitrate = BitsPerSecond::from_kbps(1000);
    let config = EncoderConfig {
        mode,
        bitrate,
        slices: SliceCount::ONE,
        threads: 1,
    };
    assert!(matches!(
        OpenH264Encoder::open(&config),
        Err(EncodeError::Open { .. })
    ));
}

#[test]
fn the_decoder_goes_on_at_the_next_idr_after_an_error() {
    let mut encoder = open(4_000);
    let mut film = Film::new(SIZE, 60, 3);
    let mut decoder = OpenH264Decoder::open().expect("opens");
    let mut errors = 0;
    for id in 0..20 {
        let mut sink = Collector::default();
        let kind = if id == 12 {
            PictureKind::Idr
        } else {
            PictureKind::Delta
        };
        encoder
            .encode(&film.next().0, FrameId(id), kind, &mut sink)
            .expect("works");
        let mut unit = sink.take();
        if id == 6 {
            // The second half never came.
            unit.truncate(unit.len() / 2);
        }
        match decoder.decode(FrameId(id), &unit) {
            Ok(picture) => assert!(picture.is_some() && !(7..12).contains(&id)),
            Err(DecodeError::Picture { frame, .. }) => {
                assert!((6..12).contains(&id) && frame == FrameId(id));
                errors += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(errors, 6);
}

#[test]
fn garbage_is_refused_and_harms_nothing() {
    let mut decoder = OpenH264Decoder::open().expect("opens");
    let mut random = content::Random::new(4);
    for id in 0..200 {
        let garbage: Vec<u8> = (0..random.below(300))
            .map(|_| random.next() as u8)
            .collect();
        assert!(decoder.decode(FrameId(id), &garbage).is_err());
    }
    let mut sink = Collector::default();
    let (picture, _) = Film::new(SIZE, 60, 4).next();
    open(4_000)
        .encode(&picture, FrameId(0), PictureKind::Idr, &mut sink)
        .expect("works");
    assert!(
        decoder
            .decode(FrameId(201), &sink.take())
            .expect("decodes")
            .is_some()
    );
}

#[test]
fn every_candidate_is_ready_or_says_why_not() {
    assert!(candidates().iter().any(|kind| kind.name == "openh264"));
    for kind in candidates() {
        let (Ok(text) | Err(text)) = (kind.probe)();
        assert!(!text.is_empty());
    }
}
