//! The test card: a Wayland client that draws, full screen, one picture on every frame callback,
//! each with a marker that names it. The default application of a private display, and the source
//! of every latency measurement.

mod buffers;
mod signals;
mod sys;
mod window;

use std::io::Write;
use std::path::PathBuf;

use net::units::Timestamp;

use crate::picture::Content;

/// What to draw and how.
#[derive(Clone, Debug, Default)]
pub struct TestcardOptions {
    /// Kind of content.
    pub content: Content,
    /// Most pictures a second; `None`: one for every frame callback.
    pub fps_max: Option<f64>,
    /// A hard cut to an entirely different scene after so many pictures; 0: never.
    pub cut_every_frames: u32,
    /// Where to write, at the end, one line `number time_ns` for every picture drawn (at most
    /// [`DRAWN_MAX`]).
    pub drawn_log: Option<PathBuf>,
}

/// Most pictures that a drawn log holds: an hour at 240 Hz.
pub const DRAWN_MAX: usize = 240 * 3600;

/// Why the test card could not be shown, or ended otherwise than by the compositor's end or a
/// signal.
#[derive(Debug, thiserror::Error)]
pub enum TestcardError {
    /// No compositor.
    #[error(
        "no Wayland compositor can be reached: {0}; set WAYLAND_DISPLAY and XDG_RUNTIME_DIR to \
         those of a running one"
    )]
    Connect(String),
    /// The compositor lacks a protocol.
    #[error("the compositor lacks {0}, which the test card needs")]
    Unsupported(String),
    /// The frame rate makes no sense.
    #[error("{0} is no frame rate; give a number above 0, for example 30")]
    FrameRate(f64),
    /// The compositor ended the connection with a protocol error.
    #[error("the compositor refused a request of the test card: {0}")]
    Protocol(String),
    /// The system refused memory, a signal descriptor or a wait.
    #[error("the test card cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The drawn log could not be written.
    #[error("the list of drawn pictures cannot be written to {path}: {source}")]
    Log {
        /// Where.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

/// Shows the test card on `WAYLAND_DISPLAY` until the compositor ends, closes the window, or
/// SIGTERM or SIGINT arrives (which this thread takes for itself: call it from a process that
/// does nothing else).
///
/// # Errors
/// See [`TestcardError`]. The end of the compositor is no error.
pub fn run(options: &TestcardOptions) -> Result<(), TestcardError> {
    let mut drawn = DrawnLog::new(options.drawn_log.is_some());
    let outcome = window::show(options, &mut drawn);
    if let Some(path) = &options.drawn_log {
        drawn.write(path).map_err(|source| TestcardError::Log {
            path: path.clone(),
            source,
        })?;
    }
    outcome
}

/// Pictures drawn so far, kept in memory until the end.
struct DrawnLog {
    pictures: Vec<(u32, Timestamp)>,
    limit: usize,
}

impl DrawnLog {
    fn new(wanted: bool) -> Self {
        Self {
            pictures: Vec::new(),
            limit: if wanted { DRAWN_MAX } else { 0 },
        }
    }

    fn push(&mut self, number: u32, drawn: Timestamp) {
        if self.pictures.len() < self.limit {
            self.pictures.push((number, drawn));
        }
    }

    fn write(&self, path: &PathBuf) -> std::io::Result<()> {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        for (number, drawn) in &self.pictures {
            writeln!(file, "{number} {}", drawn.as_ns())?;
        }
        file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawn_log_is_one_line_a_picture() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("drawn");
        let mut log = DrawnLog::new(true);
        log.push(0, Timestamp::from_ns(17));
        log.push(1, Timestamp::from_ns(33));
        log.write(&path).expect("writable");
        assert_eq!(
            std::fs::read_to_string(&path).expect("written"),
            "0 17\n1 33\n"
        );
    }
}
