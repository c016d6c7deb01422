//! The host's side of a control stream.
//!
//! ```text
//!             Hello             accept            Start
//! AwaitHello ───────▶ AwaitDecision ──▶ AwaitStart ──▶ Streaming
//!     │                   │ refuse          │              │
//!     └───────────────────┴───────┬─────────┴──────────────┘
//!                                 ▼  End, end, timeout, broken protocol, stream closed
//!                               Ended
//! ```
//!
//! Every state before Streaming has a time limit ([`StepLimits`]). After each call the caller
//! drains [`HostSession::poll_event`], writes what [`HostSession::poll_transmit`] shows, and calls
//! [`HostSession::handle_timeout`] at [`HostSession::poll_timeout`].

use std::collections::VecDeque;

use crate::limits::FRAME_TIMES_PER_BATCH_MAX;
use crate::times::FrameTimes;
use crate::units::{FrameId, Mode, Timestamp};

use super::clipboard::{self, Clipboard, ClipboardPiece, ClipboardStats, TooLong};
use super::cursor::CursorMessage;
use super::framing::Framer;
use super::messages::{
    ClientStatistics, End, EndReason, Features, Hello, Kind, Message, Refuse, RefuseCode,
    RepairRequest, Welcome,
};
use super::modes::{ModeChanges, ModeStats, Reconfigured, Step};
use super::outbox::{Outbox, Priority};
use super::pairing::PairingMessage;
use super::{ProtocolError, StepLimits};

/// Where the session stands; see the diagram above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostState {
    /// The client has said nothing yet.
    AwaitHello,
    /// The caller decides on the Hello.
    AwaitDecision,
    /// The client has the Welcome.
    AwaitStart,
    /// Media flows.
    Streaming,
    /// Over; what waits is still to be sent.
    Ended,
}

impl HostState {
    const fn name(self) -> &'static str {
        match self {
            Self::AwaitHello => "waiting for Hello",
            Self::AwaitDecision => "deciding on the Hello",
            Self::AwaitStart => "waiting for Start",
            Self::Streaming => "streaming",
            Self::Ended => "at its end",
        }
    }
}

/// What the caller must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostEvent {
    /// Answer with [`HostSession::accept`] or [`HostSession::refuse`].
    Hello(Hello),
    /// A PairRequest or PairConfirm, before any Hello: answer with [`HostSession::send_pairing`] or
    /// [`HostSession::refuse`].
    Pairing(PairingMessage),
    /// The client is ready: send media.
    Start,
    /// Encode a picture that the client can decode. Requests that were not polled are merged into
    /// the newest.
    RepairRequest(RepairRequest),
    /// Change the display's mode, then call [`HostSession::mode_changed`]: there is no other such
    /// event before.
    ChangeMode(Mode),
    /// A packet for [`super::input::InputReceiver`]: none may be left out.
    Input(Vec<u8>),
    /// The client's counters; the newest only.
    Statistics(ClientStatistics),
    /// Somebody has copied this text on the other side; the newest only.
    Clipboard(String),
    /// The client, a time limit or the stream ended the session. Not sent for the caller's own
    /// [`HostSession::end`] and [`HostSession::refuse`].
    Ended(End),
}

/// The machine.
#[derive(Debug)]
pub struct HostSession {
    state: HostState,
    limits: StepLimits,
    deadline: Option<Timestamp>,
    framer: Framer,
    outbox: Outbox,
    events: VecDeque<HostEvent>,
    features: Features,
    dropped_frame_times: u64,
    /// From the Welcome on.
    modes: Option<ModeChanges>,
    /// From the Welcome on, if it was agreed on.
    clipboard: Option<Clipboard>,
    /// An answer that found no room in the outbox; a newer one says all that it says.
    answer: Option<Reconfigured>,
}

