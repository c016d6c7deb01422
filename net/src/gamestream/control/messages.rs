//! What the messages mean. Little-endian, where nothing else is said.

use super::super::input::{self, InputError};
use super::super::reports::FecStatus;
use crate::bytes::{Reader, Truncated};
use crate::input::InputEvent;

/// Largest payload of a message of ours.
pub const TO_CLIENT_BYTES_MAX: usize = 32;

/// Message 0x0201, of clients before 2024: every 50 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossStats {
    /// Packets lost in the interval.
    pub lost: u32,
    /// The interval, ms.
    pub interval_ms: u32,
    /// Newest frame that was whole, as counted on the wire.
    pub last_good_frame: u64,
}

/// What a client says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FromClient {
    /// 0x0305: it is ready.
    StartA,
    /// 0x0307: it is ready indeed.
    StartB,
    /// 0x0302: nothing but an IDR helps.
    RequestIdr,
    /// 0x0301: frames from first to last were lost.
    Invalidate {
        /// As counted on the wire.
        first: u32,
        /// Not before `first`.
        last: u32,
    },
    /// 0x0201.
    LossStats(LossStats),
    /// 0x5502: what became of a block.
    FecStatus(FecStatus),
    /// 0x0350: it holds this long-term reference frame.
    LongTermReference {
        /// As counted on the wire.
        frame: u32,
    },
    /// 0x0206.
    Input(InputEvent),
    /// 0x0206 with a packet that needs nothing done (haptics on).
    InputIgnored,
    /// 0x0200: it is there; every 100 ms.
    Ping,
    /// Any other: new clients say new things.
    Unknown {
        /// Its type.
        kind: u16,
    },
}

/// Why a message is not understood. The session goes on.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum MessageError {
    /// It ends early.
    #[error("control message {kind:#06x} ends early: {error}")]
    Short {
        /// Its type.
        kind: u16,
        /// Where.
        error: Truncated,
    },
    /// Its frames are in no order.
    #[error("frames {first} to {last} cannot be invalidated: the first is after the last")]
    Order {
        /// First.
        first: u32,
        /// Last.
        last: u32,
    },
    /// Its counts contradict each other.
    #[error("the report on frame {frame} contradicts itself")]
    Report {
        /// Which frame.
        frame: u32,
    },
    /// It is no input.
    #[error(transparent)]
    Input(#[from] InputError),
}

impl FromClient {
    /// Reads an opened message.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn parse(kind: u16, payload: &[u8]) -> Result<Self, MessageError> {
        let short = |error| MessageError::Short { kind, error };
        let mut reader = Reader::new(payload);
        Ok(match kind {
            0x0305 => Self::StartA,
            0x0307 => Self::StartB,
            0x0302 => Self::RequestIdr,
            0x0200 => Self::Ping,
            0x0301 => {
                let first = reader.u32().map_err(short)?;
                reader.u32().map_err(short)?;
                let last = reader.u32().map_err(short)?;
                if first > last {
                    return Err(MessageError::Order { first, last });
                }
                Self::Invalidate { first, last }
            }
            0x0201 => {
                let lost = reader.u32().map_err(short)?;
                let interval_ms = reader.u32().map_err(short)?;
                reader.u32().map_err(short)?;
                Self::LossStats(LossStats {
                    lost,
                    interval_ms,
                    last_good_frame: reader.u64().map_err(short)?,
                })
            }
            0x5502 => Self::FecStatus(fec_status(&mut reader).map_err(short)?.check()?),
            0x0350 => Self::LongTermReference {
                frame: reader.u32().map_err(short)?,
            },
            0x0206 => match input::parse(payload)? {
                Some(event) => Self::Input(event),
                None => Self::InputIgnored,
            },
            kind => Self::Unknown { kind },
        })
    }
}

/// Big-endian, unlike the rest.
fn fec_status(reader: &mut Reader<'_>) -> Result<FecStatus, Truncated> {
    let frame = u32::from_be_bytes(reader.array()?);
    let mut word = || reader.array().map(u16::from_be_bytes);
    Ok(FecStatus {
        frame,
        highest_received: word()?,
        next_contiguous: word()?,
        missing_before_highest: word()?,
        data_packets: word()?,
        parity_packets: word()?,
        data_received: word()?,
        parity_received: word()?,
        percent: reader.u8()?,
        block: reader.u8()?,
        blocks: reader.u8()?,
    })
}

impl FecStatus {
    /// A report that can be.
    fn check(self) -> Result<Self, MessageError> {
        let fits = self.data_received <= self.data_packets
            && self.parity_received <= self.parity_packets
            && self.missing_before_highest <= self.data_packets.saturating_add(self.parity_packets)
            && self.block < 4
            && (1..=4).contains(&self.blocks);
        match fits {
            true => Ok(self),
            false => Err(MessageError::Report { frame: self.frame }),
        }
    }
}

