//! `connect --input-test`: types a line and moves the pointer, to be seen on the streamed desktop.

use std::time::Duration;

use engine::client::Viewer;
use net::client::ClientInput;
use net::input::{InputEvent, KeyEvent, Modifiers, PointerButton, Position, ScrollAxis, Text};
use platform::inject::keys;

/// Keys first, then what needs none: characters that an American keyboard lacks.
const BY_KEYS: &str = "Punktfunk types: 123, (ok)!";
const BY_TEXT: &str = " äöü € Ж";
/// An application that has just been started may not have its window yet.
const PATIENCE: Duration = Duration::from_millis(1500);
/// A fast typist's.
const KEY_INTERVAL: Duration = Duration::from_millis(15);
const STEPS: u16 = 50;
const LEFT_SHIFT: u8 = 0xA0;
const RETURN: u8 = 0x0D;

/// Types and moves; false if the session ended or the user has enough.
pub fn run(viewer: &mut Viewer, interrupted: impl Fn() -> bool) -> bool {
    let input = viewer.input();
    let mut wait = |time| viewer.run_for(time, &interrupted);
    if !wait(PATIENCE) {
        return false;
    }
    for step in 0..=STEPS {
        let share = f32::from(step) / f32::from(STEPS) * 0.5;
        send(
            &input,
            InputEvent::PointerPosition(Position { x: share, y: share }),
        );
        if !wait(KEY_INTERVAL / 3) {
            return false;
        }
    }
    for pressed in [true, false] {
        send(
            &input,
            InputEvent::PointerButton {
                button: PointerButton::Left,
                pressed,
            },
        );
    }
    send(
        &input,
        InputEvent::Scroll {
            axis: ScrollAxis::Vertical,
            amount: -120,
        },
    );
    for character in BY_KEYS.chars() {
        type_key(&input, character);
        if !wait(KEY_INTERVAL) {
            return false;
        }
    }
    if let Some(text) = Text::new(BY_TEXT) {
        send(&input, InputEvent::Text(text));
    }
    for pressed in [true, false] {
        send(&input, key(RETURN, pressed, false));
    }
    wait(PATIENCE)
}

fn type_key(input: &ClientInput, character: char) {
    let place = keys::of_character(character);
    let Some((virtual_key, shift)) =
        place.and_then(|(code, shift)| Some((keys::virtual_key(code.into())?, shift)))
    else {
        return;
    };
    if shift {
        send(input, key(LEFT_SHIFT, true, true));
    }
    for pressed in [true, false] {
        send(input, key(virtual_key, pressed, shift));
    }
    if shift {
        send(input, key(LEFT_SHIFT, false, false));
    }
}

const fn key(virtual_key: u8, pressed: bool, shift: bool) -> InputEvent {
    InputEvent::Key(KeyEvent {
        virtual_key,
        pressed,
        modifiers: Modifiers {
            shift,
            control: false,
            alt: false,
            logo: false,
        },
        is_layout_dependent: false,
    })
}

fn send(input: &ClientInput, event: InputEvent) {
    if !input.send(event) {
        log::warn!("the receiver took no {event:?}");
    }
}
