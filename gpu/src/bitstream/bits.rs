//! Reading and writing the bits of a NAL unit's payload.

/// Longest run of leading zeros in an Exp-Golomb code that fits 32 bits (clause 9.1).
const EXP_GOLOMB_ZEROS_MAX: u32 = 32;

/// Reads bits, most significant first, skipping emulation prevention bytes (clause 7.4.1).
#[derive(Clone, Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// Next byte to take.
    at: usize,
    /// Zero bytes just before `at`, to know an emulation prevention byte.
    zeros: u8,
    /// The byte being read and how many of its bits are left.
    byte: u8,
    left: u8,
    is_escaped: bool,
}

impl<'a> Bits<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            zeros: 0,
            byte: 0,
            left: 0,
            is_escaped: true,
        }
    }

    /// Of a payload into which no emulation prevention was put yet.
    pub(super) const fn unescaped(bytes: &'a [u8]) -> Self {
        Self {
            is_escaped: false,
            ..Self::new(bytes)
        }
    }

    /// Bits read so far, emulation prevention counted.
    pub(super) const fn position(&self) -> usize {
        self.at * 8 - self.left as usize
    }

    /// One bit; `None` at the end.
    pub(super) fn bit(&mut self) -> Option<bool> {
        if self.left == 0 {
            let mut byte = *self.bytes.get(self.at)?;
            self.at += 1;
            if self.is_escaped && self.zeros >= 2 && byte == 3 {
                byte = *self.bytes.get(self.at)?;
                self.at += 1;
                self.zeros = 0;
            }
            self.zeros = if byte == 0 {
                self.zeros.saturating_add(1)
            } else {
                0
            };
            self.byte = byte;
            self.left = 8;
        }
        self.left -= 1;
        Some(self.byte >> self.left & 1 == 1)
    }

    /// `u(count)`, at most 32 bits.
    pub(super) fn bits(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0u32, |value, _| Some(value << 1 | u32::from(self.bit()?)))
    }

    /// `ue(v)`.
    pub(super) fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros >= EXP_GOLOMB_ZEROS_MAX {
                return None;
            }
        }
        let suffix = self.bits(zeros)?;
        Some((1u32 << zeros) - 1 + suffix)
    }

    /// `se(v)`.
    pub(super) fn signed_exp_golomb(&mut self) -> Option<i32> {
        let code = i64::from(self.exp_golomb()?);
        let magnitude = (code + 1) / 2;
        i32::try_from(if code % 2 == 1 { magnitude } else { -magnitude }).ok()
    }
}

/// Writes bits, most significant first, into a fixed buffer, without emulation prevention.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    bytes: &'a mut [u8],
    bits: usize,
}

impl<'a> BitWriter<'a> {
    /// Over a zeroed buffer.
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        bytes.fill(0);
        Self { bytes, bits: 0 }
    }

    /// `u(count)`; false if the buffer is full.
    pub(super) fn bits(&mut self, value: u32, count: u32) -> bool {
        for shift in (0..count).rev() {
            let Some(byte) = self.bytes.get_mut(self.bits / 8) else {
                return false;
            };
            *byte |= ((value >> shift & 1) as u8) << (7 - self.bits % 8);
            self.bits += 1;
        }
        true
    }

    /// `ue(v)`, of values below 2³¹.
    pub(super) fn exp_golomb(&mut self, value: u32) -> bool {
        let code = value + 1;
        let length = 32 - code.leading_zeros();
        self.bits(0, length - 1) && self.bits(code, length)
    }

    /// `rbsp_trailing_bits`; the bytes in use.
    pub(super) fn finish(mut self) -> Option<usize> {
        self.bits(1, 1).then(|| self.bits.div_ceil(8))
    }
}
