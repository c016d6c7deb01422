use super::*;

const FRAME: FrameHeader = FrameHeader {
    frame: FrameId(0x0403_0201),
    keyframe: true,
    recovery: false,
    captured: CaptureMicros(0xddcc_bbaa),
};

fn data() -> DataHeader {
    DataHeader {
        frame: FRAME,
        descriptor: Descriptor {
            bytes: 1000,
            slice: SliceIndex(6),
            last_of_slice: true,
            last_slice: true,
        },
        repeat: false,
        column: 23,
        shard_bytes: 1344,
    }
}

fn parity() -> ParityHeader {
    ParityHeader {
        frame: FRAME,
        last_group: true,
        code: Code::Gf8,
        first_column: 20,
        index: 3,
    }
}

fn data_datagram(header: &DataHeader) -> Vec<u8> {
    let mut bytes = vec![0; 24 + usize::from(header.descriptor.bytes) + 16];
    header.write(bytes.first_chunk_mut().expect("24 bytes"));
    bytes
}

fn parity_datagram(header: &ParityHeader) -> Vec<u8> {
    let mut bytes = vec![0; 24 + 8 + 1344 + 16];
    header.write(bytes.first_chunk_mut().expect("24 bytes"));
    bytes
}

#[test]
fn golden_bytes_of_a_data_shard() {
    let datagram = data_datagram(&data());
    let golden = [
        0x01, 0x00, 0x1a, 0x06, // type, stream, flags, slice
        0x01, 0x02, 0x03, 0x04, // frame
        0, 0, 0, 0, 0, 0, 0, 0, // sequence, the sealer's
        0x17, 0x00, 0x40, 0x05, // column, shard bytes
        0xaa, 0xbb, 0xcc, 0xdd, // captured
    ];
    assert_eq!(datagram[..24], golden);
    assert_eq!(VideoHeader::parse(&datagram), Ok(VideoHeader::Data(data())));
    assert_eq!(data().descriptor.to_wire(), [0xe8, 0x03, 0x06, 0x18]);
}

#[test]
fn golden_bytes_of_a_parity_shard() {
    let datagram = parity_datagram(&parity());
    let golden = [
        0x03, 0x00, 0x12, 0x01, // type, stream, flags, code
        0x01, 0x02, 0x03, 0x04, // frame
        0, 0, 0, 0, 0, 0, 0, 0, // sequence, the sealer's
        0x14, 0x00, 0x03, 0x00, // first column, index
        0xaa, 0xbb, 0xcc, 0xdd, // captured
    ];
    assert_eq!(datagram[..24], golden);
    assert_eq!(
        VideoHeader::parse(&datagram),
        Ok(VideoHeader::Parity(parity()))
    );
    let body = ParityBody {
        data_shards: 0x0102,
        parity_shards: 4,
        descriptor: [9, 8, 7, 6],
        shard: &[1, 2],
    };
    assert_eq!(body.prefix(), [0x02, 0x01, 4, 0, 9, 8, 7, 6]);
}

#[test]
fn every_relation_of_a_data_shard_is_checked() {
    let refused = |change: fn(&mut DataHeader)| {
        let mut changed = data();
        change(&mut changed);
        VideoHeader::parse(&data_datagram(&changed)).expect_err("must be refused")
    };
    for change in [
        |h: &mut DataHeader| h.descriptor.bytes = 0,
        |h: &mut DataHeader| h.descriptor.bytes = 1345,
        // Only the last shard of a slice is short.
        |h: &mut DataHeader| h.descriptor.last_of_slice = false,
        |h: &mut DataHeader| h.shard_bytes = 1343,
        |h: &mut DataHeader| h.shard_bytes = 0,
        |h: &mut DataHeader| h.shard_bytes = 1408,
    ] {
        assert!(matches!(refused(change), MediaError::ShardBytes { .. }));
    }
    for change in [
        |h: &mut DataHeader| h.descriptor.slice = SliceIndex(32),
        |h: &mut DataHeader| h.column = COLUMNS_PER_FRAME_MAX as u16,
    ] {
        assert!(matches!(refused(change), MediaError::Position { .. }));
    }
}

