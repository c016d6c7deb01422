//! `punktfunk testcard`

use std::path::PathBuf;

use argh::FromArgs;
use bench::picture::Content;
use bench::testcard::{self, TestcardError, TestcardOptions};

use crate::exit::{Failure, Kind};

/// Draw the test card, full screen, on the Wayland compositor that WAYLAND_DISPLAY names: what a
/// host shows when it is given no application, and what the bench measures with.
#[derive(FromArgs)]
#[argh(subcommand, name = "testcard")]
pub struct Testcard {
    /// how hard the picture is to encode: desk, scroll, game or still (default: desk)
    #[argh(option, default = "Content::default()")]
    content: Content,
    /// most pictures a second (default: one for every frame of the compositor)
    #[argh(option)]
    fps: Option<f64>,
    /// cut to another scene after so many pictures
    #[argh(option, default = "0")]
    cut_every: u32,
    /// write number and time of every picture drawn to this file at the end
    #[argh(option)]
    drawn_log: Option<PathBuf>,
}

impl Testcard {
    pub fn run(self) -> Result<(), Failure> {
        let options = TestcardOptions {
            content: self.content,
            fps_max: self.fps,
            cut_every_frames: self.cut_every,
            drawn_log: self.drawn_log,
        };
        testcard::run(&options).map_err(|error| {
            let kind = match &error {
                TestcardError::FrameRate(_) => Kind::Usage,
                TestcardError::Log { .. } => Kind::Output,
                TestcardError::System { .. } => Kind::System,
                _ => Kind::Display,
            };
            Failure::new(kind, error)
        })
    }
}
