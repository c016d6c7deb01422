//! Drawing into packed 32-bit pixels (blue, green, red, unused): the few shapes that the test
//! card needs. Everything is clipped; nothing here panics on coordinates.

use font8x8::legacy::BASIC_LEGACY;
use gpu::frame::Rect;

/// A pixel as it lies in memory: blue, green, red, unused.
pub type Pixel = [u8; 4];

/// A colour from its usual notation `0xRRGGBB`.
#[must_use]
pub const fn rgb(code: u32) -> Pixel {
    let [_, red, green, blue] = code.to_be_bytes();
    [blue, green, red, 0xff]
}

/// `a` and `b` mixed: `share` of 256 is `b`.
#[must_use]
pub fn mix(a: Pixel, b: Pixel, share: u32) -> Pixel {
    let channel = |index: usize| {
        ((u32::from(a[index]) * (256 - share) + u32::from(b[index]) * share) >> 8) as u8
    };
    [channel(0), channel(1), channel(2), 0xff]
}

/// A picture in memory of its own.
pub struct Image {
    /// Width, pixels.
    pub width: usize,
    /// Height, pixels.
    pub height: usize,
    bytes: Vec<u8>,
}

impl Image {
    /// A black picture.
    #[must_use]
    pub fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            bytes: vec![0; width * height * 4],
        }
    }

    /// A picture whose pixels are computed one by one.
    pub fn from_fn(
        width: usize,
        height: usize,
        mut pixel: impl FnMut(usize, usize) -> Pixel,
    ) -> Self {
        let mut image = Self::new(width, height);
        for (index, out) in image.bytes.chunks_exact_mut(4).enumerate() {
            out.copy_from_slice(&pixel(index % width, index / width));
        }
        image
    }

    /// To draw on it.
    pub fn canvas(&mut self) -> Canvas<'_> {
        let stride = self.width * 4;
        Canvas {
            bytes: &mut self.bytes,
            stride,
            width: self.width,
            height: self.height,
        }
    }

    /// The bytes of row `y`, wrapped around at the height.
    #[must_use]
    pub fn row(&self, y: usize) -> &[u8] {
        let stride = self.width * 4;
        let start = y % self.height * stride;
        &self.bytes[start..start + stride]
    }

    /// A pixel, wrapped around at both sides.
    #[must_use]
    pub fn pixel(&self, x: usize, y: usize) -> Pixel {
        let at = x % self.width * 4;
        let row = self.row(y);
        [row[at], row[at + 1], row[at + 2], row[at + 3]]
    }
}

/// Borrowed pixels to draw on.
pub struct Canvas<'a> {
    /// `stride` × `height` bytes, top row first.
    pub bytes: &'a mut [u8],
    /// Bytes from row to row.
    pub stride: usize,
    /// Width, pixels.
    pub width: usize,
    /// Height, pixels.
    pub height: usize,
}

