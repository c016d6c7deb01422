//! What feedback says of damage, and when: a host's packetizer before the stream, datagrams left
//! out on purpose.

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
        let (opener, sealer) = (Opener::new(keys(1)), Sealer::new(keys(2)));
        let config = ReassemblerConfig::default();
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