#[test]
fn every_relation_of_a_parity_shard_is_checked() {
    let body = |data: u16, parity: u16, header: &ParityHeader| {
        let mut payload = vec![0; 8 + 64];
        payload[..2].copy_from_slice(&data.to_le_bytes());
        payload[2..4].copy_from_slice(&parity.to_le_bytes());
        ParityBody::parse(header, &payload).map(|body| body.shard.len())
    };
    let gf16 = ParityHeader {
        code: Code::Gf16,
        ..parity()
    };
    assert_eq!(body(20, 4, &parity()), Ok(64));
    assert_eq!(body(2048, 1024, &gf16), Ok(64));
    for (data, count, header) in [
        (0, 4, parity()),
        (20, 3, parity()),
        (252, 4, parity()),
        (2049, 4, gf16),
        (20, 1025, gf16),
    ] {
        let refused = body(data, count, &header);
        assert!(matches!(refused, Err(MediaError::Shards { .. })));
    }
    let beyond = ParityHeader {
        first_column: COLUMNS_PER_FRAME_MAX as u16 - 19,
        ..parity()
    };
    let refused = body(20, 4, &beyond);
    assert!(matches!(refused, Err(MediaError::Position { .. })));
    assert!(ParityBody::parse(&parity(), &[0; 8]).is_err());

    let mut none = parity_datagram(&parity());
    none[3] = 0;
    assert_eq!(VideoHeader::parse(&none), Err(MediaError::Code { code: 0 }));
    let short = &parity_datagram(&parity())[..24 + 8 + 16];
    assert!(matches!(
        VideoHeader::parse(short),
        Err(MediaError::ShardBytes { .. })
    ));
}

#[test]
fn length_type_stream_and_flags_are_checked() {
    let good = data_datagram(&data());
    assert!(matches!(
        VideoHeader::parse(&good[1..]),
        Err(MediaError::Type { kind: 0 })
    ));
    assert!(matches!(
        VideoHeader::parse(&good[..39]),
        Err(MediaError::Short { bytes: 39 })
    ));
    for (at, value) in [(1, 1), (2, 0x40), (2, 0x80)] {
        let mut changed = good.clone();
        changed[at] = value;
        assert!(matches!(
            VideoHeader::parse(&changed),
            Err(MediaError::Reserved { .. })
        ));
    }
}

#[test]
fn a_descriptor_that_no_shard_has_is_refused() {
    let good = Descriptor {
        bytes: 64,
        slice: SliceIndex(31),
        last_of_slice: false,
        last_slice: false,
    };
    assert_eq!(Descriptor::from_wire(good.to_wire(), 64), Some(good));
    for wire in [
        [0, 0, 0, 0x08],
        [65, 0, 0, 0x08],
        [63, 0, 0, 0],
        [64, 0, 32, 0],
        [64, 0, 0, 1],
    ] {
        assert_eq!(Descriptor::from_wire(wire, 64), None, "{wire:?}");
    }
}

#[test]
fn media_and_quic_are_told_apart() {
    assert!(is_media(Kind::Data as u8) && is_media(Kind::Echo as u8) && is_media(0x3f));
    assert!(!is_media(0x40) && !is_media(0xc3));
    for byte in 0..=255 {
        assert!(Kind::from_wire(byte).is_none_or(|kind| kind as u8 == byte));
    }
}

#[test]
fn capture_time_expands_across_the_wrap() {
    let wrap_us = 1u64 << 32;
    for (captured_us, near_us) in [
        (5_000_000, 5_010_000),
        (wrap_us - 10, wrap_us + 90),
        (3 * wrap_us + 5, 3 * wrap_us - 100),
    ] {
        let captured = Timestamp::from_ns(captured_us * 1000);
        let near = Timestamp::from_ns(near_us * 1000);
        assert_eq!(CaptureMicros::from(captured).expand(near), captured);
    }
}
