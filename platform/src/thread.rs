//! Threads with a role: named, prioritised, pinned where that helps, joined with a time limit.
//!
//! A late stage must be able to run while an earlier one works, or slicing gains nothing, so the
//! order is send > protect > encode > capture: `SCHED_FIFO` where permitted (`RLIMIT_RTPRIO` or
//! `CAP_SYS_NICE`), else a nice value where that is permitted, else nothing, and [`facts`] says
//! which. From [`CORES_MIN`] cores on the roles have cores of their own and may spin; below,
//! nothing is pinned and nothing spins, because the game needs the cores more.
//!
//! An encoder that is interrupted for each of its slices is late with all that follow, though
//! another core has only the game to interrupt: a thread that wakes looks for another core only if
//! the one where it ran last has a thread of its own rank or a higher one (`select_task_rq_rt` in
//! Linux's kernel/sched/rt.c). So encoders come first, but one fewer than there are cores: one core
//! is always left to the late stages. (1080p30 game over 100 Mbit/s on two cores, `bench --compare
//! whole --link 100M`, two runs each in turn: captured to complete 11.8 ms of whole pictures' 16.7,
//! p99 16 of 24; with encoders below 13.5 of 16.5, p99 25 of 22.)
//!
//! That holds for an encoder of one thread. One with several ([`adopt_worker`]) needs every core it
//! can get for a part of the time, so its threads come after the late stages. (The same machine,
//! 720p60 game, four slices, one thread and two in turn, twice: all slices after 4.4 and 4.7 ms,
//! and after 2.8 and 3.0 ms; captured to last byte 5.1 and 5.4, p99 8.0 and 6.8, and 3.4 and 3.7,
//! p99 5.1 and 5.6 ms.)

use std::any::Any;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use net::clock;
use net::units::Timestamp;
use rustix::mm::MlockAllFlags;
use rustix::process::{Resource, Rlimit};
use rustix::thread::{ClockId, CpuSet, Timespec};

use crate::select::{Answer, Refusal};
use crate::sys;

/// Physical cores from which on threads are pinned and may spin.
pub const CORES_MIN: usize = 4;
/// How long before a deadline the spinning begins: a parked wake-up takes 16 to 60 µs.
const SPIN: Duration = Duration::from_micros(80);

/// What a thread does; decides its priority and place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Gives datagrams to the kernel at their departure times.
    Send,
    /// Takes datagrams from the kernel (client).
    Receive,
    /// FEC and AEAD.
    Protect,
    /// Colour conversion and encoding. The encoder's own threads inherit no priority
    /// (`SCHED_RESET_ON_FORK`): see [`adopt_worker`].
    Encode,
    /// Waits for the compositor.
    Capture,
    /// Sound: capture to packets on the host, packets to speakers on the client.
    Audio,
    /// Decoding (client).
    Decode,
    /// Everything that is not in a frame's way.
    Control,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 8] = [
        Self::Send,
        Self::Receive,
        Self::Protect,
        Self::Encode,
        Self::Capture,
        Self::Audio,
        Self::Decode,
        Self::Control,
    ];

    /// `SCHED_FIFO` priority; [`ENCODER_FIRST`] beside it. Low numbers: any of them is above every
    /// normal thread, and the kernel's own interrupt threads (50) must stay above ours.
    const fn fifo_priority(self) -> Option<i32> {
        match self {
            Self::Send | Self::Receive => Some(8),
            Self::Protect => Some(7),
            Self::Encode => Some(6),
            // Little work, often; what it is late with is heard.
            Self::Audio => Some(7),
            Self::Capture => Some(5),
            // Where host and client share a machine, the host's stages come first.
            Self::Decode => Some(4),
            Self::Control => None,
        }
    }

    /// Nice value where `SCHED_FIFO` is not permitted.
    const fn nice(self) -> Option<i32> {
        match self {
            Self::Send | Self::Receive => Some(-16),
            Self::Protect => Some(-14),
            Self::Encode => Some(-12),
            Self::Audio => Some(-14),
            Self::Capture => Some(-10),
            Self::Decode => Some(-8),
            Self::Control => None,
        }
    }
}

