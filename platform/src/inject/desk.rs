//! What every injector over a remote-desktop protocol has in common: what is down, what fingers
//! and pens mean where there is no touch, how text is typed between held modifiers. How things are
//! told is a [`Sink`]'s.

use std::os::fd::BorrowedFd;

use net::input::{
    ContactKind, InputEvent, KeyEvent, PadOutput, PenTool, PointerButton, Position, ScrollAxis,
};

use super::pointing::{Act, BUTTONS, Contacts, names};
use super::{Capabilities, InjectError, Injected, Injector, Roles, keys};
use crate::capture::CaptureError;

/// What such injectors take.
pub(super) const ROLES: Roles = Roles {
    desk: true,
    pads: false,
};
/// Fingers that are told apart.
const FINGERS_MAX: usize = 10;
/// Keys that change what others mean: both Control, Shift, Alt, and the logo.
const MODIFIERS: [u8; 8] = [29, 97, 42, 54, 56, 100, 125, 126];

/// What a finger does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finger {
    Down,
    Move,
    Up,
}

/// The way to tell. Codes are the kernel's (`linux/input-event-codes.h`); positions are shares of
/// our output. Whoever cannot do something says [`Injected::Unsupported`].
pub(super) trait Sink: Send {
    fn name(&self) -> &'static str;
    fn has_touch(&self) -> bool;
    fn key(&mut self, code: u8, pressed: bool) -> Injected;
    /// The whole text, if there is such a way.
    fn text(&mut self, text: &str) -> Injected;
    /// One character, after everything that was told before it.
    fn character(&mut self, character: char) -> Result<Injected, CaptureError>;
    fn motion(&mut self, dx: i16, dy: i16) -> Injected;
    fn place(&mut self, position: Position) -> Injected;
    fn button(&mut self, code: u32, pressed: bool) -> Injected;
    /// As the client told it: 120 is a notch, up and right are positive.
    fn scroll(&mut self, axis: ScrollAxis, amount: i16) -> Injected;
    fn finger(&mut self, number: u32, finger: Finger, position: Position) -> Injected;
    /// Sends what waits, reads what came, and does not wait.
    fn exchange(&mut self) -> Result<(), CaptureError>;
    fn fd(&self) -> Option<BorrowedFd<'_>>;
    /// Says goodbye, once nothing is down any more.
    fn leave(&mut self);
}

/// See the module.
pub(super) struct Desk<S: Sink> {
    sink: S,
    /// Down, by code of the kernel.
    keys: [bool; 256],
    /// Down, by bit.
    buttons: u8,
    /// The client's fingers that are down, by our number.
    fingers: [Option<u32>; FINGERS_MAX],
    /// Where the sink takes no touch.
    contacts: Contacts,
    /// The log has said that text was left out.
    is_loss_told: bool,
}

impl<S: Sink> Desk<S> {
    pub(super) fn new(sink: S) -> Self {
        Self {
            sink,
            keys: [false; 256],
            buttons: 0,
            fingers: [None; FINGERS_MAX],
            contacts: Contacts::default(),
            is_loss_told: false,
        }
    }

    fn key(&mut self, event: &KeyEvent) -> Injected {
        let Some(code) = keys::code(event.virtual_key) else {
            return Injected::Unsupported;
        };
        if std::mem::replace(&mut self.keys[usize::from(code)], event.pressed) == event.pressed {
            return Injected::Done;
        }
        self.sink.key(code, event.pressed)
    }

    /// Text, whatever is held: it is typed without any modifier. Characters that nothing here can type
    /// are left out, and told: once in the log, each time to whoever counts.
    fn text(&mut self, text: &str) -> Result<Injected, CaptureError> {
        if self.sink.text(text) == Injected::Done {
            return Ok(Injected::Done);
        }
        let is_held = |code: &u8| self.keys[usize::from(*code)];
        let held: Vec<u8> = MODIFIERS.into_iter().filter(is_held).collect();
        for code in &held {
            self.sink.key(*code, false);
        }
        let mut done = Injected::Done;
        for character in text.chars() {
            if self.sink.character(character)? == Injected::Unsupported
                && self.type_as_keys(character) == Injected::Unsupported
            {
                done = Injected::Unsupported;
            }
        }
        for code in &held {
            self.sink.key(*code, true);
        }
        if done == Injected::Unsupported && !std::mem::replace(&mut self.is_loss_told, true) {
            let name = self.sink.name();
            log::warn!(
                "{name}: text has characters that no key here stands for; they are left out"
            );
        }
        Ok(done)
    }

    /// By the American keyboard.
    fn type_as_keys(&mut self, character: char) -> Injected {
        const SHIFT: u8 = 42;
        let Some((code, shift)) = keys::of_character(character) else {
            return Injected::Unsupported;
        };
        if shift {
            self.sink.key(SHIFT, true);
        }
        self.sink.key(code, true);
        self.sink.key(code, false);
        if shift {
            self.sink.key(SHIFT, false);
        }
        Injected::Done
    }

