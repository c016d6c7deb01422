//! QUIC as a byte pipe: quiche on boring, one control stream a connection, the TLS exporter, and
//! nothing else. What the bytes mean is [`crate::native`]'s business.
//!
//! quiche reads the clock itself, so this file and what is built on it cannot run in virtual
//! time; the protocol machines stand above it and can.
//!
//! * ALPN `punktfunk/1`, no 0-RTT, no session tickets; the client's certificate is asked for
//!   from day one. Certificates are accepted as they are: the caller holds the peer's
//!   [`Fingerprint`] against what it has pinned before it says a word.
//! * The host answers an Initial at once while few handshakes are open and demands a Retry token
//!   (RFC 9000 section 8.1.2) beyond, so that spoofed addresses cost it nothing.
//! * Datagrams of QUIC and media share a socket; the caller tells them apart by the first byte
//!   ([`crate::media::is_media`]).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use boring::hash::hmac_sha256;
use boring::memcmp;
use boring::ssl::{SslContextBuilder, SslMethod, SslOptions, SslVerifyMode};
use quiche::{ConnectionId, Header, PathEvent, RecvInfo, Type};

use crate::identity::{Fingerprint, Identity};
use crate::limits::{CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, CONTROL_BODY_BYTES_MAX};
use crate::native::ALPN;

/// Largest QUIC packet we send: what every IPv6 path carries (RFC 9000 section 14).
pub const PACKET_BYTES_MAX: usize = 1200;
/// The one control stream: the client's first bidirectional one (RFC 9000 section 2.1).
const CONTROL_STREAM: u64 = 0;
/// Length of the connection IDs that we choose.
const CID_BYTES: usize = 16;
/// A silent peer is gone after this; both sides ping every third of it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// Handshakes that may be open at once before the next stranger must prove its address.
const HANDSHAKES_WITHOUT_RETRY: usize = 8;
/// A handshake that takes longer than this is abandoned.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A Retry token is good for this long (one round trip plus patience).
const TOKEN_SECONDS: u64 = 10;
/// Unreliable datagrams that wait to be sent, or to be read: a third of a second of sound.
pub const DATAGRAMS_WAITING: usize = 64;
/// Addresses that a peer may have had in the life of a connection, its first among them: quiche
/// keeps each (a few kilobytes), so the next one after these is not followed and the session ends.
pub const PATHS_MAX: u64 = 64;
/// Bytes that a peer may have under way: four control messages of the largest kind.
const WINDOW_BYTES: u64 = 4 * CONTROL_BODY_BYTES_MAX as u64;

