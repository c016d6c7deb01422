//! A program's numbers to input events, checked as [`net::input`] demands.

use net::input::{
    BatteryState, CONTROLLERS_MAX, Contact, ContactKind, ControllerArrival, ControllerBattery,
    ControllerKind, ControllerMotion, ControllerState, ControllerTouch, InputEvent, KeyEvent,
    Modifiers, MotionSensor, PenEvent, PenTool, PointerButton, Position, ScrollAxis,
    TEXT_BYTES_MAX, Text, TouchEvent,
};

use crate::status::Failure;
use crate::types::{
    PUNKTFUNK_ROTATION_UNKNOWN, PUNKTFUNK_UNKNOWN, PunktfunkContact, PunktfunkPadArrival,
    PunktfunkPadBattery, PunktfunkPadMotion, PunktfunkPadState, PunktfunkPadTouch, PunktfunkPen,
    PunktfunkTouch,
};

/// Flag of a key: it is down.
pub const PUNKTFUNK_KEY_PRESSED: u8 = 1;
/// Flag of a key: its code is that of the client's own layout, not of an American keyboard's place.
pub const PUNKTFUNK_KEY_LAYOUT: u8 = 2;
/// Flag of a key: shift is held with it.
pub const PUNKTFUNK_KEY_SHIFT: u8 = 0x10;
/// Flag of a key: control is held with it.
pub const PUNKTFUNK_KEY_CONTROL: u8 = 0x20;
/// Flag of a key: alt is held with it.
pub const PUNKTFUNK_KEY_ALT: u8 = 0x40;
/// Flag of a key: the logo key is held with it.
pub const PUNKTFUNK_KEY_LOGO: u8 = 0x80;

/// Left button of the pointer.
pub const PUNKTFUNK_BUTTON_LEFT: u8 = 0;
/// Middle button.
pub const PUNKTFUNK_BUTTON_MIDDLE: u8 = 1;
/// Right button.
pub const PUNKTFUNK_BUTTON_RIGHT: u8 = 2;
/// Back button.
pub const PUNKTFUNK_BUTTON_BACK: u8 = 3;
/// Forward button.
pub const PUNKTFUNK_BUTTON_FORWARD: u8 = 4;

/// A wheel turns up (positive) or down.
pub const PUNKTFUNK_SCROLL_VERTICAL: u8 = 0;
/// A wheel turns right (positive) or left.
pub const PUNKTFUNK_SCROLL_HORIZONTAL: u8 = 1;

/// A key.
///
/// # Errors
/// [`Failure::argument`].
pub fn key(virtual_key: u8, flags: u8) -> Result<InputEvent, Failure> {
    const KNOWN: u8 = PUNKTFUNK_KEY_PRESSED
        | PUNKTFUNK_KEY_LAYOUT
        | PUNKTFUNK_KEY_SHIFT
        | PUNKTFUNK_KEY_CONTROL
        | PUNKTFUNK_KEY_ALT
        | PUNKTFUNK_KEY_LOGO;
    if flags & !KNOWN != 0 {
        return Err(Failure::argument("flags has bits that are not known"));
    }
    let has = |flag| flags & flag != 0;
    Ok(InputEvent::Key(KeyEvent {
        virtual_key,
        pressed: has(PUNKTFUNK_KEY_PRESSED),
        modifiers: Modifiers {
            shift: has(PUNKTFUNK_KEY_SHIFT),
            control: has(PUNKTFUNK_KEY_CONTROL),
            alt: has(PUNKTFUNK_KEY_ALT),
            logo: has(PUNKTFUNK_KEY_LOGO),
        },
        is_layout_dependent: has(PUNKTFUNK_KEY_LAYOUT),
    }))
}

/// The first piece of `text` that fits an event, cut between two characters.
///
/// # Errors
/// [`Failure::argument`] if it holds a zero.
pub fn text(text: &str) -> Result<(InputEvent, usize), Failure> {
    let length = text.floor_char_boundary(TEXT_BYTES_MAX);
    let event = Text::new(&text[..length]);
    let event = event.ok_or_else(|| Failure::argument("the text holds a zero"))?;
    Ok((InputEvent::Text(event), length))
}

/// The pointer was put there.
///
/// # Errors
/// [`Failure::argument`].
pub fn position(x: f32, y: f32) -> Result<InputEvent, Failure> {
    place(x, y).map(InputEvent::PointerPosition)
}

