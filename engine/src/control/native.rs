//! The native protocol's host: QUIC connections, their control machines and their sessions.
//!
//! Each turn of [`NativeHost::run`]:
//!  1. wait for the socket, a session's event, the owner or the nearest time limit;
//!  2. take datagrams (QUIC's to QUIC, media to its sender's steering);
//!  3. take what sessions have to say;
//!  4. let every peer's machine read, decide and write ([`NativeHost::serve`]);
//!  5. send what QUIC has to send, forget who is gone.

mod peer;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Waker};
use net::clock;
use net::identity::Identity;
use net::limits::{CONTROL_BODY_BYTES_MAX, SESSIONS_MAX};
use net::media;
use net::native::{
    Agreed, ClockDomain, End, EndReason, Features, Hello, HostEvent, HostState, Refuse, RefuseCode,
    negotiate,
};
use net::packetize::{Packetizer, PacketizerConfig};
use net::quic::{Endpoint, LinkId, PACKET_BYTES_MAX};
use net::udp::{Datagram, SendError, Socket, Wait};
use net::units::Timestamp;

use super::admission::{Admission, LOOK_INTERVAL};
use super::cursor::CursorPlane;
use super::media::{media_keys, new_session_id, repair, steering_config};
use super::remode;
use super::shared;
use super::sound::Sound;
use super::steer::Steer;
use super::terms::{app_command, offer, overrule};
use super::{HostCommand, SOCKET, WAKE};
use crate::config::HostConfig;
use crate::host::{HostError, Registry, SessionEntry};
use crate::session::{
    self, AppTerms, Backends, Session, SessionCommand, SessionEvent, SessionRequest, StartMedia,
};
use crate::trust::native::NativeTrust;

use peer::{Peer, Wanted};

/// Events of sessions under way: each sends three in its life, and one for each change of its mode,
/// of which it makes one at a time.
const SESSION_EVENTS: usize = 4 * SESSIONS_MAX;
/// Receive calls in a turn before timers and peers get theirs: a flood must not starve them.
const RECEIVES_PER_TURN: usize = 16;
/// How often finished frames' times are passed on to a client that wants them.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);
/// A client that was told the end has this long to close the connection itself.
const LINGER: Duration = Duration::from_secs(1);

/// What the native host is made of.
pub(super) struct Parts {
    pub(super) config: HostConfig,
    pub(super) identity: Identity,
    pub(super) trust: Arc<NativeTrust>,
    pub(super) socket: Socket,
    pub(super) backends: Backends,
    pub(super) registry: Arc<Registry>,
    pub(super) waker: Arc<Waker>,
    pub(super) commands: Receiver<HostCommand>,
}

/// The control thread.
pub(super) struct NativeHost {
    config: HostConfig,
    admission: Admission,
    backends: Backends,
    registry: Arc<Registry>,
    waker: Arc<Waker>,
    commands: Receiver<HostCommand>,
    socket: Socket,
    receiver: net::udp::Receiver,
    endpoint: Endpoint,
    peers: BTreeMap<LinkId, Peer>,
    /// Sessions that were asked to end and have not yet.
    ending: Vec<Session>,
    events: Receiver<(LinkId, SessionEvent)>,
    events_in: Sender<(LinkId, SessionEvent)>,
    boot_id: String,
    scratch: Box<[u8]>,
}

impl NativeHost {
    pub(super) fn new(parts: Parts) -> Result<Self, HostError> {
        let local = parts.socket.local_addr().map_err(HostError::Thread)?;
        let endpoint = Endpoint::new(&parts.identity, local)?;
        let (events_in, events) = bounded(SESSION_EVENTS);
        let (host, waker) = (parts.identity.fingerprint(), Arc::clone(&parts.waker));
        Ok(Self {
            admission: Admission::new(&parts.config, parts.trust, host, waker),
            config: parts.config,
            backends: parts.backends,
            registry: parts.registry,
            waker: parts.waker,
            commands: parts.commands,
            socket: parts.socket,
            receiver: net::udp::Receiver::new(),
            endpoint,
            peers: BTreeMap::new(),
            ending: Vec::new(),
            events,
            events_in,
            boot_id: platform::boot_id(),
            scratch: vec![0; CONTROL_BODY_BYTES_MAX].into_boxed_slice(),
        })
    }

