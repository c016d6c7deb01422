//! The system calls: socket options, `sendmsg`, `sendmmsg`, `recvmmsg`, the error queue. All arrays
//! that the kernel reads or writes live on the stack of the call.

#![allow(unsafe_code)]

use std::io;
use std::mem::{MaybeUninit, size_of, size_of_val, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_int, c_void, cmsghdr, iovec, mmsghdr, msghdr, sockaddr_in, sockaddr_in6, socklen_t};

use super::mark::Dscp;

/// Messages of one `recvmmsg`: 16 merged receives are up to a thousand datagrams.
pub(super) const MESSAGES_MAX: usize = 16;
/// Messages of one `sendmmsg`: 64 headers are 5 KB of stack, and more gains nothing.
const SEND_MESSAGES_MAX: usize = 64;
/// Room for three control messages of up to 8 bytes; `CMSG_SPACE(8)` is 24 on 64-bit machines.
const CONTROL_BYTES: usize = 72;
/// Room for what comes with an error: `struct sock_extended_err` and an address, 16 and 28 bytes.
const ERROR_CONTROL_BYTES: usize = 128;
/// `ee_origin` and one `ee_code` of departures that were missed (linux/errqueue.h).
const SO_EE_ORIGIN_TXTIME: u8 = 6;
const SO_EE_CODE_TXTIME_MISSED: u8 = 2;

/// A socket address as the kernel reads it.
#[derive(Clone, Copy)]
pub(super) enum Address {
    V4(sockaddr_in),
    V6(sockaddr_in6),
}

impl Address {
    /// The datagrams are of IPv6: an IPv4 peer of an IPv6 socket has a mapped address.
    fn is_v6(&self) -> bool {
        match self {
            Self::V4(_) => false,
            Self::V6(v6) => Ipv6Addr::from(v6.sin6_addr.s6_addr)
                .to_ipv4_mapped()
                .is_none(),
        }
    }

    fn name(&self) -> (*mut c_void, socklen_t) {
        // Both sizes fit: they are 16 and 28.
        match self {
            Self::V4(v4) => (
                ptr::from_ref(v4).cast_mut().cast(),
                size_of_val(v4) as socklen_t,
            ),
            Self::V6(v6) => (
                ptr::from_ref(v6).cast_mut().cast(),
                size_of_val(v6) as socklen_t,
            ),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Self::V4(sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(v6) => Self::V6(sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            }),
        }
    }
}

/// Makes every datagram carry "do not fragment" (IPv6: be refused instead of fragmented), without
/// following what ICMP says about the path: a forged "too big" must not end a session.
pub(super) fn set_never_fragment(fd: BorrowedFd<'_>, is_v6: bool) -> io::Result<()> {
    if is_v6 {
        // A dual-stack socket also sends IPv4. One that is IPv6 only refuses this option.
        let _v4_of_dual_stack = set(
            fd,
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_PROBE,
        );
        set(
            fd,
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_PROBE,
        )
    } else {
        set(
            fd,
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_PROBE,
        )
    }
}

/// Asks for buffer sizes: beyond the system's limit where that is permitted (CAP_NET_ADMIN), else
/// up to it.
pub(super) fn ask_buffers(fd: BorrowedFd<'_>, send_bytes: usize, receive_bytes: usize) {
    for (force, plain, bytes) in [
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, send_bytes),
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, receive_bytes),
    ] {
        let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
        if set(fd, libc::SOL_SOCKET, force, bytes).is_err() {
            // Cannot fail for a socket; too large a wish is cut by the kernel.
            let _cut = set(fd, libc::SOL_SOCKET, plain, bytes);
        }
    }
}

/// Send and receive buffer granted, bytes as the kernel counts.
pub(super) fn buffers(fd: BorrowedFd<'_>) -> (usize, usize) {
    let bytes = |name| {
        get(fd, libc::SOL_SOCKET, name)
            .ok()
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(0)
    };
    (bytes(libc::SO_SNDBUF), bytes(libc::SO_RCVBUF))
}

