//! x264 through its C interface: open, encode with a callback for each NAL unit, change,
//! invalidate. All `unsafe` of the encoder is here; what leaves this module is safe to use.
#![allow(unsafe_code)]

use std::any::Any;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{NonNull, null_mut};
use std::sync::{Mutex, PoisonError};

use x264_sys as sys;

use super::frame_num::FrameNums;
use crate::bitstream::NalKind;
use crate::bitstream::frame_num::GROWTH_BYTES;
use crate::convert::Nv12;

/// CQP's range is what lies between the quantisers of its I and B pictures, which derive from
/// this one by the factors below: 31 − 20 = 11 to 31 + 20 = 51. Each picture's own is forced.
const QP_CONSTANT: i32 = 31;
/// Largest factor that x264 takes: 6 × log2(10) = 19.9 steps.
const QP_SPREAD_FACTOR: f32 = 10.0;
/// Lowest quantiser that a picture can be given.
pub(super) const QP_MIN: u8 = 11;
/// Highest quantiser.
pub(super) const QP_MAX: u8 = 51;

/// How the encoder is opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub width: u16,
    pub height: u16,
    pub fps_millihz: u32,
    pub slicing: Slicing,
    /// 1, or sliced threads.
    pub threads: u8,
    /// Pictures that stay available as references.
    pub dpb: u8,
    /// `level_idc`.
    pub level: u8,
    /// What a slice takes at most before memory must grow.
    pub slice_bytes: usize,
}

/// How a picture is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slicing {
    /// So many slices of about the same height; one thread.
    Count(u8),
    /// At most so many macroblocks in each thread's slices, and at most so many slices.
    Macroblocks { each_max: u32, slices_max: u8 },
    /// At most so many bytes and so many macroblocks in each slice, however many that makes; one
    /// thread.
    Bytes { bytes_max: u32, each_max: u32 },
}

/// A NAL unit that x264 has finished but not yet written down. Exists only in the callback.
pub(super) struct FinishedNal<'a> {
    encoder: *mut sys::x264_t,
    nal: &'a mut sys::x264_nal_t,
    frame_nums: &'a mut FrameNums,
}

impl FinishedNal<'_> {
    pub(super) fn kind(&self) -> NalKind {
        NalKind::from_number(u8::try_from(self.nal.i_type).unwrap_or(0))
    }

    pub(super) fn first_mb(&self) -> u32 {
        u32::try_from(self.nal.i_first_mb).unwrap_or(0)
    }

    pub(super) fn last_mb(&self) -> u32 {
        u32::try_from(self.nal.i_last_mb).unwrap_or(0)
    }

    /// Room that [`Self::write`] needs, by x264.h: emulation prevention at its worst and the
    /// overshoot of vector stores.
    pub(super) fn room(&self) -> usize {
        (self.payload().len() + GROWTH_BYTES) * 3 / 2 + 5 + 64
    }

    /// Writes it with its start code and a wide `frame_num`; how many bytes it took. `None` if it
    /// is not what x264 is known to write.
    pub(super) fn write(self, target: &mut [u8]) -> Option<usize> {
        assert!(
            target.len() >= self.room(),
            "callers reserve what room() says"
        );
        let kind = self.kind();
        // SAFETY: as in `payload`; it borrows nothing of what changes below.
        let payload = unsafe { payload(self.nal) };
        let wide = self.frame_nums.widen(kind, payload)?;
        let length = c_int::try_from(wide.len()).ok()?;
        let mut nal = sys::x264_nal_t {
            i_payload: length,
            // x264 only reads it, and points the copy elsewhere.
            p_payload: wide.with_slack().as_ptr().cast_mut(),
            ..*self.nal
        };
        // SAFETY: the encoder is that of the running callback, which is where x264 wants this call.
        // The NAL is its own but for the payload, after which there is the slack that its vector
        // loads may touch, and the target has the room that x264.h asks for.
        unsafe { sys::x264_nal_encode(self.encoder, target.as_mut_ptr(), &raw mut nal) };
        usize::try_from(nal.i_payload).ok()
    }

    fn payload(&self) -> &[u8] {
        // SAFETY: the NAL unit is the running callback's and not written down yet.
        unsafe { payload(self.nal) }
    }
}

