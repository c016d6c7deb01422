//! GameStream's HTTP and HTTPS listeners, on one thread that never waits for a client.
//!
//! Each turn of [`Server::run`]:
//!  1. wait for a socket, a command, a broker's answer or the nearest time limit;
//!  2. take new connections, as many as there are places;
//!  3. let every connection that has news go as far as it can, and answer its request
//!     ([`Server::handle_request`], in `answers.rs`);
//!  4. take commands of the operator and answers of the broker;
//!  5. end what has taken too long, look at `apps.json`, tell who waits for a pairing's end.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use boring::ssl::SslContext;
use crossbeam::channel::{Receiver, Sender, bounded};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use net::clock;
use net::gamestream::http::HttpResponse;
use net::gamestream::nvhttp::{self, HostFacts};
use net::gamestream::pairing::{PairingEnd, PairingId, Pairings};
use net::units::Timestamp;

use super::connection::{Connection, Step};
use super::paired::PairedClients;
use super::sessions::{Reply, Sessions};
use super::{ClientView, Command, PairingView, Ports};
use crate::apps::Apps;

/// Connections at once: each client has one or two, a browser-like one six.
pub const CONNECTIONS_MAX: usize = 128;
/// Of these from one address, so that one neighbour cannot take them all.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = CONNECTIONS_MAX / 2;
/// New connections in a turn, before those that are there get theirs.
const ACCEPTS_PER_TURN: usize = 32;
/// How often `apps.json` is looked at.
const APPS_INTERVAL: Duration = Duration::from_secs(2);
/// A broker that has not answered after this long will not: clients wait 120 s for a launch.
pub(super) const BROKER_TIMEOUT: Duration = Duration::from_secs(60);
/// Read from a connection at once, bytes.
const SCRATCH_BYTES: usize = 16 * 1024;

pub(super) const WAKE: Token = Token(0);
const HTTP: Token = Token(1);
const HTTPS: Token = Token(2);
/// Connections have numbers from here on, never used twice.
const FIRST_CONNECTION: usize = 16;

/// What the server is made of.
pub(super) struct Parts {
    pub(super) http: TcpListener,
    pub(super) https: TcpListener,
    pub(super) tls: SslContext,
    pub(super) pairings: Pairings,
    pub(super) paired: PairedClients,
    pub(super) apps: Apps,
    pub(super) facts: HostFacts,
    pub(super) ports: Ports,
    pub(super) sessions: Arc<dyn Sessions>,
    pub(super) commands: Receiver<Command>,
    pub(super) waker: Arc<Waker>,
}

/// The thread.
pub(super) struct Server {
    http: TcpListener,
    https: TcpListener,
    tls: SslContext,
    connections: BTreeMap<usize, Connection>,
    next: usize,
    pub(super) pairings: Pairings,
    /// Connections whose first pairing step waits for a PIN.
    pub(super) waiting_for_pin: BTreeMap<PairingId, usize>,
    /// What the operator calls the client of a pairing.
    pub(super) names: BTreeMap<PairingId, String>,
    /// Who wants to know how a pairing ends.
    pin_waiters: BTreeMap<PairingId, Sender<PairingEnd>>,
    pub(super) paired: PairedClients,
    pub(super) apps: Apps,
    pub(super) facts: HostFacts,
    pub(super) ports: Ports,
    pub(super) sessions: Arc<dyn Sessions>,
    commands: Receiver<Command>,
    /// One answer for each connection, so it is never full.
    answers: Receiver<(usize, HttpResponse)>,
    answers_in: Sender<(usize, HttpResponse)>,
    waker: Arc<Waker>,
    apps_seen: Timestamp,
}

impl Server {
    pub(super) fn new(parts: Parts) -> Self {
        let (answers_in, answers) = bounded(2 * CONNECTIONS_MAX);
        Self {
            http: parts.http,
            https: parts.https,
            tls: parts.tls,
            connections: BTreeMap::new(),
            next: FIRST_CONNECTION,
            pairings: parts.pairings,
            waiting_for_pin: BTreeMap::new(),
            names: BTreeMap::new(),
            pin_waiters: BTreeMap::new(),
            paired: parts.paired,
            apps: parts.apps,
            facts: parts.facts,
            ports: parts.ports,
            sessions: parts.sessions,
            commands: parts.commands,
            answers,
            answers_in,
            waker: parts.waker,
            apps_seen: clock::now(),
        }
    }

