use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::seeded::Seeded;

const DATA: u32 = 0xdead_beef;

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 7], port))
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ns(1_000_000_000 + ms * 1_000_000)
}

/// A client of rusty_enet's own, and the way between, which may lose.
struct Pair {
    host: EnetHost,
    client: Host<Pipe>,
    clock: Arc<AtomicU64>,
    ms: u64,
    loss: f64,
    random: Seeded,
    received: Vec<Vec<u8>>,
}

impl Pair {
    fn new(loss: f64) -> Self {
        Self::with_seed(loss, 5)
    }

    /// ENet takes two connections of one address for one if their random numbers agree.
    fn with_seed(loss: f64, seed: u32) -> Self {
        let clock = Arc::new(AtomicU64::new(at(0).as_ns()));
        let time = Arc::clone(&clock);
        let settings = HostSettings {
            peer_limit: 1,
            channel_limit: CHANNELS,
            time: Box::new(move || Duration::from_nanos(time.load(Relaxed))),
            seed: Some(seed),
            ..HostSettings::default()
        };
        let client = Host::new(Pipe::default(), settings).expect("valid settings");
        let mut host = EnetHost::new(at(0), 7);
        host.expect(DATA);
        Self {
            host,
            client,
            clock,
            ms: 0,
            loss,
            random: Seeded(3),
            received: Vec::new(),
        }
    }

    fn connect(&mut self, data: u32) {
        self.client
            .connect(address(47_999), CHANNELS, data)
            .expect("a free slot");
    }

    /// A millisecond passes; what both have to say crosses. Events of the host.
    fn step(&mut self) -> Vec<EnetEvent> {
        self.ms += 1;
        self.clock.store(at(self.ms).as_ns(), Relaxed);
        while let Some(event) = self.client.service().expect("never fails") {
            if let Event::Receive { packet, .. } = event {
                self.received.push(packet.data().to_vec());
            }
        }
        while let Some(transmit) = self.client.socket_mut().outgoing.pop_front() {
            if !self.random.chance(self.loss) {
                let _refused =
                    self.host
                        .handle_datagram(at(self.ms), address(5000), &transmit.bytes);
            }
        }
        if self
            .host
            .poll_timeout()
            .is_some_and(|due| due <= at(self.ms))
        {
            self.host.handle_timeout(at(self.ms));
        }
        while let Some(transmit) = self.host.poll_transmit() {
            assert_eq!(transmit.to, address(5000));
            if !self.random.chance(self.loss) {
                self.client.socket_mut().incoming = Some((address(47_999), transmit.bytes));
                while let Some(event) = self.client.service().expect("never fails") {
                    if let Event::Receive { packet, .. } = event {
                        self.received.push(packet.data().to_vec());
                    }
                }
            }
        }
        std::iter::from_fn(|| self.host.poll_event()).collect()
    }

    fn run(&mut self, steps: u32) -> Vec<EnetEvent> {
        (0..steps).flat_map(|_| self.step()).collect()
    }

    fn client_sends(&mut self, channel: u8, bytes: &[u8], kind: PacketKind) {
        let peer = self.client.peer_mut(PeerID(0));
        peer.send(channel, &Packet::new(bytes, kind))
            .expect("connected");
    }
}

fn message(number: u8) -> Vec<u8> {
    vec![number; 40]
}

#[test]
fn a_client_connects_talks_and_leaves() {
    let mut pair = Pair::new(0.0);
    assert_eq!(pair.host.poll_timeout(), None);
    pair.connect(DATA);
    let events = pair.run(20);
    let peer = Peer(0);
    let connected = EnetEvent::Connected {
        peer,
        connect_data: DATA,
        from: address(5000),
    };
    assert_eq!(events, [connected]);
    pair.client_sends(1, &message(1), PacketKind::Reliable);
    pair.client_sends(
        0x2f,
        &message(2),
        PacketKind::Unreliable { sequenced: false },
    );
    let received = |channel, number| EnetEvent::Received {
        peer,
        channel,
        bytes: message(number),
    };
    let mut events = pair.run(20);
    events.sort_by_key(|event| matches!(event, EnetEvent::Received { channel: 0x2f, .. }));
    assert_eq!(events, [received(1, 1), received(0x2f, 2)]);
    pair.host
        .send(at(pair.ms), peer, 0, &message(9), Delivery::Reliable)
        .expect("connected");
    pair.run(20);
    assert_eq!(pair.received, [message(9)]);
    assert!(pair.host.round_trip(peer).is_some());
    pair.client.peer_mut(PeerID(0)).disconnect(0);
    assert_eq!(pair.run(20), [EnetEvent::Disconnected { peer }]);
    assert_eq!(pair.host.poll_timeout(), None);
    let refused = pair
        .host
        .send(at(pair.ms), peer, 0, &message(9), Delivery::Reliable);
    assert_eq!(refused, Err(EnetError::NotConnected));
}

