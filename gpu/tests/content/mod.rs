//! Moving pictures for tests and measurements, the same for the same seed, and a sink that keeps
//! what an encoder emits.
#![allow(dead_code, reason = "every test uses a part of it")]

use std::sync::Arc;

use gpu::decode::Picture;
use gpu::encode::{SliceInfo, SliceSink};
use gpu::frame::{Frame, MemorySurface, PixelFormat, Rect, Size};
use net::clock;
use net::units::Timestamp;

/// Side of the texture that scenes are cut from, pixels; a power of two.
const TEXTURE: usize = 1024;

/// Generator of a repeatable sequence (xorshift64*, Marsaglia 2003, Vigna 2016).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 33) % bound
    }
}

/// A game-like scene: a textured ground that scrolls, and things that move across it.
pub struct Scene {
    texture: Vec<[u8; 4]>,
    /// 1/256 pixel a picture.
    velocity: (i32, i32),
    /// 1/256 of the size a picture.
    zoom: i32,
    things: Vec<Thing>,
    grain: u8,
    noise: Random,
}

struct Thing {
    at: (i32, i32),
    velocity: (i32, i32),
    side: i32,
    from: (usize, usize),
}

impl Scene {
    pub fn new(seed: u64, size: Size) -> Self {
        let mut random = Random::new(seed);
        let texture = texture(&mut random);
        let speed = |random: &mut Random, max: u64| random.below(2 * max + 1) as i32 - max as i32;
        let things = (0..12)
            .map(|_| Thing {
                at: (
                    random.below(size.width.into()) as i32,
                    random.below(size.height.into()) as i32,
                ),
                velocity: (speed(&mut random, 9), speed(&mut random, 5)),
                side: 32 + random.below(u64::from(size.height) / 4) as i32,
                from: (random.below(1024) as usize, random.below(1024) as usize),
            })
            .collect();
        let velocity = (speed(&mut random, 12 * 256), speed(&mut random, 4 * 256));
        let zoom = random.below(3) as i32;
        Self {
            texture,
            velocity,
            zoom,
            things,
            grain: 1 + random.below(3) as u8,
            noise: random,
        }
    }

    /// Draws the picture at that time, counted in pictures.
    pub fn draw(&mut self, time: i32, surface: &mut MemorySurface, size: Size) {
        let (width, height) = (usize::from(size.width), usize::from(size.height));
        let stride = surface.stride();
        let bytes = surface.bytes_mut();
        // The ground scrolls by parts of a pixel and comes nearer: motion search finds it only
        // roughly, as with a moving camera. Positions in 1/256 pixel.
        let zoom = 256 - (time * self.zoom) % 96;
        let origin = |speed: i32, side: usize| {
            i64::from(speed * time)
                + ((TEXTURE / 2) as i64 * 256 - side as i64 / 2 * i64::from(zoom))
        };
        let (ox, oy) = (
            origin(self.velocity.0, width),
            origin(self.velocity.1, height),
        );
        let texel = |position: i64| (position >> 8).rem_euclid(TEXTURE as i64) as usize;
        for y in 0..height {
            let line = &self.texture[texel(oy + y as i64 * i64::from(zoom)) * TEXTURE..][..TEXTURE];
            let row = &mut bytes[y * stride..][..width * 4];
            for (x, pixel) in row.chunks_exact_mut(4).enumerate() {
                pixel.copy_from_slice(&line[texel(ox + x as i64 * i64::from(zoom))]);
            }
        }
        for thing in &self.things {
            let left = (thing.at.0 + thing.velocity.0 * time).rem_euclid(width as i32) as usize;
            let top = (thing.at.1 + thing.velocity.1 * time).rem_euclid(height as i32) as usize;
            let side = thing.side as usize;
            for y in top..(top + side).min(height) {
                let line = &self.texture[(y - top + thing.from.1) % TEXTURE * TEXTURE..][..TEXTURE];
                for x in left..(left + side).min(width) {
                    let [b, g, r, _] = line[(x - left + thing.from.0) % TEXTURE];
                    bytes[y * stride + x * 4..][..4].copy_from_slice(&[r, b, g, 255]);
                }
            }
        }
        // Film grain: nothing is ever predicted exactly.
        for pixels in bytes.chunks_exact_mut(32) {
            let noise = self.noise.next();
            for (index, pixel) in pixels.chunks_exact_mut(4).enumerate() {
                let up = (noise >> (index * 8)) as u8 % (self.grain + 1);
                pixel[1] = pixel[1].saturating_add(up);
            }
        }
    }
}

