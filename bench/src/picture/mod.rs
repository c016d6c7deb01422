//! What the test card shows: pictures that are a pure function of what is shown, the number of
//! the picture and its size, so that whoever reads the marker can draw the same picture again
//! and hold every pixel against it.
//!
//! Painting is incremental (a buffer that already holds an older picture is brought up to date
//! where the two differ), and never changes the outcome: a test compares both ways.

pub mod canvas;
mod card;
mod desk;
mod game;
mod scroll;
mod texture;

use std::str::FromStr;

use gpu::frame::{Rect, Size};
use net::units::Timestamp;

use crate::marker::{self, Layout, Marker};
use canvas::Canvas;

/// Different scenes that hard cuts alternate between.
pub const SCENES: u32 = 3;

/// Kinds of content, from the easiest to the hardest to encode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// The test card, drawn once and never again.
    Still,
    /// The test card: colour bars, title, resolution, a moving hand.
    #[default]
    Card,
    /// A desktop at work: windows of text, a typing terminal, a moving pointer.
    Desk,
    /// A page of text and pictures that scrolls.
    Scroll,
    /// A game: everything moves, in several layers and at several speeds.
    Game,
}

impl Content {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Still,
        Self::Card,
        Self::Desk,
        Self::Scroll,
        Self::Game,
    ];

    /// Its name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Still => "still",
            Self::Card => "card",
            Self::Desk => "desk",
            Self::Scroll => "scroll",
            Self::Game => "game",
        }
    }
}

/// A name that is no content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no content {0:?}; choose still, card, desk, scroll or game")]
pub struct UnknownContent(pub String);

impl FromStr for Content {
    type Err = UnknownContent;

    fn from_str(text: &str) -> Result<Self, UnknownContent> {
        Self::ALL
            .into_iter()
            .find(|content| content.name() == text)
            .ok_or_else(|| UnknownContent(text.to_owned()))
    }
}

/// Content and scene together: everything but number and size that decides a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The kind of content.
    pub content: Content,
    /// Which of the [`SCENES`].
    pub scene: u32,
}

impl Look {
    /// The look of picture `number` when the scene is cut every `cut_every` pictures (0: never).
    #[must_use]
    pub const fn at(content: Content, number: u32, cut_every: u32) -> Self {
        let scene = match number.checked_div(cut_every) {
            Some(cuts) => cuts % SCENES,
            None => 0,
        };
        Self { content, scene }
    }

    /// As the marker carries it: content in the low half, scene in the high half.
    #[must_use]
    pub const fn pack(self) -> u8 {
        (self.scene as u8) << 4 | self.content as u8
    }

    /// The opposite of [`Look::pack`]; `None` for what no test card of ours draws.
    #[must_use]
    pub fn unpack(byte: u8) -> Option<Self> {
        let content = *Content::ALL.get(usize::from(byte & 0xf))?;
        let scene = u32::from(byte >> 4);
        (scene < SCENES).then_some(Self { content, scene })
    }
}

