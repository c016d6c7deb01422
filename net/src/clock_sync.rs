//! How a client's clock relates to its host's: echoes of four stamps in, offset with a stated
//! uncertainty out.
//!
//! Each feedback datagram carries its send time t1; the host answers with an [`Echo`] of t1, its
//! own receive time t2 and send time t3; the client adds t4, the echo's arrival (RFC 5905
//! section 8). With offset O = host clock − client clock and delays that are never negative,
//! t3 − t4 ≤ O ≤ t2 − t1 holds, whatever the queues do: an interval of the width of the round
//! trip. Both sides read monotonic clocks, which do not step, and whose rates differ by at most
//! [`DRIFT_PPB_MAX`]; so an interval seen a while ago still holds, widened by that much.
//!
//! - **Filter**: of each second the sample of the smallest round trip is kept, for 64 s. A queue
//!   in one direction shifts the middle of a sample by half its length, and makes its round trip
//!   long: such samples lose.
//! - **Drift**: the median of the slopes between the better samples that are far enough apart
//!   (Theil and Sen), once a second. **Level**: the median of those samples moved to now along that slope, held within
//!   the intersection of all intervals.
//! - **Uncertainty**: the farther end of the intersection of all intervals at the asked time.
//!   It is a bound, not a guess: half the best round trip plus the drift since, or less.
//! - **Slew**: what is reported moves towards a new estimate by at most [`SLEW_PPB_MAX`], so time
//!   mapped to the other side never runs backwards. Corrections above [`STEP_NS_MIN`] are made at
//!   once and counted: they come with the first samples, or after one side was suspended.
//! - **A contradiction** (a sample whose interval does not meet the others': a machine was
//!   suspended) discards what was known before it, and is counted.
//!
//! Units: nanoseconds, of the client's clock where nothing else is said. Echo on the wire, the
//! sealed payload of media type 0x05, little-endian, 24 bytes:
//!
//! | offset | size | field |
//! |---:|---:|---|
//! | 0 | 8 | t1: client sent the feedback, ns of the client's clock |
//! | 8 | 8 | t2: host received it, ns of the host's clock |
//! | 16 | 8 | t3: host sends this echo, ns of the host's clock |

use std::time::Duration;

use crate::bytes::{Reader, Truncated};
use crate::units::Timestamp;

/// Length of an echo's body.
pub const ECHO_BYTES: usize = 24;
/// Most that the rates of two monotonic clocks differ, parts per 10⁹: 100 ppm of crystal each,
/// in opposite directions.
pub const DRIFT_PPB_MAX: i64 = 200_000;
/// Most that the reported offset moves beside the drift, parts per 10⁹ of the time passed: 2 %,
/// so that a correction of 1 ms is made within 50 ms and a measured latency is off by 2 % at
/// most meanwhile.
pub const SLEW_PPB_MAX: i64 = 20_000_000;
/// A correction from here on is made at once, ns: slewed it would take 12 s.
pub const STEP_NS_MIN: i64 = 250_000_000;
/// Longest round trip that is a sample, ns. Streaming over a longer one is not what this is for.
pub const ROUND_TRIP_NS_MAX: i64 = 2_000_000_000;

const BUCKET_NS: i64 = 1_000_000_000;
const BUCKETS: usize = 64;
/// Pairs of all buckets, an upper bound of what drift is computed from.
const PAIRS: usize = BUCKETS * (BUCKETS - 1) / 2;
/// Samples closer than this say nothing of drift: 100 µs of noise over 2 s are 50 ppm already.
const DRIFT_SPAN_NS_MIN: i64 = 2_000_000_000;
/// Nor do those closer than this part of the time that all samples span.
const DRIFT_SPAN_PART: i64 = 3;
/// Fewest pairs that say something.
const DRIFT_PAIRS_MIN: usize = 3;
/// Round trips this near to the best are as good, ns: what a busy client's wake-up costs.
const AS_GOOD_NS: i64 = 50_000;
/// No clock counts so far (146 years); sums of a few stamps below fit an i64.
const STAMP_NS_MAX: u64 = 1 << 61;
const _: () = assert!(DRIFT_PPB_MAX + SLEW_PPB_MAX < 1_000_000_000, "time runs on");

