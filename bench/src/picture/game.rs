//! A game: a sky that drifts, hills that pass, a ground whose rows move the faster the nearer
//! they are (no block of it moves as a whole), ships that cross and sparks that never repeat.

use gpu::frame::{Rect, Size};

use super::Scene;
use super::canvas::{Canvas, Image, Pixel, mix, rgb};
use super::texture::{Random, noise, swing};

/// Side of the textures, pixels. They tile.
const TILE: usize = 1024;
const SHIPS: u32 = 9;
const SHIP_PX: i32 = 112;
const SPARKS: u64 = 240;
/// Pictures from one turn of the strafing camera to the next.
const STRAFE: u64 = 120;
/// Grain that is baked into the textures, levels either way: film-like detail that a coarse
/// quantiser drops and a fine one pays for.
const GRAIN: u32 = 7;
/// Speckles (stones, stars, leaves), levels either way, and one in how many pixels: detail that
/// no useful quantiser drops.
const SPECKLE: i32 = 44;
const SPECKLE_ONE_IN: u32 = 20;

struct Palette {
    sky: [Pixel; 3],
    hills: [Pixel; 2],
    ground: [Pixel; 3],
    ship: [Pixel; 2],
}

const PALETTES: [Palette; 3] = [
    Palette {
        sky: [rgb(0x141a3c), rgb(0x5b3f78), rgb(0xf08a5d)],
        hills: [rgb(0x1a1430), rgb(0x4a2f58)],
        ground: [rgb(0x1f3b2c), rgb(0x57803f), rgb(0xc7b56a)],
        ship: [rgb(0xeef2f7), rgb(0xd43d51)],
    },
    Palette {
        sky: [rgb(0x9fd3ff), rgb(0xe9f6ff), rgb(0xffffff)],
        hills: [rgb(0x5d7f99), rgb(0xdfe9ef)],
        ground: [rgb(0x8fa6b5), rgb(0xdde7ec), rgb(0x3f5a70)],
        ship: [rgb(0x20242c), rgb(0xf0a500)],
    },
    Palette {
        sky: [rgb(0x2b0f0a), rgb(0x8a1f11), rgb(0xffb23f)],
        hills: [rgb(0x120604), rgb(0x5a1a0c)],
        ground: [rgb(0x2a1a14), rgb(0x7c3b1c), rgb(0xff7a2d)],
        ship: [rgb(0x9be8ff), rgb(0x2d5bff)],
    },
];

pub struct Game {
    size: Size,
    sky: Image,
    hills: Image,
    /// For each row of the hills the runs of columns, from and length, that are hill.
    hill_runs: Vec<Vec<(usize, usize)>>,
    ground: Image,
    ship: Image,
    /// For each row of the ship its first column and its width.
    hull: Vec<(i32, i32)>,
    spark: Pixel,
}

impl Game {
    pub fn new(size: Size, scene: u32) -> Self {
        let palette = &PALETTES[scene as usize % PALETTES.len()];
        let seed = u64::from(scene) * 1000;
        let height = usize::from(size.height);
        let hill_rows = (height / 5).max(1);
        let line = noise(TILE, 6, seed + 3);
        // A column's hills start at this row of their band; the line is one row of the noise.
        let ridge: Vec<usize> = line[..TILE]
            .iter()
            .map(|at| (at * 0.8 * hill_rows as f32) as usize)
            .collect();
        let ship = ship(palette.ship);
        Self {
            size,
            sky: textured(palette.sky, 6, seed + 1),
            hills: textured(
                [palette.hills[0], palette.hills[1], palette.hills[0]],
                8,
                seed + 2,
            ),
            hill_runs: (0..height / 5)
                .map(|row| runs(TILE, |x| row >= ridge[x]))
                .collect(),
            ground: textured(palette.ground, 8, seed + 4),
            hull: (0..SHIP_PX)
                .map(|row| hull_row(&ship, row as usize))
                .collect(),
            ship,
            spark: palette.ship[0],
        }
    }

    fn horizon(&self) -> usize {
        usize::from(self.size.height) * 9 / 20
    }

    fn draw_land(&self, canvas: &mut Canvas<'_>, number: u32) {
        let width = i32::from(self.size.width);
        let (horizon, height) = (self.horizon(), usize::from(self.size.height));
        let near = height - horizon;
        // The camera strafes there and back, so that rows never drift apart without end: the
        // difficulty stays the same however long the game runs.
        let phase = u64::from(number) % (2 * STRAFE);
        let camera = STRAFE - phase.abs_diff(STRAFE);
        for row in 0..near {
            // From 1.5 to about 20 pixels a picture, in 256ths.
            let speed_q8 = 384 + 4864 * row as u64 / near as u64;
            let x = ((camera * speed_q8) >> 8) as usize;
            // Rows crowd towards the horizon, as perspective has it.
            let depth = TILE * near / (near / 4 + row + 1) / 2 + number as usize / 2;
            canvas.tile_row((0, (horizon + row) as i32, width), &self.ground, (x, depth));
        }
    }

