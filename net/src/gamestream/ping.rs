//! Who may receive media: the pings that clients send to the audio and video ports every half
//! second, and the gate that they open.
//!
//! A ping is the 16 bytes that SETUP gave the client and a number (u32, big-endian), or "PING"
//! from clients that were given none. Media goes to the address that RTSP was spoken with, and
//! there to the port whose ping knows the 16 bytes; so nobody can aim it at a third party, and
//! nobody else on that machine takes it over.

use std::net::{IpAddr, SocketAddr};

use crate::crypto;

/// Bytes that SETUP gives.
pub const PAYLOAD_BYTES: usize = 16;
const LEGACY: [u8; 4] = *b"PING";

/// A ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ping {
    /// Of a session.
    Session {
        /// What SETUP gave.
        payload: [u8; PAYLOAD_BYTES],
        /// The client's number, from 1.
        number: u32,
    },
    /// Of a client that was given nothing.
    Legacy,
}

impl Ping {
    /// None for a datagram that is no ping.
    #[must_use]
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        if datagram == LEGACY {
            return Some(Self::Legacy);
        }
        let (payload, number) = datagram.split_first_chunk::<PAYLOAD_BYTES>()?;
        Some(Self::Session {
            payload: *payload,
            number: u32::from_be_bytes(number.try_into().ok()?),
        })
    }
}

/// What a ping came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Media goes to this address from now on.
    Peer(SocketAddr),
    /// As before.
    Unchanged,
    /// Not this session's.
    Refused,
}

/// The gate of one stream of one session.
#[derive(Clone, Debug)]
pub struct PingGate {
    client: IpAddr,
    payload: [u8; PAYLOAD_BYTES],
    allow_legacy: bool,
    peer: Option<SocketAddr>,
    number: u32,
}

impl PingGate {
    /// `client` is RTSP's peer; `allow_legacy` is the operator's choice, and then the address
    /// alone decides.
    #[must_use]
    pub const fn new(client: IpAddr, payload: [u8; PAYLOAD_BYTES], allow_legacy: bool) -> Self {
        Self {
            client,
            payload,
            allow_legacy,
            peer: None,
            number: 0,
        }
    }

    /// Where media goes; none until the first ping.
    #[must_use]
    pub const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// A ping came.
    pub fn handle(&mut self, from: SocketAddr, ping: Ping) -> Admission {
        if from.ip().to_canonical() != self.client.to_canonical() {
            return Admission::Refused;
        }
        match ping {
            Ping::Session { payload, number } => {
                if !crypto::equal(&payload, &self.payload) {
                    return Admission::Refused;
                }
                // An old ping, sent again by somebody else, moves nothing.
                if number <= self.number {
                    return Admission::Unchanged;
                }
                self.number = number;
            }
            // Who knows the session's secret is not displaced by who does not.
            Ping::Legacy if self.allow_legacy && self.number == 0 => {}
            Ping::Legacy => return Admission::Refused,
        }
        if self.peer == Some(from) {
            return Admission::Unchanged;
        }
        self.peer = Some(from);
        Admission::Peer(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 16] = *b"0123456789abcdef";

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn ping(number: u32) -> Ping {
        Ping::Session {
            payload: SECRET,
            number,
        }
    }

    #[test]
    fn golden_pings() {
        assert_eq!(Ping::parse(b"PING"), Some(Ping::Legacy));
        assert_eq!(
            Ping::parse(b"0123456789abcdef\0\0\x01\x02"),
            Some(ping(0x102))
        );
        for bad in [&b""[..], b"PONG", b"PING!", b"0123456789abcdef", &[0; 21]] {
            assert_eq!(Ping::parse(bad), None);
        }
    }

    #[test]
    fn media_goes_to_who_knows_the_secret_at_the_address_of_rtsp() {
        let client = address("192.0.2.7:5000");
        let mut gate = PingGate::new(client.ip(), SECRET, false);
        assert_eq!(gate.handle(client, Ping::Legacy), Admission::Refused);
        let stranger = address("198.51.100.1:5000");
        assert_eq!(gate.handle(stranger, ping(1)), Admission::Refused);
        let wrong = Ping::Session {
            payload: [0; 16],
            number: 1,
        };
        assert_eq!(gate.handle(client, wrong), Admission::Refused);
        assert_eq!(gate.peer(), None);
        assert_eq!(gate.handle(client, ping(1)), Admission::Peer(client));
        assert_eq!(gate.handle(client, ping(2)), Admission::Unchanged);
        let moved = address("192.0.2.7:6000");
        assert_eq!(
            gate.handle(moved, ping(2)),
            Admission::Unchanged,
            "an old one"
        );
        assert_eq!(gate.peer(), Some(client));
        assert_eq!(gate.handle(moved, ping(3)), Admission::Peer(moved));
        let mapped = address("[::ffff:192.0.2.7]:6000");
        assert_eq!(gate.handle(mapped, ping(4)), Admission::Peer(mapped));
    }

    #[test]
    fn old_clients_are_served_where_the_operator_says_so() {
        let client = address("192.0.2.7:5000");
        let mut gate = PingGate::new(client.ip(), SECRET, true);
        assert_eq!(gate.handle(client, Ping::Legacy), Admission::Peer(client));
        let other = address("192.0.2.7:7000");
        assert_eq!(gate.handle(other, ping(1)), Admission::Peer(other));
        assert_eq!(gate.handle(client, Ping::Legacy), Admission::Refused);
    }
}