impl Canvas<'_> {
    /// Bytes of the pixels `x .. x + width` of row `y`, clipped; empty where nothing is left.
    pub fn span(&mut self, x: i32, y: i32, width: i32) -> &mut [u8] {
        let start = x.clamp(0, self.width as i32) as usize;
        let end = x
            .saturating_add(width)
            .clamp(start as i32, self.width as i32) as usize;
        if y < 0 || y as usize >= self.height {
            return &mut [];
        }
        let row = y as usize * self.stride;
        &mut self.bytes[row + start * 4..row + end * 4]
    }

    /// Sets one pixel.
    pub fn set(&mut self, x: i32, y: i32, colour: Pixel) {
        if let Some(out) = self.span(x, y, 1).first_chunk_mut() {
            *out = colour;
        }
    }

    /// Mixes `share` of 256 of `colour` into one pixel.
    pub fn blend(&mut self, x: i32, y: i32, colour: Pixel, share: u32) {
        if let Some(out) = self.span(x, y, 1).first_chunk_mut() {
            *out = mix(*out, colour, share.min(256));
        }
    }

    /// A filled rectangle.
    pub fn fill(&mut self, x: i32, y: i32, width: i32, height: i32, colour: Pixel) {
        for y in y.max(0)..y.saturating_add(height).min(self.height as i32) {
            for out in self.span(x, y, width).chunks_exact_mut(4) {
                out.copy_from_slice(&colour);
            }
        }
    }

    /// A filled rectangle with round corners, drawn with soft edges.
    pub fn panel(&mut self, x: i32, y: i32, width: i32, height: i32, radius: i32, colour: Pixel) {
        let radius = radius.min(width / 2).min(height / 2);
        self.fill(x, y + radius, width, height - 2 * radius, colour);
        self.fill(x + radius, y, width - 2 * radius, radius, colour);
        self.fill(
            x + radius,
            y + height - radius,
            width - 2 * radius,
            radius,
            colour,
        );
        for dy in 0..radius {
            for dx in 0..radius {
                let (far_x, far_y) = ((radius - dx) as f32 - 0.5, (radius - dy) as f32 - 0.5);
                let share = coverage(radius as f32 - far_x.hypot(far_y));
                let (right, bottom) = (x + width - 1 - dx, y + height - 1 - dy);
                for (px, py) in [
                    (x + dx, y + dy),
                    (right, y + dy),
                    (x + dx, bottom),
                    (right, bottom),
                ] {
                    self.blend(px, py, colour, share);
                }
            }
        }
    }

    /// A filled disc with soft edges.
    pub fn disc(&mut self, centre: (f32, f32), radius: f32, colour: Pixel) {
        self.ring(centre, radius, radius + 1.0, colour);
    }

    /// The ring between `radius` and `radius - thickness`, with soft edges.
    pub fn ring(&mut self, centre: (f32, f32), radius: f32, thickness: f32, colour: Pixel) {
        let (left, right) = (
            (centre.0 - radius - 1.0) as i32,
            (centre.0 + radius + 2.0) as i32,
        );
        let (top, bottom) = (
            (centre.1 - radius - 1.0) as i32,
            (centre.1 + radius + 2.0) as i32,
        );
        for y in top..bottom {
            for x in left..right {
                let distance = (x as f32 - centre.0).hypot(y as f32 - centre.1);
                let outside = coverage(radius - distance + 0.5);
                let inside = coverage(distance - (radius - thickness) + 0.5);
                let share = outside.min(inside);
                if share > 0 {
                    self.blend(x, y, colour, share);
                }
            }
        }
    }

    /// A line of text in the 8×8 font, each font pixel `scale` pixels wide and high. Characters
    /// outside ASCII show as a question mark.
    pub fn text(&mut self, x: i32, y: i32, scale: (i32, i32), colour: Pixel, text: &str) {
        for (index, glyph) in text.chars().map(glyph).enumerate() {
            let left = x + index as i32 * 8 * scale.0;
            for (column, row) in set_pixels(glyph) {
                let (px, py) = (left + column * scale.0, y + row * scale.1);
                self.fill(px, py, scale.0, scale.1, colour);
            }
        }
    }

    /// A line of text as a matrix of round dots, `pitch` pixels from dot to dot.
    pub fn dot_text(&mut self, x: f32, y: f32, pitch: f32, colour: Pixel, text: &str) {
        for (index, glyph) in text.chars().map(glyph).enumerate() {
            let left = x + index as f32 * 8.0 * pitch;
            for (column, row) in set_pixels(glyph) {
                let centre = (
                    left + (column as f32 + 0.5) * pitch,
                    y + (row as f32 + 0.5) * pitch,
                );
                self.disc(centre, pitch * 0.44, colour);
            }
        }
    }

    /// Copies `area` of `source` to the same place here.
    pub fn copy(&mut self, source: &Image, area: Rect) {
        let (x, width) = (i32::from(area.x), i32::from(area.width));
        for y in area.y..area.y.saturating_add(area.height) {
            if usize::from(y) >= source.height {
                break;
            }
            let out = self.span(x, i32::from(y), width.min(source.width as i32 - x));
            let from = usize::from(area.x) * 4;
            if let Some(row) = source.row(y.into()).get(from..from + out.len()) {
                out.copy_from_slice(row);
            }
        }
    }

    /// Fills the pixels `x .. x + width` of row `y` with row `source_y` of `source`, from column
    /// `source_x` on, repeating it as often as needed.
    pub fn tile_row(
        &mut self,
        (x, y, width): (i32, i32, i32),
        source: &Image,
        (source_x, source_y): (usize, usize),
    ) {
        let row = source.row(source_y);
        let clipped = x.min(0).unsigned_abs() as usize;
        let mut from = (source_x + clipped) % source.width * 4;
        let mut out = self.span(x, y, width);
        while !out.is_empty() {
            let bytes = out.len().min(row.len() - from);
            let (now, later) = out.split_at_mut(bytes);
            now.copy_from_slice(&row[from..from + bytes]);
            (out, from) = (later, 0);
        }
    }
}

/// How much of a pixel lies within an edge that is `distance` pixels away: 0 to 256.
fn coverage(distance: f32) -> u32 {
    (distance.clamp(0.0, 1.0) * 256.0) as u32
}

fn glyph(character: char) -> [u8; 8] {
    BASIC_LEGACY
        .get(character as usize)
        .copied()
        .unwrap_or(BASIC_LEGACY[usize::from(b'?')])
}

/// Columns and rows of the set pixels of a glyph; the lowest bit is the leftmost pixel.
fn set_pixels(glyph: [u8; 8]) -> impl Iterator<Item = (i32, i32)> {
    (0..64)
        .filter(move |bit| glyph[bit / 8] >> (bit % 8) & 1 == 1)
        .map(|bit| (bit as i32 % 8, bit as i32 / 8))
}
