//! Departure times that the kernel keeps (`SO_TXTIME`, linux/net_tstamp.h): a batch is handed over
//! ahead of time, and the queueing discipline of the device lets it go when it is due.
//!
//! The socket option says nothing: every kernel since 4.19 accepts it, and every discipline but
//! two ignores the times and sends at once. So [`timed_queue`] asks which discipline stands at the
//! device by which the peer is reached, and believes two answers:
//!
//! | discipline | clock | a batch leaves | one that is late |
//! |---|---|---|---|
//! | fq (tc-fq(8)) | `CLOCK_MONOTONIC` | at its time, in the order of times | leaves at once |
//! | etf (tc-etf(8)) | `CLOCK_TAI` | from its time until `delta` later | is dropped and reported |
//!
//! With GSO one time holds for the whole buffer, which leaves back to back. What paces must
//! therefore bound the buffer, as [`crate::rate::Pacer::batch_datagrams`] does: a millisecond of the
//! rate, never more than may leave at once, and never more than one buffer holds.
//!
//! fq keeps one line for each pair of addresses and ports. A batch for at once passes those that
//! wait since Linux 6.7; before, it waits for the first of them to be due. Whoever hands over ahead
//! of time should do so by no more than an urgent batch may wait.
//!
//! etf drops whatever carries no time, that of other sockets too, and needs CAP_NET_ADMIN of the
//! sender. It is for networks that were planned for it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI32, AtomicU64};
use std::time::Duration;

use rustix::time::{DynamicClockId, clock_gettime_dynamic};

use super::Socket;
use super::rtnetlink::{self, EtfParameters, Kind, Qdisc};
use super::sys::{self, TxtimeError};
use crate::clock;
use crate::units::Timestamp;

/// Shortest window in which etf must let a packet go, to be used: wake-ups of a busy machine take
/// longer than a few tens of microseconds, and what is late is dropped.
const ETF_DELTA_MIN: Duration = Duration::from_micros(200);
/// Longest, so that pacing still means something.
const ETF_DELTA_MAX: Duration = Duration::from_millis(20);
/// `TC_ETF_DEADLINE_MODE_ON`: packets leave any time before theirs.
const ETF_DEADLINE_MODE: u32 = 1;
/// Most messages that one look at the error queue takes off it: more than the batches of a frame.
const ERRORS_AT_ONCE: usize = 64;
/// No clock's number.
const NO_CLOCK: i32 = -1;

/// A queue that lets packets go at their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimedQueue {
    /// fq, on every queue of the device.
    Fq,
    /// etf.
    Etf {
        /// How much earlier than its time a packet leaves at the earliest.
        delta: Duration,
    },
}

impl TimedQueue {
    /// The discipline's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Fq => "fq",
            Self::Etf { .. } => "etf",
        }
    }

    /// The number of the clock that packets' times are on.
    pub(super) const fn clock(&self) -> i32 {
        match self {
            Self::Fq => libc::CLOCK_MONOTONIC,
            Self::Etf { .. } => libc::CLOCK_TAI,
        }
    }

    /// The time to give a packet that shall not leave before `departure`, ns of [`Self::clock`].
    pub(super) fn packet_time_ns(&self, departure: Timestamp) -> u64 {
        match *self {
            Self::Fq => departure.as_ns(),
            Self::Etf { delta } => {
                // The distance of the clocks moves with leap seconds and steps of the clock.
                let ahead_ns = tai_ns().saturating_sub(clock::now().as_ns());
                (departure + delta).as_ns().saturating_add(ahead_ns)
            }
        }
    }
}

