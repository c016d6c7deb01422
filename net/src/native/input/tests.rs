//! Sender and receiver over a path that loses, repeats and reorders datagrams while a stream
//! brings everything late but in order.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::input::{
    ControllerState, InputEvent, KeyEvent, Modifiers, PadOutput, PointerButton, Position,
    ScrollAxis, Text,
};
use crate::seeded::Seeded;
use crate::units::Timestamp;

fn key(virtual_key: u8, pressed: bool) -> InputEvent {
    InputEvent::Key(KeyEvent {
        virtual_key,
        pressed,
        modifiers: Modifiers::default(),
        is_layout_dependent: false,
    })
}

fn button(pressed: bool) -> InputEvent {
    InputEvent::PointerButton {
        button: PointerButton::Left,
        pressed,
    }
}

fn stick(controller: u8, x: i16, buttons: u32) -> InputEvent {
    InputEvent::ControllerState(ControllerState {
        controller,
        present: 0xFFFF,
        buttons,
        left_stick: [x, 0],
        ..ControllerState::default()
    })
}

fn drain(receiver: &mut InputReceiver, into: &mut Vec<InputEvent>) {
    while let Some(event) = receiver.poll_event() {
        into.push(event);
    }
}

fn datagrams(sender: &mut InputSender, now: Timestamp) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut packet = Vec::new();
    while sender.poll_datagram(now, &mut packet) {
        all.push(packet.clone());
    }
    all
}

/// What an application would see at the end.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    transitions: Vec<InputEvent>,
    moved: [i64; 4],
    sticks: [i16; 16],
    position: (u16, u16),
}

impl Seen {
    fn of(events: &[InputEvent]) -> Self {
        let mut seen = Self::default();
        let mut buttons = [None; 16];
        for event in events {
            match *event {
                InputEvent::PointerMotion { dx, dy } => {
                    seen.moved[0] += i64::from(dx);
                    seen.moved[1] += i64::from(dy);
                }
                InputEvent::Scroll { axis, amount } => {
                    seen.moved[2 + usize::from(axis == ScrollAxis::Horizontal)] +=
                        i64::from(amount);
                }
                InputEvent::PointerPosition(position) => {
                    seen.position = (
                        codec::share_to_wire(position.x),
                        codec::share_to_wire(position.y),
                    );
                }
                InputEvent::ControllerState(state) => {
                    let pad = usize::from(state.controller);
                    seen.sticks[pad] = state.left_stick[0];
                    // A button's every change counts, a stick's last place does.
                    if buttons[pad] != Some(state.buttons) {
                        buttons[pad] = Some(state.buttons);
                    }
                }
                other => seen.transitions.push(other),
            }
        }
        seen
    }
}

#[test]
fn a_key_is_there_at_once_and_only_once() {
    let (mut sender, mut receiver) = (InputSender::default(), InputReceiver::default());
    let now = Timestamp::from_ns(1);
    sender.push(now, key(0x41, true));
    let sent = datagrams(&mut sender, now);
    assert_eq!(sent.len(), 1);
    let mut message = Vec::new();
    assert!(sender.poll_message(now, &mut message));
    let mut events = Vec::new();
    for packet in [&sent[0], &message, &sent[0]] {
        receiver.handle_packet(packet).expect("valid");
        drain(&mut receiver, &mut events);
    }
    assert_eq!(events, [key(0x41, true)]);
    assert!(receiver.held().has_key(0x41));
}

#[test]
fn golden_bytes_of_a_key_after_a_motion() {
    let mut sender = InputSender::default();
    let now = Timestamp::from_ns(1);
    sender.push(now, InputEvent::PointerMotion { dx: 2, dy: -1 });
    sender.push(now, key(0x41, true));
    let sent = datagrams(&mut sender, now);
    // Header, snapshot of +2 and -1, one event.
    let golden: &[u8] = &[
        0xC8, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, //
        2, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
        1, 0x41, 1,
    ];
    assert_eq!(sent, [golden]);
}