/// The three stamps that the host sends; see the module for the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// The client's stamp, as it came.
    pub client_sent: Timestamp,
    /// When the host received it, host clock.
    pub host_received: Timestamp,
    /// When the host sends the echo, host clock.
    pub host_sent: Timestamp,
}

/// A body is not an echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EchoError {
    /// Too few bytes.
    #[error("an echo is too short: {0}")]
    Truncated(#[from] Truncated),
    /// Too many.
    #[error("an echo has {0} bytes too many: it is {ECHO_BYTES} bytes long")]
    Trailing(usize),
}

impl Echo {
    /// The body.
    #[must_use]
    pub fn to_wire(self) -> [u8; ECHO_BYTES] {
        let mut wire = [0; ECHO_BYTES];
        let stamps = [self.client_sent, self.host_received, self.host_sent];
        for (field, stamp) in wire.chunks_exact_mut(8).zip(stamps) {
            field.copy_from_slice(&stamp.as_ns().to_le_bytes());
        }
        wire
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`EchoError`] where it is not [`ECHO_BYTES`] long. Any stamp is a value here;
    /// [`ClockSync::handle`] judges them.
    pub fn parse(body: &[u8]) -> Result<Self, EchoError> {
        let mut reader = Reader::new(body);
        let echo = Self {
            client_sent: Timestamp::from_ns(reader.u64()?),
            host_received: Timestamp::from_ns(reader.u64()?),
            host_sent: Timestamp::from_ns(reader.u64()?),
        };
        match body.len() - ECHO_BYTES {
            0 => Ok(echo),
            extra => Err(EchoError::Trailing(extra)),
        }
    }
}

/// Four stamps that are no sample. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// A stamp is beyond what a clock counts to.
    #[error("a stamp of {0} ns is no clock's: the peer is broken")]
    Stamp(u64),
    /// An arrival before its departure, or a host that held the echo longer than the round trip.
    #[error("the four stamps contradict each other: the echo belongs to another session")]
    Order,
    /// Longer than [`ROUND_TRIP_NS_MAX`].
    #[error("an echo took {0} ns: too long to tell the time by")]
    Late(i64),
    /// Older than the window.
    #[error("an echo is older than those in use")]
    Stale,
}

/// The host's clock less the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// Offset, ns.
    pub ns: i64,
    /// The true offset is at most this far from it, ns.
    pub uncertainty_ns: u64,
}

/// Times from the client's sending to the echo's arrival, less the host's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrip {
    /// Mean that follows by an eighth (RFC 6298 section 2).
    pub smoothed: Duration,
    /// Smallest of the window.
    pub min: Duration,
    /// The newest.
    pub latest: Duration,
}

/// The smallest round trip of a bucket.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Middle between sending and arrival, client clock.
    at: i64,
    /// Middle of the interval.
    offset: i64,
    /// Round trip without the host's share.
    round_trip: i64,
    /// Half the width of the interval at `at`.
    half: i64,
}

impl Sample {
    fn half_at(&self, t: i64) -> i64 {
        let age = t.saturating_sub(self.at).saturating_abs();
        self.half
            .saturating_add(age / (1_000_000_000 / DRIFT_PPB_MAX) + 1)
    }
}

/// What is reported: a line, and the rest of the last correction.
#[derive(Clone, Copy, Debug)]
struct Line {
    at: i64,
    level: i64,
    drift_ppb: i64,
    /// Reported less estimated at `at`; shrinks by [`SLEW_PPB_MAX`].
    error: i64,
}

impl Line {
    fn estimated(&self, t: i64) -> i64 {
        let dt = t.saturating_sub(self.at);
        self.level.saturating_add(scaled(dt, self.drift_ppb))
    }

