//! A client of sway's IPC socket (sway-ipc(7)): the magic `i3-ipc`, u32 length, u32 type, both in
//! the machine's byte order, then text out and JSON back.
//!
//! Our own and not the crate `swayipc`, because a session must not hang on or be flooded by a
//! compositor that misbehaves: every exchange here has one deadline and ends early when nobody
//! wants its answer any more, every reply has a size limit, and fields that we do not need may be
//! absent (sway 1.7 to 1.12 differ).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::cancel::{self, Cancel};

const MAGIC: &[u8; 6] = b"i3-ipc";
const HEADER_BYTES: usize = 14;
/// Largest reply believed: a tree of a thousand windows is about 2 MB.
const REPLY_BYTES_MAX: usize = 8 << 20;

/// Message types of sway-ipc(7) that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Message {
    RunCommand = 0,
    Subscribe = 2,
    GetOutputs = 3,
    GetTree = 4,
    GetVersion = 7,
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum IpcError {
    /// The socket failed, or the deadline passed.
    #[error("sway's IPC socket: {0}")]
    Io(#[from] io::Error),
    /// The reply is not what sway-ipc(7) says.
    #[error("sway's IPC reply is not understood: {0}")]
    Reply(String),
    /// Sway understood and said no.
    #[error("{0}")]
    Refused(String),
}

/// A mode as sway tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct IpcMode {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// mHz.
    pub refresh: u32,
}

/// An output as sway tells it; what else sway says of it is not needed.
#[derive(Clone, Debug, Deserialize)]
pub struct IpcOutput {
    /// Connector name: `HEADLESS-1`.
    pub name: String,
    /// In use.
    #[serde(default)]
    pub active: bool,
    /// Absent while it is not active.
    #[serde(default)]
    pub current_mode: Option<IpcMode>,
}

#[derive(Deserialize)]
struct Outcome {
    success: bool,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
struct Version {
    human_readable: String,
}

/// An open IPC connection.
#[derive(Debug)]
pub struct SwayIpc {
    stream: UnixStream,
    limits: Limits,
}

/// How long an exchange may take.
#[derive(Clone, Debug)]
struct Limits {
    /// Each.
    timeout: Duration,
    /// All of them.
    deadline: Option<Instant>,
    /// Until it is asked.
    cancel: Cancel,
}

impl Limits {
    /// The deadline of an exchange that begins now.
    fn deadline(&self) -> Instant {
        let one = Instant::now() + self.timeout;
        self.deadline.map_or(one, |all| all.min(one))
    }
}

impl SwayIpc {
    /// Connects. Every later exchange takes at most `timeout`.
    ///
    /// # Errors
    /// [`IpcError::Io`].
    pub fn connect(socket: &Path, timeout: Duration) -> Result<Self, IpcError> {
        Self::connect_unless(socket, timeout, &Cancel::default())
    }

    /// The same, until `cancel` is asked: then this and every later exchange fails.
    ///
    /// # Errors
    /// [`IpcError::Io`].
    pub fn connect_unless(
        socket: &Path,
        timeout: Duration,
        cancel: &Cancel,
    ) -> Result<Self, IpcError> {
        let limits = Limits {
            timeout,
            deadline: None,
            cancel: cancel.clone(),
        };
        let stream = cancel::connect(socket, limits.deadline(), cancel)?;
        Ok(Self { stream, limits })
    }

    /// All later exchanges together end by `deadline`; nothing cancels them any more.
    pub fn finish_by(&mut self, deadline: Instant) {
        self.limits.deadline = Some(deadline);
        self.limits.cancel = Cancel::default();
    }

    /// What `exchanges` does is not cancelled, only late: for a change of which the answer must
    /// be known in order to undo it.
    pub(super) fn shielded<T>(&mut self, exchanges: impl FnOnce(&mut Self) -> T) -> T {
        let cancel = std::mem::take(&mut self.limits.cancel);
        let result = exchanges(self);
        self.limits.cancel = cancel;
        result
    }

    /// The other side has closed the connection. Asks the kernel, not sway.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let mut fds = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }

    /// Runs one command line (sway(5)); every command of it must succeed.
    ///
    /// # Errors
    /// [`IpcError::Refused`] with sway's words, or the connection's failure.
    pub fn run(&mut self, command: &str) -> Result<(), IpcError> {
        let outcomes: Vec<Outcome> = self.ask(Message::RunCommand, command)?;
        match outcomes.into_iter().find(|outcome| !outcome.success) {
            None => Ok(()),
            Some(outcome) => Err(IpcError::Refused(
                outcome.error.unwrap_or_else(|| "no reason given".into()),
            )),
        }
    }

