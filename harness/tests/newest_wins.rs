//! An encoder slower than the screen gets the newest picture, with the damage of all those that
//! it never saw, and the losers are counted.

use gpu::frame::Rect;
use harness::facts::eventually;
use harness::fakes::{EncoderRemote, Shape};
use harness::rig::{Rig, WHOLE};

const fn at(x: u16, y: u16, width: u16, height: u16) -> Rect {
    Rect {
        x,
        y,
        width,
        height,
    }
}

#[test]
fn displaced_pictures_are_counted_and_leave_their_damage_to_the_newest() {
    let rig = Rig::start(EncoderRemote::slow(Shape::default()));
    rig.capture.picture(WHOLE);
    let first = rig.encoder.next_call();
    assert_eq!((first.picture, first.damage), (0, WHOLE));

    // The encoder is busy with the first; of these only the last one is left.
    let damages = [at(10, 10, 5, 5), at(100, 20, 8, 4), at(40, 200, 2, 30)];
    for damage in damages {
        rig.capture.picture(damage);
    }
    eventually("two pictures have been displaced", || {
        rig.metrics.counters.snapshot().superseded == 2
    });
    rig.encoder.permit();
    let second = rig.encoder.next_call();
    assert_eq!(second.picture, 3, "the newest is encoded");
    assert_eq!(
        second.damage,
        at(10, 10, 98, 220),
        "with what changed since the first"
    );

    // Nothing was displaced this time: its damage is its own.
    rig.encoder.permit();
    rig.capture.picture(at(1, 2, 3, 4));
    let third = rig.encoder.next_call();
    assert_eq!((third.picture, third.damage), (4, at(1, 2, 3, 4)));
    rig.encoder.permit();
    eventually("all three are encoded", || {
        rig.metrics.counters.snapshot().encoded == 3
    });
    let counters = rig.metrics.counters.snapshot();
    assert_eq!((counters.captured, counters.superseded), (5, 2));
    rig.ends_clean();
}
