use proptest::prelude::*;

use super::*;
use crate::crypto::{Aead, EXPORTER_BYTES, MediaKeys, Opener};
use crate::media::{self, VideoHeader};

fn packetizer(config: PacketizerConfig) -> (Packetizer, Opener) {
    let keys = || MediaKeys::from_exporter(Aead::Aes128Gcm, &mut [3; EXPORTER_BYTES]);
    (
        Packetizer::new(Sealer::new(keys()), config),
        Opener::new(keys()),
    )
}

fn with_protection(percent: u8, slices_per_group: u8) -> (Packetizer, Opener) {
    let slices_per_group = NonZeroU8::new(slices_per_group).expect("not 0");
    packetizer(PacketizerConfig {
        protection: Protection {
            slices_per_group,
            ..Protection::at_frame_end(percent)
        },
        ..PacketizerConfig::default()
    })
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
    cargo: Cargo,
    first_of_slice: bool,
    last_of_slice: bool,
    last_of_frame: bool,
    first_sequence: u64,
    shards: Vec<(VideoHeader, Vec<u8>)>,
}

impl Sent {
    fn of(batch: &Batch, opener: &mut Opener) -> Self {
        let segment = usize::from(batch.segment_bytes);
        let sizes: Vec<_> = batch.iter().map(<[u8]>::len).collect();
        let (last, whole) = sizes.split_last().map_or((&segment, &[][..]), |both| both);
        assert!(whole.iter().all(|&size| size == segment) && *last <= segment);
        assert_eq!(sizes.len(), usize::from(batch.datagrams));
        let shards = batch
            .iter()
            .map(|datagram| {
                let mut datagram = datagram.to_vec();
                let (header, plain) =
                    media::open_video(opener, &mut datagram).expect("sealed by the other side");
                (header, plain.to_vec())
            })
            .collect();
        Self {
            cargo: batch.cargo,
            first_of_slice: batch.first_of_slice,
            last_of_slice: batch.last_of_slice,
            last_of_frame: batch.last_of_frame,
            first_sequence: batch.first_sequence,
            shards,
        }
    }

    fn data(&self) -> impl Iterator<Item = (&DataHeader, &Vec<u8>)> {
        self.shards
            .iter()
            .filter_map(|(header, payload)| match header {
                VideoHeader::Data(header) => Some((header, payload)),
                VideoHeader::Parity(_) => None,
            })
    }

    fn parity(&self) -> impl Iterator<Item = (&ParityHeader, ParityBody<'_>)> {
        self.shards
            .iter()
            .filter_map(|(header, payload)| match header {
                VideoHeader::Data(_) => None,
                VideoHeader::Parity(header) => {
                    let body = ParityBody::parse(header, payload).expect("as it was made");
                    Some((header, body))
                }
            })
    }
}

fn send(
    packetizer: &mut Packetizer,
    opener: &mut Opener,
    meta: &SliceMeta,
    slice: &[u8],
) -> Vec<Sent> {
    packetizer.begin(meta, slice).expect("within the limits");
    let mut batch = Batch::new();
    let mut sent = Vec::new();
    while packetizer.next_batch(&mut batch) {
        sent.push(Sent::of(&batch, opener));
    }
    sent
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i * 7 + i / 251) as u8).collect()
}

fn joined(sent: &[Sent]) -> Vec<u8> {
    let data = sent.iter().flat_map(Sent::data);
    data.flat_map(|(_, payload)| payload.clone()).collect()
}

