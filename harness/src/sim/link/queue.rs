//! A transmitter of some rate with a queue before it: drop-tail, or CoDel (RFC 8289).

use std::collections::VecDeque;
use std::time::Duration;

use net::units::{BitsPerSecond, Timestamp};

use super::{Element, Outlet};
use crate::sim::packet::{Cause, PacketId};
use crate::sim::schedule::Steps;

/// Sends one packet after the other at its rate; the others wait.
#[derive(Debug)]
pub struct Queue {
    rate: Steps<BitsPerSecond>,
    bytes_max: usize,
    waiting: Waiting,
    sending: Option<Sending>,
    codel: Option<Codel>,
}

/// What a queue drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// What arrives when it is full.
    DropTail,
    /// From the head, what waited too long (RFC 8289); what arrives when it is full too.
    Codel {
        /// Wait that is acceptable for good (RFC 8289, section 4.4: 5 ms).
        target: Duration,
        /// Time for which it may be exceeded (section 4.3: 100 ms).
        interval: Duration,
    },
}

impl Discipline {
    /// CoDel as RFC 8289 sets it for the open Internet.
    pub const CODEL: Self = Self::Codel {
        target: Duration::from_millis(5),
        interval: Duration::from_millis(100),
    };
}

#[derive(Debug, Default)]
struct Waiting {
    packets: VecDeque<(PacketId, Timestamp)>,
    /// Of all that wait.
    bytes: usize,
    /// Largest packet seen (RFC 8289's MAXPACKET).
    largest_bytes: usize,
}

#[derive(Debug)]
struct Sending {
    packet: PacketId,
    bytes: usize,
    /// When its last bit has left; `None` if the rate is zero for good.
    done: Option<Timestamp>,
}

impl Queue {
    /// A queue of at most `bytes_max`, what is being sent included.
    #[must_use]
    pub fn new(rate: Steps<BitsPerSecond>, bytes_max: usize, discipline: Discipline) -> Self {
        let codel = match discipline {
            Discipline::DropTail => None,
            Discipline::Codel { target, interval } => Some(Codel::new(target, interval)),
        };
        Self {
            rate,
            bytes_max,
            waiting: Waiting::default(),
            sending: None,
            codel,
        }
    }

    fn send_next(&mut self, now: Timestamp, out: &mut Outlet<'_>) {
        let next = match &mut self.codel {
            None => self.waiting.pop(out),
            Some(codel) => codel.pop(now, &mut self.waiting, out),
        };
        self.sending = next.map(|(packet, since)| {
            out.queued(packet, since, now);
            let bytes = out.packet(packet).bytes();
            Sending {
                packet,
                bytes,
                done: self.rate.finish(now, bytes),
            }
        });
    }
}

impl Element for Queue {
    fn offer(&mut self, now: Timestamp, packet: PacketId, out: &mut Outlet<'_>) {
        let bytes = out.packet(packet).bytes();
        let sending_bytes = self.sending.as_ref().map_or(0, |sending| sending.bytes);
        if sending_bytes + self.waiting.bytes + bytes > self.bytes_max {
            out.lose(packet, Cause::QueueFull);
            return;
        }
        self.waiting.push(packet, bytes, now);
        if self.sending.is_none() {
            self.send_next(now, out);
        }
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        self.sending.as_ref()?.done
    }

    fn handle_timeout(&mut self, now: Timestamp, out: &mut Outlet<'_>) {
        if let Some(sending) = self.sending.take() {
            out.pass(sending.packet);
        }
        self.send_next(now, out);
    }
}

impl Waiting {
    fn push(&mut self, packet: PacketId, bytes: usize, now: Timestamp) {
        self.packets.push_back((packet, now));
        self.bytes += bytes;
        self.largest_bytes = self.largest_bytes.max(bytes);
    }

    fn pop(&mut self, out: &Outlet<'_>) -> Option<(PacketId, Timestamp)> {
        let (packet, since) = self.packets.pop_front()?;
        self.bytes -= out.packet(packet).bytes();
        Some((packet, since))
    }
}

/// The control of RFC 8289, section 5; names as in its pseudocode.
#[derive(Debug)]
pub struct Codel {
    target: Duration,
    interval: Duration,
    /// When the wait will have been above the target for an interval.
    first_above_time: Option<Timestamp>,
    drop_next: Timestamp,
    count: u32,
    last_count: u32,
    dropping: bool,
}

/// A packet and when it came.
type Head = Option<(PacketId, Timestamp)>;

impl Codel {
    const fn new(target: Duration, interval: Duration) -> Self {
        Self {
            target,
            interval,
            first_above_time: None,
            drop_next: Timestamp::ZERO,
            count: 0,
            last_count: 0,
            dropping: false,
        }
    }

    /// `deque()` of section 5.5: the next packet to send; drops what has to go before it.
    fn pop(&mut self, now: Timestamp, waiting: &mut Waiting, out: &mut Outlet<'_>) -> Head {
        let (mut head, mut ok_to_drop) = self.head(now, waiting, out);
        if self.dropping {
            if !ok_to_drop {
                self.dropping = false;
            }
            while self.dropping && now >= self.drop_next {
                Self::drop(head, out);
                self.count += 1;
                (head, ok_to_drop) = self.head(now, waiting, out);
                if ok_to_drop {
                    self.drop_next = self.control_law(self.drop_next);
                } else {
                    self.dropping = false;
                }
            }
        } else if ok_to_drop {
            Self::drop(head, out);
            (head, _) = self.head(now, waiting, out);
            self.dropping = true;
            // Resume near the rate that controlled the queue last time, if that was recent.
            let delta = self.count - self.last_count;
            let recent = now.since(self.drop_next) < 16 * self.interval;
            self.count = if delta > 1 && recent { delta } else { 1 };
            self.drop_next = self.control_law(now);
            self.last_count = self.count;
        }
        head
    }

    /// `dodeque()` of section 5.6: the head, and whether it may be dropped.
    fn head(&mut self, now: Timestamp, waiting: &mut Waiting, out: &Outlet<'_>) -> (Head, bool) {
        let head = waiting.pop(out);
        let below = match head {
            None => true,
            Some((_, since)) => {
                now.since(since) < self.target || waiting.bytes <= waiting.largest_bytes
            }
        };
        if below {
            self.first_above_time = None;
            return (head, false);
        }
        match self.first_above_time {
            None => {
                self.first_above_time = Some(now + self.interval);
                (head, false)
            }
            Some(time) => (head, now >= time),
        }
    }

    /// The next drop comes interval/√count later. f64's square root and division are exact by
    /// IEEE 754, so the same everywhere.
    fn control_law(&self, from: Timestamp) -> Timestamp {
        let interval_ns = self.interval.as_nanos() as f64;
        from + Duration::from_nanos((interval_ns / f64::from(self.count).sqrt()) as u64)
    }

    fn drop(head: Head, out: &mut Outlet<'_>) {
        if let Some((packet, _)) = head {
            out.lose(packet, Cause::Codel);
        }
    }
}
