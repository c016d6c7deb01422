//! The few calls of libavcodec and libavutil that a decoder needs, found with `dlopen` when they
//! are first asked for: nothing of them is linked.
//!
//! Of their structures only the leading fields are known here. Those are the same in the versions
//! of [`VERSIONS`] (`libavcodec/packet.h`, `libavutil/frame.h`); another version is refused.
//! Everything else goes by options, which have names.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;

use crate::decode::Picture;

/// Major versions of libavcodec (FFmpeg 5 to 8), the newest first. libavutil's is two less.
const VERSIONS: [c_uint; 4] = [62, 61, 60, 59];
const UTIL_BEHIND: c_uint = 2;
/// `AVERROR(EAGAIN)` (`libavutil/error.h`).
const AGAIN: c_int = -libc::EAGAIN;
/// `AV_PIX_FMT_YUV420P` and, of streams that say so, its full range (`libavutil/pixfmt.h`).
const FORMATS: [c_int; 2] = [0, 12];
/// `AV_LOG_QUIET` (`libavutil/log.h`): what goes wrong is returned, too.
const LOG_QUIET: c_int = -8;
/// `AV_ERROR_MAX_STRING_SIZE` (`libavutil/error.h`).
const ERROR_TEXT_BYTES: usize = 64;

/// The beginning of `AVPacket`.
#[repr(C)]
struct Packet {
    buffer: *mut c_void,
    pts: i64,
    dts: i64,
    data: *mut u8,
    size: c_int,
}

/// The beginning of `AVFrame`.
#[repr(C)]
struct Frame {
    data: [*mut u8; 8],
    linesize: [c_int; 8],
    extended_data: *mut *mut u8,
    width: c_int,
    height: c_int,
    nb_samples: c_int,
    format: c_int,
}

/// Contents that only the library knows: `AVCodec`, `AVCodecContext`, `AVDictionary`.
type Opaque = c_void;

/// The libraries' functions, named as there.
struct Functions {
    version: c_uint,
    avcodec_find_decoder_by_name: unsafe extern "C" fn(*const c_char) -> *const Opaque,
    avcodec_alloc_context3: unsafe extern "C" fn(*const Opaque) -> *mut Opaque,
    avcodec_free_context: unsafe extern "C" fn(*mut *mut Opaque),
    avcodec_open2: unsafe extern "C" fn(*mut Opaque, *const Opaque, *mut *mut Opaque) -> c_int,
    avcodec_send_packet: unsafe extern "C" fn(*mut Opaque, *const Packet) -> c_int,
    avcodec_receive_frame: unsafe extern "C" fn(*mut Opaque, *mut Frame) -> c_int,
    av_packet_alloc: unsafe extern "C" fn() -> *mut Packet,
    av_packet_free: unsafe extern "C" fn(*mut *mut Packet),
    av_frame_alloc: unsafe extern "C" fn() -> *mut Frame,
    av_frame_free: unsafe extern "C" fn(*mut *mut Frame),
    av_dict_set:
        unsafe extern "C" fn(*mut *mut Opaque, *const c_char, *const c_char, c_int) -> c_int,
    av_dict_count: unsafe extern "C" fn(*const Opaque) -> c_int,
    av_dict_free: unsafe extern "C" fn(*mut *mut Opaque),
    av_strerror: unsafe extern "C" fn(c_int, *mut c_char, usize) -> c_int,
}

/// Version of the library, or why there is none.
pub(super) fn version() -> Result<String, String> {
    let version = functions()?.version;
    let (major, minor, micro) = (version >> 16, version >> 8 & 0xff, version & 0xff);
    Ok(format!("{major}.{minor}.{micro}"))
}

/// An open decoder.
pub(super) struct Library {
    functions: &'static Functions,
    context: NonNull<Opaque>,
    packet: NonNull<Packet>,
    frame: NonNull<Frame>,
}

// SAFETY: the library ties none of these to a thread, nothing else points to them, and with one
// thread of its own (`threads`) all work is done inside the calls.
unsafe impl Send for Library {}