#[test]
fn each_round_trip_is_told_and_so_is_what_is_overdue() {
    let mut pair = Pair::new(0.0);
    pair.connect(DATA);
    pair.run(20);
    let peer = Peer(0);
    while pair.host.poll_echo(peer).is_some() {}
    // The client talks by itself, which keeps ENet from pinging.
    for _ in 0..100 {
        pair.client_sends(0, &message(1), PacketKind::Reliable);
        pair.run(5);
    }
    let echoes: Vec<_> = std::iter::from_fn(|| pair.host.poll_echo(peer)).collect();
    assert!((8..=10).contains(&echoes.len()), "{echoes:?}");
    for echo in &echoes {
        assert!(echo.round_trip() <= Duration::from_millis(2), "{echo:?}");
    }
    assert!(echoes.is_sorted_by_key(|echo| echo.sent), "{echoes:?}");
    // Nothing passes any more.
    pair.loss = 1.0;
    pair.run(200);
    let waits_since = pair.host.waits_since(peer).expect("a ping without answer");
    let waits = at(pair.ms).since(waits_since);
    assert!((140..=200).contains(&waits.as_millis()), "{waits:?}");
    assert_eq!(pair.host.poll_echo(peer), None);
}

#[test]
fn strangers_stay_out_and_the_silent_are_dropped() {
    let mut pair = Pair::new(0.0);
    pair.connect(DATA + 1);
    assert_eq!(pair.run(600), []);
    assert!(pair.host.stats().refused > 0);
    let mut pair = Pair::new(0.0);
    pair.connect(DATA);
    assert_eq!(pair.run(50).len(), 1);
    pair.loss = 1.0;
    let events = pair.run(16_000);
    assert_eq!(events, [EnetEvent::Disconnected { peer: Peer(0) }]);
}

#[test]
fn reliable_messages_survive_loss_in_order() {
    let mut pair = Pair::new(0.2);
    pair.connect(DATA);
    let mut events = pair.run(4000);
    assert_eq!(events.len(), 1, "connected");
    for number in 0..50 {
        pair.client_sends(1, &message(number), PacketKind::Reliable);
        events.extend(pair.run(10));
        let sent = pair.host.send(
            at(pair.ms),
            Peer(0),
            0,
            &message(number),
            Delivery::Reliable,
        );
        sent.expect("connected");
    }
    events.extend(pair.run(5000));
    let numbers = |all: Vec<Vec<u8>>| all.iter().map(|bytes| bytes[0]).collect::<Vec<_>>();
    let received = events.into_iter().filter_map(|event| match event {
        EnetEvent::Received { bytes, .. } => Some(bytes),
        _ => None,
    });
    assert_eq!(numbers(received.collect()), (0..50).collect::<Vec<_>>());
    assert_eq!(numbers(pair.received), (0..50).collect::<Vec<_>>());
}

