//! `kwin`: `org_kde_kwin_fake_input`, KWin's own way in, for programs that a `.desktop` file permits
//! (`scripts/kde-permission`).
//!
//! * There is one seat: keys go to the window in front, whatever output it is on. Positions are those
//!   of the whole desktop, so the session's output is looked up in it, anew each time it moves.
//! * Modifiers are counted by KWin, from the keys.
//! * Text goes as keysyms (version 6, KWin 6.6 or so): KWin finds the key, or makes a keymap for
//!   it. Before that, characters of the American keyboard are typed with its keys.
//! * A wheel has no notches here: clients get axis values only.
//! * Pens have no request: the pen is the pointer, its barrel the right button.

use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use net::clock;
use net::input::{
    Contact, ContactKind, InputEvent, KeyEvent, PadOutput, PenTool, PointerButton, Position,
    ScrollAxis, TouchEvent,
};
use wayland_client::backend::protocol::{
    AllowNull, Argument, ArgumentType, Interface, Message, MessageDesc,
};
use wayland_client::backend::{Backend, ObjectData, ObjectId};

use super::pointing::{BUTTONS, Contacts, NOTCH, NOTCH_UNITS, names};
use super::{Capabilities, InjectBackend, InjectError, Injected, Injector, Roles, keys};
use crate::capture::CaptureError;
use crate::capture::link::Link;
use crate::display::{OutputAddress, WaylandOutput};
use crate::select::Refusal;

const ROLES: Roles = Roles {
    desk: true,
    pads: false,
};

/// How long KWin may take to read what lifts the keys.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(300);

/// The protocol as a table (plasma-wayland-protocols 1.21, `fake-input.xml`), for the generated code
/// at hand ends before keysyms. It has no events.
static FAKE_INPUT: Interface = Interface {
    name: "org_kde_kwin_fake_input",
    version: 6,
    requests: &[
        ask("authenticate", 1, &[TEXT, TEXT]),
        ask("pointer_motion", 1, &[FIXED, FIXED]),
        ask("button", 1, &[UINT, UINT]),
        ask("axis", 1, &[UINT, FIXED]),
        ask("touch_down", 2, &[UINT, FIXED, FIXED]),
        ask("touch_motion", 2, &[UINT, FIXED, FIXED]),
        ask("touch_up", 2, &[UINT]),
        ask("touch_cancel", 2, &[]),
        ask("touch_frame", 2, &[]),
        ask("pointer_motion_absolute", 3, &[FIXED, FIXED]),
        ask("keyboard_key", 4, &[UINT, UINT]),
        ask("destroy", 5, &[]),
        ask("keyboard_keysym", 6, &[UINT, UINT]),
    ],
    events: &[],
    c_ptr: None,
};

/// Numbers of its requests.
mod request {
    pub(super) const AUTHENTICATE: u16 = 0;
    pub(super) const POINTER_MOTION: u16 = 1;
    pub(super) const BUTTON: u16 = 2;
    pub(super) const AXIS: u16 = 3;
    pub(super) const TOUCH_DOWN: u16 = 4;
    pub(super) const TOUCH_MOTION: u16 = 5;
    pub(super) const TOUCH_UP: u16 = 6;
    pub(super) const TOUCH_CANCEL: u16 = 7;
    pub(super) const TOUCH_FRAME: u16 = 8;
    pub(super) const POINTER_MOTION_ABSOLUTE: u16 = 9;
    pub(super) const KEYBOARD_KEY: u16 = 10;
    pub(super) const KEYBOARD_KEYSYM: u16 = 12;
}

/// The version with keys, without which it is of no use.
const VERSION_MIN: u32 = 4;
/// The version with keysyms.
const VERSION_KEYSYM: u32 = 6;

const UINT: ArgumentType = ArgumentType::Uint;
const FIXED: ArgumentType = ArgumentType::Fixed;
const TEXT: ArgumentType = ArgumentType::Str(AllowNull::No);

const fn ask(name: &'static str, since: u32, signature: &'static [ArgumentType]) -> MessageDesc {
    MessageDesc {
        name,
        signature,
        since,
        is_destructor: false,
        child_interface: None,
        arg_interfaces: &[],
    }
}

/// The backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kwin;

