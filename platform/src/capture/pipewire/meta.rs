//! What comes with a picture, as bytes of the producer's: time, damage, cursor. Layouts are those
//! of `spa/buffer/meta.h`; integers are of the machine's own order. Nothing here trusts a number.

use gpu::frame::{Rect, Size};
use net::cursor::{CursorShape, PIXEL_BYTES, ShapeLayout};
use net::limits::CURSOR_SIDE_PX_MAX;
use pw::spa::sys as spa_sys;

use ::pipewire as pw;

/// Bytes of `struct spa_meta_header`.
pub(super) const HEADER_BYTES: usize = 32;
/// Bytes of `struct spa_meta_region`.
pub(super) const REGION_BYTES: usize = 16;
/// Bytes of `struct spa_meta_cursor`.
const CURSOR_BYTES: usize = 28;
/// Bytes of `struct spa_meta_bitmap`.
const BITMAP_BYTES: usize = 20;
/// Widest and highest bitmap that is taken, pixels. Mutter insists on room for 384, KWin for 256.
const CURSOR_SIDE_MAX: u32 = 512;

/// Bytes that a cursor of so many pixels in a square needs.
pub(super) const fn cursor_bytes(side: usize) -> usize {
    CURSOR_BYTES + BITMAP_BYTES + side * side * 4
}

/// Largest of them.
pub(super) const CURSOR_BYTES_MAX: usize = cursor_bytes(CURSOR_SIDE_MAX as usize);

/// The pointer as the producer tells it, where it does not paint it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NodeCursor {
    /// There is none in the picture.
    Hidden,
    /// It is there.
    At {
        /// Where its hotspot is, pixels of the picture; may lie outside.
        position: (i32, i32),
        /// What it looks like from now on; `None`: as before.
        image: Option<Image>,
    },
}

/// What the pointer looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Image {
    /// Nothing: it has no pixels.
    Clear,
    /// This.
    Shape(CursorShape),
}

/// `struct spa_meta_header`, what counts of it.
///
/// | offset | bytes | |
/// |---|---|---|
/// | 0 | 4 | flags |
/// | 8 | 8 | pts, ns, signed |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The pixels are worth nothing.
    pub(super) is_corrupted: bool,
    /// When it was made, ns; `None` where the producer does not say.
    pub(super) pts_ns: Option<u64>,
}

impl Header {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        const CORRUPTED: u32 = 1 << 1;
        let pts = i64::from_ne_bytes(bytes.get(8..16)?.try_into().ok()?);
        Some(Self {
            is_corrupted: word(bytes, 0)? & CORRUPTED != 0,
            pts_ns: u64::try_from(pts).ok().filter(|pts| *pts > 0),
        })
    }
}

/// The smallest rectangle around all regions, cut to the picture. `None` if the producer names
/// none. An array of `struct spa_meta_region` (x, y, width, height) ends with an empty one.
pub(super) fn damage(bytes: &[u8], size: Size) -> Option<Rect> {
    let (regions, _) = bytes.as_chunks::<REGION_BYTES>();
    let mut all = None::<Rect>;
    for region in regions {
        let [x, y] = [0, 4].map(|at| number(region, at).unwrap_or(0).into());
        let [width, height] = [8, 12].map(|at| word(region, at).unwrap_or(0).into());
        if width == 0 || height == 0 {
            break;
        }
        let rect = super::super::pool::clip([x, y, width, height], size);
        all = Some(all.map_or(rect, |all| all.union(rect)));
    }
    all
}

/// The cursor; `None` if the bytes are none.
///
/// | offset | bytes | |
/// |---|---|---|
/// | 0 | 4 | id, 0: there is none |
/// | 8 | 8 | position x, y |
/// | 16 | 8 | hotspot x, y; of the bitmap, and worth nothing without one |
/// | 24 | 4 | offset of a `spa_meta_bitmap`, or 0 |
pub(super) fn cursor(bytes: &[u8]) -> Option<NodeCursor> {
    if word(bytes, 0)? == 0 {
        return Some(NodeCursor::Hidden);
    }
    let position = (number(bytes, 8)?, number(bytes, 12)?);
    let hotspot = (number(bytes, 16)?, number(bytes, 20)?);
    let at = word(bytes, 24)? as usize;
    let image = (at >= CURSOR_BYTES)
        .then(|| bytes.get(at..))
        .flatten()
        .and_then(|bitmap| image(bitmap, hotspot));
    Some(NodeCursor::At { position, image })
}

/// `struct spa_meta_bitmap`: format, width, height, stride (signed), offset of its pixels, which are
/// premultiplied. Without pixels (offset 0; Mutter says nothing else then) the pointer is clear. What
/// is larger than a shape may be is cut.
fn image(bytes: &[u8], hotspot: (i32, i32)) -> Option<Image> {
    let at = word(bytes, 16)? as usize;
    let (width, height) = (word(bytes, 4)?, word(bytes, 8)?);
    if at == 0 || width == 0 || height == 0 {
        return Some(Image::Clear);
    }
    let channels = channels(word(bytes, 0)?)?;
    if width > CURSOR_SIDE_MAX || height > CURSOR_SIDE_MAX {
        return None;
    }
    let stride = usize::try_from(number(bytes, 12)?).ok()?;
    if at < BITMAP_BYTES || stride < width as usize * PIXEL_BYTES {
        return None;
    }
    let cut = |side: u32| (side as u16).min(CURSOR_SIDE_PX_MAX);
    let (width, height) = (cut(width), cut(height));
    let within = |at: i32, side: u16| (at.clamp(0, i32::from(side) - 1)) as u16;
    let hotspot = (within(hotspot.0, width), within(hotspot.1, height));
    let layout = ShapeLayout::new(width, height, hotspot).ok()?;
    let mut pixels = Vec::with_capacity(layout.bytes());
    for y in 0..usize::from(height) {
        let begin = at.checked_add(y.checked_mul(stride)?)?;
        let row = bytes.get(begin..begin.checked_add(layout.row_bytes())?)?;
        let (row, _) = row.as_chunks::<PIXEL_BYTES>();
        pixels.extend(row.iter().flat_map(|pixel| channels.map(|at| pixel[at])));
    }
    let shape = CursorShape::new(layout, pixels.into_boxed_slice()).ok()?;
    Some(Image::Shape(shape))
}

