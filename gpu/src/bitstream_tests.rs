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

/// What x264 writes: baseline, picture order of type 2, eight references.
fn sps(macroblocks: u32, frame_num_bits: u32) -> Sps {
    Sps {
        profile: 66,
        level: 31,
        width: 16,
        height: macroblocks * 16,
        ref_frames: 8,
        gaps_allowed: false,
        colour: None,
        frame_num_bits,
        poc_type: 2,
        poc_lsb_bits: 0,
        poc_delta_always_zero: true,
        frame_mbs_only: true,
        macroblocks,
        separate_planes: false,
    }
}

fn pps() -> Pps {
    Pps {
        cabac: false,
        init_qp: 26,
        id: 0,
        bottom_field_poc: false,
        deblocking_control: true,
        weighted_p: false,
        redundant_pic_cnt: false,
    }
}

/// Bit by bit after the NAL header 0x41 (reference, slice of no IDR): 1 first_mb 0, 00110 type 5,
/// 1 PPS 0, 0011 frame_num 3, 0 0 0 no override, reordering, marking, 1 QP delta 0, 010 no
/// deblocking, 000000000010100000001 a run of 1280, 1 stop bit.
#[test]
fn golden_skip_picture() {
    let mut out = [0; SKIP_PICTURE_BYTES_MAX];
    let used = skip_picture(&sps(1280, 4), &pps(), 3, &mut out).expect("a simple stream");
    assert_eq!(
        out[..used],
        [0, 0, 0, 1, 0x41, 0x9a, 0x62, 0x80, 0x0a, 0x03]
    );
    // 8160 macroblocks are 1080p: eleven bytes.
    let used = skip_picture(&sps(8160, 4), &pps(), 3, &mut out).expect("a simple stream");
    assert_eq!(used, 11);
    let cabac = Pps {
        cabac: true,
        ..pps()
    };
    assert_eq!(skip_picture(&sps(1280, 4), &cabac, 3, &mut out), None);
}

#[test]
fn skip_pictures_of_every_shape_are_one_slice_of_their_number() {
    for frame_num_bits in 4..=16 {
        for macroblocks in [1, 99, 1280, 8160, 139_264] {
            let sps = sps(macroblocks, frame_num_bits);
            for frame_num in [0, 1, 2, 7, 15, (1 << frame_num_bits) - 1] {
                let mut out = [0; SKIP_PICTURE_BYTES_MAX];
                let used = skip_picture(&sps, &pps(), frame_num, &mut out).expect("fits");
                let units: Vec<_> = nals(&out[..used]).collect();
                assert_eq!(units.len(), 1);
                let header = SliceHeader::parse(&units[0], &sps, &pps()).expect("a slice");
                assert_eq!((header.first_mb, header.frame_num), (0, frame_num));
                assert_eq!(header.qp, Some(26));
            }
        }
    }
}

/// An access unit of one slice; what is in it does not matter.
fn slice(frame_num: u32) -> Vec<u8> {
    let mut out = [0; SKIP_PICTURE_BYTES_MAX];
    let used = skip_picture(&sps(99, 4), &pps(), frame_num, &mut out).expect("fits");
    out[..used].to_vec()
}

#[test]
fn gaps_are_filled_across_the_wrap_and_no_longer_than_the_reference_list() {
    let begun = |frame_num| GapTracker::at(sps(99, 4), pps(), frame_num);
    for (last, next) in [(3, 4), (3, 6), (14, 1), (15, 0), (12, 4)] {
        let mut tracker = begun(last);
        let followed = tracker.follow(&slice(next)).expect("a slice");
        assert!(!followed.idr);
        let mut missing = followed.missing;
        let mut expected = last;
        while let Some(unit) = missing.next_unit() {
            expected = (expected + 1) % 16;
            assert_eq!(unit, slice(expected), "after {last}, before {next}");
        }
        assert_eq!((expected + 1) % 16, next);
        // The tracker goes on from there.
        let followed = tracker.follow(&slice((next + 1) % 16));
        assert!(followed.expect("a slice").missing.next_unit().is_none());
    }
    let missing = GapError::TooMany {
        missing: 8,
        references: 8,
    };
    assert_eq!(begun(3).follow(&slice(12)).err(), Some(missing));
    let none = GapTracker::default().follow(&slice(1));
    assert_eq!(none.err(), Some(GapError::NotBegun));
    assert_eq!(begun(3).follow(&[]).err(), Some(GapError::NoSlice));
}

