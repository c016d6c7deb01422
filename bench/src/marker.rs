//! The marker: which picture this is and when it was drawn, written into the picture itself.
//!
//! A strip of black and white cells at the top left, in cells of 16 pixels (the size of an H.264
//! macroblock, and aligned to it), so that it survives 4:2:0 subsampling and the coarsest
//! quantiser. Around the cells lies a quiet border of one black cell. Whoever reads it back from
//! decoded pixels has proof that the whole path works, and the time of drawing without any side
//! channel.
//!
//! | cells (row by row, 32 a row) | bits | content, most significant bit first, white is 1 |
//! |---|---|---|
//! | 0 to 23 | 24 | [`SYNC`] |
//! | 24 to 55 | 32 | picture number |
//! | 56 to 103 | 48 | time of drawing, µs of `CLOCK_MONOTONIC` (8.9 years) |
//! | 104 to 111 | 8 | content: kind in the low half, scene in the high half |
//! | 112 to 127 | 16 | CRC-16/CCITT-FALSE of the 11 payload bytes |

use gpu::decode::Picture;
use gpu::frame::{Rect, Size};
use net::units::Timestamp;

/// Fixed pattern of the first 24 cells: from it the reader learns what black and white look like.
pub const SYNC: u32 = 0x00F1_6A2D;

const COLUMNS: usize = 32;
const ROWS: usize = 4;
const CELLS: usize = COLUMNS * ROWS;
const SYNC_BITS: usize = 24;
const PAYLOAD_BYTES: usize = 11;
const _: () = assert!(SYNC_BITS + PAYLOAD_BYTES * 8 + 16 == CELLS);

/// Least distance between the mean of white and the mean of black cells, in luma steps. Limited
/// range black and white are 219 apart; below this the region is no marker.
const CONTRAST_MIN: i32 = 48;

/// What a marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Number of the picture, from 0, consecutive in drawing order.
    pub number: u32,
    /// When the picture was complete, just before it was committed; whole microseconds.
    pub drawn: Timestamp,
    /// What was drawn, as [`crate::picture::Look`] packs it.
    pub look: u8,
}

/// Why no marker could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarkerError {
    /// The picture is too small to hold one.
    #[error("a picture of {width}x{height} is too small for the marker; use at least 272x48")]
    TooSmall {
        /// Width, pixels.
        width: usize,
        /// Height, pixels.
        height: usize,
    },
    /// The region has no two distinct levels.
    #[error("no marker: the top left of the picture has a contrast of only {contrast} luma steps")]
    NoContrast {
        /// White less black, luma steps.
        contrast: i32,
    },
    /// The fixed pattern is not there.
    #[error("no marker: the synchronisation cells read {found:06x}; is the test card full screen?")]
    NoSync {
        /// What the cells say.
        found: u32,
    },
    /// A cell was misread: the picture is damaged.
    #[error("the marker is damaged: its checksum reads {found:04x}, the cells say {computed:04x}")]
    Checksum {
        /// As read.
        found: u16,
        /// As computed from the payload read.
        computed: u16,
    },
}

/// Where the marker lies in a picture of a given size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Side of a cell, pixels.
    cell_px: usize,
}

impl Layout {
    /// Cells of 16 pixels where they fit, else of 8, else `None`.
    #[must_use]
    pub fn for_size(width: usize, height: usize) -> Option<Self> {
        [16, 8]
            .into_iter()
            .find(|cell| width >= (COLUMNS + 2) * cell && height >= (ROWS + 2) * cell)
            .map(|cell_px| Self { cell_px })
    }

    /// The region that the marker and its border cover.
    #[must_use]
    pub fn area(self) -> Rect {
        // At most 34 × 16 = 544 by 6 × 16 = 96.
        let width = ((COLUMNS + 2) * self.cell_px) as u16;
        let height = ((ROWS + 2) * self.cell_px) as u16;
        Rect {
            x: 0,
            y: 0,
            width,
            height,
        }
    }

    fn origin(self, index: usize) -> (usize, usize) {
        (
            (index % COLUMNS + 1) * self.cell_px,
            (index / COLUMNS + 1) * self.cell_px,
        )
    }
}

