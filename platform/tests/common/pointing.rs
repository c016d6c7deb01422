//! What must be true of pointer and fingers on a desktop of another's, whichever it is. The display
//! has [`super::guest`] on it.

use std::path::Path;
use std::time::{Duration, Instant};

use gpu::frame::Frame;
use net::cursor::{Cursor, Visibility};
use net::input::{Contact, ContactKind, InputEvent, PointerButton, Position, TouchEvent};
use platform::capture::{Capture, Captured};
use platform::cursor::CursorSource;
use platform::inject::{Injected, Injectors};

use super::PATIENCE;
use super::guest::{GROUNDS, Look, SHAPES};

/// How often a condition is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How long a place is waited for before the pointer is nudged: KWin tells of another image with the
/// next motion or picture, and of nothing while all buffers are under way.
const NUDGE_INTERVAL: Duration = Duration::from_millis(100);
/// How long a picture is waited for before the pointer is moved again.
const PICTURE_WAIT: Duration = Duration::from_millis(50);

/// How many pictures are waited for before the guest is asked to paint again.
const LOOKS: u32 = 20;

/// The display's size, pixels.
pub const SIZE: (u16, u16) = (1280, 720);

/// Everything that a test drives.
pub struct Stand<'a> {
    /// To the display.
    pub input: Injectors,
    /// Of the display.
    pub capture: Box<dyn Capture>,
    /// What the guest writes.
    pub heard: &'a Path,
}

impl Stand<'_> {
    /// Does it.
    pub fn act(&mut self, event: &InputEvent) {
        assert_eq!(self.input.inject(event), Injected::Done, "{event:?}");
        self.input.flush();
    }

    fn place(&mut self, x: f32, y: f32) {
        self.act(&InputEvent::PointerPosition(Position { x, y }));
    }

    /// A pixel there and back: more than that would be shaking, which makes KWin draw a large pointer
    /// of its own.
    fn nudge(&mut self) {
        for dx in [1, -1] {
            self.act(&InputEvent::PointerMotion { dx, dy: 0 });
        }
    }

    fn click(&mut self, button: PointerButton) {
        for pressed in [true, false] {
            self.act(&InputEvent::PointerButton { button, pressed });
        }
    }

    /// What the guest has written.
    pub fn heard(&self) -> String {
        std::fs::read_to_string(self.heard).unwrap_or_default()
    }

    /// Waits until the guest fills the output and has the pointer: windows do not come up full screen
    /// at once, and a seat's pointer is told to them after its first motion.
    fn settle(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.heard().contains("pointer at") || !self.shows(GROUNDS[0]) {
            self.place(0.25, 0.5);
            self.nudge();
            std::thread::park_timeout(LOOK_INTERVAL);
            assert!(Instant::now() < deadline, "{}", self.heard());
        }
        self.place(0.25, 0.5);
    }

    /// True if the next picture, if there is one, has that ground.
    fn shows(&mut self, ground: u32) -> bool {
        let picture = next_picture(&mut *self.capture);
        picture.is_some_and(|frame| pixel(&frame, 0, 0) == ground)
    }

    /// The next picture of what the guest paints at that button, however many others come before it.
    /// Compositors drop a picture for which they have no buffer at the moment, and paint it no more
    /// until something changes: the guest is asked again.
    fn picture(&mut self, button: PointerButton, ground: u32) -> Frame {
        let deadline = Instant::now() + PATIENCE;
        let mut looks = 0u32;
        loop {
            if looks.is_multiple_of(LOOKS) {
                self.click(button);
            }
            looks += 1;
            if let Some(frame) = next_picture(&mut *self.capture)
                && pixel(&frame, 0, 0) == ground
            {
                return frame;
            }
            assert!(Instant::now() < deadline, "no picture of {ground:06x}");
        }
    }
}

impl Drop for Stand<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the guest wrote: {}", self.heard());
        }
    }
}

fn next_picture(capture: &mut dyn Capture) -> Option<Frame> {
    match capture.next(PICTURE_WAIT).expect("the capture lives") {
        Captured::Frame(frame) => Some(frame),
        Captured::Still | Captured::Woken => None,
    }
}

/// Red, green, blue.
fn pixel(frame: &Frame, x: i32, y: i32) -> u32 {
    let pixels = frame.surface.map().expect("it can be read");
    let begin = y as usize * pixels.stride + x as usize * 4;
    let bytes = pixels.bytes[begin..begin + 4].try_into().expect("four");
    u32::from_le_bytes(bytes) & 0x00FF_FFFF
}

/// How many pixels around a place are not of that ground.
fn strangers(frame: &Frame, (x, y): (i32, i32), ground: u32) -> usize {
    let area = (y - 40..y + 40).flat_map(|y| (x - 40..x + 40).map(move |x| (x, y)));
    area.filter(|(x, y)| pixel(frame, *x, *y) != ground).count()
}

/// What the source tells once it is as wanted; `again` is done while it is not.
fn told(
    source: &mut dyn CursorSource,
    is_so: impl Fn(&Cursor) -> bool,
    mut again: impl FnMut(),
) -> Cursor {
    let deadline = Instant::now() + PATIENCE;
    let mut last = None;
    loop {
        while let Some(cursor) = source.poll().expect("the compositor lives") {
            if is_so(&cursor) {
                return cursor;
            }
            last = Some(cursor);
        }
        assert!(Instant::now() < deadline, "never; at last {last:?}");
        std::thread::park_timeout(NUDGE_INTERVAL);
        again();
    }
}

