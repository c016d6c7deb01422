//! Whatever strangers send, a running session goes on without losing a frame, they are told why
//! they are refused, and the host keeps no more of them than it has room for.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use harness::facts::eventually;
use harness::loopback::{LoopbackClient, LoopbackHost, MODE, hello};
use harness::relay::{Relay, Way};
use harness::stranger::Stranger;
use net::client::{ConnectError, ReceiveSnapshot, Trust};
use net::identity::Identity;
use net::limits::{CONNECTIONS_MAX, CONTROL_BODY_BYTES_MAX};
use net::native::{Features, Hello, Message, RefuseCode, RequestedMode};
use net::quic::{Endpoint, Link, PACKET_BYTES_MAX};

/// A session under way, which must not notice what else happens to its host.
struct Bystander {
    host: LoopbackHost,
    enough: Arc<AtomicBool>,
    watching: JoinHandle<ReceiveSnapshot>,
}

impl Bystander {
    fn new() -> Self {
        let host = LoopbackHost::synthetic(&[]);
        let mut client = LoopbackClient::connect(host.address());
        let enough = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&enough);
        let watching = std::thread::spawn(move || {
            let mut take = |count: u32| {
                (0..count).for_each(|_| assert!(client.next_unit().is_some(), "the session ended"));
            };
            while !told.load(Ordering::Acquire) {
                take(1);
            }
            take(30);
            client.end()
        });
        Self {
            host,
            enough,
            watching,
        }
    }

    fn address(&self) -> SocketAddr {
        self.host.address()
    }

    /// Frames kept coming, not one was lost on the way, and they still do.
    fn noticed_nothing(self) {
        self.enough.store(true, Ordering::Release);
        let received = self.watching.join().expect("the session goes on");
        assert_eq!((received.frames_lost, received.not_opened), (0, 0));
    }

    /// A stranger says this in place of its Hello; what the host answers.
    fn answers(&self, bytes: &[u8]) -> String {
        let mut stranger = Stranger::connect(self.address());
        stranger.say(bytes);
        stranger.verdict()
    }

    fn refuses(&self, hello: Hello) -> (RefuseCode, String) {
        match LoopbackClient::with(self.address(), Trust::FirstUse, hello).err() {
            Some(ConnectError::Refused { code, text }) => (code, text),
            other => panic!("{other:?}"),
        }
    }
}

/// Reproducible noise.
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count)
            .map(|_| {
                self.0 = self
                    .0
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (self.0 >> 56) as u8
            })
            .collect()
    }
}

fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").expect("a port on loopback")
}

#[test]
fn garbage_datagrams() {
    let bystander = Bystander::new();
    let (socket, mut noise) = (socket(), Noise(1));
    for round in 0..2000_usize {
        let mut bytes = noise.bytes(round % 1500);
        if let Some(first) = bytes.first_mut() {
            // Every first byte: media, QUIC's short and long headers, and what is neither.
            *first = (round % 256) as u8;
        }
        socket
            .send_to(&bytes, bystander.address())
            .expect("loopback takes it");
    }
    bystander.noticed_nothing();
}

#[test]
fn initials_from_many_sockets() {
    let bystander = Bystander::new();
    let strangers: Vec<Stranger> = (0..3 * CONNECTIONS_MAX)
        .map(|_| Stranger::knock(bystander.address()))
        .collect();
    // They hold all the handshakes that cost nothing; who proves its address still comes in.
    let mut guest = LoopbackClient::connect(bystander.address());
    guest.watch(5, |_, _| {});
    drop(strangers);
    bystander.noticed_nothing();
}

#[test]
fn strangers_who_stay_silent_are_sent_away() {
    let bystander = Bystander::new();
    let mut silent = Stranger::connect(bystander.address());
    // It has opened no stream on which more could be said.
    assert_eq!(silent.verdict(), "the session is over");
    bystander.noticed_nothing();
}

#[test]
fn a_client_that_never_starts_loses_its_place() {
    let bystander = Bystander::new();
    let mut lazy = Stranger::connect(bystander.address());
    lazy.say_message(&Message::Hello(hello(MODE)));
    lazy.until("the host welcomes it", |it| {
        it.heard
            .iter()
            .any(|message| matches!(message, Message::Welcome(_)))
    });
    let reason = lazy.verdict();
    assert!(reason.contains("did not go on in time"), "{reason}");
    assert_eq!(lazy.media, 0, "no media before Start");
    bystander.noticed_nothing();
}

