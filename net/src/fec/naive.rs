//! The GF(2⁸) code from the textbook, as the oracle of the tests: multiplication bit by bit,
//! inverses by search, Gaussian elimination. It shares no table and no formula with [`super::gf8`]
//! but the definition of the code.

/// `a · b` modulo x⁸ + x⁴ + x³ + x² + 1, as polynomials.
pub(super) fn mul(a: u8, b: u8) -> u8 {
    let mut product = (0..8)
        .filter(|i| b >> i & 1 == 1)
        .fold(0u16, |p, i| p ^ u16::from(a) << i);
    for i in (8..15).rev() {
        if product >> i & 1 == 1 {
            product ^= 0x11D << (i - 8);
        }
    }
    product.to_le_bytes()[0]
}

/// `1 / a`; `a` is not 0.
pub(super) fn inv(a: u8) -> u8 {
    (1..=255)
        .find(|&b| mul(a, b) == 1)
        .expect("every element but 0 has an inverse")
}

/// The rows of the systematic generator matrix: `k` of the identity, then `m` of parity.
fn generator(k: usize, m: usize) -> Vec<Vec<u8>> {
    let identity = (0..k).map(|row| (0..k).map(|column| u8::from(row == column)).collect());
    let parity = (0..m).map(|j| (0..k).map(|i| inv(((m + i) ^ j) as u8)).collect());
    identity.chain(parity).collect()
}

/// `m` parity shards of `data`.
pub(super) fn encode(data: &[Vec<u8>], m: usize) -> Vec<Vec<u8>> {
    generator(data.len(), m)[data.len()..]
        .iter()
        .map(|row| combine(row, data))
        .collect()
}

/// The data of a block from any `k` of its shards, or `None` from fewer.
pub(super) fn recover(shards: &[Option<Vec<u8>>], k: usize) -> Option<Vec<Vec<u8>>> {
    let present = || {
        shards
            .iter()
            .enumerate()
            .filter_map(|(i, s)| Some((i, s.as_ref()?)))
            .take(k)
    };
    let rows = generator(k, shards.len() - k);
    let mut matrix: Vec<_> = present().map(|(i, _)| rows[i].clone()).collect();
    let mut values: Vec<_> = present().map(|(_, shard)| shard.clone()).collect();
    if values.len() < k {
        return None;
    }
    for column in 0..k {
        let pivot = (column..k)
            .find(|&row| matrix[row][column] != 0)
            .expect("an MDS code");
        matrix.swap(column, pivot);
        values.swap(column, pivot);
        let scale = inv(matrix[column][column]);
        for list in [&mut matrix[column], &mut values[column]] {
            list.iter_mut().for_each(|x| *x = mul(*x, scale));
        }
        for row in (0..k).filter(|&row| row != column) {
            let factor = matrix[row][column];
            for lists in [&mut matrix, &mut values] {
                let from = lists[column].clone();
                lists[row]
                    .iter_mut()
                    .zip(&from)
                    .for_each(|(x, f)| *x ^= mul(*f, factor));
            }
        }
    }
    Some(values)
}

/// Σ coefficient · shard
fn combine(coefficients: &[u8], shards: &[Vec<u8>]) -> Vec<u8> {
    let mut sum = vec![0; shards[0].len()];
    for (&coefficient, shard) in coefficients.iter().zip(shards) {
        sum.iter_mut()
            .zip(shard)
            .for_each(|(sum, x)| *sum ^= mul(*x, coefficient));
    }
    sum
}
