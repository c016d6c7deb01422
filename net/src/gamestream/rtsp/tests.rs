use proptest::prelude::*;

use super::*;
use crate::crypto::Gcm;
use crate::gamestream::sdp::{Description, Encryption, SdpError};
use crate::gamestream::video::VideoFormat;

const KEY: [u8; 16] = *b"a client's key..";

fn session(encrypted: bool) -> RtspSession {
    RtspSession::new(RtspSessionConfig {
        session: "5e551070".into(),
        ports: Ports {
            audio: 48_000,
            video: 47_998,
            control: 47_999,
        },
        audio_ping: *b"0123456789abcdef",
        video_ping: *b"fedcba9876543210",
        connect_data: 3_735_928_559,
        description: Description {
            supported: Encryption::from_flags(7),
            ..Description::default()
        },
        key: KEY,
        encrypted,
        encryption_required: false,
    })
}

fn read(text: &str) -> Request {
    match RtspReader::new().handle_bytes(text.as_bytes()) {
        Ok(Some(Received::Plain(request))) => request,
        other => panic!("{text}: {other:?}"),
    }
}

fn request(method: &str, target: &str, cseq: u32, rest: &str) -> Request {
    read(&format!(
        "{method} {target} RTSP/1.0\r\nCSeq: {cseq}\r\nX-GS-ClientVersion: 14\r\n\
         Host: 10.0.0.1\r\n{rest}\r\n"
    ))
}

fn text(step: &Step) -> String {
    let response = step.response.clone().expect("an answer");
    String::from_utf8(response).expect("text")
}

const SDP: &str = "v=0\r\na=x-nv-general.useReliableUdp:13 \r\na=x-nv-video[0].maxFPS:60 \r\n\
    a=x-nv-video[0].clientViewportWd:1280 \r\na=x-nv-video[0].clientViewportHt:720 \r\n\
    a=x-nv-video[0].packetSize:1024 \r\na=x-nv-vqos[0].bw.maximumBitrateKbps:8000 \r\n";

