use proptest::prelude::*;

use super::*;
use crate::crypto::{Aead, EXPORTER_BYTES, MediaKeys, Opener};
use crate::limits::DATAGRAM_BYTES_MIN;
use crate::media;

fn packetizer(config: PacketizerConfig) -> (Packetizer, Opener) {
    let keys = || MediaKeys::from_exporter(Aead::Aes128Gcm, &mut [3; EXPORTER_BYTES]);
    (
        Packetizer::new(Sealer::new(keys()), config),
        Opener::new(keys()),
    )
}

fn meta(frame: u32, index: u8, last: bool) -> SliceMeta {
    SliceMeta {
        frame: FrameId(frame),
        index: SliceIndex(index),
        last,
        keyframe: frame == 0,
        recovery: false,
        captured: Timestamp::from_ns(1_000_000),
    }
}

/// What became of a batch: its flags, and its datagrams opened.
struct Sent {
    first_of_slice: bool,
    last_of_slice: bool,
    last_of_frame: bool,
    shards: Vec<(VideoHeader, Vec<u8>)>,
}

fn send(
    packetizer: &mut Packetizer,
    opener: &mut Opener,
    meta: &SliceMeta,
    slice: &[u8],
) -> Vec<Sent> {
    let mut data = vec![0xEE; packetizer.padded_len(slice.len())];
    data[..slice.len()].copy_from_slice(slice);
    packetizer
        .begin(meta, &mut data, slice.len())
        .expect("within the limits");
    let mut batch = Batch::new();
    let mut sent = Vec::new();
    while packetizer.next_batch(&data, &mut batch) {
        assert_eq!(
            batch.bytes().len(),
            usize::from(batch.segment_bytes * batch.datagrams)
        );
        let shards = batch
            .iter()
            .map(|datagram| {
                let mut datagram = datagram.to_vec();
                let (header, plain) =
                    media::open_video(opener, &mut datagram).expect("sealed by the other side");
                (header, plain.to_vec())
            })
            .collect();
        let Batch {
            first_of_slice,
            last_of_slice,
            last_of_frame,
            ..
        } = batch;
        sent.push(Sent {
            first_of_slice,
            last_of_slice,
            last_of_frame,
            shards,
        });
    }
    sent
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// The slice as its data shards say.
fn joined(sent: &[Sent]) -> Vec<u8> {
    let mut slice = Vec::new();
    let shards = sent.iter().flat_map(|batch| &batch.shards);
    for (header, payload) in shards.filter(|(header, _)| header.shard < header.data_shards) {
        let last = header.shard + 1 == header.data_shards;
        let padding = if last {
            usize::from(header.padding_bytes)
        } else {
            0
        };
        // Padding is zeros, whatever the buffer held, and may be less than the last shard only.
        assert!(
            payload[payload.len() - padding..]
                .iter()
                .all(|&byte| byte == 0)
        );
        slice.extend_from_slice(&payload[..payload.len() - padding]);
    }
    slice
}

#[test]
fn small_slices_become_small_datagrams() {
    let (mut packetizer, mut opener) = packetizer(PacketizerConfig {
        fec_percent: 20,
        ..PacketizerConfig::default()
    });
    let sent = send(
        &mut packetizer,
        &mut opener,
        &meta(0, 0, false),
        &bytes(100),
    );
    assert_eq!(
        sent.len(),
        1,
        "data and parity share the batch of a small block"
    );
    let (header, _) = &sent[0].shards[0];
    assert_eq!(
        (header.data_shards, header.parity_shards, header.shard_bytes),
        (1, 1, 128)
    );
    assert_eq!(header.padding_bytes, 28);
    assert!(sent[0].first_of_slice && sent[0].last_of_slice && !sent[0].last_of_frame);
    assert!(header.keyframe && !header.last_block && header.block == 0);

    let sent = send(
        &mut packetizer,
        &mut opener,
        &meta(0, 1, true),
        &bytes(10_000),
    );
    let (header, _) = &sent[0].shards[0];
    assert_eq!(
        (header.data_shards, header.parity_shards, header.shard_bytes),
        (8, 2, 1280)
    );
    assert!(header.last_block && header.block == 1 && header.first_slice == SliceIndex(1));
    assert!(sent[0].last_of_frame);
    assert_eq!(joined(&sent), bytes(10_000));

    let sent = send(&mut packetizer, &mut opener, &meta(1, 0, true), &bytes(1));
    let (header, _) = &sent[0].shards[0];
    assert_eq!(
        (header.block, header.shard_bytes, header.padding_bytes),
        (0, 64, 63)
    );
}

#[test]
fn parity_of_large_blocks_follows_in_a_batch_of_its_own() {
    let (mut packetizer, mut opener) = packetizer(PacketizerConfig::default());
    let sent = send(
        &mut packetizer,
        &mut opener,
        &meta(0, 0, true),
        &bytes(100 * 1344),
    );
    let sizes: Vec<_> = sent.iter().map(|batch| batch.shards.len()).collect();
    assert_eq!(sizes, [47, 47, 6, 20]);
    assert!(
        sent[3]
            .shards
            .iter()
            .all(|(header, _)| header.shard >= header.data_shards)
    );
    assert_eq!(packetizer.stats().data_datagrams, 100);
    assert_eq!(packetizer.stats().parity_datagrams, 20);
    assert_eq!(packetizer.sequence(), 120);
}

#[test]
fn a_slice_beyond_the_largest_block_becomes_several() {
    let (mut packetizer, mut opener) = packetizer(PacketizerConfig {
        fec_percent: 10,
        ..PacketizerConfig::default()
    });
    let slice = bytes(3000 * 1344 + 17);
    let sent = send(&mut packetizer, &mut opener, &meta(0, 0, true), &slice);
    assert!(joined(&sent) == slice);
    let shards = || {
        sent.iter()
            .flat_map(|batch| &batch.shards)
            .map(|(header, _)| header)
    };
    assert_eq!(shards().map(|header| header.block).max(), Some(1));
    assert!(shards().all(|header| header.last_block == (header.block == 1)));
    assert!(shards().all(|header| header.first_slice == SliceIndex(0)));
    assert_eq!(sent.iter().filter(|batch| batch.first_of_slice).count(), 1);
    assert_eq!(sent.iter().filter(|batch| batch.last_of_slice).count(), 1);
}

#[test]
fn every_nth_datagram_is_sealed_and_left_out() {
    let (mut packetizer, mut opener) = packetizer(PacketizerConfig {
        fec_percent: 0,
        ..PacketizerConfig::default()
    });
    packetizer.set_drop_every(NonZeroU32::new(5));
    let sent = send(
        &mut packetizer,
        &mut opener,
        &meta(0, 0, true),
        &bytes(50 * 1344),
    );
    let sequences: Vec<_> = sent
        .iter()
        .flat_map(|batch| &batch.shards)
        .map(|(header, _)| header.sequence)
        .collect();
    let expected: Vec<_> = (0..50).filter(|sequence| sequence % 5 != 4).collect();
    assert_eq!(sequences, expected);
    assert_eq!(packetizer.stats().dropped_datagrams, 10);

    packetizer.set_drop_every(NonZeroU32::new(1));
    let sent = send(&mut packetizer, &mut opener, &meta(1, 0, true), &bytes(10));
    assert!(sent[0].shards.is_empty() && sent[0].last_of_frame);
}

#[test]
fn what_cannot_be_sent_is_refused_with_the_reason() {
    let (mut packetizer, mut opener) = packetizer(PacketizerConfig::default());
    let refused = |packetizer: &mut Packetizer, meta: SliceMeta, room: usize, filled: usize| {
        packetizer
            .begin(&meta, &mut vec![0; room], filled)
            .expect_err("must be refused")
    };
    let p = &mut packetizer;
    assert!(matches!(
        refused(p, meta(0, 0, true), 64, 0),
        PacketizeError::Empty { .. }
    ));
    assert!(matches!(
        refused(p, meta(0, 32, true), 64, 1),
        PacketizeError::SliceIndex { .. }
    ));
    assert!(matches!(
        refused(p, meta(0, 0, true), 100, 100),
        PacketizeError::Room { needed: 128, .. }
    ));
    let large = ACCESS_UNIT_BYTES_MAX + 1;
    assert!(matches!(
        refused(p, meta(0, 0, true), large + PADDING_BYTES_MAX, large),
        PacketizeError::FrameTooLarge { .. }
    ));
    assert!(
        !packetizer.next_batch(&[], &mut Batch::new()),
        "it holds no slice"
    );

    // 64 blocks of a frame are possible (two slices with one index do no harm), 65 are not.
    for slice in 0..64 {
        send(
            &mut packetizer,
            &mut opener,
            &meta(1, slice % 32, false),
            &[1],
        );
    }
    let error = packetizer.begin(&meta(1, 31, true), &mut [0; 64], 1);
    assert!(matches!(
        error,
        Err(PacketizeError::FrameTooLarge { blocks: 65, .. })
    ));
    assert!(packetizer.begin(&meta(2, 0, true), &mut [0; 64], 1).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_slice_keeps_to_its_layout(
        size in prop_oneof![1..4000usize, 1..200_000usize],
        fec_percent in 0..=255u8,
        datagram_bytes_max in 0..2000usize,
        batch_datagrams_max in 0..60usize,
    ) {
        let config = PacketizerConfig { fec_percent, datagram_bytes_max, batch_datagrams_max };
        let (mut packetizer, mut opener) = packetizer(config);
        let slice = bytes(size);
        prop_assert!(packetizer.padded_len(size) - size <= PADDING_BYTES_MAX);
        let sent = send(&mut packetizer, &mut opener, &meta(9, 3, true), &slice);
        prop_assert!(joined(&sent) == slice);
        let largest = datagram_bytes_max.clamp(DATAGRAM_BYTES_MIN, DATAGRAM_BYTES_MAX);
        for batch in &sent {
            prop_assert!(batch.shards.len() <= batch_datagrams_max.clamp(1, GSO_SEGMENTS_MAX));
            for (header, payload) in &batch.shards {
                prop_assert!(payload.len() + MEDIA_HEADER_BYTES + TAG_BYTES <= largest);
                prop_assert_eq!(header.captured, CaptureMicros(1000));
            }
        }
        prop_assert!(sent.first().is_some_and(|batch| batch.first_of_slice));
        prop_assert!(sent.last().is_some_and(|batch| batch.last_of_slice && batch.last_of_frame));
    }
}
