//! What it costs to repair a loss: bytes and quantiser of recovery pictures and of IDR pictures,
//! over those of the pictures around them.
//!
//! `cargo run -p gpu --features x264 --example repair_cost [REPAIRS]` encodes game-like content
//! that moves everywhere and a desktop of which a line changes; every 20 pictures a loss of one
//! is reported so many pictures later.

#[path = "../tests/content/mod.rs"]
mod content;

use content::{Collector, Film, frame};
use gpu::encode::{Encoder, EncoderConfig, PictureKind, candidates};
use gpu::frame::{Frame, MemorySurface, PixelFormat, Rect, Size};
use net::units::{BitsPerSecond, FrameId, Mode, SliceCount};

/// Pictures from one repair to the next.
const PERIOD: u32 = 20;

/// How a loss is repaired.
#[derive(Clone, Copy)]
enum Repair {
    /// By a recovery picture, reported so many pictures after the loss.
    Recovery {
        after: u32,
    },
    /// The same, but a repeat of the picture before: nothing is damaged.
    Repeat {
        after: u32,
    },
    Idr,
}

/// Sums over pictures of a kind.
#[derive(Default)]
struct Sum {
    pictures: f64,
    bytes: f64,
    qp: f64,
}

impl Sum {
    fn add(&mut self, bytes: usize, qp: f32) {
        self.pictures += 1.0;
        self.bytes += bytes as f64;
        self.qp += f64::from(qp);
    }

    fn mean(&self) -> (f64, f64) {
        (self.bytes / self.pictures, self.qp / self.pictures)
    }
}

fn main() {
    let repairs = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(15);
    println!("content mode            repair         P bytes   QP  repair bytes   QP   ratio");
    for (width, height, hz, mbps) in [(1280, 720, 60, 10), (1920, 1080, 30, 20)] {
        let size = Size { width, height };
        let mode = Mode::new(width.into(), height.into(), hz * 1000).expect("valid");
        let config = EncoderConfig {
            mode,
            bitrate: BitsPerSecond::from_kbps(mbps * 1000),
            slices: SliceCount::new(8).expect("valid"),
            threads: 1,
        };
        for content in ["game", "desk"] {
            for (name, repair) in [
                ("recovery, 1", Repair::Recovery { after: 1 }),
                ("recovery, 3", Repair::Recovery { after: 3 }),
                ("recovery, 6", Repair::Recovery { after: 6 }),
                ("repeat, 3", Repair::Repeat { after: 3 }),
                ("IDR", Repair::Idr),
            ] {
                let mut encoder = (candidates()[0].open)(&config).expect("opens");
                let (plain, repaired) = measure(encoder.as_mut(), content, size, repair, repairs);
                let ((p, p_qp), (r, r_qp)) = (plain.mean(), repaired.mean());
                println!(
                    "{content:<7} {mode:<15} {name:<12} {p:>9.0} {p_qp:>4.1} {r:>13.0} {r_qp:>4.1} \
                     {:>7.2}",
                    r / p
                );
            }
        }
    }
}

fn measure(
    encoder: &mut dyn Encoder,
    content: &str,
    size: Size,
    repair: Repair,
    repairs: u32,
) -> (Sum, Sum) {
    let mut film = Film::new(size, 1000, 1);
    let (still, _) = film.next();
    let mut before = None;
    let (mut plain, mut repaired) = (Sum::default(), Sum::default());
    for id in 0..(repairs + 2) * PERIOD {
        let mut picture = match content {
            "game" => film.next().0,
            _ => typed(&still, size, id),
        };
        // The first pictures settle the rate.
        let is_repair = id >= 2 * PERIOD && id % PERIOD == 0;
        let mut kind = PictureKind::Delta;
        if is_repair {
            match repair {
                Repair::Idr => kind = PictureKind::Idr,
                Repair::Recovery { after } | Repair::Repeat { after } => {
                    assert!(encoder.invalidate_references(FrameId(id - after)));
                }
            }
            if let (Repair::Repeat { .. }, Some(before)) = (repair, before.take()) {
                picture = before;
                (picture.damage.width, picture.damage.height) = (0, 0);
            }
        }
        let mut sink = Collector::default();
        let encoded = encoder
            .encode(&picture, FrameId(id), kind, &mut sink)
            .expect("encodes");
        if is_repair {
            repaired.add(encoded.bytes, encoded.qp);
        } else if id >= PERIOD && id % PERIOD > PERIOD / 2 {
            plain.add(encoded.bytes, encoded.qp);
        }
        before = Some(picture);
    }
    (plain, repaired)
}

/// A still picture in which lines of 400 × 24 pixels change one after the other.
fn typed(still: &Frame, size: Size, id: u32) -> Frame {
    let mut surface = MemorySurface::new(size, PixelFormat::Bgrx);
    let pixels = still.surface.map().expect("memory");
    surface.bytes_mut().copy_from_slice(pixels.bytes);
    let stride = surface.stride();
    let line = Rect {
        x: 100,
        y: 300,
        width: 400,
        height: 24,
    };
    for y in 300..324 {
        for x in 0..400 {
            let shade = ((x / 10 + y / 12) * 37 + id * 11) as u8;
            surface.bytes_mut()[y as usize * stride + 400 + x as usize * 4..][..4].fill(shade);
        }
    }
    frame(surface, if id == 0 { Rect::whole(size) } else { line })
}
