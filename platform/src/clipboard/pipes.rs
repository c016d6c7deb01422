//! The pipes that applications hand clipboards over with, which never wait: bounded in bytes and in
//! time.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use net::limits::CLIPBOARD_BYTES_MAX;
use net::units::Timestamp;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

/// How long an application may take to hand over its text, from the moment it is asked.
const READ_TIMEOUT: Duration = Duration::from_secs(3);
/// How long one may take to read ours.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of one read or write.
const CHUNK_BYTES: usize = 1 << 14;

/// A text on its way from an application.
pub(super) struct Reading {
    pub(super) fd: OwnedFd,
    bytes: Vec<u8>,
    pub(super) deadline: Timestamp,
}

/// How a reading goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// More may come.
    More,
    /// That was all.
    Whole(String),
    /// There will be none, and why.
    Failed(&'static str),
}

impl Reading {
    /// A reading, and the end that its application writes to.
    pub(super) fn begin(now: Timestamp) -> Result<(Self, OwnedFd), Errno> {
        let (fd, far) = pipe_with(PipeFlags::CLOEXEC)?;
        // Only our end: an application may not expect its own to be so.
        set_nonblocking(&fd)?;
        let reading = Self {
            fd,
            bytes: Vec::new(),
            deadline: now + READ_TIMEOUT,
        };
        Ok((reading, far))
    }

    /// Takes what has come.
    pub(super) fn advance(&mut self, now: Timestamp) -> Read {
        let mut chunk = [0; CHUNK_BYTES];
        loop {
            match rustix::io::read(&self.fd, &mut chunk) {
                Ok(0) => {
                    let bytes = std::mem::take(&mut self.bytes);
                    let text = String::from_utf8(bytes);
                    return text.map_or(Read::Failed("it is not UTF-8"), Read::Whole);
                }
                Ok(count) if self.bytes.len() + count > CLIPBOARD_BYTES_MAX => {
                    return Read::Failed("it is longer than 1 MiB");
                }
                Ok(count) => self.bytes.extend_from_slice(&chunk[..count]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if now < self.deadline => return Read::More,
                Err(Errno::AGAIN) => return Read::Failed("its application hands over nothing"),
                Err(_) => return Read::Failed("its application's pipe broke"),
            }
        }
    }
}

/// Our text on its way to an application.
pub(super) struct Writing {
    pub(super) fd: OwnedFd,
    text: Arc<str>,
    written: usize,
    pub(super) deadline: Timestamp,
}

impl Writing {
    pub(super) fn begin(now: Timestamp, fd: OwnedFd, text: Arc<str>) -> Result<Self, Errno> {
        set_nonblocking(&fd)?;
        Ok(Self {
            fd,
            text,
            written: 0,
            deadline: now + WRITE_TIMEOUT,
        })
    }

    /// Writes what the application takes; false once it is done with, one way or the other.
    pub(super) fn advance(&mut self, now: Timestamp) -> bool {
        while let rest @ [_, ..] = &self.text.as_bytes()[self.written..] {
            let chunk = &rest[..rest.len().min(CHUNK_BYTES)];
            match rustix::io::write(&self.fd, chunk) {
                Ok(count) => self.written += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return now < self.deadline,
                // It has enough: nobody else misses anything.
                Err(_) => return false,
            }
        }
        false
    }
}

fn set_nonblocking(fd: &OwnedFd) -> Result<(), Errno> {
    fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ns(ms * 1_000_000)
    }

    fn write_all(fd: &OwnedFd, mut bytes: &[u8], reading: &mut Reading) -> Read {
        set_nonblocking(fd).expect("a pipe");
        while !bytes.is_empty() {
            match rustix::io::write(fd, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::AGAIN) => match reading.advance(at(0)) {
                    Read::More => {}
                    other => return other,
                },
                Err(error) => panic!("{error}"),
            }
        }
        reading.advance(at(0))
    }

    #[test]
    fn a_text_is_read_whole_and_no_longer_than_the_limit() {
        let (mut reading, far) = Reading::begin(at(0)).expect("a pipe");
        let longest = "x".repeat(CLIPBOARD_BYTES_MAX);
        assert_eq!(
            write_all(&far, longest.as_bytes(), &mut reading),
            Read::More
        );
        drop(far);
        assert_eq!(reading.advance(at(1)), Read::Whole(longest.clone()));

        let (mut reading, far) = Reading::begin(at(0)).expect("a pipe");
        let longer = longest + "x";
        let read = write_all(&far, longer.as_bytes(), &mut reading);
        assert_eq!(read, Read::Failed("it is longer than 1 MiB"));
    }

    #[test]
    fn who_hands_over_nothing_or_no_text_is_not_waited_for() {
        let (mut reading, _far) = Reading::begin(at(0)).expect("a pipe");
        assert_eq!(reading.advance(at(2999)), Read::More);
        let late = "its application hands over nothing";
        assert_eq!(reading.advance(at(3000)), Read::Failed(late));

        let (mut reading, far) = Reading::begin(at(0)).expect("a pipe");
        assert_eq!(write_all(&far, &[0xff], &mut reading), Read::More);
        drop(far);
        assert_eq!(reading.advance(at(1)), Read::Failed("it is not UTF-8"));
    }

    #[test]
    fn who_does_not_read_is_given_up() {
        let (near, far) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let text: Arc<str> = "x".repeat(CLIPBOARD_BYTES_MAX).into();
        let mut writing = Writing::begin(at(0), far, Arc::clone(&text)).expect("a pipe");
        assert!(writing.advance(at(4999)), "more is to be written");
        assert!(!writing.advance(at(5000)));
        drop(near);

        let (near, far) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let mut writing = Writing::begin(at(0), far, text).expect("a pipe");
        drop(near);
        assert!(!writing.advance(at(0)), "nobody reads");
    }
}
