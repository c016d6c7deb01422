//! A desktop at work: two windows of text over a wallpaper, a terminal somebody types in, a
//! blinking caret, a load meter and a pointer that wanders. Few pixels change, as on most
//! desktops most of the time.

use gpu::frame::{Rect, Size};

use super::canvas::{Canvas, Image, Pixel, mix, rgb};
use super::texture::{Random, sentence, swing};
use super::{Scene, clipped};

const LINE_PX: i32 = 20;
const GLYPH_PX: i32 = 8;
/// Pictures from one typed letter to the next: ten letters a second at 60 Hz.
const TYPING: u32 = 6;
const BLINK: u32 = 30;
const METER: u32 = 15;
const METER_BARS: i32 = 16;
const POINTER_PX: i32 = 24;
/// Pictures in which the pointer moves, of each [`POINTER_CYCLE`]; then it rests.
const POINTER_MOVES: u32 = 150;
const POINTER_CYCLE: u32 = 240;
const TOP_PX: i32 = 112;

struct Palette {
    wall: [Pixel; 2],
    paper: Pixel,
    ink: Pixel,
    accents: [Pixel; 3],
}

const PALETTES: [Palette; 3] = [
    Palette {
        wall: [rgb(0x16324a), rgb(0x6a4c7d)],
        paper: rgb(0x1b1f27),
        ink: rgb(0xcfd6e0),
        accents: [rgb(0x7fc8ff), rgb(0xf2b866), rgb(0x8fd18a)],
    },
    Palette {
        wall: [rgb(0xe9c9a8), rgb(0x7aa6a1)],
        paper: rgb(0xfcfbf7),
        ink: rgb(0x33333b),
        accents: [rgb(0x0b63b5), rgb(0xb0342c), rgb(0x2f7d32)],
    },
    Palette {
        wall: [rgb(0x0d0d12), rgb(0x26402f)],
        paper: rgb(0x06120a),
        ink: rgb(0x7dfc9b),
        accents: [rgb(0xd6ff8a), rgb(0x4fd0c8), rgb(0xffd24a)],
    },
];

/// A window: its outer place and what may be written in it.
#[derive(Clone, Copy)]
struct Window {
    x: i32,
    y: i32,
    width: i32,
    height: i32,
}

impl Window {
    fn columns(self) -> usize {
        ((self.width - 48) / GLYPH_PX).max(0) as usize
    }

    fn lines(self) -> i32 {
        ((self.height - 56) / LINE_PX).max(0)
    }

    fn line(self, index: i32) -> (i32, i32) {
        (self.x + 24, self.y + 44 + index * LINE_PX)
    }
}

pub struct Desk {
    size: Size,
    base: Image,
    ink: Pixel,
    accent: Pixel,
    terminal: Window,
    typed: Vec<String>,
}

impl Desk {
    pub fn new(size: Size, scene: u32) -> Self {
        let palette = &PALETTES[scene as usize % PALETTES.len()];
        let (width, height) = (i32::from(size.width), i32::from(size.height));
        let editor = Window {
            x: width / 20,
            y: TOP_PX + 16,
            width: width * 11 / 20,
            height: height - TOP_PX - 64,
        };
        let terminal = Window {
            x: width * 11 / 20,
            y: TOP_PX + height / 5,
            width: width * 2 / 5,
            height: height * 11 / 20,
        };
        let mut random = Random(u64::from(scene) + 5);
        let columns = terminal.columns().saturating_sub(3);
        let typed = (0..16).map(|_| sentence(&mut random, columns)).collect();
        let base = still(size, palette, editor, terminal);
        Self {
            size,
            base,
            ink: palette.ink,
            accent: palette.accents[1],
            terminal,
            typed,
        }
    }

    /// The line that is being typed, and how many of its letters are there.
    fn typing(&self, number: u32) -> (&str, usize) {
        let letters = (number / TYPING) as usize;
        let columns = self.terminal.columns().max(1);
        let line = &self.typed[letters / columns % self.typed.len()];
        (line, (letters % columns).min(line.len()))
    }

    fn prompt(&self) -> (i32, i32) {
        self.terminal.line(self.terminal.lines() - 1)
    }

    fn pointer(&self, number: u32) -> (i32, i32) {
        let cycles = number / POINTER_CYCLE;
        let step = cycles * POINTER_MOVES + (number % POINTER_CYCLE).min(POINTER_MOVES);
        let (width, height) = (i32::from(self.size.width), i32::from(self.size.height));
        let x = width / 2 + swing(step, 410, 9000, width * 2 / 5);
        let y = height * 3 / 5 + swing(step, 290, 30_000, height / 4);
        (x, y)
    }

    fn meter(&self) -> (i32, i32) {
        (i32::from(self.size.width) - METER_BARS * 10 - 24, 12)
    }
}

