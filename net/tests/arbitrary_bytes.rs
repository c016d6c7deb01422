//! Whatever a peer sends, nothing panics and everything stays within its limits. The bodies are
//! those of the fuzz targets in `net/fuzz`.

use proptest::prelude::*;

#[path = "../fuzz/bodies/audio_plane.rs"]
mod audio_plane;
#[path = "../fuzz/bodies/clock_echo.rs"]
mod clock_echo;
#[path = "../fuzz/bodies/control_stream.rs"]
mod control_stream;
#[path = "../fuzz/bodies/cursor_plane.rs"]
mod cursor_plane;
#[path = "../fuzz/bodies/feedback.rs"]
mod feedback;
#[path = "../fuzz/bodies/input_plane.rs"]
mod input_plane;
#[path = "../fuzz/bodies/gamestream_http.rs"]
mod gamestream_http;
#[path = "../fuzz/bodies/gamestream_pairing.rs"]
mod gamestream_pairing;
#[path = "../fuzz/bodies/gamestream_control.rs"]
mod gamestream_control;
#[path = "../fuzz/bodies/gamestream_text.rs"]
mod gamestream_text;
#[path = "../fuzz/bodies/gamestream_video.rs"]
mod gamestream_video;
#[path = "../fuzz/bodies/media_header.rs"]
mod media_header;
#[path = "../fuzz/bodies/reassembler.rs"]
mod reassembler;

/// A stream of messages with valid headers and arbitrary, mostly short bodies.
fn framed() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![
        0..6u16,
        0x0f..0x14u16,
        0x1f..0x22u16,
        Just(0x40),
        0x48..0x4au16,
        any::<u16>()
    ];
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..90),
        prop::collection::vec(0..3u8, 0..90),
    ];
    let message = (kind, body).prop_map(|(kind, body)| {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    });
    (any::<[u8; 2]>(), prop::collection::vec(message, 0..12)).prop_map(|(first, messages)| {
        let mut stream = first.to_vec();
        stream.extend(messages.concat());
        stream
    })
}

