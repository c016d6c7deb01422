//! ANNOUNCE's SDP into one typed [`StreamConfig`], and the text that answers DESCRIBE.
//!
//! Every attribute that a client is known to send stands in one table, honoured or ignored
//! with the reason (client: `SdpGenerator.c` of moonlight-common-c). Attributes that are not there
//! are counted and let pass: new clients say new things. An honoured attribute that is said twice,
//! is no whole number or lies outside its range refuses the stream.

mod describe;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::limits::{BITRATE_MAX, BITRATE_MIN};
use crate::units::{BitsPerSecond, Mode, ModeError, SliceCount};

use super::video::{PACKET_BYTES_MAX, PACKET_BYTES_MIN, VideoFormat};

pub use describe::{Description, OpusLayout};

/// Longest SDP that is looked at, bytes. A client's has about 2 KB.
pub const SDP_BYTES_MAX: usize = 16 * 1024;

/// Colours of the encoded picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColorSpace {
    /// ITU-R BT.601.
    Rec601,
    /// ITU-R BT.709.
    Rec709,
    /// ITU-R BT.2020.
    Rec2020,
}

/// What the client wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioConfig {
    /// 2, 6 or 8.
    pub channels: u8,
    /// Which, as in `WAVEFORMATEXTENSIBLE`; as many bits as channels.
    pub mask: u32,
    /// Length of a packet, ms: 5 or 10, or the 20 of clients from before 2022 whose decoder is slow.
    pub packet_ms: u8,
    /// More bits, and no coupled channels with surround.
    pub high_quality: bool,
}

/// What is encrypted beside the control stream, which always is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encryption {
    /// Control stream with 12-byte nonces and a direction in them.
    pub control_v2: bool,
    /// AES-GCM of video.
    pub video: bool,
    /// AES-CBC of audio.
    pub audio: bool,
}

impl Encryption {
    const CONTROL_V2: u32 = 1;
    const VIDEO: u32 = 2;
    const AUDIO: u32 = 4;

    /// From the flags of `x-ss-general.encryption…`.
    #[must_use]
    pub const fn from_flags(flags: u32) -> Self {
        Self {
            control_v2: flags & Self::CONTROL_V2 != 0,
            video: flags & Self::VIDEO != 0,
            audio: flags & Self::AUDIO != 0,
        }
    }

    /// As in DESCRIBE's answer.
    #[must_use]
    pub const fn flags(self) -> u32 {
        self.control_v2 as u32 * Self::CONTROL_V2
            + self.video as u32 * Self::VIDEO
            + self.audio as u32 * Self::AUDIO
    }
}

/// Everything that a client asks for with ANNOUNCE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// Size and refresh.
    pub mode: Mode,
    /// Most that video may take on the wire, parity included.
    pub bitrate: BitsPerSecond,
    /// Packet size, bytes, already less what video encryption adds.
    pub packet_bytes: u16,
    /// Codec.
    pub format: VideoFormat,
    /// Slices a frame that the decoder likes.
    pub slices: SliceCount,
    /// Parity packets of a frame at least.
    pub parity_min: u8,
    /// Most reference frames; 0 leaves it to the host.
    pub reference_frames_max: u8,
    /// Ten bits and PQ.
    pub hdr: bool,
    /// 4:4:4 instead of 4:2:0.
    pub full_chroma: bool,
    /// Colours.
    pub color_space: ColorSpace,
    /// 0 to 255 instead of 16 to 235.
    pub full_range: bool,
    /// Intra refresh instead of IDRs.
    pub intra_refresh: bool,
    /// Sound.
    pub audio: AudioConfig,
    /// Encryption.
    pub encryption: Encryption,
    /// The client sends 0x5502.
    pub fec_status: bool,
    /// The client knows ping payloads and connect data.
    pub session_ids: bool,
    /// Mark video packets for quality of service.
    pub video_qos: bool,
    /// Mark audio packets.
    pub audio_qos: bool,
}