/// A button of the pointer.
///
/// # Errors
/// [`Failure::argument`].
pub fn button(button: u8, pressed: bool) -> Result<InputEvent, Failure> {
    let button = match button {
        PUNKTFUNK_BUTTON_LEFT => PointerButton::Left,
        PUNKTFUNK_BUTTON_MIDDLE => PointerButton::Middle,
        PUNKTFUNK_BUTTON_RIGHT => PointerButton::Right,
        PUNKTFUNK_BUTTON_BACK => PointerButton::Back,
        PUNKTFUNK_BUTTON_FORWARD => PointerButton::Forward,
        _ => return Err(Failure::argument("button is none of PUNKTFUNK_BUTTON_*")),
    };
    Ok(InputEvent::PointerButton { button, pressed })
}

/// A wheel.
///
/// # Errors
/// [`Failure::argument`].
pub fn scroll(axis: u8, amount: i16) -> Result<InputEvent, Failure> {
    let axis = match axis {
        PUNKTFUNK_SCROLL_VERTICAL => ScrollAxis::Vertical,
        PUNKTFUNK_SCROLL_HORIZONTAL => ScrollAxis::Horizontal,
        _ => return Err(Failure::argument("axis is none of PUNKTFUNK_SCROLL_*")),
    };
    Ok(InputEvent::Scroll { axis, amount })
}

/// A finger.
///
/// # Errors
/// [`Failure::argument`].
pub fn touch(touch: &PunktfunkTouch) -> Result<InputEvent, Failure> {
    Ok(InputEvent::Touch(TouchEvent {
        id: touch.finger,
        contact: contact(&touch.contact)?,
    }))
}

/// A pen.
///
/// # Errors
/// [`Failure::argument`].
pub fn pen(pen: &PunktfunkPen) -> Result<InputEvent, Failure> {
    const TOOLS: [PenTool; 3] = [PenTool::Unknown, PenTool::Pen, PenTool::Eraser];
    Ok(InputEvent::Pen(PenEvent {
        tool: named(&TOOLS, pen.tool, "tool")?,
        buttons: pen.buttons,
        contact: contact(&pen.contact)?,
        tilt: known(pen.tilt, 90, "tilt")?,
    }))
}

/// A controller was plugged in.
///
/// # Errors
/// [`Failure::argument`].
pub fn pad_arrival(pad: &PunktfunkPadArrival) -> Result<InputEvent, Failure> {
    const KINDS: [ControllerKind; 5] = [
        ControllerKind::Unknown,
        ControllerKind::Xbox,
        ControllerKind::PlayStation,
        ControllerKind::Nintendo,
        ControllerKind::Steam,
    ];
    Ok(InputEvent::ControllerArrival(ControllerArrival {
        controller: controller(pad.controller)?,
        kind: named(&KINDS, pad.kind, "kind")?,
        capabilities: pad.capabilities,
        buttons: pad.buttons,
    }))
}

/// A controller's buttons, triggers and sticks.
///
/// # Errors
/// [`Failure::argument`].
pub fn pad_state(pad: &PunktfunkPadState) -> Result<InputEvent, Failure> {
    Ok(InputEvent::ControllerState(ControllerState {
        controller: controller(pad.controller)?,
        present: pad.present,
        buttons: pad.buttons,
        left_trigger: pad.left_trigger,
        right_trigger: pad.right_trigger,
        left_stick: pad.left_stick,
        right_stick: pad.right_stick,
    }))
}

/// A finger on a controller's touchpad.
///
/// # Errors
/// [`Failure::argument`].
pub fn pad_touch(pad: &PunktfunkPadTouch) -> Result<InputEvent, Failure> {
    if pad.touchpad > 1 {
        return Err(Failure::argument("touchpad is neither 0 nor 1"));
    }
    Ok(InputEvent::ControllerTouch(ControllerTouch {
        controller: controller(pad.controller)?,
        touchpad: pad.touchpad,
        kind: contact_kind(pad.kind)?,
        id: pad.finger,
        position: place(pad.x, pad.y)?,
        pressure: share(pad.pressure, "pressure")?,
    }))
}

/// A controller was moved.
///
/// # Errors
/// [`Failure::argument`].
pub fn pad_motion(pad: &PunktfunkPadMotion) -> Result<InputEvent, Failure> {
    const SENSORS: [MotionSensor; 2] = [MotionSensor::Accelerometer, MotionSensor::Gyroscope];
    if !pad.axes.iter().all(|axis| axis.is_finite()) {
        return Err(Failure::argument("axes are not finite"));
    }
    Ok(InputEvent::ControllerMotion(ControllerMotion {
        controller: controller(pad.controller)?,
        sensor: named(&SENSORS, pad.sensor, "sensor")?,
        axes: pad.axes,
    }))
}

