//! Tables of GF(2⁸) with polynomial 0x11D and generator 2, made at compile time.

/// x⁸ + x⁴ + x³ + x² + 1 without its top bit.
const REDUCTION: u8 = 0x1D;

/// Powers of 2, long enough for the sum of three logarithms.
pub(super) const EXP: [u8; 3 * 255] = exp();
/// Logarithms to base 2; that of 0 does not exist and is 0 here.
pub(super) const LOG: [u8; 256] = log();
/// Inverses; that of 0 does not exist and is 0 here.
pub(super) const INV: [u8; 256] = inv();
/// For each coefficient the products with the 16 low nibbles, then with the 16 high nibbles: two
/// table registers for a byte shuffle.
pub(super) static NIBBLES: [[u8; 32]; 256] = nibbles();
/// For each coefficient its multiplication as an 8 × 8 matrix of bits in the layout of
/// `vgf2p8affineqb`: byte 7 - i holds the row that gives bit i of the product.
pub(super) static AFFINE: [u64; 256] = affine();

/// `element · 2`.
const fn double(element: u8) -> u8 {
    (element << 1) ^ if element & 0x80 != 0 { REDUCTION } else { 0 }
}

/// `a · b`, by shift and add.
pub(super) const fn mul(a: u8, b: u8) -> u8 {
    let (mut product, mut power, mut bit) = (0, a, 0);
    while bit < 8 {
        if b >> bit & 1 == 1 {
            product ^= power;
        }
        power = double(power);
        bit += 1;
    }
    product
}

const fn exp() -> [u8; 3 * 255] {
    let mut table = [1; 3 * 255];
    let mut i = 1;
    while i < table.len() {
        table[i] = double(table[i - 1]);
        i += 1;
    }
    table
}

const fn log() -> [u8; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 255 {
        table[EXP[i] as usize] = i as u8;
        i += 1;
    }
    table
}

const fn inv() -> [u8; 256] {
    let mut table = [0; 256];
    let mut i = 1;
    while i < 256 {
        table[i] = EXP[255 - LOG[i] as usize];
        i += 1;
    }
    table
}

const fn nibbles() -> [[u8; 32]; 256] {
    let mut table = [[0; 32]; 256];
    let mut c = 0;
    while c < 256 {
        let mut n = 0;
        while n < 16 {
            table[c][n] = mul(c as u8, n as u8);
            table[c][16 + n] = mul(c as u8, (n << 4) as u8);
            n += 1;
        }
        c += 1;
    }
    table
}

const fn affine() -> [u64; 256] {
    let mut table = [0; 256];
    let mut c = 0;
    while c < 256 {
        let mut column = 0;
        while column < 8 {
            // Bit `column` of the factor contributes c · 2^column to the product.
            let contribution = mul(c as u8, 1 << column);
            let mut bit = 0;
            while bit < 8 {
                if contribution >> bit & 1 == 1 {
                    table[c] |= 1 << ((7 - bit) * 8 + column);
                }
                bit += 1;
            }
            column += 1;
        }
        c += 1;
    }
    table
}
