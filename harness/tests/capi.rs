//! The C ABI as a C program uses it: `net/capi/examples/session.c`, linked with the shared and with
//! the static library, has a whole session with a real host, and `pair.c` pairs with one.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use engine::session::Backends;
use engine::trust::native::Grant;
use gpu::decode::Decoder;
use gpu::decode::openh264::OpenH264Decoder;
use harness::facts::eventually;
use harness::fakes::FakeMicrophones;
use harness::loopback::LoopbackHost;
use harness::program::libraries;
use harness::wave::Heard;
use net::units::FrameId;
use platform::audio::synthetic::Tone;
use platform::display::synthetic::Synthetic;

/// Pictures that a program takes.
const FRAMES: usize = 45;
/// Events that it sends; the text of one is one, and the motion and what follows are not merged.
const EVENTS: u64 = 17;
/// Pitch of what it says.
const SPOKEN_HZ: f64 = 1000.0;
/// Tenths of a second in which that must be heard.
const TENTHS: usize = 10;
/// PUNKTFUNK_STATUS_INVALID_ARGUMENT.
const INVALID_ARGUMENT: i32 = 3;
/// PUNKTFUNK_STATUS_PAIRING_CLOSED.
const PAIRING_CLOSED: i32 = 16;
/// PUNKTFUNK_STATUS_PAIRING_FAILED.
const PAIRING_FAILED: i32 = 17;
/// PUNKTFUNK_UNIT_ENDS.
const ENDS: u32 = 2;

#[derive(Clone, Copy, Debug)]
enum Linked {
    Shared,
    Static,
}

fn capi() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../net/capi")
}

/// The program, compiled as strictly as C allows.
fn compile(example: &str, linked: Linked, directory: &Path) -> PathBuf {
    let program = directory.join(format!("{example}-{linked:?}"));
    let libraries = libraries();
    let mut cc = Command::new("cc");
    cc.args([
        "-std=c11",
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Werror",
        "-O1",
    ])
    .arg("-I")
    .arg(capi().join("include"))
    .arg(capi().join("examples").join(format!("{example}.c")))
    .arg("-o")
    .arg(&program);
    match linked {
        Linked::Shared => {
            cc.arg("-L").arg(&libraries).arg("-lpunktfunk");
            cc.arg(format!("-Wl,-rpath,{}", libraries.display()));
        }
        Linked::Static => {
            cc.arg(libraries.join("libpunktfunk.a"));
            cc.args(["-lstdc++", "-ldl", "-lm"]);
        }
    }
    let output = cc.arg("-lpthread").output().expect("cc is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{linked:?}: {said}");
    program
}

/// What the program said.
#[derive(Default)]
struct Said {
    session: String,
    /// Frame, bytes and flags of each unit.
    units: Vec<(FrameId, usize, u32)>,
    /// What a controller was told.
    pad: String,
    /// Size of the pointer's shape.
    cursor: String,
    /// The mode that it asked for and got.
    mode: String,
    /// What the host's desktop copied of what it put there.
    clipboard: String,
    received: String,
}

impl Said {
    /// Until it waits for us.
    fn until_received(lines: &mut impl BufRead) -> Self {
        let mut said = Self::default();
        for line in lines.lines() {
            let line = line.expect("its output is text");
            let (kind, rest) = line.split_once(' ').expect("a kind of line");
            match kind {
                "pad" => said.pad = rest.to_owned(),
                "cursor" => said.cursor = rest.to_owned(),
                "mode" => said.mode = rest.to_owned(),
                "clipboard" => said.clipboard = rest.to_owned(),
                "session" => said.session = rest.to_owned(),
                "unit" => {
                    let numbers: Vec<usize> = rest
                        .split(' ')
                        .map(|number| number.parse().expect("a number"))
                        .collect();
                    let frame = FrameId(numbers[0] as u32);
                    said.units.push((frame, numbers[1], numbers[2] as u32));
                }
                "received" => {
                    said.received = rest.to_owned();
                    break;
                }
                _ => panic!("{line}"),
            }
        }
        said
    }
}

