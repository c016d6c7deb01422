//! The pointer's picture on its way from the host's desktop to whoever draws it.
//!
//! What a source of cursors tells and what a client draws are the same: a [`Cursor`]. Pixels are
//! B, G, R, A, eight bits each, sRGB, multiplied by A already, top row first and without gaps.

use std::fmt;
use std::sync::Arc;

use crate::limits::CURSOR_SIDE_PX_MAX;
use crate::units::Timestamp;

/// Bytes of a pixel.
pub const PIXEL_BYTES: usize = 4;

/// A shape that cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A side is zero or too long.
    #[error(
        "a cursor of {width}x{height} pixels is none: sides are 1 to {max}",
        max = CURSOR_SIDE_PX_MAX
    )]
    Size {
        /// Pixels.
        width: u16,
        /// Pixels.
        height: u16,
    },
    /// The hotspot is not one of its pixels.
    #[error("the hotspot {x},{y} is outside of the cursor")]
    Hotspot {
        /// From the left.
        x: u16,
        /// From the top.
        y: u16,
    },
    /// There are not as many pixels as the size says.
    #[error("{found} bytes of pixels instead of {wanted}")]
    Pixels {
        /// Bytes given.
        found: usize,
        /// Bytes that the size takes.
        wanted: usize,
    },
}

/// Sides and hotspot of a shape, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShapeLayout {
    width: u16,
    height: u16,
    hotspot: (u16, u16),
}

impl ShapeLayout {
    /// `hotspot` is the pixel (from the left, from the top) that lies on the pointer's position.
    ///
    /// # Errors
    /// [`ShapeError::Size`], [`ShapeError::Hotspot`].
    pub const fn new(width: u16, height: u16, hotspot: (u16, u16)) -> Result<Self, ShapeError> {
        if width == 0 || height == 0 || width > CURSOR_SIDE_PX_MAX || height > CURSOR_SIDE_PX_MAX {
            return Err(ShapeError::Size { width, height });
        }
        let (x, y) = hotspot;
        if x >= width || y >= height {
            return Err(ShapeError::Hotspot { x, y });
        }
        Ok(Self {
            width,
            height,
            hotspot,
        })
    }

    /// Pixels.
    #[must_use]
    pub const fn width(self) -> u16 {
        self.width
    }

    /// Pixels.
    #[must_use]
    pub const fn height(self) -> u16 {
        self.height
    }

    /// The pixel that lies on the pointer's position, from the left and from the top.
    #[must_use]
    pub const fn hotspot(self) -> (u16, u16) {
        self.hotspot
    }

    /// Bytes of a row.
    #[must_use]
    pub const fn row_bytes(self) -> usize {
        self.width as usize * PIXEL_BYTES
    }

    /// Bytes of all rows.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.row_bytes() * self.height as usize
    }
}

/// What the pointer looks like.
#[derive(Clone, PartialEq, Eq)]
pub struct CursorShape {
    layout: ShapeLayout,
    pixels: Box<[u8]>,
}

impl CursorShape {
    /// Of these pixels, as the module says.
    ///
    /// # Errors
    /// [`ShapeError::Pixels`].
    pub fn new(layout: ShapeLayout, pixels: Box<[u8]>) -> Result<Self, ShapeError> {
        let (found, wanted) = (pixels.len(), layout.bytes());
        if found != wanted {
            return Err(ShapeError::Pixels { found, wanted });
        }
        Ok(Self { layout, pixels })
    }

    /// Sides and hotspot.
    #[must_use]
    pub const fn layout(&self) -> ShapeLayout {
        self.layout
    }

