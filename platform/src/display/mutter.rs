//! `mutter`: a virtual monitor on the GNOME session that this process runs in, over Mutter's own
//! D-Bus interfaces (`org.gnome.Mutter.RemoteDesktop` and `.ScreenCast`, as gnome-remote-desktop
//! uses them).
//!
//! ```text
//! RemoteDesktop.CreateSession ─▶ ScreenCast.CreateSession ─▶ RecordVirtual ─▶ Start
//!   ─▶ PipeWireStreamAdded ─▶ our stream offers one size and rate ─▶ the monitor stands
//! ```
//!
//! The monitor is what the stream's consumer negotiates, so the display keeps the stream for its
//! life and changes the mode by offering another. Mutter ends all of it with the session, and the
//! session with the connection: however this process ends, nothing stays.
//!
//! Mutter has no way to say which monitor a window opens on, but takes the one with the pointer:
//! the pointer is put on the new monitor before the application starts. GNOME's shell is told to
//! leave its overview (`overview.rs`).

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gpu::frame::Size;
use net::input::Position;
use net::units::Mode;
use rustbus::message_builder::MarshalledMessage;
use rustbus::wire::ObjectPath;
use rustbus::wire::errors::MarshalError;
use rustbus::wire::unmarshal::traits::Variant;

use super::app::{self, App};
use super::cancel::Cancel;
use super::overview::{Leaving, has_monitors};
use super::runtime_dir::RuntimeDir;
use super::{
    AppState, DisplayBackend, DisplayError, DisplayRequest, OutputAddress, VirtualDisplay,
};
use crate::capture::CaptureError;
use crate::capture::pipewire::{Memory, NodeName, NodeStream, Shape, VideoNode};
use crate::dbus::{self, Bus, BusError, Double, Options, Target, unmarshallable};
use crate::inject::ei::{EiAddress, EiServer, refused};
use crate::inject::remote::{RemoteAct, RemoteAddress, RemoteSession};
use crate::pipewire_link;
use crate::process::{self, Guard, TOKEN_VARIABLE};
use crate::select::Refusal;

pub(crate) const NAME: &str = "mutter";
/// For one exchange; Mutter answers in milliseconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// For the probe, which somebody waits for at the host's start.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// For the farewell, which a wedged compositor must not hold up.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(300);
/// From an offer to a picture of its size: 10 to 40 ms where nothing else is to be done.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(4);
/// Input takes less than a frame, or the compositor is in trouble.
const INPUT_TIMEOUT: Duration = Duration::from_millis(500);

const REMOTE_DESKTOP: Target<'static> = Target {
    service: "org.gnome.Mutter.RemoteDesktop",
    path: "/org/gnome/Mutter/RemoteDesktop",
    interface: "org.gnome.Mutter.RemoteDesktop",
};
const SCREEN_CAST: Target<'static> = Target {
    service: "org.gnome.Mutter.ScreenCast",
    path: "/org/gnome/Mutter/ScreenCast",
    interface: "org.gnome.Mutter.ScreenCast",
};
const SESSION: &str = "org.gnome.Mutter.RemoteDesktop.Session";
const CAST: &str = "org.gnome.Mutter.ScreenCast.Session";
const STREAM: &str = "org.gnome.Mutter.ScreenCast.Stream";
/// `cursor-mode`: painted into the pictures.
const CURSOR_EMBEDDED: u32 = 1;
/// Told beside them, as metadata.
const CURSOR_METADATA: u32 = 2;
/// The first of the screen cast interface's versions with `RecordVirtual` (Mutter 40).
const VERSION_MIN: i32 = 3;

/// Adds monitors to a running GNOME session.
#[derive(Clone, Debug, Default)]
pub struct Mutter {
    /// The session bus's socket.
    pub bus: Option<PathBuf>,
    /// The compositor's Wayland socket, absolute; `None` leaves the application's environment as
    /// ours is.
    pub wayland_socket: Option<PathBuf>,
}

impl Mutter {
    /// The session that this process runs in, if it is one.
    #[must_use]
    pub fn from_environment() -> Self {
        Self {
            bus: dbus::session_socket(),
            wayland_socket: super::running_sway::RunningSway::from_environment().wayland_socket,
        }
    }