    fn draw_hills(&self, canvas: &mut Canvas<'_>, number: u32) {
        let width = i32::from(self.size.width);
        let top = self.horizon().saturating_sub(self.hill_runs.len());
        let shift = (number as usize * 3 / 2 % TILE) as i32;
        for (row, runs) in self.hill_runs.iter().enumerate() {
            for (from, length) in runs {
                for left in (-shift..width).step_by(TILE) {
                    let place = (left + *from as i32, (top + row) as i32, *length as i32);
                    canvas.tile_row(place, &self.hills, (*from, row));
                }
            }
        }
    }

    fn draw_ships(&self, canvas: &mut Canvas<'_>, number: u32) {
        let (width, height) = (i32::from(self.size.width), i32::from(self.size.height));
        for index in 0..SHIPS {
            let phase = index * 7001;
            let x = width / 2 + swing(number, 190 + 23 * index, phase, width * 9 / 20);
            let y = height / 2 + swing(number, 130 + 17 * index, phase * 3, height * 2 / 5);
            for (row, (from, length)) in self.hull.iter().enumerate() {
                let place = (
                    x - SHIP_PX / 2 + from,
                    y - SHIP_PX / 2 + row as i32,
                    *length,
                );
                canvas.tile_row(place, &self.ship, (*from as usize, row));
            }
        }
    }

    fn draw_sparks(&self, canvas: &mut Canvas<'_>, number: u32) {
        let mut random = Random(u64::from(number) * SPARKS);
        let (width, height) = (u32::from(self.size.width), u32::from(self.size.height));
        for _ in 0..SPARKS {
            let (x, y) = (random.below(width) as i32, random.below(height) as i32);
            let side = 1 + random.below(4) as i32;
            canvas.fill(x, y, side, side, self.spark);
        }
    }
}

impl Scene for Game {
    fn base(&self, _canvas: &mut Canvas<'_>) {}

    fn moving(&self, _number: u32, areas: &mut Vec<Rect>) {
        areas.push(Rect::whole(self.size));
    }

    fn restore(&self, _canvas: &mut Canvas<'_>, _area: Rect) {}

    fn draw(&self, canvas: &mut Canvas<'_>, number: u32) {
        let width = i32::from(self.size.width);
        let drift = number as usize;
        for y in 0..self.horizon() {
            canvas.tile_row((0, y as i32, width), &self.sky, (drift, y + drift / 3));
        }
        self.draw_land(canvas, number);
        self.draw_hills(canvas, number);
        self.draw_ships(canvas, number);
        self.draw_sparks(canvas, number);
        let score = format!("SCORE {:07}", u64::from(number) * 25 % 10_000_000);
        let right = width - 32 - score.len() as i32 * 24;
        canvas.text(right + 3, 35, (3, 3), rgb(0x000000), &score);
        canvas.text(right, 32, (3, 3), rgb(0xffffff), &score);
    }
}

/// The runs, from and length, of the columns below `width` for which `inside` holds.
fn runs(width: usize, inside: impl Fn(usize) -> bool) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for x in (0..width).filter(|x| inside(*x)) {
        match runs.last_mut() {
            Some((from, length)) if *from + *length == x => *length += 1,
            _ => runs.push((x, 1)),
        }
    }
    runs
}

/// First column and width of what is ship in a row of its picture (it is convex).
fn hull_row(ship: &Image, row: usize) -> (i32, i32) {
    let inside = runs(ship.width, |x| ship.pixel(x, row)[3] != 0);
    inside
        .first()
        .map_or((0, 0), |(from, length)| (*from as i32, *length as i32))
}

/// A tile of noise in the given colours, with grain.
fn textured(colours: [Pixel; 3], octaves: u32, seed: u64) -> Image {
    let field = noise(TILE, octaves, seed);
    let mut random = Random(seed);
    Image::from_fn(TILE, TILE, |x, y| {
        let value = field[y * TILE + x] * 2.0;
        let share = (value.fract() * 256.0) as u32;
        let colour = match value as usize {
            0 => mix(colours[0], colours[1], share),
            1 => mix(colours[1], colours[2], share),
            _ => colours[2],
        };
        let speckle = match random.below(2 * SPECKLE_ONE_IN) {
            0 => SPECKLE,
            1 => -SPECKLE,
            _ => 0,
        };
        let grain = random.below(2 * GRAIN + 1) as i32 - GRAIN as i32 + speckle;
        let channel = |index: usize| (i32::from(colour[index]) + grain).clamp(0, 255) as u8;
        [channel(0), channel(1), channel(2), 0xff]
    })
}

/// A round ship with a striped hull; pixels outside are marked by a zero fourth byte.
fn ship(colours: [Pixel; 2]) -> Image {
    let half = SHIP_PX as f32 / 2.0;
    Image::from_fn(SHIP_PX as usize, SHIP_PX as usize, |x, y| {
        let (dx, dy) = (x as f32 - half + 0.5, (y as f32 - half + 0.5) * 1.6);
        let distance = dx.hypot(dy);
        if distance > half {
            return [0; 4];
        }
        let hull = if (x / 14 + y / 10) % 2 == 0 {
            colours[0]
        } else {
            colours[1]
        };
        let lit = ((1.0 - distance / half) * 200.0) as u32;
        mix(mix(hull, rgb(0x000000), 96), hull, lit)
    })
}
