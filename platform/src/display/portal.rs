//! `portal`: a monitor that the user has, as xdg-desktop-portal shows it, on whatever desktop
//! (`org.freedesktop.portal.ScreenCast`, documentation of xdg-desktop-portal, version 2 and later).
//!
//! ```text
//! CreateSession ─▶ SelectSources ─▶ Start (the user is asked) ─▶ OpenPipeWireRemote ─▶ our stream
//! ```
//!
//! Every call but the last is answered twice: at once with the path of a request, and by that
//! request's signal `Response` once it is done. The path is known before the call, so that the
//! signal cannot be missed. Where the desktop gives a restore token, it is kept (mode 0600) and the
//! user is asked once; each use gives a new one.
//!
//! Nothing is made and nothing is changed: the picture has the monitor's mode, and another is
//! refused. The portal ends it all with the session, and the session with the connection. Input
//! goes over the desktop's Wayland socket, where it has protocols for that and one output of the
//! picture's size.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use net::units::Mode;
use rustbus::message_builder::MarshalledMessage;
use rustbus::wire::ObjectPath;
use rustbus::wire::errors::MarshalError;
use rustbus::wire::marshal::MarshalContext;
use rustbus::wire::unmarshal::traits::Variant;
use rustbus::{Marshal, Signature, signature};

use super::cancel::Cancel;
use super::mirror;
use super::tenant::Tenant;
use super::{
    AppState, DisplayBackend, DisplayError, DisplayRequest, OutputAddress, VirtualDisplay,
    WaylandOutput,
};
use crate::capture::pipewire::{NodeName, NodeStream, VideoNode};
use crate::dbus::{self, Bus, BusError, Message, Options, Target, unmarshallable};
use crate::pipewire_link;
use crate::select::Refusal;

const NAME: &str = "portal";
/// For one exchange; starting the portal by its name is part of the first.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// For the probe, which somebody waits for at the host's start.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// For the user's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// For the farewell, which a wedged portal must not hold up.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(300);
/// From the end of our stream to that of the session: a backend that is told of both at once may
/// tear a picture down twice (xdg-desktop-portal-wlr 0.8.4 crashes, and all its sessions with it).
const FAREWELL_PAUSE: Duration = Duration::from_millis(100);
/// Longest restore token that is kept, bytes; they are 36.
const TOKEN_BYTES_MAX: u64 = 4096;
/// A monitor whose stream tells no rate.
const REFRESH_MILLIHZ: u32 = 60_000;

const SERVICE: &str = "org.freedesktop.portal.Desktop";
const SCREEN_CAST: Target<'static> = Target {
    service: SERVICE,
    path: "/org/freedesktop/portal/desktop",
    interface: "org.freedesktop.portal.ScreenCast",
};
const REQUEST: &str = "org.freedesktop.portal.Request";
const SESSION: &str = "org.freedesktop.portal.Session";
/// `types` of SelectSources.
const MONITOR: u32 = 1;
/// `cursor_mode`: painted into the picture.
const CURSOR_EMBEDDED: u32 = 2;
/// `persist_mode`: until it is revoked.
const UNTIL_REVOKED: u32 = 2;
/// The first version with restore tokens.
const VERSION_WITH_TOKENS: u32 = 4;

static TOKEN_FILE: OnceLock<PathBuf> = OnceLock::new();

/// Keeps the restore token in that directory from now on. The first call in a process counts.
pub fn keep_token_in(state_directory: &Path) {
    // A second host in one process is a test's.
    let _ = TOKEN_FILE.set(state_directory.join("portal-token"));
}

/// Shows a monitor of the running desktop.
#[derive(Clone, Debug, Default)]
pub struct Portal {
    /// The session bus's socket.
    pub bus: Option<PathBuf>,
    /// The compositor's Wayland socket, absolute, for input.
    pub wayland_socket: Option<PathBuf>,
    /// Where the restore token is kept; `None`: the user is asked each time.
    pub token_file: Option<PathBuf>,
}

impl Portal {
    /// Of the desktop that this process runs in, if it is one.
    #[must_use]
    pub fn from_environment() -> Self {
        Self {
            bus: dbus::session_socket(),
            wayland_socket: super::wayland_socket_from_environment(),
            token_file: TOKEN_FILE.get().cloned(),
        }
    }

    fn connect(&self, limit: Duration, cancel: &Cancel) -> Result<Bus, BusError> {
        let socket = self.bus.as_ref().ok_or(BusError::NoAddress)?;
        Bus::connect(socket, limit, cancel)
    }

