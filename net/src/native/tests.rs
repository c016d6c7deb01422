//! The machines against each other, in virtual time.

use super::input::{OutputReceiver, OutputSender};
use super::messages::*;
use super::*;
use crate::crypto::Aead;
use crate::input::PadOutput;
use crate::limits::{
    CLIPBOARD_BYTES_MAX, CLIPBOARD_PIECE_BYTES, CONTROL_OUTBOX_BYTES_MAX, FRAME_TIMES_PER_BATCH_MAX,
};
use crate::times::FrameTimes;
use crate::units::{BitsPerSecond, FrameId, SliceCount, Timestamp};

mod clipboard;
mod modes;
mod wire;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ns(ms * 1_000_000)
}

fn hello() -> Hello {
    Hello {
        version: PROTOCOL_VERSION,
        mode: RequestedMode {
            width: 1280,
            height: 720,
            millihz: 60_000,
        },
        codecs: CodecSet::H264,
        fec_codes: FecCodes::ALL,
        aeads: AeadSet::ALL,
        required: Features::NONE,
        optional: Features::FRAME_TIMES,
        slices: 0,
        bitrate: BitsPerSecond(0),
        fec_percent: None,
        datagram_bytes_max: 1392,
        name: "laptop".to_owned(),
    }
}

fn offer() -> Offer {
    Offer {
        codecs: CodecSet::H264,
        aeads: AeadSet::ALL,
        features: Features::FRAME_TIMES,
        slices: SliceCount::new(8),
        slices_max: SliceCount::new(16).expect("1 to 32"),
        bitrate: BitsPerSecond(20_000_000),
        bitrate_max: BitsPerSecond(100_000_000),
        fec_percent: Some(20),
        datagram_bytes_max: 1392,
    }
}

fn welcome() -> Welcome {
    let session = [0x5e; 16];
    negotiate(&hello(), &offer()).expect("they fit").welcome(
        session,
        ClockDomain::derive("boot", &session),
        "desk".to_owned(),
        "x264".to_owned(),
    )
}

/// Both machines, joined by a stream that takes at most `chunk` bytes at a time.
struct Pair {
    host: HostSession,
    client: ClientSession,
    chunk: usize,
}

impl Pair {
    fn new(chunk: usize) -> Self {
        let limits = StepLimits::default();
        Self {
            host: HostSession::new(at(0), limits),
            client: ClientSession::new(at(0), limits, hello()),
            chunk,
        }
    }

    fn streaming() -> Self {
        let mut pair = Self::new(usize::MAX);
        pair.client.handle_connected(at(1));
        pair.exchange(at(2));
        assert_eq!(pair.host.poll_event(), Some(HostEvent::Hello(hello())));
        assert!(pair.host.accept(at(3), &welcome()));
        pair.exchange(at(4));
        assert_eq!(
            pair.client.poll_event(),
            Some(ClientEvent::Welcome(welcome()))
        );
        assert!(pair.client.start());
        pair.exchange(at(5));
        assert_eq!(pair.host.poll_event(), Some(HostEvent::Start));
        pair
    }

    fn exchange(&mut self, now: Timestamp) {
        loop {
            let mut idle = true;
            if let Some(bytes) = self.client.poll_transmit() {
                let bytes = bytes[..bytes.len().min(self.chunk)].to_vec();
                self.client.consumed(bytes.len());
                self.host
                    .handle_stream(now, &bytes)
                    .expect("the client keeps to the protocol");
                idle = false;
            }
            if let Some(bytes) = self.host.poll_transmit() {
                let bytes = bytes[..bytes.len().min(self.chunk)].to_vec();
                self.host.consumed(bytes.len());
                self.client
                    .handle_stream(now, &bytes)
                    .expect("the host keeps to the protocol");
                idle = false;
            }
            if idle {
                return;
            }
        }
    }
}

fn end(reason: EndReason, text: &str) -> End {
    End {
        reason,
        text: text.to_owned(),
    }
}

