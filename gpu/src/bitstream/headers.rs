//! Parameter sets and slice headers (ITU-T H.264, clauses 7.3.2.1, 7.3.2.2 and 7.3.3).

use super::bits::Bits;
use super::{Nal, NalKind};

/// Most macroblocks to a side that any level allows (annex A: √(8 × 139 264) at level 6.2).
const SIDE_MB_MAX: u32 = 1055;
/// Most slots of a POC cycle (clause 7.4.2.1.1).
const POC_CYCLE_MAX: u32 = 255;
/// `profile_idc` values whose SPS carries chroma format and scaling lists.
const HIGH_PROFILES: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// What the VUI says about colours (annex E); numbers as in tables E-3 to E-5, 1 is BT.709.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour {
    /// Full range; false is limited.
    pub full_range: bool,
    /// `colour_primaries`.
    pub primaries: u8,
    /// `transfer_characteristics`.
    pub transfer: u8,
    /// `matrix_coefficients`.
    pub matrix: u8,
}

impl Colour {
    /// BT.709 throughout, limited range.
    pub const BT709_LIMITED: Self = Self {
        full_range: false,
        primaries: 1,
        transfer: 1,
        matrix: 1,
    };
}

/// A sequence parameter set, as far as the pipeline needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`: 66 baseline, 77 main, 100 high.
    pub profile: u8,
    /// `level_idc`: ten times the level.
    pub level: u8,
    /// Picture width after cropping, pixels.
    pub width: u32,
    /// Picture height after cropping, pixels.
    pub height: u32,
    /// Pictures that may be kept for reference.
    pub ref_frames: u32,
    /// `gaps_in_frame_num_value_allowed_flag`: pictures may be missing (clause 8.2.5.2).
    pub gaps_allowed: bool,
    /// Colours, if the VUI describes them.
    pub colour: Option<Colour>,
    /// Width of `frame_num` in bits.
    pub(super) frame_num_bits: u32,
    /// `pic_order_cnt_type`.
    pub(super) poc_type: u32,
    /// Width of `pic_order_cnt_lsb` in bits, for type 0.
    pub(super) poc_lsb_bits: u32,
    /// Type 1 without deltas in slice headers.
    pub(super) poc_delta_always_zero: bool,
    /// Progressive only.
    pub(super) frame_mbs_only: bool,
    /// Macroblocks in a picture.
    pub(super) macroblocks: u32,
    /// `separate_colour_plane_flag`.
    pub(super) separate_planes: bool,
}

impl Sps {
    /// Width of `frame_num` in slice headers, bits: 4 to 16.
    #[must_use]
    pub const fn frame_num_bits(&self) -> u32 {
        self.frame_num_bits
    }

    /// Reads a NAL unit of kind [`NalKind::Sps`]; `None` if it is another, damaged, or describes
    /// a picture that no level allows.
    #[must_use]
    pub fn parse(nal: &Nal<'_>) -> Option<Self> {
        if nal.kind != NalKind::Sps {
            return None;
        }
        let mut bits = Bits::new(nal.bytes.get(1..)?);
        let profile = bits.bits(8)?;
        bits.bits(8)?;
        let level = bits.bits(8)?;
        bits.exp_golomb()?;
        let (chroma_format, separate_planes) = chroma(&mut bits, profile)?;
        let frame_num_bits = within(bits.exp_golomb()?, 12)? + 4;
        let poc_type = within(bits.exp_golomb()?, 2)?;
        let (poc_lsb_bits, poc_delta_always_zero) = picture_order(&mut bits, poc_type)?;
        let ref_frames = within(bits.exp_golomb()?, 16)?;
        let gaps_allowed = bits.bit()?;
        let width_mb = within(bits.exp_golomb()?, SIDE_MB_MAX - 1)? + 1;
        let map_units = within(bits.exp_golomb()?, SIDE_MB_MAX - 1)? + 1;
        let frame_mbs_only = bits.bit()?;
        if !frame_mbs_only {
            bits.bit()?;
        }
        bits.bit()?;
        let height_mb = map_units * if frame_mbs_only { 1 } else { 2 };
        let (cut_x, cut_y) = cropping(&mut bits, chroma_format, frame_mbs_only)?;
        let colour = if bits.bit()? {
            vui_colour(&mut bits)?
        } else {
            None
        };
        Some(Self {
            profile: u8::try_from(profile).ok()?,
            level: u8::try_from(level).ok()?,
            width: (width_mb * 16).checked_sub(cut_x)?,
            height: (height_mb * 16).checked_sub(cut_y)?,
            ref_frames,
            gaps_allowed,
            colour,
            frame_num_bits,
            poc_type,
            poc_lsb_bits,
            poc_delta_always_zero,
            frame_mbs_only,
            macroblocks: width_mb * height_mb,
            separate_planes,
        })
    }
}

