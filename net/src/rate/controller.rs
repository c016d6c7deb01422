//! The rules: from what the path shows to what to send.
//!
//! There is one target, in bits a second, and an output that is the target less what a queue
//! demands at the moment. The target moves slowly and only on what is confirmed; the output
//! follows the queue from one feedback to the next, so a stall that was no congestion costs a
//! frame or two of quality and nothing after.
//!
//! [`Controller::poll`] is the whole of it, in order:
//! 1. [`Controller::watch_outage`]: nobody answers. Trickle, ask now and then, come back gently.
//! 2. [`Controller::watch_competitor`]: the queue stands although we yield, and bursts show that
//!    others have the rest. Hold a share instead of yielding for ever.
//! 3. [`Controller::back_off`]: a standing queue. The target falls below what was delivered.
//! 4. [`Controller::shed_loss`]: heavy loss that grows with our rate, without a queue.
//! 5. [`Controller::shed_load`]: the decoder or the encoder cannot follow.
//! 6. [`Controller::climb`]: nothing of that. Rise, fast where the path is proven or unknown,
//!    slowly near where a queue was last seen.
//! 7. [`Controller::output`]: the target less what drains the queue.

mod contest;

use std::time::Duration;

use crate::limits::{BITRATE_MAX, BITRATE_MIN};
use crate::units::{BitsPerSecond, Timestamp};

use super::bottleneck::PEAK_AGE;
use super::decision::{Config, Decision, Load, Probe, State};
use super::estimator::{STANDING_WINDOW, Signals};
use super::load::Loads;
use super::pacer::{Pace, UNMEASURED_BURST_BYTES};

use contest::{Contest, SHARE_LEAST};

/// A standing queue of more than this is congestion.
const OVERUSE: Duration = Duration::from_millis(8);
/// Below this the queue counts as drained.
const DRAINED: Duration = Duration::from_millis(3);
/// A back-off takes this much of our part of the bottleneck: who has more yields more.
const BACK_OFF_SHARE: f64 = 0.3;
/// A back-off takes at least this.
const BACK_OFF_LEAST: f64 = 0.1;
/// No back-off goes below this part of how fast the newest burst passed, whatever was delivered.
const BACK_OFF_TO_LEAST: f64 = 0.25;
/// What is left after loss or load, which no bottleneck explains.
const SHED: f64 = 0.85;
/// Delivery above this part of what we add drains the queue without a back-off.
const DRAINS_BY_ITSELF: f64 = 1.03;
/// Who is delivered at more than this part of the bottleneck's peak shares it with nobody.
const ALONE: f64 = 0.9;
/// The output falls by as much as drains the queue in this time.
const DRAIN_TIME: Duration = Duration::from_millis(150);
/// The output never falls below this part of the target for a queue's sake.
const DRAIN_LEAST: f64 = 0.25;
/// How far below the bottleneck a climb ends.
const UTILISATION: f64 = 0.92;
/// Growth a second where no queue was seen: e-folding in two thirds of a second.
const CLIMB: f64 = 1.5;
/// Growth at the start, within a round trip and 50 ms.
const CLIMB_START: f64 = 0.7;
/// Growth a second near a knee, as a part of the bottleneck: the same for everyone who shares it.
const CLIMB_NEAR: f64 = 0.05;
/// The neighbourhood of a knee, as parts of it.
const NEAR_FROM: f64 = 0.75;
const NEAR_TO: f64 = 1.1;
/// How long a knee is remembered.
const KNEE_AGE: Duration = Duration::from_secs(20);
/// A bottleneck that grew by this since the knee is another one.
const KNEE_GONE: f64 = 1.3;
/// How much faster than the bottleneck a frame leaves, beyond what may leave at once.
const PACE_GAIN: f64 = 1.05;
/// What may leave at once: as much as the bottleneck takes in this time, so that a burst shows
/// whether it could do more, and at least a few datagrams.
const PACE_AHEAD_S: f64 = 0.0025;
const PACE_AHEAD_BYTES_MIN: f64 = 6000.0;
/// How much faster than the target a frame leaves where no bottleneck is known.
const PACE_GAIN_UNMEASURED: f64 = 2.0;
/// The same of what the target is above the start, which is a guess itself: with more, a frame of
/// a high floor and what may leave at once overflow a small buffer together.
const PACE_GAIN_GUESSED: f64 = 1.25;
/// The same while more is lost than usual: a buffer too small for bursts, or a policer.
const PACE_GAIN_LOSSY: f64 = 1.1;
/// How much faster than the target a probe leaves, and what makes a target proven.
const PROBE_GAIN: f64 = 1.25;
/// The part of a share that is used for the share to count as used.
const USED: f64 = 0.7;
/// Silence beyond the round trip that is an outage.
const OUTAGE_AFTER: Duration = Duration::from_millis(100);
/// Silence that is one before the round trip is known (RFC 6298 section 2.1).
const OUTAGE_AT_START: Duration = Duration::from_secs(1);
/// An outage longer than this may have changed the path.
const OUTAGE_LONG: Duration = Duration::from_millis(400);
/// The part of the target that a long outage leaves.
const AFTER_OUTAGE: f64 = 0.5;
/// The part of the target that is sent into silence, so that the first datagram after it is one.
const TRICKLE: f64 = 0.1;
/// Between two datagrams that ask whether anybody is there.
const ASK_INTERVAL: Duration = Duration::from_millis(50);
/// Between two probes while the application sends little.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// Between two probes into a queue that stands.
const PRESSED_PROBE_INTERVAL: Duration = Duration::from_millis(300);
/// The bytes of a probe: what a measurement needs, and what is never a flood.
const PROBE_BYTES_MIN: f64 = 12_000.0;
const PROBE_BYTES_MAX: f64 = 40_000.0;
/// Time that a probe takes at its rate, within those bounds.
const PROBE_TIME_S: f64 = 0.006;
/// Loss that counts as congestion without a queue: share, and times the share that was there.
const LOSS_HEAVY: f64 = 0.1;
const LOSS_GROWN: f64 = 2.0;
/// Loss beyond twice what was there that holds a climb.
const LOSS_MORE: f64 = 0.03;
/// How fast the share that was there is believed to grow, a second.
const LOSS_FORGET: f64 = 0.01;
/// Datagrams that make a share.
const LOSS_DATAGRAMS_MIN: u32 = 100;
/// Runs of loss that make a share believable.
const LOSS_BURSTS_MIN: u32 = 48;
/// The same over 0.4 s.
const LOSS_BURSTS_SHORT: u32 = 12;
/// No climb for this long after a codec got less.
const LOAD_HOLD: Duration = Duration::from_secs(2);
/// A picture of which less than this part of the target is sent stands still.
const STILL: f64 = 0.1;
/// Between two polls.
const TICK: Duration = Duration::from_millis(5);

