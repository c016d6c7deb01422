use std::collections::VecDeque;
use std::sync::Arc;

use super::*;
use crate::cursor::{Cursor, CursorShape};
use crate::native::messages::Message;
use crate::seeded::Seeded;
use crate::units::Timestamp;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ns(ms * 1_000_000)
}

/// A shape of that look.
fn shape(look: u8, width: u16, height: u16) -> Arc<CursorShape> {
    let layout = ShapeLayout::new(width, height, (width / 2, 0)).expect("within the limits");
    let pixels = (0..layout.bytes()).map(|i| (i as u8).wrapping_mul(31) ^ look);
    Arc::new(CursorShape::new(layout, pixels.collect()).expect("as many"))
}

fn shown(x: i32, y: i32, shape: &Arc<CursorShape>, now: Timestamp) -> Cursor {
    Cursor {
        pointer: Pointer {
            visibility: Visibility::Shown,
            x,
            y,
            output: (640, 480),
        },
        shape: Some(Arc::clone(shape)),
        changed: now,
    }
}

/// What the stream has to say, through its bytes.
fn messages(sender: &mut CursorSender, now: Timestamp) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(message) = sender.poll_message(now) {
        messages.push(through_bytes(message.into()));
    }
    messages
}

fn through_bytes(message: Message) -> Message {
    let mut bytes = Vec::new();
    message.write(&mut bytes);
    let read = Message::parse(
        message.kind(),
        &bytes[crate::native::framing::HEADER_BYTES..],
    );
    assert_eq!(read.as_ref(), Ok(&message));
    message
}

fn hear(receiver: &mut CursorReceiver, message: &Message) -> bool {
    match message {
        Message::CursorShape(part) => receiver.handle_part(part).expect("in order"),
        Message::CursorState(state) => receiver.handle_state(*state),
        other => panic!("{other:?}"),
    }
}

fn hear_all(sender: &mut CursorSender, receiver: &mut CursorReceiver, now: Timestamp) {
    for message in messages(sender, now) {
        hear(receiver, &message);
    }
}

#[test]
fn a_position_goes_at_once_and_for_certain_once_it_rests() {
    let (mut sender, mut receiver) = (CursorSender::default(), CursorReceiver::default());
    let arrow = shape(1, 12, 19);
    sender.handle(at(0), &shown(1, 2, &arrow, at(0)));
    let first = sender.poll_datagram(at(0)).expect("at once");
    assert!(receiver.handle_datagram(&first));
    // The shape is on its way.
    assert_eq!(receiver.cursor().pointer.visibility, Visibility::Hidden);
    let told = messages(&mut sender, at(0));
    assert!(matches!(
        told[..],
        [Message::CursorShape(_), Message::CursorState(_)]
    ));
    assert!(hear(&mut receiver, &told[0]), "now there is what to draw");
    assert!(
        !hear(&mut receiver, &told[1]),
        "the datagram said it before"
    );
    assert_eq!(receiver.cursor().pointer.visibility, Visibility::Shown);
    assert_eq!(
        receiver.cursor().shape.as_deref().map(CursorShape::pixels),
        Some(arrow.pixels())
    );

    // Faster than the interval: the newest waits for its time.
    sender.handle(at(1), &shown(3, 2, &arrow, at(1)));
    sender.handle(at(1), &shown(4, 2, &arrow, at(1)));
    assert_eq!(sender.poll_datagram(at(1)), None);
    assert_eq!(sender.poll_timeout(), Some(at(2)));
    let lost = sender.poll_datagram(at(2)).expect("due");
    assert_eq!(sender.poll_datagram(at(2)), None);
    assert_eq!(sender.poll_timeout(), Some(at(51)));
    assert_eq!(messages(&mut sender, at(50)), []);
    let told = messages(&mut sender, at(51));
    assert_eq!(told.len(), 1);
    assert!(hear(&mut receiver, &told[0]), "repaired");
    assert_eq!(receiver.cursor().pointer.x, 4);
    assert!(!receiver.handle_datagram(&lost), "late");
    let stats = receiver.stats();
    assert_eq!((stats.states, stats.repaired, stats.stale), (2, 1, 1));
    assert_eq!(sender.poll_timeout(), None);
    // The same again is no news.
    sender.handle(at(99), &shown(4, 2, &arrow, at(99)));
    assert_eq!(sender.poll_timeout(), None);
}

