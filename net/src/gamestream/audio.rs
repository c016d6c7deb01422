//! Opus packets into RTP, with two parity packets for each four (client: `RtpAudioQueue.c` and
//! `AudioStream.c` of moonlight-common-c).
//!
//! | offset | size | field |
//! |---:|---:|---|
//! | 0 | 12 | RTP: 0x80, type 97 (parity: 127), sequence, time in ms, source 0; big-endian |
//! | 12 | … | Opus; AES-128-CBC with PKCS #7 padding, if asked for |
//!
//! A parity packet has 12 bytes more before its parity: index (0 or 1), 97, the block's first
//! sequence (u16) and time (u32), source 0; big-endian. Blocks begin at sequences that are
//! multiples of 4, and their packets are equally long, so the encoder runs at constant bit rate.
//!
//! The initial vector is the key's id (`rikeyid` of the launch) plus the sequence, big-endian,
//! then zeros.

use super::audio_fec::{self, DATA_SHARDS, PARITY_SHARDS};
use super::sys::{BLOCK_BYTES, CbcKey};

/// Largest Opus packet, bytes: clients take datagrams of 1400.
pub const OPUS_BYTES_MAX: usize = 1344;
const RTP_BYTES: usize = 12;
const PARITY_HEAD_BYTES: usize = RTP_BYTES + 12;
/// Padding adds up to a block.
const PAYLOAD_BYTES_MAX: usize = OPUS_BYTES_MAX + BLOCK_BYTES;
/// Largest datagram.
pub const DATAGRAM_BYTES_MAX: usize = PARITY_HEAD_BYTES + PAYLOAD_BYTES_MAX;
const _: () = assert!(DATAGRAM_BYTES_MAX <= 1400);
const TYPE_AUDIO: u8 = 97;
const TYPE_PARITY: u8 = 127;

/// Why a packet is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AudioError {
    /// Empty or too large.
    #[error("an Opus packet of {bytes} bytes; 1 to {OPUS_BYTES_MAX} can be sent")]
    Size {
        /// Its size.
        bytes: usize,
    },
    /// Its length differs from the others of its block.
    #[error(
        "an Opus packet of {found} bytes in a block of {expected}: encode at a constant bit rate"
    )]
    Length {
        /// The others', as sent.
        expected: usize,
        /// Its own.
        found: usize,
    },
}

/// How audio is sent.
#[derive(Clone, Debug)]
pub struct AudioSendConfig {
    /// Length of a packet, ms.
    pub packet_ms: u8,
    /// The session's key and its id, if the client asked for encrypted audio.
    pub key: Option<([u8; 16], u32)>,
}

/// The sender of one session.
pub struct AudioPacketizer {
    packet_ms: u32,
    key: Option<(CbcKey, u32)>,
    sequence: u16,
    time_ms: u32,
    block_time_ms: u32,
    /// Payloads of the block in work.
    data: [[u8; PAYLOAD_BYTES_MAX]; DATA_SHARDS],
    length: usize,
    out: [[u8; DATAGRAM_BYTES_MAX]; 1 + PARITY_SHARDS],
}

/// Datagrams to be sent in this order.
#[derive(Clone, Copy, Debug)]
pub struct AudioDatagrams<'a> {
    out: &'a [[u8; DATAGRAM_BYTES_MAX]; 1 + PARITY_SHARDS],
    data_bytes: usize,
    parity_bytes: Option<usize>,
}

impl<'a> AudioDatagrams<'a> {
    /// The packet, and every fourth time two of parity.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        let (out, data) = (self.out, self.data_bytes);
        let parity = self.parity_bytes;
        let parity = parity
            .into_iter()
            .flat_map(move |bytes| out[1..].iter().map(move |datagram| &datagram[..bytes]));
        std::iter::once(&out[0][..data]).chain(parity)
    }
}

