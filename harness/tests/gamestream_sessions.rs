//! The life of a stock client's session: what `apps.json` asks for, coming back with another mode,
//! what is down when a client vanishes, an application that is left.

mod gamestream_program;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bench::listener::{Heard, Listener};
use bench::marker;
use bench::verify::{PSNR_DB_MIN, Verifier};
use gamestream_program::{Host, parse};
use gpu::decode::Picture;
use harness::facts::{descendants, entries, eventually};
use harness::moonlight::Moonlight;
use harness::program::{Running, Sandbox};
use serde_json::{Value, json};

const BTN_Q: u32 = 16;

fn options(act: &str, app: u32, (width, height): (usize, usize), frames: u32) -> Value {
    json!({
        "do": act, "app": app, "width": width, "height": height, "fps": 60, "kbps": 10_000,
        "frames": frames,
    })
}

/// A host with these applications, and a paired client.
fn host(desktop: &'static str, apps: &Value) -> (Host, Moonlight) {
    let host = Host::new(desktop);
    write_apps(&host, apps);
    let client = host.client("client");
    host.pair(&client, "1234");
    (host, client)
}

fn write_apps(host: &Host, apps: &Value) {
    let directory = host.sandbox.path().join("home/.config/punktfunk");
    std::fs::create_dir_all(&directory).expect("a directory");
    let text = json!({ "apps": apps }).to_string();
    std::fs::write(directory.join("apps.json"), text).expect("written");
}

/// Everything that a client says until it ends.
fn played(running: Running) -> Vec<Value> {
    let lines = running.lines.clone();
    let ended = running.wait();
    let lines: Vec<Value> = lines.try_iter().map(|line| parse(&line)).collect();
    assert!(!lines.is_empty(), "{}", ended.stderr);
    lines
}

fn frames(lines: &[Value]) -> usize {
    let frames = lines.iter().filter(|line| line["pictures"] == 1);
    frames.count()
}

/// The words of a refusal.
fn refusal(client: &Moonlight, options: &Value) -> String {
    let lines = played(client.play(&options.to_string()));
    let message = lines.iter().find_map(|line| line["message"].as_str());
    message.unwrap_or_else(|| panic!("{lines:?}")).to_owned()
}

fn play(client: &Moonlight, options: &Value) -> Vec<Value> {
    played(client.play(&options.to_string()))
}

fn quit(client: &Moonlight) {
    assert_eq!(parse(&client.run(&["quit"])[0]), json!({ "ok": true }));
}

/// What runs for this client, by its number.
fn current(client: &Moonlight) -> u64 {
    let info = parse(&client.run(&["info_over_https"])[0]);
    info["ok"]["game"]
        .as_u64()
        .unwrap_or_else(|| panic!("{info}"))
}

const SMALL: (usize, usize) = (640, 360);
const LARGE: (usize, usize) = (1280, 720);

fn prep(before: &str, undo: &str) -> Value {
    let shell = |script: &str| format!("sh -c '{script}'");
    json!({ "do": shell(before), "undo": shell(undo) })
}

