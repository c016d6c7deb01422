//! What was sent when, and what became of it.
//!
//! A ring of the last [`SENT_MAX`] datagrams by sequence. Receipts are matched with it, each
//! sequence once however often it is told. What a later datagram overtook by [`OVERTAKEN`] is
//! lost, even if it arrives after all.

use std::time::Duration;

use crate::feedback::Feedback;
use crate::packetize::{Batch, Cargo};
use crate::units::Timestamp;

/// Datagrams remembered: 320 ms at 100 000 a second (1 Gbit/s), more than a round trip and a
/// feedback. Older ones count as lost if they are not known to have arrived.
pub const SENT_MAX: usize = 1 << 15;
/// How long after a younger datagram an older one may still arrive without counting as lost.
/// RFC 9002 section 6.1 waits for three packets or an eighth of a round trip; over Wi-Fi and
/// bonded links whole aggregates trade places, which takes a few milliseconds.
pub const OVERTAKEN: Duration = Duration::from_millis(10);
/// Arrivals that wait for [`OVERTAKEN`] to pass: more than feedbacks come in it.
const FRONTIERS_MAX: usize = 16;

/// What a datagram carries, as far as rate control is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SentKind {
    /// Data or parity of a frame. Datagrams of one frame are one burst.
    Video,
    /// A repeat of a lost shard.
    Repeat,
    /// Padding, asked for by [`super::Probe`].
    Probe,
    /// An echo: it answers a feedback and is answered by none.
    Echo,
    /// Padding of a size that is being tried ([`crate::path_mtu`]). Its loss says something of
    /// that size, and nothing of load (RFC 8899 section 3).
    MtuProbe,
}

/// Datagrams that were given to the kernel together.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Sequence of the first; the rest follow without a gap.
    pub first_sequence: u64,
    /// How many.
    pub datagrams: u16,
    /// UDP payload of each but the last, bytes.
    pub datagram_bytes: u16,
    /// UDP payload of the last, bytes: at most as much.
    pub last_bytes: u16,
    /// The burst that they belong to: the frame's number, or the probe's.
    pub burst: u32,
    /// What they carry.
    pub kind: SentKind,
}

impl Sent {
    /// All of them, bytes of UDP payload.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let whole = u64::from(self.datagrams.saturating_sub(1));
        let last = u64::from(self.datagrams.min(1)) * u64::from(self.last_bytes);
        whole * u64::from(self.datagram_bytes) + last
    }

    /// The sequence of the last; that of the first if there is none.
    #[must_use]
    pub const fn last_sequence(&self) -> u64 {
        self.first_sequence + self.datagrams.saturating_sub(1) as u64
    }
}

impl From<&Batch> for Sent {
    fn from(batch: &Batch) -> Self {
        Self {
            first_sequence: batch.first_sequence,
            datagrams: batch.datagrams,
            datagram_bytes: batch.segment_bytes,
            last_bytes: batch.last_bytes(),
            burst: batch.burst,
            kind: match batch.cargo {
                Cargo::Data | Cargo::Parity => SentKind::Video,
                Cargo::Repeat => SentKind::Repeat,
                Cargo::Probe => SentKind::Probe,
                Cargo::MtuProbe => SentKind::MtuProbe,
                Cargo::Echo => SentKind::Echo,
            },
        }
    }
}

/// A datagram that is now known to have arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    /// When it left, host's clock.
    pub departure: Timestamp,
    /// When it was taken from the socket, client's clock.
    pub arrival: Timestamp,
    /// UDP payload.
    pub bytes: u16,
    /// The burst that it belonged to.
    pub burst: u32,
    /// What it carried.
    pub kind: SentKind,
}

/// What a range of datagrams became, in the order in which they were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrived.
    Arrived,
    /// It did not.
    Lost,
}

/// A datagram whose fate is known.
#[derive(Clone, Copy, Debug)]
pub struct Judged {
    /// When it left, host's clock.
    pub departure: Timestamp,
    /// UDP payload.
    pub bytes: u16,
    /// What it carried.
    pub kind: SentKind,
    /// What became of it.
    pub fate: Fate,
    /// A receipt named it, or the lack of one says that it is lost. Else it was only counted.
    pub is_certain: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    sequence: u64,
    departure: Timestamp,
    burst: u32,
    bytes: u16,
    kind: SentKind,
    is_received: bool,
}

