//! Audio alone: a packet every 5 ms, through the native plane's copies ([`net::audio`]) or through
//! GameStream's RS(4,2) ([`net::gamestream::audio_fec`]), up to what would be concealed.
//!
//! On the native plane a datagram travels within QUIC and within a session; cut above that, its
//! bytes go as they are. GameStream's packets are framed as block, place and bytes:
//!
//! | off | size | field, little-endian |
//! |---:|---:|---|
//! | 0 | 1 | 0x61 |
//! | 1 | 4 | block |
//! | 5 | 1 | place: 0 to 3 data, 4 and 5 parity |
//! | 6 | .. | the packet |

use std::collections::VecDeque;
use std::time::Duration;

use net::audio::{
    AudioDatagram, AudioReceiver, AudioReport, AudioSender, PACKET_INTERVAL, Playout,
};
use net::gamestream::audio_fec::{self, DATA_SHARDS, TOTAL_SHARDS};
use net::units::Timestamp;

use super::network::{Endpoint, Transmit};
use super::packet::{Address, DATAGRAM_BYTES_MAX};

/// An Opus packet of 5 ms at 192 kbit/s.
const PACKET_BYTES: usize = 120;
const MARK: u8 = 0x61;
const HEAD_BYTES: usize = 6;
/// A GameStream client plays a packet so long after its block's parity is due: three packets of
/// block, and what jitter it allows.
const PLAY_AFTER: Duration = Duration::from_millis(40);

/// Which plane carries it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AudioPlane {
    /// Copies in later datagrams, as many as the loss asks for.
    #[default]
    Native,
    /// Two parity packets for each four.
    GameStream,
}

/// The sending end.
pub struct AudioHost {
    to: Address,
    plane: AudioPlane,
    sender: AudioSender,
    next: Timestamp,
    end: Timestamp,
    number: u64,
    block: [[u8; PACKET_BYTES]; TOTAL_SHARDS],
    outbox: VecDeque<Vec<u8>>,
    sent_bytes: u64,
}

impl AudioHost {
    /// Sends to `to` from `start` to `end`.
    #[must_use]
    pub fn new(to: Address, plane: AudioPlane, start: Timestamp, end: Timestamp) -> Self {
        Self {
            to,
            plane,
            sender: AudioSender::new(),
            next: start,
            end,
            number: 0,
            block: [[0; PACKET_BYTES]; TOTAL_SHARDS],
            outbox: VecDeque::new(),
            sent_bytes: 0,
        }
    }

    /// Packets sent.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.number
    }

    /// Bytes of datagrams over bytes of packets, less 1.
    #[must_use]
    pub fn overhead(&self) -> f64 {
        self.sent_bytes as f64 / (self.number.max(1) * PACKET_BYTES as u64) as f64 - 1.0
    }

    fn make(&mut self, captured: Timestamp) {
        let bytes = packet(self.number);
        match self.plane {
            AudioPlane::Native => {
                let mut out = Vec::new();
                self.sender
                    .send(captured, &bytes, &mut out)
                    .expect("the packet is within the limits");
                self.outbox.push_back(out);
            }
            AudioPlane::GameStream => {
                let place = (self.number % DATA_SHARDS as u64) as usize;
                self.block[place] = bytes;
                self.push_shard(place);
                if place + 1 == DATA_SHARDS {
                    let (data, parity) = self.block.split_at_mut(DATA_SHARDS);
                    let (first, second) = parity.split_at_mut(1);
                    let data = [&data[0][..], &data[1][..], &data[2][..], &data[3][..]];
                    audio_fec::encode(data, [&mut first[0], &mut second[0]])
                        .expect("all are equally long");
                    for place in DATA_SHARDS..TOTAL_SHARDS {
                        self.push_shard(place);
                    }
                }
            }
        }
        self.number += 1;
    }

    fn push_shard(&mut self, place: usize) {
        let block = (self.number / DATA_SHARDS as u64) as u32;
        let mut out = vec![MARK];
        out.extend(block.to_le_bytes());
        out.push(place as u8);
        out.extend(self.block[place]);
        self.outbox.push_back(out);
    }
}

impl Endpoint for AudioHost {
    fn handle(&mut self, now: Timestamp, _from: Address, datagram: &mut [u8]) {
        if let Ok(report) = AudioReport::parse(datagram) {
            self.sender
                .handle_report(now, &report)
                .expect("an honest client reports what was sent");
        }
    }

    fn poll_transmit(
        &mut self,
        _now: Timestamp,
        datagram: &mut [u8; DATAGRAM_BYTES_MAX],
    ) -> Option<Transmit> {
        let out = self.outbox.pop_front()?;
        datagram[..out.len()].copy_from_slice(&out);
        self.sent_bytes += out.len() as u64;
        Some(Transmit {
            to: self.to,
            bytes: out.len(),
        })
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        (self.next < self.end).then_some(self.next)
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        while self.next <= now && self.next < self.end {
            self.make(self.next);
            self.next = self.next + PACKET_INTERVAL;
        }
    }
}

/// What a listener got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Packets played.
    pub played: u64,
    /// Packets concealed.
    pub concealed: u64,
    /// Packets played whose bytes are not those that were sent.
    pub wrong: u64,
}

impl Heard {
    /// Share concealed, 0 to 1.
    #[must_use]
    pub fn share_concealed(&self) -> f64 {
        self.concealed as f64 / (self.played + self.concealed).max(1) as f64
    }
}

/// The receiving end.
pub struct AudioClient {
    to: Address,
    plane: AudioPlane,
    start: Timestamp,
    receiver: AudioReceiver,
    blocks: VecDeque<Block>,
    next_block: u32,
    heard: Heard,
    report: Option<AudioReport>,
    report_due: Option<Timestamp>,
    bytes: Vec<u8>,
}

