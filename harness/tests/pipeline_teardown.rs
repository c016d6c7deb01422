//! Whichever stage of a pipeline ends first, and for whatever reason, all of it ends: every thread
//! is joined, every capture buffer given back, and the reason is told.

use engine::stage::StageFault;
use harness::facts::{alone, eventually, threads};
use harness::fakes::{EncoderRemote, Fault, Shape, slice_bytes};
use harness::rig::{Rig, THREADS, WHOLE};
use net::packetize::{PacketizerConfig, Protection};
use rustix::net::Shutdown;

fn working() -> EncoderRemote {
    EncoderRemote::new(Shape::default(), &[])
}

/// Sends a picture through all stages and checks every byte of it at the peer.
fn passes_a_picture(rig: &mut Rig) {
    rig.capture.picture(WHOLE);
    let unit = rig.peer.next_unit();
    let shape = Shape::default();
    let sent: Vec<u8> = (0..shape.slices)
        .flat_map(|index| slice_bytes(unit.frame, index, shape.slice_bytes))
        .collect();
    assert!(
        unit.bytes() == sent,
        "{} arrives as it was encoded",
        unit.frame
    );
}

#[test]
fn the_owner_drops_it_before_the_first_picture() {
    let _alone = alone();
    let rig = Rig::start(working());
    assert_eq!(threads(THREADS).len(), 4, "{:?}", threads(THREADS));
    rig.ends_clean();
}

#[test]
fn the_owner_drops_it_while_the_picture_is_still() {
    let _alone = alone();
    let mut rig = Rig::start(working());
    passes_a_picture(&mut rig);
    rig.ends_clean();
}

#[test]
fn the_owner_drops_it_in_the_middle_of_a_stream() {
    let _alone = alone();
    let mut rig = Rig::start(working());
    for _ in 0..50 {
        passes_a_picture(&mut rig);
    }
    for _ in 0..50 {
        rig.capture.picture(WHOLE);
    }
    rig.ends_clean();
}

#[test]
fn the_owner_drops_it_while_encode_waits_for_a_buffer() {
    let _alone = alone();
    // More slices than pool and channel hold together, each dear to protect.
    let shape = Shape {
        slices: 32,
        slice_bytes: 90_000,
        ..Shape::default()
    };
    let config = PacketizerConfig {
        protection: Protection::at_frame_end(100),
        ..PacketizerConfig::default()
    };
    let rig = Rig::with(EncoderRemote::new(shape, &[]), "320x240@60", config);
    eventually("encode waits for a buffer of the slice pool", || {
        rig.capture.picture(WHOLE);
        rig.encoder.is_waiting_for_a_buffer()
    });
    rig.ends_clean();
}

#[test]
fn the_capture_ends_before_the_first_picture() {
    let _alone = alone();
    let rig = Rig::start(working());
    rig.capture.fail("the compositor is gone");
    let fault = rig.fault();
    assert!(matches!(fault, StageFault::Capture(_)), "{fault:?}");
    assert_eq!(fault.to_string(), "capture ended: the compositor is gone");
    rig.ends_by_itself();
    rig.ends_clean();
}

#[test]
fn the_capture_ends_in_the_middle_of_a_stream() {
    let _alone = alone();
    let mut rig = Rig::start(working());
    for _ in 0..10 {
        passes_a_picture(&mut rig);
    }
    rig.capture.picture(WHOLE);
    rig.capture.fail("the compositor is gone");
    assert!(matches!(rig.fault(), StageFault::Capture(_)));
    rig.ends_by_itself();
    rig.ends_clean();
}