    fn connect(&self, limit: Duration, cancel: &Cancel) -> Result<Bus, BusError> {
        let socket = self.bus.as_ref().ok_or(BusError::NoAddress)?;
        Bus::connect(socket, limit, cancel)
    }
}

impl DisplayBackend for Mutter {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self) -> Result<String, Refusal> {
        let inside = "start punktfunk inside the GNOME session to use it";
        let no_bus = |error: BusError| Refusal::new(error.to_string(), inside);
        let mut bus = self
            .connect(PROBE_TIMEOUT, &Cancel::default())
            .map_err(no_bus)?;
        for target in [SCREEN_CAST, REMOTE_DESKTOP] {
            if !bus
                .has_owner(target.service, PROBE_TIMEOUT)
                .map_err(no_bus)?
            {
                let text = format!("no GNOME session runs here (nobody is {})", target.service);
                return Err(Refusal::new(text, inside));
            }
        }
        let version: i32 = bus
            .property(&SCREEN_CAST, "Version", PROBE_TIMEOUT)
            .map_err(|error| Refusal::new(error.to_string(), ""))?;
        if version < VERSION_MIN {
            let text =
                format!("this Mutter is too old (screen cast {version}): no virtual monitors");
            return Err(Refusal::new(text, "update GNOME to 40 or newer"));
        }
        pipewire_link::load()
            .map_err(|error| Refusal::new(error.to_string(), "install libpipewire-0.3-0"))?;
        Ok(format!("Mutter's screen cast, version {version}"))
    }

    fn create(&self, request: &DisplayRequest) -> Result<Box<dyn VirtualDisplay>, DisplayError> {
        let cancel = &request.cancel;
        let mut bus = self.connect(CALL_TIMEOUT, cancel).map_err(start_error)?;
        let is_first = matches!(has_monitors(&mut bus, CALL_TIMEOUT), Ok(false));
        let (session, node) =
            Session::start(bus, request.cursor_apart, cancel).map_err(start_error)?;
        let session = Arc::new(session);
        let mut node = VideoNode {
            shape: Shape::Asked(request.mode),
            tells_cursor: request.cursor_apart,
            ..VideoNode::new(NodeName::Id(node))
        };
        let stream = NodeStream::open(&node).map_err(start_error)?;
        stream
            .await_picture(size(request.mode), PICTURE_TIMEOUT, cancel)
            .map_err(start_error)?;
        node.stream = Some(stream.clone());
        let directory = RuntimeDir::create().map_err(start_error)?;
        let guard = Guard::spawn(directory.token(), directory.path(), &[]).map_err(start_error)?;
        let mut display = VirtualMonitor {
            app: None,
            address: OutputAddress {
                node: Some(node),
                ei: session.takes_ei.then(|| EiAddress {
                    mapping_id: session.mapping_id(),
                    server: Arc::clone(&session) as Arc<dyn EiServer>,
                }),
                remote: Some(RemoteAddress(Arc::clone(&session) as Arc<dyn RemoteSession>)),
                ..OutputAddress::default()
            },
            stream,
            session,
            mode: request.mode,
            directory,
            leaving: None,
            _guard: guard,
        };
        log::info!("{NAME}: {} on a virtual monitor", display.mode);
        display.session.set_size(request.mode);
        if !request.app.is_empty() {
            display.session.point_at_middle();
            display.leaving = self.bus.clone().map(|bus| Leaving::begin(bus, is_first));
            let environment = [
                ("WAYLAND_DISPLAY", self.wayland_socket.clone()),
                (TOKEN_VARIABLE, Some(display.directory.token().into())),
            ];
            let known = usize::from(self.wayland_socket.is_none());
            display.app = App::start(request, &environment[known..])?;
        }
        Ok(Box::new(display))
    }
}

/// A monitor of ours on a Mutter that is not.
struct VirtualMonitor {
    app: Option<App>,
    address: OutputAddress,
    stream: NodeStream,
    session: Arc<Session>,
    mode: Mode,
    directory: RuntimeDir,
    leaving: Option<Leaving>,
    _guard: Guard,
}

impl VirtualMonitor {
    fn offer(&mut self, mode: Mode) -> Result<(), CaptureError> {
        self.stream.offer(Shape::Asked(mode), Memory::Any);
        self.stream
            .await_mode(mode, PICTURE_TIMEOUT, &Cancel::default())
    }
}