/// QUIC could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// quiche's answer.
    #[error("QUIC: {0}")]
    Quic(#[from] quiche::Error),
    /// The TLS library's answer.
    #[error("TLS: {0}")]
    Tls(#[from] boring::error::ErrorStack),
    /// The peer closed the connection, or it timed out.
    #[error("the connection is closed: {0}")]
    Closed(String),
}

/// One connection, of either side.
pub struct Link {
    conn: quiche::Connection,
    local: SocketAddr,
    peer: SocketAddr,
    migrated: bool,
    opened: Instant,
    last_ping: Instant,
}

impl Link {
    /// A client's connection to `peer` from the socket bound to `local`.
    ///
    /// # Errors
    /// [`QuicError`] if the library refuses.
    pub fn connect(
        identity: &Identity,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Result<Self, QuicError> {
        let mut config = config(identity)?;
        let id = random_id()?;
        let conn = quiche::connect(None, &id, local, peer, &mut config)?;
        Ok(Self::new(conn, local, peer))
    }

    fn new(conn: quiche::Connection, local: SocketAddr, peer: SocketAddr) -> Self {
        let now = Instant::now();
        Self {
            conn,
            local,
            peer,
            migrated: false,
            opened: now,
            last_ping: now,
        }
    }

    /// The handshake is done, the peer's certificate known, and the protocol agreed on ours. TLS
    /// lets a peer pass that names none (RFC 7301 section 3.2 leaves it to the server).
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.conn.is_established() && self.conn.application_proto() == ALPN
    }

    /// Nothing more will come or go.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.conn.is_closed()
    }

    /// The peer's address on the path that quiche has validated and uses.
    #[must_use]
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The peer's certificate, if it has shown one.
    pub fn peer_fingerprint(&mut self) -> Option<Fingerprint> {
        let ssl: &mut boring::ssl::SslRef = self.conn.as_mut();
        let certificate = ssl.peer_certificate()?;
        Fingerprint::of(&certificate).ok()
    }

    /// TLS exporter (RFC 8446 section 7.5): fills `out` with a secret of both sides.
    ///
    /// # Errors
    /// [`QuicError::Tls`] before the handshake is done.
    pub fn export(&mut self, label: &str, context: &[u8], out: &mut [u8]) -> Result<(), QuicError> {
        let ssl: &mut boring::ssl::SslRef = self.conn.as_mut();
        Ok(ssl.export_keying_material(out, label, Some(context))?)
    }

    /// Takes a datagram that [`crate::media::is_media`] denies. Damaged ones are ignored, as
    /// RFC 9000 wants; a broken protocol closes the connection, seen by [`Link::is_closed`].
    pub fn receive(&mut self, datagram: &mut [u8], from: SocketAddr) {
        let info = RecvInfo {
            from,
            to: self.local,
        };
        if let Err(error) = self.conn.recv(datagram, info) {
            log::debug!("datagram from {from} not taken by QUIC: {error}");
        }
        while let Some(event) = self.conn.path_event_next() {
            if let PathEvent::PeerMigrated(_, peer) = event {
                self.peer = peer;
                self.migrated = true;
            }
        }
    }

    /// The peer's new address, once, after QUIC has validated that it moved there.
    pub fn take_migration(&mut self) -> Option<SocketAddr> {
        std::mem::take(&mut self.migrated).then_some(self.peer)
    }

    /// Reads from the control stream into `out`: bytes read, zero if none are there.
    ///
    /// # Errors
    /// [`QuicError`] if the peer reset the stream.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, QuicError> {
        match self.conn.stream_recv(CONTROL_STREAM, out) {
            Ok((bytes, _fin)) => Ok(bytes),
            // Before the client's first byte the stream does not exist on the host's side.
            Err(quiche::Error::Done | quiche::Error::InvalidStreamState(_)) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes to the control stream: bytes taken, which may be fewer than offered.
    ///
    /// # Errors
    /// [`QuicError`] if the peer stopped the stream.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, QuicError> {
        match self.conn.stream_send(CONTROL_STREAM, bytes, false) {
            Ok(taken) => Ok(taken),
            Err(quiche::Error::Done) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends an unreliable datagram (RFC 9221). False if it was dropped: too long for the peer, the
    /// peer takes none, or [`DATAGRAMS_WAITING`] wait already, of which none is worth less.
    pub fn send_datagram(&mut self, bytes: &[u8]) -> bool {
        self.conn.dgram_send(bytes).is_ok()
    }

    /// The oldest unreliable datagram that has come: its length in `out`. One that is longer than
    /// `out` is dropped.
    pub fn read_datagram(&mut self, out: &mut [u8]) -> Option<usize> {
        loop {
            match self.conn.dgram_recv(out) {
                Ok(bytes) => return Some(bytes),
                // It is out of the queue; perhaps there is another.
                Err(quiche::Error::BufferTooShort) => {}
                Err(_) => return None,
            }
        }
    }

    /// The next datagram to send: its length in `out` and where to.
    pub fn poll_transmit(&mut self, out: &mut [u8]) -> Option<(usize, SocketAddr)> {
        match self.conn.send(out) {
            Ok((bytes, info)) => Some((bytes, info.to)),
            Err(quiche::Error::Done) => None,
            Err(error) => {
                log::debug!("QUIC cannot send to {}: {error}", self.peer);
                None
            }
        }
    }

    /// Lets the peer hear of us, and answer: from a new address of ours it validates that path
    /// (RFC 9000 section 9), which media alone cannot bring about.
    pub fn ping(&mut self) {
        // Fails only on a connection without a path, which then times out.
        let _ = self.conn.send_ack_eliciting();
    }

    /// How long the caller may wait before [`Link::handle_timeout`].
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        let own = if self.is_closing() {
            None
        } else if self.is_established() {
            Some(KEEP_ALIVE.saturating_sub(self.last_ping.elapsed()))
        } else {
            Some(HANDSHAKE_TIMEOUT.saturating_sub(self.opened.elapsed()))
        };
        [own, self.conn.timeout()].into_iter().flatten().min()
    }

    /// It only waits for its end: nothing of ours is due any more, however long it takes.
    fn is_closing(&self) -> bool {
        self.conn.is_draining() || self.conn.local_error().is_some() || self.is_closed()
    }

    /// Loss recovery, keep-alive, idle and handshake time limits. Harmless if called early.
    pub fn handle_timeout(&mut self) {
        if self.conn.timeout().is_some_and(|left| left.is_zero()) {
            self.conn.on_timeout();
        }
        if self.is_established() && self.last_ping.elapsed() >= KEEP_ALIVE {
            self.last_ping = Instant::now();
            self.ping();
        }
        if self.conn.is_established() && !self.is_established() {
            self.close("this is punktfunk/1, and the peer speaks something else");
        } else if !self.is_established() && self.opened.elapsed() >= HANDSHAKE_TIMEOUT {
            self.close("the handshake took too long");
        }
    }

    /// Closes with a reason that the peer can read.
    pub fn close(&mut self, reason: &str) {
        // `Done` says that it is closed already, which is what was asked.
        let _ = self.conn.close(true, 0, reason.as_bytes());
    }

    /// Why it ended, in words; for errors and logs.
    #[must_use]
    pub fn close_reason(&self) -> String {
        let text = |error: &quiche::ConnectionError| {
            let reason = String::from_utf8_lossy(&error.reason);
            let reason: String = reason
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect();
            if reason.is_empty() {
                format!("code {}", error.error_code)
            } else {
                reason
            }
        };
        if let Some(error) = self.conn.peer_error() {
            text(error)
        } else if self.conn.is_timed_out() {
            "no answer from the peer".to_owned()
        } else if let Some(error) = self.conn.local_error() {
            text(error)
        } else {
            "no reason given".to_owned()
        }
    }
}

/// Number of a connection within an [`Endpoint`], never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(u64);

/// What was not taken, for the operator's eyes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointStats {
    /// Datagrams that are not QUIC, or belong to no connection.
    pub strays: u64,
    /// Strangers turned away because [`CONNECTIONS_MAX`] are here, or
    /// [`CONNECTIONS_PER_ADDRESS_MAX`] from the same address.
    pub refused_full: u64,
    /// Strangers asked to prove their address.
    pub retries: u64,
}

