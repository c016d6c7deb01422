//! The openh264 decoder through its C interface. The crate's safe one copies nothing either, but
//! its picture cannot be handed on: its planes live only as long as a local wrapper.
#![allow(unsafe_code)]

use std::ptr::null_mut;

use openh264::OpenH264API;
use openh264::decoder::{Decoder, DecoderConfig, Flush};
use openh264_sys2::SBufferInfo;

use super::Picture;

/// Bits of `DECODING_STATE` (`codec_app_def.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the library reports state {0:#x}")]
pub(super) struct State(i32);

/// An open decoder.
pub(super) struct Library(Decoder);

impl Library {
    pub(super) fn open() -> Result<Self, String> {
        // Our streams never reorder pictures, so there is never one to flush out.
        let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
        Decoder::with_api_config(OpenH264API::from_source(), config)
            .map(Self)
            .map_err(|error| error.to_string())
    }

    /// Decodes NAL units with start codes; the picture that came out, if any.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Result<Option<Picture<'_>>, State> {
        let length = i32::try_from(bytes.len()).map_err(|_| State(-1))?;
        let mut planes = [null_mut::<u8>(); 3];
        let mut info = SBufferInfo::default();
        // SAFETY: the decoder is open; `bytes` is readable for `length`; `planes` and `info` are
        // writable and of the C types that the call fills in.
        let state = unsafe {
            self.0.raw_api().decode_frame_no_delay(
                bytes.as_ptr(),
                length,
                planes.as_mut_ptr().cast(),
                &raw mut info,
            )
        };
        if state != 0 {
            return Err(State(state));
        }
        if info.iBufferStatus != 1 || planes.iter().any(|plane| plane.is_null()) {
            return Ok(None);
        }
        // SAFETY: the union has this one member.
        let buffer = unsafe { info.UsrData.sSystemBuffer };
        let side = |value: i32| usize::try_from(value).map_err(|_| State(-1));
        let (width, height) = (side(buffer.iWidth)?, side(buffer.iHeight)?);
        let (stride, half) = (side(buffer.iStride[0])?, side(buffer.iStride[1])?);
        let rows = [height, height.div_ceil(2), height.div_ceil(2)];
        let strides = [stride, half, half];
        let mut out: [&[u8]; 3] = [&[]; 3];
        for (index, plane) in planes.into_iter().enumerate() {
            // SAFETY: the library hands out a picture of `iHeight` rows (half for chroma) with
            // that stride, which it keeps until the next call; the result borrows `self`, so no
            // call can come before it is dropped.
            out[index] = unsafe {
                std::slice::from_raw_parts(plane.cast_const(), rows[index] * strides[index])
            };
        }
        Ok(Some(Picture {
            width,
            height,
            planes: out,
            strides,
        }))
    }
}
