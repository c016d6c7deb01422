//! H.264 by x264 (GPL, version 2 or later; cargo feature `x264`): slices while the picture is
//! still being encoded.
//!
//! * Preset ultrafast, tune zerolatency, infinite GOP, no B pictures: constrained baseline.
//! * Every picture's quantiser is ours (see [`rate`](super::rate)); x264's own rate control would
//!   make the first slice wait.
//! * A picture refers to the newest valid one of the last [`REFERENCES_MAX`]; after
//!   [`Encoder::invalidate_references`] it refers past the lost ones, without an IDR.
//!
//! # Which thread calls the sink
//! With one thread, the caller's. With more, whichever of x264's threads finishes the slice
//! whose turn it is, one at a time, while the caller waits inside `encode`.

mod emit;
mod ffi;
mod references;

use net::clock;
use net::units::{BitsPerSecond, FrameId, SliceCount};

use self::emit::{EmitError, Emitter, Waiting};
use self::ffi::{Settings, Slicing};
use self::references::{Invalidation, References};
use super::rate::{Analyser, RateController};
use super::{Capabilities, EncodeError, Encoded, Encoder, EncoderConfig, PictureKind, SliceSink};
use crate::convert::{Converter, Nv12};
use crate::frame::{Frame, Size};

/// Name for logs, errors and statistics.
pub const NAME: &str = "x264";

/// Pictures that are kept as references: at 60 Hz a loss may be reported after 116 ms.
pub const REFERENCES_MAX: u8 = 8;

/// Most macroblocks of the DPB that decoders in the field are made for: level 5.2 (table A-1).
const DPB_MACROBLOCKS_MAX: u32 = 184_320;

/// What a waiting slice's buffer holds before it must grow, in shares of a frame's budget.
const WAITING_SHARES: u64 = 1;

/// Ready with the library's version, or why not.
///
/// # Errors
/// Never, where this module is built in: the library is linked statically.
pub fn probe() -> Result<String, String> {
    Ok(format!(
        "build {}, linked in; hands on each slice as it is finished",
        x264_sys::X264_BUILD
    ))
}

/// The encoder; see the module's text.
pub struct X264Encoder {
    config: EncoderConfig,
    library: ffi::Encoder,
    converter: Converter<Nv12>,
    analyser: Analyser,
    rate: RateController,
    references: References,
    waiting: Waiting,
    macroblocks: u32,
}

impl X264Encoder {
    /// Opens one. All memory of the frame path is allocated here.
    ///
    /// # Errors
    /// [`EncodeError::Open`] with what x264 says.
    pub fn open(config: &EncoderConfig) -> Result<Self, EncodeError> {
        let config = EncoderConfig {
            threads: threads(config),
            ..*config
        };
        let mode = config.mode;
        let size = Size {
            width: mode.width(),
            height: mode.height(),
        };
        let (columns, rows) = macroblocks(size);
        let dpb = (DPB_MACROBLOCKS_MAX / (columns * rows)).clamp(1, REFERENCES_MAX.into()) as u8;
        let settings = Settings {
            width: size.width,
            height: size.height,
            fps_millihz: mode.refresh().get(),
            slicing: slicing(&config, config.slices),
            threads: config.threads,
            dpb,
            level: level(&config, columns * rows, dpb),
        };
        let library = ffi::Encoder::open(&settings).map_err(|reason| EncodeError::Open {
            encoder: NAME,
            mode,
            slices: config.slices.get(),
            reason,
        })?;
        let share = config.bitrate.bytes_per_frame(mode.refresh()) * WAITING_SHARES;
        let waiting = if config.threads > 1 {
            usize::try_from(share).unwrap_or(0)
        } else {
            0
        };
        Ok(Self {
            config,
            library,
            converter: Converter::new(size),
            analyser: Analyser::new(size),
            rate: RateController::new(mode, config.bitrate, ffi::QP_MIN..=ffi::QP_MAX),
            references: References::new(dpb),
            waiting: Waiting::new(waiting),
            macroblocks: columns * rows,
        })
    }
}

impl Encoder for X264Encoder {
    fn capabilities(&self) -> Capabilities {
        let (_, rows) = macroblocks(self.analyser.size());
        Capabilities {
            name: NAME,
            emits_slices_early: true,
            slices_max: rows.min(net::limits::SLICES_PER_FRAME_MAX.into()) as u8,
            invalidates_references: true,
        }
    }

