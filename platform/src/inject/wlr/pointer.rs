//! Our pointer, and what fingers and pens mean for it.

use net::input::{Contact, ContactKind, PointerButton, Position, ScrollAxis};
use wayland_client::protocol::wl_pointer::{Axis, AxisSource, ButtonState};
use wayland_protocols_wlr::virtual_pointer::v1::client::zwlr_virtual_pointer_v1::ZwlrVirtualPointerV1;

/// A notch of a wheel in our events.
pub(in crate::inject) const NOTCH: i32 = 120;
/// What a notch scrolls, as libinput's users take it (wl_pointer.axis, "same coordinate space as
/// motion"): 15 units.
pub(in crate::inject) const NOTCH_UNITS: f64 = 15.0;
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

pub(in crate::inject) const BUTTONS: [PointerButton; 5] = [
    PointerButton::Left,
    PointerButton::Middle,
    PointerButton::Right,
    PointerButton::Back,
    PointerButton::Forward,
];

/// Our bit and the kernel's code (`linux/input-event-codes.h`: BTN_LEFT and so on).
pub(in crate::inject) const fn names(button: PointerButton) -> (u8, u32) {
    match button {
        PointerButton::Left => (1, 0x110),
        PointerButton::Right => (2, 0x111),
        PointerButton::Middle => (4, 0x112),
        PointerButton::Back => (8, 0x113),
        PointerButton::Forward => (16, 0x114),
    }
}

/// What a contact means for a pointer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::inject) struct Act {
    /// Go there first.
    pub(in crate::inject) position: Option<Position>,
    /// Then this.
    pub(in crate::inject) button: Option<(PointerButton, bool)>,
}

/// Which finger is the pointer.
#[derive(Debug, Default)]
pub(in crate::inject) struct Contacts {
    finger: Option<u32>,
}

impl Contacts {
    /// Only the first finger counts until it is lifted.
    pub(in crate::inject) fn finger(&mut self, id: u32, contact: &Contact) -> Act {
        match contact.kind {
            ContactKind::Down if self.finger.is_none() => self.finger = Some(id),
            ContactKind::CancelAll => {}
            _ if self.finger != Some(id) => return Act::default(),
            _ => {}
        }
        let act = of_contact(contact);
        if act.button == Some((PointerButton::Left, false)) {
            self.finger = None;
        }
        act
    }

    pub(in crate::inject) fn pen(&self, contact: &Contact) -> Act {
        of_contact(contact)
    }
}

pub(in crate::inject) fn of_contact(contact: &Contact) -> Act {
    let at = Some(contact.position);
    let (position, pressed) = match contact.kind {
        ContactKind::Down => (at, Some(true)),
        ContactKind::Up => (at, Some(false)),
        ContactKind::Move | ContactKind::Hover => (at, None),
        ContactKind::Cancel | ContactKind::CancelAll => (None, Some(false)),
        ContactKind::Buttons | ContactKind::HoverLeave => (None, None),
    };
    Act {
        position,
        button: pressed.map(|pressed| (PointerButton::Left, pressed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(kind: ContactKind) -> Contact {
        Contact {
            kind,
            position: Position { x: 0.5, y: 0.5 },
            pressure_or_distance: 0.0,
            major: 0.0,
            minor: 0.0,
            rotation: None,
        }
    }

    #[test]
    fn the_first_finger_is_the_pointer_until_it_is_lifted() {
        let mut contacts = Contacts::default();
        let press = contacts.finger(7, &contact(ContactKind::Down));
        assert_eq!(press.button, Some((PointerButton::Left, true)));
        assert_eq!(
            contacts.finger(8, &contact(ContactKind::Down)),
            Act::default()
        );
        assert_eq!(
            contacts.finger(8, &contact(ContactKind::Up)),
            Act::default()
        );
        assert!(
            contacts
                .finger(7, &contact(ContactKind::Move))
                .position
                .is_some()
        );
        let lift = contacts.finger(7, &contact(ContactKind::Up));
        assert_eq!(lift.button, Some((PointerButton::Left, false)));
        assert!(
            contacts
                .finger(8, &contact(ContactKind::Down))
                .button
                .is_some()
        );
    }
}
