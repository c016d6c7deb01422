//! The client as `connect` runs it, by every decoder of this machine: frames of which only the first
//! slices ever come are stepped over, nothing fails, and a decoder that takes slices begins before a
//! frame is there.

use std::time::Duration;

use crossbeam::channel::{Sender, bounded};
use engine::client::{ClientFrame, DecoderChoice, Outcome, Outputs, PictureObserver, Viewer};
use gpu::bitstream::nals;
use gpu::decode::openh264::OpenH264Decoder;
use gpu::decode::{Decoder, Picture, candidates};
use harness::PATIENCE;
use harness::loopback::{LoopbackHost, encoders, hello};
use harness::relay::{Relay, Way};
use net::client::{ConnectOptions, Trust};
use net::identity::Identity;
use net::media::VideoHeader;
use net::units::FrameId;

const PICTURES: usize = 90;

/// Tells of each picture whether the decoder had begun with it before it was there.
struct Watcher {
    begun_early: Sender<bool>,
}

impl PictureObserver for Watcher {
    fn picture(&mut self, frame: &ClientFrame, picture: &Picture<'_>) {
        assert_eq!((picture.width, picture.height), (1280, 720));
        // Full: the test has seen enough.
        let _ = self
            .begun_early
            .try_send(frame.decode_begin < frame.complete);
    }
}

/// Of every tenth frame only the first two slices pass, whatever is repeated.
fn passes(way: Way, _datagram: &[u8], media: Option<&VideoHeader>) -> bool {
    let is_cut = |header: &VideoHeader| match header {
        VideoHeader::Data(data) => data.descriptor.slice.0 > 1,
        VideoHeader::Parity(_) => true,
    };
    way == Way::Up || media.is_none_or(|header| header.frame().frame.0 % 10 != 5 || !is_cut(header))
}

/// A session until so many pictures came and, where `early` is wanted, one of them was begun early.
fn watch(choice: DecoderChoice, early: bool, outputs: Outputs) -> (Outcome, bool) {
    let host = LoopbackHost::synthetic(&[]);
    let relay = Relay::new(host.address(), Box::new(passes));
    let options = ConnectOptions {
        host: relay.address(),
        identity: Identity::generate().expect("an identity"),
        trust: Trust::FirstUse,
        hello: hello("1280x720@30"),
    };
    let (begun_early, pictures) = bounded(1 << 14);
    let observer = Box::new(Watcher { begun_early });
    let mut viewer = Viewer::connect(options, choice, outputs, Some(observer)).expect("a session");
    let deadline = std::time::Instant::now() + PATIENCE;
    let (mut count, mut is_early) = (0, false);
    while count < PICTURES || early && !is_early {
        assert!(std::time::Instant::now() < deadline, "{count} pictures");
        assert!(viewer.run_for(Duration::from_millis(50), || false));
        for early in pictures.try_iter() {
            count += 1;
            is_early |= early;
        }
    }
    (viewer.finish().expect("results"), is_early)
}

#[test]
fn every_decoder_goes_through_losses_without_a_failure() {
    if !encoders().contains(&"x264") {
        println!("not tested: without x264 a picture is one slice, and a loss takes an IDR");
        return;
    }
    for kind in candidates() {
        if let Err((reason, _)) = (kind.probe)() {
            println!("{} is not here: {reason}", kind.name);
            continue;
        }
        let takes_slices = (kind.open)().expect("opens").capabilities().takes_slices;
        for whole_frames in [false, true] {
            if whole_frames && !takes_slices {
                continue;
            }
            let directory = tempfile::tempdir().expect("a directory");
            let h264 = directory.path().join("out.h264");
            let outputs = Outputs {
                wave: None,
                h264: Some(h264.clone()),
                png: None,
            };
            let choice = DecoderChoice { kind, whole_frames };
            let early = takes_slices && !whole_frames;
            let (outcome, was_early) = watch(choice, early, outputs);
            println!("{}, {whole_frames}: {:?}", kind.name, outcome.received);
            assert_eq!(outcome.decode_failures, 0, "{}", kind.name);
            // Each is lost, and what follows it is hidden until a recovery.
            assert!(outcome.received.frames_lost > 3, "{:?}", outcome.received);
            assert_eq!(was_early, early, "{}", kind.name);
            assert!(outcome.frames.iter().all(|frame| !frame.decoded.is_zero()));
            plays(&h264);
        }
    }
}

/// What was recorded is a stream that any player takes: it is given to one in one piece for each
/// picture, as a file would be cut.
fn plays(path: &std::path::Path) {
    let stream = std::fs::read(path).expect("recorded");
    let mut decoder = OpenH264Decoder::open().expect("opens");
    let (mut unit, mut shown) = (Vec::new(), 0);
    let mut id = 0;
    let mut play = |unit: &mut Vec<u8>| {
        if !unit.is_empty() {
            let picture = decoder.decode(FrameId(id), unit).expect("it plays");
            shown += usize::from(picture.is_some());
            id += 1;
        }
        unit.clear();
    };
    for nal in nals(&stream) {
        let begins = nal.first_mb() == Some(0) || !nal.kind.is_slice();
        let has_slice = nals(&unit).any(|before| before.kind.is_slice());
        if begins && has_slice {
            play(&mut unit);
        }
        unit.extend_from_slice(&[0, 0, 0, 1]);
        unit.extend_from_slice(nal.bytes);
    }
    play(&mut unit);
    assert!(shown >= PICTURES, "{shown}");
}
