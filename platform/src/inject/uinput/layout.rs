//! Controllers as the kernel's own drivers present them, so that SDL's and Steam's tables know
//! them: names, numbers, buttons and axes as `drivers/input/joystick/xpad.c` (Xbox One S),
//! `drivers/hid/hid-playstation.c` (DualSense) and `drivers/hid/hid-nintendo.c` (Switch Pro) have
//! them.

use evdev::{AbsoluteAxisCode as Axis, EventType, InputEvent as Event, KeyCode};
use net::input::{ControllerKind, ControllerState};

/// What a controller pretends to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) name: &'static str,
    pub(super) vendor: u16,
    pub(super) product: u16,
    /// The drivers' versions: SDL tells layouts apart by them.
    pub(super) version: u16,
    pub(super) model: Model,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    Xbox,
    DualSense,
    SwitchPro,
}

const XBOX: Identity = Identity {
    name: "Microsoft Xbox One S pad",
    vendor: 0x045e,
    product: 0x02ea,
    version: 0x0408,
    model: Model::Xbox,
};
const DUALSENSE: Identity = Identity {
    name: "Sony Interactive Entertainment DualSense Wireless Controller",
    vendor: 0x054c,
    product: 0x0ce6,
    version: 0x8111,
    model: Model::DualSense,
};
const SWITCH_PRO: Identity = Identity {
    name: "Nintendo Switch Pro Controller",
    vendor: 0x057e,
    product: 0x2009,
    version: 0x8111,
    model: Model::SwitchPro,
};

/// Bits of [`ControllerState::buttons`].
mod bit {
    pub(super) const UP: u32 = 0x1;
    pub(super) const DOWN: u32 = 0x2;
    pub(super) const LEFT: u32 = 0x4;
    pub(super) const RIGHT: u32 = 0x8;
}

/// Buttons that every model has, by their place; X and Y differ.
const COMMON: [(u32, KeyCode); 9] = [
    (0x10, KeyCode::BTN_START),
    (0x20, KeyCode::BTN_SELECT),
    (0x40, KeyCode::BTN_THUMBL),
    (0x80, KeyCode::BTN_THUMBR),
    (0x100, KeyCode::BTN_TL),
    (0x200, KeyCode::BTN_TR),
    (0x400, KeyCode::BTN_MODE),
    (0x1000, KeyCode::BTN_SOUTH),
    (0x2000, KeyCode::BTN_EAST),
];
const X: u32 = 0x4000;
const Y: u32 = 0x8000;
const SHARE: u32 = 0x20_0000;
/// A trigger is a pressed button from half its way on, where it is a button.
const TRIGGER_BUTTON: u8 = 128;

/// One axis: code, smallest, largest, fuzz, flat.
pub(super) type AxisRange = (Axis, i32, i32, i32, i32);

impl Identity {
    /// For a controller of that kind; what we have no model of is an Xbox pad.
    pub(super) const fn of(kind: ControllerKind) -> Self {
        match kind {
            ControllerKind::PlayStation => DUALSENSE,
            ControllerKind::Nintendo => SWITCH_PRO,
            ControllerKind::Unknown | ControllerKind::Xbox | ControllerKind::Steam => XBOX,
        }
    }
}

impl Model {
    /// Its buttons and the bits that press them.
    pub(super) fn buttons(self) -> impl Iterator<Item = (u32, KeyCode)> {
        // xpad calls the left button BTN_X and the upper one BTN_Y, which are NORTH and WEST; the
        // others go by place.
        let (x, y) = match self {
            Self::Xbox => (KeyCode::BTN_NORTH, KeyCode::BTN_WEST),
            Self::DualSense | Self::SwitchPro => (KeyCode::BTN_WEST, KeyCode::BTN_NORTH),
        };
        let capture = (self == Self::SwitchPro).then_some((SHARE, KeyCode::BTN_Z));
        COMMON.into_iter().chain([(X, x), (Y, y)]).chain(capture)
    }

    /// True if its triggers are buttons, too or only.
    pub(super) const fn has_trigger_buttons(self) -> bool {
        !matches!(self, Self::Xbox)
    }

    /// Its axes.
    pub(super) fn axes(self) -> impl Iterator<Item = AxisRange> {
        let (low, high, fuzz, flat) = match self {
            Self::Xbox => (-32768, 32767, 16, 128),
            Self::DualSense => (0, 255, 0, 0),
            Self::SwitchPro => (-32767, 32767, 250, 500),
        };
        let sticks = [Axis::ABS_X, Axis::ABS_Y, Axis::ABS_RX, Axis::ABS_RY]
            .map(|axis| (axis, low, high, fuzz, flat));
        let trigger = match self {
            Self::Xbox => Some(1023),
            Self::DualSense => Some(255),
            Self::SwitchPro => None,
        };
        let triggers =
            trigger.map(|high| [Axis::ABS_Z, Axis::ABS_RZ].map(|it| (it, 0, high, 0, 0)));
        let hats = [Axis::ABS_HAT0X, Axis::ABS_HAT0Y].map(|axis| (axis, -1, 1, 0, 0));
        sticks
            .into_iter()
            .chain(triggers.into_iter().flatten())
            .chain(hats)
    }