#[test]
fn a_click_is_made_between_the_motions_around_it() {
    let (mut sender, mut receiver) = (InputSender::default(), InputReceiver::default());
    let now = Timestamp::from_ns(1);
    let said = [
        InputEvent::PointerMotion { dx: 5, dy: 0 },
        button(true),
        InputEvent::PointerMotion { dx: 7, dy: 0 },
        button(false),
        InputEvent::PointerMotion { dx: 9, dy: 0 },
    ];
    said.iter().for_each(|event| sender.push(now, *event));
    let mut events = Vec::new();
    for packet in datagrams(&mut sender, now) {
        receiver.handle_packet(&packet).expect("valid");
        drain(&mut receiver, &mut events);
    }
    assert_eq!(events, said);
}

#[test]
fn a_lost_datagram_is_made_good_by_the_repeat() {
    let (mut sender, mut receiver) = (InputSender::default(), InputReceiver::default());
    let now = Timestamp::from_ns(1);
    sender.push(now, key(0x41, true));
    assert_eq!(datagrams(&mut sender, now).len(), 1, "and it is lost");
    let due = sender.poll_timeout().expect("a repeat is due");
    assert_eq!(due, now + REPEATS[0]);
    sender.handle_timeout(due);
    let again = datagrams(&mut sender, due);
    assert_eq!(again.len(), 1);
    receiver.handle_packet(&again[0]).expect("valid");
    assert_eq!(receiver.poll_event(), Some(key(0x41, true)));
}

#[test]
fn a_stream_that_stands_still_is_replaced_by_the_state() {
    let (mut sender, mut receiver) = (InputSender::default(), InputReceiver::default());
    let mut now = Timestamp::from_ns(1);
    sender.push(now, key(0x10, true));
    sender.push(now, button(true));
    for round in 0..LOG_MAX {
        now = now + Duration::from_millis(1);
        sender.push(now, key(0x41, round % 2 == 0));
        datagrams(&mut sender, now);
    }
    assert!(sender.stats().replaced > 0);
    sender.push(now, button(false));
    let mut packet = Vec::new();
    while sender.poll_message(now, &mut packet) {
        receiver.handle_packet(&packet).expect("valid");
        while receiver.poll_event().is_some() {}
    }
    assert_eq!(receiver.held(), sender.held());
    assert!(receiver.held().has_key(0x10) && receiver.held().buttons == 0);
    assert_eq!(receiver.stats().states, 1);
}

#[test]
fn damaged_packets_are_refused_and_change_nothing() {
    let mut sender = InputSender::default();
    let now = Timestamp::from_ns(1);
    sender.push(now, InputEvent::Text(Text::new("grüße").expect("short")));
    let whole = datagrams(&mut sender, now).remove(0);
    for length in 0..whole.len() {
        let mut receiver = InputReceiver::default();
        assert!(
            receiver.handle_packet(&whole[..length]).is_err(),
            "{length}"
        );
        assert_eq!(receiver.poll_event(), None);
    }
    let mut longer = whole.clone();
    longer.push(0);
    let refused = InputReceiver::default().handle_packet(&longer);
    assert_eq!(refused, Err(InputError::Excess { bytes: 1 }));
    let mut other = whole;
    other[0] = 0xC9;
    assert!(InputReceiver::default().handle_packet(&other).is_err());
}

fn random_event(random: &mut Seeded, held: &mut Held) -> InputEvent {
    let some = random.bits();
    let event = match some % 8 {
        0 | 1 => {
            let virtual_key = 0x41 + (some >> 8) as u8 % 6;
            key(virtual_key, !held.has_key(virtual_key))
        }
        2 => button(held.buttons == 0),
        3 => InputEvent::PointerMotion {
            dx: (some >> 8) as i16 % 50,
            dy: (some >> 24) as i16 % 50,
        },
        4 => InputEvent::PointerPosition(Position {
            x: codec::share_from_wire((some >> 8) as u16),
            y: codec::share_from_wire((some >> 24) as u16),
        }),
        5 => InputEvent::Scroll {
            axis: ScrollAxis::Vertical,
            amount: (some >> 8) as i16 % 240,
        },
        6 => stick((some >> 8) as u8 % 3, (some >> 16) as i16, 0),
        _ => InputEvent::Text(Text::new("ä").expect("short")),
    };
    held.note(&event);
    event
}

