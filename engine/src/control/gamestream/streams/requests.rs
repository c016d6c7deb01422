//! RTSP's requests: whose each is, and what its session's machine makes of it.

use mio::Registry as Reactor;
use net::clock;
use net::gamestream::rtsp::{Received, Request, RtspEvent};
use net::units::Timestamp;

use super::StreamHost;
use crate::control::gamestream::rtsp::Asked;
use crate::control::gamestream::session::{AnnounceWaits, Game};

/// What becomes of an RTSP request.
pub(super) enum Answered {
    Now(Vec<u8>),
    /// Its display takes another mode first.
    Later,
    /// It is nobody's.
    Refused,
}

impl From<Option<Vec<u8>>> for Answered {
    fn from(response: Option<Vec<u8>>) -> Self {
        response.map_or(Self::Refused, Self::Now)
    }
}

impl StreamHost {
    pub(super) fn take_rtsp(&mut self, reactor: &Reactor) {
        let now = clock::now();
        for asked in self.rtsp.poll(now, reactor) {
            match self.answer_rtsp(now, &asked) {
                Answered::Now(response) => self.rtsp.answer(asked.id, &response),
                Answered::Later => {}
                Answered::Refused => self.rtsp.close(asked.id),
            }
        }
    }

    fn answer_rtsp(&mut self, now: Timestamp, asked: &Asked) -> Answered {
        let Some((number, request, sealed)) = self.whose(asked) else {
            return Answered::Refused;
        };
        let Some(game) = self.games.get_mut(&number) else {
            return Answered::Refused;
        };
        let Some(stream) = game.stream.as_mut() else {
            return Answered::Refused;
        };
        let step = stream.rtsp.handle(&request, sealed);
        match step.event {
            Some(RtspEvent::Announced(announced)) => {
                let waiting = AnnounceWaits {
                    connection: asked.id,
                    config: announced.config,
                    address: asked.peer,
                };
                self.decide_announced(now, number, waiting)
            }
            Some(RtspEvent::Refused(error)) => {
                let name = &game.client.name;
                // Once: whoever has the session's key may ask again and again.
                if !std::mem::replace(&mut stream.refusal_told, true) {
                    log::warn!("session {number} of {name} is not served: {error}");
                }
                step.response.into()
            }
            Some(RtspEvent::Play) => {
                self.start_if_due(now, number);
                step.response.into()
            }
            None => step.response.into(),
        }
    }

    /// A sealed request is the one's whose key opens it; a plain one names its session, or is the
    /// one's that was told to come last to that address.
    fn whose(&mut self, asked: &Asked) -> Option<(u64, Request, bool)> {
        match &asked.received {
            Received::Sealed(sealed) => {
                let found = self.games.iter_mut().find_map(|(number, game)| {
                    let opened = game.stream.as_mut()?.rtsp.open(sealed);
                    opened.ok().map(|request| (*number, request))
                });
                if found.is_none() {
                    log::debug!(
                        "{}: an RTSP request that no session's key opens",
                        asked.peer
                    );
                }
                let (number, request) = found?;
                Some((number, request, true))
            }
            Received::Plain(request) => {
                let is_meant = |game: &&Game| {
                    let Some(stream) = &game.stream else {
                        return false;
                    };
                    match &request.session {
                        Some(named) => *named == stream.session_id,
                        None => {
                            game.client.address.ip().to_canonical() == asked.peer
                                && !stream.rtsp.is_playing()
                        }
                    }
                };
                let games = self.games.values().filter(is_meant);
                let game = games.max_by_key(|game| game.since)?;
                Some((game.number, request.clone(), false))
            }
        }
    }
}
