//! A small network in virtual time: senders of ours and of others, one bottleneck, one seed.
//!
//! It is there to tune the constants; the harness has the real one. Hosts run the real machines
//! and feedback crosses as bytes. A sender's own card is infinitely fast: what leaves together
//! reaches the bottleneck together.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use crate::feedback::{FEEDBACK_BYTES_MAX, Feedback, FeedbackSchedule, ReceiptLog};
use crate::units::Timestamp;

use super::{Config, Decision, Pacer, Rate, Sent, SentKind, State, Urgency};

const MTU: u16 = 1392;
const FRAME: Duration = Duration::from_nanos(16_666_667);
/// The client's clock is ahead by an odd amount and 40 ppm fast.
const CLIENT_OFFSET_NS: u64 = 5_000_000_000_777;
const CLIENT_DRIFT_PPM: u64 = 40;

pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub const fn at_ms(ms: u64) -> Timestamp {
    Timestamp::from_ns(ms * 1_000_000)
}

/// xorshift64*, so that a seed means the same everywhere.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// 0 to 1.
    pub fn roll(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Loss after the bottleneck.
#[derive(Clone, Copy)]
pub enum Losing {
    Nothing,
    Random(f64),
    /// Share, mean burst in datagrams.
    Gilbert(f64, f64),
}

/// The bottleneck.
pub struct Path {
    /// From when on, Mbit/s.
    pub rate: Vec<(u64, f64)>,
    pub one_way: Duration,
    /// One way from when on; replaces `one_way` for what leaves the queue.
    pub reroute: Option<(u64, Duration)>,
    pub buffer_bytes: u64,
    pub losing: Losing,
    /// Nothing passes either way: from, to, ms.
    pub outages: Vec<(u64, u64)>,
    /// Up to so much more on the way of each datagram; none overtakes another.
    pub jitter: Duration,
    /// The link pauses and keeps its queue: every, for, ms.
    pub stall: Option<(u64, u64)>,
}

impl Path {
    pub fn new(mbit: f64, rtt_ms: u64, buffer_bytes: u64) -> Self {
        Self {
            rate: vec![(0, mbit)],
            one_way: ms(rtt_ms) / 2,
            reroute: None,
            buffer_bytes,
            losing: Losing::Nothing,
            outages: Vec::new(),
            jitter: Duration::ZERO,
            stall: None,
        }
    }

    fn mbit(&self, now: Timestamp) -> f64 {
        let is_past = |step: &&(u64, f64)| at_ms(step.0) <= now;
        self.rate.iter().rev().find(is_past).expect("a rate at 0").1
    }

    fn is_out(&self, now: Timestamp) -> bool {
        let is_in = |&(from, to): &(u64, u64)| (at_ms(from)..at_ms(to)).contains(&now);
        self.outages.iter().any(is_in)
    }

    /// When a stall that holds at `now` ends.
    fn stalled_until(&self, now: Timestamp) -> Option<Timestamp> {
        let (every, lasts) = self.stall?;
        let phase = now.as_ns() % (every * 1_000_000);
        (phase < lasts * 1_000_000).then(|| Timestamp::from_ns(now.as_ns() - phase) + ms(lasts))
    }
}

enum Event {
    Frame(usize),
    Depart(usize, Sent),
    Served,
    Arrive(usize, u64, u32, bool),
    FeedbackDue(usize),
    Feedback(usize, Vec<u8>),
    Poll(usize),
    Ack(u64),
}

#[derive(Clone, Copy)]
struct Packet {
    /// Stream, or the Cubic flow at [`CUBIC`].
    flow: usize,
    sequence: u64,
    bytes: u16,
    burst: u32,
    is_last: bool,
    queued: Timestamp,
}

const CUBIC: usize = usize::MAX;

/// One of our sessions.
pub struct Stream {
    pub rate: Rate,
    pacer: Pacer,
    decision: Decision,
    /// Most that the application gives, Mbit/s, from when on; none for all it may.
    pub app: Vec<(u64, f64)>,
    /// Every how many frames one is three times as large; 0 for never.
    pub large_every: u32,
    sequence: u64,
    frame: u32,
    log: ReceiptLog,
    schedule: FeedbackSchedule,
    dice: Dice,
    pub decode_us: u32,
    /// Bytes that arrived, in parts of 100 ms.
    pub delivered: Vec<u64>,
    /// What was decided at each poll.
    pub history: Vec<(Timestamp, State, f64)>,
    /// When the last datagram of each frame came.
    pub frames: Vec<(Timestamp, u32)>,
    pub probe_bytes: u64,
    pub sent_bytes: u64,
    pub held_back: Duration,
}

/// A bulk flow, RFC 9438 with immediate selective acknowledgements.
struct Cubic {
    start: Timestamp,
    end: Timestamp,
    cwnd: f64,
    ssthresh: f64,
    w_max: f64,
    epoch: Option<Timestamp>,
    next: u64,
    outstanding: BTreeSet<u64>,
    recover: u64,
    last_ack: Timestamp,
}

/// The whole.
pub struct Net {
    now: Timestamp,
    path: Path,
    events: BinaryHeap<Reverse<(Timestamp, u64, usize)>>,
    /// Events by slot, so that the heap stays small.
    slots: Vec<Option<Event>>,
    free: Vec<usize>,
    order: u64,
    queue: VecDeque<Packet>,
    queued_bytes: u64,
    is_serving: bool,
    dice: Dice,
    is_bad: bool,
    last_arrival: Timestamp,
    pub streams: Vec<Stream>,
    cubic: Option<Cubic>,
    pub cubic_bytes: u64,
    /// When a datagram left the queue, and how long it had waited.
    pub waits: Vec<(Timestamp, Duration)>,
    pub drops: u64,
}

impl Net {
    pub fn new(seed: u64, path: Path) -> Self {
        Self {
            now: Timestamp::ZERO,
            path,
            events: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            order: 0,
            queue: VecDeque::new(),
            queued_bytes: 0,
            is_serving: false,
            dice: Dice::new(seed),
            is_bad: false,
            last_arrival: Timestamp::ZERO,
            streams: Vec::new(),
            cubic: None,
            cubic_bytes: 0,
            waits: Vec::new(),
            drops: 0,
        }
    }

    /// A session from `start_ms` on.
    pub fn stream(&mut self, start_ms: u64, config: Config) -> &mut Stream {
        let start = at_ms(start_ms);
        let mut rate = Rate::new(start, config);
        let decision = rate.poll(start);
        let id = self.streams.len();
        let seed = (self.dice.roll() * 1e9) as u64;
        self.streams.push(Stream {
            rate,
            pacer: Pacer::new(decision.pace),
            decision,
            app: Vec::new(),
            large_every: 0,
            sequence: 0,
            frame: 0,
            log: ReceiptLog::new(),
            schedule: FeedbackSchedule::default(),
            dice: Dice::new(seed),
            decode_us: 0,
            delivered: Vec::new(),
            history: Vec::new(),
            frames: Vec::new(),
            probe_bytes: 0,
            sent_bytes: 0,
            held_back: Duration::ZERO,
        });
        self.at(start, Event::Frame(id));
        self.at(start, Event::Poll(id));
        &mut self.streams[id]
    }

    /// The bulk flow in a span.
    pub fn cubic(&mut self, start_ms: u64, end_ms: u64) {
        self.cubic = Some(Cubic {
            start: at_ms(start_ms),
            end: at_ms(end_ms),
            cwnd: 10.0,
            ssthresh: f64::INFINITY,
            w_max: 0.0,
            epoch: None,
            next: 0,
            outstanding: BTreeSet::new(),
            recover: 0,
            last_ack: at_ms(start_ms),
        });
        self.at(at_ms(start_ms), Event::Ack(u64::MAX));
    }

    /// Runs until `until_ms`.
    pub fn run(&mut self, until_ms: u64) {
        while let Some(&Reverse((time, _, slot))) = self.events.peek() {
            if time > at_ms(until_ms) {
                break;
            }
            self.events.pop();
            let event = self.slots[slot].take().expect("one event a slot");
            self.free.push(slot);
            self.now = time;
            self.handle(event);
        }
        self.now = at_ms(until_ms);
    }

    /// The queue's delay at a percentile of the datagrams that left it in a span.
    pub fn wait_percentile(&self, from_ms: u64, to_ms: u64, percent: f64) -> Duration {
        let span = at_ms(from_ms)..at_ms(to_ms);
        let in_span = self.waits.iter().filter(|(time, _)| span.contains(time));
        let mut waits: Vec<_> = in_span.map(|&(_, wait)| wait).collect();
        waits.sort_unstable();
        let index = (waits.len() as f64 * percent / 100.0) as usize;
        waits
            .get(index)
            .or(waits.last())
            .copied()
            .unwrap_or_default()
    }

    fn at(&mut self, time: Timestamp, event: Event) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(event);
        self.order += 1;
        self.events
            .push(Reverse((time.max(self.now), self.order, slot)));
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Frame(id) => self.frame(id),
            Event::Depart(id, sent) => self.depart(id, &sent),
            Event::Served => self.served(),
            Event::Arrive(CUBIC, sequence, ..) => {
                self.cubic_bytes += u64::from(MTU);
                let back = self.now + self.path.one_way;
                self.at(back, Event::Ack(sequence));
            }
            Event::Arrive(id, sequence, burst, is_last) => {
                self.arrive(id, sequence, burst, is_last);
            }
            Event::FeedbackDue(id) => self.feedback_due(id),
            Event::Feedback(id, bytes) => {
                let feedback = Feedback::parse(&bytes).expect("as written");
                self.streams[id].rate.handle_feedback(self.now, &feedback);
                self.poll(id);
            }
            Event::Poll(id) => {
                self.poll(id);
                let next = self.streams[id].rate.poll_timeout();
                self.at(next, Event::Poll(id));
            }
            Event::Ack(sequence) => self.ack(sequence),
        }
    }

    fn poll(&mut self, id: usize) {
        let now = self.now;
        let stream = &mut self.streams[id];
        let decision = stream.rate.poll(now);
        stream.decision = decision;
        stream.pacer.set_pace(now, decision.pace);
        let wire = decision.wire_rate.0 as f64 / 1e6;
        stream.history.push((now, decision.state, wire));
        if let Some(probe) = decision.probe {
            let mut pacer = Pacer::new(probe.pace);
            let datagrams = u64::from(probe.bytes).div_ceil(u64::from(MTU));
            self.streams[id].probe_bytes += datagrams * u64::from(MTU);
            for _ in 0..datagrams {
                let due = pacer.departure(now, u32::from(MTU), Urgency::Video);
                self.batch(id, due, 1, probe.burst, SentKind::Probe);
            }
        }
    }

    fn batch(&mut self, id: usize, due: Timestamp, datagrams: u16, burst: u32, kind: SentKind) {
        let sent = Sent {
            // Given when it departs: probes and frames interleave.
            first_sequence: 0,
            datagrams,
            datagram_bytes: MTU,
            last_bytes: MTU,
            burst,
            kind,
        };
        self.at(due, Event::Depart(id, sent));
    }

    fn frame(&mut self, id: usize) {
        let now = self.now;
        let stream = &mut self.streams[id];
        let limit = stream.app.iter().rev().find(|step| at_ms(step.0) <= now);
        let wire = stream.decision.wire_rate.0 as f64;
        let rate = limit.map_or(wire, |&(_, mbit)| wire.min(mbit * 1e6));
        // Frames differ by 15 %, as a one-frame VBV leaves them.
        let noise = 0.85 + 0.3 * stream.dice.roll();
        let is_large = stream.large_every > 0 && stream.frame % stream.large_every == 1;
        let size = noise * if is_large { 3.0 } else { 1.0 };
        let bytes = rate / 8.0 * FRAME.as_secs_f64() * size;
        let mut left = (bytes / f64::from(MTU)).round() as u16;
        left = left.max(u16::from(rate > 0.0));
        let burst = stream.frame;
        stream.frame += 1;
        while left > 0 {
            let stream = &mut self.streams[id];
            let count = stream.pacer.batch_datagrams().min(left);
            left -= count;
            let bytes = u32::from(count) * u32::from(MTU);
            let due = stream.pacer.departure(now, bytes, Urgency::Video);
            stream.held_back = stream.held_back.max(due.since(now));
            self.batch(id, due, count, burst, SentKind::Video);
        }
        self.at(now + FRAME, Event::Frame(id));
    }

    fn depart(&mut self, id: usize, sent: &Sent) {
        let now = self.now;
        let stream = &mut self.streams[id];
        let first_sequence = stream.sequence;
        stream.sequence += u64::from(sent.datagrams);
        stream.sent_bytes += u64::from(sent.datagrams) * u64::from(MTU);
        let sent = Sent {
            first_sequence,
            ..*sent
        };
        stream.rate.handle_sent(now, &sent);
        for i in 0..u64::from(sent.datagrams) {
            self.enqueue(Packet {
                flow: id,
                sequence: first_sequence + i,
                bytes: MTU,
                burst: sent.burst,
                is_last: i + 1 == u64::from(sent.datagrams) && sent.kind == SentKind::Video,
                queued: now,
            });
        }
    }

    fn enqueue(&mut self, packet: Packet) {
        let is_full = self.queued_bytes + u64::from(packet.bytes) > self.path.buffer_bytes;
        if self.path.is_out(self.now) {
            return;
        }
        if is_full {
            self.drops += 1;
            return;
        }
        self.queued_bytes += u64::from(packet.bytes);
        self.queue.push_back(packet);
        if !self.is_serving {
            self.serve();
        }
    }

    fn serve(&mut self) {
        let Some(packet) = self.queue.front() else {
            self.is_serving = false;
            return;
        };
        self.is_serving = true;
        let from = self.path.stalled_until(self.now).unwrap_or(self.now);
        let takes = f64::from(packet.bytes) * 8e3 / self.path.mbit(from);
        self.at(from + Duration::from_nanos(takes as u64), Event::Served);
    }

    fn served(&mut self) {
        let packet = self.queue.pop_front().expect("one is being served");
        self.queued_bytes -= u64::from(packet.bytes);
        self.waits.push((self.now, self.now.since(packet.queued)));
        if !self.loses() && !self.path.is_out(self.now) {
            let late = self.path.jitter.mul_f64(self.dice.roll());
            let rerouted = self
                .path
                .reroute
                .filter(|&(from, _)| at_ms(from) <= self.now);
            let one_way = rerouted.map_or(self.path.one_way, |(_, one_way)| one_way);
            let arrival = (self.now + one_way + late).max(self.last_arrival);
            self.last_arrival = arrival;
            let event = Event::Arrive(packet.flow, packet.sequence, packet.burst, packet.is_last);
            self.at(arrival, event);
        }
        self.serve();
    }

    fn loses(&mut self) -> bool {
        match self.path.losing {
            Losing::Nothing => false,
            Losing::Random(share) => self.dice.roll() < share,
            Losing::Gilbert(share, burst) => {
                let leave = 1.0 / burst;
                let enter = leave * share / (1.0 - share);
                let change = if self.is_bad { leave } else { enter };
                if self.dice.roll() < change {
                    self.is_bad = !self.is_bad;
                }
                self.is_bad
            }
        }
    }

    fn client_clock(now: Timestamp) -> Timestamp {
        let drift_ns = now.as_ns() / 1_000_000 * CLIENT_DRIFT_PPM;
        Timestamp::from_ns(now.as_ns() + drift_ns + CLIENT_OFFSET_NS)
    }

    fn arrive(&mut self, id: usize, sequence: u64, burst: u32, is_last: bool) {
        let now = self.now;
        let stream = &mut self.streams[id];
        let part = (now.as_ns() / 100_000_000) as usize;
        if stream.delivered.len() <= part {
            stream.delivered.resize(part + 1, 0);
        }
        stream.delivered[part] += u64::from(MTU);
        if is_last {
            stream.frames.push((now, burst));
        }
        let shows_loss = stream.log.on_datagram(sequence, Self::client_clock(now));
        stream.schedule.on_datagram(shows_loss);
        let due = stream.schedule.poll_timeout().expect("something arrived");
        self.at(due, Event::FeedbackDue(id));
    }

    fn feedback_due(&mut self, id: usize) {
        let now = self.now;
        let stream = &mut self.streams[id];
        if !stream.schedule.poll(now) {
            return;
        }
        let mut feedback = Feedback {
            sent: Self::client_clock(now),
            decode_us: stream.decode_us,
            ..Feedback::default()
        };
        stream.log.fill(&mut feedback);
        let mut out = [0; FEEDBACK_BYTES_MAX];
        let bytes = feedback.write(&mut out);
        if let Some(due) = stream.schedule.poll_timeout() {
            self.at(due, Event::FeedbackDue(id));
        }
        let is_lost = match self.path.losing {
            Losing::Nothing => false,
            Losing::Random(share) | Losing::Gilbert(share, _) => self.dice.roll() < share,
        };
        if !is_lost && !self.path.is_out(now) {
            let back = now + self.path.one_way;
            self.at(back, Event::Feedback(id, out[..bytes].to_vec()));
        }
    }

    fn ack(&mut self, sequence: u64) {
        let Some(mut cubic) = self.cubic.take() else {
            return;
        };
        let rtt = (self.path.one_way * 2).as_secs_f64() + 0.02;
        cubic.take_ack(self.now, sequence, rtt);
        let now = self.now;
        while (cubic.outstanding.len() as f64) < cubic.cwnd && now < cubic.end {
            cubic.outstanding.insert(cubic.next);
            self.enqueue(Packet {
                flow: CUBIC,
                sequence: cubic.next,
                bytes: MTU,
                burst: 0,
                is_last: false,
                queued: now,
            });
            cubic.next += 1;
        }
        // One timer at a time is enough: the start's event repeats itself.
        if sequence == u64::MAX {
            self.at(now + ms(200), Event::Ack(u64::MAX));
        }
        self.cubic = Some(cubic);
    }
}

