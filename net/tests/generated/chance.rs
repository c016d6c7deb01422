//! Chance by seeds, and the bulk of inputs that it makes.

/// SplitMix64 (Steele, Lea and Flood 2014).
pub struct Chance(u64);

impl Chance {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound.max(1) as u64) as usize
    }

    /// One of them.
    pub fn of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    /// So many of any value, or all below `bound`.
    pub fn bytes(&mut self, count: usize, bound: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(bound) as u8).collect()
    }

    /// Sets up to `most` bytes, one in two to something small.
    pub fn change(&mut self, bytes: &mut [u8], most: usize) {
        for _ in 0..self.below(most + 1) {
            let at = self.below(bytes.len());
            let bound = [4, 256][self.below(2)];
            if let Some(byte) = bytes.get_mut(at) {
                *byte = self.below(bound) as u8;
            }
        }
    }

    /// The same, or with some bytes set, a piece left out, doubled or cut off.
    pub fn changed(&mut self, template: &[u8]) -> Vec<u8> {
        let mut bytes = template.to_vec();
        for _ in 0..self.below(4) {
            if bytes.is_empty() {
                return bytes;
            }
            let (at, to) = (self.below(bytes.len()), self.below(bytes.len() + 1));
            let (from, to) = (at.min(to), at.max(to));
            match self.below(8) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(from..to)),
                2 => {
                    let piece = bytes[from..to].to_vec();
                    bytes.splice(from..from, piece);
                }
                3 => bytes[at] ^= 1 << self.below(8),
                4 => bytes[at] = *self.of(&[&0, &1, &0x7f, &0x80, &0xff, &b'\r', &b' ']),
                _ => bytes[at] = self.bits() as u8,
            }
        }
        bytes
    }
}

fn variable(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Runs `test` until it has had all inputs, `each` of them in a round with a seed of its own that
/// a panic names. It tells how many of a round's got past the first checks.
pub fn all(name: &str, each: u64, mut test: impl FnMut(&mut Chance) -> u64) {
    struct Told<'a>(&'a str, u64);
    impl Drop for Told<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("{}: round of seed {}", self.0, self.1);
            }
        }
    }
    let inputs = variable("PUNKTFUNK_GENERATED_INPUTS", 1_000_000);
    let first = variable("PUNKTFUNK_GENERATED_SEED", 0);
    let rounds = inputs.div_ceil(each);
    let mut deep = 0;
    for seed in first..first + rounds {
        let _told = Told(name, seed);
        deep += test(&mut Chance(seed));
    }
    let inputs = rounds * each;
    println!("{name}: seeds from {first}: {deep} of {inputs} inputs got past the first checks");
    assert!(
        deep > inputs / 100,
        "{name}: {deep} of {inputs}: too far from anything real"
    );
    assert!(deep < inputs, "{name}: all {inputs}: too near");
}