impl AudioPacketizer {
    /// Allocates nothing, now or later.
    #[must_use]
    pub fn new(config: &AudioSendConfig) -> Self {
        Self {
            packet_ms: config.packet_ms.into(),
            key: config.key.map(|(key, id)| (CbcKey::new(&key), id)),
            sequence: 0,
            time_ms: 0,
            block_time_ms: 0,
            data: [[0; PAYLOAD_BYTES_MAX]; DATA_SHARDS],
            length: 0,
            out: [[0; DATAGRAM_BYTES_MAX]; 1 + PARITY_SHARDS],
        }
    }

    /// Packs one Opus packet.
    ///
    /// # Errors
    /// [`AudioError`]; no sequence is used then.
    pub fn handle_opus(&mut self, opus: &[u8]) -> Result<AudioDatagrams<'_>, AudioError> {
        let bytes = opus.len();
        if !(1..=OPUS_BYTES_MAX).contains(&bytes) {
            return Err(AudioError::Size { bytes });
        }
        let length = match self.key {
            Some(_) => (bytes / BLOCK_BYTES + 1) * BLOCK_BYTES,
            None => bytes,
        };
        let place = usize::from(self.sequence) % DATA_SHARDS;
        if place > 0 && length != self.length {
            return Err(AudioError::Length {
                expected: self.length,
                found: length,
            });
        }
        self.length = length;
        if place == 0 {
            self.block_time_ms = self.time_ms;
        }
        let payload = &mut self.data[place][..length];
        payload[..bytes].copy_from_slice(opus);
        if let Some((key, id)) = &self.key {
            // PKCS #7: each byte of the padding says how much there is.
            payload[bytes..].fill((length - bytes) as u8);
            let mut iv = [0; BLOCK_BYTES];
            let number = id.wrapping_add(self.sequence.into());
            iv[..4].copy_from_slice(&number.to_be_bytes());
            key.encrypt(iv, payload);
        }
        let out = &mut self.out[0];
        out[..RTP_BYTES].copy_from_slice(&rtp(TYPE_AUDIO, self.sequence, self.time_ms));
        out[RTP_BYTES..RTP_BYTES + length].copy_from_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.time_ms = self.time_ms.wrapping_add(self.packet_ms);
        let ends = place + 1 == DATA_SHARDS;
        if ends {
            self.make_parity();
        }
        Ok(AudioDatagrams {
            out: &self.out,
            data_bytes: RTP_BYTES + length,
            parity_bytes: ends.then_some(PARITY_HEAD_BYTES + length),
        })
    }

    fn make_parity(&mut self) {
        let length = self.length;
        let first = self.sequence.wrapping_sub(DATA_SHARDS as u16);
        let [_, a, b] = &mut self.out;
        for (index, out) in [&mut *a, &mut *b].into_iter().enumerate() {
            let sequence = self.sequence.wrapping_add(index as u16);
            out[..RTP_BYTES].copy_from_slice(&rtp(TYPE_PARITY, sequence, 0));
            out[RTP_BYTES..PARITY_HEAD_BYTES].fill(0);
            out[RTP_BYTES] = index as u8;
            out[RTP_BYTES + 1] = TYPE_AUDIO;
            out[RTP_BYTES + 2..RTP_BYTES + 4].copy_from_slice(&first.to_be_bytes());
            let time = self.block_time_ms.to_be_bytes();
            out[RTP_BYTES + 4..RTP_BYTES + 8].copy_from_slice(&time);
        }
        let data = self.data.each_ref().map(|payload| &payload[..length]);
        let end = PARITY_HEAD_BYTES + length;
        let parity = [
            &mut a[PARITY_HEAD_BYTES..end],
            &mut b[PARITY_HEAD_BYTES..end],
        ];
        audio_fec::encode(data, parity).expect("a block's packets are equally long");
    }
}