/// Why departure times are not the kernel's to keep on this way.
#[derive(Debug, thiserror::Error)]
pub enum TxtimeRefusal {
    /// The kernel does not tell the way or the queues.
    #[error("the kernel does not say by which queue {to} is reached: {source}")]
    Unknown {
        /// Where to.
        to: IpAddr,
        /// Its answer.
        source: io::Error,
    },
    /// The device's discipline would send at once.
    #[error("{device} has the queue {queue}, which keeps no departure times")]
    Queue {
        /// The device.
        device: String,
        /// Its discipline.
        queue: String,
    },
    /// etf, but not as it would help.
    #[error("the etf queue of {device} {reason}")]
    Etf {
        /// The device.
        device: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The socket option is refused: before Linux 4.19, or etf without CAP_NET_ADMIN.
    #[error("the kernel refuses departure times for {queue}: {source}")]
    Option {
        /// The discipline.
        queue: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// Another peer of this socket is reached by a queue of the other kind.
    #[error("this socket keeps departure times for a queue of another kind than {queue} already")]
    OtherClock {
        /// The discipline.
        queue: &'static str,
    },
}

/// What the devices of this machine can do, for `doctor`.
#[derive(Debug)]
pub struct DeviceQueue {
    /// The device.
    pub device: String,
    /// Its queue, or why not.
    pub queue: Result<TimedQueue, TxtimeRefusal>,
}

/// Packets that etf did not let go, as the error queue has told since the socket was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxtimeErrors {
    /// Too late for their time; a whole GSO buffer counts once.
    pub missed: u64,
    /// Refused because the time was past, or not of the right kind.
    pub invalid: u64,
}

impl Socket {
    /// True if departure times are the kernel's to keep where it can
    /// ([`super::SocketConfig::txtime`]).
    #[must_use]
    pub fn wants_txtime(&self) -> bool {
        self.txtime().is_wanted
    }

    /// The queue that keeps departure times on the way to `to`, made ready for
    /// [`Socket::send_segments_at`]. Asks the kernel a few questions: for the start of a session and
    /// a change of address, not for every batch.
    ///
    /// # Errors
    /// [`TxtimeRefusal`]: why there is none; the sender waits by itself then.
    pub fn timed_queue(&self, to: SocketAddr) -> Result<TimedQueue, TxtimeRefusal> {
        let queue = timed_queue(to)?;
        let clock = queue.clock();
        let set = self
            .txtime()
            .clock
            .compare_exchange(NO_CLOCK, clock, Relaxed, Relaxed);
        if set.is_err_and(|other| other != clock) {
            let queue = queue.name();
            return Err(TxtimeRefusal::OtherClock { queue });
        }
        // Each time: another session's thread may have set the clock and be about to do this.
        sys::enable_txtime(self.as_fd(), clock).map_err(|source| {
            self.txtime().clock.store(NO_CLOCK, Relaxed);
            let queue = queue.name();
            TxtimeRefusal::Option { queue, source }
        })?;
        Ok(queue)
    }

    /// Counts what the error queue says of missed departures, and empties it: until then `poll`
    /// finds the socket ready. Returns how many there were since the last time.
    pub fn take_txtime_errors(&self) -> TxtimeErrors {
        let mut errors = TxtimeErrors::default();
        for _ in 0..ERRORS_AT_ONCE {
            match sys::take_error(self.as_fd()) {
                Ok(Some(TxtimeError::Missed)) => errors.missed += 1,
                Ok(Some(TxtimeError::Invalid)) => errors.invalid += 1,
                Ok(None) => {}
                // Mostly that there are no more; nothing else would be worth more than a count.
                Err(_) => break,
            }
        }
        let state = self.txtime();
        state.missed.fetch_add(errors.missed, Relaxed);
        state.invalid.fetch_add(errors.invalid, Relaxed);
        errors
    }
}

/// What the clones of a socket have in common about departure times.
#[derive(Debug)]
pub(super) struct TxtimeState {
    is_wanted: bool,
    /// A socket has one clock for them; [`NO_CLOCK`] before it was asked for any.
    clock: AtomicI32,
    missed: AtomicU64,
    invalid: AtomicU64,
}

impl TxtimeState {
    pub(super) const fn new(is_wanted: bool) -> Self {
        Self {
            is_wanted,
            clock: AtomicI32::new(NO_CLOCK),
            missed: AtomicU64::new(0),
            invalid: AtomicU64::new(0),
        }
    }

