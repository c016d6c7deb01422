//! Encode: turns pictures into slices and hands each on as it is finished.
//!
//! A still picture costs nothing, except that it is encoded a few times more at falling
//! quantisers until the client sees it well (`Refinement`), and whenever a client has lost some of
//! it.
//!
//! # Losses
//! A client that has lost pictures gets one that refers to none of them (a recovery picture), or
//! where the encoder cannot, an IDR. An IDR is made at once. Of a recovery picture what is on the
//! screen is repeated only once it is still: while it moves, the next captured picture costs 1.0
//! to 2 times as much as it would anyway, and a repeat comes on top. Only where so many are lost
//! that the client's picture stands still for [`FREEZE`] already, it is repeated while it moves, too,
//! unless the next is about to come ([`is_urgent`]).
//!
//! # An encoder that cannot follow
//! Control hears how long each picture took. Where that is too long it orders that only one of so
//! many is encoded: the one that comes when it is due, or, where none comes, the newest of those
//! that were left out (`State::hold`).

use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, TryRecvError};
use crossbeam::select;
use gpu::encode::{EncodeError, Encoder, PictureKind, SliceInfo, SliceSink};
use gpu::frame::{Frame, Rect, Size};
use net::clock;
use net::packetize::SliceMeta;
use net::units::{BitsPerSecond, FrameId, SliceCount, Timestamp};
use platform::thread::{self, CpuClock, Role};

use super::change::{EncoderChange, EncoderChanged, size_of};
use super::{PictureDone, Slice, StageFault};
use crate::metrics::{SessionMetrics, add, store_allocations, thread_cpu_ns};
use crate::pipeline::Stop;
use crate::steering::{EncoderLoad, StandingOrders};

/// Pictures of another size than the encoder's are left out: while the mode changes those of the
/// old source may still come. The encoder fails on more than this in a row.
const MISFITS_MAX: u32 = 120;

/// An encoder that fails on this many pictures in a row, each time newly opened, is broken.
const FAILURES_MAX: u32 = 3;

/// A client that was shown nothing for so long is not kept waiting for the next captured picture.
pub const FREEZE: Duration = Duration::from_millis(30);

/// True if a client that lost `lost` pictures in a row is to be answered at once by a repeat of one
/// that was captured so long ago, `age`, and not by the next: it waits for long, and the repeat is
/// encoded before the next is there.
#[must_use]
pub fn is_urgent(lost: u32, age: Duration, interval: Duration) -> bool {
    interval * lost >= FREEZE && age * 3 < interval * 2
}

/// What the session asks of the encode thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeCommand {
    /// The client has lost frames: the next one shall refer to nothing that it does not have.
    Invalidate {
        /// The oldest frame that its decoder was not given. Whatever came after it counts as
        /// lost, too.
        first_lost: FrameId,
        /// The newest that it knows not to come; a recovery picture or an IDR that is newer
        /// answers the report.
        newest_lost: FrameId,
    },
    /// The client cannot show this frame nor what refers to it, and needs an IDR.
    Keyframe {
        /// The newest such frame that it knows of; an IDR that is newer answers the request.
        newest_lost: FrameId,
    },
}

/// Opens an encoder like the one before, after it failed.
pub type Reopen = Box<dyn FnMut() -> Result<Box<dyn Encoder>, EncodeError> + Send>;

/// The encode thread's half of the pipeline.
pub struct EncodeStage {
    /// The encoder.
    pub encoder: Box<dyn Encoder>,
    /// How to get another one.
    pub reopen: Reopen,
    /// Encoders of other modes, from the session.
    pub changes: Receiver<EncoderChange>,
    /// To the session: that one was taken. As many as there are changes.
    pub changed: Sender<EncoderChanged>,
    /// The pictures' size.
    pub size: Size,
    /// Time between two frames of the output.
    pub interval: Duration,
    /// From capture.
    pub frames: Receiver<Frame>,
    /// From the session.
    pub commands: Receiver<EncodeCommand>,
    /// What to aim for.
    pub orders: Arc<StandingOrders>,
    /// To control: how long pictures take.
    pub load: Arc<EncoderLoad>,
    /// What the encoder aims for.
    pub bitrate: BitsPerSecond,
    /// Slices of each picture.
    pub slices: SliceCount,
    /// Pool and way on.
    pub outlet: SliceOutlet,
    /// To send, for the report.
    pub done: Sender<PictureDone>,
    /// Counters.
    pub metrics: Arc<SessionMetrics>,
}

