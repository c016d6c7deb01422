//! BBR, version 1 (draft-cardwell-iccrg-bbr-congestion-control-00): startup, drain, bandwidth
//! probing, round-trip probing. Loss is ignored but for the timeout, and the recovery window of
//! its section 4.2.3.4 is left out, so this flow is the greediest of its kind to compete with.

use std::time::Duration;

use net::units::Timestamp;

use super::{Acknowledged, Control, INITIAL_WINDOW_PACKETS, PACKET_BYTES};
use crate::sim::rng::Rng;

/// Gains are in 1024ths.
const UNIT: u64 = 1024;
/// 2/ln 2 (section 4.1.1.1's BBRHighGain).
const HIGH_GAIN: u64 = 2955;
/// Its inverse.
const DRAIN_GAIN: u64 = 355;
/// Section 4.3.4.2: 5/4, 3/4, then six times 1.
const CYCLE: [u64; 8] = [1280, 768, UNIT, UNIT, UNIT, UNIT, UNIT, UNIT];
const WINDOW_GAIN: u64 = 2 * UNIT;
/// Rounds over which the bandwidth's maximum is taken.
const BANDWIDTH_ROUNDS: usize = 10;
const MIN_RTT_EXPIRES: Duration = Duration::from_secs(10);
const PROBE_RTT_LASTS: Duration = Duration::from_millis(200);
const WINDOW_PACKETS_MIN: u64 = 4;
/// A full pipe has not grown by a quarter in three rounds (section 4.3.2.2).
const FULL_ROUNDS: u32 = 3;

/// The state of a BBR flow.
#[derive(Debug)]
pub struct Bbr {
    rng: Rng,
    mode: Mode,
    window: u64,
    prior_window: u64,
    /// Largest delivery rate of each of the last rounds, bytes/s.
    bandwidth: [u64; BANDWIDTH_ROUNDS],
    round: usize,
    round_ends_at_delivered: u64,
    full_bandwidth: u64,
    full_rounds: u32,
    filled: bool,
    min_rtt: Option<(Duration, Timestamp)>,
    lost_since_cycle: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Startup,
    Drain,
    ProbeBandwidth {
        index: usize,
        since: Timestamp,
    },
    /// `until` is set once the pipe is almost empty.
    ProbeRtt {
        until: Option<Timestamp>,
    },
}