impl Library {
    /// Opens the decoder of that name with these options, all of which it must know.
    pub(super) fn open(name: &CStr, options: &[(&CStr, &CStr)]) -> Result<Self, String> {
        let functions = functions()?;
        let memory = || "no memory".to_owned();
        // SAFETY: `name` is a string; the answer is a constant of the library, or null.
        let codec = unsafe { (functions.avcodec_find_decoder_by_name)(name.as_ptr()) };
        if codec.is_null() {
            return Err(format!("it was built without {}", name.to_string_lossy()));
        }
        // SAFETY: `codec` is one; the result is null or ours until it is freed.
        let mut context = unsafe { (functions.avcodec_alloc_context3)(codec) };
        let Some(owned) = NonNull::new(context) else {
            return Err(memory());
        };
        let opened = functions.open_context(context, codec, options);
        // SAFETY: no arguments; each result is null or ours until it is freed.
        let (mut packet, mut frame) =
            unsafe { ((functions.av_packet_alloc)(), (functions.av_frame_alloc)()) };
        match (opened, NonNull::new(packet), NonNull::new(frame)) {
            (Ok(()), Some(packet), Some(frame)) => Ok(Self {
                functions,
                context: owned,
                packet,
                frame,
            }),
            (opened, ..) => {
                // SAFETY: each is null, which these take, or ours, and goes nowhere else.
                unsafe {
                    (functions.av_frame_free)(&raw mut frame);
                    (functions.av_packet_free)(&raw mut packet);
                    (functions.avcodec_free_context)(&raw mut context);
                }
                Err(opened.err().unwrap_or_else(memory))
            }
        }
    }

    /// Decodes NAL units with start codes; true if a picture is finished, which
    /// [`Self::picture`] gives until the next call.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Result<bool, String> {
        let length = c_int::try_from(bytes.len()).map_err(|_| "it is too large".to_owned())?;
        // SAFETY: the packet is ours. It has no buffer of its own, so the library copies what
        // `data` points to (with the padding that its readers need) and never writes to it.
        let sent = unsafe {
            let packet = self.packet.as_ptr();
            (*packet).data = bytes.as_ptr().cast_mut();
            (*packet).size = length;
            let sent = (self.functions.avcodec_send_packet)(self.context.as_ptr(), packet);
            (*packet).data = null_mut();
            (*packet).size = 0;
            sent
        };
        if sent < 0 {
            return Err(self.functions.error(sent));
        }
        // SAFETY: context and frame are ours and open; what the frame held before is let go.
        let received = unsafe {
            (self.functions.avcodec_receive_frame)(self.context.as_ptr(), self.frame.as_ptr())
        };
        match received {
            0 => Ok(true),
            AGAIN => Ok(false),
            error => Err(self.functions.error(error)),
        }
    }

    /// The picture that the last call finished.
    pub(super) fn picture(&self) -> Result<Picture<'_>, String> {
        // SAFETY: the frame is ours; the library writes to it only in `decode`, which takes
        // `self` for itself.
        let frame = unsafe { self.frame.as_ref() };
        if !FORMATS.contains(&frame.format) {
            return Err(format!("its pixel format is {}", frame.format));
        }
        let side = |value: c_int| {
            let side = usize::try_from(value).ok().filter(|&side| side > 0);
            side.ok_or_else(|| format!("a side or stride of {value}"))
        };
        let (width, height) = (side(frame.width)?, side(frame.height)?);
        let half = (width.div_ceil(2), height.div_ceil(2));
        let sizes = [(width, height), half, half];
        let mut planes: [&[u8]; 3] = [&[]; 3];
        let mut strides = [0; 3];
        for (index, (width, height)) in sizes.into_iter().enumerate() {
            let stride = side(frame.linesize[index])?;
            let data = frame.data[index];
            if data.is_null() || stride < width {
                return Err("its planes are not those of a picture".to_owned());
            }
            // SAFETY: the frame holds a picture of that size: rows a stride apart, the last one
            // at least as long as it is wide. It stays until the next call of `decode`, which
            // cannot come while the result borrows `self`.
            planes[index] =
                unsafe { std::slice::from_raw_parts(data, (height - 1) * stride + width) };
            strides[index] = stride;
        }
        Ok(Picture {
            width,
            height,
            planes,
            strides,
        })
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        let (mut frame, mut packet) = (self.frame.as_ptr(), self.packet.as_ptr());
        let mut context = self.context.as_ptr();
        // SAFETY: all three are ours and are not used again.
        unsafe {
            (self.functions.av_frame_free)(&raw mut frame);
            (self.functions.av_packet_free)(&raw mut packet);
            (self.functions.avcodec_free_context)(&raw mut context);
        }
    }
}

impl Functions {
    /// Loads the newest version there is.
    fn load() -> Result<Self, String> {
        let mut reasons = Vec::new();
        for major in VERSIONS {
            let Some(codec) = Handle::open(&format!("libavcodec.so.{major}")) else {
                continue;
            };
            let util = format!("libavutil.so.{}", major - UTIL_BEHIND);
            match Handle::open(&util).ok_or(format!("{util} is missing")) {
                Ok(util) => match Self::find(&codec, &util, major) {
                    Ok(functions) => return Ok(functions),
                    Err(reason) => reasons.push(reason),
                },
                Err(reason) => reasons.push(reason),
            }
        }
        if reasons.is_empty() {
            let [newest, .., oldest] = VERSIONS;
            return Err(format!(
                "no libavcodec.so.{oldest} to libavcodec.so.{newest} can be loaded"
            ));
        }
        Err(reasons.join(", "))
    }