impl VirtualDisplay for VirtualMonitor {
    fn address(&self) -> Option<&OutputAddress> {
        Some(&self.address)
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn set_mode(&mut self, mode: Mode) -> Result<(), DisplayError> {
        if let Err(error) = self.offer(mode) {
            let before = self.mode;
            if let Err(error) = self.offer(before) {
                log::warn!("{NAME}: {before} does not come back: {error}");
            }
            return Err(DisplayError::Refused {
                compositor: NAME,
                request: mode.to_string(),
                reason: error.to_string(),
            });
        }
        self.mode = mode;
        self.session.set_size(mode);
        if let Some(node) = &mut self.address.node {
            node.shape = Shape::Asked(mode);
        }
        log::info!("{NAME}: {mode} on the virtual monitor");
        Ok(())
    }

    fn check(&mut self) -> Result<(), DisplayError> {
        process::reap_orphans();
        // Said to the log when it has ended.
        self.app();
        let gone = |reason: String| DisplayError::Gone {
            compositor: NAME,
            reason,
        };
        self.session
            .check()
            .map_err(|error| gone(error.to_string()))?;
        self.stream.check().map_err(|error| gone(error.to_string()))
    }

    fn app(&mut self) -> AppState {
        self.app.as_mut().map_or(AppState::None, App::state)
    }
}

impl Drop for VirtualMonitor {
    fn drop(&mut self) {
        self.leaving = None;
        app::end(self.app.take(), (), self.directory.token());
        self.session.stop();
        self.directory.remove();
        process::reap_orphans();
    }
}

/// A session of Mutter's, with one screen cast.
struct Session {
    bus: Mutex<Bus>,
    session: String,
    stream: String,
    takes_ei: bool,
    /// Of the monitor, pixels: Mutter wants positions in them.
    size: Mutex<(f64, f64)>,
    /// The log has said what becomes of text.
    is_text_told: AtomicBool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Session").field(&self.session).finish()
    }
}

impl Session {
    /// Starts it, and tells the number of its node.
    fn start(mut bus: Bus, cursor_apart: bool, cancel: &Cancel) -> Result<(Self, u32), BusError> {
        let created = bus.call(&REMOTE_DESKTOP.call("CreateSession"), CALL_TIMEOUT, cancel)?;
        let session = created.first::<ObjectPath<&str>>()?.as_ref().to_owned();
        let remote = of_session(&session);
        let id: String = bus.property(&remote, "SessionId", CALL_TIMEOUT)?;
        let options = Options::one("remote-desktop-session-id", id.as_str());
        let cast = create(&mut bus, &SCREEN_CAST, "CreateSession", &options, cancel)?;
        let cursor_mode = match cursor_apart {
            true => CURSOR_METADATA,
            false => CURSOR_EMBEDDED,
        };
        let options = Options::one("cursor-mode", cursor_mode);
        let cast = Target {
            path: &cast,
            interface: CAST,
            ..SCREEN_CAST
        };
        let stream = create(&mut bus, &cast, "RecordVirtual", &options, cancel)?;
        let streams = Target {
            path: &stream,
            interface: STREAM,
            ..SCREEN_CAST
        };
        // Before anything can be told.
        bus.subscribe(&streams, CALL_TIMEOUT, cancel)?;
        bus.subscribe(&remote, CALL_TIMEOUT, cancel)?;
        // Mutter 45 has emulated input, if it was built so. Asked now because later ones count
        // on a session that has it from the start.
        let takes_ei = connect_to_eis(&mut bus, &session, CALL_TIMEOUT, cancel)
            .inspect_err(|error| log::info!("{NAME}: no emulated input: {error}"))
            .is_ok();
        bus.call(&remote.call("Start"), CALL_TIMEOUT, cancel)?;
        let added = bus.await_signal(
            |signal| signal.is_signal(STREAM, "PipeWireStreamAdded") && signal.path() == stream,
            CALL_TIMEOUT,
            cancel,
        )?;
        let node: u32 = added.first()?;
        log::debug!("{NAME}: node {node} of {stream}");
        let session = Self {
            bus: Mutex::new(bus),
            session,
            stream,
            takes_ei,
            size: Mutex::default(),
            is_text_told: AtomicBool::new(false),
        };
        Ok((session, node))
    }