impl InjectBackend for Kwin {
    fn name(&self) -> &'static str {
        "kwin"
    }

    fn roles(&self) -> Roles {
        ROLES
    }

    fn probe(&self, output: Option<&OutputAddress>) -> Result<String, Refusal> {
        match OutputAddress::wayland_of(output).and_then(KwinInjector::connect) {
            Ok(injector) => Ok(format!("fake input {}", injector.version)),
            Err(error @ CaptureError::Unsupported { .. }) => Err(Refusal::new(
                error.to_string(),
                "where it is KWin, run scripts/kde-permission, which lets this program in",
            )),
            Err(error) => Err(Refusal::new(error.to_string(), "")),
        }
    }

    fn open(&self, output: Option<&OutputAddress>) -> Result<Box<dyn Injector>, InjectError> {
        let output = OutputAddress::wayland_of(output)?;
        let mut injector = KwinInjector::connect(output)?;
        injector.authenticate()?;
        Ok(Box::new(injector))
    }
}

/// Objects without events hear none.
struct Deaf;

impl ObjectData for Deaf {
    fn event(
        self: Arc<Self>,
        _: &Backend,
        _: Message<ObjectId, OwnedFd>,
    ) -> Option<Arc<dyn ObjectData>> {
        None
    }

    fn destroyed(&self, _: ObjectId) {}
}

struct KwinInjector {
    link: Link<()>,
    input: ObjectId,
    version: u32,
    /// Keys that are down, by code of the kernel.
    keys: [bool; 256],
    /// Buttons that are down.
    buttons: u8,
    /// Fingers that are down.
    fingers: Vec<u32>,
}

impl KwinInjector {
    fn connect(address: &WaylandOutput) -> Result<Self, CaptureError> {
        let mut link = Link::connect(address, ())?;
        let protocol = FAKE_INPUT.name;
        let mut globals = link.globals_of(protocol).into_iter();
        let global = globals.find(|(_, version)| *version >= VERSION_MIN);
        let global = global.ok_or(CaptureError::Unsupported { protocol })?;
        let input = link.bind_untyped(global, &FAKE_INPUT, Arc::new(Deaf))?;
        link.find_output(&address.output)?;
        Ok(Self {
            link,
            input,
            version: global.1.min(FAKE_INPUT.version),
            keys: [false; 256],
            buttons: 0,
            fingers: Vec::with_capacity(FINGERS_MAX),
        })
    }

    fn authenticate(&mut self) -> Result<(), InjectError> {
        let text = |text: &std::ffi::CStr| Argument::Str(Some(Box::new(text.to_owned())));
        let who = [text(c"punktfunk"), text(c"input of the session's client")];
        self.send(request::AUTHENTICATE, &who)?;
        self.link.round_trip()?;
        Ok(())
    }

    fn send(
        &self,
        request: u16,
        arguments: &[Argument<ObjectId, RawFd>],
    ) -> Result<(), InjectError> {
        self.link
            .send_untyped(&self.input, request, arguments, None)?;
        Ok(())
    }

    /// In the desktop's units; `None` while the output is in none of its places.
    fn spot(&self, position: Position) -> Option<[Argument<ObjectId, RawFd>; 2]> {
        let area = self.link.output_area()?;
        let along = |share: f32, from: i32, length: i32| {
            let length = f64::from(length);
            // The far edge belongs to the next output.
            let within = (f64::from(share.clamp(0.0, 1.0)) * length).min(length - 1.0);
            fixed(f64::from(from) + within)
        };
        Some([
            along(position.x, area.x, area.width),
            along(position.y, area.y, area.height),
        ])
    }

    fn place(&self, position: Position) -> Result<Injected, InjectError> {
        let Some(spot) = self.spot(position) else {
            return Ok(Injected::Unsupported);
        };
        self.send(request::POINTER_MOTION_ABSOLUTE, &spot)?;
        Ok(Injected::Done)
    }

    /// What is so already is not done again.
    fn button(&mut self, button: PointerButton, pressed: bool) -> Result<(), InjectError> {
        let (bit, code) = names(button);
        if pressed == (self.buttons & bit != 0) {
            return Ok(());
        }
        self.buttons ^= bit;
        self.send(request::BUTTON, &[uint(code), uint(pressed.into())])
    }

    fn scroll(&self, axis: ScrollAxis, amount: i16) -> Result<(), InjectError> {
        // Wayland's positive is down and right.
        let (axis, amount) = match axis {
            ScrollAxis::Vertical => (0, -f64::from(amount)),
            ScrollAxis::Horizontal => (1, f64::from(amount)),
        };
        let units = amount / f64::from(NOTCH) * NOTCH_UNITS;
        self.send(request::AXIS, &[uint(axis), fixed(units)])
    }

