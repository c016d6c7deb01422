//! The x264 encoder as the pipeline sees it, checked by decoding what it emits.
#![cfg(feature = "x264")]

mod content;

use content::{Collector, Film, frame, pixels};
use gpu::bitstream::{Colour, NalKind, Sps, nals};
use gpu::decode::openh264::OpenH264Decoder;
use gpu::decode::{Decoder, Picture};
use gpu::encode::x264::{EVEN_SLICES_MAX, X264Encoder};
use gpu::encode::{EncodeError, Encoder, EncoderConfig, PictureKind};
use gpu::frame::{MemorySurface, PixelFormat, Rect, Size};
use net::clock;
use net::units::{BitsPerSecond, FrameId, Mode, SliceCount};

const SIZE: Size = Size {
    width: 640,
    height: 512,
};

fn config(slices: u8, threads: u8) -> EncoderConfig {
    EncoderConfig {
        mode: Mode::new(SIZE.width.into(), SIZE.height.into(), 60_000).expect("valid"),
        bitrate: BitsPerSecond::from_kbps(8_000),
        slices: SliceCount::new(slices).expect("valid"),
        threads,
    }
}

fn open(slices: u8, threads: u8) -> X264Encoder {
    X264Encoder::open(&config(slices, threads)).expect("opens")
}

/// Peak signal to noise ratio of luma against the source, dB.
fn psnr(picture: &Picture<'_>, source: &MemorySurface) -> f64 {
    use gpu::convert::{Converter, Nv12};
    let size = Size {
        width: picture.width as u16,
        height: picture.height as u16,
    };
    let mut converter = Converter::<Nv12>::new(size);
    converter
        .convert(&frame(source.clone(), Rect::whole(size)))
        .expect("fits");
    let nv12 = converter.current();
    let mut sum = 0.0;
    for y in 0..picture.height {
        for x in 0..picture.width {
            let got = f64::from(picture.planes[0][y * picture.strides[0] + x]);
            let want = f64::from(nv12.luma[y * nv12.stride + x]);
            sum += (got - want) * (got - want);
        }
    }
    10.0 * (255.0 * 255.0 * (picture.width * picture.height) as f64 / sum.max(1e-9)).log10()
}

#[test]
fn every_slice_count_is_met_in_order_and_early() {
    for count in [1, 2, 3, 4, 5, 6, EVEN_SLICES_MAX] {
        let mut encoder = open(count, 1);
        let mut film = Film::new(SIZE, 60, 1);
        for id in 0..3 {
            let mut sink = Collector::default();
            let kind = PictureKind::Delta;
            let encoded = encoder
                .encode(&film.next().0, FrameId(id), kind, &mut sink)
                .expect("encodes");
            let returned = clock::now();
            assert_eq!(sink.slices.len(), usize::from(count));
            assert!(sink.threads.is_empty(), "the caller's needs no place");
            assert!(sink.received[0] < returned);
            assert_eq!(encoded.keyframe, id == 0);
            let total: usize = sink.slices.iter().map(|(bytes, _)| bytes.len()).sum();
            assert_eq!(total, encoded.bytes);
            let mut first_mb = None;
            for (place, (bytes, info)) in sink.slices.iter().enumerate() {
                assert_eq!(usize::from(info.index.0), place);
                assert_eq!(info.last, place + 1 == usize::from(count));
                assert_eq!(info.frame, FrameId(id));
                assert_eq!(info.keyframe, id == 0);
                let slices: Vec<_> = nals(bytes).filter(|nal| nal.kind.is_slice()).collect();
                assert_eq!(slices.len(), 1);
                assert!(slices[0].first_mb() > first_mb || place == 0);
                first_mb = slices[0].first_mb();
            }
        }
    }
}

