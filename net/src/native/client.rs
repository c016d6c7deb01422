//! The client's side of a control stream.
//!
//! ```text
//!            connected            Welcome           start
//! Connecting ─────────▶ AwaitWelcome ──▶ Starting ──────▶ Streaming
//!     │                     │ Refuse         │                │
//!     └─────────────────────┴───────┬────────┴────────────────┘
//!                                   ▼  End, end, timeout, broken protocol, stream closed
//!                                 Ended
//! ```
//!
//! Every state before Streaming has a time limit ([`StepLimits`]). After each call the caller
//! drains [`ClientSession::poll_event`], writes what [`ClientSession::poll_transmit`] shows, and
//! calls [`ClientSession::handle_timeout`] at [`ClientSession::poll_timeout`].

use std::collections::VecDeque;

use crate::times::FrameTimes;
use crate::units::Timestamp;

use super::clipboard::{self, Clipboard, ClipboardPiece, ClipboardStats, TooLong};
use super::cursor::CursorReceiver;
use super::framing::Framer;
use super::input::{CONTROLLER_AT, OUTPUT_BYTES};
use super::messages::{
    ClientStatistics, End, EndReason, Features, Hello, Kind, Message, Reconfigure, Reconfigured,
    Refuse, RepairRequest, Welcome,
};
use super::outbox::{Outbox, Priority};
use super::{ProtocolError, StepLimits};

/// Batches of frame times that wait for [`ClientSession::poll_event`] at most.
const FRAME_TIMES_EVENTS_MAX: usize = 64;

/// Where the session stands; see the diagram above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientState {
    /// QUIC's handshake is under way.
    Connecting,
    /// The Hello is on its way.
    AwaitWelcome,
    /// The caller prepares for media.
    Starting,
    /// Media flows.
    Streaming,
    /// Over; what waits is still to be sent.
    Ended,
}

impl ClientState {
    const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::AwaitWelcome => "waiting for Welcome",
            Self::Starting => "preparing to start",
            Self::Streaming => "streaming",
            Self::Ended => "at its end",
        }
    }
}

/// What the caller must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// Prepare for media, then call [`ClientSession::start`].
    Welcome(Welcome),
    /// There is no session. The machine has ended.
    Refused(Refuse),
    /// Stamps of the host's stages. If they are not polled, the oldest are dropped and counted.
    FrameTimes(Vec<FrameTimes>),
    /// A packet for [`super::input::OutputReceiver`]. Of those that are not polled the newest for
    /// each controller stays.
    PadOutput([u8; OUTPUT_BYTES]),
    /// [`ClientSession::cursor`] has news.
    Cursor,
    /// What came of a request for another mode; the newest only, which answers those before.
    Reconfigured(Reconfigured),
    /// Somebody has copied this text on the other side; the newest only.
    Clipboard(String),
    /// The host, a time limit or the stream ended the session. Not sent for the caller's own
    /// [`ClientSession::end`].
    Ended(End),
}

/// The machine.
#[derive(Debug)]
pub struct ClientSession {
    state: ClientState,
    limits: StepLimits,
    deadline: Option<Timestamp>,
    hello: Option<Hello>,
    framer: Framer,
    outbox: Outbox,
    events: VecDeque<ClientEvent>,
    /// A request that found no room in the outbox.
    waiting_request: Option<RepairRequest>,
    /// Likewise; a newer one displaces it.
    waiting_mode: Option<Reconfigure>,
    /// From the Welcome on, if it was agreed on.
    clipboard: Option<Clipboard>,
    cursor: CursorReceiver,
    dropped_statistics: u64,
    dropped_frame_times: u64,
}

