//! A model of a stock client's video receiver, for tests and the simulator: which packets it
//! takes, when a frame is whole, and what it reports.
//!
//! The rules are those of moonlight-common-c (`RtpVideoQueue.c`, `VideoDepacketizer.c`, August
//! 2026), its strict ones too: whatever a debug build asserts of a packet is an error here. Time
//! plays no part in them.
//!
//! Blocks are recovered by the project's own GF(2⁸) code; the bytes of that are proven elsewhere.

use crate::crypto::Gcm;
use crate::fec::{Code, Decoder, ShardSet};
use crate::limits::SHARD_BYTES_MAX;

use super::reports::FecStatus;

const RTP_BYTES: usize = 16;
const NV_BYTES: usize = 16;

/// What the receiver makes of a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// A frame for the decoder, without its header of 8 bytes.
    Frame {
        /// As counted on the wire.
        frame: u32,
        /// Kind of frame: 1 refers to the frame before, 2 is an IDR, 5 refers past a loss.
        kind: u8,
        /// Host latency, 0.1 ms.
        latency_tenths_ms: u16,
        /// The bitstream.
        bytes: Vec<u8>,
    },
    /// Message 0x5502.
    FecStatus(FecStatus),
    /// Message 0x0301: frames from first to last were lost.
    Invalidate {
        /// First.
        first: u32,
        /// Last.
        last: u32,
    },
    /// Message 0x0302.
    RequestIdr,
}

/// A packet that a debug build of the client would stop at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("packet {sequence} of frame {frame}: {what}")]
pub struct ClientRefusal {
    /// RTP sequence.
    pub sequence: u16,
    /// Frame on the wire.
    pub frame: u32,
    /// Which rule it breaks.
    pub what: &'static str,
}

#[derive(Clone, Debug)]
struct Packet {
    /// From the second header on, without padding.
    bytes: Vec<u8>,
}

impl Packet {
    fn u32(&self, at: usize) -> u32 {
        let bytes = self.bytes[at..at + 4].try_into();
        u32::from_le_bytes(bytes.expect("the header is there"))
    }

    fn flags(&self) -> u8 {
        self.bytes[8]
    }
}

/// The block that packets are collected for.
#[derive(Clone, Debug, Default)]
struct Block {
    lowest: u16,
    data: usize,
    parity: usize,
    percent: u8,
    packets: Vec<Option<Packet>>,
    highest: Option<u16>,
}

impl Block {
    fn received(&self, parity: bool) -> usize {
        let (data, rest) = self.packets.split_at(self.data.min(self.packets.len()));
        let part = if parity { rest } else { data };
        part.iter().flatten().count()
    }

    fn missing(&self) -> usize {
        let Some(highest) = self.highest else {
            return 0;
        };
        let until = usize::from(highest.wrapping_sub(self.lowest)) + 1;
        self.packets[..until]
            .iter()
            .filter(|packet| packet.is_none())
            .count()
    }
}

/// The receiver.
pub struct ClientModel {
    packet_bytes: usize,
    gcm: Option<Gcm>,
    rfi: bool,
    decoder: Decoder,
    frame: u32,
    block_number: u8,
    last_block: u8,
    block: Block,
    /// Sequence below which nothing is taken.
    next_sequence: u16,
    /// Data packets of the frame's blocks that are whole.
    complete: Vec<Packet>,
    reported_lost: bool,
    saw_disorder: bool,
    // What follows is the depacketizer's.
    next_frame: u32,
    first_of_loss: u32,
    last_index: u32,
    had_idr: bool,
    waits_for_idr: bool,
    waits_for_recovery: bool,
    waits_for_success: bool,
    drops_in_a_row: u32,
    events: Vec<ClientEvent>,
}

/// Frames dropped in a row until an IDR is asked for in any case.
const DROPS_IN_A_ROW_MAX: u32 = 120;

