//! What both sides can do, as sets of bits and numbers on the wire.

use crate::audio::Speakers;
use crate::crypto::Aead;
use crate::fec::Code;

/// A video codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// H.264, 8 bits, 4:2:0: number 1.
    H264,
    /// One that this version does not know.
    Unknown(u8),
}

impl Codec {
    /// From its number on the wire.
    #[must_use]
    pub const fn from_wire(number: u8) -> Self {
        match number {
            1 => Self::H264,
            other => Self::Unknown(other),
        }
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::H264 => 1,
            Self::Unknown(number) => number,
        }
    }
}

/// A set of codecs: bit 0 is H.264. Bits that this version does not know are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CodecSet(pub u32);

impl CodecSet {
    /// H.264 alone.
    pub const H264: Self = Self(1);

    /// What both have.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// True if `codec` is one of them.
    #[must_use]
    pub const fn contains(self, codec: Codec) -> bool {
        match codec {
            Codec::H264 => self.0 & 1 != 0,
            Codec::Unknown(_) => false,
        }
    }
}

/// A set of FEC codes: bit n is the code with number n. No parity (0) is always possible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FecCodes(pub u32);

impl FecCodes {
    /// GF(2⁸) and GF(2¹⁶).
    pub const ALL: Self = Self(1 << Code::Gf8 as u8 | 1 << Code::Gf16 as u8);

    /// True if every code of `other` is one of them.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A set of AEADs: bit n is the AEAD with number n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AeadSet(pub u32);

impl AeadSet {
    /// Both.
    pub const ALL: Self = Self(1 << Aead::Aes128Gcm as u8 | 1 << Aead::ChaCha20Poly1305 as u8);
    /// For a client without AES instructions.
    pub const CHACHA20_POLY1305: Self = Self(1 << Aead::ChaCha20Poly1305 as u8);

    /// True if `aead` is one of them.
    #[must_use]
    pub const fn contains(self, aead: Aead) -> bool {
        self.0 & 1 << aead as u8 != 0
    }

    /// The one to use of those that both have: AES-128-GCM if possible.
    #[must_use]
    pub const fn best_common(self, other: Self) -> Option<Aead> {
        let common = Self(self.0 & other.0);
        if common.contains(Aead::Aes128Gcm) {
            Some(Aead::Aes128Gcm)
        } else if common.contains(Aead::ChaCha20Poly1305) {
            Some(Aead::ChaCha20Poly1305)
        } else {
            None
        }
    }
}

/// A set of optional parts of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features(pub u64);

impl Features {
    /// None.
    pub const NONE: Self = Self(0);
    /// The host sends the stamps of its stages.
    pub const FRAME_TIMES: Self = Self(1 << 0);
    /// The host sends sound: Opus, 48 kHz, packets of 5 ms, in QUIC datagrams (0xC9).
    pub const AUDIO: Self = Self(1 << 1);
    /// With [`Self::AUDIO`]: in 5.1.
    pub const AUDIO_51: Self = Self(1 << 2);
    /// With [`Self::AUDIO`]: in 7.1, whatever [`Self::AUDIO_51`] says.
    pub const AUDIO_71: Self = Self(1 << 3);
    /// Clipboard text goes both ways ([`super::clipboard`]).
    pub const CLIPBOARD: Self = Self(1 << 4);
    /// The client sends sound: Opus, 48 kHz, packets of 5 ms, in QUIC datagrams (0xCC).
    pub const MICROPHONE: Self = Self(1 << 5);
    /// The client draws the pointer: the host tells its shape and place and leaves it out of the
    /// pictures.
    pub const CURSOR: Self = Self(1 << 6);
    /// All that this version knows.
    pub const KNOWN: Self = Self::FRAME_TIMES
        .union(Self::AUDIO)
        .union(Self::AUDIO_51)
        .union(Self::AUDIO_71)
        .union(Self::CLIPBOARD)
        .union(Self::MICROPHONE)
        .union(Self::CURSOR);

    /// What to ask for to hear sound on these speakers.
    #[must_use]
    pub const fn sound(speakers: Speakers) -> Self {
        match speakers {
            Speakers::Stereo => Self::AUDIO,
            Speakers::Surround51 => Self::AUDIO.union(Self::AUDIO_51),
            Speakers::Surround71 => Self::AUDIO.union(Self::AUDIO_71),
        }
    }

    /// What sound was agreed on; `None` for none.
    #[must_use]
    pub const fn speakers(self) -> Option<Speakers> {
        if !self.contains(Self::AUDIO) {
            None
        } else if self.contains(Self::AUDIO_71) {
            Some(Speakers::Surround71)
        } else if self.contains(Self::AUDIO_51) {
            Some(Speakers::Surround51)
        } else {
            Some(Speakers::Stereo)
        }
    }

    /// True if every feature of `other` is one of them.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What both have.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What either has.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What `other` has not.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// True if there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}