/// Draws `marker` and its border at the top left of a packed 32-bit picture. A picture that is
/// too small stays as it is.
///
/// # Panics
/// If `bytes` is shorter than `stride` × height: a bug of the caller.
pub fn draw(marker: &Marker, bytes: &mut [u8], stride: usize, size: Size) {
    let Some(layout) = Layout::for_size(size.width.into(), size.height.into()) else {
        return;
    };
    let area = layout.area();
    for row in bytes.chunks_mut(stride).take(area.height.into()) {
        row[..usize::from(area.width) * 4].fill(0);
    }
    let cells = pack(marker);
    let cell_bytes = layout.cell_px * 4;
    for index in (0..CELLS).filter(|index| cells >> (CELLS - 1 - index) & 1 == 1) {
        let (x, y) = layout.origin(index);
        for row in bytes.chunks_mut(stride).skip(y).take(layout.cell_px) {
            row[x * 4..x * 4 + cell_bytes].fill(0xff);
        }
    }
}

/// Reads the marker from the luma of a decoded picture.
///
/// # Errors
/// See [`MarkerError`]; a marker that is returned has passed its checksum.
pub fn read(picture: &Picture<'_>) -> Result<Marker, MarkerError> {
    let (width, height) = (picture.width, picture.height);
    let too_small = MarkerError::TooSmall { width, height };
    let layout = Layout::for_size(width, height).ok_or(too_small)?;
    let area = layout.area();
    let (luma, stride) = (picture.planes[0], picture.strides[0]);
    let bytes_least = (usize::from(area.height) - 1) * stride + usize::from(area.width);
    if stride < usize::from(area.width) || luma.len() < bytes_least {
        return Err(too_small);
    }

    let levels: [i32; CELLS] =
        std::array::from_fn(|index| centre_mean(luma, stride, layout, index));
    let threshold = threshold(&levels)?;
    let cells = levels.iter().fold(0_u128, |cells, level| {
        cells << 1 | u128::from(*level > threshold)
    });

    let sync = (cells >> (CELLS - SYNC_BITS)) as u32;
    if sync != SYNC {
        return Err(MarkerError::NoSync { found: sync });
    }
    unpack(cells)
}

/// The level between black and white, learnt from the synchronisation cells.
fn threshold(levels: &[i32; CELLS]) -> Result<i32, MarkerError> {
    let (mut white, mut black) = ((0, 0), (0, 0));
    for (index, level) in levels[..SYNC_BITS].iter().enumerate() {
        let side = if SYNC >> (SYNC_BITS - 1 - index) & 1 == 1 {
            &mut white
        } else {
            &mut black
        };
        *side = (side.0 + level, side.1 + 1);
    }
    let (white, black) = (white.0 / white.1, black.0 / black.1);
    let contrast = white - black;
    if contrast < CONTRAST_MIN {
        return Err(MarkerError::NoContrast { contrast });
    }
    Ok((white + black) / 2)
}

/// Mean luma of the inner half of a cell: the rim belongs to the deblocking filter.
fn centre_mean(luma: &[u8], stride: usize, layout: Layout, index: usize) -> i32 {
    let (x, y) = layout.origin(index);
    let (margin, side) = (layout.cell_px / 4, layout.cell_px / 2);
    let sum: u32 = luma
        .chunks(stride)
        .skip(y + margin)
        .take(side)
        .flat_map(|row| &row[x + margin..x + margin + side])
        .map(|level| u32::from(*level))
        .sum();
    (sum / (side * side) as u32) as i32
}

fn payload(marker: &Marker) -> [u8; PAYLOAD_BYTES] {
    let mut bytes = [0; PAYLOAD_BYTES];
    bytes[..4].copy_from_slice(&marker.number.to_be_bytes());
    let drawn_us = marker.drawn.as_ns() / 1000;
    bytes[4..10].copy_from_slice(&drawn_us.to_be_bytes()[2..]);
    bytes[10] = marker.look;
    bytes
}

fn pack(marker: &Marker) -> u128 {
    let payload = payload(marker);
    let bits = payload
        .iter()
        .fold(u128::from(SYNC), |bits, byte| bits << 8 | u128::from(*byte));
    bits << 16 | u128::from(crc16(&payload))
}

fn unpack(cells: u128) -> Result<Marker, MarkerError> {
    let bytes = cells.to_be_bytes();
    let payload = &bytes[3..3 + PAYLOAD_BYTES];
    let found = cells as u16;
    let computed = crc16(payload);
    if found != computed {
        return Err(MarkerError::Checksum { found, computed });
    }
    let number = u32::from_be_bytes([bytes[3], bytes[4], bytes[5], bytes[6]]);
    let drawn_us = bytes[7..13]
        .iter()
        .fold(0_u64, |us, byte| us << 8 | u64::from(*byte));
    Ok(Marker {
        number,
        drawn: Timestamp::from_ns(drawn_us * 1000),
        look: bytes[13],
    })
}