/// `SCHED_FIFO` priority of an encoder that nothing of ours interrupts.
const ENCODER_FIRST: i32 = 9;

/// How many encoders may come first on a machine of so many cores.
const fn encoders_first(cores: usize) -> usize {
    cores.saturating_sub(1)
}

/// The right of one encoder to come first, for as long as its thread lives.
struct FirstPlace<'a>(&'a AtomicUsize);

impl<'a> FirstPlace<'a> {
    /// One of so many `places`, of which some are `taken` already.
    fn take(taken: &'a AtomicUsize, places: usize) -> Option<Self> {
        let next = |count: usize| (count < places).then_some(count + 1);
        let before = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        before.ok().map(|_| Self(taken))
    }

    /// For a thread of this role, if there is one left in this process.
    fn of(role: Role) -> Option<FirstPlace<'static>> {
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        (role == Role::Encode)
            .then(|| FirstPlace::take(&TAKEN, encoders_first(placement().cores)))
            .flatten()
    }
}

impl Drop for FirstPlace<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the system granted a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduled {
    /// `SCHED_FIFO` at this priority.
    Fifo(i32),
    /// `SCHED_OTHER` at this nice value.
    Nice(i32),
    /// `SCHED_OTHER` like everybody.
    Normal,
}

/// Why a join failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It did not end in time; it is left running.
    #[error("thread {name} did not end within {limit:?}")]
    TimedOut {
        /// Its name.
        name: String,
        /// The time it was given.
        limit: Duration,
    },
    /// It panicked: a bug of ours.
    #[error("thread {name} panicked: {reason}")]
    Panicked {
        /// Its name.
        name: String,
        /// The panic's message.
        reason: String,
    },
}

/// A running thread.
#[derive(Debug)]
pub struct RoleThread<T> {
    name: String,
    scheduled: Scheduled,
    thread: JoinHandle<()>,
    result: mpsc::Receiver<std::thread::Result<T>>,
}

impl<T> RoleThread<T> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the system granted it.
    #[must_use]
    pub fn scheduled(&self) -> Scheduled {
        self.scheduled
    }

    /// It has ended (or is about to return).
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// For `unpark`.
    #[must_use]
    pub fn thread(&self) -> &std::thread::Thread {
        self.thread.thread()
    }

    /// Waits for its result, at most `limit`.
    ///
    /// # Errors
    /// [`JoinError`]. A thread that did not end in time goes on, unowned.
    pub fn join_within(self, limit: Duration) -> Result<T, JoinError> {
        let Self {
            name,
            thread,
            result,
            ..
        } = self;
        match result.recv_timeout(limit) {
            Ok(outcome) => {
                // Its body has returned; nothing of ours can block the rest.
                drop(thread.join());
                outcome.map_err(|panic| JoinError::Panicked {
                    name,
                    reason: message(&*panic),
                })
            }
            Err(RecvTimeoutError::Timeout) => Err(JoinError::TimedOut { name, limit }),
            Err(RecvTimeoutError::Disconnected) => Err(JoinError::Panicked {
                name,
                reason: "no result".to_owned(),
            }),
        }
    }
}

/// Starts a thread and returns once it has its priority and place. `name` should have at most 15
/// bytes; the kernel shows no more.
///
/// # Errors
/// The system has no more threads.
pub fn spawn<T: Send + 'static>(
    role: Role,
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<RoleThread<T>> {
    let (granted, grant) = mpsc::sync_channel(1);
    let (done, result) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let first = FirstPlace::of(role);
            let priority = match first {
                Some(_) => Some(ENCODER_FIRST),
                None => role.fifo_priority(),
            };
            // The receivers can only be gone if nobody wants to know.
            let _ = granted.send(settle(role, priority));
            let _ = done.send(catch_unwind(AssertUnwindSafe(body)));
        })?;
    let scheduled = grant
        .recv()
        .map_err(|_| io::Error::other("the thread did not start"))?;
    log::debug!("thread {name}: {scheduled:?}");
    Ok(RoleThread {
        name: name.to_owned(),
        scheduled,
        thread,
        result,
    })
}

/// Gives the calling thread, which somebody else has started, what `role` asks for.
pub fn adopt(role: Role) -> Scheduled {
    settle(role, role.fifo_priority())
}