/// What is prepared is there before the client is granted its session, and undone in reverse once
/// it quits; a launch right after that begins after it. A command that fails is told in words.
#[test]
fn prep_commands_run_before_and_are_undone_after() {
    let apps = |directory: &Path| {
        let kept = directory.join("kept");
        let kept = kept.display();
        let note = |word: &str| format!("echo {word} >>\"{kept}\"");
        json!([
            { "id": 7, "name": "Prepared", "environment": { "WORD": "own" }, "prep": [
                prep(
                    &format!("env | grep ^SUNSHINE_ | sort >\"{kept}.env\"; echo $WORD >>\"{kept}\""),
                    &note("undo-one"),
                ),
                prep(&note("two"), &format!("sleep 0.3; {}", note("undo-two"))),
            ] },
            { "id": 8, "name": "Broken", "prep": [
                prep(&note("three"), &note("undo-three")),
                prep("echo no such luck >&2; exit 3", &note("never")),
            ] },
        ])
    };
    let mut host = Host::new("synthetic");
    write_apps(&host, &apps(host.sandbox.path()));
    let client = host.client("client");
    host.pair(&client, "1234");
    let kept = host.sandbox.path().join("kept");
    let text = || std::fs::read_to_string(&kept).unwrap_or_default();

    assert_eq!(frames(&play(&client, &options("launch", 7, SMALL, 30))), 30);
    assert_eq!(text(), "own\ntwo\n");
    let told = std::fs::read_to_string(host.sandbox.path().join("kept.env")).expect("written");
    for line in [
        "SUNSHINE_APP_ID=7\n",
        "SUNSHINE_APP_NAME=Prepared\n",
        "SUNSHINE_CLIENT_WIDTH=640\n",
        "SUNSHINE_CLIENT_HEIGHT=360\n",
        "SUNSHINE_CLIENT_FPS=60\n",
        "SUNSHINE_CLIENT_HDR=false\n",
        "SUNSHINE_CLIENT_AUDIO_CONFIGURATION=2.0\n",
        "SUNSHINE_CLIENT_HOST_AUDIO=false\n",
    ] {
        assert!(told.contains(line), "{line}{told}");
    }
    quit(&client);
    // It waits for the undoing.
    let refused = refusal(&client, &options("launch", 8, SMALL, 1));
    assert!(
        refused.contains("Broken cannot be started") && refused.contains("no such luck"),
        "{refused}"
    );
    let expected = "own\ntwo\nundo-two\nundo-one\nthree\nundo-three\n";
    assert_eq!(text(), expected);
    assert_eq!(current(&client), 0);

    // Killed it undoes as well.
    assert_eq!(frames(&play(&client, &options("launch", 7, SMALL, 10))), 10);
    drop(host.running.take());
    let after = format!("{expected}own\ntwo\nundo-two\nundo-one\n");
    eventually("what was prepared is undone", || text() == after);
}

/// An application chooses another kind of display than the host's, or one that cannot be had.
#[test]
fn an_application_chooses_its_compositor() {
    let (mut host, client) = host(
        "synthetic",
        &json!([
            { "id": 7, "name": "Card", "command": "testcard", "compositor": "private-sway" },
            { "id": 8, "name": "Nested", "compositor": "sway" },
        ]),
    );
    let root = host.running.as_ref().expect("it runs").id();
    let kept = host.sandbox.path().join("kept.yuv");
    let mut wanted = options("launch", 7, LARGE, 150);
    wanted["keep"] = json!(kept.to_str().expect("a readable path"));
    assert_eq!(frames(&play(&client, &wanted)), 150);
    assert!(psnr_db(&kept, LARGE) >= PSNR_DB_MIN);
    assert_eq!(descendants(root, "sway").len(), 1);
    quit(&client);
    eventually("the compositor is gone", || {
        descendants(root, "sway").is_empty()
    });
    let refused = refusal(&client, &options("launch", 8, SMALL, 1));
    assert!(
        refused.contains("Nested cannot be started") && refused.contains("SWAYSOCK"),
        "{refused}"
    );
    host.stop();
}

/// A client comes back with other modes, said over HTTP or announced only: the same compositor and
/// the same application go on, and every pixel is the test card's at the new size.
#[test]
fn a_client_comes_back_with_another_mode() {
    let (mut host, client) = host(
        "private-sway",
        &json!([{ "id": 7, "name": "Card", "command": "testcard" }]),
    );
    let root = host.running.as_ref().expect("it runs").id();
    let kept = host.sandbox.path().join("kept.yuv");
    let mut wanted = options("launch", 7, SMALL, 30);
    assert_eq!(frames(&play(&client, &wanted)), 30);
    let running = [descendants(root, "sway"), descendants(root, "punktfunk")];
    assert_eq!([running[0].len(), running[1].len()], [1, 1]);
    for (says_mode, size, fps) in [(true, LARGE, 60), (false, SMALL, 60), (false, LARGE, 30)] {
        wanted = options("resume", 7, size, 150);
        wanted["say_mode"] = json!(says_mode);
        wanted["fps"] = json!(fps);
        wanted["keep"] = json!(kept.to_str().expect("a readable path"));
        let lines = play(&client, &wanted);
        assert_eq!(frames(&lines), 150, "{lines:?}");
        let sizes = lines.iter().filter(|line| line["size"].is_array());
        let expected = json!([size.0, size.1]);
        assert!(sizes.clone().all(|line| line["size"] == expected));
        let psnr = psnr_db(&kept, size);
        assert!(psnr >= PSNR_DB_MIN, "{size:?}: {psnr:.1} dB");
    }
    let now = [descendants(root, "sway"), descendants(root, "punktfunk")];
    assert_eq!(now, running, "the same as at first");
    quit(&client);
    host.stop();
    host.sandbox.assert_clean();
}

