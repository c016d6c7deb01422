//! What DESCRIBE answers: what the host can do, in the words that clients look for
//! (`RtspConnection.c` of moonlight-common-c).

use std::fmt::Write as _;

use super::Encryption;

/// How channels are spread over Opus streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpusLayout {
    /// Channels: FL FR, then C LFE, then RL RR, then SL SR.
    pub channels: u8,
    /// Opus streams.
    pub streams: u8,
    /// Of these with two channels; they come first.
    pub coupled: u8,
    /// Which decoded channel each channel is (`opus_multistream_encoder_create`).
    pub mapping: [u8; 8],
}

impl OpusLayout {
    /// Two channels.
    pub const STEREO: Self = Self::new(2, 1, 1, [0, 1, 0, 0, 0, 0, 0, 0]);
    /// 5.1, pairs coupled.
    pub const SURROUND_51: Self = Self::new(6, 4, 2, [0, 1, 4, 5, 2, 3, 0, 0]);
    /// 5.1, each channel a stream.
    pub const SURROUND_51_HIGH: Self = Self::new(6, 6, 0, [0, 1, 2, 3, 4, 5, 0, 0]);
    /// 7.1, pairs coupled.
    pub const SURROUND_71: Self = Self::new(8, 5, 3, [0, 1, 6, 7, 2, 3, 4, 5]);
    /// 7.1, each channel a stream.
    pub const SURROUND_71_HIGH: Self = Self::new(8, 8, 0, [0, 1, 2, 3, 4, 5, 6, 7]);

    const fn new(channels: u8, streams: u8, coupled: u8, mapping: [u8; 8]) -> Self {
        Self {
            channels,
            streams,
            coupled,
            mapping,
        }
    }

    /// The one that a client expects which asked for so many channels (2, 6 or 8).
    #[must_use]
    pub const fn of(channels: u8, high_quality: bool) -> Self {
        match (channels, high_quality) {
            (6, false) => Self::SURROUND_51,
            (6, true) => Self::SURROUND_51_HIGH,
            (8, false) => Self::SURROUND_71,
            (8, true) => Self::SURROUND_71_HIGH,
            _ => Self::STEREO,
        }
    }

    /// As clients read it. Of coupled surround they take the fourth channel from the end, so it
    /// is put there.
    fn write(&self, out: &mut String) {
        let mut mapping = self.mapping;
        if self.channels > 2 && self.coupled > 0 {
            mapping[3..usize::from(self.channels)].rotate_left(1);
        }
        let _ = write!(
            out,
            "a=fmtp:97 surround-params={}{}{}",
            self.channels, self.streams, self.coupled
        );
        for channel in &mapping[..usize::from(self.channels)] {
            let _ = write!(out, "{channel}");
        }
        out.push_str("\r\n");
    }
}

/// What the host can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Its encoder makes HEVC.
    pub hevc: bool,
    /// Its encoder makes AV1.
    pub av1: bool,
    /// Its encoder can go on past lost frames (0x0301).
    pub invalidation: bool,
    /// Pen and touch events are understood.
    pub pen_touch: bool,
    /// Touch events of controllers are understood.
    pub controller_touch: bool,
    /// What can be encrypted.
    pub supported: Encryption,
    /// What shall be, whether or not the user asked for it.
    pub requested: Encryption,
}

impl Description {
    /// The text.
    #[must_use]
    pub fn to_sdp(&self) -> String {
        let mut out = String::with_capacity(512);
        let features = u32::from(self.pen_touch) | u32::from(self.controller_touch) << 1;
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "a=x-ss-general.featureFlags:{features}\r\n\
             a=x-ss-general.encryptionSupported:{}\r\n\
             a=x-ss-general.encryptionRequested:{}\r\n",
            self.supported.flags(),
            self.requested.flags()
        );
        if self.invalidation {
            out.push_str("a=x-nv-video[0].refPicInvalidation:1\r\n");
        }
        if self.hevc {
            // The begin of a VPS in base 64 is how clients tell.
            out.push_str("sprop-parameter-sets=AAAAAU\r\n");
        }
        if self.av1 {
            out.push_str("a=rtpmap:98 AV1/90000\r\n");
        }
        for layout in [
            OpusLayout::STEREO,
            OpusLayout::SURROUND_51,
            OpusLayout::SURROUND_51_HIGH,
            OpusLayout::SURROUND_71,
            OpusLayout::SURROUND_71_HIGH,
        ] {
            layout.write(&mut out);
        }
        out
    }
}