/// The moving parts of a scene, drawn over what stands still.
trait Scene {
    /// Everything that never moves, on a canvas whose content is unknown.
    fn base(&self, canvas: &mut Canvas<'_>);

    /// The regions that [`Scene::draw`] touches for this number.
    fn moving(&self, number: u32, areas: &mut Vec<Rect>);

    /// What stands still, within `area`. Scenes that draw over all of their moving regions
    /// anyway do nothing here.
    fn restore(&self, canvas: &mut Canvas<'_>, area: Rect);

    /// The moving parts.
    fn draw(&self, canvas: &mut Canvas<'_>, number: u32);
}

/// Paints the pictures of one look at one size. Creating it takes up to a second (textures are
/// computed); painting then is mostly copying rows.
pub struct Painter {
    look: Look,
    size: Size,
    scene: Box<dyn Scene + Send>,
    areas: Vec<Rect>,
}

impl Painter {
    /// Computes all textures.
    #[must_use]
    pub fn new(look: Look, size: Size) -> Self {
        let scene: Box<dyn Scene + Send> = match look.content {
            Content::Still | Content::Card => Box::new(card::Card::new(size, look.scene)),
            Content::Desk => Box::new(desk::Desk::new(size, look.scene)),
            Content::Scroll => Box::new(scroll::Scroll::new(size, look.scene)),
            Content::Game => Box::new(game::Game::new(size, look.scene)),
        };
        Self {
            look,
            size,
            scene,
            areas: Vec::with_capacity(64),
        }
    }

    /// What it paints.
    #[must_use]
    pub fn look(&self) -> Look {
        self.look
    }

    /// Size of its pictures.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// Paints picture `number` without its marker. `held` is the number of the picture of this
    /// painter that `bytes` already holds, if any; only what differs is painted then.
    ///
    /// # Panics
    /// If `bytes` is shorter than `stride` × height: a bug of the caller.
    pub fn paint(&mut self, bytes: &mut [u8], stride: usize, number: u32, held: Option<u32>) {
        let (width, height) = (self.size.width.into(), self.size.height.into());
        let mut canvas = Canvas {
            bytes,
            stride,
            width,
            height,
        };
        match held {
            None => self.scene.base(&mut canvas),
            Some(held) => {
                self.areas.clear();
                self.scene.moving(held, &mut self.areas);
                for area in &self.areas {
                    self.scene.restore(&mut canvas, *area);
                }
            }
        }
        self.scene.draw(&mut canvas, number);
    }

    /// Draws the marker over a painted picture: the very last step, with the time of now.
    pub fn stamp(&self, bytes: &mut [u8], stride: usize, number: u32, drawn: Timestamp) {
        let marker = Marker {
            number,
            drawn,
            look: self.look.pack(),
        };
        marker::draw(&marker, bytes, stride, self.size);
    }

    /// Where pictures `previous` and `number` may differ, marker included. Without a previous
    /// one it is everything.
    pub fn damage(&mut self, number: u32, previous: Option<u32>) -> &[Rect] {
        self.areas.clear();
        let Some(previous) = previous else {
            self.areas.push(Rect::whole(self.size));
            return &self.areas;
        };
        self.scene.moving(previous, &mut self.areas);
        self.scene.moving(number, &mut self.areas);
        if let Some(layout) = Layout::for_size(self.size.width.into(), self.size.height.into()) {
            self.areas.push(layout.area());
        }
        &self.areas
    }
}

/// `x`, `y`, `width`, `height` clipped to a picture of `size`.
fn clipped(size: Size, x: i32, y: i32, width: i32, height: i32) -> Rect {
    let side = |from: i32, length: i32, limit: u16| {
        let start = from.clamp(0, limit.into());
        let end = from.saturating_add(length).clamp(start, limit.into());
        (start as u16, (end - start) as u16)
    };
    let (x, width) = side(x, width, size.width);
    let (y, height) = side(y, height, size.height);
    Rect {
        x,
        y,
        width,
        height,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [Size; 3] = [
        Size {
            width: 640,
            height: 360,
        },
        Size {
            width: 1282,
            height: 722,
        },
        Size {
            width: 128,
            height: 130,
        },
    ];

    #[test]
    fn painting_over_an_older_picture_gives_the_same_pixels() {
        for size in SIZES {
            let stride = usize::from(size.width) * 4 + 32;
            for content in Content::ALL {
                let mut painter = Painter::new(Look { content, scene: 1 }, size);
                let mut kept = vec![0x55; stride * usize::from(size.height)];
                let mut held = None;
                for number in [0, 1, 2, 31, 32, 95, 400, 401, 7, u32::MAX] {
                    painter.paint(&mut kept, stride, number, held);
                    held = Some(number);
                    let mut fresh = vec![0x55; kept.len()];
                    painter.paint(&mut fresh, stride, number, None);
                    assert!(kept == fresh, "{} {number} {size:?}", content.name());
                }
            }
        }
    }

    #[test]
    fn damage_covers_every_change() {
        let size = SIZES[0];
        let stride = usize::from(size.width) * 4;
        for content in Content::ALL {
            let mut painter = Painter::new(Look { content, scene: 0 }, size);
            let mut pictures = [0, 1].map(|_| vec![0; stride * usize::from(size.height)]);
            for number in 1..40 {
                painter.paint(&mut pictures[0], stride, number - 1, None);
                painter.paint(&mut pictures[1], stride, number, None);
                let areas = painter.damage(number, Some(number - 1)).to_vec();
                let covered = |x: usize, y: usize| {
                    areas.iter().any(|area| {
                        (area.x..area.x + area.width).contains(&(x as u16))
                            && (area.y..area.y + area.height).contains(&(y as u16))
                    })
                };
                let pairs = pictures[0].chunks(4).zip(pictures[1].chunks(4));
                let outside = pairs
                    .enumerate()
                    .filter(|(_, (before, after))| before != after)
                    .map(|(index, _)| (index % 640, index / 640))
                    .find(|(x, y)| !covered(*x, *y));
                assert_eq!(outside, None, "{} {number}", content.name());
            }
        }
    }

    #[test]
    fn looks_fit_into_the_marker() {
        for content in Content::ALL {
            for scene in 0..SCENES {
                let look = Look { content, scene };
                assert_eq!(Look::unpack(look.pack()), Some(look));
            }
        }
        assert_eq!(Look::unpack(0xf0), None);
        assert_eq!(Look::unpack(0x0f), None);
    }

    #[test]
    fn scenes_are_cut_when_asked() {
        assert_eq!(Look::at(Content::Game, 1_000_000, 0).scene, 0);
        assert_eq!(Look::at(Content::Game, 59, 60).scene, 0);
        assert_eq!(Look::at(Content::Game, 60, 60).scene, 1);
        assert_eq!(Look::at(Content::Game, 180, 60).scene, 0);
    }
}
