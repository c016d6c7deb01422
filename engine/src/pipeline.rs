//! The way of a frame through the host, from top to bottom.
//!
//! ```text
//!            Frame            Slice             Batch
//!  capture ─────────▶ encode ───────▶ protect ───────▶ send ─────▶ wire
//!                       ▲   pool of     ▲  │   pool of   │
//!                       └── slices ─────│──┘             │
//!                                       └── batches ─────┘
//! ```
//!
//! | stage | thread | core | priority | its input holds | when that is full |
//! |---|---|---|---|---|---|
//! | capture | `pf-capture` | shared | 4th | the compositor's pictures | the compositor waits |
//! | encode | `pf-encode` | own from 4 cores up | first, on all cores but one; else 3rd | 1 frame | newest wins, the loser is counted |
//! | protect | `pf-protect` | own from 4 cores up | 2nd | slices of [`FRAMES_OF_SLICES`] | encode blocks |
//! | send | `pf-send` | own from 4 cores up | 1st | [`BATCHES`] batches | protect blocks |
//!
//! An encoder's own threads, `pf-slices`, share the work of a picture while `pf-encode` waits for
//! them; they come third.
//!
//! What control tells the stages beside, and hears from send, goes the ways of
//! [`crate::steering`].
//!
//! Another mode ([`Pipeline::change`]) replaces source, encoder and the slices' buffers, and nothing
//! else ([`crate::stage::change`]).
//!
//! A late stage may run while an earlier one works, or slicing would gain nothing
//! ([`platform::thread`]). Commands to encode
//! are coalesced ([`COMMANDS`]); reports of finished frames ([`REPORTS`]) and faults are dropped
//! and counted when nobody reads them. All memory is allocated in [`spawn`].
//!
//! Every thread ends when a neighbour is gone, so that whichever ends first, all do: capture
//! because a stage that ends asks it to ([`Stop`]), the others because their channel closes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Select, Sender, TrySendError, bounded};
use gpu::encode::{Encoder, EncoderConfig};
use net::packetize::Batch;
use net::rate::Pacer;
use net::times::FrameTimes;
use net::udp::Socket;
use net::units::{BitsPerSecond, Mode, SliceCount, Timestamp};
use platform::capture::{Capture, Waker};
use platform::thread::{Role, RoleThread};

use crate::metrics::SessionMetrics;
use crate::stage::capture::CaptureStage;
use crate::stage::change::{self, EncoderChange, EncoderChanged, SourceChanges, size_of};
use crate::stage::cutter::Cutter;
use crate::stage::encode::{EncodeCommand, EncodeStage, Reopen, SliceOutlet};
use crate::stage::protect::ProtectStage;
use crate::stage::send::SendStage;
use crate::stage::{Sealed, Slice, SlicePart, StageFault};
use crate::steering::PipelineEnds;

/// Frames of slices between encode and protect: one being sealed, one being encoded.
pub const FRAMES_OF_SLICES: usize = 2;
/// Batches between protect and send: a large IDR's worth at 64 KB each would be more, but then
/// the wire is the bottleneck and sealing ahead of it gains nothing.
pub const BATCHES: usize = 8;
/// Commands waiting for encode; a repeated request for a keyframe adds nothing.
pub const COMMANDS: usize = 8;
/// Finished frames' times on their way to the control thread: a second at 240 Hz.
pub const REPORTS: usize = 256;
/// The threads end within this, together; what has not is stuck, left behind and reported.
const JOIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Everything that a session's pipeline is made of.
pub struct Parts {
    /// Source of pictures.
    pub capture: Box<dyn Capture>,
    /// Encoder for the pictures' mode.
    pub encoder: Box<dyn Encoder>,
    /// How to open another like it, after a failure.
    pub reopen: Reopen,
    /// FEC and AEAD with the session's keys.
    pub cutter: Cutter,
    /// The host's socket, shared with QUIC.
    pub socket: Socket,
    /// Where media goes: a path that QUIC has validated.
    pub peer: SocketAddr,
    /// The pictures' mode.
    pub mode: Mode,
    /// What the encoder was opened with.
    pub bitrate: BitsPerSecond,
    /// Slices of each picture.
    pub slices: SliceCount,
    /// Orders and tasks from control, departures to it.
    pub control: PipelineEnds,
    /// Where the stages count.
    pub metrics: Arc<SessionMetrics>,
    /// Called by a stage that ends on its own account, from its thread.
    pub on_fault: Arc<dyn Fn(StageFault) + Send + Sync>,
}

