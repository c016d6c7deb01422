//! Another mode on a running session: the old pictures until the new ones come, an IDR as the first
//! of these, never one of the wrong size, whatever a client asks for how often.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use engine::metrics::CounterSnapshot;
use harness::loopback::{LoopbackClient, LoopbackHost, MODE, encoders, hello, share_of_ground};
use harness::relay::Relay;
use harness::stranger::Stranger;
use net::media::VideoHeader;
use net::native::{Message, ModeOutcome, Reconfigure, Reconfigured, RequestedMode};
use net::units::{FrameId, Mode};

/// What a client saw: number, IDR, size.
type Seen = Vec<(FrameId, bool, (usize, usize))>;

fn mode(text: &str) -> Mode {
    text.parse().expect("a mode")
}

fn size(mode: Mode) -> (usize, usize) {
    (mode.width().into(), mode.height().into())
}

/// Asks for `wanted` and watches until pictures of it are there, every one of which is looked at.
fn change(client: &mut LoopbackClient, wanted: Mode, seen: &mut Seen) -> Reconfigured {
    let number = client.mode_requests().request(wanted);
    let mut look = |unit: &net::reassemble::AccessUnit, picture: &gpu::decode::Picture<'_>| {
        let share = share_of_ground(picture);
        assert!(
            share > 0.8,
            "{}: {share} of the ground is right",
            unit.frame
        );
        seen.push((unit.frame, unit.keyframe, (picture.width, picture.height)));
    };
    let answer = client.watch_until_answered(number, &mut look);
    // What the decoder has not yet taken is of the mode before.
    let mut newest = None;
    while newest.is_none_or(|newest| newest < answer.first_frame) {
        client.watch(1, |unit, picture| {
            newest = Some(unit.frame);
            look(unit, picture);
        });
    }
    client.watch(5, &mut look);
    answer
}

fn counters(host: &LoopbackHost) -> CounterSnapshot {
    host.sessions()[0].metrics.counters.snapshot()
}

#[test]
fn the_mode_changes_up_and_down_without_a_gap() {
    for encoder in encoders() {
        let host = LoopbackHost::synthetic(&[("encoder", encoder)]);
        let mut client = LoopbackClient::connect(host.address());
        let mut seen = Seen::new();
        let (mut modes, mut answers) = (vec![mode(MODE)], Vec::new());
        for wanted in [
            "640x360@30",
            "318x500@25",
            "318x500@50",
            "1280x720@15",
            MODE,
        ] {
            let answer = change(&mut client, mode(wanted), &mut seen);
            assert_eq!(
                answer.outcome,
                ModeOutcome::Granted,
                "{encoder}: {answer:?}"
            );
            assert_eq!(answer.mode, mode(wanted));
            modes.push(answer.mode);
            answers.push(answer.first_frame);
            assert_eq!(host.sessions()[0].mode, answer.mode);
        }
        for &(frame, keyframe, seen_size) in &seen {
            let changes = answers.iter().filter(|first| **first <= frame).count();
            assert_eq!(seen_size, size(modes[changes]), "{encoder}, {frame}");
            assert!(keyframe || !answers.contains(&frame), "{encoder}, {frame}");
        }
        assert_eq!(counters(&host).mode_changes, 5);
        // A machine that stalls drops pictures in front of the decoder; the change itself costs none.
        let received = client.end();
        if received.frames_overrun == 0 {
            let numbers: BTreeSet<FrameId> = seen.iter().map(|it| it.0).collect();
            assert!(answers.iter().all(|first| numbers.contains(first)));
            let last = seen.last().map_or(0, |it| it.0.0);
            assert_eq!(seen.len() as u32, last + 1, "{encoder}: none is left out");
            let costs = (received.frames_lost, received.keyframe_requests);
            assert_eq!(costs, (0, 0), "{encoder}");
        }
    }
}

#[test]
fn the_mode_that_holds_is_granted_at_no_cost() {
    let host = LoopbackHost::synthetic(&[]);
    let mut client = LoopbackClient::connect(host.address());
    client.watch(3, |_, _| {});
    let answer = change(&mut client, mode(MODE), &mut Seen::new());
    assert_eq!(answer.outcome, ModeOutcome::Granted);
    assert_eq!((answer.mode, answer.first_frame), (mode(MODE), FrameId(0)));
    assert_eq!(counters(&host).mode_changes, 0);
}

