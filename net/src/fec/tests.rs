//! Golden vectors, the oracle, and drop-any-m.

use proptest::prelude::*;

use super::gf8::Kernel;
use super::*;

fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL
        .into_iter()
        .filter(|kernel| kernel.is_available())
}

/// Bytes that depend on `seed` and look like noise (splitmix64).
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let mut word = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    };
    (0..bytes).map(|_| word().to_le_bytes()[0]).collect()
}

/// `count` different numbers below `below`, chosen by `seed`.
fn pick(seed: u64, count: usize, below: usize) -> Vec<usize> {
    let keys = noise(seed, below * 2);
    let mut order: Vec<usize> = (0..below).collect();
    order.sort_by_key(|&i| (keys[2 * i], keys[2 * i + 1]));
    order.truncate(count);
    order
}

fn all_but(dropped: &[usize], shards: usize) -> ShardSet {
    let mut present = ShardSet::new();
    for index in (0..shards).filter(|index| !dropped.contains(index)) {
        assert!(present.insert(index));
    }
    present
}

/// Encodes `k` shards of noise, destroys those of `dropped` and returns the block before and after.
fn broken_block(
    code: Code,
    (k, m, shard_bytes): (usize, usize, usize),
    dropped: &[usize],
    kernel: Kernel,
) -> (Vec<u8>, Vec<u8>) {
    let mut sent = noise(k as u64, (k + m) * shard_bytes);
    let (data, parity) = sent.split_at_mut(k * shard_bytes);
    Encoder::with_kernel(kernel)
        .encode(code, shard_bytes, data, parity)
        .expect("a fine block");
    let mut got = sent.clone();
    for &index in dropped {
        got[index * shard_bytes..][..shard_bytes].fill(0xEE);
    }
    (sent, got)
}

/// From a script of a few lines that applies the definition in `gf8`'s head with shift-and-add
/// multiplication and inverses by search: k = 5, m = 3, byte i of data shard s is 31·s + 7·i² + 1.
const GF8_PARITY: [[u8; 16]; 3] = [
    [
        0x2b, 0x66, 0x62, 0x3d, 0x0f, 0x9a, 0xf1, 0x36, 0xda, 0x08, 0x8b, 0xe2, 0x49, 0x1f, 0xf3,
        0xc9,
    ],
    [
        0x46, 0xb9, 0x26, 0x82, 0xd0, 0x0d, 0x12, 0x3c, 0x97, 0xa3, 0x83, 0x1f, 0x5d, 0x07, 0x91,
        0x91,
    ],
    [
        0x73, 0x13, 0x0e, 0xd3, 0x0f, 0xd4, 0xf0, 0xee, 0xcf, 0xb6, 0xcc, 0xc1, 0x42, 0x51, 0xd9,
        0x9c,
    ],
];

#[test]
fn gf8_bytes_are_those_that_moonlight_needs() {
    let data: Vec<u8> = (0..5usize)
        .flat_map(|s| (0..16usize).map(move |i| ((31 * s + 7 * i * i + 1) & 0xFF) as u8))
        .collect();
    for kernel in kernels() {
        let mut parity = [0; 48];
        let mut encoder = Encoder::with_kernel(kernel);
        encoder
            .encode(Code::Gf8, 16, &data, &mut parity)
            .expect("a fine block");
        assert_eq!(parity.as_chunks::<16>().0, GF8_PARITY, "{kernel}");
    }
}

/// 64-bit FNV-1a of the parity that reed-solomon-simd 3.1.0 makes of `noise(k)`: the wire must not
/// change with an update of the crate.
const GF16_PARITY_HASHES: [((usize, usize, usize), u64); 4] = [
    ((1, 1, 64), 0x169F_DF7A_EEA4_1AFF),
    ((20, 4, 64), 0xA472_856A_A723_7504),
    ((300, 60, 1344), 0x09BB_2591_1259_3FBC),
    ((130, 129, 66), 0x96D5_FB63_73E1_A8F4),
];

#[test]
fn gf16_bytes_are_stable() {
    let mut encoder = Encoder::new();
    for ((k, m, shard_bytes), hash) in GF16_PARITY_HASHES {
        let data = noise(k as u64, k * shard_bytes);
        let mut parity = vec![0; m * shard_bytes];
        encoder
            .encode(Code::Gf16, shard_bytes, &data, &mut parity)
            .expect("a fine block");
        let fnv = parity
            .iter()
            .fold(0xCBF2_9CE4_8422_2325_u64, |hash, &byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
            });
        assert_eq!(fnv, hash, "{k}/{m} of {shard_bytes}: {fnv:#x}");
    }
}