#[test]
fn a_session_from_hello_to_end() {
    let mut pair = Pair::streaming();
    assert_eq!(pair.host.state(), HostState::Streaming);
    assert_eq!(pair.client.state(), ClientState::Streaming);
    assert_eq!(
        (pair.host.poll_timeout(), pair.client.poll_timeout()),
        (None, None)
    );

    let request = RepairRequest {
        last_good: Some(FrameId(7)),
        first_lost: FrameId(8),
        newest_lost: FrameId(9),
        wish: RepairWish::Recovery,
    };
    pair.client.request_repair(request);
    let statistics = ClientStatistics {
        frames_received: 3,
        ..ClientStatistics::default()
    };
    pair.client.send_statistics(&statistics);
    let times = [FrameTimes {
        frame: FrameId(1),
        slice_count: 8,
        ..FrameTimes::default()
    }; 20];
    pair.host.send_frame_times(&times);
    pair.exchange(at(6));
    assert_eq!(
        pair.host.poll_event(),
        Some(HostEvent::RepairRequest(request))
    );
    assert_eq!(
        pair.host.poll_event(),
        Some(HostEvent::Statistics(statistics))
    );
    for batch in [FRAME_TIMES_PER_BATCH_MAX, 20 - FRAME_TIMES_PER_BATCH_MAX] {
        let Some(ClientEvent::FrameTimes(frames)) = pair.client.poll_event() else {
            panic!("the times were asked for");
        };
        assert_eq!(frames, times[..batch]);
    }

    pair.client
        .end(end(EndReason::Done, "the window was closed"));
    pair.exchange(at(7));
    let ended = end(EndReason::Done, "the window was closed");
    assert_eq!(pair.host.poll_event(), Some(HostEvent::Ended(ended)));
    assert_eq!(pair.client.poll_event(), None, "its own end is no event");
    assert_eq!(pair.host.state(), HostState::Ended);
}

#[test]
fn a_stream_that_takes_single_bytes_changes_nothing() {
    let mut pair = Pair::new(1);
    pair.client.handle_connected(at(1));
    pair.exchange(at(2));
    assert_eq!(pair.host.poll_event(), Some(HostEvent::Hello(hello())));
    assert!(pair.host.accept(at(3), &welcome()));
    pair.exchange(at(4));
    assert_eq!(
        pair.client.poll_event(),
        Some(ClientEvent::Welcome(welcome()))
    );
}

#[test]
fn a_refusal_reaches_the_client() {
    let mut pair = Pair::new(usize::MAX);
    pair.client.handle_connected(at(1));
    pair.exchange(at(2));
    let refuse = Refuse {
        code: RefuseCode::Busy,
        text: "one session is the most".to_owned(),
    };
    pair.host.refuse(refuse.clone());
    assert!(!pair.host.accept(at(3), &welcome()), "it has ended");
    pair.exchange(at(4));
    assert_eq!(pair.client.poll_event(), Some(ClientEvent::Refused(refuse)));
    assert_eq!(pair.client.state(), ClientState::Ended);
    assert!(!pair.client.start());
}

#[test]
fn every_step_has_its_time_limit() {
    let timed_out = |event: Option<HostEvent>| match event {
        Some(HostEvent::Ended(end)) => end.reason == EndReason::TimedOut,
        _ => false,
    };
    // The client says nothing.
    let mut pair = Pair::new(usize::MAX);
    assert_eq!(pair.host.poll_timeout(), Some(at(5000)));
    pair.host.handle_timeout(at(4999));
    assert_eq!(pair.host.state(), HostState::AwaitHello);
    pair.host.handle_timeout(at(5000));
    assert!(timed_out(pair.host.poll_event()));

    // QUIC's handshake does not come to an end.
    pair.client.handle_timeout(at(5000));
    assert!(matches!(
        pair.client.poll_event(),
        Some(ClientEvent::Ended(_))
    ));

    // The host does not decide: it refuses.
    let mut pair = Pair::new(usize::MAX);
    pair.client.handle_connected(at(0));
    pair.exchange(at(0));
    assert!(pair.host.poll_event().is_some());
    pair.host.handle_timeout(at(12_000));
    assert!(timed_out(pair.host.poll_event()));
    assert_eq!(
        pair.client.poll_timeout(),
        Some(at(17_000)),
        "both sides' time"
    );
    pair.exchange(at(12_000));
    assert!(matches!(
        pair.client.poll_event(),
        Some(ClientEvent::Refused(Refuse {
            code: RefuseCode::Internal,
            ..
        }))
    ));

    // The client never starts.
    let mut pair = Pair::new(usize::MAX);
    pair.client.handle_connected(at(0));
    pair.exchange(at(0));
    assert!(pair.host.poll_event().is_some() && pair.host.accept(at(0), &welcome()));
    pair.exchange(at(100));
    assert_eq!(pair.client.poll_timeout(), Some(at(12_100)));
    pair.host.handle_timeout(at(5000));
    assert!(timed_out(pair.host.poll_event()));
}

