//! The data plane without display and encoder: slices that are there already go through protect,
//! seal and send, as fast as they can ([`sealed_send`]) or at the rate of a very large display
//! ([`wide`]), and back through receive and reassembly.
//!
//! The stages are the engine's own, on threads of their own with the roles that they have there.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use engine::metrics::{CounterSnapshot, SessionMetrics};
use engine::pipeline::{BATCHES, FRAMES_OF_SLICES, Stop};
use engine::stage::protect::ProtectStage;
use engine::stage::send::SendStage;
use engine::stage::{Slice, StageFault};
use engine::steering::ways;
use net::clock;
use net::crypto::{Aead, EXPORTER_BYTES, MediaKeys, Opener, Sealer};
use net::limits::{GSO_SEGMENTS_MAX, SHARD_BYTES_MAX};
use net::media;
use net::packetize::{Batch, Packetizer, PacketizerConfig, SliceMeta};
use net::rate::Pacer;
use net::reassemble::{Event, Reassembler, ReassemblerConfig};
use net::steering::unsteered;
use net::udp::{Socket, SocketConfig, Wait};
use net::units::{FrameId, SliceIndex, Timestamp};
use platform::process::thread_usage;
use platform::thread::{Role, RoleThread};
use serde::Serialize;

use super::median;
use super::udp::{self, JOIN_TIMEOUT, READER_PATIENCE, Reader};

/// Slices of every frame here.
const SLICES: u8 = 8;
/// Bytes of a slice in [`sealed_send`]: one full batch of 47 datagrams, as the bare sender sends
/// them; the frame's parity (20 %) is a batch and a half more.
const SLICE_BYTES: usize = GSO_SEGMENTS_MAX * SHARD_BYTES_MAX;
/// How long what feeds the stages waits for room; they have half of their slices left then, 0.3 ms
/// of work.
const FEEDER_NAP: Duration = Duration::from_micros(100);
/// Bytes of an access unit in [`wide`]: a 240th of a second at 500 Mbit/s.
const WIDE_UNIT_BYTES: usize = 260_000;
/// Access units a second in [`wide`].
const WIDE_HZ: u32 = 240;