    /// All pixels.
    #[must_use]
    pub const fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Draws it into a picture of `width` times `height` pixels, its hotspot at `x`, `y`; what lies
    /// outside is left out. `pixel` is given each column, row and B, G, R, A as they are here.
    pub fn each_pixel(
        &self,
        (x, y): (i32, i32),
        (width, height): (usize, usize),
        mut pixel: impl FnMut(usize, usize, [u8; 4]),
    ) {
        let layout = self.layout;
        let (left, top) = (
            i64::from(x) - i64::from(layout.hotspot.0),
            i64::from(y) - i64::from(layout.hotspot.1),
        );
        let rows = self.pixels.chunks_exact(layout.row_bytes());
        for (row, pixels) in (top..).zip(rows) {
            let Some(row) = usize::try_from(row).ok().filter(|row| *row < height) else {
                continue;
            };
            for (column, bgra) in (left..).zip(pixels.chunks_exact(PIXEL_BYTES)) {
                let column = usize::try_from(column).ok();
                if let Some(column) = column.filter(|column| *column < width) {
                    pixel(column, row, [bgra[0], bgra[1], bgra[2], bgra[3]]);
                }
            }
        }
    }
}

/// Without its pixels.
impl fmt::Debug for CursorShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.layout, f)
    }
}

/// A channel of a picture with a premultiplied `over` of that `alpha` on top.
#[must_use]
pub const fn blend(below: u8, over: u8, alpha: u8) -> u8 {
    let kept = (below as u32 * (255 - alpha as u32) + 127) / 255;
    let sum = over as u32 + kept;
    if sum > 255 { 255 } else { sum as u8 }
}

/// Who draws the pointer, if anybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// Nobody: there is none, or an application has hidden it.
    #[default]
    Hidden,
    /// The client.
    Shown,
    /// The host has painted it into the pictures.
    Painted,
}

/// Where the pointer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pointer {
    /// Whether it is to be drawn.
    pub visibility: Visibility,
    /// Of its hotspot, from the left of the output, pixels.
    pub x: i32,
    /// From the top.
    pub y: i32,
    /// Width and height, pixels, of the output that `x` and `y` are pixels of.
    pub output: (u16, u16),
}

/// All that a source of cursors knows at a time.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    /// Where.
    pub pointer: Pointer,
    /// What it looks like; `None` while nobody knows. The same `Arc` as before says that nothing
    /// has changed in it.
    pub shape: Option<Arc<CursorShape>>,
    /// When it came to be so.
    pub changed: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_shapes_are_refused() {
        for (width, height) in [(0, 1), (1, 0), (257, 1), (1, 257)] {
            let refused = ShapeLayout::new(width, height, (0, 0));
            assert_eq!(refused, Err(ShapeError::Size { width, height }));
        }
        let (x, y) = (2, 0);
        assert_eq!(
            ShapeLayout::new(2, 2, (x, y)),
            Err(ShapeError::Hotspot { x, y })
        );
        let layout = ShapeLayout::new(256, 256, (255, 255)).expect("the largest");
        let short = vec![0; layout.bytes() - 1].into_boxed_slice();
        assert!(CursorShape::new(layout, short).is_err());
    }

    #[test]
    fn what_lies_outside_of_the_picture_is_left_out() {
        let layout = ShapeLayout::new(3, 2, (1, 1)).expect("valid");
        let pixels: Vec<u8> = (0..24).collect();
        let shape = CursorShape::new(layout, pixels.into()).expect("as many");
        let drawn = |at| {
            let mut drawn = Vec::new();
            shape.each_pixel(at, (4, 4), |x, y, [b, ..]| drawn.push((x, y, b)));
            drawn
        };
        assert_eq!(drawn((0, 0)), [(0, 0, 16), (1, 0, 20)]);
        assert_eq!(drawn((4, 4)), [(3, 3, 0)]);
        assert_eq!(drawn((i32::MIN, i32::MAX)), []);
        assert_eq!(drawn((2, 2)).len(), 6);
    }

    #[test]
    fn blending_keeps_what_is_below_clear_pixels() {
        assert_eq!([blend(200, 0, 0), blend(200, 7, 255)], [200, 7]);
        assert_eq!([blend(255, 128, 128), blend(255, 255, 1)], [255, 255]);
    }
}
