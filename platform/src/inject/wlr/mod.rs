//! `wlr`: virtual keyboard (`zwp_virtual_keyboard_v1`) and virtual pointer
//! (`zwlr_virtual_pointer_v1`) on the session's own compositor, the pointer bound to the session's
//! own output.
//!
//! * The compositor does not count our modifiers (a virtual keyboard states them itself), so they
//!   are counted here.
//! * Fingers and pens have no protocol here: the first finger, or the pen, is the pointer with its
//!   left button, the pen's barrel the right one.
//! * A wheel's fine steps go out as axis values; every whole notch that they add up to is told as a
//!   discrete step beside (the protocol has no 1/120 steps).

mod keymap;
mod keyboard;
mod pointer;

use std::os::fd::BorrowedFd;
use std::time::Duration;

use net::clock;
use net::input::{InputEvent, PadOutput, PenTool, PointerButton};
use wayland_client::delegate_noop;
use wayland_client::protocol::wl_output::WlOutput;
use wayland_client::protocol::wl_seat::WlSeat;
use wayland_protocols_misc::zwp_virtual_keyboard_v1::client as keyboard_v1;
use wayland_protocols_wlr::virtual_pointer::v1::client as pointer_v1;

use keyboard_v1::zwp_virtual_keyboard_manager_v1::ZwpVirtualKeyboardManagerV1;
use keyboard_v1::zwp_virtual_keyboard_v1::ZwpVirtualKeyboardV1;
use pointer_v1::zwlr_virtual_pointer_manager_v1::ZwlrVirtualPointerManagerV1;
use pointer_v1::zwlr_virtual_pointer_v1::ZwlrVirtualPointerV1;

use super::pointing::{Act, Contacts};
use super::{Capabilities, InjectBackend, InjectError, Injected, Injector, Roles};
use crate::capture::CaptureError;
use crate::capture::link::{Link, State};
use crate::display::{NestedOutput, OutputAddress, WaylandOutput};
use crate::select::Refusal;

use keyboard::Keyboard;
use pointer::Pointer;

const ROLES: Roles = Roles {
    desk: true,
    pads: false,
};

/// How long a compositor may take to read what lifts the keys. One that hangs takes its keys with
/// it; who waits for the injector's end must not wait for it.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(300);

/// The backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wlr;

impl InjectBackend for Wlr {
    fn name(&self) -> &'static str {
        "wlr"
    }

    fn roles(&self) -> Roles {
        ROLES
    }

    fn probe(&self, output: Option<&OutputAddress>) -> Result<String, Refusal> {
        match OutputAddress::wayland_of(output).and_then(Globals::bind) {
            Ok(_) => Ok("virtual keyboard and pointer".to_owned()),
            Err(error) => Err(Refusal::new(
                error.to_string(),
                "use a compositor of the wlroots family, sway for one",
            )),
        }
    }

    fn open(&self, output: Option<&OutputAddress>) -> Result<Box<dyn Injector>, InjectError> {
        let output = output.ok_or(CaptureError::NoWay { way: "compositor" })?;
        Ok(Box::new(WlrInjector::open(output)?))
    }
}

/// What the connection is for; events of these protocols tell nothing that we need.
struct Inject;

struct Globals {
    link: Link<Inject>,
    seat: WlSeat,
    output: WlOutput,
    keyboards: ZwpVirtualKeyboardManagerV1,
    pointers: ZwlrVirtualPointerManagerV1,
}

impl Globals {
    fn bind(address: &WaylandOutput) -> Result<Self, CaptureError> {
        let mut link = Link::connect(address, Inject)?;
        let seat = link.bind(1, 5)?;
        let keyboards = link.bind(1, 1)?;
        // Version 2 binds a pointer to an output.
        let pointers = link.bind(2, 2)?;
        let output = link.find_output(&address.output)?;
        Ok(Self {
            link,
            seat,
            output,
            keyboards,
            pointers,
        })
    }
}

struct WlrInjector {
    link: Link<Inject>,
    keyboard: Keyboard,
    pointer: Pointer,
    contacts: Contacts,
}

