//! A still picture is refined until the client sees it well and then costs nothing; a client that
//! needs an IDR of it gets one at once.

use engine::stage::encode::EncodeCommand;
use gpu::encode::PictureKind;
use harness::facts::alone;
use harness::fakes::{EncoderRemote, Shape};
use harness::rig::{Rig, WHOLE};
use net::packetize::PacketizerConfig;
use net::units::FrameId;

/// Refresh intervals at this rate are short: stillness is told after three of them, so a few
/// hundredths of a second hold many chances to encode too much.
const FAST: &str = "320x240@240";
/// Longer than a hundred refreshes.
const MANY_REFRESHES: std::time::Duration = std::time::Duration::from_millis(500);

fn rig(qp: f32) -> Rig {
    let shape = Shape {
        qp,
        ..Shape::default()
    };
    Rig::with(
        EncoderRemote::new(shape, &[]),
        FAST,
        PacketizerConfig::default(),
    )
}

#[test]
fn a_good_picture_is_encoded_once() {
    let _alone = alone();
    let rig = rig(18.0);
    rig.capture.picture(WHOLE);
    assert_eq!(rig.encoder.next_call().picture, 0);
    assert_eq!(
        rig.encoder.call_within(MANY_REFRESHES),
        None,
        "stillness costs no encode"
    );
    rig.ends_clean();
}

#[test]
fn a_coarse_picture_is_refined_a_bounded_number_of_times() {
    let _alone = alone();
    // It never gets better, whatever is spent on it.
    let rig = rig(40.0);
    rig.capture.picture(WHOLE);
    assert_eq!(rig.encoder.next_call().damage, WHOLE);
    let mut refinements = 0;
    while let Some(call) = rig.encoder.call_within(MANY_REFRESHES) {
        assert_eq!((call.picture, call.kind), (0, PictureKind::Delta));
        assert!(call.damage.is_empty(), "nothing has changed");
        refinements += 1;
    }
    assert!((1..=12).contains(&refinements), "{refinements} refinements");
    assert_eq!(rig.capture.delivered(), 1);
    rig.ends_clean();
}

#[test]
fn a_keyframe_request_is_answered_at_once() {
    let _alone = alone();
    let mut rig = rig(18.0);
    rig.capture.picture(WHOLE);
    let lost = rig.peer.next_unit().frame;
    let before = rig.encoder.next_call();
    let request = EncodeCommand::Keyframe { newest_lost: lost };
    rig.pipeline.as_ref().expect("it runs").command(request);
    let call = rig.encoder.next_call();
    assert_eq!(
        (call.picture, call.kind),
        (before.picture, PictureKind::Idr)
    );
    let unit = rig.peer.next_unit();
    assert!(unit.keyframe && unit.frame == call.id);

    // The same request again names a loss that this IDR has mended already.
    rig.pipeline.as_ref().expect("it runs").command(request);
    assert_eq!(rig.encoder.call_within(MANY_REFRESHES), None);
    rig.ends_clean();
}

#[test]
fn a_request_before_the_first_picture_is_answered_by_it() {
    let _alone = alone();
    let rig = rig(18.0);
    let request = EncodeCommand::Keyframe {
        newest_lost: FrameId(0),
    };
    rig.pipeline.as_ref().expect("it runs").command(request);
    rig.capture.picture(WHOLE);
    assert_eq!(rig.encoder.next_call().kind, PictureKind::Idr);
    assert_eq!(
        rig.encoder.call_within(MANY_REFRESHES),
        None,
        "one IDR is enough"
    );
    rig.ends_clean();
}
