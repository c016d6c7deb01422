//! The stream that a virtual output is: `zkde_screencast_unstable_v1` makes both together, and the
//! output lives as long as the stream's object, that is as long as its connection at the most. A
//! host that dies leaves no output behind.

use std::path::Path;

use wayland_client::{Connection, Dispatch, QueueHandle, delegate_noop};
use wayland_protocols_plasma::screencast::v1::client as screencast;

use screencast::zkde_screencast_stream_unstable_v1::{
    self as stream, ZkdeScreencastStreamUnstableV1 as Stream,
};
use screencast::zkde_screencast_unstable_v1::{Pointer, ZkdeScreencastUnstableV1 as Screencast};

use super::outputs::Outputs;
use crate::capture::CaptureError;
use crate::capture::link::{Link, State};
use crate::display::{Cancel, DisplayRequest};
use net::units::Mode;

/// What KWin puts before the name of a virtual output.
const KWIN_PREFIX: &str = "Virtual-";
/// Names of our outputs, before their number. Few and always the same ones, for KWin remembers the
/// configuration of every output that it has ever seen.
const NAME: &str = "punktfunk-";
/// What people read in the system's settings.
const DESCRIPTION: &str = "punktfunk";

/// What the stream said.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// PipeWire's id of its node.
    node: Option<u32>,
    failed: Option<String>,
    is_closed: bool,
}

/// A virtual output with its stream. Dropping it closes the connection, and thereby both.
pub(super) struct VirtualOutput {
    link: Link<Said>,
    outputs: Outputs,
    pub(super) node: u32,
    pub(super) name: String,
    stream: Stream,
}

/// Why there is no virtual output.
pub(super) enum StreamError {
    /// The connection's or the compositor's fault.
    Capture(CaptureError),
    /// KWin's own words.
    Refused(String),
}

impl From<CaptureError> for StreamError {
    fn from(error: CaptureError) -> Self {
        Self::Capture(error)
    }
}

/// What a compositor is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// Not KWin.
    Stranger,
    /// KWin, which keeps its streams from this program, or has none.
    Closed,
    /// KWin, of a version that has no virtual outputs (before 5.23).
    TooOld,
    /// KWin with this version of streams.
    Open(u32),
}

/// The first version with virtual outputs.
const VIRTUAL_SINCE: u32 = 2;

/// What the compositor at `socket` offers this program.
///
/// # Errors
/// It cannot be reached.
pub(super) fn offer(socket: &Path, cancel: &Cancel) -> Result<Offer, CaptureError> {
    let link = Link::connect_unless(socket, Said::default(), cancel)?;
    let has = |interface: &str| !link.globals_of(interface).is_empty();
    if !has("kde_output_management_v2") {
        return Ok(Offer::Stranger);
    }
    Ok(
        match link.globals_of("zkde_screencast_unstable_v1").first() {
            None => Offer::Closed,
            Some(&(_, version)) if version < VIRTUAL_SINCE => Offer::TooOld,
            Some(&(_, version)) => Offer::Open(version),
        },
    )
}

impl VirtualOutput {
    /// Makes one of the size that is asked for, at whatever rate KWin gives it, 60 Hz as a rule.
    pub(super) fn create(socket: &Path, request: &DisplayRequest) -> Result<Self, StreamError> {
        let mode = request.mode;
        let mut link = Link::connect_unless(socket, Said::default(), &request.cancel)?;
        let screencast: Screencast = link.bind(VIRTUAL_SINCE, 4)?;
        let mut outputs = Outputs::bind(&mut link)?;
        let own = free_name(&outputs.names());
        let (width, height) = (mode.width().into(), mode.height().into());
        let handle = link.handle();
        let pointer = u32::from(match request.cursor_apart {
            true => Pointer::Metadata,
            false => Pointer::Embedded,
        });
        let (name, text) = (own.clone(), DESCRIPTION.to_owned());
        let stream = if wayland_client::Proxy::version(&screencast) >= 4 {
            screencast.stream_virtual_output_with_description(
                name,
                text,
                width,
                height,
                1.0,
                pointer,
                &handle,
                (),
            )
        } else {
            screencast.stream_virtual_output(name, width, height, 1.0, pointer, &handle, ())
        };
        let answered = |said: &Said| said.node.is_some() || said.failed.is_some() || said.is_closed;
        link.wait_for(|state| answered(&state.protocol))?;
        let said = &mut link.state.protocol;
        let node = match (said.node, said.failed.take()) {
            (Some(node), None) => node,
            (_, Some(reason)) => return Err(StreamError::Refused(reason)),
            (None, None) => return Err(StreamError::Refused("it closed the stream".to_owned())),
        };
        outputs.refresh(&mut link)?;
        Ok(Self {
            link,
            outputs,
            node,
            name: format!("{KWIN_PREFIX}{own}"),
            stream,
        })
    }

    /// Gives it another mode, or the nearest that KWin makes of it; returns what it has then.
    ///
    /// # Errors
    /// What KWin said.
    pub(super) fn set_mode(&mut self, mode: Mode) -> Result<Mode, String> {
        self.outputs.set_mode(&mut self.link, &self.name, mode)
    }

    /// Reads what KWin has sent, and waits for an answer to nothing in particular.
    ///
    /// # Errors
    /// In words: it is gone.
    pub(super) fn check(&mut self) -> Result<(), String> {
        let asked = self.link.round_trip();
        asked.map_err(|error| error.to_string())?;
        if self.link.state.protocol.is_closed || self.outputs.mode(&self.name).is_none() {
            return Err(format!("output {} was removed", self.name));
        }
        Ok(())
    }

    /// It stands: what is asked of it from now on is not cancelled half-way.
    pub(super) fn stands(&mut self) {
        self.link.shield();
    }

    /// Removes the output; waits `patience` at the most for KWin to have done it.
    pub(super) fn close(&mut self, patience: std::time::Duration) {
        self.stream.close();
        if let Err(error) = self.link.round_trip_within(patience) {
            log::debug!("output {} ends with its connection: {error}", self.name);
        }
    }
}

/// The first of our names that no output has.
fn free_name(taken: &[String]) -> String {
    let is_free = |name: &String| !taken.contains(&format!("{KWIN_PREFIX}{name}"));
    let mut names = (1u32..).map(|number| format!("{NAME}{number}"));
    names
        .find(is_free)
        .expect("there are more numbers than outputs")
}

impl Dispatch<Stream, ()> for State<Said> {
    fn event(
        state: &mut Self,
        _: &Stream,
        event: stream::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        let said = &mut state.protocol;
        match event {
            stream::Event::Created { node } => said.node = Some(node),
            stream::Event::Failed { error } => said.failed = Some(error),
            stream::Event::Closed => said.is_closed = true,
            _ => {}
        }
    }
}

delegate_noop!(State<Said>: ignore Screencast);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_used_again() {
        let taken = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        assert_eq!(free_name(&taken(&["DP-1"])), "punktfunk-1");
        let two = taken(&["Virtual-punktfunk-1", "DP-1", "Virtual-punktfunk-3"]);
        assert_eq!(free_name(&two), "punktfunk-2");
    }
}
