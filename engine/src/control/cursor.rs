//! A peer's cursor plane: what its session's capture tells of the pointer, to the client.

use net::native::cursor::CursorSender;
use net::native::{Features, HostSession, Refuse, RefuseCode};
use net::quic::Link;
use net::units::Timestamp;

use crate::stage::cursor::CursorFeed;

/// The plane of one peer; there from the moment when its display stands, if its client draws the
/// pointer and its capture tells of it.
pub(super) struct CursorPlane {
    feed: CursorFeed,
    sender: CursorSender,
}

impl CursorPlane {
    pub(super) fn new(feed: CursorFeed) -> Self {
        Self {
            feed,
            sender: CursorSender::default(),
        }
    }

    /// Says what there is to say; after Start.
    pub(super) fn pass_on(&mut self, now: Timestamp, machine: &mut HostSession, link: &mut Link) {
        if let Some(cursor) = self.feed.take() {
            self.sender.handle(now, &cursor);
        }
        if let Some(datagram) = self.sender.poll_datagram(now) {
            // One that QUIC cannot take is lost like any other.
            link.send_datagram(&datagram);
        }
        while machine.has_cursor_room()
            && let Some(message) = self.sender.poll_message(now)
        {
            machine.send_cursor(message);
        }
    }

    /// When to call that again.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.sender.poll_timeout()
    }
}

/// The session's features, now that its capture is open: the client is told that it draws the
/// pointer only if there is something to draw.
///
/// # Errors
/// The refusal, if the client wants no session without it.
pub(super) fn settle(
    agreed: Features,
    required: Features,
    plane: &Option<CursorPlane>,
) -> Result<Features, Refuse> {
    if plane.is_some() {
        return Ok(agreed);
    }
    if required.contains(Features::CURSOR) {
        return Err(Refuse {
            code: RefuseCode::Feature,
            text: "the client requires the pointer apart from the pictures, which this host's \
                   desktop does not tell"
                .to_owned(),
        });
    }
    Ok(agreed.without(Features::CURSOR))
}
