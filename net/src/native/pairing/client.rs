//! The client's side of a control stream that is there to pair, and for nothing else.
//!
//! ```text
//!            connected            PairReply             PairDone
//! Connecting ─────────▶ AwaitReply ────────▶ AwaitDone ─────────▶ Ended
//!     └─────────────────────┴── Refuse, End, timeout, ──┴────────────┘
//!                               broken protocol, stream closed
//! ```
//!
//! After each call the caller drains [`PairingSession::poll_event`], writes what
//! [`PairingSession::poll_transmit`] shows, and calls [`PairingSession::handle_timeout`] at
//! [`PairingSession::poll_timeout`].

use crate::native::framing::Framer;
use crate::native::messages::{End, EndReason, Kind, Message, Refuse};
use crate::native::outbox::{Outbox, Priority};
use crate::native::{StepLimits, parse};
use crate::units::Timestamp;

use super::{Binding, ClientPairing, Entropy, Expected, PairingError, PairingMessage, Pin};

/// How it ended; there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PairingEvent {
    /// Host and client are paired: the host is the one of [`Binding::host`].
    Paired {
        /// What it calls itself.
        host_name: String,
    },
    /// The host refused.
    Refused(Refuse),
    /// The host's share or confirmation does not hold.
    Failed(PairingError),
    /// A time limit, the host or the stream ended it.
    Ended(End),
}

enum Step {
    Connecting,
    AwaitReply(ClientPairing),
    AwaitDone(Expected),
    Ended,
}

/// The machine.
pub struct PairingSession {
    step: Step,
    limits: StepLimits,
    deadline: Option<Timestamp>,
    pin: Pin,
    name: String,
    framer: Framer,
    outbox: Outbox,
    event: Option<PairingEvent>,
}

impl PairingSession {
    /// For a connection that is being made, with the PIN that the host shows. `name` is what the
    /// client shall be called there.
    #[must_use]
    pub fn new(now: Timestamp, limits: StepLimits, pin: Pin, name: String) -> Self {
        Self {
            step: Step::Connecting,
            limits,
            deadline: Some(now + limits.peer),
            pin,
            name,
            framer: Framer::new(|kind| Kind::from_wire(kind).is_some()),
            outbox: Outbox::default(),
            event: None,
        }
    }

    /// True once there is an event, or it was taken.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        matches!(self.step, Step::Ended)
    }

    /// QUIC's handshake is done.
    pub fn handle_connected(&mut self, now: Timestamp, binding: Binding, entropy: &Entropy) {
        if !matches!(self.step, Step::Connecting) {
            return;
        }
        match ClientPairing::begin(&self.pin, binding, entropy) {
            Ok((pairing, share)) => {
                let name = self.name.clone();
                self.send(now, PairingMessage::Request { share, name });
                self.step = Step::AwaitReply(pairing);
            }
            Err(error) => self.fail(error),
        }
    }

    /// Bytes that came on the stream. After the end they are ignored.
    pub fn handle_stream(&mut self, now: Timestamp, bytes: &[u8]) {
        let mut rest = bytes;
        while !self.has_ended() {
            let message = match self.framer.feed(&mut rest) {
                Ok(Some(raw)) => parse(raw),
                Ok(None) => return,
                Err(error) => Err(error.into()),
            };
            match message {
                Ok(message) => self.handle_message(now, message),
                Err(error) => self.end(EndReason::Protocol, error.to_string()),
            }
        }
    }

    /// The stream or its connection is gone.
    pub fn handle_closed(&mut self) {
        let text = "the connection to the host is gone".to_owned();
        self.end(EndReason::Disconnected, text);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            let text = match self.step {
                Step::Connecting => {
                    "the host does not answer: is punktfunk running there, and is its port open?"
                }
                _ => "the host did not go on with the pairing in time; it may know none",
            };
            self.end(EndReason::TimedOut, text.to_owned());
        }
    }

    /// How it ended, once.
    pub fn poll_event(&mut self) -> Option<PairingEvent> {
        self.event.take()
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// Bytes for the stream; report what it took to [`Self::consumed`].
    #[must_use]
    pub fn poll_transmit(&self) -> Option<&[u8]> {
        self.outbox.waiting()
    }

    /// The stream has taken the first `count` bytes of [`Self::poll_transmit`].
    pub fn consumed(&mut self, count: usize) {
        self.outbox.consumed(count);
    }

    fn handle_message(&mut self, now: Timestamp, message: Message) {
        let step = std::mem::replace(&mut self.step, Step::Ended);
        match (step, message) {
            (Step::AwaitReply(pairing), Message::Pairing(PairingMessage::Reply { share })) => {
                match pairing.handle_reply(&share) {
                    Ok((tag, expected)) => {
                        self.send(now, PairingMessage::Confirm { tag });
                        self.step = Step::AwaitDone(expected);
                    }
                    Err(error) => self.fail(error),
                }
            }
            (
                Step::AwaitDone(expected),
                Message::Pairing(PairingMessage::Done { tag, host_name }),
            ) => match expected.check(&tag) {
                Ok(()) => {
                    self.say_end(EndReason::Done, "paired".to_owned());
                    self.event = Some(PairingEvent::Paired { host_name });
                }
                Err(error) => self.fail(error),
            },
            (_, Message::Refuse(refuse)) => {
                self.deadline = None;
                self.event = Some(PairingEvent::Refused(refuse));
            }
            (_, Message::End(end)) => {
                self.deadline = None;
                self.event = Some(PairingEvent::Ended(end));
            }
            (step, message) => {
                self.step = step;
                let kind = message.kind().name();
                let text = format!("the host sent {kind} in the middle of a pairing");
                self.end(EndReason::Protocol, text);
            }
        }
    }

    fn send(&mut self, now: Timestamp, message: PairingMessage) {
        self.outbox
            .push(&Message::Pairing(message), Priority::Control);
        // The host may use up its own time for keeping the client.
        self.deadline = Some(now + self.limits.own + self.limits.peer);
    }

    fn fail(&mut self, error: PairingError) {
        self.say_end(EndReason::Protocol, error.to_string());
        self.event = Some(PairingEvent::Failed(error));
    }

    fn end(&mut self, reason: EndReason, text: String) {
        if !self.has_ended() {
            self.say_end(reason, text.clone());
            self.event = Some(PairingEvent::Ended(End { reason, text }));
        }
    }

    fn say_end(&mut self, reason: EndReason, text: String) {
        self.outbox
            .push(&Message::End(End { reason, text }), Priority::Control);
        self.step = Step::Ended;
        self.deadline = None;
    }
}
