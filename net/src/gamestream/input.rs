//! Input packets of the control stream into [`InputEvent`]s (client: `Input.h` and
//! `InputStream.c` of moonlight-common-c).
//!
//! A packet is its size behind this field (u32, big-endian), a type (u32, little-endian), and
//! fields of mixed order: pointer and wheel are big-endian, everything else is little-endian.

use crate::bytes::{Reader, Truncated};
use crate::input::{
    BatteryState, CONTROLLERS_MAX, Contact, ContactKind, ControllerArrival, ControllerBattery,
    ControllerKind, ControllerMotion, ControllerState, ControllerTouch, InputEvent, KeyEvent,
    Modifiers, MotionSensor, PenEvent, PenTool, PointerButton, Position, ScrollAxis, Text,
    TouchEvent,
};

/// Why a packet is no input. The session goes on.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum InputError {
    /// Its size disagrees with what came.
    #[error("an input packet of {bytes} bytes says that it has {said}")]
    Size {
        /// What came, bytes.
        bytes: usize,
        /// What it says, with the field.
        said: u64,
    },
    /// It ends early.
    #[error("input packet {magic:#x} ends early: {error}")]
    Short {
        /// Its type.
        magic: u32,
        /// Where.
        error: Truncated,
    },
    /// A type that this host does not know.
    #[error("input packet of unknown type {magic:#x}")]
    Unknown {
        /// Its type.
        magic: u32,
    },
    /// A field says what cannot be.
    #[error("input packet {magic:#x}: {what}")]
    Value {
        /// Its type.
        magic: u32,
        /// What cannot be.
        what: &'static str,
    },
}

/// What is wrong within a packet.
enum Fault {
    Short(Truncated),
    Value(&'static str),
}

impl From<Truncated> for Fault {
    fn from(error: Truncated) -> Self {
        Self::Short(error)
    }
}

type Parsed<T> = Result<T, Fault>;

/// Reads the payload of message 0x0206; none for a packet that asks for nothing (haptics on).
///
/// # Errors
/// [`InputError`].
pub fn parse(packet: &[u8]) -> Result<Option<InputEvent>, InputError> {
    let mut reader = Reader::new(packet);
    let header = |error| InputError::Short { magic: 0, error };
    let size = u32::from_be_bytes(reader.array().map_err(header)?);
    let magic = reader.u32().map_err(header)?;
    let said = u64::from(size) + 4;
    if said != packet.len() as u64 {
        return Err(InputError::Size {
            bytes: packet.len(),
            said,
        });
    }
    let event = match magic {
        0x03 => key(&mut reader, true),
        0x04 => key(&mut reader, false),
        0x05 => pointer_position(&mut reader),
        0x07 => pointer_motion(&mut reader),
        0x08 => pointer_button(&mut reader, true),
        0x09 => pointer_button(&mut reader, false),
        0x0a => scroll(&mut reader, ScrollAxis::Vertical),
        0x0c => controller_state(&mut reader),
        0x0d => return Ok(None),
        0x17 => text(&mut reader),
        0x5500_0001 => scroll(&mut reader, ScrollAxis::Horizontal),
        0x5500_0002 => touch(&mut reader),
        0x5500_0003 => pen(&mut reader),
        0x5500_0004 => controller_arrival(&mut reader),
        0x5500_0005 => controller_touch(&mut reader),
        0x5500_0006 => controller_motion(&mut reader),
        0x5500_0007 => controller_battery(&mut reader),
        magic => return Err(InputError::Unknown { magic }),
    };
    match event {
        Ok(event) => Ok(Some(event)),
        Err(Fault::Short(error)) => Err(InputError::Short { magic, error }),
        Err(Fault::Value(what)) => Err(InputError::Value { magic, what }),
    }
}

fn i16_be(reader: &mut Reader<'_>) -> Parsed<i16> {
    Ok(i16::from_be_bytes(reader.array()?))
}

fn i16_le(reader: &mut Reader<'_>) -> Parsed<i16> {
    Ok(i16::from_le_bytes(reader.array()?))
}

fn finite(reader: &mut Reader<'_>) -> Parsed<f32> {
    let value = f32::from_le_bytes(reader.array()?);
    match value.is_finite() {
        true => Ok(value),
        false => Err(Fault::Value("a number is not finite")),
    }
}

/// A share; clients round, so a little outside is the edge.
fn share(reader: &mut Reader<'_>) -> Parsed<f32> {
    Ok(finite(reader)?.clamp(0.0, 1.0))
}

fn position(reader: &mut Reader<'_>) -> Parsed<Position> {
    Ok(Position {
        x: share(reader)?,
        y: share(reader)?,
    })
}

fn controller(number: u16) -> Parsed<u8> {
    match number < u16::from(CONTROLLERS_MAX) {
        true => Ok(number as u8),
        false => Err(Fault::Value("there is no such controller")),
    }
}

fn contact_kind(number: u8) -> Parsed<ContactKind> {
    Ok(match number {
        0 => ContactKind::Hover,
        1 => ContactKind::Down,
        2 => ContactKind::Up,
        3 => ContactKind::Move,
        4 => ContactKind::Cancel,
        5 => ContactKind::Buttons,
        6 => ContactKind::HoverLeave,
        7 => ContactKind::CancelAll,
        _ => return Err(Fault::Value("there is no such kind of touch")),
    })
}

fn rotation(degrees: u16) -> Option<u16> {
    (degrees < 360).then_some(degrees)
}

fn key(reader: &mut Reader<'_>, pressed: bool) -> Parsed<InputEvent> {
    let flags = reader.u8()?;
    // Clients set the highest bit of the code.
    let code = reader.u16()? & 0x7fff;
    let modifiers = reader.u8()?;
    let Ok(virtual_key) = u8::try_from(code) else {
        return Err(Fault::Value("there is no such key"));
    };
    Ok(InputEvent::Key(KeyEvent {
        virtual_key,
        pressed,
        modifiers: Modifiers {
            shift: modifiers & 1 != 0,
            control: modifiers & 2 != 0,
            alt: modifiers & 4 != 0,
            logo: modifiers & 8 != 0,
        },
        is_layout_dependent: flags & 1 != 0,
    }))
}

fn text(reader: &mut Reader<'_>) -> Parsed<InputEvent> {
    let bytes = reader.take(reader.left())?;
    // Padded with zeros by some.
    let end = bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |at| at + 1);
    str::from_utf8(&bytes[..end])
        .ok()
        .and_then(Text::new)
        .map(InputEvent::Text)
        .ok_or(Fault::Value("it is not a piece of UTF-8 text"))
}

