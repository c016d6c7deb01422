//! `--remode`: other modes at given times, and how long each took.

use std::time::Duration;

use engine::client::{ModeTrip, Outcome, Viewer};
use net::units::Mode;

use crate::output::say;

/// A mode, and how long after the first picture of the session it is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Planned {
    mode: Mode,
    after: Duration,
}

/// Modes to ask for, in the order of their times.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    left: Vec<Planned>,
    asked: usize,
}

impl std::str::FromStr for Plan {
    type Err = String;

    /// `1280x720@60@3s,1920x1080@60@6.5s`
    fn from_str(text: &str) -> Result<Self, String> {
        let one = |text: &str| {
            let form = || format!("{text}: write MODE@TIME, for example 1280x720@60@3s");
            let (mode, after) = text.rsplit_once('@').ok_or_else(form)?;
            let mode: Mode = mode.parse().map_err(|error| format!("{text}: {error}"))?;
            let seconds = after.strip_suffix('s').ok_or_else(form)?;
            let seconds: f64 = seconds.parse().map_err(|_| form())?;
            let after = Duration::try_from_secs_f64(seconds).map_err(|_| form())?;
            Ok(Planned { mode, after })
        };
        let planned = text.split(',').map(|text| one(text.trim()));
        let mut left: Vec<Planned> = planned.collect::<Result<_, String>>()?;
        left.sort_by_key(|it| it.after);
        Ok(Self { left, asked: 0 })
    }
}

impl Plan {
    /// Asks for what is due so long after the beginning.
    pub fn advance(&mut self, viewer: &mut Viewer, since: Duration) {
        while let Some(next) = self.left.get(self.asked).filter(|it| it.after <= since) {
            viewer.request_mode(next.mode);
            self.asked += 1;
        }
    }

    /// How long until the next is due.
    pub fn due(&self, since: Duration) -> Option<Duration> {
        let next = self.left.get(self.asked)?;
        Some(next.after.saturating_sub(since))
    }
}

/// Says what came of each request.
pub fn conclude(outcome: &Outcome) {
    let modes = &outcome.modes;
    if modes.trips.is_empty() {
        return;
    }
    modes.trips.iter().for_each(|trip| say(line(trip)));
    say(format_args!(
        "pictures of a wrong size: {}; longest time without a picture: {:.1} ms",
        modes.wrong_sizes,
        modes.longest_gap.as_secs_f64() * 1e3
    ));
}

fn line(trip: &ModeTrip) -> String {
    let wanted = trip.wanted;
    let Some((answer, at)) = &trip.answer else {
        return format!("mode {wanted}: the host has not answered");
    };
    let answered_ms = at.since(trip.asked).as_secs_f64() * 1e3;
    match trip.first_picture {
        _ if !answer.text.is_empty() => format!(
            "mode {wanted}: refused after {answered_ms:.1} ms: {}",
            answer.text
        ),
        Some(time) => format!(
            "mode {wanted}: {} from {} on, its first picture {:.1} ms after the request, the \
             answer after {answered_ms:.1} ms",
            answer.mode,
            answer.first_frame,
            time.as_secs_f64() * 1e3
        ),
        None => format!("mode {wanted}: {}, and no picture of it came", answer.mode),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_sorted_and_checked() {
        let plan: Plan = "640x360@30@2.5s, 1280x720@60@1s".parse().expect("a plan");
        let modes: Vec<String> = plan.left.iter().map(|it| it.mode.to_string()).collect();
        assert_eq!(modes, ["1280x720@60", "640x360@30"]);
        assert_eq!(plan.due(Duration::ZERO), Some(Duration::from_secs(1)));
        for text in [
            "",
            "640x360@30",
            "641x360@30@1s",
            "640x360@30@1",
            "640x360@30@-1s",
        ] {
            assert!(text.parse::<Plan>().is_err(), "{text}");
        }
    }
}
