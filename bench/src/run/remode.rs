//! Changes of the mode while a session runs: how long until the first picture of the new one.

use std::fmt;
use std::time::Duration;

use engine::client::{ModeTrip, Outcome, Outputs, Viewer};
use net::native::ModeOutcome;
use net::times::FrameTimes;
use net::units::{Mode, Timestamp};
use serde::Serialize;

use super::{Bench, BenchError, Scenario, WARM_UP, run_for};

/// Between a change and the next request, so that each meets a session that streams as ever; and a
/// little more each time, so that requests do not keep step with the pictures.
const PAUSE: Duration = Duration::from_millis(250);
const STAGGER: Duration = Duration::from_micros(3700);
/// How often the answer is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// What many changes came to.
#[derive(Clone, Debug, Serialize)]
pub struct ModeFigures {
    /// Changes asked for.
    pub asked: usize,
    /// Those of them that were not granted.
    pub refused: usize,
    /// From the request to the first decoded picture, ms, over all that were granted.
    pub p50_ms: f64,
    /// The same.
    pub p99_ms: f64,
    /// The same.
    pub max_ms: f64,
    /// Of that: until the picture was captured, p50, ms.
    pub to_captured_ms: f64,
    /// Until encode took it.
    pub to_encoder_ms: f64,
    /// Until its last slice was encoded.
    pub to_encoded_ms: f64,
    /// Decoded pictures whose size was not that of their mode.
    pub wrong_sizes: u64,
    /// The longest time between two decoded pictures, ms.
    pub longest_gap_ms: f64,
    /// Captured pictures of the old size that were left out.
    pub misfits: u64,
    /// Frames lost, and IDRs that had to be asked for.
    pub lost: u64,
    /// The same.
    pub idrs_asked: u64,
}

impl Bench {
    /// Streams the scenario and asks `changes` times for another mode: of two thirds the width and
    /// height, of the scenario's, and of four thirds, in turn.
    ///
    /// # Errors
    /// See [`BenchError`].
    pub fn change_modes(
        &self,
        scenario: &Scenario,
        changes: u32,
    ) -> Result<ModeFigures, BenchError> {
        let options = self.options(scenario, self.host.local_addr())?;
        let mut viewer = Viewer::connect(options, self.decoder, Outputs::default(), None)?;
        run_for(&mut viewer, WARM_UP)?;
        let mode = scenario.mode;
        let cycle = [scaled(mode, 2, 3), mode, scaled(mode, 4, 3)];
        for (change, wanted) in (0..changes).zip(cycle.into_iter().cycle()) {
            viewer.request_mode(wanted);
            while viewer
                .mode_answer()
                .is_none_or(|answer| answer.number <= change)
            {
                run_for(&mut viewer, LOOK)?;
            }
            run_for(&mut viewer, PAUSE + STAGGER * (change % 16))?;
        }
        let entries = self.host.sessions();
        let counters = entries.last().map(|it| it.metrics.counters.snapshot());
        let outcome = viewer.finish()?;
        let mut figures = figures(&outcome);
        figures.misfits = counters.map_or(0, |it| it.misfits);
        figures.lost = outcome.received.frames_lost;
        figures.idrs_asked = outcome.received.keyframe_requests;
        Ok(figures)
    }
}

impl fmt::Display for ModeFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} changes of the mode, {} refused\n\
             request to first decoded picture: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms\n\
             of that, p50: to the picture captured {:.1} ms, to the encoder {:.1} ms, encoded {:.1} ms\n\
             pictures of a wrong size {}, longest time without a picture {:.1} ms\n\
             captured in the old size and left out {}, frames lost {}, IDRs asked for {}",
            self.asked,
            self.refused,
            self.p50_ms,
            self.p99_ms,
            self.max_ms,
            self.to_captured_ms,
            self.to_encoder_ms,
            self.to_encoded_ms,
            self.wrong_sizes,
            self.longest_gap_ms,
            self.misfits,
            self.lost,
            self.idrs_asked,
        )
    }
}

fn figures(outcome: &Outcome) -> ModeFigures {
    let report = &outcome.modes;
    let is_granted = |it: &&ModeTrip| {
        let answer = it.answer.as_ref();
        answer.is_some_and(|(answer, _)| answer.outcome == ModeOutcome::Granted)
    };
    let refused = report.trips.len() - report.trips.iter().filter(is_granted).count();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let times: Vec<f64> = report
        .trips
        .iter()
        .filter_map(|it| it.first_picture.map(ms))
        .collect();
    // Host and client are one process: their stamps are of one clock.
    let stamped = |stamp: fn(&FrameTimes) -> Timestamp| -> Vec<f64> {
        let of_trip = |trip: &ModeTrip| {
            let frame = trip.first_frame?;
            let times = outcome.host_times.iter().find(|it| it.frame == frame)?;
            Some(ms(stamp(times).since(trip.asked)))
        };
        report.trips.iter().filter_map(of_trip).collect()
    };
    let encoded = |times: &FrameTimes| {
        let slices = &times.slices[..usize::from(times.slice_count)];
        slices.last().map_or(Timestamp::ZERO, |last| last.encoded)
    };
    ModeFigures {
        asked: report.trips.len(),
        refused,
        p50_ms: quantile(&times, 0.5),
        p99_ms: quantile(&times, 0.99),
        max_ms: quantile(&times, 1.0),
        to_captured_ms: quantile(&stamped(|it| it.captured), 0.5),
        to_encoder_ms: quantile(&stamped(|it| it.encode_begin), 0.5),
        to_encoded_ms: quantile(&stamped(encoded), 0.5),
        wrong_sizes: report.wrong_sizes,
        longest_gap_ms: ms(report.longest_gap),
        misfits: 0,
        lost: 0,
        idrs_asked: 0,
    }
}

fn quantile(times: &[f64], share: f64) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    let rank = (times.len() as f64 * share).ceil() as usize;
    let at = rank.clamp(1, times.len().max(1)) - 1;
    times.get(at).copied().unwrap_or(f64::NAN)
}

/// A part of a mode's size, with even sides within the limits; the mode itself where that is none.
fn scaled(mode: Mode, part: u32, of: u32) -> Mode {
    let side = |px: u16| (u32::from(px) * part / of) & !1;
    let (width, height) = (side(mode.width()), side(mode.height()));
    Mode::new(width, height, mode.refresh().get()).unwrap_or(mode)
}