/// A picture parameter set, as far as slice headers need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pps {
    /// CABAC; false is CAVLC.
    pub cabac: bool,
    /// Quantiser that slice headers add their delta to.
    pub init_qp: i32,
    pub(super) id: u32,
    pub(super) bottom_field_poc: bool,
    pub(super) deblocking_control: bool,
    pub(super) weighted_p: bool,
    pub(super) redundant_pic_cnt: bool,
}

impl Pps {
    /// Reads a NAL unit of kind [`NalKind::Pps`]; `None` if it is another, damaged, or uses
    /// flexible macroblock ordering, which no encoder here does.
    #[must_use]
    pub fn parse(nal: &Nal<'_>) -> Option<Self> {
        if nal.kind != NalKind::Pps {
            return None;
        }
        let mut bits = Bits::new(nal.bytes.get(1..)?);
        let id = within(bits.exp_golomb()?, 255)?;
        bits.exp_golomb()?;
        let cabac = bits.bit()?;
        let bottom_field_poc = bits.bit()?;
        within(bits.exp_golomb()?, 0)?;
        bits.exp_golomb()?;
        bits.exp_golomb()?;
        let weighted_p = bits.bit()?;
        bits.bits(2)?;
        let init_qp = bits.signed_exp_golomb()?.checked_add(26)?;
        bits.signed_exp_golomb()?;
        bits.signed_exp_golomb()?;
        let deblocking_control = bits.bit()?;
        bits.bit()?;
        let redundant_pic_cnt = bits.bit()?;
        Some(Self {
            cabac,
            init_qp,
            id,
            bottom_field_poc,
            deblocking_control,
            weighted_p,
            redundant_pic_cnt,
        })
    }
}

/// The start of a slice header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceHeader {
    /// Address of its first macroblock.
    pub first_mb: u32,
    /// `frame_num`, modulo its width.
    pub frame_num: u32,
    /// The slice's quantiser, where the header is simple enough to reach it: no weights.
    pub qp: Option<i32>,
}

impl SliceHeader {
    /// Reads the header of a slice that refers to these parameter sets; `None` if `nal` is no
    /// slice or damaged.
    #[must_use]
    pub fn parse(nal: &Nal<'_>, sps: &Sps, pps: &Pps) -> Option<Self> {
        if !nal.kind.is_slice() {
            return None;
        }
        let mut bits = Bits::new(nal.bytes.get(1..)?);
        let first_mb = bits.exp_golomb()?;
        let slice_type = within(bits.exp_golomb()?, 9)? % 5;
        bits.exp_golomb()?;
        if sps.separate_planes {
            bits.bits(2)?;
        }
        let frame_num = bits.bits(sps.frame_num_bits)?;
        let qp = slice_qp(&mut bits, nal, sps, pps, slice_type);
        Some(Self {
            first_mb,
            frame_num,
            qp,
        })
    }
}

/// The quantiser, from after `frame_num` on.
fn slice_qp(bits: &mut Bits<'_>, nal: &Nal<'_>, sps: &Sps, pps: &Pps, kind: u32) -> Option<i32> {
    const P: u32 = 0;
    const I: u32 = 2;
    if !sps.frame_mbs_only || (kind != P && kind != I) || (kind == P && pps.weighted_p) {
        return None;
    }
    if nal.kind == NalKind::IdrSlice {
        bits.exp_golomb()?;
    }
    match sps.poc_type {
        0 => {
            bits.bits(sps.poc_lsb_bits)?;
            if pps.bottom_field_poc {
                bits.signed_exp_golomb()?;
            }
        }
        1 if !sps.poc_delta_always_zero => return None,
        _ => {}
    }
    if pps.redundant_pic_cnt {
        bits.exp_golomb()?;
    }
    if kind == P {
        if bits.bit()? {
            bits.exp_golomb()?;
        }
        if bits.bit()? {
            reordering(bits)?;
        }
    }
    if nal.ref_idc != 0 {
        if nal.kind == NalKind::IdrSlice {
            bits.bits(2)?;
        } else if bits.bit()? {
            marking(bits)?;
        }
    }
    if pps.cabac && kind == P {
        bits.exp_golomb()?;
    }
    pps.init_qp.checked_add(bits.signed_exp_golomb()?)
}