/// Why an SDP is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Longer than any client's.
    #[error("the session description has {bytes} bytes; {SDP_BYTES_MAX} are read at most")]
    TooLong {
        /// Its size, bytes.
        bytes: usize,
    },
    /// Not text.
    #[error("the session description is not UTF-8 text")]
    NotText,
    /// An attribute that decides something is said twice.
    #[error("{name} is stated twice: state it once")]
    Twice {
        /// The attribute.
        name: &'static str,
    },
    /// It is no whole number.
    #[error("{name} is not a whole number")]
    NotANumber {
        /// The attribute.
        name: &'static str,
    },
    /// It is outside what can be served.
    #[error("{name} is {value}: it must lie between {min} and {max}")]
    Range {
        /// The attribute.
        name: &'static str,
        /// What it says.
        value: i64,
        /// Least.
        min: i64,
        /// Most.
        max: i64,
    },
    /// It is within its range, but nothing that exists.
    #[error("{name} is {value}: {expected}")]
    Value {
        /// The attribute.
        name: &'static str,
        /// What it says.
        value: i64,
        /// What it may say.
        expected: &'static str,
    },
    /// It is not there, and nothing can stand for it.
    #[error("{name} is missing")]
    Missing {
        /// The attribute.
        name: &'static str,
    },
    /// The mode cannot be served.
    #[error("the stream cannot have that mode: {0}")]
    Mode(#[from] ModeError),
    /// Its control stream is not encrypted.
    #[error(
        "the client's control stream ({value}) is not encrypted: update the client, it must \
         support GameStream 7.1.431"
    )]
    PlainControl {
        /// Kind of control stream.
        value: i64,
    },
}

/// What an SDP came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// What the client wants.
    pub config: StreamConfig,
    /// Attributes that are in no table.
    pub unknown: usize,
}

/// Attributes that decide something, in the order of [`Values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
enum Field {
    Width,
    Height,
    Fps,
    RefreshX100,
    PacketBytes,
    BitrateKbps,
    ConfiguredKbps,
    Slices,
    ParityMin,
    Format,
    Hdr,
    References,
    Csc,
    Chroma,
    IntraRefresh,
    Channels,
    Mask,
    Quality,
    PacketMs,
    NvFeatures,
    MlFeatures,
    Encryption,
    Control,
    VideoQos,
    AudioQos,
}

const FIELDS: usize = Field::AudioQos as usize + 1;

/// What becomes of an attribute.
enum Rule {
    /// It decides something: least, most, and what holds without it.
    Honoured(Field, i64, i64, Option<i64>),
    /// It decides nothing, for this reason.
    Ignored(#[expect(dead_code, reason = "for who reads the table")] &'static str),
}

use Rule::{Honoured, Ignored};

const U32_MAX: i64 = u32::MAX as i64;

/// Every attribute that clients are known to send.
#[rustfmt::skip]
const ATTRIBUTES: &[(&str, Rule)] = &[
    ("x-nv-video[0].clientViewportWd", Honoured(Field::Width, 1, U32_MAX, None)),
    ("x-nv-video[0].clientViewportHt", Honoured(Field::Height, 1, U32_MAX, None)),
    ("x-nv-video[0].maxFPS", Honoured(Field::Fps, 1, 1_000, None)),
    ("x-nv-video[0].clientRefreshRateX100", Honoured(Field::RefreshX100, 0, 100_000, Some(0))),
    ("x-nv-video[0].packetSize",
        Honoured(Field::PacketBytes, PACKET_BYTES_MIN as i64, PACKET_BYTES_MAX as i64, None)),
    ("x-nv-vqos[0].bw.maximumBitrateKbps",
        Honoured(Field::BitrateKbps, 1, (BITRATE_MAX / 1000) as i64, None)),
    ("x-ml-video.configuredBitrateKbps",
        Honoured(Field::ConfiguredKbps, 0, (BITRATE_MAX / 1000) as i64, Some(0))),
    ("x-nv-video[0].videoEncoderSlicesPerFrame",
        Honoured(Field::Slices, 0, SliceCount::MAX.get() as i64, Some(1))),
    ("x-nv-vqos[0].fec.minRequiredFecPackets", Honoured(Field::ParityMin, 0, 32, Some(0))),
    ("x-nv-vqos[0].bitStreamFormat", Honoured(Field::Format, 0, 2, Some(0))),
    ("x-nv-video[0].dynamicRangeMode", Honoured(Field::Hdr, 0, 1, Some(0))),
    ("x-nv-video[0].maxNumReferenceFrames", Honoured(Field::References, 0, 16, Some(0))),
    ("x-nv-video[0].encoderCscMode", Honoured(Field::Csc, 0, 5, Some(0))),
    ("x-ss-video[0].chromaSamplingType", Honoured(Field::Chroma, 0, 1, Some(0))),
    ("x-ss-video[0].intraRefresh", Honoured(Field::IntraRefresh, 0, 1, Some(0))),
    ("x-nv-audio.surround.numChannels", Honoured(Field::Channels, 1, 8, Some(2))),
    ("x-nv-audio.surround.channelMask", Honoured(Field::Mask, 1, 0x3_ffff, Some(3))),
    ("x-nv-audio.surround.AudioQuality", Honoured(Field::Quality, 0, 1, Some(0))),
    ("x-nv-aqos.packetDuration", Honoured(Field::PacketMs, 1, 60, Some(5))),
    ("x-nv-general.featureFlags", Honoured(Field::NvFeatures, 0, U32_MAX, Some(0x87))),
    ("x-ml-general.featureFlags", Honoured(Field::MlFeatures, 0, U32_MAX, Some(0))),
    ("x-ss-general.encryptionEnabled", Honoured(Field::Encryption, 0, U32_MAX, Some(0))),
    ("x-nv-general.useReliableUdp", Honoured(Field::Control, 0, 255, Some(1))),
    ("x-nv-vqos[0].qosTrafficType", Honoured(Field::VideoQos, 0, 255, Some(5))),
    ("x-nv-aqos.qosTrafficType", Honoured(Field::AudioQos, 0, 255, Some(4))),
    ("x-nv-general.serverAddress", Ignored("the client is connected already")),
    ("x-nv-general.enableRecoveryMode", Ignored("the host changes parity between blocks only")),
    ("x-nv-video[0].rateControlMode", Ignored("the host's rate controller decides")),
    ("x-nv-video[0].timeoutLengthMs", Ignored("silence has a limit of the host's own")),
    ("x-nv-video[0].framesWithInvalidRefThreshold", Ignored("the ladder decides on repair")),
    ("x-nv-video[0].initialBitrateKbps", Ignored("clients send the maximum again")),
    ("x-nv-video[0].initialPeakBitrateKbps", Ignored("clients send the maximum again")),
    ("x-nv-vqos[0].bw.minimumBitrateKbps", Ignored("clients send the maximum; the path decides")),
    ("x-nv-vqos[0].fec.enable", Ignored("always on: clients cannot do without")),
    ("x-nv-vqos[0].fec.repairPercent", Ignored("the ladder decides")),
    ("x-nv-vqos[0].bllFec.enable", Ignored("a scheme that this host does not have")),
    ("x-nv-vqos[0].drc.enable", Ignored("the size changes on request only")),
    ("x-nv-vqos[0].drc.tableType", Ignored("the size changes on request only")),
    ("x-nv-vqos[0].videoQualityScoreUpdateTime", Ignored("no such score")),
    ("x-nv-clientSupportHevc", Ignored("bitStreamFormat says what is used")),
    ("x-nv-audio.surround.enable", Ignored("numChannels says it")),
    ("x-nv-video[0].encoderFeatureSetting", Ignored("of another vendor's encoder")),
    ("x-nv-ri.useControlChannel", Ignored("input comes on the control stream always")),
];

/// What honoured attributes say.
struct Values([Option<i64>; FIELDS]);

impl Values {
    fn get(&self, field: Field) -> Result<i64, SdpError> {
        self.0[field as usize].ok_or(SdpError::Missing { name: name(field) })
    }