/// Where a queue was last seen.
#[derive(Clone, Copy, Debug)]
struct Knee {
    at: Timestamp,
    rate: f64,
    /// Least bottleneck known since.
    bottleneck: f64,
}

/// A back-off, until its queue is gone.
#[derive(Clone, Copy, Debug)]
struct Drain {
    /// No other back-off before this.
    hold_until: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    since: Timestamp,
    asked: Timestamp,
}

/// The rules and what they remember.
#[derive(Debug)]
pub struct Controller {
    config: Config,
    target: f64,
    last_poll: Timestamp,
    is_starting: bool,
    knee: Option<Knee>,
    drain: Option<Drain>,
    /// For how long others seem to have kept the queue, within [`PRESSED`].
    pressed_s: f64,
    contest: Option<Contest>,
    /// No contest before this: the last one turned out to be a slower link.
    contest_after: Timestamp,
    outage: Option<Outage>,
    /// No climb before this.
    hold_until: Timestamp,
    last_used: Timestamp,
    probed: Timestamp,
    probes: u32,
    loss_floor: Option<f64>,
    loads: Loads,
}

impl Controller {
    /// Starts at `config.start`, within the bounds.
    #[must_use]
    pub fn new(now: Timestamp, config: Config) -> Self {
        let mut controller = Self {
            config,
            target: config.start.0 as f64,
            last_poll: now,
            is_starting: true,
            knee: None,
            drain: None,
            pressed_s: 0.0,
            contest: None,
            contest_after: now,
            outage: None,
            hold_until: now,
            last_used: now,
            probed: now,
            probes: 0,
            loss_floor: None,
            loads: Loads::default(),
        };
        controller.set_bounds(config.floor, config.ceiling);
        controller
    }

    /// New bounds; a floor above the ceiling gives way.
    pub fn set_bounds(&mut self, floor: BitsPerSecond, ceiling: BitsPerSecond) {
        let ceiling = BitsPerSecond(ceiling.0.clamp(BITRATE_MIN, BITRATE_MAX));
        let floor = BitsPerSecond(floor.0.clamp(BITRATE_MIN, ceiling.0));
        (self.config.floor, self.config.ceiling) = (floor, ceiling);
        self.target = self.bounded(self.target);
    }

