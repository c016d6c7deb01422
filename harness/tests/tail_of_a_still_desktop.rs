//! A real host and client over a relay that loses the first copy of everything: of a desktop that
//! stands still nothing follows that would show the loss, and the client gets its picture all the
//! same, because the host sends the end of the last frame again.

use std::collections::HashSet;

use harness::facts::{alone, eventually};
use harness::loopback::{LoopbackClient, LoopbackHost};
use harness::relay::{Relay, Way};
use net::media::VideoHeader;

#[test]
fn a_still_desktop_of_which_every_first_copy_is_lost_is_shown() {
    let _alone = alone();
    let host = LoopbackHost::start(&[("desktop", "private-sway"), ("app", "none")]);
    let host = host.expect("a host with a private sway");
    let mut seen = HashSet::new();
    let is_copy = move |way, _: &[u8], media: Option<&VideoHeader>| match (way, media) {
        (Way::Down, Some(VideoHeader::Data(data))) => {
            !seen.insert((data.frame.frame, data.column))
        }
        (Way::Down, Some(VideoHeader::Parity(_))) => false,
        _ => true,
    };
    let relay = Relay::new(host.address(), Box::new(is_copy));
    let mut client = LoopbackClient::connect(relay.address());
    client.watch(1, |unit, _| assert!(unit.keyframe, "the first that it can show"));
    eventually("the host counts what it repeats", || {
        let sessions = host.sessions();
        sessions[0].metrics.counters.snapshot().repeated > 0
    });
    client.end();
}
