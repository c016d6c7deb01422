//! What the host knows about the path: the sent log, and all that is read from receipts.
//!
//! It decides nothing. [`Estimator::signals`] is the whole of what the controller gets to see.

use std::time::Duration;

use crate::feedback::Feedback;
use crate::units::Timestamp;

use super::arrivals::Arrivals;
use super::bottleneck::Bottleneck;
use super::loss::{Loss, LossMeter};
use super::sent::{Judged, Sent, SentKind, SentLog};

/// A queue that delays every datagram of this long is standing. Two frames of 60 Hz: a frame's
/// own burst has drained by the time the next frame's first datagram passes.
pub const STANDING_WINDOW: Duration = Duration::from_millis(35);
/// The queue as it is now: the least delay of two slots of arrivals, so that one late wake-up of
/// the receiving thread is no queue.
const NEWEST_WINDOW: Duration = Duration::from_millis(10);
/// Silence beyond a round trip after which the last delays are out of date: twice the longest
/// time between two feedbacks while something arrives.
const STALE_AFTER: Duration = Duration::from_millis(40);
/// A queue of more than this keeps the bottleneck busy: what arrives then is its rate.
const BUSY_FROM: Duration = Duration::from_millis(2);
/// Delivery is measured over at most this long, and at least over [`DELIVERY_MIN`].
const DELIVERY_MAX: Duration = STANDING_WINDOW;
const DELIVERY_MIN: Duration = Duration::from_millis(20);
/// Width of a part of the history of what was sent.
const SENT_PART_NS: u64 = 25_000_000;
const SENT_PARTS: usize = 16;

/// What the receipts say, as of a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signals {
    /// Least queue delay of the newest arrivals.
    pub queue_delay: Duration,
    /// Least queue delay of the last 35 ms of arrivals.
    pub standing: Duration,
    /// How long the queue has never been empty.
    pub busy_for: Duration,
    /// Arriving bits a second over the time that the queue was busy, the last 20 to 35 ms of it;
    /// `None` if it was empty since.
    pub delivered: Option<f64>,
    /// Arriving bits a second over 300 ms.
    pub delivered_long: f64,
    /// Leaving bits a second over the last 200 ms.
    pub sent: f64,
    /// Bits a second that the bottleneck passes, if known.
    pub bottleneck: Option<f64>,
    /// The most of that in 20 s.
    pub bottleneck_peak: Option<f64>,
    /// True if bursts are held up at that rate, false if it is a lower bound.
    pub is_held: bool,
    /// How fast the newest burst arrived, if it was held up and not long ago.
    pub burst: Option<f64>,
    /// Time since a burst last said something about the bottleneck.
    pub bottleneck_age: Duration,
    /// Loss over two seconds.
    pub loss: Loss,
    /// Loss over 0.4 s.
    pub loss_short: Loss,
    /// Smoothed round trip; zero before the first.
    pub rtt: Duration,
    /// Least round trip so far.
    pub rtt_min: Duration,
    /// How long the oldest datagram has waited for an answer, if one waits.
    pub unanswered: Option<Duration>,
    /// When the youngest datagram that is known to have arrived left, host's clock. What is seen
    /// now is the effect of what was sent then.
    pub answered: Timestamp,
    /// Time since a feedback last named something new; `None` before the first.
    pub silence: Option<Duration>,
}

/// The sent log and its readers.
#[derive(Debug)]
pub struct Estimator {
    log: SentLog,
    arrivals: Arrivals,
    bottleneck: Bottleneck,
    loss: LossMeter,
    rtt: Option<Duration>,
    rtt_min: Duration,
    answered: Timestamp,
    last_news: Option<Timestamp>,
    /// Bits sent, in parts of 25 ms: index and bits.
    sent: [(u64, u64); SENT_PARTS],
}

impl Estimator {
    /// Knows nothing. Allocates the sent log.
    #[must_use]
    pub fn new() -> Self {
        Self {
            log: SentLog::new(),
            arrivals: Arrivals::new(BUSY_FROM),
            bottleneck: Bottleneck::default(),
            loss: LossMeter::default(),
            rtt: None,
            rtt_min: Duration::MAX,
            answered: Timestamp::ZERO,
            last_news: None,
            sent: [(0, 0); SENT_PARTS],
        }
    }

