//! How long pictures take: conversion, encoding, and until the first slice is out.
//!
//! `cargo run -p gpu --features x264 --example encode_speed [FRAMES]` prints medians for 720p at
//! 60 Hz and 10 Mbit/s and 1080p at 30 Hz and 20 Mbit/s, game-like content that moves everywhere
//! and a desktop of which a line changes, with one slice and with eight.

#[path = "../tests/content/mod.rs"]
mod content;

use std::time::Duration;

use content::{Collector, Film, frame};
use gpu::convert::{Converter, Nv12};
use gpu::encode::rate::Analyser;
use gpu::encode::{Encoder, EncoderConfig, PictureKind, candidates};
use gpu::frame::{Frame, MemorySurface, PixelFormat, Rect, Size};
use net::clock;
use net::units::{BitsPerSecond, FrameId, Mode, SliceCount};

/// Pictures drawn before the clock runs; drawing is slower than encoding.
const PICTURES: usize = 40;

fn main() {
    let frames = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(200);
    println!("encoder   content mode             slices threads convert    first slice  picture");
    for (width, height, hz, mbps) in [(1280, 720, 60, 10), (1920, 1080, 30, 20)] {
        let size = Size { width, height };
        let mode = Mode::new(width.into(), height.into(), hz * 1000).expect("valid");
        println!(
            "analysis  game    {mode:<16} {:>33.3} ms",
            analysis(size, &game(size))
        );
        for (content, pictures) in [("game", game(size)), ("desk", desk(size))] {
            for (slices, threads) in [(1, 1), (8, 1), (8, 2)] {
                let slices = SliceCount::new(slices).expect("valid");
                let bitrate = BitsPerSecond::from_kbps(mbps * 1000);
                let config = EncoderConfig {
                    mode,
                    bitrate,
                    slices,
                    threads,
                };
                for kind in candidates() {
                    let mut encoder = (kind.open)(&config).expect("opens");
                    let [convert, first, whole] = measure(&mut *encoder, &pictures, frames);
                    println!(
                        "{:<9} {content:<7} {mode:<16} {:>6} {threads:>7} {convert:>7.3} ms \
                         {first:>9.3} ms {whole:>8.3} ms",
                        kind.name,
                        slices.get(),
                    );
                }
            }
        }
    }
}

/// Median of what the rate controller's look at a picture takes, ms.
fn analysis(size: Size, pictures: &[Frame]) -> f64 {
    let mut converter = Converter::<Nv12>::new(size);
    let mut analyser = Analyser::new(size);
    let mut times = Vec::new();
    for picture in pictures {
        converter.convert(picture).expect("fits");
        let begin = clock::now();
        let content = analyser.analyse(converter.current(), converter.previous(), picture.damage);
        times.push(clock::now().since(begin));
        std::hint::black_box(content);
    }
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn game(size: Size) -> Vec<Frame> {
    let mut film = Film::new(size, 1000, 1);
    (0..PICTURES).map(|_| film.next().0).collect()
}

/// A still picture in which a line of 400 × 24 pixels changes, as where somebody types.
fn desk(size: Size) -> Vec<Frame> {
    let (still, _) = Film::new(size, 1000, 1).next();
    let pixels = still.surface.map().expect("memory");
    (0..PICTURES)
        .map(|time| {
            let mut surface = MemorySurface::new(size, PixelFormat::Bgrx);
            surface.bytes_mut().copy_from_slice(pixels.bytes);
            let stride = surface.stride();
            let line = Rect {
                x: 100,
                y: 300,
                width: 400,
                height: 24,
            };
            for y in 300..324 {
                surface.bytes_mut()[y * stride + 400..][..1600].fill((time * 6) as u8);
            }
            frame(surface, if time == 0 { Rect::whole(size) } else { line })
        })
        .collect()
}

/// Medians in ms: conversion, first slice, whole picture, each from the call on.
fn measure(encoder: &mut dyn Encoder, pictures: &[Frame], frames: u32) -> [f64; 3] {
    let mut times: [Vec<Duration>; 3] = Default::default();
    let mut sink = Collector::default();
    for id in 0..frames {
        // There and back again, so that no cut comes where the pictures end.
        let turn = id as usize % (2 * PICTURES - 2);
        let picture = &pictures[turn.min(2 * PICTURES - 2 - turn)];
        let begin = clock::now();
        let encoded = encoder
            .encode(picture, FrameId(id), PictureKind::Delta, &mut sink)
            .expect("encodes");
        let end = clock::now();
        let stamps = [encoded.converted, sink.received[0], end];
        for (times, stamp) in times.iter_mut().zip(stamps) {
            times.push(stamp.since(begin));
        }
        sink.take();
    }
    times.map(|mut times| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e3
    })
}
