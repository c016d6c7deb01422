//! Another mode for a running session: the messages, and who decides which request is worked on.
//!
//! | Reconfigure, offset | size | field | | Reconfigured, offset | size | field |
//! |---:|---:|---|---|---:|---:|---|
//! | 0 | 4 | number | | 0 | 4 | number |
//! | 4 | 4 | width, pixels | | 4 | 1 | outcome |
//! | 8 | 4 | height, pixels | | 5 | 4 | width, pixels |
//! | 12 | 4 | refresh, mHz | | 9 | 4 | height, pixels |
//! | | | | | 13 | 4 | refresh, mHz |
//! | | | | | 17 | 4 | first frame |
//! | | | | | 21 | text | why not |
//!
//! The numbers of a client's requests grow. An answer to one answers all before it as well:
//! of requests that come faster than modes change only the newest is worked on. Each answer names
//! the mode that holds now and its first frame, whether the request was granted or not. That frame
//! is an IDR with parameter sets; all before it are of the mode before.
//!
//! # Requests that come in crowds
//! The host's session keeps one in work and one waiting, and begins no change sooner than
//! [`CHANGE_INTERVAL`] after the one before: whatever a client sends, its display and encoder are
//! rebuilt ten times a second at most, and nothing grows. A request that a newer one displaces is
//! counted.

use std::time::Duration;

use crate::bytes::{Reader, Writer};
use crate::limits::REASON_BYTES_MAX;
use crate::units::{FrameId, Mode, ModeError, Timestamp};

use super::messages::{MessageError, RequestedMode};
use super::text;

/// Between the beginnings of two changes: one takes some 30 ms, so a window that is being dragged
/// follows ten times a second and its session still streams most of the time.
pub const CHANGE_INTERVAL: Duration = Duration::from_millis(100);

/// A client wants another mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconfigure {
    /// Larger than those of all requests before it.
    pub number: u32,
    /// As it came: the host refuses an impossible one with the reason.
    pub mode: RequestedMode,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconfigured {
    /// The request that is answered, with all before it.
    pub number: u32,
    /// Whether it was granted.
    pub outcome: ModeOutcome,
    /// The mode that holds now.
    pub mode: Mode,
    /// The first frame of it.
    pub first_frame: FrameId,
    /// For people: why not; empty if it was granted.
    pub text: String,
}

/// Whether a request for a mode was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModeOutcome {
    /// 0: the mode holds, as far as the display can make it.
    Granted,
    /// 1: no picture can have it.
    Impossible,
    /// 2: display, capture or encoder cannot have it, or not now.
    Failed,
    /// One that this version does not know: not granted.
    Unknown(u8),
}

impl ModeOutcome {
    pub(super) const fn from_wire(number: u8) -> Self {
        match number {
            0 => Self::Granted,
            1 => Self::Impossible,
            2 => Self::Failed,
            other => Self::Unknown(other),
        }
    }

    const fn to_wire(self) -> u8 {
        match self {
            Self::Granted => 0,
            Self::Impossible => 1,
            Self::Failed => 2,
            Self::Unknown(number) => number,
        }
    }
}

impl Reconfigure {
    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.u32(self.number);
        write_mode(self.mode, writer);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        Ok(Self {
            number: reader.u32()?,
            mode: read_mode(reader)?,
        })
    }
}

impl Reconfigured {
    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.u32(self.number);
        writer.u8(self.outcome.to_wire());
        write_mode(self.mode.into(), writer);
        writer.u32(self.first_frame.0);
        text::write(writer, &self.text, REASON_BYTES_MAX);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        Ok(Self {
            number: reader.u32()?,
            outcome: ModeOutcome::from_wire(reader.u8()?),
            mode: read_mode(reader)?.check()?,
            first_frame: FrameId(reader.u32()?),
            text: text::read(reader, REASON_BYTES_MAX)?,
        })
    }
}

