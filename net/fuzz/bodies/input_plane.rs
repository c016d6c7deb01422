//! Arbitrary packets of the input plane: nothing panics, what is handed out is within its bounds,
//! and a refused packet changes nothing.

use net::input::{CONTROLLERS_MAX, InputEvent};
use net::native::input::{InputReceiver, OutputReceiver, PACKET_BYTES_MAX};

/// A row of packets, each with its length in front.
pub fn run(data: &[u8]) {
    let mut receiver = InputReceiver::default();
    let mut output = OutputReceiver::default();
    let mut rest = data;
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)) % (PACKET_BYTES_MAX + 1);
        let (packet, tail) = tail.split_at(length.min(tail.len()));
        rest = tail;
        let _ = output.handle_packet(packet);
        let before = *receiver.held();
        let taken = receiver.handle_packet(packet);
        let mut events = 0;
        while let Some(event) = receiver.poll_event() {
            events += 1;
            check(&event);
        }
        if taken.is_err() {
            assert_eq!((events, *receiver.held()), (0, before));
        }
    }
}

fn check(event: &InputEvent) {
    match event {
        InputEvent::PointerPosition(at) => {
            assert!((0.0..=1.0).contains(&at.x) && (0.0..=1.0).contains(&at.y));
        }
        InputEvent::Text(text) => assert!(!text.as_str().is_empty()),
        InputEvent::ControllerState(state) => assert!(state.controller < CONTROLLERS_MAX),
        InputEvent::ControllerArrival(arrival) => assert!(arrival.controller < CONTROLLERS_MAX),
        InputEvent::ControllerMotion(motion) => {
            assert!(motion.axes.iter().all(|axis| axis.is_finite()));
        }
        _ => {}
    }
}
