//! When a datagram arrived, by the kernel's own stamp (`SO_TIMESTAMPNS`, socket(7)).
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr;

/// Has datagrams stamped as they arrive.
pub fn stamp_arrivals(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads an int of the length given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Receives a datagram into `buffer`: its bytes, and when it arrived, ns of `CLOCK_REALTIME`.
pub fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, u64)> {
    #[repr(C, align(8))]
    struct Control([u8; 64]);
    let mut control = Control([0; 64]);
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: a msghdr is plain data for which all zeros is a value.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    // SAFETY: the header points to a buffer and control bytes of the lengths given, both alive and
    // used by nothing else.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, 0) };
    let bytes = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has set msg_controllen to what it wrote; a message of this level and type
    // holds a timespec (socket(7)).
    let stamp = unsafe {
        let message = libc::CMSG_FIRSTHDR(&header);
        if message.is_null() || (*message).cmsg_type != libc::SCM_TIMESTAMPNS {
            return Err(io::Error::other("the datagram has no stamp"));
        }
        libc::CMSG_DATA(message)
            .cast::<libc::timespec>()
            .read_unaligned()
    };
    let ns = |value: i64| u64::try_from(value).expect("after 1970");
    Ok((bytes, ns(stamp.tv_sec) * 1_000_000_000 + ns(stamp.tv_nsec)))
}