    /// Everything that a state says, in the kernel's events; it leaves out what is so already.
    pub(super) fn events(self, state: &ControllerState, into: &mut Vec<Event>) {
        let key =
            |code: KeyCode, pressed: bool| Event::new(EventType::KEY.0, code.0, i32::from(pressed));
        let axis = |code: Axis, value: i32| Event::new(EventType::ABSOLUTE.0, code.0, value);
        let has = |bit: u32| state.buttons & bit != 0;
        into.extend(self.buttons().map(|(bit, code)| key(code, has(bit))));
        if self.has_trigger_buttons() {
            into.push(key(KeyCode::BTN_TL2, state.left_trigger >= TRIGGER_BUTTON));
            into.push(key(KeyCode::BTN_TR2, state.right_trigger >= TRIGGER_BUTTON));
        }
        let hat = |low, high| i32::from(has(high)) - i32::from(has(low));
        into.push(axis(Axis::ABS_HAT0X, hat(bit::LEFT, bit::RIGHT)));
        into.push(axis(Axis::ABS_HAT0Y, hat(bit::UP, bit::DOWN)));
        let ([lx, ly], [rx, ry]) = (state.left_stick, state.right_stick);
        // Ours is positive upwards, the kernel's downwards; the complement cannot overflow.
        for (code, value) in [
            (Axis::ABS_X, lx),
            (Axis::ABS_Y, !ly),
            (Axis::ABS_RX, rx),
            (Axis::ABS_RY, !ry),
        ] {
            let value = i32::from(value);
            into.push(axis(
                code,
                match self {
                    Self::Xbox => value,
                    Self::DualSense => (value + 32768) >> 8,
                    Self::SwitchPro => value.max(-32767),
                },
            ));
        }
        for (code, value) in [
            (Axis::ABS_Z, state.left_trigger),
            (Axis::ABS_RZ, state.right_trigger),
        ] {
            match self {
                Self::Xbox => into.push(axis(code, i32::from(value) * 1023 / 255)),
                Self::DualSense => into.push(axis(code, value.into())),
                Self::SwitchPro => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(model: Model, state: &ControllerState, kind: EventType, code: u16) -> Option<i32> {
        let mut events = Vec::new();
        model.events(state, &mut events);
        events
            .iter()
            .find(|it| it.event_type() == kind && it.code() == code)
            .map(Event::value)
    }

    #[test]
    fn every_event_is_one_that_the_model_has_and_within_its_range() {
        for model in [Model::Xbox, Model::DualSense, Model::SwitchPro] {
            for extreme in [i16::MIN, 0, i16::MAX] {
                let state = ControllerState {
                    buttons: 0x3F_FFFF,
                    left_trigger: 255,
                    right_trigger: 255,
                    left_stick: [extreme; 2],
                    right_stick: [extreme; 2],
                    ..ControllerState::default()
                };
                let mut events = Vec::new();
                model.events(&state, &mut events);
                for event in events {
                    if event.event_type() == EventType::ABSOLUTE {
                        let known = model.axes().find(|axis| axis.0.0 == event.code());
                        let (_, low, high, ..) = known.expect("an axis of the model");
                        assert!((low..=high).contains(&event.value()), "{model:?} {event:?}");
                    } else {
                        let known = model.buttons().any(|(_, code)| code.0 == event.code());
                        let trigger = [KeyCode::BTN_TL2.0, KeyCode::BTN_TR2.0];
                        assert!(known || trigger.contains(&event.code()), "{event:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn up_is_up_and_the_rest_is_the_middle() {
        let up = ControllerState {
            left_stick: [0, i16::MAX],
            ..ControllerState::default()
        };
        let y = Axis::ABS_Y.0;
        assert_eq!(
            value(Model::Xbox, &up, EventType::ABSOLUTE, y),
            Some(-32768)
        );
        assert_eq!(
            value(Model::DualSense, &up, EventType::ABSOLUTE, y),
            Some(0)
        );
        let rest = ControllerState::default();
        assert_eq!(
            value(Model::DualSense, &rest, EventType::ABSOLUTE, Axis::ABS_X.0),
            Some(128)
        );
        assert_eq!(value(Model::Xbox, &rest, EventType::ABSOLUTE, y), Some(-1));
    }
}
