//! Whole sessions over the network of a scenario: a host and a client of each flow, and what
//! came of them.
//!
//! ```text
//!  encoder ─▶ host ─▶ network ─▶ client ─▶ decoder      VideoHost, VideoClient
//!               ▲                  │
//!               └───── feedback ◀──┘
//! ```

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use net::crypto::{Aead, EXPORTER_BYTES, MediaKeys};
use net::units::{FrameId, Timestamp};

use super::audio::{AudioClient, AudioHost, AudioPlane};
use super::client::{ClientConfig, VideoClient};
use super::cross::{Bbr, Cubic, Sender, Sink};
use super::encoder::{Content, Encoder, EncoderConfig, Synthetic};
use super::host::{HostConfig, Parity, VideoHost};
use super::moonlight::{MoonlightClient, MoonlightHost};
use super::network::{Endpoint, Transmit};
use super::packet::{Address, DATAGRAM_BYTES_MAX};
use super::scenario::{FlowKind, Laid, Place, Scenario};
use super::tap::Distribution;

/// What a run holds still.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What the encoders encode.
    pub content: Content,
    /// How frames are protected.
    pub parity: Parity,
    /// Hosts make the repeats that clients ask for.
    pub repeats: bool,
    /// Hosts send the last column before stillness again.
    pub tail: bool,
    /// Time that a client takes to decode a picture.
    pub decode: Duration,
    /// How audio travels.
    pub audio: AudioPlane,
}

impl Default for Setup {
    /// Everything as a session does it; a decoder of 2 ms.
    fn default() -> Self {
        Self {
            content: Content::Synthetic(Synthetic::GAME),
            parity: Parity::Ladder,
            repeats: true,
            tail: true,
            decode: Duration::from_millis(2),
            audio: AudioPlane::Native,
        }
    }
}

/// What runs on a host of the network.
pub enum End {
    /// Streams video.
    Host(Box<VideoHost>),
    /// Receives it.
    Client(Box<VideoClient>),
    /// Streams video to a stock client.
    MoonlightHost(Box<MoonlightHost>),
    /// Is one.
    MoonlightClient(Box<MoonlightClient>),
    /// Streams audio.
    AudioHost(Box<AudioHost>),
    /// Receives it.
    AudioClient(Box<AudioClient>),
    /// Sends bulk.
    Bulk(Box<Sender>),
    /// Acknowledges bulk.
    Sink(Sink),
}

/// A run that is over, or has come to some time.
pub struct Sessions {
    /// The network with all its ends.
    pub laid: Laid<End>,
    end: Duration,
}

/// What became of one video session.
#[derive(Clone, Debug)]
pub struct Report {
    /// Pictures captured within the span.
    pub frames: usize,
    /// Of these not on the screen in time.
    pub missed: usize,
    /// Parity and repeats over data, bytes.
    pub overhead: f64,
    /// Parity over data, bytes.
    pub parity: f64,
    /// From the encoder's last slice to the last shard that was needed, beyond the least of all
    /// frames, ns; of frames that came whole.
    pub added_ns: Distribution,
    /// From capture to the screen, ns.
    pub shown_ns: Distribution,
}

impl Report {
    /// Share not shown in time, 0 to 1.
    #[must_use]
    pub fn share_missed(&self) -> f64 {
        self.missed as f64 / self.frames.max(1) as f64
    }
}

impl Sessions {
    /// Lays out `scenario` and runs it to its end.
    #[must_use]
    pub fn run(scenario: &Scenario, setup: &Setup) -> Self {
        let mut sessions = Self::begin(scenario, setup);
        sessions.run_until(scenario.duration);
        sessions
    }

    /// Lays out `scenario` at time zero.
    #[must_use]
    pub fn begin(scenario: &Scenario, setup: &Setup) -> Self {
        Self {
            laid: scenario.lay(|place| ends(place, setup)),
            end: scenario.duration,
        }
    }

    /// Runs to `end`, which is then the present time.
    pub fn run_until(&mut self, end: Duration) {
        self.laid.network.run_until(end);
    }

    /// The host of video flow `index`.
    ///
    /// # Panics
    /// If that flow is no video.
    #[must_use]
    pub fn host(&self, index: usize) -> &VideoHost {
        match self.laid.network.endpoint(self.laid.pairs[index].0) {
            End::Host(host) => host,
            _ => panic!("flow {index} has no video host"),
        }
    }