/// Gives the calling thread, which a library has started beside others to share the work of one
/// that waits for them, what `role` asks for, and a name of at most 15 bytes: it is number `index`
/// of `count`. Returns its CPU clock.
///
/// Where it gets neither a real-time priority nor a place, it gets every `count`th core. The
/// kernel's fair scheduler wakes all of them beside the one that wakes them, and leaves the core
/// idle on which that one goes to sleep: on two cores, two threads took as long as one.
pub fn adopt_worker(role: Role, name: &str, index: u8, count: u8) -> CpuClock {
    if let Err(error) = sys::name_thread(name) {
        log::debug!("naming a thread: {error}");
    }
    let scheduled = settle(role, role.fifo_priority());
    let placement = placement();
    if !matches!(scheduled, Scheduled::Fifo(_)) && placement.of(role).is_empty() {
        pin(&share_of(&placement.all, index.into(), count.into()));
    }
    log::debug!("thread {name} {index}: {scheduled:?}");
    CpuClock(sys::thread_clock())
}

/// CPU time of one thread, for others to read.
#[derive(Clone, Copy, Debug)]
pub struct CpuClock(libc::clockid_t);

impl CpuClock {
    /// What the thread has used so far, ns; 0 once it has ended.
    #[must_use]
    pub fn used_ns(self) -> u64 {
        sys::clock_ns(self.0)
    }
}

/// Every `count`th of the cores from number `index` on, if there are so many.
fn share_of(cores: &[Vec<usize>], index: usize, count: usize) -> Vec<usize> {
    let count = count.min(cores.len()).max(1);
    cores
        .iter()
        .skip(index % count)
        .step_by(count)
        .flatten()
        .copied()
        .collect()
}