    fn flag(&self, field: Field) -> Result<bool, SdpError> {
        self.get(field).map(|value| value != 0)
    }
}

fn name(field: Field) -> &'static str {
    ATTRIBUTES
        .iter()
        .find(|(_, rule)| matches!(rule, Honoured(this, ..) if *this == field))
        .map_or("an attribute", |(name, _)| name)
}

impl StreamConfig {
    /// Reads ANNOUNCE's payload.
    ///
    /// # Errors
    /// [`SdpError`].
    pub fn parse(sdp: &[u8]) -> Result<Announced, SdpError> {
        if sdp.len() > SDP_BYTES_MAX {
            return Err(SdpError::TooLong { bytes: sdp.len() });
        }
        let text = str::from_utf8(sdp).map_err(|_| SdpError::NotText)?;
        let mut values = Values([None; FIELDS]);
        let mut unknown = 0;
        for line in text.split(['\r', '\n']) {
            let Some((found, value)) = line.strip_prefix("a=").and_then(|it| it.split_once(':'))
            else {
                continue;
            };
            match ATTRIBUTES.iter().find(|(name, _)| *name == found) {
                Some((name, Honoured(field, min, max, _))) => {
                    let value = number(name, value, *min, *max)?;
                    let place = &mut values.0[*field as usize];
                    if place.replace(value).is_some() {
                        return Err(SdpError::Twice { name });
                    }
                }
                Some((_, Ignored(_))) => {}
                None => unknown += 1,
            }
        }
        for (_, rule) in ATTRIBUTES {
            if let Honoured(field, _, _, default) = rule {
                let place = &mut values.0[*field as usize];
                *place = place.or(*default);
            }
        }
        Ok(Announced {
            config: Self::from_values(&values)?,
            unknown,
        })
    }

