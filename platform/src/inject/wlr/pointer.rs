//! Our pointer.

use net::input::{PointerButton, Position, ScrollAxis};
use wayland_client::protocol::wl_pointer::{Axis, AxisSource, ButtonState};
use wayland_protocols_wlr::virtual_pointer::v1::client::zwlr_virtual_pointer_v1::ZwlrVirtualPointerV1;

use super::super::pointing::{BUTTONS, NOTCH, NOTCH_UNITS, names};
use crate::cursor::reckoned::ReckonedPointer;

/// Extent of absolute positions: finer than any output.
const EXTENT: u32 = 1 << 20;

/// The pointer and what is down on it.
pub(super) struct Pointer {
    proxy: ZwlrVirtualPointerV1,
    down: u8,
    /// What no notch was told for yet, by axis.
    rest: [i32; 2],
    /// Learns all that this does, where the compositor does not tell of its pointer.
    reckoned: Option<ReckonedPointer>,
}

impl Pointer {
    pub(super) const fn new(
        proxy: ZwlrVirtualPointerV1,
        reckoned: Option<ReckonedPointer>,
    ) -> Self {
        Self {
            proxy,
            down: 0,
            rest: [0; 2],
            reckoned,
        }
    }

    /// Goes where it is reckoned to be, before it has been anywhere.
    pub(super) fn settle(&self, time_ms: u32) {
        if let Some(reckoned) = &self.reckoned {
            self.put(time_ms, reckoned.shares());
        }
    }

    pub(super) fn motion(&self, time_ms: u32, dx: i16, dy: i16) {
        self.amend(time_ms);
        self.proxy.motion(time_ms, dx.into(), dy.into());
        self.proxy.frame();
        if let Some(reckoned) = &self.reckoned {
            reckoned.moved(dx, dy);
        }
    }

    pub(super) fn place(&self, time_ms: u32, position: Position) {
        self.put(time_ms, (position.x.into(), position.y.into()));
    }

    fn put(&self, time_ms: u32, (x, y): (f64, f64)) {
        // Up, so that what is the beginning of a pixel stays in it.
        let to = |share: f64| (share.clamp(0.0, 1.0) * f64::from(EXTENT)).ceil() as u32;
        let (x, y) = (to(x), to(y));
        self.proxy.motion_absolute(time_ms, x, y, EXTENT, EXTENT);
        self.proxy.frame();
        if let Some(reckoned) = &self.reckoned {
            // What the compositor makes of it.
            let share = |units: u32| f64::from(units) / f64::from(EXTENT);
            reckoned.put((share(x), share(y)));
        }
    }

    /// Where the compositor may have the pointer elsewhere than people see it, it comes here first.
    fn amend(&self, time_ms: u32) {
        if let Some(at) = self.reckoned.as_ref().and_then(ReckonedPointer::amend) {
            self.put(time_ms, at);
        }
    }

    /// What is so already is not done again.
    pub(super) fn button(&mut self, time_ms: u32, button: PointerButton, pressed: bool) {
        let (bit, code) = names(button);
        if pressed == (self.down & bit != 0) {
            return;
        }
        self.down ^= bit;
        self.amend(time_ms);
        let state = if pressed {
            ButtonState::Pressed
        } else {
            ButtonState::Released
        };
        self.proxy.button(time_ms, code, state);
        self.proxy.frame();
    }

    pub(super) fn scroll(&mut self, time_ms: u32, axis: ScrollAxis, amount: i16) {
        // Wayland's positive is down and right.
        let (index, axis, amount) = match axis {
            ScrollAxis::Vertical => (0, Axis::VerticalScroll, -i32::from(amount)),
            ScrollAxis::Horizontal => (1, Axis::HorizontalScroll, i32::from(amount)),
        };
        let value = f64::from(amount) / f64::from(NOTCH) * NOTCH_UNITS;
        let rest = &mut self.rest[index];
        *rest += amount;
        let steps = *rest / NOTCH;
        *rest -= steps * NOTCH;
        self.amend(time_ms);
        self.proxy.axis_source(AxisSource::Wheel);
        if steps == 0 {
            self.proxy.axis(time_ms, axis, value);
        } else {
            self.proxy.axis_discrete(time_ms, axis, value, steps);
        }
        self.proxy.frame();
    }

    pub(super) fn release_all(&mut self, time_ms: u32) {
        for button in BUTTONS {
            self.button(time_ms, button, false);
        }
        self.rest = [0; 2];
    }

    pub(super) fn destroy(&self) {
        self.proxy.destroy();
    }
}
