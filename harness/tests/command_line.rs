//! What goes wrong on the command line ends with a code of its own, one line that says what to do,
//! and nothing left running; what is interrupted ends in order.

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::{env, fs};

use bench::record::Trace;
use bench::report::Report;
use harness::facts::{self, eventually};
use harness::loopback::{LoopbackClient, LoopbackHost};
use harness::program::{Ended, Sandbox, start};
use net::identity::Identity;
use platform::display::private_sway::PrivateSway;
use platform::display::{Cancel, DisplayRequest};
use rustix::process::{Pid, Signal, kill_process};

// Exit codes, as the executable documents them.
const USAGE: i32 = 2;
const BIND: i32 = 3;
const DISPLAY: i32 = 4;
const CODEC: i32 = 5;
const STATE: i32 = 6;
const UNREACHABLE: i32 = 7;
const TRUST: i32 = 8;
const REFUSED: i32 = 9;
const OUTPUT: i32 = 10;

/// It ended with this code and one line that says `words`.
fn assert_refused(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.status.code(), Some(code), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "one line: {ended:?}");
    let line = ended.stderr.trim_end();
    assert!(line.starts_with("punktfunk: "), "{line}");
    for word in words {
        assert!(line.contains(word), "{word:?} is missing: {line}");
    }
}

/// Runs it; it must be refused with this code and words, and leave nothing.
fn refused(arguments: &[&str], code: i32, words: &[&str]) {
    let sandbox = Sandbox::new();
    assert_refused(&sandbox.run(arguments), code, words);
    sandbox.assert_clean();
}

#[test]
fn every_verb_explains_itself() {
    let sandbox = Sandbox::new();
    for verb in [
        "host",
        "connect",
        "pair",
        "pair-window",
        "bench",
        "doctor",
        "pin",
        "clients",
        "openapi",
        "testcard",
    ] {
        let mut running = sandbox.start(&[verb, "--help"]);
        assert!(running.line("Usage:").contains(verb));
        assert!(running.wait().status.success(), "{verb} --help");
    }
    let mut running = sandbox.start(&["--help"]);
    running.line("Usage:");
    assert!(running.wait().status.success());
    sandbox.assert_clean();
}

#[test]
fn what_is_not_understood() {
    refused(&[], USAGE, &["host", "connect"]);
    refused(&["hots"], USAGE, &["hots", "--help"]);
    refused(&["host", "--prot", "1"], USAGE, &["--prot", "--help"]);
    refused(&["host", "--port"], USAGE, &["--port", "--help"]);
    refused(&["connect", "--headless"], USAGE, &["host", "--help"]);
    refused(&["host", "--port", "many"], USAGE, &["--port", "many"]);
    refused(
        &["host", "--max-sessions", "0"],
        USAGE,
        &["--max-sessions", "1 to"],
    );
    refused(&["host", "--bitrate", "1"], USAGE, &["--bitrate", "kbit/s"]);
    refused(&["connect", "127.0.0.1"], USAGE, &["--headless"]);
}

#[test]
fn modes_that_no_display_has() {
    for mode in [
        "0x0@60",
        "1280x720@1",
        "40000x40000@60",
        "1280x720@1e9",
        "big",
    ] {
        refused(
            &["host", "--desktop", "synthetic", "--mode", mode],
            USAGE,
            &["--mode", mode],
        );
        let connect = ["connect", "127.0.0.1:9", "--headless", "--mode", mode];
        refused(&connect, USAGE, &["--mode", mode]);
    }
}

#[test]
fn a_port_that_is_taken() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a port on loopback");
    let port = taken.local_addr().expect("bound").port().to_string();
    refused(
        &["host", "--desktop", "synthetic", "--port", &port],
        BIND,
        &[&port, "--port"],
    );
}

#[test]
fn an_address_that_is_not_ours() {
    let elsewhere = [
        "host",
        "--desktop",
        "synthetic",
        "--open",
        "--bind",
        "192.0.2.1",
    ];
    refused(
        &elsewhere,
        BIND,
        &["192.0.2.1", "not an address of this machine"],
    );
}

#[test]
fn a_host_that_is_open_and_is_not() {
    refused(
        &["host", "--open", "--require-pairing"],
        USAGE,
        &["--open", "--require-pairing"],
    );
}

