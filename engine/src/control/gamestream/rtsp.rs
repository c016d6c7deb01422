//! RTSP's connections: each brings one request, is answered and closed. Whose session a request is
//! for, and what it does, the owner decides.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use net::gamestream::rtsp::{REQUEST_PATIENCE, Received, RtspReader};
use net::units::Timestamp;

/// Connections at once: a client has one at a time, for milliseconds.
const CONNECTIONS_MAX: usize = 64;
/// Of these from one address, so that one neighbour cannot take them all.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 16;
/// Read at once, bytes.
const CHUNK_BYTES: usize = 4096;
/// New connections in a turn.
const ACCEPTS_PER_TURN: usize = 16;

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    reader: RtspReader,
    deadline: Timestamp,
}

/// A request, and which connection waits for its answer.
pub(super) struct Asked {
    /// The connection.
    pub(super) id: usize,
    /// Who asks.
    pub(super) peer: IpAddr,
    /// What.
    pub(super) received: Received,
}

/// The listener and its connections.
pub(super) struct RtspConnections {
    listener: TcpListener,
    connections: BTreeMap<usize, Connection>,
    next: usize,
}

impl RtspConnections {
    /// Tokens from `first` on are this one's; the listener has `first` itself.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn new(
        mut listener: TcpListener,
        first: usize,
        registry: &Registry,
    ) -> std::io::Result<Self> {
        registry.register(&mut listener, Token(first), Interest::READABLE)?;
        Ok(Self {
            listener,
            connections: BTreeMap::new(),
            next: first + 1,
        })
    }

    /// Takes new connections and what came, and hands on whole requests. Edge-triggered: reads
    /// until there is no more.
    pub(super) fn poll(&mut self, now: Timestamp, registry: &Registry) -> Vec<Asked> {
        self.accept(now, registry);
        let mut asked = Vec::new();
        self.connections.retain(|&id, connection| {
            if connection.deadline <= now {
                log::debug!("{}: no RTSP request in time", connection.peer);
                return false;
            }
            match connection.read() {
                Ok(None) => true,
                Ok(Some(received)) => {
                    asked.push(Asked {
                        id,
                        peer: connection.peer.ip().to_canonical(),
                        received,
                    });
                    true
                }
                Err(reason) => {
                    log::debug!("{}: {reason}", connection.peer);
                    false
                }
            }
        });
        asked
    }

    /// When the next connection has taken too long.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.connections.values().map(|it| it.deadline).min()
    }

    /// Answers and closes.
    pub(super) fn answer(&mut self, id: usize, response: &[u8]) {
        let Some(mut connection) = self.connections.remove(&id) else {
            return;
        };
        // An answer is far smaller than any socket's buffer; a client that has closed meanwhile
        // wants none.
        let written = connection.stream.write_all(response);
        if let Err(error) = written.and_then(|()| connection.stream.shutdown(Shutdown::Write)) {
            log::debug!("{} is not answered: {error}", connection.peer);
        }
    }

    /// Closes without an answer.
    pub(super) fn close(&mut self, id: usize) {
        self.connections.remove(&id);
    }

    fn accept(&mut self, now: Timestamp, registry: &Registry) {
        for _ in 0..ACCEPTS_PER_TURN {
            let (mut stream, peer) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    if error.kind() != ErrorKind::WouldBlock {
                        log::warn!("GameStream: an RTSP connection cannot be taken: {error}");
                    }
                    return;
                }
            };
            let of_there = |it: &&Connection| it.peer.ip() == peer.ip();
            let from_there = self.connections.values().filter(of_there).count();
            if self.connections.len() >= CONNECTIONS_MAX
                || from_there >= CONNECTIONS_PER_ADDRESS_MAX
            {
                log::debug!("GameStream: {peer} is turned away: too many RTSP connections");
                continue;
            }
            let id = self.next;
            self.next += 1;
            if let Err(error) = registry.register(&mut stream, Token(id), Interest::READABLE) {
                log::warn!("GameStream: an RTSP connection cannot be watched: {error}");
                continue;
            }
            let connection = Connection {
                stream,
                peer,
                reader: RtspReader::new(),
                deadline: now + REQUEST_PATIENCE,
            };
            self.connections.insert(id, connection);
        }
    }
}

impl Connection {
    /// The request, once it is whole; else why the connection is of no more use.
    fn read(&mut self) -> Result<Option<Received>, String> {
        let mut chunk = [0; CHUNK_BYTES];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err("closed without a request".to_owned()),
                Ok(count) => match self.reader.handle_bytes(&chunk[..count]) {
                    Ok(None) => {}
                    Ok(Some(received)) => return Ok(Some(received)),
                    Err(error) => return Err(error.to_string()),
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}