fn pointer_motion(reader: &mut Reader<'_>) -> Parsed<InputEvent> {
    Ok(InputEvent::PointerMotion {
        dx: i16_be(reader)?,
        dy: i16_be(reader)?,
    })
}

fn pointer_position(reader: &mut Reader<'_>) -> Parsed<InputEvent> {
    let (x, y) = (i16_be(reader)?, i16_be(reader)?);
    i16_be(reader)?;
    // Clients send width and height less one.
    let (width, height) = (i16_be(reader)?, i16_be(reader)?);
    if width <= 0 || height <= 0 {
        return Err(Fault::Value("the picture that it refers to has no size"));
    }
    let place = |at: i16, size: i16| (f32::from(at) / f32::from(size)).clamp(0.0, 1.0);
    Ok(InputEvent::PointerPosition(Position {
        x: place(x, width),
        y: place(y, height),
    }))
}

fn pointer_button(reader: &mut Reader<'_>, pressed: bool) -> Parsed<InputEvent> {
    let button = match reader.u8()? {
        1 => PointerButton::Left,
        2 => PointerButton::Middle,
        3 => PointerButton::Right,
        4 => PointerButton::Back,
        5 => PointerButton::Forward,
        _ => return Err(Fault::Value("there is no such button")),
    };
    Ok(InputEvent::PointerButton { button, pressed })
}

fn scroll(reader: &mut Reader<'_>, axis: ScrollAxis) -> Parsed<InputEvent> {
    let amount = i16_be(reader)?;
    Ok(InputEvent::Scroll { axis, amount })
}

fn touch(reader: &mut Reader<'_>) -> Parsed<InputEvent> {
    let kind = contact_kind(reader.u8()?)?;
    reader.u8()?;
    let degrees = reader.u16()?;
    let id = reader.u32()?;
    Ok(InputEvent::Touch(TouchEvent {
        id,
        contact: Contact {
            kind,
            position: position(reader)?,
            pressure_or_distance: share(reader)?,
            major: share(reader)?,
            minor: share(reader)?,
            rotation: rotation(degrees),
        },
    }))
}

