//! A small generator for tests: the same seed gives the same numbers on every machine
//! (SplitMix64, Steele, Lea and Flood 2014).

/// The generator; the field is the seed.
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in 0 to 1, without 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with probability `p`.
    pub(crate) fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Exponential with this mean.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

/// Gilbert-Elliott loss: everything is lost in the bad state.
pub(crate) struct Bursts {
    enter: f64,
    leave: f64,
    bad: bool,
}

impl Bursts {
    /// Mean share lost (0 to 1), mean length of a burst in packets.
    pub(crate) fn new(loss: f64, length: f64) -> Self {
        let leave = 1.0 / length;
        Self {
            enter: leave * loss / (1.0 - loss),
            leave,
            bad: false,
        }
    }

    /// Whether the next packet is lost.
    pub(crate) fn lost(&mut self, random: &mut Seeded) -> bool {
        self.bad = if self.bad {
            !random.chance(self.leave)
        } else {
            random.chance(self.enter)
        };
        self.bad
    }
}