/// True if the kernel knows `UDP_SEGMENT`.
pub(super) fn knows_gso(fd: BorrowedFd<'_>) -> bool {
    get(fd, libc::SOL_UDP, libc::UDP_SEGMENT).is_ok()
}

/// True if the kernel knows `UDP_GRO`. Reading the option came with setting it.
pub(super) fn knows_gro(fd: BorrowedFd<'_>) -> bool {
    get(fd, libc::SOL_UDP, libc::UDP_GRO).is_ok()
}

/// Lets the kernel hand up merged datagrams.
pub(super) fn enable_gro(fd: BorrowedFd<'_>) -> io::Result<()> {
    set(fd, libc::SOL_UDP, libc::UDP_GRO, 1)
}

/// Makes the socket take departure times on `clock`, and report the ones that were missed
/// (`SO_TXTIME`, linux/net_tstamp.h).
pub(super) fn enable_txtime(fd: BorrowedFd<'_>, clock: c_int) -> io::Result<()> {
    let wish = libc::sock_txtime {
        clockid: clock,
        flags: libc::SOF_TXTIME_REPORT_ERRORS,
    };
    set(fd, libc::SOL_SOCKET, libc::SO_TXTIME, wish)
}

/// What the kernel is told of datagrams beside their bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct Wishes {
    /// When they leave, of the socket's `SO_TXTIME` clock.
    pub(super) time_ns: Option<u64>,
    /// Their mark.
    pub(super) dscp: Option<Dscp>,
}

/// Sends one datagram.
pub(super) fn send_to(
    fd: BorrowedFd<'_>,
    to: &Address,
    bytes: &[u8],
    wishes: Wishes,
) -> io::Result<()> {
    let mut control = Control::of(wishes, to.is_v6());
    if control.used > 0 {
        return send_message(fd, to, bytes, &mut control);
    }
    let (name, name_bytes) = to.name();
    // SAFETY: the buffer and the address are borrowed for the call and of the lengths given.
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_NOSIGNAL,
            name.cast_const().cast(),
            name_bytes,
        )
    };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Sends `bytes` as datagrams of `segment_bytes` by GSO, all or none.
pub(super) fn send_gso(
    fd: BorrowedFd<'_>,
    to: &Address,
    bytes: &[u8],
    segment_bytes: usize,
    wishes: Wishes,
) -> io::Result<()> {
    let Ok(segment_bytes) = u16::try_from(segment_bytes) else {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    };
    let mut control = Control::of(wishes, to.is_v6());
    control.push(libc::SOL_UDP, libc::UDP_SEGMENT, segment_bytes);
    send_message(fd, to, bytes, &mut control)
}

fn send_message(
    fd: BorrowedFd<'_>,
    to: &Address,
    bytes: &[u8],
    control: &mut Control,
) -> io::Result<()> {
    let mut part = part(bytes);
    let mut header = header(to, &mut part);
    control.attach(&mut header);
    // SAFETY: everything the header points to (buffer, address, control) outlives the call.
    let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &header, libc::MSG_NOSIGNAL) };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Sends up to [`SEND_MESSAGES_MAX`] datagrams by `sendmmsg`; how many went out, at least 1 if there
