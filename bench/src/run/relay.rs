//! A link between client and host, on loopback: [`Way`] on real datagrams, one thread for each
//! direction.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use net::clock;
use net::udp::{Datagram, Receiver, Socket, SocketConfig, Wait};
use net::units::Timestamp;
use platform::thread::{Role, RoleThread};

use super::link::{Passed, Path, Way};
use crate::report::Stretch;

/// Datagrams are delivered in groups of so many at most, each when its last one has departed (the
/// last of all is never late), as by a network card that moderates its interrupts: waking the
/// client for each would take the encoder, which shares the machine here, milliseconds a picture.
/// Slices that end within a group look up to 0.8 ms late at 100 Mbit/s; whole frames do not.
const GROUP: usize = 8;
/// A group is no longer than this, or a slow line would seem to deliver in bursts: eight full
/// datagrams at 100 Mbit/s.
const GROUP_TIME_MAX: Duration = Duration::from_millis(1);
/// A gap of this ends a group: what comes after it left later, and nothing waits for it.
const GROUP_GAP: Duration = Duration::from_micros(250);
/// How long an idle thread sleeps before it looks whether it is still wanted.
const PATIENCE: Duration = Duration::from_millis(20);
/// The threads look every [`PATIENCE`].
const JOIN_TIMEOUT: Duration = Duration::from_secs(1);

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
    lost: AtomicU64,
    /// Longest wait for the line since it was last asked, µs.
    queue_us_max: AtomicU64,
    /// When the clock of steps and outages began; zero: not yet.
    begun_ns: AtomicU64,
    /// How long is measured from then on.
    time_ns: AtomicU64,
    ended: AtomicBool,
    /// What was measured of the line to the client, when its thread has ended.
    stretches: Mutex<Vec<Stretch>>,
}

