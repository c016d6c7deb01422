//! The real host and the real client over a relay that takes no datagram larger than a path of 1280
//! bytes does: from the start on, and from the middle of a session on.

use std::sync::PoisonError;

use harness::facts::eventually;
use harness::loopback::{LoopbackClient, LoopbackHost, hello};
use harness::relay::{Policy, Relay, Way};
use net::client::Trust;
use net::limits::DATAGRAM_BYTES_MAX;
use net::steering::SteeringStatus;
use net::units::BitsPerSecond;

/// 1280 bytes less the headers of IPv4 and UDP.
const PAYLOAD_BYTES_MAX: usize = 1280 - 28;
/// The largest datagram of whole steps that fits it.
const SIZE: usize = 1200;
/// Pictures that are large enough to have datagrams of full size.
const MODE: &str = "640x480@30";

/// What a path of 1280 bytes lets pass, either way.
fn narrow() -> Policy {
    Box::new(|_: Way, datagram, _| datagram.len() <= PAYLOAD_BYTES_MAX)
}

fn connect(relay: &Relay) -> LoopbackClient {
    let mut hello = hello(MODE);
    hello.bitrate = BitsPerSecond(10_000_000);
    LoopbackClient::with(relay.address(), Trust::FirstUse, hello).expect("a session")
}

/// The line that `punktfunk host` shows of the only session.
fn status(host: &LoopbackHost) -> Option<SteeringStatus> {
    let session = host.sessions().pop()?;
    *session
        .metrics
        .path
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_session_begins_on_a_path_of_1280_bytes() {
    let mut host = LoopbackHost::synthetic(&[]);
    let relay = Relay::new(host.address(), narrow());
    let mut client = connect(&relay);
    // From the first on: each refers to the one before.
    client.watch(30, |_, _| {});
    assert_eq!(client.received().frames_lost, 0, "{:?}", client.received());
    eventually("the sizes above are given up", || {
        client.watch(1, |_, _| {});
        status(&host).is_some_and(|status| !status.is_path_searched)
    });
    let status = status(&host).expect("just seen");
    assert_eq!((status.path_bytes, status.black_holes), (SIZE, 0));
    assert!(
        status.to_string().ends_with("datagrams of 1200"),
        "{status}"
    );
    client.end();
    host.stop();
}

#[test]
fn a_path_that_shrinks_ends_no_session() {
    let mut host = LoopbackHost::synthetic(&[]);
    let relay = Relay::transparent(host.address());
    let mut client = connect(&relay);
    eventually("the path is found to carry what was agreed", || {
        client.watch(1, |_, _| {});
        status(&host).is_some_and(|status| status.path_bytes == DATAGRAM_BYTES_MAX)
    });
    relay.set_policy(narrow());
    eventually("the host sends smaller datagrams", || {
        client.watch(1, |_, _| {});
        status(&host).is_some_and(|status| status.path_bytes == SIZE)
    });
    // It goes on, and not by one IDR after another.
    let mut idrs = 0;
    client.watch(30, |unit, _| idrs += u32::from(unit.keyframe));
    assert!(idrs <= 2, "{idrs} IDRs");
    let status = status(&host).expect("the session streams");
    assert_eq!(status.black_holes, 1, "{status}");
    // Frames may be cut smaller than that for a while, which the line says, too.
    let line = status.to_string();
    assert!(
        line.contains("of 1200") && line.contains("shrunk 1 ×"),
        "{line}"
    );
    client.end();
    host.stop();
}