impl ClientSession {
    /// For a connection that is being made; `hello` is sent once it stands.
    #[must_use]
    pub fn new(now: Timestamp, limits: StepLimits, hello: Hello) -> Self {
        Self {
            state: ClientState::Connecting,
            limits,
            deadline: Some(now + limits.peer),
            hello: Some(hello),
            framer: Framer::new(|kind| Kind::from_wire(kind).is_some()),
            outbox: Outbox::default(),
            events: VecDeque::new(),
            waiting_request: None,
            waiting_mode: None,
            clipboard: None,
            cursor: CursorReceiver::default(),
            dropped_statistics: 0,
            dropped_frame_times: 0,
        }
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> ClientState {
        self.state
    }

    /// Statistics that were dropped because the stream did not take them.
    #[must_use]
    pub const fn dropped_statistics(&self) -> u64 {
        self.dropped_statistics
    }

    /// Frames whose times were dropped because nobody polled them.
    #[must_use]
    pub const fn dropped_frame_times(&self) -> u64 {
        self.dropped_frame_times
    }

    /// What the host has told of its pointer.
    #[must_use]
    pub const fn cursor(&self) -> &CursorReceiver {
        &self.cursor
    }

    /// QUIC's handshake is done, and the host is the one that the caller trusts.
    pub fn handle_connected(&mut self, now: Timestamp) {
        if self.state == ClientState::Connecting
            && let Some(hello) = self.hello.take()
        {
            self.outbox.push(&Message::Hello(hello), Priority::Control);
            self.state = ClientState::AwaitWelcome;
            // The host may use up its own time for the decision.
            self.deadline = Some(now + self.limits.own + self.limits.peer);
        }
    }

    /// Bytes that came on the stream. After the end they are ignored.
    ///
    /// # Errors
    /// [`ProtocolError`]; the session has ended then, without an event.
    pub fn handle_stream(&mut self, now: Timestamp, bytes: &[u8]) -> Result<(), ProtocolError> {
        let mut rest = bytes;
        while self.state != ClientState::Ended {
            let message = match self.framer.feed(&mut rest) {
                Ok(Some(raw)) => super::parse(raw),
                Ok(None) => break,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = message.and_then(|message| self.handle_message(now, message)) {
                let text = error.to_string();
                self.finish(End {
                    reason: EndReason::Protocol,
                    text,
                });
                return Err(error);
            }
        }
        Ok(())
    }

    /// A datagram of the cursor plane. Before Start there is none.
    pub fn handle_cursor_datagram(&mut self, bytes: &[u8]) {
        if self.state == ClientState::Streaming && self.cursor.handle_datagram(bytes) {
            self.tell_cursor(true);
        }
    }

    /// The stream or its connection is gone.
    pub fn handle_closed(&mut self) {
        if self.state != ClientState::Ended {
            self.state = ClientState::Ended;
            self.deadline = None;
            let end = End {
                reason: EndReason::Disconnected,
                text: "the connection to the host is gone".to_owned(),
            };
            self.events.push_back(ClientEvent::Ended(end));
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.flush_clipboard(now);
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        let text = match self.state {
            ClientState::Connecting => {
                "the host does not answer: is punktfunk running there, and is its port open?"
            }
            ClientState::Starting => "the client could not start in time",
            _ => "the host accepted the connection but did not start a session in time",
        };
        let end = End {
            reason: EndReason::TimedOut,
            text: text.to_owned(),
        };
        self.events.push_back(ClientEvent::Ended(end.clone()));
        self.finish(end);
    }

    /// The caller is ready for media. False, and nothing is sent, if the session is not waiting
    /// for that (it has ended).
    #[must_use]
    pub fn start(&mut self) -> bool {
        if self.state != ClientState::Starting {
            return false;
        }
        self.outbox.push(&Message::Start, Priority::Control);
        self.state = ClientState::Streaming;
        self.deadline = None;
        true
    }

    /// Asks for a picture that can be decoded. While the stream takes nothing only the newest
    /// request waits; none is lost.
    pub fn request_repair(&mut self, request: RepairRequest) {
        if self.state == ClientState::Streaming {
            self.waiting_request = Some(request);
            self.flush_request();
        }
    }

    /// Asks for another mode. The number of a request is larger than those before it. While the
    /// stream takes nothing only the newest one waits; none is lost.
    pub fn request_mode(&mut self, request: Reconfigure) {
        if self.state == ClientState::Streaming {
            self.waiting_mode = Some(request);
            self.flush_mode();
        }
    }

    /// Sends counters; dropped and counted while the stream takes nothing.
    pub fn send_statistics(&mut self, statistics: &ClientStatistics) {
        if self.state == ClientState::Streaming
            && !self
                .outbox
                .push(&Message::Statistics(*statistics), Priority::Droppable)
        {
            self.dropped_statistics += 1;
        }
    }

    /// True if [`ClientSession::send_input`] would take the largest packet.
    #[must_use]
    pub fn has_input_room(&self) -> bool {
        let bytes = super::framing::HEADER_BYTES + super::input::PACKET_BYTES_MAX;
        self.state == ClientState::Streaming && self.outbox.has_room(bytes)
    }

    /// Sends a packet of [`super::input::InputSender::poll_message`]. False, and it is lost,
    /// without room: ask [`ClientSession::has_input_room`] before.
    pub fn send_input(&mut self, packet: Vec<u8>) -> bool {
        self.state == ClientState::Streaming
            && self
                .outbox
                .push(&Message::Input(packet), Priority::Droppable)
    }

    /// Ends the session.
    pub fn end(&mut self, end: End) {
        if self.state != ClientState::Ended {
            self.finish(end);
        }
    }

    /// This side's clipboard has that text now; nothing is sent if no clipboard was agreed on, nor
    /// what the other side has already.
    ///
    /// # Errors
    /// [`TooLong`]; nothing is sent.
    pub fn set_clipboard(&mut self, now: Timestamp, text: String) -> Result<(), TooLong> {
        if let Some(clipboard) = &mut self.clipboard {
            clipboard.set(text)?;
            self.flush_clipboard(now);
        }
        Ok(())
    }

    /// What became of clipboards' texts; `None` if no clipboard was agreed on.
    #[must_use]
    pub fn clipboard_stats(&self) -> Option<ClipboardStats> {
        self.clipboard.as_ref().map(Clipboard::stats)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let clipboard = self.clipboard_timeout();
        [self.deadline, clipboard].into_iter().flatten().min()
    }

    /// Bytes for the stream; report what it took to [`Self::consumed`].
    #[must_use]
    pub fn poll_transmit(&self) -> Option<&[u8]> {
        self.outbox.waiting()
    }

    /// The stream has taken the first `count` bytes of [`Self::poll_transmit`].
    pub fn consumed(&mut self, count: usize) {
        self.outbox.consumed(count);
        self.flush_request();
        self.flush_mode();
    }

    fn handle_message(&mut self, now: Timestamp, message: Message) -> Result<(), ProtocolError> {
        match (self.state, message) {
            (ClientState::AwaitWelcome, Message::Welcome(welcome)) => {
                self.state = ClientState::Starting;
                self.deadline = Some(now + self.limits.own);
                let clipboard = welcome.features.contains(Features::CLIPBOARD);
                self.clipboard = clipboard.then(Clipboard::client);
                self.events.push_back(ClientEvent::Welcome(welcome));
            }
            (ClientState::AwaitWelcome, Message::Refuse(refuse)) => {
                self.state = ClientState::Ended;
                self.deadline = None;
                self.events.push_back(ClientEvent::Refused(refuse));
            }
            (ClientState::Streaming, Message::FrameTimes(frames)) => self.push_times(frames),
            (ClientState::Streaming, Message::PadOutput(packet)) => self.push_output(packet),
            (ClientState::Streaming, Message::CursorShape(part)) => {
                let handled = self.cursor.handle_part(&part);
                let is_news = handled.map_err(|error| ProtocolError::Message {
                    kind: Kind::CursorShape.name(),
                    error,
                })?;
                self.tell_cursor(is_news);
            }
            (ClientState::Streaming, Message::CursorState(state)) => {
                let is_news = self.cursor.handle_state(state);
                self.tell_cursor(is_news);
            }
            (ClientState::Streaming, Message::Reconfigured(answer)) => {
                self.events
                    .retain(|event| !matches!(event, ClientEvent::Reconfigured(_)));
                self.events.push_back(ClientEvent::Reconfigured(answer));
            }
            (ClientState::Streaming, Message::Clipboard(piece)) => self.take_clipboard(&piece)?,
            (_, Message::End(end)) => {
                self.state = ClientState::Ended;
                self.deadline = None;
                self.events.push_back(ClientEvent::Ended(end));
            }
            (state, message) => {
                let kind = message.kind().name();
                return Err(ProtocolError::Unexpected {
                    kind,
                    state: state.name(),
                });
            }
        }
        Ok(())
    }

    fn push_times(&mut self, frames: Vec<FrameTimes>) {
        let is_times = |event: &ClientEvent| matches!(event, ClientEvent::FrameTimes(_));
        let waiting = self.events.iter().filter(|event| is_times(event)).count();
        if waiting >= FRAME_TIMES_EVENTS_MAX
            && let Some(oldest) = self.events.iter().position(is_times)
            && let Some(ClientEvent::FrameTimes(dropped)) = self.events.remove(oldest)
        {
            self.dropped_frame_times += dropped.len() as u64;
        }
        self.events.push_back(ClientEvent::FrameTimes(frames));
    }

    fn push_output(&mut self, packet: [u8; OUTPUT_BYTES]) {
        let is_older = |event: &ClientEvent| match event {
            ClientEvent::PadOutput(older) => older[CONTROLLER_AT] == packet[CONTROLLER_AT],
            _ => false,
        };
        self.events.retain(|event| !is_older(event));
        self.events.push_back(ClientEvent::PadOutput(packet));
    }

    fn tell_cursor(&mut self, is_news: bool) {
        if is_news && !self.events.contains(&ClientEvent::Cursor) {
            self.events.push_back(ClientEvent::Cursor);
        }
    }

    fn flush_request(&mut self) {
        if let Some(request) = self.waiting_request
            && self.state == ClientState::Streaming
            && self
                .outbox
                .push(&Message::RepairRequest(request), Priority::Droppable)
        {
            self.waiting_request = None;
        }
    }

    fn flush_mode(&mut self) {
        if let Some(request) = self.waiting_mode
            && self.state == ClientState::Streaming
            && self
                .outbox
                .push(&Message::Reconfigure(request), Priority::Droppable)
        {
            self.waiting_mode = None;
        }
    }

    fn take_clipboard(&mut self, piece: &ClipboardPiece) -> Result<(), ProtocolError> {
        if let Some(text) = clipboard::take(self.clipboard.as_mut(), piece)? {
            self.events
                .retain(|event| !matches!(event, ClientEvent::Clipboard(_)));
            self.events.push_back(ClientEvent::Clipboard(text));
        }
        Ok(())
    }

    fn flush_clipboard(&mut self, now: Timestamp) {
        if self.state == ClientState::Streaming {
            clipboard::flush(self.clipboard.as_mut(), &mut self.outbox, now);
        }
    }

    fn clipboard_timeout(&self) -> Option<Timestamp> {
        let is_streaming = self.state == ClientState::Streaming;
        let clipboard = self.clipboard.as_ref().filter(|_| is_streaming);
        clipboard::timeout(clipboard, &self.outbox)
    }

    fn finish(&mut self, end: End) {
        self.outbox.push(&Message::End(end), Priority::Control);
        self.state = ClientState::Ended;
        self.deadline = None;
    }
}
