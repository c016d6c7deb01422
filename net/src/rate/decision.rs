//! What goes into the controller once, and what comes out of it each time.

use std::fmt;
use std::time::Duration;

use crate::units::BitsPerSecond;

use super::estimator::Signals;
use super::pacer::Pace;

/// Bounds and start of a session.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Never less, whatever the path shows.
    pub floor: BitsPerSecond,
    /// Never more.
    pub ceiling: BitsPerSecond,
    /// Where to begin.
    pub start: BitsPerSecond,
    /// Time between two frames.
    pub frame_interval: Duration,
}

impl Default for Config {
    /// 1 to 150 Mbit/s from 10, at 60 Hz: 10 Mbit/s is a good picture and less than what any
    /// path worth streaming over takes for the tenth of a second until it is known.
    fn default() -> Self {
        Self {
            floor: BitsPerSecond(1_000_000),
            ceiling: BitsPerSecond(150_000_000),
            start: BitsPerSecond(10_000_000),
            frame_interval: Duration::from_nanos(16_666_667),
        }
    }
}

/// What the controller is doing, for display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The bottleneck is not found yet.
    Starting,
    /// Sends what the path takes, or climbs towards it.
    Steady,
    /// A queue grew; less is sent until it is clear whether it stays.
    BackingOff,
    /// The queue was congestion; it drains.
    Draining,
    /// The application sends little; padding shows what the path would take.
    Probing,
    /// Somebody else keeps the queue full; a share is held.
    Competing,
    /// Nobody answers.
    Outage,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Steady => "steady",
            Self::BackingOff => "backing off",
            Self::Draining => "draining",
            Self::Probing => "probing",
            Self::Competing => "competing",
            Self::Outage => "outage",
        })
    }
}

/// Padding to send, as one burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// UDP payload, bytes, in datagrams of any size.
    pub bytes: u32,
    /// How fast.
    pub pace: Pace,
    /// The burst's number, for [`super::Sent`].
    pub burst: u32,
}

/// How busy a codec is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// For how long the newest frame kept it from the next.
    pub time: Duration,
    /// Frames waiting for it. An encoder that gets only the newest picture counts what was
    /// dropped for it since the one before.
    pub waiting: u8,
}

/// What to do until the next decision.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// All video, parity and repeats together.
    pub wire_rate: BitsPerSecond,
    /// How to pace them.
    pub pace: Pace,
    /// Padding to send now. Each is given out once.
    pub probe: Option<Probe>,
    /// What is going on.
    pub state: State,
    /// Where a climb ends for now: the target that the output follows.
    pub target: BitsPerSecond,
    /// The bottleneck, if known.
    pub bottleneck: Option<BitsPerSecond>,
    /// What the receipts say.
    pub signals: Signals,
}
