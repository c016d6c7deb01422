//! Reads the test card back from decoded pixels, on the client's decode thread.

use std::sync::{Arc, Mutex, PoisonError};

use engine::client::{ClientFrame, PictureObserver};
use gpu::decode::Picture;

use super::{Observed, Scenario};
use crate::marker;
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
