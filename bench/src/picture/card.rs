//! The test card proper, and the default application of a private display: the name set in dots,
//! the resolution, colour bars, a grey ramp, gratings for focus, and a hand that goes round.

use gpu::frame::{Rect, Size};

use super::canvas::{Canvas, Image, Pixel, mix, rgb};
use super::texture::sine;
use super::{Scene, clipped};

/// Pictures for one turn of the hand: four seconds at 60 Hz.
const TURN: u32 = 240;
const NIGHT: [Pixel; 3] = [rgb(0x12151c), rgb(0x101a24), rgb(0x1c1218)];
const INK: Pixel = rgb(0xf2efe6);
const SPARK: [Pixel; 3] = [rgb(0xff6b4a), rgb(0x4ac8ff), rgb(0xffd24a)];
/// Colour bars at 75 % amplitude (SMPTE EG 1), left to right.
const BARS: [Pixel; 7] = [
    rgb(0xbfbfbf),
    rgb(0xbfbf00),
    rgb(0x00bfbf),
    rgb(0x00bf00),
    rgb(0xbf00bf),
    rgb(0xbf0000),
    rgb(0x0000bf),
];

pub struct Card {
    size: Size,
    base: Image,
    spark: Pixel,
    night: Pixel,
}

/// Where things are, derived from the size once.
struct Plan {
    width: i32,
    height: i32,
    /// Middle of the dial.
    centre: (i32, i32),
    /// Radius of the dial.
    radius: i32,
    /// Left edge of everything written.
    left: i32,
    /// Pixels from dot to dot in the title.
    pitch: f32,
    /// Top of the title.
    title: i32,
    /// Scale of the small text.
    scale: i32,
    /// Top of the bars and their height.
    bars: (i32, i32),
}

impl Plan {
    fn new(size: Size) -> Self {
        let (width, height) = (i32::from(size.width), i32::from(size.height));
        let radius = (height * 5 / 24).min(width / 7);
        let left = width / 16;
        // "punktfunk" is 72 dots wide and shares the width with the dial.
        let pitch = (width - 3 * left - 2 * radius) as f32 / 72.0;
        let bars = height * 16 / 24;
        Self {
            width,
            height,
            centre: (width - left - radius, height * 9 / 24),
            radius,
            left,
            pitch,
            title: height * 6 / 24,
            scale: (height / 360).max(1),
            bars: (bars, height * 5 / 24),
        }
    }

    fn caption(&self, line: i32) -> i32 {
        self.title + (self.pitch * 10.0) as i32 + line * 12 * self.scale
    }
}

impl Card {
    pub fn new(size: Size, scene: u32) -> Self {
        let index = scene as usize % NIGHT.len();
        let (night, spark) = (NIGHT[index], SPARK[index]);
        Self {
            size,
            base: still(size, night, spark),
            spark,
            night,
        }
    }

    fn hand(&self, number: u32) -> (i32, i32, i32) {
        let plan = Plan::new(self.size);
        let turn = (u64::from(number % TURN) * 65536 / u64::from(TURN)) as u32;
        let reach = i64::from(plan.radius * 27 / 32);
        let across = (i64::from(sine(turn)) * reach / 32767) as i32;
        let down = (i64::from(sine(turn + 16384)) * reach / 32767) as i32;
        (
            plan.centre.0 + across,
            plan.centre.1 - down,
            plan.radius / 10,
        )
    }

    fn track(&self, number: u32) -> (i32, i32, i32, i32) {
        let plan = Plan::new(self.size);
        let length = plan.width - 2 * plan.left;
        let block = plan.width / 24;
        // There and back once in two turns of the hand.
        let phase = (number % (2 * TURN)) as i32;
        let turn = TURN as i32;
        let at = (turn - (phase - turn).abs()) * (length - block) / turn;
        (
            plan.left + at,
            plan.height * 22 / 24,
            block,
            (plan.height / 60).max(2),
        )
    }

    fn counter(&self) -> (i32, i32, i32) {
        let plan = Plan::new(self.size);
        (plan.left, plan.caption(1), plan.scale)
    }
}

impl Scene for Card {
    fn base(&self, canvas: &mut Canvas<'_>) {
        canvas.copy(&self.base, Rect::whole(self.size));
    }

    fn moving(&self, number: u32, areas: &mut Vec<Rect>) {
        let (x, y, radius) = self.hand(number);
        let reach = radius + 2;
        areas.push(clipped(
            self.size,
            x - reach,
            y - reach,
            2 * reach + 2,
            2 * reach + 2,
        ));
        let (x, y, width, height) = self.track(number);
        areas.push(clipped(self.size, x, y, width, height));
        let (x, y, scale) = self.counter();
        areas.push(clipped(self.size, x, y, 17 * 8 * scale, 8 * scale));
    }

    fn restore(&self, canvas: &mut Canvas<'_>, area: Rect) {
        canvas.copy(&self.base, area);
    }

