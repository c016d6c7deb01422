//! Capture of a real headless sway, by every protocol that it offers.

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use common::painter::{Painter, colour};
use common::*;
use gpu::frame::{Frame, Rect, Size};
use platform::capture::{Capture, CaptureError, Captured};

#[test]
fn a_moving_application_gives_changing_frames_of_the_outputs_size() {
    let display = private_display("1280x720@60", &[]);
    let address = address(&*display);
    let _painter = Painter::start(&output(&*display).wayland_socket, u32::MAX);
    for backend in captures(&address) {
        let mut capture = backend.open(&address).expect("opens");
        let mut digests = HashSet::new();
        let mut last = None;
        for _ in 0..60 {
            let frame = next_frame(&mut *capture);
            assert_eq!(
                frame.surface.size(),
                Size {
                    width: 1280,
                    height: 720
                }
            );
            assert!(!frame.damage.is_empty());
            assert!(frame.damage.x + frame.damage.width <= 1280);
            assert!(frame.damage.y + frame.damage.height <= 720);
            assert!(last.is_none_or(|last| frame.captured > last), "stamps rise");
            last = Some(frame.captured);
            digests.insert(digest(&frame));
        }
        // The application is still mapping its window when the first frames come.
        assert!(
            digests.len() >= 50,
            "{}: {} pictures of 60",
            backend.name(),
            digests.len()
        );
    }
}

#[test]
fn the_application_fills_the_output_pixel_for_pixel() {
    let display = private_display("1366x768@60", &[]);
    let address = address(&*display);
    let painter = Painter::start(&output(&*display).wayland_socket, u32::MAX);
    for backend in captures(&address) {
        let mut capture = backend.open(&address).expect("opens");
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let frame = next_frame(&mut *capture);
            let number = (0..=painter.drawn()).find(|number| shows_only(&frame, colour(*number)));
            if number.is_some_and(|number| number > 0) {
                break;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "{}: never",
                backend.name()
            );
        }
    }
}

/// Every pixel of the frame has that colour.
fn shows_only(frame: &Frame, colour: u32) -> bool {
    let size = frame.surface.size();
    let pixels = frame.surface.map().expect("shared memory can be read");
    let mut rows = pixels.bytes.chunks(pixels.stride).take(size.height.into());
    rows.all(|row| {
        let mut row = row[..usize::from(size.width) * 4].chunks_exact(4);
        row.all(|pixel| pixel[..3] == colour.to_le_bytes()[..3])
    })
}

#[test]
fn a_static_picture_is_delivered_once_and_then_the_capture_is_still() {
    let display = private_display("640x480@60", &[]);
    let address = address(&*display);
    for backend in captures(&address) {
        settle(&mut *backend.open(&address).expect("opens"));
        let mut capture = backend.open(&address).expect("opens");
        let first = next_frame(&mut *capture);
        assert_eq!(
            first.damage,
            Rect::whole(first.surface.size()),
            "all of it is new"
        );
        for _ in 0..3 {
            let next = capture.next(Duration::from_millis(200)).expect("lives");
            assert!(
                matches!(next, Captured::Still),
                "{}: nothing changed",
                backend.name()
            );
        }
    }
}

#[test]
fn frames_that_are_held_keep_their_pixels() {
    let display = private_display("640x480@60", &[]);
    let address = address(&*display);
    let _painter = Painter::start(&output(&*display).wayland_socket, u32::MAX);
    for backend in captures(&address) {
        let mut capture = backend.open(&address).expect("opens");
        let held: Vec<_> = (0..3).map(|_| next_frame(&mut *capture)).collect();
        let before: Vec<u64> = held.iter().map(digest).collect();
        for _ in 0..10 {
            drop(next_frame(&mut *capture));
        }
        let after: Vec<u64> = held.iter().map(digest).collect();
        assert_eq!(before, after, "{}", backend.name());
        // Nothing is left in use for the next kind.
        drop(held);
        for _ in 0..4 {
            drop(next_frame(&mut *capture));
        }
    }
}

#[test]
fn with_every_buffer_in_use_the_capture_waits_and_goes_on_when_one_is_dropped() {
    let display = private_display("640x480@60", &[]);
    let address = address(&*display);
    let _painter = Painter::start(&output(&*display).wayland_socket, u32::MAX);
    for backend in captures(&address) {
        let mut capture = backend.open(&address).expect("opens");
        let mut held = Vec::new();
        while let Captured::Frame(frame) = capture.next(Duration::from_millis(500)).expect("lives")
        {
            held.push(frame);
            assert!(held.len() <= 8, "the buffers are numbered");
        }
        assert!(
            held.len() >= 3,
            "{}: {} buffers",
            backend.name(),
            held.len()
        );
        held.pop();
        drop(next_frame(&mut *capture));
        // Nothing is left in use for the next kind.
        drop(held);
        for _ in 0..4 {
            drop(next_frame(&mut *capture));
        }
    }
}

