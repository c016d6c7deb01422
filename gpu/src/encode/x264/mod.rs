//! H.264 by x264 (GPL, version 2 or later; cargo feature `x264`): slices while the picture is
//! still being encoded.
//!
//! * Preset ultrafast, tune zerolatency, infinite GOP, no B pictures: constrained baseline.
//! * Every picture's quantiser is ours (see [`rate`](super::rate)); x264's own rate control would
//!   make the first slice wait.
//! * A picture refers to the newest valid one of the last [`REFERENCES_MAX`]; after
//!   [`Encoder::invalidate_references`] it refers past the lost ones, without an IDR.
//! * `frame_num` is wider than x264 makes it, see [`frame_num`](crate::bitstream::frame_num).
//!
//! # Slices
//! Up to [`EVEN_SLICES_MAX`] asked slices are exactly so many of about the same height. More are
//! cut by bytes, as the lower half of a game holds most of them and a link that idled through
//! the first slices would get the last in a heap: no slice of n asked is higher than about 4/3
//! of the even height, and none takes more than a picture's share of the bitrate over 5/4 n
//! (for more than 18, less is cut by bytes). A game's pictures come as 5/4 n slices or so, no
//! picture as more than [`SLICES_PER_FRAME_MAX`]. Sliced threads cut by height alone.
//!
//! Modelled over a game at 1080p30, 20 Mbit/s, one thread, through 100 Mbit/s, median of the last
//! byte over that of one slice, slices on average, and bytes at equal quantisers over one slice:
//!
//! | cut | last byte | slices | bytes |
//! |---|---|---|---|
//! | 8, 12, 16, 24 even | 0.71, 0.69, 0.68, 0.68 | 8, 12, 16, 24 | +3.3, 3.6, 4.7, 6.3 % |
//! | 8 asked, cut by bytes | 0.68 | 9.9 | +2.4 % |
//!
//! # Which thread calls the sink
//! With one thread, the caller's. With more, whichever of x264's threads finishes the slice
//! whose turn it is, one at a time, while the caller waits inside `encode`.

mod emit;
mod ffi;
mod frame_num;
mod references;

use net::clock;
use net::limits::SLICES_PER_FRAME_MAX;
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

/// Up to so many slices are made as asked; GameStream's clients ask for at most 4, and some of
/// their decoders count on the number.
pub const EVEN_SLICES_MAX: u8 = 7;

/// No slice is cut shorter than this, however low the bitrate: a datagram's worth, below which
/// headers are the most of what is sent.
const SLICE_BYTES_MIN: u32 = 1200;

/// What the buffer in which headers are rewritten holds before it must grow, in such shares: an IDR in
/// one slice.
const PICTURE_SHARES: u64 = 8;

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
        let frame_share = config.bitrate.bytes_per_frame(mode.refresh());
        let settings = Settings {
            width: size.width,
            height: size.height,
            fps_millihz: mode.refresh().get(),
            slicing: slicing(&config),
            threads: config.threads,
            dpb,
            level: level(&config, columns * rows, dpb),
            slice_bytes: usize::try_from(frame_share * PICTURE_SHARES).unwrap_or(0),
        };
        let library = ffi::Encoder::open(&settings).map_err(|reason| EncodeError::Open {
            encoder: NAME,
            mode,
            slices: config.slices.get(),
            reason,
        })?;
        // The first slice of a picture never waits.
        let waiting = if config.threads > 1 {
            config.slices.get() - 1
        } else {
            0
        };
        let waiting_bytes = usize::try_from(frame_share * WAITING_SHARES).unwrap_or(0);
        Ok(Self {
            config,
            library,
            converter: Converter::new(size),
            analyser: Analyser::new(size),
            rate: RateController::new(mode, config.bitrate, ffi::QP_MIN..=ffi::QP_MAX),
            references: References::new(dpb),
            waiting: Waiting::new(waiting, waiting_bytes),
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
            slices_max: rows.min(SLICES_PER_FRAME_MAX.into()) as u8,
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
        let repeat = (next.recovery && !next.idr && frame.damage.is_empty())
            .then(|| self.rate.plan_repeat())
            .flatten();
        let qp = repeat.unwrap_or_else(|| self.rate.plan(&content, next.idr, frame.captured));
        let shape = (self.macroblocks, self.config.threads);
        let mut emitter = Emitter::new(sink, &mut self.waiting, id, shape, next.recovery);
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
            EmitError::Header => EncodeError::Picture {
                encoder: NAME,
                frame: id,
                reason: "one of its headers is not as expected".to_owned(),
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
        let config = EncoderConfig {
            bitrate,
            slices,
            ..self.config
        };
        let cut = slicing(&config);
        if cut != slicing(&self.config) {
            self.library
                .set_slicing(cut)
                .map_err(|reason| EncodeError::Open {
                    encoder: NAME,
                    mode: self.config.mode,
                    slices: slices.get(),
                    reason,
                })?;
        }
        self.rate.set_bitrate(bitrate);
        self.config = config;
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

/// Threads, each of which needs a slice of its own to work on. Where slices are exactly so many as
/// asked, the most threads whose bands of rows can be cut into the same number each: a band may be
/// one row lower than another, which must not save it a slice.
fn threads(config: &EncoderConfig) -> u8 {
    let slices = config.slices.get();
    let most = config.threads.clamp(1, slices);
    if slices > EVEN_SLICES_MAX {
        return most;
    }
    let rows = config.mode.height().div_ceil(16);
    let cuts = |threads: u8| {
        let each = u16::from(slices / threads);
        slices.is_multiple_of(threads) && (each == 1 || rows / u16::from(threads) >= each * each)
    };
    (1..=most).rev().find(|threads| cuts(*threads)).unwrap_or(1)
}

/// How to ask x264 for slices; see the module's text. With sliced threads each has a band of
/// rows, cut evenly by a cap on macroblocks; of more than [`EVEN_SLICES_MAX`], where rows do not
/// divide evenly, that makes a slice less here and there, never more than asked.
fn slicing(config: &EncoderConfig) -> Slicing {
    let (columns, rows) = macroblocks(Size {
        width: config.mode.width(),
        height: config.mode.height(),
    });
    let slices = config.slices.get();
    if config.threads > 1 {
        let band_rows = rows.div_ceil(config.threads.into());
        let each = (slices / config.threads).max(1);
        return Slicing::Macroblocks {
            each_max: columns * band_rows.div_ceil(each.into()),
            slices_max: slices.max(config.threads),
        };
    }
    if slices <= EVEN_SLICES_MAX {
        return Slicing::Count(slices);
    }
    // So many if all are as high as may be, and so many more if a whole share is cut by bytes:
    // together no more than a frame may have.
    let by_rows = slices * 3 / 4;
    let by_bytes = (slices * 5 / 4).min(SLICES_PER_FRAME_MAX - by_rows);
    let share = config.bitrate.bytes_per_frame(config.mode.refresh());
    let bytes_max = share / u64::from(by_bytes);
    Slicing::Bytes {
        each_max: columns * rows.div_ceil(by_rows.into()),
        bytes_max: u32::try_from(bytes_max)
            .unwrap_or(u32::MAX)
            .max(SLICE_BYTES_MIN),
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