    /// The compositor's output of that place and size, for input alone.
    fn output_of(&self, stream: &Cast) -> Option<WaylandOutput> {
        let socket = self.wayland_socket.as_ref()?;
        let found = mirror::output_at(socket, stream.position, stream.size);
        found
            .inspect_err(|error| log::info!("{NAME}: no input: {error}"))
            .ok()
    }
}

impl DisplayBackend for Portal {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self) -> Result<String, Refusal> {
        let inside = "start punktfunk inside the desktop session to use its portal";
        let no_bus = |error: BusError| Refusal::new(error.to_string(), inside);
        let mut bus = self
            .connect(PROBE_TIMEOUT, &Cancel::default())
            .map_err(no_bus)?;
        pipewire_link::load()
            .map_err(|error| Refusal::new(error.to_string(), "install libpipewire-0.3-0"))?;
        if !bus.has_owner(SERVICE, PROBE_TIMEOUT).map_err(no_bus)? {
            // It would start when it is called, which is not for a probe to do.
            return match bus.can_start(SERVICE, PROBE_TIMEOUT).map_err(no_bus)? {
                true => Ok("the desktop's portal, once it is asked".to_owned()),
                false => Err(Refusal::new(
                    format!("no desktop portal here (nobody is {SERVICE})"),
                    "install xdg-desktop-portal and your desktop's backend for it",
                )),
            };
        }
        let version: u32 = bus
            .property(&SCREEN_CAST, "version", PROBE_TIMEOUT)
            .map_err(|error| {
                Refusal::new(
                    format!("the desktop portal shares no screens ({error})"),
                    "install your desktop's backend for it, xdg-desktop-portal-wlr for one",
                )
            })?;
        Ok(format!("the desktop's portal, screen cast {version}"))
    }

    fn create(&self, request: &DisplayRequest) -> Result<Box<dyn VirtualDisplay>, DisplayError> {
        let cancel = &request.cancel;
        let bus = self.connect(CALL_TIMEOUT, cancel).map_err(start_error)?;
        let begun = Instant::now();
        let token_file = self.token_file.as_deref();
        let (mut session, cast) = Session::start(bus, token_file, cancel).map_err(start_error)?;
        let mut node = VideoNode {
            remote: Some(Arc::new(session.open_remote(cancel).map_err(start_error)?)),
            ..VideoNode::new(NodeName::Id(cast.node))
        };
        let stream = NodeStream::open(&node).map_err(start_error)?;
        let size = stream.size().ok_or_else(|| start_error("no format"))?;
        let refresh = match stream.refresh_millihz() {
            0 => REFRESH_MILLIHZ,
            told => told,
        };
        let mode = Mode::new(size.width.into(), size.height.into(), refresh)
            .map_err(|error| start_error(format!("the monitor cannot be streamed: {error}")))?;
        node.stream = Some(stream.clone());
        let cast = Cast {
            size: cast.size.or(Some((size.width.into(), size.height.into()))),
            ..cast
        };
        let mut display = PortalDisplay {
            tenant: Tenant::new(NAME, &[])?,
            address: OutputAddress {
                node: Some(node),
                input: self.output_of(&cast),
                ..OutputAddress::default()
            },
            stream,
            mode,
            session,
        };
        log::info!(
            "{NAME}: {mode}, node {}, after {:.0?}",
            cast.node,
            begun.elapsed()
        );
        display
            .tenant
            .start(request, self.wayland_socket.as_deref())?;
        Ok(Box::new(display))
    }
}

/// A monitor of the user's, which stays as it is.
struct PortalDisplay {
    // In the order of their end.
    tenant: Tenant,
    address: OutputAddress,
    stream: NodeStream,
    mode: Mode,
    session: Session,
}

impl VirtualDisplay for PortalDisplay {
    fn address(&self) -> Option<&OutputAddress> {
        Some(&self.address)
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn set_mode(&mut self, mode: Mode) -> Result<(), DisplayError> {
        mirror::keep_mode(NAME, self.mode, mode)
    }

    fn check(&mut self) -> Result<(), DisplayError> {
        let gone = |reason: String| DisplayError::Gone {
            compositor: NAME,
            reason,
        };
        // Said to the log when it has ended.
        self.tenant.app();
        self.session
            .check()
            .map_err(|error| gone(error.to_string()))?;
        self.stream.check().map_err(|error| gone(error.to_string()))
    }

    fn app(&mut self) -> AppState {
        self.tenant.app()
    }
}

/// What the portal says of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cast {
    node: u32,
    /// In the desktop's units, where they are told.
    position: Option<(i32, i32)>,
    size: Option<(i32, i32)>,
}

/// A session of the portal's, with one stream.
struct Session {
    bus: Bus,
    handle: String,
}

