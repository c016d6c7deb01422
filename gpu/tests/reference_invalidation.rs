//! Losses at random, reported late, and answered by recovery pictures: what a client shows is
//! what the encoder meant, to the bit, and no IDR is needed. A decoder that takes slices gets the
//! first ones of what is lost, too.
#![cfg(feature = "x264")]

mod content;

use std::collections::VecDeque;

use content::{Collector, Film, Random, pixels};
use gpu::decode::openh264::OpenH264Decoder;
use gpu::decode::{Decoder, DecoderKind, Part, candidates};
use gpu::encode::x264::X264Encoder;
use gpu::encode::{Encoder, EncoderConfig, PictureKind};
use gpu::frame::Size;
use net::units::{BitsPerSecond, FrameId, Mode, SliceCount};

const SIZE: Size = Size {
    width: 320,
    height: 192,
};
const FRAMES: u32 = 200;
/// A report reaches the encoder so many frames after the loss: 50 ms at 60 Hz.
const REPORT_FRAMES: u32 = 3;
/// Of eight references none would be left if a loss were answered later than this.
const LOST_AFTER_FIRST_MAX: u32 = 3;

/// A client's hole: the first and the newest frame lost.
#[derive(Clone, Copy, PartialEq)]
struct Hole {
    first: u32,
    newest: u32,
}

/// What a run came to.
#[derive(Default, Debug)]
struct Tally {
    lost: u32,
    hidden: u32,
    recoveries: u32,
    recoveries_lost: u32,
    /// Of the lost ones, those that the decoder had begun.
    begun: u32,
}

/// The film's encoder with the rule of the encode stage: reports that are answered are dropped.
struct Host {
    encoder: X264Encoder,
    film: Film,
    answered: u32,
    recovery_due: bool,
}

impl Host {
    fn new(slices: u8, threads: u8, seed: u64) -> Self {
        let config = EncoderConfig {
            mode: Mode::new(SIZE.width.into(), SIZE.height.into(), 60_000).expect("valid"),
            bitrate: BitsPerSecond::from_kbps(3_000),
            slices: SliceCount::new(slices).expect("valid"),
            threads,
        };
        Self {
            encoder: X264Encoder::open(&config).expect("opens"),
            film: Film::new(SIZE, 70, seed),
            answered: 0,
            recovery_due: false,
        }
    }

    fn report(&mut self, hole: Hole) {
        if self.answered <= hole.newest {
            assert!(self.encoder.invalidate_references(FrameId(hole.first)));
            self.recovery_due = true;
        }
    }

    /// The slices and whether they are a recovery.
    fn encode(&mut self, id: u32) -> (Vec<Vec<u8>>, bool) {
        let mut sink = Collector::default();
        let (source, _) = self.film.next();
        self.encoder
            .encode(&source, FrameId(id), PictureKind::Delta, &mut sink)
            .expect("encodes");
        let info = sink.slices[0].1;
        assert_eq!(info.keyframe, id == 0, "{id}");
        assert_eq!(info.recovery, self.recovery_due, "{id}");
        if info.recovery {
            self.answered = id;
        }
        self.recovery_due = false;
        let slices = sink.slices.drain(..).map(|(bytes, _)| bytes);
        (slices.collect(), info.recovery)
    }
}

/// Decodes the slices one by one, or at once where the decoder wants them so.
fn shown(decoder: &mut dyn Decoder, id: u32, slices: &[Vec<u8>]) -> Vec<u8> {
    let concatenated = [slices.concat()];
    let parts = if decoder.capabilities().takes_slices {
        slices
    } else {
        &concatenated
    };
    for (index, bytes) in parts.iter().enumerate() {
        let part = Part {
            begins: index == 0,
            ends: index + 1 == parts.len(),
        };
        match decoder.decode_part(FrameId(id), part, bytes) {
            Ok(Some(picture)) if part.ends => return pixels(&picture),
            Ok(None) if !part.ends => {}
            Ok(picture) => panic!("frame {id}, part {index}: {picture:?}"),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("frame {id} has no slices")
}

/// Gives the decoder the first slices of a frame that it never gets the rest of.
fn begin(decoder: &mut dyn Decoder, id: u32, slices: &[Vec<u8>], random: &mut Random) -> bool {
    let count = random.below(slices.len() as u64) as usize;
    if !decoder.capabilities().takes_slices || count == 0 {
        return false;
    }
    for (index, bytes) in slices[..count].iter().enumerate() {
        let part = Part {
            begins: index == 0,
            ends: false,
        };
        match decoder.decode_part(FrameId(id), part, bytes) {
            Ok(None) => {}
            other => panic!("frame {id}, part {index}: {other:?}"),
        }
    }
    true
}

fn run(kind: &DecoderKind, slices: u8, threads: u8, seed: u64) -> Tally {
    let mut host = Host::new(slices, threads, seed);
    let mut whole = OpenH264Decoder::open().expect("opens");
    let mut lossy = (kind.open)().expect("opens");
    let lossy = lossy.as_mut();
    let mut random = Random::new(seed);
    let mut reports = VecDeque::new();
    let (mut hole, mut run_left) = (None::<Hole>, 0);
    let mut tally = Tally::default();
    for id in 0..FRAMES {
        while let Some((_, hole)) = reports.pop_front_if(|(due, _)| *due <= id) {
            host.report(hole);
        }
        let (unit, recovery) = host.encode(id);
        let want = shown(&mut whole, id, &unit);
        if run_left == 0 && random.below(8) == 0 {
            run_left = 1 + random.below(3);
        }
        let bearable = hole.is_none_or(|hole| id - hole.first <= LOST_AFTER_FIRST_MAX);
        if id > 0 && run_left > 0 && bearable {
            run_left -= 1;
            let first = hole.map_or(id, |hole| hole.first);
            let wider = Hole { first, newest: id };
            hole = Some(wider);
            reports.push_back((id + REPORT_FRAMES, wider));
            tally.lost += 1;
            tally.recoveries_lost += u32::from(recovery);
            // What follows the first of a hole is hidden unless it is a recovery.
            if hole
                == Some(Hole {
                    first: id,
                    newest: id,
                })
                || recovery
            {
                tally.begun += u32::from(begin(lossy, id, &unit, &mut random));
            }
            continue;
        }
        if hole.is_some() && !recovery {
            tally.hidden += 1;
            continue;
        }
        hole = None;
        tally.recoveries += u32::from(recovery);
        let got = shown(lossy, id, &unit);
        assert!(got == want, "seed {seed}: frame {id} differs: {tally:?}");
    }
    tally
}

#[test]
fn whatever_is_lost_all_that_is_shown_is_exact_and_takes_no_idr() {
    for kind in candidates() {
        if let Err((reason, _)) = (kind.probe)() {
            println!("{} is not here: {reason}", kind.name);
            continue;
        }
        for (slices, threads, seed) in [(1, 1, 1), (4, 1, 2), (4, 2, 3), (8, 1, 4), (4, 1, 5)] {
            let tally = run(kind, slices, threads, seed);
            println!("{}, seed {seed}: {tally:?}", kind.name);
            assert!(tally.recoveries >= 8, "seed {seed}: {tally:?}");
            assert!(tally.recoveries_lost >= 1, "seed {seed}: {tally:?}");
            let takes_slices = (kind.open)().expect("opens").capabilities().takes_slices;
            assert_eq!(
                tally.begun > 0,
                takes_slices && slices > 1,
                "seed {seed}: {tally:?}"
            );
        }
    }
}
