use std::net::UdpSocket;
use std::sync::atomic::Ordering;
use std::time::Duration;

use net::udp::SocketConfig;

use super::*;

/// Beyond this a test has failed; nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(5);
const ANY: &str = "127.0.0.1:0";

/// What a client announces, with these lines beside what must be there.
fn announced(more: &str) -> StreamConfig {
    let sdp = format!(
        "a=x-nv-video[0].clientViewportWd:1280\r\na=x-nv-video[0].clientViewportHt:720\r\n\
         a=x-nv-video[0].maxFPS:60\r\na=x-nv-video[0].packetSize:1024\r\n\
         a=x-nv-vqos[0].bw.maximumBitrateKbps:10000\r\na=x-nv-general.useReliableUdp:13\r\n{more}"
    );
    let parsed = StreamConfig::parse(sdp.as_bytes());
    parsed.expect("as clients say it").config
}

fn surround(channels: u8, mask: u16, high: u8, packet_ms: u8) -> StreamConfig {
    announced(&format!(
        "a=x-nv-audio.surround.numChannels:{channels}\r\n\
         a=x-nv-audio.surround.channelMask:{mask}\r\n\
         a=x-nv-audio.surround.AudioQuality:{high}\r\na=x-nv-aqos.packetDuration:{packet_ms}\r\n"
    ))
}

#[test]
fn what_is_announced_is_what_opus_is_told() {
    let stereo = audio_config(&announced("")).expect("two channels");
    assert_eq!(
        stereo,
        AudioConfig {
            speakers: Speakers::Stereo,
            quality: Quality::Normal,
            packet: PacketLength::Ms5,
            packet_bytes_max: 1024 - HEADROOM_BYTES,
        }
    );
    let six = audio_config(&surround(6, 0x3f, 1, 5)).expect("six channels");
    assert_eq!(six.speakers, Speakers::Surround51);
    assert_eq!(six.quality, Quality::High);
    let eight = audio_config(&surround(8, 0x63f, 0, 10)).expect("eight channels");
    assert_eq!(eight.speakers, Speakers::Surround71);
    assert_eq!(eight.packet, PacketLength::Ms10);
    let slow = audio_config(&surround(2, 3, 0, 20)).expect("two channels");
    assert_eq!(slow.packet, PacketLength::Ms20);
}

/// A stream's both ends, and the socket that it sends with.
fn stream(config: &StreamConfig, metrics: &Arc<SessionMetrics>) -> (SoundPeer, Box<dyn AudioOut>) {
    let any = ANY.parse().expect("an address");
    let socket = Socket::bind(any, SocketConfig::default()).expect("a port on loopback");
    let ends = ends(config, ([7; 16], 9), &socket, metrics).expect("a socket");
    let (peer, start) = ends.expect("channels that exist");
    (peer, start.out)
}

fn client() -> UdpSocket {
    let socket = UdpSocket::bind(ANY).expect("a port on loopback");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    socket
}

fn received(client: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
    let datagrams = (0..count).map(|_| {
        let mut bytes = [0; 2048];
        let length = client.recv(&mut bytes).expect("a datagram");
        bytes[..length].to_vec()
    });
    datagrams.collect()
}

#[test]
fn packets_go_where_the_newest_ping_came_from_and_nowhere_before_the_first() {
    let metrics = Arc::new(SessionMetrics::default());
    let (peer, mut out) = stream(&announced(""), &metrics);
    let now = net::clock::now();
    (0..5).for_each(|_| out.packet(now, &[1; 80]));
    assert_eq!(metrics.counters.audio_datagrams.load(Ordering::Relaxed), 0);

    let (stale, first, second) = (client(), client(), client());
    let address = |client: &UdpSocket| client.local_addr().expect("bound");
    peer.redirect(address(&stale));
    peer.redirect(address(&first));
    (0..4).for_each(|_| out.packet(now, &[2; 80]));
    let block = received(&first, 6);
    let kinds: Vec<_> = block.iter().map(|it| (it[1], it[3], it.len())).collect();
    let expected = [
        (97, 0, 92),
        (97, 1, 92),
        (97, 2, 92),
        (97, 3, 92),
        (127, 4, 104),
        (127, 5, 104),
    ];
    assert_eq!(kinds, expected, "a whole block from its begin");

    peer.redirect(address(&second));
    out.packet(now, &[3; 80]);
    assert_eq!(received(&second, 1)[0][..4], [0x80, 97, 0, 4]);
    stale.set_nonblocking(true).expect("a socket");
    assert!(stale.recv(&mut [0; 8]).is_err(), "its address was stale");

    let counted = metrics.counters.snapshot();
    assert_eq!(counted.audio_datagrams, 7);
    assert_eq!(counted.audio_sent_bytes, 5 * 92 + 2 * 104);
    assert_eq!(counted.audio_send_failures, 0);
}

#[test]
fn what_is_asked_for_encrypted_leaves_encrypted() {
    let config = announced("a=x-ss-general.encryptionEnabled:5\r\n");
    let (peer, mut out) = stream(&config, &Arc::default());
    let client = client();
    peer.redirect(client.local_addr().expect("bound"));
    out.packet(net::clock::now(), &[1; 80]);
    let datagram = &received(&client, 1)[0];
    assert_eq!(datagram.len(), 12 + 96, "padded to whole blocks");
    let mut sealed = AudioPacketizer::new(&AudioSendConfig {
        packet_ms: 5,
        key: Some(([7; 16], 9)),
    });
    let expected = sealed.handle_opus(&[1; 80]).expect("it fits");
    assert_eq!(datagram[..], *expected.iter().next().expect("the packet"));
}