impl WlrInjector {
    fn open(address: &OutputAddress) -> Result<Self, InjectError> {
        let Globals {
            mut link,
            seat,
            output,
            keyboards,
            pointers,
        } = Globals::bind(address.beside_over_wayland()?)?;
        let handle = link.handle();
        let keyboard = keyboards.create_virtual_keyboard(&seat, &handle, ());
        let pointer =
            pointers.create_virtual_pointer_with_output(Some(&seat), Some(&output), &handle, ());
        let keyboard = Keyboard::new(keyboard).map_err(InjectError::Keymap)?;
        let reckoned = address.nested.as_ref().and_then(NestedOutput::pointer);
        let pointer = Pointer::new(pointer, reckoned.cloned());
        pointer.settle(now_ms());
        // The compositor has read the keymap, or says what is wrong with it.
        link.round_trip()?;
        Ok(Self {
            link,
            keyboard,
            pointer,
            contacts: Contacts::default(),
        })
    }

    /// Does what a finger or pen means for a pointer.
    fn touch(&mut self, time_ms: u32, act: &Act) {
        if let Some(position) = act.position {
            self.pointer.place(time_ms, position);
        }
        if let Some((button, pressed)) = act.button {
            self.pointer.button(time_ms, button, pressed);
        }
    }
}

impl Injector for WlrInjector {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: "wlr",
            roles: ROLES,
            has_touch: false,
            pads_max: 0,
        }
    }

    fn inject(&mut self, event: &InputEvent) -> Result<Injected, InjectError> {
        let time_ms = now_ms();
        match event {
            InputEvent::Key(key) => return Ok(self.keyboard.key(time_ms, key)),
            InputEvent::Text(text) => {
                self.keyboard
                    .text(time_ms, text.as_str())
                    .map_err(InjectError::Keymap)?;
            }
            InputEvent::PointerMotion { dx, dy } => self.pointer.motion(time_ms, *dx, *dy),
            InputEvent::PointerPosition(position) => self.pointer.place(time_ms, *position),
            InputEvent::PointerButton { button, pressed } => {
                self.pointer.button(time_ms, *button, *pressed);
            }
            InputEvent::Scroll { axis, amount } => self.pointer.scroll(time_ms, *axis, *amount),
            InputEvent::Touch(touch) => {
                let act = self.contacts.finger(touch.id, &touch.contact);
                self.touch(time_ms, &act);
            }
            InputEvent::Pen(pen) => {
                let act = self.contacts.pen(&pen.contact);
                self.touch(time_ms, &act);
                let barrel = pen.buttons & 1 != 0 && pen.tool != PenTool::Eraser;
                self.pointer.button(time_ms, PointerButton::Right, barrel);
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
        let time_ms = now_ms();
        self.keyboard.release_all(time_ms);
        self.pointer.release_all(time_ms);
        self.contacts = Contacts::default();
        self.flush()
    }

    fn poll_output(&mut self) -> Result<Option<PadOutput>, InjectError> {
        self.link.wait(clock::now())?;
        Ok(None)
    }

    fn descriptors<'a>(&'a self, into: &mut Vec<BorrowedFd<'a>>) {
        into.push(self.link.fd());
    }
}

impl Drop for WlrInjector {
    fn drop(&mut self) {
        // Where the compositor is gone, so are the keys.
        let _ = self.release_all();
        // A compositor that finds the connection closed reads no more of it (libwayland looks for
        // the hang-up first), and a button would stay down.
        let _ = self.link.round_trip_within(CLOSE_TIMEOUT);
        self.keyboard.destroy();
        self.pointer.destroy();
        let _ = self.flush();
    }
}

/// Any clock in ms will do, as long as it is one (Wayland, "time" arguments).
fn now_ms() -> u32 {
    (clock::now().as_ns() / 1_000_000) as u32
}

delegate_noop!(State<Inject>: ignore WlSeat);
delegate_noop!(State<Inject>: ignore ZwpVirtualKeyboardManagerV1);
delegate_noop!(State<Inject>: ignore ZwpVirtualKeyboardV1);
delegate_noop!(State<Inject>: ignore ZwlrVirtualPointerManagerV1);
delegate_noop!(State<Inject>: ignore ZwlrVirtualPointerV1);