impl Session {
    /// Asks for a monitor. The user may be asked, too.
    fn start(
        mut bus: Bus,
        token_file: Option<&Path>,
        cancel: &Cancel,
    ) -> Result<(Self, Cast), BusError> {
        let version: u32 = bus.property(&SCREEN_CAST, "version", CALL_TIMEOUT)?;
        let mut asker = Asker {
            bus: &mut bus,
            cancel,
            count: 0,
        };
        let options = [("session_handle_token", Value::Text("punktfunk"))];
        let created = asker.ask("CreateSession", None, &options)?;
        let handle = text_of(&created, "session_handle")?
            .ok_or_else(|| BusError::Ended("the portal gave no session".to_owned()))?;
        let session = of_session(&handle);
        asker.bus.subscribe(&session, CALL_TIMEOUT, cancel)?;
        let kept = token_file.filter(|_| version >= VERSION_WITH_TOKENS);
        let token = kept.and_then(read_token);
        let mut options = vec![
            ("types", Value::Number(MONITOR)),
            ("multiple", Value::Switch(false)),
            ("cursor_mode", Value::Number(CURSOR_EMBEDDED)),
        ];
        if kept.is_some() {
            options.push(("persist_mode", Value::Number(UNTIL_REVOKED)));
        }
        if let Some(token) = &token {
            options.push(("restore_token", Value::Text(token)));
        }
        asker.ask("SelectSources", Some(&handle), &options)?;
        if token.is_none() {
            log::info!("{NAME}: the desktop asks its user which monitor to share");
        }
        let started = asker.ask("Start", Some(&handle), &[])?;
        if let (Some(file), Some(token)) = (kept, text_of(&started, "restore_token")?)
            && let Err(error) = write_token(file, &token)
        {
            log::warn!(
                "{NAME}: {}: {error}; the user is asked again",
                file.display()
            );
        }
        let cast = first_stream(&started)?;
        Ok((Self { bus, handle }, cast))
    }

    /// A connection to PipeWire on which our node is to be seen.
    fn open_remote(&mut self, cancel: &Cancel) -> Result<OwnedFd, BusError> {
        let mut call = SCREEN_CAST.call("OpenPipeWireRemote");
        push_handle(&mut call, &self.handle)?;
        let none = Options::<Value<'_>>::default();
        call.body.push_param(&none).map_err(unmarshallable)?;
        let answer = self.bus.call(&call, CALL_TIMEOUT, cancel)?;
        let fd = answer.fds.into_iter().next();
        fd.ok_or_else(|| BusError::Ended("the portal gave no descriptor".to_owned()))
    }
    fn check(&mut self) -> Result<(), BusError> {
        self.bus.take_in()?;
        if self
            .bus
            .has_signal(|it| it.is_signal(SESSION, "Closed") && it.path() == self.handle)
        {
            let reason = "the sharing was stopped on the desktop; connect again to ask for it anew";
            return Err(BusError::Ended(reason.to_owned()));
        }
        Ok(())
    }
}

impl Drop for Session {
    /// It would end with the connection. The stream has ended before it.
    fn drop(&mut self) {
        std::thread::park_timeout(FAREWELL_PAUSE);
        let mut call = of_session(&self.handle).call("Close");
        if let Err(error) = self.bus.tell(&mut call, FAREWELL_TIMEOUT) {
            log::debug!("{NAME}: {error}");
        }
    }
}

/// An option's value.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Number(u32),
    Switch(bool),
    Text(&'a str),
}

impl Signature for Value<'_> {
    fn signature() -> signature::Type {
        signature::Type::Container(signature::Container::Variant)
    }

    fn alignment() -> usize {
        1
    }

    fn has_sig(sig: &str) -> bool {
        sig.starts_with('v')
    }
}

impl Marshal for Value<'_> {
    fn marshal(&self, ctx: &mut MarshalContext<'_, '_>) -> Result<(), MarshalError> {
        self.marshal_as_variant(ctx)
    }

    fn marshal_as_variant(&self, ctx: &mut MarshalContext<'_, '_>) -> Result<(), MarshalError> {
        match self {
            Self::Number(number) => number.marshal_as_variant(ctx),
            Self::Switch(switch) => switch.marshal_as_variant(ctx),
            Self::Text(text) => text.marshal_as_variant(ctx),
        }
    }
}

/// Calls with requests.
struct Asker<'a> {
    bus: &'a mut Bus,
    cancel: &'a Cancel,
    count: u32,
}