/// From [`EVEN_SLICES_MAX`] on slices are cut by bytes as well, and every slice is one NAL unit
/// unless the picture is far larger than planned.
#[test]
fn many_slices_are_bounded_in_bytes_and_height() {
    for (count, kbps) in [(8, 8_000), (12, 8_000), (16, 3_000), (31, 8_000), (32, 500)] {
        let bitrate = BitsPerSecond::from_kbps(kbps);
        let config = EncoderConfig {
            bitrate,
            ..config(count, 1)
        };
        let mut encoder = X264Encoder::open(&config).expect("opens");
        let mut decoder = OpenH264Decoder::open().expect("opens");
        let mut film = Film::new(SIZE, 20, 1);
        let (columns, rows) = (SIZE.width.div_ceil(16), SIZE.height.div_ceil(16));
        let high = u32::from(columns * rows.div_ceil(u16::from(count) * 3 / 4));
        let by_bytes = u64::from(count * 5 / 4).min(32 - u64::from(count) * 3 / 4);
        let share = bitrate.bytes_per_frame(config.mode.refresh());
        let most = usize::try_from(share / by_bytes).expect("small").max(1200);
        for id in 0..40 {
            let mut sink = Collector::default();
            encoder
                .encode(&film.next().0, FrameId(id), PictureKind::Delta, &mut sink)
                .expect("encodes");
            let made = sink.slices.len();
            assert!((made as u32 * high) >= u32::from(columns * rows) && made <= 32);
            let mut next_mb = 0;
            for (place, (bytes, info)) in sink.slices.iter().enumerate() {
                assert_eq!(usize::from(info.index.0), place);
                assert_eq!(info.last, place + 1 == made);
                let slices: Vec<_> = nals(bytes).filter(|nal| nal.kind.is_slice()).collect();
                let first_mb = slices[0].first_mb().expect("a slice has one");
                if place > 0 {
                    assert!(first_mb > next_mb && first_mb - next_mb <= high);
                }
                next_mb = first_mb;
                let heads = if id == 0 && place == 0 { 64 } else { 0 };
                if place < 31 {
                    assert!(slices.len() == 1 && bytes.len() <= most + heads);
                }
            }
            decoder.decode(FrameId(id), &sink.take()).expect("decodes");
        }
    }
}

/// Noise at the coarsest quantiser is still many times a small share: the last slice that a frame
/// may have takes the rest, so that the picture arrives all the same.
#[test]
fn a_picture_of_too_many_slices_ends_in_one_of_several() {
    let config = EncoderConfig {
        bitrate: BitsPerSecond::from_kbps(500),
        ..config(16, 1)
    };
    let mut encoder = X264Encoder::open(&config).expect("opens");
    let mut surface = MemorySurface::new(SIZE, PixelFormat::Bgrx);
    let mut random = 1u32;
    for byte in surface.bytes_mut() {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = if random >> 31 == 0 { 0 } else { 255 };
    }
    let mut sink = Collector::default();
    let kind = PictureKind::Delta;
    encoder
        .encode(
            &frame(surface, Rect::whole(SIZE)),
            FrameId(0),
            kind,
            &mut sink,
        )
        .expect("encodes");
    assert_eq!(sink.slices.len(), 32);
    assert!(sink.slices[31].1.last);
    let (bytes, _) = &sink.slices[31];
    assert!(nals(bytes).filter(|nal| nal.kind.is_slice()).count() > 1);
    let mut decoder = OpenH264Decoder::open().expect("opens");
    let unit = sink.take();
    assert!(
        decoder
            .decode(FrameId(0), &unit)
            .expect("decodes")
            .is_some()
    );
}

#[test]
fn sliced_threads_keep_picture_order_and_the_slice_count() {
    for (count, threads) in [(2, 2), (8, 2), (9, 3), (16, 4), (4, 4)] {
        let mut encoder = open(count, threads);
        let mut decoder = OpenH264Decoder::open().expect("opens");
        let mut film = Film::new(SIZE, 60, 2);
        let mut began = Vec::new();
        for id in 0..6 {
            let mut sink = Collector::default();
            let (source, _) = film.next();
            encoder
                .encode(&source, FrameId(id), PictureKind::Delta, &mut sink)
                .expect("encodes");
            assert!(sink.slices.len() <= usize::from(count));
            assert!(sink.slices.len() >= usize::from(threads));
            for (place, (_, info)) in sink.slices.iter().enumerate() {
                assert_eq!(usize::from(info.index.0), place);
                assert_eq!(info.last, place + 1 == sink.slices.len());
            }
            began.append(&mut sink.threads);
            let unit = sink.take();
            assert!(
                decoder
                    .decode(FrameId(id), &unit)
                    .expect("decodes")
                    .is_some()
            );
        }
        // One that is quick may have done the work of all.
        let each: Vec<_> = (0..threads).map(|index| (index, threads)).collect();
        assert!(!began.is_empty() && each.starts_with(&began), "{began:?}");
    }
}

