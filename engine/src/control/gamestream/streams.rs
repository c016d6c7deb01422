//! The thread that streams to stock clients: RTSP, the control stream, the pings that open video
//! and audio, and their sessions. Video itself goes from each session's own pipeline to the wire.
//!
//! Each turn of [`StreamHost::run`]:
//!  1. wait for a socket, a request of the HTTP side, a session's event or the nearest time limit;
//!  2. take requests and sessions' events;
//!  3. take RTSP's requests and answer them;
//!  4. take pings, and what the control stream brought;
//!  5. let every stream look at its path, end what has taken too long, send what ENet has to send.
//!
//! It is not the HTTP thread: an RSA signature there takes as long as a frame.

mod announce;
mod launch;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use mio::net::TcpListener;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry as Reactor, Token, Waker};
use net::clock;
use net::gamestream::control::{EndReason, FromClient, ToClient};
use net::gamestream::enet::{Delivery, EnetEvent, EnetHost, Peer};
use net::gamestream::ping::{Admission, Ping};
use net::gamestream::rtsp::{Received, Request, RtspEvent};
use net::gamestream::video::{VideoConfig, VideoPacketizer};
use net::limits::SESSIONS_MAX;
use net::udp::{Datagram, SendError, Socket, Wait};
use net::units::{BitsPerSecond, SliceCount, Timestamp};

use super::Ports;
use super::broker::{Ask, Running};
use super::control::take_message;
use super::media::{VideoSteer, VideoTerms};
use super::rtsp::{Asked, RtspConnections};
use super::session::{AnnounceWaits, Changing, Facts, Game, Stage, Stream};
use super::sessions::SessionError;
use super::sound;
use crate::config::HostConfig;
use crate::host::{Registry, SessionEntry};
use crate::session::{
    self, Backends, EncodeTerms, Session, SessionCommand, SessionEvent, StartMedia,
};
use crate::stage::cutter::VideoCutter;

pub(super) const WAKE: Token = Token(0);
const CONTROL: Token = Token(1);
const VIDEO: Token = Token(2);
const AUDIO: Token = Token(3);
/// RTSP's listener and connections have numbers from here on.
const FIRST_RTSP: usize = 16;

/// Events of sessions under way: each sends three for a stream.
const SESSION_EVENTS: usize = 8 * SESSIONS_MAX;
/// Receive calls on a socket in a turn, before the others get theirs.
const RECEIVES_PER_TURN: usize = 16;
/// The thread looks around at least so often while there are sessions.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Until ENet has measured one.
const ROUND_TRIP_AT_FIRST: Duration = Duration::from_millis(20);
/// Datagrams that a batch has at most; the pacer asks for fewer.
const BATCH_DATAGRAMS: usize = 16;

/// What the thread is made of.
pub(super) struct Parts {
    pub(super) host: HostConfig,
    pub(super) ports: Ports,
    pub(super) backends: Backends,
    pub(super) registry: Arc<Registry>,
    pub(super) running: Arc<Running>,
    pub(super) waker: Arc<Waker>,
    pub(super) asks: Receiver<Ask>,
    pub(super) listener: TcpListener,
    pub(super) control: Socket,
    pub(super) video: Socket,
    pub(super) audio: Socket,
}

/// The thread.
pub(super) struct StreamHost {
    host: HostConfig,
    ports: Ports,
    backends: Backends,
    registry: Arc<Registry>,
    running: Arc<Running>,
    waker: Arc<Waker>,
    asks: Receiver<Ask>,
    rtsp: RtspConnections,
    control: Socket,
    video: Socket,
    audio: Socket,
    receiver: net::udp::Receiver,
    enet: EnetHost,
    /// By number.
    games: BTreeMap<u64, Game>,
    /// Sessions that were asked to end and have not yet.
    ending: Vec<Ending>,
    /// Launches that wait for their undo commands.
    deferred: Vec<Ask>,
    events: Receiver<(u64, SessionEvent)>,
    events_in: Sender<(u64, SessionEvent)>,
}

/// A session that was asked to end.
struct Ending {
    session: Session,
    /// It undoes what was prepared for its application.
    undoes: bool,
}