/// A running pipeline. Dropping it stops and joins all threads.
pub struct Pipeline {
    stop: Stop,
    commands: Sender<EncodeCommand>,
    peers: Sender<SocketAddr>,
    stale_peers: Receiver<SocketAddr>,
    /// Until the pipeline ends.
    sources: Option<SourceChanges>,
    encoders: Sender<EncoderChange>,
    changed: Receiver<EncoderChanged>,
    reports: Receiver<FrameTimes>,
    /// In frame order.
    threads: Vec<RoleThread<()>>,
}

/// Starts the four threads, in the order of the frame's way.
///
/// # Errors
/// The system's, if a thread cannot be started; those already running are stopped again.
pub fn spawn(parts: Parts) -> std::io::Result<Pipeline> {
    let slices_in_flight = usize::from(parts.slices.get()) * FRAMES_OF_SLICES;
    let (frames_in, frames) = bounded(1);
    let (slices_in, slices) = bounded(slices_in_flight + FRAMES_OF_SLICES);
    let (batches_in, batches) = bounded(BATCHES);
    let (commands_in, commands) = bounded(COMMANDS);
    let (peers_in, peers) = bounded(1);
    let (sources, next) = change::sources();
    // One change at a time.
    let (encoders, changes) = bounded(1);
    let (changed_in, changed) = bounded(1);
    prepare_to_wait_empty(&changes);
    let (done_in, done) = bounded(REPORTS);
    let (reports_in, reports) = bounded(REPORTS);

    prepare_to_wait(&slices_in, &slices, Slice::default);
    prepare_to_wait(&batches_in, &batches, || Sealed {
        batch: Batch::new(),
        part: SlicePart::NONE,
        protected: Timestamp::ZERO,
    });

    let slice_bytes_max = slice_bytes_of(parts.mode, parts.slices);
    let slice_buffers = slice_buffers(parts.slices);
    let (slice_pool_in, slice_pool) = bounded(slice_buffers);
    prepare_to_wait_empty(&slice_pool);
    for _ in 0..slice_buffers {
        let buffer = vec![0; slice_bytes_max].into_boxed_slice();
        slice_pool_in
            .try_send(buffer)
            .expect("the pool has room for all of its buffers");
    }
    // As with slices, and one that protect keeps at hand.
    let batch_buffers = BATCHES + 3;
    let (batch_pool_in, batch_pool) = bounded(batch_buffers);
    prepare_to_wait_empty(&batch_pool);
    for _ in 0..batch_buffers {
        batch_pool_in
            .try_send(Batch::new())
            .expect("the pool has room for all of its buffers");
    }

    let metrics = parts.metrics;
    let PipelineEnds {
        orders,
        load,
        tasks,
        departures,
    } = parts.control;
    prepare_to_wait_empty(&tasks);
    let capture = CaptureStage {
        displaced: frames.clone(),
        frames: frames_in,
        next,
        metrics: Arc::clone(&metrics),
        capture: parts.capture,
        refresh: parts.mode.refresh().interval(),
    };
    let encode = EncodeStage {
        encoder: parts.encoder,
        reopen: parts.reopen,
        changes,
        changed: changed_in,
        size: size_of(parts.mode),
        interval: parts.mode.refresh().interval(),
        frames,
        commands,
        bitrate: parts.bitrate,
        slices: parts.slices,
        orders: Arc::clone(&orders),
        load,
        outlet: SliceOutlet::new(slice_pool, slices_in, slice_bytes_max),
        done: done_in,
        metrics: Arc::clone(&metrics),
    };
    let protect = ProtectStage {
        cutter: parts.cutter,
        pacer: Pacer::new(orders.pace()),
        slices,
        slice_pool: slice_pool_in,
        batch_pool,
        spare: None,
        batches: batches_in,
        orders,
        tasks,
        departure: Timestamp::ZERO,
        is_amid_frame: true,
        mtu_probe: None,
        metrics: Arc::clone(&metrics),
    };
    let stale_peers = peers.clone();
    let send = SendStage::new(
        parts.socket,
        parts.peer,
        peers,
        batches,
        batch_pool_in,
        done,
        reports_in,
        departures,
        metrics,
    );

    let stop = Stop::new(capture.capture.waker());
    let runner = Runner {
        stop: &stop,
        on_fault: &parts.on_fault,
    };
    let mut pipeline = Pipeline {
        commands: commands_in,
        stale_peers,
        peers: peers_in,
        sources: Some(sources),
        encoders,
        changed,
        stop: stop.clone(),
        reports,
        threads: Vec::new(),
    };
    pipeline
        .threads
        .push(runner.start(Role::Capture, "pf-capture", |stop| capture.run(stop))?);
    pipeline
        .threads
        .push(runner.start(Role::Encode, "pf-encode", |stop| encode.run(stop))?);
    pipeline
        .threads
        .push(runner.start(Role::Protect, "pf-protect", |stop| protect.run(stop))?);
    pipeline
        .threads
        .push(runner.start(Role::Send, "pf-send", |stop| send.run(stop))?);
    Ok(pipeline)
}

