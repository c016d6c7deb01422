//! What the endpoints decide about losses: how much parity, what is worth repeating, how long an
//! incomplete frame is waited for.
//!
//! The endpoints ask here and nowhere else, so that a run can hold one of these still
//! ([`Parity::Fixed`]) and sweep it.

use std::time::Duration;

use net::packetize::Protection;

/// A frame is of use for so long after its capture, beyond the path's one-way delay.
const DUE: Duration = Duration::from_millis(50);
/// What a repeat costs beside the round trip: encode, pace, and the next frame that shows that
/// the end of one is missing.
const REPEAT_MARGIN: Duration = Duration::from_millis(25);
/// Share of frames that parity may fail to repair where no repeat comes in time: each failure
/// hides pictures for about a round trip, some six at 60 Hz and 80 ms.
const RESIDUAL: f64 = 0.000_4;
/// The meter's share lags and errs; what is held against it is this much more.
const LOSS_MARGIN: f64 = 1.1;
/// Shortest and longest wait for an incomplete frame once a newer one is complete.
const GRACE_MIN: Duration = Duration::from_millis(60);
const GRACE_MAX: Duration = Duration::from_millis(250);

/// How the host protects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Parity {
    /// Always so.
    Fixed(Protection),
    /// By measured loss and round trip, at the frame's end.
    Measured,
}

/// What is known of the path.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Path {
    /// Share of datagrams lost, 0 to 1.
    pub loss: f64,
    /// Datagrams lost in a row, mean.
    pub burst: f64,
    /// Round trip.
    pub round_trip: Duration,
}

impl Path {
    /// A repeat comes before its frame is due.
    #[must_use]
    pub fn repeats_fit(&self) -> bool {
        self.round_trip + REPEAT_MARGIN <= DUE
    }
}

/// Protection for a frame of `data_shards`, said before its last slice is packetized.
#[must_use]
pub fn protection(path: &Path, data_shards: usize) -> Protection {
    let light = Protection {
        percent: 1,
        shards_min: 1,
        slices_per_group: Protection::WHOLE_FRAME,
    };
    if path.repeats_fit() {
        return light;
    }
    let shards = parity_for(
        path.loss * LOSS_MARGIN,
        path.burst,
        data_shards.max(1),
        RESIDUAL,
    );
    Protection {
        percent: 1,
        shards_min: u8::try_from(shards).unwrap_or(u8::MAX),
        slices_per_group: Protection::WHOLE_FRAME,
    }
}

/// How long a client waits for an incomplete frame once a newer one is complete. `damaged`: the
/// picture is broken already, so what is missing helps nobody unless it is the way out.
#[must_use]
pub fn grace(round_trip: Duration, damaged: bool) -> Duration {
    if damaged {
        return round_trip + Duration::from_millis(5);
    }
    (round_trip * 2 + Duration::from_millis(10)).clamp(GRACE_MIN, GRACE_MAX)
}

/// True if the client asks for what is missing of a frame although parity of it may still come.
#[must_use]
pub fn asks_at_once(round_trip: Duration) -> bool {
    round_trip + REPEAT_MARGIN <= DUE
}

/// The fewest parity shards m with which `data_shards` + m datagrams, each lost with chance
/// `loss`, lose more than m in a share `residual` of all groups at most. Loss in bursts is taken
/// as loss of whole bursts.
#[must_use]
pub fn parity_for(loss: f64, burst: f64, data_shards: usize, residual: f64) -> usize {
    if loss <= 0.0 {
        return 1;
    }
    let loss = loss.min(0.5);
    // At random, runs are a little longer than one too.
    let burst = if burst < 1.5 { 1.0 } else { burst };
    for parity in 1..=data_shards {
        let trials = ((data_shards + parity) as f64 / burst) as usize + 1;
        let bearable = (parity as f64 / burst) as usize;
        if tail(trials, bearable, loss) <= residual {
            return parity;
        }
    }
    data_shards
}

/// P(X > `most`) of `trials` with chance `p` each, p below 1.
fn tail(trials: usize, most: usize, p: f64) -> f64 {
    let mut term = (0..trials).fold(1.0, |product, _| product * (1.0 - p));
    let mut sum = term;
    for k in 0..most.min(trials) {
        term *= (trials - k) as f64 / (k + 1) as f64 * p / (1.0 - p);
        sum += term;
    }
    (1.0 - sum).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parity_follows_loss_and_bursts() {
        // Binomial tail, by hand: 2 trials of 1/2 exceed 1 in a quarter of all cases.
        assert!((tail(2, 1, 0.5) - 0.25).abs() < 1e-12);
        assert_eq!(tail(3, 3, 0.5), 0.0);
        let parity = [0.0, 0.01, 0.02, 0.05].map(|p| parity_for(p, 1.0, 35, 0.001));
        assert_eq!(parity[0], 1);
        assert!(parity.is_sorted() && parity[1] < parity[3], "{parity:?}");
        assert!(parity_for(0.05, 4.0, 35, 0.001) > parity[3]);
    }

    #[test]
    fn repeats_where_they_fit_and_parity_where_not() {
        let near = Path {
            loss: 0.05,
            burst: 1.0,
            round_trip: Duration::from_millis(4),
        };
        let far = Path {
            round_trip: Duration::from_millis(80),
            ..near
        };
        assert_eq!(protection(&near, 35).parity_for(35), 1);
        assert!(protection(&far, 35).parity_for(35) >= 6);
    }
}
