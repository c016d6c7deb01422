//! What is offered to a node, and what became of it, as PipeWire wants it told.

use ::pipewire as pw;
use gpu::frame::{PixelFormat, Size};
use net::units::Mode;
use pw::spa;
use spa::param::ParamType;
use spa::param::format::{FormatProperties, MediaSubtype, MediaType};
use spa::param::video::{VideoFormat, VideoInfoRaw};
use spa::pod::{ChoiceValue, Object, Pod, Property, PropertyFlags, Value};
use spa::utils::{Choice, ChoiceEnum, ChoiceFlags, Fraction, Id, Rectangle, SpaTypes};

use super::address::{Memory, Shape};
use super::meta;

/// `DRM_FORMAT_MOD_LINEAR` (`drm_fourcc.h`).
pub(super) const LINEAR: u64 = 0;
/// Buffers: one shown, one on the edge to the encoder, one in it, the others for the producer.
const BUFFERS: i32 = 6;
/// Fewer make a producer wait for us, and a buffer on its way back comes to it with the next picture
/// only; more keep memory busy. Best first: KWin makes 3 where it is let, and then has none left for
/// a picture or a place of the pointer.
const BUFFERS_RANGES: [(i32, i32); 2] = [(4, 16), (2, 16)];
/// `SPA_FORMAT_VIDEO_requested_size`, gamescope's own (`src/pipewire_gamescope.hpp`).
const REQUESTED_SIZE: u32 = 0x7_0000;
/// The largest picture, pixels.
const SIDE_MAX: u32 = net::limits::SIDE_PX_MAX as u32;
/// The best first: those that need no swap of colours.
const FORMATS: [VideoFormat; 4] = [
    VideoFormat::BGRx,
    VideoFormat::BGRA,
    VideoFormat::RGBx,
    VideoFormat::RGBA,
];

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) size: Size,
    pub(super) pixels: PixelFormat,
    /// `DRM_FORMAT_*` of the same.
    pub(super) fourcc: u32,
    /// Highest rate, mHz; 0 if the producer does not say.
    pub(super) refresh_millihz: u32,
    /// Buffers are dmabufs, of this modifier.
    pub(super) modifier: Option<u64>,
}

impl Format {
    /// From a `Format` parameter; `None` for one that we did not offer.
    pub(super) fn parse(pod: &Pod) -> Option<Self> {
        let mut info = VideoInfoRaw::new();
        info.parse(pod).ok()?;
        let size = Size {
            width: u16::try_from(info.size().width).ok()?,
            height: u16::try_from(info.size().height).ok()?,
        };
        let key = Id(FormatProperties::VideoModifier.as_raw());
        let has_modifier = pod.as_object().ok()?.find_prop(key).is_some();
        let rate = info.max_framerate();
        let millihz = (u64::from(rate.num) * 1000).checked_div(rate.denom.into());
        Some(Self {
            size,
            pixels: pixel_format(info.format().as_raw())?,
            fourcc: fourcc(info.format())?,
            refresh_millihz: u32::try_from(millihz.unwrap_or(0)).unwrap_or(u32::MAX),
            modifier: has_modifier.then(|| info.modifier()),
        })
    }
}

/// Of a `SPA_VIDEO_FORMAT_*`, if we can read it.
pub(super) fn pixel_format(format: u32) -> Option<PixelFormat> {
    match VideoFormat::from_raw(format) {
        VideoFormat::BGRx | VideoFormat::BGRA => Some(PixelFormat::Bgrx),
        VideoFormat::RGBx | VideoFormat::RGBA => Some(PixelFormat::Rgbx),
        _ => None,
    }
}

/// `DRM_FORMAT_XRGB8888` and its like name their bytes from the highest down.
fn fourcc(format: VideoFormat) -> Option<u32> {
    let letters = match format {
        VideoFormat::BGRx => b"XR24",
        VideoFormat::BGRA => b"AR24",
        VideoFormat::RGBx => b"XB24",
        VideoFormat::RGBA => b"AB24",
        _ => return None,
    };
    Some(u32::from_le_bytes(*letters))
}

/// Every format that is taken, best first. One with a modifier is for dmabufs: a producer without
/// them passes it over, because the property is mandatory, and takes the other.
pub(super) fn offers(shape: Shape, memory: Memory) -> Vec<Vec<u8>> {
    let linear = matches!(memory, Memory::Any).then(|| offer(shape, true));
    linear.into_iter().chain([offer(shape, false)]).collect()
}

