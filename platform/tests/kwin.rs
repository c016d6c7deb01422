//! Outputs on a real KWin, headless, of each test's own (`scripts/lab/kwin`).

mod common;

use std::time::Instant;

use common::kwin::{Desktop, OPEN, Options, OutputSeen, request};
use common::*;
use platform::display::DisplayBackend;

/// The modes that the project promises, with what KWin's clocks make of their rates.
const MODES: [(&str, (i32, i32), (u32, u32)); 3] = [
    ("1280x720@60", (1280, 720), (59_400, 60_600)),
    ("1920x1200@120", (1920, 1200), (118_800, 121_200)),
    ("2560x1440@60", (2560, 1440), (59_400, 60_600)),
];

#[test]
fn outputs_of_every_mode_come_and_go() {
    let Some(desktop) = Desktop::start(OPEN) else {
        return;
    };
    let backend = desktop.backend();
    assert!(backend.probe().expect("ready").contains("zkde_screencast"));
    for (mode, size, rates) in MODES {
        let asked = Instant::now();
        let mut display = backend.create(&request(mode, &[])).expect("created");
        eprintln!("{mode}: {} after {:?}", display.mode(), asked.elapsed());
        let has = display.mode();
        assert_eq!((i32::from(has.width()), i32::from(has.height())), size);
        let millihz = has.refresh().get();
        assert!((rates.0..=rates.1).contains(&millihz), "{has}");
        let name = output(&*display).output;
        let seen = OutputSeen {
            name: name.clone(),
            mode: (size.0, size.1, i32::try_from(millihz).expect("small")),
        };
        assert!(desktop.outputs().contains(&seen), "{:?}", desktop.outputs());
        display.check().expect("lives");
        drop(display);
        assert_eq!(desktop.extra_outputs(), Vec::<String>::new());
    }
}

#[test]
fn two_sessions_have_an_output_each() {
    let Some(desktop) = Desktop::start(OPEN) else {
        return;
    };
    let backend = desktop.backend();
    let first = backend
        .create(&request("1280x720@60", &[]))
        .expect("created");
    let second = backend
        .create(&request("640x480@60", &[]))
        .expect("created");
    let names = [output(&*first).output, output(&*second).output];
    assert_eq!(desktop.extra_outputs(), names);
    drop(first);
    assert_eq!(desktop.extra_outputs(), names[1..]);
    let third = backend
        .create(&request("640x480@60", &[]))
        .expect("created");
    assert_eq!(output(&*third).output, names[0], "names are used again");
}

#[test]
fn the_mode_changes_while_it_lives() {
    let Some(desktop) = Desktop::start(OPEN) else {
        return;
    };
    let backend = desktop.backend();
    let mut display = backend
        .create(&request("1280x720@60", &[]))
        .expect("created");
    for (mode, size, rates) in MODES.iter().rev().chain(&MODES) {
        let asked = Instant::now();
        display
            .set_mode(mode.parse().expect("valid"))
            .expect("it obeys");
        eprintln!("{mode}: {} after {:?}", display.mode(), asked.elapsed());
        let has = display.mode();
        assert_eq!((i32::from(has.width()), i32::from(has.height())), *size);
        assert!((rates.0..=rates.1).contains(&has.refresh().get()), "{has}");
        display.check().expect("lives");
    }
}

#[test]
fn without_a_render_node_the_refusal_says_what_is_missing() {
    let without = Options {
        has_node: false,
        ..OPEN
    };
    let Some(desktop) = Desktop::start(without) else {
        return;
    };
    let refused = desktop.backend().create(&request("1280x720@60", &[]));
    let reason = refused.err().expect("it has no node").to_string();
    assert!(reason.contains("/dev/dri/renderD128"), "{reason}");
    assert_eq!(desktop.extra_outputs(), Vec::<String>::new());
}

#[test]
fn kwin_obeys_whom_a_desktop_file_permits() {
    let closed = Options {
        is_open: false,
        ..OPEN
    };
    let Some(desktop) = Desktop::start(closed) else {
        return;
    };
    let refusal = desktop.backend().probe().expect_err("nothing permits it");
    let refusal = refusal.to_string();
    assert!(refusal.contains("scripts/kde-permission"), "{refusal}");
    let this = std::env::current_exe().expect("known");
    let template = include_str!("../../scripts/kde/punktfunk.desktop");
    let text = template.replace("@EXECUTABLE@", this.to_str().expect("text"));
    let permitting = Options {
        permission: Some(&text),
        ..closed
    };
    let desktop = Desktop::start(permitting).expect("as before");
    let backend = desktop.backend();
    backend.probe().expect("permitted");
    let display = backend.create(&request("1280x720@60", &[]));
    drop(display.expect("created"));
}

#[test]
fn a_killed_kwin_is_gone_and_leaves_nothing() {
    let Some(mut desktop) = Desktop::start(OPEN) else {
        return;
    };
    let app = ["sleep".to_owned(), "1000".to_owned()];
    let backend = desktop.backend();
    let mut display = backend
        .create(&request("1280x720@60", &app))
        .expect("created");
    display.check().expect("lives");
    desktop.kill();
    let reason = display.check().expect_err("it was killed").to_string();
    assert!(reason.contains("kwin ended"), "{reason}");
    drop(display);
    let refusal = backend.probe().expect_err("nobody listens").to_string();
    assert!(refusal.contains("cannot be reached"), "{refusal}");
}