/// The host's side of QUIC: all connections behind one socket.
pub struct Endpoint {
    config: quiche::Config,
    local: SocketAddr,
    /// Key of the Retry tokens; new at every start, a token outlives no process.
    token_key: [u8; 32],
    ids: HashMap<ConnectionId<'static>, LinkId>,
    links: HashMap<LinkId, Link>,
    next: u64,
    /// Stateless answers (Retry, version negotiation) not yet sent.
    answers: Vec<(Vec<u8>, SocketAddr)>,
    stats: EndpointStats,
}

impl Endpoint {
    /// A host on the socket bound to `local`.
    ///
    /// # Errors
    /// [`QuicError`] if the library refuses.
    pub fn new(identity: &Identity, local: SocketAddr) -> Result<Self, QuicError> {
        let mut token_key = [0; 32];
        boring::rand::rand_bytes(&mut token_key)?;
        Ok(Self {
            config: config(identity)?,
            local,
            token_key,
            ids: HashMap::new(),
            links: HashMap::new(),
            next: 0,
            answers: Vec::new(),
            stats: EndpointStats::default(),
        })
    }

    /// Takes a datagram that [`crate::media::is_media`] denies. The connection that it belongs
    /// to, perhaps a new one, or `None`.
    pub fn receive(&mut self, datagram: &mut [u8], from: SocketAddr) -> Option<LinkId> {
        let Ok(header) = Header::from_slice(datagram, CID_BYTES) else {
            self.stats.strays += 1;
            return None;
        };
        let id = match self.ids.get(&header.dcid) {
            Some(&id) => id,
            None => self.admit(&header, datagram.len(), from)?,
        };
        self.links.get_mut(&id)?.receive(datagram, from);
        Some(id)
    }