    /// What is so already is not done again.
    fn button(&mut self, button: PointerButton, pressed: bool) -> Injected {
        let (bit, code) = names(button);
        if pressed == (self.buttons & bit != 0) {
            return Injected::Done;
        }
        self.buttons ^= bit;
        self.sink.button(code, pressed)
    }

    /// A finger, where the sink knows fingers.
    fn finger(&mut self, id: u32, kind: ContactKind, position: Position) -> Injected {
        let known = self.fingers.iter().position(|it| *it == Some(id));
        let (place, finger) = match (kind, known) {
            (ContactKind::CancelAll, _) => {
                self.lift_fingers();
                return Injected::Done;
            }
            (ContactKind::Down, None) => {
                (self.fingers.iter().position(Option::is_none), Finger::Down)
            }
            (ContactKind::Down | ContactKind::Move, known) => (known, Finger::Move),
            (ContactKind::Up | ContactKind::Cancel | ContactKind::HoverLeave, known) => {
                (known, Finger::Up)
            }
            (ContactKind::Hover | ContactKind::Buttons, _) => (None, Finger::Move),
        };
        let Some(place) = place else {
            return Injected::Done;
        };
        self.fingers[place] = (finger != Finger::Up).then_some(id);
        self.sink.finger(place as u32, finger, position)
    }

    fn lift_fingers(&mut self) {
        let nowhere = Position { x: 0.0, y: 0.0 };
        for number in 0..FINGERS_MAX {
            if self.fingers[number].take().is_some() {
                self.sink.finger(number as u32, Finger::Up, nowhere);
            }
        }
    }

    /// Does what a finger or pen means for a pointer.
    fn act(&mut self, act: &Act) -> Injected {
        if let Some(position) = act.position {
            self.sink.place(position);
        }
        if let Some((button, pressed)) = act.button {
            self.button(button, pressed);
        }
        Injected::Done
    }
}

impl<S: Sink> Injector for Desk<S> {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: self.sink.name(),
            roles: ROLES,
            has_touch: self.sink.has_touch(),
            pads_max: 0,
        }
    }

    fn inject(&mut self, event: &InputEvent) -> Result<Injected, InjectError> {
        Ok(match event {
            InputEvent::Key(key) => self.key(key),
            InputEvent::Text(text) => self.text(text.as_str())?,
            InputEvent::PointerMotion { dx, dy } => self.sink.motion(*dx, *dy),
            InputEvent::PointerPosition(position) => self.sink.place(*position),
            InputEvent::PointerButton { button, pressed } => self.button(*button, *pressed),
            InputEvent::Scroll { axis, amount } => self.sink.scroll(*axis, *amount),
            InputEvent::Touch(touch) if self.sink.has_touch() => {
                self.finger(touch.id, touch.contact.kind, touch.contact.position)
            }
            InputEvent::Touch(touch) => {
                let act = self.contacts.finger(touch.id, &touch.contact);
                self.act(&act)
            }
            InputEvent::Pen(pen) => {
                let act = self.contacts.pen(&pen.contact);
                self.act(&act);
                let barrel = pen.buttons & 1 != 0 && pen.tool != PenTool::Eraser;
                self.button(PointerButton::Right, barrel)
            }
            InputEvent::ControllerArrival(_)
            | InputEvent::ControllerState(_)
            | InputEvent::ControllerTouch(_)
            | InputEvent::ControllerMotion(_)
            | InputEvent::ControllerBattery(_) => Injected::Unsupported,
        })
    }

    fn flush(&mut self) -> Result<(), InjectError> {
        Ok(self.sink.exchange()?)
    }

    fn release_all(&mut self) -> Result<(), InjectError> {
        for code in 0..=u8::MAX {
            if std::mem::take(&mut self.keys[usize::from(code)]) {
                self.sink.key(code, false);
            }
        }
        for button in BUTTONS {
            self.button(button, false);
        }
        self.lift_fingers();
        self.contacts = Contacts::default();
        self.flush()
    }

    fn poll_output(&mut self) -> Result<Option<PadOutput>, InjectError> {
        self.sink.exchange()?;
        Ok(None)
    }

    fn descriptors<'a>(&'a self, into: &mut Vec<BorrowedFd<'a>>) {
        into.extend(self.sink.fd());
    }
}

impl<S: Sink> Drop for Desk<S> {
    fn drop(&mut self) {
        // Where the compositor is gone, so are the keys.
        let _ = self.release_all();
        self.sink.leave();
    }
}

/// `X11/keysymdef.h`: Latin-1 is itself, other characters by their Unicode number.
pub(super) fn keysym(character: char) -> u32 {
    match character {
        '\n' | '\r' => 0xFF0D,
        '\t' => 0xFF09,
        '\u{8}' => 0xFF08,
        '\u{1b}' => 0xFF1B,
        ' '..='~' | '\u{a0}'..='\u{ff}' => character.into(),
        _ => 0x0100_0000 | u32::from(character),
    }
}

