//! Log lines on standard error: time since start, level, where, what.
//!
//! ERROR is always a bug of ours, WARN is the environment's fault, INFO is what an operator wants
//! to know once, DEBUG is for finding faults. Nothing is logged per packet.

use std::io::Write;
use std::sync::OnceLock;
use std::time::Instant;

use log::{LevelFilter, Log, Metadata, Record};

struct Logger {
    start: Instant,
    level: LevelFilter,
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Installs the logger; `verbose` counts how often more was asked for.
pub fn install(verbose: i32) {
    let level = match verbose {
        ..=0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        _ => LevelFilter::Debug,
    };
    let logger = LOGGER.get_or_init(|| Logger {
        start: Instant::now(),
        level,
    });
    log::set_max_level(logger.level);
    log::set_logger(logger).expect("main installs the only logger");
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries speak only when everything is wanted.
        let ours = ["punktfunk", "engine", "net", "gpu", "platform", "bench"];
        let crate_name = metadata.target().split("::").next().unwrap_or_default();
        let level = if ours.contains(&crate_name) {
            self.level
        } else {
            self.level.min(LevelFilter::Warn)
        };
        metadata.level() <= level
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let seconds = self.start.elapsed().as_secs_f64();
            // Standard error may be closed; there is nobody left to tell.
            let _ = writeln!(
                std::io::stderr().lock(),
                "{seconds:9.3} {:5} {}: {}",
                record.level(),
                record.target(),
                record.args()
            );
        }
    }

    fn flush(&self) {}
}