    /// How the server of emulated input calls our monitor (Mutter 46).
    fn mapping_id(&self) -> Option<String> {
        let target = Target {
            path: &self.stream,
            interface: "org.freedesktop.DBus.Properties",
            ..SCREEN_CAST
        };
        let mut call = target.call("Get");
        call.body.push_param2(STREAM, "Parameters").ok()?;
        let mut bus = self.lock();
        let answer = bus.call(&call, CALL_TIMEOUT, &Cancel::default()).ok()?;
        let wrapped: Variant<'_, '_> = answer.first().ok()?;
        let parameters: std::collections::HashMap<&str, Variant<'_, '_>> = wrapped.get().ok()?;
        let id = parameters.get("mapping-id")?.get::<&str>().ok()?;
        Some(id.to_owned())
    }

    /// Positions are of a monitor of this mode from now on.
    fn set_size(&self, mode: Mode) {
        let size = (f64::from(mode.width()), f64::from(mode.height()));
        *self.size.lock().unwrap_or_else(PoisonError::into_inner) = size;
    }

    /// A position in the monitor's pixels.
    fn pixels(&self, position: Position) -> (Double, Double) {
        let (width, height) = *self.size.lock().unwrap_or_else(PoisonError::into_inner);
        // The right and lower edges are the next monitor's.
        let along = |length: f64, share: f32| {
            (f64::from(share.clamp(0.0, 1.0)) * length)
                .min(length - 0.5)
                .max(0.0)
        };
        (
            Double(along(width, position.x)),
            Double(along(height, position.y)),
        )
    }

    /// Puts the pointer on the monitor's middle. One that stays where it is opens windows there.
    fn point_at_middle(&self) {
        let middle = Position { x: 0.5, y: 0.5 };
        if let Err(error) = self.act(RemoteAct::Place(middle)) {
            log::info!("{NAME}: the application may open on another monitor: {error}");
        }
    }

    fn call_of(&self, act: RemoteAct) -> Result<MarshalledMessage, MarshalError> {
        let session = of_session(&self.session);
        let stream = self.stream.as_str();
        Ok(match act {
            RemoteAct::Key { code, pressed } => {
                let mut call = session.call("NotifyKeyboardKeycode");
                call.body.push_param2(u32::from(code), pressed)?;
                call
            }
            RemoteAct::Keysym { keysym, pressed } => {
                self.tell_of_keysym(keysym);
                let mut call = session.call("NotifyKeyboardKeysym");
                call.body.push_param2(keysym, pressed)?;
                call
            }
            RemoteAct::Motion { dx, dy } => {
                let mut call = session.call("NotifyPointerMotionRelative");
                call.body.push_param2(Double(dx), Double(dy))?;
                call
            }
            RemoteAct::Place(position) => {
                let mut call = session.call("NotifyPointerMotionAbsolute");
                let (x, y) = self.pixels(position);
                call.body.push_param3(stream, x, y)?;
                call
            }
            RemoteAct::Button { code, pressed } => {
                let mut call = session.call("NotifyPointerButton");
                call.body.push_param2(code.cast_signed(), pressed)?;
                call
            }
            RemoteAct::Notches {
                is_horizontal,
                count,
            } => {
                let mut call = session.call("NotifyPointerAxisDiscrete");
                call.body.push_param2(u32::from(is_horizontal), count)?;
                call
            }
            RemoteAct::Scroll { dx, dy } => {
                let mut call = session.call("NotifyPointerAxis");
                call.body.push_param3(Double(dx), Double(dy), 0u32)?;
                call
            }
            RemoteAct::TouchDown(finger, position) => {
                let mut call = session.call("NotifyTouchDown");
                let (x, y) = self.pixels(position);
                call.body.push_param4(stream, finger, x, y)?;
                call
            }
            RemoteAct::TouchMove(finger, position) => {
                let mut call = session.call("NotifyTouchMotion");
                let (x, y) = self.pixels(position);
                call.body.push_param4(stream, finger, x, y)?;
                call
            }
            RemoteAct::TouchUp(finger) => {
                let mut call = session.call("NotifyTouchUp");
                call.body.push_param(finger)?;
                call
            }
        })
    }

