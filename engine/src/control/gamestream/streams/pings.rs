//! The pings that open a path for video and sound, and the start of the pipeline behind them.

use std::net::SocketAddr;

use net::clock;
use net::gamestream::ping::{Admission, Ping};
use net::gamestream::video::{VideoConfig, VideoPacketizer};
use net::udp::{Dscp, Socket, Wait};
use net::units::{BitsPerSecond, SliceCount, Timestamp};

use super::{RECEIVES_PER_TURN, StreamHost};
use crate::config::HostConfig;
use crate::control::gamestream::media::{VideoSteer, VideoTerms};
use crate::control::gamestream::session::{Facts, Stage, Stream};
use crate::control::gamestream::sound;
use crate::session::{EncodeTerms, SessionCommand, StartMedia};
use crate::stage::cutter::VideoCutter;

/// Datagrams that a batch has at most; the pacer asks for fewer.
const BATCH_DATAGRAMS: usize = 16;

impl StreamHost {
    /// True if more is waiting.
    pub(super) fn take_pings(&mut self) -> bool {
        let video = self.take_pings_of(true);
        let audio = self.take_pings_of(false);
        video || audio
    }

    fn take_pings_of(&mut self, is_video: bool) -> bool {
        let now = clock::now();
        for _ in 0..RECEIVES_PER_TURN {
            let socket = if is_video { &self.video } else { &self.audio };
            match self.receiver.recv(socket, Wait::No) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => {
                    log::debug!("receiving pings: {error}");
                    return false;
                }
            }
            let pings = self.receiver.datagrams().filter_map(|(bytes, from)| {
                let ping = Ping::parse(bytes)?;
                Some((ping, from))
            });
            for (ping, from) in pings.collect::<Vec<_>>() {
                self.take_ping(now, is_video, ping, from);
            }
        }
        true
    }

    fn take_ping(&mut self, now: Timestamp, is_video: bool, ping: Ping, from: SocketAddr) {
        for number in self.games.keys().copied().collect::<Vec<_>>() {
            let Some(game) = self.games.get_mut(&number) else {
                continue;
            };
            let announced = game.stream.as_mut().and_then(|it| it.announced.as_mut());
            let Some(announced) = announced else { continue };
            let gate = match is_video {
                true => &mut announced.video,
                false => &mut announced.audio,
            };
            match gate.handle(from, ping) {
                Admission::Refused => continue,
                Admission::Unchanged => {}
                Admission::Peer(peer) if is_video => {
                    if matches!(game.stage, Stage::Streaming) {
                        // Left out if the queue is full; its next ping is half a second away.
                        let _ = game.command(SessionCommand::Redirect(peer));
                    }
                }
                Admission::Peer(peer) => {
                    if let Some(sound) = game.stream.as_ref().and_then(|it| it.sound.as_ref()) {
                        sound.redirect(peer);
                    }
                }
            }
            self.start_if_due(now, number);
            return;
        }
    }

    /// Starts the pipeline once the client plays and its ping says where it is.
    pub(super) fn start_if_due(&mut self, now: Timestamp, number: u64) {
        let Some(game) = self.games.get_mut(&number) else {
            return;
        };
        if game.owes_suspend || !matches!(game.stage, Stage::Awaited) {
            return;
        }
        let (Some(stream), Some(facts)) = (game.stream.as_mut(), game.facts) else {
            return;
        };
        let peer = stream.announced.as_ref().and_then(|it| it.video.peer());
        let (true, Some(peer)) = (stream.rtsp.is_playing(), peer) else {
            return;
        };
        let slices = game.client.slices.or(self.host.slices);
        let start = start_media(now, stream, facts, &self.host, slices, &self.video, peer);
        match start {
            Ok(mut start) => {
                if self.backends.audio.is_some() {
                    start.audio = sound::start(stream, &self.audio, game.session.metrics());
                }
                game.stage = Stage::Streaming;
                game.since = now;
                if !game.command(SessionCommand::Start(Box::new(start))) {
                    log::warn!("session {number} takes no command");
                    self.suspend(now, number, "it could not be started");
                }
            }
            Err(text) => {
                log::warn!("session {number}: {text}");
                self.end(number, "it could not be started");
            }
        }
    }
}

/// What the session's pipeline needs, and the stream's steering beside it. `slices` are the
/// operator's, where there is such a setting.
fn start_media(
    now: Timestamp,
    stream: &mut Stream,
    facts: Facts,
    host: &HostConfig,
    slices: Option<SliceCount>,
    video: &Socket,
    peer: SocketAddr,
) -> Result<StartMedia, String> {
    let announced = stream.announced.as_ref();
    let config = announced.ok_or("PLAY before ANNOUNCE")?.config;
    let slices = slices.unwrap_or(config.slices).min(facts.slices_max);
    let bitrate = config.bitrate.0;
    let bitrate = BitsPerSecond(host.bitrate.map_or(bitrate, |most| most.0.min(bitrate)));
    let (steer, control) = VideoSteer::new(
        now,
        VideoTerms {
            bitrate,
            packet_bytes: config.packet_bytes,
            refresh: facts.mode.refresh(),
            slices,
            blocks: host.blocks,
            parity_min: config.parity_min,
            fec_percent: host.fec_percent,
        },
    );
    let packetizer = VideoPacketizer::new(&VideoConfig {
        packet_bytes: config.packet_bytes,
        parity_min: config.parity_min,
        protection: control.orders.protection(),
        format: config.format,
        key: config.encryption.video.then_some(stream.key),
        batch_datagrams_max: BATCH_DATAGRAMS,
    })
    .map_err(|error| error.to_string())?;
    let cutter = VideoCutter::new(packetizer, steer.guidance(), slices);
    let encode = EncodeTerms {
        bitrate: steer.orders().bitrate,
        slices,
    };
    stream.steer = Some(steer);
    let socket = video.try_clone().map_err(|error| error.to_string())?;
    Ok(StartMedia {
        cutter: cutter.into(),
        encode: Some(encode),
        socket: socket.marked(config.video_qos.then_some(Dscp::VIDEO)),
        peer,
        control,
        audio: None,
    })
}
