//! An encoder whose slices, failures and speed a test chooses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use gpu::encode::{Capabilities, EncodeError, Encoded, Encoder, PictureKind, SliceInfo, SliceSink};
use gpu::frame::{Frame, Rect};
use net::clock;
use net::units::{BitsPerSecond, FrameId, SliceCount, SliceIndex};

use super::capture::number_of;
use crate::PATIENCE;

const NAME: &str = "fake";
/// Calls that a test may leave unread.
const CALLS: usize = 4096;

/// What an encoder emits.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Slices of a picture.
    pub slices: u8,
    /// Bytes of each slice.
    pub slice_bytes: usize,
    /// Quantiser that it reports; above 20 a still picture is refined.
    pub qp: f32,
    /// It can refer past lost pictures, to any before; else a loss takes an IDR.
    pub recovers: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            slices: 4,
            slice_bytes: 2000,
            qp: 10.0,
            recovers: true,
        }
    }
}

/// What goes wrong with a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The library refuses it, before any slice.
    Error,
    /// The library refuses it after its first slice is out.
    ErrorAfterOneSlice,
    /// A defect.
    Panic,
    /// It needs a slice larger than any buffer.
    TooLarge,
}

/// One picture that was offered to the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeCall {
    /// The frame's number in the stream.
    pub id: FrameId,
    /// What it had to be.
    pub kind: PictureKind,
    /// Which of the fake capture's pictures it was, modulo 256.
    pub picture: u8,
    /// What differs from the picture encoded before.
    pub damage: Rect,
    /// The oldest picture that it must not refer to, if it is a recovery.
    pub recovers_from: Option<FrameId>,
    /// Which encoder since the start, from 0: another one after each failure.
    pub encoder: u64,
}

/// The encoder.
pub struct FakeEncoder {
    shared: Arc<Shared>,
    number: u64,
    began: bool,
    slices: SliceCount,
    /// The oldest picture that the next one must not refer to.
    invalidated: Option<FrameId>,
}

/// What the test holds, and from which encoders are opened.
#[derive(Clone)]
pub struct EncoderRemote {
    shared: Arc<Shared>,
    calls: Receiver<EncodeCall>,
    permits: Option<Sender<()>>,
}

struct Shared {
    shape: Shape,
    /// Which picture since the start (from 0, failed ones count) suffers what.
    faults: Vec<(u64, Fault)>,
    calls: Sender<EncodeCall>,
    /// Where a picture waits for the test's permission.
    permits: Option<Receiver<()>>,
    pictures: AtomicU64,
    opened: AtomicU64,
    invalidations: AtomicU64,
    /// Slices that asked for a buffer, and slices that got one.
    reserving: AtomicU64,
    reserved: AtomicU64,
}

impl EncoderRemote {
    /// Encoders that emit `shape` and suffer `faults`: the number of a picture since the start,
    /// and what happens to it.
    #[must_use]
    pub fn new(shape: Shape, faults: &[(u64, Fault)]) -> Self {
        Self::with_permits(shape, faults, false)
    }

    /// Encoders that wait before each picture until [`Self::permit`] was called for it.
    #[must_use]
    pub fn slow(shape: Shape) -> Self {
        Self::with_permits(shape, &[], true)
    }

    fn with_permits(shape: Shape, faults: &[(u64, Fault)], wait: bool) -> Self {
        let (calls_in, calls) = bounded(CALLS);
        let (permits_in, permits) = bounded(CALLS);
        let shared = Shared {
            shape,
            faults: faults.to_vec(),
            calls: calls_in,
            permits: wait.then_some(permits),
            pictures: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            invalidations: AtomicU64::new(0),
            reserving: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
            calls,
            permits: wait.then_some(permits_in),
        }
    }

    /// Opens an encoder.
    #[must_use]
    pub fn open(&self) -> Box<dyn Encoder> {
        let number = self.shared.opened.fetch_add(1, Ordering::AcqRel);
        let shared = Arc::clone(&self.shared);
        Box::new(FakeEncoder {
            shared,
            number,
            began: false,
            slices: SliceCount::MAX,
            invalidated: None,
        })
    }

    /// Lets one more picture through, of encoders that wait for it.
    pub fn permit(&self) {
        if let Some(permits) = &self.permits {
            permits
                .try_send(())
                .expect("no test gives that many permits");
        }
    }

    /// The next picture that was offered.
    ///
    /// # Panics
    /// If none comes within [`PATIENCE`].
    #[must_use]
    pub fn next_call(&self) -> EncodeCall {
        self.calls
            .recv_timeout(PATIENCE)
            .expect("a picture reaches the encoder")
    }

    /// The next picture that was offered, if one is before `limit` has passed.
    #[must_use]
    pub fn call_within(&self, limit: Duration) -> Option<EncodeCall> {
        self.calls.recv_timeout(limit).ok()
    }