/// Which sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MotionKind {
    /// m/s².
    Accelerometer = 1,
    /// degrees/s.
    Gyroscope = 2,
}

/// How a trigger feels: a mode and its parameters as the controller takes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdaptiveTrigger {
    /// Mode.
    pub mode: u8,
    /// Its parameters.
    pub effect: [u8; 10],
}

/// CTA-861.3 and SMPTE ST 2086: chromaticities in 0.00002.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HdrMetadata {
    /// Red, green, blue: x and y.
    pub primaries: [[u16; 2]; 3],
    /// White: x and y.
    pub white: [u16; 2],
    /// Brightest of the display, nits.
    pub display_max: u16,
    /// Darkest, 0.0001 nits.
    pub display_min: u16,
    /// Brightest pixel, nits.
    pub content_max: u16,
    /// Brightest frame on average, nits.
    pub frame_average_max: u16,
    /// Brightest full frame of the display, nits.
    pub full_frame_max: u16,
}

/// Why the host ends a session, as clients know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EndReason {
    /// It was ended on purpose; a client that has not seen a frame takes it for a failure.
    Closed = 0x8003_0023,
    /// The picture is protected.
    Protected = 0x800e_9302,
    /// The picture could not be converted.
    Conversion = 0x800e_9403,
}

/// What the host says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToClient {
    /// 0x010b: motors, 0 to 65535.
    Rumble {
        /// Which controller.
        controller: u8,
        /// The heavy one.
        low: u16,
        /// The light one.
        high: u16,
    },
    /// 0x5500: motors of the triggers.
    TriggerRumble {
        /// Which controller.
        controller: u8,
        /// Left.
        left: u16,
        /// Right.
        right: u16,
    },
    /// 0x5501: send motion from now on.
    MotionEnable {
        /// Which controller.
        controller: u8,
        /// Which sensor.
        kind: MotionKind,
        /// Reports a second; 0 ends them.
        rate_hz: u16,
    },
    /// 0x5502: the controller's light.
    Led {
        /// Which controller.
        controller: u8,
        /// Red, green, blue.
        rgb: [u8; 3],
    },
    /// 0x5503: how triggers feel.
    AdaptiveTriggers {
        /// Which controller.
        controller: u8,
        /// Left, if it changes.
        left: Option<AdaptiveTrigger>,
        /// Right, if it changes.
        right: Option<AdaptiveTrigger>,
    },
    /// 0x010e.
    HdrMode {
        /// On or off.
        enabled: bool,
        /// What is shown.
        metadata: HdrMetadata,
    },
    /// 0x0109: the session is over.
    Terminate(EndReason),
}

impl ToClient {
    /// Type, payload, and how much of the payload is used.
    #[must_use]
    pub fn to_wire(&self) -> (u16, [u8; TO_CLIENT_BYTES_MAX], usize) {
        let mut out = Out::default();
        let kind = match *self {
            Self::Rumble {
                controller,
                low,
                high,
            } => {
                out.words(&[0, 0, controller.into(), low, high]);
                0x010b
            }
            Self::TriggerRumble {
                controller,
                left,
                right,
            } => {
                out.words(&[controller.into(), left, right]);
                0x5500
            }
            Self::MotionEnable {
                controller,
                kind,
                rate_hz,
            } => {
                out.words(&[controller.into(), rate_hz]);
                out.bytes(&[kind as u8]);
                0x5501
            }
            Self::Led { controller, rgb } => {
                out.words(&[controller.into()]);
                out.bytes(&rgb);
                0x5502
            }
            Self::AdaptiveTriggers {
                controller,
                left,
                right,
            } => {
                let flags = u8::from(right.is_some()) << 2 | u8::from(left.is_some()) << 3;
                let (left, right) = (left.unwrap_or_default(), right.unwrap_or_default());
                out.words(&[controller.into()]);
                out.bytes(&[flags, left.mode, right.mode]);
                out.bytes(&left.effect);
                out.bytes(&right.effect);
                0x5503
            }
            Self::HdrMode { enabled, metadata } => {
                out.bytes(&[u8::from(enabled)]);
                out.words(metadata.primaries.as_flattened());
                out.words(&metadata.white);
                out.words(&[metadata.display_max, metadata.display_min]);
                out.words(&[metadata.content_max, metadata.frame_average_max]);
                out.words(&[metadata.full_frame_max]);
                0x010e
            }
            Self::Terminate(reason) => {
                out.bytes(&(reason as u32).to_be_bytes());
                0x0109
            }
        };
        (kind, out.payload, out.length)
    }
}

#[derive(Default)]
struct Out {
    payload: [u8; TO_CLIENT_BYTES_MAX],
    length: usize,
}

impl Out {
    fn bytes(&mut self, bytes: &[u8]) {
        self.payload[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn words(&mut self, words: &[u16]) {
        for word in words {
            self.bytes(&word.to_le_bytes());
        }
    }
}
