//! Events to bytes and back.
//!
//! | kind | body |
//! |---:|---|
//! | 1 key | u8 virtual key, u8 flags: 1 pressed, 2 of the client's layout, 0x10 shift, 0x20 control, 0x40 alt, 0x80 logo |
//! | 2 text | u8 n, n bytes of UTF-8 |
//! | 3 motion | i16 right, i16 down |
//! | 4 position | u16 x, u16 y |
//! | 5 button | u8 which, u8 pressed |
//! | 6 scroll | u8 axis, i16 amount |
//! | 7 touch | u32 finger, contact |
//! | 8 pen | u8 tool, u8 buttons, u8 tilt (255 unknown), contact |
//! | 9 controller | u8 which, u8 kind, u16 capabilities, u32 buttons |
//! | 10 its state | u8 which, u16 present, u32 buttons, u8 left, u8 right trigger, 4 × i16 sticks |
//! | 11 its touchpad | u8 which, u8 touchpad, u8 contact's kind, u32 finger, u16 x, y, pressure |
//! | 12 its motion | u8 which, u8 sensor, 3 × f32 |
//! | 13 its battery | u8 which, u8 state, u8 percent (255 unknown) |
//!
//! A contact: u8 kind, u16 x, y, pressure or distance, major, minor, u16 rotation (65535 unknown).
//! Shares of a whole are in 1/65535.

use crate::bytes::{Reader, Writer};
use crate::input::{
    BatteryState, CONTROLLERS_MAX, Contact, ContactKind, ControllerArrival, ControllerBattery,
    ControllerKind, ControllerMotion, ControllerState, ControllerTouch, InputEvent, KeyEvent,
    Modifiers, MotionSensor, PenEvent, PenTool, PointerButton, Position, ScrollAxis, Text,
    TouchEvent,
};

use super::InputError;

const BUTTONS: [PointerButton; 5] = [
    PointerButton::Left,
    PointerButton::Middle,
    PointerButton::Right,
    PointerButton::Back,
    PointerButton::Forward,
];
const CONTACTS: [ContactKind; 8] = [
    ContactKind::Hover,
    ContactKind::Down,
    ContactKind::Up,
    ContactKind::Move,
    ContactKind::Cancel,
    ContactKind::Buttons,
    ContactKind::HoverLeave,
    ContactKind::CancelAll,
];
const TOOLS: [PenTool; 3] = [PenTool::Unknown, PenTool::Pen, PenTool::Eraser];
const CONTROLLERS: [ControllerKind; 5] = [
    ControllerKind::Unknown,
    ControllerKind::Xbox,
    ControllerKind::PlayStation,
    ControllerKind::Nintendo,
    ControllerKind::Steam,
];
const BATTERIES: [BatteryState; 6] = [
    BatteryState::Unknown,
    BatteryState::Absent,
    BatteryState::Discharging,
    BatteryState::Charging,
    BatteryState::NotCharging,
    BatteryState::Full,
];

/// Number of a button on the wire.
pub(super) const fn button_to_wire(button: PointerButton) -> u8 {
    match button {
        PointerButton::Left => 0,
        PointerButton::Middle => 1,
        PointerButton::Right => 2,
        PointerButton::Back => 3,
        PointerButton::Forward => 4,
    }
}

/// The button of a number.
pub(super) fn button_from_wire(number: u8) -> Option<PointerButton> {
    BUTTONS.get(usize::from(number)).copied()
}

/// Its place among `all`, which holds every value.
fn number<T: PartialEq>(all: &[T], value: &T) -> u8 {
    let place = all.iter().position(|known| known == value);
    u8::try_from(place.expect("the table holds every value")).expect("tables are short")
}

fn named<T: Copy>(all: &[T], number: u8, field: &'static str) -> Result<T, InputError> {
    all.get(usize::from(number))
        .copied()
        .ok_or(value(field, u32::from(number)))
}

const fn value(field: &'static str, value: u32) -> InputError {
    InputError::Value { field, value }
}

/// A share of a whole on the wire.
pub(super) fn share_to_wire(share: f32) -> u16 {
    (share.clamp(0.0, 1.0) * f32::from(u16::MAX)).round() as u16
}

/// And back.
pub(super) fn share_from_wire(share: u16) -> f32 {
    f32::from(share) / f32::from(u16::MAX)
}