    /// Since the socket was made.
    pub(super) fn errors(&self) -> TxtimeErrors {
        TxtimeErrors {
            missed: self.missed.load(Relaxed),
            invalid: self.invalid.load(Relaxed),
        }
    }
}

/// The queue by which `to` is reached, if it keeps departure times. No privilege is needed.
///
/// # Errors
/// [`TxtimeRefusal`]: why it does not.
pub fn timed_queue(to: SocketAddr) -> Result<TimedQueue, TxtimeRefusal> {
    let unknown = |source| TxtimeRefusal::Unknown {
        to: to.ip(),
        source,
    };
    let device = match to {
        // Only the scope says where a link-local address is.
        SocketAddr::V6(v6) if v6.scope_id() != 0 => v6.scope_id(),
        to => rtnetlink::device_to(to.ip()).map_err(unknown)?,
    };
    let mut verdict = Verdict::default();
    let seen = |qdisc: &Qdisc| {
        if qdisc.device == device {
            verdict.take(qdisc);
        }
    };
    rtnetlink::qdiscs(seen).map_err(unknown)?;
    verdict.queue(|| rtnetlink::device_name(device))
}

/// Every device but loopback, with what its queue can do.
///
/// # Errors
/// The kernel's.
pub fn device_queues() -> io::Result<Vec<DeviceQueue>> {
    let mut verdicts: Vec<(u32, Verdict)> = Vec::new();
    rtnetlink::qdiscs(|qdisc| {
        let known = verdicts.iter_mut().find(|(at, _)| *at == qdisc.device);
        match known {
            Some((_, verdict)) => verdict.take(qdisc),
            None => {
                let mut verdict = Verdict::default();
                verdict.take(qdisc);
                verdicts.push((qdisc.device, verdict));
            }
        }
    })?;
    let named = verdicts.into_iter().map(|(index, verdict)| {
        let device = rtnetlink::device_name(index);
        DeviceQueue {
            queue: verdict.queue(|| device.clone()),
            device,
        }
    });
    Ok(named.filter(|it| it.device != "lo").collect())
}

/// What the disciplines of one device amount to.
#[derive(Default)]
struct Verdict {
    root: Option<(Kind, Option<EtfParameters>)>,
    /// Of those below the root, the first that is not fq.
    other: Option<Kind>,
    below: u32,
}

impl Verdict {
    fn take(&mut self, qdisc: &Qdisc) {
        if qdisc.is_root {
            self.root = Some((qdisc.kind, qdisc.etf));
        } else {
            self.below += 1;
            if qdisc.kind.name() != "fq" {
                self.other = self.other.or(Some(qdisc.kind));
            }
        }
    }

    fn queue(&self, device: impl Fn() -> String) -> Result<TimedQueue, TxtimeRefusal> {
        let refused = |queue: String| {
            Err(TxtimeRefusal::Queue {
                device: device(),
                queue,
            })
        };
        let Some((root, etf)) = self.root else {
            // A device that is down.
            return refused("none".to_owned());
        };
        match (root.name(), self.other) {
            ("fq", _) => Ok(TimedQueue::Fq),
            // A device of several queues, each with a discipline of its own.
            ("mq", None) if self.below > 0 => Ok(TimedQueue::Fq),
            ("mq", Some(below)) => refused(format!("mq over {}", below.name())),
            ("etf", _) => etf_queue(etf).map_err(|reason| TxtimeRefusal::Etf {
                device: device(),
                reason,
            }),
            (other, _) => refused(other.to_owned()),
        }
    }
}

fn etf_queue(parameters: Option<EtfParameters>) -> Result<TimedQueue, &'static str> {
    let Some(parameters) = parameters else {
        return Err("does not tell its parameters");
    };
    if parameters.clock != libc::CLOCK_TAI {
        return Err("is not on CLOCK_TAI");
    }
    if parameters.flags & ETF_DEADLINE_MODE != 0 {
        return Err("is in deadline mode, in which packets leave before their time");
    }
    let delta = Duration::from_nanos(u64::try_from(parameters.delta_ns).unwrap_or(0));
    if delta < ETF_DELTA_MIN {
        return Err(
            "has a delta below 200 µs: it would drop what a busy machine wakes up late for",
        );
    }
    if delta > ETF_DELTA_MAX {
        return Err("has a delta above 20 ms: packets would leave at no time in particular");
    }
    Ok(TimedQueue::Etf { delta })
}

