//! Messages of the control stream: opened, typed, and what the session makes of them.

use net::gamestream::control::FromClient;

use super::session::{Game, Stream};
use crate::session::SessionCommand;

/// Opens and reads a message; `None` if it is nothing, which is no reason to end the session.
pub(super) fn take_message(stream: &mut Stream, bytes: &[u8]) -> Option<FromClient> {
    let cipher = &mut stream.announced.as_mut()?.cipher;
    let opened = match cipher.open(bytes) {
        Ok(opened) => opened,
        Err(error) => {
            log::debug!("{error}");
            return None;
        }
    };
    match FromClient::parse(opened.kind, &opened.payload) {
        Ok(message) => Some(message),
        Err(error) => {
            log::debug!("{error}");
            None
        }
    }
}

impl Game {
    /// Hands what steering asks of the encoder to the session.
    pub(super) fn pass_commands(&mut self) {
        let Some(stream) = self.stream.as_mut() else {
            return;
        };
        let Some(steer) = &mut stream.steer else {
            return;
        };
        while let Some(command) = steer.poll_command() {
            // Left out where the queue is full; the client asks until it is whole.
            let _ = self.session.command(SessionCommand::Encode(command));
        }
    }

    /// Input came, and nothing here takes it.
    pub(super) fn note_input(&mut self) {
        if !std::mem::replace(&mut self.input_refused, true) {
            log::warn!(
                "{} sends input, which this host cannot deliver to its display yet",
                self.client.name
            );
        }
    }
}