    /// Encoders opened so far.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.shared.opened.load(Ordering::Acquire)
    }

    /// Losses that encoders were told of.
    #[must_use]
    pub fn invalidations(&self) -> u64 {
        self.shared.invalidations.load(Ordering::Acquire)
    }

    /// True while a slice waits for a free buffer.
    #[must_use]
    pub fn is_waiting_for_a_buffer(&self) -> bool {
        self.shared.reserving.load(Ordering::Acquire) > self.shared.reserved.load(Ordering::Acquire)
    }

    /// Slices that have got a buffer.
    #[must_use]
    pub fn slices_begun(&self) -> u64 {
        self.shared.reserved.load(Ordering::Acquire)
    }
}

impl FakeEncoder {
    fn fault_now(&self) -> Option<Fault> {
        let picture = self.shared.pictures.fetch_add(1, Ordering::AcqRel);
        self.shared
            .faults
            .iter()
            .find(|(at, _)| *at == picture)
            .map(|(_, fault)| *fault)
    }

    fn refuse(&self, id: FrameId) -> EncodeError {
        EncodeError::Picture {
            encoder: NAME,
            frame: id,
            reason: "as the test wanted".to_owned(),
        }
    }
}

impl Encoder for FakeEncoder {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: NAME,
            emits_slices_early: true,
            slices_max: 32,
            invalidates_references: self.shared.shape.recovers,
        }
    }

    fn encode(
        &mut self,
        frame: &Frame,
        id: FrameId,
        kind: PictureKind,
        sink: &mut dyn SliceSink,
    ) -> Result<Encoded, EncodeError> {
        let shared = Arc::clone(&self.shared);
        let (picture, damage, encoder) = (number_of(frame), frame.damage, self.number);
        // Full or gone: the test does not look.
        let _ = shared.calls.try_send(EncodeCall {
            id,
            kind,
            picture,
            damage,
            recovers_from: self.invalidated,
            encoder,
        });
        if let Some(permits) = &shared.permits {
            // Gone with the test.
            let _ = permits.recv();
        }
        let fault = self.fault_now();
        // The first picture of an encoder is an IDR, whatever was asked.
        let keyframe = !self.began || kind == PictureKind::Idr;
        let count = shared.shape.slices.min(self.slices.get());
        for index in 0..count {
            match fault {
                Some(Fault::Panic) => panic!("as the test wanted"),
                Some(Fault::Error) => return Err(self.refuse(id)),
                Some(Fault::ErrorAfterOneSlice) if index == 1 => return Err(self.refuse(id)),
                _ => {}
            }
            let too_large = fault == Some(Fault::TooLarge);
            let bytes = if too_large {
                usize::MAX
            } else {
                shared.shape.slice_bytes
            };
            shared.reserving.fetch_add(1, Ordering::AcqRel);
            let room = sink.reserve(0, bytes);
            shared.reserved.fetch_add(1, Ordering::AcqRel);
            let Some(room) = room else {
                return Err(EncodeError::SliceTooLarge { frame: id, bytes });
            };
            fill(&mut room[..bytes], id, SliceIndex(index));
            sink.finish(
                bytes,
                SliceInfo {
                    frame: id,
                    index: SliceIndex(index),
                    last: index + 1 == count,
                    keyframe,
                    recovery: self.invalidated.is_some() && !keyframe,
                    finished: clock::now(),
                },
            );
        }
        self.began = true;
        self.invalidated = None;
        Ok(Encoded {
            converted: clock::now(),
            bytes: shared.shape.slice_bytes * usize::from(count),
            keyframe,
            qp: shared.shape.qp,
        })
    }

    fn reconfigure(&mut self, _: BitsPerSecond, slices: SliceCount) -> Result<(), EncodeError> {
        self.slices = slices;
        Ok(())
    }

    fn invalidate_references(&mut self, first_lost: FrameId) -> bool {
        let recovers = self.began && self.shared.shape.recovers;
        if recovers {
            let oldest = self.invalidated.map_or(first_lost, |it| it.min(first_lost));
            self.invalidated = Some(oldest);
        }
        self.shared.invalidations.fetch_add(1, Ordering::AcqRel);
        recovers
    }
}

/// The bytes of a slice.
#[must_use]
pub fn slice_bytes(id: FrameId, index: u8, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    fill(&mut bytes, id, SliceIndex(index));
    bytes
}

/// No two slices of a test begin alike, and no run of bytes repeats soon.
fn fill(bytes: &mut [u8], id: FrameId, index: SliceIndex) {
    let mut state = id.0.wrapping_mul(0x9E37_79B9) ^ u32::from(index.0).wrapping_mul(0x85EB_CA6B);
    for chunk in bytes.chunks_mut(4) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let random = state.to_le_bytes();
        chunk.copy_from_slice(&random[..chunk.len()]);
    }
}
