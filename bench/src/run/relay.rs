//! A link of a given rate between client and host, on loopback: what the host sends to the client
//! leaves as a serial line would let it, what the client sends passes at once.
//!
//! [`Line`] is the arithmetic, without clock or socket: a datagram departs when the line has put
//! its last bit out, and the line begins with it when it is done with the one before. What would
//! wait longer than [`QUEUE_TIME_MAX`] is dropped, as a full queue does. [`Relay`] does this to
//! real datagrams, one thread for each direction.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use net::clock;
use net::udp::{Datagram, Receiver, Socket, SocketConfig, Wait};
use net::units::{BitsPerSecond, Timestamp};
use platform::thread::{Role, RoleThread};

/// What a datagram takes on the line beside its payload, bytes: IPv4 and UDP headers (28),
/// Ethernet header and checksum (18), preamble and gap (20), IEEE 802.3 clause 4.
const OVERHEAD_BYTES: usize = 28 + 18 + 20;
/// What waits longer than this is dropped: several pictures, so that nothing is at any sane rate.
const QUEUE_TIME_MAX: Duration = Duration::from_millis(500);
/// Datagrams are delivered in groups of so many at most, each when its last one has departed (the
/// last of all is never late), as by a network card that moderates its interrupts: waking the
/// client for each would take the encoder, which shares the machine here, milliseconds a picture.
/// Slices that end within a group look up to 0.8 ms late at 100 Mbit/s; whole frames do not.
const GROUP: usize = 8;
/// How long an idle thread sleeps before it looks whether it is still wanted.
const PATIENCE: Duration = Duration::from_millis(20);
/// The threads look every [`PATIENCE`].
const JOIN_TIMEOUT: Duration = Duration::from_secs(1);

/// A serial line and its queue.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    rate: BitsPerSecond,
    busy_until: Timestamp,
}

impl Line {
    /// An idle line.
    #[must_use]
    pub const fn new(rate: BitsPerSecond) -> Self {
        Self {
            rate,
            busy_until: Timestamp::ZERO,
        }
    }

    /// When the last bit of a datagram is out that came at `now`; `None` if the queue is full.
    pub fn departure(&mut self, now: Timestamp, payload_bytes: usize) -> Option<Timestamp> {
        if self.busy_until.since(now) > QUEUE_TIME_MAX {
            return None;
        }
        let bits = (payload_bytes + OVERHEAD_BYTES) as u64 * 8;
        let time = Duration::from_nanos(bits * 1_000_000_000 / self.rate.0.max(1));
        self.busy_until = self.busy_until.max(now) + time;
        Some(self.busy_until)
    }
}

/// A running relay. Dropping it ends it.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<RoleThread<()>>,
}

#[derive(Default)]
struct Shared {
    /// Whoever sent to us last.
    client: Mutex<Option<SocketAddr>>,
    dropped: AtomicU64,
    ended: AtomicBool,
}

impl Relay {
    /// Starts a relay to `host` on a free loopback port.
    ///
    /// # Errors
    /// The system's, if there are no sockets or threads.
    pub fn start(host: SocketAddr, rate: BitsPerSecond) -> io::Result<Self> {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let near = Socket::bind(loopback, SocketConfig::default())?;
        let far = Socket::bind(loopback, SocketConfig::default())?;
        let address = near.local_addr()?;
        let shared = Arc::new(Shared::default());
        let up = Up {
            near: near.try_clone()?,
            far: far.try_clone()?,
            host,
            shared: Arc::clone(&shared),
        };
        let down = Down {
            near,
            far,
            line: Line::new(rate),
            queue: VecDeque::new(),
            spare: Vec::new(),
            shared: Arc::clone(&shared),
        };
        let mut relay = Self {
            address,
            shared,
            threads: Vec::new(),
        };
        let role = role();
        relay
            .threads
            .push(platform::thread::spawn(role, "relay-up", move || up.run())?);
        relay
            .threads
            .push(platform::thread::spawn(role, "relay-down", move || {
                down.run()
            })?);
        Ok(relay)
    }

    /// Where the client connects to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Datagrams that found the queue full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            if let Err(error) = thread.join_within(JOIN_TIMEOUT) {
                log::error!("{error}");
            }
        }
    }
}