/// What becomes of an RTSP request.
enum Answered {
    Now(Vec<u8>),
    /// Its display takes another mode first.
    Later,
    /// It is nobody's.
    Refused,
}

impl From<Option<Vec<u8>>> for Answered {
    fn from(response: Option<Vec<u8>>) -> Self {
        response.map_or(Self::Refused, Self::Now)
    }
}

impl StreamHost {
    pub(super) fn new(parts: Parts, poll: &Poll) -> std::io::Result<Self> {
        let rtsp = RtspConnections::new(parts.listener, FIRST_RTSP, poll.registry())?;
        for (socket, token) in [
            (&parts.control, CONTROL),
            (&parts.video, VIDEO),
            (&parts.audio, AUDIO),
        ] {
            let fd = socket.as_fd().as_raw_fd();
            poll.registry()
                .register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        }
        let mut seed = [0; 4];
        boring::rand::rand_bytes(&mut seed).map_err(std::io::Error::other)?;
        let (events_in, events) = bounded(SESSION_EVENTS);
        Ok(Self {
            host: parts.host,
            ports: parts.ports,
            backends: parts.backends,
            registry: parts.registry,
            running: parts.running,
            waker: parts.waker,
            asks: parts.asks,
            rtsp,
            control: parts.control,
            video: parts.video,
            audio: parts.audio,
            receiver: net::udp::Receiver::new(),
            enet: EnetHost::new(clock::now(), u32::from_le_bytes(seed)),
            games: BTreeMap::new(),
            ending: Vec::new(),
            deferred: Vec::new(),
            events,
            events_in,
        })
    }