fn is_at(cursor: &Cursor, x: i32, y: i32) -> bool {
    let pointer = cursor.pointer;
    (pointer.visibility, pointer.x, pointer.y) == (Visibility::Shown, x, y)
}

fn looks(cursor: &Cursor, look: Look) -> bool {
    cursor.shape.as_ref().is_some_and(|shape| {
        let layout = shape.layout();
        (layout.width(), layout.height()) == (look.width, look.height)
            && layout.hotspot() == look.hotspot
            && shape.pixels() == look.pixels()
    })
}

/// The source tells the guest's pointer, pixel for pixel, and where it is; no picture shows it.
pub fn is_told(stand: &mut Stand, source: &mut dyn CursorSource) {
    stand.settle();
    // KWin tells of another image with the next motion or picture.
    let is_first = |it: &Cursor| looks(it, SHAPES[0]) && is_at(it, 320, 360);
    let cursor = told(source, is_first, || stand.nudge());
    assert_eq!(cursor.pointer.output, SIZE);
    for (x, y) in [(0.5, 0.5), (0.75, 0.25), (0.25, 0.75), (0.5, 0.5)] {
        stand.place(x, y);
        let (x, y) = ((x * 1280.0) as i32, (y * 720.0) as i32);
        let cursor = told(source, |it| is_at(it, x, y), || stand.nudge());
        assert!(looks(&cursor, SHAPES[0]), "{cursor:?}");
    }
    stand.act(&InputEvent::PointerMotion { dx: 13, dy: -7 });
    told(source, |it| is_at(it, 653, 353), || stand.nudge());
    // The guest repaints, so that pictures of that ground are younger than the pointer's place.
    stand.click(PointerButton::Left);
    let is_second = |it: &Cursor| looks(it, SHAPES[1]) && is_at(it, 653, 353);
    told(source, is_second, || stand.nudge());
    let frame = stand.picture(PointerButton::Left, GROUNDS[1]);
    assert_eq!(strangers(&frame, (653, 353), GROUNDS[1]), 0, "painted too");
    drop(frame);
    stand.click(PointerButton::Right);
    let is_hidden = |it: &Cursor| it.pointer.visibility == Visibility::Hidden;
    told(source, is_hidden, || stand.nudge());
}

/// Pictures show the guest's pointer where it is.
pub fn is_painted(stand: &mut Stand) {
    stand.settle();
    stand.place(0.5, 0.5);
    let place = (640, 360);
    let look = SHAPES[0];
    // All but the clear pixel.
    let seen = usize::from(look.width) * usize::from(look.height) - 1;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(frame) = next_picture(&mut *stand.capture)
            && strangers(&frame, place, GROUNDS[0]) == seen
        {
            let (x, y) = (
                place.0 - i32::from(look.hotspot.0),
                place.1 - i32::from(look.hotspot.1),
            );
            let [b, g, r, _] = look.pixels()[..4].try_into().expect("four");
            let corner = u32::from_be_bytes([0, r, g, b]);
            assert_eq!(pixel(&frame, x, y), corner, "its first pixel");
            break;
        }
        assert!(Instant::now() < deadline, "no picture shows it");
        stand.nudge();
    }
    stand.picture(PointerButton::Left, GROUNDS[1]);
}

/// Fingers arrive as fingers, where they touch, and whoever goes lifts them.
pub fn fingers_arrive(stand: &mut Stand) {
    stand.settle();
    let finger = |id, kind, x, y| {
        InputEvent::Touch(TouchEvent {
            id,
            contact: Contact {
                kind,
                position: Position { x, y },
                pressure_or_distance: 0.5,
                major: 0.0,
                minor: 0.0,
                rotation: None,
            },
        })
    };
    let eventually = |stand: &Stand, lines: &[&str]| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let heard = stand.heard();
            let mut rest = heard.lines();
            if lines.iter().all(|line| rest.any(|it| it.starts_with(line))) {
                return heard;
            }
            assert!(Instant::now() < deadline, "{lines:?} not in: {heard}");
            std::thread::park_timeout(LOOK_INTERVAL);
        }
    };
    // Mutter's seat has touch only once somebody has touched, and clients hear what comes after.
    let deadline = Instant::now() + PATIENCE;
    while !stand.heard().contains("up ") {
        for kind in [ContactKind::Down, ContactKind::Up] {
            stand.act(&finger(1, kind, 0.5, 0.25));
        }
        assert!(Instant::now() < deadline, "{}", stand.heard());
        std::thread::park_timeout(NUDGE_INTERVAL);
    }
    stand.act(&finger(70, ContactKind::Down, 0.25, 0.5));
    stand.act(&finger(70, ContactKind::Move, 0.5, 0.5));
    stand.act(&finger(71, ContactKind::Down, 0.75, 0.25));
    eventually(stand, &["motion ", "down "]);
    let id = |heard: &str, place: &str| {
        let ends = |line: &&str| line.starts_with("down ") && line.ends_with(place);
        let line = heard.lines().rfind(ends)?;
        Some(line.split(' ').nth(1)?.to_owned())
    };
    let heard = stand.heard();
    let [first, second] = [" 320 360", " 960 180"].map(|place| id(&heard, place));
    let (Some(first), Some(second)) = (first, second) else {
        panic!("{heard}");
    };
    eventually(stand, &[&format!("motion {first} 640 360")]);
    assert_ne!(first, second);
    stand.act(&finger(70, ContactKind::Up, 0.5, 0.5));
    eventually(stand, &[&format!("up {first}")]);
    assert!(!stand.heard().contains(&format!("up {second}")));
    stand.input = Injectors::default();
    eventually(stand, &[&format!("up {second}")]);
}