fn rtp(kind: u8, sequence: u16, time: u32) -> [u8; RTP_BYTES] {
    let mut header = [0; RTP_BYTES];
    header[0] = 0x80;
    header[1] = kind;
    header[2..4].copy_from_slice(&sequence.to_be_bytes());
    header[4..8].copy_from_slice(&time.to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use boring::symm::{Cipher, decrypt};
    use proptest::prelude::*;

    use super::*;

    fn packetizer(key: Option<([u8; 16], u32)>) -> AudioPacketizer {
        AudioPacketizer::new(&AudioSendConfig { packet_ms: 5, key })
    }

    fn all(audio: &mut AudioPacketizer, opus: &[u8]) -> Vec<Vec<u8>> {
        let datagrams = audio.handle_opus(opus).expect("it fits");
        datagrams.iter().map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn golden_block() {
        let mut audio = packetizer(None);
        assert_eq!(
            all(&mut audio, &[1, 2]),
            [[0x80, 97, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]]
        );
        assert_eq!(
            all(&mut audio, &[1, 2]),
            [[0x80, 97, 0, 1, 0, 0, 0, 5, 0, 0, 0, 0, 1, 2]]
        );
        all(&mut audio, &[1, 2]);
        let out = all(&mut audio, &[1, 2]);
        assert_eq!(out[0][..8], [0x80, 97, 0, 3, 0, 0, 0, 15]);
        // Equal packets are their own parity: the rows of the code add up to 1.
        let parity = |at: u8| {
            let head = [0x80, 127, 0, 4 + at, 0, 0, 0, 0, 0, 0, 0, 0];
            [&head[..], &[at, 97, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]].concat()
        };
        assert_eq!(out[1..], [parity(0), parity(1)]);
        for _ in 0..3 {
            assert_eq!(
                all(&mut audio, &[7; 9]).len(),
                1,
                "a block may have another size"
            );
        }
        let out = all(&mut audio, &[7; 9]);
        assert_eq!(out[1][12..20], [0, 97, 0, 4, 0, 0, 0, 20]);
    }

    #[test]
    fn a_packet_of_another_length_is_refused_and_the_block_goes_on() {
        let mut audio = packetizer(None);
        all(&mut audio, &[1; 80]);
        let refused = audio.handle_opus(&[1; 81]).err();
        assert_eq!(
            refused,
            Some(AudioError::Length {
                expected: 80,
                found: 81
            })
        );
        assert_eq!(all(&mut audio, &[1; 80])[0][3], 1);
        assert_eq!(
            audio.handle_opus(&[]).err(),
            Some(AudioError::Size { bytes: 0 })
        );
        assert!(audio.handle_opus(&[0; OPUS_BYTES_MAX + 1]).is_err());
    }

    proptest! {
        /// As a client decrypts it; lost packets come back from the parity.
        #[test]
        fn encrypted_packets_open(
            opus in prop::collection::vec(any::<u8>(), 1..400),
            key in any::<[u8; 16]>(),
            id in any::<u32>(),
            lost in 0..4usize,
            blocks in 1..3usize,
        ) {
            let mut audio = packetizer(Some((key, id)));
            let mut out = Vec::new();
            for _ in 0..4 * blocks {
                out.extend(all(&mut audio, &opus));
            }
            let block = &out[6 * (blocks - 1)..];
            let mut shards: Vec<Vec<u8>> = block[..4].iter().map(|d| d[12..].to_vec()).collect();
            shards.extend(block[4..].iter().map(|d| d[24..].to_vec()));
            shards[lost].fill(0);
            let mut present = [true; 6];
            present[lost] = false;
            let mut shards: [Vec<u8>; 6] = shards.try_into().expect("six");
            let mut buffers = shards.each_mut().map(|shard| &mut shard[..]);
            audio_fec::recover(&mut buffers, present).expect("one is lost");
            let mut iv = [0; 16];
            let sequence = (4 * (blocks - 1) + lost) as u32;
            iv[..4].copy_from_slice(&id.wrapping_add(sequence).to_be_bytes());
            let plain = decrypt(Cipher::aes_128_cbc(), &key, Some(&iv), &shards[lost]);
            prop_assert_eq!(plain.expect("padded right"), opus);
        }
    }
}