impl Asker<'_> {
    /// Calls a method with options, of a session or without one, and waits for its request's
    /// answer.
    fn ask(
        &mut self,
        method: &str,
        session: Option<&str>,
        options: &[(&'static str, Value<'_>)],
    ) -> Result<Message, BusError> {
        self.count += 1;
        let token = format!("punktfunk{}", self.count);
        let path = request_path(self.bus.name(), &token);
        let request = Target {
            path: &path,
            interface: REQUEST,
            ..SCREEN_CAST
        };
        self.bus.subscribe(&request, CALL_TIMEOUT, self.cancel)?;
        let mut call = SCREEN_CAST.call(method);
        if let Some(session) = session {
            push_handle(&mut call, session)?;
        }
        if method == "Start" {
            // No window of ours is its parent.
            call.body.push_param("").map_err(unmarshallable)?;
        }
        let mut options = options.to_vec();
        options.push(("handle_token", Value::Text(&token)));
        let options = Options::new(options);
        call.body.push_param(&options).map_err(unmarshallable)?;
        self.bus.call(&call, CALL_TIMEOUT, self.cancel)?;
        let is_it = |it: &Message| it.is_signal(REQUEST, "Response") && it.path() == path;
        let answer = self.bus.await_signal(is_it, ANSWER_TIMEOUT, self.cancel)?;
        let (code, _) = parts(&answer)?;
        match code {
            0 => Ok(answer),
            1 => Err(refused(format!("the user said no to {method}"))),
            _ => Err(refused(format!(
                "the portal could not do {method}; its own log says why"
            ))),
        }
    }
}

type Results<'m> = HashMap<&'m str, Variant<'m, 'm>>;

fn parts(answer: &Message) -> Result<(u32, Results<'_>), BusError> {
    answer.two()
}

fn text_of(answer: &Message, name: &str) -> Result<Option<String>, BusError> {
    let (_, results) = parts(answer)?;
    let found = results.get(name).map(|value| value.get::<&str>());
    match found {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text.to_owned())),
        Some(Err(error)) => Err(BusError::Ended(format!("{name} is no text: {error:?}"))),
    }
}

/// The stream that a session has started with: `streams`, `a(ua{sv})`.
fn first_stream(answer: &Message) -> Result<Cast, BusError> {
    let (_, results) = parts(answer)?;
    let none = || refused("the portal gave no stream".to_owned());
    let streams = results.get("streams").ok_or_else(none)?;
    let streams: Vec<(u32, Results<'_>)> = streams
        .get()
        .map_err(|error| BusError::Ended(format!("streams of another kind: {error:?}")))?;
    let (node, properties) = streams.into_iter().next().ok_or_else(none)?;
    let pair = |name: &str| properties.get(name)?.get::<(i32, i32)>().ok();
    Ok(Cast {
        node,
        position: pair("position"),
        size: pair("size"),
    })
}

/// The path that a request will have (documentation of org.freedesktop.portal.Request).
fn request_path(name: &str, token: &str) -> String {
    let sender = name.trim_start_matches(':').replace('.', "_");
    format!("/org/freedesktop/portal/desktop/request/{sender}/{token}")
}

fn push_handle(call: &mut MarshalledMessage, handle: &str) -> Result<(), BusError> {
    let path = ObjectPath::new(handle)
        .map_err(|error| BusError::Ended(format!("no path of a session: {error:?}")))?;
    call.body.push_param(path).map_err(unmarshallable)
}

fn of_session(handle: &str) -> Target<'_> {
    Target {
        path: handle,
        interface: SESSION,
        ..SCREEN_CAST
    }
}

fn refused(text: String) -> BusError {
    BusError::Refused {
        name: NAME.to_owned(),
        text,
    }
}

fn read_token(file: &Path) -> Option<String> {
    let length = fs::metadata(file).ok()?.len();
    let token = (length <= TOKEN_BYTES_MAX).then(|| fs::read_to_string(file))?;
    let token = token.ok()?.trim().to_owned();
    (!token.is_empty()).then_some(token)
}

/// Written beside and moved, so that there is one token or the other.
fn write_token(file: &Path, token: &str) -> std::io::Result<()> {
    let beside = file.with_extension("new");
    let mut written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    written.write_all(token.as_bytes())?;
    fs::rename(&beside, file)
}

fn start_error(reason: impl ToString) -> DisplayError {
    DisplayError::Start {
        compositor: NAME,
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requests_path_is_known_before_it_is_made() {
        assert_eq!(
            request_path(":1.42", "a"),
            "/org/freedesktop/portal/desktop/request/1_42/a"
        );
    }

    #[test]
    fn a_token_is_kept_and_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("portal-token");
        assert_eq!(read_token(&file), None);
        write_token(&file, "one").expect("written");
        write_token(&file, "two").expect("written");
        assert_eq!(read_token(&file).as_deref(), Some("two"));
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&file).expect("a file"));
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&file, vec![b'x'; 5000]).expect("written");
        assert_eq!(read_token(&file), None, "no token is so long");
    }
}
