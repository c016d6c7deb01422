//! The last picture of a session, for whoever wants to look at it afterwards.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use gpu::convert::to_rgb;
use gpu::decode::Picture;
use net::client::ClientCursor;
use net::cursor::{Visibility, blend};

use super::{ClientError, output};

/// A copy of the picture decoded last.
#[derive(Default)]
pub(super) struct LastPicture {
    width: usize,
    height: usize,
    planes: [Vec<u8>; 3],
    strides: [usize; 3],
}

impl LastPicture {
    pub(super) fn keep(&mut self, picture: &Picture<'_>) {
        self.width = picture.width;
        self.height = picture.height;
        self.strides = picture.strides;
        for (kept, plane) in self.planes.iter_mut().zip(picture.planes) {
            kept.clear();
            kept.extend_from_slice(plane);
        }
    }

    /// As PNG, with the pointer on it where the client is to draw it.
    pub(super) fn write_png(&self, path: &Path, cursor: &ClientCursor) -> Result<(), ClientError> {
        if self.width == 0 {
            let none = std::io::Error::other("no picture was decoded");
            return Err(output(path, none));
        }
        let picture = Picture {
            width: self.width,
            height: self.height,
            planes: [&self.planes[0], &self.planes[1], &self.planes[2]],
            strides: self.strides,
        };
        let mut rgb = vec![0; self.width * self.height * 3];
        to_rgb(&picture, &mut rgb).map_err(|error| output(path, std::io::Error::other(error)))?;
        self.draw(cursor, &mut rgb);
        let file = File::create(path).map_err(|source| output(path, source))?;
        let (width, height) = (self.width as u32, self.height as u32);
        let mut encoder = png::Encoder::new(BufWriter::new(file), width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let written = encoder
            .write_header()
            .and_then(|mut writer| writer.write_image_data(&rgb))
            .map_err(|error| std::io::Error::other(error.to_string()));
        written.map_err(|source| output(path, source))
    }

    /// Draws the pointer as a client with a window would.
    fn draw(&self, cursor: &ClientCursor, rgb: &mut [u8]) {
        let pointer = cursor.seen.pointer;
        let shape = cursor.seen.shape.as_deref();
        let Some(shape) = shape.filter(|_| pointer.visibility == Visibility::Shown) else {
            return;
        };
        // Around a change of the mode the pointer may be one of another output.
        let scaled = |at: i32, output: u16, side: usize| {
            let (at, side) = (i64::from(at), i64::try_from(side).unwrap_or(i64::MAX));
            let at = at.saturating_mul(side) / i64::from(output.max(1));
            i32::try_from(at).unwrap_or(i32::MAX)
        };
        let at = (
            scaled(pointer.x, pointer.output.0, self.width),
            scaled(pointer.y, pointer.output.1, self.height),
        );
        shape.each_pixel(at, (self.width, self.height), |x, y, [b, g, r, alpha]| {
            let below = &mut rgb[(y * self.width + x) * 3..][..3];
            for (below, over) in below.iter_mut().zip([r, g, b]) {
                *below = blend(*below, over, alpha);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use net::cursor::{CursorShape, ShapeLayout};

    #[test]
    fn the_pointer_is_drawn_where_it_is_in_this_picture() {
        let picture = LastPicture {
            width: 8,
            height: 4,
            ..LastPicture::default()
        };
        let layout = ShapeLayout::new(1, 1, (0, 0)).expect("valid");
        let pixel = [10, 20, 30, 255].into();
        let mut cursor = ClientCursor::default();
        cursor.seen.shape = Some(Arc::new(
            CursorShape::new(layout, pixel).expect("one pixel"),
        ));
        let drawn = |cursor: &ClientCursor| {
            let mut rgb = vec![0; 8 * 4 * 3];
            picture.draw(cursor, &mut rgb);
            let first = rgb.iter().position(|byte| *byte != 0);
            first.map(|at| (at / 3 % 8, at / 24, [rgb[at], rgb[at + 1], rgb[at + 2]]))
        };
        assert_eq!(drawn(&cursor), None, "hidden");
        cursor.seen.pointer.visibility = Visibility::Shown;
        cursor.seen.pointer.output = (16, 8);
        (cursor.seen.pointer.x, cursor.seen.pointer.y) = (10, 6);
        assert_eq!(
            drawn(&cursor),
            Some((5, 3, [30, 20, 10])),
            "of twice the size"
        );
        (cursor.seen.pointer.x, cursor.seen.pointer.y) = (i32::MAX, i32::MIN);
        assert_eq!(drawn(&cursor), None);
    }
}
