//! Cubic (RFC 9438), with the delay rule of HyStart++ (RFC 9406) to leave slow start; that goes
//! to congestion avoidance at once, without HyStart++'s conservative phase. Not paced: ack-clocked.
//!
//! Windows are in packets, as f64 with exact operations only, so that every machine agrees.

use std::time::Duration;

use net::units::Timestamp;

use super::{Acknowledged, Control, INITIAL_WINDOW_PACKETS, PACKET_BYTES};

/// RFC 9438, section 5: C, in packets/s³.
const C: f64 = 0.4;
/// Section 4.6: multiplicative decrease.
const BETA: f64 = 0.7;
/// Section 4.3: the increase of Reno's estimate that is as fair with that decrease.
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);
const WINDOW_MIN: f64 = 2.0;
/// RFC 9406, section 4.3.
const RTT_SAMPLES_MIN: u32 = 8;
const RTT_THRESHOLD_MIN: Duration = Duration::from_millis(4);
const RTT_THRESHOLD_MAX: Duration = Duration::from_millis(16);

/// The state of a Cubic flow.
#[derive(Debug)]
pub struct Cubic {
    window: f64,
    slow_start_threshold: f64,
    /// Window before the last reduction, and what the curve aims at.
    prior: f64,
    window_max: f64,
    /// Start of the present curve.
    epoch: Option<Epoch>,
    /// Packets sent before belong to a loss that was answered.
    recovery: Option<Timestamp>,
    round: Round,
}

#[derive(Clone, Copy, Debug)]
struct Epoch {
    start: Timestamp,
    /// Time until the curve reaches `window_max`, s.
    k: f64,
    /// Reno's window.
    reno: f64,
}

/// Round trips for HyStart++.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    ends_at_delivered: u64,
    last_min: Option<Duration>,
    min: Option<Duration>,
    samples: u32,
}

impl Default for Cubic {
    fn default() -> Self {
        Self::new()
    }
}

impl Cubic {
    /// A flow at its start.
    #[must_use]
    pub fn new() -> Self {
        Self {
            window: INITIAL_WINDOW_PACKETS as f64,
            slow_start_threshold: f64::MAX,
            prior: 0.0,
            window_max: 0.0,
            epoch: None,
            recovery: None,
            round: Round::default(),
        }
    }

    fn reduce(&mut self) {
        // Section 4.7: fast convergence makes room for new flows.
        self.window_max = if self.window < self.window_max {
            self.window * (1.0 + BETA) / 2.0
        } else {
            self.window
        };
        self.prior = self.window;
        self.slow_start_threshold = (self.window * BETA).max(WINDOW_MIN);
        self.epoch = None;
    }

    fn avoid_congestion(&mut self, now: Timestamp, acked: f64, srtt: Duration) {
        let (window, window_max) = (self.window, &mut self.window_max);
        let epoch = self.epoch.get_or_insert_with(|| {
            *window_max = window_max.max(window);
            Epoch {
                start: now,
                k: cube_root((*window_max - window) / C),
                reno: window,
            }
        });
        let t = now.since(epoch.start).as_nanos() as f64 / 1e9;
        let curve = |t: f64| C * (t - epoch.k) * (t - epoch.k) * (t - epoch.k) + *window_max;
        let cubic = curve(t);
        let target = curve(t + srtt.as_nanos() as f64 / 1e9).clamp(window, 1.5 * window);
        let alpha = if epoch.reno < self.prior { ALPHA } else { 1.0 };
        epoch.reno += alpha * acked / window;
        self.window = if cubic < epoch.reno {
            window.max(epoch.reno)
        } else {
            window + (target - window) / window * acked
        };
    }

    /// RFC 9406, section 4.2, called for each sample in slow start.
    fn watch_delay(&mut self, ack: &Acknowledged) {
        let round = &mut self.round;
        if ack.delivered_before >= round.ends_at_delivered {
            *round = Round {
                ends_at_delivered: ack.delivered,
                last_min: round.min,
                min: None,
                samples: 0,
            };
        }
        let Some(rtt) = ack.rtt else {
            return;
        };
        round.samples += 1;
        let min = round.min.map_or(rtt, |min| min.min(rtt));
        round.min = Some(min);
        if let Some(last) = round.last_min
            && round.samples >= RTT_SAMPLES_MIN
            && min >= last + (last / 8).clamp(RTT_THRESHOLD_MIN, RTT_THRESHOLD_MAX)
        {
            self.slow_start_threshold = self.window;
        }
    }
}

impl Control for Cubic {
    fn acknowledged(&mut self, now: Timestamp, ack: &Acknowledged) {
        let acked = ack.bytes as f64 / PACKET_BYTES as f64;
        // What is not used does not grow.
        let used = (ack.in_flight + ack.bytes) as f64 / PACKET_BYTES as f64;
        if used + 2.0 < self.window {
            return;
        }
        if self.window < self.slow_start_threshold {
            self.window += acked;
            self.watch_delay(ack);
        } else {
            self.avoid_congestion(now, acked, ack.srtt);
        }
    }

    fn lost(&mut self, now: Timestamp, sent: Timestamp) {
        if self.recovery.is_some_and(|start| sent <= start) {
            return;
        }
        self.recovery = Some(now);
        self.reduce();
        self.window = self.slow_start_threshold;
    }

    fn timed_out(&mut self, now: Timestamp) {
        self.recovery = Some(now);
        self.reduce();
        self.window = WINDOW_MIN;
        self.round = Round::default();
    }

    fn window_bytes(&self) -> u64 {
        (self.window * PACKET_BYTES as f64) as u64
    }

    fn pacing(&self) -> Option<u64> {
        None
    }
}

/// Newton's method, because libm's cube root differs in the last bit between machines.
fn cube_root(of: f64) -> f64 {
    if of <= 0.0 {
        return 0.0;
    }
    let mut root = of.max(1.0);
    for _ in 0..100 {
        root = (2.0 * root + of / (root * root)) / 3.0;
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cube_roots() {
        for root in [0.01, 0.5, 1.0, 2.0, 10.0, 250.0] {
            let found = cube_root(root * root * root);
            assert!((found - root).abs() < 1e-9 * root, "{found} for {root}");
        }
        assert_eq!(cube_root(0.0), 0.0);
    }

    /// The curve reaches the old maximum K after the reduction, K = cbrt(W_max × 0.3 / 0.4).
    #[test]
    fn the_window_returns_to_its_maximum_after_k() {
        let mut flow = Cubic::new();
        flow.window = 1000.0;
        flow.slow_start_threshold = 1000.0;
        flow.lost(Timestamp::from_ns(1), Timestamp::from_ns(1));
        assert_eq!(flow.window, 700.0);
        let k = cube_root(1000.0 * 0.3 / 0.4);
        // A round trip long enough that Reno's line stays below the curve.
        let rtt = Duration::from_millis(100);
        let mut now = Timestamp::from_ns(2);
        let end = now + Duration::from_nanos((k * 1e9) as u64);
        while now < end {
            for _ in 0..flow.window as usize {
                flow.avoid_congestion(now, 1.0, rtt);
            }
            now = now + rtt;
        }
        assert!((990.0..1010.0).contains(&flow.window), "{}", flow.window);
    }
}
