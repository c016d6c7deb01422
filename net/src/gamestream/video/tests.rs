use proptest::prelude::*;

use super::*;
use crate::gamestream::client_model::{ClientEvent, ClientModel};
use crate::seeded::{Bursts, Seeded};
use crate::units::{FrameId, SliceIndex};

fn config(packet_bytes: u16, percent: u8) -> VideoConfig {
    VideoConfig {
        packet_bytes,
        parity_min: 2,
        protection: Protection::at_frame_end(percent),
        format: VideoFormat::H264,
        key: None,
        batch_datagrams_max: GSO_SEGMENTS_MAX,
    }
}

fn packetizer(config: &VideoConfig) -> VideoPacketizer {
    VideoPacketizer::new(config).expect("a packet size within the limits")
}

fn meta(frame: u32, index: u8, last: bool) -> SliceMeta {
    SliceMeta {
        frame: FrameId(frame),
        index: SliceIndex(index),
        last,
        keyframe: frame == 0,
        recovery: false,
        captured: Timestamp::from_ns(5_000_000_000 + u64::from(frame) * 16_666_667),
    }
}

/// All datagrams that are ready; each batch keeps to GSO's rule.
fn drain(video: &mut VideoPacketizer) -> Vec<Vec<u8>> {
    let mut batch = Batch::new();
    let mut datagrams = Vec::new();
    while video.next_batch(&mut batch) {
        let sizes: Vec<_> = batch.iter().map(<[u8]>::len).collect();
        assert_eq!(sizes.len(), usize::from(batch.datagrams));
        let (last, whole) = sizes.split_last().expect("never empty");
        let segment = usize::from(batch.segment_bytes);
        assert!(whole.iter().all(|&size| size == segment) && *last <= segment);
        assert_eq!(batch.first_sequence as usize, {
            let stats = video.stats();
            (stats.data_datagrams + stats.parity_datagrams) as usize - sizes.len()
        });
        datagrams.extend(batch.iter().map(<[u8]>::to_vec));
    }
    datagrams
}

/// Bytes without start codes or zeros, so that nothing is left out and padding shows.
fn slice_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Seeded(seed);
    (0..length).map(|_| random.bits() as u8 | 1).collect()
}

fn plan(slices: u8, blocks: u8) -> FramePlan {
    FramePlan {
        slices,
        blocks,
        host_latency: Duration::from_micros(4210),
        fill_16: 0,
    }
}

fn send(video: &mut VideoPacketizer, frame: u32, blocks: u8, slices: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let count = slices.len() as u8;
    let mut out = Vec::new();
    for (index, slice) in slices.iter().enumerate() {
        let last = index + 1 == slices.len();
        video
            .begin(&meta(frame, index as u8, last), &plan(count, blocks), slice)
            .expect("it fits");
        out.extend(drain(video));
    }
    out
}

