use proptest::prelude::*;

use super::*;

#[test]
fn start_codes_of_three_and_four_bytes() {
    let stream = [
        9, 9, 0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 5, 0, 0, 0, 0, 1, 0x65, 0x88, 0,
    ];
    let kinds: Vec<_> = nals(&stream)
        .map(|nal| (nal.kind, nal.bytes.len()))
        .collect();
    assert_eq!(
        kinds,
        [(NalKind::Sps, 3), (NalKind::Pps, 2), (NalKind::IdrSlice, 2)]
    );
    assert_eq!(nals(&stream).last().and_then(|nal| nal.first_mb()), Some(0));
    assert_eq!(nals(&[]).count(), 0);
    assert_eq!(nals(&[0, 0, 1, 0, 0, 1]).count(), 0);
}

#[test]
fn exp_golomb_codes_of_the_standards_table() {
    // Table 9-2: 1, 010, 011, 00100, 00101.
    let mut bits = bits::Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
    let values: Vec<_> = (0..5).map(|_| bits.exp_golomb()).collect();
    assert_eq!(values, [Some(0), Some(1), Some(2), Some(3), Some(4)]);
    let mut bits = bits::Bits::new(&[0, 0, 0, 0, 0, 0xff]);
    assert_eq!(bits.exp_golomb(), None);
}

#[test]
fn emulation_prevention_is_skipped() {
    let mut bits = bits::Bits::new(&[0, 0, 3, 1, 0xff]);
    assert_eq!(bits.bits(24), Some(1));
    assert_eq!(bits.bits(8), Some(0xff));
    assert_eq!(bits.bit(), None);
}

#[test]
fn written_bits_are_read_back() {
    let mut buffer = [0; 16];
    let mut writer = bits::BitWriter::new(&mut buffer);
    for value in [0, 1, 7, 3600, 8159] {
        assert!(writer.exp_golomb(value));
    }
    let used = writer.finish().expect("fits");
    let mut reader = bits::Bits::new(&buffer[..used]);
    for value in [0, 1, 7, 3600, 8159] {
        assert_eq!(reader.exp_golomb(), Some(value));
    }
}

proptest! {
    /// Whatever arrives: no panic, no NAL unit outside the input, parsers that end.
    #[test]
    fn arbitrary_bytes_are_harmless(stream in prop::collection::vec(any::<u8>(), 0..400)) {
        walk(&stream);
    }

    /// The same with many start codes and headers in it.
    #[test]
    fn arbitrary_nals_are_harmless(
        units in prop::collection::vec((0u8..32, prop::collection::vec(any::<u8>(), 0..60)), 0..8),
    ) {
        let mut stream = Vec::new();
        for (kind, payload) in units {
            stream.extend_from_slice(&[0, 0, 1, 0x60 | kind]);
            stream.extend_from_slice(&payload);
        }
        walk(&stream);
    }
}

fn walk(stream: &[u8]) {
    let mut sps = None;
    let mut pps = None;
    let mut total = 0;
    for nal in nals(stream) {
        total += nal.bytes.len() + 3;
        sps = Sps::parse(&nal).or(sps);
        pps = Pps::parse(&nal).or(pps);
        let _ = nal.first_mb();
        if let (Some(sps), Some(pps)) = (sps, pps) {
            let _ = SliceHeader::parse(&nal, &sps, &pps);
            let mut out = [0; SKIP_PICTURE_BYTES_MAX];
            let _ = skip_picture(&sps, &pps, 9, &mut out);
        }
    }
    assert!(total <= stream.len());
}
