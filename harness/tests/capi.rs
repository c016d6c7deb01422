//! The C ABI as a C program uses it: `net/capi/examples/session.c`, linked with the shared and with
//! the static library, has a whole session with a real host.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gpu::decode::Decoder;
use gpu::decode::openh264::OpenH264Decoder;
use harness::facts::eventually;
use harness::loopback::LoopbackHost;
use harness::program::libraries;
use net::units::FrameId;

/// Pictures that a program takes.
const FRAMES: usize = 45;
/// Events that it sends; the text of one is one, and the motion and what follows are not merged.
const EVENTS: u64 = 16;
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
fn compile(linked: Linked, directory: &Path) -> PathBuf {
    let program = directory.join(format!("session-{linked:?}"));
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
    .arg(capi().join("examples/session.c"))
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
    /// The mode that it asked for and got.
    mode: String,
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
                "mode" => said.mode = rest.to_owned(),
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
    let host = LoopbackHost::synthetic(&[("audio", "synthetic")]);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let stream = directory.path().join("out.h264");
    let mut program = Command::new(compile(linked, directory.path()))
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
    assert_eq!(said.mode, "640x360@30000");
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