/// `ref_pic_list_modification` of one list, bounded by the pictures there can be.
fn reordering(bits: &mut Bits<'_>) -> Option<()> {
    for _ in 0..=32 {
        if within(bits.exp_golomb()?, 3)? == 3 {
            return Some(());
        }
        bits.exp_golomb()?;
    }
    None
}

/// `dec_ref_pic_marking` with adaptive marking, bounded likewise.
fn marking(bits: &mut Bits<'_>) -> Option<()> {
    for _ in 0..=66 {
        match within(bits.exp_golomb()?, 6)? {
            0 => return Some(()),
            3 => {
                bits.exp_golomb()?;
                bits.exp_golomb()?;
            }
            5 => {}
            _ => {
                bits.exp_golomb()?;
            }
        }
    }
    None
}

/// `chroma_format_idc` and `separate_colour_plane_flag`, with the scaling lists passed over.
pub(super) fn chroma(bits: &mut Bits<'_>, profile: u32) -> Option<(u32, bool)> {
    if !HIGH_PROFILES.contains(&profile) {
        return Some((1, false));
    }
    let format = within(bits.exp_golomb()?, 3)?;
    let separate = format == 3 && bits.bit()?;
    bits.exp_golomb()?;
    bits.exp_golomb()?;
    bits.bit()?;
    if bits.bit()? {
        for list in 0..if format == 3 { 12 } else { 8 } {
            if bits.bit()? {
                scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some((format, separate))
}

fn scaling_list(bits: &mut Bits<'_>, length: u32) -> Option<()> {
    let mut last = 8i32;
    for _ in 0..length {
        let next = last.wrapping_add(bits.signed_exp_golomb()?) & 0xff;
        if next == 0 {
            break;
        }
        last = next;
    }
    Some(())
}

/// Width of `pic_order_cnt_lsb` and `delta_pic_order_always_zero_flag`.
pub(super) fn picture_order(bits: &mut Bits<'_>, poc_type: u32) -> Option<(u32, bool)> {
    match poc_type {
        0 => Some((within(bits.exp_golomb()?, 12)? + 4, true)),
        1 => {
            let always_zero = bits.bit()?;
            bits.signed_exp_golomb()?;
            bits.signed_exp_golomb()?;
            for _ in 0..within(bits.exp_golomb()?, POC_CYCLE_MAX)? {
                bits.signed_exp_golomb()?;
            }
            Some((0, always_zero))
        }
        _ => Some((0, true)),
    }
}

/// Columns and rows, in pixels, that are cut off (clause 7.4.2.1.1, table 6-1).
fn cropping(bits: &mut Bits<'_>, chroma_format: u32, frame_mbs_only: bool) -> Option<(u32, u32)> {
    if !bits.bit()? {
        return Some((0, 0));
    }
    let mut offset = || within(bits.exp_golomb()?, SIDE_MB_MAX * 16);
    let (left, right, top, bottom) = (offset()?, offset()?, offset()?, offset()?);
    let unit_x = if chroma_format == 1 || chroma_format == 2 {
        2
    } else {
        1
    };
    let unit_y = if chroma_format == 1 { 2 } else { 1 } * if frame_mbs_only { 1 } else { 2 };
    Some(((left + right) * unit_x, (top + bottom) * unit_y))
}

/// The colour description of a VUI; the rest of it is not read.
fn vui_colour(bits: &mut Bits<'_>) -> Option<Option<Colour>> {
    const EXTENDED_SAR: u32 = 255;
    if bits.bit()? && bits.bits(8)? == EXTENDED_SAR {
        bits.bits(32)?;
    }
    if bits.bit()? {
        bits.bit()?;
    }
    if !bits.bit()? {
        return Some(None);
    }
    bits.bits(3)?;
    let full_range = bits.bit()?;
    if !bits.bit()? {
        return Some(None);
    }
    let mut number = || u8::try_from(bits.bits(8)?).ok();
    let (primaries, transfer, matrix) = (number()?, number()?, number()?);
    Some(Some(Colour {
        full_range,
        primaries,
        transfer,
        matrix,
    }))
}

fn within(value: u32, max: u32) -> Option<u32> {
    (value <= max).then_some(value)
}
