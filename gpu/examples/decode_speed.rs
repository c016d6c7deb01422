//! How long after its last slice a picture is decoded: whole access units and slices as they come,
//! by every decoder of this machine, on the same pictures in one run.
//!
//! `cargo run --release -p gpu --features x264 --example decode_speed [FRAMES]` prints medians and
//! 99th percentiles for 720p at 60 Hz and 10 Mbit/s and 1080p at 30 Hz and 20 Mbit/s of game-like
//! content in 8 slices. The slices come when x264 (one thread) has finished them; what a decoder
//! takes for each is measured, and whether it is done with one when the next comes is reckoned.

#[path = "../tests/content/mod.rs"]
mod content;

use std::time::Duration;

use content::{Collector, Film};
use gpu::decode::{Decoder, Part, candidates as decoders};
use gpu::encode::{EncoderConfig, PictureKind, candidates as encoders};
use gpu::frame::{Frame, Size};
use net::clock;
use net::units::{BitsPerSecond, FrameId, Mode, SliceCount, Timestamp};

/// Pictures drawn before the clock runs; drawing is slower than encoding.
const PICTURES: usize = 40;
const SLICES: u8 = 8;
/// The first pictures warm caches up.
const WARM: u32 = 20;

struct Row {
    name: String,
    by_slices: bool,
    decoder: Box<dyn Decoder>,
    late: Vec<Duration>,
    busy: Vec<Duration>,
}

fn main() {
    let frames = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(400);
    println!("mode             decoder              last slice to picture: p50, p99   busy: p50");
    for (width, height, hz, mbps) in [(1280, 720, 60, 10), (1920, 1080, 30, 20)] {
        let mode = Mode::new(width, height, hz * 1000).expect("valid");
        let config = EncoderConfig {
            mode,
            bitrate: BitsPerSecond::from_kbps(mbps * 1000),
            slices: SliceCount::new(SLICES).expect("valid"),
            threads: 1,
        };
        let mut rows = measure(&config, frames);
        for row in &mut rows {
            let [p50, p99] = [row.percentile(50), row.percentile(99)];
            row.busy.sort_unstable();
            let busy = row.busy[row.busy.len() / 2].as_secs_f64() * 1e3;
            println!(
                "{mode:<16} {:<20} {p50:>22.3} {p99:>6.3} ms {busy:>8.3} ms",
                row.name
            );
        }
    }
}

impl Row {
    fn all() -> Vec<Self> {
        let mut rows = Vec::new();
        for kind in decoders() {
            if let Err((reason, fix)) = (kind.probe)() {
                println!("{}: {reason}; {fix}", kind.name);
                continue;
            }
            for by_slices in [false, true] {
                let decoder = (kind.open)().expect("it was ready");
                if by_slices && !decoder.capabilities().takes_slices {
                    continue;
                }
                let unit = if by_slices { "slices" } else { "whole" };
                rows.push(Self {
                    name: format!("{}, {unit}", kind.name),
                    by_slices,
                    decoder,
                    late: Vec::new(),
                    busy: Vec::new(),
                });
            }
        }
        rows
    }

    /// Decodes a picture whose slices come at these times.
    fn decode(&mut self, id: FrameId, slices: &[(&[u8], Timestamp)]) {
        let whole: Vec<u8>;
        let last = slices[slices.len() - 1].1;
        let parts = if self.by_slices {
            slices
        } else {
            whole = slices
                .iter()
                .flat_map(|(bytes, _)| *bytes)
                .copied()
                .collect();
            &[(&whole[..], last)]
        };
        let (mut free, mut busy) = (Timestamp::ZERO, Duration::ZERO);
        for (index, &(bytes, came)) in parts.iter().enumerate() {
            let part = Part {
                begins: index == 0,
                ends: index + 1 == parts.len(),
            };
            let begin = clock::now();
            let picture = self.decoder.decode_part(id, part, bytes).expect("decodes");
            assert_eq!(picture.is_some(), part.ends);
            let took = clock::now().since(begin);
            free = free.max(came) + took;
            busy += took;
        }
        if id.0 >= WARM {
            self.late.push(free.since(last));
            self.busy.push(busy);
        }
    }

    fn percentile(&mut self, percent: usize) -> f64 {
        self.late.sort_unstable();
        let rank = (self.late.len() * percent).div_ceil(100).max(1) - 1;
        self.late[rank].as_secs_f64() * 1e3
    }
}

fn measure(config: &EncoderConfig, frames: u32) -> Vec<Row> {
    let size = Size {
        width: config.mode.width(),
        height: config.mode.height(),
    };
    let mut film = Film::new(size, 1000, 1);
    let pictures: Vec<Frame> = (0..PICTURES).map(|_| film.next().0).collect();
    let mut encoder = (encoders()[0].open)(config).expect("opens");
    let mut rows = Row::all();
    let mut sink = Collector::default();
    for id in 0..frames {
        // There and back again, so that no cut comes where the pictures end.
        let turn = id as usize % (2 * PICTURES - 2);
        let picture = &pictures[turn.min(2 * PICTURES - 2 - turn)];
        encoder
            .encode(picture, FrameId(id), PictureKind::Delta, &mut sink)
            .expect("encodes");
        let slices: Vec<_> = sink
            .slices
            .iter()
            .zip(&sink.received)
            .map(|((bytes, _), &came)| (&bytes[..], came))
            .collect();
        // Each begins as often as the others, as the first one finds the cache cold.
        let count = rows.len();
        rows.rotate_left(id as usize % count);
        for row in &mut rows {
            row.decode(FrameId(id), &slices);
        }
        rows.rotate_right(id as usize % count);
        sink.take();
    }
    rows
}
