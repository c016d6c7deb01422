//! Messages to bytes and back, field by field as [`super::messages`] tabulates them.

use crate::bytes::{Reader, Writer};
use crate::crypto::Aead;
use crate::limits::{
    BITRATE_MAX, BITRATE_MIN, DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN, FRAME_TIMES_PER_BATCH_MAX,
    NAME_BYTES_MAX, REASON_BYTES_MAX,
};
use crate::times::FrameTimes;
use crate::units::{BitsPerSecond, FrameId, SliceCount};

use super::cursor::{CursorState, ShapePart};
use super::framing::HEADER_BYTES;
use super::input::PACKET_BYTES_MAX;
use super::messages::{
    AeadSet, ClientStatistics, ClipboardPiece, ClockDomain, Codec, CodecSet, End, EndReason,
    Features, FecCodes, Hello, Kind, Message, MessageError, Reconfigure, Reconfigured, Refuse,
    RefuseCode, RepairRequest, RepairWish, Welcome,
};
use super::modes::{read_mode, write_mode};
use super::pairing::PairingMessage;
use super::text;

/// "The host's choice" in a Hello.
const FEC_PERCENT_ANY: u8 = 255;

impl Message {
    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::Welcome(_) => Kind::Welcome,
            Self::Refuse(_) => Kind::Refuse,
            Self::Start => Kind::Start,
            Self::RepairRequest(_) => Kind::RepairRequest,
            Self::Statistics(_) => Kind::Statistics,
            Self::FrameTimes(_) => Kind::FrameTimes,
            Self::Reconfigure(_) => Kind::Reconfigure,
            Self::Reconfigured(_) => Kind::Reconfigured,
            Self::Input(_) => Kind::Input,
            Self::PadOutput(_) => Kind::PadOutput,
            Self::CursorShape(_) => Kind::CursorShape,
            Self::CursorState(_) => Kind::CursorState,
            Self::End(_) => Kind::End,
            Self::Clipboard(_) => Kind::Clipboard,
            Self::Pairing(message) => message.kind(),
        }
    }

    /// Appends header and body to `out`. Texts are cut to their limits, and of frame times only
    /// the first [`FRAME_TIMES_PER_BATCH_MAX`] are taken.
    pub fn write(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        let mut writer = Writer::new(out);
        writer.u16(self.kind() as u16);
        writer.u32(0);
        match self {
            Self::Hello(hello) => write_hello(hello, &mut writer),
            Self::Welcome(welcome) => write_welcome(welcome, &mut writer),
            Self::Refuse(Refuse { code, text }) => {
                writer.u16(code.to_wire());
                text::write(&mut writer, text, REASON_BYTES_MAX);
            }
            Self::Start => {}
            Self::RepairRequest(request) => write_repair(request, &mut writer),
            Self::Statistics(statistics) => write_statistics(statistics, &mut writer),
            Self::FrameTimes(frames) => write_frame_times(frames, &mut writer),
            Self::Reconfigure(request) => request.write(&mut writer),
            Self::Reconfigured(answer) => answer.write(&mut writer),
            Self::Input(packet) => writer.bytes(&packet[..packet.len().min(PACKET_BYTES_MAX)]),
            Self::PadOutput(packet) => writer.bytes(packet),
            Self::Clipboard(piece) => piece.write(&mut writer),
            Self::CursorShape(part) => part.write(&mut writer),
            Self::CursorState(state) => writer.bytes(&state.packet()),
            Self::Pairing(message) => message.write(&mut writer),
            Self::End(End { reason, text }) => {
                writer.u16(reason.to_wire());
                text::write(&mut writer, text, REASON_BYTES_MAX);
            }
        }
        let body_bytes = u32::try_from(out.len() - begin - HEADER_BYTES)
            .expect("every message is below CONTROL_BODY_BYTES_MAX");
        out[begin + 2..begin + HEADER_BYTES].copy_from_slice(&body_bytes.to_le_bytes());
    }

    /// Reads a body.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(kind: Kind, body: &[u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(body);
        let reader = &mut reader;
        Ok(match kind {
            Kind::Hello => Self::Hello(read_hello(reader)?),
            Kind::Welcome => Self::Welcome(read_welcome(reader)?),
            Kind::Refuse => Self::Refuse(Refuse {
                code: RefuseCode::from_wire(reader.u16()?),
                text: text::read(reader, REASON_BYTES_MAX)?,
            }),
            Kind::Start => Self::Start,
            Kind::RepairRequest => Self::RepairRequest(read_repair(reader)?),
            Kind::Statistics => Self::Statistics(read_statistics(reader)?),
            Kind::FrameTimes => Self::FrameTimes(read_frame_times(reader)?),
            Kind::Reconfigure => Self::Reconfigure(Reconfigure::read(reader)?),
            Kind::Reconfigured => Self::Reconfigured(Reconfigured::read(reader)?),
            Kind::Input => {
                if body.len() > PACKET_BYTES_MAX {
                    return Err(MessageError::Value {
                        field: "size of an input packet",
                        value: body.len() as u64,
                    });
                }
                Self::Input(body.to_vec())
            }
            Kind::PadOutput => Self::PadOutput(reader.array()?),
            Kind::Clipboard => Self::Clipboard(ClipboardPiece::read(reader)?),
            Kind::CursorShape => Self::CursorShape(ShapePart::read(reader)?),
            Kind::CursorState => Self::CursorState(CursorState::parse(body)?),
            Kind::PairRequest | Kind::PairReply | Kind::PairConfirm | Kind::PairDone => {
                Self::Pairing(PairingMessage::parse(kind, reader)?)
            }
            Kind::End => Self::End(End {
                reason: EndReason::from_wire(reader.u16()?),
                text: text::read(reader, REASON_BYTES_MAX)?,
            }),
        })
    }
}

