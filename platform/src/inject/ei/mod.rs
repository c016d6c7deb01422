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

use gpu::frame::Size;
use net::input::{Position, ScrollAxis};
use reis::ei;

use super::desk::{Desk, Finger, ROLES, Sink, keysym};
use super::pointing::{NOTCH, NOTCH_UNITS};
use super::{InjectBackend, InjectError, Injected, Injector, Roles};
use crate::capture::CaptureError;
use crate::capture::link::ended;
use crate::display::OutputAddress;
use crate::select::Refusal;

use link::{Device, Link};

/// Who takes emulated input for a display.
pub trait EiServer: fmt::Debug + Send + Sync {
    /// A new connection to it.
    ///
    /// # Errors
    /// [`CaptureError::Ended`], with the reason.
    fn connect(&self) -> Result<UnixStream, CaptureError>;

    /// Size of our output, where the server's regions do not say it (gamescope's is a plane without
    /// an end): positions are of `(0, 0)` to there.
    fn size(&self) -> Option<Size> {
        None
    }

    /// Another one may follow where it has gone: a connection that was lost is made anew.
    fn comes_back(&self) -> bool {
        false
    }

    /// It takes notches for everything: parts of one are told as such, and never as a distance.
    fn scrolls_by_notches(&self) -> bool {
        false
    }

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
        Ok(Box::new(Desk::new(EiSink {
            link: Some(link),
            address: address.clone(),
        })))
    }
}

struct EiSink {
    /// `None` while there is no server, which comes back.
    link: Option<Link>,
    address: EiAddress,
}

impl EiSink {
    /// Tells the first device that has it something, and ends the frame.
    fn on<T>(
        &self,
        part: impl Fn(&Device) -> Option<&T>,
        tell: impl FnOnce(&T, &Device),
    ) -> Injected {
        let Some(link) = &self.link else {
            return Injected::Done;
        };
        match link.device(&part) {
            Some(device) => {
                tell(part(device).expect("chosen because it has it"), device);
                link.frame(device);
                Injected::Done
            }
            None => Injected::Unsupported,
        }
    }

    /// Without a server: tries again, where one comes back.
    fn connect(&mut self) -> Result<(), CaptureError> {
        let address = &self.address;
        let opened = address
            .server
            .connect()
            .and_then(|stream| Link::open(stream, address.mapping_id.clone()));
        match opened {
            Ok(link) => self.link = Some(link),
            Err(error) if address.server.comes_back() => log::debug!("no input yet: {error}"),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Sink for EiSink {
    fn name(&self) -> &'static str {
        "ei"
    }

    fn has_touch(&self) -> bool {
        let link = self.link.as_ref();
        link.is_some_and(|link| link.device(|device| device.touch.as_ref()).is_some())
    }

    fn key(&mut self, code: u8, pressed: bool) -> Injected {
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

    fn text(&mut self, text: &str) -> Injected {
        self.on(|device| device.text.as_ref(), |it, _| it.utf8(text))
    }

    fn character(&mut self, character: char) -> Result<Injected, CaptureError> {
        // The server's own way is another connection: what was told here must be done first.
        if let Some(link) = &mut self.link {
            link.settle()?;
        }
        match self.address.server.type_keysym(keysym(character)) {
            Some(typed) => typed.map(|()| Injected::Done),
            None => Ok(Injected::Unsupported),
        }
    }

    fn motion(&mut self, dx: i16, dy: i16) -> Injected {
        self.on(
            |device| device.pointer.as_ref(),
            |pointer, _| pointer.motion_relative(dx.into(), dy.into()),
        )
    }

    fn place(&mut self, position: Position) -> Injected {
        let size = self.address.server.size();
        self.on(
            |device| device.absolute.as_ref(),
            |pointer, device| {
                let (x, y) = device.point(position, size);
                pointer.motion_absolute(x, y);
            },
        )
    }

    fn button(&mut self, code: u32, pressed: bool) -> Injected {
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
        let always = self.address.server.scrolls_by_notches();
        self.on(
            |device| device.scroll.as_ref(),
            |scroll, _| {
                if always || (x + y) % NOTCH == 0 {
                    scroll.scroll_discrete(x, y);
                } else {
                    let units = |amount: i32| amount as f32 / NOTCH as f32 * NOTCH_UNITS as f32;
                    scroll.scroll(units(x), units(y));
                }
            },
        )
    }

    fn finger(&mut self, number: u32, finger: Finger, position: Position) -> Injected {
        let size = self.address.server.size();
        self.on(
            |device| device.touch.as_ref(),
            |touch, device| {
                let (x, y) = device.point(position, size);
                match finger {
                    Finger::Down => touch.down(number, x, y),
                    Finger::Move => touch.motion(number, x, y),
                    Finger::Up => touch.up(number),
                }
            },
        )
    }

    fn exchange(&mut self) -> Result<(), CaptureError> {
        let Some(link) = &mut self.link else {
            return self.connect();
        };
        match link.exchange() {
            Err(error) if self.address.server.comes_back() => {
                log::info!("input waits for its server: {error}");
                self.link = None;
                Ok(())
            }
            exchanged => exchanged,
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.link.as_ref().map(Link::as_fd)
    }

    fn leave(&mut self) {
        // A server lifts what a client that went left down; not all do, so what lifts it must have
        // been read.
        if let Some(link) = &mut self.link
            && link.settle().is_ok()
        {
            link.leave();
        }
    }
}

/// What a server that speaks another protocol answers.
pub(crate) fn refused(reason: impl fmt::Display) -> CaptureError {
    ended(format!("emulated input: {reason}"))
}