#[test]
fn a_control_stream_that_makes_no_sense() {
    let bystander = Bystander::new();
    // A Hello whose body is noise, one that is cut short, one that claims to be enormous, a
    // Start before any Hello.
    let mut noisy = vec![1, 0, 40, 0, 0, 0];
    noisy.extend(Noise(2).bytes(40));
    let reason = bystander.answers(&noisy);
    assert!(reason.contains("Hello"), "{reason}");
    let reason = bystander.answers(&[1, 0, 3, 0, 0, 0, 1, 2, 3]);
    assert!(reason.contains("Hello"), "{reason}");
    let mut huge = vec![1, 0];
    huge.extend_from_slice(&(CONTROL_BODY_BYTES_MAX as u32 + 1).to_le_bytes());
    let reason = bystander.answers(&huge);
    assert!(
        reason.contains(&(CONTROL_BODY_BYTES_MAX + 1).to_string()),
        "{reason}"
    );
    let reason = bystander.answers(&[4, 0, 0, 0, 0, 0]);
    assert!(reason.contains("Start"), "{reason}");
    bystander.noticed_nothing();
}

#[test]
fn unknown_messages_are_skipped_however_long() {
    let bystander = Bystander::new();
    let mut stranger = Stranger::connect(bystander.address());
    let mut bytes = vec![0xEF, 0xBE];
    bytes.extend_from_slice(&(3 * CONTROL_BODY_BYTES_MAX as u32).to_le_bytes());
    bytes.extend(Noise(3).bytes(3 * CONTROL_BODY_BYTES_MAX));
    stranger.say(&bytes);
    stranger.say_message(&Message::Hello(hello(MODE)));
    stranger.until("the host welcomes it", |it| {
        it.heard
            .iter()
            .any(|message| matches!(message, Message::Welcome(_)))
    });
    bystander.noticed_nothing();
}

#[test]
fn wishes_that_cannot_be_granted() {
    let bystander = Bystander::new();
    let (code, text) = bystander.refuses(Hello {
        required: Features(1 << 63),
        ..hello(MODE)
    });
    assert_eq!(code, RefuseCode::Feature, "{text}");
    for (width, height, millihz) in [
        (0, 0, 60_000),
        (1280, 720, 0),
        (1_000_000, 720, 60_000),
        (1280, 720, u32::MAX),
    ] {
        let mode = RequestedMode {
            width,
            height,
            millihz,
        };
        let (code, text) = bystander.refuses(Hello {
            mode,
            ..hello(MODE)
        });
        assert_eq!(code, RefuseCode::Mode, "{text}");
    }
    let (code, text) = bystander.refuses(Hello {
        version: 99,
        ..hello(MODE)
    });
    assert_eq!(code, RefuseCode::Version, "{text}");
    bystander.noticed_nothing();
}

#[test]
fn forged_and_repeated_media() {
    let host = LoopbackHost::synthetic(&[]);
    let relay = Relay::transparent(host.address());
    let (copies_in, copies) = crossbeam::channel::bounded::<Vec<u8>>(256);
    relay.set_policy(Box::new(move |way, bytes, media| {
        if way == Way::Down && media.is_some() {
            // Full: there are enough of them.
            let _ = copies_in.try_send(bytes.to_vec());
        }
        true
    }));
    let mut client = LoopbackClient::connect(relay.address());
    let mut noise = Noise(4);
    let mut injected = 0;
    let mut last = None;
    client.watch(60, |unit, _| {
        assert!(
            last.is_none_or(|last| unit.frame.0 == last + 1),
            "a frame is left out"
        );
        last = Some(unit.frame.0);
        for genuine in copies.try_iter().take(4) {
            // As it was; with a later frame and sequence; with one bit of its payload turned;
            // with every byte but the first made up.
            let mut later = genuine.clone();
            later[4] = later[4].wrapping_add(5);
            later[9] = later[9].wrapping_add(1);
            let mut turned = genuine.clone();
            turned[40] ^= 1;
            let mut made_up = noise.bytes(genuine.len());
            made_up[0] = genuine[0];
            for forged in [&genuine, &later, &turned, &made_up] {
                relay.inject(forged);
                injected += 1;
            }
        }
    });
    eventually("all that was forged has come and been refused", || {
        client.received().not_opened >= injected
    });
    let received = client.end();
    assert_eq!((received.frames_lost, received.repair_requests), (0, 0));
}

/// The table of connections itself, without a host around it.
#[test]
fn the_table_of_connections_is_bounded() {
    let local: SocketAddr = "127.0.0.1:9".parse().expect("an address");
    let identity = Identity::generate().expect("an identity");
    let mut endpoint = Endpoint::new(&identity, local).expect("an endpoint");
    for port in 1000..1000 + 8 * CONNECTIONS_MAX as u16 {
        let from = SocketAddr::from(([127, 0, 0, 1], port));
        let mut link = Link::connect(&identity, from, local).expect("a connection to begin");
        let mut packet = [0; PACKET_BYTES_MAX];
        let (bytes, _) = link.poll_transmit(&mut packet).expect("the Initial");
        endpoint.receive(&mut packet[..bytes], from);
        while endpoint.poll_transmit(&mut packet).is_some() {}
    }
    let kept = endpoint.link_ids().count();
    assert!(
        kept <= CONNECTIONS_MAX / 4,
        "{kept} strangers are kept, none has proved its address"
    );
    assert!(
        endpoint.stats().retries >= 7 * CONNECTIONS_MAX as u64,
        "{:?}",
        endpoint.stats()
    );
}
