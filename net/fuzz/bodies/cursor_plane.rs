//! Arbitrary packets of the cursor plane, and arbitrary rows of shapes: nothing panics, what is drawn
//! is within its bounds, no more is kept than may be, and an older state never displaces a newer one.

use net::cursor::Visibility;
use net::limits::CURSOR_SIDE_PX_MAX;
use net::native::Message;
use net::native::cursor::{CursorReceiver, PART_BYTES_MAX};
use net::native::messages::Kind;

/// A row of packets, each with its length and its way in front: a datagram, rows or a state of the
/// stream. How many were taken.
pub fn run(data: &[u8]) -> u64 {
    let mut receiver = CursorReceiver::default();
    let (mut rest, mut taken) = (data, 0);
    while let Some(([way, length @ ..], tail)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_le_bytes(*length)) % (PART_BYTES_MAX + 1);
        let (packet, tail) = tail.split_at(length.min(tail.len()));
        rest = tail;
        let states = receiver.stats().states;
        let kind = match way % 3 {
            0 => {
                let is_news = receiver.handle_datagram(packet);
                assert_eq!(receiver.stats().states, states + u64::from(is_news));
                taken += u64::from(is_news);
                check(&receiver);
                continue;
            }
            1 => Kind::CursorShape,
            _ => Kind::CursorState,
        };
        match Message::parse(kind, packet) {
            Ok(Message::CursorShape(part)) => {
                assert!(part.pixels.len() < PART_BYTES_MAX && !part.pixels.is_empty());
                // One that continues nothing ends a session; here it is left out.
                taken += u64::from(receiver.handle_part(&part).is_ok());
            }
            Ok(Message::CursorState(state)) => taken += u64::from(receiver.handle_state(state)),
            Ok(other) => panic!("{other:?}"),
            Err(_) => {}
        }
        check(&receiver);
    }
    taken
}

fn check(receiver: &CursorReceiver) {
    let cursor = receiver.cursor();
    let Some(shape) = cursor.shape else {
        assert_eq!(cursor.number, 0);
        assert_ne!(cursor.pointer.visibility, Visibility::Shown);
        return;
    };
    let layout = shape.layout();
    assert!(layout.width().max(layout.height()) <= CURSOR_SIDE_PX_MAX);
    assert_eq!(shape.pixels().len(), layout.bytes());
    let mut drawn = 0;
    let at = (cursor.pointer.x, cursor.pointer.y);
    shape.each_pixel(at, (64, 48), |x, y, _| {
        assert!(x < 64 && y < 48);
        drawn += 1;
    });
    assert!(drawn <= 64 * 48);
}