/// A stock client's decoder may count on the number that it asked for.
#[test]
fn sliced_threads_make_as_many_of_few_slices_as_asked() {
    for height in [130, 144, 360, 512, 720, 1080] {
        for (count, threads) in [
            (4, 2),
            (4, 3),
            (4, 4),
            (6, 2),
            (6, 4),
            (7, 2),
            (3, 2),
            (2, 16),
        ] {
            let size = Size { width: 320, height };
            let config = EncoderConfig {
                mode: Mode::new(320, height.into(), 60_000).expect("valid"),
                ..config(count, threads)
            };
            let mut encoder = X264Encoder::open(&config).expect("opens");
            let mut sink = Collector::default();
            encoder
                .encode(
                    &Film::new(size, 60, 1).next().0,
                    FrameId(0),
                    PictureKind::Delta,
                    &mut sink,
                )
                .expect("encodes");
            let made = sink.slices.len();
            assert_eq!(made, usize::from(count), "{height} rows, {threads} threads");
        }
    }
}

#[test]
fn what_is_decoded_looks_like_what_was_drawn() {
    let mut encoder = open(8, 1);
    let mut decoder = OpenH264Decoder::open().expect("opens");
    let size = Size {
        width: 640,
        height: 512,
    };
    let mut surface = MemorySurface::new(size, PixelFormat::Bgrx);
    for id in 0..20u16 {
        let shift = id * 3;
        surface.fill_with(|x, y| {
            let x = x + shift;
            [
                (x / 3) as u8,
                (y / 2) as u8,
                if (x / 32 + y / 32) % 2 == 0 { 40 } else { 200 },
            ]
        });
        let mut sink = Collector::default();
        let source = frame(surface.clone(), Rect::whole(size));
        let id = FrameId(id.into());
        encoder
            .encode(&source, id, PictureKind::Delta, &mut sink)
            .expect("encodes");
        let unit = sink.take();
        let picture = decoder.decode(id, &unit).expect("decodes").expect("shows");
        assert_eq!((picture.width, picture.height), (640, 512));
        let psnr = psnr(&picture, &surface);
        assert!(psnr > 30.0, "{id}: {psnr:.1} dB");
    }
}

#[test]
fn an_idr_starts_with_parameter_sets_that_tell_size_and_colours() {
    let mut encoder = open(4, 1);
    let mut film = Film::new(SIZE, 60, 3);
    for id in 0..6 {
        let mut sink = Collector::default();
        let kind = if id == 3 {
            PictureKind::Idr
        } else {
            PictureKind::Delta
        };
        let encoded = encoder
            .encode(&film.next().0, FrameId(id), kind, &mut sink)
            .expect("encodes");
        let idr = id == 0 || id == 3;
        assert_eq!(encoded.keyframe, idr);
        let first: Vec<_> = nals(&sink.slices[0].0).map(|nal| nal.kind).collect();
        if !idr {
            assert_eq!(first, [NalKind::Slice]);
            continue;
        }
        assert_eq!(first, [NalKind::Sps, NalKind::Pps, NalKind::IdrSlice]);
        let sps = Sps::parse(&nals(&sink.slices[0].0).next().expect("SPS")).expect("reads");
        assert_eq!((sps.width, sps.height), (640, 512));
        assert_eq!(sps.colour, Some(Colour::BT709_LIMITED));
        assert_eq!(sps.ref_frames, 8);
        // 1280 macroblocks at 60 Hz, 8 of them in the DPB: table A-1 says 3.1.
        assert_eq!(sps.level, 31);
    }
}

#[test]
fn after_invalidation_the_recovery_and_all_later_pictures_are_exact() {
    for (lost_at, lost, delay) in [(5, 1, 2), (9, 3, 3), (16, 1, 3), (15, 3, 2), (30, 1, 0)] {
        let mut encoder = open(4, 1);
        let mut whole = OpenH264Decoder::open().expect("opens");
        let mut lossy = OpenH264Decoder::open().expect("opens");
        let mut film = Film::new(SIZE, 60, 4);
        let mut recovered = false;
        for id in 0..50 {
            if id == lost_at + lost + delay {
                assert!(encoder.invalidate_references(FrameId(lost_at)));
            }
            let mut sink = Collector::default();
            let (source, _) = film.next();
            encoder
                .encode(&source, FrameId(id), PictureKind::Delta, &mut sink)
                .expect("encodes");
            let recovery = sink.slices[0].1.recovery;
            assert_eq!(recovery, id == lost_at + lost + delay);
            assert!(!sink.slices[0].1.keyframe || id == 0);
            recovered |= recovery;
            let unit = sink.take();
            let want = whole
                .decode(FrameId(id), &unit)
                .expect("decodes")
                .map(|p| pixels(&p));
            if (lost_at..lost_at + lost).contains(&id) {
                continue;
            }
            let got = lossy
                .decode(FrameId(id), &unit)
                .expect("decodes")
                .map(|p| pixels(&p));
            if id < lost_at || recovered {
                assert!(
                    got == want,
                    "frame {id} differs with {lost} lost at {lost_at}"
                );
            }
        }
        assert!(recovered);
    }
}

