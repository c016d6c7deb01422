//! Sound as a user hears it: the executable as host and as client, and where it says so a real
//! PipeWire with a session manager, private to the test.

use std::path::PathBuf;

use harness::PATIENCE;
use harness::facts::eventually;
use harness::program::{Running, Sandbox, start};
use harness::sound_server::SoundServer;
use harness::wave::{Heard, write_tone};

const TONE_HZ: f64 = 997.0;
const OTHER_HZ: f64 = 1500.0;
/// Tenths of a second in which a tone must be heard. On a busy machine a player is late with some,
/// so a test listens until it has heard as many, however long that takes.
const TENTHS: usize = 15;

/// A host with these settings and its address.
fn host(sandbox: &Sandbox, settings: &[&str]) -> (Running, String) {
    let mut arguments = vec!["host", "--port", "0"];
    arguments.extend_from_slice(settings);
    let mut host = sandbox.start(&arguments);
    let listening = host.line("listening");
    let address = listening.split(' ').next().expect("an address");
    (host, address.to_owned())
}

/// A client that listens until it is interrupted, or for `seconds`.
fn listener(sandbox: &Sandbox, address: &str, name: &str, more: &[&str]) -> (Running, PathBuf) {
    let wave = sandbox.path().join(name);
    let state = sandbox.path().join(format!("{name}.state"));
    let mut arguments = vec!["connect", address, "--headless", "--mode", "320x240@30"];
    arguments.extend_from_slice(&["--audio-out", wave.to_str().expect("a readable path")]);
    arguments.extend_from_slice(&["--state-dir", state.to_str().expect("a readable path")]);
    arguments.extend_from_slice(more);
    (sandbox.start(&arguments), wave)
}

fn is_at(heard: &[Option<f64>], pitch_hz: f64) -> usize {
    heard.iter().filter(|it| **it == Some(pitch_hz)).count()
}

/// A busy machine may be late with some packets; what is heard is never another channel's.
#[test]
fn a_tone_arrives_at_its_pitch_on_every_channel() {
    for (channels, count) in [("2", 2), ("6", 6), ("8", 8)] {
        let sandbox = Sandbox::new();
        let settings = [
            "--desktop",
            "synthetic",
            "--audio",
            "synthetic",
            "--app",
            "none",
        ];
        let (_host, address) = host(&sandbox, &settings);
        let more = ["--audio-channels", channels];
        let (client, wave) = listener(&sandbox, &address, "heard.wav", &more);
        let pitches: Vec<f64> = (0..count).map(|n| TONE_HZ + 400.0 * f64::from(n)).collect();
        for (channel, &pitch_hz) in pitches.iter().enumerate() {
            eventually("every channel is heard", || {
                let heard = Heard::so_far(&wave, pitches.len(), channel);
                is_at(&heard.pitches(&pitches), pitch_hz) >= TENTHS
            });
        }
        finish(client);
        for (channel, &pitch_hz) in pitches.iter().enumerate() {
            let heard = Heard::read(&wave, pitches.len(), channel).pitches(&pitches);
            let right = is_at(&heard, pitch_hz);
            let wrong = heard.iter().flatten().count() - right;
            assert!(
                right >= TENTHS && wrong == 0,
                "{count}, {channel}: {heard:?}"
            );
        }
    }
}

#[test]
fn a_host_without_sound_serves_a_client_that_asks_for_it() {
    let sandbox = Sandbox::new();
    let settings = ["--desktop", "synthetic", "--audio", "off", "--app", "none"];
    let (_host, address) = host(&sandbox, &settings);
    let (client, wave) = listener(&sandbox, &address, "heard.wav", &["--seconds", "1"]);
    let ended = client.wait();
    assert!(ended.status.success(), "{}", ended.stderr);
    let heard = Heard::read(&wave, 2, 0).silences();
    assert!(heard.is_empty(), "sound from a host without: {heard:?}");
}

