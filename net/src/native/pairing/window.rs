//! The host's window: while it is open, one client may try its one PIN.
//!
//! ```text
//!          open            begin             succeed, fail
//! Closed ───────▶ Open ────────────▶ Tried ────────────────▶ Closed
//!    ▲              │ close, time up    │ close
//!    └──────────────┴───────────────────┘
//! ```
//!
//! Time alone does not end an attempt that was begun in time: the session's own limits do.

use std::time::Duration;

use crate::units::Timestamp;

use super::Pin;

/// How long a window stays open.
pub const WINDOW: Duration = Duration::from_secs(120);

/// Why no attempt may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowRefusal {
    /// No window is open.
    #[error("no pairing is open on the host: run `punktfunk pair-window` there")]
    Closed,
    /// Somebody is at it.
    #[error("another client is just pairing; the window closes with that: open another one")]
    Busy,
}

/// How a window ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowEnd {
    /// A client was paired.
    Paired,
    /// An attempt failed.
    Failed,
    /// Nobody came.
    TimedOut,
    /// The operator closed it, or opened another one in its place.
    Closed,
}

/// Where the window stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowState {
    /// Closed; how the last one ended.
    Closed(Option<WindowEnd>),
    /// Open for so much longer.
    Open(Duration),
    /// A client is at it.
    Tried,
}

/// What has been tried since the host began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PairingCounts {
    /// Windows opened.
    pub windows: u64,
    /// Requests without a window, or while another client was at it.
    pub refused: u64,
    /// Attempts begun.
    pub begun: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Clients paired.
    pub paired: u64,
}

/// An attempt under way. It belongs to one window.
#[derive(Debug, PartialEq, Eq)]
pub struct Attempt(u64);

#[derive(Debug)]
struct Open {
    pin: Pin,
    until: Timestamp,
    tried: bool,
}

/// The machine.
#[derive(Debug, Default)]
pub struct PairingWindow {
    open: Option<Open>,
    last: Option<WindowEnd>,
    counts: PairingCounts,
}

impl PairingWindow {
    /// Opens a window with this PIN, in place of one that is open. Its number tells it from others.
    pub fn open(&mut self, now: Timestamp, pin: Pin) -> u64 {
        self.close();
        self.counts.windows += 1;
        self.open = Some(Open {
            pin,
            until: now + WINDOW,
            tried: false,
        });
        self.counts.windows
    }

    /// Closes it; what is under way fails. False if none was open.
    pub fn close(&mut self) -> bool {
        self.end(WindowEnd::Closed)
    }

    /// A client asks to pair. One may, with this PIN.
    ///
    /// # Errors
    /// [`WindowRefusal`], counted.
    pub fn begin(&mut self, now: Timestamp) -> Result<(Attempt, Pin), WindowRefusal> {
        self.handle_timeout(now);
        let refusal = match &mut self.open {
            Some(open) if !open.tried => {
                open.tried = true;
                self.counts.begun += 1;
                return Ok((Attempt(self.counts.windows), open.pin.clone()));
            }
            Some(_) => WindowRefusal::Busy,
            None => WindowRefusal::Closed,
        };
        self.counts.refused += 1;
        Err(refusal)
    }

    /// The attempt has failed: its window is closed.
    pub fn fail(&mut self, attempt: &Attempt) {
        self.counts.failed += 1;
        if self.is_current(attempt) {
            self.end(WindowEnd::Failed);
        }
    }

    /// True while the attempt's window is there: a client whose window the operator has closed
    /// meanwhile is not to be paired.
    #[must_use]
    pub const fn is_current(&self, attempt: &Attempt) -> bool {
        self.open.is_some() && attempt.0 == self.counts.windows
    }

    /// The client is paired: its window is closed.
    pub fn succeed(&mut self, attempt: &Attempt) {
        self.counts.paired += 1;
        if self.is_current(attempt) {
            self.end(WindowEnd::Paired);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.poll_timeout().is_some_and(|until| until <= now) {
            self.end(WindowEnd::TimedOut);
        }
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let open = self.open.as_ref().filter(|open| !open.tried);
        open.map(|open| open.until)
    }

    /// Where it stands, and the number of the newest window (0 before the first).
    pub fn state(&mut self, now: Timestamp) -> (u64, WindowState) {
        self.handle_timeout(now);
        let state = match &self.open {
            None => WindowState::Closed(self.last),
            Some(open) if open.tried => WindowState::Tried,
            Some(open) => WindowState::Open(open.until.since(now)),
        };
        (self.counts.windows, state)
    }

    /// Counts since the start.
    #[must_use]
    pub const fn counts(&self) -> PairingCounts {
        self.counts
    }

    fn end(&mut self, end: WindowEnd) -> bool {
        let was_open = self.open.take().is_some();
        if was_open {
            self.last = Some(end);
        }
        was_open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_ns(seconds * 1_000_000_000)
    }

    fn pin(text: &str) -> Pin {
        text.parse().expect("a PIN")
    }

    fn open() -> (PairingWindow, Attempt) {
        let mut window = PairingWindow::default();
        window.open(at(0), pin("1234"));
        let (attempt, given) = window.begin(at(1)).expect("open");
        assert_eq!(given.digits(), "1234");
        (window, attempt)
    }

    #[test]
    fn one_failure_closes_it() {
        let (mut window, attempt) = open();
        assert_eq!(window.begin(at(1)), Err(WindowRefusal::Busy));
        window.fail(&attempt);
        assert_eq!(window.begin(at(2)), Err(WindowRefusal::Closed));
        let closed = WindowState::Closed(Some(WindowEnd::Failed));
        assert_eq!(window.state(at(2)), (1, closed));
        let counts = window.counts();
        assert_eq!((counts.begun, counts.failed, counts.refused), (1, 1, 2));
    }

    #[test]
    fn one_success_closes_it() {
        let (mut window, attempt) = open();
        assert!(window.is_current(&attempt));
        window.succeed(&attempt);
        assert_eq!(window.begin(at(2)), Err(WindowRefusal::Closed));
        assert_eq!(window.counts().paired, 1);
    }

    #[test]
    fn it_closes_after_two_minutes_but_not_under_an_attempt() {
        let mut window = PairingWindow::default();
        window.open(at(0), pin("1234"));
        assert_eq!(window.poll_timeout(), Some(at(120)));
        assert_eq!(window.begin(at(120)), Err(WindowRefusal::Closed));
        let closed = WindowState::Closed(Some(WindowEnd::TimedOut));
        assert_eq!(window.state(at(121)), (1, closed));
        let (mut window, attempt) = open();
        assert_eq!(window.poll_timeout(), None);
        window.handle_timeout(at(130));
        assert!(window.is_current(&attempt));
    }

    #[test]
    fn an_attempt_of_an_older_window_does_nothing_to_a_newer_one() {
        let (mut window, old) = open();
        assert_eq!(window.open(at(5), pin("5678")), 2);
        assert!(!window.is_current(&old));
        window.fail(&old);
        let (new, given) = window.begin(at(6)).expect("the new one is open");
        assert_eq!(given.digits(), "5678");
        assert!(window.is_current(&new));
        assert!(window.close());
        assert!(!window.is_current(&new) && !window.close());
    }
}
