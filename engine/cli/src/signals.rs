//! Ctrl-C and SIGTERM end a run in an orderly way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::{Failure, Kind};

/// Tells whether the user asked the run to end.
pub struct Interrupt {
    asked: Arc<AtomicBool>,
    wake: Receiver<()>,
}

impl Interrupt {
    /// Starts listening. A second signal ends the process at once.
    pub fn install() -> Result<Self, Failure> {
        let system = |error| Failure::new(Kind::System, format!("signals: {error}"));
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(system)?;
        let asked = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&asked);
        let (waker, wake) = bounded(1);
        std::thread::Builder::new()
            .name("pf-signals".to_owned())
            .spawn(move || {
                for signal in signals.forever() {
                    if flag.swap(true, Ordering::AcqRel) {
                        // The orderly end hangs or is too slow for this user.
                        let _ = signal_hook::low_level::emulate_default_handler(signal);
                    }
                    let _ = waker.try_send(());
                }
            })
            .map_err(system)?;
        Ok(Self { asked, wake })
    }

    /// Waits for `timeout`, or less if the user asks. True if he did, now or before.
    pub fn wait(&self, timeout: Duration) -> bool {
        match self.wake.recv_timeout(timeout) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
            Err(RecvTimeoutError::Timeout) => self.asked.load(Ordering::Acquire),
        }
    }

    /// True once the user asked.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }
}
