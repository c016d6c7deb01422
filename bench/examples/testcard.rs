//! Shows the test card: `testcard [CONTENT [FPS_MAX [CUT_EVERY [DRAWN_LOG]]]]`, 0 for no cap.

use bench::picture::Content;
use bench::testcard::{TestcardOptions, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let content: Content = arguments.next().as_deref().unwrap_or("card").parse()?;
    let fps_max: f64 = arguments.next().as_deref().unwrap_or("0").parse()?;
    let cut_every_frames = arguments.next().as_deref().unwrap_or("0").parse()?;
    run(&TestcardOptions {
        content,
        fps_max: (fps_max > 0.0).then_some(fps_max),
        cut_every_frames,
        drawn_log: arguments.next().map(Into::into),
    })?;
    Ok(())
}