    /// Runs until the owner says stop.
    pub(super) fn run(mut self, mut poll: Poll) {
        let registry = poll.registry();
        let watched = registry
            .register(&mut self.http, HTTP, Interest::READABLE)
            .and_then(|()| registry.register(&mut self.https, HTTPS, Interest::READABLE));
        if let Err(error) = watched {
            log::error!("GameStream's sockets cannot be watched: {error}");
            return;
        }
        let mut scratch = vec![0; SCRATCH_BYTES].into_boxed_slice();
        let mut events = Events::with_capacity(64);
        // Edge-triggered: a listener that was left with something in it is asked again by us.
        let mut asked = [true, true];
        loop {
            let timeout = if asked.contains(&true) {
                Duration::ZERO
            } else {
                self.timeout(clock::now())
            };
            if let Err(error) = poll.poll(&mut events, Some(timeout))
                && error.kind() != ErrorKind::Interrupted
            {
                log::error!("GameStream's reactor failed: {error}");
                return;
            }
            let now = clock::now();
            for event in &events {
                match event.token() {
                    WAKE => {}
                    HTTP => asked[0] = true,
                    HTTPS => asked[1] = true,
                    Token(id) => self.advance(now, id, &mut scratch),
                }
            }
            for (secure, asked) in [false, true].into_iter().zip(&mut asked) {
                if *asked {
                    *asked = self.accept(now, secure, &poll, &mut scratch);
                }
            }
            if !self.take_commands(now, &mut scratch) {
                return;
            }
            while let Ok((id, response)) = self.answers.try_recv() {
                self.answer(now, id, &response, &mut scratch);
            }
            self.handle_timeout(now, &mut scratch);
        }
    }

    fn timeout(&self, now: Timestamp) -> Duration {
        let connections = self.connections.values().map(|it| it.deadline).min();
        let pairings = self.pairings.poll_timeout();
        let nearest = [connections, pairings].into_iter().flatten().min();
        let apps = (self.apps_seen + APPS_INTERVAL).since(now);
        nearest.map_or(apps, |at| at.since(now).min(apps))
    }