enum Work {
    New(Frame),
    Change(EncoderChange),
    Command(EncodeCommand),
    Refine,
    /// The picture that was held back is due.
    Held,
    End,
}

impl EncodeStage {
    /// Runs until capture or protect is gone, or a fault.
    pub fn run(mut self, _stop: &Stop) -> Result<(), StageFault> {
        let mut state = State::default();
        while !self.outlet.broken {
            match self.wait(&state) {
                Work::New(frame) => {
                    if let Ok(change) = self.changes.try_recv() {
                        self.change(change, &mut state);
                    }
                    if self.is_misfit(&frame, &mut state) {
                        continue;
                    }
                    let left_out = u64::from(state.held_until.is_some());
                    add(&self.metrics.counters.superseded, left_out);
                    if state.hold(frame, self.interval, self.orders.frame_divisor()) {
                        continue;
                    }
                }
                Work::Change(change) => {
                    self.change(change, &mut state);
                    continue;
                }
                Work::Held => {}
                Work::Command(command) => {
                    let lost = state.obey(command, self.encoder.as_mut());
                    // A newer picture that waits already is better than a repeat.
                    let is_needed =
                        self.frames.is_empty() && state.repeats_for(lost, self.interval);
                    if !state.idr_due && !is_needed {
                        continue;
                    }
                    state.repeat();
                }
                Work::Refine => state.repeat(),
                Work::End => break,
            }
            self.encode(&mut state)?;
            store_allocations(&self.metrics.counters.encode_allocations);
        }
        Ok(())
    }

    fn wait(&self, state: &State) -> Work {
        // Before any picture: it would refer to what the client has just reported lost.
        if let Ok(command) = self.commands.try_recv() {
            return Work::Command(command);
        }
        if let Ok(change) = self.changes.try_recv() {
            return Work::Change(change);
        }
        if state.failures > 0 {
            // The picture is not sent yet, and on a still screen no other one will come.
            return match self.frames.try_recv() {
                Ok(frame) => Work::New(frame),
                Err(TryRecvError::Empty) => Work::Refine,
                Err(TryRecvError::Disconnected) => Work::End,
            };
        }
        if let Some(until) = state.held_until {
            return select! {
                recv(self.frames) -> frame => frame.map_or(Work::End, Work::New),
                recv(self.commands) -> command => command.map_or(Work::End, Work::Command),
                recv(self.changes) -> change => change.map_or(Work::End, Work::Change),
                default(until.since(clock::now())) => Work::Held,
            };
        }
        let repeat_at = if state.recovery_due {
            state.refinement.still_at(self.interval)
        } else {
            state.refinement.due(self.interval)
        };
        match repeat_at.filter(|_| state.picture.is_some()) {
            None => select! {
                recv(self.frames) -> frame => frame.map_or(Work::End, Work::New),
                recv(self.commands) -> command => command.map_or(Work::End, Work::Command),
                recv(self.changes) -> change => change.map_or(Work::End, Work::Change),
            },
            Some(at) => select! {
                recv(self.frames) -> frame => frame.map_or(Work::End, Work::New),
                recv(self.commands) -> command => command.map_or(Work::End, Work::Command),
                recv(self.changes) -> change => change.map_or(Work::End, Work::Change),
                default(at.saturating_duration_since(Instant::now())) => Work::Refine,
            },
        }
    }

