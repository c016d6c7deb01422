//! Audio, clock and path MTU: nothing is allocated once the machines stand.

use net::audio::{
    AUDIO_DATAGRAM_BYTES_MAX, AudioDatagram, AudioReceiver, AudioSender, PACKET_INTERVAL, Playout,
};
use net::clock_sync::{ClockSync, ECHO_BYTES, Echo};
use net::path_mtu::PathMtu;
use net::units::Timestamp;

use crate::sys;

#[test]
fn audio_clock_and_path_mtu_allocate_nothing() {
    let (mut host, mut client) = (AudioSender::new(), AudioReceiver::new());
    let mut clock = ClockSync::new();
    let mut mtu = PathMtu::new(Timestamp::ZERO, 1392);
    let mut audio = Vec::with_capacity(AUDIO_DATAGRAM_BYTES_MAX);
    let mut echo = Vec::with_capacity(ECHO_BYTES);
    let mut played = 0;
    let before = sys::allocations();
    for i in 0..4000u32 {
        let now = Timestamp::ZERO + PACKET_INTERVAL * i;
        host.send(now, &[7; 300], &mut audio).expect("a packet");
        // One in twenty is lost, so that copies are sent and played.
        if i % 20 != 7 {
            client.handle(now, &AudioDatagram::parse(&audio).expect("as sent"));
        }
        while !matches!(client.poll(now), Playout::Wait(_)) {
            played += 1;
        }
        if let Some(report) = client.poll_report(now) {
            host.handle_report(now, &report).expect("true");
        }

        echo.clear();
        let stamps = Echo {
            client_sent: now,
            host_received: now + PACKET_INTERVAL,
            host_sent: now + PACKET_INTERVAL,
        };
        echo.extend_from_slice(&stamps.to_wire());
        let Echo {
            client_sent,
            host_received,
            host_sent,
        } = Echo::parse(&echo).expect("as sent");
        clock
            .handle(
                client_sent,
                host_received,
                host_sent,
                now + PACKET_INTERVAL * 2,
            )
            .expect("a sample");
        assert!(clock.offset_at(now).is_some());

        if let Some(bytes) = mtu.poll_probe(now) {
            mtu.handle_loss(now, now, bytes);
        }
        mtu.handle_receipt(now, now, mtu.datagram_bytes_max());
    }
    assert_eq!(sys::allocations() - before, 0);
    assert!(played > 3900, "{played}");
    assert!(client.stats().repaired > 100, "{:?}", client.stats());
}