    /// A live connection.
    pub fn link(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&id)
    }

    /// All live connections.
    pub fn link_ids(&self) -> impl Iterator<Item = LinkId> + '_ {
        self.links.keys().copied()
    }

    /// The next datagram to send: its length in `out` and where to.
    pub fn poll_transmit(&mut self, out: &mut [u8]) -> Option<(usize, SocketAddr)> {
        if let Some((bytes, to)) = self.answers.pop() {
            out[..bytes.len()].copy_from_slice(&bytes);
            return Some((bytes.len(), to));
        }
        self.links
            .values_mut()
            .find_map(|link| link.poll_transmit(out))
    }

    /// How long the caller may wait before [`Endpoint::handle_timeout`].
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.links.values().filter_map(Link::timeout).min()
    }

    /// See [`Link::handle_timeout`].
    pub fn handle_timeout(&mut self) {
        self.links.values_mut().for_each(Link::handle_timeout);
    }

    /// Forgets connections that are closed, each with the reason.
    pub fn reap(&mut self) -> Vec<(LinkId, String)> {
        let closed: Vec<(LinkId, String)> = self
            .links
            .iter()
            .filter(|(_, link)| link.is_closed())
            .map(|(&id, link)| (id, link.close_reason()))
            .collect();
        for (id, _) in &closed {
            self.links.remove(id);
            self.ids.retain(|_, owner| owner != id);
        }
        closed
    }

    /// Counters.
    #[must_use]
    pub const fn stats(&self) -> EndpointStats {
        self.stats
    }

    fn admit(&mut self, header: &Header<'_>, bytes: usize, from: SocketAddr) -> Option<LinkId> {
        // RFC 9000 section 14.1: a client pads its Initial to 1200 bytes, so that our answer
        // cannot be larger than what it sent.
        if header.ty != Type::Initial || bytes < PACKET_BYTES_MAX {
            self.stats.strays += 1;
            return None;
        }
        if !quiche::version_is_supported(header.version) {
            let mut answer = vec![0; PACKET_BYTES_MAX];
            let length = quiche::negotiate_version(&header.scid, &header.dcid, &mut answer).ok()?;
            self.answer(answer, length, from);
            return None;
        }
        let neighbours = self
            .links
            .values()
            .filter(|link| link.peer.ip() == from.ip())
            .count();
        if self.links.len() >= CONNECTIONS_MAX || neighbours >= CONNECTIONS_PER_ADDRESS_MAX {
            self.stats.refused_full += 1;
            return None;
        }
        let token = header.token.as_deref().unwrap_or_default();
        let original = if token.is_empty() {
            let handshakes = self
                .links
                .values()
                .filter(|link| !link.is_established())
                .count();
            if handshakes >= HANDSHAKES_WITHOUT_RETRY {
                self.demand_token(header, from);
                return None;
            }
            None
        } else {
            let Some(original) = self.check_token(token, &header.dcid, from) else {
                self.stats.strays += 1;
                return None;
            };
            Some(original)
        };
        // After a Retry the client speaks to the ID that we chose there.
        let scid = if original.is_some() {
            header.dcid.clone().into_owned()
        } else {
            random_id().ok()?
        };
        let conn =
            quiche::accept(&scid, original.as_ref(), self.local, from, &mut self.config).ok()?;
        let id = LinkId(self.next);
        self.next += 1;
        // The client goes on using the ID that it made up until it learns ours.
        self.ids.insert(header.dcid.clone().into_owned(), id);
        self.ids.insert(scid, id);
        self.links.insert(id, Link::new(conn, self.local, from));
        Some(id)
    }

    fn demand_token(&mut self, header: &Header<'_>, from: SocketAddr) {
        let Ok(scid) = random_id() else { return };
        let Some(token) = self.make_token(&header.dcid, &scid, from) else {
            return;
        };
        let mut answer = vec![0; PACKET_BYTES_MAX];
        let written = quiche::retry(
            &header.scid,
            &header.dcid,
            &scid,
            &token,
            header.version,
            &mut answer,
        );
        if let Ok(length) = written {
            self.stats.retries += 1;
            self.answer(answer, length, from);
        }
    }

    fn answer(&mut self, mut answer: Vec<u8>, length: usize, to: SocketAddr) {
        answer.truncate(length);
        if self.answers.len() < CONNECTIONS_MAX {
            self.answers.push((answer, to));
        }
    }

    /// A Retry token: unix seconds (8 bytes), original destination ID, HMAC-SHA-256 over both, the
    /// ID that we chose and the address.
    fn make_token(
        &self,
        original: &ConnectionId<'_>,
        chosen: &ConnectionId<'_>,
        from: SocketAddr,
    ) -> Option<Vec<u8>> {
        let seconds = crate::clock::now().as_ns() / 1_000_000_000;
        let mut token = seconds.to_le_bytes().to_vec();
        token.extend_from_slice(original);
        let tag = self.token_tag(&token, chosen, from)?;
        token.extend_from_slice(&tag);
        Some(token)
    }

    fn check_token(
        &self,
        token: &[u8],
        chosen: &ConnectionId<'_>,
        from: SocketAddr,
    ) -> Option<ConnectionId<'static>> {
        let (body, tag) = token.split_at_checked(token.len().checked_sub(32)?)?;
        let (seconds, original) = body.split_at_checked(8)?;
        let expected = self.token_tag(body, chosen, from)?;
        if !memcmp::eq(tag, &expected) || original.len() > quiche::MAX_CONN_ID_LEN {
            return None;
        }
        let made = u64::from_le_bytes(seconds.try_into().expect("split at 8"));
        let age = (crate::clock::now().as_ns() / 1_000_000_000).checked_sub(made)?;
        (age <= TOKEN_SECONDS).then(|| ConnectionId::from_vec(original.to_vec()))
    }

    fn token_tag(
        &self,
        body: &[u8],
        chosen: &ConnectionId<'_>,
        from: SocketAddr,
    ) -> Option<[u8; 32]> {
        let mut text = body.to_vec();
        text.extend_from_slice(chosen);
        text.extend_from_slice(from.to_string().as_bytes());
        hmac_sha256(&self.token_key, &text).ok()
    }
}

