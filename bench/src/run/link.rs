//! What lies between client and host: a small language for it, and the arithmetic of a datagram's
//! way through it, without clock or socket.
//!
//! `50M,10M@5s,delay=2ms,loss=2%,burst=8,queue=64K,outage=1s@5s,seed=1`, in any order, all of it
//! optional:
//!
//! | part | meaning |
//! |---|---|
//! | `50M` | rate from host to client, with the headers of IPv4 and Ethernet; none: no limit |
//! | `10M@5s` | another rate from 5 s on |
//! | `delay=2ms` | one way, either direction |
//! | `loss=2%` | either direction; `loss-down=2%`: from host to client alone |
//! | `burst=8` | mean run of losses, Gilbert and Elliott; none: each by itself |
//! | `queue=64K` | bytes (K: 1024) in front of the rate; none: half a second of time |
//! | `outage=1s@5s` | nothing passes, either direction, from 5 s to 6 s |
//! | `seed=1` | of the losses |
//!
//! Times count from the start of the measured time. [`Line`] is the rate: a datagram departs when
//! the line has put its last bit out, and the line begins with it when it is done with the one
//! before. [`Way`] is a whole direction: line, then loss and outage, then delay.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use engine::config::parse_bitrate;
use net::units::{BitsPerSecond, Timestamp};

use super::stretch::Meter;
use crate::report::Stretch;

/// What a datagram takes on the line beside its payload, bytes: IPv4 and UDP headers (28),
/// Ethernet header and checksum (18), preamble and gap (20), IEEE 802.3 clause 4.
const OVERHEAD_BYTES: usize = 28 + 18 + 20;
/// What waits longer than this is dropped: several pictures, so that nothing is at any sane rate.
const QUEUE_TIME_MAX: Duration = Duration::from_millis(500);
/// Most rates, the first included, and most outages: enough for any sweep that a person reads.
const STEPS_MAX: usize = 8;
/// The longest delay, and the latest that anything happens.
const TIME_MAX: Duration = Duration::from_secs(3600);
const NS: u128 = 1_000_000_000;

/// What lies between client and host.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one a run")]
pub enum Link {
    /// Nothing but the kernel.
    Loopback,
    /// A relay of ours.
    Relayed(Path),
}

impl Link {
    /// A relay that lets datagrams to the client out at this rate, and does nothing else.
    #[must_use]
    pub fn paced(rate: BitsPerSecond) -> Self {
        let mut path = Path::default();
        path.rates[0] = Some((Duration::ZERO, rate));
        Self::Relayed(path)
    }

    /// One way, without queues.
    #[must_use]
    pub const fn delay(&self) -> Duration {
        match self {
            Self::Loopback => Duration::ZERO,
            Self::Relayed(path) => path.delay,
        }
    }

    /// When outages begin and end.
    pub fn outages(&self) -> impl Iterator<Item = (Duration, Duration)> {
        let outages = match self {
            Self::Loopback => [None; STEPS_MAX],
            Self::Relayed(path) => path.outages,
        };
        outages.into_iter().flatten()
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("loopback"),
            Self::Relayed(path) => write!(f, "relay {path}"),
        }
    }
}

/// A path as the module's text says it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Path {
    /// From when on which rate; the first from ever on, the others ascending.
    rates: [Option<(Duration, BitsPerSecond)>; STEPS_MAX],
    delay: Duration,
    loss_down: f64,
    loss_up: f64,
    /// Mean run of losses; `None`: each datagram by itself.
    burst: Option<f64>,
    queue_bytes: Option<u64>,
    /// From, to.
    outages: [Option<(Duration, Duration)>; STEPS_MAX],
    seed: u64,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            rates: [None; STEPS_MAX],
            delay: Duration::ZERO,
            loss_down: 0.0,
            loss_up: 0.0,
            burst: None,
            queue_bytes: None,
            outages: [None; STEPS_MAX],
            seed: 1,
        }
    }
}

/// A part of a link is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {reason}")]
pub struct LinkError {
    /// The part as it was written.
    part: String,
    /// What is wrong, and what would be right.
    reason: String,
}

impl FromStr for Path {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let mut path = Self::default();
        for part in text.split(',').map(str::trim) {
            path.take(part).map_err(|reason| LinkError {
                part: part.to_owned(),
                reason,
            })?;
        }
        Ok(path)
    }
}

impl Path {
    fn take(&mut self, part: &str) -> Result<(), String> {
        let Some((key, value)) = part.split_once('=') else {
            return self.take_rate(part);
        };
        match key {
            "delay" => self.delay = time(value)?,
            "loss" => {
                self.loss_down = share(value)?;
                self.loss_up = self.loss_down;
            }
            "loss-down" => self.loss_down = share(value)?,
            "burst" => self.burst = Some(mean_run(value)?),
            "queue" => self.queue_bytes = Some(bytes(value)?),
            "outage" => {
                let (length, from) = value
                    .split_once('@')
                    .ok_or("say when, such as outage=1s@5s")?;
                let (length, from) = (time(length)?, time(from)?);
                let free = self.outages.iter_mut().find(|outage| outage.is_none());
                *free.ok_or_else(too_many)? = Some((from, from + length));
            }
            "seed" => {
                let seed = value.parse();
                self.seed = seed.map_err(|_| "a seed is a whole number".to_owned())?;
            }
            _ => {
                let text = "there are delay, loss, loss-down, burst, queue, outage and seed";
                return Err(text.to_owned());
            }
        }
        Ok(())
    }