#[test]
fn a_loss_of_everything_takes_an_idr() {
    let mut encoder = open(4, 1);
    let mut film = Film::new(SIZE, 60, 5);
    let mut sink = Collector::default();
    for id in 0..20 {
        encoder
            .encode(&film.next().0, FrameId(id), PictureKind::Delta, &mut sink)
            .expect("works");
    }
    assert!(!encoder.invalidate_references(FrameId(4)));
    assert!(
        encoder.invalidate_references(FrameId(20)),
        "nothing of that is lost yet"
    );
    sink.slices.clear();
    encoder
        .encode(&film.next().0, FrameId(20), PictureKind::Idr, &mut sink)
        .expect("encodes");
    assert!(sink.slices[0].1.keyframe);
}

#[test]
fn bitrate_and_slices_change_without_an_idr() {
    let mut encoder = open(8, 1);
    let mut film = Film::new(SIZE, 1000, 6);
    let mut sizes = [0, 0];
    for id in 0..120 {
        if id == 60 {
            let bitrate = BitsPerSecond::from_kbps(2_000);
            encoder
                .reconfigure(bitrate, SliceCount::new(3).expect("valid"))
                .expect("takes it");
        }
        let mut sink = Collector::default();
        let encoded = encoder
            .encode(&film.next().0, FrameId(id), PictureKind::Delta, &mut sink)
            .expect("encodes");
        assert_eq!(encoded.keyframe, id == 0);
        let made = sink.slices.len();
        assert!(
            if id < 60 {
                (6..=16).contains(&made)
            } else {
                made == 3
            },
            "{made}"
        );
        // The last half second of each bitrate.
        match id {
            30..60 => sizes[0] += encoded.bytes,
            90..120 => sizes[1] += encoded.bytes,
            _ => {}
        }
    }
    let ratio = sizes[0] as f64 / sizes[1] as f64;
    assert!(
        (3.0..5.0).contains(&ratio),
        "a quarter of the bitrate gave 1/{ratio:.2}"
    );
}

#[test]
fn a_surface_of_another_size_is_an_error() {
    let mut encoder = open(4, 1);
    let size = Size {
        width: 320,
        height: 256,
    };
    let wrong = frame(
        MemorySurface::new(size, PixelFormat::Bgrx),
        Rect::whole(size),
    );
    let result = encoder.encode(
        &wrong,
        FrameId(0),
        PictureKind::Delta,
        &mut Collector::default(),
    );
    assert!(matches!(
        result,
        Err(EncodeError::Surface {
            encoder: "x264",
            ..
        })
    ));
}

#[test]
fn a_sink_without_room_fails_the_picture() {
    for threads in [1, 2] {
        let mut encoder = open(4, threads);
        let mut sink = Collector {
            limit: Some(200),
            ..Collector::default()
        };
        let (source, _) = Film::new(SIZE, 60, 7).next();
        let result = encoder.encode(&source, FrameId(0), PictureKind::Delta, &mut sink);
        assert!(matches!(result, Err(EncodeError::SliceTooLarge { .. })));
    }
}

#[test]
fn a_panic_in_the_sink_arrives_here() {
    struct Broken;
    impl gpu::encode::SliceSink for Broken {
        fn reserve(&mut self, _: usize, _: usize) -> Option<&mut [u8]> {
            panic!("broken sink")
        }
        fn finish(&mut self, _: usize, _: gpu::encode::SliceInfo) {}
    }
    let mut encoder = open(4, 2);
    let (source, _) = Film::new(SIZE, 60, 8).next();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        encoder.encode(&source, FrameId(0), PictureKind::Delta, &mut Broken)
    }));
    assert!(result.is_err());
}