/// A client is killed with a key down: the application hears it lifted although the session stays.
#[test]
fn a_key_is_lifted_when_its_client_vanishes() {
    let (mut host, client) = host("private-sway", &json!([{ "id": 7, "name": "Desk" }]));
    // Nothing moves: one picture is all.
    assert_eq!(frames(&play(&client, &options("launch", 7, SMALL, 1))), 1);
    let listener = Listener::start(&wayland_socket(&host.sandbox.runtime())).expect("a compositor");
    eventually("the window has the keyboard", || {
        listener.heard().contains(&Heard::KeyboardEnter)
    });
    let q = |down: bool| {
        let is_q = |heard: &&Heard| {
            matches!(heard, Heard::Key { code, pressed, .. }
                if *code == BTN_Q && *pressed == down)
        };
        listener.heard().iter().filter(is_q).count()
    };
    let mut wanted = options("resume", 7, SMALL, 100_000);
    wanted["hold"] = json!(u32::from(b'Q'));
    let running = client.play(&wanted.to_string());
    eventually("the key is down", || q(true) == 1);
    assert_eq!(q(false), 0);
    // Without a word: only its silence tells.
    drop(running);
    eventually("the key is up", || q(false) == 1);
    assert_eq!(current(&client), 7, "the session stays");

    // One that says goodbye, or comes back elsewhere, leaves nothing down either.
    let running = client.play(&wanted.to_string());
    eventually("the key is down again", || q(true) == 2);
    wanted["hold"] = json!(0);
    wanted["frames"] = json!(1);
    play(&client, &wanted);
    eventually("the key is up again", || q(false) == 2);
    drop(running);
    quit(&client);
    host.stop();
}

/// What a client types is read by a window of its session, letter by letter, and the pointer is on
/// the pixel that it was moved to.
#[test]
fn what_is_typed_and_pointed_at_arrives_in_the_session() {
    const TEXT: &str = "Grüße: 5 € (Ж)~";
    let (mut host, client) = host("private-sway", &json!([{ "id": 7, "name": "Desk" }]));
    assert_eq!(frames(&play(&client, &options("launch", 7, SMALL, 1))), 1);
    let listener = Listener::start(&wayland_socket(&host.sandbox.runtime())).expect("a compositor");
    eventually("the window has the keyboard", || {
        listener.heard().contains(&Heard::KeyboardEnter)
    });
    for (x, y) in [(160, 90), (480, 270), (0, 359)] {
        let before = listener.typed();
        let mut wanted = options("resume", 7, SMALL, 100_000);
        wanted["type"] = json!(TEXT);
        // Of so many pixels the last one is the far edge, as clients count.
        wanted["point"] = json!([x, y, SMALL.0 + 1, SMALL.1 + 1]);
        let running = client.play(&wanted.to_string());
        let typed = format!("{before}{TEXT}");
        eventually("the text is typed", || {
            listener.typed().len() >= typed.len()
        });
        assert_eq!(listener.typed(), typed);
        eventually("the pointer is on the pixel", || {
            let at = listener.pointer();
            at.is_some_and(|at| {
                (at.0 - f64::from(x)).abs() < 0.51 && (at.1 - f64::from(y)).abs() < 0.51
            })
        });
        drop(running);
    }
    quit(&client);
    host.stop();
}

/// The session ends with its application, and one that fails at once is told.
#[test]
fn an_application_that_ends_takes_its_session_along() {
    let (mut host, client) = host(
        "private-sway",
        &json!([
            { "id": 7, "name": "Short", "command": "sleep 6" },
            { "id": 8, "name": "Launcher", "command": "true" },
            { "id": 9, "name": "Missing", "command": "no-such-program-anywhere" },
        ]),
    );
    let missing = refusal(&client, &options("launch", 9, SMALL, 1));
    assert!(
        missing.contains("Missing cannot be started") && missing.contains("no-such-program"),
        "{missing}"
    );
    let lines = play(&client, &options("launch", 7, SMALL, 100_000));
    let last = lines.last().expect("a last word");
    assert_eq!(last["over"], 0, "ended on purpose: {last}");
    assert_eq!(current(&client), 0);
    // What ends well at once has only started something else.
    assert_eq!(frames(&play(&client, &options("launch", 8, SMALL, 1))), 1);
    assert_eq!(current(&client), 8);
    host.stop();
    host.sandbox.assert_clean();
}

