//! SIGTERM and SIGINT as something to wait for beside the compositor's socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::sys;

/// While it lives, SIGTERM and SIGINT do not end the process but make its descriptor readable.
pub struct EndSignals {
    fd: OwnedFd,
    before: libc::sigset_t,
}

impl EndSignals {
    /// Takes the signals of this thread.
    pub fn take() -> io::Result<Self> {
        let (fd, before) = sys::block_end_signals()?;
        Ok(Self { fd, before })
    }

    /// Reads what has arrived, so that it does not end the process when the mask is put back.
    pub fn drain(&self) {
        let mut one = [0_u8; size_of::<libc::signalfd_siginfo>()];
        while rustix::io::read(&self.fd, &mut one).is_ok_and(|bytes| bytes > 0) {}
    }
}

impl AsFd for EndSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for EndSignals {
    fn drop(&mut self) {
        self.drain();
        sys::restore_signals(&self.before);
    }
}
