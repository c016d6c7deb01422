//! Is what was decoded the picture that was drawn? The marker names the picture; it is drawn
//! again here and compared with the decoded luma on a grid of sample points.

use gpu::decode::Picture;
use gpu::frame::Size;

use crate::marker::Marker;
use crate::picture::{Content, Look, Painter, SCENES};

/// Pixels between two sample points, across and down. Odd, so that the points fall on every
/// position within the encoder's blocks.
pub const GRID_PX: usize = 7;

/// Below this a picture is not the one that was drawn: the coarsest quantiser still gives more
/// than 20 dB, another picture of the same scene less than 18 dB.
pub const PSNR_DB_MIN: f64 = 19.0;

/// PSNR that stands for "no difference found", dB.
const PSNR_DB_EQUAL: f64 = 99.0;

/// Why a picture cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The marker names content that this version does not draw.
    #[error("the marker names an unknown content, 0x{0:02x}; was it drawn by another version?")]
    UnknownLook(u8),
    /// Picture sizes beyond what can be painted, or planes shorter than they claim.
    #[error("a decoded picture of {width}x{height} cannot be compared")]
    Size {
        /// Width, pixels.
        width: usize,
        /// Height, pixels.
        height: usize,
    },
}

/// What verification came to over many pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Verified {
    /// Pictures compared.
    pub pictures: u64,
    /// Pictures below [`PSNR_DB_MIN`].
    pub mismatches: u64,
    /// Lowest PSNR of a picture, dB.
    pub psnr_db_min: f64,
    /// Mean of the pictures' PSNR, dB.
    pub psnr_db_mean: f64,
}

impl Verified {
    /// Counts one more picture.
    pub fn add(&mut self, psnr_db: f64) {
        let before = self.pictures as f64;
        self.psnr_db_min = if self.pictures == 0 {
            psnr_db
        } else {
            self.psnr_db_min.min(psnr_db)
        };
        self.psnr_db_mean = (self.psnr_db_mean * before + psnr_db) / (before + 1.0);
        self.pictures += 1;
        self.mismatches += u64::from(psnr_db < PSNR_DB_MIN);
    }
}

/// Draws pictures again and compares. Holds the textures of every look it has met (at most
/// [`crate::picture::SCENES`] of a content in a run), so the first comparison of each is slow.
#[derive(Default)]
pub struct Verifier {
    painters: Vec<Painter>,
    reference: Vec<u8>,
}

impl Verifier {
    /// One that has the textures of a content's first scene, or of all of them, already.
    #[must_use]
    pub fn prepared(content: Content, all_scenes: bool, size: Size) -> Self {
        let scenes = if all_scenes { SCENES } else { 1 };
        let painters = (0..scenes).map(|scene| Painter::new(Look { content, scene }, size));
        Self {
            painters: painters.collect(),
            reference: Vec::new(),
        }
    }

    /// Compares one decoded picture with what its marker says was drawn: PSNR of the luma at the
    /// sample points, dB, at most 99. Costs about as much as drawing the picture.
    ///
    /// # Errors
    /// See [`VerifyError`].
    pub fn psnr_db(&mut self, picture: &Picture<'_>, marker: &Marker) -> Result<f64, VerifyError> {
        let (width, height) = (picture.width, picture.height);
        let wrong_size = VerifyError::Size { width, height };
        let side = |px: usize| {
            u16::try_from(px)
                .ok()
                .filter(|px| *px > 0)
                .ok_or(wrong_size)
        };
        let size = Size {
            width: side(width)?,
            height: side(height)?,
        };
        let (luma, stride) = (picture.planes[0], picture.strides[0]);
        if stride < width || luma.len() < (height - 1) * stride + width {
            return Err(wrong_size);
        }
        let look = Look::unpack(marker.look).ok_or(VerifyError::UnknownLook(marker.look))?;

        let reference = self.reference(look, size, marker);
        let rows = reference.chunks_exact(width * 4).zip(luma.chunks(stride));
        let (mut squares, mut points) = (0_u64, 0_u64);
        for (drawn, decoded) in rows.skip(GRID_PX / 2).step_by(GRID_PX) {
            for x in (GRID_PX / 2..width).step_by(GRID_PX) {
                let drawn = luma_of(&drawn[x * 4..x * 4 + 3]);
                squares += u64::from(drawn.abs_diff(decoded[x])).pow(2);
                points += 1;
            }
        }
        Ok(psnr_db(squares, points))
    }

