//! The sending half and the socket itself.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::mark::Dscp;
use super::sys::{self, Wishes};
use super::txtime::{TimedQueue, TxtimeErrors, TxtimeState};
use crate::limits::GSO_SEGMENTS_MAX;
use crate::units::Timestamp;

/// Largest UDP payload over IPv4, bytes; what one GSO buffer may hold, too.
pub(super) const PAYLOAD_BYTES_MAX: usize = 65_507;

/// How datagrams of one size to one peer leave. Each way falls back to the next where the kernel
/// refuses it.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SendPath {
    /// `sendmsg` with `UDP_SEGMENT`.
    #[default]
    Gso = 0,
    /// `sendmmsg`, one message for each datagram.
    SendMmsg = 1,
    /// `sendto` for each datagram.
    SendTo = 2,
}

impl SendPath {
    const fn from_u8(byte: u8) -> Self {
        match byte {
            0 => Self::Gso,
            1 => Self::SendMmsg,
            _ => Self::SendTo,
        }
    }
}

/// How a socket is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketConfig {
    /// Calls return at once instead of waiting for the kernel's buffer. Default: true.
    pub nonblocking: bool,
    /// Send buffer asked of the kernel, bytes. Default 2 MiB: a whole picture of the highest
    /// bitrate at 60 Hz.
    pub send_buffer_bytes: usize,
    /// Receive buffer asked of the kernel, bytes. Default 4 MiB: 30 ms at 1 Gbit/s, longer than a
    /// receive thread is ever away.
    pub receive_buffer_bytes: usize,
    /// The best way out to try. Default [`SendPath::Gso`]; others are for tests and `bench`.
    pub send_path: SendPath,
    /// Ask for GRO. Default: true.
    pub gro: bool,
    /// Let the kernel keep departure times where it can ([`Socket::timed_queue`]). Default: false,
    /// since a timer of the sender's own is as good until somebody measures otherwise.
    pub txtime: bool,
}

impl Default for SocketConfig {
    fn default() -> Self {
        Self {
            nonblocking: true,
            send_buffer_bytes: 2 << 20,
            receive_buffer_bytes: 4 << 20,
            send_path: SendPath::Gso,
            gro: true,
            txtime: false,
        }
    }
}

/// Why datagrams were not sent. Only [`SendError::Io`] says anything about the socket itself; after
/// the others it is as good as before.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The send buffer is full. Wait with [`Socket::wait_writable`] and send the same again.
    #[error("the socket's send buffer is full")]
    WouldBlock,
    /// The device's queue is full (ENOBUFS). Waiting for the socket does not help: what was to be
    /// sent is best dropped and counted.
    #[error("the network device's queue is full")]
    NoBuffers,
    /// A datagram is larger than the way out takes unfragmented (EMSGSIZE).
    #[error("a datagram of {segment_bytes} bytes does not fit the MTU of the way out")]
    TooLarge {
        /// Size of the datagrams, bytes of UDP payload.
        segment_bytes: usize,
    },
    /// The peer cannot be reached just now (an ICMP error, no route, a firewall).
    #[error("the peer is not reachable: {0}")]
    Unreachable(io::Error),
    /// Anything else: the socket is of no more use.
    #[error("the UDP socket failed: {0}")]
    Io(io::Error),
}

/// What the kernel took. Never nothing, and with [`SendPath::Gso`] and up to
/// [`GSO_SEGMENTS_MAX`] segments never less than everything; else the caller goes on at
/// `bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams, from the first.
    pub datagrams: usize,
    /// Their bytes of UDP payload.
    pub bytes: usize,
}

/// One datagram of [`Socket::send_many`].
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Where it goes.
    pub to: SocketAddr,
    /// UDP payload.
    pub bytes: &'a [u8],
}

/// What the kernel can do for a socket, for `doctor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// It knows `UDP_SEGMENT` (Linux 4.18).
    pub gso: bool,
    /// It knows `UDP_GRO` (Linux 5.0).
    pub gro: bool,
    /// Send buffer granted, bytes as the kernel counts them (twice what was asked, with overhead).
    pub send_buffer_bytes: usize,
    /// Receive buffer granted, bytes as the kernel counts them.
    pub receive_buffer_bytes: usize,
}

/// Counts since the socket was made, over all of its clones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpCounters {
    /// Times that a way out was given up for the next one: 0, 1 or 2.
    pub fallbacks: u64,
    /// Datagrams that had a departure time and were dropped for it.
    pub txtime: TxtimeErrors,
}

/// A bound UDP socket: not fragmenting, with large buffers, and with GRO where there is any.
#[derive(Debug)]
pub struct Socket {
    socket: UdpSocket,
    is_v6: bool,
    gro: bool,
    dscp: Option<Dscp>,
    shared: Arc<Shared>,
}

