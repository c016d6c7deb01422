//! D-Bus, synchronously: one connection to the session bus, calls with a time limit, signals kept
//! until they are asked for, a descriptor to poll.
//!
//! Messages are made and read by crate `rustbus`; its own connections block without limit while
//! they authenticate, and leave descriptors open for children. So the socket is ours. (D-Bus
//! Specification 0.42, sections "Authentication Protocol" and "Message Protocol".)

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustbus::message_builder::{HeaderFlags, MarshalledMessage, MessageBuilder};
use rustbus::wire::errors::MarshalError;
use rustbus::wire::marshal::{MarshalContext, marshal};
use rustbus::wire::unmarshal::{
    unmarshal_dynamic_header, unmarshal_header, unmarshal_next_message,
};
use rustbus::{Marshal, MessageType, Signature, Unmarshal, signature};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};

use crate::display::Cancel;
use crate::process::timespec;

/// Largest message that is read; ours are some hundred bytes.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Signals that wait to be asked for; the oldest goes first.
const SIGNALS_MAX: usize = 256;
/// Bytes of a header without its fields (section "Message Format").
const HEADER_BYTES: usize = 16;
/// How often a wait looks whether it is still wanted.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";

/// Something went wrong on the bus.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BusError {
    /// There is none.
    #[error("there is no session bus (DBUS_SESSION_BUS_ADDRESS is not set)")]
    NoAddress,
    /// It does not let us in.
    #[error("the session bus cannot be reached: {0}")]
    Connect(String),
    /// The other side says no.
    #[error("{name}: {text}")]
    Refused {
        /// The error's name on the bus.
        name: String,
        /// Its words.
        text: String,
    },
    /// The connection is gone, or of no more use.
    #[error("the connection to the session bus ended: {0}")]
    Ended(String),
    /// No answer.
    #[error("no answer to {0} on the session bus in time")]
    TimedOut(String),
}

impl From<io::Error> for BusError {
    fn from(error: io::Error) -> Self {
        Self::Ended(error.to_string())
    }
}

/// Whom to call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) service: &'a str,
    pub(crate) path: &'a str,
    pub(crate) interface: &'a str,
}

impl Target<'_> {
    /// A call of that method, to add arguments to.
    pub(crate) fn call(&self, method: &str) -> MarshalledMessage {
        MessageBuilder::new()
            .call(method)
            .on(self.path)
            .with_interface(self.interface)
            .at(self.service)
            .build()
    }
}

/// A `DOUBLE`, which the crate does not marshal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Double(pub(crate) f64);

impl Signature for Double {
    fn signature() -> signature::Type {
        signature::Type::Base(signature::Base::Double)
    }

    fn alignment() -> usize {
        8
    }

    fn has_sig(sig: &str) -> bool {
        sig.starts_with('d')
    }
}

impl Marshal for Double {
    fn marshal(&self, ctx: &mut MarshalContext<'_, '_>) -> Result<(), MarshalError> {
        ctx.align_to(8);
        ctx.buf.extend_from_slice(&self.0.to_ne_bytes());
        Ok(())
    }
}