impl Scene for Desk {
    fn base(&self, canvas: &mut Canvas<'_>) {
        canvas.copy(&self.base, Rect::whole(self.size));
    }

    fn moving(&self, number: u32, areas: &mut Vec<Rect>) {
        let (x, y) = self.prompt();
        areas.push(clipped(self.size, x, y, self.terminal.width - 48, LINE_PX));
        let (x, y) = self.meter();
        areas.push(clipped(self.size, x, y, METER_BARS * 10, 40));
        let (x, y) = self.pointer(number);
        areas.push(clipped(self.size, x, y, POINTER_PX, POINTER_PX));
    }

    fn restore(&self, canvas: &mut Canvas<'_>, area: Rect) {
        canvas.copy(&self.base, area);
    }

    fn draw(&self, canvas: &mut Canvas<'_>, number: u32) {
        let (x, y) = self.prompt();
        let (line, letters) = self.typing(number);
        canvas.text(x, y + 2, (1, 2), self.accent, ">");
        canvas.text(x + 2 * GLYPH_PX, y + 2, (1, 2), self.ink, &line[..letters]);
        if (number / BLINK).is_multiple_of(2) {
            let caret = x + (letters as i32 + 2) * GLYPH_PX;
            canvas.fill(caret, y + 1, GLYPH_PX, LINE_PX - 2, self.ink);
        }

        let (x, y) = self.meter();
        let mut random = Random(u64::from(number / METER));
        for bar in 0..METER_BARS {
            let height = 4 + random.below(36) as i32;
            canvas.fill(x + bar * 10, y + 40 - height, 8, height, self.accent);
        }

        let (x, y) = self.pointer(number);
        for row in 0..POINTER_PX {
            let width = (row * 2 / 3).min((POINTER_PX - row) * 2) + 1;
            canvas.fill(x, y + row, width, 1, rgb(0x000000));
            canvas.fill(x + 1, y + row, width - 2, 1, rgb(0xffffff));
        }
    }
}

fn still(size: Size, palette: &Palette, editor: Window, terminal: Window) -> Image {
    let (width, height) = (usize::from(size.width), usize::from(size.height));
    let mut image = Image::from_fn(width, height, |x, y| {
        let share = (x * 96 / width + y * 160 / height) as u32;
        mix(palette.wall[0], palette.wall[1], share)
    });
    let mut canvas = image.canvas();
    canvas.fill(
        0,
        0,
        width as i32,
        64,
        mix(palette.paper, rgb(0x000000), 128),
    );
    let mut random = Random(11);
    window(&mut canvas, palette, editor, "main.rs");
    for index in 0..editor.lines() {
        code_line(&mut canvas, palette, editor, index, &mut random);
    }
    window(&mut canvas, palette, terminal, "terminal");
    for index in 0..terminal.lines() - 1 {
        let (x, y) = terminal.line(index);
        let colour = if index % 5 == 0 {
            palette.accents[2]
        } else {
            palette.ink
        };
        canvas.text(
            x,
            y + 2,
            (1, 2),
            colour,
            &sentence(&mut random, terminal.columns()),
        );
    }
    image
}

fn window(canvas: &mut Canvas<'_>, palette: &Palette, place: Window, title: &str) {
    let Window {
        x,
        y,
        width,
        height,
    } = place;
    let edge = mix(palette.paper, rgb(0x000000), 110);
    canvas.panel(x - 2, y - 2, width + 4, height + 4, 12, edge);
    canvas.panel(x, y, width, height, 10, palette.paper);
    for (index, colour) in palette.accents.into_iter().enumerate() {
        canvas.disc(
            ((x + 22 + index as i32 * 22) as f32, (y + 20) as f32),
            6.5,
            colour,
        );
    }
    canvas.text(
        x + 100,
        y + 12,
        (1, 2),
        mix(palette.ink, palette.paper, 96),
        title,
    );
}

fn code_line(
    canvas: &mut Canvas<'_>,
    palette: &Palette,
    place: Window,
    index: i32,
    random: &mut Random,
) {
    let (x, y) = place.line(index);
    let faint = mix(palette.ink, palette.paper, 150);
    canvas.text(x, y + 2, (1, 2), faint, &format!("{:>4}", index + 1));
    if random.below(7) == 0 {
        return;
    }
    let mut column = 6 + 4 * random.below(4) as usize;
    for _ in 0..2 + random.below(6) {
        let room = place.columns().saturating_sub(column + 1);
        let word = sentence(random, room.min(14));
        let colour = match random.below(6) {
            choice @ 0..3 => palette.accents[choice as usize],
            _ => palette.ink,
        };
        canvas.text(x + column as i32 * GLYPH_PX, y + 2, (1, 2), colour, &word);
        column += word.len() + 1;
    }
}