impl Pipeline {
    /// Tells encode. A full queue holds a request of the same effect already.
    pub fn command(&self, command: EncodeCommand) {
        if let Err(TrySendError::Full(command)) = self.commands.try_send(command) {
            log::debug!("encode has not yet obeyed {COMMANDS} commands; {command:?} is left out");
        }
    }

    /// Media goes to this address from the next batch on.
    pub fn redirect(&self, peer: SocketAddr) {
        // Newest wins: an address that send has not taken up yet is out of date.
        while let Err(TrySendError::Full(_)) = self.peers.try_send(peer) {
            let _ = self.stale_peers.try_recv();
        }
    }

    /// A change of the mode begins: the source in use may end from now on. A
    /// [`Pipeline::change`] or a [`Pipeline::restore`] must follow.
    pub fn announce_change(&self) {
        if let Some(sources) = &self.sources {
            sources.announce();
        }
    }

    /// Goes on with pictures of `source`, whose output has so much time between two refreshes, in
    /// another mode. [`Pipeline::changed`] tells from which frame on; until it has, there is no
    /// other change.
    pub fn change(&self, source: Box<dyn Capture>, refresh: Duration, encoder: EncoderChange) {
        if self.encoders.try_send(encoder).is_err() {
            log::error!("a change of the mode came before the one before it was made");
        }
        self.restore(source, refresh);
    }

    /// Goes on in the mode as it is, with pictures of `source`.
    pub fn restore(&self, source: Box<dyn Capture>, refresh: Duration) {
        if let Some(sources) = &self.sources {
            // First whom to wake, so that an end that is asked for now does not wait.
            let old = self.stop.replace_waker(source.waker());
            sources.replace(source, refresh);
            old.wake();
        }
    }

    /// Tells each change that encode has made.
    #[must_use]
    pub const fn changed(&self) -> &Receiver<EncoderChanged> {
        &self.changed
    }

    /// Finished frames' times, oldest first, for the control thread.
    #[must_use]
    pub const fn reports(&self) -> &Receiver<FrameTimes> {
        &self.reports
    }
}

impl Drop for Pipeline {
    /// Asks capture to end, then joins in reverse order. The channels between the stages close
    /// one after the other, so each thread finishes what it holds.
    fn drop(&mut self) {
        self.stop.ask();
        self.sources = None;
        let deadline = Instant::now() + JOIN_TIMEOUT;
        for thread in self.threads.drain(..).rev() {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Err(error) = thread.join_within(left) {
                log::error!("{error}");
            }
        }
    }
}

/// Asks a pipeline to end; any of its threads and its owner hold one.
#[derive(Clone)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    capture: Arc<Mutex<Arc<dyn Waker>>>,
}

