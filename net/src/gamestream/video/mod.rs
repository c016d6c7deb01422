//! Cuts slices into GameStream's video packets, block by block.
//!
//! A frame is 1 to [`BLOCKS_MAX`] FEC blocks. Slices map to blocks in order ([`FramePlan`]), and
//! a block is sent as soon as its last slice is there: the client's receiver takes that as well
//! as whole frames. The protect stage calls [`VideoPacketizer::begin`] with a slice, then
//! [`VideoPacketizer::next_batch`] until it says that nothing is left.
//!
//! A datagram (client: `Video.h` and `RtpVideoQueue.c` of moonlight-common-c):
//!
//! | offset | size | field |
//! |---:|---:|---|
//! | 0 | 12 | RTP: 0x90 (version 2, extension), type 0, sequence, time in 90 kHz, source 0; big-endian |
//! | 12 | 4 | zeros |
//! | 16 | 4 | packet index << 8; little-endian from here on |
//! | 20 | 4 | frame, from 1 |
//! | 24 | 1 | flags: 1 picture, 2 end of the block, 4 begin of the block |
//! | 25 | 1 | 0 |
//! | 26 | 1 | 0x10 |
//! | 27 | 1 | block << 4, last block << 6 |
//! | 28 | 4 | data packets << 22, index in the block << 12, parity percent << 4 |
//! | 32 | … | payload; a block's last data packet may be short, all others are whole |
//!
//! A frame's payload begins with 8 bytes: 1, host latency (u16, 0.1 ms), kind of frame, payload
//! of the last packet (u16), 0, 0. With encryption, 32 bytes go before the datagram: nonce
//! (12), frame (u32), tag (16); everything above is then AES-128-GCM ciphertext.
//!
//! Invariants:
//! - Sequences count on without a gap over data and parity; the first is 0 (the client takes
//!   none at or above 32768 as its first).
//! - Blocks go out in order, data before parity; a block's counts are the same in all of its
//!   packets.
//! - Nothing allocates after construction.
//! - Builds with debug assertions drop a packet of each block, recover it and compare.

#[cfg(debug_assertions)]
mod check;
mod latency;
mod nal;
mod parity;
mod policy;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::time::Duration;

use crate::crypto::Gcm;
use crate::fec::{Code, Encoder};
use crate::limits::{DATAGRAM_BYTES_MAX, GSO_SEGMENTS_MAX, SHARD_BYTES_MAX, TAG_BYTES};
use crate::packetize::{Batch, Cargo, Protection, SliceMeta};
use crate::units::Timestamp;

#[cfg(debug_assertions)]
use check::SelfCheck;
use parity::Shape;

pub use latency::LatencyEstimate;
pub use parity::parity_packets;
pub use policy::{BlockPolicy, BlockPolicyConfig};

/// Most FEC blocks of a frame: two bits number them.
pub const BLOCKS_MAX: u8 = 4;
/// Smallest packet that a client may ask for, bytes: parameter sets and the head of an IDR's
/// first slice must fit the first one.
pub const PACKET_BYTES_MIN: u16 = 512;
/// Largest: what clients use in local networks. With RTP header and encryption 1440 bytes of UDP
/// payload at most, as encrypting clients ask for 32 bytes less.
pub const PACKET_BYTES_MAX: u16 = 1392;
/// RTP header with what clients skip behind it.
const RTP_BYTES: usize = 16;
/// The second header, which belongs to the packet that the client states the size of.
const NV_BYTES: usize = 16;
/// What goes before an encrypted datagram.
const ENCRYPTION_BYTES: usize = 12 + 4 + TAG_BYTES;
/// Most data packets of a block. The field has 10 bits; the receiver was tried with so many.
const DATA_PACKETS_MAX: usize = 650;
/// Most parity packets of a block that are ever made: more than a third of the largest block.
const PARITY_PACKETS_MAX: usize = 96;
/// Over other frames' parity, that of a frame which refers past a loss: without it nothing more is
/// shown, and it comes where losses cluster.
const RECOVERY_PARITY: usize = 2;
/// Most data packets that wait: a whole frame.
const STAGED_MAX: usize = BLOCKS_MAX as usize * DATA_PACKETS_MAX;
const DATAGRAM_BYTES_LARGEST: usize = ENCRYPTION_BYTES + RTP_BYTES + PACKET_BYTES_MAX as usize;
const _: () = assert!(
    DATAGRAM_BYTES_LARGEST <= 1452,
    "Ethernet less IPv6 and UDP: nothing is ever fragmented on the first hop"
);
const _: () = assert!(DATA_PACKETS_MAX < 1 << 10);

