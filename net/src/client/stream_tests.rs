//! What feedback says of damage, and when: a host's packetizer before the stream, datagrams left
//! out on purpose.

use std::ops::Range;

use super::*;
use crate::crypto::{Aead, EXPORTER_BYTES, MediaKeys};
use crate::feedback::Damage;
use crate::packetize::{Batch, Packetizer, PacketizerConfig, SliceMeta};
use crate::units::SliceIndex;

fn keys(direction: u8) -> MediaKeys {
    MediaKeys::from_exporter(Aead::Aes128Gcm, &mut [direction; EXPORTER_BYTES])
}

fn at(us: u64) -> Timestamp {
    Timestamp::from_ns(1_000_000_000 + us * 1000)
}

struct Path {
    packetizer: Packetizer,
    stream: MediaStream,
    opener: Opener,
}

impl Path {
    fn new() -> Self {
        Self::with(Granularity::Frames)
    }

    fn with(granularity: Granularity) -> Self {
        let (opener, sealer) = (Opener::new(keys(1)), Sealer::new(keys(2)));
        let config = ReassemblerConfig {
            granularity,
            ..ReassemblerConfig::default()
        };
        Self {
            packetizer: Packetizer::new(Sealer::new(keys(1)), PacketizerConfig::default()),
            stream: MediaStream::new(at(0), opener, sealer, config),
            opener: Opener::new(keys(2)),
        }
    }

    /// Sends a frame of three datagrams and parity at `us`, without the first `lost` of them.
    fn frame(&mut self, us: u64, frame: u32, lost: usize) {
        let meta = SliceMeta {
            frame: FrameId(frame),
            index: SliceIndex(0),
            last: true,
            keyframe: frame == 0,
            recovery: false,
            captured: at(us),
        };
        self.packetizer
            .begin(&meta, &[7; 4000])
            .expect("a small slice");
        let mut batch = Batch::new();
        let mut sent = 0;
        while self.packetizer.next_batch(&mut batch) {
            for datagram in batch.iter() {
                sent += 1;
                if sent > lost {
                    let taken = self.stream.handle_datagram(at(us), &mut datagram.to_vec());
                    taken.expect("an honest host's");
                }
            }
        }
    }

    /// Sends a frame of four slices at `us`; those in `late` are on their way still.
    fn sliced(&mut self, us: u64, frame: u32, recovery: bool, late: Range<u8>) -> Vec<Vec<u8>> {
        let (mut comes, mut held) = (Vec::new(), Vec::new());
        for index in 0..4 {
            let meta = SliceMeta {
                frame: FrameId(frame),
                index: SliceIndex(index),
                last: index == 3,
                keyframe: frame == 0,
                recovery,
                captured: at(us),
            };
            self.packetizer
                .begin(&meta, &[index; 600])
                .expect("a small slice");
            let mut batch = Batch::new();
            while self.packetizer.next_batch(&mut batch) {
                let datagrams = batch.iter().map(<[u8]>::to_vec);
                let way = if late.contains(&index) {
                    &mut held
                } else {
                    &mut comes
                };
                way.extend(datagrams);
            }
        }
        self.take(us, comes);
        held
    }

    fn take(&mut self, us: u64, datagrams: Vec<Vec<u8>>) {
        for mut datagram in datagrams {
            let taken = self.stream.handle_datagram(at(us), &mut datagram);
            taken.expect("an honest host's");
        }
    }

    /// All events at `us`, each a word; the decoder takes units up to the `room`th, and what it is
    /// given does not wait.
    fn events(&mut self, us: u64, room: usize) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(event) = self.stream.poll(at(us)) {
            events.push(match event {
                StreamEvent::Unit(unit) if events.len() >= room => {
                    self.stream.overrun(unit.frame);
                    format!("overrun {}", unit.frame.0)
                }
                StreamEvent::Unit(unit) => {
                    self.stream.delivered(unit.frame, unit.keyframe);
                    self.stream.set_decoder_load(DecoderLoad::default());
                    let [begins, ends] = [unit.begins, unit.ends].map(u8::from);
                    let first = unit.bytes()[0];
                    format!("unit {} {begins}{ends} from {first}", unit.frame.0)
                }
                StreamEvent::Hidden(frame) => format!("hidden {}", frame.0),
                StreamEvent::Lost(loss) => format!("lost {}", loss.first.0),
                StreamEvent::Repair(_) => continue,
            });
        }
        events
    }

    /// All events at `us`: the units delivered, and whether frames were lost.
    fn drain(&mut self, us: u64) -> (Vec<u32>, bool) {
        let (mut units, mut is_lost) = (Vec::new(), false);
        while let Some(event) = self.stream.poll(at(us)) {
            match event {
                StreamEvent::Unit(unit) => {
                    self.stream.delivered(unit.frame, unit.keyframe);
                    units.push(unit.frame.0);
                }
                StreamEvent::Lost(_) => is_lost = true,
                StreamEvent::Hidden(_) | StreamEvent::Repair(_) => {}
            }
        }
        (units, is_lost)
    }

    fn feedback(&mut self, us: u64) -> Option<Feedback> {
        let mut datagram = [0; DATAGRAM_BYTES_MAX];
        let bytes = self.stream.poll_feedback(at(us), &mut datagram)?;
        let plaintext = media::open_plain(&mut self.opener, &mut datagram[..bytes]);
        let plaintext = plaintext.expect("sealed for the host");
        Some(Feedback::parse(plaintext).expect("well formed"))
    }
}