/// Waits for a second of the host's in which `fits` holds of the packets that were silence.
fn until_silence(host: &Running, fits: impl Fn(u32) -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let line = host.lines.recv_deadline(deadline);
        let line = line.expect("the host tells every second how much was silence");
        let packets = line.split_once("packets/s, ").map(|(_, rest)| rest);
        let silent = packets.and_then(|rest| rest.split(' ').next()?.parse().ok());
        if silent.is_some_and(&fits) {
            return;
        }
    }
}

fn finish(client: Running) {
    client.interrupt();
    let ended = client.wait();
    assert!(ended.status.success(), "{}", ended.stderr);
}

/// Each host's application is told its session's sink by its environment alone.
#[test]
fn applications_are_heard_in_their_own_session_and_nowhere_else() {
    let sandbox = Sandbox::new();
    let _server = SoundServer::start(&sandbox);
    let sessions = [TONE_HZ, OTHER_HZ].map(|pitch_hz| {
        let file = sandbox.path().join(format!("{pitch_hz}.wav"));
        write_tone(&file, pitch_hz, 60);
        let app = format!("pw-play {}", file.display());
        let (host, address) = host(&sandbox, &["--desktop", "private-sway", "--app", &app]);
        let name = format!("heard-{pitch_hz}.wav");
        let (client, wave) = listener(&sandbox, &address, &name, &[]);
        (pitch_hz, host, client, wave)
    });
    for (pitch_hz, _, _, wave) in &sessions {
        eventually("its own tone is heard", || {
            let heard = Heard::so_far(wave, 2, 0).pitches(&[*pitch_hz]);
            is_at(&heard, *pitch_hz) >= TENTHS
        });
    }
    for (pitch_hz, _host, client, wave) in sessions {
        finish(client);
        let heard = Heard::read(&wave, 2, 0).pitches(&[TONE_HZ, OTHER_HZ]);
        let right = is_at(&heard, pitch_hz);
        let wrong = heard.iter().flatten().count() - right;
        assert!(right >= TENTHS && wrong == 0, "{pitch_hz} Hz: {heard:?}");
    }
}

#[test]
fn a_sound_server_that_dies_leaves_silence_and_comes_back_with_sound() {
    let sandbox = Sandbox::new();
    let mut server = SoundServer::start(&sandbox);
    let (host, address) = host(&sandbox, &["--desktop", "synthetic", "--app", "none"]);
    let sink = format!("punktfunk-{}-1", host.id());
    let file = sandbox.path().join("tone.wav");
    write_tone(&file, TONE_HZ, 60);
    let play = || SoundServer::play(&sandbox, &file, &sink);
    let (client, wave) = listener(&sandbox, &address, "heard.wav", &[]);
    until_silence(&host, |packets| packets < 50);
    let player = play();
    eventually("the tone is heard", || {
        is_at(&Heard::so_far(&wave, 2, 0).pitches(&[TONE_HZ]), TONE_HZ) >= TENTHS
    });
    server.kill();
    until_silence(&host, |packets| packets > 150);
    drop(player);
    server.restart(&sandbox);
    until_silence(&host, |packets| packets < 50);
    let player = play();
    eventually("the tone is heard again", || {
        again(&Heard::so_far(&wave, 2, 0)) >= TENTHS
    });
    drop(player);
    finish(client);
}

/// Tenths of a second with the tone after the first silence that followed it.
fn again(heard: &Heard) -> usize {
    let (pitches, silences) = (heard.pitches(&[TONE_HZ]), heard.silences());
    let tones: Vec<bool> = pitches.iter().map(Option::is_some).collect();
    let next = |from: usize, what: &[bool]| {
        let place = what[from..].iter().position(|it| *it);
        place.map(|place| from + place)
    };
    next(0, &tones)
        .and_then(|first| next(first, &silences))
        .map_or(0, |silent| is_at(&pitches[silent..], TONE_HZ))
}