/// A dictionary of options, `a{sv}`.
#[derive(Debug)]
pub(crate) struct Options<T>(Vec<(&'static str, T)>);

impl<T> Default for Options<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Options<T> {
    /// These options.
    pub(crate) const fn new(entries: Vec<(&'static str, T)>) -> Self {
        Self(entries)
    }

    /// One option.
    pub(crate) fn one(name: &'static str, value: T) -> Self {
        Self(vec![(name, value)])
    }
}

impl<T> Signature for Options<T> {
    fn signature() -> signature::Type {
        let variant = signature::Type::Container(signature::Container::Variant);
        let dictionary = signature::Container::Dict(signature::Base::String, Box::new(variant));
        signature::Type::Container(dictionary)
    }

    fn alignment() -> usize {
        4
    }

    fn has_sig(sig: &str) -> bool {
        sig.starts_with("a{sv}")
    }
}

impl<T: Marshal> Marshal for Options<T> {
    fn marshal(&self, ctx: &mut MarshalContext<'_, '_>) -> Result<(), MarshalError> {
        // Length, then padding that it does not count, then the entries ("Marshaling: ARRAY").
        ctx.align_to(4);
        let length_at = ctx.buf.len();
        ctx.buf.extend_from_slice(&[0; 4]);
        ctx.align_to(8);
        let begin = ctx.buf.len();
        for (name, value) in &self.0 {
            ctx.align_to(8);
            name.marshal(ctx)?;
            value.marshal_as_variant(ctx)?;
        }
        let length = u32::try_from(ctx.buf.len() - begin).expect("some bytes");
        ctx.buf[length_at..begin][..4].copy_from_slice(&length.to_ne_bytes());
        Ok(())
    }
}

/// A message with the descriptors that came with it.
#[derive(Debug)]
pub(crate) struct Message {
    inner: MarshalledMessage,
    /// In the order of their indices.
    pub(crate) fds: Vec<OwnedFd>,
}

impl Message {
    /// The first argument.
    pub(crate) fn first<'m, T: Unmarshal<'m, 'm>>(&'m self) -> Result<T, BusError> {
        let read = self.inner.body.parser().get();
        read.map_err(|error| BusError::Ended(format!("an answer of another kind: {error:?}")))
    }

    /// Everything in it, for what has no type here.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.inner.get_buf()
    }

    /// The first two arguments.
    pub(crate) fn two<'m, A, B>(&'m self) -> Result<(A, B), BusError>
    where
        A: Unmarshal<'m, 'm>,
        B: Unmarshal<'m, 'm>,
    {
        let read = self.inner.body.parser().get2();
        read.map_err(|error| BusError::Ended(format!("an answer of another kind: {error:?}")))
    }

    /// It is that signal.
    pub(crate) fn is_signal(&self, interface: &str, member: &str) -> bool {
        let header = &self.inner.dynheader;
        header.interface.as_deref() == Some(interface) && header.member.as_deref() == Some(member)
    }

    /// The object that sent it.
    pub(crate) fn path(&self) -> &str {
        self.inner.dynheader.object.as_deref().unwrap_or_default()
    }
}

/// A connection.
pub(crate) struct Bus {
    stream: UnixStream,
    /// Ours, as the bus calls us.
    name: String,
    serial: u32,
    input: Vec<u8>,
    fds: VecDeque<OwnedFd>,
    signals: VecDeque<Message>,
}

