//! A connection to PipeWire's daemon on a thread of its own, made again whenever it is lost, and
//! what all streams of sound over it have in common.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use ::pipewire as pw;
use net::audio::SAMPLE_RATE;
use pw::buffer::Buffer;
use pw::core::{CoreRc, PW_ID_CORE};
use pw::main_loop::MainLoopRc;
use pw::spa;
use pw::stream::{Stream, StreamFlags};

use super::AudioError;
use crate::thread::{Role, RoleThread};

/// What streams ask the graph to handle at a time: 5 ms.
pub(super) const LATENCY: &str = "240/48000";
/// First wait before the daemon is tried again; each further one is twice as long.
const RETRY_MIN: Duration = Duration::from_millis(250);
/// Longest wait.
const RETRY_MAX: Duration = Duration::from_secs(4);
/// The loop ends at its next turn; taking leave of the daemon is one write.
const JOIN_TIMEOUT: Duration = Duration::from_millis(500);

/// What the thread and its owner both see.
#[derive(Default)]
pub(super) struct Life {
    connected: AtomicU64,
    stop: AtomicBool,
    /// For waits outside the loop.
    stopped: (Mutex<()>, Condvar),
}

impl Life {
    /// Times that the daemon was reached.
    pub(super) fn connected(&self) -> u64 {
        self.connected.load(Ordering::Relaxed)
    }

    pub(super) fn note_connected(&self) {
        self.connected.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        let (lock, wake) = &self.stopped;
        drop(lock.lock().unwrap_or_else(PoisonError::into_inner));
        wake.notify_all();
    }

    /// Waits, but not for one who is asked to stop.
    fn wait(&self, time: Duration) {
        let (lock, wake) = &self.stopped;
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Woken early or late, the loop around it looks again.
        let _ = wake.wait_timeout_while(guard, time, |()| !self.is_stopping());
    }
}

/// The thread. Dropping it ends it.
pub(super) struct Daemon {
    life: Arc<Life>,
    /// Wakes the loop, to end.
    quit: pw::channel::Sender<()>,
    thread: Option<RoleThread<()>>,
}

