//! A session that any number of threads may use.
//!
//! Input, statistics and the like go from every thread at once. Access units, sound, the clipboard,
//! the pointer and controllers' output are five planes; one thread at a time takes from each, and
//! a second one is told that it is busy. What was taken last from a plane is kept until the next is
//! taken from it.
//!
//! [`Session::end_and_empty`] ends the session first, which brings back the threads that wait in
//! it, and waits for every call that is under way. Dropping it then ends its thread.

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError};
use net::client::{
    Client, ClientCursor, ClientInput, ClientMicrophone, ClientNotice, ClipboardRefused, Feedback,
    HeardPacket, InputRefused, MicrophoneRefused,
};
use net::input::{InputEvent, PadOutput};
use net::native::Features;
use net::reassemble::AccessUnit;
use net::units::FrameId;

use crate::status::{Failure, PunktfunkStatus};

/// The session.
pub struct Session {
    client: Client,
    input: ClientInput,
    microphone: ClientMicrophone,
    feedback: Feedback,
    units: Mutex<Option<AccessUnit>>,
    heard: Mutex<Option<HeardPacket>>,
    copied: Mutex<String>,
    cursor: Mutex<Option<ClientCursor>>,
    pads: Mutex<()>,
    gate: Gate,
}

/// Counts the calls that are under way.
#[derive(Default)]
struct Gate {
    calls: Mutex<usize>,
    left: Condvar,
}

/// A call that is under way.
struct Call<'a>(&'a Gate);

