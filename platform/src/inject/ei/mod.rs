//! `ei`: emulated input (libei's protocol), as Mutter, KWin and gamescope take it.
//!
//! * The server's keymap counts: keys are codes, and mean what they mean on the desktop. Text goes
//!   as text where the server has devices for it, else the way of the server's own
//!   ([`EiServer::type_keysym`]), else as keys of the American keyboard. (Mutter 48 types only what
//!   the layout in use has.)
//! * Absolute positions are of the region that the server names for our output, else of the first.
//! * Whole notches of a wheel are told as such, finer ones as a distance.

mod link;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use net::input::{ContactKind, InputEvent, PadOutput, PenTool, PointerButton, ScrollAxis};
use net::input::{KeyEvent, Position};
use reis::ei;

use super::pointing::{Act, BUTTONS, Contacts, NOTCH, NOTCH_UNITS, names};
use super::{Capabilities, InjectBackend, InjectError, Injected, Injector, Roles, keys};
use crate::capture::CaptureError;
use crate::capture::link::ended;
use crate::display::OutputAddress;
use crate::select::Refusal;

use link::{Device, Link};

const ROLES: Roles = Roles {
    desk: true,
    pads: false,
};
/// Fingers that are told apart.
const FINGERS_MAX: usize = 10;
/// Keys that change what others mean: both Control, Shift, Alt, and the logo.
const MODIFIERS: [u8; 8] = [29, 97, 42, 54, 56, 100, 125, 126];

/// Who takes emulated input for a display.
pub trait EiServer: fmt::Debug + Send + Sync {
    /// A new connection to it.
    ///
    /// # Errors
    /// [`CaptureError::Ended`], with the reason.
    fn connect(&self) -> Result<UnixStream, CaptureError>;

    /// Presses and lifts the key of a keysym (`X11/keysymdef.h`), whatever the layout. `None` if
    /// there is no such way.
    fn type_keysym(&self, keysym: u32) -> Option<Result<(), CaptureError>>;
}

/// The way to a display's emulated input.
#[derive(Clone, Debug)]
pub struct EiAddress {
    /// Who takes it.
    pub server: Arc<dyn EiServer>,
    /// Which of its regions is our output, where the display knows (`ei_device.region_mapping_id`).
    pub mapping_id: Option<String>,
}

impl PartialEq for EiAddress {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.server, &other.server) && self.mapping_id == other.mapping_id
    }
}

impl Eq for EiAddress {}

/// The backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ei;

fn address(output: Option<&OutputAddress>) -> Result<&EiAddress, CaptureError> {
    let way = "emulated input";
    let address = output.and_then(|output| output.ei.as_ref());
    address.ok_or(CaptureError::NoWay { way })
}

impl InjectBackend for Ei {
    fn name(&self) -> &'static str {
        "ei"
    }

    fn roles(&self) -> Roles {
        ROLES
    }

    fn probe(&self, output: Option<&OutputAddress>) -> Result<String, Refusal> {
        address(output).map_err(|error| Refusal::new(error.to_string(), ""))?;
        Ok("keyboard and pointer by the compositor's own server".to_owned())
    }

    fn open(&self, output: Option<&OutputAddress>) -> Result<Box<dyn Injector>, InjectError> {
        let address = address(output)?;
        let link = Link::open(address.server.connect()?, address.mapping_id.clone())?;
        Ok(Box::new(EiInjector {
            link,
            server: Arc::clone(&address.server),
            keys: [false; 256],
            buttons: 0,
            fingers: [None; FINGERS_MAX],
            contacts: Contacts::default(),
        }))
    }
}

struct EiInjector {
    link: Link,
    server: Arc<dyn EiServer>,
    /// Down, by code of the kernel.
    keys: [bool; 256],
    /// Down, by bit.
    buttons: u8,
    /// The client's fingers that are down, by our number.
    fingers: [Option<u32>; FINGERS_MAX],
    /// Where the server takes no touch.
    contacts: Contacts,
}