    /// Runs until the owner says stop.
    pub(super) fn run(mut self, mut poll: Poll) {
        let mut events = Events::with_capacity(64);
        let mut more = false;
        loop {
            let timeout = match more {
                true => Some(Duration::ZERO),
                false => self.timeout(clock::now()),
            };
            if let Err(error) = poll.poll(&mut events, timeout)
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                log::error!("GameStream's reactor failed: {error}");
                break;
            }
            if !self.take_asks() {
                break;
            }
            self.take_session_events();
            self.take_rtsp(poll.registry());
            more = self.take_pings();
            more |= self.take_control();
            self.handle_timeout(clock::now());
            self.transmit();
        }
        self.say_goodbye();
    }

    fn timeout(&self, now: Timestamp) -> Option<Duration> {
        // What they waited for has ended, and nothing else may ever wake us.
        if !self.deferred.is_empty() && !self.is_undoing() {
            return Some(Duration::ZERO);
        }
        let streams = || self.games.values().filter_map(|game| game.stream.as_ref());
        let steers = streams().filter_map(|it| it.steer.as_ref());
        let due = [
            self.enet.poll_timeout(),
            self.rtsp.poll_timeout(),
            steers.map(VideoSteer::poll_timeout).min(),
            self.games.values().filter_map(Game::deadline).min(),
        ];
        let due = due.into_iter().flatten().min().map(|at| at.since(now));
        let look = !self.games.is_empty() || !self.ending.is_empty();
        [due, look.then_some(LOOK_INTERVAL)]
            .into_iter()
            .flatten()
            .min()
    }

    // ---- sessions -----------------------------------------------------------------------------

    fn take_session_events(&mut self) {
        while let Ok((number, event)) = self.events.try_recv() {
            let Some(game) = self.games.get_mut(&number) else {
                continue;
            };
            match event {
                SessionEvent::Ready {
                    mode,
                    slices_max,
                    invalidates_references,
                    input,
                    ..
                } => {
                    game.input = input;
                    game.facts = Some(Facts {
                        mode,
                        slices_max,
                        invalidation: invalidates_references,
                    });
                    let stage = std::mem::replace(&mut game.stage, Stage::Suspended);
                    let granted = self.grant(clock::now(), number);
                    if let Stage::Starting(reply) = stage {
                        reply.send(granted);
                    }
                }
                SessionEvent::Started { reports, capture } => {
                    let facts = game.facts;
                    let steer = game.stream.as_mut().and_then(|it| it.steer.as_mut());
                    let (Some(steer), Some(facts)) = (steer, facts) else {
                        continue;
                    };
                    steer.started(reports);
                    self.registry.add(SessionEntry {
                        number,
                        client: game.client.name.clone(),
                        mode: facts.mode,
                        capture,
                        metrics: Arc::clone(game.session.metrics()),
                    });
                }
                SessionEvent::ModeSet { wanted, result } => {
                    self.take_mode(number, wanted, result);
                }
                // Stock clients cannot ask for that.
                SessionEvent::ModeChanged(_) => {}
                SessionEvent::PadOutput => game.pass_pad_output(clock::now(), &mut self.enet),
                SessionEvent::Failed(error) => {
                    let text = error.to_string();
                    let is_left =
                        matches!(error, session::SessionError::AppEnded { success: true, .. });
                    if !is_left {
                        log::warn!("session {number} of {}: {text}", game.client.name);
                    }
                    let stage = std::mem::replace(&mut game.stage, Stage::Suspended);
                    if let Stage::Starting(reply) = stage {
                        let text = format!("{} cannot be started: {text}", game.app_name);
                        reply.send(Err(SessionError::Unavailable(text)));
                    }
                    self.end(
                        number,
                        if is_left {
                            "its application was left"
                        } else {
                            "it failed"
                        },
                    );
                }
            }
        }
    }

    /// Ends the stream; display and application stay.
    fn suspend(&mut self, now: Timestamp, number: u64, why: &str) {
        let Some(game) = self.games.get_mut(&number) else {
            return;
        };
        if matches!(game.stage, Stage::Starting(_)) {
            return;
        }
        if let Some(stream) = game.stream.take() {
            log::info!(
                "session {number} of {} is suspended: {why}",
                game.client.name
            );
            self.enet.forget(stream.connect_data);
            if let Some(peer) = stream.peer {
                self.enet.drop_peer(now, peer);
            }
            self.registry.remove(number);
            // Nobody is there to lift what is down.
            if let Some(input) = &game.input {
                input.release();
            }
            game.owes_suspend = !game.command(SessionCommand::Suspend);
        }
        game.stage = Stage::Suspended;
    }

    /// Ends the session and its application, and tells the client.
    fn end(&mut self, number: u64, why: &str) {
        let now = clock::now();
        let Some(mut game) = self.games.remove(&number) else {
            return;
        };
        log::info!("session {number} of {} is over: {why}", game.client.name);
        self.running.remove(game.client.fingerprint);
        self.registry.remove(number);
        if let Some(mut stream) = game.stream.take() {
            self.enet.forget(stream.connect_data);
            stream.tell(now, &mut self.enet, ToClient::Terminate(EndReason::Closed));
            if let Some(peer) = stream.peer {
                self.enet.disconnect(now, peer);
            }
        }
        if let Stage::Starting(reply) | Stage::Changing(Changing::Resume(reply)) = game.stage {
            let text = "the session was ended before it had begun";
            reply.send(Err(SessionError::Unavailable(text.to_owned())));
        }
        game.session.end();
        self.ending.push(Ending {
            session: game.session,
            undoes: game.undoes,
        });
    }

    // ---- RTSP ---------------------------------------------------------------------------------

    fn take_rtsp(&mut self, reactor: &Reactor) {
        let now = clock::now();
        for asked in self.rtsp.poll(now, reactor) {
            match self.answer_rtsp(now, &asked) {
                Answered::Now(response) => self.rtsp.answer(asked.id, &response),
                Answered::Later => {}
                Answered::Refused => self.rtsp.close(asked.id),
            }
        }
    }

    fn answer_rtsp(&mut self, now: Timestamp, asked: &Asked) -> Answered {
        let Some((number, request, sealed)) = self.whose(asked) else {
            return Answered::Refused;
        };
        let Some(game) = self.games.get_mut(&number) else {
            return Answered::Refused;
        };
        let Some(stream) = game.stream.as_mut() else {
            return Answered::Refused;
        };
        let step = stream.rtsp.handle(&request, sealed);
        match step.event {
            Some(RtspEvent::Announced(announced)) => {
                let waiting = AnnounceWaits {
                    connection: asked.id,
                    config: announced.config,
                    address: asked.peer,
                };
                self.decide_announced(now, number, waiting)
            }
            Some(RtspEvent::Refused(error)) => {
                log::warn!("{} cannot be served: {error}", game.client.name);
                step.response.into()
            }
            Some(RtspEvent::Play) => {
                self.start_if_due(now, number);
                step.response.into()
            }
            None => step.response.into(),
        }
    }

    /// A sealed request is the one's whose key opens it; a plain one names its session, or is the
    /// one's that was told to come last to that address.
    fn whose(&mut self, asked: &Asked) -> Option<(u64, Request, bool)> {
        match &asked.received {
            Received::Sealed(sealed) => {
                let found = self.games.iter_mut().find_map(|(number, game)| {
                    let opened = game.stream.as_mut()?.rtsp.open(sealed);
                    opened.ok().map(|request| (*number, request))
                });
                if found.is_none() {
                    log::debug!(
                        "{}: an RTSP request that no session's key opens",
                        asked.peer
                    );
                }
                let (number, request) = found?;
                Some((number, request, true))
            }
            Received::Plain(request) => {
                let is_meant = |game: &&Game| {
                    let Some(stream) = &game.stream else {
                        return false;
                    };
                    match &request.session {
                        Some(named) => *named == stream.session_id,
                        None => {
                            game.client.address.ip().to_canonical() == asked.peer
                                && !stream.rtsp.is_playing()
                        }
                    }
                };
                let games = self.games.values().filter(is_meant);
                let game = games.max_by_key(|game| game.since)?;
                Some((game.number, request.clone(), false))
            }
        }
    }

    // ---- media --------------------------------------------------------------------------------

    /// True if more is waiting.
    fn take_pings(&mut self) -> bool {
        let video = self.take_pings_of(true);
        let audio = self.take_pings_of(false);
        video || audio
    }

    fn take_pings_of(&mut self, is_video: bool) -> bool {
        let now = clock::now();
        for _ in 0..RECEIVES_PER_TURN {
            let socket = if is_video { &self.video } else { &self.audio };
            match self.receiver.recv(socket, Wait::No) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => {
                    log::debug!("receiving pings: {error}");
                    return false;
                }
            }
            let pings = self.receiver.datagrams().filter_map(|(bytes, from)| {
                let ping = Ping::parse(bytes)?;
                Some((ping, from))
            });
            for (ping, from) in pings.collect::<Vec<_>>() {
                self.take_ping(now, is_video, ping, from);
            }
        }
        true
    }

    fn take_ping(&mut self, now: Timestamp, is_video: bool, ping: Ping, from: SocketAddr) {
        for number in self.games.keys().copied().collect::<Vec<_>>() {
            let Some(game) = self.games.get_mut(&number) else {
                continue;
            };
            let announced = game.stream.as_mut().and_then(|it| it.announced.as_mut());
            let Some(announced) = announced else { continue };
            let gate = match is_video {
                true => &mut announced.video,
                false => &mut announced.audio,
            };
            match gate.handle(from, ping) {
                Admission::Refused => continue,
                Admission::Unchanged => {}
                Admission::Peer(peer) if is_video => {
                    if matches!(game.stage, Stage::Streaming) {
                        // Left out if the queue is full; its next ping is half a second away.
                        let _ = game.command(SessionCommand::Redirect(peer));
                    }
                }
                Admission::Peer(peer) => {
                    if let Some(sound) = game.stream.as_ref().and_then(|it| it.sound.as_ref()) {
                        sound.redirect(peer);
                    }
                }
            }
            self.start_if_due(now, number);
            return;
        }
    }

    /// Starts the pipeline once the client plays and its ping says where it is.
    fn start_if_due(&mut self, now: Timestamp, number: u64) {
        let Some(game) = self.games.get_mut(&number) else {
            return;
        };
        if game.owes_suspend || !matches!(game.stage, Stage::Awaited) {
            return;
        }
        let (Some(stream), Some(facts)) = (game.stream.as_mut(), game.facts) else {
            return;
        };
        let peer = stream.announced.as_ref().and_then(|it| it.video.peer());
        let (true, Some(peer)) = (stream.rtsp.is_playing(), peer) else {
            return;
        };
        let slices = game.client.slices.or(self.host.slices);
        let start = start_media(now, stream, facts, &self.host, slices, &self.video, peer);
        match start {
            Ok(mut start) => {
                if self.backends.audio.is_some() {
                    start.audio = sound::start(stream, &self.audio, game.session.metrics());
                }
                game.stage = Stage::Streaming;
                game.since = now;
                if !game.command(SessionCommand::Start(Box::new(start))) {
                    log::warn!("session {number} takes no command");
                    self.suspend(now, number, "it could not be started");
                }
            }
            Err(text) => {
                log::warn!("session {number}: {text}");
                self.end(number, "it could not be started");
            }
        }
    }

    // ---- the control stream -------------------------------------------------------------------

    /// True if more is waiting.
    fn take_control(&mut self) -> bool {
        let mut more = true;
        for _ in 0..RECEIVES_PER_TURN {
            match self.receiver.recv(&self.control, Wait::No) {
                Ok(0) => {
                    more = false;
                    break;
                }
                Ok(_) => {}
                Err(error) => {
                    log::debug!("receiving control: {error}");
                    more = false;
                    break;
                }
            }
            let now = clock::now();
            for (datagram, from) in self.receiver.datagrams() {
                if let Err(refused) = self.enet.handle_datagram(now, from, datagram) {
                    log::trace!("{from}: {refused}");
                }
            }
            self.take_enet_events(now);
        }
        more
    }

    fn take_enet_events(&mut self, now: Timestamp) {
        while let Some(event) = self.enet.poll_event() {
            match event {
                EnetEvent::Connected {
                    peer,
                    connect_data,
                    from,
                } => self.connect(now, peer, connect_data, from.ip().to_canonical()),
                EnetEvent::Received { peer, bytes, .. } => self.receive(now, peer, &bytes),
                EnetEvent::Disconnected { peer } => {
                    if let Some(number) = self.number_of_peer(peer) {
                        self.suspend(now, number, "its client is gone");
                    }
                }
            }
        }
    }

    fn connect(&mut self, now: Timestamp, peer: Peer, connect_data: u32, from: IpAddr) {
        let streams = self.games.values_mut().filter_map(|it| it.stream.as_mut());
        let stream = streams
            .filter(|it| it.connect_data == connect_data)
            .find(|it| it.announced.as_ref().is_some_and(|it| it.address == from));
        let Some(stream) = stream else {
            log::warn!("{from}: a control stream that is no session's");
            return self.enet.drop_peer(now, peer);
        };
        if let Some(before) = stream.peer.replace(peer) {
            self.enet.drop_peer(now, before);
        }
    }

    fn number_of_peer(&self, peer: Peer) -> Option<u64> {
        let mut games = self.games.values();
        let has = |game: &&Game| game.stream.as_ref().is_some_and(|it| it.peer == Some(peer));
        games.find(has).map(|game| game.number)
    }

    fn receive(&mut self, now: Timestamp, peer: Peer, bytes: &[u8]) {
        let Some(number) = self.number_of_peer(peer) else {
            return;
        };
        let round_trip = self.enet.round_trip(peer).unwrap_or(ROUND_TRIP_AT_FIRST);
        let Some(game) = self.games.get_mut(&number) else {
            return;
        };
        let Some(stream) = game.stream.as_mut() else {
            return;
        };
        let Some(message) = take_message(stream, bytes) else {
            return;
        };
        if let FromClient::Input(event) = message {
            return game.take_input(now, event);
        }
        if let Some(steer) = &mut stream.steer {
            steer.handle_message(now, round_trip, &message);
        }
        game.pass_commands();
    }

    // ---- time ---------------------------------------------------------------------------------

    fn handle_timeout(&mut self, now: Timestamp) {
        if self.enet.poll_timeout().is_some_and(|due| due <= now) {
            self.enet.handle_timeout(now);
        }
        self.take_enet_events(now);
        let mut late = Vec::new();
        for game in self.games.values_mut() {
            if game.owes_suspend {
                game.owes_suspend = !game.command(SessionCommand::Suspend);
            }
            if game.deadline().is_some_and(|at| at <= now) {
                late.push(game.number);
            }
            let Some(stream) = game.stream.as_mut() else {
                continue;
            };
            let peer = stream.peer;
            // It plays without a control stream: half of a client.
            if peer.is_none() && now.since(game.since) >= super::session::PLAY_PATIENCE {
                late.push(game.number);
            }
            let round_trip = peer.and_then(|peer| self.enet.round_trip(peer));
            if let Some(steer) = &mut stream.steer {
                steer.handle_timeout(now, round_trip.unwrap_or(ROUND_TRIP_AT_FIRST));
                if let Some(status) = steer.poll_status() {
                    game.session.metrics().set_path(status);
                }
            }
            game.pass_commands();
        }
        for number in late {
            let game = self.games.get(&number);
            if game.is_some_and(|game| matches!(game.stage, Stage::Starting(_))) {
                self.end(number, "its display was not there in time");
            } else {
                self.suspend(now, number, "its client did not come");
            }
        }
        self.ending.retain(|it| !it.session.has_ended());
    }

    fn transmit(&mut self) {
        while let Some(transmit) = self.enet.poll_transmit() {
            let datagram = Datagram {
                to: transmit.to,
                bytes: &transmit.bytes,
            };
            match self.control.send_many(&[datagram]) {
                Ok(_) => {}
                // ENet repeats what matters.
                Err(SendError::Io(error)) => log::warn!("sending to {}: {error}", transmit.to),
                Err(error) => log::debug!("sending to {}: {error}", transmit.to),
            }
        }
    }

    /// Tells every client, then ends the sessions, all at once, and waits for them together.
    fn say_goodbye(&mut self) {
        for number in self.games.keys().copied().collect::<Vec<_>>() {
            self.end(number, "the host was stopped");
        }
        self.transmit();
        let deadline = Instant::now() + session::JOIN_TIMEOUT;
        for ending in self.ending.drain(..) {
            ending.session.join_by(deadline);
        }
    }
}