/// The ring.
#[derive(Debug)]
pub struct SentLog {
    entries: Box<[Entry]>,
    /// The sequence of the first ever sent.
    first: u64,
    /// The sequence after the newest sent, 0 before there is one.
    end: u64,
    /// Fates below this sequence were told.
    judged: u64,
    highest_received: Option<u64>,
    frontiers: [(Timestamp, u64); FRONTIERS_MAX],
    frontiers_len: usize,
    /// Datagrams that the client counted, as of the youngest feedback.
    counted: u64,
    /// Datagrams that receipts named.
    named: u64,
    /// Datagrams received without a receipt and not yet used to excuse a missing one.
    excused: u64,
    last_feedback: Timestamp,
    unknown_receipts: u64,
}

const NEVER: u64 = u64::MAX;

impl SentLog {
    /// An empty log; allocates its ring.
    #[must_use]
    pub fn new() -> Self {
        let empty = Entry {
            sequence: NEVER,
            departure: Timestamp::ZERO,
            burst: 0,
            bytes: 0,
            kind: SentKind::Video,
            is_received: false,
        };
        Self {
            entries: vec![empty; SENT_MAX].into_boxed_slice(),
            first: 0,
            end: 0,
            judged: 0,
            highest_received: None,
            frontiers: [(Timestamp::ZERO, 0); FRONTIERS_MAX],
            frontiers_len: 0,
            counted: 0,
            named: 0,
            excused: 0,
            last_feedback: Timestamp::ZERO,
            unknown_receipts: 0,
        }
    }

    /// Notes what left at `now`. Sequences must grow.
    pub fn handle_sent(&mut self, now: Timestamp, sent: &Sent) {
        if self.end == 0 {
            self.first = sent.first_sequence;
            self.judged = sent.first_sequence;
        }
        for i in 0..u64::from(sent.datagrams) {
            let sequence = sent.first_sequence + i;
            self.entries[slot(sequence)] = Entry {
                sequence,
                departure: now,
                burst: sent.burst,
                bytes: if i + 1 == u64::from(sent.datagrams) {
                    sent.last_bytes
                } else {
                    sent.datagram_bytes
                },
                kind: sent.kind,
                is_received: false,
            };
        }
        self.end = self
            .end
            .max(sent.first_sequence + u64::from(sent.datagrams));
    }

    /// Matches receipts: `arrived` is called once in the life of each datagram, in the order of
    /// the receipts, and afterwards `judged` once for each sequence, in order; probes of a size
    /// that arrived are judged at once.
    pub fn handle_feedback(
        &mut self,
        feedback: &Feedback,
        mut arrived: impl FnMut(&Arrived),
        mut judged: impl FnMut(&Judged),
    ) {
        for receipt in feedback.receipts.as_slice() {
            for sequence in receipt.first..receipt.first + u64::from(receipt.count) {
                if let Some(datagram) = self.receive(sequence, receipt.arrival) {
                    self.named += 1;
                    arrived(&datagram);
                    if datagram.kind == SentKind::MtuProbe {
                        judged(&Judged {
                            departure: datagram.departure,
                            bytes: datagram.bytes,
                            kind: datagram.kind,
                            fate: Fate::Arrived,
                            is_certain: true,
                        });
                    }
                }
            }
        }
        let is_youngest = feedback.sent > self.last_feedback;
        if is_youngest {
            self.last_feedback = feedback.sent;
            // What was received without a receipt: the client's log was full, or every feedback
            // that named it was lost. A client that lies harms itself alone.
            self.counted = self.counted.max(feedback.received);
            self.excused = self.counted.saturating_sub(self.named).min(SENT_MAX as u64);
        }
        let newest = feedback.receipts.as_slice().iter().map(|r| r.arrival).max();
        if let Some(newest) = newest {
            self.judge(newest, &mut judged);
        }
    }

