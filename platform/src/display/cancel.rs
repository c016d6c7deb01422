//! The end of a wait from outside: a compositor that does not answer must not hold up a session
//! that is over.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// How often a wait looks whether it is still wanted.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How often a socket with a full queue of connections is tried again.
const CONNECT_INTERVAL: Duration = Duration::from_millis(2);

/// Asked once, from any thread; whoever waits sees it within 20 ms. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Nothing is to be waited for any more.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// True once somebody asked.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Connects to a Unix socket until `deadline` or `cancel`; after a zero byte it is the name of one
/// without a file (unix(7), abstract). The standard library's way waits
/// without limit where the queue of connections is full: a listener that has stopped.
///
/// # Errors
/// The system's answer; `TimedOut`, `ConnectionAborted`.
pub(crate) fn connect(socket: &Path, deadline: Instant, cancel: &Cancel) -> io::Result<UnixStream> {
    let address = match socket.as_os_str().as_bytes() {
        [0, name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
        _ => SocketAddrUnix::new(socket)?,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let stream: OwnedFd =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    loop {
        match rustix::net::connect(&stream, &address) {
            Ok(()) => break,
            Err(Errno::INTR) => {}
            // unix(7): the queue is full. A Unix socket connects at once or not at all.
            Err(Errno::AGAIN) => {
                check(deadline, cancel)?;
                std::thread::park_timeout(CONNECT_INTERVAL);
            }
            Err(error) => return Err(error.into()),
        }
    }
    let stream = UnixStream::from(stream);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// How long a wait may go on before it asks again: the time left, in pieces.
///
/// # Errors
/// `TimedOut` past the deadline, `ConnectionAborted` once cancelled.
pub(super) fn check(deadline: Instant, cancel: &Cancel) -> io::Result<Duration> {
    if cancel.is_asked() {
        let text = "the session is over";
        return Err(io::Error::new(io::ErrorKind::ConnectionAborted, text));
    }
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        let text = "no answer in time";
        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
    }
    Ok(left.min(LOOK_INTERVAL))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_listener_that_takes_no_connection_is_given_up() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("sock");
        let _listener = UnixListener::bind(&path).expect("a socket");
        let soon = Instant::now() + Duration::from_millis(50);
        // The queue of a listener that never accepts takes some, and then no more.
        let mut taken = Vec::new();
        let error = loop {
            match connect(&path, soon, &Cancel::default()) {
                Ok(stream) => taken.push(stream),
                Err(error) => break error,
            }
            assert!(taken.len() < 100_000, "a queue without an end");
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let cancelled = Cancel::default();
        cancelled.ask();
        let never = Instant::now() + Duration::from_secs(3600);
        let error = connect(&path, never, &cancelled).expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }
}