/// Runs a session of `count` events; returns what was said and what was seen.
fn session(seed: u64, loss: f64, count: usize) -> (Vec<InputEvent>, Vec<InputEvent>) {
    let mut random = Seeded(seed);
    let (mut sender, mut receiver) = (InputSender::default(), InputReceiver::default());
    let mut path: Vec<(Timestamp, Vec<u8>)> = Vec::new();
    let mut stream: VecDeque<(Timestamp, Vec<u8>)> = VecDeque::new();
    let (mut said, mut seen, mut held) = (Vec::new(), Vec::new(), Held::default());
    let mut now = Timestamp::from_ns(1);
    let mut packet = Vec::new();
    for turn in 0.. {
        if said.len() < count {
            for _ in 0..random.bits() % 3 {
                // Positions and motions together have no sum to compare.
                let event = random_event(&mut random, &mut held);
                said.push(event);
                sender.push(now, event);
            }
        }
        sender.handle_timeout(now);
        while sender.poll_datagram(now, &mut packet) {
            if !random.chance(loss) {
                let delay = Duration::from_micros(random.bits() % 30_000);
                path.push((now + delay, packet.clone()));
            }
        }
        while sender.poll_message(now, &mut packet) {
            let before = stream.back().map_or(now, |(at, _)| *at);
            let delay = Duration::from_micros(random.bits() % 100_000);
            stream.push_back(((now + delay).max(before), packet.clone()));
        }
        path.sort_by_key(|(at, _)| *at);
        let due = path.iter().take_while(|(at, _)| *at <= now).count();
        for (_, bytes) in path.drain(..due) {
            receiver.handle_packet(&bytes).expect("valid");
            drain(&mut receiver, &mut seen);
        }
        while stream.front().is_some_and(|(at, _)| *at <= now) {
            let (_, bytes) = stream.pop_front().expect("just seen");
            receiver.handle_packet(&bytes).expect("valid");
            drain(&mut receiver, &mut seen);
        }
        let quiet = sender.poll_timeout().is_none() && path.is_empty() && stream.is_empty();
        if said.len() >= count && quiet {
            break;
        }
        assert!(turn < 100_000, "seed {seed}: it never comes to rest");
        now = now + Duration::from_millis(3);
    }
    assert_eq!(receiver.held(), sender.held(), "seed {seed}");
    (said, seen)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_lost_and_reordered_everything_arrives_in_the_end(
        seed in any::<u64>(),
        loss in 0.0..1.0f64,
    ) {
        let (said, seen) = session(seed, loss, 200);
        let (said, seen) = (Seen::of(&said), Seen::of(&seen));
        prop_assert_eq!(&said.transitions, &seen.transitions);
        prop_assert_eq!(said.sticks, seen.sticks);
        prop_assert_eq!(said.position, seen.position);
        prop_assert_eq!(said.moved[2..].to_vec(), seen.moved[2..].to_vec());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut receiver = InputReceiver::default();
        let mut packet = vec![INPUT_DATAGRAM, 1];
        packet.extend_from_slice(&bytes);
        let _ = receiver.handle_packet(&packet);
        while receiver.poll_event().is_some() {}
    }
}

#[test]
fn the_newest_word_to_a_controller_counts() {
    let (mut sender, mut receiver) = (OutputSender::default(), OutputReceiver::default());
    let rumble = |controller, strong| PadOutput::Rumble {
        controller,
        strong,
        weak: 0,
    };
    let [on, off] = [rumble(2, 9), rumble(2, 0)].map(|output| sender.packet(output));
    let other = sender.packet(rumble(3, 5));
    assert_eq!(receiver.handle_packet(&off), Ok(Some(rumble(2, 0))));
    assert_eq!(receiver.handle_packet(&on), Ok(None), "it is older");
    assert_eq!(receiver.handle_packet(&off), Ok(None), "the stream's copy");
    assert_eq!(receiver.handle_packet(&other), Ok(Some(rumble(3, 5))));
    let mut later = other;
    (later[1], later[2]) = (9, 200);
    assert_eq!(
        receiver.handle_packet(&later),
        Ok(None),
        "of a later version"
    );
    later[6] = 16;
    assert!(receiver.handle_packet(&later).is_err());
    assert!(receiver.handle_packet(&other[..10]).is_err());
}