#[test]
fn hiding_is_told_for_certain_at_once() {
    let (mut sender, mut receiver) = (CursorSender::default(), CursorReceiver::default());
    let arrow = shape(1, 8, 8);
    let mut cursor = shown(1, 2, &arrow, at(0));
    sender.handle(at(0), &cursor);
    hear_all(&mut sender, &mut receiver, at(0));
    for visibility in [Visibility::Hidden, Visibility::Painted, Visibility::Shown] {
        cursor.pointer.visibility = visibility;
        sender.handle(at(1), &cursor);
        hear_all(&mut sender, &mut receiver, at(1));
        assert_eq!(receiver.cursor().pointer.visibility, visibility);
    }
}

#[test]
fn a_shape_that_is_known_is_only_named_and_the_oldest_is_forgotten() {
    let (mut sender, mut receiver) = (CursorSender::default(), CursorReceiver::default());
    let mut show = |look: u8, receiver: &mut CursorReceiver| {
        // Another `Arc` each time: the content tells.
        let wanted = shape(look, 4, 4);
        sender.handle(at(0), &shown(0, 0, &wanted, at(0)));
        let told = messages(&mut sender, at(0));
        told.iter().for_each(|message| {
            hear(receiver, message);
        });
        let seen = receiver.cursor().shape;
        assert_eq!(seen.as_deref(), Some(&*wanted));
        told.iter()
            .any(|message| matches!(message, Message::CursorShape(_)))
    };
    for look in 0..CURSOR_SHAPES_MAX as u8 {
        assert!(show(look, &mut receiver), "{look} is new");
    }
    for look in 0..CURSOR_SHAPES_MAX as u8 {
        assert!(!show(look, &mut receiver), "{look} is known");
    }
    // Shape 0 was used longest ago, but for this.
    assert!(!show(0, &mut receiver));
    assert!(show(100, &mut receiver), "takes the place of 1");
    assert!(!show(0, &mut receiver));
    assert!(!show(2, &mut receiver));
    assert!(show(1, &mut receiver), "was forgotten");
    assert!(show(3, &mut receiver), "and had taken the place of 3");
}

#[test]
fn a_large_shape_comes_in_parts_and_gives_way_to_another() {
    let (mut sender, mut receiver) = (CursorSender::default(), CursorReceiver::default());
    let large = shape(9, 256, 255);
    sender.handle(at(0), &shown(0, 0, &large, at(0)));
    let mut parts = 0;
    while let Some(CursorMessage::Shape(part)) = sender.poll_message(at(0)) {
        assert!(part.pixels.len() <= CURSOR_PART_BYTES_MAX);
        receiver.handle_part(&part).expect("in order");
        parts += 1;
        if parts == 3 {
            break;
        }
    }
    // In the middle of it another is wanted, which gets the place.
    let small = shape(2, 1, 1);
    sender.handle(at(1), &shown(0, 0, &small, at(1)));
    hear_all(&mut sender, &mut receiver, at(1));
    assert_eq!(receiver.cursor().shape.as_deref(), Some(&*small));
    assert_eq!(receiver.stats().shapes, 1);
    // And the large one again, from the start.
    sender.handle(at(2), &shown(0, 0, &large, at(2)));
    let told = messages(&mut sender, at(2));
    assert_eq!(told.len(), 16 + 1);
    told.iter().for_each(|message| {
        hear(&mut receiver, message);
    });
    assert_eq!(receiver.cursor().shape.as_deref(), Some(&*large));
}

#[test]
fn rows_that_continue_nothing_are_a_breach() {
    let part = |number, place, first_row| ShapePart {
        number,
        place,
        layout: ShapeLayout::new(1, 4, (0, 0)).expect("valid"),
        first_row,
        pixels: vec![0; 4],
    };
    let begun = || {
        let mut receiver = CursorReceiver::default();
        assert_eq!(receiver.handle_part(&part(1, 0, 0)), Ok(false));
        receiver
    };
    assert!(
        CursorReceiver::default()
            .handle_part(&part(1, 0, 1))
            .is_err()
    );
    for wrong in [part(1, 0, 2), part(2, 0, 1), part(1, 1, 1)] {
        assert!(begun().handle_part(&wrong).is_err(), "{wrong:?}");
    }
    let mut receiver = begun();
    for row in 1..4 {
        receiver.handle_part(&part(1, 0, row)).expect("in order");
    }
    assert!(
        receiver.handle_part(&part(1, 1, 0)).is_err(),
        "the number is taken"
    );
    assert_eq!(receiver.handle_part(&part(1, 0, 0)), Ok(false), "anew");
}

