//! GameStream's audio FEC: two parity packets for each four audio packets, any two of the six
//! may be lost.
//!
//! A systematic code over GF(2⁸) with polynomial 0x11D. Its parity rows are fixed and belong to
//! no construction that a library offers; they are what clients have built in
//! (moonlight-common-c, `RtpAudioQueue.c`):
//!
//! ```text
//! parity 0 = 77·d0 + 40·d1 + 38·d2 + 0e·d3
//! parity 1 = c7·d0 + a7·d1 + 0d·d2 + 6c·d3     (hexadecimal)
//! ```
//!
//! The packets of a block are equally long (constant bit rate, padded ciphertext); what is coded
//! is the RTP payload as it goes out. Pure functions, no allocation.

/// Audio packets of a block.
pub const DATA_SHARDS: usize = 4;
/// Parity packets of a block.
pub const PARITY_SHARDS: usize = 2;
/// Packets of a block, data first.
pub const TOTAL_SHARDS: usize = DATA_SHARDS + PARITY_SHARDS;

const PARITY: [[u8; DATA_SHARDS]; PARITY_SHARDS] =
    [[0x77, 0x40, 0x38, 0x0e], [0xc7, 0xa7, 0x0d, 0x6c]];
const _: () = assert!(
    is_mds(),
    "every square part of the parity rows has an inverse"
);

/// Why a block cannot be coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AudioFecError {
    /// The packets differ in length.
    #[error("a packet of {found} bytes in a block of {expected}: all must be equally long")]
    Length {
        /// Bytes of the first packet.
        expected: usize,
        /// Bytes of this one.
        found: usize,
    },
    /// Fewer than four of the six are there.
    #[error("{present} of 6 packets are here, and 4 are needed: conceal the missing ones")]
    TooFew {
        /// Packets there.
        present: usize,
    },
}

/// Writes both parity packets of four audio packets.
///
/// # Errors
/// [`AudioFecError::Length`] where the six are not equally long.
pub fn encode(
    data: [&[u8]; DATA_SHARDS],
    parity: [&mut [u8]; PARITY_SHARDS],
) -> Result<(), AudioFecError> {
    let bytes = data[0].len();
    for shard in data {
        equal(bytes, shard)?;
    }
    for shard in &parity {
        equal(bytes, shard)?;
    }
    for (row, out) in PARITY.iter().zip(parity) {
        out.fill(0);
        for (&coefficient, shard) in row.iter().zip(data) {
            add_scaled(out, coefficient, shard);
        }
    }
    Ok(())
}

/// Fills in the missing audio packets of a block. `shards` are all six buffers, data first;
/// `present` says which hold a packet. The contents of missing parity stay unspecified.
///
/// # Errors
/// [`AudioFecError::Length`] where the buffers are not equally long, [`AudioFecError::TooFew`]
/// where more than two are missing and one of them is audio.
pub fn recover(
    shards: &mut [&mut [u8]; TOTAL_SHARDS],
    present: [bool; TOTAL_SHARDS],
) -> Result<(), AudioFecError> {
    let bytes = shards[0].len();
    for shard in shards.iter() {
        equal(bytes, shard)?;
    }
    let mut missing = (0..DATA_SHARDS).filter(|&i| !present[i]);
    let mut parity = (0..PARITY_SHARDS).filter(|&j| present[DATA_SHARDS + j]);
    let too_few = AudioFecError::TooFew {
        present: present.iter().filter(|&&there| there).count(),
    };
    match (missing.next(), missing.next(), missing.next()) {
        (None, ..) => Ok(()),
        (Some(a), None, _) => {
            let j = parity.next().ok_or(too_few)?;
            syndrome(shards, present, a, j);
            scale(shards[a], inverse(PARITY[j][a]));
            Ok(())
        }
        (Some(a), Some(b), None) => {
            let (Some(0), Some(1)) = (parity.next(), parity.next()) else {
                return Err(too_few);
            };
            solve_two(shards, present, a, b);
            Ok(())
        }
        _ => Err(too_few),
    }
}

