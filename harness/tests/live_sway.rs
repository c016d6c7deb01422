//! A real sway, the real test card, a real host and client: the pictures are those that were drawn,
//! and whatever ends the session, nothing of it is left behind.

use std::path::PathBuf;
use std::sync::Arc;

use bench::alloc::CountingAllocator;
use bench::marker;
use bench::verify::{PSNR_DB_MIN, Verifier};
use engine::metrics::CounterSnapshot;
use harness::facts::{alone, descendants, entries, eventually, marked};
use harness::loopback::{LoopbackClient, LoopbackHost, encoders, hello};
use harness::program::executable;
use net::client::Trust;
use net::native::ModeOutcome;
use rustix::process::{Pid, Signal, kill_process};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Every so many pictures are compared pixel by pixel; the marker of each is read.
const COMPARE_EVERY: u32 = 20;

fn host(encoder: &'static str) -> LoopbackHost {
    let app = format!("'{}' testcard", executable().display());
    let settings = [
        ("desktop", "private-sway"),
        ("app", app.as_str()),
        ("encoder", encoder),
    ];
    match LoopbackHost::start(&settings) {
        Ok(host) => host,
        Err(error) => panic!("these tests need a private sway: {error}"),
    }
}

fn client(host: &LoopbackHost) -> LoopbackClient {
    LoopbackClient::with(host.address(), Trust::FirstUse, hello("640x360@60")).expect("a session")
}

/// Receives `count` pictures of the test card and checks each.
fn watch_the_card(client: &mut LoopbackClient, count: u32) {
    watch_the_card_at(client, (640, 360), count);
}

/// The same in another size. What is left of the size before is passed over, and what the card has
/// not drawn anew yet.
fn watch_the_card_at(client: &mut LoopbackClient, size: (usize, usize), count: u32) {
    let mut verifier = Verifier::default();
    let (mut seen, mut newest) = (0, None);
    while seen < count {
        client.watch(1, |unit, picture| {
            if newest.is_none() && (picture.width, picture.height) != size {
                return;
            }
            assert_eq!((picture.width, picture.height), size);
            let marker = match marker::read(picture) {
                Ok(marker) => marker,
                // The card has not been drawn yet.
                Err(_) if newest.is_none() => return,
                Err(error) => panic!("{}: {error}", unit.frame),
            };
            assert!(newest <= Some(marker.number), "pictures go backwards");
            newest = Some(marker.number);
            if seen % COMPARE_EVERY == 0 {
                let psnr = match verifier.psnr_db(picture, &marker) {
                    Ok(psnr) => psnr,
                    Err(error) => panic!("picture {}: {error}", marker.number),
                };
                assert!(
                    psnr >= PSNR_DB_MIN,
                    "picture {}: {psnr:.1} dB",
                    marker.number
                );
            }
            seen += 1;
        });
    }
    assert!(newest >= Some(count / 4), "the card moves: {newest:?}");
}

/// Directories that this process has made for its displays.
fn directories() -> Vec<PathBuf> {
    let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, Into::into);
    let ours = format!("punktfunk-{}-", std::process::id());
    let mut found = entries(&base);
    found.retain(|path| {
        path.file_name()
            .is_some_and(|it| it.to_string_lossy().starts_with(&ours))
    });
    found
}

/// What a running session holds: its directory, in which the sockets are.
fn the_directory() -> PathBuf {
    let directories = directories();
    let [directory] = &directories[..] else {
        panic!("one display: {directories:?}")
    };
    assert!(!processes_of(directory).is_empty());
    directory.clone()
}

fn processes_of(directory: &std::path::Path) -> Vec<u32> {
    marked(
        platform::process::TOKEN_VARIABLE,
        directory.to_str().expect("a readable path"),
    )
}

fn assert_nothing_is_left(directory: &std::path::Path) {
    assert_eq!(processes_of(directory), Vec::<u32>::new(), "processes");
    assert!(!directory.exists(), "{}", directory.display());
    assert_eq!(descendants(std::process::id(), "sway"), Vec::<u32>::new());
}

/// The capture of a real desktop allocates nothing. (In asking for a picture by screencopy the
/// protocol library does so once, for the object that stands for it; here nobody has to ask.)
fn assert_capture_allocates_nothing(counted: CounterSnapshot) {
    assert!(counted.captured >= 25, "{counted:?}");
    assert_eq!(counted.capture_allocations, 0, "{counted:?}");
    assert_eq!(counted.ask_allocations, 0, "{counted:?}");
}

