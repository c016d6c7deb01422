use proptest::prelude::*;

use super::*;

fn packet(magic: u32, fields: &[u8]) -> Vec<u8> {
    let mut out = (fields.len() as u32 + 4).to_be_bytes().to_vec();
    out.extend_from_slice(&magic.to_le_bytes());
    out.extend_from_slice(fields);
    out
}

fn event(magic: u32, fields: &[u8]) -> InputEvent {
    parse(&packet(magic, fields))
        .expect("valid")
        .expect("an event")
}

fn floats(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

#[test]
fn golden_keyboard_and_text() {
    let key = KeyEvent {
        virtual_key: 0x41,
        pressed: true,
        modifiers: Modifiers {
            shift: true,
            logo: true,
            ..Modifiers::default()
        },
        is_layout_dependent: true,
    };
    assert_eq!(event(3, &[1, 0x41, 0x80, 9, 0, 0]), InputEvent::Key(key));
    let up = KeyEvent {
        pressed: false,
        is_layout_dependent: false,
        modifiers: Modifiers::default(),
        ..key
    };
    assert_eq!(event(4, &[0, 0x41, 0x80, 0, 0, 0]), InputEvent::Key(up));
    let text = Text::new("ä€").expect("text");
    assert_eq!(event(0x17, "ä€".as_bytes()), InputEvent::Text(text));
    assert_eq!(
        event(0x17, &[b'x', 0, 0]),
        InputEvent::Text(Text::new("x").expect("text"))
    );
    assert_eq!(text.as_str(), "ä€");
}

#[test]
fn golden_pointer() {
    assert_eq!(
        event(7, &[0xff, 0xfe, 1, 0]),
        InputEvent::PointerMotion { dx: -2, dy: 256 }
    );
    let at = event(5, &[0, 100, 0, 50, 0, 0, 0, 200, 0, 200]);
    assert_eq!(
        at,
        InputEvent::PointerPosition(Position { x: 0.5, y: 0.25 })
    );
    let outside = event(5, &[0xff, 0, 0x7f, 0xff, 0, 0, 0, 200, 0, 200]);
    assert_eq!(
        outside,
        InputEvent::PointerPosition(Position { x: 0.0, y: 1.0 })
    );
    let button = InputEvent::PointerButton {
        button: PointerButton::Forward,
        pressed: false,
    };
    assert_eq!(event(9, &[5]), button);
    let wheel = InputEvent::Scroll {
        axis: ScrollAxis::Vertical,
        amount: -120,
    };
    assert_eq!(event(0xa, &[0xff, 0x88, 0xff, 0x88, 0, 0]), wheel);
    let wheel = InputEvent::Scroll {
        axis: ScrollAxis::Horizontal,
        amount: 120,
    };
    assert_eq!(event(0x5500_0001, &[0, 120]), wheel);
    assert_eq!(parse(&packet(0xd, &[1, 0])), Ok(None), "haptics");
}

#[test]
fn golden_touch_and_pen() {
    let contact = Contact {
        kind: ContactKind::Down,
        position: Position { x: 0.25, y: 0.5 },
        pressure_or_distance: 1.0,
        major: 0.125,
        minor: 0.0,
        rotation: Some(90),
    };
    let fields = [
        &[1, 0, 90, 0, 7, 0, 0, 0][..],
        &floats(&[0.25, 0.5, 1.0, 0.125, 0.0]),
    ]
    .concat();
    assert_eq!(
        event(0x5500_0002, &fields),
        InputEvent::Touch(TouchEvent { id: 7, contact })
    );
    let fields = [
        &[1, 2, 3, 0][..],
        &floats(&[0.25, 0.5, 1.0]),
        &[0xff, 0xff, 0xff, 0],
        &floats(&[0.125, 0.0]),
    ]
    .concat();
    let pen = PenEvent {
        tool: PenTool::Eraser,
        buttons: 3,
        contact: Contact {
            rotation: None,
            ..contact
        },
        tilt: None,
    };
    assert_eq!(event(0x5500_0003, &fields), InputEvent::Pen(pen));
}

#[test]
fn golden_controllers() {
    let fields = [
        0x1a, 0, 15, 0, 0, 0x80, 0x14, 0, 0x01, 0x10, 9, 255, 0xff, 0x7f, 0, 0x80, 1, 0, 2, 0,
        0x9c, 0, 0x10, 0, 0x55, 0,
    ];
    let state = ControllerState {
        controller: 15,
        present: 0x8000,
        buttons: 0x10_1001,
        left_trigger: 9,
        right_trigger: 255,
        left_stick: [i16::MAX, i16::MIN],
        right_stick: [1, 2],
    };
    assert_eq!(event(0xc, &fields), InputEvent::ControllerState(state));
    let arrival = ControllerArrival {
        controller: 1,
        kind: ControllerKind::PlayStation,
        capabilities: 0xff,
        buttons: 0x1f_ffff,
    };
    let fields = [1, 2, 0xff, 0, 0xff, 0xff, 0x1f, 0];
    assert_eq!(
        event(0x5500_0004, &fields),
        InputEvent::ControllerArrival(arrival)
    );
    let fields = [&[1, 3, 0, 1, 5, 0, 0, 0][..], &floats(&[0.5, 0.75, 2.0])].concat();
    let touch = ControllerTouch {
        controller: 1,
        touchpad: 1,
        kind: ContactKind::Move,
        id: 5,
        position: Position { x: 0.5, y: 0.75 },
        pressure: 1.0,
    };
    assert_eq!(
        event(0x5500_0005, &fields),
        InputEvent::ControllerTouch(touch)
    );
    let fields = [&[2, 2, 0, 0][..], &floats(&[-1.5, 0.0, 300.0])].concat();
    let motion = ControllerMotion {
        controller: 2,
        sensor: MotionSensor::Gyroscope,
        axes: [-1.5, 0.0, 300.0],
    };
    assert_eq!(
        event(0x5500_0006, &fields),
        InputEvent::ControllerMotion(motion)
    );
    let battery = |percent| {
        InputEvent::ControllerBattery(ControllerBattery {
            controller: 0,
            state: BatteryState::Charging,
            percent,
        })
    };
    assert_eq!(event(0x5500_0007, &[0, 3, 80, 0]), battery(Some(80)));
    assert_eq!(event(0x5500_0007, &[0, 3, 255, 0]), battery(None));
}

#[test]
fn what_cannot_be_is_refused() {
    for (magic, fields) in [
        (3, vec![0, 0x41, 0x81, 0, 0, 0]),
        (5, vec![0; 10]),
        (8, vec![0]),
        (8, vec![6]),
        (0xc, [&[0, 0, 16, 0][..], &[0; 22]].concat()),
        (0x17, vec![0xff, 0xfe]),
        (0x17, vec![]),
        (0x17, vec![b'x'; 33]),
        (
            0x5500_0002,
            [&[8, 0, 0, 0, 0, 0, 0, 0][..], &floats(&[0.0; 5])].concat(),
        ),
        (
            0x5500_0002,
            [
                &[1, 0, 0, 0, 0, 0, 0, 0][..],
                &floats(&[f32::NAN, 0.0, 0.0, 0.0, 0.0]),
            ]
            .concat(),
        ),
        (
            0x5500_0006,
            [&[0, 1, 0, 0][..], &floats(&[0.0, f32::INFINITY, 0.0])].concat(),
        ),
        (
            0x5500_0006,
            [&[0, 9, 0, 0][..], &floats(&[0.0; 3])].concat(),
        ),
        (
            0x5500_0005,
            [&[0, 1, 0, 2, 0, 0, 0, 0][..], &floats(&[0.0; 3])].concat(),
        ),
    ] {
        let outcome = parse(&packet(magic, &fields));
        assert!(
            matches!(outcome, Err(InputError::Value { .. })),
            "{magic:#x}: {outcome:?}"
        );
    }
    assert_eq!(
        parse(&packet(0x99, &[])),
        Err(InputError::Unknown { magic: 0x99 })
    );
    assert!(matches!(
        parse(&packet(7, &[0])),
        Err(InputError::Short { magic: 7, .. })
    ));
    let mut long = packet(7, &[0; 4]);
    long.push(0);
    assert_eq!(
        parse(&long),
        Err(InputError::Size {
            bytes: 13,
            said: 12
        })
    );
    assert!(parse(&[]).is_err());
    assert!(matches!(
        parse(&[0xff, 0xff, 0xff, 0xff, 7, 0, 0, 0]),
        Err(InputError::Size { .. })
    ));
}

proptest! {
    /// Any fields of any type: an event within its limits, or an error.
    #[test]
    fn any_fields(
        magic in prop_oneof![0..0x20u32, 0x5500_0000..0x5500_0010u32, any::<u32>()],
        fields in prop::collection::vec(any::<u8>(), 0..48),
    ) {
        if let Ok(Some(InputEvent::Touch(touch))) = parse(&packet(magic, &fields)) {
            prop_assert!((0.0..=1.0).contains(&touch.contact.position.x));
            prop_assert!((0.0..=1.0).contains(&touch.contact.pressure_or_distance));
        }
    }
}