const FLAG_PICTURE: u8 = 1;
const FLAG_END: u8 = 2;
const FLAG_BEGIN: u8 = 4;

/// Codec of the stream, as far as packets depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum VideoFormat {
    /// Annex B.
    #[default]
    H264,
    /// Annex B.
    Hevc,
    /// Its client needs the length of the last packet in the first: frames are sent whole.
    Av1,
}

/// How a session's video is packetized.
#[derive(Clone, Debug)]
pub struct VideoConfig {
    /// What the client asked for, [`PACKET_BYTES_MIN`] to [`PACKET_BYTES_MAX`] bytes. Must be
    /// exactly that: its FEC pads to it.
    pub packet_bytes: u16,
    /// The client's minimum of parity packets.
    pub parity_min: u8,
    /// Parity of a block beside that minimum. Groups of slices are of no meaning here.
    pub protection: Protection,
    /// Codec.
    pub format: VideoFormat,
    /// The session's key, if the client asked for encrypted video.
    pub key: Option<[u8; 16]>,
    /// Most datagrams in a batch.
    pub batch_datagrams_max: usize,
}

/// What must be known of a frame with its first slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FramePlan {
    /// Slices that the encoder will make; 0 or 1 for a whole picture.
    pub slices: u8,
    /// Blocks to send it in, at most one a slice; clamped to 1 to [`BLOCKS_MAX`].
    pub blocks: u8,
    /// What the host will have taken for the frame, from its pixels to its last packet.
    pub host_latency: Duration,
    /// Packets that a frame may take on average, in sixteenths: what data and the parity that is due
    /// leave of them is parity, too, if the frame is one block. 0 for none of it.
    pub fill_16: u16,
}

/// Why a slice is not sent. What follows of its frame is not sent either: the client misses the
/// frame and asks for repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VideoError {
    /// The packet size is one that cannot be served.
    #[error(
        "packets of {bytes} bytes cannot be served: ask for {PACKET_BYTES_MIN} to \
         {PACKET_BYTES_MAX}"
    )]
    PacketBytes {
        /// Asked, bytes.
        bytes: u16,
    },
    /// A slice without bytes.
    #[error("slice {slice} of frame {frame} is empty")]
    Empty {
        /// Which frame.
        frame: u32,
        /// Which slice.
        slice: u8,
    },
    /// It outgrows what blocks can hold.
    #[error(
        "frame {frame} needs more than {packets_max} packets up to slice {slice}: lower the \
         bitrate"
    )]
    FrameTooLarge {
        /// Which frame.
        frame: u32,
        /// Which slice.
        slice: u8,
        /// What is left of its blocks, packets.
        packets_max: usize,
    },
    /// The frame was given up before.
    #[error("slice {slice} of frame {frame} is not sent: the frame was given up")]
    GivenUp {
        /// Which frame.
        frame: u32,
        /// Which slice.
        slice: u8,
    },
}

/// What has been packetized so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VideoStats {
    /// Datagrams with data.
    pub data_datagrams: u64,
    /// Datagrams with parity.
    pub parity_datagrams: u64,
    /// FEC blocks.
    pub blocks: u64,
    /// Frames that were given up.
    pub given_up: u64,
}

/// The frame in work.
#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    meta: SliceMeta,
    slices: u8,
    /// Blocks, as told with the first packet.
    blocks: u8,
    /// The next one.
    block: u8,
    rtp_time: u32,
    given_up: bool,
    is_over: bool,
    first_slice: bool,
    fill_16: i32,
}

/// The block in work: data packets `first..first + shape.data` of those staged.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    shape: Shape,
    first: usize,
    /// The packet that goes next, parity after data.
    next: usize,
    /// Packet index of its first.
    index: u32,
    number: u8,
}

impl Block {
    const fn is_sent(&self) -> bool {
        self.next >= self.shape.data + self.shape.parity
    }
}