fn write_repair(request: &RepairRequest, writer: &mut Writer<'_>) {
    write_known_frame(request.last_good, writer);
    writer.u32(request.first_lost.0);
    writer.u32(request.newest_lost.0);
    writer.u8(match request.wish {
        RepairWish::Recovery => 0,
        RepairWish::Idr => 1,
    });
}

fn read_repair(reader: &mut Reader<'_>) -> Result<RepairRequest, MessageError> {
    let last_good = read_known_frame(reader)?;
    let (first_lost, newest_lost) = (FrameId(reader.u32()?), FrameId(reader.u32()?));
    // A wish of a later version is met by what meets every wish.
    let wish = match reader.u8()? {
        0 => RepairWish::Recovery,
        _ => RepairWish::Idr,
    };
    if first_lost > newest_lost {
        return Err(MessageError::Value {
            field: "first lost frame",
            value: first_lost.0.into(),
        });
    }
    Ok(RepairRequest {
        last_good,
        first_lost,
        newest_lost,
        wish,
    })
}

fn write_hello(hello: &Hello, writer: &mut Writer<'_>) {
    writer.u16(hello.version);
    write_mode(hello.mode, writer);
    writer.u32(hello.codecs.0);
    writer.u32(hello.fec_codes.0);
    writer.u32(hello.aeads.0);
    writer.u64(hello.required.0);
    writer.u64(hello.optional.0);
    writer.u8(hello.slices);
    writer.u64(hello.bitrate.0);
    writer.u8(hello.fec_percent.unwrap_or(FEC_PERCENT_ANY));
    writer.u16(hello.datagram_bytes_max);
    text::write(writer, &hello.name, NAME_BYTES_MAX);
}

fn read_hello(reader: &mut Reader<'_>) -> Result<Hello, MessageError> {
    Ok(Hello {
        version: reader.u16()?,
        mode: read_mode(reader)?,
        codecs: CodecSet(reader.u32()?),
        fec_codes: FecCodes(reader.u32()?),
        aeads: AeadSet(reader.u32()?),
        required: Features(reader.u64()?),
        optional: Features(reader.u64()?),
        slices: reader.u8()?,
        bitrate: BitsPerSecond(reader.u64()?),
        fec_percent: Some(reader.u8()?).filter(|&percent| percent != FEC_PERCENT_ANY),
        datagram_bytes_max: reader.u16()?,
        name: text::read(reader, NAME_BYTES_MAX)?,
    })
}

