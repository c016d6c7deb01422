//! A hostile peer: malformed datagrams, thousands a second, at the port of a running session.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use net::clock;

use super::watcher::{Watcher, latencies};
use super::{Bench, BenchError, ProtocolRun, SYNTHETIC, hd, quantile, scenario};

/// Malformed datagrams a second.
const RATE_PER_S: u32 = 20_000;
/// Sent at once.
const TICK: Duration = Duration::from_millis(1);
const BATCH: u32 = RATE_PER_S / 1000;
/// With and without, in turn.
const PAIRS: usize = 6;
const TIME: Duration = Duration::from_secs(3);
/// Left out at the begin of each stretch.
const SETTLE: Duration = Duration::from_millis(200);
/// Longest datagram of the flood, bytes.
const BYTES_MAX: usize = 1452;

/// Sends malformed datagrams while it lives: every first byte, any length, some with a head like
/// QUIC's or like media's and input's, none with a valid seal. Reproducible: its seed is 1.
pub struct Flood {
    on: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// One that waits for [`Flood::turn`].
    ///
    /// # Errors
    /// The system's, if it has no socket or thread.
    pub fn start(host: SocketAddr) -> std::io::Result<Self> {
        let socket = UdpSocket::bind((host.ip(), 0))?;
        // A host that hangs must not hold up who measures it.
        socket.set_nonblocking(true)?;
        let (on, over) = (Arc::default(), Arc::default());
        let sent = Arc::default();
        let shared = (Arc::clone(&on), Arc::clone(&over), Arc::clone(&sent));
        let thread = std::thread::Builder::new()
            .name("bench-flood".to_owned())
            .spawn(move || flood(&socket, host, &shared.0, &shared.1, &shared.2))?;
        Ok(Self {
            on,
            over,
            sent,
            thread: Some(thread),
        })
    }

    /// On or off.
    pub fn turn(&self, on: bool) {
        self.on.store(on, Relaxed);
    }

    /// Datagrams so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the flood panicked");
        }
    }
}

fn flood(
    socket: &UdpSocket,
    host: SocketAddr,
    on: &AtomicBool,
    over: &AtomicBool,
    sent: &AtomicU64,
) {
    let mut chance = 1;
    let mut bytes = [0; BYTES_MAX];
    let mut due = Instant::now();
    while !over.load(Relaxed) {
        due += TICK;
        if on.load(Relaxed) {
            for _ in 0..BATCH {
                let length = malformed(&mut chance, &mut bytes);
                // The receiver's buffer is full: as on a network, it is lost.
                if socket.send_to(&bytes[..length], host).is_ok() {
                    sent.fetch_add(1, Relaxed);
                }
            }
        }
        // What a busy machine has missed is caught up with, up to a tenth of a second.
        let now = Instant::now();
        due = due.max(now.checked_sub(100 * TICK).unwrap_or(now));
        std::thread::sleep(due.saturating_duration_since(now));
    }
}

/// The next datagram; its length.
fn malformed(chance: &mut u64, bytes: &mut [u8; BYTES_MAX]) -> usize {
    let mut next = || {
        // xorshift64 (Marsaglia 2003).
        *chance ^= *chance << 13;
        *chance ^= *chance >> 7;
        *chance ^= *chance << 17;
        *chance
    };
    let length = match next() % 4 {
        0 => next() % 40,
        _ => next() % BYTES_MAX as u64,
    } as usize;
    for chunk in bytes[..length].chunks_mut(8) {
        let noise = next().to_le_bytes();
        chunk.copy_from_slice(&noise[..chunk.len()]);
    }
    let head: &[u8] = match next() % 6 {
        // Media and feedback, with a small sequence.
        0 => &[1, 0, 0, 0],
        1 => &[3, 0, 0, 1],
        2 => &[2, 0, 0, 0],
        // QUIC version 1: an Initial with a connection id of 8 bytes, and a short header.
        3 => &[0xc3, 0, 0, 0, 1, 8],
        4 => &[0x43],
        _ => &[],
    };
    let head = &head[..head.len().min(length)];
    bytes[..head.len()].copy_from_slice(head);
    length
}

impl ProtocolRun {
    pub(super) fn hostile(&mut self) -> Result<(), BenchError> {
        let scenario = scenario("hostile", hd(60));
        let bench = Bench::start(&self.bare(SYNTHETIC), &scenario)?;
        let watcher = Watcher::start(bench.options(&scenario, bench.host.local_addr())?)?;
        let flood = Flood::start(bench.host.local_addr()).map_err(BenchError::Loopback)?;
        let mut stretches = Vec::new();
        let mut stretch = |on: bool| {
            flood.turn(on);
            std::thread::sleep(SETTLE);
            let from = clock::now();
            std::thread::sleep(TIME);
            stretches.push((on, from, clock::now()));
        };
        // The warm-up is a stretch that nobody looks at.
        stretch(false);
        for pair in 0..PAIRS {
            // Which comes first changes, so that a drift favours neither.
            let first = pair % 2 == 0;
            stretch(first);
            stretch(!first);
        }
        let time = (TIME + SETTLE) * PAIRS as u32;
        let rate = flood.sent() as f64 / time.as_secs_f64();
        drop(flood);
        let watched = watcher.finish();
        let turned_away = bench.host.live_figures().line();
        bench.stop();
        let watched = watched?;
        if let Some(reason) = watched.ended {
            return Err(BenchError::Ended(reason));
        }
        let p50_of = |wanted: bool| {
            let of = stretches[1..].iter().filter(|it| it.0 == wanted);
            let mut times: Vec<f64> = of
                .flat_map(|&(_, from, to)| latencies(&watched.frames, from, to))
                .collect();
            (
                quantile(&mut times, 0.5),
                quantile(&mut times, 0.99),
                times.len(),
            )
        };
        let (quiet, flooded) = (p50_of(false), p50_of(true));
        self.figure("flood_frames_lost", watched.received.frames_lost as f64);
        self.figure("flood_rate_per_s", rate);
        self.figure("flood_p50_over_quiet", flooded.0 / quiet.0);
        self.note(format!(
            "hostile: 720p60, {PAIRS} pairs of {} s: quiet p50 {:.3}, p99 {:.3} ms ({} frames), \
             flooded p50 {:.3}, p99 {:.3} ms ({} frames); the host says: {turned_away}",
            TIME.as_secs(),
            quiet.0,
            quiet.1,
            quiet.2,
            flooded.0,
            flooded.1,
            flooded.2,
        ));
        Ok(())
    }
}