    fn reported(&self, t: i64) -> i64 {
        let made = scaled(t.saturating_sub(self.at).max(0), SLEW_PPB_MAX);
        let left = self.error.saturating_abs().saturating_sub(made).max(0);
        self.estimated(t)
            .saturating_add(left.saturating_mul(self.error.signum()))
    }
}

/// The client's machine. It allocates nothing after construction.
#[derive(Debug)]
pub struct ClockSync {
    /// By the second of [`Sample::at`].
    buckets: Box<[Option<Sample>; BUCKETS]>,
    slopes_ppb: Box<[i64; PAIRS]>,
    /// Newest [`Sample::at`].
    newest: i64,
    line: Option<Line>,
    smoothed_ns: i64,
    latest_ns: i64,
    steps: u64,
    contradictions: u64,
}

impl Default for ClockSync {
    fn default() -> Self {
        Self::new()
    }
}

impl ClockSync {
    /// Knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            buckets: Box::new([None; BUCKETS]),
            slopes_ppb: Box::new([0; PAIRS]),
            newest: i64::MIN,
            line: None,
            smoothed_ns: 0,
            latest_ns: 0,
            steps: 0,
            contradictions: 0,
        }
    }

    /// Corrections that were made at once.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// Times that everything known was discarded.
    #[must_use]
    pub const fn contradictions(&self) -> u64 {
        self.contradictions
    }

    /// How much faster the host's clock runs, parts per 10⁹.
    #[must_use]
    pub fn drift_ppb(&self) -> i64 {
        self.line.map_or(0, |line| line.drift_ppb)
    }

    /// Round trips; `None` before the first sample.
    #[must_use]
    pub fn round_trip(&self) -> Option<RoundTrip> {
        let min = self.samples().map(|sample| sample.round_trip).min()?;
        let duration = |ns: i64| Duration::from_nanos(ns.unsigned_abs());
        Some(RoundTrip {
            smoothed: duration(self.smoothed_ns),
            min: duration(min),
            latest: duration(self.latest_ns),
        })
    }

    /// The offset at `now` of the client's clock, also for a `now` a while ago; `None` before
    /// the first sample.
    #[must_use]
    pub fn offset_at(&self, now: Timestamp) -> Option<Offset> {
        let t = signed(now);
        let ns = self.line?.reported(t);
        let (low, high) = self.bounds(t);
        let above = high.saturating_sub(ns).saturating_abs();
        let below = ns.saturating_sub(low).saturating_abs();
        Some(Offset {
            ns,
            uncertainty_ns: above.max(below).unsigned_abs(),
        })
    }

    /// A time of the client's clock on the host's.
    #[must_use]
    pub fn to_host(&self, local: Timestamp) -> Option<Timestamp> {
        let offset = self.line?.reported(signed(local));
        Some(Timestamp::from_ns(
            local.as_ns().saturating_add_signed(offset),
        ))
    }

    /// A time of the host's clock on the client's.
    #[must_use]
    pub fn to_local(&self, host: Timestamp) -> Option<Timestamp> {
        let line = self.line?;
        let mut local = line.at;
        // The offset changes by 2 % of the error of the guess at most: four rounds turn a minute
        // into 10 µs, and the seconds that a frame is old into nothing.
        for _ in 0..4 {
            local = signed(host).saturating_sub(line.reported(local)).max(0);
        }
        Some(Timestamp::from_ns(local.unsigned_abs()))
    }

    /// An echo arrived at `t4`. Repeats and any order are harmless.
    ///
    /// # Errors
    /// [`SampleError`] where the stamps are no sample; nothing has changed then.
    pub fn handle(
        &mut self,
        t1: Timestamp,
        t2: Timestamp,
        t3: Timestamp,
        t4: Timestamp,
    ) -> Result<(), SampleError> {
        let sample = sample(t1, t2, t3, t4)?;
        let slot = slot(sample.at);
        if sample.at < self.newest.saturating_sub((BUCKETS as i64 - 1) * BUCKET_NS) {
            return Err(SampleError::Stale);
        }
        if self.knows(&sample) {
            return Ok(());
        }
        self.latest_ns = sample.round_trip;
        self.smoothed_ns = match self.line {
            None => sample.round_trip,
            Some(_) => self.smoothed_ns + (sample.round_trip - self.smoothed_ns) / 8,
        };
        self.newest = self.newest.max(sample.at);
        if self.contradicts(&sample) {
            self.buckets.fill(None);
            self.newest = sample.at;
            self.contradictions += 1;
        }
        let second = sample.at.div_euclid(BUCKET_NS);
        let kept = self.buckets[slot].filter(|kept| kept.at.div_euclid(BUCKET_NS) == second);
        if kept.is_none_or(|kept| sample.round_trip < kept.round_trip) {
            self.buckets[slot] = Some(sample);
        }
        self.fit(signed(t4), kept.is_none());
        Ok(())
    }

    /// The same stamps are the bucket's best already.
    fn knows(&self, sample: &Sample) -> bool {
        self.buckets[slot(sample.at)].is_some_and(|kept| {
            (kept.at, kept.offset, kept.round_trip) == (sample.at, sample.offset, sample.round_trip)
        })
    }

    fn contradicts(&self, sample: &Sample) -> bool {
        if self.samples().next().is_none() {
            return false;
        }
        let t = self.newest;
        let (low, high) = self.bounds(t);
        let half = sample.half_at(t);
        sample.offset.saturating_sub(half) > high || sample.offset.saturating_add(half) < low
    }

    /// The samples of the window.
    fn samples(&self) -> impl Iterator<Item = &Sample> {
        let first = self.newest.div_euclid(BUCKET_NS) - (BUCKETS as i64 - 1);
        let first_ns = first.saturating_mul(BUCKET_NS);
        self.buckets
            .iter()
            .flatten()
            .filter(move |sample| sample.at >= first_ns)
    }

    /// Where the offset at `t` lies for certain.
    fn bounds(&self, t: i64) -> (i64, i64) {
        self.samples()
            .fold((i64::MIN, i64::MAX), |(low, high), sample| {
                let half = sample.half_at(t);
                (
                    low.max(sample.offset.saturating_sub(half)),
                    high.min(sample.offset.saturating_add(half)),
                )
            })
    }

    /// A new line from the samples, met by what is reported at `now`; with a new slope where a
    /// second has begun.
    fn fit(&mut self, now: i64, new_second: bool) {
        let now = self.line.map_or(now, |line| line.at.max(now));
        let mut good = [(0, 0); BUCKETS];
        let count = self.select(&mut good);
        let good = &mut good[..count];
        let drift_ppb = new_second
            .then(|| self.drift(good))
            .flatten()
            .unwrap_or_else(|| self.drift_ppb());
        for (at, offset) in good.iter_mut() {
            *offset = offset.saturating_add(scaled(now.saturating_sub(*at), drift_ppb));
        }
        let (_, &mut (_, median), _) =
            good.select_nth_unstable_by_key(count / 2, |&(_, offset)| offset);
        let (low, high) = self.bounds(now);
        // They meet but for rounding: `contradicts` has seen to it.
        let level = median.max(low).min(high);
        let mut error = self
            .line
            .map_or(0, |line| line.reported(now).saturating_sub(level));
        if error.saturating_abs() >= STEP_NS_MIN {
            self.steps += 1;
            error = 0;
        }
        self.line = Some(Line {
            at: now,
            level,
            drift_ppb,
            error,
        });
    }

    /// Time and offset of the quarter with the smallest round trips, and of all as good as the
    /// best; how many.
    fn select(&self, good: &mut [(i64, i64); BUCKETS]) -> usize {
        let mut trips = [0; BUCKETS];
        let mut count = 0;
        for sample in self.samples() {
            trips[count] = sample.round_trip;
            count += 1;
        }
        let trips = &mut trips[..count];
        trips.sort_unstable();
        let bound = trips[count / 4].max(trips[0] + AS_GOOD_NS);
        let mut selected = 0;
        for sample in self.samples().filter(|sample| sample.round_trip <= bound) {
            good[selected] = (sample.at, sample.offset);
            selected += 1;
        }
        selected
    }

    /// Median slope, parts per 10⁹, where there is enough to tell.
    fn drift(&mut self, good: &[(i64, i64)]) -> Option<i64> {
        let (first, last) = good
            .iter()
            .fold((i64::MAX, i64::MIN), |(first, last), &(at, _)| {
                (first.min(at), last.max(at))
            });
        let span_min = DRIFT_SPAN_NS_MIN.max((last - first) / DRIFT_SPAN_PART);
        let mut count = 0;
        for (i, &(at, offset)) in good.iter().enumerate() {
            for &(other_at, other_offset) in &good[i + 1..] {
                let dt = i128::from(other_at) - i128::from(at);
                if dt.abs() >= i128::from(span_min) {
                    let rise = i128::from(other_offset) - i128::from(offset);
                    let slope = rise * 1_000_000_000 / dt;
                    let bound = i128::from(DRIFT_PPB_MAX);
                    self.slopes_ppb[count] = slope.clamp(-bound, bound) as i64;
                    count += 1;
                }
            }
        }
        let slopes = &mut self.slopes_ppb[..count];
        (count >= DRIFT_PAIRS_MIN).then(|| *slopes.select_nth_unstable(count / 2).1)
    }
}