/// Both parity packets for two missing audio packets `a` and `b`: Cramer's rule.
fn solve_two(
    shards: &mut [&mut [u8]; TOTAL_SHARDS],
    present: [bool; TOTAL_SHARDS],
    a: usize,
    b: usize,
) {
    syndrome(shards, present, a, 0);
    syndrome(shards, present, b, 1);
    let determinant = mul(PARITY[0][a], PARITY[1][b]) ^ mul(PARITY[0][b], PARITY[1][a]);
    let scale = inverse(determinant);
    let [aa, ab] = [PARITY[1][b], PARITY[0][b]].map(|x| mul(scale, x));
    let [ba, bb] = [PARITY[1][a], PARITY[0][a]].map(|x| mul(scale, x));
    let (head, tail) = shards.split_at_mut(b);
    for (x, y) in head[a].iter_mut().zip(tail[0].iter_mut()) {
        let (s0, s1) = (*x, *y);
        *x = mul(aa, s0) ^ mul(ab, s1);
        *y = mul(ba, s0) ^ mul(bb, s1);
    }
}

/// Parity `j` without the audio packets that are there, into buffer `to` (a missing one).
fn syndrome(
    shards: &mut [&mut [u8]; TOTAL_SHARDS],
    present: [bool; TOTAL_SHARDS],
    to: usize,
    j: usize,
) {
    let (data, parity) = shards.split_at_mut(DATA_SHARDS);
    data[to].copy_from_slice(parity[j]);
    for i in (0..DATA_SHARDS).filter(|&i| present[i]) {
        let [out, from] = data
            .get_disjoint_mut([to, i])
            .expect("a missing packet is not one that is there");
        add_scaled(out, PARITY[j][i], from);
    }
}

const fn equal(expected: usize, shard: &[u8]) -> Result<(), AudioFecError> {
    if shard.len() == expected {
        return Ok(());
    }
    Err(AudioFecError::Length {
        expected,
        found: shard.len(),
    })
}

fn add_scaled(out: &mut [u8], coefficient: u8, from: &[u8]) {
    for (out, &from) in out.iter_mut().zip(from) {
        *out ^= mul(coefficient, from);
    }
}

fn scale(shard: &mut [u8], coefficient: u8) {
    for byte in shard {
        *byte = mul(coefficient, *byte);
    }
}

/// `a · b` modulo x⁸ + x⁴ + x³ + x² + 1. A block of 4 × 80 bytes takes 640 of these each 20 ms:
/// tables would save nothing that can be measured.
const fn mul(a: u8, b: u8) -> u8 {
    let (mut product, mut power, mut bit) = (0, a, 0);
    while bit < 8 {
        product ^= power & 0u8.wrapping_sub(b >> bit & 1);
        power = (power << 1) ^ (0x1d & 0u8.wrapping_sub(power >> 7));
        bit += 1;
    }
    product
}

/// `a⁻¹ = a²⁵⁴`, of any but 0.
const fn inverse(a: u8) -> u8 {
    let (mut result, mut power, mut bit) = (1, a, 0);
    while bit < 8 {
        if 254u8 >> bit & 1 == 1 {
            result = mul(result, power);
        }
        power = mul(power, power);
        bit += 1;
    }
    result
}