    /// Datagrams were given to the kernel.
    pub fn handle_sent(&mut self, now: Timestamp, sent: &Sent) {
        self.log.handle_sent(now, sent);
        let index = now.as_ns() / SENT_PART_NS;
        let part = &mut self.sent[(index % SENT_PARTS as u64) as usize];
        if part.0 != index {
            *part = (index, 0);
        }
        part.1 += sent.bytes() * 8;
    }

    /// An outage is over, or what was lost was lost for its size.
    pub fn forget_losses(&mut self) {
        self.loss.forget();
    }

    /// A feedback came. One that is late, lost or told twice does no harm. `is_load` sees every
    /// fate, in order, and says whether it counts as loss of the path.
    pub fn handle_feedback(
        &mut self,
        now: Timestamp,
        feedback: &Feedback,
        mut is_load: impl FnMut(&Judged) -> bool,
    ) {
        let mut newest = None;
        let Self {
            log,
            arrivals,
            bottleneck,
            loss,
            ..
        } = self;
        log.handle_feedback(
            feedback,
            |datagram| {
                let queued = arrivals.handle(
                    datagram.departure,
                    datagram.arrival,
                    u64::from(datagram.bytes),
                );
                bottleneck.handle(now, datagram, queued);
                newest = Some(*datagram);
            },
            |judged| {
                if is_load(judged) && judged.kind != SentKind::MtuProbe {
                    loss.handle(now, judged.fate);
                }
            },
        );
        if let Some(newest) = newest {
            self.last_news = Some(now);
            self.answered = self.answered.max(newest.departure);
            let held = feedback.sent.since(newest.arrival);
            self.take_rtt(now.since(newest.departure).saturating_sub(held));
        }
    }

    /// All that is known at `now`.
    #[must_use]
    pub fn signals(&self, now: Timestamp) -> Signals {
        let busy_for = self.arrivals.busy_for();
        let silence = self.last_news.map(|last| now.since(last));
        // A queue that we add nothing to drains; what nobody has seen since is not believed.
        let stale = silence.unwrap_or_default();
        let stale = stale.saturating_sub(self.rtt.unwrap_or_default() + STALE_AFTER);
        let queue = |window| self.arrivals.queue_delay_min(window).saturating_sub(stale);
        Signals {
            queue_delay: queue(NEWEST_WINDOW),
            standing: queue(STANDING_WINDOW),
            busy_for,
            delivered: self.arrivals.delivered_busy(DELIVERY_MIN, DELIVERY_MAX),
            delivered_long: self.arrivals.delivered(Duration::from_millis(300)),
            sent: self.sent_rate(now),
            bottleneck: self.bottleneck.rate(now),
            bottleneck_peak: self.bottleneck.peak(now),
            is_held: self.bottleneck.is_held(),
            burst: self.bottleneck.newest_burst(now),
            bottleneck_age: now.since(self.bottleneck.newest()),
            loss: self.loss(now),
            loss_short: self.loss.loss_short(now),
            rtt: self.round_trip(),
            rtt_min: self.rtt.map_or(Duration::ZERO, |_| self.rtt_min),
            unanswered: self.log.unanswered_since().map(|since| now.since(since)),
            answered: self.answered,
            silence,
        }
    }

    /// [`Signals::loss`] alone.
    #[must_use]
    pub fn loss(&self, now: Timestamp) -> Loss {
        self.loss.loss(now)
    }

    /// [`Signals::rtt`] alone.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        self.rtt.unwrap_or_default()
    }

    /// The log, for its counters.
    #[must_use]
    pub const fn log(&self) -> &SentLog {
        &self.log
    }

    /// All losses so far, datagrams.
    #[must_use]
    pub const fn total_lost(&self) -> u64 {
        self.loss.total_lost()
    }

    /// RFC 6298 section 2's mean, with its gain of an eighth.
    fn take_rtt(&mut self, sample: Duration) {
        self.rtt_min = self.rtt_min.min(sample);
        self.rtt = Some(self.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
    }

    /// Over the eight complete parts before the current one.
    fn sent_rate(&self, now: Timestamp) -> f64 {
        const PARTS: u64 = 8;
        let index = now.as_ns() / SENT_PART_NS;
        let is_in = |part: &&(u64, u64)| part.0 < index && part.0 + PARTS >= index;
        let bits: u64 = self.sent.iter().filter(is_in).map(|part| part.1).sum();
        bits as f64 * 1e9 / (PARTS * SENT_PART_NS) as f64
    }
}

impl Default for Estimator {
    fn default() -> Self {
        Self::new()
    }
}
