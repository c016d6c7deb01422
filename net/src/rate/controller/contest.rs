//! Rule 2: somebody else keeps the queue full, and a share is held instead of yielding for ever.
//!
//! Who he is shows in the bursts: they pass at the rate of the hop, while on average we are
//! delivered far less. A copy of ourselves drains with us; a link that became slower shows in the
//! bursts.

use std::time::Duration;

use crate::units::Timestamp;

use super::super::estimator::Signals;
use super::{CLIMB_NEAR, Controller, Knee, LOSS_HEAVY, OVERUSE, PEAK_AGE, SHED};

/// A burst faster than this times our delivery, through a queue that stands, shows that others
/// have the rest.
const OTHERS: f64 = 1.5;
/// How long that must prevail before it is a contest.
const PRESSED: Duration = Duration::from_millis(800);
/// The part of the bottleneck that is held against a competitor: at least, at most.
pub(super) const SHARE_LEAST: f64 = 0.35;
const SHARE_MOST: f64 = 0.45;
/// A contest is examined again after this long.
const CONTEST_TIME: Duration = Duration::from_secs(20);
/// What left this long into a contest shows in [`Signals::delivered`] when it arrives.
const CONTEST_SETTLES: Duration = Duration::from_millis(100);
/// Delivery below this part of what is sent means that there is not even our share.
const STARVED: f64 = 0.7;
/// Runs of loss of 0.4 s that count: a full queue loses little of ours.
const LOSS_BURSTS_CONTEST: u32 = 4;

/// A share held against a competitor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contest {
    since: Timestamp,
    bottleneck: f64,
    /// Since when the queue was short, or we get less than we send.
    quiet_since: Option<Timestamp>,
    starved_since: Option<Timestamp>,
    hold_until: Timestamp,
}

impl Controller {
    /// Rule 2. Two of us drain a queue together; somebody who fills it keeps it. So a queue that
    /// stands most of the time, in which our bursts pass faster than we are delivered on average,
    /// is not ours. A link that became slower shows in the bursts.
    pub(super) fn watch_competitor(&mut self, now: Timestamp, s: &Signals, elapsed_s: f64) {
        let is_pressed = s.standing > OVERUSE / 2
            && s.burst.is_some_and(|rate| rate > OTHERS * s.delivered_long);
        let change_s = if is_pressed { elapsed_s } else { -elapsed_s };
        self.pressed_s = (self.pressed_s + change_s).clamp(0.0, PRESSED.as_secs_f64());
        let Some(bottleneck) = s.bottleneck_peak else {
            return;
        };
        if self.contest.is_some()
            || now < self.contest_after
            || self.pressed_s < PRESSED.as_secs_f64()
        {
            return;
        }
        self.pressed_s = 0.0;
        self.drain = None;
        self.contest = Some(Contest {
            since: now,
            bottleneck,
            quiet_since: None,
            starved_since: None,
            hold_until: now,
        });
        let share = self
            .target
            .clamp(SHARE_LEAST * bottleneck, SHARE_MOST * bottleneck);
        self.target = self.bounded(share.max(self.target));
    }

