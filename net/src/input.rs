//! Input events as every protocol of the host delivers them to the session's compositor.
//!
//! Values are checked where a protocol reads them: positions and pressures are finite and within
//! 0 to 1, controllers are below [`CONTROLLERS_MAX`], text is UTF-8. An event is small and
//! `Copy`, so that queues of them allocate nothing.

/// Controllers of a session.
pub const CONTROLLERS_MAX: u8 = 16;
/// Most bytes of text in one event.
pub const TEXT_BYTES_MAX: usize = 32;

/// Something that a person did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InputEvent {
    /// A key.
    Key(KeyEvent),
    /// Text that needs no keys.
    Text(Text),
    /// The pointer moved by so much, in the client's pixels.
    PointerMotion {
        /// To the right.
        dx: i16,
        /// Down.
        dy: i16,
    },
    /// The pointer is here.
    PointerPosition(Position),
    /// A button of the pointer.
    PointerButton {
        /// Which.
        button: PointerButton,
        /// Down or up.
        pressed: bool,
    },
    /// A wheel; 120 is a notch, up and right are positive.
    Scroll {
        /// Which way.
        axis: ScrollAxis,
        /// How far.
        amount: i16,
    },
    /// A finger.
    Touch(TouchEvent),
    /// A pen.
    Pen(PenEvent),
    /// A controller was plugged in, and can do this.
    ControllerArrival(ControllerArrival),
    /// A controller's buttons, triggers and sticks.
    ControllerState(ControllerState),
    /// A finger on a controller's touchpad.
    ControllerTouch(ControllerTouch),
    /// A controller was moved.
    ControllerMotion(ControllerMotion),
    /// A controller's battery.
    ControllerBattery(ControllerBattery),
}

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyEvent {
    /// Which, as a Windows virtual key.
    pub virtual_key: u8,
    /// Down or up.
    pub pressed: bool,
    /// What is held with it.
    pub modifiers: Modifiers,
    /// True if the code is that of the client's own layout; else it stands for the place of the
    /// key on an American keyboard.
    pub is_layout_dependent: bool,
}

/// Keys that are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modifiers {
    /// Shift.
    pub shift: bool,
    /// Control.
    pub control: bool,
    /// Alt.
    pub alt: bool,
    /// The logo key.
    pub logo: bool,
}

/// Up to [`TEXT_BYTES_MAX`] bytes of UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    bytes: [u8; TEXT_BYTES_MAX],
    length: u8,
}

impl Text {
    /// None if there is none, or too much, or it holds control characters.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let length = text.len();
        if !(1..=TEXT_BYTES_MAX).contains(&length) || text.chars().any(|c| c == '\0') {
            return None;
        }
        let mut bytes = [0; TEXT_BYTES_MAX];
        bytes[..length].copy_from_slice(text.as_bytes());
        Some(Self {
            bytes,
            length: length as u8,
        })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

/// A place on the picture, 0 to 1 from the left and from the top.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Position {
    /// From the left.
    pub x: f32,
    /// From the top.
    pub y: f32,
}

/// Buttons of a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PointerButton {
    /// Left.
    Left,
    /// Middle.
    Middle,
    /// Right.
    Right,
    /// Back.
    Back,
    /// Forward.
    Forward,
}

/// Which way a wheel turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrollAxis {
    /// Up is positive.
    Vertical,
    /// Right is positive.
    Horizontal,
}

/// What a finger or pen does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContactKind {
    /// Near, not touching.
    Hover,
    /// Begins to touch.
    Down,
    /// Ends.
    Up,
    /// Moves, touching.
    Move,
    /// Never mind.
    Cancel,
    /// Only buttons changed.
    Buttons,
    /// No more near.
    HoverLeave,
    /// Never mind, all of them.
    CancelAll,
}

/// How something touches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contact {
    /// What it does.
    pub kind: ContactKind,
    /// Where.
    pub position: Position,
    /// Pressure while it touches, distance while it does not; 0 to 1, 0 if unknown.
    pub pressure_or_distance: f32,
    /// Long axis of the contact, share of the picture; 0 if unknown.
    pub major: f32,
    /// Short axis.
    pub minor: f32,
    /// Clockwise from up, degrees.
    pub rotation: Option<u16>,
}

/// A finger.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TouchEvent {
    /// Which finger.
    pub id: u32,
    /// How.
    pub contact: Contact,
}