    /// Encodes `state.picture`; a failure costs a picture and takes a new encoder.
    fn encode(&mut self, state: &mut State) -> Result<(), StageFault> {
        self.aim();
        state.held_until = None;
        let Some(frame) = &state.picture else {
            return Ok(());
        };
        state.last_captured = frame.captured;
        let (id, kind) = (state.next, state.kind());
        let counters = &self.metrics.counters;
        let encode_begin = clock::now();
        self.outlet.captured = frame.captured;
        let cpu_before_ns = self.outlet.cpu_ns_of_all();
        let encoded = self.encoder.encode(frame, id, kind, &mut self.outlet);
        let (handing_cpu_ns, handing_on_ns) = self.outlet.take_spent();
        // Less than before with the first picture of another encoder, whose threads are new.
        let cpu_ns = self.outlet.cpu_ns_of_all().saturating_sub(cpu_before_ns);
        let cpu_ns = cpu_ns.saturating_sub(handing_cpu_ns);
        add(&counters.encode_cpu_ns, cpu_ns);
        add(&counters.handing_on_ns, handing_on_ns);
        match encoded {
            Ok(encoded) => {
                let took = clock::now().since(encode_begin);
                self.metrics.encode.record(took);
                // Waiting for the stages behind is no fault of the encoder's.
                let handing_on = Duration::from_nanos(handing_on_ns);
                self.load.add(took.saturating_sub(handing_on));
                add(&counters.encoded, 1);
                add(&counters.encoded_bytes, encoded.bytes as u64);
                state.next = id.next();
                state.failures = 0;
                if encoded.keyframe {
                    add(&counters.keyframes, 1);
                    state.last_idr = Some(id);
                    state.idr_due = false;
                } else if state.recovery_due {
                    state.last_recovery = Some(id);
                }
                state.recovery_due = false;
                state.refinement.encoded(encoded.qp);
                let done = PictureDone {
                    frame: id,
                    keyframe: encoded.keyframe,
                    captured: frame.captured,
                    encode_begin,
                    converted: encoded.converted,
                    qp: encoded.qp,
                };
                if self.done.try_send(done).is_err() {
                    add(&counters.reports_dropped, 1);
                }
            }
            // Nobody takes its slices any more; why, another stage tells.
            Err(_) if self.outlet.broken => {}
            Err(error) => {
                add(&counters.encode_failures, 1);
                state.failures += 1;
                if state.failures >= FAILURES_MAX {
                    return Err(error.into());
                }
                log::warn!("{error}; opening the encoder anew");
                // Slices of the broken picture may be out already: its number is spent.
                state.next = id.next();
                state.idr_due = true;
                state.recovery_due = false;
                self.encoder = (self.reopen)()?;
                self.bitrate = BitsPerSecond(0);
            }
        }
        Ok(())
    }

    /// Goes on with another mode: the next picture is its first, an IDR. That of the old mode is
    /// forgotten, as nobody repeats it any more.
    fn change(&mut self, change: EncoderChange, state: &mut State) {
        let EncoderChange {
            encoder,
            reopen,
            config,
            buffers,
        } = change;
        let retired = std::mem::replace(&mut self.encoder, encoder);
        self.reopen = reopen;
        self.bitrate = config.bitrate;
        self.slices = config.slices;
        self.interval = config.mode.refresh().interval();
        self.size = size_of(config.mode);
        self.outlet.refit(buffers);
        add(&self.metrics.counters.mode_changes, 1);
        state.begin_mode();
        let first = state.next;
        // The session waits for it, or is at its end.
        let _ = self.changed.try_send(EncoderChanged { first, retired });
    }

    fn is_misfit(&self, frame: &Frame, state: &mut State) -> bool {
        let fits = frame.surface.size() == self.size;
        state.misfits = if fits { 0 } else { state.misfits + 1 };
        let is_misfit = !fits && state.misfits <= MISFITS_MAX;
        add(&self.metrics.counters.misfits, u64::from(is_misfit));
        is_misfit
    }