/// What clones have in common.
#[derive(Debug)]
struct Shared {
    send_path: AtomicU8,
    fallbacks: AtomicU64,
    txtime: TxtimeState,
}

impl Socket {
    /// Opens a socket on `address`, alone: no `SO_REUSEADDR`, so a second host on the port is
    /// refused instead of stealing from the first.
    ///
    /// # Errors
    /// The kernel's: the port is in use, the address is not this machine's, or not permitted.
    pub fn bind(address: SocketAddr, config: SocketConfig) -> io::Result<Self> {
        Self::from_std(UdpSocket::bind(address)?, config)
    }

    /// Takes over a socket that was bound elsewhere.
    ///
    /// # Errors
    /// The kernel's, if the socket cannot be made to not fragment or has no address.
    pub fn from_std(socket: UdpSocket, config: SocketConfig) -> io::Result<Self> {
        socket.set_nonblocking(config.nonblocking)?;
        let is_v6 = socket.local_addr()?.is_ipv6();
        let fd = socket.as_fd();
        sys::set_never_fragment(fd, is_v6)?;
        // What is granted is in `capabilities`; less is slower, not wrong.
        sys::ask_buffers(fd, config.send_buffer_bytes, config.receive_buffer_bytes);
        let gro = config.gro && sys::enable_gro(fd).is_ok();
        let path = match config.send_path {
            SendPath::Gso if !sys::knows_gso(fd) => SendPath::SendMmsg,
            asked => asked,
        };
        let shared = Arc::new(Shared {
            send_path: AtomicU8::new(path as u8),
            fallbacks: AtomicU64::new(u64::from(path != config.send_path)),
            txtime: TxtimeState::new(config.txtime),
        });
        Ok(Self {
            socket,
            is_v6,
            gro,
            dscp: None,
            shared,
        })
    }

