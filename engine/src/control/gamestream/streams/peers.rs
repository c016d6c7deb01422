//! The control stream: whose each connection is, what it brings and what it takes back.

use std::net::IpAddr;

use net::clock;
use net::gamestream::control::{FromClient, ToClient};
use net::gamestream::enet::{Delivery, EnetEvent, EnetHost, Peer};
use net::udp::{Datagram, SendError, Wait};
use net::units::Timestamp;

use super::{RECEIVES_PER_TURN, ROUND_TRIP_AT_FIRST, StreamHost};
use crate::control::gamestream::control::take_message;
use crate::control::gamestream::session::{Game, Stream};

impl StreamHost {
    /// True if more is waiting.
    pub(super) fn take_control(&mut self) -> bool {
        let mut more = true;
        for _ in 0..RECEIVES_PER_TURN {
            match self.receiver.recv(&self.control, Wait::No) {
                Ok(0) => {
                    more = false;
                    break;
                }
                Ok(_) => {}
                Err(error) => {
                    log::debug!("receiving control: {error}");
                    more = false;
                    break;
                }
            }
            let now = clock::now();
            for (datagram, from) in self.receiver.datagrams() {
                if let Err(refused) = self.enet.handle_datagram(now, from, datagram) {
                    log::trace!("{from}: {refused}");
                }
            }
            self.take_enet_events(now);
        }
        more
    }

    pub(super) fn take_enet_events(&mut self, now: Timestamp) {
        while let Some(event) = self.enet.poll_event() {
            match event {
                EnetEvent::Connected {
                    peer,
                    connect_data,
                    from,
                } => self.connect(now, peer, connect_data, from.ip().to_canonical()),
                EnetEvent::Received { peer, bytes, .. } => self.receive(now, peer, &bytes),
                EnetEvent::Disconnected { peer } => {
                    if let Some(number) = self.number_of_peer(peer) {
                        self.suspend(now, number, "its client is gone");
                    }
                }
            }
        }
    }

    fn connect(&mut self, now: Timestamp, peer: Peer, connect_data: u32, from: IpAddr) {
        let streams = self.games.values_mut().filter_map(|it| it.stream.as_mut());
        let stream = streams
            .filter(|it| it.connect_data == connect_data)
            .find(|it| it.announced.as_ref().is_some_and(|it| it.address == from));
        let Some(stream) = stream else {
            log::warn!("{from}: a control stream that is no session's");
            return self.enet.drop_peer(now, peer);
        };
        if let Some(before) = stream.peer.replace(peer) {
            self.enet.drop_peer(now, before);
        }
    }

    fn number_of_peer(&self, peer: Peer) -> Option<u64> {
        let mut games = self.games.values();
        let has = |game: &&Game| game.stream.as_ref().is_some_and(|it| it.peer == Some(peer));
        games.find(has).map(|game| game.number)
    }

    fn receive(&mut self, now: Timestamp, peer: Peer, bytes: &[u8]) {
        let Some(number) = self.number_of_peer(peer) else {
            return;
        };
        let round_trip = self.enet.round_trip(peer).unwrap_or(ROUND_TRIP_AT_FIRST);
        let Some(game) = self.games.get_mut(&number) else {
            return;
        };
        let Some(stream) = game.stream.as_mut() else {
            return;
        };
        let Some(message) = take_message(stream, bytes) else {
            return;
        };
        if let FromClient::Input(event) = message {
            return game.take_input(now, event);
        }
        if let Some(steer) = &mut stream.steer {
            steer.handle_message(now, round_trip, &message);
        }
        game.pass_commands();
    }

    pub(super) fn transmit(&mut self) {
        while let Some(transmit) = self.enet.poll_transmit() {
            let datagram = Datagram {
                to: transmit.to,
                bytes: &transmit.bytes,
            };
            match self.control.send_many(&[datagram]) {
                Ok(_) => {}
                // ENet repeats what matters.
                Err(SendError::Io(error)) => log::warn!("sending to {}: {error}", transmit.to),
                Err(error) => log::debug!("sending to {}: {error}", transmit.to),
            }
        }
    }
}

impl Stream {
    /// Tells the client, if it is there and its queue has room.
    pub(in crate::control::gamestream) fn tell(
        &mut self,
        now: Timestamp,
        enet: &mut EnetHost,
        message: ToClient,
    ) {
        let (Some(peer), Some(announced)) = (self.peer, self.announced.as_mut()) else {
            return;
        };
        let (kind, payload, length) = message.to_wire();
        let sealed = announced.cipher.seal(kind, &payload[..length]);
        let sent = sealed
            .map_err(|error| error.to_string())
            .and_then(|sealed| {
                enet.send(now, peer, 0, &sealed, Delivery::Reliable)
                    .map_err(|error| error.to_string())
            });
        if let Err(text) = sent {
            log::debug!("a client is not told of {message:?}: {text}");
        }
    }
}