/// were any.
pub(super) fn send_mmsg<'a>(
    fd: BorrowedFd<'_>,
    datagrams: impl Iterator<Item = (Address, &'a [u8])>,
    wishes: Wishes,
) -> io::Result<usize> {
    // The kernel only reads them, so one is enough for all peers of a family.
    let mut controls = [false, true].map(|is_v6| Control::of(wishes, is_v6));
    let mut names = [MaybeUninit::<Address>::uninit(); SEND_MESSAGES_MAX];
    let mut parts = [MaybeUninit::<iovec>::uninit(); SEND_MESSAGES_MAX];
    let mut headers = [MaybeUninit::<mmsghdr>::uninit(); SEND_MESSAGES_MAX];
    let mut count = 0;
    let slots = names.iter_mut().zip(&mut parts).zip(&mut headers);
    for (((name, part_slot), slot), (to, bytes)) in slots.zip(datagrams) {
        let mut msg_hdr = header(name.write(to), part_slot.write(part(bytes)));
        controls[usize::from(to.is_v6())].attach(&mut msg_hdr);
        slot.write(mmsghdr {
            msg_hdr,
            msg_len: 0,
        });
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    // SAFETY: the first `count` headers were written above; what they point to (`names`, `parts`,
    // `controls`, the datagrams) outlives the call and is not moved.
    let sent = unsafe {
        libc::sendmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr().cast(),
            count,
            libc::MSG_NOSIGNAL as _,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// What one message of `recvmmsg` was.
#[derive(Clone, Copy)]
pub(super) struct Message {
    /// Bytes received, of all merged datagrams.
    pub(super) bytes: usize,
    /// Bytes of each of them but the last.
    pub(super) segment_bytes: usize,
    /// The sender; `None` for a family that is not IP.
    pub(super) from: Option<SocketAddr>,
    /// The buffer was too small: what is in it is not a datagram.
    pub(super) truncated: bool,
}

impl Message {
    pub(super) const EMPTY: Self = Self {
        bytes: 0,
        segment_bytes: 0,
        from: None,
        truncated: false,
    };

    /// Datagrams in it that can be used. Empty ones carry nothing and are left out.
    pub(super) fn datagrams(&self) -> usize {
        if self.truncated || self.from.is_none() {
            return 0;
        }
        self.bytes.div_ceil(self.segment_bytes.max(1))
    }
}

/// Receives up to [`MESSAGES_MAX`] messages without waiting, message `i` into the `i`th
/// `buffer_bytes` of `buffers`; how many came.
pub(super) fn receive(
    fd: BorrowedFd<'_>,
    buffers: &mut [u8],
    buffer_bytes: usize,
    messages: &mut [Message; MESSAGES_MAX],
) -> io::Result<usize> {
    // SAFETY: all of these are plain data for which all zeros is a value.
    let mut names: [sockaddr_in6; MESSAGES_MAX] = unsafe { zeroed() };
    let mut controls = [const { Control::EMPTY }; MESSAGES_MAX];
    // SAFETY: as above.
    let mut parts: [iovec; MESSAGES_MAX] = unsafe { zeroed() };
    // SAFETY: as above.
    let mut headers: [mmsghdr; MESSAGES_MAX] = unsafe { zeroed() };
    let mut count = 0;
    for (i, buffer) in buffers
        .chunks_exact_mut(buffer_bytes.max(1))
        .take(MESSAGES_MAX)
        .enumerate()
    {
        parts[i] = iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        let header = &mut headers[i].msg_hdr;
        header.msg_name = ptr::from_mut(&mut names[i]).cast();
        header.msg_namelen = size_of::<sockaddr_in6>() as socklen_t;
        header.msg_iov = &mut parts[i];
        header.msg_iovlen = 1;
        header.msg_control = controls[i].bytes.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_BYTES as _;
        count += 1;
    }
    // SAFETY: the first `count` headers point to names, buffers and control bytes of the lengths
    // given, all of which outlive the call and are used by nothing else.
    let received = unsafe {
        libc::recvmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT as _,
            ptr::null_mut(),
        )
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    for i in 0..received {
        let header = &headers[i].msg_hdr;
        let bytes = headers[i].msg_len as usize;
        let segment_bytes = merged_segment_bytes(header).unwrap_or(bytes);
        let truncated = header.msg_flags & libc::MSG_TRUNC != 0;
        messages[i] = Message {
            bytes,
            segment_bytes,
            from: sender(&names[i]),
            truncated,
        };
    }
    Ok(received)
}

/// What the error queue says of a datagram that was not sent at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TxtimeError {
    /// Its time was over when its turn came.
    Missed,
    /// Its time was refused.
    Invalid,
}

/// Takes one message off the error queue: `Ok(None)` if it was about something else, and the error
/// `WouldBlock` if there is none.
pub(super) fn take_error(fd: BorrowedFd<'_>) -> io::Result<Option<TxtimeError>> {
    #[repr(C, align(8))]
    struct ErrorControl([u8; ERROR_CONTROL_BYTES]);
    let mut control = ErrorControl([0; ERROR_CONTROL_BYTES]);
    // SAFETY: a msghdr is plain data for which all zeros is a value.
    let mut header: msghdr = unsafe { zeroed() };
    // The datagram itself comes too, and is cut to nothing.
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = ERROR_CONTROL_BYTES as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the header points to control bytes of the length given, alive and used by nothing else.
    if unsafe { libc::recvmsg(fd.as_raw_fd(), &mut header, flags) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(extended_error(&header)
        .filter(|error| error.ee_origin == SO_EE_ORIGIN_TXTIME)
        .map(|error| match error.ee_code {
            SO_EE_CODE_TXTIME_MISSED => TxtimeError::Missed,
            _ => TxtimeError::Invalid,
        }))
}

fn extended_error(header: &msghdr) -> Option<libc::sock_extended_err> {
    // SAFETY: the kernel has set msg_controllen to what it wrote into the control bytes, which are
    // alive and aligned; CMSG_NXTHDR stays within them, and the data of a message whose length says
    // so are a sock_extended_err, which is plain data.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            let kind = ((*message).cmsg_level, (*message).cmsg_type);
            let is_error = kind == (libc::SOL_IP, libc::IP_RECVERR)
                || kind == (libc::SOL_IPV6, libc::IPV6_RECVERR);
            let bytes = libc::CMSG_LEN(size_of::<libc::sock_extended_err>() as u32) as usize;
            if is_error && (*message).cmsg_len as usize >= bytes {
                let error = libc::CMSG_DATA(message).cast::<libc::sock_extended_err>();
                return Some(error.read_unaligned());
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}

/// Control bytes, aligned as the kernel reads and writes them.
#[repr(C, align(8))]
struct Control {
    bytes: [u8; CONTROL_BYTES],
    used: usize,
}

impl Control {
    const EMPTY: Self = Self {
        bytes: [0; CONTROL_BYTES],
        used: 0,
    };

    /// With what is wished of datagrams to a peer of this family.
    fn of(wishes: Wishes, is_v6: bool) -> Self {
        let mut this = Self::EMPTY;
        if let Some(time_ns) = wishes.time_ns {
            this.push(libc::SOL_SOCKET, libc::SCM_TXTIME, time_ns);
        }
        if let Some(dscp) = wishes.dscp {
            let class = c_int::from(dscp.traffic_class());
            match is_v6 {
                true => this.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, class),
                false => this.push(libc::IPPROTO_IP, libc::IP_TOS, class),
            }
        }
        this
    }

    /// Adds a message.
    fn push<T: Copy>(&mut self, level: c_int, kind: c_int, value: T) {
        const { assert!(size_of::<T>() <= 8, "three of them must fit") };
        // SAFETY: pure arithmetic.
        let (space, len) = unsafe {
            let bytes = size_of::<T>() as u32;
            (libc::CMSG_SPACE(bytes) as usize, libc::CMSG_LEN(bytes))
        };
        assert!(self.used + space <= CONTROL_BYTES, "no sender has four");
        // SAFETY: a message of `space` bytes fits at `used`, as was just asserted, and `used` is a
        // sum of CMSG_SPACEs, which are multiples of a cmsghdr's alignment, as the bytes' start is.
        unsafe {
            let message = self.bytes.as_mut_ptr().add(self.used).cast::<cmsghdr>();
            (*message).cmsg_level = level;
            (*message).cmsg_type = kind;
            (*message).cmsg_len = len as _;
            libc::CMSG_DATA(message).cast::<T>().write_unaligned(value);
        }
        self.used += space;
    }

    /// Makes `header` point to the messages, if there are any.
    fn attach(&mut self, header: &mut msghdr) {
        if self.used > 0 {
            header.msg_control = self.bytes.as_mut_ptr().cast();
            header.msg_controllen = self.used as _;
        }
    }
}

fn part(bytes: &[u8]) -> iovec {
    // The kernel only reads what is sent.
    iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

/// A header of one part without control bytes. It points to its arguments.
fn header(to: &Address, part: &mut iovec) -> msghdr {
    // SAFETY: a msghdr is plain data for which all zeros is a value (and has private padding with
    // some C libraries).
    let mut header: msghdr = unsafe { zeroed() };
    (header.msg_name, header.msg_namelen) = to.name();
    header.msg_iov = part;
    header.msg_iovlen = 1;
    header
}

/// The size of the datagrams that GRO has merged, if it has.
fn merged_segment_bytes(header: &msghdr) -> Option<usize> {
    // SAFETY: the kernel has set msg_controllen to what it wrote into the control bytes, which are
    // alive and aligned; CMSG_NXTHDR stays within them, and the data of a message whose length says
    // so are a c_int.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            let is_gro =
                (*message).cmsg_level == libc::SOL_UDP && (*message).cmsg_type == libc::UDP_GRO;
            if is_gro && (*message).cmsg_len as usize >= libc::CMSG_LEN(4) as usize {
                let bytes = libc::CMSG_DATA(message).cast::<c_int>().read_unaligned();
                return usize::try_from(bytes).ok().filter(|&bytes| bytes > 0);
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}

/// The address in a buffer that is large enough for either family.
fn sender(name: &sockaddr_in6) -> Option<SocketAddr> {
    match c_int::from(name.sin6_family) {
        libc::AF_INET => {
            // SAFETY: a sockaddr_in is smaller than a sockaddr_in6, has no stricter alignment, and
            // is plain data; the family says that the kernel wrote one.
            let v4 = unsafe { *ptr::from_ref(name).cast::<sockaddr_in>() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            let port = u16::from_be(name.sin6_port);
            Some(SocketAddrV6::new(ip, port, name.sin6_flowinfo, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Makes the kernel refuse GSO on a socket for real: datagrams without checksum cannot be cut.
#[cfg(test)]
pub(super) fn make_gso_refused(fd: BorrowedFd<'_>) -> io::Result<()> {
    set(fd, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1)
}

/// Lets a test's socket tell the traffic class of what it receives.
#[cfg(test)]
pub(super) fn tell_class(fd: BorrowedFd<'_>, is_v6: bool) -> io::Result<()> {
    match is_v6 {
        true => set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1),
        false => set(fd, libc::IPPROTO_IP, libc::IP_RECVTOS, 1),
    }
}

/// One datagram's size and traffic class. Waits for it.
#[cfg(test)]
pub(super) fn receive_class(fd: BorrowedFd<'_>) -> io::Result<(usize, Option<u8>)> {
    let (mut bytes, mut control) = ([0u8; 2048], Control::EMPTY);
    let mut part = part(&bytes);
    part.iov_base = bytes.as_mut_ptr().cast();
    // SAFETY: as in [`header`]; no sender's address is asked for.
    let mut header: msghdr = unsafe { zeroed() };
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.bytes.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_BYTES as _;
    // SAFETY: the kernel writes into `bytes` and `control`, which outlive the call, no more than
    // the lengths given.
    let received = unsafe { libc::recvmsg(fd.as_raw_fd(), &mut header, 0) };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: as in [`merged_segment_bytes`]; a TOS is one byte and a traffic class an int, whose
    // first byte in memory it is on little-endian machines.
    let class = unsafe {
        let message = libc::CMSG_FIRSTHDR(&header);
        message.as_ref().map(|it| *libc::CMSG_DATA(it))
    };
    Ok((received, class))
}

/// Sets an option to a plain value, an int mostly.
fn set<T: Copy>(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: T) -> io::Result<()> {
    // SAFETY: the kernel reads the value, which is of the length given.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            ptr::from_ref(&value).cast(),
            size_of::<T>() as socklen_t,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn get(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut value_bytes = size_of::<c_int>() as socklen_t;
    // SAFETY: the kernel writes at most the length given, an int.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            ptr::from_mut(&mut value).cast(),
            &mut value_bytes,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(value)
    }
}
