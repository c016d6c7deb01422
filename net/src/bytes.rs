//! Little-endian reading and writing with the length checked before every access.
//!
//! [`Reader`] is for what a peer sent: it never panics and never allocates. [`Writer`] appends
//! to a buffer of ours. Everything that punktfunk puts on a wire is little-endian.

/// The bytes end before the field does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{needed} more bytes were announced than the {left} that are left")]
pub struct Truncated {
    /// What the field takes, bytes.
    pub needed: usize,
    /// What there was, bytes.
    pub left: usize,
}

/// A cursor over bytes of a peer.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are still unread.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`Truncated`] if there are fewer; the cursor then stays where it is.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Truncated> {
        let Some((head, rest)) = self.rest.split_at_checked(count) else {
            return Err(Truncated {
                needed: count,
                left: self.rest.len(),
            });
        };
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(Truncated {
                needed: N,
                left: self.rest.len(),
            });
        };
        self.rest = rest;
        Ok(*head)
    }

    /// The next byte.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        self.array().map(u8::from_le_bytes)
    }

    /// The next two bytes.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next four bytes.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next eight bytes.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn u64(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_le_bytes)
    }
}

/// Appends fields to a buffer of ours.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Appends behind what `out` holds.
    pub const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// As they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.u8(1);
        writer.u16(0x0203);
        writer.u32(0x0405_0607);
        writer.u64(8);
        writer.bytes(b"xy");
        assert_eq!(out[..3], [1, 3, 2], "little-endian");
        let mut reader = Reader::new(&out);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(0x0203));
        assert_eq!(reader.u32(), Ok(0x0405_0607));
        assert_eq!(reader.u64(), Ok(8));
        assert_eq!(reader.take(2), Ok(&b"xy"[..]));
        assert_eq!(reader.u16(), Err(Truncated { needed: 2, left: 0 }));
    }

    #[test]
    fn a_short_field_leaves_the_cursor() {
        let mut reader = Reader::new(&[7]);
        assert!(reader.u32().is_err());
        assert!(reader.take(2).is_err());
        assert_eq!(reader.u8(), Ok(7));
    }
}
