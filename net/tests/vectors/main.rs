//! The conformance vectors in `net/vectors` are what this crate puts on the wire.
//! `PUNKTFUNK_BLESS=1` writes them anew, which a compatible change of the protocol never needs but to
//! add some. `net/vectors/check.py` and `net/vectors/check.c` check them without this crate.
//!
//! A file is a list of blocks with an empty line between them. A line is a name and a value: a number
//! in decimal, or bytes in hexadecimal digits. The first line of a block is `vector` and what it is
//! about. `#` begins a comment.

mod checkers;
mod cursor;
mod pairing;
mod text;

use std::fmt::{Display, Write};
use std::path::Path;
use std::time::Duration;

use net::audio::{AudioReport, AudioSender, MicrophoneSender};
use net::clock_sync::Echo;
use net::crypto::{Aead, EXPORTER_BYTES, MediaKeys, Sealer};
use net::fec::{Code, Encoder};
use net::feedback::{Damage, FEEDBACK_BYTES_MAX, Feedback, Receipt, Want};
use net::input::{
    Contact, ContactKind, ControllerState, InputEvent, KeyEvent, Modifiers, PadOutput,
    PointerButton, Position, ScrollAxis, Text, TouchEvent,
};
use net::limits::{DATAGRAMS_PER_PHASE, MEDIA_HEADER_BYTES, TAG_BYTES};
use net::media;
use net::native::input::{InputSender, OutputSender};
use net::native::messages::ClipboardPiece;
use net::native::{
    AeadSet, ClientStatistics, ClockDomain, Codec, CodecSet, End, EndReason, Features, FecCodes,
    Hello, Message, ModeOutcome, PROTOCOL_VERSION, Reconfigure, Reconfigured, Refuse, RefuseCode,
    RepairRequest, RepairWish, RequestedMode, Welcome,
};
use net::packetize::{Batch, Packetizer, PacketizerConfig, Protection, SliceMeta};
use net::times::{FrameTimes, SliceTimes};
use net::units::{BitsPerSecond, FrameId, SliceCount, SliceIndex, Timestamp};

/// A file in the making.
#[derive(Default)]
struct Vectors(String);

impl Vectors {
    fn about(text: &str) -> Self {
        Self(format!("# {text}\n"))
    }

    fn vector(&mut self, name: impl Display) {
        writeln!(self.0, "\nvector {name}").expect("a string takes all");
    }

    fn number(&mut self, name: &str, value: impl Into<u64>) {
        writeln!(self.0, "{name} {}", value.into()).expect("a string takes all");
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(self.0, "{name} {digits}").expect("a string takes all");
    }

    /// Holds it against the file, or writes it.
    fn check(self, name: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("vectors")
            .join(name);
        if std::env::var_os("PUNKTFUNK_BLESS").is_some() {
            std::fs::write(&path, &self.0).expect("the vectors can be written");
        }
        let file = std::fs::read_to_string(&path).unwrap_or_default();
        let differs = file
            .lines()
            .zip(self.0.lines())
            .position(|(old, new)| old != new);
        assert!(
            file == self.0,
            "{name} has changed at line {differs:?}: the wire is not compatible any more"
        );
    }
}