#[test]
fn pairings_that_cannot_be_begun() {
    refused(&["pair", "127.0.0.1:9"], USAGE, &["--pin", "pair-window"]);
    let secret = ["pair", "127.0.0.1:9", "--pin", "47a1"];
    refused(&secret, USAGE, &["--pin", "4 to 12 digits"]);
    let ended = Sandbox::new().run(&secret);
    assert!(!ended.stderr.contains("47a1"), "{ended:?}");
    let nobody = UdpSocket::bind("127.0.0.1:0").expect("a port on loopback");
    let address = nobody.local_addr().expect("bound").to_string();
    refused(
        &["pair", &address, "--pin", "123456"],
        UNREACHABLE,
        &[&address, "cannot be reached"],
    );
    for verb in ["pair-window", "clients"] {
        refused(&[verb], UNREACHABLE, &["no host runs", "--state-dir"]);
    }
    refused(&["pair-window", "--rights", "root"], USAGE, &["--rights"]);
    refused(&["pair-window", "--expires", "soon"], USAGE, &["--expires"]);
}

#[test]
fn backends_that_do_not_exist() {
    let host = ["host", "--port", "0", "--desktop"];
    refused(
        &[&host[..], &["windows"]].concat(),
        DISPLAY,
        &["windows", "private-sway"],
    );
    let encoder = ["synthetic", "--encoder", "nvenc9"];
    refused(
        &[&host[..], &encoder].concat(),
        CODEC,
        &["nvenc9", "openh264"],
    );
    let connect = ["connect", "127.0.0.1:1", "--headless"];
    let decoder = [&connect[..], &["--decoder", "nvdec9"]].concat();
    refused(&decoder, CODEC, &["nvdec9", "libavcodec, openh264"]);
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&connect);
    let ended = start(command.env("PUNKTFUNK_DECODER", "nvdec9")).wait();
    assert_refused(&ended, CODEC, &["nvdec9"]);
}

#[test]
fn no_sway_to_be_found() {
    let sandbox = Sandbox::new();
    let empty = sandbox.path().join("empty");
    fs::create_dir(&empty).expect("a directory");
    for desktop in [&["--desktop", "private-sway"][..], &[]] {
        let arguments = [&["host", "--port", "0"], desktop].concat();
        let ended = start(sandbox.command(&arguments).env("PATH", &empty)).wait();
        assert_refused(&ended, DISPLAY, &["sway", "install sway"]);
        sandbox.assert_clean();
    }
}

#[test]
fn configuration_files_that_cannot_be_used() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("config.toml");
    let path = file.to_str().expect("a readable path");
    let host = [
        "host",
        "--desktop",
        "synthetic",
        "--port",
        "0",
        "--config",
        path,
    ];

    assert_refused(&sandbox.run(&host), USAGE, &[path, "cannot be read"]);
    fs::write(&file, "prot = 1\n").expect("writable");
    assert_refused(&sandbox.run(&host), USAGE, &[path, "\"prot\"", "port"]);
    fs::write(&file, "port = \n").expect("writable");
    assert_refused(&sandbox.run(&host), USAGE, &[path, "line 1"]);
    fs::write(&file, "max-sessions = 1000\n").expect("writable");
    assert_refused(
        &sandbox.run(&host),
        USAGE,
        &["max-sessions", "file", "1 to"],
    );
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).expect("our file");
    assert_refused(&sandbox.run(&host), USAGE, &[path, "ermission denied"]);
    sandbox.assert_clean();
}

#[test]
fn a_variable_with_a_bad_value_is_named() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["host", "--desktop", "synthetic"]);
    let ended = start(command.env("PUNKTFUNK_SLICES", "99")).wait();
    assert_refused(&ended, USAGE, &["PUNKTFUNK_SLICES", "99", "1 to 32"]);
}

