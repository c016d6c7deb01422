//! Arbitrary control datagrams, messages, input packets and pings.

use std::net::SocketAddr;

use net::gamestream::control::{ControlCipher, FromClient, NonceKind};
use net::gamestream::enet::{EnetEvent, EnetHost};
use net::gamestream::input;
use net::gamestream::ping::Ping;
use net::gamestream::reports::Reports;
use net::units::{FrameId, Timestamp};

/// Datagrams, each behind a byte of its length. How many connections and messages came of them.
pub fn run(data: &[u8]) -> (usize, usize) {
    let (mut connected, mut received) = (0, 0);
    let mut now = Timestamp::from_ns(1_000_000_000);
    let mut host = EnetHost::new(now, 1);
    host.expect(0);
    let mut cipher = ControlCipher::new([0; 16], NonceKind::Directed);
    let mut reports = Reports::new();
    reports.handle_sent(now, FrameId(9), 30, false);
    let mut rest = data;
    while let Some((&length, after)) = rest.split_first() {
        let (datagram, next) = after.split_at(usize::from(length).min(after.len()));
        rest = next;
        now = now + std::time::Duration::from_millis(7);
        let from = SocketAddr::from(([192, 0, 2, 1], 5000 + u16::from(length & 1)));
        let _refused = host.handle_datagram(now, from, datagram);
        while let Some(event) = host.poll_event() {
            connected += usize::from(matches!(event, EnetEvent::Connected { .. }));
            received += usize::from(matches!(event, EnetEvent::Received { .. }));
        }
        while let Some(transmit) = host.poll_transmit() {
            assert!(transmit.bytes.len() <= 1400);
        }
        assert!(cipher.open(datagram).is_err(), "nobody has the key");
        let _event = input::parse(datagram);
        let _ping = Ping::parse(datagram);
        if let Some((kind, payload)) = datagram.split_first_chunk::<2>()
            && let Ok(message) = FromClient::parse(u16::from_le_bytes(*kind), payload)
        {
            let _report = reports.handle(now, &message);
            let path = reports.path(now, std::time::Duration::ZERO);
            assert!((0.0..=1.0).contains(&path.loss_share));
            assert!(path.burst_mean >= 1.0 && path.burst_mean.is_finite());
        }
    }
    (connected, received)
}