    /// When the oldest datagram left that is younger than all that are known to have arrived.
    #[must_use]
    pub fn unanswered_since(&self) -> Option<Timestamp> {
        let first = self
            .highest_received
            .map_or(self.first, |highest| highest + 1);
        let first = first.max(self.end.saturating_sub(SENT_MAX as u64));
        // Mostly the first: only echoes, twenty a second, and probes of a size are passed over.
        (first..self.end)
            .map(|sequence| &self.entries[slot(sequence)])
            .find(|entry| !matches!(entry.kind, SentKind::Echo | SentKind::MtuProbe))
            .map(|entry| entry.departure)
    }

    /// True if a receipt has named that datagram, and it is not forgotten.
    #[must_use]
    pub fn is_received(&self, sequence: u64) -> bool {
        let entry = &self.entries[slot(sequence)];
        entry.sequence == sequence && entry.is_received
    }

    /// Receipts of datagrams that were never sent or long forgotten.
    #[must_use]
    pub const fn unknown_receipts(&self) -> u64 {
        self.unknown_receipts
    }

    fn receive(&mut self, sequence: u64, arrival: Timestamp) -> Option<Arrived> {
        let entry = &mut self.entries[slot(sequence)];
        if entry.sequence != sequence || sequence == NEVER {
            self.unknown_receipts += 1;
            return None;
        }
        if entry.is_received {
            return None;
        }
        entry.is_received = true;
        self.highest_received = self.highest_received.max(Some(sequence));
        Some(Arrived {
            departure: entry.departure,
            arrival,
            bytes: entry.bytes,
            burst: entry.burst,
            kind: entry.kind,
        })
    }

    /// Tells the fate of everything that was overtaken [`OVERTAKEN`] ago.
    fn judge(&mut self, newest: Timestamp, judged: &mut impl FnMut(&Judged)) {
        let Some(highest) = self.highest_received else {
            return;
        };
        let mut until = self.end.saturating_sub(SENT_MAX as u64);
        let waiting = &mut self.frontiers[..self.frontiers_len];
        let ripe = waiting
            .iter()
            .take_while(|(arrival, _)| *arrival + OVERTAKEN <= newest)
            .count();
        if let Some(&(_, frontier)) = ripe.checked_sub(1).and_then(|last| waiting.get(last)) {
            until = until.max(frontier);
        }
        waiting.rotate_left(ripe);
        self.frontiers_len -= ripe;
        let is_news = self.frontiers[..self.frontiers_len]
            .last()
            .is_none_or(|&(arrival, _)| arrival < newest);
        if is_news && self.frontiers_len < FRONTIERS_MAX {
            self.frontiers[self.frontiers_len] = (newest, highest);
            self.frontiers_len += 1;
        }
        self.judged = self.judged.max(until.saturating_sub(SENT_MAX as u64));
        while self.judged < until.min(self.end) {
            let entry = &mut self.entries[slot(self.judged)];
            let is_known = entry.sequence == self.judged;
            // A probe is not excused: what is not known to pass is tried again.
            let is_probe = entry.kind == SentKind::MtuProbe;
            let is_excused = !entry.is_received && !is_probe && self.excused > 0;
            if is_known && is_excused {
                self.excused -= 1;
                self.named += 1;
                entry.is_received = true;
            }
            if is_known && !(is_probe && entry.is_received) {
                judged(&Judged {
                    departure: entry.departure,
                    bytes: entry.bytes,
                    kind: entry.kind,
                    fate: if entry.is_received {
                        Fate::Arrived
                    } else {
                        Fate::Lost
                    },
                    is_certain: !is_excused,
                });
            }
            self.judged += 1;
        }
    }
}

impl Default for SentLog {
    fn default() -> Self {
        Self::new()
    }
}