/// The host's protect stage for one GameStream session's video.
pub struct VideoPacketizer {
    encoder: Encoder,
    gcm: Option<Gcm>,
    format: VideoFormat,
    packet_bytes: usize,
    parity_min: usize,
    protection: Protection,
    batch_datagrams_max: usize,
    /// Staged data packets from the second header on, [`Self::packet_bytes`] each, zero behind
    /// what they hold.
    staged: Box<[u8]>,
    /// Bytes that each holds, second header included.
    lengths: Box<[u16]>,
    count: usize,
    /// Data packets of the frame's blocks before those staged.
    frame_packets: usize,
    parity: Box<[u8]>,
    /// The columns that one shard of the code cannot take.
    parity_rest: Box<[u8]>,
    frame: Frame,
    block: Block,
    /// Packets, in sixteenths, that frames took beyond [`FramePlan::fill_16`] and later ones leave.
    overdrawn_16: i32,
    /// Of the staged packets, what goes into blocks of its own after the one in work.
    cuts: [Range<usize>; BLOCKS_MAX as usize],
    cut: usize,
    /// Next packet's.
    index: u32,
    datagrams: u64,
    nonce: u64,
    epoch: Option<Timestamp>,
    stats: VideoStats,
    #[cfg(debug_assertions)]
    check: SelfCheck,
}

impl VideoPacketizer {
    /// Allocates everything that packetizing needs.
    ///
    /// # Errors
    /// [`VideoError::PacketBytes`].
    pub fn new(config: &VideoConfig) -> Result<Self, VideoError> {
        let bytes = config.packet_bytes;
        if !(PACKET_BYTES_MIN..=PACKET_BYTES_MAX).contains(&bytes) {
            return Err(VideoError::PacketBytes { bytes });
        }
        let packet_bytes = usize::from(bytes);
        let gcm = config.key.as_ref().map(Gcm::new);
        Ok(Self {
            encoder: Encoder::new(),
            gcm,
            format: config.format,
            packet_bytes,
            parity_min: usize::from(config.parity_min).min(PARITY_PACKETS_MAX),
            protection: config.protection,
            batch_datagrams_max: config.batch_datagrams_max.clamp(1, GSO_SEGMENTS_MAX),
            staged: vec![0; STAGED_MAX * packet_bytes].into_boxed_slice(),
            lengths: vec![0; STAGED_MAX].into_boxed_slice(),
            count: 0,
            frame_packets: 0,
            parity: vec![0; PARITY_PACKETS_MAX * SHARD_BYTES_MAX].into_boxed_slice(),
            parity_rest: vec![0; PARITY_PACKETS_MAX * parity::REST_BYTES_MAX].into_boxed_slice(),
            frame: Frame {
                is_over: true,
                ..Frame::default()
            },
            block: Block::default(),
            overdrawn_16: 0,
            cuts: [0..0, 0..0, 0..0, 0..0],
            cut: BLOCKS_MAX as usize,
            index: 0,
            datagrams: 0,
            nonce: 0,
            epoch: None,
            stats: VideoStats::default(),
            #[cfg(debug_assertions)]
            check: SelfCheck::new(),
        })
    }

    /// Counters since the start.
    #[must_use]
    pub const fn stats(&self) -> VideoStats {
        self.stats
    }

    /// Data packets of the block in work.
    #[must_use]
    pub const fn data_packets(&self) -> usize {
        self.block.shape.data
    }

    /// Data packets of the frame in work so far, those that wait for their block too.
    #[must_use]
    pub const fn frame_packets(&self) -> usize {
        self.frame_packets + self.count
    }

    /// From the next block on.
    pub const fn set_protection(&mut self, protection: Protection) {
        self.protection = protection;
    }

    /// From the next batch on, clamped to 1 to [`GSO_SEGMENTS_MAX`].
    pub fn set_batch_datagrams_max(&mut self, datagrams: usize) {
        self.batch_datagrams_max = datagrams.clamp(1, GSO_SEGMENTS_MAX);
    }

    /// The client lost a part of the frame in work: nothing more of it is sent.
    pub fn give_up_frame(&mut self) {
        if self.frame.is_over && self.block.is_sent() && self.cut >= self.cuts.len() {
            return;
        }
        self.stats.given_up += u64::from(!self.frame.given_up);
        self.frame.given_up = true;
        self.count = 0;
        self.block = Block::default();
        self.cut = self.cuts.len();
    }