/// The commands of the reassembler's body do reach whole frames: of one shard, and of two whose
/// second is recovered.
#[test]
fn commands_make_frames() {
    let one = [0, 0, 0, 0, 2, 0, 0x18, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let first = [0, 0, 1, 0, 2, 0, 0x08, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let parity = [0, 0, 0, 0, 2, 0, 0x10, 0, 1, 1, 0, 1, 0, 64, 0, 0];
    let stats = reassembler::run(&[one, one, first, parity].concat());
    assert_eq!(
        (stats.frames, stats.repaired_shards, stats.lost_frames),
        (3, 1, 0)
    );
}

/// The commands of the audio body do reach a stream that plays, repairs and starts anew.
#[test]
fn commands_make_audio() {
    let on_time = [50, 100, 0, 0, 0, 0, 2, 0];
    let jump = [50, 100, 0xff, 9, 9, 9, 9, 0];
    let lost = [100, 100, 0x80 + 43, 0, 0, 0, 2, 0];
    let stats = audio_plane::run(
        &[
            [on_time; 100].concat(),
            lost.to_vec(),
            [on_time; 9].concat(),
            jump.to_vec(),
        ]
        .concat(),
    );
    assert!(stats.played > 90, "{stats:?}");
    // The one that is lost, and two from before the first datagram.
    assert_eq!((stats.repaired, stats.starts), (3, 2), "{stats:?}");
}

/// The bodies of GameStream do reach what they are for.
#[test]
fn commands_make_pairings() {
    let begin = [0, 0, 0, 0];
    let pin = [1, 0, 5, 0];
    let steps = [[2, 0, 7, 0], [3, 0, 7, 0], [4, 0, 7, 0]];
    let late = [6, 0, 0, 255];
    let commands = [&[begin, pin], &steps[..], &[begin], &[late; 3]].concat();
    let reached = gamestream_pairing::run(&commands.concat());
    let expected = gamestream_pairing::Reached {
        begun: 2,
        answered: 2,
        wrong: 1,
        timed_out: 1,
    };
    assert_eq!(reached, expected);
    let request = b"\x07GET /unpair?uniqueid=1 HTTP/1.1\r\nHost: h\r\n\r\n";
    assert!(gamestream_http::run(request));
}

/// A request of a kind that exists, with values that may be anything printable.
fn gamestream_request() -> impl Strategy<Value = Vec<u8>> {
    let path = prop::sample::select(vec![
        "/serverinfo",
        "/pair",
        "/unpair",
        "/appasset",
        "/launch",
        "/resume",
        "/cancel",
    ]);
    let name = prop::sample::select(vec![
        "uniqueid",
        "phrase",
        "salt",
        "clientcert",
        "clientchallenge",
        "serverchallengeresp",
        "clientpairingsecret",
        "appid",
        "mode",
        "rikey",
        "rikeyid",
        "surroundAudioInfo",
        "surroundParams",
        "gcmap",
        "corever",
    ]);
    let value = prop_oneof![
        Just("getservercert".to_owned()),
        Just("1920x1080x60".to_owned()),
        "[0-9a-f]{32}",
        "[0-9]{1,12}",
        "[ -~]{0,20}",
    ];
    let fields = prop::collection::vec((name, value), 0..20);
    (any::<u8>(), path, fields).prop_map(|(cut, path, fields)| {
        let fields = fields.iter().map(|(name, value)| format!("{name}={value}"));
        let query = fields.collect::<Vec<_>>().join("&");
        let mut data = vec![cut];
        data.extend(format!("GET {path}?{query} HTTP/1.1\r\n\r\n").into_bytes());
        data
    })
}

proptest! {
    #[test]
    fn gamestream_bytes(data in prop::collection::vec(any::<u8>(), 0..600)) {
        gamestream_http::run(&data);
    }

    #[test]
    fn gamestream_requests(data in gamestream_request()) {
        gamestream_http::run(&data);
    }

    #[test]
    fn gamestream_pairings(data in prop::collection::vec(any::<u8>(), 0..600)) {
        gamestream_pairing::run(&data);
    }

    /// Few clients and little time: pairings get far.
    #[test]
    fn gamestream_pairings_of_few(
        commands in prop::collection::vec((0..7u8, 0..4u8, 0..12u8, 0..40u8), 0..200),
    ) {
        let bytes = commands.into_iter().flat_map(|(a, b, c, d)| [a, b, c, d]);
        gamestream_pairing::run(&bytes.collect::<Vec<_>>());
    }

    #[test]
    fn audio(data in prop::collection::vec(any::<u8>(), 0..3000)) {
        audio_plane::run(&data);
    }

    /// Near a datagram that is valid, with one byte of another value.
    #[test]
    fn nearly_valid_audio(at in 0..19usize, value in any::<u8>()) {
        let mut data = [0xc9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0, 7, 8];
        data[at] = value;
        audio_plane::run(&data);
    }

    #[test]
    fn input(data in prop::collection::vec(any::<u8>(), 0..3000)) {
        input_plane::run(&data);
    }

    /// Packets with a valid header: a state, a snapshot, events of known kinds.
    #[test]
    fn nearly_valid_input(
        packets in prop::collection::vec(
            (0..4u8, 0..6u8, 0..6u8, 0..4u8, prop::collection::vec(0..16u8, 0..200)),
            0..12,
        ),
    ) {
        let mut data = Vec::new();
        for (flags, sequence, first, count, body) in packets {
            let mut packet = vec![0xc8, flags, sequence, 0, 0, 0, first, 0, 0, 0, count, 0];
            packet.extend_from_slice(&body);
            data.extend_from_slice(&(packet.len() as u16).to_le_bytes());
            data.extend_from_slice(&packet);
        }
        input_plane::run(&data);
    }

    #[test]
    fn cursor(data in prop::collection::vec(any::<u8>(), 0..3000)) {
        cursor_plane::run(&data);
    }

    #[test]
    fn datagrams(data in prop::collection::vec(any::<u8>(), 0..1500)) {
        media_header::run(&data);
    }

    /// Near a header that is valid, with one byte of another value.
    #[test]
    fn nearly_valid_datagrams(parity in any::<bool>(), at in 0..32usize, value in any::<u8>()) {
        let mut data = vec![0; 24 + 1344 + 16];
        if parity {
            data.resize(24 + 8 + 1344 + 16, 0);
            (data[0], data[3], data[24], data[26]) = (3, 1, 20, 4);
        } else {
            (data[0], data[18], data[19]) = (1, 64, 5);
        }
        data[at] = value;
        media_header::run(&data);
    }

    #[test]
    fn shards(data in prop::collection::vec(any::<u8>(), 0..8000)) {
        reassembler::run(&data);
    }

    /// Few distinct values make frames that become whole, and contradictions.
    #[test]
    fn similar_shards(
        base in any::<[u8; 16]>(),
        changes in prop::collection::vec((0..16usize, 0..8u8), 0..600),
    ) {
        let mut data = Vec::new();
        let mut command = base;
        for (at, value) in changes {
            command[at] = value;
            data.extend_from_slice(&command);
        }
        reassembler::run(&data);
    }

    #[test]
    fn feedback_bytes(data in prop::collection::vec(any::<u8>(), 0..900)) {
        feedback::run(&data);
    }

    /// The announced length, few bits set: most checks are passed.
    #[test]
    fn nearly_valid_feedback(
        receipts in 0..4u8,
        wants in 0..4u8,
        set in prop::collection::vec((0..116usize, 0..3u8), 0..24),
    ) {
        let mut data = vec![0; 52 + 8 * usize::from(receipts + wants)];
        (data[50], data[51]) = (receipts, wants);
        for item in data[52..].chunks_exact_mut(8) {
            item[4] = 1;
            item[6] = 1;
        }
        if receipts > 0 {
            data[25] = 1;
            data[58] = 0;
        }
        for (at, value) in set {
            if at != 50 && at != 51 && at < data.len() {
                data[at] = value;
            }
        }
        feedback::run(&data);
    }

    #[test]
    fn control_bytes(data in prop::collection::vec(any::<u8>(), 0..600)) {
        control_stream::run(&data);
    }

    #[test]
    fn control_messages(data in framed()) {
        control_stream::run(&data);
    }

    #[test]
    fn gamestream_control_bytes(data in prop::collection::vec(any::<u8>(), 0..600)) {
        gamestream_control::run(&data);
    }

    /// Lengths that fit, few distinct values: much passes the first checks.
    #[test]
    fn gamestream_control_datagrams(
        datagrams in prop::collection::vec(prop::collection::vec(0..12u8, 4..60), 0..20),
    ) {
        let framed = datagrams.iter().flat_map(|it| [&[it.len() as u8][..], it].concat());
        gamestream_control::run(&framed.collect::<Vec<_>>());
    }

    #[test]
    fn gamestream_text_bytes(data in prop::collection::vec(any::<u8>(), 0..300)) {
        gamestream_text::run(&data);
    }

    /// Lines that look like requests and attributes.
    #[test]
    fn gamestream_lines(
        lines in prop::collection::vec(
            (
                "[A-Z]{0,3}(OPTIONS|a=x-nv-video\\[0\\].maxFPS:|CSeq:|Content-length:)?[ -~]{0,20}",
                any::<bool>(),
            ),
            0..12,
        ),
    ) {
        let text: String = lines
            .iter()
            .map(|(line, end)| format!("{line}{}", if *end { "\r\n" } else { " RTSP/1.0\r\n" }))
            .collect();
        gamestream_text::run(format!("{text}\r\n").as_bytes());
    }

    #[test]
    fn gamestream_slices(data in prop::collection::vec(any::<u8>(), 0..160)) {
        gamestream_video::run(&data);
    }

    /// Stamps of any size, and such as nearly make samples.
    #[test]
    fn echoes(
        any in prop::collection::vec(any::<u64>(), 0..60),
        near in prop::collection::vec((0..4u64, any::<bool>()), 0..400),
    ) {
        let bytes = |stamps: Vec<u64>| -> Vec<u8> {
            stamps.iter().flat_map(|stamp| stamp.to_le_bytes()).collect()
        };
        clock_echo::run(&bytes(any));
        let near = near.iter().enumerate().map(|(i, &(ms, host))| {
            (i as u64 / 4 * 900 + ms * 400 + u64::from(host) * 5_000) * 1_000_000
        });
        clock_echo::run(&bytes(near.collect()));
    }
}