    fn draw(&self, canvas: &mut Canvas<'_>, number: u32) {
        let (x, y, radius) = self.hand(number);
        canvas.disc((x as f32, y as f32), radius as f32, self.spark);
        let (x, y, width, height) = self.track(number);
        canvas.fill(x, y, width, height, self.spark);
        let (x, y, scale) = self.counter();
        let faint = mix(INK, self.night, 96);
        canvas.text(x, y, (scale, scale), faint, &format!("frame {number:010}"));
    }
}

fn still(size: Size, night: Pixel, spark: Pixel) -> Image {
    let plan = Plan::new(size);
    let grid_px = (plan.height / 18).max(8) as usize;
    let line = mix(night, INK, 14);
    let mut image = Image::from_fn(size.width.into(), size.height.into(), |x, y| {
        if x % grid_px == 0 || y % grid_px == 0 {
            line
        } else {
            night
        }
    });
    let mut canvas = image.canvas();
    draw_dial(&mut canvas, &plan, night, spark);
    draw_bars(&mut canvas, &plan);
    let (left, title) = (plan.left as f32, plan.title as f32);
    canvas.dot_text(left, title, plan.pitch, INK, "punkt");
    canvas.dot_text(left + 40.0 * plan.pitch, title, plan.pitch, spark, "funk");
    let scale = (plan.scale, plan.scale);
    let caption = format!("{} x {}", size.width, size.height);
    canvas.text(plan.left, plan.caption(0), scale, INK, &caption);
    let track_y = plan.height * 22 / 24;
    let thick = (plan.height / 60).max(2);
    canvas.fill(
        plan.left,
        track_y + thick / 2,
        plan.width - 2 * plan.left,
        1,
        mix(night, INK, 90),
    );
    corners(&mut canvas, &plan);
    image
}

fn draw_dial(canvas: &mut Canvas<'_>, plan: &Plan, night: Pixel, spark: Pixel) {
    let centre = (plan.centre.0 as f32, plan.centre.1 as f32);
    let radius = plan.radius as f32;
    canvas.disc(centre, radius, mix(night, INK, 20));
    canvas.ring(centre, radius, (radius / 60.0).max(1.5), INK);
    // Rings that thin out like waves from an antenna; they also show focus and aliasing.
    for step in 1..=5 {
        let share = step as f32 / 6.5;
        let colour = mix(spark, night, 32 * step as u32);
        canvas.ring(centre, radius * share, (radius / 90.0).max(1.0), colour);
    }
    canvas.disc(centre, radius / 14.0, spark);
    for tick in 0..60_u32 {
        let turn = tick * 65536 / 60;
        let length = if tick.is_multiple_of(5) { 0.07 } else { 0.03 };
        let (across, down) = (
            sine(turn) as f32 / 32767.0,
            sine(turn + 16384) as f32 / 32767.0,
        );
        for step in 0..(radius * length) as i32 {
            let reach = radius * 0.985 - step as f32;
            let (x, y) = (centre.0 + across * reach, centre.1 - down * reach);
            canvas.set(x.round() as i32, y.round() as i32, INK);
        }
    }
}

fn draw_bars(canvas: &mut Canvas<'_>, plan: &Plan) {
    let (top, height) = plan.bars;
    let length = plan.width - 2 * plan.left;
    let main = height * 3 / 5;
    let edge = |index: i32, count: i32| plan.left + index * length / count;
    for (index, colour) in (0..).zip(BARS) {
        let (x, next) = (edge(index, 7), edge(index + 1, 7));
        canvas.fill(x, top, next - x, main, colour);
    }
    // A ramp of 32 greys over the left two thirds, gratings of 1 to 4 pixels over the rest.
    let (ramp_top, ramp) = (top + main, height - main);
    for step in 0..32 {
        let level = (step * 255 / 31) as u32;
        let (x, next) = (edge(step, 48), edge(step + 1, 48));
        canvas.fill(
            x,
            ramp_top,
            next - x,
            ramp,
            rgb(level << 16 | level << 8 | level),
        );
    }
    for (index, period) in (0..).zip([1, 2, 3, 4]) {
        let (x, next) = (edge(8 + index, 12), edge(9 + index, 12));
        canvas.fill(x, ramp_top, next - x, ramp, rgb(0x202020));
        for column in (x..next).filter(|column| (column - x) / period % 2 == 0) {
            canvas.fill(column, ramp_top, 1, ramp, rgb(0xe0e0e0));
        }
    }
}

/// Angles in the three corners that the marker leaves free: they show whether all of the
/// picture arrives.
fn corners(canvas: &mut Canvas<'_>, plan: &Plan) {
    let (length, thick) = (plan.height / 24, (plan.height / 360).max(2));
    let (right, bottom) = (plan.width - length, plan.height - length);
    for (x, y) in [(right, 0), (0, bottom), (right, bottom)] {
        let edge_y = if y == 0 { 0 } else { plan.height - thick };
        let edge_x = if x == 0 { 0 } else { plan.width - thick };
        canvas.fill(x, edge_y, length, thick, INK);
        canvas.fill(edge_x, y, thick, length, INK);
    }
}