/// What x264 has made of a NAL unit: without its header byte and emulation prevention.
///
/// # Safety
/// The NAL unit must be the running callback's, not written down yet, and outlive the result.
unsafe fn payload<'a>(nal: &sys::x264_nal_t) -> &'a [u8] {
    let length = usize::try_from(nal.i_payload).unwrap_or(0);
    if nal.p_payload.is_null() {
        return &[];
    }
    // SAFETY: by the caller's word x264 points to so many bytes.
    unsafe { std::slice::from_raw_parts(nal.p_payload, length) }
}

/// Takes NAL units as they are finished. Called by one thread at a time, but, with sliced
/// threads, by x264's threads and in any order.
pub(super) trait NalHandler: Send {
    fn nal(&mut self, nal: FinishedNal<'_>);

    /// The calling thread is x264's own, and this is its first NAL unit: number `index` of them.
    fn thread_began(&mut self, index: u8);
}

/// What `x264_picture_t::opaque` points to while a picture is encoded.
struct Call<'a> {
    parts: Mutex<Parts<'a>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// What the callbacks of a picture change, one at a time.
struct Parts<'a> {
    handler: &'a mut dyn NalHandler,
    frame_nums: &'a mut FrameNums,
    /// x264's threads that have been seen.
    threads: &'a mut u8,
}

thread_local! {
    /// This thread calls x264, or is one of x264's that has been seen.
    static KNOWN: Cell<bool> = const { Cell::new(false) };
}

/// An open encoder.
pub(super) struct Encoder {
    handle: NonNull<sys::x264_t>,
    parameters: Box<sys::x264_param_t>,
    frame_nums: FrameNums,
    /// x264's threads that have been seen.
    threads: u8,
    /// x264 points to it as long as the handle lives.
    log: Box<Log>,
}

// SAFETY: x264 ties an encoder to no thread; it only wants its calls one after the other, which
// `&mut self` gives.
unsafe impl Send for Encoder {}

impl Encoder {
    /// # Errors
    /// What x264 logged.
    pub(super) fn open(settings: &Settings) -> Result<Self, String> {
        let log = Box::new(Log(Mutex::new([0; 256])));
        let mut parameters = Box::new(parameters(settings)?);
        parameters.pf_log = Some(keep_error);
        parameters.p_log_private = (&raw const *log).cast_mut().cast();
        // SAFETY: the parameters are complete, and the log outlives the handle.
        let handle = unsafe { sys::x264_encoder_open(&raw mut *parameters) };
        let handle = NonNull::new(handle).ok_or_else(|| log.take())?;
        // SAFETY: the handle is open; the call fills the structure in.
        unsafe { sys::x264_encoder_parameters(handle.as_ptr(), &raw mut *parameters) };
        Ok(Self {
            handle,
            parameters,
            frame_nums: FrameNums::new(settings.slice_bytes),
            threads: 0,
            log,
        })
    }

    /// From the next picture on.
    pub(super) fn set_slicing(&mut self, slicing: Slicing) -> Result<(), String> {
        set_slicing(&mut self.parameters, slicing);
        // SAFETY: the handle is open and the parameters are those it was opened with, changed
        // only in fields that x264.h allows to change.
        let result =
            unsafe { sys::x264_encoder_reconfig(self.handle.as_ptr(), &raw mut *self.parameters) };
        if result == 0 {
            Ok(())
        } else {
            Err(self.log.take())
        }
    }

    /// Pictures with this pts or a later one are no longer referred to. False if x264 refuses.
    pub(super) fn invalidate(&mut self, pts: i64) -> bool {
        // SAFETY: the handle is open.
        unsafe { sys::x264_encoder_invalidate_reference(self.handle.as_ptr(), pts) == 0 }
    }