/// The bench takes its settings from flag, variable and file as the host does; and what it records
/// is the run that it reports.
#[test]
fn a_bench_with_settings_from_everywhere_records_its_run() {
    let sandbox = Sandbox::new();
    let path = |name: &str| sandbox.path().join(name).display().to_string();
    let (file, json, trace) = (path("config.toml"), path("run.json"), path("run.jsonl"));
    let settings = "desktop = 'synthetic'\nencoder = 'openh264'\nmode = '320x240@60'\n\
                    bitrate = '3M'\nfec = 30\nseconds = 0.5\nslices = 5\nencoder-threads = 1\n\
                    port = 1\nmax-sessions = 1\nvideo-drop = 1000\n";
    fs::write(&file, settings).expect("writable");
    let arguments = [
        "bench",
        "--config",
        &file,
        "--bitrate",
        "2M",
        "--json",
        &json,
        "--record",
        &trace,
    ];
    let mut command = sandbox.command(&arguments);
    command.env("PUNKTFUNK_BITRATE", "1M");
    command.env("PUNKTFUNK_FEC", "40");
    command.env("PUNKTFUNK_ENCODER_THREADS", "2");
    let ended = start(&mut command).wait();
    assert!(ended.status.success(), "{ended:?}");

    let report = fs::read_to_string(&json).expect("written");
    let report: Report = serde_json::from_str(&report).expect("a report");
    let set = &report.run.configuration;
    assert_eq!(
        (set.mode.as_str(), set.bitrate_bps),
        ("320x240@60", 2_000_000)
    );
    assert_eq!(set.encoder, "openh264");
    assert_eq!(
        (set.encoder_threads, set.slices),
        (2, 1),
        "openh264 emits one slice"
    );
    assert_eq!(set.fec_percent, Some(40));

    let trace = fs::read_to_string(&trace).expect("written");
    let trace = Trace::parse(&trace).expect("a trace");
    assert_eq!(trace.header.mode, set.mode);
    assert_eq!(trace.header.encoder, set.encoder);
    // There is no test card on a synthetic display, and the trace does not say that there is.
    assert_eq!(trace.header.content, "a drawn pattern");
    let [first, .., last] = &trace.frames[..] else {
        panic!("{} frames", trace.frames.len())
    };
    assert!(first.keyframe && first.captured_us == 0, "{first:?}");
    assert!(first.frame < last.frame && last.captured_us > 0, "{last:?}");
    for frame in &trace.frames {
        let [slice] = &frame.slices[..] else {
            panic!("{frame:?}")
        };
        let stamps = [frame.encode_begin_us, frame.converted_us, slice.encoded_us];
        assert!(stamps.is_sorted() && slice.bytes > 0, "{frame:?}");
    }
    sandbox.assert_clean();
}

/// A bad link is in the report, with its seed, and so is what was made of it.
#[test]
fn a_bench_over_a_bad_link_reports_the_path() {
    let sandbox = Sandbox::new();
    let json = sandbox.path().join("run.json").display().to_string();
    let ended = sandbox.run(&[
        "bench",
        "--desktop",
        "synthetic",
        "--encoder",
        "openh264",
        "--mode",
        "320x240@60",
        "--bitrate",
        "2M",
        "--seconds",
        "1",
        "--link",
        "20M,delay=1ms,loss=3%,seed=9",
        "--json",
        &json,
    ]);
    assert!(ended.status.success(), "{ended:?}");
    let report = fs::read_to_string(&json).expect("written");
    let report: Report = serde_json::from_str(&report).expect("a report");
    let link = &report.run.configuration.link;
    assert!(
        link.contains("delay 1ms") && link.contains("seed 9"),
        "{link}"
    );
    let path = report.run.path.expect("the session was steered");
    assert!(
        path.counts.feedbacks > 0 && path.counts.relay_lost > 0,
        "{:?}",
        path.counts
    );
    assert!(path.round_trip_us.min >= 2000.0, "{:?}", path.round_trip_us);
    assert!(path.samples.iter().any(|sample| sample.loss_share > 0.0));
    assert!(report.run.shown.is_some_and(|shown| shown.frames > 0));
    sandbox.assert_clean();
}

#[test]
fn a_bench_that_cannot_be_run() {
    let synthetic = ["bench", "--desktop", "synthetic"];
    let with = |more: &[&'static str]| [&synthetic[..], more].concat();
    refused(&with(&["--mode", "0x0@60"]), USAGE, &["--mode", "0x0@60"]);
    refused(&with(&["--slices", "33"]), USAGE, &["--slices", "1 to 32"]);
    refused(&with(&["--seconds", "0"]), USAGE, &["--seconds", "above 0"]);
    refused(&with(&["--link", "fast"]), USAGE, &["--link", "fast"]);
    for (link, part) in [
        ("50M,loss=2", "loss=2: losses are"),
        ("10M@5s", "10M@5s: give the rate"),
        ("50M,lag=2ms", "lag=2ms: there are delay"),
    ] {
        refused(&with(&["--link", link]), USAGE, &["--link", part]);
    }
    refused(
        &with(&["--record", "x", "--compare", "whole"]),
        USAGE,
        &["--record", "--compare"],
    );
    refused(
        &with(&["--encoder-threads", "99"]),
        USAGE,
        &["--encoder-threads", "1 to 16"],
    );
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&synthetic);
    let ended = start(command.env("PUNKTFUNK_ENCODER_THREADS", "99")).wait();
    assert_refused(&ended, USAGE, &["PUNKTFUNK_ENCODER_THREADS", "99"]);
    let mut command = sandbox.command(&["bench"]);
    let ended = start(command.env("PUNKTFUNK_DESKTOP", "windows")).wait();
    assert_refused(&ended, DISPLAY, &["windows", "private-sway"]);
}

