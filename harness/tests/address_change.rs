//! A client whose address changes in the middle of a session, on real sockets: pictures come back
//! as soon as the new path is validated, and nobody gets any who cannot show that he is there.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use crossbeam::channel::bounded;
use harness::PATIENCE;
use harness::facts::eventually;
use harness::loopback::{LoopbackClient, LoopbackHost, encoders, hello, share_of_ground};
use harness::relay::{Relay, Way};
use net::client::Trust;
use net::{clock, media};

/// Pictures of 60 Hz, so that waiting for one is not most of what is measured.
const MODE: &str = "320x240@60";

fn connect(address: std::net::SocketAddr) -> LoopbackClient {
    LoopbackClient::with(address, Trust::FirstUse, hello(MODE)).expect("a session")
}

/// Watches a few pictures; each has to be whole.
fn watch(client: &mut LoopbackClient, count: usize) {
    client.watch(count, |unit, picture| {
        let share = share_of_ground(picture);
        assert!(share > 0.8, "{}: {share} of the ground", unit.frame);
    });
}

/// Prints how long each change took: from the call to the first picture that came to the new
/// address and could be shown.
#[test]
fn pictures_follow_a_client_to_its_new_address() {
    for encoder in encoders() {
        let host = LoopbackHost::synthetic(&[("encoder", encoder)]);
        let mut client = connect(host.address());
        let mut times_ms = Vec::new();
        for turn in 0..40 {
            watch(&mut client, 6);
            // Whole units that came before wait in the channel.
            let last_octet = 2 + turn % 2;
            let before = clock::now();
            client.rebind(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last_octet)));
            loop {
                let unit = client.next_unit().expect("the session goes on");
                if unit.received_first > before {
                    times_ms.push(unit.complete.since(before).as_secs_f64() * 1e3);
                    client.look_at(&unit);
                    break;
                }
                client.look_at(&unit);
            }
        }
        watch(&mut client, 6);
        assert_eq!(host.sessions().len(), 1);
        let received = client.end();
        times_ms.sort_by(f64::total_cmp);
        let at = |share: f64| times_ms[(times_ms.len() as f64 * share) as usize];
        println!(
            "{encoder}: {} changes of address, picture back after p50 {:.1} ms, p90 {:.1} ms, max \
             {:.1} ms; round trip {} us",
            times_ms.len(),
            at(0.5),
            at(0.9),
            times_ms[times_ms.len() - 1],
            received.round_trip_us,
        );
    }
}

/// The client does not know: its host falls silent, and the first QUIC packet mends it.
#[test]
fn a_router_that_forgets_a_client_costs_no_session() {
    let host = LoopbackHost::synthetic(&[]);
    let relay = Relay::transparent(host.address());
    let mut client = connect(relay.address());
    for _ in 0..5 {
        watch(&mut client, 10);
        let before = clock::now();
        relay.rebind();
        let back = loop {
            let unit = client.next_unit().expect("the session goes on");
            let is_first = unit.received_first > before;
            client.look_at(&unit);
            if is_first {
                break unit.complete;
            }
        };
        let ms = back.since(before).as_secs_f64() * 1e3;
        println!("picture back {ms:.1} ms after the router forgot its client");
    }
    watch(&mut client, 10);
    assert_eq!(host.sessions().len(), 1);
    client.end();
}

/// Somebody on the path takes the client's packets and sends them from an address of his own, before
/// they come from the client's: he cannot answer the challenge, so no media goes there.
#[test]
fn stolen_packets_move_no_media() {
    let host = LoopbackHost::synthetic(&[]);
    let thief = UdpSocket::bind("127.0.0.9:0").expect("an address on loopback");
    thief.set_nonblocking(true).expect("a socket");
    let voice = thief.try_clone().expect("a descriptor");
    let address = host.address();
    let (stolen_in, stolen) = bounded(1024);
    let relay = Relay::transparent(address);
    let mut client = connect(relay.address());
    watch(&mut client, 10);
    relay.set_policy(Box::new(move |way, bytes, _| {
        let is_quic = bytes.first().is_some_and(|&first| !media::is_media(first));
        if way == Way::Down || !is_quic {
            return true;
        }
        // Full: enough of them were.
        let _ = stolen_in.try_send(());
        voice.send_to(bytes, address).is_err()
    }));
    let mut heard = (0, 0);
    let mut buffer = [0; 2048];
    let mut listen = |heard: &mut (usize, usize)| {
        while let Ok(count) = thief.recv(&mut buffer) {
            if count > 0 && media::is_media(buffer[0]) {
                heard.1 += 1;
            } else {
                heard.0 += 1;
            }
        }
    };
    stolen
        .recv_timeout(PATIENCE)
        .expect("the client says something");
    eventually("the host asks the thief whether he is the client", || {
        watch(&mut client, 1);
        listen(&mut heard);
        heard.0 > 0
    });
    // While he has the client's voice its pictures go on, and none goes to him.
    watch(&mut client, 60);
    listen(&mut heard);
    assert_eq!(heard.1, 0, "media datagrams to the thief");
    relay.set_policy(Box::new(|_, _, _| true));
    watch(&mut client, 10);
    client.end();
}
