//! An encoder that cannot follow is given fewer pictures, never too old a one, and the last one of
//! a screen that comes to rest in any case.

use std::num::NonZeroU8;
use std::time::Duration;

use engine::stage::encode::EncodeCommand;
use gpu::encode::PictureKind;
use gpu::frame::Rect;
use harness::facts::eventually;
use harness::fakes::{EncoderRemote, Shape};
use harness::rig::{Rig, WHOLE};
use net::packetize::PacketizerConfig;
use net::steering::{Orders, unsteered};
use net::units::FrameId;

const LEFT: Rect = Rect {
    x: 0,
    y: 0,
    width: 10,
    height: 10,
};
const RIGHT: Rect = Rect {
    x: 100,
    y: 0,
    width: 10,
    height: 10,
};

fn one_of(pictures: u8) -> Orders {
    Orders {
        frame_divisor: NonZeroU8::new(pictures).expect("not zero"),
        ..unsteered(PacketizerConfig::default().protection)
    }
}

#[test]
fn of_pictures_that_are_left_out_the_newest_is_encoded() {
    let rig = Rig::start(EncoderRemote::new(Shape::default(), &[]));
    rig.steering.orders.set(&one_of(4));
    rig.capture.picture(WHOLE);
    assert_eq!(
        rig.encoder.next_call().picture,
        0,
        "the first is never late"
    );
    // Nothing comes after it, so it is encoded when its time is over.
    rig.capture.picture(LEFT);
    let call = rig.encoder.next_call();
    assert_eq!((call.picture, call.damage), (1, LEFT));
    rig.ends_clean();
}

#[test]
fn a_picture_that_was_left_out_leaves_its_damage_to_the_next() {
    let rig = Rig::start(EncoderRemote::new(Shape::default(), &[]));
    // Four seconds: nothing is due in this test's time.
    rig.steering.orders.set(&one_of(255));
    rig.capture.picture(WHOLE);
    assert_eq!(rig.encoder.next_call().picture, 0);
    rig.capture.picture(LEFT);
    rig.capture.picture(RIGHT);
    eventually("the first of them is left out", || {
        rig.metrics.counters.snapshot().superseded == 1
    });
    // A request for an IDR does not wait, and what was held back is what it shows.
    let pipeline = rig.pipeline.as_ref().expect("it runs");
    pipeline.command(EncodeCommand::Keyframe {
        newest_lost: FrameId(0),
    });
    let call = rig.encoder.next_call();
    assert_eq!((call.picture, call.kind), (2, PictureKind::Idr));
    assert_eq!(call.damage, LEFT.union(RIGHT));
    rig.ends_clean();
}

#[test]
fn control_hears_how_long_pictures_take() {
    let rig = Rig::start(EncoderRemote::slow(Shape::default()));
    assert_eq!(rig.steering.load.take(), None);
    for picture in 0..3 {
        rig.capture.picture(WHOLE);
        assert_eq!(rig.encoder.next_call().picture, picture);
        rig.encoder.permit();
    }
    eventually("three are encoded", || {
        rig.metrics.counters.snapshot().encoded == 3
    });
    let mean = rig.steering.load.take().expect("three were encoded");
    assert!(mean > Duration::ZERO, "{mean:?}");
    assert_eq!(rig.steering.load.take(), None, "each is told once");
    rig.ends_clean();
}
