//! A picture that says "the same again": what a client feeds its decoder in place of a lost one.
//!
//! Decoders differ in what they make of a gap in `frame_num`, whether the stream allows one or not:
//! some stop until the next IDR. A P picture in which every macroblock is
//! skipped takes the lost picture's place in the reference list, so that sliding-window marking
//! stays in step with the encoder and a later picture that refers past the loss decodes exactly.

use super::bits::BitWriter;
use super::headers::{Pps, Sps};

/// Room that [`skip_picture`] needs: start code, header byte, and a header and one run length of
/// at most 20 bytes, each third of which emulation prevention may lengthen.
pub const SKIP_PICTURE_BYTES_MAX: usize = 40;

/// Writes an all-skip P picture with that `frame_num` (with its start code) and returns its
/// length; `None` where the stream is not of the simple kind this knows: CAVLC, progressive,
/// picture order derived from `frame_num`.
#[must_use]
pub fn skip_picture(
    sps: &Sps,
    pps: &Pps,
    frame_num: u32,
    out: &mut [u8; SKIP_PICTURE_BYTES_MAX],
) -> Option<usize> {
    skip_slice(sps, pps, frame_num, 0, out)
}

/// The same from macroblock `first_mb` to the picture's end, as one slice.
pub(super) fn skip_slice(
    sps: &Sps,
    pps: &Pps,
    frame_num: u32,
    first_mb: u32,
    out: &mut [u8; SKIP_PICTURE_BYTES_MAX],
) -> Option<usize> {
    let run = sps
        .macroblocks
        .checked_sub(first_mb)
        .filter(|&run| run > 0)?;
    if pps.cabac || pps.weighted_p || !sps.frame_mbs_only || sps.separate_planes {
        return None;
    }
    if sps.poc_type != 2 || pps.redundant_pic_cnt {
        return None;
    }
    let mut payload = [0; 20];
    let mut bits = BitWriter::new(&mut payload);
    // The frame_num alone tells the picture's order (clause 8.2.1.3), and every bit that the
    // header leaves to the stream is what the conditions above say.
    let frame_num = frame_num & ((1 << sps.frame_num_bits) - 1);
    // slice_header(), clause 7.3.3.
    let whole = bits.exp_golomb(first_mb) // first_mb_in_slice
        && bits.exp_golomb(5) // slice_type: P, as all slices of this picture (table 7-6)
        && bits.exp_golomb(pps.id)
        && bits.bits(frame_num, sps.frame_num_bits)
        && bits.bits(0, 1) // num_ref_idx_active_override_flag
        && bits.bits(0, 1) // ref_pic_list_modification_flag_l0 (clause 7.3.3.1)
        && bits.bits(0, 1) // adaptive_ref_pic_marking_mode_flag: sliding window (7.3.3.3)
        && bits.exp_golomb(0) // slice_qp_delta, as se(v): the same bit
        && (!pps.deblocking_control || bits.exp_golomb(1)) // no deblocking: a plain copy
        // slice_data(), clause 7.3.4: the run ends with the picture, so nothing follows it.
        && bits.exp_golomb(run); // mb_skip_run
    let used = whole.then(|| bits.finish())??;
    // nal_ref_idc 2, nal_unit_type 1: a reference picture, like those it stands for.
    out[..5].copy_from_slice(&[0, 0, 0, 1, 0x41]);
    let mut at = 5;
    let mut zeros = 0;
    for &byte in &payload[..used] {
        if zeros >= 2 && byte <= 3 {
            out[at] = 3;
            at += 1;
            zeros = 0;
        }
        out[at] = byte;
        at += 1;
        zeros = if byte == 0 { zeros + 1 } else { 0 };
    }
    Some(at)
}
