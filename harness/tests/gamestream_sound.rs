//! Sound as a stock client hears it: its own library negotiates, receives, repairs and decrypts,
//! libavcodec decodes with the layout that the library was told, and the test looks at the samples.

mod gamestream_program;

use std::path::Path;

use bench::alloc::CountingAllocator;
use gamestream_program::{Host, parse};
use harness::facts::eventually;
use harness::loopback::LoopbackHost;
use harness::moonlight::{Moonlight, free_base_port};
use harness::program::{Running, Sandbox};
use harness::sound_server::SoundServer;
use harness::wave::{Heard, write_tone};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const TONE_HZ: f64 = 997.0;
const OTHER_HZ: f64 = 1500.0;
/// Of the synthetic source: each channel's pitch above the one before.
const STEP_HZ: f64 = 400.0;
/// Of the right tone so much is heard on every channel. A client listens until it has heard twice
/// that on each: a busy machine is late with some packets, which spoils the tenth of a second
/// around them.
const TENTHS_MIN: usize = 10;

/// A stream that lasts until so many seconds of each of the first channels were at these pitches.
fn options(act: &str, app: u32, wave: &Path, heard_s: u32, tones: &[f64]) -> Value {
    json!({
        "do": act, "app": app, "width": 640, "height": 360, "fps": 30, "kbps": 10_000,
        "frames": 30, "heard": wave, "heard_s": heard_s, "tones": tones,
    })
}

/// The client's words, once it has left.
fn ended(running: Running) -> Vec<Value> {
    let lines = running.lines.clone();
    let ended = running.wait();
    let lines: Vec<Value> = lines.try_iter().map(|line| parse(&line)).collect();
    let without_frames = lines.iter().filter(|line| line["frame"].is_null());
    let said: Vec<&Value> = without_frames.collect();
    assert!(ended.status.success(), "{ended:?}: {said:?}");
    lines
}

fn play(client: &Moonlight, options: &Value) -> Vec<Value> {
    ended(client.play(&options.to_string()))
}

fn paired(host: &Host, name: &str) -> Moonlight {
    let client = host.client(name);
    host.pair(&client, "1234");
    client
}

fn quit(client: &Moonlight) {
    assert_eq!(parse(&client.run(&["quit"])[0]), json!({ "ok": true }));
}

/// Tenths of a second at this pitch, and at another of these.
fn heard(wave: &Path, channels: usize, channel: usize, pitches: &[f64], at: f64) -> (usize, usize) {
    let heard = Heard::read(wave, channels, channel).pitches(pitches);
    let right = heard.iter().filter(|it| **it == Some(at)).count();
    (right, heard.iter().flatten().count() - right)
}

/// Of the synthetic source's channels, at most eight.
fn own_tones() -> [f64; 8] {
    std::array::from_fn(|channel| TONE_HZ + STEP_HZ * channel as f64)
}

/// The first `sounding` channels of a recording hold their own tones, the others none.
fn assert_tones(wave: &Path, channels: usize, sounding: usize) {
    let pitches = own_tones();
    for (channel, &at) in pitches[..channels].iter().enumerate() {
        let (right, wrong) = heard(wave, channels, channel, &pitches, at);
        let least = if channel < sounding { TENTHS_MIN } else { 0 };
        let what = format!("channel {channel} of {channels}: {right} right, {wrong} wrong");
        assert!(right >= least && wrong == 0, "{what}");
        if channel >= sounding {
            let silences = Heard::read(wave, channels, channel).silences();
            assert!(silences.iter().all(|it| *it), "{what}");
        }
    }
}

/// Two channels in plain text, six coupled and by themselves, eight in long packets; each stream's
/// layout is what the client was told, and each channel is heard at its own place.
#[test]
fn each_layout_is_heard_channel_by_channel() {
    let settings = ["--desktop", "synthetic", "--audio", "synthetic"];
    let mut host = Host::with(Sandbox::new(), &settings);
    let client = paired(&host, "client");
    let cases = [
        (2, 20_000, "plain", [1, 1, 240]),
        (6, 10_000, "encrypted", [4, 2, 240]),
        (6, 20_000, "encrypted", [6, 0, 240]),
        (8, 10_000, "slow_opus", [5, 3, 480]),
    ];
    for (channels, kbps, how, layout) in cases {
        let wave = host.sandbox.path().join("heard.wav");
        let mut wanted = options("launch", 1, &wave, 2, &own_tones()[..channels]);
        wanted["channels"] = json!(channels);
        wanted["kbps"] = json!(kbps);
        wanted[how] = json!(true);
        let lines = play(&client, &wanted);
        let told = lines.iter().find(|line| line["opus"].is_object());
        let told = &told.expect("a layout")["opus"];
        let names = ["streams", "coupled_streams", "samples_per_frame"];
        assert_eq!(names.map(|name| told[name].as_u64()), layout.map(Some));
        assert_tones(&wave, channels, channels);
        quit(&client);
    }
    let said = host.stop();
    for expected in [
        "2 channels in 5 ms packets of high quality\n",
        "6 channels in 5 ms packets of normal quality, video encrypted, sound encrypted\n",
        "6 channels in 5 ms packets of high quality, video encrypted, sound encrypted\n",
        "8 channels in 10 ms packets of normal quality, video encrypted, sound encrypted\n",
    ] {
        assert!(said.contains(expected), "{expected:?} in {said}");
    }
}