impl Stop {
    /// Wakes `capture` when it is asked. For [`spawn`], and for a bench that runs some of the
    /// stages without it.
    #[must_use]
    pub fn new(capture: Arc<dyn Waker>) -> Self {
        Self {
            asked: Arc::new(AtomicBool::new(false)),
            capture: Arc::new(Mutex::new(capture)),
        }
    }

    /// True once somebody asked.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.waker().wake();
    }

    /// Whom to wake from now on; whom it was before.
    fn replace_waker(&self, capture: Arc<dyn Waker>) -> Arc<dyn Waker> {
        std::mem::replace(&mut *self.waker(), capture)
    }

    fn waker(&self) -> MutexGuard<'_, Arc<dyn Waker>> {
        self.capture.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a stage on its thread: whatever way it ends, the pipeline ends with it, and an end that
/// nobody asked for is reported.
struct Runner<'a> {
    stop: &'a Stop,
    on_fault: &'a Arc<dyn Fn(StageFault) + Send + Sync>,
}

impl Runner<'_> {
    fn start<F>(&self, role: Role, name: &'static str, run: F) -> std::io::Result<RoleThread<()>>
    where
        F: FnOnce(&Stop) -> Result<(), StageFault> + Send + 'static,
    {
        let stop = self.stop.clone();
        let on_fault = Arc::clone(self.on_fault);
        platform::thread::spawn(role, name, move || {
            // The thread's own part in waiting is allocated when it first does, too.
            let (_open, never) = bounded::<()>(1);
            prepare_to_wait_empty(&never);
            let run = std::panic::AssertUnwindSafe(|| run(&stop));
            let ended = std::panic::catch_unwind(run).unwrap_or(Err(StageFault::Panic(name)));
            if let Err(fault) = ended {
                on_fault(fault);
            }
            stop.ask();
        })
    }
}

/// Lets both sides of a new channel wait once. crossbeam allocates the list of those who wait when
/// the first one does, and for a full channel that is in the middle of a stream.
fn prepare_to_wait<T>(sender: &Sender<T>, receiver: &Receiver<T>, filler: impl Fn() -> T) {
    while sender.try_send(filler()).is_ok() {}
    let mut full = Select::new();
    full.send(sender);
    assert!(
        full.select_timeout(Duration::ZERO).is_err(),
        "it was just filled"
    );
    while receiver.try_recv().is_ok() {}
    prepare_to_wait_empty(receiver);
}

/// The same for the receiving side alone, on which nothing was sent yet.
fn prepare_to_wait_empty<T>(receiver: &Receiver<T>) {
    let mut empty = Select::new();
    empty.recv(receiver);
    if let Ok(selected) = empty.select_timeout(Duration::ZERO) {
        // The other side is gone already; whoever waits for it will find out.
        drop(selected.recv(receiver));
    }
}

/// Buffers for a pipeline's slices in another mode, of as many slices as it was made for: for
/// whoever opens that mode's encoder, on a thread that has time.
#[must_use]
pub fn buffers_for(config: &EncoderConfig) -> Vec<Box<[u8]>> {
    let bytes = slice_bytes_max(config);
    (0..slice_buffers(config.slices))
        .map(|_| vec![0; bytes].into_boxed_slice())
        .collect()
}

/// Room that a slice's buffer has, bytes.
#[must_use]
pub fn slice_bytes_max(config: &EncoderConfig) -> usize {
    slice_bytes_of(config.mode, config.slices)
}

/// One buffer more than the channel holds for each side that works on one.
fn slice_buffers(slices: SliceCount) -> usize {
    usize::from(slices.get()) * FRAMES_OF_SLICES + 2
}

/// No slice is larger than twice its share of the raw 4:2:0 picture: CAVLC at the lowest
/// quantisers expands noise, and shares are uneven by a macroblock row.
fn slice_bytes_of(mode: Mode, slices: SliceCount) -> usize {
    let raw = mode.pixels() * 3 / 2;
    2 * raw / usize::from(slices.get()) + 64 * 1024
}