/// A bench on loopback could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// Sockets, threads or their usage.
    #[error("loopback cannot be measured: {0}")]
    System(#[from] io::Error),
    /// A stage ended on its own account.
    #[error("a stage ended during the measurement: {0}")]
    Stage(#[from] StageFault),
    /// A stage hangs or has panicked.
    #[error("a stage did not end well: {0}")]
    Join(#[from] platform::thread::JoinError),
}

/// How fast sealed, protected datagrams leave beside bare ones; medians over rounds in which all
/// three ran one after the other, to the same kind of socket.
#[derive(Clone, Debug, Serialize)]
pub struct SealedSend {
    /// A bare GSO sender, datagrams a second.
    pub bare_per_s: f64,
    /// FEC, seal and send on one thread, datagrams a second.
    pub one_thread_per_s: f64,
    /// The engine's protect and send stages on threads of their own, datagrams a second.
    pub stages_per_s: f64,
    /// `one_thread_per_s` over `bare_per_s` of the same round.
    pub one_thread_ratio: f64,
    /// `stages_per_s` over `bare_per_s` of the same round.
    pub stages_ratio: f64,
    /// Who read the socket that they sent to.
    pub reader: Reader,
}

/// Runs the bare sender, one thread and the stages in turn, `rounds` times for `each`.
///
/// # Errors
/// See [`PathError`].
pub fn sealed_send(rounds: u32, each: Duration, reader: Reader) -> Result<SealedSend, PathError> {
    let mut samples: [Vec<f64>; 5] = Default::default();
    for _ in 0..rounds {
        let bare = udp::bare_gso(each, reader)?.datagrams_per_s;
        let one_thread = against(Role::Send, reader, each, move |to| one_thread(to, each))?;
        // What feeds the stages is slower than they are, in the engine; here it must wait for them
        // instead of interrupting them.
        let stages = against(Role::Capture, reader, each, move |to| {
            stages_flat_out(to, each)
        })?;
        let round = [bare, one_thread, stages, one_thread / bare, stages / bare];
        samples
            .iter_mut()
            .zip(round)
            .for_each(|(all, one)| all.push(one));
    }
    let [
        bare_per_s,
        one_thread_per_s,
        stages_per_s,
        one_thread_ratio,
        stages_ratio,
    ] = samples.map(median);
    Ok(SealedSend {
        bare_per_s,
        one_thread_per_s,
        stages_per_s,
        one_thread_ratio,
        stages_ratio,
        reader,
    })
}

/// What became of pre-encoded frames of a very large display.
#[derive(Clone, Debug, Serialize)]
pub struct Wide {
    /// Frames given to protect.
    pub frames: u64,
    /// Of these, frames that were not reassembled whole.
    pub lost: u64,
    /// Batches that the kernel would not take.
    pub not_sent: u64,
    /// Data shards that had to be recovered from parity.
    pub repaired_shards: u64,
    /// Payload, Gbit/s, before parity.
    pub gbit_per_s: f64,
    /// CPU time of the protect thread over wall time, cores.
    pub protect_cores: f64,
    /// CPU time of the send thread over wall time, cores.
    pub send_cores: f64,
    /// CPU time of the thread that receives, opens and reassembles over wall time, cores.
    pub receive_cores: f64,
    /// Allocations of protect and send after the warm-up; `None` if nothing counts them.
    pub allocations: Option<u64>,
    /// How long it ran, s.
    pub seconds: f64,
}

/// Sends access units of 260 kB in 8 slices, 240 a second, for `duration` after `warm_up`.
/// The slices come evenly over the frame's time, as from an encoder that needs all of it.
///
/// # Errors
/// See [`PathError`].
pub fn wide(warm_up: Duration, duration: Duration) -> Result<Wide, PathError> {
    let (socket, reader) = (socket()?, socket()?);
    let stages = Stages::start(
        socket,
        reader.local_addr()?,
        WIDE_UNIT_BYTES / usize::from(SLICES),
    )?;
    let ended = Arc::new(AtomicBool::new(false));
    let receiving = {
        let ended = Arc::clone(&ended);
        platform::thread::spawn(Role::Receive, "wide-receive", move || {
            reassemble(&reader, &ended)
        })?
    };
    let feeding = platform::thread::spawn(Role::Encode, "wide-feed", move || {
        let measured = send_wide(&stages, warm_up, duration);
        (stages, measured)
    })?;
    let (stages, measured) = feeding.join_within(warm_up + duration + JOIN_TIMEOUT)?;
    let metrics = Arc::clone(&stages.metrics);
    let finished = stages.finish();
    let not_sent = metrics.counters.snapshot().send_failures;
    ended.store(true, Ordering::Release);
    let received = receiving.join_within(JOIN_TIMEOUT)??;
    finished?;
    let (frames, from, to) = measured?;
    let cores = |thread: &str| {
        to.cpu(thread)
            .saturating_sub(from.cpu(thread))
            .as_secs_f64()
    };
    let seconds = (to.at - from.at).as_secs_f64();
    let counted = to.counters.since(&from.counters);
    Ok(Wide {
        frames,
        lost: frames.saturating_sub(received.frames),
        not_sent,
        repaired_shards: received.repaired_shards,
        gbit_per_s: WIDE_UNIT_BYTES as f64 * f64::from(WIDE_HZ) * 8e-9,
        protect_cores: cores(PROTECT) / seconds,
        send_cores: cores(SEND) / seconds,
        receive_cores: cores("wide-receive") / seconds,
        allocations: engine::metrics::counts_allocations()
            .then_some(counted.protect_allocations + counted.send_allocations),
        seconds,
    })
}

const PROTECT: &str = "wide-protect";
const SEND: &str = "wide-send";

/// Usage at one moment.
struct Moment {
    at: Instant,
    threads: Vec<platform::process::ThreadUsage>,
    counters: CounterSnapshot,
}

impl Moment {
    fn now(stages: &Stages) -> io::Result<Self> {
        Ok(Self {
            at: Instant::now(),
            threads: thread_usage(None)?,
            counters: stages.metrics.counters.snapshot(),
        })
    }

    fn cpu(&self, name: &str) -> Duration {
        self.threads
            .iter()
            .filter(|thread| thread.name == name)
            .map(|thread| thread.cpu)
            .sum()
    }
}

/// Frames sent, and usage at the beginning and the end of the measured time.
fn send_wide(
    stages: &Stages,
    warm_up: Duration,
    duration: Duration,
) -> io::Result<(u64, Moment, Moment)> {
    let interval = Duration::from_secs(1) / WIDE_HZ / u32::from(SLICES);
    let frames_in = |time: Duration| (time.as_secs_f64() * f64::from(WIDE_HZ)) as u64;
    let warm_up_frames = frames_in(warm_up);
    let frames = warm_up_frames + frames_in(duration);
    let mut from = None;
    let mut due = clock::now();
    for frame in 0..frames {
        if frame == warm_up_frames {
            from = Some(Moment::now(stages)?);
            due = due.max(clock::now());
        }
        let number = FrameId(frame as u32);
        for index in 0..SLICES {
            platform::thread::wait_until(due);
            due = due + interval;
            if !stages.slice(number, index) {
                return Err(io::Error::other("a stage ended early"));
            }
        }
    }
    let to = Moment::now(stages)?;
    let from = from.ok_or_else(|| io::Error::other("the measured time is too short"))?;
    Ok((frames, from, to))
}

/// Receives until nothing comes after `ended`.
fn reassemble(
    reader: &Socket,
    ended: &AtomicBool,
) -> io::Result<net::reassemble::ReassemblerStats> {
    let mut receiver = net::udp::Receiver::new();
    let mut opener = Opener::new(keys());
    let mut reassembler = Reassembler::new(ReassemblerConfig::default());
    loop {
        let was_ended = ended.load(Ordering::Acquire);
        let received = receiver.recv(reader, Wait::UpTo(READER_PATIENCE))?;
        let now = clock::now();
        for (datagram, _) in receiver.datagrams() {
            // What cannot be opened is missing then, and counts as lost.
            if let Ok((header, shard)) = media::open_video(&mut opener, datagram) {
                reassembler.handle(now, &header, shard);
            }
        }
        while let Some(event) = reassembler.poll(clock::now()) {
            match event {
                Event::Frame(unit) => debug_assert_eq!(unit.bytes().len(), WIDE_UNIT_BYTES),
                Event::Lost(loss) => log::info!("{loss:?}"),
            }
        }
        if received == 0 && was_ended {
            return Ok(reassembler.stats());
        }
    }
}

/// Runs a sender, on a thread of this role, to a socket as the bare sender's.
fn against(
    role: Role,
    reader: Reader,
    each: Duration,
    send: impl FnOnce(SocketAddr) -> Result<f64, PathError> + Send + 'static,
) -> Result<f64, PathError> {
    let sink = udp::Sink::open(reader)?;
    let to = sink.address();
    let sending = platform::thread::spawn(role, "bench-send", move || send(to))?;
    let sent = sending.join_within(each + 2 * JOIN_TIMEOUT);
    sink.close()?;
    sent?
}

/// Datagrams a second from FEC, seal and send in turn on this thread.
fn one_thread(to: SocketAddr, duration: Duration) -> Result<f64, PathError> {
    let socket = socket()?;
    let mut packetizer = packetizer();
    let slice = vec![0x5A; SLICE_BYTES];
    let mut batch = Batch::new();
    let begin = Instant::now();
    let mut datagrams = 0;
    for frame in 0.. {
        for index in 0..SLICES {
            packetizer
                .begin(&meta(FrameId(frame), index), &slice)
                .expect("a slice of this size is within the limits");
            while packetizer.next_batch(&mut batch) {
                let segment_bytes = usize::from(batch.segment_bytes);
                datagrams += udp::send_all(&socket, to, batch.bytes(), segment_bytes)?;
            }
        }
        if begin.elapsed() >= duration {
            break;
        }
    }
    Ok(datagrams as f64 / begin.elapsed().as_secs_f64())
}

/// Datagrams a second from the engine's stages, fed as fast as they take slices.
fn stages_flat_out(to: SocketAddr, duration: Duration) -> Result<f64, PathError> {
    let stages = Stages::start(socket()?, to, SLICE_BYTES)?;
    let begin = Instant::now();
    let fed = (0..).try_for_each(|frame| {
        // Looks for room now and then: being woken for each slice is the encoder's part, not that
        // of the stages.
        while stages.pool.len() < usize::from(SLICES) && begin.elapsed() < duration {
            std::thread::sleep(FEEDER_NAP);
        }
        let alive = (0..SLICES).all(|index| stages.slice(FrameId(frame), index));
        (alive && begin.elapsed() < duration).then_some(())
    });
    debug_assert!(fed.is_none(), "it ends by time");
    let datagrams = stages.metrics.counters.snapshot().datagrams;
    let seconds = begin.elapsed().as_secs_f64();
    stages.finish()?;
    Ok(datagrams as f64 / seconds)
}

/// The engine's protect and send stages, and what feeds them.
struct Stages {
    slice_bytes: usize,
    slices: Sender<Slice>,
    pool: Receiver<Box<[u8]>>,
    metrics: Arc<SessionMetrics>,
    threads: [RoleThread<Result<(), StageFault>>; 2],
}

impl Stages {
    /// Starts both threads, with channels and pools as large as the engine's.
    fn start(socket: Socket, to: SocketAddr, slice_bytes: usize) -> io::Result<Self> {
        let in_flight = usize::from(SLICES) * FRAMES_OF_SLICES;
        let (slices_in, slices) = bounded(in_flight + FRAMES_OF_SLICES);
        let (batches_in, batches) = bounded(BATCHES);
        let (slice_pool_in, slice_pool) = bounded(in_flight + 2);
        let (batch_pool_in, batch_pool) = bounded(BATCHES + 3);
        for _ in 0..in_flight + 2 {
            let buffer = vec![0x5A; slice_bytes].into_boxed_slice();
            slice_pool_in
                .try_send(buffer)
                .expect("the pool has room for all of its buffers");
        }
        for _ in 0..BATCHES + 3 {
            batch_pool_in
                .try_send(Batch::new())
                .expect("the pool has room for all of its buffers");
        }
        // Nobody moves and nobody wants to know of finished frames.
        let (_, peers) = bounded(1);
        let (_, done) = bounded(1);
        let (reports, _) = bounded(1);
        let metrics = Arc::new(SessionMetrics::default());
        let orders = unsteered(PacketizerConfig::default().protection);
        let (control, _) = ways(&orders);
        let protect = ProtectStage {
            cutter: packetizer().into(),
            slices,
            slice_pool: slice_pool_in,
            batch_pool,
            spare: None,
            batches: batches_in,
            pacer: Pacer::new(orders.pace),
            orders: control.orders,
            tasks: control.tasks,
            departure: Timestamp::ZERO,
            is_amid_frame: true,
            mtu_probe: None,
            metrics: Arc::clone(&metrics),
        };
        let counted = Arc::clone(&metrics);
        let departures = control.departures;
        let send = SendStage::new(
            socket,
            to,
            peers,
            batches,
            batch_pool_in,
            done,
            reports,
            departures,
            counted,
        );
        let stop = Stop::new(Arc::new(NoCapture));
        let stop_too = stop.clone();
        Ok(Self {
            slice_bytes,
            slices: slices_in,
            pool: slice_pool,
            metrics,
            threads: [
                platform::thread::spawn(Role::Protect, PROTECT, move || protect.run(&stop))?,
                platform::thread::spawn(Role::Send, SEND, move || send.run(&stop_too))?,
            ],
        })
    }

    /// Hands a slice on; waits for a free buffer. False if a stage has ended.
    fn slice(&self, frame: FrameId, index: u8) -> bool {
        let Ok(buffer) = self.pool.recv() else {
            return false;
        };
        let now = clock::now();
        let slice = Slice {
            meta: meta(frame, index),
            buffer,
            filled: self.slice_bytes,
            encoded: now,
        };
        self.slices.send(slice).is_ok()
    }

    /// Lets the stages finish what they hold, and ends them.
    fn finish(self) -> Result<(), PathError> {
        drop(self.slices);
        for thread in self.threads {
            thread.join_within(JOIN_TIMEOUT)??;
        }
        Ok(())
    }
}

/// There is no capture here to be woken.
struct NoCapture;

impl platform::capture::Waker for NoCapture {
    fn wake(&self) {}
}

fn socket() -> io::Result<Socket> {
    Socket::bind(
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        SocketConfig::default(),
    )
}

/// Any keys: both ends have the same.
fn keys() -> MediaKeys {
    MediaKeys::from_exporter(Aead::Aes128Gcm, &mut [7; EXPORTER_BYTES])
}

fn packetizer() -> Packetizer {
    Packetizer::new(Sealer::new(keys()), PacketizerConfig::default())
}

fn meta(frame: FrameId, index: u8) -> SliceMeta {
    SliceMeta {
        frame,
        index: SliceIndex(index),
        last: index + 1 == SLICES,
        keyframe: false,
        recovery: false,
        captured: Timestamp::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_fills_one_batch_of_whole_shards() {
        let mut packetizer = packetizer();
        let mut batch = Batch::new();
        packetizer
            .begin(&meta(FrameId(0), 0), &[1; SLICE_BYTES])
            .expect("within the limits");
        assert!(packetizer.next_batch(&mut batch));
        assert_eq!(usize::from(batch.datagrams), GSO_SEGMENTS_MAX);
        assert_eq!(
            usize::from(batch.segment_bytes),
            net::limits::DATAGRAM_BYTES_MAX - net::limits::PARITY_PREFIX_BYTES
        );
        assert!(!packetizer.next_batch(&mut batch));
    }

    #[test]
    fn every_sender_sends() {
        // On a busy machine a thread may not even have begun within the shortest of these.
        let sends = (0..10).map(|doubled| Duration::from_millis(2 << doubled));
        let mut rows = sends.map(|each| sealed_send(1, each, Reader::None));
        let all_sent = rows.any(|row| {
            let row = row.expect("loopback has sockets");
            row.bare_per_s > 0.0 && row.one_thread_per_s > 0.0 && row.stages_per_s > 0.0
        });
        assert!(all_sent);
    }

    #[test]
    fn wide_frames_come_through_or_are_counted() {
        let row = wide(Duration::ZERO, Duration::from_millis(20)).expect("loopback has sockets");
        assert!(row.frames > 0 && row.lost <= row.frames, "{row:?}");
    }
}
