//! GameStream's ports: requests, descriptions, datagrams, packets, and the slices that a host makes
//! packets of. Each test says how many of its inputs got past the first checks; a failure names its
//! seed.

#[path = "../../fuzz/bodies/gamestream_audio.rs"]
mod gamestream_audio;
#[path = "../../fuzz/bodies/gamestream_control.rs"]
mod gamestream_control;
#[path = "../../fuzz/bodies/gamestream_http.rs"]
mod gamestream_http;
#[path = "../../fuzz/bodies/gamestream_pings.rs"]
mod gamestream_pings;
#[path = "../../fuzz/bodies/gamestream_text.rs"]
mod gamestream_text;
#[path = "../../fuzz/bodies/gamestream_video.rs"]
mod gamestream_video;

use super::chance::{Chance, all};
use net::gamestream::input;

const REQUESTS: [&str; 6] = [
    "/serverinfo?uniqueid=0123456789ABCDEF&uuid=1",
    "/pair?uniqueid=1&devicename=roth&updateState=1&phrase=getservercert\
     &salt=00112233445566778899aabbccddeeff&clientcert=2d2d",
    "/pair?uniqueid=1&clientchallenge=00112233445566778899aabbccddeeff",
    "/launch?uniqueid=1&appid=2&mode=1920x1080x60&additionalStates=1&sops=1\
     &rikey=00112233445566778899aabbccddeeff&rikeyid=-5&localAudioPlayMode=0\
     &surroundAudioInfo=196610&gcmap=1&corever=1",
    "/resume?uniqueid=1&rikey=00112233445566778899aabbccddeeff&rikeyid=1",
    "/appasset?uniqueid=1&appid=1&AssetType=2&AssetIdx=0",
];

#[test]
fn http_requests() {
    all("http", 1, |chance| {
        let target = chance.of(&REQUESTS);
        let request = format!("GET {target} HTTP/1.1\r\nHost: den:47989\r\n\r\n");
        let mut input = vec![chance.bits() as u8];
        input.extend(chance.changed(request.as_bytes()));
        u64::from(gamestream_http::run(&input))
    });
}

const SDP: &str = "v=0\r\no=android 0 14 IN IPv4 10.0.0.1\r\ns=NVIDIA Streaming Client\r\n\
    a=x-nv-video[0].clientViewportWd:1280 \r\na=x-nv-video[0].clientViewportHt:720 \r\n\
    a=x-nv-video[0].maxFPS:60 \r\na=x-nv-video[0].packetSize:1392 \r\n\
    a=x-nv-vqos[0].bw.maximumBitrateKbps:10000 \r\na=x-nv-general.useReliableUdp:13 \r\n\
    a=x-nv-audio.surround.numChannels:2 \r\na=x-nv-audio.surround.channelMask:3 \r\n\
    a=x-nv-aqos.packetDuration:5 \r\na=x-ss-general.encryptionEnabled:7 \r\nt=0 0\r\n";

#[test]
fn session_descriptions() {
    all("sdp", 1, |chance| {
        let sdp = chance.changed(SDP.as_bytes());
        gamestream_text::run(&sdp);
        u64::from(net::gamestream::sdp::StreamConfig::parse(&sdp).is_ok())
    });
}

#[test]
fn rtsp_requests() {
    let announce = format!(
        "ANNOUNCE streamid=control/13/0 RTSP/1.0\r\nCSeq: 6\r\nSession: 1\r\n\
         Content-type: application/sdp\r\nContent-length: {}\r\n\r\n{SDP}",
        SDP.len()
    );
    let texts = [
        "OPTIONS rtsp://10.0.0.1:48010 RTSP/1.0\r\nCSeq: 1\r\nX-GS-ClientVersion: 14\r\n\r\n",
        "DESCRIBE rtsp://10.0.0.1:48010 RTSP/1.0\r\nCSeq: 2\r\nAccept: application/sdp\r\n\r\n",
        "SETUP streamid=audio/0/0 RTSP/1.0\r\nCSeq: 3\r\nTransport: unicast\r\n\r\n",
        "PLAY / RTSP/1.0\r\nCSeq: 7\r\nSession: 1;timeout = 90\r\n\r\n",
        &announce,
    ];
    all("rtsp", 1, |chance| {
        let text = chance.of(&texts);
        let mut bytes = chance.changed(text.as_bytes());
        if chance.below(8) == 0 {
            // As an encrypted one begins.
            let sealed = bytes.len().saturating_sub(24) as u32 | 1 << 31;
            let head = bytes.len().min(4);
            bytes[..head].copy_from_slice(&sealed.to_be_bytes()[..head]);
        }
        gamestream_text::run(&bytes);
        let mut reader = net::gamestream::rtsp::RtspReader::new();
        u64::from(matches!(reader.handle_bytes(&bytes), Ok(Some(_))))
    });
}