    /// The client of video flow `index`.
    ///
    /// # Panics
    /// If that flow is no video.
    #[must_use]
    pub fn client(&self, index: usize) -> &VideoClient {
        match self.laid.network.endpoint(self.laid.pairs[index].1) {
            End::Client(client) => client,
            _ => panic!("flow {index} has no video client"),
        }
    }

    /// Both ends of a stock client's flow `index`.
    ///
    /// # Panics
    /// If that flow is none.
    #[must_use]
    pub fn moonlight(&self, index: usize) -> (&MoonlightHost, &MoonlightClient) {
        let (host, client) = self.laid.pairs[index];
        let network = &self.laid.network;
        match (network.endpoint(host), network.endpoint(client)) {
            (End::MoonlightHost(host), End::MoonlightClient(client)) => (host, client),
            _ => panic!("flow {index} has no stock client"),
        }
    }

    /// Both ends of audio flow `index`.
    ///
    /// # Panics
    /// If that flow is no audio.
    #[must_use]
    pub fn audio(&self, index: usize) -> (&AudioHost, &AudioClient) {
        let (host, client) = self.laid.pairs[index];
        let network = &self.laid.network;
        match (network.endpoint(host), network.endpoint(client)) {
            (End::AudioHost(host), End::AudioClient(client)) => (host, client),
            _ => panic!("flow {index} is no audio"),
        }
    }

    /// What became of the pictures of flow `index` captured within `span`; in time is within
    /// `limit` of the capture.
    #[must_use]
    pub fn report(&self, index: usize, span: Range<Duration>, limit: Duration) -> Report {
        let (host, client) = (self.host(index), self.client(index));
        // What is still under way at the end is neither here nor there.
        let end = span.end.min(self.end.saturating_sub(limit * 2));
        let captured = host.encoder().captured();
        let within = Timestamp::ZERO + span.start..Timestamp::ZERO + end;
        let frames = captured.iter().filter(|at| within.contains(at)).count();
        let sent = host.sent();
        let is_within = |frame: FrameId| {
            captured
                .get(frame.0 as usize)
                .is_some_and(|at| within.contains(at))
        };
        let completed = client.completed().iter();
        let after_encode: Vec<u64> = completed
            .filter(|it| is_within(it.frame))
            .filter_map(|it| {
                let encoded = *host.encoded().get(it.frame.0 as usize)?;
                Some(it.at.since(encoded).as_nanos() as u64)
            })
            .collect();
        let least = after_encode.iter().min().copied().unwrap_or(0);
        let shown = client.decoder().shown().iter();
        Report {
            frames,
            missed: client
                .decoder()
                .not_shown_within(captured, span.start..end, limit),
            overhead: sent.overhead(),
            parity: sent.parity as f64 / sent.data.max(1) as f64,
            added_ns: after_encode.iter().map(|ns| ns - least).collect(),
            shown_ns: shown
                .filter(|it| is_within(it.frame))
                .map(|it| it.at.since(captured[it.frame.0 as usize]).as_nanos() as u64)
                .collect(),
        }
    }

    /// Units of all clients that were not what a host encoded, or that their decoders should not
    /// have been given: must be none, whatever is lost.
    #[must_use]
    pub fn wrong_units(&self) -> usize {
        (0..self.laid.pairs.len())
            .map(
                |index| match self.laid.network.endpoint(self.laid.pairs[index].1) {
                    End::Client(client) => client.wrong().len() + client.undecodable() as usize,
                    End::AudioClient(client) => client.heard().wrong as usize,
                    End::MoonlightClient(client) => client.wrong() as usize,
                    _ => 0,
                },
            )
            .sum()
    }
}

/// What `work` makes of each index below `count`, in that order, done on as many threads as the
/// machine has cores: each run is a world of its own.
///
/// # Panics
/// If `work` does.
pub fn on_all_cores<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let next = AtomicUsize::new(0);
    let share = || {
        std::iter::from_fn(|| Some(next.fetch_add(1, Relaxed)).filter(|index| *index < count))
            .map(|index| (index, work(index)))
            .collect::<Vec<_>>()
    };
    let mut done: Vec<(usize, T)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(share)).collect();
        let done = workers.into_iter().map(|worker| worker.join());
        done.flat_map(|part| part.expect("a run that panics fails all"))
            .collect()
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, made)| made).collect()
}