/// End of a pen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PenTool {
    /// Not told.
    Unknown,
    /// The tip.
    Pen,
    /// The eraser.
    Eraser,
}

/// A pen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PenEvent {
    /// Which end.
    pub tool: PenTool,
    /// Bits: 1 first, 2 second, 4 third button.
    pub buttons: u8,
    /// How.
    pub contact: Contact,
    /// From the vertical, degrees, 0 to 90.
    pub tilt: Option<u8>,
}

/// Whose layout a controller has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControllerKind {
    /// Not told, or new.
    Unknown,
    /// Xbox.
    Xbox,
    /// PlayStation.
    PlayStation,
    /// Nintendo.
    Nintendo,
    /// Steam.
    Steam,
}

/// What a controller can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllerArrival {
    /// Which, below [`CONTROLLERS_MAX`].
    pub controller: u8,
    /// Layout.
    pub kind: ControllerKind,
    /// Bits of [`ControllerCapability`].
    pub capabilities: u16,
    /// Buttons that it has, as in [`ControllerState::buttons`].
    pub buttons: u32,
}

/// Bits of [`ControllerArrival::capabilities`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ControllerCapability {
    /// Triggers have a way.
    AnalogTriggers = 1,
    /// It rumbles.
    Rumble = 2,
    /// Its triggers rumble.
    TriggerRumble = 4,
    /// It has a touchpad.
    Touchpad = 8,
    /// It has an accelerometer.
    Accelerometer = 0x10,
    /// It has a gyroscope.
    Gyroscope = 0x20,
    /// It tells its battery.
    Battery = 0x40,
    /// It has a light of any colour.
    Led = 0x80,
    /// It has two touchpads.
    SecondTouchpad = 0x100,
}

/// Buttons, triggers and sticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControllerState {
    /// Which, below [`CONTROLLERS_MAX`].
    pub controller: u8,
    /// Controllers that are there, a bit each; one that is missing was unplugged.
    pub present: u16,
    /// 1 up, 2 down, 4 left, 8 right, 0x10 start, 0x20 back, 0x40 and 0x80 sticks, 0x100 and
    /// 0x200 shoulders, 0x400 guide, 0x1000 A, 0x2000 B, 0x4000 X, 0x8000 Y, 0x10000 to 0x80000
    /// paddles, 0x100000 touchpad, 0x200000 share.
    pub buttons: u32,
    /// Left, 0 to 255.
    pub left_trigger: u8,
    /// Right.
    pub right_trigger: u8,
    /// Right and up are positive.
    pub left_stick: [i16; 2],
    /// Likewise.
    pub right_stick: [i16; 2],
}

/// A finger on a touchpad.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ControllerTouch {
    /// Which controller.
    pub controller: u8,
    /// Which of its touchpads, 0 or 1.
    pub touchpad: u8,
    /// What the finger does.
    pub kind: ContactKind,
    /// Which finger.
    pub id: u32,
    /// Where on the touchpad.
    pub position: Position,
    /// 0 to 1.
    pub pressure: f32,
}

/// Which sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MotionSensor {
    /// m/s², gravity included.
    Accelerometer,
    /// Degrees a second.
    Gyroscope,
}

/// A controller was moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ControllerMotion {
    /// Which controller.
    pub controller: u8,
    /// Which sensor.
    pub sensor: MotionSensor,
    /// X, y, z; finite.
    pub axes: [f32; 3],
}

/// What a battery does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatteryState {
    /// Not told.
    Unknown,
    /// There is none.
    Absent,
    /// It empties.
    Discharging,
    /// It fills.
    Charging,
    /// It is plugged in and does not fill.
    NotCharging,
    /// It is full.
    Full,
}

/// A controller's battery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllerBattery {
    /// Which controller.
    pub controller: u8,
    /// What it does.
    pub state: BatteryState,
    /// 0 to 100.
    pub percent: Option<u8>,
}

/// What an application wants of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PadOutput {
    /// Rumble like this until told otherwise; zeros end it.
    Rumble {
        /// Which controller, below [`CONTROLLERS_MAX`].
        controller: u8,
        /// The heavy motor (low frequency), share of its full force in 1/65535.
        strong: u16,
        /// The light motor (high frequency).
        weak: u16,
    },
}