#[cfg(test)]
mod tests {
    use net::input::{Contact, Modifiers, Text, TouchEvent};

    use super::*;

    #[derive(Default)]
    struct Heard {
        told: Vec<String>,
        takes_characters: bool,
    }

    impl Heard {
        fn tell(&mut self, what: String) -> Injected {
            self.told.push(what);
            Injected::Done
        }
    }

    impl Sink for Heard {
        fn name(&self) -> &'static str {
            "heard"
        }
        fn has_touch(&self) -> bool {
            true
        }
        fn key(&mut self, code: u8, pressed: bool) -> Injected {
            self.tell(format!("{code}{}", if pressed { '+' } else { '-' }))
        }
        fn text(&mut self, _: &str) -> Injected {
            Injected::Unsupported
        }
        fn character(&mut self, character: char) -> Result<Injected, CaptureError> {
            if !self.takes_characters {
                return Ok(Injected::Unsupported);
            }
            Ok(self.tell(character.to_string()))
        }
        fn motion(&mut self, _: i16, _: i16) -> Injected {
            Injected::Done
        }
        fn place(&mut self, _: Position) -> Injected {
            Injected::Done
        }
        fn button(&mut self, code: u32, pressed: bool) -> Injected {
            self.tell(format!("{code:x} {pressed}"))
        }
        fn scroll(&mut self, _: ScrollAxis, _: i16) -> Injected {
            Injected::Done
        }
        fn finger(&mut self, number: u32, finger: Finger, _: Position) -> Injected {
            self.tell(format!("{number} {finger:?}"))
        }
        fn exchange(&mut self) -> Result<(), CaptureError> {
            Ok(())
        }
        fn fd(&self) -> Option<BorrowedFd<'_>> {
            None
        }
        fn leave(&mut self) {}
    }

    fn key(virtual_key: u8, pressed: bool) -> InputEvent {
        InputEvent::Key(KeyEvent {
            virtual_key,
            pressed,
            modifiers: Modifiers::default(),
            is_layout_dependent: false,
        })
    }

    fn finger(id: u32, kind: ContactKind) -> InputEvent {
        InputEvent::Touch(TouchEvent {
            id,
            contact: Contact {
                kind,
                position: Position { x: 0.5, y: 0.5 },
                pressure_or_distance: 0.0,
                major: 0.0,
                minor: 0.0,
                rotation: None,
            },
        })
    }

    fn told(takes_characters: bool, events: &[InputEvent]) -> String {
        let mut desk = Desk::new(Heard {
            takes_characters,
            ..Heard::default()
        });
        for event in events {
            desk.inject(event).expect("a sink that never fails");
        }
        desk.release_all().expect("a sink that never fails");
        desk.sink.told.join(", ")
    }

    #[test]
    fn text_is_typed_without_the_modifiers_that_are_held() {
        let text = InputEvent::Text(Text::new("é").expect("short"));
        let events = [key(0xA2, true), text, key(0xA2, false)];
        assert_eq!(told(true, &events), "29+, 29-, é, 29+, 29-");
        let text = InputEvent::Text(Text::new("A").expect("short"));
        assert_eq!(told(false, &[text]), "42+, 30+, 30-, 42-");
    }

    #[test]
    fn text_that_no_key_stands_for_is_told_and_the_rest_is_typed() {
        let mut desk = Desk::new(Heard::default());
        let mut text = |text: &str| {
            let text = InputEvent::Text(Text::new(text).expect("short"));
            desk.inject(&text).expect("a sink that never fails")
        };
        assert_eq!(text("a"), Injected::Done);
        assert_eq!(text("éa"), Injected::Unsupported);
        assert_eq!(desk.sink.told.join(", "), "30+, 30-, 30+, 30-");
    }

    #[test]
    fn what_is_down_is_lifted_once_and_pressed_once() {
        let button = |pressed| InputEvent::PointerButton {
            button: PointerButton::Left,
            pressed,
        };
        let events = [key(0x41, true), key(0x41, true), button(true), button(true)];
        assert_eq!(told(true, &events), "30+, 110 true, 30-, 110 false");
    }

    #[test]
    fn fingers_have_small_numbers_and_are_all_lifted() {
        let events = [
            finger(900, ContactKind::Down),
            finger(7, ContactKind::Down),
            finger(900, ContactKind::Up),
            finger(8, ContactKind::Down),
            finger(9, ContactKind::Move),
            finger(7, ContactKind::CancelAll),
        ];
        let expected = "0 Down, 1 Down, 0 Up, 0 Down, 0 Up, 1 Up";
        assert_eq!(told(true, &events), expected);
    }

    #[test]
    fn characters_have_the_keysyms_of_x11() {
        let expected = [
            ('a', 0x61),
            ('ä', 0xE4),
            ('\n', 0xFF0D),
            ('€', 0x0100_20AC),
            ('あ', 0x0100_3042),
        ];
        for (character, symbol) in expected {
            assert_eq!(keysym(character), symbol, "{character:?}");
        }
    }
}