impl ClientModel {
    /// A client that asked for packets of this size; `rfi` if it uses 0x0301.
    #[must_use]
    pub fn new(packet_bytes: u16, key: Option<[u8; 16]>, rfi: bool) -> Self {
        Self {
            packet_bytes: usize::from(packet_bytes),
            gcm: key.as_ref().map(Gcm::new),
            rfi,
            decoder: Decoder::new(),
            frame: 1,
            block_number: 0,
            last_block: 0,
            block: Block::default(),
            next_sequence: 0,
            complete: Vec::new(),
            reported_lost: false,
            saw_disorder: false,
            next_frame: 0,
            first_of_loss: 0,
            last_index: u32::MAX,
            had_idr: false,
            waits_for_idr: true,
            waits_for_recovery: false,
            waits_for_success: false,
            drops_in_a_row: 0,
            events: Vec::new(),
        }
    }

    /// What happened since the last call, in order.
    pub fn take_events(&mut self) -> Vec<ClientEvent> {
        std::mem::take(&mut self.events)
    }

    /// Takes a datagram.
    ///
    /// # Errors
    /// [`ClientRefusal`]: the host broke a rule. Late and repeated packets are no error.
    pub fn handle_datagram(&mut self, datagram: &[u8]) -> Result<(), ClientRefusal> {
        let mut plain = datagram.to_vec();
        if let Some(gcm) = &self.gcm {
            let Some((prefix, sealed)) = plain.split_at_mut_checked(32) else {
                return Ok(());
            };
            let nonce = prefix[..12].try_into().expect("12 bytes");
            let tag = prefix[16..].try_into().expect("16 bytes");
            if !gcm.open(&nonce, sealed, &tag) {
                return Ok(());
            }
            plain.drain(..32);
        }
        if plain.len() < RTP_BYTES + NV_BYTES {
            return Ok(());
        }
        let sequence = u16::from_be_bytes([plain[2], plain[3]]);
        let has_extension = plain[0] & 0x10 != 0;
        let packet = Packet {
            bytes: plain.split_off(RTP_BYTES),
        };
        let refuse = |what| {
            Err(ClientRefusal {
                sequence,
                frame: packet.u32(4),
                what,
            })
        };
        if !has_extension {
            return refuse("no extension");
        }
        if is_before(sequence, self.next_sequence) {
            return Ok(());
        }
        let frame = packet.u32(4);
        let number = packet.bytes[11] >> 4 & 3;
        if frame < self.frame || frame == self.frame && number < self.block_number {
            return Ok(());
        }
        let is_open = self.block.packets.iter().any(Option::is_some);
        let begins = !is_open || frame != self.frame || number != self.block_number;
        if begins && !self.begin_block(&packet, sequence, is_open) {
            return Ok(());
        }
        let info = packet.u32(12);
        let at = usize::from(sequence.wrapping_sub(self.block.lowest));
        if at >= self.block.data + self.block.parity {
            return Ok(());
        }
        let (index, data) = ((info >> 12 & 0x3ff) as usize, (info >> 22) as usize);
        if index != at && self.block.percent > 0 {
            return refuse("its index is not its place");
        }
        if data != self.block.data || (info >> 4) as u8 != self.block.percent {
            return refuse("counts differ within a block");
        }
        if packet.bytes[11] >> 6 != self.last_block {
            return refuse("the last block differs within a frame");
        }
        if packet.flags() & 2 == 0 && packet.bytes.len() != self.packet_bytes {
            return refuse("short without being the block's last");
        }
        if packet.bytes.len() > self.packet_bytes {
            return refuse("longer than asked for");
        }
        self.take(packet, sequence, at);
        Ok(())
    }

    fn take(&mut self, packet: Packet, sequence: u16, at: usize) {
        let block = &mut self.block;
        if block.packets[at].is_some() {
            return;
        }
        if block
            .highest
            .is_some_and(|highest| is_before(sequence, highest))
        {
            self.saw_disorder = true;
        } else {
            block.highest = Some(sequence);
        }
        if sequence == self.next_sequence {
            self.next_sequence = sequence.wrapping_add(1);
        }
        block.packets[at] = Some(packet);
        let (data, parity) = (block.received(false), block.received(true));
        if data + parity < block.data {
            let hopeless = block.missing() > block.parity;
            if hopeless && !self.reported_lost && !self.saw_disorder {
                self.reported_lost = true;
                self.lose(self.frame);
            }
            return;
        }
        if data < block.data {
            // Of what came: what is recovered counts in no number of the report.
            self.report();
            self.recover();
        }
        let block = std::mem::take(&mut self.block);
        let whole = block.packets.into_iter().take(block.data).flatten();
        self.complete.extend(whole);
        if self.block_number < self.last_block {
            self.block_number += 1;
        } else {
            for packet in std::mem::take(&mut self.complete) {
                self.depacketize(&packet);
            }
            self.frame = self.frame.wrapping_add(1);
            self.block_number = 0;
        }
    }

