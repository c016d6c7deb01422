//! The stock client plays: launch, RTSP, control and video over the host's own pipeline, as a
//! user sees it.

mod gamestream_program;

use std::collections::BTreeSet;
use std::path::Path;

use bench::marker;
use bench::verify::{PSNR_DB_MIN, Verifier};
use gamestream_program::{Host, next, parse};
use gpu::decode::Picture;
use harness::facts::eventually;
use harness::moonlight::Moonlight;
use harness::program::Running;
use serde_json::{Value, json};

const WIDTH: usize = 1280;
const HEIGHT: usize = 720;

/// Options of `play.py` for the usual stream, so many frames of it.
fn options(act: &str, frames: u32) -> Value {
    json!({
        "do": act, "app": 1, "width": WIDTH, "height": HEIGHT, "fps": 60, "kbps": 10_000,
        "frames": frames,
    })
}

/// What a stream came to.
struct Played {
    lines: Vec<Value>,
}

impl Played {
    fn of(running: Running) -> Self {
        let lines = running.lines.clone();
        let ended = running.wait();
        let lines = lines.try_iter().map(|line| parse(&line)).collect();
        assert!(ended.status.success(), "{}: {lines:?}", ended.stderr);
        Self { lines }
    }

    fn frames(&self) -> impl Iterator<Item = &Value> {
        self.lines.iter().filter(|line| !line["frame"].is_null())
    }

    /// From the first on each frame came and was a picture of the right size; one IDR.
    fn assert_whole(&self, count: usize) {
        let numbers: BTreeSet<u64> = self
            .frames()
            .filter_map(|it| it["frame"].as_u64())
            .collect();
        let all: BTreeSet<u64> = (1..=count as u64).collect();
        assert_eq!(numbers, all, "none is missing");
        for frame in self.frames() {
            assert_eq!(frame["pictures"], 1, "{frame}");
            assert_eq!(frame["size"], json!([WIDTH, HEIGHT]), "{frame}");
            // Conversion and encoding take time; how much is the bench's to say.
            let tenths = frame["latency_tenths_ms"].as_u64().expect("a number");
            assert!((1..u64::from(u16::MAX)).contains(&tenths), "{frame}");
        }
        let idrs = self.frames().filter(|frame| frame["kind"] == 1).count();
        assert_eq!(idrs, 1, "the one that each stream begins with");
    }
}

fn play(client: &Moonlight, options: &Value) -> Running {
    client.play(&options.to_string())
}

/// Waits for a frame after the first few.
fn await_frames(running: &Running) {
    loop {
        let line = next(running);
        assert!(line["error"].is_null(), "{line}");
        if line["frame"].as_u64() > Some(30) {
            return;
        }
    }
}

fn paired(host: &Host, name: &str) -> Moonlight {
    let client = host.client(name);
    host.pair(&client, "1234");
    client
}

/// What runs for this client, by its number.
fn current(client: &Moonlight) -> u64 {
    let info = parse(&client.run(&["info_over_https"])[0]);
    info["ok"]["game"]
        .as_u64()
        .unwrap_or_else(|| panic!("{info}"))
}

#[test]
fn it_launches_leaves_resumes_and_quits() {
    let mut host = Host::new("synthetic");
    let client = paired(&host, "client");
    assert_eq!(current(&client), 0);
    Played::of(play(&client, &options("launch", 300))).assert_whole(300);
    assert_eq!(current(&client), 1, "the application runs on");
    let again = Played::of_refused(play(&client, &options("launch", 1)));
    assert!(again.contains("still running"), "{again}");
    Played::of(play(&client, &options("resume", 120))).assert_whole(120);
    assert_eq!(parse(&client.run(&["quit"])[0]), json!({ "ok": true }));
    assert_eq!(current(&client), 0);
    let gone = Played::of_refused(play(&client, &options("resume", 1)));
    assert!(gone.contains("no session"), "{gone}");
    host.stop();
}

impl Played {
    /// The words of a refusal.
    fn of_refused(running: Running) -> String {
        let lines = running.lines.clone();
        let _ended = running.wait();
        let lines: Vec<Value> = lines.try_iter().map(|line| parse(&line)).collect();
        let message = lines.iter().find_map(|line| line["message"].as_str());
        message.unwrap_or_else(|| panic!("{lines:?}")).to_owned()
    }
}

#[test]
fn whole_pictures_and_small_packets_play_too() {
    let mut host = Host::new("synthetic");
    let client = paired(&host, "client");
    let mut wanted = options("launch", 120);
    wanted["slices"] = json!(1);
    Played::of(play(&client, &wanted)).assert_whole(120);
    wanted["do"] = json!("resume");
    wanted["packet_bytes"] = json!(1024);
    wanted["remote"] = json!(1);
    wanted["slices"] = json!(8);
    Played::of(play(&client, &wanted)).assert_whole(120);
    host.stop();
}