impl Session {
    /// Of a client that has just connected.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            input: client.input(),
            microphone: client.microphone(),
            feedback: client.feedback(),
            client,
            units: Mutex::default(),
            heard: Mutex::default(),
            copied: Mutex::default(),
            cursor: Mutex::default(),
            pads: Mutex::default(),
            gate: Gate::default(),
        }
    }

    /// Lets a call in: [`Session::end_and_empty`] waits until `call` is done.
    pub fn enter<T>(&self, call: impl FnOnce(&Self) -> T) -> T {
        let _under_way = self.gate.enter();
        call(self)
    }

    /// The connector.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// What the decoder reports.
    #[must_use]
    pub const fn feedback(&self) -> &Feedback {
        &self.feedback
    }

    /// Hands out the next access unit, or part of one; it is kept until the next call. `look` sees
    /// it in its place.
    ///
    /// # Errors
    /// [`PunktfunkStatus::TimedOut`], [`PunktfunkStatus::Ended`], [`PunktfunkStatus::Busy`].
    pub fn next_unit<T>(
        &self,
        limit: Option<Duration>,
        look: impl FnOnce(&AccessUnit) -> T,
    ) -> Result<T, Failure> {
        let mut kept = plane(&self.units)?;
        // Its buffer goes back first: the receiver may need it for the next.
        *kept = None;
        let unit = self.wait(self.client.units(), limit)?;
        Ok(look(kept.insert(unit)))
    }

    /// Gives the last unit's buffer back before the next is there.
    ///
    /// # Errors
    /// [`PunktfunkStatus::Busy`].
    pub fn release_unit(&self) -> Result<(), Failure> {
        drop(mem::take(&mut *plane(&self.units)?));
        Ok(())
    }

    /// Hands out the next 5 ms of sound; kept until the next call.
    ///
    /// # Errors
    /// [`PunktfunkStatus::NoAudio`], and as [`Session::next_unit`].
    pub fn next_audio<T>(
        &self,
        limit: Option<Duration>,
        look: impl FnOnce(&HeardPacket) -> T,
    ) -> Result<T, Failure> {
        if self.client.welcome().features.speakers().is_none() {
            let text = "the session has no sound: the client did not ask for it, or the host \
                        has none";
            return Err(Failure::new(PunktfunkStatus::NoAudio, text));
        }
        let mut kept = plane(&self.heard)?;
        *kept = None;
        let packet = self.wait(self.client.heard(), limit)?;
        Ok(look(kept.insert(packet)))
    }

    /// Sends the next 5 ms of the microphone.
    ///
    /// # Errors
    /// [`PunktfunkStatus::NoMicrophone`], [`PunktfunkStatus::InvalidArgument`],
    /// [`PunktfunkStatus::QueueFull`], [`PunktfunkStatus::Ended`].
    pub fn send_microphone(&self, opus: &[u8]) -> Result<(), Failure> {
        self.microphone.send(opus).map_err(|refused| {
            let status = match refused {
                MicrophoneRefused::NotTaken => PunktfunkStatus::NoMicrophone,
                MicrophoneRefused::PacketBytes(_) => PunktfunkStatus::InvalidArgument,
                MicrophoneRefused::Full => PunktfunkStatus::QueueFull,
                MicrophoneRefused::Over => return self.ended(),
            };
            Failure::new(status, refused)
        })
    }

    /// This side's clipboard has that text now.
    ///
    /// # Errors
    /// [`PunktfunkStatus::NoClipboard`], [`PunktfunkStatus::InvalidArgument`].
    pub fn set_clipboard(&self, text: &str) -> Result<(), Failure> {
        let set = self.client.clipboard().set(text.to_owned());
        set.map_err(|refused| {
            let status = match refused {
                ClipboardRefused::NotShared => PunktfunkStatus::NoClipboard,
                ClipboardRefused::TooLong(_) => PunktfunkStatus::InvalidArgument,
            };
            Failure::new(status, refused)
        })
    }

    /// Hands out the next text that is copied on the host; kept until the next call.
    ///
    /// # Errors
    /// [`PunktfunkStatus::NoClipboard`], and as [`Session::next_unit`].
    pub fn next_clipboard<T>(
        &self,
        limit: Option<Duration>,
        look: impl FnOnce(&str) -> T,
    ) -> Result<T, Failure> {
        let features = self.client.welcome().features;
        if !features.contains(Features::CLIPBOARD) {
            let refused = ClipboardRefused::NotShared;
            return Err(Failure::new(PunktfunkStatus::NoClipboard, refused));
        }
        let mut kept = plane(&self.copied)?;
        *kept = self.wait(self.client.copied(), limit)?;
        Ok(look(&kept))
    }

    /// Hands out the host's pointer once it has changed; its shape is kept until the next call.
    ///
    /// # Errors
    /// [`PunktfunkStatus::NoCursor`], and as [`Session::next_unit`].
    pub fn next_cursor<T>(
        &self,
        limit: Option<Duration>,
        look: impl FnOnce(&ClientCursor) -> T,
    ) -> Result<T, Failure> {
        let features = self.client.welcome().features;
        if !features.contains(Features::CURSOR) {
            let text = "the pictures show the pointer: the client did not ask to draw it, or the \
                        host cannot tell of it";
            return Err(Failure::new(PunktfunkStatus::NoCursor, text));
        }
        let mut kept = plane(&self.cursor)?;
        let cursor = self.wait(self.client.cursors(), limit)?;
        Ok(look(kept.insert(cursor)))
    }

    /// The next thing that an application wants of a controller.
    ///
    /// # Errors
    /// As [`Session::next_unit`].
    pub fn next_pad_output(&self, limit: Option<Duration>) -> Result<PadOutput, Failure> {
        let _alone = plane(&self.pads)?;
        loop {
            match self.wait(self.client.notices(), limit)? {
                ClientNotice::PadOutput(output) => return Ok(output),
                ClientNotice::Ended { .. } => return Err(self.ended()),
                // Not a controller's; stamps were not asked for.
                _ => {}
            }
        }
    }

    /// Takes an event.
    ///
    /// # Errors
    /// [`PunktfunkStatus::QueueFull`], [`PunktfunkStatus::Ended`].
    pub fn send(&self, event: InputEvent) -> Result<(), Failure> {
        self.input.try_send(event).map_err(|refused| match refused {
            InputRefused::Full => Failure::new(PunktfunkStatus::QueueFull, refused),
            InputRefused::Over => self.ended(),
        })
    }

    /// The decoder can do nothing with `frame`.
    pub fn request_keyframe(&self, frame: u32) {
        self.feedback.request_keyframe(FrameId(frame));
    }

    /// Asks for the end; whoever waits is told soon.
    pub fn end(&self) {
        self.client.request_end();
    }

    /// Ends the session and waits for every call that is under way.
    pub fn end_and_empty(&self) {
        self.end();
        self.gate.wait_until_empty();
    }

    fn wait<T>(&self, channel: &Receiver<T>, limit: Option<Duration>) -> Result<T, Failure> {
        let received = match limit {
            None => channel.recv().map_err(RecvTimeoutError::from),
            Some(limit) => channel.recv_timeout(limit),
        };
        received.map_err(|error| match error {
            RecvTimeoutError::Timeout => {
                Failure::new(PunktfunkStatus::TimedOut, "nothing came in time")
            }
            RecvTimeoutError::Disconnected => self.ended(),
        })
    }

    fn ended(&self) -> Failure {
        let reason = self.client.end_reason();
        let text = reason.unwrap_or("this side has ended the session");
        Failure::new(PunktfunkStatus::Ended, text)
    }
}

impl Gate {
    fn enter(&self) -> Call<'_> {
        *self.calls() += 1;
        Call(self)
    }

    fn wait_until_empty(&self) {
        let calls = self.calls();
        drop(
            self.left
                .wait_while(calls, |calls| *calls > 0)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    fn calls(&self) -> MutexGuard<'_, usize> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        *self.0.calls() -= 1;
        self.0.left.notify_all();
    }
}

/// A plane that nobody else is taking from.
fn plane<T>(plane: &Mutex<T>) -> Result<MutexGuard<'_, T>, Failure> {
    match plane.try_lock() {
        Ok(guard) => Ok(guard),
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => Err(Failure::new(
            PunktfunkStatus::Busy,
            "another thread is waiting in this function; let one thread take them all",
        )),
    }
}