/// One host that is asked to, and one beside it that is not.
#[test]
fn the_machines_own_speakers_play_what_they_are_asked_to() {
    let sandbox = Sandbox::new();
    let _server = SoundServer::start(&sandbox);
    SoundServer::make_speakers(&sandbox, "speakers");
    let sessions =
        [(TONE_HZ, Some("--host-speakers")), (OTHER_HZ, None)].map(|(pitch_hz, asks)| {
            let mut settings = vec!["--desktop", "synthetic", "--app", "none"];
            settings.extend(asks);
            let (host, address) = host(&sandbox, &settings);
            let (client, wave) =
                listener(&sandbox, &address, &format!("{pitch_hz}-heard.wav"), &[]);
            let sink = format!("punktfunk-{}-1", host.id());
            eventually("there is a sink", || SoundServer::has_node(&sandbox, &sink));
            let file = sandbox.path().join(format!("{pitch_hz}.wav"));
            write_tone(&file, pitch_hz, 60);
            let player = SoundServer::play(&sandbox, &file, &sink);
            (pitch_hz, host, client, wave, player)
        });
    for (pitch_hz, _, _, wave, _) in &sessions {
        eventually("its client hears it", || {
            let heard = Heard::so_far(wave, 2, 0).pitches(&[*pitch_hz]);
            is_at(&heard, *pitch_hz) >= TENTHS
        });
    }
    let here = sandbox.path().join("here.wav");
    let recorder = SoundServer::record_sink(&sandbox, &here, "speakers");
    let heard = || Heard::so_far(&here, 1, 0).pitches(&[TONE_HZ, OTHER_HZ]);
    eventually("it is heard here", || is_at(&heard(), TONE_HZ) >= TENTHS);
    drop(recorder);
    assert_eq!(is_at(&heard(), OTHER_HZ), 0, "{:?}", heard());
    for (_, _host, client, _, _player) in sessions {
        finish(client);
    }
}

/// Sessions' sinks are the only ones: none takes the speakers' place, its own least of all.
#[test]
fn a_machine_without_speakers_plays_no_session_into_another() {
    let sandbox = Sandbox::new();
    let _server = SoundServer::start(&sandbox);
    let settings = ["--desktop", "synthetic", "--app", "none", "--host-speakers"];
    let (host, address) = host(&sandbox, &settings);
    let file = sandbox.path().join("tone.wav");
    write_tone(&file, TONE_HZ, 60);
    let clients = ["one.wav", "two.wav"].map(|name| listener(&sandbox, &address, name, &[]));
    for (number, (_, wave)) in (1..).zip(&clients) {
        let sink = format!("punktfunk-{}-{number}", host.id());
        eventually("it would be heard here", || {
            SoundServer::has_node(&sandbox, &format!("{sink}-speakers"))
        });
        let _player = SoundServer::play(&sandbox, &file, &sink);
        eventually("its client hears it", || {
            let heard = Heard::so_far(wave, 2, 0).pitches(&[TONE_HZ]);
            is_at(&heard, TONE_HZ) >= TENTHS
        });
    }
    let links = SoundServer::links(&sandbox);
    assert!(links.contains("-heard:"), "the monitors are taken: {links}");
    assert!(!links.contains("-speakers:"), "{links}");
    for (client, _) in clients {
        finish(client);
    }
}

#[test]
fn without_a_sound_server_there_are_pictures_and_silence_and_it_is_said_once() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["host", "--port", "0", "--desktop", "synthetic"]);
    let mut host = start(command.args(["--app", "none", "--audio", "pipewire"]));
    let listening = host.line("listening");
    let address = listening.split(' ').next().expect("an address");
    let (client, wave) = listener(&sandbox, address, "heard.wav", &["--seconds", "3"]);
    let ended = client.wait();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(Heard::read(&wave, 2, 0).silences().iter().all(|it| *it));
    host.interrupt();
    let said = host.wait().stderr;
    assert_eq!(said.matches("no sound: ").count(), 1, "{said}");
}