/// Two from one address, each in a session of its own; one is killed amid its stream, the other
/// does not notice, and the first comes back at once.
#[test]
fn two_play_at_once_and_one_is_killed() {
    let mut host = Host::new("synthetic");
    let (one, two) = (paired(&host, "one"), paired(&host, "two"));
    let first = play(&one, &options("launch", 100_000));
    await_frames(&first);
    let second = play(&two, &options("launch", 300));
    await_frames(&first);
    drop(first);
    let second = Played::of(second);
    second.assert_whole(300);
    assert_eq!(current(&one), 1, "what was killed can be resumed");
    Played::of(play(&one, &options("resume", 60))).assert_whole(60);
    host.stop();
}

/// The operator stops the host: its clients are told.
#[test]
fn a_host_that_stops_tells_its_clients() {
    let mut host = Host::new("synthetic");
    let client = paired(&host, "client");
    let running = play(&client, &options("launch", 100_000));
    await_frames(&running);
    host.stop();
    let last = loop {
        let line = next(&running);
        if line.get("over").is_some() {
            break line;
        }
    };
    assert_eq!(last["over"], 0, "ended on purpose");
    drop(running.wait());
}

/// A mode that nobody has, over HTTP: its user reads why, and nothing is left of it.
#[test]
fn a_mode_that_cannot_be_is_refused_in_words() {
    let mut host = Host::new("synthetic");
    let client = paired(&host, "client");
    for (size, fps, word) in [
        ([1281, 720], 60, "1281x720 has an odd side"),
        ([64_000, 720], 60, "64000x720"),
        ([1280, 720], 5000, "5000 Hz"),
    ] {
        let mut wanted = options("launch", 1);
        (wanted["width"], wanted["height"]) = (json!(size[0]), json!(size[1]));
        wanted["fps"] = json!(fps);
        let refused = Played::of_refused(play(&client, &wanted));
        assert!(refused.contains(word), "{refused}");
        assert_eq!(current(&client), 0);
    }
    let said = host.stop();
    assert!(said.contains("asks /launch: mode is not valid"), "{said}");
}

/// The host is killed amid a stream and started again: the client notices by itself, its pairing
/// holds, and it plays again.
#[test]
fn a_host_that_is_killed_and_started_again_is_played_again() {
    let mut host = Host::new("synthetic");
    let client = paired(&host, "client");
    let running = play(&client, &options("launch", 100_000));
    await_frames(&running);
    drop(host.running.take());
    let last = loop {
        let line = next(&running);
        if line.get("over").is_some() {
            break line;
        }
    };
    assert_ne!(last["over"], 0, "not on purpose");
    drop(running.wait());
    host.start();
    assert_eq!(current(&client), 0);
    Played::of(play(&client, &options("launch", 60))).assert_whole(60);
    host.stop();
}

/// On a real compositor the client decodes the test card that was drawn, pixel by pixel.
#[test]
fn what_a_private_sway_shows_is_what_the_client_decodes() {
    let mut host = Host::new("private-sway");
    let client = paired(&host, "client");
    let kept = host.sandbox.path().join("kept.yuv");
    let mut wanted = options("launch", 300);
    wanted["app"] = json!(2);
    wanted["keep"] = json!(kept.to_str().expect("a readable path"));
    let played = Played::of(play(&client, &wanted));
    assert_eq!(played.frames().count(), 300);
    assert!(played.lines.iter().any(|line| line["kept"].is_array()));
    let psnr = compare(&kept);
    assert!(psnr >= PSNR_DB_MIN, "{psnr:.1} dB");
    let state = parse(&client.run(&["quit"])[0]);
    assert_eq!(state, json!({ "ok": true }));
    eventually("the compositor is gone", || {
        harness::facts::descendants(host.running.as_ref().expect("it runs").id(), "sway").is_empty()
    });
    host.stop();
    host.sandbox.assert_clean();
}

/// The kept picture against what its marker says was drawn, dB.
fn compare(path: &Path) -> f64 {
    let bytes = std::fs::read(path).expect("kept by the client");
    let luma = WIDTH * HEIGHT;
    assert_eq!(bytes.len(), luma * 3 / 2);
    let (y, chroma) = bytes.split_at(luma);
    let (u, v) = chroma.split_at(luma / 4);
    let picture = Picture {
        width: WIDTH,
        height: HEIGHT,
        planes: [y, u, v],
        strides: [WIDTH, WIDTH / 2, WIDTH / 2],
    };
    let marker = marker::read(&picture).expect("a marker");
    let psnr = Verifier::default().psnr_db(&picture, &marker);
    psnr.expect("a card of this version")
}
