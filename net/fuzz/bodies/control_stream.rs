//! Arbitrary bytes, arbitrarily cut, on both ends of a control stream, in every state.

use net::crypto::Aead;
use net::limits;
use net::native::pairing::{Binding, EXPORTER_BYTES, Entropy, PairingSession};
use net::native::{
    AeadSet, ClientEvent, ClientSession, ClientState, ClockDomain, Codec, CodecSet, Features,
    FecCodes, Framer, Hello, HostEvent, HostSession, HostState, StepLimits, Welcome,
};
use net::units::{BitsPerSecond, Mode, RefreshMilliHz, SliceCount, Timestamp};

/// The first byte chooses how far the session is when the rest of the input comes, the second
/// how it is cut.
pub fn run(data: &[u8]) {
    let [depth, cut, stream @ ..] = data else {
        return;
    };
    let chunk_bytes = 1 + usize::from(*cut);
    let mut framer = Framer::new(|kind| kind < 0x20);
    let mut host = host(depth % 4);
    let mut client = client(depth % 4);
    let mut pairing = pairing(depth % 2);
    for chunk in stream.chunks(chunk_bytes) {
        let mut rest = chunk;
        while let Ok(Some(raw)) = framer.feed(&mut rest) {
            assert!(raw.body.len() <= limits::CONTROL_BODY_BYTES_MAX);
        }
        assert!(framer.held_bytes() <= 2 * limits::CONTROL_BODY_BYTES_MAX);

        let result = host.handle_stream(now(2), chunk);
        assert!(result.is_ok() || host.state() == HostState::Ended);
        let result = client.handle_stream(now(2), chunk);
        assert!(result.is_ok() || client.state() == ClientState::Ended);
        pairing.handle_stream(now(2), chunk);
    }
    pairing.handle_timeout(now(60_000));
    assert!(pairing.has_ended() && pairing.poll_event().is_some());
    assert!(pairing.poll_event().is_none(), "it ends once");
    host.handle_timeout(now(60_000));
    client.handle_timeout(now(60_000));
    for waiting in [host.poll_transmit(), client.poll_transmit()] {
        assert!(waiting.is_none_or(|bytes| bytes.len() <= limits::CONTROL_OUTBOX_BYTES_MAX));
    }
    let (mut ends, mut changes) = (0, 0);
    while let Some(event) = host.poll_event() {
        ends += u32::from(matches!(event, HostEvent::Ended(_)));
        changes += u32::from(matches!(event, HostEvent::ChangeMode(_)));
    }
    assert!(ends <= 1, "a session ends once");
    assert!(changes <= 1, "one change of mode is in work");
    let (mut outputs, mut others) = (0, 0);
    while let Some(event) = client.poll_event() {
        match event {
            ClientEvent::FrameTimes(_) => {}
            ClientEvent::PadOutput(_) => outputs += 1,
            _ => others += 1,
        }
    }
    assert!(outputs <= 256, "the newest for each controller");
    assert!(
        others <= 5,
        "Welcome or Refused, the newest mode and text, the cursor, one end"
    );
}

fn now(ms: u64) -> Timestamp {
    Timestamp::from_ns(ms * 1_000_000)
}

/// A client that pairs, before and after it has begun.
fn pairing(depth: u8) -> PairingSession {
    let pin = "123456".parse().expect("a PIN");
    let mut pairing = PairingSession::new(now(0), StepLimits::default(), pin, String::new());
    if depth > 0 {
        let fingerprint = "00".repeat(32).parse().expect("a fingerprint");
        let binding = Binding {
            client: fingerprint,
            host: fingerprint,
            channel: [0; EXPORTER_BYTES],
        };
        pairing.handle_connected(now(1), binding, &Entropy::new([1; 48]));
    }
    pairing
}

fn hello() -> Hello {
    Hello {
        version: 1,
        mode: mode().into(),
        codecs: CodecSet::H264,
        fec_codes: FecCodes::ALL,
        aeads: AeadSet::ALL,
        required: Features::NONE,
        optional: Features::FRAME_TIMES,
        slices: 0,
        bitrate: BitsPerSecond(0),
        fec_percent: None,
        datagram_bytes_max: 1392,
        name: String::new(),
    }
}

fn mode() -> Mode {
    let refresh = RefreshMilliHz::new(60_000).expect("60 Hz");
    Mode::new(1280, 720, refresh.get()).expect("720p")
}

fn welcome() -> Welcome {
    Welcome {
        session: [0; 16],
        mode: mode(),
        codec: Codec::H264,
        aead: Aead::Aes128Gcm,
        fec_percent: Some(20),
        features: Features::FRAME_TIMES.union(Features::CLIPBOARD),
        slices: SliceCount::ONE,
        bitrate: BitsPerSecond(1_000_000),
        datagram_bytes_max: 1392,
        clock: ClockDomain([0; 16]),
        host_name: String::new(),
        encoder_name: String::new(),
    }
}

/// A host that has gone `depth` steps with a peer that behaves.
fn host(depth: u8) -> HostSession {
    let mut host = HostSession::new(now(0), StepLimits::default());
    let mut peer = ClientSession::new(now(0), StepLimits::default(), hello());
    for step in 0..depth {
        match step {
            0 => peer.handle_connected(now(1)),
            1 => {
                assert!(host.accept(now(1), &welcome()));
                let bytes = host.poll_transmit().expect("the Welcome").to_vec();
                host.consumed(bytes.len());
                peer.handle_stream(now(1), &bytes).expect("a valid Welcome");
            }
            _ => assert!(peer.start()),
        }
        if let Some(bytes) = peer.poll_transmit().map(<[u8]>::to_vec) {
            peer.consumed(bytes.len());
            host.handle_stream(now(1), &bytes).expect("a valid message");
        }
        while host.poll_event().is_some() {}
    }
    host
}

/// A client that has gone `depth` steps with a peer that behaves.
fn client(depth: u8) -> ClientSession {
    let mut client = ClientSession::new(now(0), StepLimits::default(), hello());
    if depth >= 1 {
        client.handle_connected(now(1));
    }
    if depth >= 2 {
        let mut peer = host(1);
        assert!(peer.accept(now(1), &welcome()));
        let bytes = peer.poll_transmit().expect("the Welcome").to_vec();
        client
            .handle_stream(now(1), &bytes)
            .expect("a valid Welcome");
    }
    if depth >= 3 {
        assert!(client.start());
    }
    while client.poll_event().is_some() {}
    client
}
