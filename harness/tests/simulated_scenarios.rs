//! The scenarios of the figures with the plainest of senders on them, one that neither paces nor
//! protects nor adapts: the encoder and decoder models work over the network, each scenario does
//! to that sender what it is there for, and replays from its seed.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::sim::cross::{Bbr, Cubic, Sender, Sink};
use harness::sim::decoder::Decoder;
use harness::sim::encoder::{Content, Encoder, EncoderConfig, ModelSlice, Synthetic};
use harness::sim::network::{Endpoint, Transmit};
use harness::sim::packet::{Address, Cause, DATAGRAM_BYTES_MAX};
use harness::sim::scenario::{FlowKind, Laid, Place, Scenario};
use harness::sim::unit::{Damage, Unit};
use net::units::{BitsPerSecond, Timestamp};

const HEAD_BYTES: usize = 12;
const PIECE_BYTES: usize = 1344;

/// What runs on the hosts of these tests.
enum End {
    Plain(Box<Plain>),
    Screen(Box<Screen>),
    Bulk(Box<Sender>),
    Sink(Sink),
}

/// Sends what the encoder gives at once: frame, length of the unit and offset, then bytes.
struct Plain {
    to: Address,
    encoder: Encoder,
    sending: Option<(ModelSlice, u32)>,
}

/// Gives the decoder each unit that came whole and in order.
struct Screen {
    /// Bytes of each unit, and where pieces of it are there already.
    partial: BTreeMap<u32, (Vec<u8>, BTreeMap<usize, usize>)>,
    decoder: Decoder,
    broken: Option<Damage>,
}

impl Plain {
    fn poll(&mut self, now: Timestamp, out: &mut [u8; DATAGRAM_BYTES_MAX]) -> Option<Transmit> {
        let (slice, sent) = match self.sending.take() {
            Some(sending) => sending,
            None => (self.encoder.poll_slice(now)?, 0),
        };
        let bytes = (slice.bytes - sent).min(PIECE_BYTES as u32);
        let offset = slice.offset + sent;
        out[..4].copy_from_slice(&slice.unit.frame.0.to_le_bytes());
        out[4..8].copy_from_slice(&slice.unit.bytes.to_le_bytes());
        out[8..12].copy_from_slice(&offset.to_le_bytes());
        let end = HEAD_BYTES + bytes as usize;
        slice.unit.fill(offset as usize, &mut out[HEAD_BYTES..end]);
        if sent + bytes < slice.bytes {
            self.sending = Some((slice, sent + bytes));
        }
        Some(Transmit {
            to: self.to,
            bytes: end,
        })
    }
}

impl Screen {
    fn handle(&mut self, now: Timestamp, datagram: &[u8]) {
        let field =
            |at: usize| u32::from_le_bytes(datagram[at..at + 4].try_into().expect("four bytes"));
        let (frame, total, offset) = (field(0), field(4) as usize, field(8) as usize);
        let piece = &datagram[HEAD_BYTES..];
        let entry = self.partial.entry(frame);
        let (bytes, there) = entry.or_insert_with(|| (vec![0; total], BTreeMap::new()));
        bytes[offset..offset + piece.len()].copy_from_slice(piece);
        there.insert(offset, piece.len());
        if there.values().sum::<usize>() < total {
            return;
        }
        match Unit::read(bytes) {
            Ok(unit) => {
                self.decoder.handle(now, &unit);
            }
            Err(damage) => self.broken = Some(damage),
        }
        self.partial = self.partial.split_off(&(frame + 1));
    }
}

impl Endpoint for End {
    fn handle(&mut self, now: Timestamp, from: Address, datagram: &mut [u8]) {
        match self {
            Self::Plain(_) => {}
            Self::Screen(screen) => screen.handle(now, datagram),
            Self::Bulk(sender) => sender.handle(now, from, datagram),
            Self::Sink(sink) => sink.handle(now, from, datagram),
        }
    }

