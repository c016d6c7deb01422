//! What is looked at while a session runs: the test card, read back from decoded pixels on the
//! client's decode thread, and the path, by the thread that waits for the run's end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::client::{ClientFrame, PictureObserver};
use engine::host::Host;
use gpu::decode::Picture;
use net::units::Timestamp;

use super::relay::Relay;
use super::{Observed, Scenario};
use crate::marker;
use crate::report::PathSample;
use crate::verify::Verifier;
use gpu::frame::Size;

/// Every so many pictures are held against the drawn ones, pixel by pixel on a grid; the marker
/// of each one is read.
const VERIFY_EVERY: u32 = 15;

/// Watches decoded pictures. The lock is taken once a picture, by this thread alone until the
/// run is over.
pub(super) struct Observer {
    observed: Arc<Mutex<Observed>>,
    verifier: Verifier,
    countdown: u32,
}

impl Observer {
    /// Computes the textures of everything that the scenario shows: on the decode thread that
    /// would hold up the first pictures.
    pub(super) fn new(scenario: &Scenario) -> (Self, Arc<Mutex<Observed>>) {
        let (width, height) = (scenario.mode.width(), scenario.mode.height());
        let is_cut = scenario.cut_every_frames > 0;
        let verifier = Verifier::prepared(scenario.content, is_cut, Size { width, height });
        let observed = Arc::new(Mutex::new(Observed::default()));
        let observer = Self {
            observed: Arc::clone(&observed),
            verifier,
            countdown: 0,
        };
        (observer, observed)
    }
}

impl PictureObserver for Observer {
    fn picture(&mut self, frame: &ClientFrame, picture: &Picture<'_>) {
        let Ok(marker) = marker::read(picture) else {
            return;
        };
        let mut observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        observed.markers.insert(frame.frame.0, marker);
        if self.countdown > 0 {
            self.countdown -= 1;
            return;
        }
        self.countdown = VERIFY_EVERY - 1;
        match self.verifier.psnr_db(picture, &marker) {
            Ok(psnr_db) => observed.verified.add(psnr_db),
            Err(error) => {
                log::warn!("{}: {error}", frame.frame);
                observed.verified.mismatches += 1;
            }
        }
    }
}

/// Samples of the path, [`PathLog::INTERVAL`] apart.
#[derive(Default)]
pub(super) struct PathLog {
    samples: Vec<(Timestamp, PathSample)>,
    /// The newest count of feedbacks.
    pub(super) feedbacks: u64,
}

impl PathLog {
    /// Between two samples.
    pub(super) const INTERVAL: Duration = Duration::from_millis(100);

    /// Takes a sample, if the host's newest session steers by feedback already.
    pub(super) fn sample(&mut self, host: &Host, relay: Option<&Relay>) {
        let sessions = host.sessions();
        let Some(metrics) = sessions.last().map(|entry| &entry.metrics) else {
            return;
        };
        let status = *metrics.path.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(status) = status else {
            return;
        };
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.feedbacks = status.feedbacks;
        let sample = PathSample {
            at_ms: 0,
            state: status.state.to_string(),
            rung: status.rung.to_string(),
            wire_bps: status.wire_rate.0,
            encoder_bps: status.orders.bitrate.0,
            pace_bps: status.orders.pace.rate.0,
            pace_burst_bytes: status.orders.pace.burst_bytes,
            bottleneck_bps: status.bottleneck.map(|rate| rate.0),
            queue_us: us(status.queue_delay),
            relay_queue_us: relay.map(Relay::take_queue_us_max),
            round_trip_us: us(status.round_trip),
            loss_share: status.loss_share,
            loss_run: status.loss_burst,
            data_shards: status.frame.0,
            parity_shards: status.frame.1,
            sent_bytes: metrics.counters.snapshot().sent_bytes,
        };
        self.samples.push((net::clock::now(), sample));
    }

    /// All samples; `from` is when the measured time began.
    pub(super) fn since(self, from: Timestamp) -> Vec<PathSample> {
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let placed = self.samples.into_iter().map(|(at, sample)| PathSample {
            at_ms: if at < from {
                -ms(from.since(at)).max(1)
            } else {
                ms(at.since(from))
            },
            ..sample
        });
        placed.collect()
    }
}