/// A block of GameStream's.
struct Block {
    number: u32,
    present: [bool; TOTAL_SHARDS],
    shards: [[u8; PACKET_BYTES]; TOTAL_SHARDS],
}

impl AudioClient {
    /// Receives from `to`, whose first packet is captured at `start`.
    #[must_use]
    pub fn new(to: Address, plane: AudioPlane, start: Timestamp) -> Self {
        Self {
            to,
            plane,
            start,
            receiver: AudioReceiver::new(),
            blocks: VecDeque::new(),
            next_block: 0,
            heard: Heard::default(),
            report: None,
            report_due: None,
            bytes: Vec::new(),
        }
    }

    /// What was heard so far.
    #[must_use]
    pub fn heard(&self) -> Heard {
        match self.plane {
            AudioPlane::GameStream => self.heard,
            AudioPlane::Native => Heard {
                played: self.receiver.stats().played,
                concealed: self.receiver.stats().concealed,
                wrong: self.heard.wrong,
            },
        }
    }

    /// Delay of the play-out, as it is aimed at.
    #[must_use]
    pub fn delay(&self) -> Duration {
        match self.plane {
            AudioPlane::Native => self.receiver.delay(),
            AudioPlane::GameStream => PLAY_AFTER,
        }
    }

    fn take_shard(&mut self, datagram: &[u8]) {
        let (Some(block), Some(&place)) = (datagram.get(1..5), datagram.get(5)) else {
            return;
        };
        let number = u32::from_le_bytes(block.try_into().expect("four bytes"));
        let (place, packet) = (usize::from(place), &datagram[HEAD_BYTES..]);
        if number < self.next_block || place >= TOTAL_SHARDS || packet.len() != PACKET_BYTES {
            return;
        }
        let ahead = (number - self.next_block) as usize;
        while self.blocks.len() <= ahead.min(64) {
            self.blocks.push_back(Block {
                number: self.next_block + self.blocks.len() as u32,
                present: [false; TOTAL_SHARDS],
                shards: [[0; PACKET_BYTES]; TOTAL_SHARDS],
            });
        }
        if let Some(block) = self.blocks.get_mut(ahead) {
            block.present[place] = true;
            block.shards[place].copy_from_slice(packet);
        }
    }

    /// When the next block is played: its last packet's capture and the delay.
    fn block_due(&self) -> Timestamp {
        self.start + PACKET_INTERVAL * (self.next_block + 1) * DATA_SHARDS as u32 + PLAY_AFTER
    }

    fn play_block(&mut self) {
        let number = self.next_block;
        self.next_block += 1;
        let Some(mut block) = self.blocks.pop_front() else {
            self.heard.concealed += DATA_SHARDS as u64;
            return;
        };
        debug_assert_eq!(block.number, number);
        let [a, b, c, d, e, f] = &mut block.shards;
        let mut shards = [
            &mut a[..],
            &mut b[..],
            &mut c[..],
            &mut d[..],
            &mut e[..],
            &mut f[..],
        ];
        let whole = audio_fec::recover(&mut shards, block.present).is_ok();
        for place in 0..DATA_SHARDS {
            if !whole && !block.present[place] {
                self.heard.concealed += 1;
                continue;
            }
            self.heard.played += 1;
            let sent = packet(u64::from(number) * DATA_SHARDS as u64 + place as u64);
            self.heard.wrong += u64::from(block.shards[place] != sent);
        }
    }
}

impl Endpoint for AudioClient {
    fn handle(&mut self, now: Timestamp, _from: Address, datagram: &mut [u8]) {
        match self.plane {
            AudioPlane::GameStream => self.take_shard(datagram),
            AudioPlane::Native => {
                if let Ok(datagram) = AudioDatagram::parse(datagram) {
                    self.receiver.handle(now, &datagram);
                    self.report_due
                        .get_or_insert(now + net::audio::receive::REPORT_INTERVAL);
                }
            }
        }
    }

    fn poll_transmit(
        &mut self,
        _now: Timestamp,
        datagram: &mut [u8; DATAGRAM_BYTES_MAX],
    ) -> Option<Transmit> {
        let report = self.report.take()?;
        self.bytes.clear();
        report.write(&mut self.bytes);
        datagram[..self.bytes.len()].copy_from_slice(&self.bytes);
        Some(Transmit {
            to: self.to,
            bytes: self.bytes.len(),
        })
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        match self.plane {
            AudioPlane::GameStream => Some(self.block_due()),
            AudioPlane::Native => [self.receiver.poll_timeout(), self.report_due]
                .into_iter()
                .flatten()
                .min(),
        }
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        if self.plane == AudioPlane::GameStream {
            while self.block_due() <= now {
                self.play_block();
            }
            return;
        }
        loop {
            match self.receiver.poll(now) {
                Playout::Wait(_) => break,
                Playout::Conceal(_) => {}
                Playout::Play {
                    captured_us,
                    packet: played,
                } => {
                    let start_us = (self.start.as_ns() / 1000) as u32;
                    let interval_us = PACKET_INTERVAL.as_micros() as u32;
                    let number = captured_us.wrapping_sub(start_us) / interval_us;
                    self.heard.wrong += u64::from(played != packet(u64::from(number)));
                }
            }
        }
        if self.report_due.is_some_and(|due| due <= now) {
            self.report = self.receiver.poll_report(now);
            self.report_due = None;
        }
    }
}

/// Packet `number`: bytes that no other has.
fn packet(number: u64) -> [u8; PACKET_BYTES] {
    let mut bytes = [0; PACKET_BYTES];
    for (index, chunk) in bytes.chunks_exact_mut(8).enumerate() {
        let word = (number << 8 | index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}