    /// Lets the encoder aim for what control has ordered.
    fn aim(&mut self) {
        let ordered = self.orders.bitrate();
        if ordered == self.bitrate {
            return;
        }
        self.bitrate = ordered;
        if let Err(error) = self.encoder.reconfigure(ordered, self.slices) {
            // It goes on with the bitrate that it had; the next picture tells whether it works.
            log::warn!("{error}");
        }
    }
}

#[derive(Default)]
struct State {
    /// The picture last captured, kept for repeats. Holds one capture buffer.
    picture: Option<Frame>,
    next: FrameId,
    last_idr: Option<FrameId>,
    last_recovery: Option<FrameId>,
    /// Set by requests; the first picture of all is an IDR anyway.
    idr_due: bool,
    /// The encoder will make the next picture a recovery.
    recovery_due: bool,
    failures: u32,
    /// Pictures of another size in a row.
    misfits: u32,
    refinement: Refinement,
    /// When the picture encoded last was captured.
    last_captured: Timestamp,
    /// `picture` is held back until then, or until a newer one comes that is due.
    held_until: Option<Timestamp>,
    /// `picture` was repeated at once for a client that had waited for long.
    is_repeated: bool,
}

impl State {
    /// A new picture: true if it is to be held back. It is due from half an interval before its
    /// time on, as pictures do not come to the microsecond, and encoded half an interval after it
    /// at the latest: a screen that stands still then shows its last picture all the same.
    fn hold(&mut self, mut frame: Frame, interval: Duration, divisor: NonZeroU8) -> bool {
        if let (Some(_), Some(left_out)) = (self.held_until, &self.picture) {
            frame.damage = frame.damage.union(left_out.damage);
        }
        let time = interval * u32::from(divisor.get());
        let early = self.last_captured + time - interval / 2;
        let is_held = divisor > NonZeroU8::MIN && frame.captured < early && self.next != FrameId(0);
        self.held_until = is_held.then_some(self.last_captured + time + interval / 2);
        self.picture = Some(frame);
        self.is_repeated = false;
        self.refinement.restart();
        is_held
    }

    /// Only the numbering of frames goes on, and what losses were answered with.
    fn begin_mode(&mut self) {
        *self = Self {
            next: self.next,
            last_idr: self.last_idr,
            last_recovery: self.last_recovery,
            idr_due: true,
            ..Self::default()
        };
    }

    /// How many pictures the next one refers past, 0 if nothing was asked of it.
    fn obey(&mut self, command: EncodeCommand, encoder: &mut dyn Encoder) -> u32 {
        let (EncodeCommand::Invalidate { newest_lost, .. }
        | EncodeCommand::Keyframe { newest_lost }) = command;
        // A frame that was never sent was never lost: the peer is wrong, or lies. And what is
        // newer than the loss and refers to nothing lost is on its way already.
        if newest_lost >= self.next || self.last_idr > Some(newest_lost) {
            return 0;
        }
        match command {
            EncodeCommand::Keyframe { .. } => {
                self.idr_due = true;
                0
            }
            EncodeCommand::Invalidate { first_lost, .. } => {
                if self.idr_due || self.last_recovery > Some(newest_lost) {
                    return 0;
                }
                self.recovery_due = encoder.invalidate_references(first_lost);
                self.idr_due = !self.recovery_due;
                self.next.0.wrapping_sub(first_lost.0)
            }
        }
    }

    /// Whether the picture is repeated at once for a client that lost so many. Each captured one is
    /// so at most once: no report makes the encoder run faster than twice the screen.
    fn repeats_for(&mut self, lost: u32, interval: Duration) -> bool {
        let Some(frame) = &self.picture else {
            return false;
        };
        let age = clock::now().since(frame.captured);
        let repeats = self.recovery_due
            && !self.is_repeated
            && self.held_until.is_none()
            && is_urgent(lost, age, interval);
        self.is_repeated |= repeats;
        repeats
    }

    fn kind(&self) -> PictureKind {
        if self.idr_due || self.last_idr.is_none() {
            PictureKind::Idr
        } else {
            PictureKind::Delta
        }
    }