    fn take_rate(&mut self, part: &str) -> Result<(), String> {
        let (rate, from) = match part.split_once('@') {
            Some((rate, from)) => (rate, Some(time(from)?)),
            None => (part, None),
        };
        let rate = parse_bitrate(rate)?;
        let count = self.rates.iter().flatten().count();
        let last = self.rates.iter().flatten().next_back().copied();
        let from = match (last, from) {
            (None, None) => Duration::ZERO,
            (None, Some(_)) => return Err("give the rate before it first".to_owned()),
            (Some(_), None) => return Err("say from when on, such as 10M@5s".to_owned()),
            (Some((before, _)), Some(from)) if from <= before => {
                return Err("steps stand in the order of time".to_owned());
            }
            (Some(_), Some(from)) => from,
        };
        *self.rates.get_mut(count).ok_or_else(too_many)? = Some((from, rate));
        Ok(())
    }

    /// From host to client.
    #[must_use]
    pub fn down(&self) -> Way {
        let line = self.rates[0].is_some().then_some(Line {
            rates: self.rates,
            queue_bytes: self.queue_bytes,
            begun: None,
            busy_until: Timestamp::ZERO,
        });
        self.way(line, self.loss_down, self.seed)
    }

    /// From client to host.
    #[must_use]
    pub fn up(&self) -> Way {
        // Another stream of the same seed: the directions lose independently.
        self.way(None, self.loss_up, self.seed ^ 0x7570_0000_0000_0000)
    }

    fn way(&self, line: Option<Line>, share: f64, seed: u64) -> Way {
        Way {
            line,
            loss: Loss {
                share,
                burst: self.burst,
                is_losing: false,
                random: seed,
            },
            outages: self.outages,
            delay: self.delay,
            begun: None,
            meter: None,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rates[0] {
            Some((_, rate)) => write!(f, "at {rate}")?,
            None => f.write_str("at any rate")?,
        }
        for (from, rate) in self.rates[1..].iter().flatten() {
            write!(f, ", {rate} from {from:?}")?;
        }
        if let Some(bytes) = self.queue_bytes {
            write!(f, ", queue {} KiB", bytes / 1024)?;
        }
        if !self.delay.is_zero() {
            write!(f, ", delay {:?}", self.delay)?;
        }
        if self.loss_down > 0.0 || self.loss_up > 0.0 {
            let (down, up) = (self.loss_down * 100.0, self.loss_up * 100.0);
            write!(f, ", loss {down:.1} % down {up:.1} % up")?;
            if let Some(burst) = self.burst {
                write!(f, " in runs of {burst:.1}")?;
            }
            write!(f, ", seed {}", self.seed)?;
        }
        for (from, to) in self.outages.iter().flatten() {
            write!(f, ", outage {from:?} to {to:?}")?;
        }
        Ok(())
    }
}

fn too_many() -> String {
    format!("{STEPS_MAX} at most")
}

fn time(text: &str) -> Result<Duration, String> {
    let wrong = || "times are such as 2ms or 1.5s".to_owned();
    let (figure, unit_s) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(figure), _) => (figure, 1e-3),
        (None, Some(figure)) => (figure, 1.0),
        (None, None) => return Err(wrong()),
    };
    let figure: f64 = figure.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(figure * unit_s)
        .ok()
        .filter(|time| *time <= TIME_MAX)
        .ok_or_else(|| "an hour at most, and not negative".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|text| text.parse().ok());
    percent
        .filter(|percent| (0.0..=90.0).contains(percent))
        .map(|percent: f64| percent / 100.0)
        .ok_or_else(|| "losses are 0% to 90%".to_owned())
}

fn mean_run(text: &str) -> Result<f64, String> {
    let run = text.parse().ok();
    run.filter(|run| (1.0..=1000.0).contains(run))
        .ok_or_else(|| "a mean run is 1 to 1000 datagrams".to_owned())
}

fn bytes(text: &str) -> Result<u64, String> {
    let (figure, unit) = match (text.strip_suffix('K'), text.strip_suffix('M')) {
        (Some(figure), _) => (figure, 1 << 10),
        (_, Some(figure)) => (figure, 1 << 20),
        _ => (text, 1),
    };
    let figure: Option<u64> = figure.parse().ok();
    figure
        .and_then(|figure| figure.checked_mul(unit))
        .filter(|bytes| (2048..=1 << 30).contains(bytes))
        .ok_or_else(|| "a queue is 2K to 1024M".to_owned())
}

/// A serial line and its queue.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    rates: [Option<(Duration, BitsPerSecond)>; STEPS_MAX],
    queue_bytes: Option<u64>,
    begun: Option<Timestamp>,
    busy_until: Timestamp,
}

