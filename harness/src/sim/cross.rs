//! Cross traffic: bulk flows that take what a congestion control gives them, to compete with.
//!
//! A [`Sender`] has endless data, numbers its packets and never repeats one (as QUIC does, RFC
//! 9002); a [`Sink`] acknowledges each at once. Loss is found by three later acknowledgements or
//! 9/8 of a round trip (RFC 9002, section 6.1), and when nothing comes back by TCP's timeout
//! (RFC 6298 with the 200 ms floor that Linux has). [`Control`] is Cubic or BBR.
//!
//! | off | size | field, little-endian |
//! |---:|---:|---|
//! | 0 | 1 | 0xB0 data, 0xB1 acknowledgement |
//! | 1 | 8 | number; of an acknowledgement the highest that arrived |
//! | 9 | 16 | acknowledgement: bit i: number - 1 - i has arrived |

mod bbr;
mod cubic;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use net::units::Timestamp;

use super::network::{Endpoint, Transmit};
use super::packet::{Address, DATAGRAM_BYTES_MAX, OVERHEAD_BYTES};

pub use bbr::Bbr;
pub use cubic::Cubic;

/// A full packet, IP and UDP headers included.
pub const PACKET_BYTES: u64 = (DATAGRAM_BYTES_MAX + OVERHEAD_BYTES) as u64;
/// First congestion window, packets (RFC 6928).
pub const INITIAL_WINDOW_PACKETS: u64 = 10;

const DATA: u8 = 0xB0;
const ACK: u8 = 0xB1;
const ACK_BYTES: usize = 25;
/// What the digest of a run may read of a datagram must be written.
const HEAD_BYTES: usize = 64;
/// RFC 9002, section 6.1.1.
const PACKET_THRESHOLD: u64 = 3;
/// Linux's TCP_RTO_MIN; RFC 6298 says a second.
const RTO_MIN: Duration = Duration::from_millis(200);
const RTO_MAX: Duration = Duration::from_secs(60);
/// Before the first sample (RFC 6298, section 2.1).
const RTO_FIRST: Duration = Duration::from_secs(1);

/// A congestion control.
pub trait Control: fmt::Debug {
    /// Packets were acknowledged.
    fn acknowledged(&mut self, now: Timestamp, ack: &Acknowledged);
    /// Packets were found lost; the newest of them was sent at `sent`.
    fn lost(&mut self, now: Timestamp, sent: Timestamp);
    /// Nothing came back for a timeout.
    fn timed_out(&mut self, now: Timestamp);
    /// Bytes that may be in flight.
    fn window_bytes(&self) -> u64;
    /// Bytes a second at which packets leave; `None`: as fast as the window allows.
    fn pacing(&self) -> Option<u64>;
}

/// What an acknowledgement told.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    /// Bytes newly acknowledged.
    pub bytes: u64,
    /// Round trip of the newest packet, if it is new.
    pub rtt: Option<Duration>,
    /// Smoothed round trip.
    pub srtt: Duration,
    /// Bytes still in flight.
    pub in_flight: u64,
    /// Bytes delivered since the start.
    pub delivered: u64,
    /// Bytes that had been delivered when the newest packet was sent.
    pub delivered_before: u64,
    /// Delivery rate over the newest packet's round trip, bytes/s
    /// (draft-cheng-iccrg-delivery-rate-estimation).
    pub rate: Option<u64>,
}

/// The sending end.
#[derive(Debug)]
pub struct Sender {
    to: Address,
    control: Box<dyn Control>,
    start: Timestamp,
    stop: Timestamp,
    /// Packets from number `first` on.
    sent: VecDeque<Sent>,
    first: u64,
    in_flight: u64,
    largest_acked: Option<u64>,
    delivered: u64,
    delivered_at: Timestamp,
    /// Of the newest packet acknowledged.
    newest_sent: Timestamp,
    lost_packets: u64,
    srtt: Option<Duration>,
    rtt_var: Duration,
    backoff: u32,
    /// When pacing allows the next packet.
    next_send: Timestamp,
    loss_due: Option<Timestamp>,
    rto_due: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Timestamp,
    state: State,
    delivered: u64,
    delivered_at: Timestamp,
    newest_sent: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    InFlight,
    Acked,
    Lost,
}

impl Sender {
    /// Sends to `to` from `start` to `stop`.
    #[must_use]
    pub fn new(to: Address, control: Box<dyn Control>, start: Duration, stop: Duration) -> Self {
        let start = Timestamp::ZERO + start;
        Self {
            to,
            control,
            start,
            stop: Timestamp::ZERO + stop,
            sent: VecDeque::new(),
            first: 0,
            in_flight: 0,
            largest_acked: None,
            delivered: 0,
            delivered_at: start,
            newest_sent: start,
            lost_packets: 0,
            srtt: None,
            rtt_var: Duration::ZERO,
            backoff: 0,
            next_send: start,
            loss_due: None,
            rto_due: None,
        }
    }

