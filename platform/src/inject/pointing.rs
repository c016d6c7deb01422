//! What pointers have in common, and what fingers and pens mean for one where there is no touch.

use net::input::{Contact, ContactKind, PointerButton, Position};

/// A notch of a wheel in our events.
pub(crate) const NOTCH: i32 = 120;
/// What a notch scrolls, as libinput's users take it (wl_pointer.axis, "same coordinate space as
/// motion"): 15 units.
pub(crate) const NOTCH_UNITS: f64 = 15.0;

/// All buttons.
pub(crate) const BUTTONS: [PointerButton; 5] = [
    PointerButton::Left,
    PointerButton::Middle,
    PointerButton::Right,
    PointerButton::Back,
    PointerButton::Forward,
];

/// Our bit and the kernel's code (`linux/input-event-codes.h`: BTN_LEFT and so on).
pub(crate) const fn names(button: PointerButton) -> (u8, u32) {
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
pub(crate) struct Act {
    /// Go there first.
    pub(crate) position: Option<Position>,
    /// Then this.
    pub(crate) button: Option<(PointerButton, bool)>,
}

/// Which finger is the pointer.
#[derive(Debug, Default)]
pub(crate) struct Contacts {
    finger: Option<u32>,
}

impl Contacts {
    /// Only the first finger counts until it is lifted.
    pub(crate) fn finger(&mut self, id: u32, contact: &Contact) -> Act {
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

    pub(crate) fn pen(&self, contact: &Contact) -> Act {
        of_contact(contact)
    }
}

fn of_contact(contact: &Contact) -> Act {
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