/// Shapes for both ends of the limits and for every number of rows that a kernel treats apart.
fn gf8_shape() -> impl Strategy<Value = (usize, usize, usize)> {
    let shape = prop_oneof![
        (1usize..=30).prop_flat_map(|k| (Just(k), 1usize..=20)),
        (1usize..=254).prop_flat_map(|k| (Just(k), 1..=255 - k)),
    ];
    (shape, prop_oneof![1usize..=300, Just(1344usize)]).prop_map(|((k, m), b)| (k, m, b))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_kernel_makes_the_oracles_parity(k in 1usize..24, m in 1usize..20, b in 1usize..200) {
        let data = noise(7, k * b);
        let shards: Vec<_> = data.chunks(b).map(<[u8]>::to_vec).collect();
        let expected = naive::encode(&shards, m).concat();
        for kernel in kernels() {
            let mut parity = vec![0; m * b];
            let mut encoder = Encoder::with_kernel(kernel);
            encoder.encode(Code::Gf8, b, &data, &mut parity).expect("a fine block");
            prop_assert_eq!(&parity, &expected, "{}", kernel);
        }
    }

    #[test]
    fn the_oracle_recovers_what_the_kernels_made(
        k in 1usize..16, m in 1usize..12, seed: u64,
    ) {
        let dropped = pick(seed, m, k + m);
        let (sent, _) = broken_block(Code::Gf8, (k, m, 8), &dropped, Kernel::best());
        let shards: Vec<_> = sent
            .chunks(8)
            .enumerate()
            .map(|(index, shard)| (!dropped.contains(&index)).then(|| shard.to_vec()))
            .collect();
        let data = naive::recover(&shards, k).expect("enough shards");
        prop_assert_eq!(data.concat(), &sent[..k * 8]);
    }

    #[test]
    fn any_m_of_k_plus_m_may_be_lost_gf8(shape in gf8_shape(), seed: u64) {
        let (k, m, b) = shape;
        let dropped = pick(seed, m, k + m);
        let lost_data = dropped.iter().filter(|&&index| index < k).count();
        for kernel in kernels() {
            let (sent, mut got) = broken_block(Code::Gf8, shape, &dropped, kernel);
            let recovered = Decoder::with_kernel(kernel)
                .recover(Code::Gf8, b, k, m, &mut got, &all_but(&dropped, k + m));
            prop_assert_eq!(recovered, Ok(lost_data));
            prop_assert_eq!(&got[..k * b], &sent[..k * b], "{}", kernel);
        }
    }

    #[test]
    fn fewer_losses_than_parity_are_recovered_too(
        shape in gf8_shape(), seed: u64, losses in 0usize..255,
    ) {
        let (k, m, b) = shape;
        let dropped = pick(seed, losses % (m + 1), k + m);
        let (sent, mut got) = broken_block(Code::Gf8, shape, &dropped, Kernel::best());
        let present = all_but(&dropped, k + m);
        Decoder::new().recover(Code::Gf8, b, k, m, &mut got, &present).expect("enough shards");
        prop_assert_eq!(&got[..k * b], &sent[..k * b]);
    }

    #[test]
    fn any_m_of_k_plus_m_may_be_lost_gf16(
        k in 1usize..300, m in 1usize..100, half in 1usize..80, seed: u64,
    ) {
        let shape = (k, m, 2 * half);
        let dropped = pick(seed, m, k + m);
        let (sent, mut got) = broken_block(Code::Gf16, shape, &dropped, Kernel::best());
        let present = all_but(&dropped, k + m);
        let lost_data = dropped.iter().filter(|&&index| index < k).count();
        let recovered = Decoder::new().recover(Code::Gf16, 2 * half, k, m, &mut got, &present);
        prop_assert_eq!(recovered, Ok(lost_data));
        prop_assert_eq!(&got[..k * 2 * half], &sent[..k * 2 * half]);
    }

    #[test]
    fn one_loss_more_than_parity_fails_and_changes_nothing(
        k in 1usize..100, m in 1usize..50, seed: u64, gf16: bool,
    ) {
        let code = if gf16 { Code::Gf16 } else { Code::Gf8 };
        // m + 1 losses of which at least one is data, because only m are parity.
        let dropped = pick(seed, m + 1, k + m);
        let (_, mut got) = broken_block(code, (k, m, 64), &dropped, Kernel::best());
        let before = got.clone();
        let present = all_but(&dropped, k + m);
        let refused = Decoder::new().recover(code, 64, k, m, &mut got, &present);
        prop_assert_eq!(refused, Err(FecError::TooFewShards { present: k - 1, needed: k }));
        prop_assert_eq!(got, before);
    }

    #[test]
    fn no_argument_makes_it_panic(
        wire in 0u8..3,
        shard_bytes in prop_oneof![Just(0usize), 0usize..70, 1340usize..1350, Just(usize::MAX)],
        k in prop_oneof![0usize..300, Just(usize::MAX)],
        m in prop_oneof![0usize..300, Just(usize::MAX)],
        lengths in (0usize..5000, 0usize..5000),
        seed: u64,
    ) {
        let code = Code::from_wire(wire).expect("0 to 2 are codes");
        let data = noise(seed, lengths.0);
        let mut shards = noise(seed, lengths.1);
        let _ = Encoder::new().encode(code, shard_bytes, &data, &mut shards);
        let mut present = ShardSet::new();
        for byte in noise(seed, 200) {
            present.insert(usize::from(byte) * 13);
        }
        let _ = Decoder::new().recover(code, shard_bytes, k, m, &mut shards, &present);
    }

    #[test]
    fn a_shard_set_is_a_set(
        indices in proptest::collection::vec(0usize..4000, 0..200),
        range in (0usize..4000, 0usize..4000),
    ) {
        let mut set = ShardSet::new();
        let mut model = std::collections::BTreeSet::new();
        for index in indices {
            let newly = index < SHARDS_MAX && model.insert(index);
            prop_assert_eq!(set.insert(index), newly);
            prop_assert_eq!(set.contains(index), index < SHARDS_MAX);
        }
        prop_assert_eq!(set.count(), model.len());
        let expected = model.iter().filter(|i| (range.0..range.1).contains(i)).count();
        prop_assert_eq!(set.count_in(range.0..range.1), expected);
        set.clear();
        prop_assert_eq!(set, ShardSet::new());
    }
}