#[test]
fn what_arrives_is_what_was_drawn() {
    let _alone = alone();
    engine::metrics::set_allocation_probe(bench::alloc::thread_allocations);
    for encoder in encoders() {
        let host = host(encoder);
        let mut client = client(&host);
        watch_the_card(&mut client, 100);
        let metrics = Arc::clone(&host.sessions()[0].metrics);
        let warm = metrics.counters.snapshot();
        watch_the_card(&mut client, 100);
        assert_capture_allocates_nothing(metrics.counters.snapshot().since(&warm));
        let directory = the_directory();
        assert_eq!(client.end().frames_lost, 0, "{encoder}");
        eventually("the session's display is taken down", || {
            !directory.exists()
        });
        drop(host);
        assert_nothing_is_left(&directory);
    }
}

#[test]
fn a_compositor_that_dies_ends_the_session_with_its_name() {
    let _alone = alone();
    let host = host(encoders()[0]);
    let mut client = client(&host);
    watch_the_card(&mut client, 10);
    let directory = the_directory();
    let sways = descendants(std::process::id(), "sway");
    let [sway] = sways[..] else {
        panic!("one sway: {sways:?}")
    };
    let sway = Pid::from_raw(i32::try_from(sway).expect("a process id")).expect("not zero");
    kill_process(sway, Signal::KILL).expect("it runs");

    let reason = client.until_end();
    assert!(
        reason.starts_with("sway ended while the session was using it"),
        "{reason}"
    );
    eventually("the session's display is taken down", || {
        !directory.exists()
    });
    eventually("the host has forgotten the session", || {
        host.sessions().is_empty()
    });
    assert_nothing_is_left(&directory);

    // The host itself is as good as before.
    let mut next = self::client(&host);
    watch_the_card(&mut next, 10);
}

#[test]
fn a_host_that_is_stopped_takes_its_displays_along() {
    let _alone = alone();
    let mut host = host(encoders()[0]);
    let mut client = client(&host);
    watch_the_card(&mut client, 10);
    let directory = the_directory();
    host.stop();
    assert_nothing_is_left(&directory);
    assert_eq!(client.until_end(), "the host was stopped");
}

#[test]
fn every_session_has_a_compositor_of_its_own() {
    let _alone = alone();
    let host = host(encoders()[0]);
    let mut first = client(&host);
    let mut second = client(&host);
    watch_the_card(&mut first, 10);
    watch_the_card(&mut second, 10);
    assert_eq!(descendants(std::process::id(), "sway").len(), 2);
    second.end();
    eventually("one display is left", || directories().len() == 1);
    watch_the_card(&mut first, 10);
}

/// Up, down, and with another rate: each time the pixels are those that the card draws in the new
/// size, and no picture has another size than its mode.
#[test]
fn the_card_is_drawn_in_every_mode_of_a_running_session() {
    let _alone = alone();
    for encoder in encoders() {
        let host = host(encoder);
        let mut client = client(&host);
        watch_the_card(&mut client, 20);
        let mut held = (640, 360);
        for (text, size) in [
            ("800x450@60", (800, 450)),
            ("480x300@30", (480, 300)),
            ("640x360@60", (640, 360)),
        ] {
            let mode = text.parse().expect("a mode");
            let number = client.mode_requests().request(mode);
            let mut seen = Vec::new();
            let answer = client.watch_until_answered(number, |unit, picture| {
                seen.push((unit.frame, (picture.width, picture.height)));
            });
            assert_eq!(answer.outcome, ModeOutcome::Granted, "{answer:?}");
            for (frame, seen_size) in seen {
                let expected = if frame < answer.first_frame {
                    held
                } else {
                    size
                };
                assert_eq!(seen_size, expected, "{encoder}, {text}, {frame}");
            }
            held = size;
            settle(&mut client, size);
            watch_the_card_at(&mut client, size, 45);
        }
        let directory = the_directory();
        let received = client.end();
        assert_eq!(received.frames_lost, 0, "{encoder}");
        eventually("the session's display is taken down", || {
            !directory.exists()
        });
        drop(host);
        assert_nothing_is_left(&directory);
    }
}

/// Waits until the application has drawn in the size that its output has by now.
fn settle(client: &mut LoopbackClient, size: (usize, usize)) {
    let mut verifier = Verifier::default();
    eventually("the card is drawn in the new size", || {
        let mut is_drawn = false;
        client.watch(1, |_, picture| {
            let is_size = (picture.width, picture.height) == size;
            let marker = marker::read(picture).ok().filter(|_| is_size);
            let psnr = marker.and_then(|marker| verifier.psnr_db(picture, &marker).ok());
            is_drawn = psnr.is_some_and(|psnr| psnr >= PSNR_DB_MIN);
        });
        is_drawn
    });
}
