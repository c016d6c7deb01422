//! What libavcodec makes of pictures that refer past lost ones, by itself: as clients use it that
//! are not ours, without anything that stands in for what is missing.

use std::sync::Arc;

use net::units::{BitsPerSecond, FrameId, Mode, SliceCount, Timestamp};

use super::ffi::Library;
use crate::bitstream::{NalKind, Sps, nals};
use crate::encode::x264::{REFERENCES_MAX, X264Encoder};
use crate::encode::{Encoder, EncoderConfig, PictureKind, SliceInfo, SliceSink};
use crate::frame::{Frame, MemorySurface, PixelFormat, Rect, Size};

const SIZE: Size = Size {
    width: 320,
    height: 192,
};
/// As moonlight-qt opens it, as its software decoder elsewhere, and strictly.
const WAYS: [&[(&std::ffi::CStr, &std::ffi::CStr)]; 3] = [
    &[
        (c"threads", c"1"),
        (c"flags", c"+low_delay+output_corrupt"),
        (c"flags2", c"+showall"),
    ],
    &[(c"threads", c"1")],
    &[(c"threads", c"1"), (c"flags", c"+low_delay")],
];
/// x264's own numbers begin anew after so many pictures.
const NARROW: u32 = 16;
/// Shown before the loss, so that the reference list is full, and after it.
const BEFORE: u32 = 8;
const AFTER: u32 = NARROW + 2;

#[derive(Default)]
struct Sink {
    buffer: Vec<u8>,
    unit: Vec<u8>,
    recovery: bool,
}

impl SliceSink for Sink {
    fn reserve(&mut self, _: usize, bytes: usize) -> Option<&mut [u8]> {
        self.buffer.resize(bytes.max(self.buffer.len()), 0);
        Some(&mut self.buffer)
    }

    fn finish(&mut self, bytes: usize, slice: SliceInfo) {
        self.unit.extend_from_slice(&self.buffer[..bytes]);
        self.recovery = slice.recovery;
    }
}

struct Film {
    encoder: X264Encoder,
    next: u32,
}

impl Film {
    fn new(slices: u8) -> Self {
        let config = EncoderConfig {
            mode: Mode::new(SIZE.width.into(), SIZE.height.into(), 60_000).expect("valid"),
            bitrate: BitsPerSecond::from_kbps(2_000),
            slices: SliceCount::new(slices).expect("valid"),
            threads: 1,
        };
        Self {
            encoder: X264Encoder::open(&config).expect("opens"),
            next: 0,
        }
    }

    /// A gradient that moves by two pixels a picture.
    fn next(&mut self) -> Sink {
        let id = self.next;
        self.next += 1;
        let mut surface = MemorySurface::new(SIZE, PixelFormat::Bgrx);
        surface.fill_with(|x, y| {
            let at = u32::from(x) + 2 * id;
            [
                (at * 5) as u8,
                (at * 3) as u8 ^ (y * 4) as u8,
                (y * 3) as u8,
            ]
        });
        let frame = Frame {
            surface: Arc::new(surface),
            damage: Rect::whole(SIZE),
            captured: Timestamp::ZERO,
        };
        let mut sink = Sink::default();
        self.encoder
            .encode(&frame, FrameId(id), PictureKind::Delta, &mut sink)
            .expect("encodes");
        sink
    }
}

/// Planes without padding.
fn pixels(library: &Library) -> Vec<u8> {
    let picture = library.picture().expect("it can be shown");
    let rows = |plane: usize| picture.planes[plane].chunks(picture.strides[plane]);
    let width = |plane: usize| picture.width >> usize::from(plane > 0);
    let row = |plane: usize| rows(plane).flat_map(move |row| row[..width(plane)].to_vec());
    (0..3).flat_map(row).collect()
}

/// Loses `lost` pictures from number `first` on, and recovers with the next. Every picture from
/// then on must come out with the call that gives it, as it would have without the loss.
fn recovers_at_once(first: u32, lost: u32, slices: u8, way: usize) -> Result<(), String> {
    let mut film = Film::new(slices);
    let open = || Library::open(c"h264", WAYS[way]).expect("opens");
    let (mut whole, mut lossy) = (open(), open());
    for number in 0..first + lost + AFTER {
        if number == first + lost {
            assert!(film.encoder.invalidate_references(FrameId(first)));
        }
        let sink = film.next();
        assert_eq!(sink.recovery, number == first + lost);
        assert!(whole.decode(&sink.unit)?, "picture {number}");
        if (first..first + lost).contains(&number) {
            continue;
        }
        let told = format!("{lost} lost from {first} on, way {way}: picture {number}");
        match lossy.decode(&sink.unit) {
            Ok(true) if pixels(&lossy) == pixels(&whole) => {}
            Ok(true) => return Err(format!("{told} is another")),
            Ok(false) => return Err(format!("{told} is held back")),
            Err(error) => return Err(format!("{told}: {error}")),
        }
    }
    Ok(())
}

#[test]
fn each_picture_after_a_recovery_is_shown_at_once_wherever_the_loss_falls() {
    if let Err((reason, fix)) = super::probe() {
        println!("not tested: {reason}; {fix}");
        return;
    }
    let mut failed = Vec::new();
    for phase in 0..NARROW {
        for lost in 1..u32::from(REFERENCES_MAX) {
            let slices = if lost % 2 == 0 { 4 } else { 1 };
            let way = (phase + lost) as usize % WAYS.len();
            failed.extend(recovers_at_once(BEFORE + phase, lost, slices, way).err());
        }
    }
    assert!(failed.is_empty(), "{}: {failed:#?}", failed.len());
}

#[test]
fn the_stream_says_that_numbers_are_wide_and_may_be_missing() {
    let mut film = Film::new(4);
    let first = film.next();
    let sps = nals(&first.unit).find_map(|nal| Sps::parse(&nal));
    let sps = sps.expect("an IDR has parameter sets");
    assert_eq!(sps.frame_num_bits(), 12);
    assert!(sps.gaps_allowed);
    assert_eq!(
        (sps.width, sps.height),
        (SIZE.width.into(), SIZE.height.into())
    );
    let kinds: Vec<NalKind> = nals(&first.unit).map(|nal| nal.kind).collect();
    assert_eq!(kinds[..2], [NalKind::Sps, NalKind::Pps]);
}