/// The bytes of a small frame, worked out by hand from the table above.
#[test]
fn golden_packets() {
    let mut video = packetizer(&config(512, 50));
    let out = send(&mut video, 0, 2, &[vec![0xaa; 600], vec![0xbb; 3]]);
    let kinds: Vec<_> = out.iter().map(|d| (d.len(), d[24], d[27])).collect();
    assert_eq!(out.len(), 2 + 3 + 1 + 2, "{kinds:?}");
    // First data packet: block 0 of 0..=1, 2 data packets; not 2 of parity but 3 (101 %).
    let head = [
        0x90, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, // RTP
        0, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0x10, 0x40, 0x50, 6, 0x80, 0, // index, frame, flags
        1, 43, 0, 2, 0, 0, 0, 0, 0xaa, 0xaa, // frame header: 4.3 ms, IDR
    ];
    assert_eq!(out[0][..head.len()], head);
    assert_eq!(out[0].len(), 16 + 512);
    // The second: sequence 1, packet index 1 << 8, end of the block, 600 + 8 − 496 bytes left.
    assert_eq!(out[1][..4], [0x90, 0, 0, 1]);
    assert_eq!(out[1][16..24], [0, 1, 0, 0, 1, 0, 0, 0]);
    assert_eq!(out[1][24..32], [3, 0, 0x10, 0x40, 0x50, 0x16, 0x80, 0]);
    assert_eq!(out[1].len(), 32 + 112);
    // Parity: rows of the Cauchy code with m = 3: inv(3) = f4, inv(4) = 47; row 1: inv(2) = 8e,
    // inv(5) = a7.
    let mul = |a: u8, b: u8| {
        (0..8).fold(0u8, |sum, bit| {
            let power = (0..bit).fold(a, |x, _| x << 1 ^ if x & 0x80 != 0 { 0x1d } else { 0 });
            if b >> bit & 1 == 1 { sum ^ power } else { sum }
        })
    };
    let column = 32 + 20;
    assert_eq!(out[2][column], mul(0xf4, 0xaa) ^ mul(0x47, 0xaa));
    assert_eq!(out[3][column], mul(0x8e, 0xaa) ^ mul(0xa7, 0xaa));
    assert_eq!(out[2][32 + 400], mul(0xf4, 0xaa), "padding is zero");
    assert_eq!(
        out[2][24],
        mul(0xf4, 5) ^ mul(0x47, 3),
        "flags are recovered"
    );
    assert_eq!(out[2][20..24], [1, 0, 0, 0], "the frame is not");
    assert_eq!(out[2][27..32], [0x40, 0x50, 0x26, 0x80, 0]);
    assert_eq!(out[2].len(), 16 + 512);
    // Second block: begin and end at once.
    assert_eq!(out[5][24..28], [7, 0, 0x10, 0x50]);
    assert_eq!(out[5][32..], [0xbb; 3]);
}

#[test]
fn the_next_block_of_a_whole_picture_says_how_long_the_last_packet_is() {
    let mut video = packetizer(&VideoConfig {
        format: VideoFormat::Av1,
        ..config(512, 20)
    });
    let out = send(&mut video, 0, 4, &[vec![7; 1000]]);
    assert_eq!(out[0][27], 0, "one block");
    assert_eq!(out[0][36..38], (1008u16 - 2 * 496).to_le_bytes());
}

#[test]
fn impossible_packet_sizes_are_refused() {
    for bytes in [0, 511, 1393, u16::MAX] {
        let refused = VideoPacketizer::new(&config(bytes, 20)).err();
        assert_eq!(refused, Some(VideoError::PacketBytes { bytes }));
    }
}

/// Few slices where more were announced: every block still has a packet.
#[test]
fn a_frame_that_ends_early_fills_its_blocks() {
    for blocks in 2..=4 {
        for first in [1, 300, 5000] {
            let mut video = packetizer(&config(1024, 20));
            let mut client = ClientModel::new(1024, None, true);
            let (a, b) = (slice_bytes(1, first), slice_bytes(2, 1));
            video
                .begin(&meta(0, 0, false), &plan(8, blocks), &a)
                .expect("it fits");
            let mut out = drain(&mut video);
            video
                .begin(&meta(0, 1, false), &plan(8, blocks), &a)
                .expect("it fits");
            out.extend(drain(&mut video));
            video
                .begin(&meta(0, 2, true), &plan(8, blocks), &b)
                .expect("it fits");
            out.extend(drain(&mut video));
            for datagram in out {
                client
                    .handle_datagram(&datagram)
                    .expect("every rule is kept");
            }
            let frame: Vec<u8> = [&a[..], &a, &b].concat();
            match &client.take_events()[..] {
                [ClientEvent::Frame { bytes, .. }] => {
                    let data: Vec<u8> = bytes.iter().copied().filter(|&b| b != 0).collect();
                    assert_eq!(data, frame, "{blocks} blocks");
                }
                other => panic!("{blocks} blocks, {first} bytes: {other:?}"),
            }
        }
    }
}

#[test]
fn a_frame_given_up_sends_no_more_and_the_next_is_whole() {
    let mut video = packetizer(&config(1024, 20));
    let slices = [slice_bytes(1, 3000), slice_bytes(2, 3000)];
    send(&mut video, 0, 2, &slices);
    video
        .begin(&meta(1, 0, false), &plan(2, 2), &slices[0])
        .expect("it fits");
    let mut batch = Batch::new();
    assert!(video.next_batch(&mut batch));
    video.give_up_frame();
    assert!(!video.next_batch(&mut batch));
    let refused = video.begin(&meta(1, 1, true), &plan(2, 2), &slices[1]);
    assert_eq!(refused, Err(VideoError::GivenUp { frame: 2, slice: 1 }));
    assert!(!video.next_batch(&mut batch));
    assert_eq!(video.stats().given_up, 1);
    assert!(!send(&mut video, 2, 2, &slices).is_empty());
    let empty = video.begin(&meta(3, 0, true), &plan(1, 1), &[]);
    assert_eq!(empty, Err(VideoError::Empty { frame: 4, slice: 0 }));
}

