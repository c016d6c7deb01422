//! A receive-only client: it takes what comes, decodes nothing, and knows of each frame when it was
//! captured and when it was complete.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::Receiver;
use net::client::{
    Client, ClientCursor, ClientInput, ClientNotice, ConnectOptions, ReceiveSnapshot,
};
use net::reassemble::Granularity;
use net::units::{FrameId, Timestamp};
use platform::thread::Role;

use crate::run::BenchError;

/// How often the thread looks whether it is wanted.
const LOOK: Duration = Duration::from_millis(50);
/// After the last frame of interest, until the host's stamps of it have come.
const STAMPS: Duration = Duration::from_millis(400);

/// A frame that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// At the host.
    pub captured: Timestamp,
    /// At the client.
    pub complete: Timestamp,
}

/// What a client saw.
pub(super) struct Watched {
    /// In order.
    pub frames: Vec<Seen>,
    /// Counts of the receiver.
    pub received: ReceiveSnapshot,
    /// Why it ended before its time, if it did.
    pub ended: Option<String>,
}

/// The client and the thread that takes what it receives.
pub(super) struct Watcher {
    enough: Arc<AtomicBool>,
    frames: Arc<AtomicU64>,
    input: ClientInput,
    cursors: Receiver<ClientCursor>,
    thread: JoinHandle<Watched>,
}

impl Watcher {
    /// Connects and watches until [`Watcher::finish`].
    pub(super) fn start(options: ConnectOptions) -> Result<Self, BenchError> {
        let client = Client::connect_with(options, Granularity::Frames, || {
            platform::thread::adopt(Role::Receive);
        })
        .map_err(engine::client::ClientError::Connect)?;
        let (input, cursors) = (client.input(), client.cursors().clone());
        let enough = Arc::new(AtomicBool::new(false));
        let frames = Arc::new(AtomicU64::new(0));
        let (told, count) = (Arc::clone(&enough), Arc::clone(&frames));
        let thread = std::thread::Builder::new()
            .name("bench-watcher".to_owned())
            .spawn(move || watch(client, &told, &count))
            .map_err(BenchError::Loopback)?;
        Ok(Self {
            enough,
            frames,
            input,
            cursors,
            thread,
        })
    }

    /// Where input goes in.
    pub(super) const fn input(&self) -> &ClientInput {
        &self.input
    }

    /// The host's pointer, if the Hello asked for it.
    pub(super) const fn cursors(&self) -> &Receiver<ClientCursor> {
        &self.cursors
    }

    /// Frames so far.
    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Relaxed)
    }

    /// Ends the session once the host's stamps have come.
    pub(super) fn finish(self) -> Result<Watched, BenchError> {
        std::thread::sleep(STAMPS);
        self.enough.store(true, Relaxed);
        let lost = || BenchError::Ended("the watching thread panicked".to_owned());
        self.thread.join().map_err(|_| lost())
    }
}

fn watch(mut client: Client, enough: &AtomicBool, count: &AtomicU64) -> Watched {
    let (mut complete, mut captured) = (Vec::new(), BTreeMap::<FrameId, Timestamp>::new());
    let mut ended = None;
    let mut note = |notice| match notice {
        ClientNotice::FrameTimes(times) => {
            captured.extend(times.iter().map(|it| (it.frame, it.captured)));
        }
        ClientNotice::Ended { reason } => ended = Some(reason),
        ClientNotice::PadOutput(_) | ClientNotice::Reconfigured(_) => {}
    };
    loop {
        client.notices().try_iter().for_each(&mut note);
        match client.units().recv_timeout(LOOK) {
            Ok(unit) => {
                complete.push((unit.frame, unit.complete));
                count.fetch_add(1, Relaxed);
            }
            Err(error) if error.is_disconnected() => break,
            Err(_) => {}
        }
        if enough.load(Relaxed) {
            break;
        }
    }
    client.end();
    client.notices().try_iter().for_each(&mut note);
    let frames = complete.iter().filter_map(|&(frame, complete)| {
        let captured = *captured.get(&frame)?;
        Some(Seen { captured, complete })
    });
    Watched {
        frames: frames.collect(),
        received: client.received(),
        ended,
    }
}

/// Captured to complete of those frames that were captured between, ms.
pub(super) fn latencies(frames: &[Seen], from: Timestamp, to: Timestamp) -> Vec<f64> {
    let between = frames.iter().filter(|it| (from..to).contains(&it.captured));
    between
        .map(|it| it.complete.since(it.captured).as_secs_f64() * 1e3)
        .collect()
}
