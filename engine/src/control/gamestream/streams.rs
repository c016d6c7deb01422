//! The thread that streams to stock clients: RTSP, the control stream, the pings that open video
//! and audio, and their sessions. Video itself goes from each session's own pipeline to the wire.
//!
//! Requests over HTTP are in `launch`, RTSP in `requests` and `announce`, media in `pings`, the
//! control stream in `peers`; here are the thread, its turns and how sessions end.
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
mod peers;
mod pings;
mod requests;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use mio::net::TcpListener;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use net::clock;
use net::gamestream::control::{EndReason, ToClient};
use net::gamestream::enet::EnetHost;
use net::limits::SESSIONS_MAX;
use net::udp::Socket;
use net::units::Timestamp;

use super::Ports;
use super::broker::{Ask, Running};
use super::media::VideoSteer;
use super::rtsp::RtspConnections;
use super::session::{Changing, Facts, Game, Stage};
use super::sessions::SessionError;
use crate::config::HostConfig;
use crate::host::{Registry, SessionEntry};
use crate::session::{self, Backends, Session, SessionCommand, SessionEvent};

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
                    self.registry.add(SessionEntry::new(
                        number,
                        game.client.name.clone(),
                        facts.mode,
                        capture,
                        Arc::clone(game.session.metrics()),
                    ));
                }
                SessionEvent::ModeSet { wanted, result } => {
                    self.take_mode(number, wanted, result);
                }
                // Stock clients cannot ask for these.
                SessionEvent::ModeChanged(_) | SessionEvent::Copied | SessionEvent::Cursor => {}
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
                while let Some(echo) = peer.and_then(|peer| self.enet.poll_echo(peer)) {
                    steer.handle_echo(echo);
                }
                steer.set_waits_since(peer.and_then(|peer| self.enet.waits_since(peer)));
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