    fn from_values(values: &Values) -> Result<Self, SdpError> {
        let control = values.get(Field::Control)?;
        if control != 13 {
            return Err(SdpError::PlainControl { value: control });
        }
        let color = values.get(Field::Csc)?;
        let features = values.get(Field::MlFeatures)?;
        let mut encryption = Encryption::from_flags(values.get(Field::Encryption)? as u32);
        encryption.audio |= values.get(Field::NvFeatures)? & 0x20 != 0;
        let slices = values.get(Field::Slices)?.max(1) as u8;
        Ok(Self {
            mode: mode(values)?,
            bitrate: bitrate(values)?,
            packet_bytes: values.get(Field::PacketBytes)? as u16,
            format: match values.get(Field::Format)? {
                0 => VideoFormat::H264,
                1 => VideoFormat::Hevc,
                _ => VideoFormat::Av1,
            },
            slices: SliceCount::new(slices).unwrap_or(SliceCount::MAX),
            parity_min: values.get(Field::ParityMin)? as u8,
            reference_frames_max: values.get(Field::References)? as u8,
            hdr: values.flag(Field::Hdr)?,
            full_chroma: values.flag(Field::Chroma)?,
            color_space: match color >> 1 {
                0 => ColorSpace::Rec601,
                1 => ColorSpace::Rec709,
                _ => ColorSpace::Rec2020,
            },
            full_range: color & 1 == 1,
            intra_refresh: values.flag(Field::IntraRefresh)?,
            audio: audio(values)?,
            encryption,
            fec_status: features & 1 != 0,
            session_ids: features & 2 != 0,
            video_qos: values.flag(Field::VideoQos)?,
            audio_qos: values.flag(Field::AudioQos)?,
        })
    }
}

impl fmt::Display for StreamConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:?} {} packets of {} bytes, {}",
            self.mode, self.format, self.bitrate, self.packet_bytes, self.audio
        )?;
        let ciphers = [
            (self.encryption.video, "video"),
            (self.encryption.audio, "sound"),
        ];
        for (_, name) in ciphers.into_iter().filter(|(is_on, _)| *is_on) {
            write!(f, ", {name} encrypted")?;
        }
        Ok(())
    }
}

impl fmt::Display for AudioConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quality = if self.high_quality { "high" } else { "normal" };
        write!(
            f,
            "{} channels in {} ms packets of {quality} quality",
            self.channels, self.packet_ms
        )
    }
}

fn number(name: &'static str, text: &str, min: i64, max: i64) -> Result<i64, SdpError> {
    let value: i64 = text
        .trim()
        .parse()
        .map_err(|_| SdpError::NotANumber { name })?;
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(SdpError::Range {
        name,
        value,
        min,
        max,
    })
}

/// The display's own rate (59.94 Hz, say) where it is the one that is asked for. Some clients
/// state the rate of a display that is faster than the stream.
fn mode(values: &Values) -> Result<Mode, SdpError> {
    let fps = values.get(Field::Fps)?;
    let exact = values.get(Field::RefreshX100)?;
    let is_same = (exact - fps * 100).abs() <= fps;
    let millihz = if exact > 0 && is_same {
        exact * 10
    } else {
        fps * 1000
    };
    let pixels = |field| values.get(field).map(|px| px as u32);
    Ok(Mode::new(
        pixels(Field::Width)?,
        pixels(Field::Height)?,
        millihz as u32,
    )?)
}

/// What the user asked for; clients that do not say it have taken a fifth off for parity.
fn bitrate(values: &Values) -> Result<BitsPerSecond, SdpError> {
    let kbps = match values.get(Field::ConfiguredKbps)? {
        0 => values.get(Field::BitrateKbps)? * 5 / 4,
        kbps => kbps,
    };
    let bitrate = BitsPerSecond::from_kbps(kbps as u64);
    Ok(BitsPerSecond(bitrate.0.clamp(BITRATE_MIN, BITRATE_MAX)))
}

fn audio(values: &Values) -> Result<AudioConfig, SdpError> {
    let refuse = |field, value, expected| {
        Err(SdpError::Value {
            name: name(field),
            value,
            expected,
        })
    };
    let channels = values.get(Field::Channels)?;
    if !matches!(channels, 2 | 6 | 8) {
        return refuse(Field::Channels, channels, "it must be 2, 6 or 8");
    }
    let mask = values.get(Field::Mask)?;
    if i64::from(mask.count_ones()) != channels {
        return refuse(
            Field::Mask,
            mask,
            "it must name as many channels as there are",
        );
    }
    let packet_ms = values.get(Field::PacketMs)?;
    if !matches!(packet_ms, 5 | 10 | 20) {
        return refuse(Field::PacketMs, packet_ms, "it must be 5, 10 or 20 ms");
    }
    Ok(AudioConfig {
        channels: channels as u8,
        mask: mask as u32,
        packet_ms: packet_ms as u8,
        high_quality: values.flag(Field::Quality)?,
    })
}