const fn slot(sequence: u64) -> usize {
    (sequence % SENT_MAX as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feedback::Receipt;

    fn ms(ms: u64) -> Timestamp {
        Timestamp::from_ns(ms * 1_000_000)
    }

    fn feedback(at: u64, received: u64, runs: &[(u64, u16, u64)]) -> Feedback {
        let mut feedback = Feedback {
            sent: ms(at),
            received,
            ..Feedback::default()
        };
        for &(first, count, arrival) in runs {
            let arrival = ms(arrival);
            feedback.receipts.push(Receipt {
                first,
                count,
                arrival,
            });
        }
        feedback
    }

    fn sent(log: &mut SentLog, first_sequence: u64, datagrams: u16) {
        let sent = Sent {
            first_sequence,
            datagrams,
            datagram_bytes: 1000,
            last_bytes: 1000,
            burst: 0,
            kind: SentKind::Video,
        };
        for i in 0..datagrams {
            let sent = Sent {
                first_sequence: first_sequence + u64::from(i),
                datagrams: 1,
                ..sent
            };
            log.handle_sent(ms(sent.first_sequence), &sent);
        }
    }

    /// Sequences that arrived (each left at as many ms), and fates (true for arrived).
    fn take(log: &mut SentLog, feedback: &Feedback) -> (Vec<u64>, Vec<bool>) {
        let (mut arrived, mut fates) = (Vec::new(), Vec::new());
        log.handle_feedback(
            feedback,
            |datagram| arrived.push(datagram.departure.as_ns() / 1_000_000),
            |judged| fates.push(judged.fate == Fate::Arrived),
        );
        (arrived, fates)
    }

    #[test]
    fn each_sequence_counts_once() {
        let mut log = SentLog::new();
        sent(&mut log, 0, 10);
        let first = feedback(100, 3, &[(0, 2, 90), (4, 1, 91)]);
        assert_eq!(take(&mut log, &first), (vec![0, 1, 4], vec![]));
        assert_eq!(take(&mut log, &first), (vec![], vec![]));
        assert_eq!(log.unanswered_since(), Some(ms(5)));
        // Judged once overtaken for 10 ms; what was not named but counted is no loss.
        let second = feedback(110, 5, &[(4, 2, 91), (6, 1, 101)]);
        let (arrived, fates) = take(&mut log, &second);
        assert_eq!(arrived, [5, 6]);
        assert_eq!(fates, [true, true, false, false]);
        let third = feedback(130, 9, &[(7, 1, 120), (9, 1, 120)]);
        let (arrived, fates) = take(&mut log, &third);
        assert_eq!(arrived, [7, 9]);
        assert_eq!(fates, [true, true]);
        assert_eq!(log.unanswered_since(), None);
    }

    #[test]
    fn the_last_datagram_of_a_batch_is_as_short_as_it_is() {
        let sent = Sent {
            first_sequence: 7,
            datagrams: 3,
            datagram_bytes: 1000,
            last_bytes: 100,
            burst: 0,
            kind: SentKind::Video,
        };
        assert_eq!(sent.bytes(), 2100);
        let mut log = SentLog::new();
        log.handle_sent(ms(1), &sent);
        let mut bytes = Vec::new();
        log.handle_feedback(
            &feedback(9, 3, &[(7, 3, 8)]),
            |datagram| bytes.push(datagram.bytes),
            |_| {},
        );
        assert_eq!(bytes, [1000, 1000, 100]);
        assert_eq!(Sent::from(&Batch::new()).bytes(), 0);
    }

    #[test]
    fn an_echo_waits_for_no_answer() {
        let mut log = SentLog::new();
        sent(&mut log, 0, 2);
        let named = feedback(10, 2, &[(0, 2, 8)]);
        take(&mut log, &named);
        let echo = Sent {
            first_sequence: 2,
            datagrams: 1,
            datagram_bytes: 64,
            last_bytes: 64,
            burst: 0,
            kind: SentKind::Echo,
        };
        log.handle_sent(ms(12), &echo);
        assert_eq!(log.unanswered_since(), None);
        sent(&mut log, 3, 1);
        assert_eq!(log.unanswered_since(), Some(ms(3)));
    }

    #[test]
    fn receipts_of_nothing_are_counted() {
        let mut log = SentLog::new();
        sent(&mut log, 0, 1);
        let lie = feedback(
            9,
            u64::MAX,
            &[(5, 9, 1), (1 << 40, 2, 1), (u64::MAX - 9, 9, 1)],
        );
        assert_eq!(take(&mut log, &lie), (vec![], vec![]));
        assert_eq!(log.unknown_receipts(), 20);
    }

    #[test]
    fn what_the_ring_forgot_is_judged_without_a_sound() {
        let mut log = SentLog::new();
        for first in 0..10 {
            sent(&mut log, first * 30_000, 30_000);
        }
        let (arrived, fates) = take(&mut log, &feedback(1, 1, &[(299_999, 1, 1)]));
        assert_eq!(arrived, [299_999]);
        assert_eq!(fates, []);
    }
}
