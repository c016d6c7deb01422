//! What a client announces before it plays, decided: at once, or once its display has the mode.

use net::gamestream::rtsp::Status;
use net::units::{Mode, Timestamp};

use super::StreamHost;
use super::requests::Answered;
use crate::control::gamestream::session::{AnnounceWaits, Changing, Stage};

impl StreamHost {
    /// Takes it, refuses it, or asks the display for its mode first: a client may come back with
    /// another one without having said so over HTTP.
    pub(super) fn decide_announced(
        &mut self,
        now: Timestamp,
        number: u64,
        waiting: AnnounceWaits,
    ) -> Answered {
        let Some(game) = self.games.get_mut(&number) else {
            return Answered::Refused;
        };
        let name = game.client.name.clone();
        let Some(stream) = game.stream.as_mut() else {
            return Answered::Refused;
        };
        let AnnounceWaits {
            config, address, ..
        } = waiting;
        if !config.session_ids {
            let reason = "the client is too old to prove that its pings are its own: update it";
            log::warn!("session {number} of {name} is not served: {reason}");
            let refused = Err((Status::BadRequest, reason));
            return stream.rtsp.answer_announce(refused).into();
        }
        if is_same(config.mode, game.mode) {
            log::info!("session {number} of {name}: {config}");
            stream.announce(config, address);
            return stream.rtsp.answer_announce(Ok(())).into();
        }
        let (want, have) = (config.mode, game.mode);
        log::info!("session {number} of {name}: it wants {want} instead of {have}");
        if matches!(game.stage, Stage::Awaited) && game.ask_for(now, want) {
            game.stage = Stage::Changing(Changing::Announce(waiting));
            return Answered::Later;
        }
        let reason = format!("the display has {have} and cannot change to {want} now; try again");
        log::warn!("session {number} of {name} is not served: {reason}");
        let stream = game.stream.as_mut();
        let refused = Err((Status::Unavailable, reason.as_str()));
        stream
            .and_then(|it| it.rtsp.answer_announce(refused))
            .into()
    }

    /// The display has the mode that was announced, or will not have it.
    pub(super) fn answer_announced(
        &mut self,
        number: u64,
        waiting: &AnnounceWaits,
        refusal: Option<&str>,
    ) {
        let game = self.games.get_mut(&number);
        let Some(stream) = game.and_then(|game| game.stream.as_mut()) else {
            return self.rtsp.close(waiting.connection);
        };
        let answer = match refusal {
            None => {
                stream.announce(waiting.config, waiting.address);
                Ok(())
            }
            Some(reason) => Err((Status::BadRequest, reason)),
        };
        match stream.rtsp.answer_announce(answer) {
            Some(response) => self.rtsp.answer(waiting.connection, &response),
            None => self.rtsp.close(waiting.connection),
        }
    }
}

/// To a client that counts whole pictures a second.
fn is_same(one: Mode, other: Mode) -> bool {
    let fps = |mode: Mode| (mode.refresh().get() + 500) / 1000;
    one.width() == other.width() && one.height() == other.height() && fps(one) == fps(other)
}