    fn encode(
        &mut self,
        frame: &Frame,
        id: FrameId,
        kind: PictureKind,
        sink: &mut dyn SliceSink,
    ) -> Result<Encoded, EncodeError> {
        self.converter
            .convert(frame)
            .map_err(|error| EncodeError::Surface {
                encoder: NAME,
                reason: error.to_string(),
            })?;
        let converted = clock::now();
        let picture = self.converter.current();
        let content = self
            .analyser
            .analyse(picture, self.converter.previous(), frame.damage);
        let next = self.references.next(id, kind);
        let qp = self.rate.plan(&content, next.idr, frame.captured);
        let mut emitter =
            Emitter::new(sink, &mut self.waiting, id, self.macroblocks, next.recovery);
        self.library
            .encode(picture, next.pts, next.idr, qp, &mut emitter)
            .map_err(|reason| EncodeError::Picture {
                encoder: NAME,
                frame: id,
                reason,
            })?;
        let (bytes, keyframe) = emitter.finish().map_err(|error| match error {
            EmitError::TooLarge { bytes } => EncodeError::SliceTooLarge { frame: id, bytes },
            EmitError::Slices => EncodeError::Picture {
                encoder: NAME,
                frame: id,
                reason: "its slices do not make up the picture".to_owned(),
            },
        })?;
        self.references.encoded(next.pts, keyframe);
        self.rate.encoded(bytes);
        Ok(Encoded {
            converted,
            bytes,
            keyframe,
            qp: f32::from(qp),
        })
    }

    fn reconfigure(
        &mut self,
        bitrate: BitsPerSecond,
        slices: SliceCount,
    ) -> Result<(), EncodeError> {
        if slices != self.config.slices {
            self.library
                .set_slicing(slicing(&self.config, slices))
                .map_err(|reason| EncodeError::Open {
                    encoder: NAME,
                    mode: self.config.mode,
                    slices: slices.get(),
                    reason,
                })?;
        }
        self.rate.set_bitrate(bitrate);
        self.config.bitrate = bitrate;
        self.config.slices = slices;
        Ok(())
    }

    fn invalidate_references(&mut self, first_lost: FrameId) -> bool {
        match self.references.invalidate(first_lost) {
            Invalidation::Nothing => true,
            Invalidation::From(pts) => self.library.invalidate(pts),
            Invalidation::Impossible => false,
        }
    }
}

/// Columns and rows of macroblocks.
fn macroblocks(size: Size) -> (u32, u32) {
    (
        u32::from(size.width).div_ceil(16),
        u32::from(size.height).div_ceil(16),
    )
}

/// Threads, each of which needs a slice of its own to work on.
fn threads(config: &EncoderConfig) -> u8 {
    config.threads.clamp(1, config.slices.get())
}

/// How to ask x264 for that many slices: it takes a count with one thread only. With more, each
/// has a band of rows, cut evenly by a cap on macroblocks; where rows do not divide evenly that
/// makes a slice less here and there, never more than asked.
fn slicing(config: &EncoderConfig, slices: SliceCount) -> Slicing {
    if config.threads <= 1 {
        return Slicing::Count(slices.get());
    }
    let (columns, rows) = macroblocks(Size {
        width: config.mode.width(),
        height: config.mode.height(),
    });
    let band_rows = rows.div_ceil(config.threads.into());
    let each = (slices.get() / config.threads).max(1);
    let each_max = columns * band_rows.div_ceil(each.into());
    Slicing::Macroblocks {
        each_max,
        slices_max: slices.get().max(config.threads),
    }
}

/// The lowest level that holds size, rate, DPB and bitrate (table A-1); the highest there is for
/// a stream beyond all of them, which decoders that can play it will not mind.
fn level(config: &EncoderConfig, macroblocks: u32, dpb: u8) -> u8 {
    let millihz = u64::from(config.mode.refresh().get());
    let rate = (u64::from(macroblocks) * millihz).div_ceil(1000);
    let kbps = config.bitrate.0.div_ceil(1000);
    let dpb = macroblocks * u32::from(dpb);
    let mut highest = 0;
    for (level, rate_max, size_max, dpb_max, kbps_max) in ffi::levels() {
        highest = level;
        let fits = rate <= rate_max.into() && macroblocks <= size_max && dpb <= dpb_max;
        if fits && kbps <= kbps_max.into() {
            return level;
        }
    }
    highest
}