/// A controller's battery.
///
/// # Errors
/// [`Failure::argument`].
pub fn pad_battery(pad: &PunktfunkPadBattery) -> Result<InputEvent, Failure> {
    const STATES: [BatteryState; 6] = [
        BatteryState::Unknown,
        BatteryState::Absent,
        BatteryState::Discharging,
        BatteryState::Charging,
        BatteryState::NotCharging,
        BatteryState::Full,
    ];
    Ok(InputEvent::ControllerBattery(ControllerBattery {
        controller: controller(pad.controller)?,
        state: named(&STATES, pad.state, "state")?,
        percent: known(pad.percent, 100, "percent")?,
    }))
}

fn contact(contact: &PunktfunkContact) -> Result<Contact, Failure> {
    Ok(Contact {
        kind: contact_kind(contact.kind)?,
        position: place(contact.x, contact.y)?,
        pressure_or_distance: share(contact.pressure_or_distance, "pressure_or_distance")?,
        major: share(contact.major, "major")?,
        minor: share(contact.minor, "minor")?,
        rotation: Some(contact.rotation).filter(|it| *it != PUNKTFUNK_ROTATION_UNKNOWN),
    })
}

/// In the order of PUNKTFUNK_CONTACT_*.
fn contact_kind(kind: u8) -> Result<ContactKind, Failure> {
    const KINDS: [ContactKind; 8] = [
        ContactKind::Hover,
        ContactKind::Down,
        ContactKind::Up,
        ContactKind::Move,
        ContactKind::Cancel,
        ContactKind::Buttons,
        ContactKind::HoverLeave,
        ContactKind::CancelAll,
    ];
    named(&KINDS, kind, "kind")
}

fn controller(number: u8) -> Result<u8, Failure> {
    if number < CONTROLLERS_MAX {
        Ok(number)
    } else {
        Err(Failure::argument("controller is not below 16"))
    }
}

fn place(x: f32, y: f32) -> Result<Position, Failure> {
    Ok(Position {
        x: share(x, "x")?,
        y: share(y, "y")?,
    })
}

fn share(value: f32, field: &str) -> Result<f32, Failure> {
    // Not a number is in no range.
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(Failure::argument(format!("{field} is not within 0 and 1")))
    }
}

fn known(value: u8, max: u8, field: &str) -> Result<Option<u8>, Failure> {
    match value {
        PUNKTFUNK_UNKNOWN => Ok(None),
        value if value <= max => Ok(Some(value)),
        _ => Err(Failure::argument(format!("{field} is over {max}"))),
    }
}

fn named<T: Copy>(all: &[T], number: u8, field: &str) -> Result<T, Failure> {
    let one = all.get(usize::from(number)).copied();
    one.ok_or_else(|| Failure::argument(format!("{field} {number} is not known")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_host_would_take_is_refused() {
        assert!(key(65, 0x04).is_err());
        assert!(button(5, true).is_err() && scroll(2, 120).is_err());
        for (x, y) in [
            (-0.1, 0.0),
            (0.0, 1.1),
            (f32::NAN, 0.0),
            (0.0, f32::INFINITY),
        ] {
            assert!(position(x, y).is_err(), "{x} {y}");
        }
        let pad = PunktfunkPadMotion {
            struct_size: 0,
            controller: 15,
            sensor: 1,
            reserved: [0; 2],
            axes: [0.0, 1.0, -1.0],
        };
        assert!(pad_motion(&pad).is_ok());
        assert!(
            pad_motion(&PunktfunkPadMotion {
                controller: 16,
                ..pad
            })
            .is_err()
        );
        assert!(pad_motion(&PunktfunkPadMotion { sensor: 2, ..pad }).is_err());
        let axes = [f32::NAN, 0.0, 0.0];
        assert!(pad_motion(&PunktfunkPadMotion { axes, ..pad }).is_err());
        let battery = PunktfunkPadBattery {
            struct_size: 0,
            controller: 0,
            state: 5,
            percent: 100,
            reserved: 0,
        };
        assert!(pad_battery(&battery).is_ok());
        let percent = 101;
        assert!(pad_battery(&PunktfunkPadBattery { percent, ..battery }).is_err());
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let (_, length) = text(&format!("a{}", "ü".repeat(20))).expect("a text");
        assert_eq!(length, 31, "the 16th ü would end behind the 32nd byte");
        assert!(text("a\0b").is_err());
    }
}
