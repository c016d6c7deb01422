//! A client's microphone: what it says is heard in its own session, where the host and its rights
//! allow it; and where a test says so with a real PipeWire, private to the test.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use engine::session::Backends;
use engine::trust::rights::Rights;
use harness::PATIENCE;
use harness::facts::{alone, eventually};
use harness::fakes::{FakeMicrophones, MicrophonesRemote};
use harness::loopback::{LoopbackClient, LoopbackHost, MODE, hello};
use harness::program::{Running, Sandbox};
use harness::sound_server::{Program, SoundServer};
use harness::wave::{Heard, write_tone};
use net::client::{ConnectError, MicrophoneRefused, Trust};
use net::native::{Features, Hello, RefuseCode};
use platform::display::synthetic::Synthetic;

const TONE_HZ: f64 = 997.0;
const OTHER_HZ: f64 = 1500.0;
/// Tenths of a second in which a tone must be heard.
const TENTHS: usize = 10;
/// Half a second of one channel of a recording.
const HALF_SECOND_BYTES: u64 = 48_000;

fn host(settings: &[(&'static str, &str)]) -> (LoopbackHost, MicrophonesRemote) {
    let (microphones, remote) = FakeMicrophones::new();
    let backends = Backends {
        display: Arc::new(Synthetic),
        encoder: &gpu::encode::candidates()[0],
        audio: None,
        microphone: Some(Arc::new(microphones)),
    };
    let mut all = vec![("app", "none")];
    all.extend_from_slice(settings);
    let host = LoopbackHost::start_on(&all, backends);
    (host.expect("a host"), remote)
}

fn asking() -> Hello {
    let hello = hello(MODE);
    Hello {
        optional: hello.optional.union(Features::MICROPHONE),
        ..hello
    }
}

fn is_taken(client: &LoopbackClient) -> bool {
    client.welcome().features.contains(Features::MICROPHONE)
}

#[test]
fn a_host_that_was_not_told_to_listens_to_nobody() {
    let (host, remote) = host(&[]);
    let client = LoopbackClient::with(host.address(), Trust::FirstUse, asking());
    let mut client = client.expect("a session");
    assert!(!is_taken(&client));
    let refused = client.connector().microphone().send(&[0xf8]);
    assert_eq!(refused, Err(MicrophoneRefused::NotTaken));
    client.watch(3, |_, _| {});
    assert!(remote.heard().is_empty(), "not even a source is made");
    client.end();

    let mut hello = asking();
    hello.required = Features::MICROPHONE;
    match LoopbackClient::with(host.address(), Trust::FirstUse, hello).err() {
        Some(ConnectError::Refused { code, .. }) => assert_eq!(code, RefuseCode::Feature),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_who_has_the_right_is_heard() {
    let (host, _remote) = host(&[("require-pairing", "true"), ("microphone", "true")]);
    for (rights, taken) in [(Rights::default(), false), (Rights::all(), true)] {
        let identity = host.paired(rights);
        let trust = Trust::Pinned(host.fingerprint());
        let client = LoopbackClient::known(host.address(), identity.clone(), trust, asking());
        let mut client = client.expect("a session");
        assert_eq!(is_taken(&client), taken);
        client.watch(3, |_, _| {});
        if taken {
            let clients = host.trust().clients();
            clients
                .edit(identity.fingerprint(), |it| it.rights.microphone = false)
                .expect("it is kept");
            let reason = client.until_end();
            assert!(reason.contains("taken a right"), "{reason}");
        }
    }
}

/// The executable as a client that says what is in `voice`.
fn speaker(sandbox: &Sandbox, address: &str, voice: &str) -> Running {
    let state = sandbox
        .path()
        .join(format!("{}.state", voice.replace('/', "-")));
    let state = state.to_str().expect("a readable path").to_owned();
    let arguments = [
        "connect",
        address,
        "--headless",
        "--mode",
        MODE,
        "--mic",
        voice,
    ];
    sandbox.start(&[&arguments[..], &["--state-dir", &state]].concat())
}

fn is_at(heard: &[Option<f64>], pitch_hz: f64) -> usize {
    heard.iter().filter(|it| **it == Some(pitch_hz)).count()
}

fn finish(client: Running) {
    client.interrupt();
    let ended = client.wait();
    assert!(ended.status.success(), "{}", ended.stderr);
}

#[test]
fn two_clients_are_heard_at_their_pitch_each_in_its_own_session() {
    let sandbox = Sandbox::new();
    let (host, remote) = host(&[("microphone", "true")]);
    let address = host.address().to_string();
    let file = sandbox.path().join("other.wav");
    write_tone(&file, OTHER_HZ, 60);
    let file = file.to_str().expect("a readable path").to_owned();
    let mut clients = Vec::new();
    for voice in ["tone", &file] {
        clients.push(speaker(&sandbox, &address, voice));
        // One after the other, so that it is known whose microphone is whose.
        eventually("it has a microphone", || {
            remote.heard().len() == clients.len()
        });
    }
    let pitches = |number: usize| {
        let heard = remote.heard();
        Heard::of_floats(&heard[number]).pitches(&[TONE_HZ, OTHER_HZ])
    };
    for (number, pitch_hz) in [(0, TONE_HZ), (1, OTHER_HZ)] {
        eventually("its tone is heard", || {
            is_at(&pitches(number), pitch_hz) >= TENTHS
        });
    }
    clients.into_iter().for_each(finish);
    for (number, pitch_hz) in [(0, TONE_HZ), (1, OTHER_HZ)] {
        let heard = pitches(number);
        let wrong = heard.iter().flatten().count() - is_at(&heard, pitch_hz);
        assert_eq!(wrong, 0, "{pitch_hz} Hz: {heard:?}");
    }
}

/// What is recorded from a source of PipeWire's, so far.
fn recorded(file: &Path) -> Vec<Option<f64>> {
    Heard::so_far(file, 1, 0).pitches(&[TONE_HZ, OTHER_HZ])
}

/// A host of the executable's that gives its sessions microphones, and its address.
fn listening(sandbox: &Sandbox) -> (Running, String) {
    let settings = ["--desktop", "synthetic", "--app", "none", "--microphone"];
    let mut host = sandbox.start(&[&["host", "--port", "0"][..], &settings].concat());
    let listening = host.line("listening");
    let address = listening.split(' ').next().expect("an address").to_owned();
    (host, address)
}

/// A client's session on such a host, as one of its applications hears it.
struct Session {
    client: Running,
    recorder: Program,
    file: PathBuf,
    /// Length of the file when it was last looked at, bytes.
    seen: u64,
}

impl Session {
    /// The `number`th, whose client says `voice`.
    fn start(sandbox: &Sandbox, host: &(Running, String), number: usize, voice: &str) -> Self {
        let client = speaker(sandbox, &host.1, voice);
        let source = format!("punktfunk-mic-{}-{number}", host.0.id());
        eventually("there is a source", || {
            SoundServer::has_node(sandbox, &source)
        });
        let file = sandbox.path().join(format!("{number}.wav"));
        let recorder = SoundServer::record(sandbox, &file, &source);
        Self {
            client,
            recorder,
            file,
            seen: 0,
        }
    }

    /// Tenths of a second in which its client's pitch was recorded so far.
    fn heard(&self, pitch_hz: f64) -> usize {
        is_at(&recorded(&self.file), pitch_hz)
    }

    /// Waits until that was recorded for so many tenths of a second.
    fn until_heard(&mut self, pitch_hz: f64, tenths: usize) {
        eventually("its client is recorded", || {
            let length = std::fs::metadata(&self.file).map_or(0, |it| it.len());
            // Not each time a few samples came: the machine has sound to make.
            if length < self.seen + HALF_SECOND_BYTES {
                return false;
            }
            self.seen = length;
            self.heard(pitch_hz) >= tenths
        });
    }

    /// Ends it. It has heard that pitch, and never the other, and its client tells what it said.
    fn finish(mut self, pitch_hz: f64) {
        self.client.interrupt();
        let told = self.client.line("microphone:");
        let packets = told
            .split(' ')
            .next()
            .and_then(|it| it.parse::<usize>().ok());
        // Of 5 ms.
        assert!(packets.is_some_and(|it| it >= 20 * TENTHS), "{told}");
        let ended = self.client.wait();
        assert!(ended.status.success(), "{}", ended.stderr);
        drop(self.recorder);
        let heard = recorded(&self.file);
        let wrong = heard.iter().flatten().count() - is_at(&heard, pitch_hz);
        assert_eq!(wrong, 0, "{pitch_hz} Hz: {heard:?}");
    }
}

#[test]
fn applications_record_their_own_sessions_client_from_pipewire() {
    let _alone = alone();
    let sandbox = Sandbox::new();
    let _server = SoundServer::start(&sandbox);
    let host = listening(&sandbox);
    let other = sandbox.path().join("other.wav");
    write_tone(&other, OTHER_HZ, 60);
    let voices = ["tone", other.to_str().expect("readable")];
    let mut sessions =
        [1, 2].map(|number| Session::start(&sandbox, &host, number, voices[number - 1]));
    for (session, pitch_hz) in sessions.iter_mut().zip([TONE_HZ, OTHER_HZ]) {
        session.until_heard(pitch_hz, TENTHS);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let line = host.0.lines.recv_deadline(deadline);
        let line = line.expect("the host tells every second what came of its microphones");
        if line.matches("; microphone ").count() == sessions.len() {
            break;
        }
    }
    for (session, pitch_hz) in sessions.into_iter().zip([TONE_HZ, OTHER_HZ]) {
        session.finish(pitch_hz);
    }
}

/// A sandbox with a file of each pitch, so long.
fn with_tones(seconds: usize) -> (Sandbox, [PathBuf; 2]) {
    let sandbox = Sandbox::new();
    let files = [TONE_HZ, OTHER_HZ].map(|pitch_hz| {
        let file = sandbox.path().join(format!("{pitch_hz}.wav"));
        write_tone(&file, pitch_hz, seconds);
        file
    });
    (sandbox, files)
}

#[test]
fn what_this_machines_microphone_hears_is_heard_on_the_host() {
    let _alone = alone();
    let (sandbox, [tone, other]) = with_tones(120);
    let _server = SoundServer::start(&sandbox);
    let _best = SoundServer::microphone(&sandbox, "best", 2000, &tone);
    let _second = SoundServer::microphone(&sandbox, "second", 1000, &other);
    let host = listening(&sandbox);
    let mut session = Session::start(&sandbox, &host, 1, "default");
    session.until_heard(TONE_HZ, TENTHS);
    session.finish(TONE_HZ);
}

#[test]
fn a_microphone_that_was_named_is_heard_and_no_other_in_its_place() {
    let _alone = alone();
    let (sandbox, [tone, other]) = with_tones(240);
    let _server = SoundServer::start(&sandbox);
    let _best = SoundServer::microphone(&sandbox, "best", 2000, &tone);
    let second = SoundServer::microphone(&sandbox, "second", 1000, &other);
    let host = listening(&sandbox);
    let mut session = Session::start(&sandbox, &host, 1, "second");
    session.until_heard(OTHER_HZ, TENTHS);
    drop(second);
    let recording = format!("punktfunk-record-{}-1", session.client.id());
    eventually("its recording has ended with it", || {
        !SoundServer::has_node(&sandbox, &recording)
    });
    let before = session.heard(OTHER_HZ);
    let _second = SoundServer::microphone(&sandbox, "second", 1000, &other);
    session.until_heard(OTHER_HZ, before + 2 * TENTHS);
    session.finish(OTHER_HZ);
}

#[test]
fn a_host_that_does_not_listen_has_nothing_recorded() {
    let (sandbox, [tone, _]) = with_tones(1);
    let _server = SoundServer::start(&sandbox);
    let _microphone = SoundServer::microphone(&sandbox, "best", 2000, &tone);
    let (host, _) = host(&[]);
    let mut client = speaker(&sandbox, &host.address().to_string(), "default");
    client.line("the host takes no microphone");
    client.line("connected to");
    let recording = format!("punktfunk-record-{}-1", client.id());
    assert!(!SoundServer::has_node(&sandbox, &recording));
    finish(client);
}

#[test]
fn without_a_microphone_it_is_said_what_is_missing_before_anybody_is_asked() {
    let (sandbox, [tone, _]) = with_tones(1);
    let refusal = |voice: &str| {
        let ended = speaker(&sandbox, "127.0.0.1:9", voice).wait();
        assert_eq!(ended.status.code(), Some(12), "{}", ended.stderr);
        ended.stderr
    };
    let said = refusal("default");
    assert!(said.contains("PipeWire cannot be reached"), "{said}");
    assert!(said.contains("systemctl --user start pipewire"), "{said}");
    let _server = SoundServer::start(&sandbox);
    let said = refusal("default");
    assert!(said.contains("no microphone here"), "{said}");
    let _microphone = SoundServer::microphone(&sandbox, "best", 2000, &tone);
    let said = refusal("nowhere");
    assert!(
        said.contains("no source \"nowhere\"; it has best"),
        "{said}"
    );
}

/// The line of `doctor` about the microphone of `name`, and the one after it.
fn examined(sandbox: &Sandbox, name: &str) -> (String, String) {
    let doctor = sandbox.start(&["doctor"]);
    let lines: Vec<String> = doctor.lines.iter().collect();
    assert!(doctor.wait().status.success());
    let mut lines = lines
        .into_iter()
        .skip_while(|it| !it.starts_with("microphone"))
        .skip_while(|it| !it.split_whitespace().any(|word| word == name));
    let mut next = || lines.next().expect("a line about it");
    (next(), next())
}

#[test]
fn doctor_tells_whether_microphones_can_be_made_and_recorded() {
    let (sandbox, [tone, _]) = with_tones(1);
    for name in ["host", "connect"] {
        let (line, fix) = examined(&sandbox, name);
        assert!(line.contains("no   PipeWire cannot be reached"), "{line}");
        assert!(fix.contains("systemctl --user start pipewire"), "{fix}");
    }
    let _server = SoundServer::start(&sandbox);
    let (line, _) = examined(&sandbox, "host");
    assert!(line.contains("yes  a source for each session"), "{line}");
    assert!(
        line.contains("off unless the host says --microphone"),
        "{line}"
    );
    let (line, fix) = examined(&sandbox, "connect");
    assert!(line.contains("no   PipeWire knows no microphone"), "{line}");
    assert!(fix.contains("connect one"), "{fix}");
    let _microphone = SoundServer::microphone(&sandbox, "best", 2000, &tone);
    let (line, _) = examined(&sandbox, "connect");
    assert!(line.contains("yes  for connect --mic NAME: best"), "{line}");
}