impl Line {
    /// When the last bit of a datagram is out that came at `now`; `None` if the queue is full.
    pub fn departure(&mut self, now: Timestamp, payload_bytes: usize) -> Option<Timestamp> {
        let bits = (payload_bytes + OVERHEAD_BYTES) as u128 * 8;
        let is_full = match self.queue_bytes {
            None => self.busy_until.since(now) > QUEUE_TIME_MAX,
            Some(bytes) => self.waiting_bits(now) + bits > u128::from(bytes) * 8,
        };
        if is_full {
            return None;
        }
        let (mut at, mut left) = (self.busy_until.max(now), bits * NS);
        loop {
            let (rate, until) = self.rate(at);
            let fits = until.map(|until| until.since(at).as_nanos() * rate);
            match (until, fits) {
                (Some(until), Some(fits)) if fits < left => (at, left) = (until, left - fits),
                // No longer than an hour at the least rate.
                _ => {
                    at = at + Duration::from_nanos((left / rate) as u64);
                    break;
                }
            }
        }
        self.busy_until = at;
        Some(at)
    }

    /// Bits that came and have not left.
    fn waiting_bits(&self, now: Timestamp) -> u128 {
        let (mut at, mut bits) = (now, 0);
        while at < self.busy_until {
            let (rate, until) = self.rate(at);
            let end = until.map_or(self.busy_until, |until| until.min(self.busy_until));
            bits += end.since(at).as_nanos() * rate;
            at = end;
        }
        bits / NS
    }

    /// The rate at a time, bits a second, and when the next one comes.
    fn rate(&self, at: Timestamp) -> (u128, Option<Timestamp>) {
        let steps = || self.rates.iter().flatten();
        let first = steps().next().map_or(1, |(_, rate)| rate.0);
        let Some(begun) = self.begun else {
            return (first.max(1).into(), None);
        };
        let past = steps().rfind(|(from, _)| begun + *from <= at);
        let next = steps().map(|(from, _)| begun + *from);
        let rate = past.map_or(first, |(_, rate)| rate.0);
        (rate.max(1).into(), next.into_iter().find(|from| *from > at))
    }
}

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// It comes out.
    Arrives {
        /// When it has left the line.
        departure: Timestamp,
        /// When it is there.
        arrival: Timestamp,
    },
    /// Lost on the way.
    Lost,
    /// There was no room in the queue.
    QueueFull,
}

/// One direction.
#[derive(Clone, Debug)]
pub struct Way {
    line: Option<Line>,
    loss: Loss,
    outages: [Option<(Duration, Duration)>; STEPS_MAX],
    delay: Duration,
    begun: Option<Timestamp>,
    meter: Option<Meter>,
}

impl Way {
    /// From `at` on the clock of steps and outages runs, and for `time` the line is measured. Only
    /// the first call counts.
    pub fn begin(&mut self, at: Timestamp, time: Duration) {
        if self.begun.is_some() {
            return;
        }
        self.begun = Some(at);
        if let Some(line) = &mut self.line {
            line.begun = Some(at);
            self.meter = Some(Meter::new(line.rates.into_iter().flatten(), time));
        }
    }

    /// What was measured of the line; nothing without one, or before [`Self::begin`].
    #[must_use]
    pub fn stretches(&self) -> Vec<Stretch> {
        self.meter.as_ref().map_or_else(Vec::new, Meter::stretches)
    }

    /// A datagram comes at `now`.
    pub fn pass(&mut self, now: Timestamp, payload_bytes: usize) -> Passed {
        let departure = match &mut self.line {
            None => Some(now),
            Some(line) => line.departure(now, payload_bytes),
        };
        let Some(departure) = departure else {
            return Passed::QueueFull;
        };
        // What is lost behind the line has used it.
        if let (Some(meter), Some(begun)) = (&mut self.meter, self.begun) {
            let bits = (payload_bytes + OVERHEAD_BYTES) as u64 * 8;
            meter.handle(begun, now, departure, bits);
        }
        if self.loss.next() || self.is_out(departure) {
            return Passed::Lost;
        }
        Passed::Arrives {
            departure,
            arrival: departure + self.delay,
        }
    }

    fn is_out(&self, at: Timestamp) -> bool {
        let Some(begun) = self.begun else {
            return false;
        };
        let mut outages = self.outages.iter().flatten();
        outages.any(|(from, to)| (begun + *from..begun + *to).contains(&at))
    }
}

/// Gilbert and Elliott's model where everything is lost in the bad state, or independent losses.
#[derive(Clone, Debug)]
struct Loss {
    share: f64,
    burst: Option<f64>,
    is_losing: bool,
    random: u64,
}

impl Loss {
    fn next(&mut self) -> bool {
        if self.share <= 0.0 {
            return false;
        }
        let chance = match self.burst {
            None => self.share,
            Some(burst) if self.is_losing => 1.0 - 1.0 / burst,
            Some(burst) => self.share / (burst * (1.0 - self.share)),
        };
        self.is_losing = self.unit() < chance;
        self.is_losing
    }

    /// 0 to 1, by SplitMix64 (Steele, Lea and Flood 2014).
    fn unit(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