    fn key(&mut self, key: &KeyEvent) -> Result<Injected, InjectError> {
        let Some(code) = keys::code(key.virtual_key) else {
            return Ok(Injected::Unsupported);
        };
        // What a client says is held counts while it presses a key, though no key of ours is down:
        // keyboards on screens have Shift without a key.
        let said = [
            (key.modifiers.shift, SHIFT),
            (key.modifiers.control, CONTROL),
            (key.modifiers.alt, ALT),
            (key.modifiers.logo, LOGO),
        ];
        let is_modifier = said.iter().any(|(_, both)| both.contains(&code));
        let mut lent = [None; 4];
        if key.pressed && !is_modifier {
            for (place, (is_held, both)) in lent.iter_mut().zip(said) {
                let is_down = both.iter().any(|code| self.keys[usize::from(*code)]);
                *place = (is_held && !is_down).then_some(both[0]);
            }
        }
        for code in lent.into_iter().flatten() {
            self.raw_key(code, true)?;
        }
        if key.pressed != std::mem::replace(&mut self.keys[usize::from(code)], key.pressed) {
            self.raw_key(code, key.pressed)?;
        }
        for code in lent.into_iter().flatten() {
            self.raw_key(code, false)?;
        }
        Ok(Injected::Done)
    }

    fn raw_key(&self, code: u8, pressed: bool) -> Result<(), InjectError> {
        let arguments = [uint(code.into()), uint(pressed.into())];
        self.send(request::KEYBOARD_KEY, &arguments)
    }

    /// Text, without the modifiers that are held: they are down again afterwards.
    fn text(&mut self, text: &str) -> Result<Injected, InjectError> {
        let all = [SHIFT, CONTROL, ALT, LOGO];
        let mut held = [0; 8];
        let mut count = 0;
        for code in all.into_iter().flatten() {
            if self.keys[usize::from(code)] {
                held[count] = code;
                count += 1;
                self.raw_key(code, false)?;
            }
        }
        let mut done = Injected::Done;
        for character in text.chars() {
            if self.version >= VERSION_KEYSYM {
                let Some(keysym) = keysym(character) else {
                    continue;
                };
                self.send(request::KEYBOARD_KEYSYM, &[uint(keysym), uint(1)])?;
                self.send(request::KEYBOARD_KEYSYM, &[uint(keysym), uint(0)])?;
            } else if !self.type_american(character)? {
                done = Injected::Unsupported;
            }
        }
        for code in &held[..count] {
            self.raw_key(*code, true)?;
        }
        Ok(done)
    }

    /// With the keys of an American keyboard; false if it has none for it.
    fn type_american(&mut self, character: char) -> Result<bool, InjectError> {
        let Some((code, shift)) = keys::of_character(character) else {
            return Ok(false);
        };
        if std::mem::take(&mut self.keys[usize::from(code)]) {
            self.raw_key(code, false)?;
        }
        if shift {
            self.raw_key(SHIFT[0], true)?;
        }
        self.raw_key(code, true)?;
        self.raw_key(code, false)?;
        if shift {
            self.raw_key(SHIFT[0], false)?;
        }
        Ok(true)
    }

    fn touch(&mut self, touch: &TouchEvent) -> Result<Injected, InjectError> {
        let id = uint(touch.id);
        let is_down = self.fingers.contains(&touch.id);
        let spot = self.spot(touch.contact.position);
        match (touch.contact.kind, spot) {
            (ContactKind::Down, Some([x, y])) if !is_down && self.fingers.len() < FINGERS_MAX => {
                self.fingers.push(touch.id);
                self.send(request::TOUCH_DOWN, &[id, x, y])?;
            }
            (ContactKind::Move, Some([x, y])) if is_down => {
                self.send(request::TOUCH_MOTION, &[id, x, y])?;
            }
            (ContactKind::Up | ContactKind::Cancel, _) if is_down => {
                self.fingers.retain(|finger| *finger != touch.id);
                self.send(request::TOUCH_UP, &[id])?;
            }
            (ContactKind::CancelAll, _) if !self.fingers.is_empty() => {
                self.fingers.clear();
                self.send(request::TOUCH_CANCEL, &[])?;
            }
            _ => return Ok(Injected::Done),
        }
        self.send(request::TOUCH_FRAME, &[])?;
        Ok(Injected::Done)
    }

    /// The pen as the pointer.
    fn pen(&mut self, contact: &Contact, has_barrel: bool) -> Result<Injected, InjectError> {
        let act = Contacts::default().pen(contact);
        if let Some(position) = act.position {
            self.place(position)?;
        }
        if let Some((button, pressed)) = act.button {
            self.button(button, pressed)?;
        }
        self.button(PointerButton::Right, has_barrel)?;
        Ok(Injected::Done)
    }
}