fn pen(reader: &mut Reader<'_>) -> Parsed<InputEvent> {
    let kind = contact_kind(reader.u8()?)?;
    let tool = match reader.u8()? {
        1 => PenTool::Pen,
        2 => PenTool::Eraser,
        _ => PenTool::Unknown,
    };
    let buttons = reader.u8()? & 7;
    reader.u8()?;
    let position = position(reader)?;
    let pressure_or_distance = share(reader)?;
    let degrees = reader.u16()?;
    let tilt = reader.u8()?;
    reader.u8()?;
    Ok(InputEvent::Pen(PenEvent {
        tool,
        buttons,
        contact: Contact {
            kind,
            position,
            pressure_or_distance,
            major: share(reader)?,
            minor: share(reader)?,
            rotation: rotation(degrees),
        },
        tilt: (tilt <= 90).then_some(tilt),
    }))
}

fn controller_state(reader: &mut Reader<'_>) -> Parsed<InputEvent> {
    reader.u16()?;
    let controller = controller(reader.u16()?)?;
    let present = reader.u16()?;
    reader.u16()?;
    let low = reader.u16()?;
    let (left_trigger, right_trigger) = (reader.u8()?, reader.u8()?);
    let left_stick = [i16_le(reader)?, i16_le(reader)?];
    let right_stick = [i16_le(reader)?, i16_le(reader)?];
    reader.u16()?;
    let high = reader.u16()?;
    reader.u16()?;
    Ok(InputEvent::ControllerState(ControllerState {
        controller,
        present,
        buttons: u32::from(high) << 16 | u32::from(low),
        left_trigger,
        right_trigger,
        left_stick,
        right_stick,
    }))
}

fn controller_arrival(reader: &mut Reader<'_>) -> Parsed<InputEvent> {
    Ok(InputEvent::ControllerArrival(ControllerArrival {
        controller: controller(reader.u8()?.into())?,
        kind: match reader.u8()? {
            1 => ControllerKind::Xbox,
            2 => ControllerKind::PlayStation,
            3 => ControllerKind::Nintendo,
            4 => ControllerKind::Steam,
            _ => ControllerKind::Unknown,
        },
        capabilities: reader.u16()?,
        buttons: reader.u32()?,
    }))
}

fn controller_touch(reader: &mut Reader<'_>) -> Parsed<InputEvent> {
    let controller = controller(reader.u8()?.into())?;
    let kind = contact_kind(reader.u8()?)?;
    reader.u8()?;
    // It was a zero before there were two.
    let touchpad = reader.u8()?;
    if touchpad > 1 {
        return Err(Fault::Value("there is no such touchpad"));
    }
    Ok(InputEvent::ControllerTouch(ControllerTouch {
        controller,
        touchpad,
        kind,
        id: reader.u32()?,
        position: position(reader)?,
        pressure: share(reader)?,
    }))
}

fn controller_motion(reader: &mut Reader<'_>) -> Parsed<InputEvent> {
    let controller = controller(reader.u8()?.into())?;
    let sensor = match reader.u8()? {
        1 => MotionSensor::Accelerometer,
        2 => MotionSensor::Gyroscope,
        _ => return Err(Fault::Value("there is no such sensor")),
    };
    reader.u16()?;
    Ok(InputEvent::ControllerMotion(ControllerMotion {
        controller,
        sensor,
        axes: [finite(reader)?, finite(reader)?, finite(reader)?],
    }))
}

fn controller_battery(reader: &mut Reader<'_>) -> Parsed<InputEvent> {
    let controller = controller(reader.u8()?.into())?;
    let state = match reader.u8()? {
        1 => BatteryState::Absent,
        2 => BatteryState::Discharging,
        3 => BatteryState::Charging,
        4 => BatteryState::NotCharging,
        5 => BatteryState::Full,
        _ => BatteryState::Unknown,
    };
    let percent = reader.u8()?;
    Ok(InputEvent::ControllerBattery(ControllerBattery {
        controller,
        state,
        percent: (percent <= 100).then_some(percent),
    }))
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