/// The last request of a hundred is what holds in the end, and few are worked on.
#[test]
fn a_window_that_is_dragged_ends_in_its_last_size() {
    let host = LoopbackHost::synthetic(&[]);
    let mut client = LoopbackClient::connect(host.address());
    client.watch(3, |_, _| {});
    let requests = client.mode_requests();
    let mut last = 0;
    for step in 0..100 {
        last = requests.request(mode(&format!("{}x240@30", 320 + 2 * step)));
        if step % 10 == 0 {
            client.watch(1, |_, _| {});
        }
    }
    let answer = client.watch_until_answered(last, |_, _| {});
    assert_eq!(answer.mode, mode("518x240@30"));
    let first = answer.first_frame;
    let mut sizes = BTreeSet::new();
    client.watch(10, |unit, picture| {
        if unit.frame >= first {
            sizes.insert((picture.width, picture.height));
        }
    });
    assert_eq!(sizes, BTreeSet::from([(518, 240)]));
    let changes = counters(&host).mode_changes;
    assert!((1..=20).contains(&changes), "{changes} of 100");
}

/// Straight on the stream, where no client of ours spares the host anything.
#[test]
fn requests_in_crowds_and_of_any_kind_are_bounded() {
    let host = LoopbackHost::synthetic(&[]);
    let mut bystander = LoopbackClient::connect(host.address());
    bystander.watch(3, |_, _| {});
    let mut stranger = Stranger::connect(host.address());
    stranger.say_message(&Message::Hello(hello(MODE)));
    let welcomed = |it: &Stranger| it.heard.iter().any(|it| matches!(it, Message::Welcome(_)));
    stranger.until("the host welcomes it", welcomed);
    stranger.say_message(&Message::Start);
    stranger.until("media comes", |it| it.media > 20);
    let values = [0, 1, 127, 128, 129, 240, 8192, 8194, 65_536, u32::MAX];
    let mut number = 0;
    let mut crowd = Vec::new();
    for _ in 0..10 {
        for width in values {
            for height in values {
                number += 1;
                let (width, height) = (width.min(640 | width & 0xffff_8000), height);
                let mode = RequestedMode {
                    width,
                    height,
                    millihz: values[number as usize % values.len()],
                };
                Message::Reconfigure(Reconfigure { number, mode }).write(&mut crowd);
            }
        }
    }
    stranger.say(&crowd);
    let wanted = mode("400x300@30");
    number += 1;
    stranger.say_message(&Message::Reconfigure(Reconfigure {
        number,
        mode: wanted.into(),
    }));
    let answer = |it: &Stranger| {
        let answer = it.heard.iter().rev().find_map(|message| match message {
            Message::Reconfigured(answer) => Some(answer.clone()),
            _ => None,
        });
        answer.filter(|answer| answer.number == number)
    };
    stranger.until("the last request is answered", |it| answer(it).is_some());
    let last = answer(&stranger).expect("just seen");
    assert_eq!((last.outcome, last.mode), (ModeOutcome::Granted, wanted));
    let changed: u64 = host
        .sessions()
        .iter()
        .map(|it| it.metrics.counters.snapshot().mode_changes)
        .sum();
    assert!(changed <= 20, "{changed} of {number}");
    // Nobody else has seen anything of it.
    bystander.watch(20, |_, picture| {
        assert_eq!((picture.width, picture.height), size(mode(MODE)));
    });
    stranger.slam();
    bystander.end();
}

/// The first picture of the new mode is lost, and what follows refers to it: nothing is shown until
/// the next IDR, and that has the right size.
#[test]
fn a_first_picture_that_is_lost_is_sent_again_in_the_new_mode() {
    for encoder in encoders() {
        let host = LoopbackHost::synthetic(&[("encoder", encoder)]);
        let lost = Arc::new(AtomicU32::new(u32::MAX));
        let victim = Arc::clone(&lost);
        let relay = Relay::new(
            host.address(),
            Box::new(move |_, _, media| {
                let Some(header) = media.map(VideoHeader::frame) else {
                    return true;
                };
                if header.keyframe && header.frame != FrameId(0) {
                    let _ = victim.compare_exchange(
                        u32::MAX,
                        header.frame.0,
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    );
                }
                header.frame.0 != victim.load(Ordering::Relaxed)
            }),
        );
        let mut client = LoopbackClient::connect(relay.address());
        let mut seen = Seen::new();
        client.watch(3, |_, _| {});
        let wanted = mode("640x360@30");
        let answer = change(&mut client, wanted, &mut seen);
        assert!(lost.load(Ordering::Relaxed) <= answer.first_frame.0);
        while seen.last().is_none_or(|it| it.2 != size(wanted)) {
            client.watch(1, |unit, picture| {
                seen.push((unit.frame, unit.keyframe, (picture.width, picture.height)));
            });
        }
        for &(frame, _, seen_size) in &seen {
            let held = if frame < answer.first_frame {
                mode(MODE)
            } else {
                wanted
            };
            assert_eq!(seen_size, size(held), "{encoder}, {frame}");
        }
        let shown = seen.iter().find(|it| it.0 >= answer.first_frame);
        assert!(shown.is_some_and(|it| it.1), "{encoder}: an IDR: {seen:?}");
    }
}