/// Now on `CLOCK_TAI`, ns; 0 where the kernel has no such clock (before 3.10).
fn tai_ns() -> u64 {
    let Ok(time) = clock_gettime_dynamic(DynamicClockId::Tai) else {
        return 0;
    };
    let seconds_ns = u64::try_from(time.tv_sec)
        .unwrap_or(0)
        .saturating_mul(1_000_000_000);
    seconds_ns + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::batch::PAYLOAD_BYTES_MAX;
    use super::*;
    use crate::limits::{DATAGRAM_BYTES_MAX, GSO_SEGMENTS_MAX};
    use crate::rate::{Pace, Pacer};
    use crate::units::BitsPerSecond;

    const GOOD: EtfParameters = EtfParameters {
        delta_ns: 500_000,
        clock: libc::CLOCK_TAI,
        flags: 0,
    };

    /// The verdict over `(is root, kind)`.
    fn verdict(qdiscs: &[(bool, &str)], etf: Option<EtfParameters>) -> Result<TimedQueue, String> {
        let mut verdict = Verdict::default();
        for &(is_root, kind) in qdiscs {
            verdict.take(&Qdisc {
                device: 2,
                is_root,
                kind: Kind::parse(kind.as_bytes()),
                etf,
            });
        }
        let queue = verdict.queue(|| "eth0".to_owned());
        queue.map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn only_queues_that_keep_times_are_believed() {
        let fq = Ok(TimedQueue::Fq);
        assert_eq!(verdict(&[(true, "fq")], None), fq);
        assert_eq!(
            verdict(&[(false, "fq"), (true, "mq"), (false, "fq")], None),
            fq
        );
        for refused in [
            &[(true, "noqueue")][..],
            &[(true, "pfifo_fast")],
            &[(true, "fq_codel")],
            &[(true, "mq")],
            &[(true, "htb"), (false, "fq")],
            &[],
        ] {
            assert!(verdict(refused, None).is_err(), "{refused:?}");
        }
        let mixed = verdict(&[(true, "mq"), (false, "fq"), (false, "fq_codel")], None);
        let text = "eth0 has the queue mq over fq_codel, which keeps no departure times";
        assert_eq!(mixed, Err(text.to_owned()));
    }

    #[test]
    fn etf_must_be_of_use() {
        let delta = Duration::from_micros(500);
        let of = |parameters| verdict(&[(true, "etf")], parameters);
        assert_eq!(of(Some(GOOD)), Ok(TimedQueue::Etf { delta }));
        assert!(of(None).is_err());
        for bad in [
            EtfParameters {
                delta_ns: 0,
                ..GOOD
            },
            EtfParameters {
                delta_ns: -1,
                ..GOOD
            },
            EtfParameters {
                delta_ns: i32::MAX,
                ..GOOD
            },
            EtfParameters {
                clock: libc::CLOCK_REALTIME,
                ..GOOD
            },
            EtfParameters {
                flags: ETF_DEADLINE_MODE,
                ..GOOD
            },
        ] {
            assert!(of(Some(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn loopback_keeps_no_departure_times() {
        let refusal = timed_queue(SocketAddr::from(([127, 0, 0, 1], 9))).expect_err("noqueue");
        let text = "lo has the queue noqueue, which keeps no departure times";
        assert_eq!(refusal.to_string(), text);
        for device in device_queues().expect("anybody may ask") {
            assert_ne!(device.device, "lo");
        }
    }

    #[test]
    fn a_paced_batch_is_one_buffer_with_one_time_and_no_more_than_a_burst() {
        const {
            assert!(GSO_SEGMENTS_MAX * DATAGRAM_BYTES_MAX <= PAYLOAD_BYTES_MAX);
        }
        for rate in [1, 5, 20, 100, 500, 2000, 10_000].map(|mbit| BitsPerSecond(mbit * 1_000_000)) {
            for burst_bytes in [0, 1000, 4000, 48 * 1024, 1 << 20] {
                let datagrams = Pacer::new(Pace { rate, burst_bytes }).batch_datagrams();
                let bytes = u64::from(datagrams) * DATAGRAM_BYTES_MAX as u64;
                assert!((1..=GSO_SEGMENTS_MAX as u64).contains(&datagrams.into()));
                assert!(datagrams == 1 || bytes <= u64::from(burst_bytes));
                assert!(
                    datagrams == 1 || bytes * 8 <= rate.0 / 1000,
                    "a millisecond"
                );
            }
        }
    }

    #[test]
    fn times_are_on_the_queues_clock() {
        let departure = Timestamp::from_ns(5_000_000_000);
        assert_eq!(TimedQueue::Fq.packet_time_ns(departure), departure.as_ns());
        let delta = Duration::from_micros(500);
        let before = tai_ns();
        let time = TimedQueue::Etf { delta }.packet_time_ns(clock::now());
        // Between the two reads of each clock time has passed, and a step of TAI is a coincidence.
        assert!(time.abs_diff(before + 500_000) < 10_000_000_000);
    }
}