#[test]
fn a_picture_that_is_given_up_is_ended_from_its_second_macroblock_on() {
    let mut tracker = GapTracker::at(sps(99, 4), pps(), 14);
    tracker.follow(&slice(15)).expect("a slice");
    let ending = tracker.give_up().expect("a simple stream");
    let units: Vec<_> = nals(ending.bytes()).collect();
    assert_eq!((units.len(), units[0].kind), (1, NalKind::Slice));
    let header = SliceHeader::parse(&units[0], &sps(99, 4), &pps()).expect("a slice");
    assert_eq!((header.first_mb, header.frame_num), (1, 15));
    // It counts as given: nothing is missing before the next.
    let followed = tracker.follow(&slice(0)).expect("a slice");
    assert_eq!(followed.missing.clone().next_unit(), None);

    // An IDR has no such slice, and after it nothing is left.
    let mut idr = slice(0);
    idr[4] = 0x65;
    assert!(tracker.follow(&idr).expect("a slice").idr);
    assert!(tracker.give_up().is_none());
    assert_eq!(tracker.follow(&slice(1)).err(), Some(GapError::NotBegun));
    assert!(tracker.follow(&idr).is_ok());
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
    let mut tracker = GapTracker::default();
    for _ in 0..2 {
        if let Ok(mut followed) = tracker.follow(stream) {
            while followed.missing.next_unit().is_some() {}
        }
        let _ = tracker.give_up();
    }
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

proptest! {
    /// Only `frame_num` changes, whatever stands before and after it, and it counts on across what
    /// x264's four bits hold.
    #[test]
    fn a_wide_frame_num_leaves_the_rest_of_a_slice_as_it_was(
        first_mb in 0u32..139_264,
        before in 0..frame_num::MAX_FRAME_NUM,
        step in 0u32..16,
        is_idr: bool,
        rest in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let number = match is_idr {
            true => 0,
            false => (before + step) % frame_num::MAX_FRAME_NUM,
        };
        let write = |bits: u32| {
            let mut bytes = [0; 80];
            let mut to = bits::BitWriter::new(&mut bytes);
            prop_assert!(to.exp_golomb(first_mb) && to.exp_golomb(5) && to.exp_golomb(0));
            prop_assert!(to.bits(number % (1 << bits), bits));
            for &byte in &rest {
                prop_assert!(to.bits(byte.into(), 8));
            }
            let used = to.finish().expect("there is room");
            Ok(bytes[..used].to_vec())
        };
        let (narrow, wide) = (write(4)?, write(12)?);
        let mut newest = before;
        let mut out = vec![0xff; narrow.len() + frame_num::GROWTH_BYTES];
        let used = frame_num::widen_slice(&narrow, is_idr, &mut newest, &mut out);
        prop_assert_eq!(used, Some(wide.len()));
        prop_assert_eq!(newest, number);
        prop_assert_eq!(&out[..wide.len()], &wide[..]);
    }

    #[test]
    fn no_damaged_header_is_widened_beyond_its_room(
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
        room in 0usize..50,
    ) {
        let mut out = vec![0; room];
        let used = frame_num::widen_slice(&bytes, false, &mut 0, &mut out);
        prop_assert!(used.is_none_or(|used| used <= room));
        let used = frame_num::widen_sps(&bytes, &mut out);
        prop_assert!(used.is_none_or(|used| used <= room));
    }
}
