//! A PipeWire of a test's own, with bus and session manager, and a node that shows pictures.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pipewire as pw;
use pw::context::ContextRc;
use pw::main_loop::MainLoopRc;
use pw::properties::properties;
use pw::spa;
use pw::stream::{Stream, StreamFlags, StreamRc};
use spa::param::ParamType;
use spa::param::format::FormatProperties;
use spa::param::video::VideoFormat;
use spa::pod::{Object, Pod, Property, Value};
use spa::utils::{Fraction, Id, Rectangle, SpaTypes};

use super::PATIENCE;
use super::painter::colour;

/// The server. Everything is killed when it is dropped.
pub struct MediaServer {
    // In the order of their end.
    manager: Option<Program>,
    pipewire: Option<Program>,
    _bus: Program,
    directory: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

/// A running program. Killed when dropped.
pub struct Program(Child);

impl Program {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends it a signal, by the name that kill(1) knows.
    pub fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -s {name}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended with what it depends on.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl MediaServer {
    /// With a session manager, which links streams to nodes.
    pub fn start() -> Self {
        let mut server = Self::start_unmanaged();
        server.manager = Some(server.spawn("wireplumber", &[]));
        server
    }

    /// Without.
    pub fn start_unmanaged() -> Self {
        let temporary = tempfile::tempdir().expect("a directory");
        let mut server = Self::start_bare(temporary.path().to_owned());
        server._temporary = Some(temporary);
        server
    }

    /// In a directory of the caller's, with a session manager.
    pub fn start_in(directory: PathBuf) -> Self {
        let mut server = Self::start_bare(directory);
        server.manager = Some(server.spawn("wireplumber", &[]));
        server
    }

    fn start_bare(directory: PathBuf) -> Self {
        let bus = format!("unix:path={}", directory.join("bus").display());
        let flags = ["--session", "--nofork", "--nopidfile", "--address", &bus];
        let mut server = Self {
            manager: None,
            pipewire: None,
            _bus: spawn_in(&directory, "dbus-daemon", &flags),
            directory,
            _temporary: None,
        };
        let bus = server.directory.join("bus");
        eventually("there is a bus", || bus.exists());
        server.pipewire = Some(server.spawn("pipewire", &[]));
        eventually("PipeWire listens", || {
            UnixStream::connect(server.directory.join("pipewire-0")).is_ok()
        });
        server
    }

    /// Kills the daemon, and leaves the rest.
    pub fn kill(&mut self) {
        self.pipewire = None;
    }

    /// A connection, as a portal would hand it over.
    pub fn connect(&self) -> OwnedFd {
        let socket = self.directory.join("pipewire-0");
        UnixStream::connect(socket).expect("it listens").into()
    }

    /// Where its sockets are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts a program on it.
    pub fn spawn(&self, program: &str, arguments: &[&str]) -> Program {
        spawn_in(&self.directory, program, arguments)
    }
}

fn spawn_in(directory: &Path, program: &str, arguments: &[&str]) -> Program {
    let bus = format!("unix:path={}", directory.join("bus").display());
    let child = Command::new(program)
        .args(arguments)
        .env("HOME", directory)
        .env("XDG_RUNTIME_DIR", directory)
        .env("DBUS_SESSION_BUS_ADDRESS", bus)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Program(child.unwrap_or_else(|error| {
        panic!("{program} cannot be started ({error}): run scripts/setup.sh")
    }))
}

/// Waits for a fact.
pub fn eventually(fact: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "never came true: {fact}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// What the producer is told.
enum Order {
    Resize(u16, u16),
    End,
}

/// A video node whose every picture is of one colour, [`colour`] of its number.
pub struct Producer {
    orders: pw::channel::Sender<Order>,
    drawn: Arc<AtomicU32>,
    id: u32,
    thread: Option<JoinHandle<()>>,
}

impl Producer {
    /// Makes it, of that size, with buffers of its own.
    pub fn start(server: &MediaServer, width: u16, height: u16) -> Self {
        Self::start_with(server, (width, height), true)
    }

    /// Makes it, with buffers of the daemon's.
    pub fn start_without_memory(server: &MediaServer, width: u16, height: u16) -> Self {
        Self::start_with(server, (width, height), false)
    }

    fn start_with(server: &MediaServer, size: (u16, u16), allocates: bool) -> Self {
        platform::pipewire_link::load().expect("libpipewire is there");
        let (orders, asked) = pw::channel::channel();
        let (tell, told) = mpsc::sync_channel(1);
        let drawn = Arc::new(AtomicU32::new(0));
        let (count, remote) = (Arc::clone(&drawn), server.connect());
        let thread =
            std::thread::spawn(move || produce(remote, asked, (size, allocates), count, tell));
        let id = told.recv_timeout(PATIENCE).expect("a node is made");
        Self {
            orders,
            drawn,
            id,
            thread: Some(thread),
        }
    }

    /// The node's number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Pictures so far.
    pub fn drawn(&self) -> u32 {
        self.drawn.load(Ordering::Acquire)
    }

    /// From now on pictures are of another size.
    pub fn resize(&self, width: u16, height: u16) {
        let sent = self.orders.send(Order::Resize(width, height));
        assert!(sent.is_ok(), "the producer runs");
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::End);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the producer does not panic");
        }
    }
}

fn produce(
    remote: OwnedFd,
    asked: pw::channel::Receiver<Order>,
    (size, allocates): ((u16, u16), bool),
    drawn: Arc<AtomicU32>,
    tell: mpsc::SyncSender<u32>,
) {
    let main_loop = MainLoopRc::new(None).expect("a loop");
    let context = ContextRc::new(&main_loop, None).expect("a context");
    let core = context.connect_fd_rc(remote, None).expect("a daemon");
    let properties = properties! {
        *pw::keys::MEDIA_CLASS => "Video/Source",
        *pw::keys::NODE_NAME => "test-picture",
    };
    let stream = StreamRc::new(core.clone(), "test-picture", properties).expect("a stream");
    let size = Rc::new(Cell::new(size));
    let (ids, agreed) = (Cell::new(Some(tell)), Rc::clone(&size));
    let _listener = stream
        .add_local_listener::<()>()
        .state_changed(move |stream, (), _, state| {
            if state == pw::stream::StreamState::Paused
                && let Some(tell) = ids.take()
            {
                let _ = tell.send(stream.node_id());
            }
        })
        .param_changed(move |stream, (), id, pod| {
            if id == ParamType::Format.as_raw() && pod.is_some() {
                let _ = stream.update_params(&mut [pod_of(&buffers(allocates))]);
            }
        })
        .process(move |stream, ()| draw(stream, agreed.get(), &drawn))
        .add_buffer(move |_, (), buffer| {
            if allocates {
                super::sys::allocate(buffer);
            }
        })
        .register()
        .expect("a listener");
    let params = formats(size.get());
    stream
        .connect(
            spa::utils::Direction::Output,
            None,
            if allocates {
                StreamFlags::ALLOC_BUFFERS
            } else {
                StreamFlags::MAP_BUFFERS
            },
            &mut [pod_of(&params)],
        )
        .expect("a node");
    let (quits, resized) = (main_loop.clone(), stream.clone());
    let _orders = asked.attach(main_loop.loop_(), move |order| match order {
        Order::End => quits.quit(),
        Order::Resize(width, height) => {
            size.set((width, height));
            let params = formats((width, height));
            resized
                .update_params(&mut [pod_of(&params)])
                .expect("taken");
        }
    });
    main_loop.run();
    let _ = stream.disconnect();
}

fn draw(stream: &Stream, (width, height): (u16, u16), drawn: &AtomicU32) {
    let Some(mut buffer) = stream.dequeue_buffer() else {
        return;
    };
    let Some(data) = buffer.datas_mut().first_mut() else {
        return;
    };
    let (stride, height) = (usize::from(width) * 4, usize::from(height));
    let Some(bytes) = data
        .data()
        .and_then(|bytes| bytes.get_mut(..stride * height))
    else {
        return;
    };
    let number = drawn.load(Ordering::Relaxed);
    for pixel in bytes.chunks_exact_mut(4) {
        pixel.copy_from_slice(&colour(number).to_le_bytes());
    }
    let chunk = data.chunk_mut();
    *chunk.offset_mut() = 0;
    *chunk.stride_mut() = i32::from(width) * 4;
    *chunk.size_mut() = u32::try_from(stride * height).expect("small");
    drawn.store(number + 1, Ordering::Release);
}

fn formats((width, height): (u16, u16)) -> Vec<u8> {
    let id = |key: FormatProperties, value| Property::new(key.as_raw(), Value::Id(Id(value)));
    let size = Rectangle {
        width: width.into(),
        height: height.into(),
    };
    let rate = Fraction { num: 0, denom: 1 };
    let rate_max = Fraction { num: 60, denom: 1 };
    let properties = vec![
        id(FormatProperties::MediaType, spa::sys::SPA_MEDIA_TYPE_video),
        id(
            FormatProperties::MediaSubtype,
            spa::sys::SPA_MEDIA_SUBTYPE_raw,
        ),
        id(FormatProperties::VideoFormat, VideoFormat::BGRx.as_raw()),
        Property::new(FormatProperties::VideoSize.as_raw(), Value::Rectangle(size)),
        Property::new(
            FormatProperties::VideoFramerate.as_raw(),
            Value::Fraction(rate),
        ),
        Property::new(
            FormatProperties::VideoMaxFramerate.as_raw(),
            Value::Fraction(rate_max),
        ),
    ];
    object(
        SpaTypes::ObjectParamFormat,
        ParamType::EnumFormat,
        properties,
    )
}

/// Enough for any size of these tests.
fn buffers(allocates: bool) -> Vec<u8> {
    let int = |key, value| Property::new(key, Value::Int(value));
    let properties = vec![
        int(spa::sys::SPA_PARAM_BUFFERS_buffers, 6),
        int(spa::sys::SPA_PARAM_BUFFERS_blocks, 1),
        int(spa::sys::SPA_PARAM_BUFFERS_size, 640 * 480 * 4),
        int(spa::sys::SPA_PARAM_BUFFERS_stride, 640 * 4),
        int(
            spa::sys::SPA_PARAM_BUFFERS_dataType,
            if allocates {
                1 << spa::sys::SPA_DATA_MemFd
            } else {
                1 << spa::sys::SPA_DATA_MemPtr
            },
        ),
    ];
    object(SpaTypes::ObjectParamBuffers, ParamType::Buffers, properties)
}

fn object(type_: SpaTypes, id: ParamType, properties: Vec<Property>) -> Vec<u8> {
    let object = Object {
        type_: type_.as_raw(),
        id: id.as_raw(),
        properties,
    };
    let mut bytes = std::io::Cursor::new(Vec::new());
    spa::pod::serialize::PodSerializer::serialize(&mut bytes, &Value::Object(object))
        .expect("memory takes every byte");
    bytes.into_inner()
}

fn pod_of(bytes: &[u8]) -> &Pod {
    Pod::from_bytes(bytes).expect("it was made to be one")
}