    /// Encodes one picture; its NAL units go to `handler` while it is encoded.
    pub(super) fn encode(
        &mut self,
        picture: &Nv12,
        pts: i64,
        idr: bool,
        qp: u8,
        handler: &mut dyn NalHandler,
    ) -> Result<(), String> {
        KNOWN.set(true);
        let call = Call {
            parts: Mutex::new(Parts {
                handler,
                frame_nums: &mut self.frame_nums,
                threads: &mut self.threads,
            }),
            panic: Mutex::new(None),
        };
        let stride = c_int::try_from(picture.stride).map_err(|_| "the picture is too wide")?;
        let mut input = MaybeUninit::uninit();
        // SAFETY: x264_picture_init fills the whole structure in.
        let mut input = unsafe {
            sys::x264_picture_init(input.as_mut_ptr());
            input.assume_init()
        };
        let kind = if idr {
            sys::X264_TYPE_IDR
        } else {
            sys::X264_TYPE_AUTO
        };
        input.i_type = kind.cast_signed();
        input.i_qpplus1 = c_int::from(qp) + 1;
        input.i_pts = pts;
        input.img.i_csp = sys::X264_CSP_NV12.cast_signed();
        input.img.i_plane = 2;
        input.img.i_stride[..2].fill(stride);
        input.img.plane[0] = picture.luma.as_ptr().cast_mut();
        input.img.plane[1] = picture.chroma.as_ptr().cast_mut();
        input.opaque = (&raw const call).cast_mut().cast();
        let mut output = MaybeUninit::<sys::x264_picture_t>::uninit();
        let mut nals = null_mut();
        let mut count = 0;
        // SAFETY: the handle is open; the planes hold stride × height (half for chroma) bytes,
        // which x264 reads and copies; `call` outlives the picture, because without lookahead,
        // B pictures and frame threads x264 encodes it before it returns.
        let result = unsafe {
            sys::x264_encoder_encode(
                self.handle.as_ptr(),
                &raw mut nals,
                &raw mut count,
                &raw mut input,
                output.as_mut_ptr(),
            )
        };
        if let Some(panic) = call
            .panic
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
        {
            resume_unwind(panic);
        }
        match result {
            ..0 => Err(self.log.take()),
            0 => Err("the library kept the picture back".to_owned()),
            1.. => Ok(()),
        }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: the handle is open and not used after this.
        unsafe { sys::x264_encoder_close(self.handle.as_ptr()) };
    }
}

/// The table of levels as (`level_idc`, macroblocks a second, macroblocks a picture, macroblocks
/// of the DPB, kbit/s), lowest first.
pub(super) fn levels() -> impl Iterator<Item = (u8, u32, u32, u32, u32)> {
    (0..).map_while(|index| {
        // SAFETY: the table ends with an entry whose level_idc is 0, after which nothing is read.
        let level = unsafe {
            *(&raw const sys::x264_levels)
                .cast::<sys::x264_level_t>()
                .add(index)
        };
        let number = i32::cast_unsigned;
        (level.level_idc != 0).then(|| {
            let (rate, size) = (number(level.mbps), number(level.frame_size));
            (
                level.level_idc,
                rate,
                size,
                number(level.dpb),
                number(level.bitrate),
            )
        })
    })
}

fn parameters(settings: &Settings) -> Result<sys::x264_param_t, String> {
    let mut parameters = MaybeUninit::uninit();
    // SAFETY: both texts are C strings; the call fills the whole structure in, or fails before.
    let mut p = unsafe {
        let result = sys::x264_param_default_preset(
            parameters.as_mut_ptr(),
            c"ultrafast".as_ptr(),
            c"zerolatency".as_ptr(),
        );
        if result != 0 {
            return Err("x264 does not know its own preset ultrafast".to_owned());
        }
        parameters.assume_init()
    };
    p.i_width = c_int::from(settings.width);
    p.i_height = c_int::from(settings.height);
    p.i_csp = sys::X264_CSP_NV12.cast_signed();
    p.i_bitdepth = 8;
    p.i_level_idc = c_int::from(settings.level);
    p.i_threads = c_int::from(settings.threads);
    p.b_sliced_threads = c_int::from(settings.threads > 1);
    p.i_lookahead_threads = 1;
    p.i_fps_num = settings.fps_millihz;
    p.i_fps_den = 1000;
    p.b_vfr_input = 0;
    // Infinite GOP: an IDR comes only when asked for. One reference keeps the search fast, the
    // longer list is what invalidation falls back on.
    p.i_keyint_max = sys::X264_KEYINT_MAX_INFINITE.cast_signed();
    p.i_scenecut_threshold = 0;
    p.i_bframe = 0;
    p.b_intra_refresh = 0;
    p.i_frame_reference = 1;
    p.i_dpb_size = c_int::from(settings.dpb);
    p.rc.i_rc_method = sys::X264_RC_CQP.cast_signed();
    p.rc.i_qp_constant = QP_CONSTANT;
    p.rc.f_ip_factor = QP_SPREAD_FACTOR;
    p.rc.f_pb_factor = QP_SPREAD_FACTOR;
    p.rc.i_aq_mode = sys::X264_AQ_NONE.cast_signed();
    p.rc.b_mb_tree = 0;
    // Table E-3 to E-5: 1 is BT.709.
    p.vui.i_colorprim = 1;
    p.vui.i_transfer = 1;
    p.vui.i_colmatrix = 1;
    p.vui.b_fullrange = 0;
    p.b_annexb = 1;
    p.b_repeat_headers = 1;
    p.b_aud = 0;
    p.i_log_level = sys::X264_LOG_ERROR.cast_signed();
    p.nalu_process = Some(nalu_process);
    set_slicing(&mut p, settings.slicing);
    Ok(p)
}