#[test]
fn state_directories_that_cannot_be_used() {
    let sandbox = Sandbox::new();
    let locked = sandbox.path().join("locked");
    fs::create_dir(&locked).expect("a directory");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).expect("ours");
    let host = [
        "host",
        "--desktop",
        "synthetic",
        "--port",
        "0",
        "--state-dir",
    ];
    for state in [
        locked.join("below"),
        locked.clone(),
        "/dev/null/state".into(),
    ] {
        let state = state.to_str().expect("a readable path");
        let ended = sandbox.run(&[&host[..], &[state]].concat());
        assert_refused(&ended, STATE, &[state, "--state-dir"]);
    }
    // A key that others can read is worth nothing.
    let own = sandbox.path().join("own");
    fs::create_dir(&own).expect("a directory");
    let key = own.join("host-identity.pem");
    fs::write(&key, "").expect("writable");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("ours");
    let ended = sandbox.run(&[&host[..], &[own.to_str().expect("readable")]].concat());
    assert_refused(&ended, STATE, &["chmod 600"]);
    sandbox.assert_clean();
}

#[test]
fn hosts_that_cannot_be_reached() {
    let nobody = UdpSocket::bind("127.0.0.1:0").expect("a port on loopback");
    let address = nobody.local_addr().expect("bound").to_string();
    refused(
        &["connect", &address, "--headless"],
        UNREACHABLE,
        &[&address, "cannot be reached"],
    );
    refused(
        &["connect", "not a name", "--headless"],
        UNREACHABLE,
        &["not a name"],
    );
}

#[test]
fn a_host_that_is_not_the_pinned_one() {
    let host = LoopbackHost::synthetic(&[]);
    let address = host.address().to_string();
    let other = Identity::generate()
        .expect("an identity")
        .fingerprint()
        .to_string();
    let connect = [
        "connect",
        &address,
        "--headless",
        "--seconds",
        "1",
        "--pin-host",
    ];
    let found = host.fingerprint().to_string();
    refused(
        &[&connect[..], &[&other]].concat(),
        TRUST,
        &[&found, &other, "--pin-host"],
    );
    refused(&[&connect[..], &["beef"]].concat(), USAGE, &["--pin-host"]);

    // Once pinned, always held to.
    let sandbox = Sandbox::new();
    let pins = sandbox
        .path()
        .join("home/.local/state/punktfunk/known-hosts.json");
    fs::create_dir_all(pins.parent().expect("a directory")).expect("writable");
    fs::write(&pins, format!("{{\"{address}\": \"{other}\"}}")).expect("writable");
    let ended = sandbox.run(&["connect", &address, "--headless", "--seconds", "1"]);
    assert_refused(&ended, TRUST, &[&found, &other]);
    fs::write(&pins, "{").expect("writable");
    let ended = sandbox.run(&["connect", &address, "--headless", "--seconds", "1"]);
    assert_refused(&ended, STATE, &["known-hosts.json", "remove it"]);
    assert!(host.sessions().is_empty());
}

#[test]
fn results_that_cannot_be_written() {
    let host = LoopbackHost::synthetic(&[]);
    let address = host.address().to_string();
    let connect = ["connect", &address, "--headless", "--seconds", "1"];
    for output in ["--out", "--png", "--stats"] {
        let full = [&connect[..], &[output, "/dev/full"]].concat();
        refused(&full, OUTPUT, &["/dev/full", "No space left"]);
        let nowhere = [&connect[..], &[output, "/nowhere/file"]].concat();
        refused(&nowhere, OUTPUT, &["/nowhere/file", "No such file"]);
    }
    eventually("every session was ended in order", || {
        host.sessions().is_empty()
    });
}

#[test]
fn a_full_host() {
    let host = LoopbackHost::synthetic(&[("max-sessions", "1")]);
    let mut first = LoopbackClient::connect(host.address());
    first.watch(1, |_, _| {});
    let address = host.address().to_string();
    let connect = ["connect", &address, "--headless", "--seconds", "1"];
    refused(&connect, REFUSED, &["refused", "--max-sessions"]);
}