impl Cubic {
    fn take_ack(&mut self, now: Timestamp, sequence: u64, rtt: f64) {
        if sequence == u64::MAX {
            if now > self.start && now.since(self.last_ack) > ms(1000) {
                self.outstanding.clear();
                self.cwnd = 2.0;
                self.last_ack = now;
            }
            return;
        }
        self.last_ack = now;
        self.outstanding.remove(&sequence);
        let lost: Vec<u64> = self
            .outstanding
            .range(..sequence.saturating_sub(3))
            .copied()
            .collect();
        for &sequence in &lost {
            self.outstanding.remove(&sequence);
        }
        if lost.iter().any(|&lost| lost >= self.recover) {
            self.recover = self.next;
            self.w_max = self.cwnd;
            self.cwnd = (self.cwnd * 0.7).max(2.0);
            self.ssthresh = self.cwnd;
            self.epoch = Some(now);
        } else if self.cwnd < self.ssthresh {
            self.cwnd += 1.0;
        } else {
            let epoch = *self.epoch.get_or_insert(now);
            let k = (self.w_max * 0.3 / 0.4).cbrt();
            let t = now.since(epoch).as_secs_f64() + rtt;
            let aim = 0.4 * (t - k).powi(3) + self.w_max;
            self.cwnd += ((aim - self.cwnd) / self.cwnd).clamp(0.01 / self.cwnd, 0.5);
        }
    }
}

impl Stream {
    /// Mean Mbit/s that arrived in a span of whole tenths of a second.
    pub fn mbit(&self, from_ms: u64, to_ms: u64) -> f64 {
        let parts = (from_ms / 100) as usize..(to_ms / 100) as usize;
        let bytes: u64 = parts.filter_map(|part| self.delivered.get(part)).sum();
        bytes as f64 * 8.0 / 1e3 / (to_ms - from_ms) as f64
    }

    /// True if a state was held at any time in a span.
    pub fn was(&self, state: State, from_ms: u64, to_ms: u64) -> bool {
        let span = at_ms(from_ms)..at_ms(to_ms);
        let mut states = self.history.iter();
        states.any(|&(time, held, _)| held == state && span.contains(&time))
    }
}