/// A mode's three fields.
pub(super) fn write_mode(mode: RequestedMode, writer: &mut Writer<'_>) {
    writer.u32(mode.width);
    writer.u32(mode.height);
    writer.u32(mode.millihz);
}

/// A mode's three fields, unchecked.
pub(super) fn read_mode(reader: &mut Reader<'_>) -> Result<RequestedMode, MessageError> {
    Ok(RequestedMode {
        width: reader.u32()?,
        height: reader.u32()?,
        millihz: reader.u32()?,
    })
}

/// What became of requests so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModeStats {
    /// Requests that came.
    pub requests: u64,
    /// Those of them that a newer one displaced before anything was done for them.
    pub displaced: u64,
    /// Changes begun.
    pub begun: u64,
    /// Changes made.
    pub made: u64,
}

/// What the host is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Change the mode, then say [`ModeChanges::settle`].
    Begin(Mode),
    /// Send this; newest wins.
    Answer(Reconfigured),
}

/// The host's book of requests; see the module's text. Sans-IO.
#[derive(Debug)]
pub(super) struct ModeChanges {
    mode: Mode,
    first_frame: FrameId,
    in_work: Option<u32>,
    waiting: Option<Reconfigure>,
    begun: Option<Timestamp>,
    stats: ModeStats,
}

impl ModeChanges {
    /// For a session that begins with `mode`.
    pub(super) fn new(mode: Mode) -> Self {
        Self {
            mode,
            first_frame: FrameId(0),
            in_work: None,
            waiting: None,
            begun: None,
            stats: ModeStats::default(),
        }
    }

    /// A request has come.
    pub(super) fn ask(&mut self, request: Reconfigure) {
        self.stats.requests += 1;
        self.stats.displaced += u64::from(self.waiting.is_some());
        self.waiting = Some(request);
    }

    /// The change in work has come to an end: the mode that the display has and its first frame,
    /// or why it has the one of before.
    pub(super) fn settle(
        &mut self,
        result: Result<(Mode, FrameId), String>,
    ) -> Option<Reconfigured> {
        let number = self.in_work.take()?;
        let (outcome, text) = match result {
            Ok((mode, first_frame)) => {
                self.stats.made += 1;
                (self.mode, self.first_frame) = (mode, first_frame);
                (ModeOutcome::Granted, String::new())
            }
            Err(text) => (ModeOutcome::Failed, text),
        };
        Some(self.answer(number, outcome, text))
    }

    /// What is to be done at `now`; call it until there is nothing.
    pub(super) fn poll(&mut self, now: Timestamp) -> Option<Step> {
        if self.poll_timeout()? > now {
            return None;
        }
        let Reconfigure { number, mode } = self.waiting.take()?;
        Some(match mode.check() {
            Err(error) => self.refuse(number, &error),
            // The client is right already, or says it again.
            Ok(mode) if mode == self.mode => {
                Step::Answer(self.answer(number, ModeOutcome::Granted, String::new()))
            }
            Ok(mode) => {
                self.stats.begun += 1;
                self.in_work = Some(number);
                self.begun = Some(now);
                Step::Begin(mode)
            }
        })
    }

    /// When [`ModeChanges::poll`] has something to say.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        if self.in_work.is_some() || self.waiting.is_none() {
            return None;
        }
        let next = self.begun.map(|begun| begun + CHANGE_INTERVAL);
        Some(next.unwrap_or(Timestamp::ZERO))
    }

    pub(super) const fn stats(&self) -> ModeStats {
        self.stats
    }

    fn refuse(&self, number: u32, error: &ModeError) -> Step {
        Step::Answer(self.answer(number, ModeOutcome::Impossible, error.to_string()))
    }

    fn answer(&self, number: u32, outcome: ModeOutcome, text: String) -> Reconfigured {
        Reconfigured {
            number,
            outcome,
            mode: self.mode,
            first_frame: self.first_frame,
            text,
        }
    }
}