    /// The picture as it was drawn, packed, without padding.
    fn reference(&mut self, look: Look, size: Size, marker: &Marker) -> &[u8] {
        let found = self
            .painters
            .iter()
            .position(|p| p.look() == look && p.size() == size);
        let index = found.unwrap_or_else(|| {
            self.painters.retain(|painter| painter.size() == size);
            self.painters.push(Painter::new(look, size));
            self.painters.len() - 1
        });
        let stride = usize::from(size.width) * 4;
        self.reference.resize(stride * usize::from(size.height), 0);
        let painter = &mut self.painters[index];
        painter.paint(&mut self.reference, stride, marker.number, None);
        painter.stamp(&mut self.reference, stride, marker.number, marker.drawn);
        &self.reference
    }
}

/// Luma of a pixel (blue, green, red): BT.709, limited range, 8 bits (ITU-R BT.709-6, 3.2 to 3.5).
fn luma_of(pixel: &[u8]) -> u8 {
    let weighted =
        722 * u32::from(pixel[0]) + 7152 * u32::from(pixel[1]) + 2126 * u32::from(pixel[2]);
    // 219 steps over 255 × 10 000, rounded.
    (16 + (weighted * 219 + 1_275_000) / 2_550_000) as u8
}

fn psnr_db(squares: u64, points: u64) -> f64 {
    if squares == 0 {
        return PSNR_DB_EQUAL;
    }
    let mean = squares as f64 / points.max(1) as f64;
    (10.0 * (255.0 * 255.0 / mean).log10()).min(PSNR_DB_EQUAL)
}

#[cfg(test)]
mod tests {
    use net::units::Timestamp;

    use super::*;
    use crate::marker;
    use crate::picture::Content;

    const SIZE: Size = Size {
        width: 640,
        height: 360,
    };

    fn luma(look: Look, number: u32) -> Vec<u8> {
        let mut painter = Painter::new(look, SIZE);
        let mut bytes = vec![0; 640 * 4 * 360];
        painter.paint(&mut bytes, 640 * 4, number, None);
        painter.stamp(&mut bytes, 640 * 4, number, Timestamp::from_ns(5_000_000));
        bytes.chunks(4).map(luma_of).collect()
    }

    fn picture(luma: &[u8]) -> Picture<'_> {
        Picture {
            width: 640,
            height: 360,
            planes: [luma, &[], &[]],
            strides: [640, 0, 0],
        }
    }

    #[test]
    fn the_drawn_picture_is_recognised_and_others_are_not() {
        let mut verifier = Verifier::default();
        for content in [Content::Scroll, Content::Game] {
            let look = Look { content, scene: 0 };
            let drawn = luma(look, 300);
            let marker = marker::read(&picture(&drawn)).expect("freshly drawn");
            assert_eq!(marker.number, 300);
            assert_eq!(verifier.psnr_db(&picture(&drawn), &marker), Ok(99.0));

            let coarse: Vec<u8> = drawn.iter().map(|px| px / 24 * 24 + 12).collect();
            let psnr = verifier
                .psnr_db(&picture(&coarse), &marker)
                .expect("comparable");
            assert!((30.0..45.0).contains(&psnr), "{psnr}");

            // The right marker over the wrong picture.
            let mut other = luma(look, 340);
            other[..640 * 96].copy_from_slice(&drawn[..640 * 96]);
            let psnr = verifier
                .psnr_db(&picture(&other), &marker)
                .expect("comparable");
            assert!(psnr < PSNR_DB_MIN, "{} {psnr}", content.name());
        }
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        let mut verifier = Verifier::default();
        let marker = Marker {
            number: 0,
            drawn: Timestamp::ZERO,
            look: 0xee,
        };
        let short = Picture {
            width: 640,
            height: 360,
            planes: [&[0; 9]; 3],
            strides: [640; 3],
        };
        assert_eq!(
            verifier.psnr_db(&short, &marker),
            Err(VerifyError::Size {
                width: 640,
                height: 360
            })
        );
        let grey = vec![0; 640 * 360];
        assert_eq!(
            verifier.psnr_db(&picture(&grey), &marker),
            Err(VerifyError::UnknownLook(0xee))
        );
    }

    #[test]
    fn luma_ends_at_the_limits_of_its_range() {
        assert_eq!((luma_of(&[0; 3]), luma_of(&[255; 3])), (16, 235));
    }

    #[test]
    fn figures_add_up() {
        let mut verified = Verified::default();
        [40.0, 30.0, 10.0]
            .into_iter()
            .for_each(|psnr| verified.add(psnr));
        assert_eq!((verified.pictures, verified.mismatches), (3, 1));
        assert_eq!(
            (verified.psnr_db_min, verified.psnr_db_mean.round()),
            (10.0, 27.0)
        );
    }
}