impl Shared {
    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn client(&self) -> Option<SocketAddr> {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Client to host: at once.
struct Up {
    near: Socket,
    far: Socket,
    host: SocketAddr,
    shared: Arc<Shared>,
}

impl Up {
    fn run(self) {
        let mut receiver = Receiver::new();
        while !self.shared.has_ended() {
            if let Err(error) = receiver.recv(&self.near, Wait::UpTo(PATIENCE)) {
                log::error!("the relay cannot receive from the client: {error}");
                return;
            }
            for (bytes, from) in receiver.datagrams() {
                *self
                    .shared
                    .client
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Some(from);
                send(&self.far, self.host, bytes);
            }
        }
    }
}

/// Host to client: as the line lets it.
struct Down {
    near: Socket,
    far: Socket,
    line: Line,
    /// In the order of departure.
    queue: VecDeque<(Timestamp, Vec<u8>)>,
    /// Buffers of datagrams that have left.
    spare: Vec<Vec<u8>>,
    shared: Arc<Shared>,
}

impl Down {
    fn run(mut self) {
        let mut receiver = Receiver::new();
        while !self.shared.has_ended() {
            let wait = match self.next_delivery() {
                None => Wait::UpTo(PATIENCE),
                Some(departure) => {
                    let left = departure.since(clock::now());
                    if left.is_zero() {
                        Wait::No
                    } else {
                        Wait::UpTo(left)
                    }
                }
            };
            match receiver.recv(&self.far, wait) {
                Ok(_) => {}
                Err(error) => {
                    log::error!("the relay cannot receive from the host: {error}");
                    return;
                }
            }
            let now = clock::now();
            for (bytes, _) in receiver.datagrams() {
                let Some(departure) = self.line.departure(now, bytes.len()) else {
                    self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                let mut buffer = self.spare.pop().unwrap_or_default();
                buffer.clear();
                buffer.extend_from_slice(bytes);
                self.queue.push_back((departure, buffer));
            }
            self.send_due();
        }
    }

    /// When the next group is complete, if anything waits.
    fn next_delivery(&self) -> Option<Timestamp> {
        let last_of_group = self.queue.get(GROUP - 1).or(self.queue.back());
        last_of_group.map(|(departure, _)| *departure)
    }

    fn send_due(&mut self) {
        let now = clock::now();
        if self.next_delivery().is_none_or(|due| due > now) {
            return;
        }
        while let Some((_, bytes)) = self.queue.pop_front_if(|(departure, _)| *departure <= now) {
            if let Some(client) = self.shared.client() {
                send(&self.near, client, &bytes);
            }
            self.spare.push(bytes);
        }
    }
}

/// A wire is held up by no load of the machine, and holds up nobody. On machines whose threads are
/// pinned any core is free for the relay; on small ones it comes before everything but the stages
/// from the encoder on, whose times are measured.
fn role() -> Role {
    if platform::thread::spinning_allowed() {
        Role::Control
    } else {
        Role::Capture
    }
}

/// A datagram that the kernel will not take is lost, as on any link.
fn send(socket: &Socket, to: SocketAddr, bytes: &[u8]) {
    if let Err(error) = socket.send_many(&[Datagram { to, bytes }]) {
        log::debug!("the relay lost a datagram to {to}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: BitsPerSecond = BitsPerSecond(100_000_000);

    fn at_us(us: u64) -> Timestamp {
        Timestamp::from_ns(us * 1000)
    }

    #[test]
    fn a_burst_leaves_at_the_lines_rate() {
        let mut line = Line::new(RATE);
        // 1392 and 66 bytes are 11 664 bits: 116.64 µs.
        for count in 1..=100 {
            let departure = line.departure(at_us(50), 1392).expect("there is room");
            assert_eq!(departure.as_ns(), 50_000 + count * 116_640);
        }
        // A megabit comes out in ten milliseconds, whatever it is cut into.
        let mut line = Line::new(RATE);
        let whole = (0..1000)
            .map(|_| line.departure(at_us(0), 125 - OVERHEAD_BYTES))
            .last();
        assert_eq!(whole.flatten(), Some(at_us(10_000)));
    }

    #[test]
    fn an_idle_line_delays_by_the_datagram_alone() {
        let mut line = Line::new(RATE);
        let own = Duration::from_nanos(116_640);
        for ms in [0, 1, 5, 100] {
            let now = at_us(ms * 1000);
            assert_eq!(line.departure(now, 1392), Some(now + own));
        }
    }

    #[test]
    fn a_full_queue_drops_until_it_has_drained() {
        let mut line = Line::new(RATE);
        let taken = (0..10_000)
            .filter(|_| line.departure(at_us(0), 1392).is_some())
            .count();
        // Half a second of 116.64 µs each, and the one that fills it.
        assert_eq!(taken, 4287);
        assert!(line.departure(at_us(0), 1).is_none());
        assert!(line.departure(at_us(1_000), 1392).is_some());
    }

    #[test]
    fn both_directions_pass_real_datagrams() {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let open = || Socket::bind(loopback, SocketConfig::default()).expect("loopback");
        let (host, client) = (open(), open());
        let relay = Relay::start(host.local_addr().expect("bound"), RATE).expect("starts");
        let mut receiver = Receiver::new();
        let mut take = |socket: &Socket| -> (Vec<u8>, SocketAddr) {
            let patience = Wait::UpTo(Duration::from_secs(20));
            assert!(
                receiver.recv(socket, patience).expect("usable") > 0,
                "nothing came"
            );
            let (bytes, from) = receiver.datagrams().next().expect("counted");
            (bytes.to_vec(), from)
        };
        send(&client, relay.address(), b"up");
        let (bytes, from) = take(&host);
        assert_eq!(bytes, b"up");
        send(&host, from, b"down");
        assert_eq!(take(&client), (b"down".to_vec(), relay.address()));
        assert_eq!(relay.dropped(), 0);
    }
}
