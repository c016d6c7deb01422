//! What a stock client gets: the figures that GameStream is held against.

use std::time::Duration;

use net::units::Timestamp;

use super::{Outcome, SECOND};
use crate::sim::packet::Cause;
use crate::sim::scenario::Scenario;
use crate::sim::session::{Sessions, Setup};

/// What became of a run's pictures.
struct Seen {
    sessions: Sessions,
    /// Captured within the span, and of these not given to the decoder.
    frames: usize,
    missing: usize,
    /// Longest time without a picture.
    longest: Duration,
    /// Asked for within the span.
    idrs: u64,
}

/// Pictures from `from` on; the last half second is still under way.
fn see(scenario: &Scenario, from: Duration) -> Seen {
    let mut sessions = Sessions::begin(scenario, &Setup::default());
    sessions.run_until(from);
    let before = sessions.moonlight(0).0.repairs().0;
    sessions.run_until(scenario.duration);
    let (host, client) = sessions.moonlight(0);
    let begin = Timestamp::ZERO + from;
    let end = Timestamp::ZERO + scenario.duration - SECOND / 2;
    let captured = host.encoder().captured();
    let is_within = |at: &Timestamp| (begin..end).contains(at);
    let frames = captured.iter().filter(|at| is_within(at)).count();
    let of = |frame: u32| captured.get(frame as usize);
    let shown: Vec<Timestamp> = client
        .delivered()
        .iter()
        .filter(|it| of(it.frame.0).is_some_and(is_within))
        .map(|it| it.at)
        .collect();
    let gaps = shown.windows(2).map(|two| two[1].since(two[0]));
    Seen {
        frames,
        missing: frames - shown.len(),
        longest: gaps.max().unwrap_or(scenario.duration),
        idrs: host.repairs().0 - before,
        sessions,
    }
}

impl Seen {
    fn parity_percent(&self) -> f64 {
        let sent = self.sessions.moonlight(0).0.sent();
        sent.parity as f64 / sent.data.max(1) as f64 * 100.0
    }

    /// Sent, parity included.
    fn mbps(&self, scenario: &Scenario) -> f64 {
        let sent = self.sessions.moonlight(0).0.sent();
        (sent.data + sent.parity) as f64 * 8e-6 / scenario.duration.as_secs_f64()
    }

    fn is_sound(&self) -> bool {
        self.sessions.wrong_units() == 0 && self.sessions.moonlight(0).0.not_sent() == 0
    }
}

/// 2 %: no IDR in a minute; what parity does not make whole is stepped over.
pub(super) fn loss_2(seed: u64) -> Outcome {
    let scenario = Scenario::moonlight_loss(2, 1, 10_000, 60 * SECOND).seeded(seed);
    let seen = see(&scenario, SECOND);
    let (_, recoveries) = seen.sessions.moonlight(0).0.repairs();
    Outcome {
        measured: format!(
            "{} of {} missing, {recoveries} recoveries, {} IDR, parity {:.1} %",
            seen.missing,
            seen.frames,
            seen.idrs,
            seen.parity_percent()
        ),
        bound: "no IDR".to_owned(),
        held: seen.idrs == 0 && seen.is_sound(),
    }
}

/// 5 %, 8 s after 2 s to adapt.
pub(super) fn loss_5(seed: u64) -> Outcome {
    let lasts = 10 * SECOND + SECOND / 2;
    let scenario = Scenario::moonlight_loss(5, 1, 10_000, lasts).seeded(seed);
    let seen = see(&scenario, 2 * SECOND);
    Outcome {
        measured: format!(
            "{} of {} missing, {} IDR, parity {:.1} %",
            seen.missing,
            seen.frames,
            seen.idrs,
            seen.parity_percent()
        ),
        bound: "≤ 2 missing in 8 s, no IDR".to_owned(),
        held: seen.missing <= 2 && seen.idrs == 0 && seen.is_sound(),
    }
}

/// 5 % in bursts of eight.
///
/// Some seeds miss the bound, 6 of 1 to 100. The model's bursts count packets, and 10 Mbit/s are at
/// most 14.8 of them a frame: one of 64 or more can take five frames, so that the first packet after
/// it comes 100 ms after the last picture, and what is shown next another 9 later. It begins some 350
/// times in the run with a chance of (7/8)⁶³. The model has no decoder: those in the field show each
/// picture of ours that is whole and refers to nothing lost (`gpu`, `gap_tests`).
pub(super) fn bursts_5(seed: u64) -> Outcome {
    let scenario = Scenario::moonlight_loss(5, 8, 10_000, 60 * SECOND).seeded(seed);
    let seen = see(&scenario, 2 * SECOND);
    Outcome {
        measured: format!(
            "longest {:.1} ms without a picture, {} of {} missing, {} IDR, parity {:.1} %, {:.1} Mbit/s",
            seen.longest.as_secs_f64() * 1e3,
            seen.missing,
            seen.frames,
            seen.idrs,
            seen.parity_percent(),
            seen.mbps(&scenario)
        ),
        bound: "no freeze over 100 ms".to_owned(),
        held: seen.longest <= Duration::from_millis(100) && seen.is_sound(),
    }
}

/// 50 Mbit/s through 100 Mbit/s with 64 KB of buffer: the pacer keeps what leaves a fast card from
/// drowning the hop.
pub(super) fn slow_hop(seed: u64) -> Outcome {
    let scenario = Scenario::moonlight_slow_hop().seeded(seed);
    let seen = see(&scenario, Duration::ZERO);
    let tap = &seen.sessions.laid.network.link(seen.sessions.laid.down).tap;
    let lost = tap.losses(Cause::QueueFull, None);
    Outcome {
        measured: format!(
            "{lost} packets lost, {} of {} frames missing, {:.1} Mbit/s",
            seen.missing,
            seen.frames,
            seen.mbps(&scenario)
        ),
        bound: "nothing lost".to_owned(),
        held: lost == 0 && seen.missing == 0 && seen.is_sound(),
    }
}

/// 10 Mbit/s asked of a link of 3: from the second second on.
pub(super) fn narrow(seed: u64) -> Outcome {
    let scenario = Scenario::moonlight_narrow().seeded(seed);
    let seen = see(&scenario, SECOND);
    let seconds = (scenario.duration - SECOND - SECOND / 2).as_secs_f64();
    let fps = (seen.frames - seen.missing) as f64 / seconds;
    Outcome {
        measured: format!(
            "{fps:.1} fps, longest {} ms without a picture, {} IDR",
            seen.longest.as_millis(),
            seen.idrs
        ),
        bound: "≥ 55 fps".to_owned(),
        held: fps >= 55.0 && seen.is_sound(),
    }
}
