//! A compositor for a compositor: sway's pictures from its own hand.
//!
//! wlroots can draw into the window of another Wayland compositor (its Wayland backend). That other
//! compositor is a small server of ours in this process, on a thread of its own, which does two
//! things that a headless output cannot. It says when sway may draw, on a grid that never drifts:
//! wlroots' headless backend waits whole milliseconds *after* each picture, 59.4 pictures a second
//! for 60. And it is handed the finished pictures where sway drew them, so nobody asks for one, and
//! nobody copies it.
//!
//! - [`clock`]: when; pure.
//! - [`buffers`]: sway's memory, lent, read and given back.
//! - [`server`], [`requests`]: the protocol.
//! - [`seat`]: what sway's pointer looks like, where a client draws that itself.
//! - [`shared`]: what the thread shares with the display and with [`crate::capture::nest`].

mod buffers;
mod clock;
mod requests;
mod seat;
#[cfg(test)]
mod seat_tests;
mod server;
mod shared;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use gpu::frame::Size;
use net::units::{Mode, RefreshMilliHz};

pub(crate) use shared::Shared;

use crate::cursor::reckoned::ReckonedPointer;
use crate::thread::{self, Role, RoleThread};
use server::Server;

/// What wlroots calls the output that it makes of our window.
pub(super) const OUTPUT: &str = "WL-1";
/// For the server's thread to end: it does nothing that takes long.
const JOIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The output of a compositor that runs inside ours.
#[derive(Clone)]
pub struct NestedOutput(Arc<Shared>);

impl NestedOutput {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// The pointer, if its pictures lack it: whoever injects tells it what he does.
    pub(crate) fn pointer(&self) -> Option<&ReckonedPointer> {
        self.0.pointer.as_ref()
    }
}

impl fmt::Debug for NestedOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NestedOutput")
    }
}

/// The same output.
impl PartialEq for NestedOutput {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for NestedOutput {}

/// A running server. Dropping it ends it, and the client's connection with it.
#[derive(Debug)]
pub(super) struct Nest {
    output: NestedOutput,
    thread: Option<RoleThread<()>>,
}

impl Nest {
    /// Starts one that shows `mode`, and has the client's cursor `apart` from its pictures; the
    /// other value is the client's end of its socket, for `WAYLAND_SOCKET`. There is no path that
    /// another process could connect to.
    ///
    /// # Errors
    /// No descriptors, no memory or no threads left.
    pub(super) fn start(mode: Mode, apart: bool) -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        let shared = Arc::new(Shared::new(mode, apart)?);
        let server = Server::new(Arc::clone(&shared), ours)?;
        let thread = thread::spawn(Role::Capture, "pf-nest", move || server.run())?;
        let nest = Self {
            output: NestedOutput(shared),
            thread: Some(thread),
        };
        Ok((nest, theirs.into()))
    }

    pub(super) fn output(&self) -> NestedOutput {
        self.output.clone()
    }

    /// Orders another mode: its refresh from the next tick on, its size as soon as the client
    /// draws in it.
    pub(super) fn order(&self, mode: Mode) {
        self.output.0.order(mode);
    }

    /// Waits, at most `patience`, for a picture of the mode's size: true then.
    ///
    /// # Errors
    /// Why there will be none.
    pub(super) fn await_mode(&self, mode: Mode, patience: Duration) -> Result<bool, String> {
        self.output.0.await_size(size_of(mode), patience)
    }

    /// The size of the picture that is shown.
    pub(super) fn shown_size(&self) -> Option<Size> {
        self.output.0.shown_size()
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        self.output.0.order_end();
        if let Some(thread) = self.thread.take()
            && let Err(error) = thread.join_within(JOIN_TIMEOUT)
        {
            log::error!("{error}");
        }
    }
}

/// `output … max_render_time` of sway-output(5), ms; 0 is off.
///
/// Without it sway composes at the tick what applications drew after the tick before, so that each
/// picture is a refresh old when it is captured. With it applications are told to draw at the tick,
/// and sway composes so many milliseconds before the next one. An application that is not done then
/// is composed when it is.
pub(super) fn render_ms(refresh: RefreshMilliHz) -> u32 {
    let half_ms = refresh.interval().as_millis() / 2;
    u32::try_from(half_ms).unwrap_or(0)
}

pub(super) fn size_of(mode: Mode) -> Size {
    Size {
        width: mode.width(),
        height: mode.height(),
    }
}