fn random_id() -> Result<ConnectionId<'static>, QuicError> {
    let mut id = vec![0; CID_BYTES];
    boring::rand::rand_bytes(&mut id)?;
    Ok(ConnectionId::from_vec(id))
}

fn config(identity: &Identity) -> Result<quiche::Config, QuicError> {
    let mut tls = SslContextBuilder::new(SslMethod::tls())?;
    tls.set_certificate(identity.certificate())?;
    tls.set_private_key(identity.key())?;
    tls.set_options(SslOptions::NO_TICKET);
    // Any certificate, or none, passes here: peers are known by fingerprint, held against the
    // pinned one by the caller before it sends anything.
    tls.set_custom_verify_callback(SslVerifyMode::PEER, |_| Ok(()));

    let mut config = quiche::Config::with_boring_ssl_ctx_builder(quiche::PROTOCOL_VERSION, tls)?;
    config.set_application_protos(&[ALPN])?;
    let idle_ms = u64::try_from(IDLE_TIMEOUT.as_millis()).expect("a few seconds");
    config.set_max_idle_timeout(idle_ms);
    config.set_max_recv_udp_payload_size(PACKET_BYTES_MAX);
    config.set_max_send_udp_payload_size(PACKET_BYTES_MAX);
    config.set_initial_max_data(WINDOW_BYTES);
    config.set_initial_max_stream_data_bidi_local(WINDOW_BYTES);
    config.set_initial_max_stream_data_bidi_remote(WINDOW_BYTES);
    config.set_max_connection_window(WINDOW_BYTES);
    config.set_max_stream_window(WINDOW_BYTES);
    // quiche counts paths by it; connection IDs beyond the first are never issued.
    config.set_active_connection_id_limit(PATHS_MAX);
    config.set_initial_max_streams_bidi(1);
    config.set_initial_max_streams_uni(0);
    config.enable_dgram(true, DATAGRAMS_WAITING, DATAGRAMS_WAITING);
    Ok(config)
}

#[cfg(test)]
mod tests;