    /// The same port for another thread. Fallbacks are shared.
    ///
    /// # Errors
    /// The kernel's, if there are no more file descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            is_v6: self.is_v6,
            gro: self.gro,
            dscp: self.dscp,
            shared: Arc::clone(&self.shared),
        })
    }

    /// The same, whose datagrams carry this mark; those of other clones do not.
    #[must_use]
    pub fn marked(self, dscp: Option<Dscp>) -> Self {
        Self { dscp, ..self }
    }

    /// The address it is bound to.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// What clones have in common about departure times.
    pub(super) fn txtime(&self) -> &TxtimeState {
        &self.shared.txtime
    }

    /// How datagrams of one size leave at present.
    #[must_use]
    pub fn send_path(&self) -> SendPath {
        SendPath::from_u8(self.shared.send_path.load(Ordering::Relaxed))
    }

    /// True if received datagrams may come merged; [`super::Receiver`] takes them apart.
    #[must_use]
    pub fn has_gro(&self) -> bool {
        self.gro
    }

    /// What the kernel can do for this socket.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let (send_buffer_bytes, receive_buffer_bytes) = sys::buffers(self.as_fd());
        let gso = sys::knows_gso(self.as_fd());
        let gro = sys::knows_gro(self.as_fd());
        Capabilities {
            gso,
            gro,
            send_buffer_bytes,
            receive_buffer_bytes,
        }
    }

    /// Counts since the socket was made.
    #[must_use]
    pub fn counters(&self) -> UdpCounters {
        UdpCounters {
            fallbacks: self.shared.fallbacks.load(Ordering::Relaxed),
            txtime: self.shared.txtime.errors(),
        }
    }

    /// Waits until the socket takes datagrams again. False if `timeout` ran out first.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait_writable(&self, timeout: Duration) -> io::Result<bool> {
        wait(self.as_fd(), PollFlags::OUT, timeout)
    }

    /// Waits until there is something to receive. False if `timeout` ran out first.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait_readable(&self, timeout: Duration) -> io::Result<bool> {
        wait(self.as_fd(), PollFlags::IN, timeout)
    }

    /// Sends `bytes` to `to` as datagrams of `segment_bytes`, the last one as short as it comes.
    /// Nothing is sent of no bytes, and `segment_bytes` 0 means one datagram.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent then. If only a part was, that is an `Ok`.
    pub fn send_segments(
        &self,
        to: SocketAddr,
        bytes: &[u8],
        segment_bytes: usize,
    ) -> Result<Sent, SendError> {
        self.send_with(to, bytes, segment_bytes, self.wishes(None))
    }

    /// As [`Socket::send_segments`], but the kernel keeps them until `departure`: all of them leave
    /// together then, so `bytes` should be no more than may leave back to back. `queue` is the
    /// answer of [`Socket::timed_queue`] for `to`; a departure that is past means at once.
    ///
    /// # Errors
    /// As there. What the queue drops later is no error: see [`Socket::take_txtime_errors`].
    pub fn send_segments_at(
        &self,
        to: SocketAddr,
        bytes: &[u8],
        segment_bytes: usize,
        queue: TimedQueue,
        departure: Timestamp,
    ) -> Result<Sent, SendError> {
        let time_ns = queue.packet_time_ns(departure);
        self.send_with(to, bytes, segment_bytes, self.wishes(Some(time_ns)))
    }

    fn wishes(&self, time_ns: Option<u64>) -> Wishes {
        let dscp = self.dscp;
        Wishes { time_ns, dscp }
    }

    fn send_with(
        &self,
        to: SocketAddr,
        bytes: &[u8],
        segment_bytes: usize,
        wishes: Wishes,
    ) -> Result<Sent, SendError> {
        let to = self.address(to);
        let segment_bytes = if segment_bytes == 0 {
            bytes.len()
        } else {
            segment_bytes
        };
        let mut sent = Sent {
            datagrams: 0,
            bytes: 0,
        };
        while sent.bytes < bytes.len() {
            match self.send_some(&to, &bytes[sent.bytes..], segment_bytes, wishes) {
                Ok(more) => {
                    sent.datagrams += more.datagrams;
                    sent.bytes += more.bytes;
                }
                Err(_) if sent.datagrams > 0 => break,
                Err(error) => return Err(classify(error, segment_bytes)),
            }
        }
        Ok(sent)
    }

    /// Sends datagrams of any sizes to any peers, from the first on.
    ///
    /// # Errors
    /// [`SendError`] of the first datagram; if it went out, that is an `Ok` which counts those that
    /// did, and the caller goes on with the next.
    pub fn send_many(&self, datagrams: &[Datagram<'_>]) -> Result<Sent, SendError> {
        let mut sent = Sent {
            datagrams: 0,
            bytes: 0,
        };
        while let Some(rest) = datagrams
            .get(sent.datagrams..)
            .filter(|rest| !rest.is_empty())
        {
            let parts = rest
                .iter()
                .map(|datagram| (self.address(datagram.to), datagram.bytes));
            let count = match self.send_each(parts, self.wishes(None)) {
                Ok(count) => count,
                Err(_) if sent.datagrams > 0 => break,
                Err(error) => return Err(classify(error, rest[0].bytes.len())),
            };
            sent.datagrams += count;
            sent.bytes += rest[..count]
                .iter()
                .map(|datagram| datagram.bytes.len())
                .sum::<usize>();
        }
        Ok(sent)
    }

    /// One step of [`Socket::send_segments`]: one system call, unless a way out is given up.
    fn send_some(
        &self,
        to: &sys::Address,
        bytes: &[u8],
        segment: usize,
        wishes: Wishes,
    ) -> io::Result<Sent> {
        let whole = |datagrams: usize| Sent {
            datagrams,
            bytes: bytes.len().min(datagrams.saturating_mul(segment)),
        };
        if bytes.len() <= segment {
            patiently(|| sys::send_to(self.as_fd(), to, bytes, wishes))?;
            return Ok(whole(1));
        }
        let segments_max = GSO_SEGMENTS_MAX.min(PAYLOAD_BYTES_MAX / segment);
        if self.send_path() == SendPath::Gso && segments_max > 1 {
            let part = &bytes[..bytes.len().min(segments_max * segment)];
            match patiently(|| sys::send_gso(self.as_fd(), to, part, segment, wishes)) {
                Ok(()) => return Ok(whole(part.len().div_ceil(segment))),
                Err(error) if is_gso_refused(&error) => {
                    // A segment larger than the MTU is EINVAL too before Linux 6.14. So GSO is given
                    // up only if the same datagrams leave without it.
                    let parts = part.chunks(segment).map(|bytes| (*to, bytes));
                    let count = self.send_each(parts, wishes)?;
                    self.give_up(SendPath::Gso);
                    return Ok(whole(count));
                }
                Err(error) => return Err(error),
            }
        }
        let parts = bytes.chunks(segment).map(|bytes| (*to, bytes));
        Ok(whole(self.send_each(parts, wishes)?))
    }

    /// Sends datagrams one by one, as many as one system call takes; how many went out, at least 1.
    fn send_each<'a>(
        &self,
        mut parts: impl Iterator<Item = (sys::Address, &'a [u8])> + Clone,
        wishes: Wishes,
    ) -> io::Result<usize> {
        if self.send_path() != SendPath::SendTo {
            match patiently(|| sys::send_mmsg(self.as_fd(), parts.clone(), wishes)) {
                Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                    self.give_up(SendPath::SendMmsg);
                }
                result => return result,
            }
        }
        let Some((to, bytes)) = parts.next() else {
            return Ok(0);
        };
        patiently(|| sys::send_to(self.as_fd(), &to, bytes, wishes)).map(|()| 1)
    }

    /// Takes the way out after `path` from now on, unless another thread has already.
    fn give_up(&self, path: SendPath) {
        let next = SendPath::from_u8(path as u8 + 1) as u8;
        if self.shared.send_path.fetch_max(next, Ordering::Relaxed) < next {
            self.shared.fallbacks.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// `to` as this socket's family writes it: an IPv6 socket names IPv4 peers by mapped addresses.
    fn address(&self, to: SocketAddr) -> sys::Address {
        match to {
            SocketAddr::V4(v4) if self.is_v6 => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()).into()
            }
            to => to.into(),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn wait(fd: BorrowedFd<'_>, events: PollFlags, timeout: Duration) -> io::Result<bool> {
    // A timeout that the kernel's type cannot hold is 292 years.
    let timeout = Timespec::try_from(timeout).ok();
    let mut fds = [PollFd::from_borrowed_fd(fd, events)];
    match poll(&mut fds, timeout.as_ref()) {
        Ok(ready) => Ok(ready > 0),
        // The caller has a loop of its own; a signal is as good as a timeout.
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Repeats `call` after a signal, and once after an ICMP error: a socket reports that on the next
/// call, whose own datagram has nothing to do with it.
fn patiently<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut was_refused = false;
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && !was_refused => {
                was_refused = true;
            }
            result => return result,
        }
    }
}

/// True for the errors with which kernels and devices say that they have no GSO: EINVAL before
/// 4.18, EIO without checksum offload, the others from emulated kernels.
fn is_gso_refused(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::EIO | libc::ENOPROTOOPT | libc::EOPNOTSUPP)
    )
}

