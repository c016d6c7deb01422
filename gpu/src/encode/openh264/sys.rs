//! The openh264 encoder: the crate's safe interface where it has one, its raw one for a change of
//! bitrate.
#![allow(unsafe_code)]

use net::units::BitsPerSecond;
use openh264::OpenH264API;
use openh264::encoder::{
    BitRate, Complexity, EncodedBitStream, Encoder, EncoderConfig as LibraryConfig, FrameRate,
    IntraFramePeriod, RateControlMode, SpsPpsStrategy, UsageType, VuiConfig,
};
use openh264::formats::YUVSlices;
use openh264_sys2::{
    ENCODER_OPTION_BITRATE, ENCODER_OPTION_TRACE_LEVEL, SPATIAL_LAYER_ALL, TagBitrateInfo,
    WELS_LOG_QUIET,
};

use crate::convert::I420;
use crate::encode::EncoderConfig;

/// Sides that the library takes, the longer first.
const SIDES_MAX: (u16, u16) = (3840, 2160);

/// An open encoder.
pub(super) struct Library(Encoder);

impl Library {
    pub(super) fn open(config: &EncoderConfig) -> Result<Self, String> {
        let (width, height) = (config.mode.width(), config.mode.height());
        if width.max(height) > SIDES_MAX.0 || width.min(height) > SIDES_MAX.1 {
            return Err("openh264 encodes at most 3840x2160".to_owned());
        }
        let hz = config.mode.refresh().get() as f32 / 1000.0;
        let bitrate = u32::try_from(config.bitrate.0)
            .unwrap_or(u32::MAX)
            .min(i32::MAX as u32);
        let settings = LibraryConfig::new()
            .bitrate(BitRate::from_bps(bitrate))
            .max_frame_rate(FrameRate::from_hz(hz))
            .rate_control_mode(RateControlMode::Bitrate)
            .usage_type(UsageType::CameraVideoRealTime)
            .complexity(Complexity::Low)
            .sps_pps_strategy(SpsPpsStrategy::ConstantId)
            .skip_frames(false)
            .scene_change_detect(false)
            .adaptive_quantization(false)
            .background_detection(false)
            .intra_frame_period(IntraFramePeriod::from_num_frames(0))
            .num_threads(u16::from(config.threads.max(1)))
            .vui(VuiConfig::bt709());
        let mut encoder = Encoder::with_api_config(OpenH264API::from_source(), settings)
            .map_err(|error| error.to_string())?;
        // It would warn on stderr, of all things about pictures that we forbid it to skip.
        let mut quiet = WELS_LOG_QUIET;
        // SAFETY: the encoder exists, and this option takes an int, also before it is initialised.
        unsafe {
            encoder
                .raw_api()
                .set_option(ENCODER_OPTION_TRACE_LEVEL, (&raw mut quiet).cast());
        }
        Ok(Self(encoder))
    }

    /// Encodes a picture.
    pub(super) fn encode(&mut self, picture: &I420, idr: bool) -> Result<Units<'_>, String> {
        if idr {
            self.0.force_intra_frame();
        }
        let size = (
            usize::from(picture.size.width),
            usize::from(picture.size.height),
        );
        // The planes have rows of padding below the picture, which the library refuses.
        let half = picture.stride / 2;
        let chroma_bytes = size.1 / 2 * half;
        let planes = (
            &picture.luma[..size.1 * picture.stride],
            &picture.chroma[0][..chroma_bytes],
            &picture.chroma[1][..chroma_bytes],
        );
        let source = YUVSlices::new(planes, size, (picture.stride, half, half));
        self.0
            .encode(&source)
            .map(Units)
            .map_err(|error| error.to_string())
    }

    /// From the next picture on.
    pub(super) fn set_bitrate(&mut self, bitrate: BitsPerSecond) -> Result<(), String> {
        let mut info = TagBitrateInfo {
            iLayer: SPATIAL_LAYER_ALL,
            iBitrate: i32::try_from(bitrate.0).unwrap_or(i32::MAX),
        };
        // SAFETY: the encoder is open, and this option takes that structure, which it copies.
        let result = unsafe {
            self.0
                .raw_api()
                .set_option(ENCODER_OPTION_BITRATE, (&raw mut info).cast())
        };
        if result == 0 {
            Ok(())
        } else {
            Err(format!("the library answers {result}"))
        }
    }
}

/// The NAL units of a picture.
pub(super) struct Units<'a>(EncodedBitStream<'a>);

impl Units<'_> {
    /// Calls `take` with each, its start code included, in order.
    pub(super) fn for_each(&self, mut take: impl FnMut(&[u8])) {
        for layer in (0..self.0.num_layers()).filter_map(|index| self.0.layer(index)) {
            for unit in (0..layer.nal_count()).filter_map(|index| layer.nal_unit(index)) {
                take(unit);
            }
        }
    }
}