#[test]
fn an_encoder_that_fails_once_is_opened_anew_and_goes_on_with_an_idr() {
    for fault in [Fault::Error, Fault::ErrorAfterOneSlice, Fault::TooLarge] {
        let _alone = alone();
        let mut rig = Rig::start(EncoderRemote::new(Shape::default(), &[(2, fault)]));
        passes_a_picture(&mut rig);
        passes_a_picture(&mut rig);
        // The third one fails; nothing changes on the screen, and still an IDR comes.
        rig.capture.picture(WHOLE);
        let unit = rig.peer.next_unit();
        assert!(
            unit.keyframe,
            "{fault:?}: the first frame after a failure is an IDR"
        );
        assert_eq!(rig.encoder.opened(), 2, "{fault:?}");
        passes_a_picture(&mut rig);
        assert_eq!(
            rig.metrics.counters.snapshot().encode_failures,
            1,
            "{fault:?}"
        );
        rig.ends_clean();
    }
}

#[test]
fn an_encoder_that_fails_three_times_in_a_row_ends_the_session() {
    let _alone = alone();
    let faults = [(1, Fault::Error), (2, Fault::Error), (3, Fault::Error)];
    let mut rig = Rig::start(EncoderRemote::new(Shape::default(), &faults));
    passes_a_picture(&mut rig);
    rig.capture.picture(WHOLE);
    let fault = rig.fault();
    assert!(matches!(fault, StageFault::Encode(_)), "{fault:?}");
    assert!(fault.to_string().contains("as the test wanted"), "{fault}");
    assert_eq!(rig.metrics.counters.snapshot().encode_failures, 3);
    rig.ends_by_itself();
    rig.ends_clean();
}

#[test]
fn an_encoder_that_panics_ends_the_session_and_nothing_else() {
    let _alone = alone();
    let mut rig = Rig::start(EncoderRemote::new(Shape::default(), &[(1, Fault::Panic)]));
    passes_a_picture(&mut rig);
    rig.capture.picture(WHOLE);
    let fault = rig.fault();
    assert!(matches!(fault, StageFault::Panic("pf-encode")), "{fault:?}");
    assert!(fault.to_string().contains("bug in punktfunk"), "{fault}");
    rig.ends_by_itself();
    rig.ends_clean();
}

#[test]
fn a_socket_that_fails_ends_the_session() {
    let _alone = alone();
    let mut rig = Rig::start(working());
    passes_a_picture(&mut rig);
    // An unconnected socket says that it is not connected, and is shut down all the same.
    let _ = rustix::net::shutdown(&rig.socket, Shutdown::Write);
    rig.capture.picture(WHOLE);
    let fault = rig.fault();
    assert!(matches!(fault, StageFault::Socket(_)), "{fault:?}");
    rig.ends_by_itself();
    rig.ends_clean();
}

#[test]
fn a_socket_that_fails_ends_a_session_whose_encoder_waits_for_a_buffer() {
    let _alone = alone();
    let shape = Shape {
        slices: 32,
        slice_bytes: 90_000,
        ..Shape::default()
    };
    let config = PacketizerConfig {
        protection: Protection::at_frame_end(100),
        ..PacketizerConfig::default()
    };
    let rig = Rig::with(EncoderRemote::new(shape, &[]), "320x240@60", config);
    eventually("encode waits for a buffer of the slice pool", || {
        rig.capture.picture(WHOLE);
        rig.encoder.is_waiting_for_a_buffer()
    });
    let _ = rustix::net::shutdown(&rig.socket, Shutdown::Write);
    let fault = rig.fault();
    assert!(matches!(fault, StageFault::Socket(_)), "{fault:?}");
    // The encoder fails too, because nobody takes its slices: that is no fault of its own.
    rig.ends_by_itself();
    rig.ends_clean();
}

#[test]
fn a_slice_that_the_packetizer_refuses_costs_a_frame_and_not_the_session() {
    let _alone = alone();
    let empty = Shape {
        slice_bytes: 0,
        ..Shape::default()
    };
    let rig = Rig::start(EncoderRemote::new(empty, &[]));
    rig.capture.picture(WHOLE);
    eventually("protect has refused the empty slices", || {
        rig.metrics.counters.snapshot().protect_failures == 4
    });
    rig.ends_clean();
}