/// Appends an event.
pub(super) fn write(event: &InputEvent, out: &mut Vec<u8>) {
    let mut writer = Writer::new(out);
    let w = &mut writer;
    match event {
        InputEvent::Key(key) => {
            w.u8(1);
            w.u8(key.virtual_key);
            let Modifiers {
                shift,
                control,
                alt,
                logo,
            } = key.modifiers;
            let flags = [
                key.pressed,
                key.is_layout_dependent,
                false,
                false,
                shift,
                control,
                alt,
                logo,
            ];
            w.u8(flags
                .iter()
                .rev()
                .fold(0, |bits, &flag| bits << 1 | u8::from(flag)));
        }
        InputEvent::Text(text) => {
            w.u8(2);
            w.u8(text.as_str().len() as u8);
            w.bytes(text.as_str().as_bytes());
        }
        InputEvent::PointerMotion { dx, dy } => {
            w.u8(3);
            i16s(w, &[*dx, *dy]);
        }
        InputEvent::PointerPosition(position) => {
            w.u8(4);
            write_position(w, *position);
        }
        InputEvent::PointerButton { button, pressed } => {
            w.u8(5);
            w.u8(button_to_wire(*button));
            w.u8(u8::from(*pressed));
        }
        InputEvent::Scroll { axis, amount } => {
            w.u8(6);
            w.u8(u8::from(*axis == ScrollAxis::Horizontal));
            i16s(w, &[*amount]);
        }
        InputEvent::Touch(touch) => {
            w.u8(7);
            w.u32(touch.id);
            write_contact(w, &touch.contact);
        }
        InputEvent::Pen(pen) => {
            w.u8(8);
            w.u8(number(&TOOLS, &pen.tool));
            w.u8(pen.buttons);
            w.u8(pen.tilt.unwrap_or(255));
            write_contact(w, &pen.contact);
        }
        _ => write_controller(event, w),
    }
}

fn write_controller(event: &InputEvent, w: &mut Writer<'_>) {
    match event {
        InputEvent::ControllerArrival(arrival) => {
            w.u8(9);
            w.u8(arrival.controller);
            w.u8(number(&CONTROLLERS, &arrival.kind));
            w.u16(arrival.capabilities);
            w.u32(arrival.buttons);
        }
        InputEvent::ControllerState(state) => {
            w.u8(10);
            w.u8(state.controller);
            w.u16(state.present);
            w.u32(state.buttons);
            w.u8(state.left_trigger);
            w.u8(state.right_trigger);
            i16s(w, &state.left_stick);
            i16s(w, &state.right_stick);
        }
        InputEvent::ControllerTouch(touch) => {
            w.u8(11);
            w.u8(touch.controller);
            w.u8(touch.touchpad);
            w.u8(number(&CONTACTS, &touch.kind));
            w.u32(touch.id);
            write_position(w, touch.position);
            w.u16(share_to_wire(touch.pressure));
        }
        InputEvent::ControllerMotion(motion) => {
            w.u8(12);
            w.u8(motion.controller);
            w.u8(u8::from(motion.sensor == MotionSensor::Gyroscope));
            motion.axes.iter().for_each(|axis| w.u32(axis.to_bits()));
        }
        InputEvent::ControllerBattery(battery) => {
            w.u8(13);
            w.u8(battery.controller);
            w.u8(number(&BATTERIES, &battery.state));
            w.u8(battery.percent.unwrap_or(255));
        }
        _ => unreachable!("the other kinds are written by the caller"),
    }
}

fn i16s(w: &mut Writer<'_>, values: &[i16]) {
    values
        .iter()
        .for_each(|value| w.bytes(&value.to_le_bytes()));
}

fn write_position(w: &mut Writer<'_>, position: Position) {
    w.u16(share_to_wire(position.x));
    w.u16(share_to_wire(position.y));
}

fn write_contact(w: &mut Writer<'_>, contact: &Contact) {
    w.u8(number(&CONTACTS, &contact.kind));
    write_position(w, contact.position);
    w.u16(share_to_wire(contact.pressure_or_distance));
    w.u16(share_to_wire(contact.major));
    w.u16(share_to_wire(contact.minor));
    w.u16(contact.rotation.unwrap_or(u16::MAX));
}

