//! Nonsense at each of GameStream's ports, over real sockets, from a neighbour who has no
//! certificate: the host answers or closes, and serves on. What the bytes mean to the machines
//! behind is in `net/tests/generated/gamestream.rs`, in bulk.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream, UdpSocket};

use harness::PATIENCE;
use harness::loopback::LoopbackHost;
use harness::moonlight::free_base_port;
use harness::sim::rng::Rng;

/// Connections to each port, one after the other.
const CONNECTIONS: usize = 2000;
/// Datagrams to each port.
const DATAGRAMS: usize = 20_000;
const SEED: u64 = 4;

const HTTP: &[u8] =
    b"GET /pair?uniqueid=1&phrase=getservercert&salt=00112233445566778899aabbccddeeff\
    &clientcert=2d2d HTTP/1.1\r\nHost: den\r\n\r\n";
const TLS: &[u8] =
    b"\x16\x03\x01\x00\x2c\x01\x00\x00\x28\x03\x030123456789abcdef0123456789abcdef\x00\
    \x00\x02\x13\x01\x01\x00";
const RTSP: &[u8] = b"ANNOUNCE streamid=control/13/0 RTSP/1.0\r\nCSeq: 6\r\nSession: 1\r\n\
    Content-length: 42\r\n\r\nv=0\r\na=x-nv-video[0].clientViewportWd:1280 \r\n";
const ENET: &[u8] = b"\x8f\xff\0\x07\x82\xff\0\x01\0\0\0\0\0\0\x03\x84\0\x01\0\0\0\0\0\x30\0\0\0\0\
    \0\0\0\0\0\0\x13\x88\0\0\0\x02\0\0\0\x02\0\0\0\x4d\0\0\0\0";
const PING: &[u8] = b"0123456789abcdef\0\0\0\x01";

/// The same with some bytes of other values, and often an end of its own.
fn changed(rng: &mut Rng, template: &[u8]) -> Vec<u8> {
    let mut bytes = template.to_vec();
    for _ in 0..rng.below(6) {
        let at = rng.below(bytes.len() as u64) as usize;
        bytes[at] = rng.below(256) as u8;
    }
    if rng.below(3) == 0 {
        bytes.truncate(rng.below(bytes.len() as u64) as usize);
    }
    bytes
}

/// Says something and listens until the host closes.
fn speak(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let mut answer = Vec::new();
    // A host that has read enough closes: writing, and even reading, may fail for that.
    let spoken = stream
        .write_all(bytes)
        .and_then(|()| stream.shutdown(Shutdown::Write));
    if let Err(error) = spoken.and_then(|()| stream.read_to_end(&mut answer)) {
        assert_ne!(
            error.kind(),
            std::io::ErrorKind::WouldBlock,
            "it holds on: {bytes:?}"
        );
    }
    answer
}

#[test]
fn nonsense_at_every_port_of_gamestream_is_survived() {
    let base = free_base_port();
    let host = LoopbackHost::synthetic(&[
        ("gamestream", "true"),
        ("gamestream-bind", "127.0.0.1"),
        ("gamestream-port", &base.to_string()),
    ]);
    let serves = || {
        let answer = speak(base, b"GET /serverinfo HTTP/1.1\r\nHost: den\r\n\r\n");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains("<PairStatus>0</PairStatus>"), "{answer}");
        assert!(!host.has_failed());
    };
    println!("seed {SEED}");
    let mut rng = Rng::stream(SEED, 0);
    let mut answered = 0;
    for (port, template) in [(base, HTTP), (base - 5, TLS), (base + 21, RTSP)] {
        for _ in 0..CONNECTIONS {
            // A pairing that is whole waits for its PIN: it is not among these.
            let bytes = match changed(&mut rng, template) {
                same if same == template => continue,
                bytes => bytes,
            };
            answered += usize::from(!speak(port, &bytes).is_empty());
        }
        serves();
    }
    assert!(answered > CONNECTIONS / 4, "{answered} were answered");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    for (port, template) in [(base + 9, PING), (base + 10, ENET), (base + 11, PING)] {
        for _ in 0..DATAGRAMS {
            let bytes = changed(&mut rng, template);
            socket
                .send_to(&bytes, (Ipv4Addr::LOCALHOST, port))
                .expect("loopback takes it");
        }
        serves();
    }
    assert!(host.sessions().is_empty());
}
