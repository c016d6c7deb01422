//! A wider `frame_num` than the encoder wrote.
//!
//! x264 takes as few bits as its reference list needs, 4: numbers begin anew every 16 pictures. Of
//! `frame_num` a decoder derives a picture's place in time (`pic_order_cnt_type` 2, clause 8.2.1.3),
//! so one that was not given some pictures must notice whether the numbers began anew among them.
//! libavcodec fills the gap with frames that it numbers itself, begins their numbers anew, and does
//! not count that (`libavcodec/h264_slice.c`, `h264_field_start`; still so in FFmpeg 8). If the
//! picture with number 0 was lost, what follows seems to be 16 pictures old, and it shows nothing
//! until time has caught up. With 12 bits that takes the loss of one certain picture of 4096, and
//! for that the encoder has an IDR.
//!
//! Eight bits more are a byte in each slice header, and all bits after it keep their places in their
//! bytes, so nothing else changes, and it would do with CABAC's alignment, too.
//!
//! The sequence parameter set says at the same time that numbers may be missing
//! (`gaps_in_frame_num_value_allowed_flag`). What a client decodes after a loss is then a stream as
//! the standard knows it, with rules for what is missing (clause 8.2.5.2); without the flag it is a
//! damaged one, which some decoders give up.

use super::bits::{BitWriter, Bits};
use super::headers::{chroma, picture_order};

/// Numbers begin anew after so many pictures.
pub const MAX_FRAME_NUM: u32 = 1 << WIDE_BITS;
/// By so much a payload grows at most, bytes.
pub const GROWTH_BYTES: usize = 2;

const NARROW_BITS: u32 = 4;
const WIDE_BITS: u32 = 12;
const _: () = assert!(WIDE_BITS - NARROW_BITS == 8, "a byte is put in");

/// Rewrites the payload of a sequence parameter set, as x264 makes it, for [`widen_slice`]. Payloads
/// here are without the NAL unit's header byte and without emulation prevention. The length of what
/// is in `out` then; `None` if it is damaged, has another width already, or `out` is not
/// [`GROWTH_BYTES`] longer.
#[must_use]
pub fn widen_sps(payload: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut from = Bits::unescaped(payload);
    let profile = from.bits(8)?;
    from.bits(16)?;
    from.exp_golomb()?; // seq_parameter_set_id
    chroma(&mut from, profile)?;
    let width_at = from.position();
    if from.exp_golomb()? + 4 != NARROW_BITS {
        return None;
    }
    let poc_type = from.exp_golomb()?;
    picture_order(&mut from, poc_type)?;
    from.exp_golomb()?; // max_num_ref_frames
    let gaps_at = from.position();
    let last = payload.iter().rposition(|&byte| byte != 0)?;
    // The stop bit is the last that is set.
    let end = 8 * (last + 1) - payload[last].trailing_zeros() as usize - 1;

    let mut from = Bits::unescaped(payload);
    let mut to = BitWriter::new(out);
    while from.position() < end {
        let at = from.position();
        let bit = from.bit()?;
        let whole = if at == width_at {
            // What was read is the whole code, of value 0.
            to.exp_golomb(WIDE_BITS - 4)
        } else {
            to.bits((bit || at == gaps_at).into(), 1)
        };
        whole.then_some(())?;
    }
    to.finish()
}

/// Rewrites the payload of a slice. `frame_num` is that of the picture before, as wide as it is sent,
/// and of this one afterwards; it is 0 in an IDR. The length of what is in `out` then; `None` if the
/// header is damaged or `out` is not [`GROWTH_BYTES`] longer.
#[must_use]
pub fn widen_slice(
    payload: &[u8],
    is_idr: bool,
    frame_num: &mut u32,
    out: &mut [u8],
) -> Option<usize> {
    let mut bits = Bits::unescaped(payload);
    bits.exp_golomb()?; // first_mb_in_slice
    bits.exp_golomb()?; // slice_type
    bits.exp_golomb()?; // pic_parameter_set_id
    let at = bits.position();
    let narrow = bits.bits(NARROW_BITS)?;
    let step = narrow.wrapping_sub(*frame_num) % (1 << NARROW_BITS);
    let number = (*frame_num + step) % MAX_FRAME_NUM;
    *frame_num = if is_idr { 0 } else { number };
    // What there was are the low bits, and stays.
    let high = (*frame_num >> NARROW_BITS) as u8;
    let (index, shift) = (at / 8, at % 8);
    let out = out.get_mut(..payload.len() + 1)?;
    let (before, after) = payload.split_at_checked(index + 1)?;
    out[..index].copy_from_slice(&before[..index]);
    let split = before[index];
    let kept = !(0xff_u8.checked_shr(shift as u32)?);
    out[index] = split & kept | high >> shift;
    out[index + 1] = (u16::from(high) << 8 >> shift) as u8 | split & !kept;
    out[index + 2..].copy_from_slice(after);
    Some(out.len())
}