    /// Takes up a slice, whose bytes it copies; `plan` is read with a frame's first slice. All
    /// batches of the slice before must have been taken.
    ///
    /// # Errors
    /// See [`VideoError`].
    pub fn begin(
        &mut self,
        slice: &SliceMeta,
        plan: &FramePlan,
        data: &[u8],
    ) -> Result<(), VideoError> {
        let (frame, index) = (wire_frame(slice), slice.index.0);
        if slice.frame != self.frame.meta.frame || self.frame.is_over {
            self.begin_frame(slice, plan);
        }
        self.frame.meta = *slice;
        self.frame.is_over = slice.last;
        if self.frame.given_up {
            return Err(VideoError::GivenUp {
                frame,
                slice: index,
            });
        }
        if data.is_empty() {
            self.give_up_frame();
            return Err(VideoError::Empty {
                frame,
                slice: index,
            });
        }
        let packets_max = self.room_packets();
        if self.packets_with(data.len()) > packets_max {
            self.give_up_frame();
            return Err(VideoError::FrameTooLarge {
                frame,
                slice: index,
                packets_max,
            });
        }
        if self.frame.first_slice {
            self.frame.first_slice = false;
            for piece in nal::without_extras(self.format, data) {
                self.stage(&data[piece]);
            }
        } else {
            self.stage(data);
        }
        if slice.last {
            self.close_frame();
        } else if self.ends_block(index) {
            self.set_cuts(0..self.count, 1);
        }
        Ok(())
    }

    /// Writes the next datagrams into `batch`; false (and `batch` untouched) when everything is
    /// sent that can be before the next slice.
    pub fn next_batch(&mut self, batch: &mut Batch) -> bool {
        if self.block.is_sent() && !self.open_block() {
            return false;
        }
        let is_parity = self.block.next >= self.block.shape.data;
        let cargo = match is_parity {
            true => Cargo::Parity,
            false => Cargo::Data,
        };
        let first = self.block.next == 0;
        batch.clear(cargo, self.frame.meta.frame, self.frame.meta.index);
        batch.first_sequence = self.datagrams;
        let room = DATAGRAM_BYTES_MAX * GSO_SEGMENTS_MAX;
        let datagram = self.packet_bytes + RTP_BYTES + self.prefix_bytes();
        let most = self.batch_datagrams_max.min(room / datagram);
        if is_parity {
            self.write_parity(batch, most);
        } else {
            self.write_data(batch, most);
        }
        batch.first_of_slice = first;
        let ends = self.block.is_sent() && self.cut >= self.cuts.len();
        batch.last_of_slice = ends;
        batch.last_of_frame = ends && self.frame.is_over;
        if ends {
            self.frame_packets += self.count;
            self.count = 0;
        }
        true
    }

    fn prefix_bytes(&self) -> usize {
        match self.gcm {
            Some(_) => ENCRYPTION_BYTES,
            None => 0,
        }
    }

    fn begin_frame(&mut self, slice: &SliceMeta, plan: &FramePlan) {
        let epoch = *self.epoch.get_or_insert(slice.captured);
        let slices = plan.slices.max(1);
        let blocks = match self.format {
            VideoFormat::Av1 => 1,
            _ => plan.blocks.clamp(1, BLOCKS_MAX),
        };
        self.frame = Frame {
            meta: *slice,
            slices,
            // A whole picture is cut when its size is known.
            blocks: if slices > 1 {
                blocks.min(slices)
            } else {
                blocks
            },
            block: 0,
            rtp_time: rtp_time(epoch, slice.captured),
            given_up: false,
            is_over: slice.last,
            first_slice: true,
            fill_16: plan.fill_16.into(),
        };
        self.block = Block::default();
        self.cut = self.cuts.len();
        self.count = 0;
        self.frame_packets = 0;
        let kind = match (slice.keyframe, slice.recovery) {
            (true, _) => 2,
            (false, true) => 5,
            (false, false) => 1,
        };
        let tenths = plan.host_latency.as_micros().div_ceil(100);
        let [low, high] = u16::try_from(tenths).unwrap_or(u16::MAX).to_le_bytes();
        self.stage(&[1, low, high, kind, 0, 0, 0, 0]);
    }

    /// Packets that fit what is staged and the blocks still to come.
    fn room_packets(&self) -> usize {
        let is_whole = self.frame.slices <= 1 || self.frame.block == 0;
        match is_whole && self.frame.meta.last {
            true => STAGED_MAX,
            false => DATA_PACKETS_MAX,
        }
    }