impl AsFd for Bus {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// The session bus's socket, from `DBUS_SESSION_BUS_ADDRESS` or where systemd puts it. One without a
/// file (`unix:abstract=`) is its name after a zero byte, as [`crate::display::connect`] takes it.
pub(crate) fn session_socket() -> Option<PathBuf> {
    if let Ok(addresses) = std::env::var("DBUS_SESSION_BUS_ADDRESS") {
        return socket_of(&addresses);
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR")?;
    Some(PathBuf::from(runtime).join("bus")).filter(|path| path.exists())
}

/// The first Unix socket of a list of addresses (section "Server Addresses").
fn socket_of(addresses: &str) -> Option<PathBuf> {
    addresses.split(';').find_map(|address| {
        let pairs = address.strip_prefix("unix:")?.split(',');
        let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(key, value)| {
            let mut socket = match key {
                "path" => Vec::new(),
                "abstract" => vec![0],
                _ => return None,
            };
            socket.extend(unescaped(value)?);
            Some(PathBuf::from(OsString::from_vec(socket)))
        })
    })
}

/// `%2f` and its like as the bytes that they stand for; `None` if they stand for none.
fn unescaped(value: &str) -> Option<Vec<u8>> {
    let mut parts = value.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    Some(bytes)
}

impl Bus {
    /// Connects to the bus at `socket`, within `limit`.
    pub(crate) fn connect(
        socket: &Path,
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<Self, BusError> {
        let deadline = Instant::now() + limit;
        let refused = |error: io::Error| BusError::Connect(error.to_string());
        let stream = crate::display::connect(socket, deadline, cancel).map_err(refused)?;
        stream.set_nonblocking(true).map_err(refused)?;
        let mut bus = Self {
            stream,
            name: String::new(),
            serial: 0,
            input: Vec::new(),
            fds: VecDeque::new(),
            signals: VecDeque::new(),
        };
        bus.authenticate(deadline, cancel)?;
        let hello = Target {
            service: BUS,
            path: BUS_PATH,
            interface: BUS,
        };
        let greeted = bus.call(&hello.call("Hello"), limit, cancel)?;
        bus.name = greeted.first()?;
        Ok(bus)
    }

    /// Our own name on the bus, `:1.42`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// `EXTERNAL`, the user's number in hexadecimal digits of its decimal ones.
    fn authenticate(&mut self, deadline: Instant, cancel: &Cancel) -> Result<(), BusError> {
        let user = rustix::process::geteuid().as_raw().to_string();
        let digits: String = user.bytes().map(|digit| format!("{digit:02x}")).collect();
        let steps = [
            (format!("\0AUTH EXTERNAL {digits}\r\n"), "OK "),
            ("NEGOTIATE_UNIX_FD\r\n".to_owned(), "AGREE_UNIX_FD"),
        ];
        for (line, wanted) in steps {
            self.write(line.as_bytes(), deadline)?;
            while !self.input.ends_with(b"\r\n") {
                self.wait(deadline, cancel, "AUTH")?;
                self.read()?;
            }
            let answer = String::from_utf8_lossy(&self.input).trim_end().to_owned();
            self.input.clear();
            if !answer.starts_with(wanted) {
                return Err(BusError::Connect(answer));
            }
        }
        self.write(b"BEGIN\r\n", deadline)
    }

    /// Calls, and waits for the answer.
    pub(crate) fn call(
        &mut self,
        call: &MarshalledMessage,
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<Message, BusError> {
        let deadline = Instant::now() + limit;
        let method = call.dynheader.member.clone().unwrap_or_default();
        let serial = self.send(call, deadline)?;
        loop {
            while let Some(message) = self.next_message()? {
                if message.inner.dynheader.response_serial != Some(serial) {
                    self.keep(message);
                    continue;
                }
                if message.inner.typ == MessageType::Error {
                    let name = message.inner.dynheader.error_name.clone();
                    return Err(BusError::Refused {
                        name: name.unwrap_or_default(),
                        text: message.first::<String>().unwrap_or_default(),
                    });
                }
                return Ok(message);
            }
            self.wait(deadline, cancel, &method)?;
            self.read()?;
        }
    }

    /// Calls, and wants no answer.
    pub(crate) fn tell(
        &mut self,
        call: &mut MarshalledMessage,
        limit: Duration,
    ) -> Result<(), BusError> {
        HeaderFlags::NoReplyExpected.set(&mut call.flags);
        self.send(call, Instant::now() + limit).map(drop)
    }

    /// Has the bus send us the signals of one object's interface.
    pub(crate) fn subscribe(
        &mut self,
        target: &Target<'_>,
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<(), BusError> {
        let rule = format!(
            "type='signal',sender='{}',path='{}',interface='{}'",
            target.service, target.path, target.interface
        );
        let mut call = Target {
            service: BUS,
            path: BUS_PATH,
            interface: BUS,
        }
        .call("AddMatch");
        call.body.push_param(rule).map_err(unmarshallable)?;
        self.call(&call, limit, cancel).map(drop)
    }

    /// Is somebody there by that name?
    pub(crate) fn has_owner(&mut self, name: &str, limit: Duration) -> Result<bool, BusError> {
        let bus = Target {
            service: BUS,
            path: BUS_PATH,
            interface: BUS,
        };
        let mut call = bus.call("NameHasOwner");
        call.body.push_param(name).map_err(unmarshallable)?;
        self.call(&call, limit, &Cancel::default())?.first()
    }

    /// Would the bus start somebody of that name?
    pub(crate) fn can_start(&mut self, name: &str, limit: Duration) -> Result<bool, BusError> {
        let bus = Target {
            service: BUS,
            path: BUS_PATH,
            interface: BUS,
        };
        let call = bus.call("ListActivatableNames");
        let answer = self.call(&call, limit, &Cancel::default())?;
        let names: Vec<&str> = answer.first()?;
        Ok(names.contains(&name))
    }

    /// A property of a plain type.
    pub(crate) fn property<T>(
        &mut self,
        target: &Target<'_>,
        name: &str,
        limit: Duration,
    ) -> Result<T, BusError>
    where
        T: for<'m> Unmarshal<'m, 'm>,
    {
        let properties = Target {
            interface: "org.freedesktop.DBus.Properties",
            ..*target
        };
        let mut call = properties.call("Get");
        call.body
            .push_param2(target.interface, name)
            .map_err(unmarshallable)?;
        let answer = self.call(&call, limit, &Cancel::default())?;
        let variant: rustbus::wire::unmarshal::traits::Variant<'_, '_> = answer.first()?;
        variant
            .get()
            .map_err(|error| BusError::Ended(format!("{name} is of another kind: {error:?}")))
    }

    /// The next signal that `wanted` takes; others stay.
    pub(crate) fn await_signal(
        &mut self,
        wanted: impl Fn(&Message) -> bool,
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<Message, BusError> {
        let deadline = Instant::now() + limit;
        loop {
            // It may have been read together with an answer.
            self.take_in()?;
            if let Some(at) = self.signals.iter().position(&wanted) {
                return Ok(self.signals.remove(at).expect("found there"));
            }
            self.wait(deadline, cancel, "a signal")?;
        }
    }

    /// Takes in what has come, without waiting.
    pub(crate) fn take_in(&mut self) -> Result<(), BusError> {
        self.read()?;
        while let Some(message) = self.next_message()? {
            self.keep(message);
        }
        Ok(())
    }

    /// A signal that has come already.
    pub(crate) fn has_signal(&self, wanted: impl Fn(&Message) -> bool) -> bool {
        self.signals.iter().any(wanted)
    }

    fn keep(&mut self, message: Message) {
        if message.inner.typ == MessageType::Signal {
            if self.signals.len() == SIGNALS_MAX {
                self.signals.pop_front();
            }
            self.signals.push_back(message);
        }
    }

    fn send(&mut self, message: &MarshalledMessage, until: Instant) -> Result<u32, BusError> {
        self.serial += 1;
        let mut bytes = Vec::new();
        marshal(message, self.serial, &mut bytes).map_err(unmarshallable)?;
        bytes.extend_from_slice(message.get_buf());
        self.write(&bytes, until)?;
        Ok(self.serial)
    }

    fn write(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), BusError> {
        while !bytes.is_empty() {
            match send(&self.stream, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if Instant::now() < deadline => {
                    let mut fds = [PollFd::new(&self.stream, PollFlags::OUT)];
                    // Looked at again, whatever it says.
                    let _ = poll(&mut fds, Some(&timespec(LOOK_INTERVAL)));
                }
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        Ok(())
    }

    /// Waits for something to read.
    fn wait(&self, deadline: Instant, cancel: &Cancel, what: &str) -> Result<(), BusError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || cancel.is_asked() {
                return Err(BusError::TimedOut(what.to_owned()));
            }
            let mut fds = [PollFd::new(&self.stream, PollFlags::IN)];
            match poll(&mut fds, Some(&timespec(left.min(LOOK_INTERVAL)))) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }

    /// Reads what there is. Descriptors come with the bytes of their message, so that those of two
    /// messages stay in their order.
    fn read(&mut self) -> Result<(), BusError> {
        let mut bytes = [0u8; 4096];
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut vector = [IoSliceMut::new(&mut bytes)];
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            let count = match recvmsg(&self.stream, &mut vector, &mut control, flags) {
                Ok(message) => message.bytes,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(io::Error::from(error).into()),
            };
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    self.fds.extend(fds);
                }
            }
            if count == 0 {
                return Err(BusError::Ended("the bus closed it".to_owned()));
            }
            self.input.extend_from_slice(&bytes[..count]);
            if self.input.len() > 2 * MESSAGE_BYTES_MAX {
                return Err(BusError::Ended("a flood of messages".to_owned()));
            }
        }
    }

    /// The first whole message of what was read.
    fn next_message(&mut self) -> Result<Option<Message>, BusError> {
        let Some(length) = message_bytes(&self.input)? else {
            return Ok(None);
        };
        if self.input.len() < length {
            return Ok(None);
        }
        let bytes: Vec<u8> = self.input.drain(..length).collect();
        let read = || -> Result<_, rustbus::wire::errors::UnmarshalError> {
            let (at, header) = unmarshal_header(&bytes, 0)?;
            let (more, fields) = unmarshal_dynamic_header(&header, &bytes, at)?;
            let count = fields.num_fds.unwrap_or(0);
            let (_, message) = unmarshal_next_message(&header, fields, &bytes, at + more)?;
            Ok((message, count))
        };
        let (inner, count) = read().map_err(|error| BusError::Ended(format!("{error:?}")))?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let fds = self.fds.drain(..count.min(self.fds.len())).collect();
        Ok(Some(Message { inner, fds }))
    }
}

/// Length of the message at the start of `bytes`; `None` if too little of it is there to tell.
fn message_bytes(bytes: &[u8]) -> Result<Option<usize>, BusError> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let number = |at: usize| {
        let four: [u8; 4] = header[at..at + 4].try_into().expect("four bytes");
        let number = if header[0] == b'B' {
            u32::from_be_bytes(four)
        } else {
            u32::from_le_bytes(four)
        };
        usize::try_from(number).unwrap_or(usize::MAX)
    };
    let (body, fields) = (number(4), number(12));
    if body > MESSAGE_BYTES_MAX || fields > MESSAGE_BYTES_MAX {
        return Err(BusError::Ended("a message without end".to_owned()));
    }
    Ok(Some(HEADER_BYTES + fields.next_multiple_of(8) + body))
}

/// Our own arguments.
pub(crate) fn unmarshallable(error: MarshalError) -> BusError {
    BusError::Ended(format!("a message cannot be made: {error:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_length_that_its_header_says() {
        let target = Target {
            service: "a.b",
            path: "/a",
            interface: "a.b",
        };
        let mut call = target.call("Say");
        call.body.push_param2("words", 7u32).expect("plain types");
        let mut bytes = Vec::new();
        marshal(&call, 1, &mut bytes).expect("plain types");
        bytes.extend_from_slice(call.get_buf());
        assert_eq!(message_bytes(&bytes).expect("sane"), Some(bytes.len()));
        assert_eq!(message_bytes(&bytes[..15]).expect("sane"), None);
        bytes[7] = 0xFF;
        assert!(message_bytes(&bytes).is_err(), "4 GB");
    }

    #[test]
    fn an_address_names_a_file_or_an_abstract_socket() {
        let socket = |addresses| {
            let path = socket_of(addresses)?;
            Some(path.to_str().expect("text").to_owned())
        };
        let of = |path: &str| Some(path.to_owned());
        assert_eq!(socket("unix:path=/run/bus,guid=1"), of("/run/bus"));
        assert_eq!(
            socket("unix:guid=1,abstract=/run/dbus-7"),
            of("\0/run/dbus-7")
        );
        assert_eq!(socket("tcp:host=a;unix:path=/a%20b"), of("/a b"));
        for none in ["", "unix:runtime=yes", "unix:path=/a%2", "unix:path=%é"] {
            assert_eq!(socket(none), None, "{none}");
        }
    }

    #[test]
    fn a_bus_without_a_file_is_found() {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr, UnixListener};
        let name = format!("punktfunk-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("short");
        let _silent = UnixListener::bind_addr(&address).expect("a socket");
        let limit = Duration::from_millis(50);
        let connect = |address: &str| {
            let socket = socket_of(address).expect("one");
            Bus::connect(&socket, limit, &Cancel::default()).err()
        };
        let error = connect(&format!("unix:abstract={name}"));
        assert!(matches!(error, Some(BusError::TimedOut(_))), "{error:?}");
        let error = connect(&format!("unix:abstract={name}-other"));
        assert!(matches!(error, Some(BusError::Connect(_))), "{error:?}");
    }

    #[test]
    fn a_bus_that_says_nothing_is_given_up() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("bus");
        let _silent = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        let limit = Duration::from_millis(50);
        let error = Bus::connect(&path, limit, &Cancel::default()).err();
        assert!(matches!(error, Some(BusError::TimedOut(_))), "{error:?}");
    }
}
