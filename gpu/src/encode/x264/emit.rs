//! From finished NAL units to slices in picture order.
//!
//! With one thread x264 finishes slices in order, and each is written straight into the sink's
//! buffer. With sliced threads it finishes them in any order, on its own threads: a slice whose
//! turn has not come waits in a buffer here, and whoever brings the missing one emits them all.

use net::clock;
use net::limits::SLICES_PER_FRAME_MAX;
use net::units::{FrameId, SliceIndex};

use super::ffi::{FinishedNal, NalHandler};
use crate::bitstream::NalKind;
use crate::encode::{SliceInfo, SliceSink};

/// Slices that wait for their turn. Kept between pictures, so that their memory is, too.
pub(super) struct Waiting {
    slots: Vec<Slot>,
}

#[derive(Default)]
struct Slot {
    /// First and last macroblock; `None` if the slot is free.
    span: Option<(u32, u32)>,
    keyframe: bool,
    bytes: Vec<u8>,
}

impl Waiting {
    /// Room for a picture's slices: `count` of them hold so many `bytes` before they must grow, none
    /// where one thread never makes a slice wait. The others have no memory until more slices are
    /// asked for than were at first.
    pub(super) fn new(count: u8, bytes: usize) -> Self {
        let slot = |index| Slot {
            bytes: Vec::with_capacity(if index < count { bytes } else { 0 }),
            ..Slot::default()
        };
        Self {
            slots: (0..SLICES_PER_FRAME_MAX).map(slot).collect(),
        }
    }
}

/// Why a picture's slices could not all be emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EmitError {
    /// The sink has no buffer of that size.
    TooLarge { bytes: usize },
    /// More slices wait for their turn than a frame may have, or x264 left some out.
    Slices,
    /// A header is not as x264 is known to write it.
    Header,
}

/// Emits one picture's slices.
pub(super) struct Emitter<'a> {
    sink: &'a mut dyn SliceSink,
    waiting: &'a mut Waiting,
    frame: FrameId,
    recovery: bool,
    macroblocks: u32,
    /// x264's own.
    threads: u8,
    /// The first macroblock of the slice whose turn it is.
    next_mb: u32,
    index: u8,
    /// Bytes in the sink's buffer for that slice: parameter sets before it.
    filled: usize,
    keyframe: bool,
    bytes: usize,
    error: Option<EmitError>,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(
        sink: &'a mut dyn SliceSink,
        waiting: &'a mut Waiting,
        frame: FrameId,
        (macroblocks, threads): (u32, u8),
        recovery: bool,
    ) -> Self {
        for slot in &mut waiting.slots {
            slot.span = None;
        }
        Self {
            sink,
            waiting,
            frame,
            recovery,
            macroblocks,
            threads,
            next_mb: 0,
            index: 0,
            filled: 0,
            keyframe: false,
            bytes: 0,
            error: None,
        }
    }

    /// Bytes emitted and whether it was an IDR, once x264 has returned.
    pub(super) fn finish(self) -> Result<(usize, bool), EmitError> {
        match self.error {
            Some(error) => Err(error),
            None if self.next_mb != self.macroblocks => Err(EmitError::Slices),
            None => Ok((self.bytes, self.keyframe)),
        }
    }

    /// Appends the NAL unit to the buffer of the slice whose turn it is.
    fn append(&mut self, nal: FinishedNal<'_>) -> Result<(), EmitError> {
        let bytes = self.filled + nal.room();
        let buffer = self
            .sink
            .reserve(self.filled, bytes)
            .ok_or(EmitError::TooLarge { bytes })?;
        let written = nal.write(&mut buffer[self.filled..]);
        self.filled += written.ok_or(EmitError::Header)?;
        Ok(())
    }

    /// Appends a slice that had waited.
    fn append_waiting(&mut self, slot: usize) -> Result<(), EmitError> {
        let waited = &self.waiting.slots[slot].bytes;
        let bytes = self.filled + waited.len();
        let buffer = self
            .sink
            .reserve(self.filled, bytes)
            .ok_or(EmitError::TooLarge { bytes })?;
        buffer[self.filled..bytes].copy_from_slice(waited);
        self.filled = bytes;
        Ok(())
    }

    /// Hands on the slice in the sink's buffer. The last that a frame may have takes with it what
    /// is still to come: more slices than that are made where a picture is several times as
    /// large as planned.
    fn emit(&mut self, last_mb: u32, keyframe: bool) -> Result<(), EmitError> {
        self.next_mb = last_mb + 1;
        self.keyframe |= keyframe;
        if self.index + 1 == SLICES_PER_FRAME_MAX && self.next_mb < self.macroblocks {
            return Ok(());
        }
        let slice = SliceInfo {
            frame: self.frame,
            index: SliceIndex(self.index),
            last: self.next_mb >= self.macroblocks,
            keyframe,
            recovery: self.recovery,
            finished: clock::now(),
        };
        self.sink.finish(self.filled, slice);
        self.bytes += self.filled;
        self.filled = 0;
        self.index += 1;
        Ok(())
    }

    fn wait(&mut self, nal: FinishedNal<'_>, keyframe: bool) -> Result<(), EmitError> {
        let slot = self
            .waiting
            .slots
            .iter_mut()
            .find(|slot| slot.span.is_none());
        let slot = slot.ok_or(EmitError::Slices)?;
        slot.span = Some((nal.first_mb(), nal.last_mb()));
        slot.keyframe = keyframe;
        slot.bytes.resize(nal.room(), 0);
        let used = nal.write(&mut slot.bytes).ok_or(EmitError::Header)?;
        slot.bytes.truncate(used);
        Ok(())
    }

    fn take(&mut self, nal: FinishedNal<'_>) -> Result<(), EmitError> {
        let keyframe = match nal.kind() {
            NalKind::IdrSlice => true,
            NalKind::Slice => false,
            // x264's version text is the only SEI it would write: it helps nobody and could push
            // the slice out of the first packet.
            NalKind::Sei => return Ok(()),
            _ => return self.append(nal),
        };
        if nal.first_mb() != self.next_mb {
            return self.wait(nal, keyframe);
        }
        let last_mb = nal.last_mb();
        self.append(nal)?;
        self.emit(last_mb, keyframe)?;
        while let Some(slot) = self.due() {
            let (_, last_mb) = self.waiting.slots[slot].span.take().expect("due() saw it");
            self.append_waiting(slot)?;
            self.emit(last_mb, self.waiting.slots[slot].keyframe)?;
        }
        Ok(())
    }

    /// The waiting slice whose turn it is.
    fn due(&self) -> Option<usize> {
        let is_due = |slot: &Slot| slot.span.is_some_and(|(first, _)| first == self.next_mb);
        self.waiting.slots.iter().position(is_due)
    }
}

impl NalHandler for Emitter<'_> {
    fn nal(&mut self, nal: FinishedNal<'_>) {
        if self.error.is_none() {
            self.error = self.take(nal).err();
        }
    }

    fn thread_began(&mut self, index: u8) {
        self.sink.thread_began(index, self.threads);
    }
}