fn write_welcome(welcome: &Welcome, writer: &mut Writer<'_>) {
    writer.bytes(&welcome.session);
    write_mode(welcome.mode.into(), writer);
    writer.u8(welcome.codec.to_wire());
    writer.u8(welcome.aead as u8);
    writer.u8(welcome.fec_percent.unwrap_or(FEC_PERCENT_ANY));
    writer.u64(welcome.features.0);
    writer.u8(welcome.slices.get());
    writer.u64(welcome.bitrate.0);
    writer.u16(welcome.datagram_bytes_max);
    writer.bytes(&welcome.clock.0);
    text::write(writer, &welcome.host_name, NAME_BYTES_MAX);
    text::write(writer, &welcome.encoder_name, NAME_BYTES_MAX);
}

fn read_welcome(reader: &mut Reader<'_>) -> Result<Welcome, MessageError> {
    let invalid = |field, value: u64| MessageError::Value { field, value };
    Ok(Welcome {
        session: reader.array()?,
        mode: read_mode(reader)?.check()?,
        codec: Codec::from_wire(reader.u8()?),
        aead: {
            let number = reader.u8()?;
            Aead::from_wire(number).ok_or_else(|| invalid("AEAD", number.into()))?
        },
        fec_percent: Some(reader.u8()?).filter(|&percent| percent != FEC_PERCENT_ANY),
        features: Features(reader.u64()?),
        slices: {
            let count = reader.u8()?;
            SliceCount::new(count).ok_or_else(|| invalid("slice count", count.into()))?
        },
        bitrate: {
            let bitrate = reader.u64()?;
            if !(BITRATE_MIN..=BITRATE_MAX).contains(&bitrate) {
                return Err(invalid("bitrate", bitrate));
            }
            BitsPerSecond(bitrate)
        },
        datagram_bytes_max: {
            let bytes = reader.u16()?;
            if !(DATAGRAM_BYTES_MIN..=DATAGRAM_BYTES_MAX).contains(&usize::from(bytes)) {
                return Err(invalid("datagram size", bytes.into()));
            }
            bytes
        },
        clock: ClockDomain(reader.array()?),
        host_name: text::read(reader, NAME_BYTES_MAX)?,
        encoder_name: text::read(reader, NAME_BYTES_MAX)?,
    })
}

fn write_statistics(statistics: &ClientStatistics, writer: &mut Writer<'_>) {
    writer.u64(statistics.frames_received);
    writer.u64(statistics.frames_lost);
    writer.u64(statistics.shards_repaired);
    writer.u64(statistics.frames_decoded);
    writer.u64(statistics.datagrams);
    writer.u64(statistics.bytes);
    writer.u64(statistics.not_opened);
    write_known_frame(statistics.newest_frame, writer);
}

fn read_statistics(reader: &mut Reader<'_>) -> Result<ClientStatistics, MessageError> {
    Ok(ClientStatistics {
        frames_received: reader.u64()?,
        frames_lost: reader.u64()?,
        shards_repaired: reader.u64()?,
        frames_decoded: reader.u64()?,
        datagrams: reader.u64()?,
        bytes: reader.u64()?,
        not_opened: reader.u64()?,
        newest_frame: read_known_frame(reader)?,
    })
}

fn write_known_frame(frame: Option<FrameId>, writer: &mut Writer<'_>) {
    writer.u8(u8::from(frame.is_some()));
    writer.u32(frame.map_or(0, |frame| frame.0));
}

fn read_known_frame(reader: &mut Reader<'_>) -> Result<Option<FrameId>, MessageError> {
    let is_known = reader.u8()? != 0;
    let frame = FrameId(reader.u32()?);
    Ok(is_known.then_some(frame))
}

fn write_frame_times(frames: &[FrameTimes], writer: &mut Writer<'_>) {
    let frames = &frames[..frames.len().min(FRAME_TIMES_PER_BATCH_MAX)];
    writer.u16(frames.len() as u16);
    for frame in frames {
        frame.write(writer);
    }
}

fn read_frame_times(reader: &mut Reader<'_>) -> Result<Vec<FrameTimes>, MessageError> {
    let count = usize::from(reader.u16()?);
    if count > FRAME_TIMES_PER_BATCH_MAX {
        return Err(MessageError::Value {
            field: "number of frame times",
            value: count as u64,
        });
    }
    let mut frames = Vec::with_capacity(count);
    for _ in 0..count {
        frames.push(FrameTimes::read(reader)?);
    }
    Ok(frames)
}