    /// Frames come in another interval from now on.
    pub fn set_frame_interval(&mut self, interval: Duration) {
        self.config.frame_interval = interval;
    }

    /// What the client said about its decoder.
    pub fn handle_decoder(&mut self, load: Load) {
        self.loads.decoder = load;
    }

    /// What the encode stage said.
    pub fn handle_encoder(&mut self, load: Load) {
        self.loads.encoder = load;
    }

    /// When to poll next at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Timestamp {
        self.last_poll + TICK
    }

    /// Applies the rules in order.
    pub fn poll(&mut self, now: Timestamp, signals: &Signals) -> Decision {
        let s = signals;
        let elapsed_s = now.since(self.last_poll).min(10 * TICK).as_secs_f64();
        self.last_poll = now;
        if s.sent >= USED * self.target {
            self.last_used = now;
        }
        self.watch_outage(now, s);
        if self.outage.is_none() {
            self.watch_competitor(now, s, elapsed_s);
            if self.contest.is_some() {
                self.compete(now, s, elapsed_s);
            } else {
                self.back_off(now, s);
                self.shed_loss(now, s, elapsed_s);
                self.shed_load(now, s);
                self.climb(now, s, elapsed_s);
            }
        }
        let probe = self.probe(now, s);
        self.decide(now, s, probe)
    }

    /// Rule 1. Something was sent, and for longer than it can take nothing new is known to have
    /// arrived.
    fn watch_outage(&mut self, now: Timestamp, s: &Signals) {
        let patience = match s.silence {
            Some(_) => OUTAGE_AFTER + s.rtt * 2,
            None => OUTAGE_AT_START,
        };
        let waits = s.unanswered.is_some_and(|waits| waits > patience);
        let is_silent = s.silence.is_none_or(|silence| silence > patience);
        match self.outage {
            None if waits && is_silent => {
                self.outage = Some(Outage {
                    since: now,
                    asked: now,
                });
                self.drain = None;
                self.contest = None;
            }
            Some(outage) if !is_silent => {
                self.outage = None;
                // What was proven of a path that was gone may not hold for the one that is back.
                if now.since(outage.since) + patience > OUTAGE_LONG {
                    self.target = self.bounded(self.target * AFTER_OUTAGE);
                }
                self.hold_until = now + s.rtt + STANDING_WINDOW;
            }
            _ => {}
        }
    }

    /// Rule 3. One back-off for each queue; another if it still stands when this one must have
    /// worked. Wants arrivals over the whole window: a gap in them is a stall, not a queue.
    fn back_off(&mut self, now: Timestamp, s: &Signals) {
        if self.drain.is_some() && s.queue_delay < DRAINED {
            self.drain = None;
        }
        let Some(delivered) = s.delivered.filter(|_| s.busy_for >= STANDING_WINDOW) else {
            return;
        };
        if s.standing <= OVERUSE || self.drain.is_some_and(|drain| now < drain.hold_until) {
            return;
        }
        if Self::drains_by_itself(s, self.target, delivered) {
            return;
        }
        let bottleneck = s.bottleneck_peak.unwrap_or(self.target).max(delivered);
        self.knee = Some(Knee {
            at: now,
            rate: self.target.min(delivered),
            bottleneck: s.bottleneck.unwrap_or(delivered),
        });
        let part = (BACK_OFF_SHARE * delivered / bottleneck).max(BACK_OFF_LEAST);
        let least = BACK_OFF_TO_LEAST * s.burst.unwrap_or(delivered);
        self.target = self.bounded((1.0 - part) * self.target.min(delivered.max(least)));
        self.is_starting = false;
        // The effect is seen a round trip later, and the queue takes its time to drain.
        let settle = s.rtt + STANDING_WINDOW + s.standing.min(DRAIN_TIME) * 2 + DRAIN_TIME;
        self.drain = Some(Drain {
            hold_until: now + settle,
        });
        self.hold_until = now + s.rtt + STANDING_WINDOW;
    }

    /// True if more is delivered than we add: a stall of the link left the queue. What we add is
    /// what we send, not only what we aim for: who sends more than that makes the queue himself,
    /// and would leave the yielding to the others. Only where nobody else is, as all of the
    /// bottleneck is ours, it is the noise of our own frames around a target that is less.
    fn drains_by_itself(s: &Signals, target: f64, delivered: f64) -> bool {
        let is_alone = s
            .bottleneck_peak
            .is_some_and(|peak| delivered > ALONE * peak);
        if is_alone {
            delivered > target
        } else {
            delivered > DRAINS_BY_ITSELF * target.max(s.sent)
        }
    }

    /// Rule 4. A policer drops without a queue. Random loss is no congestion: only a share that
    /// is heavy, certain, and well above what this path always loses counts.
    fn shed_loss(&mut self, now: Timestamp, s: &Signals, elapsed_s: f64) {
        if s.loss.datagrams < LOSS_DATAGRAMS_MIN {
            return;
        }
        let share = s.loss.share();
        // What the path always loses: falls at once, rises slowly.
        let floor = self
            .loss_floor
            .map_or(share, |floor| share.min(floor + LOSS_FORGET * elapsed_s));
        self.loss_floor = Some(floor);
        let is_heavy = share > LOSS_HEAVY && share > LOSS_GROWN * floor;
        if !is_heavy || s.loss.bursts < LOSS_BURSTS_MIN || now < self.hold_until {
            return;
        }
        self.knee = Some(Knee {
            at: now,
            rate: s.delivered_long,
            bottleneck: s.bottleneck.unwrap_or(self.target),
        });
        self.target = self.bounded(self.target.min(s.delivered_long));
        self.is_starting = false;
        self.hold_until = now + super::loss::WINDOW;
    }

    /// Rule 5. A codec that cannot follow gets less.
    fn shed_load(&mut self, now: Timestamp, s: &Signals) {
        let interval = self.config.frame_interval;
        let is_still = s.sent < STILL * self.target;
        if let Some(less) = self.loads.shed(now, interval, is_still, self.target) {
            self.target = self.bounded(less);
            self.is_starting = false;
            self.hold_until = self.hold_until.max(now + LOAD_HOLD);
        }
    }

    /// Rule 6.
    fn climb(&mut self, now: Timestamp, s: &Signals, elapsed_s: f64) {
        self.forget_knee(now, s);
        let known = s.bottleneck.filter(|_| s.is_held);
        let is_found = known.is_some_and(|rate| self.target >= SHED * rate);
        if is_found || self.target >= self.config.ceiling.0 as f64 {
            self.is_starting = false;
        }
        let is_used = now.since(self.last_used) < Duration::from_millis(100);
        let is_proven = s
            .bottleneck
            .is_some_and(|rate| rate > PROBE_GAIN * self.target)
            && s.bottleneck_age < Duration::from_secs(1);
        if let Some(rate) = known.filter(|_| now.since(self.last_used) > PROBE_INTERVAL) {
            // The path changed while the application slept: a probe knows better.
            self.target = self.bounded(self.target.min(rate));
        }
        if now < self.hold_until || s.standing > OVERUSE / 2 || !(is_used || is_proven) {
            return;
        }
        if self.drain.is_some() || s.silence.is_none() || self.loses_more(s, LOSS_BURSTS_SHORT) {
            return;
        }
        let near = self
            .knee
            .filter(|knee| (NEAR_FROM * knee.rate..NEAR_TO * knee.rate).contains(&self.target));
        let step = if self.is_starting {
            self.target * CLIMB_START * elapsed_s / (s.rtt.as_secs_f64() + 0.05)
        } else if let Some(knee) = near {
            CLIMB_NEAR * s.bottleneck_peak.unwrap_or(knee.rate) * elapsed_s
        } else {
            self.target * CLIMB * elapsed_s
        };
        let most = s
            .bottleneck_peak
            .map_or(f64::INFINITY, |rate| UTILISATION * rate);
        self.target = self.bounded((self.target + step).min(most.max(self.target)));
    }

    /// More than this path always loses, just now, and in several runs: one run is an outage.
    fn loses_more(&self, s: &Signals, bursts_min: u32) -> bool {
        let usual = self.loss_floor.unwrap_or(0.0);
        s.loss_short.bursts >= bursts_min && s.loss_short.share() > LOSS_GROWN * usual + LOSS_MORE
    }

    fn forget_knee(&mut self, now: Timestamp, s: &Signals) {
        let Some(knee) = &mut self.knee else {
            return;
        };
        let known = s.bottleneck.unwrap_or(knee.bottleneck);
        knee.bottleneck = knee.bottleneck.min(known);
        let is_gone = known > KNEE_GONE * knee.bottleneck
            || self.target > NEAR_TO * knee.rate
            || now.since(knee.at) > KNEE_AGE;
        if is_gone {
            self.knee = None;
        }
    }

    /// Rule 7. The newest queue counts, confirmed or not.
    fn output(&self, s: &Signals) -> f64 {
        if self.outage.is_some() {
            return self.bounded(self.target * TRICKLE);
        }
        if self.contest.is_some() || s.queue_delay <= OVERUSE {
            return self.target;
        }
        let excess = s.queue_delay - OVERUSE / 2;
        let part = 1.0 - excess.as_secs_f64() / DRAIN_TIME.as_secs_f64();
        let rate = s
            .delivered
            .map_or(self.target, |rate| rate.min(self.target));
        self.bounded(rate * part.max(DRAIN_LEAST))
    }

    /// Padding where too little is sent to know the path, and a question into silence.
    fn probe(&mut self, now: Timestamp, s: &Signals) -> Option<Probe> {
        if let Some(outage) = &mut self.outage {
            if now.since(outage.asked) < ASK_INTERVAL {
                return None;
            }
            outage.asked = now;
            return Some(self.next_probe(64.0, self.target));
        }
        let peak = s.bottleneck_peak.unwrap_or(0.0);
        let is_small = s.delivered_long < SHARE_LEAST * peak && s.burst.is_none();
        if is_small && s.standing > OVERUSE / 2 && now.since(self.probed) > PRESSED_PROBE_INTERVAL {
            // Our frames are too small to show whether others have the rest.
            self.probed = now;
            return Some(self.next_probe(PROBE_BYTES_MIN, peak));
        }
        let is_idle = now.since(self.last_used) > PROBE_INTERVAL;
        let is_known = s.bottleneck_age < PROBE_INTERVAL;
        let is_settled = self.drain.is_none() && self.contest.is_none() && s.standing < OVERUSE / 2;
        if !is_idle || is_known || !is_settled || now.since(self.probed) < PROBE_INTERVAL {
            return None;
        }
        self.probed = now;
        let bytes = PROBE_GAIN * self.target * PROBE_TIME_S / 8.0;
        Some(self.next_probe(bytes.clamp(PROBE_BYTES_MIN, PROBE_BYTES_MAX), self.target))
    }

    fn next_probe(&mut self, bytes: f64, rate: f64) -> Probe {
        self.probes = self.probes.wrapping_add(1);
        Probe {
            bytes: bytes as u32,
            pace: Pace {
                rate: BitsPerSecond((PROBE_GAIN * rate) as u64),
                burst_bytes: 0,
            },
            burst: self.probes,
        }
    }

    fn decide(&self, now: Timestamp, s: &Signals, probe: Option<Probe>) -> Decision {
        Decision {
            wire_rate: BitsPerSecond(self.output(s) as u64),
            pace: self.pace(s),
            probe,
            state: self.state(now, s),
            target: BitsPerSecond(self.target as u64),
            bottleneck: s.bottleneck.map(|rate| BitsPerSecond(rate as u64)),
            signals: *s,
        }
    }

    fn pace(&self, s: &Signals) -> Pace {
        let guess = (PACE_GAIN_UNMEASURED * self.target.min(self.config.start.0 as f64))
            .max(PACE_GAIN_GUESSED * self.target);
        let (rate, ahead_bytes) = match s.bottleneck {
            _ if self.loses_more(s, LOSS_BURSTS_SHORT) => {
                (PACE_GAIN_LOSSY * self.target, PACE_AHEAD_BYTES_MIN)
            }
            // A lower bound: no burst was held up yet.
            Some(rate) if !s.is_held => (
                (PACE_GAIN * rate).max(guess),
                (rate * PACE_AHEAD_S / 8.0).max(PACE_AHEAD_BYTES_MIN),
            ),
            Some(rate) => (
                PACE_GAIN * rate.max(self.target),
                (rate * PACE_AHEAD_S / 8.0).max(PACE_AHEAD_BYTES_MIN),
            ),
            None => (guess, f64::INFINITY),
        };
        Pace {
            rate: BitsPerSecond(rate as u64),
            burst_bytes: ahead_bytes.min(f64::from(UNMEASURED_BURST_BYTES)) as u32,
        }
    }

    fn state(&self, now: Timestamp, s: &Signals) -> State {
        if self.outage.is_some() {
            State::Outage
        } else if self.contest.is_some() {
            State::Competing
        } else if self.drain.is_some() {
            State::Draining
        } else if s.queue_delay > OVERUSE {
            State::BackingOff
        } else if self.is_starting {
            State::Starting
        } else if self.probes > 0 && now.since(self.probed) < Duration::from_millis(200) {
            State::Probing
        } else {
            State::Steady
        }
    }

    fn bounded(&self, rate: f64) -> f64 {
        rate.clamp(self.config.floor.0 as f64, self.config.ceiling.0 as f64)
    }
}