fn offer(shape: Shape, as_dmabuf: bool) -> Vec<u8> {
    let id = |key: FormatProperties, value| Property::new(key.as_raw(), Value::Id(Id(value)));
    let ids = FORMATS.map(|format| Id(format.as_raw()));
    let mut properties = vec![
        id(FormatProperties::MediaType, MediaType::Video.as_raw()),
        id(FormatProperties::MediaSubtype, MediaSubtype::Raw.as_raw()),
        Property::new(
            FormatProperties::VideoFormat.as_raw(),
            Value::Choice(ChoiceValue::Id(one_of(ids[0], ids.to_vec()))),
        ),
    ];
    if as_dmabuf {
        let linear = LINEAR.cast_signed();
        properties.push(Property {
            key: FormatProperties::VideoModifier.as_raw(),
            // The producer looks which of them it can really allocate.
            flags: PropertyFlags::MANDATORY | PropertyFlags::DONT_FIXATE,
            value: Value::Choice(ChoiceValue::Long(one_of(linear, vec![linear]))),
        });
    }
    let rectangle = |mode: Mode| {
        Value::Rectangle(Rectangle {
            width: mode.width().into(),
            height: mode.height().into(),
        })
    };
    let (size, highest) = match shape {
        Shape::Asked(mode) => (rectangle(mode), Some(fraction(mode.refresh().get()))),
        Shape::Within(_) | Shape::Given => {
            let side = |px| Rectangle {
                width: px,
                height: px,
            };
            let size = range(side(SIDE_MAX / 2), side(1), side(SIDE_MAX));
            (Value::Choice(ChoiceValue::Rectangle(size)), None)
        }
    };
    properties.push(Property::new(FormatProperties::VideoSize.as_raw(), size));
    if let Shape::Within(mode) = shape {
        properties.push(Property::new(REQUESTED_SIZE, rectangle(mode)));
    }
    // 0/1: pictures come when there are new ones.
    let any = range(fraction(0), fraction(0), fraction(1_000_000));
    properties.push(Property::new(
        FormatProperties::VideoFramerate.as_raw(),
        Value::Choice(ChoiceValue::Fraction(any)),
    ));
    if let Some(highest) = highest {
        properties.push(Property::new(
            FormatProperties::VideoMaxFramerate.as_raw(),
            Value::Fraction(highest),
        ));
    }
    object(
        SpaTypes::ObjectParamFormat,
        ParamType::EnumFormat,
        properties,
    )
}

/// Mutter takes the monitor's rate from this, so it is exact.
fn fraction(millihz: u32) -> Fraction {
    match millihz % 1000 {
        0 => Fraction {
            num: millihz / 1000,
            denom: 1,
        },
        _ => Fraction {
            num: millihz,
            denom: 1000,
        },
    }
}

/// What buffers must be like, and what comes with them.
pub(super) fn buffers(format: &Format, tells_cursor: bool) -> Vec<Vec<u8>> {
    let kinds = match format.modifier {
        Some(_) => 1 << spa::sys::SPA_DATA_DmaBuf,
        // A pointer is memory of the daemon's; it is copied.
        None => 1 << spa::sys::SPA_DATA_MemFd | 1 << spa::sys::SPA_DATA_MemPtr,
    };
    let number = |key, value| Property::new(key, Value::Choice(ChoiceValue::Int(value)));
    let flags = ChoiceEnum::Flags {
        default: kinds,
        flags: Vec::new(),
    };
    let buffers = |(least, most)| {
        object(
            SpaTypes::ObjectParamBuffers,
            ParamType::Buffers,
            vec![
                number(
                    spa::sys::SPA_PARAM_BUFFERS_buffers,
                    range(BUFFERS, least, most),
                ),
                Property::new(spa::sys::SPA_PARAM_BUFFERS_blocks, Value::Int(1)),
                number(
                    spa::sys::SPA_PARAM_BUFFERS_dataType,
                    Choice(ChoiceFlags::empty(), flags.clone()),
                ),
            ],
        )
    };
    let bytes = |count: usize| i32::try_from(count).expect("some kilobytes");
    let header = Value::Int(bytes(meta::HEADER_BYTES));
    let ranged = |(default, least, most): (usize, usize, usize)| {
        Value::Choice(ChoiceValue::Int(range(
            bytes(default),
            bytes(least),
            bytes(most),
        )))
    };
    let region = meta::REGION_BYTES;
    let damage = ranged((16 * region, region, 64 * region));
    let cursor = ranged((
        meta::cursor_bytes(64),
        meta::cursor_bytes(1),
        meta::CURSOR_BYTES_MAX,
    ));
    let meta = |kind, size| {
        let properties = vec![
            Property::new(spa::sys::SPA_PARAM_META_type, Value::Id(Id(kind))),
            Property::new(spa::sys::SPA_PARAM_META_size, size),
        ];
        object(SpaTypes::ObjectParamMeta, ParamType::Meta, properties)
    };
    let cursor = tells_cursor.then(|| meta(spa::sys::SPA_META_Cursor, cursor));
    let [header, damage] = [
        meta(spa::sys::SPA_META_Header, header),
        meta(spa::sys::SPA_META_VideoDamage, damage),
    ];
    let buffers = BUFFERS_RANGES.map(buffers).into_iter();
    buffers.chain([header, damage]).chain(cursor).collect()
}

fn one_of<T: spa::pod::CanonicalFixedSizedPod>(default: T, alternatives: Vec<T>) -> Choice<T> {
    Choice(
        ChoiceFlags::empty(),
        ChoiceEnum::Enum {
            default,
            alternatives,
        },
    )
}

fn range<T: spa::pod::CanonicalFixedSizedPod>(default: T, min: T, max: T) -> Choice<T> {
    Choice(
        ChoiceFlags::empty(),
        ChoiceEnum::Range { default, min, max },
    )
}

fn object(type_: SpaTypes, id: ParamType, properties: Vec<Property>) -> Vec<u8> {
    let object = Object {
        type_: type_.as_raw(),
        id: id.as_raw(),
        properties,
    };
    let mut bytes = std::io::Cursor::new(Vec::new());
    spa::pod::serialize::PodSerializer::serialize(&mut bytes, &Value::Object(object))
        .expect("memory takes every byte");
    bytes.into_inner()
}
