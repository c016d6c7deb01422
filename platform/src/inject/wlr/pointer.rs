//! Our pointer.

use net::input::{PointerButton, Position, ScrollAxis};
use wayland_client::protocol::wl_pointer::{Axis, AxisSource, ButtonState};
use wayland_protocols_wlr::virtual_pointer::v1::client::zwlr_virtual_pointer_v1::ZwlrVirtualPointerV1;

use super::super::pointing::{BUTTONS, NOTCH, NOTCH_UNITS, names};

/// Extent of absolute positions: finer than any output.
const EXTENT: u32 = 1 << 20;

/// The pointer and what is down on it.
pub(super) struct Pointer {
    proxy: ZwlrVirtualPointerV1,
    down: u8,
    /// What no notch was told for yet, by axis.
    rest: [i32; 2],
}

impl Pointer {
    pub(super) const fn new(proxy: ZwlrVirtualPointerV1) -> Self {
        Self {
            proxy,
            down: 0,
            rest: [0; 2],
        }
    }

    pub(super) fn motion(&self, time_ms: u32, dx: i16, dy: i16) {
        self.proxy.motion(time_ms, dx.into(), dy.into());
        self.proxy.frame();
    }

    pub(super) fn place(&self, time_ms: u32, position: Position) {
        let to = |share: f32| (f64::from(share.clamp(0.0, 1.0)) * f64::from(EXTENT)).round() as u32;
        self.proxy
            .motion_absolute(time_ms, to(position.x), to(position.y), EXTENT, EXTENT);
        self.proxy.frame();
    }

    /// What is so already is not done again.
    pub(super) fn button(&mut self, time_ms: u32, button: PointerButton, pressed: bool) {
        let (bit, code) = names(button);
        if pressed == (self.down & bit != 0) {
            return;
        }
        self.down ^= bit;
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
