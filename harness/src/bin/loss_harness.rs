//! `loss-harness`: the sweep over losses, round trips and protections, and the figures that are
//! published, each from its seed.

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::sim::session_figures::FIGURES
        .iter()
        .filter(|f| std::env::args().nth(1).is_none_or(|n| f.name.contains(&n)))
        .for_each(|figure| {
            let begin = std::time::Instant::now();
            let row = figure.run(1);
            println!("{} {} | {} | {} | {:?}", row.held, row.name, row.measured, row.bound, begin.elapsed());
        });
    ExitCode::SUCCESS
}
