//! What a client asked of the mode, what it was told, and what it then saw.

use std::time::Duration;

use net::native::{ModeOutcome, Reconfigured};
use net::units::{FrameId, Mode, Timestamp};

use super::ClientFrame;

/// Requests that are kept for the report: the first ones.
const REQUESTS_MAX: usize = 4096;

/// Requests and answers, as they come.
#[derive(Debug, Default)]
pub(super) struct ModeLog {
    requests: Vec<(u32, Mode, Timestamp)>,
    answers: Vec<(Reconfigured, Timestamp)>,
}

/// What came of one request for another mode.
#[derive(Clone, Debug)]
pub struct ModeTrip {
    /// What was asked for.
    pub wanted: Mode,
    /// When.
    pub asked: Timestamp,
    /// What the host said, to this request or a later one, and when it came.
    pub answer: Option<(Reconfigured, Timestamp)>,
    /// From the request to the first decoded picture of the mode that was granted.
    pub first_picture: Option<Duration>,
    /// The frame that it was.
    pub first_frame: Option<FrameId>,
}

/// What was seen of changes of the mode.
#[derive(Clone, Debug, Default)]
pub struct ModeReport {
    /// Every request, up to a bound.
    pub trips: Vec<ModeTrip>,
    /// Decoded pictures whose size is not that of the mode that held for their frame.
    pub wrong_sizes: u64,
    /// The longest time between two decoded pictures from the first request on.
    pub longest_gap: Duration,
}

impl ModeLog {
    pub(super) fn asked(&mut self, number: u32, mode: Mode, now: Timestamp) {
        if self.requests.len() < REQUESTS_MAX {
            self.requests.push((number, mode, now));
        }
    }

    pub(super) fn answered(&mut self, answer: Reconfigured, now: Timestamp) {
        if self.answers.len() < REQUESTS_MAX {
            self.answers.push((answer, now));
        }
    }

    /// The newest answer.
    pub(super) fn newest(&self) -> Option<&Reconfigured> {
        self.answers.last().map(|(answer, _)| answer)
    }

    /// Held against the frames of the session, which began with `mode`.
    pub(super) fn report(&self, mode: Mode, frames: &[ClientFrame]) -> ModeReport {
        let trips = self.requests.iter().map(|&(number, wanted, asked)| {
            let answer = self.answers.iter().find(|(it, _)| it.number >= number);
            let granted = answer.filter(|(it, _)| it.outcome == ModeOutcome::Granted);
            let first = granted.and_then(|(it, _)| {
                let is_of_it = |frame: &&ClientFrame| {
                    frame.frame >= it.first_frame && !frame.decoded.is_zero()
                };
                frames.iter().find(is_of_it)
            });
            ModeTrip {
                wanted,
                asked,
                answer: answer.cloned(),
                first_picture: first.map(|frame| frame.decoded.since(asked)),
                first_frame: first.map(|frame| frame.frame),
            }
        });
        let decoded = || frames.iter().filter(|frame| !frame.decoded.is_zero());
        let is_wrong = |frame: &&ClientFrame| {
            let held = self.mode_of(mode, frame.frame);
            frame.size != (held.width().into(), held.height().into())
        };
        let begun = self.requests.first().map(|(_, _, at)| *at);
        let times: Vec<Timestamp> = decoded()
            .map(|frame| frame.decoded)
            .filter(|at| begun.is_some_and(|begun| *at >= begun))
            .collect();
        let gaps = times.windows(2).map(|pair| pair[1].since(pair[0]));
        ModeReport {
            trips: trips.collect(),
            wrong_sizes: decoded().filter(is_wrong).count() as u64,
            longest_gap: gaps.max().unwrap_or_default(),
        }
    }

    fn mode_of(&self, first: Mode, frame: FrameId) -> Mode {
        let begun = |answer: &&(Reconfigured, Timestamp)| answer.0.first_frame <= frame;
        let held = self.answers.iter().rev().find(begun);
        held.map_or(first, |(answer, _)| answer.mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(text: &str) -> Mode {
        text.parse().expect("a mode")
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ns(ms * 1_000_000)
    }

    fn frame(number: u32, ms: u64, size: (usize, usize)) -> ClientFrame {
        ClientFrame {
            frame: FrameId(number),
            keyframe: false,
            bytes: 1,
            received_first: at(ms),
            slices_complete: Vec::new(),
            complete: at(ms),
            decode_begin: at(ms),
            decoded: at(ms),
            size,
            repaired_shards: 0,
        }
    }

    #[test]
    fn trips_sizes_and_gaps_are_told() {
        let (small, large) = (mode("320x240@60"), mode("640x480@60"));
        let mut log = ModeLog::default();
        log.asked(1, mode("630x480@60"), at(20));
        log.asked(2, large, at(21));
        log.answered(
            Reconfigured {
                number: 2,
                outcome: ModeOutcome::Granted,
                mode: large,
                first_frame: FrameId(3),
                text: String::new(),
            },
            at(90),
        );
        let frames = [
            frame(0, 10, (320, 240)),
            frame(1, 25, (320, 240)),
            // Of the mode before, in the size of the next.
            frame(2, 35, (640, 480)),
            frame(4, 80, (640, 480)),
        ];
        let report = log.report(small, &frames);
        assert_eq!(report.wrong_sizes, 1);
        assert_eq!(report.longest_gap, Duration::from_millis(45));
        let trips: Vec<_> = report.trips.iter().map(|it| it.first_picture).collect();
        let expected = [60, 59].map(|ms| Some(Duration::from_millis(ms)));
        assert_eq!(trips, expected);
    }
}
