//! Arbitrary datagrams from anywhere at the ports that media leaves from: it goes only where the
//! session's peer has asked with the session's secret, or as the operator allows.

use std::net::{IpAddr, SocketAddr};

use net::gamestream::ping::{Admission, Ping, PingGate};

/// What pings begin with if they are the session's.
pub const SECRET: [u8; 16] = *b"0123456789abcdef";

/// First byte: does the operator allow old clients. Then datagrams, each behind a byte of its
/// length and one of where it comes from. How often media was redirected.
pub fn run(data: &[u8]) -> usize {
    let [first, rest @ ..] = data else { return 0 };
    let client = IpAddr::from([192, 0, 2, 1]);
    let allows_old = first & 1 == 1;
    let mut gate = PingGate::new(client, SECRET, allows_old);
    let (mut redirected, mut rest) = (0, rest);
    while let Some(([length, from], after)) = rest.split_first_chunk::<2>() {
        let (datagram, next) = after.split_at(usize::from(*length).min(after.len()));
        rest = next;
        let from = SocketAddr::new([192, 0, 2, from & 3].into(), 5000 + u16::from(from >> 6));
        let before = gate.peer();
        let Some(ping) = Ping::parse(datagram) else {
            assert!(datagram.len() != 20 && datagram != b"PING");
            continue;
        };
        match gate.handle(from, ping) {
            Admission::Peer(peer) => {
                assert_eq!((peer, peer.ip()), (from, client));
                assert!(allows_old || datagram.starts_with(&SECRET));
                assert_ne!(before, Some(peer));
                redirected += 1;
            }
            Admission::Unchanged | Admission::Refused => assert_eq!(gate.peer(), before),
        }
    }
    redirected
}
