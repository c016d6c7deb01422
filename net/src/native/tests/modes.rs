//! Requests for other modes, from one machine to the other.

use super::*;
use crate::native::modes::CHANGE_INTERVAL;
use crate::seeded::Seeded;
use crate::units::Mode;

fn mode(text: &str) -> Mode {
    text.parse().expect("a mode")
}

fn ask(pair: &mut Pair, ms: u64, number: u32, wanted: RequestedMode) {
    pair.client.request_mode(Reconfigure {
        number,
        mode: wanted,
    });
    pair.exchange(at(ms));
}

fn answer(pair: &mut Pair) -> Option<Reconfigured> {
    match pair.client.poll_event() {
        Some(ClientEvent::Reconfigured(answer)) => Some(answer),
        None => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_is_granted_with_the_first_frame_of_its_mode() {
    let mut pair = Pair::streaming();
    let wanted = mode("800x600@50");
    ask(&mut pair, 10, 1, wanted.into());
    assert_eq!(pair.host.poll_event(), Some(HostEvent::ChangeMode(wanted)));
    assert_eq!(answer(&mut pair), None, "the change is in work");
    pair.host.mode_changed(at(40), Ok((wanted, FrameId(17))));
    pair.exchange(at(41));
    let granted = Reconfigured {
        number: 1,
        outcome: ModeOutcome::Granted,
        mode: wanted,
        first_frame: FrameId(17),
        text: String::new(),
    };
    assert_eq!(answer(&mut pair), Some(granted.clone()));
    // The same again costs nothing.
    ask(&mut pair, 500, 2, wanted.into());
    assert_eq!(pair.host.poll_event(), None);
    let again = Reconfigured {
        number: 2,
        ..granted
    };
    assert_eq!(answer(&mut pair), Some(again));
}

#[test]
fn what_cannot_be_is_refused_with_the_reason_and_the_mode_that_goes_on() {
    let mut pair = Pair::streaming();
    let wanted = RequestedMode {
        width: 1281,
        height: 720,
        millihz: 60_000,
    };
    ask(&mut pair, 10, 1, wanted);
    assert_eq!(pair.host.poll_event(), None);
    let refused = answer(&mut pair).expect("an answer");
    assert_eq!(refused.outcome, ModeOutcome::Impossible);
    assert!(refused.text.contains("odd"), "{}", refused.text);
    assert_eq!(
        (refused.mode, refused.first_frame),
        (welcome().mode, FrameId(0))
    );

    ask(&mut pair, 20, 2, mode("800x600@60").into());
    assert!(matches!(
        pair.host.poll_event(),
        Some(HostEvent::ChangeMode(_))
    ));
    let reason = "the display has its pride".to_owned();
    pair.host.mode_changed(at(30), Err(reason.clone()));
    pair.exchange(at(31));
    let failed = answer(&mut pair).expect("an answer");
    assert_eq!((failed.number, failed.outcome), (2, ModeOutcome::Failed));
    assert_eq!((failed.text, failed.mode), (reason, welcome().mode));
}

/// A hundred a change, as a window that is dragged: one is in work, one waits, the last one wins.
#[test]
fn of_a_crowd_the_first_and_the_last_are_made() {
    let mut pair = Pair::streaming();
    for step in 0..100 {
        let wanted = RequestedMode {
            width: 640 + 2 * step,
            height: 480,
            millihz: 60_000,
        };
        ask(&mut pair, 10, step + 1, wanted);
    }
    let Some(HostEvent::ChangeMode(first)) = pair.host.poll_event() else {
        panic!("the first is begun at once")
    };
    assert_eq!(first.width(), 640);
    assert_eq!(pair.host.poll_event(), None, "and no other meanwhile");
    assert_eq!(pair.host.poll_timeout(), None);
    pair.host.mode_changed(at(40), Ok((first, FrameId(5))));
    assert_eq!(pair.host.poll_event(), None, "not so soon");
    let due = pair.host.poll_timeout().expect("one waits");
    assert_eq!(due, at(10) + CHANGE_INTERVAL);
    pair.host.handle_timeout(due);
    let Some(HostEvent::ChangeMode(last)) = pair.host.poll_event() else {
        panic!("the newest is begun")
    };
    assert_eq!(last.width(), 640 + 2 * 99);
    pair.host.mode_changed(due, Ok((last, FrameId(9))));
    pair.exchange(due);
    let told = answer(&mut pair).expect("an answer");
    assert_eq!((told.number, told.mode), (100, last));
    assert_eq!(answer(&mut pair), None);
    let stats = pair.host.mode_stats();
    assert_eq!((stats.requests, stats.displaced), (100, 98));
    assert_eq!((stats.begun, stats.made), (2, 2));
}

#[test]
fn before_the_stream_a_request_breaks_the_protocol() {
    let mut host = HostSession::new(at(0), StepLimits::default());
    let mut bytes = Vec::new();
    let request = Reconfigure {
        number: 1,
        mode: welcome().mode.into(),
    };
    Message::Reconfigure(request).write(&mut bytes);
    assert!(host.handle_stream(at(1), &bytes).is_err());
    // And a client never asks for anything then.
    let mut client = ClientSession::new(at(0), StepLimits::default(), hello());
    client.request_mode(request);
    assert_eq!(client.poll_transmit(), None);
}

/// Whatever comes in whatever order, at most one change is in work, they begin no faster than they
/// may, the client that keeps asking gets an answer to its newest request, and nothing grows.
#[test]
fn a_flood_of_any_requests_is_bounded() {
    let seed = 0x5eed_0013;
    let mut bits = Seeded(seed);
    let mut below = |bound: u64| bits.bits() % bound;
    let mut pair = Pair::streaming();
    let (mut in_work, mut begun_at, mut changes) = (None, None, 0);
    let mut newest = 0;
    for ms in 10..20_000 {
        for _ in 0..below(20) {
            newest += 1;
            let wanted = RequestedMode {
                width: below(4000) as u32,
                height: below(4000) as u32,
                millihz: 60_000,
            };
            // Straight to the host, which a client of ours would spare.
            let mut bytes = Vec::new();
            Message::Reconfigure(Reconfigure {
                number: newest,
                mode: wanted,
            })
            .write(&mut bytes);
            pair.host
                .handle_stream(at(ms), &bytes)
                .expect("well formed");
        }
        if let Some((mode, until)) = in_work
            && until <= ms
        {
            in_work = None;
            let made = below(4) > 0;
            let result = if made {
                Ok((mode, FrameId(changes)))
            } else {
                Err("no".repeat(200))
            };
            pair.host.mode_changed(at(ms), result);
        }
        pair.host.handle_timeout(at(ms));
        while let Some(event) = pair.host.poll_event() {
            let HostEvent::ChangeMode(mode) = event else {
                panic!("{event:?}")
            };
            assert!(in_work.is_none(), "seed {seed}");
            let since = begun_at.map(|begun| at(ms).since(begun));
            assert!(since.is_none_or(|it| it >= CHANGE_INTERVAL), "seed {seed}");
            (in_work, begun_at) = (Some((mode, ms + below(300))), Some(at(ms)));
            changes += 1;
        }
        // The stream takes something now and then.
        if below(50) == 0 {
            pair.exchange(at(ms));
        }
        let waiting = pair.host.poll_transmit().map_or(0, <[u8]>::len);
        assert!(waiting <= CONTROL_OUTBOX_BYTES_MAX, "seed {seed}");
    }
    let end = at(30_000);
    while let Some((mode, _)) = in_work.take() {
        pair.host.mode_changed(end, Ok((mode, FrameId(0))));
        pair.host.handle_timeout(end + CHANGE_INTERVAL);
        if let Some(HostEvent::ChangeMode(mode)) = pair.host.poll_event() {
            in_work = Some((mode, 0));
        }
    }
    pair.host.handle_timeout(end + CHANGE_INTERVAL);
    pair.exchange(end + CHANGE_INTERVAL);
    let told = answer(&mut pair).expect("an answer");
    assert_eq!(told.number, newest, "seed {seed}");
    assert_eq!(answer(&mut pair), None, "only the newest is kept");
    let stats = pair.host.mode_stats();
    assert_eq!(stats.requests, u64::from(newest));
    assert!(stats.begun <= 201, "{stats:?}");
}
