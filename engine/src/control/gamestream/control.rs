//! Messages of the control stream: opened, typed, and what the session makes of them.

use net::gamestream::control::{FromClient, ToClient};
use net::gamestream::enet::EnetHost;
use net::input::{InputEvent, PadOutput};
use net::units::Timestamp;

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

    /// Input came.
    pub(super) fn take_input(&mut self, now: Timestamp, event: InputEvent) {
        if let Some(input) = &self.input {
            input.push(now, event);
        } else if !std::mem::replace(&mut self.input_refused, true) {
            log::warn!(
                "{} sends input, which its display does not take",
                self.client.name
            );
        }
    }

    /// Tells the client what applications want of its controllers.
    pub(super) fn pass_pad_output(&mut self, now: Timestamp, enet: &mut EnetHost) {
        let (Some(input), Some(stream)) = (&self.input, self.stream.as_mut()) else {
            return;
        };
        while let Some(PadOutput::Rumble {
            controller,
            strong,
            weak,
        }) = input.poll_output()
        {
            let rumble = ToClient::Rumble {
                controller,
                low: strong,
                high: weak,
            };
            stream.tell(now, enet, rumble);
        }
    }
}