#[test]
fn slices_become_whole_shards_and_what_is_left() {
    let (mut packetizer, mut opener) = with_protection(20, 1);
    let first = bytes(3000);
    let sent = send(&mut packetizer, &mut opener, &meta(0, 0, false), &first);
    assert_eq!(joined(&sent), first);
    let data: Vec<_> = sent.iter().flat_map(Sent::data).collect();
    let facts: Vec<_> = data
        .iter()
        .map(|(h, _)| (h.column, h.descriptor.bytes, h.descriptor.last_of_slice))
        .collect();
    assert_eq!(facts, [(0, 1344, false), (1, 1344, false), (2, 312, true)]);
    assert!(
        data.iter()
            .all(|(h, _)| h.shard_bytes == 1344 && h.frame.keyframe)
    );
    assert!(
        data.iter()
            .all(|(h, _)| !h.descriptor.last_slice && !h.repeat)
    );
    let parity: Vec<_> = sent.iter().flat_map(Sent::parity).collect();
    assert_eq!(parity.len(), 1);
    let (header, body) = parity[0];
    assert_eq!(
        (header.first_column, header.index, header.last_group),
        (0, 0, false)
    );
    assert_eq!(
        (body.data_shards, body.parity_shards, body.shard.len()),
        (3, 1, 1344)
    );

    // Columns count on over the slices of a frame, and parity is no longer than it must be.
    let sent = send(&mut packetizer, &mut opener, &meta(0, 1, true), &bytes(101));
    let (header, _) = sent[0].data().next().expect("one shard");
    assert_eq!((header.column, header.descriptor.bytes), (3, 101));
    assert!(header.descriptor.ends_frame());
    let (header, body) = sent[1].parity().next().expect("its parity");
    assert_eq!((header.first_column, header.last_group), (3, true));
    assert_eq!((body.data_shards, body.shard.len()), (1, 102));
    assert!(sent[0].first_of_slice && !sent[0].last_of_slice && !sent[0].last_of_frame);
    assert!(!sent[1].first_of_slice && sent[1].last_of_slice && sent[1].last_of_frame);
}

#[test]
fn parity_over_the_frame_follows_its_last_slice() {
    let (mut packetizer, mut opener) = with_protection(20, u8::MAX);
    for slice in 0..3 {
        let sent = send(
            &mut packetizer,
            &mut opener,
            &meta(0, slice, false),
            &bytes(5000),
        );
        assert_eq!((sent.len(), sent[0].cargo), (1, Cargo::Data));
        assert!(sent[0].last_of_slice && !sent[0].last_of_frame);
    }
    let sent = send(
        &mut packetizer,
        &mut opener,
        &meta(0, 3, true),
        &bytes(5000),
    );
    let cargo: Vec<_> = sent.iter().map(|batch| batch.cargo).collect();
    assert_eq!(cargo, [Cargo::Data, Cargo::Parity]);
    let parity: Vec<_> = sent[1].parity().collect();
    assert_eq!(parity.len(), 4, "20 % of 16");
    assert!(parity.iter().all(|(header, body)| header.first_column == 0
        && header.last_group
        && body.data_shards == 16));
    assert_eq!(packetizer.stats().data_datagrams, 16);
    assert_eq!(packetizer.stats().parity_datagrams, 4);
}

#[test]
fn groups_of_slices_end_with_the_frame_at_the_latest() {
    let (mut packetizer, mut opener) = with_protection(50, 2);
    let mut groups = Vec::new();
    for slice in 0..5 {
        let last = slice == 4;
        for batch in send(
            &mut packetizer,
            &mut opener,
            &meta(7, slice, last),
            &bytes(2000),
        ) {
            groups.extend(batch.parity().map(|(header, body)| {
                (
                    slice,
                    header.first_column,
                    body.data_shards,
                    header.last_group,
                )
            }));
        }
    }
    groups.dedup();
    assert_eq!(
        groups,
        [(1, 0, 4, false), (3, 4, 4, false), (4, 8, 2, true)]
    );
}

#[test]
fn a_batch_is_as_large_as_the_kernel_takes() {
    let (mut packetizer, mut opener) = with_protection(20, 1);
    let slice = bytes(100 * 1344);
    let sent = send(&mut packetizer, &mut opener, &meta(0, 0, true), &slice);
    let sizes: Vec<_> = sent.iter().map(|batch| batch.shards.len()).collect();
    assert_eq!(sizes, [47, 47, 6, 20]);
    let sequences: Vec<_> = sent.iter().map(|batch| batch.first_sequence).collect();
    assert_eq!(sequences, [0, 47, 94, 100]);
    assert_eq!(packetizer.sequence(), 120);
}

#[test]
fn a_frame_beyond_the_largest_group_has_several() {
    let (mut packetizer, mut opener) = with_protection(10, u8::MAX);
    let slice = bytes(3000 * 1344 + 17);
    let sent = send(&mut packetizer, &mut opener, &meta(0, 0, true), &slice);
    assert!(joined(&sent) == slice);
    let mut groups: Vec<_> = sent
        .iter()
        .flat_map(Sent::parity)
        .map(|(header, body)| (header.first_column, body.data_shards, header.last_group))
        .collect();
    groups.dedup();
    assert_eq!(groups.len(), 32);
    assert!(
        groups.iter().all(|group| (93..=94).contains(&group.1)),
        "{groups:?}"
    );
    assert!(
        groups
            .iter()
            .all(|group| group.2 == (group.0 + group.1 == 3001))
    );
    assert_eq!(sent.iter().filter(|batch| batch.last_of_slice).count(), 1);
    assert_eq!(sent.iter().filter(|batch| batch.first_of_slice).count(), 1);
}