impl Relay {
    /// Starts a relay to `host` on a free loopback port.
    ///
    /// # Errors
    /// The system's, if there are no sockets or threads.
    pub fn start(host: SocketAddr, path: &Path) -> io::Result<Self> {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let near = Socket::bind(loopback, SocketConfig::default())?;
        let far = Socket::bind(loopback, SocketConfig::default())?;
        let address = near.local_addr()?;
        let shared = Arc::new(Shared::default());
        // Datagrams of the client are few: each is delivered by itself.
        let up = Direction {
            from: near.try_clone()?,
            to: far.try_clone()?,
            host: Some(host),
            way: path.up(),
            group: 1,
            queue: VecDeque::new(),
            spare: Vec::new(),
            shared: Arc::clone(&shared),
        };
        let down = Direction {
            from: far,
            to: near,
            host: None,
            way: path.down(),
            group: GROUP,
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

    /// Starts the clock of steps and outages; from `at` on the line is measured for `time`.
    pub fn begin(&self, at: Timestamp, time: Duration) {
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.shared.time_ns.store(time_ns, Ordering::Relaxed);
        self.shared.begun_ns.store(at.as_ns(), Ordering::Release);
    }

    /// Ends the relay; what was measured of the line to the client.
    #[must_use]
    pub fn finish(mut self) -> Vec<Stretch> {
        self.end();
        let stretches = self.shared.stretches.lock();
        std::mem::take(&mut *stretches.unwrap_or_else(PoisonError::into_inner))
    }

    /// Datagrams that found the queue full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Datagrams lost on purpose, by loss and outage, both directions.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// The longest that a datagram to the client had to wait for the line since the last call, its
    /// own time on it included, µs.
    #[must_use]
    pub fn take_queue_us_max(&self) -> u64 {
        self.shared.queue_us_max.swap(0, Ordering::Relaxed)
    }

    fn end(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            if let Err(error) = thread.join_within(JOIN_TIMEOUT) {
                log::error!("{error}");
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn client(&self) -> Option<SocketAddr> {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_client(&self, from: SocketAddr) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(from);
    }

    /// When the datagram arrives, if it does.
    fn count(&self, now: Timestamp, passed: Passed) -> Option<Timestamp> {
        match passed {
            Passed::Arrives { departure, arrival } => {
                let waited = departure.since(now).as_micros();
                let waited = u64::try_from(waited).unwrap_or(u64::MAX);
                self.queue_us_max.fetch_max(waited, Ordering::Relaxed);
                return Some(arrival);
            }
            Passed::Lost => self.lost.fetch_add(1, Ordering::Relaxed),
            Passed::QueueFull => self.dropped.fetch_add(1, Ordering::Relaxed),
        };
        None
    }
}

/// One direction: what comes, when it is due.
struct Direction {
    from: Socket,
    to: Socket,
    /// Where it goes; `None`: to the client, whoever that is.
    host: Option<SocketAddr>,
    way: Way,
    /// Datagrams that are delivered together.
    group: usize,
    /// In the order of arrival.
    queue: VecDeque<(Timestamp, Vec<u8>)>,
    /// Buffers of datagrams that have left.
    spare: Vec<Vec<u8>>,
    shared: Arc<Shared>,
}

impl Direction {
    fn run(mut self) {
        self.pass_on();
        // Only one of the directions has a line.
        let measured = self.way.stretches();
        if !measured.is_empty() {
            let stretches = self.shared.stretches.lock();
            *stretches.unwrap_or_else(PoisonError::into_inner) = measured;
        }
    }

    fn pass_on(&mut self) {
        let mut receiver = Receiver::new();
        while !self.shared.has_ended() {
            let wait = match self.next_delivery() {
                None => Wait::UpTo(PATIENCE),
                Some(arrival) => {
                    let left = arrival.since(clock::now());
                    if left.is_zero() {
                        Wait::No
                    } else {
                        Wait::UpTo(left)
                    }
                }
            };
            if let Err(error) = receiver.recv(&self.from, wait) {
                log::error!("the relay cannot receive: {error}");
                return;
            }
            let begun_ns = self.shared.begun_ns.load(Ordering::Acquire);
            if begun_ns > 0 {
                let time_ns = self.shared.time_ns.load(Ordering::Relaxed);
                let time = Duration::from_nanos(time_ns);
                self.way.begin(Timestamp::from_ns(begun_ns), time);
            }
            let now = clock::now();
            for (bytes, from) in receiver.datagrams() {
                if self.host.is_some() {
                    self.shared.set_client(from);
                }
                let passed = self.way.pass(now, bytes.len());
                let Some(arrival) = self.shared.count(now, passed) else {
                    continue;
                };
                let mut buffer = self.spare.pop().unwrap_or_default();
                buffer.clear();
                buffer.extend_from_slice(bytes);
                self.queue.push_back((arrival, buffer));
            }
            self.send_due();
        }
    }

    /// When the next group is complete, if anything waits.
    fn next_delivery(&self) -> Option<Timestamp> {
        let arrivals = self.queue.iter().take(self.group).map(|queued| queued.0);
        group_end(arrivals)
    }

    fn send_due(&mut self) {
        let now = clock::now();
        if self.next_delivery().is_none_or(|due| due > now) {
            return;
        }
        while let Some((_, bytes)) = self.queue.pop_front_if(|(arrival, _)| *arrival <= now) {
            if let Some(to) = self.host.or_else(|| self.shared.client()) {
                send(&self.to, to, &bytes);
            }
            self.spare.push(bytes);
        }
    }
}

/// The arrival of the last of the group that the first of these begins.
fn group_end(mut arrivals: impl Iterator<Item = Timestamp>) -> Option<Timestamp> {
    let first = arrivals.next()?;
    let mut last = first;
    for arrival in arrivals {
        if arrival.since(last) > GROUP_GAP || arrival.since(first) > GROUP_TIME_MAX {
            break;
        }
        last = arrival;
    }
    Some(last)
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

    #[test]
    fn a_group_ends_at_a_gap_and_after_its_time() {
        let end = |arrivals_us: &[u64]| {
            let arrivals = arrivals_us.iter().map(|us| Timestamp::from_ns(us * 1000));
            group_end(arrivals).map(|end| end.as_ns() / 1000)
        };
        assert_eq!(end(&[]), None);
        assert_eq!(end(&[100]), Some(100));
        assert_eq!(end(&[100, 217, 334, 900]), Some(334), "a gap");
        assert_eq!(end(&[0, 240, 480, 720, 960, 1200]), Some(960), "too long");
        assert_eq!(end(&[0, 1166, 2332]), Some(0), "10 Mbit/s");
    }

    #[test]
    fn both_directions_pass_real_datagrams() {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let open = || Socket::bind(loopback, SocketConfig::default()).expect("loopback");
        let (host, client) = (open(), open());
        let path = "100M,delay=1ms".parse().expect("a path");
        let relay = Relay::start(host.local_addr().expect("bound"), &path).expect("starts");
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
        assert_eq!((relay.dropped(), relay.lost()), (0, 0));
        assert!(relay.take_queue_us_max() > 0 && relay.take_queue_us_max() == 0);
    }
}