    /// Takes new connections. True if there may be more.
    fn accept(&mut self, now: Timestamp, secure: bool, poll: &Poll, scratch: &mut [u8]) -> bool {
        for _ in 0..ACCEPTS_PER_TURN {
            let listener = if secure { &self.https } else { &self.http };
            let (stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    // Out of descriptors, mostly. The next client's event asks again.
                    log::warn!("GameStream: a connection cannot be taken: {error}");
                    return false;
                }
            };
            if !self.has_room(peer.ip().to_canonical()) {
                log::debug!("GameStream: {peer} is turned away: too many connections");
                continue;
            }
            match self.admit(now, stream, peer, secure, poll) {
                Ok(id) => self.advance(now, id, scratch),
                Err(error) => log::debug!("a connection of {peer}: {error}"),
            }
        }
        true
    }

    fn admit(
        &mut self,
        now: Timestamp,
        stream: TcpStream,
        peer: std::net::SocketAddr,
        secure: bool,
        poll: &Poll,
    ) -> std::io::Result<usize> {
        let mut connection = if secure {
            Connection::tls(now, stream, peer, &self.tls)?
        } else {
            Connection::plain(now, stream, peer)?
        };
        let id = self.next;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(connection.socket(), Token(id), both)?;
        self.next += 1;
        self.connections.insert(id, connection);
        Ok(id)
    }

    /// There is a place for one more of this address; newcomers are turned away, not those that
    /// are there, whose time is limited.
    fn has_room(&self, address: IpAddr) -> bool {
        let from_there = self
            .connections
            .values()
            .filter(|it| it.peer.ip() == address);
        self.connections.len() < CONNECTIONS_MAX && from_there.count() < CONNECTIONS_PER_ADDRESS_MAX
    }

    fn advance(&mut self, now: Timestamp, id: usize, scratch: &mut [u8]) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        match connection.advance(now, scratch) {
            Step::Pending => {}
            Step::Gone => self.forget(now, id),
            Step::Request(request) => {
                let response = match request {
                    Ok(request) => self.handle_request(now, id, &request),
                    Err(refused) => Some(HttpResponse::from(refused)),
                };
                if let Some(response) = response {
                    self.answer(now, id, &response, scratch);
                }
                self.take_pairing_ends(now, scratch);
            }
        }
    }

    /// Answers a connection, if it is there and waits.
    fn answer(&mut self, now: Timestamp, id: usize, response: &HttpResponse, scratch: &mut [u8]) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if !connection.is_waiting() {
            return;
        }
        connection.answer(now, response);
        // What an answered connection still has to say is thrown away; it asks nothing.
        if let Step::Gone = connection.advance(now, scratch) {
            self.forget(now, id);
        }
    }

    fn forget(&mut self, now: Timestamp, id: usize) {
        self.connections.remove(&id);
        let waited = self.waiting_for_pin.iter().find(|(_, it)| **it == id);
        if let Some(pairing) = waited.map(|(pairing, _)| *pairing) {
            self.waiting_for_pin.remove(&pairing);
            self.pairings.handle_abandoned(now, pairing);
        }
    }

    /// A connection, for those who answer it.
    pub(super) fn connection(&mut self, id: usize) -> Option<&mut Connection> {
        self.connections.get_mut(&id)
    }

    /// A reply that finds its way to a connection from any thread.
    pub(super) fn reply<T>(
        &self,
        id: usize,
        answer: impl FnOnce(T) -> HttpResponse + Send + 'static,
    ) -> Reply<T> {
        let answers = self.answers_in.clone();
        let waker = Arc::clone(&self.waker);
        Reply::new(move |result| {
            let response = match result {
                Ok(granted) => answer(granted),
                Err(refused) => nvhttp::error(refused.status(), &refused.to_string()),
            };
            // Full only if brokers answer connections that are long gone; theirs can be lost.
            let _ = answers.try_send((id, response));
            let _ = waker.wake();
        })
    }

    /// Takes what the operator wants. False when it is the end.
    fn take_commands(&mut self, now: Timestamp, scratch: &mut [u8]) -> bool {
        while let Ok(command) = self.commands.try_recv() {
            // Whoever asked may have given up waiting: then nobody takes the answer.
            match command {
                Command::Stop => return false,
                Command::Waiting(reply) => {
                    let views = self.pairings.waiting().map(|it| PairingView {
                        id: it.id,
                        address: it.address,
                        fingerprint: it.fingerprint,
                        waits_s: now.since(it.since).as_secs(),
                    });
                    let _ = reply.try_send(views.collect());
                }
                Command::Clients(reply) => {
                    let views = self.paired.list().iter().map(ClientView::from);
                    let _ = reply.try_send(views.collect());
                }
                Command::EnterPin {
                    id,
                    pin,
                    name,
                    entered,
                    end,
                } => {
                    let result = self.pairings.enter_pin(now, id, &pin);
                    if let Ok(id) = result {
                        self.names.extend(name.map(|name| (id, name)));
                        self.pin_waiters.insert(id, end);
                    }
                    let _ = entered.try_send(result.clone());
                    if let Ok(id) = result
                        && let Some(connection) = self.waiting_for_pin.remove(&id)
                    {
                        let pem = self.pairings.certificate_pem();
                        let response = nvhttp::server_certificate(pem);
                        self.answer(now, connection, &response, scratch);
                    }
                }
                Command::Unpair { client, reply } => {
                    let _ = reply.try_send(self.unpair(client));
                }
                Command::SetSlices {
                    client,
                    slices,
                    reply,
                } => {
                    let _ = reply.try_send(self.paired.set_slices(client, slices));
                }
            }
            self.take_pairing_ends(now, scratch);
        }
        true
    }

    fn handle_timeout(&mut self, now: Timestamp, scratch: &mut [u8]) {
        self.pairings.handle_timeout(now);
        self.take_pairing_ends(now, scratch);
        let late = self
            .connections
            .iter()
            .filter(|(_, it)| it.deadline <= now)
            .map(|(id, it)| (*id, it.is_waiting()));
        for (id, waits) in late.collect::<Vec<_>>() {
            if waits {
                let text = "the host took too long; its log may say why";
                self.answer(now, id, &nvhttp::error(503, text), scratch);
            } else {
                self.forget(now, id);
            }
        }
        if now.since(self.apps_seen) >= APPS_INTERVAL {
            self.apps_seen = now;
            self.refresh_apps();
        }
    }

    /// Reads `apps.json` if it has changed.
    pub(super) fn refresh_apps(&mut self) {
        match self.apps.refresh() {
            Ok(false) => {}
            Ok(true) => log::info!("there are {} applications now", self.apps.list().len()),
            Err(error) => log::warn!("{error}; the applications of before stay"),
        }
    }

    /// Tells whoever waits for it how a pairing ended.
    fn take_pairing_ends(&mut self, now: Timestamp, scratch: &mut [u8]) {
        while let Some(ended) = self.pairings.poll_event() {
            let address = ended.asker.address;
            match ended.end {
                PairingEnd::Paired => {}
                PairingEnd::Abandoned | PairingEnd::Replaced => {
                    log::info!("pairing {} of {address}: {}", ended.id, ended.end);
                }
                _ => log::warn!("pairing {} of {address} failed: {}", ended.id, ended.end),
            }
            self.names.remove(&ended.id);
            self.tell_end(ended.id, ended.end);
            if let Some(connection) = self.waiting_for_pin.remove(&ended.id) {
                let response = nvhttp::error(408, &ended.end.to_string());
                self.answer(now, connection, &response, scratch);
            }
        }
    }

    /// Tells the operator, who has entered the PIN and may be waiting.
    pub(super) fn tell_end(&mut self, id: PairingId, end: PairingEnd) {
        if let Some(waiter) = self.pin_waiters.remove(&id) {
            let _ = waiter.try_send(end);
        }
    }
}
