//! Clients that come and go, some of them violently, and what the process holds afterwards.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use net::client::{Client, ConnectError, ConnectOptions, Trust};
use net::identity::{Fingerprint, Identity};
use net::native::{Hello, RefuseCode};
use net::units::Mode;

use super::mute::{Depth, Leave, MuteError, visit};
use super::{Bench, BenchError, CHURN, CHURN_DESKTOPS, ProtocolRun, SYNTHETIC, scenario};
use crate::run::hello;

/// Visits of which the level is taken; each kind is among them.
const FIRST: usize = 10;
/// The kinds repeat after so many.
const CYCLE: usize = 25;
/// A full host has a place again before this: what left without a word has its place for the 10 s
/// of QUIC's idle timeout.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
/// Longer than QUIC's idle timeout: connections that nobody closed are gone.
const IDLE: Duration = Duration::from_secs(11);
/// Pictures of a client that sees some.
const UNITS: usize = 3;

/// What this process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
}

impl Held {
    /// Now, read from `/proc/self`.
    ///
    /// # Errors
    /// The system's.
    pub fn now() -> std::io::Result<Self> {
        let count = |path| std::fs::read_dir(path).map(Iterator::count);
        let statm = std::fs::read_to_string("/proc/self/statm")?;
        let pages: u64 = statm
            .split_whitespace()
            .nth(1)
            .and_then(|pages| pages.parse().ok())
            .unwrap_or(0);
        Ok(Self {
            // But for the one of the listing itself.
            descriptors: count("/proc/self/fd")?.saturating_sub(1),
            threads: count("/proc/self/task")?,
            resident_bytes: pages * rustix::param::page_size() as u64,
        })
    }
}