/// Slices that the operator has set for a client go before what it asks for, and stay set.
#[test]
fn a_client_gets_the_slices_that_were_set_for_it() {
    let (mut host, client) = host("synthetic", &json!([{ "id": 7, "name": "Nothing" }]));
    let state = host.state();
    let state = state.to_str().expect("a readable path").to_owned();
    let slices = |lines: &[Value]| {
        let counts = lines.iter().filter_map(|line| line["slices"].as_u64());
        counts.collect::<BTreeSet<_>>()
    };
    let asked = play(&client, &options("launch", 7, LARGE, 10));
    assert_eq!(slices(&asked), [4].into(), "what it asks for");
    let verb = |host: &Host, slices: &str| {
        let name = "Moonlight at 127.0.0.1";
        let words = ["clients", name, "--slices", slices, "--state-dir", &state];
        host.sandbox.run(&words)
    };
    assert!(verb(&host, "1").status.success());
    let set = play(&client, &options("resume", 7, LARGE, 10));
    assert_eq!(slices(&set), [1].into(), "what was set");
    let refused = verb(&host, "77");
    assert!(refused.stderr.contains("1 to 32"), "{refused:?}");
    host.stop();
    host.start();
    let kept = play(&client, &options("launch", 7, LARGE, 10));
    assert_eq!(slices(&kept), [1].into(), "what was kept");
    assert!(verb(&host, "auto").status.success());
    let asked = play(&client, &options("resume", 7, LARGE, 10));
    assert_eq!(slices(&asked), [4].into(), "what it asks for");
    host.stop();
}

/// A session of GameStream's takes a native client's place, also while nobody watches it.
#[test]
fn places_are_shared_with_native_clients() {
    let settings = ["--desktop", "synthetic", "--max-sessions", "1"];
    let mut host = Host::with(Sandbox::new(), &settings);
    let client = host.client("client");
    host.pair(&client, "1234");
    let connect = |host: &Host| {
        let words = ["connect", &host.address, "--headless", "--seconds", "0.5"];
        host.sandbox.run(&words)
    };
    let ended = connect(&host);
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(frames(&play(&client, &options("launch", 1, SMALL, 5))), 5);
    let refused = connect(&host);
    assert!(refused.stderr.contains("--max-sessions"), "{refused:?}");
    quit(&client);
    eventually("the place is free again", || {
        connect(&host).status.success()
    });
    host.stop();
}

/// The socket of the one compositor that was started there.
fn wayland_socket(runtime: &Path) -> PathBuf {
    let named = |path: &Path, prefix: &str, suffix: &str| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(prefix) && !name.ends_with(suffix)
    };
    let mut ours = entries(runtime);
    ours.retain(|path| path.is_dir() && named(path, "punktfunk-", ".lock"));
    let [directory] = &ours[..] else {
        panic!("one display: {ours:?}")
    };
    let mut sockets = entries(directory);
    sockets.retain(|path| named(path, "wayland-", ".lock"));
    let [socket] = &sockets[..] else {
        panic!("one socket: {sockets:?}")
    };
    socket.clone()
}

/// The kept picture against what its marker says was drawn, dB.
fn psnr_db(path: &Path, (width, height): (usize, usize)) -> f64 {
    let bytes = std::fs::read(path).expect("kept by the client");
    let luma = width * height;
    assert_eq!(bytes.len(), luma * 3 / 2);
    let (y, chroma) = bytes.split_at(luma);
    let (u, v) = chroma.split_at(luma / 4);
    let picture = Picture {
        width,
        height,
        planes: [y, u, v],
        strides: [width, width / 2, width / 2],
    };
    let marker = marker::read(&picture).expect("a marker");
    let psnr = Verifier::default().psnr_db(&picture, &marker);
    psnr.expect("a card of this version")
}