    /// Runs until the owner says stop.
    pub(super) fn run(mut self, mut poll: Poll) {
        let fd = self.socket.as_fd().as_raw_fd();
        if let Err(error) = poll
            .registry()
            .register(&mut SourceFd(&fd), SOCKET, Interest::READABLE)
        {
            log::error!("the socket cannot be watched: {error}");
            return;
        }
        let mut events = Events::with_capacity(8);
        let mut more = false;
        loop {
            let timeout = if more {
                Some(Duration::ZERO)
            } else {
                self.timeout()
            };
            if let Err(error) = poll.poll(&mut events, timeout)
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                log::error!("the reactor failed: {error}");
                break;
            }
            debug_assert!(
                events
                    .iter()
                    .all(|event| [SOCKET, WAKE].contains(&event.token()))
            );
            if self.commands.try_recv().is_ok() {
                break;
            }
            more = self.take_datagrams();
            self.endpoint.handle_timeout();
            self.take_session_events();
            self.serve();
            self.transmit();
            self.forget_the_gone();
        }
        self.say_goodbye();
    }

    fn timeout(&self) -> Option<Duration> {
        let now = clock::now();
        let machines = self
            .peers
            .values()
            .filter_map(|peer| peer.machine.poll_timeout())
            .min();
        let reports = self.peers.values().any(|peer| peer.reports.is_some());
        let steers = self.peers.values().filter_map(|peer| peer.steer.as_ref());
        let steers = steers.map(Steer::poll_timeout).min();
        let cursors = self.peers.values().filter_map(|peer| peer.cursor.as_ref());
        let cursors = cursors.filter_map(CursorPlane::poll_timeout).min();
        let watched = self.peers.values().any(|peer| peer.standing.is_watched());
        [
            self.endpoint.timeout(),
            watched.then_some(LOOK_INTERVAL),
            machines.map(|at| at.since(now)),
            reports.then_some(REPORT_INTERVAL),
            steers.map(|at| at.since(now)),
            cursors.map(|at| at.since(now)),
            (!self.ending.is_empty()).then_some(REPORT_INTERVAL),
            self.peers
                .values()
                .any(|peer| peer.ended.is_some())
                .then_some(LINGER),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// True if more is waiting in the socket.
    fn take_datagrams(&mut self) -> bool {
        for _ in 0..RECEIVES_PER_TURN {
            match self.receiver.recv(&self.socket, Wait::No) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => {
                    log::warn!("receiving: {error}");
                    return false;
                }
            }
            let now = clock::now();
            for (datagram, from) in self.receiver.datagrams() {
                let Some(&first) = datagram.first() else {
                    continue;
                };
                if !media::is_media(first) {
                    self.endpoint.receive(datagram, from);
                    continue;
                }
                // From an address that QUIC has validated, or it is dropped unread.
                let endpoint = &mut self.endpoint;
                let sender = self.peers.iter_mut().find(|(id, peer)| {
                    peer.steer.is_some()
                        && endpoint.link(**id).is_some_and(|link| link.peer() == from)
                });
                if let Some((_, peer)) = sender {
                    peer.handle_media(now, datagram);
                }
            }
        }
        true
    }

    fn take_session_events(&mut self) {
        while let Ok((id, event)) = self.events.try_recv() {
            // Of one who is gone nobody wants to know.
            let Some(mut peer) = self.peers.remove(&id) else {
                continue;
            };
            self.take_session_event(&mut peer, event);
            self.peers.insert(id, peer);
        }
    }

    fn take_session_event(&self, peer: &mut Peer, event: SessionEvent) {
        let Some(wanted) = &mut peer.wanted else {
            return;
        };
        match event {
            SessionEvent::Ready {
                mode,
                encoder,
                slices,
                input,
                shared,
                cursor,
                ..
            } => {
                wanted.agreed.mode = mode;
                wanted.agreed.slices = slices;
                match peer.open_planes(input, shared, cursor) {
                    Ok(()) => self.welcome(peer, encoder),
                    Err(refuse) => peer.machine.refuse(refuse),
                }
            }
            SessionEvent::Started { reports, capture } => {
                peer.reports = Some(reports);
                if let Some(session) = &peer.session {
                    self.registry.add(SessionEntry::new(
                        wanted.number,
                        wanted.client.clone(),
                        wanted.agreed.mode,
                        capture,
                        Arc::clone(session.metrics()),
                    ));
                }
            }
            // It waits where the peer's plane finds it.
            SessionEvent::PadOutput | SessionEvent::Copied | SessionEvent::Cursor => {}
            // Nobody comes back here.
            SessionEvent::ModeSet { .. } => {}
            SessionEvent::ModeChanged(result) => {
                if let Ok((mode, _)) = &result {
                    wanted.agreed.mode = *mode;
                }
                let entry = (&*self.registry, wanted.number);
                let steer = peer.steer.as_mut();
                remode::settle(clock::now(), &mut peer.machine, steer, entry, result);
            }
            SessionEvent::Failed(error) => {
                log::warn!("session {} of {}: {error}", wanted.number, wanted.client);
                let text = error.to_string();
                peer.machine.refuse(Refuse {
                    code: RefuseCode::NoBackend,
                    text: text.clone(),
                });
                peer.machine.end(End {
                    reason: EndReason::Backend,
                    text,
                });
            }
        }
    }

    /// Its session stands, and this is what was agreed on.
    fn welcome(&self, peer: &mut Peer, encoder: &str) {
        let Some(wanted) = &peer.wanted else { return };
        let welcome = wanted.agreed.welcome(
            wanted.id,
            ClockDomain::derive(&self.boot_id, &wanted.id),
            self.config.name.clone(),
            encoder.to_owned(),
        );
        // False if the client gave up meanwhile; its end follows by itself.
        let _ = peer.machine.accept(clock::now(), &welcome);
    }

    fn serve(&mut self) {
        let now = clock::now();
        let ids: Vec<LinkId> = self.endpoint.link_ids().collect();
        for id in ids {
            let Some(link) = self.endpoint.link(id) else {
                continue;
            };
            if link.is_established() && !self.peers.contains_key(&id) {
                self.peers.insert(id, Peer::new(now));
            }
            let Some(mut peer) = self.peers.remove(&id) else {
                continue;
            };
            self.serve_peer(now, id, &mut peer);
            self.peers.insert(id, peer);
        }
    }

    fn serve_peer(&mut self, now: Timestamp, id: LinkId, peer: &mut Peer) {
        let Some(link) = self.endpoint.link(id) else {
            return;
        };
        peer.read(now, link, &mut self.scratch);
        peer.read_datagrams(now, link, &mut self.scratch);
        peer.machine.handle_timeout(now);
        if let Some(steer) = &mut peer.steer {
            steer.handle_timeout(now);
        }
        peer.pass_repairs();
        self.admission
            .look(now, &mut peer.machine, &mut peer.standing);
        while let Some(event) = peer.machine.poll_event() {
            match event {
                HostEvent::Hello(hello) => self.decide(id, peer, &hello),
                HostEvent::Pairing(message) => {
                    let Some(link) = self.endpoint.link(id) else {
                        return;
                    };
                    let (machine, standing) = (&mut peer.machine, &mut peer.standing);
                    self.admission.pair(now, link, machine, standing, message);
                }
                HostEvent::Start => self.start(id, peer),
                HostEvent::RepairRequest(request) => {
                    // A queue that is full of reports holds one of nearly the same effect, and
                    // the client repeats what has none.
                    let _ = peer.command(SessionCommand::Encode(repair(&request)));
                }
                HostEvent::ChangeMode(mode) => {
                    remode::begin(now, &mut peer.machine, peer.session.as_ref(), mode);
                }
                HostEvent::Input(packet) => {
                    if let Some(input) = &mut peer.input {
                        input.handle_packet(now, &packet);
                    }
                }
                HostEvent::Clipboard(text) => shared::put(&peer.shared, text),
                HostEvent::Statistics(statistics) => {
                    log::debug!("{statistics:?}");
                    peer.mend_the_end(now, statistics.newest_frame);
                }
                HostEvent::Ended(end) => log::info!("a session ended: {}", end.text),
            }
        }
        let Some(link) = self.endpoint.link(id) else {
            return;
        };
        peer.pass_pad_output(link);
        shared::pass_on(now, &mut peer.machine, &peer.shared);
        peer.pass_cursor(now, link);
        peer.follow(link);
        peer.pass_reports();
        if let Some(sound) = &mut peer.sound {
            sound.pass_on(link);
        }
        peer.write(link);
        if peer.machine.state() == HostState::Ended {
            peer.end_session(&mut self.ending, &self.registry);
            // The client closes once it has read the reason; closing at once would take the
            // stream's last bytes with it.
            let ended = *peer.ended.get_or_insert(now);
            if now.since(ended) >= LINGER {
                link.close("the session is over");
            }
        }
    }

    /// A client wants a session.
    fn decide(&mut self, id: LinkId, peer: &mut Peer, hello: &Hello) {
        let Some(link) = self.endpoint.link(id) else {
            return;
        };
        let rights = match self.admission.admit(clock::now(), link, &mut peer.standing) {
            Ok(rights) => rights,
            Err(refuse) => return peer.machine.refuse(refuse),
        };
        let config = &self.config;
        let threads = config.encoder_threads;
        let Some(place) = self.registry.take_place(config.sessions_max, threads) else {
            peer.machine.refuse(Refuse {
                code: RefuseCode::Busy,
                text: format!(
                    "all {} sessions of this host are taken; end one or raise --max-sessions",
                    config.sessions_max
                ),
            });
            return;
        };
        let hello = &overrule(hello, config);
        let mut offer = offer(config);
        if self.backends.audio.is_none() || !rights.audio {
            offer.features = offer.features.without(Features::AUDIO);
        }
        offer.features = shared::offered(offer.features, config, &rights, &self.backends);
        let agreed = match negotiate(hello, &offer) {
            Ok(agreed) => agreed,
            Err(refuse) => return peer.machine.refuse(refuse),
        };
        let spawned = new_session_id().and_then(|session_id| {
            peer.wanted = Some(Wanted {
                agreed,
                required: hello.required,
                client: hello.name.clone(),
                number: self.registry.number(),
                id: session_id,
            });
            self.spawn(id, &agreed, place.encoder_threads())
        });
        match spawned {
            Ok(mut session) => {
                session.hold(place);
                peer.session = Some(session);
            }
            Err(error) => {
                log::error!("a session cannot be started: {error}");
                peer.machine.refuse(Refuse {
                    code: RefuseCode::Internal,
                    text: "the host could not start a session; its log says why".to_owned(),
                });
            }
        }
    }

    fn spawn(&self, id: LinkId, agreed: &Agreed, encoder_threads: u8) -> std::io::Result<Session> {
        let request = SessionRequest {
            mode: agreed.mode,
            slices: agreed.slices,
            bitrate: agreed.bitrate,
            app: app_command(&self.config.app)?,
            terms: AppTerms::default(),
            encoder_threads,
            audio: agreed.features.speakers(),
            heard_here: self.config.host_speakers,
            clipboard: agreed.features.contains(Features::CLIPBOARD),
            microphone: agreed.features.contains(Features::MICROPHONE),
            cursor: agreed.features.contains(Features::CURSOR),
        };
        let events = self.events_in.clone();
        let waker = Arc::clone(&self.waker);
        let on_event = Arc::new(move |event| {
            // Of controllers' output, texts and the cursor the wake-up alone tells. Of others a
            // session sends three, and one more while a change of its mode is in work. Gone means
            // that the host has stopped.
            let waits = matches!(
                event,
                SessionEvent::PadOutput | SessionEvent::Copied | SessionEvent::Cursor
            );
            if !waits {
                let _ = events.try_send((id, event));
            }
            if let Err(error) = waker.wake() {
                log::error!("control cannot be woken: {error}");
            }
        });
        Session::spawn(request, self.backends.clone(), on_event)
    }

    /// The client is ready: keys, packetizer, stream.
    fn start(&mut self, id: LinkId, peer: &mut Peer) {
        let Some(link) = self.endpoint.link(id) else {
            return;
        };
        let Some(wanted) = &peer.wanted else { return };
        let Some(session) = &peer.session else {
            return;
        };
        let metrics = Arc::clone(session.metrics());
        let started = media_keys(link, &wanted.agreed, &wanted.id)
            .map_err(|error| error.to_string())
            .and_then(|(sealer, opener)| {
                let socket = self.socket.try_clone().map_err(|error| error.to_string())?;
                let agreed = &wanted.agreed;
                let steering = steering_config(&wanted.agreed);
                let (sound, audio) = agreed
                    .features
                    .speakers()
                    .map(|speakers| {
                        Sound::new(speakers, Arc::clone(&self.waker), Arc::clone(&metrics))
                    })
                    .unzip();
                let (steer, control) = Steer::new(clock::now(), opener, steering, metrics);
                let config = PacketizerConfig {
                    protection: control.orders.protection(),
                    datagram_bytes_max: usize::from(agreed.datagram_bytes_max),
                    ..PacketizerConfig::default()
                };
                let mut packetizer = Packetizer::new(sealer, config);
                packetizer.set_drop_every(self.config.video_drop);
                let start = StartMedia {
                    cutter: packetizer.into(),
                    encode: None,
                    socket,
                    peer: link.peer(),
                    control,
                    audio,
                };
                Ok((start, steer, sound))
            });
        match started {
            Ok((start, steer, sound)) => {
                peer.steer = Some(steer);
                peer.sound = sound;
                // It is the first command but for redirections, so there is room; if the session
                // has ended by itself, its event says so.
                let _ = peer.command(SessionCommand::Start(Box::new(start)));
            }
            Err(text) => {
                log::error!("session {}: {text}", wanted.number);
                peer.machine.end(End {
                    reason: EndReason::Backend,
                    text,
                });
            }
        }
    }

    fn transmit(&mut self) {
        let mut packet = [0; PACKET_BYTES_MAX];
        while let Some((bytes, to)) = self.endpoint.poll_transmit(&mut packet) {
            let datagram = Datagram {
                to,
                bytes: &packet[..bytes],
            };
            match self.socket.send_many(&[datagram]) {
                Ok(_) => {}
                // QUIC repeats what matters.
                Err(SendError::Io(error)) => log::warn!("sending to {to}: {error}"),
                Err(error) => log::debug!("sending to {to}: {error}"),
            }
        }
    }

    fn forget_the_gone(&mut self) {
        for (id, reason) in self.endpoint.reap() {
            log::debug!("a connection is gone: {reason}");
            self.registry.note_gone();
            if let Some(mut peer) = self.peers.remove(&id) {
                if let (Some(wanted), None) = (&peer.wanted, peer.ended) {
                    log::info!("session {} of {}: {reason}", wanted.number, wanted.client);
                }
                peer.end_session(&mut self.ending, &self.registry);
            }
        }
        self.ending.retain(|session| !session.has_ended());
        let stats = self.endpoint.stats();
        self.registry
            .note_turned_away(stats.strays + stats.refused_full + stats.retries);
    }

    /// Tells every client, then ends the sessions, all at once, and waits for them together.
    fn say_goodbye(&mut self) {
        let end = End {
            reason: EndReason::Shutdown,
            text: "the host was stopped".to_owned(),
        };
        let mut peers = std::mem::take(&mut self.peers);
        for (&id, peer) in &mut peers {
            peer.machine.end(end.clone());
            if let Some(link) = self.endpoint.link(id) {
                peer.write(link);
            }
        }
        self.transmit();
        for (&id, peer) in &mut peers {
            if let Some(link) = self.endpoint.link(id) {
                link.close("the host was stopped");
            }
            peer.end_session(&mut self.ending, &self.registry);
        }
        self.transmit();
        let deadline = Instant::now() + session::JOIN_TIMEOUT;
        for session in self.ending.drain(..) {
            session.join_by(deadline);
        }
    }
}
