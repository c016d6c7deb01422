//! The simulator's random numbers: xoshiro256** seeded through splitmix64 (Blackman and Vigna,
//! "Scrambled linear pseudorandom number generators", 2021; both generators are public domain).
//! Our own, because the bytes of a run must not change with a crate's version.
//!
//! Each element and each endpoint draws from a stream of its own ([`Rng::stream`]), so that adding
//! one to a scenario does not change what the others do.

use std::time::Duration;

/// A generator. The same seed gives the same numbers on every machine.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

/// A probability, exact in units of 2⁻³².
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chance {
    /// Of 2³²; at most 2³², which is certainty.
    threshold: u64,
}

impl Chance {
    /// Never.
    pub const NEVER: Self = Self { threshold: 0 };
    /// Always.
    pub const ALWAYS: Self = Self { threshold: 1 << 32 };

    /// `part` of `whole`, at most 1.
    ///
    /// # Panics
    /// If `whole` is zero.
    #[must_use]
    pub const fn ratio(part: u64, whole: u64) -> Self {
        assert!(whole > 0, "a share of nothing");
        let threshold = ((part as u128) << 32) / whole as u128;
        if threshold > 1 << 32 {
            Self::ALWAYS
        } else {
            Self {
                threshold: threshold as u64,
            }
        }
    }

    /// Hundredths.
    #[must_use]
    pub const fn percent(percent: u64) -> Self {
        Self::ratio(percent, 100)
    }

    /// Millionths.
    #[must_use]
    pub const fn ppm(ppm: u64) -> Self {
        Self::ratio(ppm, 1_000_000)
    }
}

impl Rng {
    /// The generator of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut mix = seed;
        let state = [(); 4].map(|()| splitmix64(&mut mix));
        Self { state }
    }

    /// Stream `index` of `seed`: streams of different index are independent.
    #[must_use]
    pub fn stream(seed: u64, index: u64) -> Self {
        let mut mix = seed;
        let first = splitmix64(&mut mix);
        let mut mix = index ^ 0xa076_1d64_78bd_642f;
        Self::new(first ^ splitmix64(&mut mix))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in 0 to `bound` - 1; 0 for a bound of 0. The bias of the multiplication is below
    /// `bound` × 2⁻⁶⁴.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// True with probability `chance`.
    pub fn happens(&mut self, chance: Chance) -> bool {
        (self.bits() >> 32) < chance.threshold
    }

    /// Uniform in `from` to `to`, both included, to the nanosecond; `from` if `to` is less.
    pub fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let span_ns = u64::try_from(to.saturating_sub(from).as_nanos()).unwrap_or(u64::MAX - 1);
        from + Duration::from_nanos(self.below(span_ns + 1))
    }

    /// A point of the distribution whose quantiles, evenly spaced from 0 to 1, are `table`, with
    /// straight lines between them; in the table's unit.
    ///
    /// # Panics
    /// If the table has fewer than two entries.
    pub fn quantile(&mut self, table: &[u64]) -> u64 {
        const FRACTION_BITS: u32 = 16;
        assert!(table.len() >= 2, "a distribution needs both ends");
        let point = self.below((table.len() as u64 - 1) << FRACTION_BITS);
        let index = (point >> FRACTION_BITS) as usize;
        let fraction = point & ((1 << FRACTION_BITS) - 1);
        let (low, high) = (table[index], table[index + 1]);
        low + ((high.saturating_sub(low) * fraction) >> FRACTION_BITS)
    }
}

/// One step of splitmix64 (Steele, Lea, Flood 2014; constants of Vigna's reference code).
pub(super) fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First outputs of the reference C code: splitmix64 from 1234567, and xoshiro256** from the
    /// state 1, 2, 3, 4 (as the test suites of other implementations give them).
    #[test]
    fn the_reference_generators() {
        let mut state = 1_234_567;
        assert_eq!(splitmix64(&mut state), 6_457_827_717_110_365_317);
        assert_eq!(splitmix64(&mut state), 3_203_168_211_198_807_973);
        let mut rng = Rng {
            state: [1, 2, 3, 4],
        };
        let first: Vec<u64> = (0..4).map(|_| rng.bits()).collect();
        assert_eq!(first, [11_520, 0, 1_509_978_240, 1_215_971_899_390_074_240]);
    }

    #[test]
    fn chances_and_bounds() {
        let mut rng = Rng::new(1);
        assert!(!(0..1000).any(|_| rng.happens(Chance::NEVER)));
        assert!((0..1000).all(|_| rng.happens(Chance::ALWAYS)));
        let hits = (0..100_000)
            .filter(|_| rng.happens(Chance::percent(5)))
            .count();
        assert!((4_800..5_200).contains(&hits), "{hits}");
        assert!((0..1000).all(|_| rng.below(7) < 7));
        assert_eq!(rng.below(0), 0);
        let table = [10, 20, 30];
        assert!((0..1000).all(|_| (10..30).contains(&rng.quantile(&table))));
    }

    #[test]
    fn streams_differ() {
        let mut first = Rng::stream(1, 0);
        let mut second = Rng::stream(1, 1);
        let mut other_seed = Rng::stream(2, 0);
        let number = first.bits();
        assert_ne!(number, second.bits());
        assert_ne!(number, other_seed.bits());
        assert_eq!(number, Rng::stream(1, 0).bits());
    }
}