    fn poll_transmit(
        &mut self,
        now: Timestamp,
        datagram: &mut [u8; DATAGRAM_BYTES_MAX],
    ) -> Option<Transmit> {
        match self {
            Self::Plain(plain) => plain.poll(now, datagram),
            Self::Screen(_) => None,
            Self::Bulk(sender) => sender.poll_transmit(now, datagram),
            Self::Sink(sink) => sink.poll_transmit(now, datagram),
        }
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        match self {
            Self::Plain(plain) => Some(plain.encoder.poll_timeout()),
            Self::Screen(_) | Self::Sink(_) => None,
            Self::Bulk(sender) => sender.poll_timeout(),
        }
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        match self {
            Self::Plain(plain) => plain.encoder.handle_timeout(now),
            Self::Screen(_) | Self::Sink(_) => {}
            Self::Bulk(sender) => sender.handle_timeout(now),
        }
    }
}

fn ends(place: &Place<'_>) -> (End, End) {
    let sink = || End::Sink(Sink::new());
    let bulk = |control| {
        let sender = Sender::new(place.client, control, place.flow.start, place.end);
        End::Bulk(Box::new(sender))
    };
    let (refresh, bitrate) = match place.flow.kind {
        FlowKind::Cubic => return (bulk(Box::new(Cubic::new())), sink()),
        FlowKind::Bbr => return (bulk(Box::new(Bbr::new(place.rng(0)))), sink()),
        // Any traffic will do: it is the link that is tested here.
        FlowKind::Audio => return (bulk(Box::new(Cubic::new())), sink()),
        FlowKind::Session {
            refresh, ceiling, ..
        } => (refresh, ceiling),
        FlowKind::Moonlight { refresh, wish } => (refresh, wish.bitrate),
    };
    let config = EncoderConfig {
        refresh,
        bitrate,
        content: Content::Synthetic(Synthetic::GAME),
    };
    let start = Timestamp::ZERO + place.flow.start;
    let plain = Plain {
        to: place.client,
        encoder: Encoder::new(config, place.rng(0), start),
        sending: None,
    };
    let screen = Screen {
        partial: BTreeMap::new(),
        decoder: Decoder::new(Duration::from_millis(2)),
        broken: None,
    };
    (End::Plain(Box::new(plain)), End::Screen(Box::new(screen)))
}

fn run(scenario: &Scenario) -> Laid<End> {
    let mut laid = scenario.lay(ends);
    laid.network.run_until(scenario.duration);
    for (_, client) in &laid.pairs {
        if let End::Screen(screen) = laid.network.endpoint(*client) {
            assert_eq!(screen.broken, None, "{}", scenario.label());
        }
    }
    laid
}

fn screen(laid: &Laid<End>, flow: usize) -> &Screen {
    match laid.network.endpoint(laid.pairs[flow].1) {
        End::Screen(screen) => screen,
        _ => panic!("flow {flow} is no session"),
    }
}

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

#[test]
fn without_loss_every_picture_is_shown_in_time() {
    let scenario = Scenario::random_loss(0, Duration::from_millis(4)).lasting(SECONDS(10));
    let laid = run(&scenario);
    let End::Plain(plain) = laid.network.endpoint(laid.pairs[0].0) else {
        panic!("flow 0 is a session");
    };
    let decoder = &screen(&laid, 0).decoder;
    let missed = decoder.not_shown_within(
        plain.encoder.captured(),
        Duration::ZERO..SECONDS(9),
        Duration::from_millis(20),
    );
    assert_eq!(missed, 0);
    let end = Timestamp::ZERO + SECONDS(9);
    assert!(decoder.freezes(Duration::from_millis(40), end).is_empty());
}

#[test]
fn with_loss_a_plain_sender_freezes_for_good() {
    let scenario = Scenario::random_loss(1, Duration::from_millis(4)).lasting(SECONDS(10));
    let laid = run(&scenario);
    let decoder = &screen(&laid, 0).decoder;
    assert!(decoder.hidden() > 300, "{} hidden", decoder.hidden());
    let end = Timestamp::ZERO + SECONDS(10);
    assert!(!decoder.freezes(SECONDS(5), end).is_empty());
}

