//! What is left out of a frame before it is cut into packets.
//!
//! A client looks for an IDR's first slice within the first packet. Access unit delimiters and
//! SEI with user data (an encoder's name) help nobody and can push it out of a small packet.

use std::ops::Range;

use super::VideoFormat;

/// Pieces of a frame's first slice that are sent: everything but delimiters and SEI of type 5
/// ahead of the first slice's NAL unit.
pub(super) fn without_extras(
    format: VideoFormat,
    data: &[u8],
) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            if at >= data.len() {
                return None;
            }
            let begin = at;
            let Some(kind) = kind(format, &data[begin..]) else {
                at = data.len();
                return Some(begin..data.len());
            };
            if kind == Kind::Slice {
                at = data.len();
                return Some(begin..data.len());
            }
            at = next_start(data, begin + 3);
            if kind == Kind::Kept {
                return Some(begin..at);
            }
        }
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Slice,
    Kept,
    Extra,
}

/// Of the NAL unit whose start code `data` begins with; none if it does not.
fn kind(format: VideoFormat, data: &[u8]) -> Option<Kind> {
    let unit = data
        .strip_prefix(&[0, 0, 0, 1])
        .or_else(|| data.strip_prefix(&[0, 0, 1]))?;
    let (number, payload) = match format {
        VideoFormat::H264 => (unit.first()? & 0x1f, 1),
        VideoFormat::Hevc => (unit.first()? >> 1 & 0x3f, 2),
        VideoFormat::Av1 => return None,
    };
    // H.264 table 7-1, H.265 table 7-1; SEI payload type 5 is user data, unregistered.
    let is_user_data = || unit.get(payload) == Some(&5);
    Some(match (format, number) {
        (VideoFormat::H264, 9) | (VideoFormat::Hevc, 35) => Kind::Extra,
        (VideoFormat::H264, 6) | (VideoFormat::Hevc, 39) if is_user_data() => Kind::Extra,
        (VideoFormat::H264, 1..=5) | (VideoFormat::Hevc, 0..=31) => Kind::Slice,
        _ => Kind::Kept,
    })
}

/// Where the next start code begins, its leading zero included; the end if there is none.
fn next_start(data: &[u8], from: usize) -> usize {
    let Some(found) = data
        .get(from..)
        .and_then(|rest| rest.windows(3).position(|bytes| bytes == [0, 0, 1]))
    else {
        return data.len();
    };
    let at = from + found;
    if data[at - 1] == 0 { at - 1 } else { at }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(format: VideoFormat, data: &[u8]) -> Vec<u8> {
        without_extras(format, data)
            .flat_map(|piece| data[piece].to_vec())
            .collect()
    }

    #[test]
    fn delimiters_and_the_encoders_name_are_left_out() {
        let sets = [0, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 1, 0x68, 3];
        let name = [0, 0, 1, 6, 5, 4, b'x', b'2', b'6', b'4', 0x80];
        let slice = [0, 0, 1, 0x65, 9, 9, 0, 0, 1, 6, 5, 1, 1, 0x80];
        let frame = [&[0, 0, 0, 1, 9, 0x10][..], &sets, &name, &slice].concat();
        assert_eq!(
            kept(VideoFormat::H264, &frame),
            [&sets[..], &slice].concat()
        );
        // Another SEI stays, and a slice's own bytes are never looked at.
        let timing = [0, 0, 1, 6, 1, 1, 1, 0x80];
        let frame = [&timing[..], &slice].concat();
        assert_eq!(kept(VideoFormat::H264, &frame), frame);
        let hevc = [0, 0, 0, 1, 35 << 1, 1, 0x50, 0, 0, 0, 1, 19 << 1, 1, 7];
        assert_eq!(kept(VideoFormat::Hevc, &hevc), hevc[7..]);
        assert_eq!(kept(VideoFormat::Av1, &hevc), hevc);
    }

    proptest! {
        /// Any bytes: pieces are in order and within, and what begins with no start code stays.
        #[test]
        fn any_bytes(data in prop::collection::vec(0..8u8, 0..200)) {
            for format in [VideoFormat::H264, VideoFormat::Hevc, VideoFormat::Av1] {
                let mut end = 0;
                for piece in without_extras(format, &data) {
                    prop_assert!(piece.start >= end && piece.end <= data.len());
                    end = piece.end;
                }
            }
        }
    }
}
