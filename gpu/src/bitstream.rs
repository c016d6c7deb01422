//! Reading H.264 byte streams (ITU-T H.264, Annex B): NAL units, what a slice header says, and
//! what a sequence parameter set says about size and colours. Only as much as the pipeline and
//! its tests need; nothing here allocates, and no input makes it panic.

mod bits;
pub mod frame_num;
mod gap;
mod headers;
mod skip;

pub use gap::{Ending, Followed, GapError, GapTracker, Missing};
pub use headers::{Colour, Pps, SliceHeader, Sps};
pub use skip::{SKIP_PICTURE_BYTES_MAX, skip_picture};

/// Type of a NAL unit (ITU-T H.264, table 7-1), as far as the pipeline tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NalKind {
    /// 1: a slice of a picture that is no IDR.
    Slice,
    /// 5: a slice of an IDR picture.
    IdrSlice,
    /// 6: supplemental enhancement information.
    Sei,
    /// 7: sequence parameter set.
    Sps,
    /// 8: picture parameter set.
    Pps,
    /// 9: access unit delimiter.
    Delimiter,
    /// 12: filler.
    Filler,
    /// Anything else, with its number.
    Other(u8),
}

impl NalKind {
    /// From `nal_unit_type`.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Slice,
            5 => Self::IdrSlice,
            6 => Self::Sei,
            7 => Self::Sps,
            8 => Self::Pps,
            9 => Self::Delimiter,
            12 => Self::Filler,
            other => Self::Other(other),
        }
    }

    /// A coded slice of any picture.
    #[must_use]
    pub const fn is_slice(self) -> bool {
        matches!(self, Self::Slice | Self::IdrSlice)
    }
}

/// One NAL unit of a byte stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nal<'a> {
    /// Its type.
    pub kind: NalKind,
    /// `nal_ref_idc`: zero if no other picture refers to it.
    pub ref_idc: u8,
    /// Header byte and payload, without start code, emulation prevention still in.
    pub bytes: &'a [u8],
}

impl Nal<'_> {
    /// The first macroblock of a slice; `None` if this is none or it is damaged.
    #[must_use]
    pub fn first_mb(&self) -> Option<u32> {
        if !self.kind.is_slice() {
            return None;
        }
        bits::Bits::new(self.bytes.get(1..)?).exp_golomb()
    }
}

/// The NAL units of a byte stream, in order. Bytes before the first start code are passed over.
#[must_use]
pub fn nals(stream: &[u8]) -> Nals<'_> {
    let rest = match start_code(stream) {
        Some((_, after)) => &stream[after..],
        None => &[],
    };
    Nals { rest }
}

/// Iterator of [`nals`].
#[derive(Clone, Debug)]
pub struct Nals<'a> {
    /// From the byte after a start code on; empty at the end.
    rest: &'a [u8],
}

impl<'a> Iterator for Nals<'a> {
    type Item = Nal<'a>;

    fn next(&mut self) -> Option<Nal<'a>> {
        while !self.rest.is_empty() {
            let (unit, rest) = match start_code(self.rest) {
                Some((before, after)) => (&self.rest[..before], &self.rest[after..]),
                None => (self.rest, &[][..]),
            };
            self.rest = rest;
            // trailing_zero_8bits belong to no NAL unit (annex B.1.1).
            let used = unit
                .iter()
                .rposition(|&byte| byte != 0)
                .map_or(0, |last| last + 1);
            if let [header, ..] = unit[..used] {
                let kind = NalKind::from_number(header & 0x1f);
                return Some(Nal {
                    kind,
                    ref_idc: header >> 5 & 3,
                    bytes: &unit[..used],
                });
            }
        }
        None
    }
}

/// Where the next start code (00 00 01) begins and where what follows it begins.
fn start_code(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut from = 0;
    // Look for the 01, which is rare, and only then at the zeros before it.
    while let Some(found) = bytes[from..].iter().position(|&byte| byte == 1) {
        let at = from + found;
        if at >= 2 && bytes[at - 1] == 0 && bytes[at - 2] == 0 {
            return Some((at - 2, at + 1));
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
#[path = "bitstream_tests.rs"]
mod tests;