    fn find(codec: &Handle, util: &Handle, major: c_uint) -> Result<Self, String> {
        // SAFETY: the types are those that the headers of these versions declare.
        unsafe {
            let version: unsafe extern "C" fn() -> c_uint = codec.symbol(c"avcodec_version")?;
            let util_version: unsafe extern "C" fn() -> c_uint = util.symbol(c"avutil_version")?;
            let version = version();
            let versions = (version >> 16, util_version() >> 16);
            if versions != (major, major - UTIL_BEHIND) {
                let (codec, util) = versions;
                return Err(format!(
                    "libavcodec.so.{major} says that it is {codec}, with libavutil {util}"
                ));
            }
            let set_level: unsafe extern "C" fn(c_int) = util.symbol(c"av_log_set_level")?;
            set_level(LOG_QUIET);
            Ok(Self {
                version,
                avcodec_find_decoder_by_name: codec.symbol(c"avcodec_find_decoder_by_name")?,
                avcodec_alloc_context3: codec.symbol(c"avcodec_alloc_context3")?,
                avcodec_free_context: codec.symbol(c"avcodec_free_context")?,
                avcodec_open2: codec.symbol(c"avcodec_open2")?,
                avcodec_send_packet: codec.symbol(c"avcodec_send_packet")?,
                avcodec_receive_frame: codec.symbol(c"avcodec_receive_frame")?,
                av_packet_alloc: codec.symbol(c"av_packet_alloc")?,
                av_packet_free: codec.symbol(c"av_packet_free")?,
                av_frame_alloc: util.symbol(c"av_frame_alloc")?,
                av_frame_free: util.symbol(c"av_frame_free")?,
                av_dict_set: util.symbol(c"av_dict_set")?,
                av_dict_count: util.symbol(c"av_dict_count")?,
                av_dict_free: util.symbol(c"av_dict_free")?,
                av_strerror: util.symbol(c"av_strerror")?,
            })
        }
    }

    /// Opens a new context with options.
    fn open_context(
        &self,
        context: *mut Opaque,
        codec: *const Opaque,
        options: &[(&CStr, &CStr)],
    ) -> Result<(), String> {
        let mut dictionary = null_mut();
        // SAFETY: the dictionary begins as null, as `av_dict_set` wants it, takes copies of the
        // strings, and is freed once; context and codec belong together.
        let (result, left) = unsafe {
            let mut result = 0;
            for (name, value) in options {
                if result >= 0 {
                    let (name, value) = (name.as_ptr(), value.as_ptr());
                    result = (self.av_dict_set)(&raw mut dictionary, name, value, 0);
                }
            }
            if result >= 0 {
                result = (self.avcodec_open2)(context, codec, &raw mut dictionary);
            }
            // What nobody knew is left in it.
            let left = (self.av_dict_count)(dictionary);
            (self.av_dict_free)(&raw mut dictionary);
            (result, left)
        };
        match (result, left) {
            (error, _) if error < 0 => Err(self.error(error)),
            (_, 0) => Ok(()),
            (_, left) => Err(format!("it knows {left} of our options not")),
        }
    }

    fn error(&self, error: c_int) -> String {
        let mut text = [0 as c_char; ERROR_TEXT_BYTES];
        // SAFETY: `text` is writable for its length; the call ends what it writes with a zero.
        let text = unsafe {
            (self.av_strerror)(error, text.as_mut_ptr(), text.len());
            CStr::from_ptr(text.as_ptr())
        };
        text.to_string_lossy().into_owned()
    }
}

/// A library that stays loaded.
struct Handle(NonNull<c_void>);

impl Handle {
    fn open(name: &str) -> Option<Self> {
        let name = CString::new(name).ok()?;
        // SAFETY: `name` is a string. What runs at loading is the system's own library, which the
        // user has installed for this.
        NonNull::new(unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) })
            .map(Self)
    }

    /// # Safety
    /// `F` must be the type of a function pointer, and the one that the library's header declares
    /// for `name`.
    unsafe fn symbol<F: Copy>(&self, name: &CStr) -> Result<F, String> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        // SAFETY: the handle is open and is never closed; `name` is a string.
        let found = unsafe { libc::dlsym(self.0.as_ptr(), name.as_ptr()) };
        if found.is_null() {
            return Err(format!("it lacks {}", name.to_string_lossy()));
        }
        // SAFETY: the caller says that `F` is this function's type; it is as large as a pointer.
        Ok(unsafe { std::mem::transmute_copy(&found) })
    }
}

/// The libraries, loaded once.
fn functions() -> Result<&'static Functions, String> {
    static FUNCTIONS: OnceLock<Result<Functions, String>> = OnceLock::new();
    let loaded = FUNCTIONS.get_or_init(Functions::load);
    loaded.as_ref().map_err(Clone::clone)
}