#[test]
fn what_a_client_recorded_is_there_after_ctrl_c() {
    let host = LoopbackHost::synthetic(&[]);
    let sandbox = Sandbox::new();
    let out = |name: &str| {
        sandbox
            .path()
            .join(name)
            .to_str()
            .expect("readable")
            .to_owned()
    };
    let (h264, png, stats) = (out("a.h264"), out("a.png"), out("a.json"));
    let address = host.address().to_string();
    let mut running = sandbox.start(&[
        "connect",
        &address,
        "--headless",
        "--mode",
        "320x240@60",
        "--out",
        &h264,
        "--png",
        &png,
        "--stats",
        &stats,
    ]);
    running.line("connected to");
    let streams = || {
        host.sessions()
            .first()
            .is_some_and(|it| it.metrics.counters.snapshot().encoded > 30)
    };
    eventually("pictures are sent", streams);
    running.interrupt();
    let ended = running.wait();
    assert!(ended.status.success(), "{ended:?}");
    assert!(
        fs::read(&h264)
            .expect("recorded")
            .starts_with(&[0, 0, 0, 1])
    );
    assert!(fs::read(&png).expect("recorded").starts_with(b"\x89PNG"));
    let stats: serde_json::Value =
        serde_json::from_slice(&fs::read(&stats).expect("recorded")).expect("JSON");
    assert!(stats.is_object());
    eventually("the host knows that it is over", || {
        host.sessions().is_empty()
    });
    sandbox.assert_clean();
}

#[test]
fn a_client_whose_host_is_stopped_says_so() {
    let mut host = LoopbackHost::synthetic(&[]);
    let address = host.address().to_string();
    let sandbox = Sandbox::new();
    let mut running = sandbox.start(&["connect", &address, "--headless", "--mode", "320x240@60"]);
    running.line("connected to");
    eventually("it streams", || !host.sessions().is_empty());
    host.stop();
    assert_refused(&running.wait(), REFUSED, &["the host was stopped"]);
    sandbox.assert_clean();
}

/// A host with a private sway and a client that has seen a picture of it.
fn streaming(sandbox: &Sandbox) -> (harness::program::Running, LoopbackClient) {
    let mut host = sandbox.start(&["host", "--port", "0", "--desktop", "private-sway"]);
    let address = host.line("listening").replace("(udp)", "");
    let mut client = LoopbackClient::connect(address.trim().parse().expect("an address"));
    client.watch(5, |_, _| {});
    assert_eq!(facts::descendants(host.id(), "sway").len(), 1);
    assert!(!facts::entries(&sandbox.runtime()).is_empty());
    (host, client)
}

#[test]
fn ctrl_c_ends_a_host_and_all_that_it_started() {
    let sandbox = Sandbox::new();
    let (host, mut client) = streaming(&sandbox);
    host.interrupt();
    assert_eq!(client.until_end(), "the host was stopped");
    let ended = host.wait();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(ended.stderr, "");
    sandbox.assert_clean();
}

/// A `sway` that is none, in a directory for PATH.
fn fake_sway(sandbox: &Sandbox, script: &str) -> String {
    let directory = sandbox.path().join("bin");
    fs::create_dir(&directory).expect("a directory");
    let file = directory.join("sway");
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("writable");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("ours");
    format!("{}:/usr/bin:/bin", directory.display())
}

/// The host says on standard error if a session did not end within its limit, which with all that
/// comes before and after is under two seconds.
fn assert_ends_in_order(host: harness::program::Running) {
    host.interrupt();
    let ended = host.wait();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(ended.stderr, "");
}

#[test]
fn ctrl_c_does_not_wait_for_a_sway_that_never_starts() {
    let never_ready = [
        // Nothing of it ever listens, and it is deaf.
        "trap '' TERM INT HUP; while :; do sleep 60; done",
        // It listens, and never says a word.
        "trap '' TERM INT HUP\n\
         perl -MIO::Socket::UNIX -e 'my $s = IO::Socket::UNIX->new(Local => $ENV{SWAYSOCK}, \
         Listen => 5) or die; $SIG{TERM} = \"IGNORE\"; sleep 1 while 1'",
    ];
    for script in never_ready {
        let sandbox = Sandbox::new();
        let version = "[ \"$1\" = --version ] && exec echo sway version 1.7";
        let path = fake_sway(&sandbox, &format!("{version}\n{script}"));
        let mut command = sandbox.command(&["host", "--port", "0", "--desktop", "private-sway"]);
        let mut host = start(command.env("PATH", path));
        let address = host.line("listening").replace("(udp)", "");
        let client = sandbox.start(&["connect", address.trim(), "--headless"]);
        let is_up = || !facts::descendants(host.id(), "sway").is_empty();
        eventually("a session waits for its sway", is_up);
        assert_ends_in_order(host);
        assert!(!client.wait().status.success());
        sandbox.assert_clean();
    }
}