#[test]
fn impossible_parts_and_states_are_refused() {
    let valid = ShapePart {
        number: 1,
        place: 15,
        layout: ShapeLayout::new(2, 2, (1, 1)).expect("valid"),
        first_row: 0,
        pixels: vec![7; 16],
    };
    let mut body = Vec::new();
    valid.write(&mut Writer::new(&mut body));
    let read = |body: &[u8]| ShapePart::read(&mut Reader::new(body));
    assert_eq!(read(&body).as_ref(), Ok(&valid));
    for (offset, byte) in [
        (0, 0),
        (4, 16),
        (7, 2),
        (9, 2),
        (10, 2),
        (14, 1),
        (16, 0),
        (16, 3),
    ] {
        let mut damaged = body.clone();
        damaged[offset] = byte;
        assert!(read(&damaged).is_err(), "byte {offset} as {byte}");
    }
    assert!(read(&body[..body.len() - 1]).is_err());
    let packet = CursorState::default().packet();
    assert!(CursorState::parse(&packet[..STATE_BYTES - 1]).is_err());
    assert!(CursorState::parse(&[&packet[..], &[1]].concat()).is_ok());
    assert!(CursorState::parse(&[0xC9; STATE_BYTES]).is_err());
}

/// A host that shows and hides shapes and moves them at random; datagrams that are lost, late and
/// twice; a stream that takes little and is slow: once all rests the client draws what the host has.
#[test]
fn whatever_is_lost_the_client_ends_up_with_the_hosts_cursor() {
    for seed in 0..400 {
        let mut chance = Seeded(seed);
        let (mut sender, mut receiver) = (CursorSender::default(), CursorReceiver::default());
        let shapes: Vec<_> = (0..24)
            .map(|look| shape(look, 1 + u16::from(look) * 7, 1 + u16::from(look) * 5))
            .collect();
        let mut stream = VecDeque::new();
        let mut air = Vec::new();
        let mut cursor = Cursor::default();
        let mut now = at(0);
        for step in 0..600 {
            now = now + Duration::from_micros(chance.bits() % 3000);
            let is_over = step >= 400;
            if !is_over {
                change(&mut cursor, &shapes, now, &mut chance);
                sender.handle(now, &cursor);
            } else if step == 400 {
                now = now + SETTLE_AFTER;
            }
            while let Some(datagram) = sender.poll_datagram(now) {
                (0..chance.bits() % 3).for_each(|_| air.push(datagram));
            }
            if !air.is_empty() && chance.chance(0.5) {
                let late = chance.bits() as usize % air.len();
                receiver.handle_datagram(&air.swap_remove(late));
            }
            if stream.len() < 2
                && let Some(message) = sender.poll_message(now)
            {
                stream.push_back(through_bytes(message.into()));
            }
            if let Some(message) = stream.front()
                && (is_over || chance.chance(0.3))
            {
                hear(&mut receiver, message);
                stream.pop_front();
            }
        }
        let seen = receiver.cursor();
        assert!(
            stream.is_empty() && sender.poll_timeout().is_none(),
            "seed {seed}"
        );
        assert_eq!(seen.pointer, cursor.pointer, "seed {seed}");
        if cursor.pointer.visibility == Visibility::Shown {
            assert_eq!(seen.shape, cursor.shape, "seed {seed}");
        }
    }
}

fn change(cursor: &mut Cursor, shapes: &[Arc<CursorShape>], now: Timestamp, chance: &mut Seeded) {
    cursor.changed = now;
    cursor.pointer.output = (640, 480);
    match chance.bits() % 8 {
        0 => {
            let look = chance.bits() as usize % shapes.len();
            cursor.shape = Some(Arc::clone(&shapes[look]));
        }
        1 => {
            let all = [Visibility::Hidden, Visibility::Shown, Visibility::Painted];
            cursor.pointer.visibility = all[chance.bits() as usize % 3];
        }
        _ => {
            cursor.pointer.x = (chance.bits() % 640) as i32;
            cursor.pointer.y = (chance.bits() % 480) as i32;
        }
    }
    if cursor.shape.is_none() && cursor.pointer.visibility == Visibility::Shown {
        cursor.pointer.visibility = Visibility::Hidden;
    }
}