#[test]
fn one_encoder_serves_blocks_of_changing_shape() {
    // The cached matrix must follow k and m.
    let mut encoder = Encoder::new();
    for (k, m) in [(3, 2), (9, 2), (4, 2), (4, 7), (200, 40), (1, 1), (9, 2)] {
        let data = noise(1, k * 64);
        let (mut parity, mut fresh) = (vec![0; m * 64], vec![0; m * 64]);
        encoder
            .encode(Code::Gf8, 64, &data, &mut parity)
            .expect("a fine block");
        Encoder::new()
            .encode(Code::Gf8, 64, &data, &mut fresh)
            .expect("a fine block");
        assert_eq!(parity, fresh, "{k}/{m}");
    }
}

#[test]
fn blocks_that_cannot_be_are_refused_with_both_sides() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let (data, mut parity) = (vec![0; 200 * 64], vec![0; 56 * 64]);
    assert_eq!(
        encoder.encode(Code::Gf8, 64, &data, &mut parity),
        Err(FecError::Shape {
            code: Code::Gf8,
            data_shards: 200,
            parity_shards: 56
        })
    );
    assert_eq!(
        encoder.encode(Code::None, 64, &data, &mut parity),
        Err(FecError::Shape {
            code: Code::None,
            data_shards: 200,
            parity_shards: 56
        })
    );
    assert_eq!(
        encoder.encode(Code::Gf16, 63, &data[..630], &mut parity[..63]),
        Err(FecError::ShardBytes {
            code: Code::Gf16,
            shard_bytes: 63
        })
    );
    assert_eq!(
        encoder.encode(Code::Gf8, 64, &data[..65], &mut parity),
        Err(FecError::NotWholeShards {
            buffer_bytes: 65,
            shard_bytes: 64
        })
    );
    assert_eq!(
        decoder.recover(Code::Gf8, 64, 4, 2, &mut parity[..5 * 64], &ShardSet::new()),
        Err(FecError::BufferBytes {
            buffer_bytes: 320,
            needed_bytes: 384
        })
    );
    assert_eq!(
        decoder.recover(Code::None, 64, 1, 0, &mut parity[..64], &ShardSet::new()),
        Err(FecError::TooFewShards {
            present: 0,
            needed: 1
        })
    );
}

#[test]
fn the_largest_blocks_are_encoded_and_recovered() {
    for (code, k, m) in [
        (Code::Gf8, 254, 1),
        (Code::Gf8, 1, 254),
        (Code::Gf8, 128, 127),
        (Code::Gf16, GF16_DATA_SHARDS_MAX, GF16_PARITY_SHARDS_MAX),
    ] {
        let dropped: Vec<usize> = (0..k.min(m)).collect();
        let (sent, mut got) = broken_block(code, (k, m, 64), &dropped, Kernel::best());
        let present = all_but(&dropped, k + m);
        let recovered = Decoder::new().recover(code, 64, k, m, &mut got, &present);
        assert_eq!(recovered, Ok(k.min(m)), "{code:?} {k}/{m}");
        assert_eq!(got[..k * 64], sent[..k * 64], "{code:?} {k}/{m}");
    }
}

#[test]
fn the_chosen_code_always_fits() {
    for k in 1..=GF16_DATA_SHARDS_MAX {
        for percent in [0, 1, 20, 50, 100, 255] {
            let m = parity_for(k, percent);
            assert_eq!(m == 0, percent == 0);
            assert!(choose(k, m).fits(k, m), "{k} at {percent} %");
        }
    }
    assert_eq!(parity_for(0, 20), 0);
    assert_eq!(parity_for(4, 20), 1);
    assert_eq!(parity_for(20, 20), 4);
    assert_eq!(parity_for(21, 20), 5);
}

#[test]
fn codes_round_trip_through_the_header_byte() {
    for code in [Code::None, Code::Gf8, Code::Gf16] {
        assert_eq!(Code::from_wire(code.to_wire()), Some(code));
    }
    assert_eq!(Code::from_wire(3), None);
}