/// Frame 1 is lost for good; when the stream says so, in µs.
fn damaged() -> (Path, u64) {
    let mut path = Path::new();
    path.frame(0, 0, 0);
    assert_eq!(path.drain(0).0, [0]);
    assert!(path.feedback(0).is_some());
    path.frame(16_667, 1, 9);
    path.frame(33_333, 2, 0);
    for us in (33_333..200_000).step_by(100) {
        if path.drain(us).1 {
            return (path, us);
        }
        path.feedback(us);
    }
    panic!("frame 1 is never given up");
}

#[test]
fn damage_is_said_with_the_first_feedback_after_the_loss() {
    let (mut path, lost) = damaged();
    let damage = Some(Damage {
        first_lost: FrameId(1),
        newest_lost: FrameId(1),
    });
    let next = (lost..lost + 1000).step_by(100);
    let said = next.map(|us| path.feedback(us)).find_map(|it| it);
    assert_eq!(said.expect("within a millisecond").damage, damage);
}

#[test]
fn damage_is_said_each_millisecond_for_a_while_and_until_it_is_healed() {
    let (mut path, lost) = damaged();
    let mut said = [0; 2];
    for us in (lost..lost + 600_000).step_by(250) {
        path.drain(us);
        let is_early = us < lost + 300_000;
        said[usize::from(!is_early)] += usize::from(path.feedback(us).is_some());
    }
    assert!((280..=320).contains(&said[0]), "{said:?}");
    // Then as requests are due, with what the schedule adds to each.
    assert!((1..=40).contains(&said[1]), "{said:?}");

    let (mut path, lost) = damaged();
    for frame in 3..5 {
        path.frame(lost + 500, frame, 0);
        path.drain(lost + 500);
    }
    assert!(
        path.feedback(lost + 5000)
            .is_some_and(|it| it.damage.is_some())
    );
    path.stream.delivered(FrameId(5), true);
    let healed = path.feedback(lost + 10_000).expect("said at once");
    assert_eq!(healed.damage, None);
}

#[test]
fn a_first_picture_that_is_lost_is_damage_too() {
    let mut path = Path::new();
    path.frame(0, 1, 0);
    let given_up = (0..100_000).step_by(100).find(|us| path.drain(*us).1);
    let given_up = given_up.expect("frame 0 does not come");
    let said = path
        .feedback(given_up + 1000)
        .expect("there is something to say");
    assert!(said.damage.is_some());
}

/// With parity that repairs nothing, so that what does not come is missing.
fn by_slices() -> Path {
    let mut path = Path::with(Granularity::Slices);
    path.packetizer
        .set_protection(crate::packetize::Protection::at_frame_end(0));
    path
}

#[test]
fn a_frame_that_was_begun_and_is_lost_never_ends() {
    let mut path = by_slices();
    path.sliced(0, 0, false, 0..0);
    assert_eq!(path.events(0, 9), ["unit 0 11 from 0"]);
    path.sliced(1000, 1, false, 2..3);
    assert_eq!(path.events(1000, 9), ["unit 1 10 from 0"]);
    let mut feedback = || path.feedback(1000).expect("the first");
    assert_eq!(feedback().last_good, Some(FrameId(0)), "1 is not whole");
    path.sliced(2000, 2, false, 0..0);
    let events: Vec<_> = (2000..200_000)
        .step_by(1000)
        .flat_map(|us| path.events(us, 9))
        .collect();
    assert_eq!(events, ["lost 1", "hidden 2"]);
    // A recovery ends it, and comes by slices as well.
    path.sliced(300_000, 3, true, 3..4);
    assert_eq!(path.events(300_000, 9), ["unit 3 10 from 0"]);
    assert!(
        path.stream.delivery.damage().is_some(),
        "it may be lost yet"
    );
}

#[test]
fn no_part_is_offered_while_something_waits() {
    let mut path = by_slices();
    path.sliced(0, 0, false, 0..0);
    assert_eq!(path.events(0, 9).len(), 1);
    let busy = DecoderLoad {
        decode_us: 20_000,
        waiting_units: 1,
    };
    path.stream.set_decoder_load(busy);
    path.sliced(1000, 1, false, 3..4);
    assert!(path.stream.poll(at(1000)).is_none());
    path.stream.set_decoder_load(DecoderLoad::default());
    assert_eq!(path.events(1000, 9), ["unit 1 10 from 0"]);
}

#[test]
fn of_a_frame_without_room_at_its_beginning_nothing_more_is_offered() {
    let mut path = by_slices();
    // An IDR: any part of it that is judged by itself would be delivered.
    let rest = path.sliced(0, 0, false, 3..4);
    assert_eq!(path.events(0, 0), ["overrun 0"]);
    path.take(100, rest);
    assert_eq!(path.events(100, 9), ["hidden 0"]);
    assert_eq!(path.feedback(100).expect("the first").last_good, None);
}

#[test]
fn a_frame_whose_beginning_failed_goes_no_further() {
    // The decoder speaks of the frame that it has begun, or late, of the one before, or of an IDR.
    for (begun, failed, is_over) in [(1, 0, true), (1, 1, true), (0, 0, true), (1, 9, false)] {
        let mut path = by_slices();
        if begun == 1 {
            path.sliced(0, 0, false, 0..0);
            path.events(0, 9);
        }
        let rest = path.sliced(1000, begun, false, 3..4);
        let begins = format!("unit {begun} 10 from 0");
        assert_eq!(path.events(1000, 9), [begins]);
        if is_over {
            path.stream.undecodable(FrameId(failed));
        }
        path.take(2000, rest);
        let events = path.events(2000, 9);
        if is_over {
            assert_eq!(events, [format!("hidden {begun}")]);
            let damage = path.stream.delivery.damage().expect("an IDR is due");
            assert_eq!(damage.first_lost, FrameId(failed));
        } else {
            assert_eq!(events, [format!("unit {begun} 01 from 3")]);
            assert_eq!(path.stream.delivery.damage(), None);
        }
    }
}