/// Host's and client's end of a flow.
fn ends(place: &Place<'_>, setup: &Setup) -> (End, End) {
    let start = Timestamp::ZERO + place.flow.start;
    let bulk = |control| {
        let sender = Sender::new(place.client, control, place.flow.start, place.end);
        (End::Bulk(Box::new(sender)), End::Sink(Sink::new()))
    };
    match place.flow.kind {
        FlowKind::Session {
            refresh,
            ceiling,
            adaptive,
        } => {
            let encoder = EncoderConfig {
                refresh,
                bitrate: ceiling,
                content: setup.content.clone(),
            };
            let host = HostConfig {
                refresh,
                ceiling,
                adaptive,
                parity: setup.parity,
                repeats: setup.repeats,
                tail: setup.tail,
            };
            let client = ClientConfig {
                decode: setup.decode,
            };
            let encoder = Encoder::new(encoder, place.rng(0), start);
            let host_keys = (keys(0), keys(1));
            let host = VideoHost::new(place.client, host, encoder, host_keys, start);
            let client = VideoClient::new(place.host, client, (keys(0), keys(1)), start);
            (End::Host(Box::new(host)), End::Client(Box::new(client)))
        }
        FlowKind::Moonlight { refresh, wish } => {
            let slices = wish.slices;
            let encoder = EncoderConfig {
                refresh,
                bitrate: wish.bitrate,
                content: match &setup.content {
                    Content::Synthetic(it) => Content::Synthetic(Synthetic {
                        slices,
                        first_slice: Synthetic::GAME_720P.first_slice,
                        last_slice: Synthetic::GAME_720P.last_slice,
                        ..*it
                    }),
                    recorded @ Content::Recorded(_) => recorded.clone(),
                },
            };
            let encoder = Encoder::new(encoder, place.rng(0), start);
            let host = MoonlightHost::new(place.client, wish, refresh, encoder, start);
            let client = MoonlightClient::new(place.host, wish);
            (
                End::MoonlightHost(Box::new(host)),
                End::MoonlightClient(Box::new(client)),
            )
        }
        FlowKind::Audio => {
            let end = Timestamp::ZERO + place.end;
            let host = AudioHost::new(place.client, setup.audio, start, end);
            let client = AudioClient::new(place.host, setup.audio, start);
            (
                End::AudioHost(Box::new(host)),
                End::AudioClient(Box::new(client)),
            )
        }
        FlowKind::Cubic => bulk(Box::<Cubic>::default()),
        FlowKind::Bbr => bulk(Box::new(Bbr::new(place.rng(1)))),
    }
}

/// Keys of one direction: secret to nobody, but real.
fn keys(direction: u8) -> MediaKeys {
    MediaKeys::from_exporter(Aead::Aes128Gcm, &mut [direction + 1; EXPORTER_BYTES])
}

impl Endpoint for End {
    fn handle(&mut self, now: Timestamp, from: Address, datagram: &mut [u8]) {
        self.endpoint().handle(now, from, datagram);
    }

    fn poll_transmit(
        &mut self,
        now: Timestamp,
        datagram: &mut [u8; DATAGRAM_BYTES_MAX],
    ) -> Option<Transmit> {
        self.endpoint().poll_transmit(now, datagram)
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        match self {
            Self::Host(it) => it.poll_timeout(),
            Self::Client(it) => it.poll_timeout(),
            Self::MoonlightHost(it) => it.poll_timeout(),
            Self::MoonlightClient(it) => it.poll_timeout(),
            Self::AudioHost(it) => it.poll_timeout(),
            Self::AudioClient(it) => it.poll_timeout(),
            Self::Bulk(it) => it.poll_timeout(),
            Self::Sink(it) => it.poll_timeout(),
        }
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        self.endpoint().handle_timeout(now);
    }
}

impl End {
    fn endpoint(&mut self) -> &mut dyn Endpoint {
        match self {
            Self::Host(it) => it.as_mut(),
            Self::Client(it) => it.as_mut(),
            Self::MoonlightHost(it) => it.as_mut(),
            Self::MoonlightClient(it) => it.as_mut(),
            Self::AudioHost(it) => it.as_mut(),
            Self::AudioClient(it) => it.as_mut(),
            Self::Bulk(it) => it.as_mut(),
            Self::Sink(it) => it,
        }
    }
}
