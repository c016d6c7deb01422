//! UDP on its own: how many datagrams a second a bare sender gives to the kernel on loopback. What
//! the whole of protect, seal and send reaches is held against this.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use net::limits::{DATAGRAM_BYTES_MAX, GSO_SEGMENTS_MAX};
use net::udp::{Receiver, SendError, SendPath, Socket, SocketConfig, Wait};
use platform::thread::{Role, RoleThread};
use serde::Serialize;

/// How long the reader looks for more after the sender has ended.
pub(super) const READER_PATIENCE: Duration = Duration::from_millis(20);
/// A thread has ended its work when it is joined; this is for a machine that is very busy.
pub(super) const JOIN_TIMEOUT: Duration = Duration::from_secs(2);

/// What a bare sender did, datagrams of 1392 bytes.
#[derive(Clone, Debug, Serialize)]
pub struct BareSend {
    /// Datagrams given to the kernel a second.
    pub datagrams_per_s: f64,
    /// The same in Gbit/s of UDP payload.
    pub gbit_per_s: f64,
    /// Share of them that the reader got, 0 to 1. Loopback drops what the reader's buffer cannot
    /// hold.
    pub received_share: f64,
    /// The way out that was used in the end: `gso`, `sendmmsg` or `sendto`.
    pub send_path: &'static str,
    /// True if the reader took merged datagrams.
    pub reader_gro: bool,
    /// How long it ran, s.
    pub seconds: f64,
}

/// Sends batches of 47 datagrams by GSO for `duration`, as fast as the kernel takes them, to a
/// reader thread that drains them. Both threads have the roles, and so the priorities, that the
/// host's sender and the client's receiver have.
///
/// A reader with GRO gets a batch as it was sent: on loopback nobody ever cuts it, and the figure is
/// that of large buffers passed along. Without, the kernel cuts it in the sender's own call, as it
/// does for a network card that cannot: that is the figure to hold a real sender against.
///
/// # Errors
/// The kernel's, if loopback has no sockets.
pub fn bare_gso(duration: Duration, reader_gro: bool) -> io::Result<BareSend> {
    bare(SendPath::Gso, duration, reader_gro)
}

/// The same by another way out.
///
/// # Errors
/// The kernel's, if loopback has no sockets.
pub fn bare(send_path: SendPath, duration: Duration, reader_gro: bool) -> io::Result<BareSend> {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let sender = Socket::bind(
        loopback,
        SocketConfig {
            send_path,
            ..SocketConfig::default()
        },
    )?;
    let reader = Socket::bind(
        loopback,
        SocketConfig {
            gro: reader_gro,
            ..Default::default()
        },
    )?;
    let to = reader.local_addr()?;
    let reader_gro = reader.has_gro();
    let reading = Reading::start(reader)?;
    let sending = platform::thread::spawn(Role::Send, "bare-send", move || {
        send_for(&sender, to, duration).map(|sent| (sent, sender.send_path()))
    })?;
    let sent = sending.join_within(duration + JOIN_TIMEOUT);
    let received = reading.finish()?;
    let ((datagrams, seconds), send_path) = sent.map_err(io::Error::other)??;
    let datagrams_per_s = datagrams as f64 / seconds;
    Ok(BareSend {
        datagrams_per_s,
        gbit_per_s: datagrams_per_s * DATAGRAM_BYTES_MAX as f64 * 8e-9,
        received_share: received as f64 / (datagrams as f64).max(1.0),
        send_path: match send_path {
            SendPath::Gso => "gso",
            SendPath::SendMmsg => "sendmmsg",
            SendPath::SendTo => "sendto",
        },
        reader_gro,
        seconds,
    })
}

/// Datagrams sent, and the time that took in s.
fn send_for(socket: &Socket, to: SocketAddr, duration: Duration) -> io::Result<(usize, f64)> {
    let batch = vec![0x5A; GSO_SEGMENTS_MAX * DATAGRAM_BYTES_MAX];
    let begin = Instant::now();
    let mut datagrams = 0;
    loop {
        datagrams += send_all(socket, to, &batch, DATAGRAM_BYTES_MAX)?;
        let elapsed = begin.elapsed();
        if elapsed >= duration {
            return Ok((datagrams, elapsed.as_secs_f64()));
        }
    }
}

/// Sends all of a batch, however long the kernel takes. Returns its number of datagrams.
pub(super) fn send_all(
    socket: &Socket,
    to: SocketAddr,
    batch: &[u8],
    segment_bytes: usize,
) -> io::Result<usize> {
    let (mut datagrams, mut bytes) = (0, 0);
    while bytes < batch.len() {
        match socket.send_segments(to, &batch[bytes..], segment_bytes) {
            Ok(sent) => {
                datagrams += sent.datagrams;
                bytes += sent.bytes;
            }
            Err(SendError::WouldBlock) => {
                socket.wait_writable(READER_PATIENCE)?;
            }
            Err(SendError::Io(error)) => return Err(error),
            Err(other) => return Err(io::Error::other(other)),
        }
    }
    Ok(datagrams)
}

/// A thread that drains a socket, with the priority that a client's receiver has.
pub(super) struct Reading {
    ended: Arc<AtomicBool>,
    thread: RoleThread<io::Result<usize>>,
}

impl Reading {
    pub(super) fn start(socket: Socket) -> io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let is_ended = Arc::clone(&ended);
        let thread = platform::thread::spawn(Role::Receive, "bench-read", move || {
            drain(&socket, &is_ended)
        })?;
        Ok(Self { ended, thread })
    }

    /// Datagrams received in all, once the sender has ended.
    pub(super) fn finish(self) -> io::Result<usize> {
        self.ended.store(true, Ordering::Release);
        self.thread
            .join_within(JOIN_TIMEOUT)
            .map_err(io::Error::other)?
    }
}

/// Datagrams received until the sender has ended and nothing is left.
fn drain(socket: &Socket, ended: &AtomicBool) -> io::Result<usize> {
    let mut receiver = Receiver::new();
    let mut datagrams = 0;
    loop {
        // Read before the socket is: what was sent before the end is then still found.
        let was_ended = ended.load(Ordering::Acquire);
        match receiver.recv(socket, Wait::UpTo(READER_PATIENCE))? {
            0 if was_ended => return Ok(datagrams),
            more => datagrams += more,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_out_sends_and_is_received() {
        for send_path in [SendPath::Gso, SendPath::SendMmsg, SendPath::SendTo] {
            for reader_gro in [true, false] {
                let row = bare(send_path, Duration::from_millis(1), reader_gro);
                let row = row.expect("loopback has sockets");
                assert!(
                    row.datagrams_per_s > 0.0 && row.received_share > 0.0,
                    "{row:?}"
                );
            }
        }
    }
}
