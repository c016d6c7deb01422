use super::*;

const HOST: &str = "127.0.0.1:1000";
const CLIENT: &str = "127.0.0.1:2000";

/// Lets a host and a client that offers `protocol` shake hands in memory; what the host thinks of
/// it, and whether the client was told that it is over.
fn shake_hands(protocol: &[u8]) -> (bool, bool) {
    let identity = Identity::generate().expect("a key");
    let (host, client) = (HOST.parse().expect("one"), CLIENT.parse().expect("one"));
    let mut endpoint = Endpoint::new(&identity, host).expect("a configuration");
    let mut config = config(&identity).expect("a configuration");
    config.set_application_protos(&[protocol]).expect("short");
    let id = random_id().expect("randomness");
    let mut peer = quiche::connect(None, &id, client, host, &mut config).expect("a configuration");
    let mut packet = [0; PACKET_BYTES_MAX];
    for _ in 0..20 {
        while let Ok((bytes, _)) = peer.send(&mut packet) {
            endpoint.receive(&mut packet[..bytes], client);
        }
        endpoint.handle_timeout();
        while let Some((bytes, to)) = endpoint.poll_transmit(&mut packet) {
            let info = RecvInfo { from: host, to };
            // What it refuses belongs to a connection that is over.
            let _ = peer.recv(&mut packet[..bytes], info);
        }
    }
    let ids: Vec<_> = endpoint.link_ids().collect();
    let established = ids
        .into_iter()
        .any(|id| endpoint.link(id).is_some_and(|link| link.is_established()));
    (established, peer.peer_error().is_some())
}

#[test]
fn who_speaks_another_protocol_is_turned_away_at_once() {
    assert_eq!(shake_hands(ALPN), (true, false));
    for other in [&b"h3"[..], b"punktfunk/2"] {
        assert_eq!(shake_hands(other), (false, true));
    }
}