fn classify(error: io::Error, segment_bytes: usize) -> SendError {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => SendError::WouldBlock,
        Some(libc::ENOBUFS | libc::ENOMEM) => SendError::NoBuffers,
        Some(libc::EMSGSIZE) => SendError::TooLarge { segment_bytes },
        Some(
            libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENETDOWN
            | libc::EADDRNOTAVAIL
            // Firewalls on the way out.
            | libc::EPERM
            | libc::EACCES
            // An address that no datagram can go to (port 0, a family that the socket has not).
            | libc::EINVAL
            | libc::EAFNOSUPPORT
            | libc::EDESTADDRREQ,
        ) => SendError::Unreachable(error),
        _ => SendError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_errors_are_told_apart() {
        let of = |errno| classify(io::Error::from_raw_os_error(errno), 1392);
        assert!(matches!(of(libc::EAGAIN), SendError::WouldBlock));
        assert!(matches!(of(libc::ENOBUFS), SendError::NoBuffers));
        assert!(matches!(
            of(libc::EMSGSIZE),
            SendError::TooLarge {
                segment_bytes: 1392
            }
        ));
        assert!(matches!(of(libc::ECONNREFUSED), SendError::Unreachable(_)));
        assert!(matches!(of(libc::EBADF), SendError::Io(_)));
        for errno in [libc::EINVAL, libc::EIO, libc::ENOPROTOOPT, libc::EOPNOTSUPP] {
            assert!(is_gso_refused(&io::Error::from_raw_os_error(errno)));
        }
        assert!(!is_gso_refused(&io::Error::from_raw_os_error(
            libc::EMSGSIZE
        )));
    }

    #[test]
    fn a_way_out_is_given_up_once_over_all_clones() {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let socket = Socket::bind(loopback, SocketConfig::default()).expect("a free port");
        let clone = socket.try_clone().expect("a file descriptor");
        let before = socket.counters().fallbacks;
        socket.give_up(SendPath::SendMmsg);
        clone.give_up(SendPath::SendMmsg);
        clone.give_up(SendPath::Gso);
        assert_eq!(clone.send_path(), SendPath::SendTo);
        assert_eq!(socket.counters().fallbacks, before + 1);
    }

    #[test]
    fn an_icmp_error_of_an_earlier_datagram_is_passed_over_once() {
        let refused = || io::Error::from_raw_os_error(libc::ECONNREFUSED);
        let mut answers = vec![Ok(7), Err(refused())];
        let sent = patiently(|| answers.pop().expect("two calls"));
        assert_eq!(sent.expect("the second call succeeds"), 7);
        let mut calls = 0;
        let error = patiently(|| -> io::Result<()> {
            calls += 1;
            Err(refused())
        });
        assert_eq!((calls, error.is_err()), (2, true));
    }
}
