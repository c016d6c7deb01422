//! What the host encodes for a client that has lost frames: a picture that refers to none of
//! them, or an IDR, once for each loss and at once on a still screen.

use engine::stage::encode::EncodeCommand;
use gpu::encode::PictureKind;
use harness::facts::{alone, eventually};
use harness::fakes::{EncodeCall, EncoderRemote, Shape};
use harness::rig::{Rig, WHOLE};
use net::packetize::PacketizerConfig;
use net::units::FrameId;

/// Refresh intervals at this rate are short: whatever is encoded without a reason shows soon.
const FAST: &str = "320x240@240";
/// Longer than a hundred refreshes of the fast mode.
const MANY_REFRESHES: std::time::Duration = std::time::Duration::from_millis(500);

/// Slow enough that no picture counts as still while another is on its way to encode.
const SLOW: &str = "320x240@10";
/// A pipeline that has sent six pictures.
fn running(encoder: EncoderRemote, mode: &str) -> Rig {
    let mut rig = Rig::with(encoder, mode, PacketizerConfig::default());
    for frame in 0..6 {
        rig.encoder.permit();
        rig.capture.picture(WHOLE);
        assert_eq!(rig.encoder.next_call().id, FrameId(frame));
        assert_eq!(rig.peer.next_unit().frame, FrameId(frame));
    }
    rig
}

fn able() -> EncoderRemote {
    EncoderRemote::new(Shape::default(), &[])
}

fn tell(rig: &Rig, command: EncodeCommand) {
    rig.pipeline.as_ref().expect("it runs").command(command);
}

const fn lost(first: u32, newest: u32) -> EncodeCommand {
    EncodeCommand::Invalidate {
        first_lost: FrameId(first),
        newest_lost: FrameId(newest),
    }
}

/// The next picture is a recovery from `first` on, and says so to the client.
fn recovers_from(rig: &mut Rig, first: u32) -> EncodeCall {
    let call = rig.encoder.next_call();
    assert_eq!(call.kind, PictureKind::Delta);
    assert_eq!(call.recovers_from, Some(FrameId(first)));
    let unit = rig.peer.next_unit();
    assert_eq!(
        (unit.frame, unit.keyframe, unit.recovery),
        (call.id, false, true)
    );
    call
}

#[test]
fn a_loss_on_a_still_screen_is_recovered_from_at_once_and_once() {
    let _alone = alone();
    let mut rig = running(able(), FAST);
    tell(&rig, lost(3, 4));
    let call = recovers_from(&mut rig, 3);
    assert_eq!((call.id, call.picture), (FrameId(6), 5));
    assert!(call.damage.is_empty(), "nothing has changed");
    // The recovery has answered this already, and 7 was never sent.
    tell(&rig, lost(3, 5));
    tell(&rig, lost(7, 7));
    assert_eq!(rig.encoder.call_within(MANY_REFRESHES), None);
    assert_eq!(rig.encoder.invalidations(), 1);
    rig.ends_clean();
}

#[test]
fn a_recovery_that_is_lost_is_followed_by_another() {
    let _alone = alone();
    let mut rig = running(able(), FAST);
    tell(&rig, lost(4, 4));
    assert_eq!(recovers_from(&mut rig, 4).id, FrameId(6));
    tell(&rig, lost(4, 6));
    assert_eq!(recovers_from(&mut rig, 4).id, FrameId(7));
    rig.ends_clean();
}

#[test]
fn while_pictures_come_the_next_one_is_the_recovery() {
    let _alone = alone();
    let mut rig = running(EncoderRemote::slow(Shape::default()), SLOW);
    rig.capture.picture(WHOLE);
    assert_eq!(rig.encoder.next_call().recovers_from, None);
    // While that one is being encoded, both the report and a picture come.
    tell(&rig, lost(4, 4));
    rig.capture.picture(WHOLE);
    eventually("both have come", || rig.capture.delivered() == 8);
    rig.encoder.permit();
    assert_eq!(rig.peer.next_unit().frame, FrameId(6));
    rig.encoder.permit();
    let call = recovers_from(&mut rig, 4);
    assert_eq!((call.id, call.picture), (FrameId(7), 7));
    assert_eq!(call.damage, WHOLE);
    rig.ends_clean();
}

#[test]
fn a_client_that_stands_still_for_long_is_not_kept_waiting_for_the_next_picture() {
    let _alone = alone();
    let mut rig = running(able(), SLOW);
    tell(&rig, lost(3, 5));
    let repeat = recovers_from(&mut rig, 3);
    assert_eq!((repeat.id, repeat.picture), (FrameId(6), 5));
    assert!(repeat.damage.is_empty(), "nothing has changed");
    rig.ends_clean();
}

#[test]
fn an_encoder_that_cannot_makes_an_idr() {
    let _alone = alone();
    let shape = Shape {
        recovers: false,
        ..Shape::default()
    };
    let mut rig = running(EncoderRemote::new(shape, &[]), FAST);
    tell(&rig, lost(4, 4));
    let call = rig.encoder.next_call();
    assert_eq!((call.id, call.kind), (FrameId(6), PictureKind::Idr));
    assert!(rig.peer.next_unit().keyframe);
    tell(&rig, lost(4, 5));
    assert_eq!(rig.encoder.call_within(MANY_REFRESHES), None);
    rig.ends_clean();
}

#[test]
fn a_recovery_is_no_answer_to_a_wish_for_an_idr() {
    let _alone = alone();
    let mut rig = running(able(), FAST);
    tell(&rig, lost(4, 4));
    let _ = recovers_from(&mut rig, 4);
    tell(
        &rig,
        EncodeCommand::Keyframe {
            newest_lost: FrameId(4),
        },
    );
    let call = rig.encoder.next_call();
    assert_eq!((call.id, call.kind), (FrameId(7), PictureKind::Idr));
    // To an earlier loss, though, the IDR is.
    tell(&rig, lost(4, 6));
    assert_eq!(rig.encoder.call_within(MANY_REFRESHES), None);
    rig.ends_clean();
}