#[test]
fn messages_out_of_turn_end_the_session() {
    let bytes_of = |message: Message| {
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        bytes
    };
    let mut host = HostSession::new(at(0), StepLimits::default());
    let error = host
        .handle_stream(at(0), &bytes_of(Message::Start))
        .expect_err("too early");
    assert_eq!(
        error.to_string(),
        "the peer sent Start while this side was waiting for Hello"
    );
    assert_eq!(host.state(), HostState::Ended);
    assert!(
        host.poll_transmit().is_some(),
        "the End tells the client why"
    );
    assert_eq!(
        host.handle_stream(at(0), &[0xff; 100]),
        Ok(()),
        "ignored after the end"
    );

    let mut pair = Pair::streaming();
    assert!(
        pair.host
            .handle_stream(at(9), &bytes_of(Message::Hello(hello())))
            .is_err()
    );
    let mut pair = Pair::streaming();
    assert!(
        pair.client
            .handle_stream(at(9), &bytes_of(Message::Welcome(welcome())))
            .is_err()
    );
    let mut pair = Pair::streaming();
    let error = pair
        .host
        .handle_stream(at(9), &[0x1f, 0, 1, 0, 0, 0, 0])
        .expect_err("cut");
    assert!(matches!(error, ProtocolError::Message { kind: "End", .. }));
}

#[test]
fn a_stream_that_takes_nothing_costs_bounded_memory() {
    let mut pair = Pair::streaming();
    let times = [FrameTimes {
        slice_count: 32,
        ..FrameTimes::default()
    }; 16];
    let first = RepairRequest {
        last_good: None,
        first_lost: FrameId(0),
        newest_lost: FrameId(0),
        wish: RepairWish::Idr,
    };
    for step in 0..10_000 {
        pair.host.send_frame_times(&times);
        pair.client.send_statistics(&ClientStatistics::default());
        pair.client.request_repair(RepairRequest {
            newest_lost: FrameId(step),
            ..first
        });
    }
    assert!(pair.host.dropped_frame_times() > 9000 * 16);
    assert!(pair.client.dropped_statistics() > 5000);
    let waiting = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    assert!(waiting(pair.host.poll_transmit()) <= CONTROL_OUTBOX_BYTES_MAX / 2);
    assert!(waiting(pair.client.poll_transmit()) <= CONTROL_OUTBOX_BYTES_MAX / 2);
    pair.host.end(end(EndReason::Shutdown, "the host stops"));
    pair.exchange(at(9));
    let client_events: Vec<_> = std::iter::from_fn(|| pair.client.poll_event()).collect();
    assert!(client_events.len() <= 65);
    let ended = end(EndReason::Shutdown, "the host stops");
    assert_eq!(client_events.last(), Some(&ClientEvent::Ended(ended)));
}

#[test]
fn of_outputs_that_nobody_takes_the_newest_for_each_controller_stays() {
    let mut pair = Pair::streaming();
    let mut sender = OutputSender::default();
    let mut rumble = |strong, controller| {
        sender.packet(PadOutput::Rumble {
            controller,
            strong,
            weak: 0,
        })
    };
    for strong in 0..1000 {
        for controller in 0..2 {
            assert!(pair.host.send_pad_output(rumble(strong, controller)));
        }
        pair.exchange(at(6));
    }
    let mut receiver = OutputReceiver::default();
    for controller in 0..2 {
        let Some(ClientEvent::PadOutput(packet)) = pair.client.poll_event() else {
            panic!("one for each controller")
        };
        let newest = PadOutput::Rumble {
            controller,
            strong: 999,
            weak: 0,
        };
        assert_eq!(receiver.handle_packet(&packet), Ok(Some(newest)));
    }
    assert_eq!(pair.client.poll_event(), None);
}

#[test]
fn the_newest_repair_request_gets_through_once_the_stream_flows() {
    let mut pair = Pair::streaming();
    for step in 0..10_000 {
        let newest_lost = FrameId(step);
        pair.client.request_repair(RepairRequest {
            last_good: None,
            first_lost: FrameId(0),
            newest_lost,
            wish: RepairWish::Recovery,
        });
    }
    pair.exchange(at(9));
    let newest = RepairRequest {
        last_good: None,
        first_lost: FrameId(0),
        newest_lost: FrameId(9999),
        wish: RepairWish::Recovery,
    };
    assert_eq!(
        pair.host.poll_event(),
        Some(HostEvent::RepairRequest(newest))
    );
}

