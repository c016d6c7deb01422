//! The real host and the real client over loopback sockets: pictures, orderly and abrupt ends,
//! several sessions, and losses that a relay in between inflicts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::facts::eventually;
use harness::loopback::{LoopbackClient, LoopbackHost, MODE, encoders, hello, share_of_ground};
use harness::relay::{Relay, Way};
use harness::stranger::Stranger;
use net::client::{ConnectError, Trust};
use net::media::VideoHeader;
use net::native::{Message, RefuseCode};
use net::units::FrameId;

/// Waits until the only place of `host` is free again: its last session's display has to be taken
/// down first.
fn next_client(host: &LoopbackHost) -> LoopbackClient {
    let mut client = None;
    eventually("the next client gets the place", || {
        let hello = hello(MODE);
        client = match LoopbackClient::with(host.address(), Trust::FirstUse, hello) {
            Err(ConnectError::Refused {
                code: RefuseCode::Busy,
                ..
            }) => None,
            other => Some(other.expect("nothing but a full host refuses")),
        };
        client.is_some()
    });
    client.expect("just seen")
}

#[test]
fn every_encoder_streams_the_picture_and_ends_in_order() {
    for encoder in encoders() {
        let host = LoopbackHost::synthetic(&[("encoder", encoder)]);
        let mut client = LoopbackClient::connect(host.address());
        assert_eq!(client.welcome().encoder_name, encoder);
        let mut expected = FrameId(0);
        client.watch(60, |unit, picture| {
            assert_eq!(
                unit.frame, expected,
                "frames come in order, none is left out"
            );
            expected = expected.next();
            assert_eq!((picture.width, picture.height), (320, 240));
            let share = share_of_ground(picture);
            assert!(
                share > 0.8,
                "{encoder}, {}: {share} of the ground is right",
                unit.frame
            );
        });
        assert_eq!(host.sessions().len(), 1);
        let received = client.end();
        assert_eq!(
            (received.frames_lost, received.not_opened),
            (0, 0),
            "{encoder}"
        );
        eventually("the host has forgotten the session", || {
            host.sessions().is_empty()
        });
    }
}

#[test]
fn a_host_that_is_stopped_tells_its_clients() {
    let mut host = LoopbackHost::synthetic(&[]);
    let mut client = LoopbackClient::connect(host.address());
    client.watch(5, |_, _| {});
    host.stop();
    assert_eq!(client.until_end(), "the host was stopped");
}

#[test]
fn a_client_that_closes_without_a_farewell_frees_its_session() {
    let host = LoopbackHost::synthetic(&[("max-sessions", "1")]);
    let mut rude = Stranger::connect(host.address());
    rude.say_message(&Message::Hello(hello(MODE)));
    rude.until("the host welcomes it", |it| {
        it.heard
            .iter()
            .any(|message| matches!(message, Message::Welcome(_)))
    });
    rude.say_message(&Message::Start);
    rude.until("media comes", |it| it.media > 20);
    rude.slam();
    eventually("the host has forgotten the session", || {
        host.sessions().is_empty()
    });
    next_client(&host).watch(5, |_, _| {});
}

/// Takes as long as QUIC's idle timeout on both sides: they have no other way to know.
#[test]
fn a_cut_cable_ends_the_session_on_both_sides() {
    let host = LoopbackHost::synthetic(&[("max-sessions", "1")]);
    let relay = Relay::transparent(host.address());
    let mut client = LoopbackClient::connect(relay.address());
    client.watch(10, |_, _| {});
    relay.sever();
    let reason = client.until_end();
    assert!(reason.contains("no answer from the peer"), "{reason}");
    eventually("the host has freed the session", || {
        host.sessions().is_empty()
    });
    next_client(&host).watch(5, |_, _| {});
}

#[test]
fn two_sessions_run_side_by_side_and_end_alone() {
    let host = LoopbackHost::synthetic(&[]);
    let mut first = LoopbackClient::connect(host.address());
    let mut second = LoopbackClient::with(host.address(), Trust::FirstUse, hello("640x360@30"))
        .expect("a second session");
    first.watch(20, |_, picture| assert_eq!(picture.width, 320));
    second.watch(20, |_, picture| assert_eq!(picture.width, 640));
    assert_eq!(host.sessions().len(), 2);
    assert_eq!(second.end().frames_lost, 0);
    eventually("one session is left", || host.sessions().len() == 1);
    first.watch(20, |_, _| {});
    assert_eq!(first.end().frames_lost, 0);
}