#[test]
fn parity_made_early_is_sealed_at_the_frames_end() {
    let (mut packetizer, mut opener) = with_protection(20, u8::MAX);
    let slice = bytes(50 * 1344);
    for frame in 0..2 {
        let mut sent = Vec::new();
        for index in 0..8 {
            let meta = meta(frame, index, index == 7);
            sent.extend(send(&mut packetizer, &mut opener, &meta, &slice));
        }
        let first_parity = sent.iter().position(|batch| batch.cargo == Cargo::Parity);
        let after_data = &sent[first_parity.expect("protected")..];
        assert!(after_data.iter().all(|batch| batch.cargo == Cargo::Parity));
        let mut groups: Vec<_> = after_data
            .iter()
            .flat_map(Sent::parity)
            .map(|(header, body)| (header.first_column, body.data_shards, header.last_group))
            .collect();
        let shards = groups.len();
        groups.dedup();
        // Four before the end, two of what is left.
        let early = [(0, 64), (64, 64), (128, 64), (192, 64)].map(|(at, of)| (at, of, false));
        assert_eq!(groups[..4], early);
        assert_eq!(groups[4..], [(256, 72, false), (328, 72, true)]);
        assert_eq!(shards, 4 * 13 + 2 * 15);
        let last: Vec<_> = sent.iter().map(|batch| batch.last_of_frame).collect();
        assert_eq!(last.iter().position(|&is| is), Some(sent.len() - 1));
    }
}

#[test]
fn every_nth_datagram_is_sealed_and_left_out() {
    let (mut packetizer, mut opener) = with_protection(0, 1);
    packetizer.set_drop_every(NonZeroU32::new(5));
    send(
        &mut packetizer,
        &mut opener,
        &meta(0, 0, true),
        &bytes(50 * 1344),
    );
    assert_eq!(packetizer.stats().dropped_datagrams, 10);
    assert_eq!(packetizer.sequence(), 50);

    packetizer.set_drop_every(NonZeroU32::new(1));
    let sent = send(&mut packetizer, &mut opener, &meta(1, 0, true), &bytes(10));
    assert!(sent[0].shards.is_empty() && sent[0].last_of_frame);
}

#[test]
fn what_is_kept_can_be_repeated() {
    let (mut packetizer, mut opener) = packetizer(PacketizerConfig {
        history_bytes: 20 * 1344,
        protection: Protection::at_frame_end(0),
        ..PacketizerConfig::default()
    });
    for frame in 0..3 {
        send(
            &mut packetizer,
            &mut opener,
            &meta(frame, 0, false),
            &bytes(3000),
        );
        send(
            &mut packetizer,
            &mut opener,
            &meta(frame, 1, true),
            &bytes(3000),
        );
    }
    let mut batch = Batch::new();
    let mut repeated = Vec::new();
    let mut columns = Columns {
        frame: FrameId(1),
        range: 1..u16::MAX,
    };
    while packetizer.repeat(&mut columns, &mut batch) {
        assert_eq!(batch.cargo, Cargo::Repeat);
        repeated.push(Sent::of(&batch, &mut opener));
    }
    assert!(columns.range.is_empty());
    let facts: Vec<_> = repeated
        .iter()
        .flat_map(Sent::data)
        .map(|(h, payload)| (h.repeat, h.column, h.descriptor.slice.0, payload.len()))
        .collect();
    let expected = [
        (1, 0, 1344),
        (2, 0, 312),
        (3, 1, 1344),
        (4, 1, 1344),
        (5, 1, 312),
    ]
    .map(|(column, slice, bytes)| (true, column, slice, bytes));
    assert_eq!(facts, expected);
    assert!(
        repeated
            .iter()
            .flat_map(Sent::data)
            .all(|(h, _)| h.frame.frame == FrameId(1))
    );
    assert_eq!(packetizer.stats().repeated_datagrams, 5);

    // Room for 20 shards is room for three frames of six; with the fourth the first is gone.
    send(
        &mut packetizer,
        &mut opener,
        &meta(3, 0, true),
        &bytes(6 * 1344),
    );
    for (frame, forgotten) in [(0, 2), (77, 4)] {
        let mut columns = Columns {
            frame: FrameId(frame),
            range: 0..2,
        };
        assert!(!packetizer.repeat(&mut columns, &mut batch));
        assert_eq!(packetizer.stats().forgotten_shards, forgotten);
    }
}