    /// Staged packets if so many bytes are added.
    fn packets_with(&self, bytes: usize) -> usize {
        let last = self.lengths[self.count.saturating_sub(1)];
        let free = match self.count {
            0 => 0,
            _ => self.packet_bytes - usize::from(last),
        };
        let payload = self.packet_bytes - NV_BYTES;
        self.count + bytes.saturating_sub(free).div_ceil(payload)
    }

    /// Appends to the staged packets.
    fn stage(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let is_full = |length: u16| usize::from(length) >= self.packet_bytes;
            if self.count == 0 || is_full(self.lengths[self.count - 1]) {
                let packet = &mut self.staged[self.count * self.packet_bytes..];
                packet[..self.packet_bytes].fill(0);
                self.lengths[self.count] = NV_BYTES as u16;
                self.count += 1;
            }
            let length = usize::from(self.lengths[self.count - 1]);
            let packet = &mut self.staged[(self.count - 1) * self.packet_bytes..];
            let part = data.len().min(self.packet_bytes - length);
            packet[length..length + part].copy_from_slice(&data[..part]);
            self.lengths[self.count - 1] = (length + part) as u16;
            data = &data[part..];
        }
    }

    fn ends_block(&self, slice: u8) -> bool {
        let block_of = |slice: u8| {
            u16::from(slice) * u16::from(self.frame.blocks) / u16::from(self.frame.slices)
        };
        let end = u16::from(self.frame.blocks) - 1;
        // The last block ends with the frame, however many slices come.
        let (this, next) = (block_of(slice), block_of(slice.saturating_add(1)));
        this < next.min(end + 1) && this == u16::from(self.frame.block) && this < end
    }

    /// The frame's last slice is staged: what is there fills the blocks that are left.
    fn close_frame(&mut self) {
        if self.frame.block == 0 {
            // Nothing of the frame is sent: the number of blocks can still follow its size.
            let wanted = usize::from(self.frame.blocks).min(self.count);
            let fits = |blocks: &usize| self.fits_parity(self.count.div_ceil(*blocks));
            let most = match self.format {
                VideoFormat::Av1 => 1..=BLOCKS_MAX as usize,
                _ => wanted.max(1)..=BLOCKS_MAX as usize,
            };
            let blocks = most.into_iter().find(fits).unwrap_or(BLOCKS_MAX as usize);
            self.frame.blocks = blocks.min(self.count) as u8;
            let last = self.lengths[self.count - 1] - NV_BYTES as u16;
            self.staged[NV_BYTES + 4..NV_BYTES + 6].copy_from_slice(&last.to_le_bytes());
        }
        let blocks = usize::from(self.frame.blocks - self.frame.block);
        if self.count < blocks {
            self.spread(blocks);
        }
        self.set_cuts(0..self.count, blocks);
    }

    fn fits_parity(&self, data: usize) -> bool {
        data + self.parity_wanted(data) <= parity::SHARDS_MAX
    }

    fn parity_wanted(&self, data: usize) -> usize {
        let wanted = self.protection.parity_for(data).max(self.parity_min);
        let wanted = match self.frame.meta.recovery {
            true => RECOVERY_PARITY * wanted,
            false => wanted,
        };
        wanted.min(PARITY_PACKETS_MAX)
    }

    /// Parity that a frame of one block has room for.
    fn fill_packets(&self, data: usize) -> usize {
        if self.frame.blocks != 1 {
            return 0;
        }
        let room = (self.frame.fill_16 - self.overdrawn_16).max(0) as usize / 16;
        room.saturating_sub(data)
    }

    /// A block takes so many packets.
    fn overdraw(&mut self, packets: usize) {
        let fill_16 = self.frame.fill_16;
        // Its share counts with the frame's first block.
        let share_16 = if self.frame.block == 0 { fill_16 } else { 0 };
        let sum = self.overdrawn_16 + 16 * packets as i32 - share_16;
        // Nothing is kept but what a packet has too few of, and some frames repay an IDR.
        self.overdrawn_16 = match fill_16 {
            0 => 0,
            _ => sum.clamp(-15, 4 * fill_16),
        };
    }

    /// Fewer packets than blocks were announced: they are cut smaller, one for each block.
    fn spread(&mut self, packets: usize) {
        let mut payload = [0; (BLOCKS_MAX as usize) * PACKET_BYTES_MAX as usize];
        let mut bytes = 0;
        for at in 0..self.count {
            let part = &self.staged[at * self.packet_bytes..][NV_BYTES..self.packet_bytes];
            let part = &part[..usize::from(self.lengths[at]) - NV_BYTES];
            payload[bytes..bytes + part.len()].copy_from_slice(part);
            bytes += part.len();
        }
        // At least a byte each: zeros behind the last NAL unit are legal (H.264, annex B).
        let each = bytes.div_ceil(packets).max(1);
        self.count = packets;
        for (at, part) in payload.chunks(each).take(packets).enumerate() {
            let left = bytes.saturating_sub(at * each).clamp(1, each);
            let packet = &mut self.staged[at * self.packet_bytes..][..self.packet_bytes];
            packet.fill(0);
            packet[NV_BYTES..NV_BYTES + left].copy_from_slice(&part[..left]);
            self.lengths[at] = (NV_BYTES + left) as u16;
        }
    }

    /// The staged packets go into so many blocks, of equal size but for one packet.
    fn set_cuts(&mut self, packets: Range<usize>, blocks: usize) {
        let count = packets.len();
        self.cut = self.cuts.len() - blocks;
        for block in 0..blocks {
            let part = count * block / blocks..count * (block + 1) / blocks;
            self.cuts[self.cut + block] = part;
        }
    }

    /// Takes up the next block; false if there is none.
    fn open_block(&mut self) -> bool {
        let Some(cut) = self.cuts.get(self.cut).cloned() else {
            return false;
        };
        self.cut += 1;
        let data = cut.len();
        let wanted = self.parity_wanted(data).max(self.fill_packets(data));
        let shape = Shape::new(data, wanted.min(PARITY_PACKETS_MAX));
        self.overdraw(shape.data + shape.parity);
        self.block = Block {
            shape,
            first: cut.start,
            next: 0,
            index: self.index,
            number: self.frame.block,
        };
        self.frame.block += 1;
        self.stats.blocks += 1;
        for at in 0..shape.data {
            let header = self.header(at);
            let packet = (cut.start + at) * self.packet_bytes;
            self.staged[packet..packet + NV_BYTES].copy_from_slice(&header);
        }
        self.index = self.index.wrapping_add((shape.data + shape.parity) as u32);
        true
    }

    /// The second header of packet `at` of the block in work.
    fn header(&self, at: usize) -> [u8; NV_BYTES] {
        let (block, frame) = (&self.block, &self.frame);
        let mut flags = FLAG_PICTURE;
        if at == 0 {
            flags |= FLAG_BEGIN;
        }
        if at + 1 == block.shape.data {
            flags |= FLAG_END;
        }
        // 24 bits that must not wrap with the 16 of the RTP sequence.
        let index = block.index.wrapping_add(at as u32) << 8;
        let info = (block.shape.data as u32) << 22
            | (at as u32) << 12
            | u32::from(block.shape.percent) << 4;
        let mut header = [0; NV_BYTES];
        header[..4].copy_from_slice(&index.to_le_bytes());
        header[4..8].copy_from_slice(&wire_frame(&frame.meta).to_le_bytes());
        header[8] = flags;
        header[10] = 0x10;
        header[11] = block.number << 4 | (frame.blocks - 1) << 6;
        header[12..].copy_from_slice(&info.to_le_bytes());
        header
    }

    fn rtp_header(&self, at: usize) -> [u8; RTP_BYTES] {
        let sequence = self.block.index.wrapping_add(at as u32) as u16;
        let mut header = [0; RTP_BYTES];
        header[0] = 0x90;
        header[2..4].copy_from_slice(&sequence.to_be_bytes());
        header[4..8].copy_from_slice(&self.frame.rtp_time.to_be_bytes());
        header
    }

    /// Data until the batch is full or a packet was short.
    fn write_data(&mut self, batch: &mut Batch, most: usize) {
        for _ in 0..most {
            let at = self.block.next;
            if at >= self.block.shape.data {
                return;
            }
            let packet = self.block.first + at;
            let length = usize::from(self.lengths[packet]);
            let mut datagram = [0; RTP_BYTES + PACKET_BYTES_MAX as usize];
            datagram[..RTP_BYTES].copy_from_slice(&self.rtp_header(at));
            datagram[RTP_BYTES..RTP_BYTES + length]
                .copy_from_slice(&self.staged[packet * self.packet_bytes..][..length]);
            self.put(&datagram[..RTP_BYTES + length], batch);
            self.stats.data_datagrams += 1;
            if length < self.packet_bytes {
                return;
            }
        }
    }

    fn write_parity(&mut self, batch: &mut Batch, most: usize) {
        if self.block.next == self.block.shape.data {
            self.encode();
        }
        let bytes = self.packet_bytes;
        let column = bytes.min(SHARD_BYTES_MAX);
        for _ in 0..most {
            if self.block.is_sent() {
                return;
            }
            let (at, row) = (self.block.next, self.block.next - self.block.shape.data);
            let mut datagram = [0; RTP_BYTES + PACKET_BYTES_MAX as usize];
            datagram[..RTP_BYTES].copy_from_slice(&self.rtp_header(at));
            let packet = &mut datagram[RTP_BYTES..RTP_BYTES + bytes];
            packet[..column].copy_from_slice(&self.parity[row * column..][..column]);
            let rest = bytes - column;
            packet[column..].copy_from_slice(&self.parity_rest[row * rest..][..rest]);
            // Index and flags stay parity, so that they are recovered; the client reads the rest
            // of each packet that comes, and sets it in each that it recovers.
            let header = self.header(at);
            packet[4..8].copy_from_slice(&header[4..8]);
            packet[10..NV_BYTES].copy_from_slice(&header[10..]);
            self.put(&datagram[..RTP_BYTES + bytes], batch);
            self.stats.parity_datagrams += 1;
        }
    }

    /// Makes the parity of the block in work: over whole packets from their second header on.
    /// The RTP header is left out, as the client sets it in what it recovers.
    fn encode(&mut self) {
        let (first, shape) = (self.block.first, self.block.shape);
        let (staged, bytes) = (&self.staged, self.packet_bytes);
        let column = bytes.min(SHARD_BYTES_MAX);
        let packet = |at: usize| &staged[(first + at) * bytes..][..bytes];
        let fits = "Shape keeps to the limits of the code";
        let parity = &mut self.parity[..shape.parity * column];
        self.encoder
            .encode_from(Code::Gf8, column, shape.data, packet, parity)
            .expect(fits);
        // Columns are coded one by one, so a shard may be coded in parts.
        let rest = bytes - column;
        if rest > 0 {
            let parity_rest = &mut self.parity_rest[..shape.parity * rest];
            self.encoder
                .encode_from(
                    Code::Gf8,
                    rest,
                    shape.data,
                    |at| &packet(at)[column..],
                    parity_rest,
                )
                .expect(fits);
        }
        #[cfg(debug_assertions)]
        self.check
            .drop_recover_compare(shape, column, packet, &self.parity);
    }

    /// Keeps one datagram in the batch, sealed if the session is encrypted.
    fn put(&mut self, datagram: &[u8], batch: &mut Batch) {
        let room = batch.room();
        let Some(gcm) = &self.gcm else {
            room[..datagram.len()].copy_from_slice(datagram);
            batch.push(datagram.len());
            self.block.next += 1;
            self.datagrams += 1;
            return;
        };
        // Clients give their own key for every session; "V" keeps video's nonces apart from those
        // of the control stream and RTSP, which use the same key.
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.nonce.to_le_bytes());
        nonce[11] = b'V';
        self.nonce += 1;
        let (prefix, rest) = room.split_at_mut(ENCRYPTION_BYTES);
        prefix[..12].copy_from_slice(&nonce);
        prefix[12..16].copy_from_slice(&wire_frame(&self.frame.meta).to_le_bytes());
        let mut tag = [0; TAG_BYTES];
        gcm.seal(&nonce, datagram, &mut rest[..datagram.len()], &mut tag);
        prefix[16..].copy_from_slice(&tag);
        batch.push(ENCRYPTION_BYTES + datagram.len());
        self.block.next += 1;
        self.datagrams += 1;
    }
}

/// The client counts frames from 1.
const fn wire_frame(slice: &SliceMeta) -> u32 {
    slice.frame.0.wrapping_add(1)
}

/// 90 kHz since the session's first frame, which has 1: 0 means to a client that there is none.
fn rtp_time(epoch: Timestamp, captured: Timestamp) -> u32 {
    let ticks = captured.since(epoch).as_nanos() * 9 / 100_000;
    (ticks as u32).wrapping_add(1)
}