    /// Bytes acknowledged so far, with IP and UDP headers.
    #[must_use]
    pub const fn delivered_bytes(&self) -> u64 {
        self.delivered
    }

    /// Packets found lost so far.
    #[must_use]
    pub const fn lost_packets(&self) -> u64 {
        self.lost_packets
    }

    /// Smoothed round trip; zero before the first.
    #[must_use]
    pub fn srtt(&self) -> Duration {
        self.srtt.unwrap_or_default()
    }

    fn has_window(&self) -> bool {
        self.in_flight + PACKET_BYTES <= self.control.window_bytes().max(PACKET_BYTES)
    }

    fn rto(&self) -> Duration {
        let base = match self.srtt {
            None => RTO_FIRST,
            Some(srtt) => (srtt + 4 * self.rtt_var).max(RTO_MIN),
        };
        base.saturating_mul(1 << self.backoff.min(8)).min(RTO_MAX)
    }

    /// RFC 6298, section 2.
    fn sample(&mut self, rtt: Duration) {
        match self.srtt {
            None => {
                self.srtt = Some(rtt);
                self.rtt_var = rtt / 2;
            }
            Some(srtt) => {
                self.rtt_var = (self.rtt_var * 3 + srtt.abs_diff(rtt)) / 4;
                self.srtt = Some((srtt * 7 + rtt) / 8);
            }
        }
    }

    /// Marks a packet as arrived; returns what was known at its sending if that is news.
    fn take(&mut self, number: u64) -> Option<Sent> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let sent = self.sent.get_mut(index)?;
        let before = sent.state;
        if before == State::Acked {
            return None;
        }
        sent.state = State::Acked;
        let sent = *sent;
        if before == State::InFlight {
            self.in_flight -= PACKET_BYTES;
        }
        Some(sent)
    }

    fn acknowledge(&mut self, now: Timestamp, largest: u64, earlier: u128) {
        let mut newest: Option<Sent> = None;
        let mut bytes = 0;
        let bits = (0..128).filter(|bit| earlier >> bit & 1 == 1);
        let earlier = bits.filter_map(|bit| largest.checked_sub(bit + 1));
        for number in std::iter::once(largest).chain(earlier) {
            if let Some(sent) = self.take(number) {
                bytes += PACKET_BYTES;
                if newest.is_none() {
                    newest = Some(sent);
                }
            }
        }
        let Some(newest) = newest else {
            return;
        };
        let new_largest = self.largest_acked.is_none_or(|before| largest > before);
        let rtt = new_largest.then(|| now.since(newest.at));
        if let Some(rtt) = rtt {
            self.sample(rtt);
            self.largest_acked = Some(largest);
            self.newest_sent = newest.at;
        }
        self.delivered += bytes;
        self.delivered_at = now;
        self.backoff = 0;
        self.rto_due = Some(now + self.rto());
        self.find_lost(now);
        let elapsed = now
            .since(newest.delivered_at)
            .max(newest.at.since(newest.newest_sent));
        let ns = elapsed.as_nanos() as u64;
        let ack = Acknowledged {
            bytes,
            rtt,
            srtt: self.srtt.unwrap_or_default(),
            in_flight: self.in_flight,
            delivered: self.delivered,
            delivered_before: newest.delivered,
            rate: (ns > 0).then(|| {
                let gained = u128::from(self.delivered - newest.delivered);
                (gained * 1_000_000_000 / u128::from(ns)) as u64
            }),
        };
        self.control.acknowledged(now, &ack);
        self.forget();
    }

    /// RFC 9002, section 6.1.
    fn find_lost(&mut self, now: Timestamp) {
        self.loss_due = None;
        let Some(largest) = self.largest_acked else {
            return;
        };
        let patience = self.srtt.unwrap_or(RTO_FIRST) * 9 / 8;
        let mut newest_lost = None;
        let older = usize::try_from(largest.saturating_sub(self.first)).unwrap_or(usize::MAX);
        for (index, sent) in self.sent.iter_mut().take(older).enumerate() {
            if sent.state != State::InFlight {
                continue;
            }
            let number = self.first + index as u64;
            let due = sent.at + patience;
            if largest - number >= PACKET_THRESHOLD || due <= now {
                sent.state = State::Lost;
                self.in_flight -= PACKET_BYTES;
                self.lost_packets += 1;
                newest_lost = Some(sent.at);
            } else {
                self.loss_due = Some(due);
                break;
            }
        }
        if let Some(sent) = newest_lost {
            self.control.lost(now, sent);
        }
    }

    /// Forgets packets that can no longer be acknowledged with effect.
    fn forget(&mut self) {
        while self
            .sent
            .front()
            .is_some_and(|s| s.state != State::InFlight)
        {
            self.sent.pop_front();
            self.first += 1;
        }
    }
}

