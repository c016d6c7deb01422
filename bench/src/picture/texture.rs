//! Where textures come from: a small random generator, tileable noise, a sine table and words.

/// A reproducible random sequence (splitmix64, Steele et al. 2014).
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }

    /// A number below `limit`, which is not zero.
    pub fn below(&mut self, limit: u32) -> u32 {
        (((self.next() >> 32) * u64::from(limit)) >> 32) as u32
    }
}

/// Fractal value noise on a square that tiles: `side` is a power of two; values 0.0 to 1.0.
pub fn noise(side: usize, octaves: u32, seed: u64) -> Vec<f32> {
    let mut field = vec![0.0_f32; side * side];
    let mut amplitude = 0.5;
    for octave in 0..octaves {
        let cells = (4_usize << octave).min(side);
        let mut random = Random(seed ^ u64::from(octave) << 32);
        let lattice: Vec<f32> = (0..cells * cells)
            .map(|_| (random.next() >> 40) as f32 / (1 << 24) as f32)
            .collect();
        add_octave(&mut field, side, &lattice, cells, amplitude);
        amplitude *= 0.55;
    }
    let (low, high) = field
        .iter()
        .fold((f32::MAX, f32::MIN), |(low, high), value| {
            (low.min(*value), high.max(*value))
        });
    let range = (high - low).max(f32::MIN_POSITIVE);
    field
        .iter_mut()
        .for_each(|value| *value = (*value - low) / range);
    field
}

fn add_octave(field: &mut [f32], side: usize, lattice: &[f32], cells: usize, amplitude: f32) {
    let step = cells as f32 / side as f32;
    let smooth = |share: f32| share * share * (3.0 - 2.0 * share);
    for (y, row) in field.chunks_exact_mut(side).enumerate() {
        let (top, down) = split(y as f32 * step);
        let (above, below) = (top % cells * cells, (top + 1) % cells * cells);
        for (x, value) in row.iter_mut().enumerate() {
            let (left, across) = split(x as f32 * step);
            let (left, right) = (left % cells, (left + 1) % cells);
            let across = smooth(across);
            let between = |row: usize| {
                lattice[row + left] + (lattice[row + right] - lattice[row + left]) * across
            };
            let (upper, lower) = (between(above), between(below));
            *value += amplitude * (upper + (lower - upper) * smooth(down));
        }
    }
}

fn split(position: f32) -> (usize, f32) {
    let whole = position as usize;
    (whole, position - whole as f32)
}

/// Sine of `turn` 65536ths of a full turn, as a share of 32767.
#[must_use]
pub fn sine(turn: u32) -> i32 {
    let angle = f64::from(turn & 0xffff) / 65536.0 * std::f64::consts::TAU;
    (angle.sin() * 32767.0).round() as i32
}

/// A position that swings by ±`reach` around zero, once in `period` pictures.
#[must_use]
pub fn swing(number: u32, period: u32, phase: u32, reach: i32) -> i32 {
    let turn = (u64::from(number % period) * 65536 / u64::from(period)) as u32;
    (i64::from(sine(turn + phase)) * i64::from(reach) / 32767) as i32
}

const WORDS: [&str; 48] = [
    "frame", "slice", "packet", "latency", "the", "of", "display", "a", "encoder", "over", "and",
    "under", "light", "signal", "to", "carrier", "wave", "antenna", "is", "sent", "before", "with",
    "noise", "line", "pixel", "in", "motion", "vector", "clock", "jitter", "window", "no", "queue",
    "as", "shard", "parity", "radio", "by", "receiver", "tuned", "point", "spark", "every", "at",
    "deadline", "quiet", "loss", "again",
];

/// A line of words, at most `columns` characters.
pub fn sentence(random: &mut Random, columns: usize) -> String {
    let mut line = String::with_capacity(columns);
    loop {
        let word = WORDS[random.below(WORDS.len() as u32) as usize];
        if line.len() + word.len() + 1 > columns {
            return line;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
}