#[test]
fn frames_up_to_the_limit_are_sent_and_none_above() {
    let payload = 1024 - 16;
    for (packets, percent) in [(250, 20), (254, 20), (255, 5), (600, 20), (4 * 650, 20)] {
        let mut video = packetizer(&config(1024, percent));
        let mut client = ClientModel::new(1024, None, true);
        let frame = slice_bytes(9, packets * payload - 8);
        for datagram in send(&mut video, 0, 1, std::slice::from_ref(&frame)) {
            client
                .handle_datagram(&datagram)
                .expect("every rule is kept");
        }
        let events = client.take_events();
        assert!(
            matches!(&events[..], [ClientEvent::Frame { bytes, .. }] if *bytes == frame),
            "{packets}"
        );
        assert_eq!(video.stats().data_datagrams as usize, packets);
        if packets < 700 {
            assert!(
                video.stats().parity_datagrams > 0,
                "cut so that parity fits"
            );
        }
    }
    let mut video = packetizer(&config(1024, 20));
    let frame = slice_bytes(9, 4 * 650 * payload);
    let refused = video.begin(&meta(0, 0, true), &plan(1, 1), &frame);
    assert!(
        matches!(refused, Err(VideoError::FrameTooLarge { frame: 1, .. })),
        "{refused:?}"
    );
}

/// More than 2¹⁶ packets: the sequence wraps, the packet index does not.
#[test]
fn sequences_wrap() {
    let mut video = packetizer(&config(512, 20));
    let mut client = ClientModel::new(512, None, true);
    let slice = slice_bytes(3, 496 * 200);
    for frame in 0..400 {
        for datagram in send(&mut video, frame, 1, std::slice::from_ref(&slice)) {
            client
                .handle_datagram(&datagram)
                .expect("every rule is kept");
        }
    }
    let frames = client.take_events();
    assert_eq!(frames.len(), 400);
    assert!(
        frames
            .iter()
            .all(|event| matches!(event, ClientEvent::Frame { .. }))
    );
}

/// 25 KB frames, 20 %: what bursts cost with 1, 2 and 4 blocks. The model agrees with what the
/// real receiver lost of 7,200 frames (16, 154, 343 at bursts of 3) in order of magnitude, and
/// random loss of 1 % costs nothing.
#[test]
fn burst_tolerance_is_the_price_of_blocks() {
    let lost = |blocks: u8, burst: f64| {
        let seed = 11;
        let mut random = Seeded(seed);
        let mut losses = Bursts::new(0.01, burst);
        let mut video = packetizer(&config(1392, 20));
        let mut client = ClientModel::new(1392, None, true);
        let slices: Vec<_> = (0..4).map(|at| slice_bytes(at, 6250)).collect();
        let mut whole = 0;
        let mut recovery = false;
        for frame in 0..2400u32 {
            let mut out = Vec::new();
            for (index, slice) in slices.iter().enumerate() {
                let mut meta = meta(frame, index as u8, index == 3);
                meta.recovery = recovery;
                video
                    .begin(&meta, &plan(4, blocks), slice)
                    .expect("it fits");
                out.extend(drain(&mut video));
            }
            recovery = false;
            for datagram in out {
                if frame == 0 || !losses.lost(&mut random) {
                    client
                        .handle_datagram(&datagram)
                        .expect("every rule is kept");
                }
            }
            for event in client.take_events() {
                whole += u32::from(matches!(event, ClientEvent::Frame { .. }));
                recovery |= matches!(event, ClientEvent::Invalidate { .. });
            }
        }
        2400 - whole
    };
    assert_eq!((lost(1, 1.01), lost(2, 1.01)), (0, 0), "random loss");
    let (one, two, four) = (lost(1, 3.0), lost(2, 3.0), lost(4, 3.0));
    assert!(one < two && two < four, "{one} {two} {four}");
}