impl HostSession {
    /// For a connection whose handshake is done.
    #[must_use]
    pub fn new(now: Timestamp, limits: StepLimits) -> Self {
        Self {
            state: HostState::AwaitHello,
            limits,
            deadline: Some(now + limits.peer),
            framer: Framer::new(|kind| Kind::from_wire(kind).is_some()),
            outbox: Outbox::default(),
            events: VecDeque::new(),
            features: Features::NONE,
            dropped_frame_times: 0,
            modes: None,
            clipboard: None,
            answer: None,
        }
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> HostState {
        self.state
    }

    /// Frames whose times were dropped because the stream did not take them.
    #[must_use]
    pub const fn dropped_frame_times(&self) -> u64 {
        self.dropped_frame_times
    }

    /// Bytes that came on the stream. After the end they are ignored.
    ///
    /// # Errors
    /// [`ProtocolError`]; the session has ended then, without an event.
    pub fn handle_stream(&mut self, now: Timestamp, bytes: &[u8]) -> Result<(), ProtocolError> {
        let mut rest = bytes;
        while self.state != HostState::Ended {
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

    /// The stream or its connection is gone.
    pub fn handle_closed(&mut self) {
        if self.state != HostState::Ended {
            self.state = HostState::Ended;
            self.deadline = None;
            let text = "the client is gone".to_owned();
            self.events.push_back(HostEvent::Ended(End {
                reason: EndReason::Disconnected,
                text,
            }));
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.advance_modes(now);
        self.flush_clipboard(now);
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        let text = match self.state {
            HostState::AwaitDecision => {
                let text = "the host could not start the session in time; try again".to_owned();
                let refuse = Refuse {
                    code: RefuseCode::Internal,
                    text: text.clone(),
                };
                self.outbox
                    .push(&Message::Refuse(refuse), Priority::Control);
                text
            }
            state => format!(
                "the client did not go on in time while the host was {}",
                state.name()
            ),
        };
        let end = End {
            reason: EndReason::TimedOut,
            text,
        };
        self.events.push_back(HostEvent::Ended(end.clone()));
        self.finish(end);
    }

    /// The session will run as `welcome` says. False, and nothing is sent, if the session has
    /// moved on (ended) meanwhile.
    #[must_use]
    pub fn accept(&mut self, now: Timestamp, welcome: &Welcome) -> bool {
        if self.state != HostState::AwaitDecision {
            return false;
        }
        self.outbox
            .push(&Message::Welcome(welcome.clone()), Priority::Control);
        self.features = welcome.features;
        let clipboard = welcome.features.contains(Features::CLIPBOARD);
        self.clipboard = clipboard.then(Clipboard::host);
        self.modes = Some(ModeChanges::new(welcome.mode));
        self.state = HostState::AwaitStart;
        self.deadline = Some(now + self.limits.peer);
        true
    }

    /// There will be no session.
    pub fn refuse(&mut self, refuse: Refuse) {
        if matches!(self.state, HostState::AwaitDecision | HostState::AwaitHello) {
            self.outbox
                .push(&Message::Refuse(refuse), Priority::Control);
            self.state = HostState::Ended;
            self.deadline = None;
        }
    }

    /// The next step of a pairing. Dropped if the session has moved on (ended) meanwhile.
    pub fn send_pairing(&mut self, now: Timestamp, message: PairingMessage) {
        if self.state == HostState::AwaitHello {
            self.outbox
                .push(&Message::Pairing(message), Priority::Control);
            self.deadline = Some(now + self.limits.peer);
        }
    }

    /// Ends the session.
    pub fn end(&mut self, end: End) {
        if self.state != HostState::Ended {
            self.finish(end);
        }
    }

    /// Sends the stamps of frames, if the client asked for them; those that the stream has no
    /// room for are dropped and counted.
    pub fn send_frame_times(&mut self, frames: &[FrameTimes]) {
        if self.state != HostState::Streaming || !self.features.contains(Features::FRAME_TIMES) {
            return;
        }
        for batch in frames.chunks(FRAME_TIMES_PER_BATCH_MAX) {
            let message = Message::FrameTimes(batch.to_vec());
            if !self.outbox.push(&message, Priority::Droppable) {
                self.dropped_frame_times += batch.len() as u64;
            }
        }
    }

    /// Says what an application asks of a controller; false while the stream takes nothing.
    pub fn send_pad_output(&mut self, packet: [u8; super::input::OUTPUT_BYTES]) -> bool {
        self.state == HostState::Streaming
            && self
                .outbox
                .push(&Message::PadOutput(packet), Priority::Droppable)
    }

    /// True if [`HostSession::send_cursor`] would take the largest message.
    #[must_use]
    pub fn has_cursor_room(&self) -> bool {
        let bytes = super::framing::HEADER_BYTES + super::cursor::PART_BYTES_MAX;
        self.state == HostState::Streaming && self.outbox.has_room(bytes)
    }

    /// Says what [`super::cursor::CursorSender::poll_message`] has to say. False, and it is lost,
    /// without room: ask [`HostSession::has_cursor_room`] before.
    pub fn send_cursor(&mut self, message: CursorMessage) -> bool {
        self.state == HostState::Streaming && self.outbox.push(&message.into(), Priority::Droppable)
    }

    /// What came of [`HostEvent::ChangeMode`]: the mode that the display has now and the first
    /// frame of it, an IDR; or why it still has the one of before.
    pub fn mode_changed(&mut self, now: Timestamp, result: Result<(Mode, FrameId), String>) {
        if let Some(answer) = self.modes.as_mut().and_then(|modes| modes.settle(result)) {
            self.answer = Some(answer);
            self.flush_answer();
        }
        self.advance_modes(now);
    }

    /// What became of requests for modes.
    #[must_use]
    pub fn mode_stats(&self) -> ModeStats {
        let modes = self.modes.as_ref();
        modes.map_or(ModeStats::default(), ModeChanges::stats)
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
    pub fn poll_event(&mut self) -> Option<HostEvent> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let modes = self.modes.as_ref().and_then(ModeChanges::poll_timeout);
        let modes = modes.filter(|_| self.state == HostState::Streaming);
        let clipboard = self.clipboard_timeout();
        [self.deadline, modes, clipboard]
            .into_iter()
            .flatten()
            .min()
    }

    /// Bytes for the stream; report what it took to [`Self::consumed`].
    #[must_use]
    pub fn poll_transmit(&self) -> Option<&[u8]> {
        self.outbox.waiting()
    }

    /// The stream has taken the first `count` bytes of [`Self::poll_transmit`].
    pub fn consumed(&mut self, count: usize) {
        self.outbox.consumed(count);
        self.flush_answer();
    }

    fn handle_message(&mut self, now: Timestamp, message: Message) -> Result<(), ProtocolError> {
        match (self.state, message) {
            (HostState::AwaitHello, Message::Hello(hello)) => {
                self.state = HostState::AwaitDecision;
                self.deadline = Some(now + self.limits.own);
                self.events.push_back(HostEvent::Hello(hello));
            }
            // Whether it is in order the caller knows; it ends what is not, so that there are few.
            (HostState::AwaitHello, Message::Pairing(message)) => {
                self.deadline = Some(now + self.limits.own);
                self.events.push_back(HostEvent::Pairing(message));
            }
            (HostState::AwaitStart, Message::Start) => {
                self.state = HostState::Streaming;
                self.deadline = None;
                self.events.push_back(HostEvent::Start);
            }
            (HostState::Streaming, Message::RepairRequest(request)) => {
                self.events
                    .retain(|event| !matches!(event, HostEvent::RepairRequest(_)));
                self.events.push_back(HostEvent::RepairRequest(request));
            }
            (HostState::Streaming, Message::Statistics(statistics)) => {
                self.events
                    .retain(|event| !matches!(event, HostEvent::Statistics(_)));
                self.events.push_back(HostEvent::Statistics(statistics));
            }
            (HostState::Streaming, Message::Reconfigure(request)) => {
                if let Some(modes) = &mut self.modes {
                    modes.ask(request);
                }
                self.advance_modes(now);
            }
            (HostState::Streaming, Message::Input(packet)) => {
                self.events.push_back(HostEvent::Input(packet));
            }
            (HostState::Streaming, Message::Clipboard(piece)) => self.take_clipboard(&piece)?,
            (_, Message::End(end)) => {
                self.state = HostState::Ended;
                self.deadline = None;
                self.events.push_back(HostEvent::Ended(end));
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

    fn advance_modes(&mut self, now: Timestamp) {
        if self.state != HostState::Streaming {
            return;
        }
        while let Some(step) = self.modes.as_mut().and_then(|modes| modes.poll(now)) {
            match step {
                Step::Begin(mode) => self.events.push_back(HostEvent::ChangeMode(mode)),
                Step::Answer(answer) => {
                    self.answer = Some(answer);
                    self.flush_answer();
                }
            }
        }
    }

    fn flush_answer(&mut self) {
        if let Some(answer) = self.answer.take()
            && self.state == HostState::Streaming
        {
            let message = Message::Reconfigured(answer);
            if !self.outbox.push(&message, Priority::Droppable)
                && let Message::Reconfigured(answer) = message
            {
                self.answer = Some(answer);
            }
        }
    }

    fn take_clipboard(&mut self, piece: &ClipboardPiece) -> Result<(), ProtocolError> {
        if let Some(text) = clipboard::take(self.clipboard.as_mut(), piece)? {
            self.events
                .retain(|event| !matches!(event, HostEvent::Clipboard(_)));
            self.events.push_back(HostEvent::Clipboard(text));
        }
        Ok(())
    }

    fn flush_clipboard(&mut self, now: Timestamp) {
        if self.state == HostState::Streaming {
            clipboard::flush(self.clipboard.as_mut(), &mut self.outbox, now);
        }
    }

    fn clipboard_timeout(&self) -> Option<Timestamp> {
        let is_streaming = self.state == HostState::Streaming;
        let clipboard = self.clipboard.as_ref().filter(|_| is_streaming);
        clipboard::timeout(clipboard, &self.outbox)
    }

    fn finish(&mut self, end: End) {
        self.outbox.push(&Message::End(end), Priority::Control);
        self.state = HostState::Ended;
        self.deadline = None;
    }
}