const fn is_mds() -> bool {
    let mut a = 0;
    while a < DATA_SHARDS {
        let mut b = a + 1;
        while b < DATA_SHARDS {
            if mul(PARITY[0][a], PARITY[1][b]) == mul(PARITY[0][b], PARITY[1][a]) {
                return false;
            }
            b += 1;
        }
        if PARITY[0][a] == 0 || PARITY[1][a] == 0 {
            return false;
        }
        a += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seeded::Seeded;

    fn coded(data: &[Vec<u8>; 4]) -> [Vec<u8>; 6] {
        let (mut p, mut q) = (vec![0xaa; data[0].len()], vec![0x55; data[0].len()]);
        encode([0, 1, 2, 3].map(|i| &data[i][..]), [&mut p, &mut q]).expect("equal lengths");
        let [a, b, c, d] = data.clone();
        [a, b, c, d, p, q]
    }

    fn recovered(
        mut shards: [Vec<u8>; 6],
        present: [bool; 6],
    ) -> Result<[Vec<u8>; 6], AudioFecError> {
        for (shard, there) in shards.iter_mut().zip(present) {
            if !there {
                shard.fill(0xee);
            }
        }
        let mut buffers = shards.each_mut().map(|shard| &mut shard[..]);
        recover(&mut buffers, present).map(|()| shards)
    }

    /// The parity rows themselves, and products worked out by hand: 2 · c7 = 18e, less 11d: 93.
    #[test]
    fn golden_vectors() {
        let data = [
            vec![1, 0, 0, 0, 2, 0x80],
            vec![0, 1, 0, 0, 0, 0x80],
            vec![0, 0, 1, 0, 0, 0x80],
            vec![0, 0, 0, 1, 0, 0x80],
        ];
        let coded = coded(&data);
        // 77 ^ 40 ^ 38 ^ 0e = 01 and c7 ^ a7 ^ 0d ^ 6c = 01: equal packets give themselves.
        assert_eq!(coded[4], [0x77, 0x40, 0x38, 0x0e, 0xee, 0x80]);
        assert_eq!(coded[5], [0xc7, 0xa7, 0x0d, 0x6c, 0x93, 0x80]);
    }

    proptest! {
        #[test]
        fn any_two_of_six_may_be_lost(
            data in prop::collection::vec(any::<[u8; 4]>(), 0..300),
            first in 0..6usize,
            second in 0..6usize,
        ) {
            let data = [0, 1, 2, 3].map(|i| data.iter().map(|row| row[i]).collect::<Vec<u8>>());
            let mut present = [true; 6];
            present[first] = false;
            present[second] = false;
            let shards = recovered(coded(&data), present).expect("two are lost at most");
            prop_assert_eq!(&shards[..4], &data[..]);
        }

        /// Any lengths, any presence: an error or a result, never a panic.
        #[test]
        fn arbitrary_buffers(lengths in any::<[u8; 6]>(), present in any::<[bool; 6]>()) {
            let mut shards = lengths.map(|length| vec![7; usize::from(length % 3)]);
            let mut buffers = shards.each_mut().map(|shard| &mut shard[..]);
            let _outcome = recover(&mut buffers, present);
        }
    }

    #[test]
    fn three_lost_are_too_many() {
        let shards = coded(&[vec![1; 9], vec![2; 9], vec![3; 9], vec![4; 9]]);
        for pattern in 0..64u8 {
            let present = [0, 1, 2, 3, 4, 5].map(|i| pattern >> i & 1 == 1);
            let count = pattern.count_ones() as usize;
            let needed = present[..4].iter().any(|&there| !there) && count < 4;
            let outcome = recovered(shards.clone(), present);
            match needed {
                true => assert_eq!(outcome, Err(AudioFecError::TooFew { present: count })),
                false => assert_eq!(outcome.expect("enough")[..4], shards[..4]),
            }
        }
    }

    #[test]
    fn lengths_must_agree() {
        let (mut p, mut q) = ([0; 3], [0; 2]);
        let outcome = encode([&[1, 2, 3]; 4], [&mut p, &mut q]);
        let wrong = AudioFecError::Length {
            expected: 3,
            found: 2,
        };
        assert_eq!(outcome, Err(wrong));
    }

    /// The figure: at most 0.15 % of the packets are concealed at 5 % random loss. A packet is
    /// where it is lost and two more of the other five are: 0.05 × 2.26 % = 0.113 %.
    #[test]
    fn concealed_share_at_5_percent_random_loss() {
        let seed = 5;
        let mut random = Seeded(seed);
        let shards = coded(&[vec![1; 2], vec![2; 2], vec![3; 2], vec![4; 2]]);
        let blocks = 250_000;
        let mut concealed = 0;
        for _ in 0..blocks {
            let present = [(); 6].map(|()| !random.chance(0.05));
            match recovered(shards.clone(), present) {
                Ok(whole) => assert_eq!(whole[..4], shards[..4]),
                Err(_) => concealed += present[..4].iter().filter(|&&there| !there).count(),
            }
        }
        let share = concealed as f64 / f64::from(4 * blocks);
        assert!((0.000_9..0.001_5).contains(&share), "seed {seed}: {share}");
    }
}
