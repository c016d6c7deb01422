//! `remote-desktop`: input by calls of a desktop's remote-desktop session, one a time, over D-Bus.
//! The second choice: for Mutter before 45, which has no emulated input, and for those built
//! without.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use net::input::{Position, ScrollAxis};

use super::desk::{Desk, Finger, ROLES, Sink, keysym};
use super::pointing::{NOTCH, NOTCH_UNITS};
use super::{InjectBackend, InjectError, Injected, Injector, Roles};
use crate::capture::CaptureError;
use crate::display::OutputAddress;
use crate::select::Refusal;

/// Something to do. Codes are the kernel's; positions are shares of our output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RemoteAct {
    /// A key.
    Key {
        /// Its code.
        code: u8,
        /// Down or up.
        pressed: bool,
    },
    /// The key of a keysym (`X11/keysymdef.h`), whatever the layout.
    Keysym {
        /// Which.
        keysym: u32,
        /// Down or up.
        pressed: bool,
    },
    /// The pointer moved, pixels.
    Motion {
        /// To the right.
        dx: f64,
        /// Down.
        dy: f64,
    },
    /// The pointer is here.
    Place(Position),
    /// A button.
    Button {
        /// Its code.
        code: u32,
        /// Down or up.
        pressed: bool,
    },
    /// Whole notches of a wheel.
    Notches {
        /// Across instead of down.
        is_horizontal: bool,
        /// Down and right are positive.
        count: i32,
    },
    /// A wheel's finer steps, in units of motion.
    Scroll {
        /// To the right.
        dx: f64,
        /// Down.
        dy: f64,
    },
    /// A finger touches.
    TouchDown(u32, Position),
    /// A finger moves.
    TouchMove(u32, Position),
    /// A finger is lifted.
    TouchUp(u32),
}

/// A desktop's session that takes input.
pub trait RemoteSession: fmt::Debug + Send + Sync {
    /// Does it. Waits no longer than a write to the bus takes.
    ///
    /// # Errors
    /// [`CaptureError::Ended`]: the session is gone.
    fn act(&self, act: RemoteAct) -> Result<(), CaptureError>;
}

/// The way to such a session.
#[derive(Clone, Debug)]
pub struct RemoteAddress(pub Arc<dyn RemoteSession>);

impl PartialEq for RemoteAddress {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for RemoteAddress {}

/// The backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoteDesktop;

fn address(output: Option<&OutputAddress>) -> Result<&RemoteAddress, CaptureError> {
    let way = "remote-desktop session";
    let address = output.and_then(|output| output.remote.as_ref());
    address.ok_or(CaptureError::NoWay { way })
}

impl InjectBackend for RemoteDesktop {
    fn name(&self) -> &'static str {
        "remote-desktop"
    }

    fn roles(&self) -> Roles {
        ROLES
    }

    fn probe(&self, output: Option<&OutputAddress>) -> Result<String, Refusal> {
        address(output).map_err(|error| Refusal::new(error.to_string(), ""))?;
        Ok("keyboard, pointer and touch by D-Bus".to_owned())
    }

    fn open(&self, output: Option<&OutputAddress>) -> Result<Box<dyn Injector>, InjectError> {
        let session = Arc::clone(&address(output)?.0);
        Ok(Box::new(Desk::new(RemoteSink {
            session,
            failed: None,
        })))
    }
}

struct RemoteSink {
    session: Arc<dyn RemoteSession>,
    /// What the next exchange tells.
    failed: Option<CaptureError>,
}

impl RemoteSink {
    fn act(&mut self, act: RemoteAct) -> Injected {
        if self.failed.is_none() {
            self.failed = self.session.act(act).err();
        }
        Injected::Done
    }
}

impl Sink for RemoteSink {
    fn name(&self) -> &'static str {
        "remote-desktop"
    }

    fn has_touch(&self) -> bool {
        true
    }

    fn key(&mut self, code: u8, pressed: bool) -> Injected {
        self.act(RemoteAct::Key { code, pressed })
    }

    fn text(&mut self, _: &str) -> Injected {
        Injected::Unsupported
    }

    fn character(&mut self, character: char) -> Result<Injected, CaptureError> {
        let keysym = keysym(character);
        for pressed in [true, false] {
            self.session.act(RemoteAct::Keysym { keysym, pressed })?;
        }
        Ok(Injected::Done)
    }

    fn motion(&mut self, dx: i16, dy: i16) -> Injected {
        let (dx, dy) = (dx.into(), dy.into());
        self.act(RemoteAct::Motion { dx, dy })
    }

    fn place(&mut self, position: Position) -> Injected {
        self.act(RemoteAct::Place(position))
    }

    fn button(&mut self, code: u32, pressed: bool) -> Injected {
        self.act(RemoteAct::Button { code, pressed })
    }

    fn scroll(&mut self, axis: ScrollAxis, amount: i16) -> Injected {
        let (is_horizontal, amount) = match axis {
            ScrollAxis::Vertical => (false, -i32::from(amount)),
            ScrollAxis::Horizontal => (true, i32::from(amount)),
        };
        if amount % NOTCH == 0 {
            return self.act(RemoteAct::Notches {
                is_horizontal,
                count: amount / NOTCH,
            });
        }
        let units = f64::from(amount) / f64::from(NOTCH) * NOTCH_UNITS;
        let (dx, dy) = if is_horizontal {
            (units, 0.0)
        } else {
            (0.0, units)
        };
        self.act(RemoteAct::Scroll { dx, dy })
    }

    fn finger(&mut self, number: u32, finger: Finger, position: Position) -> Injected {
        self.act(match finger {
            Finger::Down => RemoteAct::TouchDown(number, position),
            Finger::Move => RemoteAct::TouchMove(number, position),
            Finger::Up => RemoteAct::TouchUp(number),
        })
    }

    fn exchange(&mut self) -> Result<(), CaptureError> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn leave(&mut self) {}
}