#[test]
fn the_screen_knows_what_clients_send() {
    let ok = |bytes: &[u8]| screen::screen(bytes, &[DATA]).map(drop);
    let mut connect = vec![0x8f, 0xff, 0, 9, 0x82, 0xff, 0, 1];
    connect.extend_from_slice(&[0; 44]);
    connect[8 + 15] = 0x30;
    connect[48..].copy_from_slice(&DATA.to_be_bytes());
    // The peer number is 0xfff; session bits may be anything.
    assert_eq!(ok(&connect), Ok(()));
    connect[51] ^= 1;
    assert!(matches!(ok(&connect), Err(Refused::Stranger { .. })));
    assert_eq!(ok(&[0, 0, 5, 0xff, 0, 1]), Ok(()), "a ping");
    assert!(
        matches!(ok(&[0, 0]), Err(Refused::Length { .. })),
        "nothing"
    );
    assert!(matches!(
        ok(&[0x0f, 0xfe, 5, 0xff, 0, 1]),
        Err(Refused::Peer { .. })
    ));
    assert!(
        matches!(ok(&[0x40, 0, 5, 0xff, 0, 1]), Err(Refused::Peer { .. })),
        "compressed"
    );
    for command in [0, 3, 8, 12, 13, 15] {
        let datagram = [&[0, 0, command, 0, 0, 1][..], &[0; 60]].concat();
        let refused = Err(Refused::Command { command });
        assert_eq!(ok(&datagram), refused);
    }
    let reliable = |channel, length: u16| {
        let [high, low] = length.to_be_bytes();
        let head = [0, 0, 0x86, channel, 0, 1, high, low];
        [&head[..], &vec![0; usize::from(length)]].concat()
    };
    assert_eq!(ok(&reliable(0x2f, 40)), Ok(()));
    assert!(matches!(
        ok(&reliable(0x30, 40)),
        Err(Refused::Channel { .. })
    ));
    assert!(matches!(ok(&reliable(0, 3)), Err(Refused::Length { .. })));
    assert!(matches!(ok(&reliable(0, 700)), Err(Refused::Length { .. })));
    assert!(matches!(
        ok(&reliable(0, 40)[..47]),
        Err(Refused::Length { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// A connected client's datagrams, any bytes of them changed: nothing panics, and the host
    /// still serves another client afterwards.
    #[test]
    fn hostile_datagrams(
        datagrams in prop::collection::vec(
            (0..3u8, 0..48u8, any::<u16>(), any::<[u8; 8]>(), 0..80usize, any::<u16>(), 1..6usize),
            1..120,
        ),
    ) {
        let mut pair = Pair::new(0.0);
        pair.connect(DATA);
        prop_assert_eq!(pair.run(20).len(), 1);
        for (shape, channel, sequence, fields, length, time, repeat) in datagrams {
            let commands = [1u8, 4, 5, 6, 7, 9, 10, 11];
            let command = commands[usize::from(fields[0]) % commands.len()] | (fields[1] & 0xc0);
            let mut bytes = vec![0x80 | fields[7] & 0x30, 0];
            bytes.extend_from_slice(&time.to_be_bytes());
            for _ in 0..repeat {
                // Disconnecting is legal; most should stay.
                let command = if command & 0xf == 4 && fields[2] > 9 { 0x86 } else { command };
                bytes.extend_from_slice(&[command, channel]);
                bytes.extend_from_slice(&sequence.to_be_bytes());
                match command & 0xf {
                    1 | 4 => bytes.extend_from_slice(&fields[..4]),
                    10 => bytes.extend_from_slice(&fields),
                    11 => bytes.extend_from_slice(&[fields, fields].concat()[..12]),
                    6 => bytes.extend_from_slice(&(length as u16 + 28).to_be_bytes()),
                    7 | 9 => {
                        bytes.extend_from_slice(&fields[2..4]);
                        bytes.extend_from_slice(&(length as u16 + 28).to_be_bytes());
                    }
                    _ => {}
                }
                if matches!(command & 0xf, 6 | 7 | 9) {
                    bytes.resize(bytes.len() + length + 28, shape);
                }
            }
            if shape == 2 {
                let at = usize::from(fields[3]) % bytes.len();
                bytes[at] = fields[4];
            }
            let _refused = pair.host.handle_datagram(at(pair.ms), address(5000), &bytes);
            pair.run(1);
        }
        let mut other = Pair::with_seed(0.0, 6);
        std::mem::swap(&mut other.host, &mut pair.host);
        other.ms = pair.ms;
        other.connect(DATA);
        let events = other.run(60);
        let connected = events.iter().any(|event| matches!(event, EnetEvent::Connected { .. }));
        prop_assert!(connected, "{events:?}");
    }
}