    /// The kept picture once more: nothing in it changed, and its latency counts from now. One
    /// that failed has been waiting since it was captured; one that is held back is new.
    fn repeat(&mut self) {
        if self.held_until.is_some() {
            return;
        }
        if let Some(frame) = &mut self.picture {
            frame.damage = Rect {
                x: 0,
                y: 0,
                width: 0,
                height: 0,
            };
            if self.failures == 0 {
                frame.captured = clock::now();
            }
        }
    }
}

/// When to encode a still picture once more.
struct Refinement {
    last: Option<Instant>,
    qp: f32,
    passes_left: u32,
}

impl Default for Refinement {
    fn default() -> Self {
        Self {
            last: None,
            qp: 0.0,
            passes_left: Self::PASSES_MAX,
        }
    }
}

impl Refinement {
    /// Good enough: differences below this quantiser are invisible on a desktop.
    const QP_GOOD: f32 = 20.0;
    /// Never more than this for one picture, whatever the encoder does.
    const PASSES_MAX: u32 = 12;
    /// A picture is still if nothing came for so many frame intervals.
    const STILL_INTERVALS: u32 = 3;

    fn restart(&mut self) {
        self.passes_left = Self::PASSES_MAX;
    }

    fn encoded(&mut self, qp: f32) {
        self.last = Some(Instant::now());
        self.qp = qp;
        self.passes_left = self.passes_left.saturating_sub(1);
    }

    /// When the picture counts as still.
    fn still_at(&self, interval: Duration) -> Option<Instant> {
        self.last
            .map(|last| last + interval * Self::STILL_INTERVALS)
    }

    fn due(&self, interval: Duration) -> Option<Instant> {
        let more = self.passes_left > 0 && self.qp > Self::QP_GOOD;
        self.still_at(interval).filter(|_| more)
    }
}

/// Threads of an encoder whose CPU time is counted: all that the configuration allows.
const WORKERS_MAX: usize = crate::config::ENCODER_THREADS_MAX as usize;

/// Where the encoder writes: pooled buffers, sent on to protect.
pub struct SliceOutlet {
    /// Buffers that protect has given back.
    pub pool: Receiver<Box<[u8]>>,
    /// To protect.
    pub slices: Sender<Slice>,
    /// Bytes of a pool buffer.
    pub slice_bytes_max: usize,
    /// What buffers of another size are exchanged for, after a change of the mode.
    spares: Vec<Box<[u8]>>,
    current: Option<Box<[u8]>>,
    captured: Timestamp,
    /// CPU clocks of the encoder's own threads.
    workers: Vec<CpuClock>,
    /// CPU time in here since [`SliceOutlet::take_spent`], ns.
    cpu_ns: u64,
    /// Time in here but for the last slice of a picture, since the same, ns.
    handing_on_ns: u64,
    /// Protect is gone; nothing that is written goes anywhere.
    broken: bool,
}

impl SliceOutlet {
    /// An outlet over a pool.
    #[must_use]
    pub fn new(pool: Receiver<Box<[u8]>>, slices: Sender<Slice>, slice_bytes_max: usize) -> Self {
        let captured = Timestamp::ZERO;
        Self {
            pool,
            slices,
            slice_bytes_max,
            spares: Vec::new(),
            current: None,
            captured,
            workers: Vec::with_capacity(WORKERS_MAX),
            cpu_ns: 0,
            handing_on_ns: 0,
            broken: false,
        }
    }

    /// From now on slices have buffers of this size: the pool's are exchanged as they come round.
    /// With none, those in use will do, as far as they have been exchanged already.
    fn refit(&mut self, buffers: Vec<Box<[u8]>>) {
        self.current = None;
        if let Some(buffer) = buffers.first() {
            self.slice_bytes_max = buffer.len();
            self.spares = buffers;
        }
    }

    fn fitting(&mut self, buffer: Box<[u8]>) -> Option<Box<[u8]>> {
        if buffer.len() == self.slice_bytes_max {
            Some(buffer)
        } else {
            self.spares.pop()
        }
    }