fn announce(sdp: &str) -> Request {
    let text = format!(
        "ANNOUNCE streamid=control/13/0 RTSP/1.0\r\nCSeq: 6\r\nHost: 0.0.0.0\r\n\
         Session: 5e551070\r\nContent-type: application/sdp\r\nContent-length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    read(&text)
}

fn set_up(session: &mut RtspSession) {
    for (cseq, name) in ["audio/0/0", "video/0/0", "control/13/0"]
        .iter()
        .enumerate()
    {
        let target = format!("streamid={name}");
        let step = session.handle(&request("SETUP", &target, cseq as u32, ""), false);
        assert!(text(&step).starts_with("RTSP/1.0 200 OK\r\n"));
    }
}

#[test]
fn golden_answers_of_a_whole_handshake() {
    let mut session = session(false);
    let step = session.handle(&request("OPTIONS", "rtsp://0.0.0.0:48010", 1, ""), false);
    assert_eq!(
        text(&step),
        "RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: OPTIONS, DESCRIBE, SETUP, ANNOUNCE, PLAY\r\n\r\n"
    );
    let step = session.handle(&request("DESCRIBE", "rtsp://0.0.0.0:48010", 2, ""), false);
    let (head, sdp) = text(&step)
        .split_once("\r\n\r\n")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .expect("both");
    assert_eq!(
        head,
        format!(
            "RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-type: application/sdp\r\nContent-length: {}",
            sdp.len()
        )
    );
    assert!(sdp.contains("a=x-ss-general.encryptionSupported:7\r\n"));
    let step = session.handle(&request("SETUP", "streamid=audio/0/0", 3, ""), false);
    assert_eq!(
        text(&step),
        "RTSP/1.0 200 OK\r\nCSeq: 3\r\nSession: 5e551070;timeout = 90\r\n\
         Transport: unicast;server_port=48000\r\nX-SS-Ping-Payload: 0123456789abcdef\r\n\r\n"
    );
    let step = session.handle(
        &request("SETUP", "streamid=video/0/0", 4, "Session: 5e551070\r\n"),
        false,
    );
    assert!(text(&step).contains("server_port=47998\r\nX-SS-Ping-Payload: fedcba9876543210\r\n"));
    let step = session.handle(
        &request("SETUP", "streamid=control/13/0", 5, "Session: 5e551070\r\n"),
        false,
    );
    assert!(text(&step).contains("server_port=47999\r\nX-SS-Connect-Data: 3735928559\r\n"));
    let step = session.handle(&announce(SDP), false);
    assert_eq!(step.response, None);
    match step.event {
        Some(RtspEvent::Announced(announced)) => {
            assert_eq!(announced.config.packet_bytes, 1024);
            assert!(
                !announced.config.audio.high_quality,
                "0.0.0.0 asks for little"
            );
        }
        other => panic!("{other:?}"),
    }
    let answer = session.answer_announce(Ok(())).expect("it waits");
    assert_eq!(answer, b"RTSP/1.0 200 OK\r\nCSeq: 6\r\n\r\n");
    assert_eq!(session.answer_announce(Ok(())), None);
    let play = request("PLAY", "/", 7, "Session: 5e551070\r\n");
    assert_eq!(session.handle(&play, false).event, Some(RtspEvent::Play));
    assert!(session.is_playing());
    let again = session.handle(&play, false);
    assert_eq!(
        (again.event.is_none(), text(&again).contains("200")),
        (true, true)
    );
}

#[test]
fn what_is_out_of_order_or_anothers_is_refused() {
    let status = |step: &Step| text(step)[9..12].to_owned();
    let mut session = session(false);
    let play = request("PLAY", "/", 1, "Session: 5e551070\r\n");
    assert_eq!(status(&session.handle(&play, false)), "455");
    assert_eq!(status(&session.handle(&announce(SDP), false)), "455");
    set_up(&mut session);
    assert_eq!(status(&session.handle(&play, false)), "455");
    let other = request("SETUP", "streamid=video/0/0", 1, "Session: DEADBEEF\r\n");
    assert_eq!(status(&session.handle(&other, false)), "454");
    let none = request("PLAY", "/", 1, "");
    assert_eq!(status(&session.handle(&none, false)), "454");
    for target in ["streamid=microphone/0/0", "/", "streamid="] {
        assert_eq!(
            status(&session.handle(&request("SETUP", target, 1, ""), false)),
            "404"
        );
    }
    assert_eq!(
        status(&session.handle(&request("TEARDOWN", "/", 1, ""), false)),
        "405"
    );
    assert!(session.handle(&announce(SDP), false).event.is_some());
    let refused = session
        .answer_announce(Err((Status::Unavailable, "the display keeps 640x360@60")))
        .expect("it waits");
    assert!(refused.starts_with(b"RTSP/1.0 503 the display keeps 640x360@60\r\nCSeq: 6\r\n"));
    assert!(
        session.handle(&announce(SDP), false).event.is_some(),
        "it may ask again"
    );
}

/// A refused wish is told in the status line, whatever it is.
#[test]
fn the_status_line_says_why() {
    let mut session = session(false);
    set_up(&mut session);
    let mut refused = |sdp: &str| {
        let step = session.handle(&announce(sdp), false);
        let line = text(&step).lines().next().expect("a line").to_owned();
        match step.event {
            Some(RtspEvent::Refused(error)) => (error, line),
            other => panic!("{other:?}"),
        }
    };
    let (error, line) = refused(&SDP.replace("1024", "9000"));
    assert!(matches!(error, AnnounceError::Sdp(SdpError::Range { .. })));
    assert!(
        line.starts_with("RTSP/1.0 400 x-nv-video[0].packetSize is 9000: it must lie between"),
        "{line}"
    );
    let (_, line) = refused(&SDP.replace("1280", "1281"));
    assert_eq!(
        line,
        "RTSP/1.0 400 the stream cannot have that mode: 1281x720 has an odd side: 4:2:0 video \
         needs even sizes"
    );
    let (error, line) = refused(&format!("{SDP}a=x-nv-vqos[0].bitStreamFormat:1 \r\n"));
    assert_eq!(error, AnnounceError::Codec(VideoFormat::Hevc));
    assert!(
        line.starts_with("RTSP/1.0 415 this host does not encode Hevc"),
        "{line}"
    );
    session.handle(&announce(SDP), false);
    let hostile = format!("two\r\nlines, gr\u{fc}\u{df}e {}", "x".repeat(9000));
    let answer = session.answer_announce(Err((Status::BadRequest, &hostile)));
    let answer = String::from_utf8(answer.expect("it waits")).expect("text");
    let (line, rest) = answer.split_once("\r\n").expect("a line");
    assert!(
        line.starts_with("RTSP/1.0 400 two??lines, gr??e x"),
        "{line}"
    );
    assert!(line.len() < 300);
    assert_eq!(rest, "CSeq: 6\r\n\r\n");
}

fn sealed(sequence: u32, plain: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 24 + plain.len()];
    let (head, body) = out.split_at_mut(24);
    let mut tag = [0; 16];
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&sequence.to_le_bytes());
    nonce[10..].copy_from_slice(b"CR");
    Gcm::new(&KEY).seal(&nonce, plain, body, &mut tag);
    head[..4].copy_from_slice(&(plain.len() as u32 | 1 << 31).to_be_bytes());
    head[4..8].copy_from_slice(&sequence.to_be_bytes());
    head[8..].copy_from_slice(&tag);
    out
}