/// Sleeps until `deadline`. Where spinning is allowed the last 80 µs are spun, so that the
/// wake-up is not late; elsewhere it is as late as the machine's timers.
pub fn wait_until(deadline: Timestamp) {
    let spin = spinning_allowed();
    let sleep_until = if spin { deadline - SPIN } else { deadline };
    let request = Timespec {
        tv_sec: i64::try_from(sleep_until.as_ns() / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(sleep_until.as_ns() % 1_000_000_000).unwrap_or(0),
    };
    while clock::now() < sleep_until {
        match rustix::thread::clock_nanosleep_absolute(ClockId::Monotonic, &request) {
            Ok(()) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    while clock::now() < deadline {
        std::hint::spin_loop();
    }
}

/// True on machines with at least [`CORES_MIN`] cores.
#[must_use]
pub fn spinning_allowed() -> bool {
    placement().spinning
}

/// Locks all memory of the process, present and future, as it is touched. Only where the limit
/// on locked memory is off, because with one a later allocation would fail instead.
///
/// # Errors
/// The limit, and how to lift it.
pub fn lock_memory() -> Result<String, Refusal> {
    let limit = rustix::process::getrlimit(Resource::Memlock);
    if limit.maximum.is_none() && limit.current.is_some() {
        let unlimited = Rlimit {
            current: None,
            maximum: None,
        };
        if let Err(error) = rustix::process::setrlimit(Resource::Memlock, unlimited) {
            log::debug!("RLIMIT_MEMLOCK: {error}");
        }
    }
    check_memory_limit(rustix::process::getrlimit(Resource::Memlock).current)?;
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    match rustix::mm::mlockall(flags) {
        Ok(()) => Ok("memory stays in RAM".to_owned()),
        Err(error) => Err(Refusal::new(format!("mlockall: {error}"), "")),
    }
}

/// Blocks from this size on have a mapping of their own: pictures and buffers of a session, which
/// are made when it begins. What is made and freed meanwhile is smaller.
const OWN_MAPPING_BYTES: i32 = 256 * 1024;
/// Heaps of the allocator: threads of a session allocate while they begin and end, not while it
/// streams, and each heap keeps what its largest session needed.
const HEAPS: i32 = 2;

/// Makes freed memory the system's again, at once where it was large. By itself glibc learns from
/// the first freed picture that such sizes come again, and keeps them on the heap of whichever
/// thread asked, in pieces: 6 MB more with each session were seen. Elsewhere nothing is done.
pub fn return_freed_memory() {
    #[cfg(target_env = "gnu")]
    for (option, value) in [
        (libc::M_MMAP_THRESHOLD, OWN_MAPPING_BYTES),
        (libc::M_TRIM_THRESHOLD, OWN_MAPPING_BYTES),
        (libc::M_ARENA_MAX, HEAPS),
    ] {
        if !sys::set_allocator_option(option, value) {
            log::debug!("mallopt({option}, {value}) failed");
        }
    }
}

/// Gives back what lies free between what is in use, page by page. Takes milliseconds and holds up
/// whoever allocates meanwhile; what [`lock_memory`] has locked stays. Elsewhere than on glibc
/// nothing is done.
pub fn trim_freed_memory() {
    #[cfg(target_env = "gnu")]
    sys::trim_heaps();
}

fn check_memory_limit(bytes: Option<u64>) -> Result<(), Refusal> {
    let Some(bytes) = bytes else { return Ok(()) };
    Err(Refusal::new(
        format!("the limit on locked memory is {} KiB", bytes / 1024),
        "set `memlock` to unlimited in /etc/security/limits.d (or LimitMEMLOCK=infinity)",
    ))
}

/// What threads get here, for `doctor`: real-time priority, pinning and spinning, and whether
/// [`lock_memory`] would be permitted. Locks nothing and leaves no thread.
#[must_use]
pub fn facts() -> Vec<Answer> {
    let probe = spawn(Role::Encode, "probe", || ());
    let granted = probe.map(|thread| {
        let scheduled = thread.scheduled();
        drop(thread.join_within(Duration::from_secs(1)));
        scheduled
    });
    let fix = "set `rtprio 9` for this user in /etc/security/limits.d (or LimitRTPRIO=9)";
    let priority = match granted {
        Ok(Scheduled::Fifo(priority)) => Ok(format!("SCHED_FIFO, up to {priority}")),
        Ok(Scheduled::Nice(nice)) => Err(Refusal::new(
            format!("SCHED_FIFO is not permitted; nice {nice} is used"),
            fix,
        )),
        Ok(Scheduled::Normal) => Err(Refusal::new(
            "SCHED_FIFO is not permitted; threads run like any other",
            fix,
        )),
        Err(error) => Err(Refusal::new(
            format!("no thread can be started: {error}"),
            "",
        )),
    };
    let place = placement();
    let pinning = if place.spinning {
        Ok(place.describe())
    } else {
        let text = format!(
            "{} cores: pinning and spinning need {CORES_MIN}",
            place.cores
        );
        Err(Refusal::new(text, ""))
    };
    let memory = check_memory_limit(rustix::process::getrlimit(Resource::Memlock).maximum)
        .map(|()| "locking is permitted".to_owned());
    let facts = [
        ("real-time", priority),
        ("pinning", pinning),
        ("memory", memory),
    ];
    facts
        .map(|(name, result)| Answer {
            kind: "threads",
            name,
            result,
        })
        .into()
}

/// Gives the calling thread what its role asks for, with this `SCHED_FIFO` priority.
fn settle(role: Role, priority: Option<i32>) -> Scheduled {
    if let Err(error) = rustix::thread::set_current_timer_slack(Some(std::num::NonZeroU64::MIN)) {
        log::debug!("timer slack: {error}");
    }
    pin(placement().of(role));
    if let Some(priority) = priority
        && sys::set_fifo(priority).is_ok()
    {
        return Scheduled::Fifo(priority);
    }
    // On Linux the nice value belongs to the thread, and "this process" means this thread.
    match role.nice() {
        Some(nice) if rustix::process::setpriority_process(None, nice).is_ok() => {
            Scheduled::Nice(nice)
        }
        _ => Scheduled::Normal,
    }
}

/// Binds the calling thread to these CPUs; to none in particular if there are none.
fn pin(cpus: &[usize]) {
    if cpus.is_empty() {
        return;
    }
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        log::debug!("pinning: {error}");
    }
}

/// Which CPUs each role runs on; empty means anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Placement {
    /// The CPUs of each core.
    all: Vec<Vec<usize>>,
    cores: usize,
    spinning: bool,
    send: Vec<usize>,
    protect: Vec<usize>,
    capture: Vec<usize>,
    /// What the three above leave; the game has it too.
    rest: Vec<usize>,
}

impl Placement {
    /// From the CPUs of each physical core. The last cores are taken: interrupts and most
    /// programs crowd the first. Half of the cores or more are left alone.
    fn plan(cores: &[Vec<usize>]) -> Self {
        let count = cores.len();
        if count < CORES_MIN {
            return Self {
                all: cores.to_vec(),
                cores: count,
                ..Self::default()
            };
        }
        let from_end = |back: usize| cores[count - back].clone();
        let taken = if count >= 2 * CORES_MIN { 3 } else { 2 };
        Self {
            all: cores.to_vec(),
            cores: count,
            spinning: true,
            send: from_end(1),
            protect: from_end(2),
            capture: from_end(taken),
            rest: cores[..count - taken].concat(),
        }
    }

    fn of(&self, role: Role) -> &[usize] {
        match role {
            Role::Send => &self.send,
            Role::Protect => &self.protect,
            // A client captures nothing, so its receiver has that core to itself.
            Role::Capture | Role::Receive => &self.capture,
            Role::Encode | Role::Decode => &self.rest,
            Role::Audio | Role::Control => &[],
        }
    }

    fn describe(&self) -> String {
        let Self {
            send,
            protect,
            capture,
            cores,
            ..
        } = self;
        format!("of {cores} cores: CPUs {send:?} send, {protect:?} protect, {capture:?} capture")
    }
}

fn placement() -> &'static Placement {
    static PLACEMENT: OnceLock<Placement> = OnceLock::new();
    PLACEMENT.get_or_init(|| Placement::plan(&physical_cores()))
}

