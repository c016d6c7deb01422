//! Arbitrary RTSP and session descriptions: whatever is taken is within its limits.

use net::gamestream::rtsp::{Ports, Received, RtspReader, RtspSession, RtspSessionConfig};
use net::gamestream::sdp::{Description, StreamConfig};
use net::gamestream::video::{PACKET_BYTES_MAX, PACKET_BYTES_MIN};

/// A connection's bytes, in two parts.
pub fn run(data: &[u8]) {
    if let Ok(announced) = StreamConfig::parse(data) {
        let config = announced.config;
        assert!((PACKET_BYTES_MIN..=PACKET_BYTES_MAX).contains(&config.packet_bytes));
        assert!(matches!(config.audio.channels, 2 | 6 | 8));
    }
    let mut session = RtspSession::new(RtspSessionConfig {
        session: "1".into(),
        ports: Ports {
            audio: 1,
            video: 2,
            control: 3,
        },
        audio_ping: *b"0123456789abcdef",
        video_ping: *b"0123456789abcdef",
        connect_data: 1,
        description: Description::default(),
        key: [0; 16],
        encrypted: data.first().is_some_and(|first| first & 0x80 != 0),
        encryption_required: false,
    });
    let mut reader = RtspReader::new();
    let (head, tail) = data.split_at(data.len() / 2);
    for part in [head, tail] {
        match reader.handle_bytes(part) {
            Ok(Some(Received::Plain(request))) => {
                let step = session.handle(&request, false);
                assert!(step.response.is_some() || step.event.is_some());
                return;
            }
            Ok(Some(Received::Sealed(sealed))) => {
                assert!(session.open(&sealed).is_err(), "nobody has the key");
                return;
            }
            Ok(None) => {}
            Err(_) => return,
        }
    }
}
