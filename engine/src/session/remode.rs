//! Another mode while the client watches: display, capture and encoder are of the new one, all
//! else goes on.
//!
//! ```text
//!  announce ─▶ display.set_mode ─▶ capture ─┐
//!           └▶ encoder and its buffers ─────┴▶ pipeline.change ─▶ (first frame) ─▶ ModeChanged
//! ```
//!
//! The old pictures go on until the display has the new mode; encoder and buffers are opened beside
//! that. What fails leaves the session in the mode that it had.

use std::time::Instant;

use gpu::encode::{Encoder, EncoderConfig};
use net::units::{FrameId, Mode};
use platform::display::VirtualDisplay;

use super::source::{self, Opened as OpenedCapture};
use super::{SessionError, SessionEvent, Stage};
use crate::pipeline::{Pipeline, buffers_for, slice_bytes_max};
use crate::stage::change::{EncoderChange, EncoderChanged};
use crate::stage::cursor::CursorStage;

/// What a session streams, for as long as somebody watches.
pub(super) struct Standing {
    /// Of the encoder in use, or that encode has been given.
    pub(super) config: EncoderConfig,
    /// Name of the capture backend.
    pub(super) capture_name: &'static str,
    /// Room of a slice's buffer, bytes. It grows with the modes and does not shrink: a window that
    /// is dragged to and fro costs no memory anew.
    pub(super) slice_bytes_max: usize,
    /// A change that encode has not made yet: the display's mode.
    pub(super) in_work: Option<Mode>,
    /// The pointer, if the client draws it.
    pub(super) cursor: Option<CursorStage>,
}

impl Standing {
    fn recapture(&self, display: &dyn VirtualDisplay) -> Result<OpenedCapture, SessionError> {
        source::reopen(display, self.capture_name, self.cursor.is_some())
    }

    /// The pointer of that capture from now on.
    fn point(&mut self, opened: &mut OpenedCapture, mode: Mode) {
        if let Some(cursor) = &self.cursor {
            cursor.replace(opened.cursor.take(), mode);
        }
    }
}

/// A new mode's encoder with its slices' buffers.
type Opened = (Box<dyn Encoder>, Vec<Box<[u8]>>);

impl Stage<'_> {
    /// Begins to change the mode. [`Stage::mode_made`] follows, or it has failed, which is told.
    ///
    /// # Errors
    /// What ends the session: its display is gone, or cannot be captured any more.
    pub(super) fn change_watched(
        &self,
        pipeline: &Pipeline,
        display: &mut dyn VirtualDisplay,
        standing: &mut Standing,
        wanted: Mode,
    ) -> Result<(), SessionError> {
        if standing.in_work.is_some() {
            self.tell_mode(Err(SessionError::Changing));
            return Ok(());
        }
        let before = display.mode();
        pipeline.announce_change();
        let config = EncoderConfig {
            mode: wanted,
            ..standing.config
        };
        let prepared = self.prepare(display, standing, &config);
        let (mut source, (encoder, buffers)) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                self.go_back(pipeline, display, standing, before)?;
                log::info!("the mode stays {before}: {error}");
                self.tell_mode(Err(error));
                return Ok(());
            }
        };
        let open = self.backends.encoder.open;
        let change = EncoderChange {
            encoder,
            reopen: Box::new(move || open(&config)),
            config,
            buffers,
        };
        standing.slice_bytes_max = standing.slice_bytes_max.max(slice_bytes_max(&config));
        standing.config = config;
        standing.in_work = Some(display.mode());
        standing.point(&mut source, display.mode());
        let refresh = display.mode().refresh().interval();
        pipeline.change(source.capture, refresh, change);
        Ok(())
    }

    /// Encode has made the change.
    pub(super) fn mode_made(&self, standing: &mut Standing, changed: EncoderChanged) {
        if let Some(mode) = standing.in_work.take() {
            self.tell_mode(Ok((mode, changed.first)));
        }
        drop(changed.retired);
    }

    /// The encoder on a thread of its own, the display and its capture on this one.
    fn prepare(
        &self,
        display: &mut dyn VirtualDisplay,
        standing: &Standing,
        config: &EncoderConfig,
    ) -> Result<(OpenedCapture, Opened), SessionError> {
        let begun = Instant::now();
        let open = self.backends.encoder.open;
        let fits = slice_bytes_max(config) <= standing.slice_bytes_max;
        let buffers = || match fits {
            true => Vec::new(),
            false => buffers_for(config),
        };
        std::thread::scope(|scope| {
            let opening = std::thread::Builder::new()
                .name("pf-remode".to_owned())
                .spawn_scoped(scope, || (open(config), buffers(), begun.elapsed()))
                .map_err(SessionError::Thread)?;
            let set = display.set_mode(config.mode);
            let set_after = begun.elapsed();
            let source = set
                .map_err(SessionError::from)
                .and_then(|()| standing.recapture(display));
            let captured_after = begun.elapsed();
            let (encoder, buffers, opened_after) =
                opening.join().map_err(|_| SessionError::Changing)?;
            log::debug!(
                "{}: display after {set_after:.1?}, capture after {captured_after:.1?}, encoder \
                 after {opened_after:.1?}",
                config.mode
            );
            Ok((source?, (encoder?, buffers)))
        })
    }

    /// The mode of before, with a source that stands in it: the old one may have ended.
    fn go_back(
        &self,
        pipeline: &Pipeline,
        display: &mut dyn VirtualDisplay,
        standing: &mut Standing,
        before: Mode,
    ) -> Result<(), SessionError> {
        display.check()?;
        if display.mode() != before {
            display.set_mode(before)?;
        }
        let mut source = standing.recapture(display)?;
        standing.point(&mut source, before);
        pipeline.restore(source.capture, before.refresh().interval());
        Ok(())
    }

    pub(super) fn tell_mode(&self, result: Result<(Mode, FrameId), SessionError>) {
        (self.on_event)(SessionEvent::ModeChanged(result));
    }
}
