//! Shapes as compositors hand them out: in a buffer that is larger than what is seen of them.

use net::cursor::{CursorShape, PIXEL_BYTES, ShapeLayout};
use net::limits::CURSOR_SIDE_PX_MAX;

/// Of an image of B, G, R, A multiplied by A, `stride` bytes a row and `width` times `height`
/// pixels, what is seen: without the clear pixels around that and the hotspot, which compositors
/// fill a plane's buffer up with, and cut to the largest shape. `None` if it is all clear.
pub(crate) fn trimmed(
    pixels: &[u8],
    stride: usize,
    (width, height): (usize, usize),
    hotspot: (i32, i32),
) -> Option<CursorShape> {
    let row = |y: usize| &pixels[y * stride..][..width * PIXEL_BYTES];
    let is_seen = |pixel: &[u8]| pixel[3] != 0;
    let seen = |y: &usize| row(*y).chunks_exact(PIXEL_BYTES).any(is_seen);
    let (first, last) = ((0..height).find(seen)?, (0..height).rfind(seen)?);
    let column = |x: &usize| (first..=last).any(|y| row(y)[x * PIXEL_BYTES + 3] != 0);
    let (left, right) = ((0..width).find(column)?, (0..width).rfind(column)?);
    let within = |at: i32, side: usize| usize::try_from(at).unwrap_or(0).min(side - 1);
    let (x, y) = (within(hotspot.0, width), within(hotspot.1, height));
    let (left, right, first, last) = (left.min(x), right.max(x), first.min(y), last.max(y));
    let px_max = usize::from(CURSOR_SIDE_PX_MAX);
    let (columns, rows) = (
        (right - left + 1).min(px_max),
        (last - first + 1).min(px_max),
    );
    let cut: Vec<u8> = (first..first + rows)
        .flat_map(|y| &row(y)[left * PIXEL_BYTES..][..columns * PIXEL_BYTES])
        .copied()
        .collect();
    let hotspot = ((x - left).min(columns - 1), (y - first).min(rows - 1));
    let hotspot = (hotspot.0 as u16, hotspot.1 as u16);
    let layout = ShapeLayout::new(columns as u16, rows as u16, hotspot).ok()?;
    CursorShape::new(layout, cut.into_boxed_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_clear_around_a_cursor_is_cut_off() {
        // Rows have eight bytes more than pixels.
        let filled = |seen: &[(usize, usize)]| {
            let mut bytes = vec![0; 6 * 40];
            for (x, y) in seen {
                bytes[y * 40 + x * 4..][..4].copy_from_slice(&[1, 2, 3, 255]);
            }
            bytes
        };
        let cut = |seen: &[(usize, usize)], hotspot| {
            let shape = trimmed(&filled(seen), 40, (8, 6), hotspot)?.layout();
            Some((shape.width(), shape.height(), shape.hotspot()))
        };
        assert_eq!(cut(&[], (0, 0)), None);
        assert_eq!(cut(&[(2, 1), (4, 3)], (3, 1)), Some((3, 3, (1, 0))));
        assert_eq!(
            cut(&[(2, 1)], (0, 0)),
            Some((3, 2, (0, 0))),
            "with its hotspot"
        );
        assert_eq!(
            cut(&[(2, 1)], (-9, 99)),
            Some((3, 5, (0, 4))),
            "within the image"
        );
        let shape = trimmed(&filled(&[(7, 5)]), 40, (8, 6), (7, 5)).expect("a pixel");
        assert_eq!(shape.pixels(), [1, 2, 3, 255]);
    }
}