impl EiInjector {
    fn key(&mut self, event: &KeyEvent) -> Injected {
        let Some(code) = keys::code(event.virtual_key) else {
            return Injected::Unsupported;
        };
        if std::mem::replace(&mut self.keys[usize::from(code)], event.pressed) == event.pressed {
            return Injected::Done;
        }
        self.tell_key(code, event.pressed)
    }

    fn tell_key(&mut self, code: u8, pressed: bool) -> Injected {
        let state = if pressed {
            ei::keyboard::KeyState::Press
        } else {
            ei::keyboard::KeyState::Released
        };
        self.on(
            |device| device.keyboard.as_ref(),
            |keyboard, _| keyboard.key(code.into(), state),
        )
    }

    /// Text, whatever is held: it is typed without any modifier.
    fn text(&mut self, text: &str) -> Result<Injected, InjectError> {
        let told = self.on(|device| device.text.as_ref(), |it, _| it.utf8(text));
        if told == Injected::Done {
            return Ok(told);
        }
        let held: Vec<u8> = MODIFIERS
            .into_iter()
            .filter(|code| self.keys[usize::from(*code)])
            .collect();
        for code in &held {
            self.tell_key(*code, false);
        }
        // The server's own way is another connection: what was told here must be done first.
        self.link.settle()?;
        for character in text.chars() {
            match self.server.type_keysym(keysym(character)) {
                Some(typed) => typed?,
                None => self.type_as_keys(character),
            }
        }
        for code in &held {
            self.tell_key(*code, true);
        }
        Ok(Injected::Done)
    }

    fn type_as_keys(&mut self, character: char) {
        const SHIFT: u8 = 42;
        let Some((code, shift)) = keys::of_character(character) else {
            return;
        };
        if shift {
            self.tell_key(SHIFT, true);
        }
        self.tell_key(code, true);
        self.tell_key(code, false);
        if shift {
            self.tell_key(SHIFT, false);
        }
    }

    fn place(&mut self, position: Position) -> Injected {
        self.on(
            |device| device.absolute.as_ref(),
            |pointer, device| {
                let (x, y) = device.point(position);
                pointer.motion_absolute(x, y);
            },
        )
    }

    /// What is so already is not done again.
    fn button(&mut self, button: PointerButton, pressed: bool) -> Injected {
        let (bit, code) = names(button);
        if pressed == (self.buttons & bit != 0) {
            return Injected::Done;
        }
        self.buttons ^= bit;
        let state = if pressed {
            ei::button::ButtonState::Press
        } else {
            ei::button::ButtonState::Released
        };
        self.on(|it| it.button.as_ref(), |it, _| it.button(code, state))
    }

    fn scroll(&mut self, axis: ScrollAxis, amount: i16) -> Injected {
        // Positive is down and right.
        let (x, y) = match axis {
            ScrollAxis::Vertical => (0, -i32::from(amount)),
            ScrollAxis::Horizontal => (i32::from(amount), 0),
        };
        self.on(
            |device| device.scroll.as_ref(),
            |scroll, _| {
                if (x + y) % NOTCH == 0 {
                    scroll.scroll_discrete(x, y);
                } else {
                    let units = |amount: i32| amount as f32 / NOTCH as f32 * NOTCH_UNITS as f32;
                    scroll.scroll(units(x), units(y));
                }
            },
        )
    }

    /// A finger, where the server knows fingers.
    fn finger(&mut self, id: u32, kind: ContactKind, position: Position) -> Injected {
        let mut slots = self.fingers.iter();
        let known = slots.position(|finger| *finger == Some(id));
        let place = match kind {
            ContactKind::Down if known.is_none() => self.fingers.iter().position(Option::is_none),
            ContactKind::CancelAll => {
                self.lift_fingers();
                return Injected::Done;
            }
            _ => known,
        };
        let Some(place) = place else {
            return Injected::Done;
        };
        let number = place as u32;
        self.fingers[place] = match kind {
            ContactKind::Up | ContactKind::Cancel | ContactKind::HoverLeave => None,
            _ => Some(id),
        };
        self.on(
            |device| device.touch.as_ref(),
            |touch, device| {
                let (x, y) = device.point(position);
                match kind {
                    ContactKind::Down if known.is_none() => touch.down(number, x, y),
                    ContactKind::Down | ContactKind::Move => touch.motion(number, x, y),
                    ContactKind::Up | ContactKind::Cancel | ContactKind::HoverLeave => {
                        touch.up(number);
                    }
                    ContactKind::Hover | ContactKind::Buttons | ContactKind::CancelAll => {}
                }
            },
        )
    }

