//! What a client reports of its packets and frames, and what the ladder and rate control take
//! from it.

/// Message 0x5502: what became of one FEC block that lost packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FecStatus {
    /// As counted on the wire.
    pub frame: u32,
    /// Highest RTP sequence of the block that came.
    pub highest_received: u16,
    /// First RTP sequence that did not come in order.
    pub next_contiguous: u16,
    /// Packets missing below the highest.
    pub missing_before_highest: u16,
    /// Data packets of the block.
    pub data_packets: u16,
    /// Parity packets of the block.
    pub parity_packets: u16,
    /// Data packets that came.
    pub data_received: u16,
    /// Parity packets that came.
    pub parity_received: u16,
    /// Parity, percent.
    pub percent: u8,
    /// Which block of the frame.
    pub block: u8,
    /// Blocks of the frame.
    pub blocks: u8,
}
