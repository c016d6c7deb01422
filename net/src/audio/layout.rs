//! How many channels, in which order, and how Opus carries them.
//!
//! Samples are interleaved in the order front left, front right, centre, low frequencies, rear
//! left, rear right, side left, side right: the order of GameStream's clients and of WAVE files.
//! Opus carries them as a multistream packet (RFC 7845 section 5.1.1 explains the mapping): pairs
//! coupled, unless quality matters more than bits. The numbers are those that GameStream's clients
//! expect (`surround-params`), and the native protocol uses the same.

use super::PACKET_BYTES_MAX;

/// Samples a second of every stream.
pub const SAMPLE_RATE: u32 = 48_000;
/// Most channels.
pub const CHANNELS_MAX: usize = 8;

/// Which channels a stream has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Speakers {
    /// Two.
    #[default]
    Stereo,
    /// Six: 5.1.
    Surround51,
    /// Eight: 7.1.
    Surround71,
}

impl Speakers {
    /// All that exist.
    pub const ALL: [Self; 3] = [Self::Stereo, Self::Surround51, Self::Surround71];

    /// From a number of channels: 2, 6 or 8.
    #[must_use]
    pub const fn from_channels(channels: u8) -> Option<Self> {
        match channels {
            2 => Some(Self::Stereo),
            6 => Some(Self::Surround51),
            8 => Some(Self::Surround71),
            _ => None,
        }
    }

    /// Channels.
    #[must_use]
    pub const fn channels(self) -> usize {
        match self {
            Self::Stereo => 2,
            Self::Surround51 => 6,
            Self::Surround71 => CHANNELS_MAX,
        }
    }

    /// Where each channel's speaker stands, as sound servers and ITU-R BS.2051 abbreviate it.
    #[must_use]
    pub const fn positions(self) -> &'static [&'static str] {
        const ALL: &[&str] = &["FL", "FR", "FC", "LFE", "RL", "RR", "SL", "SR"];
        ALL.split_at(self.channels()).0
    }
}

/// How much is spent on a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Quality {
    /// Transparent to nearly everybody, in few bits.
    #[default]
    Normal,
    /// Every channel by itself, with bits to spare.
    High,
}

/// How Opus carries a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpusLayout {
    /// Opus streams in a packet.
    pub streams: u8,
    /// Of these, the first so many carry two channels.
    pub coupled: u8,
    /// For each channel, the place in the streams that it is carried in.
    pub mapping: [u8; CHANNELS_MAX],
    /// Bits a second, all together.
    pub bitrate: u32,
}

impl OpusLayout {
    /// The one that clients expect.
    #[must_use]
    pub const fn of(speakers: Speakers, quality: Quality) -> Self {
        let plain = [0, 1, 2, 3, 4, 5, 6, 7];
        let (streams, coupled, mapping, bitrate) = match (speakers, quality) {
            (Speakers::Stereo, Quality::Normal) => (1, 1, plain, 128_000),
            (Speakers::Stereo, Quality::High) => (1, 1, plain, 512_000),
            (Speakers::Surround51, Quality::Normal) => (4, 2, [0, 1, 4, 5, 2, 3, 0, 0], 256_000),
            (Speakers::Surround51, Quality::High) => (6, 0, plain, 1_536_000),
            (Speakers::Surround71, Quality::Normal) => (5, 3, [0, 1, 6, 7, 2, 3, 4, 5], 450_000),
            (Speakers::Surround71, Quality::High) => (8, 0, plain, 2_048_000),
        };
        Self {
            streams,
            coupled,
            mapping,
            bitrate,
        }
    }

    /// Bytes of a packet of `packet_ms`.
    #[must_use]
    pub const fn packet_bytes(&self, packet_ms: u32) -> usize {
        (self.bitrate / 8 * packet_ms / 1000) as usize
    }
}

const _: () = assert!(
    OpusLayout::of(Speakers::Surround71, Quality::Normal).packet_bytes(5) <= PACKET_BYTES_MAX
        && OpusLayout::of(Speakers::Surround51, Quality::High).packet_bytes(5) <= PACKET_BYTES_MAX,
    "what the native protocol offers fits its packets"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_has_a_place_of_its_own() {
        for speakers in Speakers::ALL {
            for quality in [Quality::Normal, Quality::High] {
                let layout = OpusLayout::of(speakers, quality);
                let channels = speakers.channels();
                assert_eq!(usize::from(layout.streams + layout.coupled), channels);
                let mut places = layout.mapping[..channels].to_vec();
                places.sort_unstable();
                let all: Vec<u8> = (0..channels as u8).collect();
                assert_eq!(places, all, "{speakers:?} {quality:?}");
                assert_eq!(speakers.positions().len(), channels);
                assert_eq!(Speakers::from_channels(channels as u8), Some(speakers));
            }
        }
    }
}
