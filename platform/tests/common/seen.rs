//! What a capture sees of a [`Painter`], and a person's input as a client hears it.

use std::path::Path;
use std::time::{Duration, Instant};

use net::clock;
use net::input::{InputEvent, KeyEvent, Modifiers, PointerButton, Position, Text};
use platform::capture::{Capture, Captured, Pacing};
use platform::display::OutputAddress;
use platform::inject;

use super::media_server::eventually;
use super::painter::{Painter, colour, shown};
use crate::listener::{Heard, Listener};

/// Pictures older than the one before that a capture may show: on a machine with ten times the
/// work that it can do, one was seen now and then through the portal's node, of some hundred.
const OLDER_MAX: u32 = 3;

/// Figures of some time of a capture.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Drawn to in hand, of each picture.
    pub latencies: Vec<Duration>,
    /// Pictures for which there is an earlier one.
    pub intervals: u64,
    /// Sum of the squares of what [`Pacing`] tells, s².
    pub off_squares: f64,
    /// How long it took.
    pub took: Duration,
    /// Pictures older than the one before.
    pub older: u32,
}

impl Seen {
    /// Takes pictures for that time, of which hardly one is older than the one before; at least
    /// one.
    pub fn watch(
        capture: &mut dyn Capture,
        painter: &Painter,
        refresh: Duration,
        time: Duration,
    ) -> Self {
        let mut seen = Self::default();
        let mut pacing = Pacing::NONE;
        let (mut next, begun) = (0, Instant::now());
        while begun.elapsed() < time || seen.latencies.is_empty() {
            let frame = match capture.next(super::PATIENCE) {
                Ok(Captured::Frame(frame)) => frame,
                Ok(_) => panic!("no picture came"),
                Err(error) => panic!("{error}"),
            };
            let now = clock::now();
            // The desktop's own background comes first.
            let Some(shown) = shown(&frame) else { continue };
            let drawn = painter.drawn();
            let last = u32::saturating_sub(next, 1);
            let Some(at) = (last..drawn).rev().find(|it| colour(*it) == shown) else {
                let older = (0..last).find(|it| colour(*it) == shown);
                assert!(
                    next == 0 || older.is_some(),
                    "{shown:#08x} after picture {last} of {drawn}: nobody drew that"
                );
                if let Some(older) = older.filter(|_| next > 0) {
                    eprintln!("picture {older} after {last}");
                    seen.older += 1;
                    assert!(seen.older <= OLDER_MAX, "it goes backwards again and again");
                }
                continue;
            };
            // A compositor may repaint what it shows already.
            if at + 1 == next {
                continue;
            }
            seen.latencies.push(now.since(painter.drawn_at(at)));
            next = at + 1;
            if let Some(off) = pacing.note(frame.captured, refresh) {
                seen.off_squares += off.as_secs_f64().powi(2);
                seen.intervals += 1;
            }
        }
        seen.took = begun.elapsed();
        seen
    }

    /// Adds another time of the same capture.
    pub fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.intervals += other.intervals;
        self.off_squares += other.off_squares;
        self.took += other.took;
    }

    /// A share's latency, ms.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort();
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        sorted[rank.max(1) - 1].as_secs_f64() * 1e3
    }

    /// Pictures a second.
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    /// Standard deviation of the intervals from whole refreshes, ms.
    pub fn judder_ms(&self) -> f64 {
        (self.off_squares / self.intervals.max(1) as f64).sqrt() * 1e3
    }
}

/// Keys, a text, the pointer and a button reach a client full screen at `socket`, which is of that
/// width and height.
pub fn use_input(socket: &Path, address: &OutputAddress, kind: &str, size: (f64, f64)) {
    let (mut input, answers) = inject::open(&inject::candidates(), Some(address));
    let names: Vec<_> = input.capabilities().map(|it| it.name).collect();
    assert!(names.contains(&kind), "{answers:?}");
    let listener = Listener::start(socket).expect("a compositor");
    eventually("the window has the keyboard", || {
        listener.heard().contains(&Heard::KeyboardEnter)
    });
    let mut send = |event: InputEvent| {
        input.inject(&event);
        input.flush();
    };
    // H, then e.
    let keys = [(0xA0, true), (0x48, true), (0x48, false), (0xA0, false)];
    for (virtual_key, pressed) in keys.into_iter().chain([(0x45, true), (0x45, false)]) {
        send(InputEvent::Key(KeyEvent {
            virtual_key,
            pressed,
            modifiers: Modifiers::default(),
            is_layout_dependent: false,
        }));
    }
    eventually("the keys arrive", || listener.typed() == "He");
    send(InputEvent::Text(
        Text::new("y, {You} ~50%!\n").expect("short"),
    ));
    eventually("the text arrives", || {
        listener.typed() == "Hey, {You} ~50%!\n"
    });
    let (x, y) = (size.0 * 0.25, size.1 * 0.5);
    // A pointer that was just made is told to a client after its first motion.
    eventually("the pointer is there", || {
        for (x, y) in [(0.5, 0.25), (0.25, 0.5)] {
            send(InputEvent::PointerPosition(Position { x, y }));
        }
        let near = |at: (f64, f64)| (at.0 - x).abs() < 1.5 && (at.1 - y).abs() < 1.5;
        listener.pointer().is_some_and(near)
    });
    for pressed in [true, false] {
        send(InputEvent::PointerButton {
            button: PointerButton::Left,
            pressed,
        });
        let code = 0x110;
        eventually("the button arrives", || {
            listener.heard().contains(&Heard::Button { code, pressed })
        });
    }
}