    /// Mutter looks keysyms up in the layout in use, by its first three levels, and drops what it does
    /// not find without a word to us (`meta-virtual-input-device-native.c`, Mutter 43 to 51). From
    /// 50 on a session can give it a keymap (`SetKeymap`), which is not used here yet.
    fn tell_of_keysym(&self, keysym: u32) {
        let is_anywhere = keysym < 0x7F || keysym & 0xFF00 == 0xFF00;
        if !is_anywhere && !self.is_text_told.swap(true, Ordering::Relaxed) {
            log::warn!(
                "{NAME}: text beyond ASCII arrives as far as the keyboard layout in use has it; \
                 GNOME drops the rest"
            );
        }
    }

    fn check(&self) -> Result<(), BusError> {
        let mut bus = self.lock();
        bus.take_in()?;
        if bus.has_signal(|signal| signal.is_signal(SESSION, "Closed")) {
            return Err(BusError::Ended("Mutter ended the session".to_owned()));
        }
        // One that hangs shows a still picture, as one does that has nothing new.
        let ping = Target {
            interface: "org.freedesktop.DBus.Peer",
            ..of_session(&self.session)
        };
        bus.call(&ping.call("Ping"), CALL_TIMEOUT, &Cancel::default())
            .map(drop)
    }

    /// Ends it; it would end with the connection.
    fn stop(&self) {
        let call = of_session(&self.session).call("Stop");
        let stopped = self
            .lock()
            .call(&call, FAREWELL_TIMEOUT, &Cancel::default());
        if let Err(error) = stopped {
            log::debug!("{NAME}: {error}");
        }
    }

    /// A panic while it was held left a call without its answer, which the next one passes over.
    fn lock(&self) -> MutexGuard<'_, Bus> {
        self.bus.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EiServer for Session {
    fn connect(&self) -> Result<UnixStream, CaptureError> {
        let fd = connect_to_eis(
            &mut self.lock(),
            &self.session,
            CALL_TIMEOUT,
            &Cancel::default(),
        );
        fd.map(UnixStream::from).map_err(refused)
    }

    fn type_keysym(&self, keysym: u32) -> Option<Result<(), CaptureError>> {
        self.tell_of_keysym(keysym);
        let mut typed = Ok(());
        for pressed in [true, false] {
            let mut call = of_session(&self.session).call("NotifyKeyboardKeysym");
            let told = call
                .body
                .push_param2(keysym, pressed)
                .map_err(unmarshallable);
            let told =
                told.and_then(|()| self.lock().call(&call, INPUT_TIMEOUT, &Cancel::default()));
            typed = typed.and(told.map(drop).map_err(refused));
        }
        Some(typed)
    }
}

impl RemoteSession for Session {
    fn act(&self, act: RemoteAct) -> Result<(), CaptureError> {
        let mut call = self.call_of(act).map_err(unmarshallable).map_err(refused)?;
        let mut bus = self.lock();
        bus.tell(&mut call, INPUT_TIMEOUT).map_err(refused)
    }
}

fn of_session(path: &str) -> Target<'_> {
    Target {
        path,
        interface: SESSION,
        ..REMOTE_DESKTOP
    }
}

/// Calls a method with options that answers with an object.
fn create<T: rustbus::Marshal>(
    bus: &mut Bus,
    target: &Target<'_>,
    method: &str,
    options: &Options<T>,
    cancel: &Cancel,
) -> Result<String, BusError> {
    let mut call = target.call(method);
    call.body.push_param(options).map_err(unmarshallable)?;
    let created = bus.call(&call, CALL_TIMEOUT, cancel)?;
    let path = created.first::<ObjectPath<&str>>()?;
    Ok(path.as_ref().to_owned())
}

fn connect_to_eis(
    bus: &mut Bus,
    session: &str,
    limit: Duration,
    cancel: &Cancel,
) -> Result<OwnedFd, BusError> {
    let mut call = of_session(session).call("ConnectToEIS");
    let none = Options::<u32>::default();
    call.body.push_param(&none).map_err(unmarshallable)?;
    let answer = bus.call(&call, limit, cancel)?;
    let fd = answer.fds.into_iter().next();
    fd.ok_or_else(|| BusError::Ended("Mutter gave no descriptor".to_owned()))
}

fn size(mode: Mode) -> Size {
    Size {
        width: mode.width(),
        height: mode.height(),
    }
}

fn start_error(reason: impl ToString) -> DisplayError {
    DisplayError::Start {
        compositor: NAME,
        reason: reason.to_string(),
    }
}