impl Injector for KwinInjector {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: "kwin",
            roles: ROLES,
            has_touch: true,
            pads_max: 0,
        }
    }

    fn inject(&mut self, event: &InputEvent) -> Result<Injected, InjectError> {
        match event {
            InputEvent::Key(key) => return self.key(key),
            InputEvent::Text(text) => return self.text(text.as_str()),
            InputEvent::PointerMotion { dx, dy } => {
                let by = [fixed((*dx).into()), fixed((*dy).into())];
                self.send(request::POINTER_MOTION, &by)?;
            }
            InputEvent::PointerPosition(position) => return self.place(*position),
            InputEvent::PointerButton { button, pressed } => self.button(*button, *pressed)?,
            InputEvent::Scroll { axis, amount } => self.scroll(*axis, *amount)?,
            InputEvent::Touch(touch) => return self.touch(touch),
            InputEvent::Pen(pen) => {
                let has_barrel = pen.buttons & 1 != 0 && pen.tool != PenTool::Eraser;
                return self.pen(&pen.contact, has_barrel);
            }
            InputEvent::ControllerArrival(_)
            | InputEvent::ControllerState(_)
            | InputEvent::ControllerTouch(_)
            | InputEvent::ControllerMotion(_)
            | InputEvent::ControllerBattery(_) => return Ok(Injected::Unsupported),
        }
        Ok(Injected::Done)
    }

    fn flush(&mut self) -> Result<(), InjectError> {
        // Sends, reads what came, and does not wait.
        self.link.wait(clock::now())?;
        Ok(())
    }

    fn release_all(&mut self) -> Result<(), InjectError> {
        for code in 0..=u8::MAX {
            if std::mem::take(&mut self.keys[usize::from(code)]) {
                self.raw_key(code, false)?;
            }
        }
        for button in BUTTONS {
            self.button(button, false)?;
        }
        while let Some(finger) = self.fingers.pop() {
            self.send(request::TOUCH_UP, &[uint(finger)])?;
            self.send(request::TOUCH_FRAME, &[])?;
        }
        self.flush()
    }

    fn poll_output(&mut self) -> Result<Option<PadOutput>, InjectError> {
        self.flush()?;
        Ok(None)
    }

    fn descriptors<'a>(&'a self, into: &mut Vec<BorrowedFd<'a>>) {
        into.push(self.link.fd());
    }
}

impl Drop for KwinInjector {
    fn drop(&mut self) {
        // Where KWin is gone, so are the keys.
        let _ = self.release_all();
        // It reads no more of a connection that it finds closed.
        let _ = self.link.round_trip_within(CLOSE_TIMEOUT);
    }
}

/// More than ten fingers are no fingers.
const FINGERS_MAX: usize = 16;

/// Codes of the modifiers, left and right (`linux/input-event-codes.h`).
const SHIFT: [u8; 2] = [42, 54];
const CONTROL: [u8; 2] = [29, 97];
const ALT: [u8; 2] = [56, 100];
const LOGO: [u8; 2] = [125, 126];

const fn uint(value: u32) -> Argument<ObjectId, RawFd> {
    Argument::Uint(value)
}

/// As 24.8 fixed point.
fn fixed(value: f64) -> Argument<ObjectId, RawFd> {
    Argument::Fixed((value * 256.0).round() as i32)
}

/// The keysym of a character (`X11/keysymdef.h`: Latin-1 is itself, the rest of Unicode lies above
/// 0x01000000).
fn keysym(character: char) -> Option<u32> {
    Some(match character {
        '\n' | '\r' => 0xFF0D,
        '\t' => 0xFF09,
        '\u{8}' => 0xFF08,
        '\u{1b}' => 0xFF1B,
        _ if character.is_control() => return None,
        ' '..='\u{ff}' => character.into(),
        _ => 0x0100_0000 | u32::from(character),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_name_the_requests() {
        let name = |at: u16| FAKE_INPUT.requests[usize::from(at)].name;
        assert_eq!(name(request::TOUCH_FRAME), "touch_frame");
        assert_eq!(
            name(request::POINTER_MOTION_ABSOLUTE),
            "pointer_motion_absolute"
        );
        assert_eq!(name(request::KEYBOARD_KEYSYM), "keyboard_keysym");
    }

    #[test]
    fn characters_have_keysyms() {
        assert_eq!(keysym('a'), Some(0x61));
        assert_eq!(keysym('ä'), Some(0xE4));
        assert_eq!(keysym('€'), Some(0x0100_20AC));
        assert_eq!(keysym('\n'), Some(0xFF0D));
        assert_eq!(keysym('\u{7}'), None);
    }
}
