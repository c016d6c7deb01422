//! A shape in two messages, and states.

use net::cursor::{Pointer, ShapeLayout, Visibility};
use net::media::CaptureMicros;
use net::native::Message;
use net::native::cursor::{CursorReceiver, CursorState, ShapePart};

use super::{Vectors, noise};

fn bytes_of(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.write(&mut bytes);
    bytes
}

#[test]
fn cursor() {
    let mut file =
        Vectors::about("The pointer: a shape in messages, and states in both their ways.");
    let layout = ShapeLayout::new(3, 4, (1, 3)).expect("valid");
    let pixels = noise(7, layout.bytes());
    let mut receiver = CursorReceiver::default();
    file.vector("shape");
    for (name, value) in [
        ("number", 0x0102_0304),
        ("place", 9),
        ("width", 3),
        ("height", 4),
        ("hotspot-x", 1),
        ("hotspot-y", 3),
    ] {
        file.number(name, value as u64);
    }
    file.bytes("pixels", &pixels);
    for (first_row, rows) in [(0, 3), (3, 1)] {
        let begin = usize::from(first_row) * layout.row_bytes();
        let part = ShapePart {
            number: 0x0102_0304,
            place: 9,
            layout,
            first_row,
            pixels: pixels[begin..begin + rows * layout.row_bytes()].to_vec(),
        };
        receiver.handle_part(&part).expect("in order");
        file.bytes("part", &bytes_of(&Message::CursorShape(part)));
    }
    let all = [
        ("hidden", 0, Visibility::Hidden, 0, (0, 0)),
        (
            "shown",
            1,
            Visibility::Shown,
            0x0102_0304,
            (-5, 0x0001_0203),
        ),
        ("painted", 2, Visibility::Painted, 0, (7, -1)),
    ];
    for (sequence, (name, number, visibility, shape, (x, y))) in (1..).zip(all) {
        let state = CursorState {
            sequence,
            shape,
            pointer: Pointer {
                visibility,
                x,
                y,
                output: (1280, 720),
            },
            changed: CaptureMicros(0x8090_a0b0),
        };
        file.vector(format_args!("state {name}"));
        for (name, value) in [
            ("visibility", number),
            ("sequence", sequence),
            ("shape", shape),
            ("x", x.cast_unsigned()),
            ("y", y.cast_unsigned()),
            ("output-width", 1280),
            ("output-height", 720),
            ("changed-us", 0x8090_a0b0),
        ] {
            file.number(name, value);
        }
        file.bytes("state", &state.packet());
        file.bytes("message", &bytes_of(&Message::CursorState(state)));
        assert!(receiver.handle_datagram(&state.packet()));
        assert_eq!(receiver.cursor().pointer, state.pointer);
    }
    let seen = receiver.cursor().shape.expect("it was named once");
    assert_eq!(seen.pixels(), pixels);
    file.check("cursor.txt");
}