/// CRC-16/CCITT-FALSE: polynomial 0x1021, start 0xFFFF, not reflected.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc: u16, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x1021
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: Size = Size {
        width: 640,
        height: 128,
    };

    /// The luma of a freshly drawn marker, limited range.
    fn luma_of(marker: &Marker, size: Size) -> Vec<u8> {
        let stride = usize::from(size.width) * 4;
        let mut bytes = vec![0x80; stride * usize::from(size.height)];
        draw(marker, &mut bytes, stride, size);
        bytes
            .chunks(4)
            .map(|px| 16 + (u32::from(px[0]) * 219 / 255) as u8)
            .collect()
    }

    fn read_luma(luma: &[u8], size: Size) -> Result<Marker, MarkerError> {
        let (width, height) = (usize::from(size.width), usize::from(size.height));
        let picture = Picture {
            width,
            height,
            planes: [luma, &[], &[]],
            strides: [width, 0, 0],
        };
        read(&picture)
    }

    /// A 5-tap box blur along each row, what a deblocking filter does at its worst.
    fn blurred(luma: &[u8]) -> Vec<u8> {
        let sum = |window: &[u8]| window.iter().map(|px| u32::from(*px)).sum::<u32>() / 5;
        let mut out = luma.to_vec();
        for (index, window) in luma.windows(5).enumerate() {
            out[index + 2] = sum(window) as u8;
        }
        out
    }

    fn markers() -> impl Strategy<Value = Marker> {
        (any::<u32>(), 0_u64..1 << 48, any::<u8>()).prop_map(|(number, us, look)| Marker {
            number,
            drawn: Timestamp::from_ns(us * 1000),
            look,
        })
    }

    proptest! {
        #[test]
        fn a_marker_survives_noise_blur_and_quantisation(
            marker in markers(),
            small in any::<bool>(),
            step in 1_u8..96,
            noise in prop::collection::vec(-40_i16..40, 997),
        ) {
            let size = if small { Size { width: 320, height: 64 } } else { SIZE };
            let luma: Vec<u8> = blurred(&luma_of(&marker, size))
                .iter()
                .zip(noise.iter().cycle())
                .map(|(px, noise)| (i16::from(*px) + noise).clamp(0, 255) as u8)
                .map(|px| px / step * step)
                .collect();
            prop_assert_eq!(read_luma(&luma, size), Ok(marker));
        }

        #[test]
        fn any_three_flipped_cells_are_noticed(
            marker in markers(),
            cells in prop::collection::btree_set(0..CELLS, 1..=3),
        ) {
            let mut luma = luma_of(&marker, SIZE);
            let layout = Layout::for_size(640, 128).expect("fits");
            for index in cells {
                let (x, y) = layout.origin(index);
                for row in luma.chunks_mut(640).skip(y).take(16) {
                    row[x..x + 16].iter_mut().for_each(|px| *px = 251 - *px);
                }
            }
            prop_assert!(read_luma(&luma, SIZE).is_err());
        }

        #[test]
        fn arbitrary_pictures_never_panic(
            luma in prop::collection::vec(any::<u8>(), 0..8192),
            width in 0_usize..700,
            height in 0_usize..100,
            stride in 0_usize..700,
        ) {
            let picture = Picture {
                width, height, planes: [&luma, &[], &[]], strides: [stride, 0, 0],
            };
            prop_assert!(read(&picture).is_err());
        }
    }

    #[test]
    fn the_checksum_is_the_published_one() {
        // Check value of CRC-16/CCITT-FALSE (also called CRC-16/IBM-3740) for "123456789".
        assert_eq!(crc16(b"123456789"), 0x29b1);
    }

    #[test]
    fn a_flat_picture_has_no_marker() {
        let grey = vec![100; 640 * 128];
        assert_eq!(
            read_luma(&grey, SIZE),
            Err(MarkerError::NoContrast { contrast: 0 })
        );
    }

    #[test]
    fn a_tiny_picture_has_no_room() {
        assert_eq!(Layout::for_size(128, 128), None);
        assert_eq!(
            Layout::for_size(544, 96).map(Layout::area).map(|r| r.width),
            Some(544)
        );
    }
}