    /// The outputs.
    ///
    /// # Errors
    /// The connection's failure.
    pub fn outputs(&mut self) -> Result<Vec<IpcOutput>, IpcError> {
        self.ask(Message::GetOutputs, "")
    }

    /// The version, as text.
    ///
    /// # Errors
    /// The connection's failure.
    pub fn version(&mut self) -> Result<String, IpcError> {
        Ok(self.ask::<Version>(Message::GetVersion, "")?.human_readable)
    }

    /// The tree of outputs, workspaces and windows, as sway-ipc(7) describes it.
    ///
    /// # Errors
    /// The connection's failure.
    pub fn tree(&mut self) -> Result<serde_json::Value, IpcError> {
        self.ask(Message::GetTree, "")
    }

    /// Turns the connection into a stream of window events.
    ///
    /// # Errors
    /// [`IpcError::Refused`], or the connection's failure.
    pub fn subscribe_to_windows(mut self) -> Result<WindowEvents, IpcError> {
        let outcome: Outcome = self.ask(Message::Subscribe, r#"["window"]"#)?;
        if !outcome.success {
            return Err(IpcError::Refused("sway refused to tell of windows".into()));
        }
        Ok(WindowEvents {
            stream: self.stream,
            limits: self.limits,
        })
    }

    fn ask<T: DeserializeOwned>(&mut self, message: Message, text: &str) -> Result<T, IpcError> {
        let (deadline, cancel) = (self.limits.deadline(), &self.limits.cancel);
        write_all_until(&mut self.stream, &encode(message, text)?, deadline, cancel)?;
        let (kind, body) = receive(&mut self.stream, deadline, cancel)?;
        if kind != message as u32 {
            return Err(IpcError::Reply(format!(
                "type {kind} in answer to {message:?}"
            )));
        }
        serde_json::from_slice(&body).map_err(|error| IpcError::Reply(error.to_string()))
    }
}

/// Window events of a subscribed connection.
#[derive(Debug)]
pub struct WindowEvents {
    stream: UnixStream,
    limits: Limits,
}

impl WindowEvents {
    /// The connection, to wait on or to shut down.
    #[must_use]
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Reads the next event; call it when the connection is readable.
    ///
    /// # Errors
    /// The connection's failure, or a reply that is not understood.
    pub fn read(&mut self) -> Result<serde_json::Value, IpcError> {
        let (deadline, cancel) = (self.limits.deadline(), &self.limits.cancel);
        let (_, body) = receive(&mut self.stream, deadline, cancel)?;
        serde_json::from_slice(&body).map_err(|error| IpcError::Reply(error.to_string()))
    }
}

fn encode(message: Message, text: &str) -> Result<Vec<u8>, IpcError> {
    let len = u32::try_from(text.len())
        .map_err(|_| IpcError::Refused("the command is too long".into()))?;
    let mut packet = Vec::with_capacity(HEADER_BYTES + text.len());
    packet.extend_from_slice(MAGIC);
    packet.extend_from_slice(&len.to_ne_bytes());
    packet.extend_from_slice(&(message as u32).to_ne_bytes());
    packet.extend_from_slice(text.as_bytes());
    Ok(packet)
}

fn receive(
    stream: &mut UnixStream,
    deadline: Instant,
    cancel: &Cancel,
) -> Result<(u32, Vec<u8>), IpcError> {
    let mut header = [0u8; HEADER_BYTES];
    read_exact_until(stream, &mut header, deadline, cancel)?;
    let (magic, rest) = header.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(IpcError::Reply("wrong magic".into()));
    }
    let word = |at: usize| u32::from_ne_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
    let (len, kind) = (word(0) as usize, word(4));
    if len > REPLY_BYTES_MAX {
        return Err(IpcError::Reply(format!(
            "{len} bytes, more than {REPLY_BYTES_MAX}"
        )));
    }
    let mut body = vec![0u8; len];
    read_exact_until(stream, &mut body, deadline, cancel)?;
    Ok((kind, body))
}

/// `write_all` with one deadline for the whole: a sway that reads nothing lets the socket fill.
fn write_all_until(
    stream: &mut UnixStream,
    from: &[u8],
    deadline: Instant,
    cancel: &Cancel,
) -> io::Result<()> {
    let mut written = 0;
    while written < from.len() {
        stream.set_write_timeout(Some(cancel::check(deadline, cancel)?))?;
        match stream.write(&from[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A passed SO_SNDTIMEO reads as EAGAIN; the top of the loop knows.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// `read_exact` with one deadline for the whole, however small the pieces.
fn read_exact_until(
    stream: &mut UnixStream,
    into: &mut [u8],
    deadline: Instant,
    cancel: &Cancel,
) -> io::Result<()> {
    let mut filled = 0;
    while filled < into.len() {
        stream.set_read_timeout(Some(cancel::check(deadline, cancel)?))?;
        match stream.read(&mut into[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A passed SO_RCVTIMEO reads as EAGAIN; the top of the loop names it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (SwayIpc, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("socket pair");
        (
            SwayIpc {
                stream: ours,
                limits: Limits {
                    timeout: Duration::from_millis(200),
                    deadline: None,
                    cancel: Cancel::default(),
                },
            },
            theirs,
        )
    }

    fn reply(kind: u32, body: &[u8]) -> Vec<u8> {
        let mut packet = MAGIC.to_vec();
        packet.extend_from_slice(&u32::try_from(body.len()).expect("short").to_ne_bytes());
        packet.extend_from_slice(&kind.to_ne_bytes());
        packet.extend_from_slice(body);
        packet
    }

    #[test]
    fn a_refusal_carries_sways_words() {
        let (mut ipc, mut sway) = pair();
        sway.write_all(&reply(
            0,
            br#"[{"success":true},{"success":false,"error":"no"}]"#,
        ))
        .expect("write");
        assert!(matches!(ipc.run("x"), Err(IpcError::Refused(words)) if words == "no"));
    }

    #[test]
    fn outputs_without_a_mode_are_understood() {
        let (mut ipc, mut sway) = pair();
        sway.write_all(&reply(3, br#"[{"name":"HEADLESS-1","new_field":[]}]"#))
            .expect("write");
        let outputs = ipc.outputs().expect("understood");
        assert_eq!(outputs[0].name, "HEADLESS-1");
        assert!(outputs[0].current_mode.is_none());
    }

    #[test]
    fn whoever_is_cancelled_waits_no_longer_but_may_say_goodbye() {
        let (mut ipc, mut sway) = pair();
        ipc.limits.timeout = Duration::from_secs(3600);
        let cancel = ipc.limits.cancel.clone();
        let asking = std::thread::spawn(move || (ipc.outputs().map(drop), ipc));
        // The question is there: the wait for its answer has begun.
        let mut question = [0; HEADER_BYTES];
        sway.read_exact(&mut question).expect("asked");
        cancel.ask();
        let (answer, mut ipc) = asking.join().expect("does not panic");
        let over = io::ErrorKind::ConnectionAborted;
        assert!(matches!(answer, Err(IpcError::Io(error)) if error.kind() == over));
        assert!(matches!(ipc.run("x"), Err(IpcError::Io(error)) if error.kind() == over));

        sway.write_all(&reply(0, br#"[{"success":true}]"#))
            .expect("write");
        assert!(ipc.shielded(|ipc| ipc.run("x")).is_ok());
        ipc.finish_by(Instant::now() + Duration::from_secs(3600));
        sway.write_all(&reply(0, br#"[{"success":true}]"#))
            .expect("write");
        assert!(ipc.run("x").is_ok());
        ipc.finish_by(Instant::now());
        let late = io::ErrorKind::TimedOut;
        assert!(matches!(ipc.run("x"), Err(IpcError::Io(error)) if error.kind() == late));
    }

    #[test]
    fn garbage_silence_and_floods_are_errors() {
        let (mut ipc, mut sway) = pair();
        sway.write_all(b"HTTP/1.1 400 Bad Request").expect("write");
        assert!(matches!(ipc.outputs(), Err(IpcError::Reply(_))));

        let (mut ipc, _silent) = pair();
        assert!(matches!(ipc.outputs(), Err(IpcError::Io(_))));

        let (mut ipc, mut sway) = pair();
        let mut packet = reply(3, b"");
        packet[6..10].copy_from_slice(&u32::MAX.to_ne_bytes());
        sway.write_all(&packet).expect("write");
        assert!(matches!(ipc.outputs(), Err(IpcError::Reply(_))));
    }
}
