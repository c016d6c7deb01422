//! What protect makes of control's tasks: the probe of a size leaves behind the frame in work, the
//! last column of a frame leaves again only while nothing follows it.

use engine::steering::Departed;
use harness::PATIENCE;
use harness::facts::alone;
use harness::fakes::{EncoderRemote, Shape};
use harness::rig::{Rig, WHOLE};
use net::limits::DATAGRAM_BYTES_MAX;
use net::packetize::{Columns, PacketizerConfig};
use net::rate::SentKind;
use net::steering::Task;
use net::units::FrameId;

fn rig() -> Rig {
    let shape = Shape {
        // Good at once: it is not refined.
        qp: 18.0,
        ..Shape::default()
    };
    let encoder = EncoderRemote::new(shape, &[]);
    Rig::with(encoder, "320x240@240", PacketizerConfig::default())
}

fn departed(rig: &Rig) -> Departed {
    let departures = &rig.steering.departures;
    departures.recv_timeout(PATIENCE).expect("something leaves")
}

/// The frame's departures up to its last slice; its columns.
fn frame(rig: &mut Rig, number: u32) -> u16 {
    rig.capture.picture(WHOLE);
    assert_eq!(rig.peer.next_unit().frame, FrameId(number));
    let data = rig.peer.headers.iter();
    let columns = data.filter(|header| header.frame().frame == FrameId(number));
    let columns = columns.filter_map(|header| match header {
        net::media::VideoHeader::Data(data) => Some(data.column + 1),
        net::media::VideoHeader::Parity(_) => None,
    });
    columns.max().expect("a frame has columns")
}

fn next_but_video(rig: &Rig) -> Departed {
    loop {
        let departed = departed(rig);
        if departed.sent.kind != SentKind::Video {
            return departed;
        }
    }
}

#[test]
fn a_still_picture_has_its_end_repeated_and_a_size_tried() {
    let _alone = alone();
    let mut rig = rig();
    // Before the first frame nothing is tried.
    let datagram_bytes = DATAGRAM_BYTES_MAX as u16;
    let tasks = rig.steering.tasks.clone();
    tasks
        .send(Task::MtuProbe { datagram_bytes })
        .expect("protect runs");
    let columns = frame(&mut rig, 0);
    let first = departed(&rig);
    assert_eq!(first.sent.kind, SentKind::Video);
    let probe = next_but_video(&rig);
    assert_eq!(
        (probe.sent.kind, probe.sent.datagrams),
        (SentKind::MtuProbe, 1)
    );
    assert_eq!(usize::from(probe.sent.datagram_bytes), DATAGRAM_BYTES_MAX);
    assert!(!probe.is_refused);

    let last = Columns {
        frame: FrameId(0),
        range: columns - 1..columns,
    };
    tasks.send(Task::Tail(last)).expect("protect runs");
    let tail = next_but_video(&rig);
    assert_eq!((tail.sent.kind, tail.sent.burst), (SentKind::Repeat, 0));
    assert_eq!(tail.sent.datagrams, 1);
    drop(tasks);
    rig.ends_clean();
}