#[test]
fn a_lost_connection_is_an_end() {
    let mut pair = Pair::streaming();
    pair.host.handle_closed();
    pair.client.handle_closed();
    let Some(HostEvent::Ended(End {
        reason: EndReason::Disconnected,
        ..
    })) = pair.host.poll_event()
    else {
        panic!("the host must know");
    };
    assert!(matches!(
        pair.client.poll_event(),
        Some(ClientEvent::Ended(_))
    ));
    pair.host.handle_closed();
    assert_eq!(pair.host.poll_event(), None, "once");
}

#[test]
fn host_and_client_agree_or_say_why_not() {
    let agreed = negotiate(&hello(), &offer()).expect("they fit");
    assert_eq!(agreed.mode.to_string(), "1280x720@60");
    assert_eq!(
        (agreed.aead, agreed.fec_percent),
        (Aead::Aes128Gcm, Some(20))
    );
    assert_eq!(
        (agreed.slices.get(), agreed.bitrate),
        (8, BitsPerSecond(20_000_000))
    );
    assert_eq!(agreed.features, Features::FRAME_TIMES);

    let agree = |change: fn(&mut Hello)| {
        let mut changed = hello();
        change(&mut changed);
        negotiate(&changed, &offer())
    };
    let granted = |change: fn(&mut Hello)| agree(change).expect("they fit");
    assert_eq!(
        granted(|h| h.aeads = AeadSet::CHACHA20_POLY1305).aead,
        Aead::ChaCha20Poly1305
    );
    assert_eq!(granted(|h| h.fec_percent = Some(5)).fec_percent, Some(5));
    assert_eq!(
        granted(|h| h.fec_percent = Some(254)).fec_percent,
        Some(100)
    );
    assert_eq!(granted(|h| h.fec_codes = FecCodes(2)).fec_percent, Some(0));
    assert_eq!(
        granted(|h| h.slices = 32).slices.get(),
        16,
        "lowered to the encoder's most"
    );
    assert_eq!(
        granted(|h| h.bitrate = BitsPerSecond(1 << 29)).bitrate.0,
        100_000_000
    );
    assert_eq!(
        granted(|h| h.datagram_bytes_max = 1200).datagram_bytes_max,
        1200
    );
    assert_eq!(
        granted(|h| h.datagram_bytes_max = 9000).datagram_bytes_max,
        1392
    );
    assert_eq!(
        granted(|h| h.optional = Features(u64::MAX)).features,
        Features::FRAME_TIMES
    );

    let refused = |change: fn(&mut Hello)| agree(change).expect_err("must be refused").code;
    assert_eq!(refused(|h| h.version = 2), RefuseCode::Version);
    assert_eq!(refused(|h| h.mode.width = 0), RefuseCode::Mode);
    assert_eq!(refused(|h| h.mode.millihz = 1000), RefuseCode::Mode);
    assert_eq!(refused(|h| h.mode.height = 40_000), RefuseCode::Mode);
    assert_eq!(refused(|h| h.codecs = CodecSet(2)), RefuseCode::Codec);
    assert_eq!(refused(|h| h.aeads = AeadSet(8)), RefuseCode::Aead);
    assert_eq!(
        refused(|h| h.required = Features(1 << 40)),
        RefuseCode::Feature
    );
    assert_eq!(refused(|h| h.slices = 33), RefuseCode::Value);
    assert_eq!(refused(|h| h.bitrate = BitsPerSecond(1)), RefuseCode::Value);
    assert_eq!(refused(|h| h.datagram_bytes_max = 100), RefuseCode::Value);
}

#[test]
fn clock_domains_are_of_machine_and_session() {
    let session = [1; 16];
    let domain = ClockDomain::derive("2f1c\n", &session);
    assert_eq!(
        domain,
        ClockDomain::derive("2f1c", &session),
        "the file ends with a newline"
    );
    assert_ne!(domain, ClockDomain::derive("2f1d", &session));
    assert_ne!(domain, ClockDomain::derive("2f1c", &[2; 16]));
}