/// ENet's commands as a client's library writes them (`protocol.h` of ENet 1.3), all big-endian:
/// head with the peer, its session's two bits and a time, then the command.
fn enet(chance: &mut Chance, command: usize, peer: u16, number: u16) -> Vec<u8> {
    let word = |value: u16| value.to_be_bytes();
    let long = |value: u32| value.to_be_bytes();
    let head = |command: u8, channel: u8, peer: u16| {
        let mut bytes = word(peer | 0x8000).to_vec();
        bytes.extend(word(7));
        bytes.extend([command, channel]);
        bytes.extend(word(number));
        bytes
    };
    // Shorter ones are no encrypted message. Even ones come from the first of two ports.
    let payload = 16 + 2 * chance.below(20);
    let payload = chance.bytes(payload, 256);
    let length = word(payload.len() as u16);
    match command {
        0 => {
            let mut connect = head(0x82, 0xff, 0xfff);
            connect.extend([0, 0, 0, 0]);
            // Packet and window size, channels, bandwidths, throttle, number, data.
            for value in [900, 65_536, 0x30, 0, 0, 5000, 2, 2, 77, 0] {
                connect.extend(long(value));
            }
            connect
        }
        1 => [&head(0x01, 0xff, peer)[..], &word(number), &word(7)].concat(),
        2 => head(0x85, 0xff, peer),
        3 => [&head(0x84, 0xff, peer)[..], &long(0)].concat(),
        4 | 5 => [&head(0x86, 0, peer)[..], &length, &payload].concat(),
        6 => [&head(0x07, 1, peer)[..], &word(number), &length, &payload].concat(),
        _ => {
            let mut part = head(0x88, 0, peer);
            part.extend(word(number));
            part.extend(length);
            for value in [2, u32::from(number & 1), 2 * payload.len() as u32, 0] {
                part.extend(long(value));
            }
            [part, payload].concat()
        }
    }
}

/// Sixty datagrams an input: connections are made, spoken over and broken off.
#[test]
fn enet_datagrams() {
    const EACH: usize = 60;
    let mut total = (0, 0);
    all("enet", EACH as u64, |chance| {
        let mut input = Vec::new();
        // Which two bits the session gets, the host tells.
        let session = (chance.below(4) as u16) << 12;
        for at in 0..EACH {
            let mut datagram = match at {
                0 => enet(chance, 0, 0, 1),
                1..=4 => enet(chance, 1, (at as u16 - 1) << 12, 1),
                _ => {
                    let (command, number) = (chance.below(8), 1 + chance.below(4) as u16);
                    let peer = session | chance.below(2) as u16;
                    enet(chance, command, peer, number)
                }
            };
            if chance.below(4) == 0 {
                datagram = chance.changed(&datagram);
            }
            datagram.truncate(255);
            input.push(datagram.len() as u8);
            input.extend(datagram);
        }
        let (connected, received) = gamestream_control::run(&input);
        total = (total.0 + connected, total.1 + received);
        if received > 0 { EACH as u64 - 1 } else { 0 }
    });
    println!("enet: {} connections, {} messages", total.0, total.1);
}

/// A key, text, moves, buttons, scrolling, a controller, touch: length (big-endian) and kind.
#[test]
fn input_packets() {
    all("input", 1, |chance| {
        let kinds: [u32; 14] = [
            3,
            4,
            5,
            6,
            7,
            8,
            9,
            0xa,
            0xc,
            0xd,
            0x17,
            0x5500_0001,
            0x5500_0002,
            0x5500_0004,
        ];
        let kind = kinds[chance.below(kinds.len())];
        let length = chance.below(56);
        let body = chance.bytes(length, 256);
        let mut packet = (body.len() as u32 + 4).to_be_bytes().to_vec();
        packet.extend(kind.to_le_bytes());
        packet.extend(body);
        if chance.below(4) == 0 {
            packet = chance.changed(&packet);
        }
        u64::from(input::parse(&packet).is_ok_and(|event| event.is_some()))
    });
}

#[test]
fn pings() {
    all("pings", 8, |chance| {
        let mut input = vec![chance.bits() as u8];
        for number in 0..8u32 {
            let ping = [&gamestream_pings::SECRET[..], &number.to_be_bytes()].concat();
            let ping = match chance.below(4) {
                0 => b"PING".to_vec(),
                1 => ping,
                _ => chance.changed(&ping),
            };
            input.extend([ping.len() as u8, chance.bits() as u8]);
            input.extend(ping);
        }
        gamestream_pings::run(&input) as u64
    });
}

/// Sixteen packets of sound an input, mostly of one size, with losses.
#[test]
fn sound() {
    let (mut whole, mut lost) = (0, 0);
    all("sound", 16, |chance| {
        let mut input = vec![chance.bits() as u8];
        let size = 1 + chance.below(400) as u16;
        for _ in 0..16 {
            let size = match chance.below(20) {
                0 => chance.bits() as u16,
                _ => size,
            };
            input.extend(size.to_le_bytes());
            // At most three of six.
            input.push(1 << chance.below(6) | 1 << chance.below(6) | 1 << chance.below(7));
        }
        let reached = gamestream_audio::run(&input);
        (whole, lost) = (whole + reached.whole, lost + reached.lost);
        reached.whole as u64
    });
    println!("sound: {whole} blocks whole, {lost} lost");
    assert!(whole > 0 && lost > 0);
}

/// Slices of any size into packets, and those into the model of a client, which refuses what a
/// debug build of a real one asserts; ten slices a round, and more than a hundred packets.
#[test]
fn video_slices() {
    const EACH: u64 = 100;
    all("video", EACH, |chance| {
        let input = chance.bytes(40, 256);
        gamestream_video::run(&input);
        EACH * u64::from(input[0] > 2)
    });
}