    /// CPU time of the calling thread and of the encoder's own, ns.
    fn cpu_ns_of_all(&self) -> u64 {
        let workers = self.workers.iter().map(|clock| clock.used_ns());
        thread_cpu_ns() + workers.sum::<u64>()
    }

    /// CPU time and time that the encoder's calls have spent here since the last time, ns.
    fn take_spent(&mut self) -> (u64, u64) {
        let spent = (self.cpu_ns, self.handing_on_ns);
        (self.cpu_ns, self.handing_on_ns) = (0, 0);
        spent
    }
}

impl SliceSink for SliceOutlet {
    fn reserve(&mut self, _filled: usize, bytes: usize) -> Option<&mut [u8]> {
        if bytes > self.slice_bytes_max {
            return None;
        }
        if self.current.is_none() {
            let begin = clock::now();
            match self.pool.recv() {
                Ok(buffer) => self.current = self.fitting(buffer),
                Err(_) => self.broken = true,
            }
            self.handing_on_ns += clock::now().since(begin).as_nanos() as u64;
        }
        self.current
            .as_deref_mut()
            .map(|buffer| &mut buffer[..self.slice_bytes_max])
    }

    fn finish(&mut self, bytes: usize, slice: SliceInfo) {
        let Some(buffer) = self.current.take() else {
            return;
        };
        let meta = SliceMeta {
            frame: slice.frame,
            index: slice.index,
            last: slice.last,
            keyframe: slice.keyframe,
            recovery: slice.recovery,
            captured: self.captured,
        };
        let finished = slice.finished;
        let cpu_before_ns = thread_cpu_ns();
        let slice = Slice {
            meta,
            buffer,
            filled: bytes,
            encoded: finished,
        };
        self.broken |= self.slices.send(slice).is_err();
        self.cpu_ns += thread_cpu_ns() - cpu_before_ns;
        if !meta.last {
            self.handing_on_ns += clock::now().since(finished).as_nanos() as u64;
        }
    }

    fn thread_began(&mut self, index: u8, count: u8) {
        if index == 0 {
            // Another encoder than before.
            self.workers.clear();
        }
        let clock = thread::adopt_worker(Role::Encode, "pf-slices", index, count);
        if self.workers.len() < WORKERS_MAX {
            self.workers.push(clock);
        }
    }
}

#[cfg(test)]
mod tests {
    use gpu::frame::{MemorySurface, PixelFormat};

    use super::*;

    #[test]
    fn a_repeat_is_for_those_who_waited_long_and_only_if_the_next_picture_is_far() {
        let interval = Duration::from_micros(16_667);
        let fresh = Duration::from_millis(8);
        assert!(!is_urgent(1, fresh, interval), "17 ms");
        assert!(is_urgent(2, fresh, interval), "33 ms");
        assert!(!is_urgent(2, Duration::from_millis(12), interval));
        assert!(is_urgent(1, fresh, 2 * interval));
        assert!(!is_urgent(0, fresh, Duration::from_secs(1)));
    }
    #[test]
    fn a_picture_is_repeated_at_once_no_more_than_once() {
        let size = Size {
            width: 16,
            height: 16,
        };
        let picture = || Frame {
            surface: Arc::new(MemorySurface::new(size, PixelFormat::Bgrx)),
            damage: Rect::whole(size),
            captured: clock::now(),
        };
        let interval = Duration::from_secs(3600);
        let mut state = State {
            recovery_due: true,
            ..State::default()
        };
        assert!(!state.repeats_for(9, interval), "there is none");
        for _ in 0..2 {
            state.hold(picture(), interval, NonZeroU8::MIN);
            assert!(state.repeats_for(9, interval));
            assert!(!state.repeats_for(9, interval));
        }
        state.hold(picture(), interval, NonZeroU8::MIN);
        state.recovery_due = false;
        assert!(!state.repeats_for(9, interval), "nothing was asked");
    }
}