#[test]
fn a_sway_that_does_not_tell_its_version_is_given_up() {
    let sandbox = Sandbox::new();
    let path = fake_sway(&sandbox, "exec sleep 3600");
    let mut command = sandbox.command(&["host", "--port", "0", "--desktop", "private-sway"]);
    let ended = start(command.env("PATH", path)).wait();
    assert_refused(&ended, DISPLAY, &["sway cannot be run", "did not end"]);
    sandbox.assert_clean();
}

/// A user's sway that stops answering while a session is on it, and while one begins.
#[test]
fn ctrl_c_does_not_wait_for_a_sway_that_has_stopped() {
    let desktop = Sandbox::new();
    let request = DisplayRequest {
        mode: "640x480@60".parse().expect("a mode"),
        app: Vec::new(),
        environment: Vec::new(),
        cursor_apart: false,
        cancel: Cancel::default(),
    };
    let sway = PrivateSway
        .create_desktop(&request)
        .expect("a private sway");
    let socket = sway
        .address()
        .and_then(|it| it.wayland.clone())
        .expect("it has one")
        .wayland_socket;
    let ipc = socket.with_file_name("ipc.sock");
    let sways = facts::descendants(std::process::id(), "sway");
    let token = ipc
        .parent()
        .expect("a directory")
        .to_str()
        .expect("readable");
    let ours = facts::marked(platform::process::TOKEN_VARIABLE, token);
    let pid = sways.into_iter().find(|pid| ours.contains(pid));
    let pid = Pid::from_raw(i32::try_from(pid.expect("it runs")).expect("an id")).expect("not 0");

    let host_there = || {
        let mut command = desktop.command(&["host", "--port", "0", "--desktop", "sway"]);
        command
            .env("SWAYSOCK", &ipc)
            .env("WAYLAND_DISPLAY", &socket);
        let mut host = start(&mut command);
        let address = host.line("listening").replace("(udp)", "");
        (host, address.trim().to_owned())
    };
    let (host, address) = host_there();
    let mut client = LoopbackClient::connect(address.parse().expect("an address"));
    client.watch(5, |_, _| {});
    kill_process(pid, Signal::STOP).expect("it runs");
    assert_ends_in_order(host);
    assert_eq!(client.until_end(), "the host was stopped");
    kill_process(pid, Signal::CONT).expect("it runs");

    let (host, address) = host_there();
    kill_process(pid, Signal::STOP).expect("it runs");
    let client = desktop.start(&["connect", &address, "--headless"]);
    let tasks = format!("/proc/{}/task", host.id());
    let has_begun = |task: &std::path::PathBuf| {
        fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "pf-session")
    };
    eventually("a session begins", || {
        facts::entries(tasks.as_ref()).iter().any(has_begun)
    });
    assert_ends_in_order(host);
    assert!(!client.wait().status.success());
    kill_process(pid, Signal::CONT).expect("it runs");
    drop(sway);
    desktop.assert_clean();
}

#[test]
fn a_killed_host_leaves_nothing_either() {
    let sandbox = Sandbox::new();
    let (host, client) = streaming(&sandbox);
    let pid = Pid::from_raw(i32::try_from(host.id()).expect("a process id")).expect("not zero");
    kill_process(pid, Signal::KILL).expect("it runs");
    let ended = host.wait();
    assert_eq!(ended.status.signal(), Some(Signal::KILL.as_raw()));
    let mark = sandbox.path().to_str().expect("a readable path").to_owned();
    eventually("its guard has cleared everything away", || {
        facts::entries(&sandbox.runtime()).is_empty()
            && facts::marked("PUNKTFUNK_TEST_SANDBOX", &mark).is_empty()
    });
    drop(client);
}

#[test]
fn doctor_and_version_always_answer() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["doctor"]);
    let ended = start(command.env("PATH", env::var_os("PATH").unwrap_or_default())).wait();
    assert!(ended.status.success(), "{ended:?}");
    let mut version = sandbox.start(&["--version"]);
    assert!(!version.line("punktfunk").is_empty());
    assert!(version.wait().status.success());
    sandbox.assert_clean();
}