#[test]
fn the_size_of_shards_changes_between_frames() {
    let (mut packetizer, mut opener) = with_protection(0, 1);
    send(
        &mut packetizer,
        &mut opener,
        &meta(0, 0, false),
        &bytes(3000),
    );
    packetizer.set_datagram_bytes_max(1000);
    let sent = send(
        &mut packetizer,
        &mut opener,
        &meta(0, 1, true),
        &bytes(3000),
    );
    assert!(
        sent.iter()
            .flat_map(Sent::data)
            .all(|(h, _)| h.shard_bytes == 1344)
    );
    let sent = send(
        &mut packetizer,
        &mut opener,
        &meta(1, 0, true),
        &bytes(3000),
    );
    assert!(
        sent.iter()
            .flat_map(Sent::data)
            .all(|(h, _)| h.shard_bytes == 896)
    );
}

#[test]
fn what_cannot_be_sent_is_refused_with_the_reason() {
    let (mut packetizer, mut opener) = packetizer(PacketizerConfig {
        history_bytes: 100 * 1344,
        ..PacketizerConfig::default()
    });
    let refused = |packetizer: &mut Packetizer, meta: SliceMeta, bytes: usize| {
        packetizer
            .begin(&meta, &vec![0; bytes])
            .expect_err("must be refused")
    };
    let p = &mut packetizer;
    assert!(matches!(
        refused(p, meta(0, 0, true), 0),
        PacketizeError::Empty { .. }
    ));
    assert!(matches!(
        refused(p, meta(0, 32, true), 1),
        PacketizeError::SliceIndex { .. }
    ));
    assert!(matches!(
        refused(p, meta(0, 0, true), 100 * 1344 + 1),
        PacketizeError::FrameTooLarge { .. }
    ));
    assert!(
        !packetizer.next_batch(&mut Batch::new()),
        "it holds no slice"
    );
    send(
        &mut packetizer,
        &mut opener,
        &meta(1, 0, false),
        &bytes(99 * 1344),
    );
    let error = packetizer.begin(&meta(1, 1, true), &[0; 1345]);
    assert!(matches!(error, Err(PacketizeError::FrameTooLarge { .. })));
    assert!(packetizer.begin(&meta(2, 0, true), &[0; 64]).is_ok());
}

#[test]
fn datagrams_that_are_no_video_are_sealed_too() {
    let (mut packetizer, mut opener) = with_protection(0, 1);
    let mut batch = Batch::new();
    packetizer.plain(Kind::Padding, &[0; 500], &mut batch);
    let mut datagram = batch.bytes().to_vec();
    assert_eq!((datagram[0], datagram.len()), (0x04, 540));
    let plain = media::open_plain(&mut opener, &mut datagram).expect("authentic");
    assert_eq!(plain, [0; 500]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_slice_keeps_to_its_layout(
        size in prop_oneof![1..4000usize, 1..200_000usize],
        percent in 0..=255u8,
        shards_min in 0..40u8,
        datagram_bytes_max in 0..2000usize,
        batch_datagrams_max in 0..60usize,
    ) {
        let protection = Protection { shards_min, ..Protection::at_frame_end(percent) };
        let (mut packetizer, mut opener) = packetizer(PacketizerConfig {
            protection,
            datagram_bytes_max,
            batch_datagrams_max,
            ..PacketizerConfig::default()
        });
        let slice = bytes(size);
        let sent = send(&mut packetizer, &mut opener, &meta(9, 3, true), &slice);
        prop_assert!(joined(&sent) == slice);
        let largest = datagram_bytes_max.clamp(DATAGRAM_BYTES_MIN, DATAGRAM_BYTES_MAX);
        for batch in &sent {
            prop_assert!(batch.shards.len() <= batch_datagrams_max.clamp(1, GSO_SEGMENTS_MAX));
            for (header, payload) in &batch.shards {
                prop_assert!(payload.len() + MEDIA_HEADER_BYTES + TAG_BYTES <= largest);
                prop_assert_eq!(header.frame().captured, CaptureMicros(1000));
            }
        }
        prop_assert!(sent.first().is_some_and(|batch| batch.first_of_slice));
        prop_assert!(sent.last().is_some_and(|batch| batch.last_of_slice && batch.last_of_frame));
    }
}