/// The time that a 32-bit microsecond field of a media header means: the one nearest to `near`
/// of the same clock.
#[must_use]
pub fn expand_us(low_us: u32, near: Timestamp) -> Timestamp {
    let near_us = near.as_ns() / 1000;
    let ahead = low_us.wrapping_sub(near_us as u32) as i32;
    let us = near_us.saturating_add_signed(i64::from(ahead));
    Timestamp::from_ns(us.saturating_mul(1000))
}

fn sample(
    t1: Timestamp,
    t2: Timestamp,
    t3: Timestamp,
    t4: Timestamp,
) -> Result<Sample, SampleError> {
    for stamp in [t1, t2, t3, t4] {
        if stamp.as_ns() > STAMP_NS_MAX {
            return Err(SampleError::Stamp(stamp.as_ns()));
        }
    }
    let [t1, t2, t3, t4] = [t1, t2, t3, t4].map(signed);
    let (whole, held) = (t4 - t1, t3 - t2);
    if whole < 0 || held < 0 || held > whole + scaled(whole, DRIFT_PPB_MAX) {
        return Err(SampleError::Order);
    }
    if whole > ROUND_TRIP_NS_MAX {
        return Err(SampleError::Late(whole));
    }
    // A host that held the echo nearly all the time may seem to have held it longer.
    let round_trip = (whole - held).max(0);
    Ok(Sample {
        at: t1 + whole / 2,
        offset: ((t2 - t1) + (t3 - t4)) / 2,
        round_trip,
        // The offset moves during the round trip, too; 1 for rounding.
        half: round_trip / 2 + scaled(whole, DRIFT_PPB_MAX) + 1,
    })
}

fn slot(at: i64) -> usize {
    at.div_euclid(BUCKET_NS).rem_euclid(BUCKETS as i64) as usize
}

fn signed(t: Timestamp) -> i64 {
    i64::try_from(t.as_ns()).unwrap_or(i64::MAX)
}

/// `ns · ppb / 10⁹`, saturating.
fn scaled(ns: i64, ppb: i64) -> i64 {
    let product = i128::from(ns) * i128::from(ppb) / 1_000_000_000;
    product.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

#[cfg(test)]
#[path = "clock_sync/tests.rs"]
mod tests;