fn a_whole_session(linked: Linked, pieces: &str) {
    let (microphones, spoken) = FakeMicrophones::new();
    let backends = Backends {
        display: Arc::new(Synthetic),
        encoder: &gpu::encode::candidates()[0],
        audio: Some(Arc::new(Tone)),
        microphone: Some(Arc::new(microphones)),
    };
    let settings = [
        ("app", "none"),
        ("clipboard", "true"),
        ("microphone", "true"),
    ];
    let host = LoopbackHost::start_on(&settings, backends).expect("a host");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let stream = directory.path().join("out.h264");
    let mut program = Command::new(compile("session", linked, directory.path()))
        .arg(host.address().to_string())
        .arg(host.fingerprint().to_string())
        .arg(FRAMES.to_string())
        .arg(pieces)
        .arg(&stream)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("what was just compiled");
    let stdout = program.stdout.take().expect("piped");
    let said = Said::until_received(&mut BufReader::new(stdout));
    if !said.received.is_empty() {
        let metrics = host.sessions()[0].metrics.clone();
        eventually("the host has got what the program did", || {
            metrics.counters.snapshot().input_events >= EVENTS
        });
        eventually("what it says is heard", || {
            let heard = Heard::of_floats(&spoken.heard()[0]).pitches(&[SPOKEN_HZ]);
            heard.iter().flatten().count() >= TENTHS
        });
    }
    // It waits for the end of its input.
    drop(program.stdin.take());
    let status = program.wait().expect("its status");
    let mut complaint = String::new();
    let stderr = program.stderr.as_mut().expect("piped");
    stderr.read_to_string(&mut complaint).expect("text");
    assert!(status.success(), "{linked:?}: {status}: {complaint}");

    assert!(
        said.session.starts_with("320x240@30000 "),
        "{}",
        said.session
    );
    assert!(said.session.ends_with(" 2"), "{}", said.session);
    assert!(
        said.received.starts_with(&format!("{FRAMES} 40 ")),
        "{}",
        said.received
    );
    assert_eq!(said.cursor, "24x34");
    assert_eq!(said.mode, "640x360@30000");
    assert_eq!(said.clipboard, "COPIED IN C");
    assert_eq!(said.pad, "0 65535 0", "as its left trigger");
    assert_eq!(decodable(&stream, &said.units), FRAMES);
    eventually("the host has forgotten the sessions", || {
        host.sessions().is_empty()
    });
}

/// Pictures in the stream that the program wrote.
fn decodable(stream: &Path, units: &[(FrameId, usize, u32)]) -> usize {
    let stream = std::fs::read(stream).expect("the program's stream");
    let mut decoder = OpenH264Decoder::open().expect("a decoder");
    let (mut begin, mut end, mut pictures) = (0, 0, 0);
    for &(frame, bytes, flags) in units {
        end += bytes;
        if flags & ENDS != 0 {
            let picture = decoder.decode(frame, &stream[begin..end]);
            pictures += usize::from(picture.expect("a picture").is_some());
            begin = end;
        }
    }
    assert_eq!(end, stream.len());
    pictures
}

#[test]
fn a_program_with_the_shared_library_has_a_whole_session() {
    a_whole_session(Linked::Shared, "frames");
}

#[test]
fn a_program_with_the_static_library_has_a_whole_session() {
    a_whole_session(Linked::Static, "slices");
}

#[test]
fn a_program_pairs_with_the_pin_and_with_no_other() {
    let host = LoopbackHost::synthetic(&[("require-pairing", "true")]);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let program = compile("pair", Linked::Shared, directory.path());
    let pair = |pin: &str| {
        let address = host.address().to_string();
        let output = Command::new(&program)
            .args([&address[..], pin, "Küche"])
            .output()
            .expect("what was just compiled");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let open = || {
        let opened = host.trust().open_window(Grant::default());
        opened.expect("random bytes").pin
    };
    let (status, _, complaint) = pair("123456");
    assert_eq!(status, Some(PAIRING_CLOSED), "{complaint}");
    assert!(complaint.starts_with("12: "), "{complaint}");
    let (status, _, complaint) = pair("12a456");
    assert_eq!(status, Some(INVALID_ARGUMENT), "{complaint}");

    let pin = open();
    let wrong = match pin.digits() {
        "000000" => "111111",
        _ => "000000",
    };
    let (status, _, complaint) = pair(wrong);
    assert_eq!(status, Some(PAIRING_FAILED), "{complaint}");
    assert!(complaint.contains("PIN"), "{complaint}");
    assert!(host.trust().clients().list().is_empty());

    let (status, told, complaint) = pair(open().digits());
    assert_eq!(status, Some(0), "{complaint}");
    assert!(
        told.starts_with(&format!("{} ", host.fingerprint())),
        "{told}"
    );
    let kept = host.trust().clients().list();
    assert_eq!((kept.len(), &kept[0].name[..]), (1, "Küche"));
}