#[test]
fn a_plain_sender_overruns_a_small_buffer_behind_a_fast_card() {
    let laid = run(&Scenario::fast_nic().lasting(SECONDS(5)));
    let tap = &laid.network.link(laid.down).tap;
    assert!(tap.losses(Cause::QueueFull, None) > 0);
}

#[test]
fn a_plain_sender_fills_the_queue_when_the_rate_steps_down() {
    let laid = run(&Scenario::rate_step().lasting(SECONDS(30)));
    let tap = &laid.network.link(laid.down).tap;
    let delay = tap.queue_delay_ns(SECONDS(22)..SECONDS(30), None);
    assert!(delay.permille(500) > 500_000_000);
}

#[test]
fn changes_of_the_path_hit_from_their_time_on() {
    let before = Timestamp::ZERO + SECONDS(20);
    let troubles = [
        (Scenario::mtu_change(), Cause::Mtu),
        (Scenario::address_change(), Cause::Unmapped),
    ];
    for (scenario, cause) in troubles {
        let laid = run(&scenario.lasting(SECONDS(22)));
        let tap = &laid.network.link(laid.down).tap;
        assert!(tap.losses(cause, None) > 1000, "{cause:?}");
        assert!(tap.lost().iter().all(|lost| lost.at >= before));
    }
}

#[test]
fn an_outage_takes_a_second() {
    let laid = run(&Scenario::outage().lasting(SECONDS(25)));
    let lost = laid.network.link(laid.down).tap.losses(Cause::Outage, None);
    // 20 Mbit/s in datagrams of about 1300 bytes.
    assert!((1_600..2_600).contains(&lost), "{lost}");
}

#[test]
fn every_scenario_replays_from_its_seed() {
    for scenario in Scenario::all() {
        let scenario = scenario.lasting(SECONDS(4));
        let digest = |scenario: &Scenario| run(scenario).network.digest();
        let first = digest(&scenario);
        assert_eq!(digest(&scenario), first, "{}", scenario.label());
        let other = scenario.clone().seeded(scenario.seed + 1);
        assert_ne!(digest(&other), first, "{}", scenario.label());
    }
}

/// Digest of ten seconds of [`Scenario::wifi`]: it changes with the models, never with the machine.
const GOLDEN: u64 = 0xaf73_c1d7_6ab9_6ffb;

#[test]
fn every_machine_sees_the_same_run() {
    let scenario = Scenario::wifi().lasting(SECONDS(10));
    let digest = run(&scenario).network.digest();
    assert_eq!(digest, GOLDEN, "{digest:#018x}: {}", scenario.label());
}

#[test]
fn a_flow_that_comes_later_does_not_change_the_losses_of_the_first() {
    let alone = Scenario::bursts(5, 8, Duration::from_millis(4)).lasting(SECONDS(3));
    let mut both = alone.clone();
    let mut late = both.flows[0].clone();
    late.kind = FlowKind::Cubic;
    late.start = SECONDS(2);
    both.flows.push(late);
    let lost = |scenario: &Scenario| {
        let laid = run(scenario);
        let before = Timestamp::ZERO + SECONDS(2);
        let lost = laid.network.link(laid.down).tap.lost();
        let early = lost.iter().take_while(|lost| lost.at < before);
        early.map(|lost| lost.at).collect::<Vec<_>>()
    };
    let first = lost(&alone);
    assert!(first.len() > 100);
    assert_eq!(lost(&both), first);
}

#[test]
fn rates_of_the_table_are_what_the_taps_see() {
    let laid = run(&Scenario::random_loss(0, Duration::from_millis(4)).lasting(SECONDS(11)));
    let tap = &laid.network.link(laid.down).tap;
    let bits = tap.bytes(SECONDS(1)..SECONDS(11), None) * 8;
    let rate = BitsPerSecond(bits / 10).0;
    // What the encoder gives of 20 Mbit/s, and 40 bytes of headers on each datagram.
    assert!((18_000_000..19_400_000).contains(&rate), "{rate}");
}