impl Daemon {
    /// Keeps a connection: `serve` makes one on the loop, runs that until it is lost or to end, and
    /// says why it ended. `lost` is what an operator is told beside that reason, once for each
    /// connection.
    pub(super) fn spawn(
        name: &'static str,
        life: Arc<Life>,
        lost: &'static str,
        serve: impl Fn(&MainLoopRc) -> Result<String, pw::Error> + Send + 'static,
    ) -> Result<Self, AudioError> {
        let (quit, asked) = pw::channel::channel();
        let ours = Arc::clone(&life);
        let body = move || run(&ours, lost, &serve, asked);
        let thread = crate::thread::spawn(Role::Audio, name, body).map_err(AudioError::Thread)?;
        Ok(Self {
            life,
            quit,
            thread: Some(thread),
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.life.stop();
        // Fails only where the thread has ended.
        let _ = self.quit.send(());
        if let Some(thread) = self.thread.take()
            && let Err(error) = thread.join_within(JOIN_TIMEOUT)
        {
            log::error!("{error}");
        }
    }
}

fn run(
    life: &Life,
    lost: &str,
    serve: &dyn Fn(&MainLoopRc) -> Result<String, pw::Error>,
    mut asked: pw::channel::Receiver<()>,
) {
    let mut wait = RETRY_MIN;
    // The operator knows that there is no connection.
    let mut said = false;
    while !life.is_stopping() {
        let before = life.connected();
        let (reason, receiver) = connect(serve, asked);
        asked = receiver;
        if life.is_stopping() {
            return;
        }
        if life.connected() > before {
            wait = RETRY_MIN;
            said = false;
        }
        if !std::mem::replace(&mut said, true) {
            log::warn!("no sound: {reason}; {lost}");
        }
        life.wait(wait);
        wait = (wait * 2).min(RETRY_MAX);
    }
}

/// One connection, for as long as it lasts; why it ended.
fn connect(
    serve: &dyn Fn(&MainLoopRc) -> Result<String, pw::Error>,
    asked: pw::channel::Receiver<()>,
) -> (String, pw::channel::Receiver<()>) {
    let main_loop = match MainLoopRc::new(None) {
        Ok(main_loop) => main_loop,
        Err(error) => return (format!("no loop for PipeWire ({error})"), asked),
    };
    let ended = main_loop.clone();
    let attached = asked.attach(main_loop.loop_(), move |()| ended.quit());
    let reason = match serve(&main_loop) {
        Ok(reason) => reason,
        Err(error) => format!("PipeWire cannot be reached ({error})"),
    };
    (reason, attached.deattach())
}

/// Ends the loop, with the first reason that is given.
#[derive(Clone)]
pub(super) struct End {
    main_loop: MainLoopRc,
    reason: Rc<RefCell<Option<String>>>,
}

impl End {
    pub(super) fn new(main_loop: &MainLoopRc) -> Self {
        Self {
            main_loop: main_loop.clone(),
            reason: Rc::default(),
        }
    }

    pub(super) fn because(&self, reason: String) {
        self.reason.borrow_mut().get_or_insert(reason);
        self.main_loop.quit();
    }

    /// With the daemon, if it goes.
    pub(super) fn listen(&self, core: &CoreRc) -> pw::core::Listener {
        let lost = self.clone();
        core.add_listener_local()
            .error(move |id, _, code, message| {
                // Errors of single objects show in their own states.
                if id == PW_ID_CORE {
                    lost.because(format!("PipeWire is gone ({message}, {code})"));
                }
            })
            .register()
    }

    pub(super) fn reason(&self) -> Option<String> {
        self.reason.borrow().clone()
    }
}

/// Connects a stream of floats at 48 kHz, the one format that is taken or given; PipeWire's
/// converters do the rest. `places` has the `enum spa_audio_channel` of each channel
/// (spa/param/audio/raw.h).
pub(super) fn connect_stream(
    stream: &Stream,
    direction: spa::utils::Direction,
    places: &[u32],
) -> Result<(), pw::Error> {
    let format = format_pod(places);
    let pod = spa::pod::Pod::from_bytes(&format).expect("it was made to be one");
    // Called on the loop's thread, not the data thread: the callback may wait for a lock.
    let flags = StreamFlags::AUTOCONNECT | StreamFlags::MAP_BUFFERS;
    stream.connect(direction, None, flags, &mut [pod])
}

fn format_pod(places: &[u32]) -> Vec<u8> {
    let mut info = spa::param::audio::AudioInfoRaw::new();
    info.set_format(spa::param::audio::AudioFormat::F32LE);
    info.set_flags(spa::param::audio::AudioInfoRawFlags::empty());
    info.set_rate(SAMPLE_RATE);
    info.set_channels(places.len() as u32);
    let mut positions = info.position();
    for (position, place) in positions.iter_mut().zip(places) {
        *position = *place;
    }
    info.set_position(positions);
    let object = spa::pod::Object {
        type_: spa::utils::SpaTypes::ObjectParamFormat.as_raw(),
        id: spa::param::ParamType::EnumFormat.as_raw(),
        properties: info.into(),
    };
    let mut bytes = std::io::Cursor::new(Vec::new());
    spa::pod::serialize::PodSerializer::serialize(&mut bytes, &spa::pod::Value::Object(object))
        .expect("memory takes every byte");
    bytes.into_inner()
}

/// The samples in a buffer that was captured; the daemon's word about where in it they lie is
/// checked.
pub(super) fn captured<'b>(buffer: &'b mut Buffer<'_>) -> Option<&'b [u8]> {
    let data = buffer.datas_mut().first_mut()?;
    let (offset, size) = (data.chunk().offset() as usize, data.chunk().size() as usize);
    data.data()?.get(offset..offset.saturating_add(size))
}