    fn lift_fingers(&mut self) {
        for number in 0..FINGERS_MAX {
            if self.fingers[number].take().is_some() {
                self.on(|it| it.touch.as_ref(), |it, _| it.up(number as u32));
            }
        }
    }

    /// Does what a finger or pen means for a pointer.
    fn act(&mut self, act: &Act) {
        if let Some(position) = act.position {
            self.place(position);
        }
        if let Some((button, pressed)) = act.button {
            self.button(button, pressed);
        }
    }

    /// Tells the first device that has it something, and ends the frame.
    fn on<T>(
        &mut self,
        part: impl Fn(&Device) -> Option<&T>,
        tell: impl FnOnce(&T, &Device),
    ) -> Injected {
        match self.link.device(&part) {
            Some(device) => {
                tell(part(device).expect("chosen because it has it"), device);
                self.link.frame(device);
                Injected::Done
            }
            None => Injected::Unsupported,
        }
    }
}

impl Injector for EiInjector {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: "ei",
            roles: ROLES,
            has_touch: self.link.device(|device| device.touch.as_ref()).is_some(),
            pads_max: 0,
        }
    }

    fn inject(&mut self, event: &InputEvent) -> Result<Injected, InjectError> {
        Ok(match event {
            InputEvent::Key(key) => self.key(key),
            InputEvent::Text(text) => return self.text(text.as_str()),
            InputEvent::PointerMotion { dx, dy } => {
                let (dx, dy) = (f32::from(*dx), f32::from(*dy));
                self.on(
                    |device| device.pointer.as_ref(),
                    |pointer, _| pointer.motion_relative(dx, dy),
                )
            }
            InputEvent::PointerPosition(position) => self.place(*position),
            InputEvent::PointerButton { button, pressed } => self.button(*button, *pressed),
            InputEvent::Scroll { axis, amount } => self.scroll(*axis, *amount),
            InputEvent::Touch(touch) => {
                if self.link.device(|device| device.touch.as_ref()).is_some() {
                    self.finger(touch.id, touch.contact.kind, touch.contact.position)
                } else {
                    let act = self.contacts.finger(touch.id, &touch.contact);
                    self.act(&act);
                    Injected::Done
                }
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
        Ok(self.link.exchange()?)
    }

    fn release_all(&mut self) -> Result<(), InjectError> {
        for code in 0..=u8::MAX {
            if std::mem::take(&mut self.keys[usize::from(code)]) {
                self.tell_key(code, false);
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
        self.link.exchange()?;
        Ok(None)
    }

    fn descriptors<'a>(&'a self, into: &mut Vec<BorrowedFd<'a>>) {
        into.push(self.link.as_fd());
    }
}

impl Drop for EiInjector {
    fn drop(&mut self) {
        // Where the compositor is gone, so are the keys. A server lifts what a client that went
        // left down; not all do.
        if self.release_all().is_ok() {
            let _ = self.link.settle();
        }
        self.link.leave();
    }
}

/// `X11/keysymdef.h`: Latin-1 is itself, other characters by their Unicode number.
fn keysym(character: char) -> u32 {
    match character {
        '\n' | '\r' => 0xFF0D,
        '\t' => 0xFF09,
        '\u{8}' => 0xFF08,
        '\u{1b}' => 0xFF1B,
        ' '..='~' | '\u{a0}'..='\u{ff}' => character.into(),
        _ => 0x0100_0000 | u32::from(character),
    }
}

/// What a server that speaks another protocol answers.
pub(crate) fn refused(reason: impl fmt::Display) -> CaptureError {
    ended(format!("emulated input: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
