//! The system's libavcodec as the client sees it: pictures given up half way, damaged slices, and
//! how it goes on after them. Without the library there is nothing to test.
#![cfg(feature = "x264")]

mod content;

use content::{Collector, Film, Random, pixels};
use gpu::decode::libavcodec::{LibavcodecDecoder, probe};
use gpu::decode::openh264::OpenH264Decoder;
use gpu::decode::{DecodeError, Decoder, Part, Picture};
use gpu::encode::x264::X264Encoder;
use gpu::encode::{Encoder, EncoderConfig, PictureKind};
use gpu::frame::Size;
use net::units::{BitsPerSecond, FrameId, Mode, SliceCount};

const SIZE: Size = Size {
    width: 320,
    height: 200,
};
const SLICES: usize = 4;

fn open() -> Option<LibavcodecDecoder> {
    match probe() {
        Ok(_) => Some(LibavcodecDecoder::open().expect("it was ready")),
        Err((reason, fix)) => {
            println!("not tested: {reason}; {fix}");
            None
        }
    }
}

/// Slices of pictures, an IDR every `idr_every`.
fn film(pictures: u32, idr_every: u32) -> Vec<Vec<Vec<u8>>> {
    let config = EncoderConfig {
        mode: Mode::new(SIZE.width.into(), SIZE.height.into(), 60_000).expect("valid"),
        bitrate: BitsPerSecond::from_kbps(3_000),
        slices: SliceCount::new(SLICES as u8).expect("valid"),
        threads: 1,
    };
    let mut encoder = X264Encoder::open(&config).expect("opens");
    let mut film = Film::new(SIZE, 70, 9);
    let encode = |id: u32| {
        let kind = if id.is_multiple_of(idr_every) {
            PictureKind::Idr
        } else {
            PictureKind::Delta
        };
        let mut sink = Collector::default();
        let (source, _) = film.next();
        encoder
            .encode(&source, FrameId(id), kind, &mut sink)
            .expect("encodes");
        assert_eq!(sink.slices.len(), SLICES);
        sink.slices.drain(..).map(|(bytes, _)| bytes).collect()
    };
    (0..pictures).map(encode).collect()
}

fn push<'a>(
    decoder: &'a mut LibavcodecDecoder,
    id: u32,
    slices: &[Vec<u8>],
    index: usize,
) -> Result<Option<Picture<'a>>, DecodeError> {
    let part = Part {
        begins: index == 0,
        ends: index + 1 == SLICES,
    };
    decoder.decode_part(FrameId(id), part, &slices[index])
}

/// Decodes a picture slice by slice.
fn show(decoder: &mut LibavcodecDecoder, id: u32, slices: &[Vec<u8>]) -> Result<Vec<u8>, String> {
    for index in 0..SLICES - 1 {
        match push(decoder, id, slices, index) {
            Ok(None) => {}
            Ok(Some(_)) => panic!("frame {id} is shown after slice {index}"),
            Err(error) => return Err(error.to_string()),
        }
    }
    let picture = push(decoder, id, slices, SLICES - 1).map_err(|error| error.to_string())?;
    Ok(pixels(
        &picture.expect("frame is shown with its last slice"),
    ))
}

/// What openh264 makes of it.
fn wanted(film: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
    let mut decoder = OpenH264Decoder::open().expect("opens");
    let mut decode = |(id, slices): (u32, &Vec<Vec<u8>>)| {
        let unit = slices.concat();
        let picture = decoder.decode(FrameId(id), &unit).expect("decodes");
        pixels(&picture.expect("is shown"))
    };
    (0..).zip(film).map(&mut decode).collect()
}

#[test]
fn an_idr_that_is_given_up_takes_another() {
    let Some(mut decoder) = open() else { return };
    let film = film(12, 4);
    let want = wanted(&film);
    for id in 0..4 {
        let got = show(&mut decoder, id, &film[id as usize]);
        assert!(got.as_ref() == Ok(&want[id as usize]), "{id}");
    }
    // Of the second IDR only half comes.
    for index in 0..2 {
        assert!(matches!(push(&mut decoder, 4, &film[4], index), Ok(None)));
    }
    for id in 5..8 {
        assert!(show(&mut decoder, id, &film[id as usize]).is_err(), "{id}");
    }
    for id in 8..12 {
        let got = show(&mut decoder, id, &film[id as usize]);
        assert!(got.as_ref() == Ok(&want[id as usize]), "{id}");
    }
}

#[test]
fn a_slice_without_a_beginning_is_refused() {
    let Some(mut decoder) = open() else { return };
    let film = film(1, 1);
    let stray = push(&mut decoder, 0, &film[0], 1);
    assert!(
        matches!(stray, Err(DecodeError::Picture { .. })),
        "{stray:?}"
    );
}

#[test]
fn a_decoder_of_whole_pictures_refuses_parts() {
    let mut decoder = OpenH264Decoder::open().expect("opens");
    assert!(!decoder.capabilities().takes_slices);
    let part = Part {
        begins: true,
        ends: false,
    };
    let film = film(1, 1);
    assert!(decoder.decode_part(FrameId(0), part, &film[0][0]).is_err());
    let unit = film[0].concat();
    assert!(matches!(decoder.decode(FrameId(0), &unit), Ok(Some(_))));
}

/// Bits turned, slices cut short, left out or repeated, pictures given up: whatever comes of it,
/// an IDR puts it right.
#[test]
fn after_any_damage_an_idr_is_exact() {
    let Some(mut decoder) = open() else { return };
    const EVERY: u32 = 5;
    let film = film(150, EVERY);
    let want = wanted(&film);
    let seed = 1;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let (mut failed, mut shown) = (0, 0);
    for (id, slices) in (0u32..).zip(&film) {
        if id % EVERY == 0 {
            let got = show(&mut decoder, id, slices);
            assert!(
                got.as_ref() == Ok(&want[id as usize]),
                "{id}: {:?}",
                got.err()
            );
            continue;
        }
        let mut index = 0;
        while index < SLICES {
            let mut slice = slices[index].clone();
            match random.below(6) {
                0 => {
                    let at = random.below(slice.len() as u64) as usize;
                    slice[at] ^= 1 << random.below(8);
                }
                1 => slice.truncate(1 + random.below(slice.len() as u64) as usize),
                2 => index += random.below(2) as usize,
                3 => index = index.saturating_sub(1),
                _ => {}
            }
            let part = Part {
                begins: index == 0 || random.below(20) == 0,
                ends: index + 1 >= SLICES,
            };
            match decoder.decode_part(FrameId(id), part, &slice) {
                Ok(Some(_)) => shown += 1,
                Ok(None) => {}
                Err(_) => failed += 1,
            }
            index += 1;
        }
    }
    assert!(failed > 20 && shown > 5, "{failed} failed, {shown} shown");
}