/// Value noise of several octaves; how rough it is differs much from seed to seed.
fn texture(random: &mut Random) -> Vec<[u8; 4]> {
    let mut luma = vec![0f32; TEXTURE * TEXTURE];
    let roughness = 0.68 + random.below(22) as f32 / 100.0;
    let mut amplitude = 90.0;
    let mut cell = 128;
    while cell >= 2 {
        let count = TEXTURE / cell;
        let grid: Vec<f32> = (0..count * count)
            .map(|_| random.below(2000) as f32 / 1000.0 - 1.0)
            .collect();
        for y in 0..TEXTURE {
            for x in 0..TEXTURE {
                let (cx, cy) = (x / cell, y / cell);
                let (fx, fy) = (
                    (x % cell) as f32 / cell as f32,
                    (y % cell) as f32 / cell as f32,
                );
                let at = |dx: usize, dy: usize| grid[(cy + dy) % count * count + (cx + dx) % count];
                let top = at(0, 0) * (1.0 - fx) + at(1, 0) * fx;
                let bottom = at(0, 1) * (1.0 - fx) + at(1, 1) * fx;
                luma[y * TEXTURE + x] += amplitude * (top * (1.0 - fy) + bottom * fy);
            }
        }
        amplitude *= roughness;
        cell /= 2;
    }
    let tint = [
        random.below(60) as f32,
        random.below(60) as f32,
        random.below(60) as f32,
    ];
    let shade = |value: f32, tint: f32| (value + 100.0 + tint).clamp(0.0, 255.0) as u8;
    luma.iter()
        .map(|&value| {
            [
                shade(value, tint[0]),
                shade(value * 0.9, tint[1]),
                shade(value, tint[2]),
                255,
            ]
        })
        .collect()
}

/// A sequence of scenes with a hard cut every `cut` pictures.
pub struct Film {
    size: Size,
    cut: u32,
    seed: u64,
    scene: Scene,
    time: u32,
}

impl Film {
    pub fn new(size: Size, cut: u32, seed: u64) -> Self {
        Self {
            size,
            cut,
            seed,
            scene: Scene::new(seed, size),
            time: 0,
        }
    }

    /// The next picture, and whether it is the first of a scene.
    pub fn next(&mut self) -> (Frame, bool) {
        let is_cut = self.time > 0 && self.time.is_multiple_of(self.cut);
        if is_cut {
            self.seed += 1;
            self.scene = Scene::new(self.seed, self.size);
        }
        let mut surface = MemorySurface::new(self.size, PixelFormat::Bgrx);
        self.scene
            .draw((self.time % self.cut) as i32, &mut surface, self.size);
        self.time += 1;
        (frame(surface, Rect::whole(self.size)), is_cut)
    }
}

pub fn frame(surface: MemorySurface, damage: Rect) -> Frame {
    Frame {
        surface: Arc::new(surface),
        damage,
        captured: Timestamp::ZERO,
    }
}

/// Keeps slices with when they came.
#[derive(Default)]
pub struct Collector {
    pub buffer: Vec<u8>,
    pub slices: Vec<(Vec<u8>, SliceInfo)>,
    pub received: Vec<Timestamp>,
    /// Refuses buffers larger than this.
    pub limit: Option<usize>,
    /// The encoder's own threads as they came: each one's number, and how many it was told of.
    pub threads: Vec<(u8, u8)>,
}

impl Collector {
    /// The access unit, after which the collector is empty.
    pub fn take(&mut self) -> Vec<u8> {
        self.received.clear();
        self.slices.drain(..).flat_map(|(bytes, _)| bytes).collect()
    }
}

impl SliceSink for Collector {
    fn reserve(&mut self, filled: usize, bytes: usize) -> Option<&mut [u8]> {
        if self.limit.is_some_and(|limit| bytes > limit) {
            return None;
        }
        assert!(filled <= self.buffer.len());
        if self.buffer.len() < bytes {
            self.buffer.resize(bytes, 0);
        }
        Some(&mut self.buffer)
    }

    fn finish(&mut self, bytes: usize, slice: SliceInfo) {
        self.slices.push((self.buffer[..bytes].to_vec(), slice));
        self.received.push(clock::now());
    }

    fn thread_began(&mut self, index: u8, count: u8) {
        self.threads.push((index, count));
    }
}

/// A copy of a picture, without the padding of its rows.
pub fn pixels(picture: &Picture<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for (plane, shrink) in [(0, 1), (1, 2), (2, 2)] {
        let rows = picture.planes[plane].chunks(picture.strides[plane]);
        for row in rows.take(picture.height / shrink) {
            out.extend_from_slice(&row[..picture.width / shrink]);
        }
    }
    out
}