impl Bbr {
    /// A flow at its start.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        Self {
            rng,
            mode: Mode::Startup,
            window: INITIAL_WINDOW_PACKETS * PACKET_BYTES,
            prior_window: 0,
            bandwidth: [0; BANDWIDTH_ROUNDS],
            round: 0,
            round_ends_at_delivered: 0,
            full_bandwidth: 0,
            full_rounds: 0,
            filled: false,
            min_rtt: None,
            lost_since_cycle: false,
        }
    }

    /// Bytes/s.
    fn bottleneck(&self) -> u64 {
        self.bandwidth.iter().copied().max().unwrap_or(0)
    }

    /// `gain` times the bandwidth-delay product, bytes.
    fn target(&self, gain: u64) -> u64 {
        match self.min_rtt {
            None => INITIAL_WINDOW_PACKETS * PACKET_BYTES,
            Some((rtt, _)) => {
                let ns = rtt.as_nanos() * u128::from(self.bottleneck()) * u128::from(gain);
                (ns / u128::from(UNIT) / 1_000_000_000) as u64
            }
        }
    }

    fn pacing_gain(&self) -> u64 {
        match self.mode {
            Mode::Startup => HIGH_GAIN,
            Mode::Drain => DRAIN_GAIN,
            Mode::ProbeBandwidth { index, .. } => CYCLE[index],
            Mode::ProbeRtt { .. } => UNIT,
        }
    }

    /// Returns whether a round began.
    fn measure(&mut self, ack: &Acknowledged) -> bool {
        let begins = ack.delivered_before >= self.round_ends_at_delivered;
        if begins {
            self.round_ends_at_delivered = ack.delivered;
            self.round += 1;
            self.bandwidth[self.round % BANDWIDTH_ROUNDS] = 0;
        }
        let slot = &mut self.bandwidth[self.round % BANDWIDTH_ROUNDS];
        *slot = (*slot).max(ack.rate.unwrap_or(0));
        begins
    }

    fn check_full(&mut self) {
        if self.filled {
            return;
        }
        let bandwidth = self.bottleneck();
        if bandwidth * 4 >= self.full_bandwidth * 5 {
            self.full_bandwidth = bandwidth;
            self.full_rounds = 0;
        } else {
            self.full_rounds += 1;
            self.filled = self.full_rounds >= FULL_ROUNDS;
        }
    }

    fn cycle(&mut self, now: Timestamp, in_flight: u64) {
        let Mode::ProbeBandwidth { index, since } = self.mode else {
            return;
        };
        let Some((min_rtt, _)) = self.min_rtt else {
            return;
        };
        let over = now.since(since) > min_rtt;
        let next = match CYCLE[index] {
            UNIT => over,
            gain if gain > UNIT => {
                over && (self.lost_since_cycle || in_flight >= self.target(gain))
            }
            _ => over || in_flight <= self.target(UNIT),
        };
        if next {
            self.lost_since_cycle = false;
            self.mode = Mode::ProbeBandwidth {
                index: (index + 1) % CYCLE.len(),
                since: now,
            };
        }
    }

    /// Any phase of the cycle but the one that drains (section 4.3.4.3).
    fn probe_bandwidth(&mut self, now: Timestamp) {
        let index = match self.rng.below(CYCLE.len() as u64 - 1) as usize {
            0 => 0,
            later => later + 1,
        };
        self.mode = Mode::ProbeBandwidth { index, since: now };
    }

    /// Section 4.3.5.
    fn probe_rtt(&mut self, now: Timestamp, ack: &Acknowledged) {
        let expired = self
            .min_rtt
            .is_some_and(|(_, at)| now.since(at) > MIN_RTT_EXPIRES);
        if let Some(rtt) = ack.rtt
            && (expired || self.min_rtt.is_none_or(|(min, _)| rtt <= min))
        {
            self.min_rtt = Some((rtt, now));
        }
        let Mode::ProbeRtt { until } = self.mode else {
            if expired {
                self.prior_window = self.window;
                self.mode = Mode::ProbeRtt { until: None };
            }
            return;
        };
        let drained = ack.in_flight <= WINDOW_PACKETS_MIN * PACKET_BYTES;
        if until.is_some_and(|until| now >= until) {
            self.min_rtt = self.min_rtt.map(|(rtt, _)| (rtt, now));
            self.window = self.window.max(self.prior_window);
            if self.filled {
                self.probe_bandwidth(now);
            } else {
                self.mode = Mode::Startup;
            }
        } else if until.is_none() && drained {
            self.mode = Mode::ProbeRtt {
                until: Some(now + PROBE_RTT_LASTS),
            };
        }
    }

    fn set_window(&mut self, ack: &Acknowledged) {
        let min = WINDOW_PACKETS_MIN * PACKET_BYTES;
        let gain = if self.filled { WINDOW_GAIN } else { HIGH_GAIN };
        // Room for what is on its way between the machines' queues (section 4.2.3.2).
        let target = self.target(gain) + 3 * PACKET_BYTES;
        if self.filled {
            self.window = (self.window + ack.bytes).min(target);
        } else if self.window < target || ack.delivered < 2 * INITIAL_WINDOW_PACKETS * PACKET_BYTES
        {
            self.window += ack.bytes;
        }
        self.window = self.window.max(min);
        if matches!(self.mode, Mode::ProbeRtt { .. }) {
            self.window = self.window.min(min);
        }
    }
}

impl Control for Bbr {
    fn acknowledged(&mut self, now: Timestamp, ack: &Acknowledged) {
        if self.measure(ack) {
            self.check_full();
        }
        self.cycle(now, ack.in_flight);
        if self.mode == Mode::Startup && self.filled {
            self.mode = Mode::Drain;
        }
        if self.mode == Mode::Drain && ack.in_flight <= self.target(UNIT) {
            self.probe_bandwidth(now);
        }
        self.probe_rtt(now, ack);
        self.set_window(ack);
    }

    fn lost(&mut self, _now: Timestamp, _sent: Timestamp) {
        self.lost_since_cycle = true;
    }

    fn timed_out(&mut self, _now: Timestamp) {
        self.window = WINDOW_PACKETS_MIN * PACKET_BYTES;
    }

    fn window_bytes(&self) -> u64 {
        self.window
    }

    fn pacing(&self) -> Option<u64> {
        let bandwidth = match self.bottleneck() {
            // Section 4.2.1: a window a millisecond until there is a sample.
            0 => INITIAL_WINDOW_PACKETS * PACKET_BYTES * 1000,
            bandwidth => bandwidth,
        };
        Some(bandwidth * self.pacing_gain() / UNIT)
    }
}