proptest! {
    /// Any slices, blocks, sizes: the strict client takes every packet and delivers the same
    /// bytes, with one packet of each block lost too, encrypted or not.
    #[test]
    fn the_client_delivers_what_was_sent(
        packet_bytes in (512u16..=1392).prop_map(|bytes| bytes / 16 * 16),
        percent in 0..60u8,
        encrypted in any::<bool>(),
        lose in any::<bool>(),
        batch in 1..50usize,
        frames in prop::collection::vec(
            (1..=6u8, prop::collection::vec((1..9000usize, any::<bool>()), 1..9), any::<u64>()),
            1..6,
        ),
    ) {
        let key = encrypted.then_some([7; 16]);
        let mut config = VideoConfig { key, ..config(packet_bytes, percent) };
        config.batch_datagrams_max = batch;
        let mut video = packetizer(&config);
        let mut client = ClientModel::new(packet_bytes, key, true);
        for (number, (blocks, slices, seed)) in frames.iter().enumerate() {
            let slices: Vec<_> = slices
                .iter()
                .map(|&(length, tiny)| if tiny { length % 40 + 1 } else { length })
                .map(|length| slice_bytes(*seed, length))
                .collect();
            let out = send(&mut video, number as u32, *blocks, &slices);
            // The client model shows where blocks are only without encryption.
            let mut block = (u8::MAX, 0);
            for datagram in out {
                let info = datagram[28..32].try_into().expect("4 bytes");
                let at = (datagram[27] >> 4 & 3, u32::from_le_bytes(info));
                let count = at.1 >> 22;
                let drop = lose && !encrypted && (at.1 >> 12 & 0x3ff) == (*seed as u32) % count
                    && block.0 != at.0;
                if drop {
                    block = (at.0, 1);
                    continue;
                }
                client.handle_datagram(&datagram).expect("every rule is kept");
            }
            let sent: Vec<u8> = slices.concat();
            let got = client.take_events().into_iter().find_map(|event| match event {
                ClientEvent::Frame { bytes, latency_tenths_ms: latency, .. } => {
                    Some((bytes, latency))
                }
                _ => None,
            });
            let (bytes, latency) = got.expect("one frame");
            prop_assert_eq!(latency, 43);
            // Recovered packets may carry zeros behind the end of their block.
            let data: Vec<u8> = bytes.into_iter().filter(|&byte| byte != 0).collect();
            prop_assert_eq!(data, sent);
        }
    }
}

/// Whatever sizes come, frames of one block take what they may on average, and no more but for those
/// whose data and due parity do.
#[test]
fn what_frames_leave_of_their_rate_is_parity() {
    let mut video = packetizer(&config(1392, 30));
    let mut random = Seeded(11);
    let plan = |fill_16, blocks| FramePlan {
        fill_16,
        ..plan(1, blocks)
    };
    let mut take = |frame: u32, bytes: usize, plan: FramePlan| {
        let data = slice_bytes(u64::from(frame), bytes);
        video
            .begin(&meta(frame, 0, true), &plan, &data)
            .expect("it fits");
        drain(&mut video).len()
    };
    let (fill_16, frames) = (14 * 16 + 13, 600);
    let mut sum = 0;
    for frame in 0..frames {
        let bytes = 5_000 + random.bits() as usize % 10_000;
        sum += take(frame, bytes, plan(fill_16, 1));
    }
    let mean = sum as f64 / f64::from(frames);
    let may = f64::from(fill_16) / 16.0;
    assert!((may - 0.5..=may + 0.1).contains(&mean), "{mean} of {may}");
    // A large one is repaid by those after it.
    let large = take(frames, 60_000, plan(fill_16, 1));
    let after: Vec<_> = (1..9)
        .map(|it| take(frames + it, 7_000, plan(fill_16, 1)))
        .collect();
    assert!(large > 40 && after[0] < 14, "{large}, {after:?}");
    // None without, and none of several blocks.
    let bare = take(frames + 20, 7_000, plan(0, 1));
    assert!(bare < 10, "{bare}");
    assert!(take(frames + 21, 7_000, plan(fill_16, 2)) < 12);
}