/// Where in a pixel of that `SPA_VIDEO_FORMAT_*` blue, green, red and alpha are.
const fn channels(format: u32) -> Option<[usize; PIXEL_BYTES]> {
    match format {
        spa_sys::SPA_VIDEO_FORMAT_BGRA => Some([0, 1, 2, 3]),
        spa_sys::SPA_VIDEO_FORMAT_RGBA => Some([2, 1, 0, 3]),
        spa_sys::SPA_VIDEO_FORMAT_ARGB => Some([3, 2, 1, 0]),
        spa_sys::SPA_VIDEO_FORMAT_ABGR => Some([1, 2, 3, 0]),
        _ => None,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

fn number(bytes: &[u8], at: usize) -> Option<i32> {
    word(bytes, at).map(u32::cast_signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size {
        width: 100,
        height: 50,
    };

    fn words(words: &[i32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn a_header_without_a_time_has_none() {
        let mut bytes = words(&[2, 0, 0, 0, 0, 0, 0, 0]);
        bytes[8..16].copy_from_slice(&(-1i64).to_ne_bytes());
        let header = Header::parse(&bytes).expect("whole");
        assert!(header.is_corrupted);
        assert_eq!(header.pts_ns, None, "gamescope's");
        bytes[8..16].copy_from_slice(&7i64.to_ne_bytes());
        assert_eq!(Header::parse(&bytes).expect("whole").pts_ns, Some(7));
        assert_eq!(Header::parse(&bytes[..15]), None);
    }

    #[test]
    fn damage_is_all_regions_up_to_the_empty_one() {
        let bytes = words(&[1, 2, 3, 4, 90, 0, 99, 1, 0, 0, 0, 0, 50, 49, 1, 1]);
        let expected = Rect {
            x: 1,
            y: 0,
            width: 99,
            height: 6,
        };
        assert_eq!(damage(&bytes, SIZE), Some(expected));
        assert_eq!(damage(&bytes[32..], SIZE), None);
        assert_eq!(damage(&bytes[..15], SIZE), None);
    }

    #[test]
    fn a_cursor_comes_with_its_pixels_and_never_from_outside_its_bytes() {
        let rgba = spa_sys::SPA_VIDEO_FORMAT_RGBA.cast_signed();
        // A bitmap of 2 x 2 with 12 bytes from row to row, pixels at 20.
        let mut bytes = words(&[1, 0, 5, -6, 1, 9, 28, rgba, 2, 2, 12, 20]);
        bytes.extend(1..=20);
        let told = |bytes: &[u8]| match cursor(bytes) {
            Some(NodeCursor::At { position, image }) => (position, image),
            other => panic!("{other:?}"),
        };
        let (position, image) = told(&bytes);
        assert_eq!(position, (5, -6));
        let Some(Image::Shape(shape)) = image else {
            panic!("{image:?}");
        };
        assert_eq!(shape.layout().hotspot(), (1, 1), "within the bitmap");
        let expected = [3, 2, 1, 4, 7, 6, 5, 8, 15, 14, 13, 16, 19, 18, 17, 20];
        assert_eq!(shape.pixels(), expected);
        let (_, short) = told(&bytes[..bytes.len() - 1]);
        assert_eq!(short, None, "the last row is not all there");
        let (_, as_before) = told(&words(&[1, 0, 5, 6, 0, 0, 0]));
        assert_eq!(as_before, None);
        let (_, clear) = told(&words(&[1, 0, 5, 6, 0, 0, 28, rgba, 0, 0, 0, 0]));
        assert_eq!(
            clear,
            Some(Image::Clear),
            "Mutter's pointer of an application without one"
        );
        let none = cursor(&words(&[0, 0, 5, 6, 0, 0, 0]));
        assert_eq!(none, Some(NodeCursor::Hidden));
    }

    #[test]
    fn a_cursor_larger_than_a_shape_is_cut() {
        let bgra = spa_sys::SPA_VIDEO_FORMAT_BGRA.cast_signed();
        let mut bytes = words(&[1, 0, 0, 0, 300, 2, 28, bgra, 384, 3, 384 * 4, 20]);
        bytes.resize(bytes.len() + 384 * 3 * 4, 7);
        let Some(NodeCursor::At {
            image: Some(Image::Shape(shape)),
            ..
        }) = cursor(&bytes)
        else {
            panic!("it is one");
        };
        let layout = shape.layout();
        assert_eq!((layout.width(), layout.height()), (CURSOR_SIDE_PX_MAX, 3));
        assert_eq!(layout.hotspot(), (CURSOR_SIDE_PX_MAX - 1, 2));
    }

    #[test]
    fn any_bytes_are_read_without_harm() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        for length in 0..2000usize {
            let bytes: Vec<u8> = (0..length % 97)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (state >> 60) as u8
                })
                .collect();
            let _ = (Header::parse(&bytes), damage(&bytes, SIZE), cursor(&bytes));
        }
    }
}