#[test]
fn one_session_too_many_is_refused_with_the_reason() {
    let host = LoopbackHost::synthetic(&[("max-sessions", "1")]);
    let mut first = LoopbackClient::connect(host.address());
    let second = LoopbackClient::with(host.address(), Trust::FirstUse, hello(MODE));
    match second.err() {
        Some(ConnectError::Refused {
            code: RefuseCode::Busy,
            text,
        }) => {
            assert!(text.contains("--max-sessions"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    first.watch(30, |_, _| {});
    assert_eq!(first.end().frames_lost, 0);
}

fn ends_frame(header: &VideoHeader) -> bool {
    matches!(header, VideoHeader::Data(data) if data.descriptor.ends_frame())
}

#[test]
fn as_many_losses_as_there_is_parity_cost_no_frame() {
    let host = LoopbackHost::synthetic(&[("fec", "50")]);
    // The last column of every frame: of one or two, as of more, half of them is no less.
    let relay = Relay::new(
        host.address(),
        Box::new(|_, _, media| !media.is_some_and(ends_frame)),
    );
    let mut client = LoopbackClient::connect(relay.address());
    let mut expected = FrameId(0);
    client.watch(60, |unit, picture| {
        assert_eq!(unit.frame, expected);
        expected = expected.next();
        assert!(unit.repaired_shards > 0, "{} lost shards", unit.frame);
        assert!(share_of_ground(picture) > 0.8, "{}", unit.frame);
    });
    let received = client.end();
    assert_eq!((received.frames_lost, received.repair_requests), (0, 0));
}

#[test]
fn one_loss_more_is_one_hole_that_is_mended() {
    const VICTIM: u32 = 25;
    for encoder in encoders() {
        let host = LoopbackHost::synthetic(&[("fec", "50"), ("encoder", encoder)]);
        let relay = Relay::new(
            host.address(),
            Box::new(|_, _, media| {
                let victim = media.filter(|it| it.frame().frame == FrameId(VICTIM));
                victim.is_none_or(|it| !ends_frame(it) && matches!(it, VideoHeader::Data(_)))
            }),
        );
        let mut client = LoopbackClient::connect(relay.address());
        let mut frames = Vec::new();
        client.watch(60, |unit, picture| {
            assert!(share_of_ground(picture) > 0.8, "{}", unit.frame);
            frames.push((unit.frame.0, unit.keyframe, unit.recovery));
        });
        let (before, after) = frames.split_at(VICTIM as usize);
        assert!(
            before.iter().map(|it| it.0).eq(0..VICTIM),
            "all before the loss: {frames:?}"
        );
        // openh264 cannot refer past a lost picture.
        let mended = after[0];
        let mends = if encoder == "openh264" {
            mended.1
        } else {
            mended.2 && !mended.1
        };
        assert!(mends, "{encoder}: {frames:?}");
        assert!(
            after
                .windows(2)
                .all(|pair| pair[1] == (pair[0].0 + 1, false, false)),
            "{encoder}: {frames:?}"
        );
        let received = client.end();
        assert_eq!((received.frames_lost, received.keyframe_requests), (1, 0));
        assert!(received.repair_requests >= 1);
        let hidden = u64::from(mended.0 - VICTIM - 1);
        assert_eq!(hidden, received.frames_hidden, "{encoder}");
    }
}

/// Every frame's fate hangs on its number alone, so recovery pictures are lost like any others.
#[cfg(feature = "x264")]
#[test]
fn frames_lost_at_random_cost_no_idr() {
    let host = LoopbackHost::synthetic(&[("encoder", "x264")]);
    // Whole frames, one in twelve; the first one has to come, or there is nothing to refer to.
    let is_lost = |frame: u32| frame > 0 && frame.wrapping_mul(0x9E37_79B9) >> 16 < 0x1_0000 / 12;
    let relay = Relay::new(
        host.address(),
        Box::new(move |_, _, media| media.is_none_or(|it| !is_lost(it.frame().frame.0))),
    );
    let mut client = LoopbackClient::connect(relay.address());
    let (mut newest, mut recoveries) = (FrameId(0), 0);
    client.watch(200, |unit, picture| {
        assert_eq!(unit.keyframe, unit.frame == FrameId(0), "{}", unit.frame);
        let share = share_of_ground(picture);
        assert!(share > 0.8, "{}: {share} of the ground", unit.frame);
        let follows = unit.frame == newest.next() || unit.frame == newest;
        assert!(follows || unit.recovery, "{} after {newest}", unit.frame);
        recoveries += u32::from(unit.recovery);
        newest = unit.frame;
    });
    let received = client.end();
    let lost = (1..newest.0).filter(|frame| is_lost(*frame)).count() as u64;
    assert!(lost >= 10, "{lost} of {newest}");
    assert_eq!(received.keyframe_requests, 0, "{received:?}");
    assert!(u64::from(recoveries) <= received.frames_lost);
    println!(
        "{} frames lost, {} hidden, {recoveries} recoveries",
        received.frames_lost, received.frames_hidden
    );
}

#[test]
fn a_twentieth_lost_both_ways_is_repaired_or_sent_again() {
    let host = LoopbackHost::synthetic(&[]);
    // Every datagram alike, QUIC's too, by a generator whose seed is its first state.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let relay = Relay::new(
        host.address(),
        Box::new(move |_, _, _| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            !state.is_multiple_of(20)
        }),
    );
    let mut client = LoopbackClient::connect(relay.address());
    client.watch(200, |unit, picture| {
        let share = share_of_ground(picture);
        assert!(share > 0.8, "{}: {share} of the ground", unit.frame);
    });
    let counters = host.sessions()[0].metrics.counters.snapshot();
    let received = client.end();
    assert!(received.rounds_asked > 0, "{received:?}");
    assert!(counters.repeated > 0, "{counters:?}");
    // A machine that stalls may cost frames; the loss alone costs next to none.
    let missed = received.frames_lost + received.frames_hidden;
    assert!(missed <= 20, "{received:?}");
}

#[test]
fn a_lost_idr_is_asked_for_again() {
    let host = LoopbackHost::synthetic(&[]);
    // The session's first two IDRs never arrive.
    let lost = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&lost);
    let mut last = None;
    let relay = Relay::new(
        host.address(),
        Box::new(move |_, _, media| {
            let Some(header) = media.map(VideoHeader::frame).filter(|it| it.keyframe) else {
                return true;
            };
            if last != Some(header.frame) {
                last = Some(header.frame);
                count.fetch_add(1, Ordering::Relaxed);
            }
            count.load(Ordering::Relaxed) > 2
        }),
    );
    let mut client = LoopbackClient::connect(relay.address());
    let mut first = None;
    client.watch(20, |unit, picture| {
        assert!(
            first.get_or_insert(unit.keyframe) == &true,
            "nothing is shown before an IDR"
        );
        assert!(share_of_ground(picture) > 0.8, "{}", unit.frame);
    });
    assert!(lost.load(Ordering::Relaxed) >= 3);
}

#[test]
fn a_decoder_that_gives_up_gets_an_idr() {
    let host = LoopbackHost::synthetic(&[]);
    let mut client = LoopbackClient::connect(host.address());
    let first = client.next_unit().expect("the session runs");
    assert!(first.keyframe);
    let second = client.next_unit().expect("the session runs");
    client.give_up_on(&second);
    let mut idr = None;
    while idr.is_none() {
        let unit = client.next_unit().expect("the session runs");
        idr = unit.keyframe.then_some(unit.frame);
    }
    client.end();
}

#[test]
fn datagrams_dropped_on_purpose_are_repaired() {
    let host = LoopbackHost::synthetic(&[("video-drop", "10"), ("fec", "50")]);
    let mut client = LoopbackClient::connect(host.address());
    client.watch(60, |unit, picture| {
        assert!(share_of_ground(picture) > 0.8, "{}", unit.frame);
    });
    let dropped = host.sessions()[0]
        .metrics
        .counters
        .snapshot()
        .dropped_on_purpose;
    assert!(dropped > 0);
    let received = client.end();
    assert!(received.shards_repaired > 0);
    assert_eq!(received.frames_lost, 0);
}

/// Loopback has no queue that would keep them (`scripts/lab/departure-times` has one).
#[test]
fn departure_times_that_no_queue_keeps_are_the_timers() {
    let host = LoopbackHost::synthetic(&[("pace", "txtime")]);
    let mut client = LoopbackClient::connect(host.address());
    client.watch(30, |_, _| {});
    let counted = host.sessions()[0].metrics.counters.snapshot();
    assert_eq!((counted.departures_missed, counted.send_failures), (0, 0));
    assert_eq!(client.end().frames_lost, 0);
}

#[test]
fn datagrams_out_of_order_and_in_duplicate_cost_nothing() {
    let host = LoopbackHost::synthetic(&[]);
    let relay = Arc::new(Relay::transparent(host.address()));
    // What goes down also comes back later, at a moment that chance decides.
    let (copies_in, copies) = crossbeam::channel::bounded::<Vec<u8>>(64);
    relay.set_policy(Box::new(move |way, bytes, media| {
        if way == Way::Down && media.is_some() {
            // Full: enough of them are under way.
            let _ = copies_in.try_send(bytes.to_vec());
        }
        true
    }));
    let repeater = Arc::clone(&relay);
    let repeating = std::thread::spawn(move || {
        copies.iter().for_each(|copy| repeater.inject(&copy));
    });
    let mut client = LoopbackClient::connect(relay.address());
    client.watch(60, |_, picture| assert!(share_of_ground(picture) > 0.8));
    let received = client.end();
    assert_eq!(received.frames_lost, 0);
    assert!(
        received.not_opened > 0,
        "a repeated datagram is not opened twice"
    );
    relay.set_policy(Box::new(|_, _, _| true));
    repeating.join().expect("ends with the policy that fed it");
}