#[test]
fn encrypted_requests_are_answered_encrypted_and_once() {
    let mut session = session(true);
    let plain = b"OPTIONS / RTSP/1.0\r\nCSeq: 9\r\n\r\n";
    let bytes = sealed(1, plain);
    let mut reader = RtspReader::new();
    assert_eq!(reader.handle_bytes(&bytes[..30]), Ok(None));
    let Ok(Some(Received::Sealed(received))) = reader.handle_bytes(&bytes[30..]) else {
        panic!("a sealed request")
    };
    assert_eq!(received.open(&[0; 16]), Err(RtspError::Sealed));
    let request = session.open(&received).expect("its key");
    let response = session.handle(&request, true).response.expect("an answer");
    assert_eq!(
        response[..8],
        [0x80, 0, 0, response.len() as u8 - 24, 0, 0, 0, 1]
    );
    let mut body = response[24..].to_vec();
    let tag = response[8..24].try_into().expect("16 bytes");
    assert!(Gcm::new(&KEY).open(b"\x01\0\0\0\0\0\0\0\0\0HR", &mut body, &tag));
    assert!(body.starts_with(b"RTSP/1.0 200 OK\r\nCSeq: 9\r\n"));
    assert_eq!(
        session.open(&received),
        Err(RtspError::Replayed { sequence: 1 })
    );
    let step = session.handle(&request, false);
    assert!(text(&step).starts_with("RTSP/1.0 403"), "not in plain text");
}

#[test]
fn malformed_and_endless_requests_are_refused() {
    for bad in [
        "GET / HTTP/1.1\r\nCSeq: 1\r\n\r\n",
        "OPTIONS /\r\nCSeq: 1\r\n\r\n",
        "OPTIONS / RTSP/1.0 x\r\nCSeq: 1\r\n\r\n",
        "OPTIONS / RTSP/1.0\r\n\r\n",
        "OPTIONS / RTSP/1.0\r\nCSeq: -1\r\n\r\n",
        "OPTIONS / RTSP/1.0\r\nCSeq: 1\r\nCSeq: 1\r\n\r\n",
        "OPTIONS / RTSP/1.0\r\nCSeq: 99999999999\r\n\r\n",
        "OPTIONS / RTSP/1.0\r\nCSeq\r\n\r\n",
        "ANNOUNCE / RTSP/1.0\r\nCSeq: 1\r\nContent-length: 4294967295\r\n\r\n",
        "ANNOUNCE / RTSP/1.0\r\nCSeq: 1\r\nContent-length: +5\r\n\r\n",
    ] {
        let outcome = RtspReader::new().handle_bytes(bad.as_bytes());
        assert!(outcome.is_err(), "{bad}: {outcome:?}");
    }
    let mut reader = RtspReader::new();
    let mut fed = 0;
    while reader.handle_bytes(b"OPTIONS / RTSP/1.0 and so on ") == Ok(None) {
        fed += 1;
        assert!(fed < 1000, "it ends");
    }
    let huge = RtspReader::new().handle_bytes(&[0xff; 24]);
    assert!(matches!(huge, Err(RtspError::TooLong { .. })), "{huge:?}");
}

proptest! {
    /// However a request is cut, it is the same request.
    #[test]
    fn cuts_do_not_matter(cut in 0..200usize, second in 0..200usize) {
        let text = format!(
            "ANNOUNCE a RTSP/1.0\r\nCSeq: 6\r\nSession: s;x\r\n\
             Content-Length: {}\r\n\r\n{SDP}",
            SDP.len()
        );
        let whole = read(&text);
        let (cut, second) = (cut.min(text.len()), (cut + second).min(text.len()));
        let mut reader = RtspReader::new();
        let mut found = None;
        for part in [&text[..cut], &text[cut..second], &text[second..]] {
            if let Some(received) = reader.handle_bytes(part.as_bytes()).expect("valid") {
                found = Some(received);
            }
        }
        prop_assert_eq!(found, Some(Received::Plain(whole)));
    }
}
