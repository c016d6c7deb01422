//! Puts the windows of an application on the session's output, full screen and in front, over
//! `org_kde_plasma_window_management`, which names the process of every window. KWin itself puts
//! new windows where the pointer is, and no client can ask for another place but by full screen.
//!
//! There is one seat and thus one focus on a KWin desktop: what the client types goes to the window
//! in front, so the application's is put there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use net::clock;
use wayland_client::protocol::wl_output::WlOutput;
use wayland_client::{Connection, Dispatch, Proxy, QueueHandle, event_created_child};
use wayland_protocols_plasma::plasma_window_management::client as windows;

use windows::org_kde_plasma_stacking_order::OrgKdePlasmaStackingOrder as StackingOrder;
use windows::org_kde_plasma_window::{self as window, OrgKdePlasmaWindow as Window};
use windows::org_kde_plasma_window_management::{
    self as management, OrgKdePlasmaWindowManagement as Management, State as WindowState,
};

use crate::capture::link::{EventWaker, Link, State, Wait};
use crate::capture::{CaptureError, Waker as _};
use crate::display::Cancel;

/// `get_window_by_uuid` and `send_to_output`.
const VERSION: u32 = 15;
/// The last version that the generated code knows.
const VERSION_MAX: u32 = 18;
/// How long an idle wait may last; it ends with events and the waker.
const IDLE: Duration = Duration::from_secs(3600);

/// The window placer, for as long as it lives.
pub(super) struct Placer {
    waker: Arc<EventWaker>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What is known of the windows.
struct Windows {
    /// `NAME=VALUE` in the environment of processes whose windows are placed.
    mark: String,
    output: WlOutput,
    /// Windows to be placed, once they say that they are there.
    ours: Vec<Window>,
}

/// Until the output is known.
type Placing = Option<Windows>;

impl Placer {
    /// Starts it.
    ///
    /// # Errors
    /// The connection's; [`CaptureError::Unsupported`] where KWin keeps the windows to itself.
    pub(super) fn start(
        socket: &Path,
        mark: String,
        output: &str,
        cancel: &Cancel,
    ) -> Result<Self, CaptureError> {
        let mut link: Link<Placing> = Link::connect_unless(socket, None, cancel)?;
        let output = link.find_output(output)?;
        link.state.protocol = Some(Windows {
            mark,
            output,
            ours: Vec::new(),
        });
        let management: Management = link.bind(VERSION, VERSION_MAX)?;
        link.round_trip()?;
        let (waker, stop) = (Arc::clone(&link.waker), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("kwin windows".to_owned())
            .spawn(move || place(link, &management, &stopped))
            .map_err(|error| CaptureError::Ended {
                reason: format!("no thread: {error}"),
            })?;
        Ok(Self {
            waker,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Placer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
        if self.thread.take().is_some_and(|it| it.join().is_err()) {
            log::error!("the window placer panicked");
        }
    }
}

fn place(mut link: Link<Placing>, _management: &Management, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        match link.wait(clock::now() + IDLE) {
            Ok(Wait::Events | Wait::Woken | Wait::TimedOut) => {}
            Err(error) => {
                // The display's own check says so too.
                log::debug!("windows are not placed any more: {error}");
                return;
            }
        }
    }
}

impl Windows {
    fn is_marked(&self, pid: u32) -> bool {
        let path = PathBuf::from(format!("/proc/{pid}/environ"));
        fs::read(path).is_ok_and(|environ| {
            let mut variables = environ.split(|byte| *byte == 0);
            variables.any(|variable| variable == self.mark.as_bytes())
        })
    }

    /// To the output first: full screen is on the output where a window is.
    fn put(&self, window: &Window) {
        window.send_to_output(&self.output);
        let states = u32::from(WindowState::Fullscreen) | u32::from(WindowState::Active);
        window.set_state(states, states);
        log::debug!("a window was put on the session's output");
    }
}

impl Dispatch<Management, ()> for State<Placing> {
    fn event(
        _: &mut Self,
        management: &Management,
        event: management::Event,
        (): &(),
        _: &Connection,
        handle: &QueueHandle<Self>,
    ) {
        if let management::Event::WindowWithUuid { uuid, .. } = event {
            management.get_window_by_uuid(uuid, handle, ());
        }
    }

    event_created_child!(State<Placing>, Management, []);
}

impl Dispatch<Window, ()> for State<Placing> {
    fn event(
        state: &mut Self,
        window: &Window,
        event: window::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        let Some(windows) = &mut state.protocol else {
            return;
        };
        match event {
            window::Event::PidChanged { pid } if windows.is_marked(pid) => {
                windows.ours.push(window.clone());
            }
            // All that there was to say about a new window was said.
            window::Event::InitialState if windows.ours.contains(window) => windows.put(window),
            window::Event::Unmapped => {
                windows.ours.retain(|known| known != window);
                if window.version() >= window::REQ_DESTROY_SINCE {
                    window.destroy();
                }
            }
            _ => {}
        }
    }
}

wayland_client::delegate_noop!(State<Placing>: ignore StackingOrder);