/// Bytes that look like any, the same in every run.
fn noise(seed: u32, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

fn exported(seed: u32) -> [u8; EXPORTER_BYTES] {
    noise(seed, EXPORTER_BYTES).try_into().expect("as many")
}

fn sealer(aead: Aead, seed: u32) -> Sealer {
    Sealer::new(MediaKeys::from_exporter(aead, &mut exported(seed)))
}

#[test]
fn messages() {
    let mut file = Vectors::about("Control messages with their framing; all fields are named.");
    hello_and_welcome(&mut file);
    let mut message = |name: &str, message: &Message, fields: &[(&str, u64)]| {
        file.vector(name);
        put_message(&mut file, message);
        fields
            .iter()
            .for_each(|(name, value)| file.number(name, *value));
    };
    let refuse = Refuse {
        code: RefuseCode::Busy,
        text: "voll".to_owned(),
    };
    message("Refuse", &Message::Refuse(refuse), &[("code", 7)]);
    message("Start", &Message::Start, &[]);
    let repair = |last_good, wish| {
        Message::RepairRequest(RepairRequest {
            last_good,
            first_lost: FrameId(0x0102_0304),
            newest_lost: FrameId(0x0102_0305),
            wish,
        })
    };
    let lost = [("first-lost", 0x0102_0304), ("newest-lost", 0x0102_0305)];
    let known = [
        lost[0],
        lost[1],
        ("last-good-known", 1),
        ("last-good", 5),
        ("wish", 0),
    ];
    message(
        "RepairRequest",
        &repair(Some(FrameId(5)), RepairWish::Recovery),
        &known,
    );
    let unknown = [lost[0], lost[1], ("last-good-known", 0), ("wish", 1)];
    message(
        "RepairRequest for an IDR",
        &repair(None, RepairWish::Idr),
        &unknown,
    );
    let statistics = ClientStatistics {
        frames_received: 1,
        frames_lost: 2,
        shards_repaired: 3,
        frames_decoded: 4,
        datagrams: 5,
        bytes: 0x0102_0304_0506_0708,
        not_opened: 7,
        newest_frame: Some(FrameId(8)),
    };
    message(
        "Statistics",
        &Message::Statistics(statistics),
        &[
            ("bytes", 0x0102_0304_0506_0708),
            ("newest-known", 1),
            ("newest", 8),
        ],
    );
    message(
        "FrameTimes",
        &frame_times(),
        &[("frames", 1), ("frame", 9), ("slices", 2)],
    );
    let wanted = RequestedMode {
        width: 1000,
        height: 700,
        millihz: 144_000,
    };
    let fields = [("width", 1000), ("height", 700), ("millihz", 144_000)];
    message(
        "Reconfigure",
        &Message::Reconfigure(Reconfigure {
            number: 0x0102_0304,
            mode: wanted,
        }),
        &[&[("number", 0x0102_0304)], &fields[..]].concat(),
    );
    for (name, outcome, number, text) in [
        ("Reconfigured", ModeOutcome::Granted, 0, ""),
        (
            "Reconfigured in vain",
            ModeOutcome::Impossible,
            1,
            "zu groß",
        ),
    ] {
        message(
            name,
            &Message::Reconfigured(Reconfigured {
                number: 0x0102_0304,
                outcome,
                mode: wanted.check().expect("possible"),
                first_frame: FrameId(0x0a0b),
                text: text.to_owned(),
            }),
            &[
                &[("number", 0x0102_0304), ("outcome", number)],
                &fields[..],
                &[("first-frame", 0x0a0b)],
            ]
            .concat(),
        );
    }
    let end = End {
        reason: EndReason::Shutdown,
        text: "Schluß".to_owned(),
    };
    message("End", &Message::End(end), &[("reason", 3)]);
    clipboard(&mut file);
    file.check("messages.txt");
}

fn put_message(file: &mut Vectors, message: &Message) {
    let mut bytes = Vec::new();
    message.write(&mut bytes);
    file.number("type", message.kind() as u16);
    file.bytes("message", &bytes);
}

/// A text in one piece, and the last piece of another.
fn clipboard(file: &mut Vectors) {
    let pieces = [
        ("Clipboard", 1, 0, "Grüße\n"),
        ("Clipboard, last piece", 0x0102_0304, 8192, "…"),
    ];
    for (name, serial, offset, text) in pieces {
        let piece = ClipboardPiece {
            serial,
            seen: serial / 2,
            total_bytes: offset + text.len() as u32,
            offset,
            bytes: text.as_bytes().to_vec(),
        };
        file.vector(name);
        put_message(file, &Message::Clipboard(piece.clone()));
        for (name, value) in [
            ("serial", piece.serial),
            ("seen", piece.seen),
            ("total-bytes", piece.total_bytes),
            ("offset", piece.offset),
        ] {
            file.number(name, value);
        }
        file.bytes("piece", &piece.bytes);
    }
}

fn hello_and_welcome(file: &mut Vectors) {
    let mode = RequestedMode {
        width: 1920,
        height: 1080,
        millihz: 59_940,
    };
    file.vector("Hello");
    put_message(
        file,
        &Message::Hello(Hello {
            version: PROTOCOL_VERSION,
            mode,
            codecs: CodecSet::H264,
            fec_codes: FecCodes::ALL,
            aeads: AeadSet::ALL,
            required: Features::FRAME_TIMES,
            optional: Features::AUDIO.union(Features::AUDIO_51),
            slices: 6,
            bitrate: BitsPerSecond(20_000_000),
            fec_percent: None,
            datagram_bytes_max: 1392,
            name: "Küche".to_owned(),
        }),
    );
    for (name, value) in [
        ("version", 1),
        ("width", 1920),
        ("height", 1080),
        ("millihz", 59_940),
        ("codecs", 1),
        ("fec-codes", 6),
        ("aeads", 6),
        ("required", 1),
        ("optional", 6),
        ("slices", 6),
        ("bitrate", 20_000_000),
        ("fec-percent", 255),
        ("datagram-bytes", 1392),
    ] {
        file.number(name, value as u64);
    }
    file.bytes("name", "Küche".as_bytes());
    file.vector("Welcome");
    let session: [u8; 16] = noise(1, 16).try_into().expect("16 bytes");
    let clock = ClockDomain::derive("2f1c", &session);
    put_message(
        file,
        &Message::Welcome(Welcome {
            session,
            mode: mode.check().expect("possible"),
            codec: Codec::H264,
            aead: Aead::Aes128Gcm,
            fec_percent: Some(20),
            features: Features::AUDIO,
            slices: SliceCount::new(6).expect("not 0"),
            bitrate: BitsPerSecond(20_000_000),
            datagram_bytes_max: 1264,
            clock,
            host_name: "host".to_owned(),
            encoder_name: "x264".to_owned(),
        }),
    );
    file.bytes("session", &session);
    file.bytes("clock", &clock.0);
    for (name, value) in [
        ("width", 1920),
        ("height", 1080),
        ("millihz", 59_940),
        ("codec", 1),
        ("aead", 1),
        ("fec-percent", 20),
        ("features", 2),
        ("slices", 6),
        ("bitrate", 20_000_000),
        ("datagram-bytes", 1264),
    ] {
        file.number(name, value as u64);
    }
    file.bytes("host", b"host");
    file.bytes("encoder", b"x264");
}

fn frame_times() -> Message {
    let at = |ms: u64| Timestamp::from_ns(1_000_000_000 + ms * 1_000_000);
    let mut frame = FrameTimes {
        frame: FrameId(9),
        keyframe: true,
        captured: at(0),
        encode_begin: at(1),
        converted: at(2),
        slice_count: 2,
        qp_tenths: 301,
        ..FrameTimes::default()
    };
    for (slice, ms) in frame.slices.iter_mut().zip([3, 5]) {
        *slice = SliceTimes {
            encoded: at(ms),
            protected: at(ms + 1),
            first_byte: at(ms + 1),
            last_byte: at(ms + 2),
            bytes: 4000,
        };
    }
    Message::FrameTimes(vec![frame])
}

#[test]
fn sealed_datagrams() {
    let mut file = Vectors::about("Media datagrams; exported is the TLS exporter's output.");
    for (aead, seed) in [(Aead::Aes128Gcm, 11), (Aead::ChaCha20Poly1305, 12)] {
        let mut sealer = sealer(aead, seed);
        let mut out = vec![0; 1392];
        for sequence in [
            0,
            1,
            DATAGRAMS_PER_PHASE - 1,
            DATAGRAMS_PER_PHASE,
            DATAGRAMS_PER_PHASE + 77,
        ] {
            // Sequences are never left out by a sealer.
            while sealer.sequence() < sequence {
                let mut header = media::Kind::Padding.header();
                sealer
                    .seal(&mut header, &[], &mut out)
                    .expect("there is room");
            }
            let plaintext = noise(sequence as u32 + seed, 5 + (sequence % 40) as usize);
            let mut header: [u8; MEDIA_HEADER_BYTES] = media::Kind::Padding.header();
            let bytes = sealer
                .seal(&mut header, &plaintext, &mut out)
                .expect("room");
            assert_eq!(bytes, MEDIA_HEADER_BYTES + plaintext.len() + TAG_BYTES);
            file.vector(format_args!("{aead:?} {sequence}"));
            file.number("aead", aead as u8);
            file.bytes("exported", &exported(seed));
            file.number("sequence", sequence);
            file.bytes("plaintext", &plaintext);
            file.bytes("datagram", &out[..bytes]);
        }
    }
    file.check("sealed.txt");
}

#[test]
fn fec_blocks() {
    let mut file =
        Vectors::about("FEC: code 1 is GF(2^8), 2 is GF(2^16); shards one after the other.");
    let mut encoder = Encoder::new();
    let blocks = [
        (Code::Gf8, 1, 1, 64),
        (Code::Gf8, 4, 2, 64),
        (Code::Gf8, 20, 7, 4),
        // All of the ways that counts can lead to a rate.
        (Code::Gf16, 1, 1, 64),
        (Code::Gf16, 5, 3, 64),
        (Code::Gf16, 3, 5, 64),
        (Code::Gf16, 7, 6, 128),
        (Code::Gf16, 6, 7, 64),
        (Code::Gf16, 170, 20, 4),
        (Code::Gf8, 200, 55, 4),
    ];
    for (index, (code, k, m, shard_bytes)) in blocks.into_iter().enumerate() {
        let data = noise(100 + index as u32, k * shard_bytes);
        let mut parity = vec![0; m * shard_bytes];
        encoder
            .encode(code, shard_bytes, &data, &mut parity)
            .expect("within limits");
        file.vector(format_args!("{code:?} {k}/{m} x {shard_bytes}"));
        file.number("code", code as u8);
        file.number("k", k as u64);
        file.number("m", m as u64);
        file.number("shard-bytes", shard_bytes as u64);
        file.bytes("data", &data);
        file.bytes("parity", &parity);
    }
    file.check("fec.txt");
}

#[test]
fn video_frames() {
    let mut file = Vectors::about(
        "Frames and the datagrams that carry them; a receiver must restore each from all but any m.",
    );
    let config = PacketizerConfig {
        protection: Protection::at_frame_end(50),
        datagram_bytes_max: 600,
        ..PacketizerConfig::default()
    };
    let mut packetizer = Packetizer::new(sealer(Aead::Aes128Gcm, 21), config);
    for (frame, slices) in [(0, vec![1300, 700, 90]), (1, vec![40])] {
        file.vector(format_args!("frame {frame}"));
        file.number("aead", 1_u8);
        file.bytes("exported", &exported(21));
        file.number("frame", frame);
        let mut datagrams = Vec::new();
        for (index, bytes) in slices.iter().enumerate() {
            let data = noise(frame * 100 + index as u32, *bytes);
            file.bytes("slice", &data);
            let meta = SliceMeta {
                frame: FrameId(frame),
                index: SliceIndex(index as u8),
                last: index + 1 == slices.len(),
                keyframe: frame == 0,
                recovery: false,
                captured: Timestamp::from_ns(5_000_000 * u64::from(frame + 1)),
            };
            packetizer.begin(&meta, &data).expect("within limits");
            let mut batch = Batch::new();
            while packetizer.next_batch(&mut batch) {
                datagrams.extend(batch.iter().map(<[u8]>::to_vec));
            }
        }
        datagrams
            .iter()
            .for_each(|datagram| file.bytes("datagram", datagram));
    }
    file.check("video.txt");
}

#[test]
fn feedback_and_echo() {
    let mut file = Vectors::about("Plaintexts of feedback (0x02) and of echoes (0x05).");
    let us = |us: u64| Timestamp::from_ns(us * 1000);
    let mut full = Feedback {
        sent: Timestamp::from_ns(123_456_789_012),
        received: 4321,
        last_good: Some(FrameId(77)),
        damage: Some(Damage {
            first_lost: FrameId(78),
            newest_lost: FrameId(80),
        }),
        decode_us: 2500,
        waiting_units: 2,
        ..Feedback::default()
    };
    for (first, count, arrival) in [(1000, 4, us(123_450_000)), (1005, 2, us(123_450_700))] {
        full.receipts.push(Receipt {
            first,
            count,
            arrival,
        });
    }
    full.wants.push(Want {
        frame: FrameId(78),
        first_column: 3,
        count: 2,
    });
    for (name, feedback) in [("empty", Feedback::default()), ("full", full)] {
        let mut out = [0; FEEDBACK_BYTES_MAX];
        let bytes = feedback.write(&mut out);
        file.vector(format_args!("feedback {name}"));
        file.number("sent-ns", feedback.sent.as_ns());
        file.number("received", feedback.received);
        file.number("last-good", feedback.last_good.map_or(0, |frame| frame.0));
        file.number("decode-us", feedback.decode_us);
        for receipt in feedback.receipts.as_slice() {
            file.number("receipt-first", receipt.first);
            file.number("receipt-count", receipt.count);
            file.number("receipt-arrival-us", receipt.arrival.as_ns() / 1000);
        }
        for want in feedback.wants.as_slice() {
            file.number("want-frame", want.frame.0);
            file.number("want-column", want.first_column);
            file.number("want-count", want.count);
        }
        file.bytes("feedback", &out[..bytes]);
    }
    let echo = Echo {
        client_sent: Timestamp::from_ns(1),
        host_received: Timestamp::from_ns(0x0102_0304_0506),
        host_sent: Timestamp::from_ns(0x0102_0304_0607),
    };
    file.vector("echo");
    file.number("t1-ns", echo.client_sent.as_ns());
    file.number("t2-ns", echo.host_received.as_ns());
    file.number("t3-ns", echo.host_sent.as_ns());
    file.bytes("echo", &echo.to_wire());
    file.check("feedback.txt");
}

#[test]
fn microphone_datagrams() {
    let mut file = Vectors::about("Microphone: datagrams of the client.");
    let mut sender = MicrophoneSender::default();
    let mut datagram = Vec::new();
    for number in 0_u32..300 {
        let packet = noise(number, 1 + (number % 90) as usize);
        sender.send(&packet, &mut datagram).expect("within limits");
        if [0, 1, 299].contains(&number) {
            file.vector(format_args!("packet {number}"));
            file.number("number", number);
            file.bytes("packet", &packet);
            file.bytes("datagram", &datagram);
        }
    }
    file.check("microphone.txt");
}

#[test]
fn audio_datagrams() {
    let mut file = Vectors::about("Sound: datagrams of the host, and the client's report.");
    let mut sender = AudioSender::new();
    let mut now = Timestamp::from_ns(1_000_000_000);
    // A client that has lost every fourth datagram so far: copies follow.
    let mut datagram = Vec::new();
    for number in 0_u32..400 {
        now = now + Duration::from_millis(5);
        let packet = noise(number, 20 + (number % 7) as usize);
        sender
            .send(now, &packet, &mut datagram)
            .expect("within limits");
        if number % 20 == 19 {
            let report = AudioReport {
                delay_ms: 20,
                newest: number,
                arrived: 0x7777_7777_7777_7777,
            };
            sender
                .handle_report(now, &report)
                .expect("of what was sent");
        }
        if [0, 1, 398, 399].contains(&number) {
            file.vector(format_args!("packet {number}"));
            file.number("number", number);
            file.number("captured-us", now.as_ns() / 1000);
            file.bytes("packet", &packet);
            file.bytes("audio", &datagram);
        }
    }
    assert!(datagram[2] > 0, "copies ride along");
    let report = AudioReport {
        delay_ms: 31,
        newest: 399,
        arrived: 0x8000_0000_0000_0005,
    };
    report.write(&mut datagram);
    file.vector("report");
    file.number("delay-ms", report.delay_ms);
    file.number("newest", report.newest);
    file.number("arrived", report.arrived);
    file.bytes("report", &datagram);
    file.check("audio.txt");
}

#[test]
fn input_packets() {
    let mut file =
        Vectors::about("Input packets as datagrams carry them, and controllers' output.");
    let mut sender = InputSender::default();
    let mut now = Timestamp::from_ns(1_000_000_000);
    let mut packet = Vec::new();
    for (name, event) in input_events() {
        // Long enough for every repetition of the one before to be over, and what rests is told.
        for _ in 0..40 {
            now = now + Duration::from_millis(5);
            sender.handle_timeout(now);
            while sender.poll_datagram(now, &mut packet) {}
            while sender.poll_message(now, &mut packet) {}
        }
        sender.push(now, event);
        file.vector(name);
        while sender.poll_datagram(now, &mut packet) {
            file.bytes("input", &packet);
        }
    }
    let output = PadOutput::Rumble {
        controller: 3,
        strong: 0x1234,
        weak: 0xffff,
    };
    file.vector("rumble");
    file.bytes("output", &OutputSender::default().packet(output));
    file.check("input.txt");
}

fn input_events() -> Vec<(&'static str, InputEvent)> {
    let position = Position { x: 0.25, y: 1.0 };
    let key = |pressed| {
        InputEvent::Key(KeyEvent {
            virtual_key: 65,
            pressed,
            modifiers: Modifiers {
                shift: true,
                ..Modifiers::default()
            },
            is_layout_dependent: false,
        })
    };
    let axis = ScrollAxis::Vertical;
    let contact = Contact {
        kind: ContactKind::Down,
        position,
        pressure_or_distance: 0.5,
        major: 0.0,
        minor: 0.0,
        rotation: None,
    };
    let button = PointerButton::Right;
    vec![
        ("key down", key(true)),
        ("key up", key(false)),
        ("text", InputEvent::Text(Text::new("äß").expect("short"))),
        ("motion", InputEvent::PointerMotion { dx: 5, dy: -7 }),
        ("position", InputEvent::PointerPosition(position)),
        (
            "button",
            InputEvent::PointerButton {
                button,
                pressed: true,
            },
        ),
        ("scroll", InputEvent::Scroll { axis, amount: -120 }),
        ("touch", InputEvent::Touch(TouchEvent { id: 7, contact })),
        (
            "controller",
            InputEvent::ControllerState(ControllerState {
                controller: 1,
                present: 2,
                buttons: 0x1000,
                left_trigger: 1,
                right_trigger: 255,
                left_stick: [-32768, 32767],
                right_stick: [1, -1],
            }),
        ),
    ]
}