#[test]
fn the_waker_interrupts_a_wait_from_another_thread() {
    let display = private_display("640x480@60", &[]);
    let address = address(&*display);
    for backend in captures(&address) {
        let mut capture = backend.open(&address).expect("opens");
        settle(&mut *capture);
        let waker = capture.waker();
        let waking = std::thread::spawn(move || waker.wake());
        let woken = capture.next(PATIENCE).expect("lives");
        assert!(matches!(woken, Captured::Woken), "{}", backend.name());
        waking.join().expect("wakes");
    }
}

#[test]
fn a_killed_compositor_ends_the_capture_with_a_reason_and_leaves_nothing() {
    let mut display = private_display("640x480@60", &[]);
    let (address, directory) = (address(&*display), directory(&*display));
    let _painter = Painter::start(&output(&*display).wayland_socket, u32::MAX);
    let mut open: Vec<_> = captures(&address)
        .iter()
        .map(|backend| backend.open(&address).expect("opens"))
        .collect();
    for capture in &mut open {
        drop(next_frame(&mut **capture));
    }
    let sway = processes_named(&directory, "sway");
    assert_eq!(sway.len(), 1, "one sway");
    let sway = rustix::process::Pid::from_raw(sway[0]).expect("a process id");
    rustix::process::kill_process(sway, rustix::process::Signal::KILL).expect("ours to kill");

    for capture in &mut open {
        let reason = loop {
            match capture.next(PATIENCE) {
                Ok(Captured::Frame(_)) => {}
                Ok(_) => panic!("a dead compositor is not still"),
                Err(CaptureError::Ended { reason }) => break reason,
                Err(error) => panic!("{error}"),
            }
        };
        assert!(reason.contains("closed the connection"), "{reason}");
    }
    let gone = display.check().expect_err("sway is dead").to_string();
    assert!(gone.contains("signal: 9"), "{gone}");
    drop(display);
    assert!(
        processes_of(&directory).is_empty(),
        "{:?}",
        processes_of(&directory)
    );
    assert!(!directory.exists());
}

#[test]
fn an_unknown_output_is_named() {
    let display = private_display("640x480@60", &[]);
    let mut address = address(&*display);
    // Over the compositor's socket, where an output is found by its name.
    address.nested = None;
    for backend in captures(&address) {
        let wayland = address.wayland.as_mut().expect("a Wayland output");
        wayland.output = "DP-9".to_owned();
        let error = backend
            .open(&address)
            .err()
            .expect("no such output")
            .to_string();
        assert_eq!(error, "the compositor has no output DP-9");
        assert!(backend.probe(&address).is_err());
    }
}

#[test]
fn a_changed_mode_ends_the_capture_with_the_sizes() {
    let display = private_display("640x480@60", &[]);
    let (address, directory) = (address(&*display), directory(&*display));
    let _painter = Painter::start(&output(&*display).wayland_socket, u32::MAX);
    let mut open: Vec<_> = captures(&address)
        .iter()
        .map(|backend| backend.open(&address).expect("opens"))
        .collect();
    let socket = directory.join("ipc.sock");
    let mut ipc =
        platform::display::sway_ipc::SwayIpc::connect(&socket, PATIENCE).expect("connects");
    ipc.run(&format!(
        "output {} mode --custom 800x600@60Hz",
        output(&*display).output
    ))
    .expect("changes");
    for capture in &mut open {
        let reason = loop {
            match capture.next(PATIENCE) {
                Ok(Captured::Frame(frame)) => assert_eq!(frame.surface.size().width, 640),
                Ok(_) => panic!("the change went unnoticed"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(
            reason.contains("640x480") && reason.contains("800x600"),
            "{reason}"
        );
    }
}

/// Takes frames until the screen rests (the background is drawn by a process of its own).
fn settle(capture: &mut dyn Capture) {
    for _ in 0..100 {
        if matches!(
            capture.next(Duration::from_millis(300)),
            Ok(Captured::Still)
        ) {
            return;
        }
    }
    panic!("an empty desktop never rests");
}

#[test]
fn a_wakers_handle_outlives_its_capture() {
    let display = private_display("640x480@60", &[]);
    let address = address(&*display);
    for backend in captures(&address) {
        let capture = backend.open(&address).expect("opens");
        let waker = Arc::clone(&capture.waker());
        drop(capture);
        waker.wake();
    }
}