/// True once no session of a host in this process has a thread any more.
///
/// # Errors
/// The system's.
fn is_quiet() -> std::io::Result<bool> {
    for task in std::fs::read_dir("/proc/self/task")? {
        // One may end between being listed and being read.
        let name = std::fs::read_to_string(task?.path().join("comm")).unwrap_or_default();
        if ["pf-session", "pf-receive"].contains(&name.trim()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What became of the visits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChurnCounts {
    /// Saw pictures and said farewell.
    pub orderly: usize,
    /// Closed without a farewell, at some depth.
    pub closed: usize,
    /// Gone without a word, at some depth.
    pub silent: usize,
    /// Times that one had to wait for a place.
    pub waits: usize,
}

/// Visits to a host in this process, one after the other. Of 25, four leave without a word: before
/// the handshake, within it, after Welcome and in mid-stream; eight close there without a farewell.
pub struct Churn {
    host: SocketAddr,
    fingerprint: Fingerprint,
    hello: Hello,
    number: usize,
    counts: ChurnCounts,
}

impl Churn {
    /// For a host that admits anybody, on displays of that mode.
    #[must_use]
    pub fn new(host: SocketAddr, fingerprint: Fingerprint, mode: Mode) -> Self {
        Self {
            host,
            fingerprint,
            hello: hello(&scenario("churn", mode)),
            number: 0,
            counts: ChurnCounts::default(),
        }
    }

    /// What became of the visits so far.
    #[must_use]
    pub const fn counts(&self) -> ChurnCounts {
        self.counts
    }

    /// The next visits.
    ///
    /// # Errors
    /// [`BenchError::Ended`] if one does not come so far as it should.
    pub fn visit(&mut self, count: usize) -> Result<(), BenchError> {
        for _ in 0..count {
            let deadline = Instant::now() + PATIENCE;
            while !self.visit_once()? {
                self.counts.waits += 1;
                if Instant::now() >= deadline {
                    let text = format!("no place for visit {} within {PATIENCE:?}", self.number);
                    return Err(BenchError::Ended(text));
                }
                std::thread::sleep(LOOK);
            }
            self.number += 1;
        }
        Ok(())
    }

    /// Waits until no session is left; what is held then.
    ///
    /// # Errors
    /// See [`BenchError`].
    pub fn settle(&self) -> Result<Held, BenchError> {
        let deadline = Instant::now() + PATIENCE;
        while !is_quiet().map_err(BenchError::Usage)? {
            if Instant::now() >= deadline {
                let text = format!("sessions are left {PATIENCE:?} after their clients");
                return Err(BenchError::Ended(text));
            }
            std::thread::sleep(LOOK);
        }
        Held::now().map_err(BenchError::Usage)
    }

    /// False if the host is full.
    fn visit_once(&mut self) -> Result<bool, BenchError> {
        use {Depth::*, Leave::*};
        let (depth, leave) = match self.number % CYCLE {
            1 | 12 => (Handshake, Close),
            2 | 13 | 19 => (Welcome, Close),
            3 | 9 | 15 => (Stream, Close),
            4 => (Knock, Silent),
            5 => (Handshake, Silent),
            6 => (Welcome, Silent),
            7 => (Stream, Silent),
            _ => return self.orderly(),
        };
        let visited = match visit(self.host, self.hello.clone(), depth, leave) {
            Ok(()) => true,
            Err(MuteError::Full) => return Ok(false),
            Err(MuteError::Other(text)) => {
                let text = format!("visit {}, {depth:?}: {text}", self.number);
                return Err(BenchError::Ended(text));
            }
        };
        match leave {
            Close => self.counts.closed += 1,
            Silent => self.counts.silent += 1,
        }
        Ok(visited)
    }

    /// Sees some pictures and says farewell.
    fn orderly(&mut self) -> Result<bool, BenchError> {
        let options = ConnectOptions {
            host: self.host,
            identity: Identity::generate().map_err(|error| BenchError::Ended(error.to_string()))?,
            trust: Trust::Pinned(self.fingerprint),
            hello: self.hello.clone(),
        };
        let mut client = match Client::connect(options) {
            Ok(client) => client,
            Err(ConnectError::Refused {
                code: RefuseCode::Busy,
                ..
            }) => return Ok(false),
            Err(error) => return Err(engine::client::ClientError::Connect(error).into()),
        };
        for _ in 0..UNITS {
            client
                .units()
                .recv_timeout(PATIENCE)
                .map_err(|error| BenchError::Ended(format!("visit {}: {error}", self.number)))?;
        }
        client.end();
        self.counts.orderly += 1;
        Ok(true)
    }
}

impl ProtocolRun {
    pub(super) fn churn(&mut self) -> Result<(), BenchError> {
        self.churn_on(SYNTHETIC, CHURN, "churn")?;
        let private = platform::display::private_sway::PrivateSway;
        match platform::display::DisplayBackend::probe(&private) {
            Ok(_) => self.churn_on("private-sway", CHURN_DESKTOPS, "churn_desktop"),
            Err(refusal) => {
                self.note(format!("churn of desktops: not measured: {refusal}"));
                Ok(())
            }
        }
    }

    fn churn_on(&mut self, display: &str, visits: usize, row: &str) -> Result<(), BenchError> {
        let mode = Mode::new(320, 240, 30_000).expect("within the limits");
        let scenario = scenario("churn", mode);
        let setup = self.bare(display);
        let bench = Bench::start(&setup, &scenario)?;
        let begun = Instant::now();
        let mut churn = Churn::new(bench.host.local_addr(), bench.host.fingerprint(), mode);
        let held = (|| {
            churn.visit(FIRST)?;
            let settled = |churn: &Churn| {
                churn.settle()?;
                std::thread::sleep(IDLE);
                churn.settle()
            };
            let first = settled(&churn)?;
            // Halfway too: what grows once, because more are here at a time, does not grow again.
            churn.visit(visits / 2 - FIRST)?;
            let half = settled(&churn)?;
            churn.visit(visits - visits / 2)?;
            Ok::<_, BenchError>((first, half, settled(&churn)?))
        })();
        bench.stop();
        let (first, half, last) = held?;
        let more = |first: usize, last: usize| last as f64 - first as f64;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        self.figure(
            &format!("{row}_descriptors"),
            more(first.descriptors, last.descriptors),
        );
        self.figure(&format!("{row}_threads"), more(first.threads, last.threads));
        let grown = mib(last.resident_bytes) - mib(first.resident_bytes);
        self.figure(&format!("{row}_memory_mib"), grown);
        let counts = churn.counts();
        self.note(format!(
            "churn, {display}: {visits} visits in {:.0} s, {} orderly, {} closed, {} silent, {} \
             waits for a place; after 10: {} descriptors, {} threads, {:.1} MiB; after half: {:.1} \
             MiB; after all: {}, {}, {:.1} MiB",
            begun.elapsed().as_secs_f64(),
            counts.orderly,
            counts.closed,
            counts.silent,
            counts.waits,
            first.descriptors,
            first.threads,
            mib(first.resident_bytes),
            mib(half.resident_bytes),
            last.descriptors,
            last.threads,
            mib(last.resident_bytes),
        ));
        Ok(())
    }
}