/// What the session's pipeline needs, and the stream's steering beside it. `slices` are the
/// operator's, where there is such a setting.
fn start_media(
    now: Timestamp,
    stream: &mut Stream,
    facts: Facts,
    host: &HostConfig,
    slices: Option<SliceCount>,
    video: &Socket,
    peer: SocketAddr,
) -> Result<StartMedia, String> {
    let announced = stream.announced.as_ref();
    let config = announced.ok_or("PLAY before ANNOUNCE")?.config;
    let slices = slices.unwrap_or(config.slices).min(facts.slices_max);
    let bitrate = config.bitrate.0;
    let bitrate = BitsPerSecond(host.bitrate.map_or(bitrate, |most| most.0.min(bitrate)));
    let (steer, control) = VideoSteer::new(
        now,
        VideoTerms {
            bitrate,
            packet_bytes: config.packet_bytes,
            slices,
            fec_percent: host.fec_percent,
        },
    );
    let packetizer = VideoPacketizer::new(&VideoConfig {
        packet_bytes: config.packet_bytes,
        parity_min: config.parity_min,
        protection: control.orders.protection(),
        format: config.format,
        key: config.encryption.video.then_some(stream.key),
        batch_datagrams_max: BATCH_DATAGRAMS,
    })
    .map_err(|error| error.to_string())?;
    let cutter = VideoCutter::new(packetizer, steer.guidance(), slices);
    let encode = EncodeTerms {
        bitrate: steer.orders().bitrate,
        slices,
    };
    stream.steer = Some(steer);
    Ok(StartMedia {
        cutter: cutter.into(),
        encode: Some(encode),
        socket: video.try_clone().map_err(|error| error.to_string())?,
        peer,
        control,
        audio: None,
    })
}

impl Stream {
    /// Tells the client, if it is there and its queue has room.
    pub(super) fn tell(&mut self, now: Timestamp, enet: &mut EnetHost, message: ToClient) {
        let (Some(peer), Some(announced)) = (self.peer, self.announced.as_mut()) else {
            return;
        };
        let (kind, payload, length) = message.to_wire();
        let sealed = announced.cipher.seal(kind, &payload[..length]);
        let sent = sealed
            .map_err(|error| error.to_string())
            .and_then(|sealed| {
                enet.send(now, peer, 0, &sealed, Delivery::Reliable)
                    .map_err(|error| error.to_string())
            });
        if let Err(text) = sent {
            log::debug!("a client is not told of {message:?}: {text}");
        }
    }
}
