//! A page of text and pictures that scrolls under a title bar, with a side bar that stands still.

use gpu::frame::{Rect, Size};

use super::canvas::{Canvas, Image, Pixel, mix, rgb};
use super::texture::{Random, noise, sentence};
use super::{Scene, clipped};

/// Rows of the page before it repeats: a few screens.
const PAGE_ROWS: usize = 4096;
/// Pixels that the page moves from picture to picture: a brisk flick of the wheel.
const STEP_PX: u32 = 6;
const BAR_PX: i32 = 112;

struct Palette {
    paper: Pixel,
    ink: Pixel,
    accent: Pixel,
    chrome: Pixel,
}

const PALETTES: [Palette; 3] = [
    Palette {
        paper: rgb(0xfbf8f1),
        ink: rgb(0x2b2a33),
        accent: rgb(0xc4472f),
        chrome: rgb(0x1d2733),
    },
    Palette {
        paper: rgb(0x12202b),
        ink: rgb(0xc8dbe6),
        accent: rgb(0x42c3a7),
        chrome: rgb(0x0a1219),
    },
    Palette {
        paper: rgb(0xe3f0de),
        ink: rgb(0x17351f),
        accent: rgb(0x7a3fa0),
        chrome: rgb(0x3d2a52),
    },
];

pub struct Scroll {
    size: Size,
    side_px: i32,
    frame: Image,
    page: Image,
}

impl Scroll {
    pub fn new(size: Size, scene: u32) -> Self {
        let palette = &PALETTES[scene as usize % PALETTES.len()];
        let side_px = i32::from(size.width) / 6;
        let page_width = (i32::from(size.width) - side_px).max(1) as usize;
        Self {
            size,
            side_px,
            frame: surroundings(size, side_px, palette),
            page: page(page_width, palette, u64::from(scene)),
        }
    }

    fn area(&self) -> Rect {
        clipped(
            self.size,
            self.side_px,
            BAR_PX,
            self.size.width.into(),
            self.size.height.into(),
        )
    }
}

impl Scene for Scroll {
    fn base(&self, canvas: &mut Canvas<'_>) {
        canvas.copy(&self.frame, Rect::whole(self.size));
    }

    fn moving(&self, _number: u32, areas: &mut Vec<Rect>) {
        areas.push(self.area());
    }

    fn restore(&self, _canvas: &mut Canvas<'_>, _area: Rect) {}

    fn draw(&self, canvas: &mut Canvas<'_>, number: u32) {
        let area = self.area();
        let offset = (number.wrapping_mul(STEP_PX)) as usize % PAGE_ROWS;
        for row in 0..usize::from(area.height) {
            let y = i32::from(area.y) + row as i32;
            let span = (i32::from(area.x), y, i32::from(area.width));
            canvas.tile_row(span, &self.page, (0, offset + row));
        }
    }
}

fn surroundings(size: Size, side_px: i32, palette: &Palette) -> Image {
    let (width, height) = (i32::from(size.width), i32::from(size.height));
    let mut image = Image::new(size.width.into(), size.height.into());
    let mut canvas = image.canvas();
    canvas.fill(0, 0, width, height, palette.chrome);
    canvas.panel(
        560,
        32,
        width - 600,
        48,
        24,
        mix(palette.chrome, rgb(0xffffff), 36),
    );
    canvas.text(
        592,
        48,
        (2, 2),
        rgb(0xffffff),
        "https://punktfunk.example/page",
    );
    canvas.fill(
        0,
        BAR_PX,
        side_px,
        height,
        mix(palette.chrome, palette.paper, 24),
    );
    let mut random = Random(7);
    for (index, y) in (BAR_PX + 32..height - 16).step_by(40).enumerate() {
        let columns = (side_px / 8 - 6).max(0) as usize;
        let colour = if index == 2 {
            palette.accent
        } else {
            rgb(0xa9b4bf)
        };
        canvas.text(24, y, (1, 2), colour, &sentence(&mut random, columns));
    }
    image
}

fn page(width: usize, palette: &Palette, seed: u64) -> Image {
    let mut image = Image::new(width, PAGE_ROWS);
    let mut canvas = image.canvas();
    canvas.fill(0, 0, width as i32, PAGE_ROWS as i32, palette.paper);
    let mut random = Random(seed + 99);
    let picture = noise(512, 7, seed);
    let text_px = (width as i32 - 96).clamp(0, 1200);
    let columns = (text_px / 8) as usize;
    let mut y = 24;
    while y < PAGE_ROWS as i32 - 400 {
        let title = sentence(&mut random, (columns / 3).max(1));
        canvas.text(48, y, (3, 3), palette.accent, &title);
        y += 48;
        for _ in 0..8 + random.below(10) {
            canvas.text(48, y, (1, 2), palette.ink, &sentence(&mut random, columns));
            y += 24;
        }
        y += 16;
        if random.below(2) == 0 {
            let tint = mix(palette.accent, rgb(random.below(1 << 24)), 128);
            for (dy, row) in picture.chunks(512).take(240).enumerate() {
                for dx in 0..text_px.min(720) {
                    let share = (row[dx as usize % 512] * 256.0) as u32;
                    canvas.set(48 + dx, y + dy as i32, mix(tint, palette.paper, share));
                }
            }
            y += 264;
        }
    }
    image
}