    /// Another block begins with this packet; false if it is not taken.
    fn begin_block(&mut self, packet: &Packet, sequence: u16, is_open: bool) -> bool {
        let frame = packet.u32(4);
        let number = packet.bytes[11] >> 4 & 3;
        if is_open {
            self.report();
            if self.last_block != 0 && self.frame == frame {
                self.skip_frame(self.frame);
                return false;
            }
        }
        let expected = if self.frame == frame {
            self.block_number
        } else {
            0
        };
        if number != expected {
            self.report();
            self.skip_frame(frame);
            return false;
        }
        if self.frame != frame {
            self.complete.clear();
            if self.frame + 1 != frame || !self.reported_lost {
                self.lose(frame - 1);
            }
        }
        let info = packet.u32(12);
        let (data, percent) = ((info >> 22) as usize, (info >> 4) as u8);
        let parity = (data * usize::from(percent)).div_ceil(100);
        self.frame = frame;
        self.block = Block {
            lowest: sequence.wrapping_sub((info >> 12 & 0x3ff) as u16),
            data,
            parity,
            percent,
            packets: vec![None; data + parity],
            highest: None,
        };
        self.next_sequence = self.block.lowest;
        self.reported_lost = false;
        self.block_number = number;
        self.last_block = packet.bytes[11] >> 6;
        true
    }

    /// A block of `frame` is missing: the rest of the frame is not looked at.
    fn skip_frame(&mut self, frame: u32) {
        self.block = Block::default();
        self.complete.clear();
        if !self.reported_lost {
            self.reported_lost = true;
            self.lose(self.frame);
        }
        self.frame = frame + 1;
        self.block_number = 0;
    }

    fn recover(&mut self) {
        let (bytes, block) = (self.packet_bytes, &mut self.block);
        let total = block.data + block.parity;
        let mut present = ShardSet::new();
        let mut whole = vec![0; total * bytes];
        for (at, packet) in block.packets.iter().enumerate() {
            if let Some(packet) = packet {
                present.insert(at);
                whole[at * bytes..][..packet.bytes.len()].copy_from_slice(&packet.bytes);
            }
        }
        for columns in [
            0..bytes.min(SHARD_BYTES_MAX),
            SHARD_BYTES_MAX.min(bytes)..bytes,
        ] {
            if columns.is_empty() {
                continue;
            }
            let width = columns.len();
            let mut part: Vec<u8> = (0..total)
                .flat_map(|at| whole[at * bytes..][columns.clone()].to_vec())
                .collect();
            self.decoder
                .recover(
                    Code::Gf8,
                    width,
                    block.data,
                    block.parity,
                    &mut part,
                    &present,
                )
                .expect("as many packets as there is data");
            for at in (0..block.data).filter(|&at| !present.contains(at)) {
                whole[at * bytes..][columns.clone()].copy_from_slice(&part[at * width..][..width]);
            }
        }
        for at in (0..block.data).filter(|&at| !present.contains(at)) {
            let mut bytes = whole[at * bytes..][..bytes].to_vec();
            bytes[4..8].copy_from_slice(&self.frame.to_le_bytes());
            bytes[11] = self.block_number << 4 | self.last_block << 6;
            let flags = bytes[8];
            assert_eq!(flags & !7, 0, "recovered flags");
            assert_eq!(flags & 4 != 0, at == 0, "recovered begin");
            assert_eq!(flags & 2 != 0, at + 1 == block.data, "recovered end");
            block.packets[at] = Some(Packet { bytes });
        }
    }

    fn report(&mut self) {
        let block = &self.block;
        self.events.push(ClientEvent::FecStatus(FecStatus {
            frame: self.frame,
            highest_received: block.highest.unwrap_or(0),
            next_contiguous: self.next_sequence,
            missing_before_highest: block.missing() as u16,
            data_packets: block.data as u16,
            parity_packets: block.parity as u16,
            data_received: block.received(false) as u16,
            parity_received: block.received(true) as u16,
            percent: block.percent,
            block: self.block_number,
            blocks: self.last_block + 1,
        }));
    }