    /// While somebody else fills the queue: a share of the bottleneck between two bounds, up by
    /// the step of rule 6, down on loss.
    pub(super) fn compete(&mut self, now: Timestamp, s: &Signals, elapsed_s: f64) {
        let Some(mut contest) = self.contest else {
            return;
        };
        let since = |since: Option<Timestamp>, is: bool| is.then(|| since.unwrap_or(now));
        let lasted = |since: Option<Timestamp>, ms: u64| {
            since.is_some_and(|since| now.since(since) > Duration::from_millis(ms))
        };
        contest.quiet_since = since(contest.quiet_since, s.standing < OVERUSE / 2);
        let delivered = s.delivered.unwrap_or(s.delivered_long);
        let is_settled = s.answered > contest.since + CONTEST_SETTLES;
        let is_starved = is_settled && delivered < STARVED * s.sent;
        contest.starved_since = since(contest.starved_since, is_starved);
        self.contest = Some(contest);
        if lasted(contest.starved_since, 200) {
            // No competitor: the link itself is slower than our share.
            self.contest = None;
            self.contest_after = now + PEAK_AGE;
            return;
        }
        if lasted(contest.quiet_since, 1000) {
            self.contest = None;
            self.knee = Some(Knee {
                at: now,
                rate: self.target,
                bottleneck: contest.bottleneck,
            });
            return;
        }
        if now.since(contest.since) > CONTEST_TIME {
            // Two sessions that take each other for a bulk flow would never know better.
            self.contest = None;
            return;
        }
        if self.loses_more(s, LOSS_BURSTS_CONTEST) && now >= contest.hold_until {
            if s.loss_short.share() > LOSS_HEAVY {
                // A queue that somebody else keeps full takes little of ours. So the bottleneck is
                // overrated, and two of us would keep its queue full with their shares.
                contest.bottleneck *= SHED;
            }
            let least = SHARE_LEAST * contest.bottleneck;
            self.target = self.bounded((self.target * SHED).max(least.min(self.target)));
            contest.hold_until = now + Duration::from_millis(500);
            self.contest = Some(contest);
        } else if self.target < SHARE_MOST * contest.bottleneck {
            let step = CLIMB_NEAR * contest.bottleneck * elapsed_s;
            self.target = self.bounded(self.target + step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::decision::{Config, State};
    use super::super::super::loss::Loss;
    use super::*;

    const MBIT: f64 = 1e6;

    /// Signals of a full queue of a hop that is taken for one of 20 Mbit/s, in which we are
    /// delivered `delivered` and lose `lost` of 200 datagrams in runs of two.
    fn pressed(now: Timestamp, delivered: f64, lost: u32) -> Signals {
        let loss = Loss {
            datagrams: 200,
            lost,
            bursts: lost / 2,
        };
        Signals {
            queue_delay: Duration::from_millis(90),
            standing: Duration::from_millis(90),
            busy_for: Duration::from_secs(1),
            delivered: Some(delivered),
            delivered_long: delivered,
            sent: delivered * 200.0 / f64::from(200 - lost),
            bottleneck: Some(20.0 * MBIT),
            bottleneck_peak: Some(20.0 * MBIT),
            is_held: true,
            burst: Some(20.0 * MBIT),
            loss,
            loss_short: loss,
            answered: now,
            silence: Some(Duration::ZERO),
            ..Signals::default()
        }
    }

    fn target_after(seconds: u64, lost: u32) -> (State, f64) {
        let mut controller = Controller::new(Timestamp::ZERO, Config::default());
        let mut last = (State::Steady, 0.0);
        for tick in 1..200 * seconds {
            let now = Timestamp::ZERO + Duration::from_millis(5) * u32::try_from(tick).unwrap();
            // Nothing is lost until the contest is on: that is what the path always loses.
            let is_on = last.0 == State::Competing;
            let decision =
                controller.poll(now, &pressed(now, 6.0 * MBIT, if is_on { lost } else { 0 }));
            last = (decision.state, decision.target.0 as f64 / MBIT);
        }
        last
    }

    #[test]
    fn a_share_of_an_overrated_hop_gives_way() {
        // 0.35 of 20 is 7: two who hold that much fill a hop of 12 for ever.
        let (state, without_loss) = target_after(8, 0);
        assert_eq!(state, State::Competing);
        assert!(without_loss >= 7.0, "{without_loss}");
        let (_, little) = target_after(8, 8);
        assert!(
            (7.0..7.5).contains(&little),
            "4 % are a bulk flow's: {little}"
        );
        let (_, heavy) = target_after(8, 50);
        assert!(heavy < 5.0, "a quarter lost: {heavy}");
    }
}
