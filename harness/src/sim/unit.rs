//! What the model's pictures consist of: an access unit that says what it is, and whose every byte
//! is known, so that a receiver can tell a wrong byte from a right one.
//!
//! | off | size | field, little-endian |
//! |---:|---:|---|
//! | 0 | 4 | 0x5349_4D55 |
//! | 4 | 4 | frame |
//! | 8 | 4 | frame that it refers to; its own number: to none (IDR) |
//! | 12 | 4 | bytes of the whole unit |
//! | 16 | .. | word i of 8 bytes: a function of frame and i |

use net::units::FrameId;

/// Bytes that say what the unit is; its first slice is at least as long.
pub const UNIT_HEAD_BYTES: usize = 16;
const MAGIC: u32 = 0x5349_4d55;
/// Words that are the head.
const HEAD_WORDS: usize = UNIT_HEAD_BYTES / 8;
/// Odd, so that all words of a unit differ: 2⁶⁴ over the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a picture depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Picture {
    /// On nothing.
    Idr,
    /// On the picture before.
    Predicted,
    /// On an older one, named: what lies between may be lost.
    Recovery(FrameId),
}

/// An access unit of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its frame.
    pub frame: FrameId,
    /// What it depends on.
    pub picture: Picture,
    /// Its length.
    pub bytes: u32,
}

/// Why bytes are not a unit of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Too short for its head, or not begun by one.
    Head,
    /// Of another length than its head says.
    Length,
    /// This byte is wrong.
    Byte(usize),
}

impl Unit {
    /// The frame that it refers to.
    #[must_use]
    pub const fn reference(&self) -> Option<FrameId> {
        match self.picture {
            Picture::Idr => None,
            Picture::Predicted => Some(FrameId(self.frame.0.wrapping_sub(1))),
            Picture::Recovery(frame) => Some(frame),
        }
    }

    /// Writes the bytes from `offset` on, as many as `out` takes.
    pub fn fill(&self, offset: usize, out: &mut [u8]) {
        let head = self.head();
        let mut index = offset / 8;
        let lead = (8 - offset % 8) % 8;
        let (lead, rest) = out.split_at_mut(lead.min(out.len()));
        if !lead.is_empty() {
            let word = self.word(&head, index).to_le_bytes();
            let from = offset % 8;
            lead.copy_from_slice(&word[from..from + lead.len()]);
            index += 1;
        }
        let (words, tail) = rest.as_chunks_mut::<8>();
        let heads = HEAD_WORDS.saturating_sub(index).min(words.len());
        let (first, words) = words.split_at_mut(heads);
        for chunk in first {
            *chunk = self.word(&head, index).to_le_bytes();
            index += 1;
        }
        let mut product = self.product(index);
        for chunk in &mut *words {
            *chunk = scatter(product).to_le_bytes();
            product = product.wrapping_add(FACTOR);
        }
        index += words.len();
        let word = self.word(&head, index).to_le_bytes();
        tail.copy_from_slice(&word[..tail.len()]);
    }

    /// Reads a unit, to its last byte.
    ///
    /// # Errors
    /// The first [`Damage`].
    pub fn read(bytes: &[u8]) -> Result<Self, Damage> {
        let field = |at: usize| -> Result<u32, Damage> {
            let four = bytes.get(at..at + 4).ok_or(Damage::Head)?;
            Ok(u32::from_le_bytes(four.try_into().expect("four bytes")))
        };
        if field(0)? != MAGIC {
            return Err(Damage::Head);
        }
        let (frame, reference) = (field(4)?, field(8)?);
        let picture = if reference == frame {
            Picture::Idr
        } else if reference == frame.wrapping_sub(1) {
            Picture::Predicted
        } else {
            Picture::Recovery(FrameId(reference))
        };
        let unit = Self {
            frame: FrameId(frame),
            picture,
            bytes: field(12)?,
        };
        if unit.bytes as usize != bytes.len() {
            return Err(Damage::Length);
        }
        let head = unit.head();
        let (words, tail) = bytes.as_chunks::<8>();
        // All words together: a comparison of each with a branch takes three times as long.
        let mut product = unit.product(HEAD_WORDS);
        let mut wrong = 0;
        for chunk in &words[HEAD_WORDS..] {
            wrong |= u64::from_le_bytes(*chunk) ^ scatter(product);
            product = product.wrapping_add(FACTOR);
        }
        let end = unit.word(&head, words.len()).to_le_bytes();
        if wrong != 0 || tail != &end[..tail.len()] {
            return Err(unit.first_wrong(bytes));
        }
        Ok(unit)
    }

    /// The first byte of `bytes` that is not as it should be, which there is; not of the head,
    /// which is right by what was read from it.
    fn first_wrong(&self, bytes: &[u8]) -> Damage {
        let mut right = vec![0; bytes.len()];
        self.fill(0, &mut right);
        let same = bytes.iter().zip(&right).take_while(|(a, b)| a == b);
        Damage::Byte(same.count())
    }

    fn head(&self) -> [u64; 2] {
        let reference = self.reference().unwrap_or(self.frame);
        [
            u64::from(MAGIC) | u64::from(self.frame.0) << 32,
            u64::from(reference.0) | u64::from(self.bytes) << 32,
        ]
    }

    fn word(&self, head: &[u64; 2], index: usize) -> u64 {
        if let Some(word) = head.get(index) {
            return *word;
        }
        scatter(self.product(index))
    }

    /// What word `index` is made of; that of the next one is [`FACTOR`] more.
    fn product(&self, index: usize) -> u64 {
        let seed = u64::from(self.frame.0) << 32 | index as u64;
        seed.wrapping_mul(FACTOR)
    }
}

const fn scatter(product: u64) -> u64 {
    product.rotate_left(29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_filled_in_pieces_reads_back() {
        for picture in [
            Picture::Idr,
            Picture::Predicted,
            Picture::Recovery(FrameId(3)),
        ] {
            let unit = Unit {
                frame: FrameId(9),
                picture,
                bytes: 1003,
            };
            let mut bytes = vec![0; 1003];
            let (first, second) = bytes.split_at_mut(517);
            unit.fill(0, first);
            unit.fill(517, second);
            assert_eq!(Unit::read(&bytes), Ok(unit));
            for wrong in [17, 700, 1002] {
                bytes[wrong] ^= 1;
                assert_eq!(Unit::read(&bytes), Err(Damage::Byte(wrong)));
                bytes[wrong] ^= 1;
            }
            assert_eq!(Unit::read(&bytes[..1002]), Err(Damage::Length));
            assert_eq!(Unit::read(&bytes[..3]), Err(Damage::Head));
        }
    }
}