/// The sink has the channels of the launch. A client that comes back with more hears these.
#[test]
fn a_client_that_comes_back_hears_on_with_other_speakers_too() {
    let settings = ["--desktop", "synthetic", "--audio", "synthetic"];
    let mut host = Host::with(Sandbox::new(), &settings);
    let client = paired(&host, "client");
    for (act, channels) in [("launch", 2), ("resume", 2), ("resume", 6)] {
        let wave = host.sandbox.path().join("heard.wav");
        let mut wanted = options(act, 1, &wave, 2, &own_tones()[..2]);
        wanted["channels"] = json!(channels);
        let _lines = play(&client, &wanted);
        assert_tones(&wave, channels, 2);
    }
    host.stop();
}

/// Applications of two sessions play into their own sinks of a real sound server; a client that
/// comes back finds its application's sound where it was.
#[test]
fn two_sessions_hear_their_own_applications_and_go_on_when_they_come_back() {
    let sandbox = Sandbox::new();
    let _server = SoundServer::start(&sandbox);
    let pitches = [TONE_HZ, OTHER_HZ];
    let apps = pitches.iter().zip(1..).map(|(&pitch_hz, id)| {
        let file = sandbox.path().join(format!("{pitch_hz}.wav"));
        write_tone(&file, pitch_hz, 120);
        let command = format!("pw-play {}", file.display());
        json!({ "id": id, "name": format!("{pitch_hz} Hz"), "command": command })
    });
    let apps = json!({ "apps": apps.collect::<Vec<_>>() });
    let config = sandbox.path().join("home/.config/punktfunk");
    std::fs::create_dir_all(&config).expect("a directory");
    std::fs::write(config.join("apps.json"), apps.to_string()).expect("written");

    let mut host = Host::with(sandbox, &["--desktop", "private-sway"]);
    let clients = ["one", "two"].map(|name| paired(&host, name));
    for act in ["launch", "resume"] {
        let waves = pitches.map(|it| host.sandbox.path().join(format!("{act}-{it}.wav")));
        let start = |index: usize| {
            let wanted = options(act, index as u32 + 1, &waves[index], 2, &[pitches[index]]);
            clients[index].play(&wanted.to_string())
        };
        for running in [start(0), start(1)] {
            println!("{act}: {}", ended(running).last().expect("its last word"));
        }
        for (wave, at) in waves.iter().zip(pitches) {
            let (right, wrong) = heard(wave, 2, 0, &pitches, at);
            let what = format!("{act}, {at} Hz: {right} right, {wrong} wrong");
            assert!(right >= TENTHS_MIN && wrong == 0, "{what}");
        }
    }
    host.stop();
}

#[test]
fn without_a_sound_server_there_are_pictures_and_silence_and_it_is_said_once() {
    let mut host = Host::new("synthetic");
    let client = paired(&host, "client");
    let wave = host.sandbox.path().join("heard.wav");
    let mut wanted = options("launch", 1, &wave, 0, &[TONE_HZ]);
    wanted["frames"] = json!(90);
    let lines = play(&client, &wanted);
    let pictures = lines.iter().filter(|line| line["pictures"] == 1);
    assert_eq!(pictures.count(), 90);
    let silences = Heard::read(&wave, 2, 0).silences();
    assert!(
        silences.len() >= 10,
        "packets come all the same: {silences:?}"
    );
    assert!(silences.iter().all(|it| *it), "{silences:?}");
    let said = host.stop();
    assert_eq!(said.matches("no sound: ").count(), 1, "{said}");
}

/// From the sink to the wire, encrypted and with parity.
#[test]
fn sound_allocates_nothing_once_it_runs() {
    engine::metrics::set_allocation_probe(bench::alloc::thread_allocations);
    let port = free_base_port();
    let settings = [
        ("audio", "synthetic"),
        ("gamestream", "true"),
        ("gamestream-bind", "127.0.0.1"),
        ("gamestream-port", &port.to_string()),
    ];
    let host = LoopbackHost::synthetic(&settings);
    let home = Sandbox::new();
    let client = Moonlight::new(home.path(), port);
    gamestream_program::pair(host.state(), &client, "1234");
    let mut wanted = options("launch", 1, &home.path().join("heard.wav"), 600, &[TONE_HZ]);
    wanted["encrypted"] = json!(true);
    let _running = client.play(&wanted.to_string());
    eventually("it streams", || !host.sessions().is_empty());
    let metrics = host.sessions()[0].metrics.clone();
    let sent = |datagrams: u64| {
        eventually("sound is sent", || {
            metrics.counters.snapshot().audio_datagrams >= datagrams
        });
        metrics.counters.snapshot()
    };
    let (from, to) = (sent(150), sent(900));
    assert!(from.audio_allocations > 0, "the allocator counts");
    assert_eq!(
        to.since(&from).audio_allocations,
        0,
        "on the sound's thread"
    );
    assert_eq!(to.audio_send_failures, 0);
}