impl Endpoint for Sender {
    fn handle(&mut self, now: Timestamp, _from: Address, datagram: &mut [u8]) {
        if datagram.len() != ACK_BYTES || datagram[0] != ACK {
            return;
        }
        let largest = u64::from_le_bytes(datagram[1..9].try_into().expect("8 bytes"));
        let earlier = u128::from_le_bytes(datagram[9..25].try_into().expect("16 bytes"));
        self.acknowledge(now, largest, earlier);
    }

    fn poll_transmit(
        &mut self,
        now: Timestamp,
        datagram: &mut [u8; DATAGRAM_BYTES_MAX],
    ) -> Option<Transmit> {
        if now < self.start || now >= self.stop || now < self.next_send || !self.has_window() {
            return None;
        }
        if self.in_flight == 0 {
            // What was idle did not deliver: the sample starts now.
            self.delivered_at = now;
            self.newest_sent = now;
        }
        let number = self.first + self.sent.len() as u64;
        self.sent.push_back(Sent {
            at: now,
            state: State::InFlight,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            newest_sent: self.newest_sent,
        });
        self.in_flight += PACKET_BYTES;
        if let Some(rate) = self.control.pacing() {
            let gap = Duration::from_nanos(PACKET_BYTES * 1_000_000_000 / rate.max(1));
            // A late timer is made up for, but not more than a packet.
            self.next_send = self.next_send.max(now - gap) + gap;
        }
        if self.rto_due.is_none() {
            self.rto_due = Some(now + self.rto());
        }
        datagram[..HEAD_BYTES].fill(0);
        datagram[DATAGRAM_BYTES_MAX - HEAD_BYTES..].fill(0);
        datagram[0] = DATA;
        datagram[1..9].copy_from_slice(&number.to_le_bytes());
        Some(Transmit {
            to: self.to,
            bytes: DATAGRAM_BYTES_MAX,
        })
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        let ended = self.delivered_at.max(self.next_send) >= self.stop;
        let send = (!ended && self.has_window()).then_some(self.next_send);
        [send, self.loss_due, self.rto_due]
            .into_iter()
            .flatten()
            .min()
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        if self.loss_due.is_some_and(|due| due <= now) {
            self.find_lost(now);
            self.forget();
        }
        if self.rto_due.is_some_and(|due| due <= now) {
            self.rto_due = None;
            if self.in_flight > 0 {
                let outstanding = |sent: &&mut Sent| sent.state == State::InFlight;
                for sent in self.sent.iter_mut().filter(outstanding) {
                    sent.state = State::Lost;
                    self.lost_packets += 1;
                }
                self.in_flight = 0;
                self.backoff += 1;
                self.control.timed_out(now);
                self.forget();
            }
        }
        // Past the end nothing is sent; the timer of pacing must not stay due.
        if now >= self.stop {
            self.next_send = self.next_send.max(self.stop);
        }
    }
}

/// The receiving end.
#[derive(Debug, Default)]
pub struct Sink {
    largest: Option<u64>,
    earlier: u128,
    received: u64,
    owed: Option<Address>,
}

impl Sink {
    /// One that has received nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Packets received, copies included.
    #[must_use]
    pub const fn received_packets(&self) -> u64 {
        self.received
    }

    fn note(&mut self, number: u64) {
        let Some(largest) = self.largest else {
            self.largest = Some(number);
            return;
        };
        if number > largest {
            let by = number - largest;
            self.earlier = match by {
                1..128 => self.earlier << by | 1 << (by - 1),
                128 => 1 << 127,
                _ => 0,
            };
            self.largest = Some(number);
        } else if let Some(bit) = (largest - number).checked_sub(1)
            && bit < 128
        {
            self.earlier |= 1 << bit;
        }
    }
}

impl Endpoint for Sink {
    fn handle(&mut self, _now: Timestamp, from: Address, datagram: &mut [u8]) {
        if datagram.len() < 9 || datagram[0] != DATA {
            return;
        }
        self.note(u64::from_le_bytes(
            datagram[1..9].try_into().expect("8 bytes"),
        ));
        self.received += 1;
        self.owed = Some(from);
    }

    fn poll_transmit(
        &mut self,
        _now: Timestamp,
        datagram: &mut [u8; DATAGRAM_BYTES_MAX],
    ) -> Option<Transmit> {
        let to = self.owed.take()?;
        let largest = self.largest?;
        datagram[0] = ACK;
        datagram[1..9].copy_from_slice(&largest.to_le_bytes());
        datagram[9..25].copy_from_slice(&self.earlier.to_le_bytes());
        Some(Transmit {
            to,
            bytes: ACK_BYTES,
        })
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }

    fn handle_timeout(&mut self, _now: Timestamp) {}
}
