//! What the pointers that this process itself keeps have in common: their state lies behind a lock,
//! whoever changes it tells, and the newest source is woken.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use net::clock;
use net::cursor::Cursor;
use net::units::Timestamp;

use super::CursorSource;
use crate::capture::link::{EventWaker, ended};
use crate::capture::{CaptureError, Waker};

/// The part of a state that counts its changes.
#[derive(Debug)]
pub(super) struct News {
    serial: u64,
    changed: Timestamp,
    /// Of the newest source.
    listener: Option<Arc<EventWaker>>,
}

impl News {
    pub(super) fn new() -> Self {
        Self {
            serial: 0,
            changed: clock::now(),
            listener: None,
        }
    }

    /// The state is another from now on.
    pub(super) fn tell(&mut self) {
        self.serial += 1;
        self.changed = clock::now();
        if let Some(listener) = &self.listener {
            listener.wake();
        }
    }

    /// Number of the newest change.
    pub(super) const fn serial(&self) -> u64 {
        self.serial
    }

    /// When that was.
    pub(super) const fn changed(&self) -> Timestamp {
        self.changed
    }
}

/// A state that has a source.
pub(super) trait Tells: Send + 'static {
    /// Name of its source, for logs.
    const NAME: &'static str;

    fn news(&mut self) -> &mut News;

    /// All of it now.
    fn cursor(&self) -> Cursor;
}

/// Plain data, whole after every statement.
pub(super) fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells of every change from now on. Of several sources the newest is told.
///
/// # Errors
/// [`CaptureError::Ended`] if no eventfd can be had.
pub(super) fn source<T: Tells>(
    state: &Arc<Mutex<T>>,
) -> Result<Box<dyn CursorSource>, CaptureError> {
    let waker = EventWaker::new().map_err(|error| ended(format!("no eventfd: {error}")))?;
    let waker = Arc::new(waker);
    waker.wake();
    lock(state).news().listener = Some(Arc::clone(&waker));
    Ok(Box::new(Source {
        state: Arc::clone(state),
        waker,
        seen: None,
    }))
}

struct Source<T> {
    state: Arc<Mutex<T>>,
    waker: Arc<EventWaker>,
    seen: Option<u64>,
}

impl<T: Tells> CursorSource for Source<T> {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn poll(&mut self) -> Result<Option<Cursor>, CaptureError> {
        self.waker.take();
        let mut state = lock(&self.state);
        let serial = Some(state.news().serial());
        Ok((std::mem::replace(&mut self.seen, serial) != serial).then(|| state.cursor()))
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }
}
