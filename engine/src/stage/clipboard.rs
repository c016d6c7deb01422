//! A clipboard on a thread of its own (`pf-clipboard`): what applications do with it, and how long
//! they take, holds up nothing else. Each way holds one text; a newer one displaces it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use platform::capture::Waker;
use platform::clipboard::{Clipboard, ClipboardError, Copied};
use platform::thread::{Role, RoleThread};

/// A wait ends by what happens; this only bounds what a lost wake-up could cost.
const PATIENCE: Duration = Duration::from_secs(1);
/// The thread ends within one turn, which waits for nobody.
const JOIN_TIMEOUT: Duration = Duration::from_millis(500);

/// What both ends share.
struct Shared {
    /// To be pasted on the desktop.
    put: Mutex<Option<String>>,
    /// Copied on the desktop.
    copied: Mutex<Option<String>>,
    stop: AtomicBool,
    waker: Arc<dyn Waker>,
}

/// The other side's end. Clones are the same.
#[derive(Clone)]
pub struct ClipboardQueue(Arc<Shared>);

impl ClipboardQueue {
    /// Puts a text on the desktop's clipboard; never waits.
    pub fn put(&self, text: String) {
        *lock(&self.0.put) = Some(text);
        self.0.waker.wake();
    }

    /// The newest text that somebody has copied on the desktop, once.
    #[must_use]
    pub fn poll_copied(&self) -> Option<String> {
        lock(&self.0.copied).take()
    }
}

/// The thread. Dropping it ends it, and what was put on the desktop's clipboard goes with it.
pub struct ClipboardThread {
    shared: Arc<Shared>,
    thread: Option<RoleThread<()>>,
}

impl ClipboardThread {
    /// Starts it. `on_copied` is called from the thread when [`ClipboardQueue::poll_copied`] has
    /// news.
    ///
    /// # Errors
    /// The system's.
    pub fn spawn(
        clipboard: Box<dyn Clipboard>,
        on_copied: Box<dyn Fn(&ClipboardQueue) + Send>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            put: Mutex::default(),
            copied: Mutex::default(),
            stop: AtomicBool::new(false),
            waker: clipboard.waker(),
        });
        let ours = Arc::clone(&shared);
        let thread = platform::thread::spawn(Role::Control, "pf-clipboard", move || {
            let name = clipboard.name();
            if let Err(error) = run(clipboard, &ClipboardQueue(ours), &on_copied) {
                log::warn!("{name}: {error}; nothing is shared any more");
            }
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Where texts go in and out.
    #[must_use]
    pub fn queue(&self) -> ClipboardQueue {
        ClipboardQueue(Arc::clone(&self.shared))
    }
}

impl Drop for ClipboardThread {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.waker.wake();
        if let Some(thread) = self.thread.take()
            && let Err(error) = thread.join_within(JOIN_TIMEOUT)
        {
            log::error!("{error}");
        }
    }
}

fn run(
    mut clipboard: Box<dyn Clipboard>,
    queue: &ClipboardQueue,
    on_copied: &dyn Fn(&ClipboardQueue),
) -> Result<(), ClipboardError> {
    let shared = &queue.0;
    while !shared.stop.load(Ordering::Acquire) {
        let put = lock(&shared.put).take();
        if let Some(text) = put {
            clipboard.set(&text)?;
        }
        if let Copied::Text(text) = clipboard.next(PATIENCE)? {
            *lock(&shared.copied) = Some(text);
            on_copied(queue);
        }
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