fn set_slicing(p: &mut sys::x264_param_t, slicing: Slicing) {
    p.i_slice_max_size = 0;
    match slicing {
        Slicing::Count(count) => {
            p.i_slice_count = c_int::from(count);
            p.i_slice_max_mbs = 0;
            p.i_slice_count_max = 0;
        }
        Slicing::Macroblocks {
            each_max,
            slices_max,
        } => {
            p.i_slice_count = 0;
            p.i_slice_max_mbs = c_int::try_from(each_max).unwrap_or(c_int::MAX);
            p.i_slice_count_max = c_int::from(slices_max);
        }
        Slicing::Bytes {
            bytes_max,
            each_max,
        } => {
            p.i_slice_count = 0;
            p.i_slice_max_size = c_int::try_from(bytes_max).unwrap_or(c_int::MAX);
            p.i_slice_max_mbs = c_int::try_from(each_max).unwrap_or(c_int::MAX);
            // x264 counts a slice twice that it cuts by bytes; how many there are is seen to
            // where they are emitted.
            p.i_slice_count_max = 0;
        }
    }
}

/// x264's callback. A panic of the handler is kept and goes on once x264 has returned, because
/// it must not cross C frames.
unsafe extern "C" fn nalu_process(
    encoder: *mut sys::x264_t,
    nal: *mut sys::x264_nal_t,
    opaque: *mut c_void,
) {
    // SAFETY: `opaque` is the `Call` of the picture being encoded, alive and only read; its parts
    // that change are behind locks. `nal` is this thread's alone until the callback returns.
    let (call, nal) = unsafe { (&*opaque.cast::<Call<'_>>(), &mut *nal) };
    let result = catch_unwind(AssertUnwindSafe(|| {
        // Uncontended with one thread; with sliced threads it keeps slices in order.
        let mut parts = call.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let Parts {
            handler,
            frame_nums,
            threads,
        } = &mut *parts;
        if !KNOWN.replace(true) {
            handler.thread_began(**threads);
            **threads = threads.saturating_add(1);
        }
        handler.nal(FinishedNal {
            encoder,
            nal,
            frame_nums,
        });
    }));
    if let Err(panic) = result {
        let mut slot = call.panic.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(panic);
    }
}

/// The last error that x264 logged, as C text. Its threads may log at the same time.
struct Log(Mutex<[u8; 256]>);

impl Log {
    /// The text, after which it is empty again.
    fn take(&self) -> String {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = std::mem::replace(&mut *bytes, [0; 256]);
        match CStr::from_bytes_until_nul(&bytes).map(|text| text.to_string_lossy()) {
            Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
            _ => "the library gives no reason".to_owned(),
        }
    }
}

unsafe extern "C" {
    fn vsnprintf(
        target: *mut c_char,
        size: usize,
        format: *const c_char,
        arguments: *mut sys::__va_list_tag,
    ) -> c_int;
}

unsafe extern "C" fn keep_error(
    private: *mut c_void,
    level: c_int,
    format: *const c_char,
    arguments: *mut sys::__va_list_tag,
) {
    if private.is_null() || level > sys::X264_LOG_ERROR.cast_signed() {
        return;
    }
    // SAFETY: `private` is the `Log` that lives as long as the handle.
    let log = unsafe { &*private.cast::<Log>() };
    let mut bytes = log.0.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: x264 gives a format with its arguments; at most the buffer's length is written,
    // the terminating zero included.
    unsafe { vsnprintf(bytes.as_mut_ptr().cast(), bytes.len(), format, arguments) };
}