/// The CPUs that this process may use, grouped by physical core.
fn physical_cores() -> Vec<Vec<usize>> {
    // Of the process, not of this thread, which may be pinned already.
    let allowed = rustix::thread::sched_getaffinity(Some(rustix::process::getpid()));
    let Ok(allowed) = allowed else {
        return Vec::new();
    };
    let mut cores: Vec<Vec<usize>> = Vec::new();
    for cpu in (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)) {
        if cores.iter().any(|core| core.contains(&cpu)) {
            continue;
        }
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        let listed = fs::read_to_string(path).unwrap_or_default();
        let mut core: Vec<usize> = parse_cpu_list(&listed);
        core.retain(|sibling| allowed.is_set(*sibling));
        cores.push(if core.contains(&cpu) { core } else { vec![cpu] });
    }
    cores
}

/// The kernel's list format: `0,4` or `0-3,8`. What is not understood is left out.
fn parse_cpu_list(text: &str) -> Vec<usize> {
    let range = |part: &str| -> Option<std::ops::RangeInclusive<usize>> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse().ok()?, last.parse::<usize>().ok()?);
        (last < CpuSet::MAX_CPU).then_some(first..=last)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(count: usize) -> Vec<Vec<usize>> {
        (0..count).map(|core| vec![core, core + count]).collect()
    }

    #[test]
    fn small_machines_are_left_alone() {
        for count in 0..CORES_MIN {
            let plan = Placement::plan(&cores(count));
            assert!(!plan.spinning);
            assert!(Role::ALL.iter().all(|role| plan.of(*role).is_empty()));
        }
    }

    #[test]
    fn pinned_roles_have_cores_of_their_own_and_leave_half_to_the_game() {
        for count in CORES_MIN..=64 {
            let plan = Placement::plan(&cores(count));
            let disjoint = |a: &[usize], b: &[usize]| a.iter().all(|cpu| !b.contains(cpu));
            assert!(disjoint(&plan.send, &plan.protect));
            assert!(disjoint(&plan.send, &plan.capture));
            assert!(disjoint(&plan.rest, &plan.send) && disjoint(&plan.rest, &plan.capture));
            assert!(
                plan.rest.len() >= count,
                "half of {count} cores of two CPUs"
            );
            assert!(plan.of(Role::Control).is_empty());
        }
    }

    #[test]
    fn workers_share_the_cores_between_them() {
        for (count, workers) in [(1, 1), (2, 2), (2, 4), (3, 2), (8, 2), (8, 3)] {
            let cores = cores(count);
            let shares: Vec<_> = (0..workers)
                .map(|index| share_of(&cores, index, workers))
                .collect();
            assert!(shares.iter().all(|share| !share.is_empty()));
            let mut first: Vec<usize> = shares.iter().take(count).flatten().copied().collect();
            first.sort_unstable();
            assert_eq!(first, (0..2 * count).collect::<Vec<_>>(), "{shares:?}");
        }
        assert!(share_of(&[], 0, 2).is_empty());
    }

    #[test]
    fn a_worker_has_a_name_and_a_clock_that_others_read() {
        let limit = Duration::from_secs(20);
        let (clock, theirs) = mpsc::sync_channel(1);
        let (end, ended) = mpsc::channel::<()>();
        let worker = std::thread::spawn(move || {
            let began = adopt_worker(Role::Encode, "worker", 0, 2);
            while began.used_ns() < 1_000_000 {
                std::hint::spin_loop();
            }
            clock.send(began).expect("is received");
            ended.recv().expect_err("nothing is sent");
        });
        let theirs: CpuClock = theirs.recv_timeout(limit).expect("it worked for 1 ms");
        assert!(theirs.used_ns() >= 1_000_000);
        let usage = crate::process::thread_usage(None).expect("readable");
        assert!(usage.iter().any(|thread| thread.name == "worker"));
        drop(end);
        worker.join().expect("ends");
        assert_eq!(theirs.used_ns(), 0);
    }

    #[test]
    fn later_stages_come_first() {
        let of = |role: Role| role.fifo_priority().expect("a frame's way");
        assert!(of(Role::Send) > of(Role::Protect));
        assert!(of(Role::Protect) > of(Role::Encode));
        assert!(of(Role::Encode) > of(Role::Capture));
        assert!(ENCODER_FIRST > of(Role::Send));
    }

    #[test]
    fn encoders_leave_a_core_to_the_late_stages() {
        assert_eq!([0, 1, 2, 4].map(encoders_first), [0, 0, 1, 3]);
        let taken = AtomicUsize::new(0);
        let first = FirstPlace::take(&taken, 1).expect("one is free");
        assert!(FirstPlace::take(&taken, 1).is_none());
        drop(first);
        assert!(FirstPlace::take(&taken, 1).is_some());
        assert!(FirstPlace::of(Role::Send).is_none());
    }

    #[test]
    fn cpu_lists_of_the_kernel_are_understood() {
        assert_eq!(parse_cpu_list("0,4\n"), [0, 4]);
        assert_eq!(parse_cpu_list("0-3,8"), [0, 1, 2, 3, 8]);
        assert_eq!(parse_cpu_list("0-99999999999,x,"), Vec::<usize>::new());
    }

    #[test]
    fn a_result_and_a_panic_come_through_the_join() {
        let limit = Duration::from_secs(20);
        for role in Role::ALL {
            let thread = spawn(role, "answer", || 42).expect("starts");
            assert_eq!(thread.join_within(limit), Ok(42));
        }
        let thread = spawn(Role::Control, "broken", || panic!("by design")).expect("starts");
        let error: Result<(), JoinError> = thread.join_within(limit);
        let error = error.expect_err("it panicked").to_string();
        assert_eq!(error, "thread broken panicked: by design");
    }

    #[test]
    fn a_thread_that_does_not_end_is_named() {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread =
            spawn(Role::Control, "stuck", move || stopped.recv().is_err()).expect("starts");
        let error = thread
            .join_within(Duration::from_millis(10))
            .expect_err("still runs");
        assert_eq!(error.to_string(), "thread stuck did not end within 10ms");
        drop(stop);
    }

    #[test]
    fn waiting_ends_at_the_deadline_and_not_before() {
        for us in [0, 50, 500, 3000] {
            let deadline = clock::now() + Duration::from_micros(us);
            wait_until(deadline);
            assert!(clock::now() >= deadline);
        }
    }

    #[test]
    fn facts_say_something_of_each() {
        let names: Vec<&str> = facts().iter().map(|fact| fact.name).collect();
        assert_eq!(names, ["real-time", "pinning", "memory"]);
    }
}
