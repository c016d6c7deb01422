//! Arbitrary packets of sound through GameStream's RTP and parity, over a wire that loses some:
//! what leaves is within the limits, and what can be made whole is what was sent.

use net::gamestream::audio::{
    AudioPacketizer, AudioSendConfig, DATAGRAM_BYTES_MAX, OPUS_BYTES_MAX,
};
use net::gamestream::audio_fec::{self, DATA_SHARDS, TOTAL_SHARDS};

const RTP_BYTES: usize = 12;
const PARITY_HEAD_BYTES: usize = 24;

/// What became of the blocks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// All of their packets came, or could be made.
    pub whole: usize,
    /// More than two packets were lost.
    pub lost: usize,
    /// Packets that were refused.
    pub refused: usize,
}

/// First byte: is it encrypted. Then commands of three bytes: the packet's size (u16; sizes above
/// an Opus packet's are refused), and which of the next six datagrams are lost.
pub fn run(data: &[u8]) -> Reached {
    let mut reached = Reached::default();
    let [first, commands @ ..] = data else {
        return reached;
    };
    let mut audio = AudioPacketizer::new(&AudioSendConfig {
        packet_ms: 5,
        key: (first & 1 == 1).then_some(([*first; 16], 9)),
    });
    let mut sent: Vec<Vec<u8>> = Vec::new();
    let mut sequence = 0u16;
    for command in commands.chunks_exact(3) {
        let bytes = usize::from(u16::from_le_bytes([command[0], command[1]]) % 2048);
        let opus = vec![command[1] ^ command[2]; bytes];
        let Ok(datagrams) = audio.handle_opus(&opus) else {
            reached.refused += 1;
            // Sizes differ within a block, or are none that Opus has.
            assert!(bytes == 0 || bytes > OPUS_BYTES_MAX || !sent.is_empty());
            continue;
        };
        sent.extend(datagrams.iter().map(<[u8]>::to_vec));
        for datagram in datagrams.iter() {
            assert!((RTP_BYTES + 1..=DATAGRAM_BYTES_MAX).contains(&datagram.len()));
        }
        if sent.len() < TOTAL_SHARDS {
            continue;
        }
        let block = std::mem::take(&mut sent);
        check_heads(&block, sequence);
        sequence = sequence.wrapping_add(DATA_SHARDS as u16);
        let lost = command[2] & 0x3f;
        match receive(&block, lost) {
            true => reached.whole += 1,
            false => reached.lost += 1,
        }
    }
    reached
}

/// As the client reads a block: four packets that follow each other, and two that name the first.
fn check_heads(block: &[Vec<u8>], sequence: u16) {
    assert_eq!(block.len(), TOTAL_SHARDS);
    for (at, datagram) in block.iter().enumerate() {
        let number = |at: usize| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
        if at < DATA_SHARDS {
            assert_eq!((datagram[0], datagram[1]), (0x80, 97));
            assert_eq!(number(2), sequence.wrapping_add(at as u16));
        } else {
            assert_eq!((datagram[0], datagram[1]), (0x80, 127));
            assert_eq!(
                (usize::from(datagram[12]), number(14)),
                (at - DATA_SHARDS, sequence)
            );
        }
    }
}

/// True if the block is whole without the datagrams whose bits are set.
fn receive(block: &[Vec<u8>], lost: u8) -> bool {
    let head = |at: usize| match at < DATA_SHARDS {
        true => RTP_BYTES,
        false => PARITY_HEAD_BYTES,
    };
    let present: [bool; TOTAL_SHARDS] = std::array::from_fn(|at| lost >> at & 1 == 0);
    let mut shards: [Vec<u8>; TOTAL_SHARDS] = std::array::from_fn(|at| {
        let payload = &block[at][head(at)..];
        match present[at] {
            true => payload.to_vec(),
            false => vec![0; payload.len()],
        }
    });
    let recovered = audio_fec::recover(&mut shards.each_mut().map(Vec::as_mut_slice), present);
    let is_enough = present.iter().filter(|it| **it).count() >= DATA_SHARDS;
    let has_data = present[..DATA_SHARDS].iter().all(|it| *it);
    assert_eq!(recovered.is_ok(), is_enough || has_data);
    if recovered.is_ok() {
        for at in 0..DATA_SHARDS {
            assert_eq!(shards[at], block[at][RTP_BYTES..], "what was sent");
        }
    }
    recovered.is_ok()
}