/// Reads an event.
pub(super) fn read(r: &mut Reader<'_>) -> Result<InputEvent, InputError> {
    Ok(match r.u8()? {
        1 => {
            let (virtual_key, flags) = (r.u8()?, r.u8()?);
            let has = |bit: u8| flags & bit != 0;
            InputEvent::Key(KeyEvent {
                virtual_key,
                pressed: has(1),
                modifiers: Modifiers {
                    shift: has(0x10),
                    control: has(0x20),
                    alt: has(0x40),
                    logo: has(0x80),
                },
                is_layout_dependent: has(2),
            })
        }
        2 => {
            let length = r.u8()?;
            let bytes = r.take(usize::from(length))?;
            let text = str::from_utf8(bytes).ok().and_then(Text::new);
            InputEvent::Text(text.ok_or(value("text of length", length.into()))?)
        }
        3 => InputEvent::PointerMotion {
            dx: i16_of(r)?,
            dy: i16_of(r)?,
        },
        4 => InputEvent::PointerPosition(read_position(r)?),
        5 => InputEvent::PointerButton {
            button: named(&BUTTONS, r.u8()?, "pointer button")?,
            pressed: r.u8()? != 0,
        },
        6 => InputEvent::Scroll {
            axis: named(
                &[ScrollAxis::Vertical, ScrollAxis::Horizontal],
                r.u8()?,
                "scroll axis",
            )?,
            amount: i16_of(r)?,
        },
        7 => InputEvent::Touch(TouchEvent {
            id: r.u32()?,
            contact: read_contact(r)?,
        }),
        8 => InputEvent::Pen(PenEvent {
            tool: named(&TOOLS, r.u8()?, "pen tool")?,
            buttons: r.u8()?,
            tilt: Some(r.u8()?).filter(|&tilt| tilt <= 90),
            contact: read_contact(r)?,
        }),
        kind => return read_controller(kind, r),
    })
}

fn read_controller(kind: u8, r: &mut Reader<'_>) -> Result<InputEvent, InputError> {
    if !(9..=13).contains(&kind) {
        return Err(value("kind of event", kind.into()));
    }
    let controller = r.u8()?;
    if controller >= CONTROLLERS_MAX {
        return Err(value("controller", controller.into()));
    }
    Ok(match kind {
        9 => InputEvent::ControllerArrival(ControllerArrival {
            controller,
            kind: named(&CONTROLLERS, r.u8()?, "kind of controller")?,
            capabilities: r.u16()?,
            buttons: r.u32()?,
        }),
        10 => InputEvent::ControllerState(ControllerState {
            controller,
            present: r.u16()?,
            buttons: r.u32()?,
            left_trigger: r.u8()?,
            right_trigger: r.u8()?,
            left_stick: [i16_of(r)?, i16_of(r)?],
            right_stick: [i16_of(r)?, i16_of(r)?],
        }),
        11 => InputEvent::ControllerTouch(ControllerTouch {
            controller,
            touchpad: r.u8()? & 1,
            kind: named(&CONTACTS, r.u8()?, "contact")?,
            id: r.u32()?,
            position: read_position(r)?,
            pressure: share_from_wire(r.u16()?),
        }),
        12 => InputEvent::ControllerMotion(ControllerMotion {
            controller,
            sensor: named(
                &[MotionSensor::Accelerometer, MotionSensor::Gyroscope],
                r.u8()?,
                "motion sensor",
            )?,
            axes: [finite(r)?, finite(r)?, finite(r)?],
        }),
        _ => InputEvent::ControllerBattery(ControllerBattery {
            controller,
            state: named(&BATTERIES, r.u8()?, "battery state")?,
            percent: Some(r.u8()?).filter(|&percent| percent <= 100),
        }),
    })
}

fn i16_of(r: &mut Reader<'_>) -> Result<i16, InputError> {
    Ok(i16::from_le_bytes(r.array()?))
}

fn finite(r: &mut Reader<'_>) -> Result<f32, InputError> {
    let bits = r.u32()?;
    let axis = f32::from_bits(bits);
    if axis.is_finite() {
        Ok(axis)
    } else {
        Err(value("motion, as bits,", bits))
    }
}

fn read_position(r: &mut Reader<'_>) -> Result<Position, InputError> {
    Ok(Position {
        x: share_from_wire(r.u16()?),
        y: share_from_wire(r.u16()?),
    })
}

fn read_contact(r: &mut Reader<'_>) -> Result<Contact, InputError> {
    Ok(Contact {
        kind: named(&CONTACTS, r.u8()?, "contact")?,
        position: read_position(r)?,
        pressure_or_distance: share_from_wire(r.u16()?),
        major: share_from_wire(r.u16()?),
        minor: share_from_wire(r.u16()?),
        rotation: Some(r.u16()?).filter(|&rotation| rotation < 360),
    })
}
