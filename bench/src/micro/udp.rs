//! UDP on its own: how many datagrams a second a bare sender gives to the kernel on loopback. What
//! the whole of protect, seal and send reaches is held against this.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use net::limits::{DATAGRAM_BYTES_MAX, GSO_SEGMENTS_MAX};
use net::udp::{Receiver, SendError, SendPath, Socket, SocketConfig, Wait};
use platform::thread::{Role, RoleThread};
use serde::Serialize;

/// How long a reader that found nothing waits before it looks again. At a million datagrams a second
/// 50 come in that time, a third of what a socket holds without privileges.
const READER_NAP: Duration = Duration::from_micros(50);
/// How long the reader looks for more after the sender has ended.
pub(super) const READER_PATIENCE: Duration = Duration::from_millis(20);
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// A thread has ended its work when it is joined; this is for a machine that is very busy.
pub(super) const JOIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Who reads the socket that a sender is measured against.
///
/// A reader costs about as much CPU for each datagram as its sender, and a real host's reader is
/// another machine. Where all share two cores, it is woken as rarely as a network card interrupts
/// (every 50 µs): woken for each batch, it would take the core from the stages that make the next
/// one, but not from a bare sender, which has the next one ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reader {
    /// Nobody: the kernel cuts each batch in the sender's own call, as it does for a network card
    /// that cannot, and drops what the socket has no room for. The sender alone.
    None,
    /// A thread that takes one datagram as one. The cutting is as above.
    Plain,
    /// A thread that takes merged datagrams: on loopback nobody ever cuts a batch then, and the
    /// figure is that of large buffers passed along.
    Gro,
}

/// Threads that are busy in the stages' measurement with a reader: feeder, protect, send, reader.
const BUSY_THREADS: usize = 4;

impl Reader {
    /// Who reads where the budget is held, on a machine with so many cores.
    ///
    /// A plain reader if there is a core for each thread. Without, a bare sender and its reader
    /// have two cores to themselves and the stages must share theirs with a reader, which then
    /// measures how few cores there are: nobody reads. (Stages over bare: two cores of a Zen 4
    /// 0.46 to 0.60 with a reader and 0.77 to 0.85 without; sixteen of a Xeon 0.90 to 0.93 and
    /// 0.50 to 0.54, where a bare sender that nobody reads gives 3.3 million a second to a full
    /// socket and one thread seals 1.5 to 1.9 million.)
    #[must_use]
    pub const fn of_budget(cores: usize) -> Self {
        if cores >= BUSY_THREADS {
            Self::Plain
        } else {
            Self::None
        }
    }
}

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
    /// Who read them.
    pub reader: Reader,
    /// How long it ran, s.
    pub seconds: f64,
}

/// Sends batches of 47 datagrams by GSO for `duration`, as fast as the kernel takes them. Sender
/// and reader have the roles, and so the priorities, that the host's sender and the client's
/// receiver have.
///
/// # Errors
/// The kernel's, if loopback has no sockets.
pub fn bare_gso(duration: Duration, reader: Reader) -> io::Result<BareSend> {
    bare(SendPath::Gso, duration, reader)
}

/// The same by another way out.
///
/// # Errors
/// The kernel's, if loopback has no sockets.
pub fn bare(send_path: SendPath, duration: Duration, reader: Reader) -> io::Result<BareSend> {
    let config = SocketConfig {
        send_path,
        ..SocketConfig::default()
    };
    let sender = Socket::bind(LOOPBACK, config)?;
    let sink = Sink::open(reader)?;
    let to = sink.address();
    let sending = platform::thread::spawn(Role::Send, "bare-send", move || {
        send_for(&sender, to, duration).map(|sent| (sent, sender.send_path()))
    })?;
    let sent = sending.join_within(duration + JOIN_TIMEOUT);
    let received = sink.close()?;
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
        reader,
        seconds,
    })
}

/// The other end of a measurement, open for as long as it lasts.
pub(super) struct Sink {
    address: SocketAddr,
    end: SinkEnd,
}

enum SinkEnd {
    /// Held, so that the port is open.
    Unread {
        _socket: Socket,
    },
    Read(Reading),
}

impl Sink {
    pub(super) fn open(reader: Reader) -> io::Result<Self> {
        let config = SocketConfig {
            gro: reader == Reader::Gro,
            ..SocketConfig::default()
        };
        let socket = Socket::bind(LOOPBACK, config)?;
        let address = socket.local_addr()?;
        let end = match reader {
            Reader::None => SinkEnd::Unread { _socket: socket },
            Reader::Plain | Reader::Gro => SinkEnd::Read(Reading::start(socket)?),
        };
        Ok(Self { address, end })
    }

    /// Where to send.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Datagrams received in all, once the sender has ended.
    pub(super) fn close(self) -> io::Result<usize> {
        match self.end {
            SinkEnd::Unread { .. } => Ok(0),
            SinkEnd::Read(reading) => reading.finish(),
        }
    }
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
struct Reading {
    ended: Arc<AtomicBool>,
    thread: RoleThread<io::Result<usize>>,
}

impl Reading {
    fn start(socket: Socket) -> io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let is_ended = Arc::clone(&ended);
        let thread = platform::thread::spawn(Role::Receive, "bench-read", move || {
            drain(&socket, &is_ended)
        })?;
        Ok(Self { ended, thread })
    }

    /// Datagrams received in all, once the sender has ended.
    fn finish(self) -> io::Result<usize> {
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
        match receiver.recv(socket, Wait::No)? {
            0 if was_ended => return Ok(datagrams),
            0 => std::thread::sleep(READER_NAP),
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
            for reader in [Reader::None, Reader::Plain, Reader::Gro] {
                let row = bare(send_path, Duration::from_millis(1), reader);
                let row = row.expect("loopback has sockets");
                assert!(row.datagrams_per_s > 0.0, "{row:?}");
                assert_eq!(row.received_share > 0.0, reader != Reader::None, "{row:?}");
            }
        }
    }
}