    /// The frame will not be whole.
    fn lose(&mut self, frame: u32) {
        self.drop_state();
        if !self.waits_for_idr {
            self.next_frame = frame + 1;
            self.invalidate(frame);
        }
    }

    fn invalidate(&mut self, last: u32) {
        let first = self.first_of_loss;
        let event = match self.rfi {
            true => ClientEvent::Invalidate { first, last },
            false => ClientEvent::RequestIdr,
        };
        self.events.push(event);
    }

    fn drop_state(&mut self) {
        if !self.rfi || !self.had_idr || self.waits_for_idr {
            self.waits_for_idr = true;
        } else {
            self.waits_for_recovery = true;
        }
        self.drops_in_a_row += 1;
        if self.drops_in_a_row == DROPS_IN_A_ROW_MAX {
            self.drops_in_a_row = 0;
            self.waits_for_idr = true;
            self.events.push(ClientEvent::RequestIdr);
        }
    }

    /// One data packet of a whole frame. The frame is collected in `complete`, which its caller
    /// has emptied.
    fn depacketize(&mut self, packet: &Packet) {
        let frame = packet.u32(4);
        if frame < self.next_frame {
            return;
        }
        let index = packet.u32(0) >> 8;
        let expected = self.last_index.wrapping_add(1) & 0xff_ffff;
        let is_begin = packet.flags() & 4 != 0;
        let is_behind = index.wrapping_sub(expected) & 0x80_0000 != 0;
        if is_behind || !is_begin && index != expected {
            self.next_frame = frame + 1;
            self.drop_state();
            if self.waits_for_idr {
                self.events.push(ClientEvent::RequestIdr);
            } else {
                self.invalidate(frame);
            }
            self.complete.clear();
            return;
        }
        self.last_index = index;
        let number = packet.bytes[11] >> 4 & 3;
        if is_begin && number == 0 {
            self.complete.clear();
            if self.next_frame < frame {
                self.next_frame = frame;
                self.waits_for_success = true;
                self.drop_state();
            }
        }
        self.complete.push(packet.clone());
        if packet.flags() & 2 != 0 && number == packet.bytes[11] >> 6 {
            self.finish(frame);
        }
    }

    fn finish(&mut self, frame: u32) {
        let mut bytes = Vec::new();
        for packet in std::mem::take(&mut self.complete) {
            bytes.extend_from_slice(&packet.bytes[NV_BYTES..]);
        }
        self.next_frame = frame + 1;
        let header: Vec<u8> = bytes.drain(..8).collect();
        let kind = header[3];
        let starts_with_sets = idr_starts_here(&bytes);
        if kind == 2 && starts_with_sets {
            self.waits_for_idr = false;
            self.waits_for_success = false;
            self.had_idr = true;
        }
        if matches!(kind, 2 | 4 | 5) && self.waits_for_recovery {
            self.waits_for_recovery = false;
            self.waits_for_success = false;
        }
        if self.waits_for_idr || self.waits_for_recovery {
            if !self.waits_for_idr {
                self.invalidate(frame);
            } else if self.waits_for_success {
                self.events.push(ClientEvent::RequestIdr);
            }
            self.waits_for_success = false;
            self.drop_state();
            return;
        }
        self.drops_in_a_row = 0;
        self.first_of_loss = frame + 1;
        self.events.push(ClientEvent::Frame {
            frame,
            kind,
            latency_tenths_ms: u16::from_le_bytes([header[1], header[2]]),
            bytes,
        });
    }
}

/// H.264 or HEVC parameter sets come first, or any bytes without a start code (for tests).
fn idr_starts_here(bytes: &[u8]) -> bool {
    let unit = bytes
        .strip_prefix(&[0, 0, 0, 1])
        .or_else(|| bytes.strip_prefix(&[0, 0, 1]));
    unit.and_then(<[u8]>::first)
        .is_none_or(|first| first & 0x1f == 7 || first >> 1 & 0x3f == 32)
}

const fn is_before(a: u16, b: u16) -> bool {
    a.wrapping_sub(b) & 0x8000 != 0
}
