//! One stock client's session: display and application from launch to cancel, and within it
//! streams, one after the other.
//!
//! ```text
//!            Ready            PLAY, ping, control         silence, new resume
//!  Starting ──────▶ Awaited ─────────────────▶ Streaming ─────────────────▶ Suspended
//!     │                ▲  └── nobody comes ──────────────────────────────────▶ │
//!     ▼ Failed         └─────────── resume, with another mode: Changing ────────┘
//! ```

use std::net::IpAddr;
use std::time::Duration;

use net::gamestream::control::{ControlCipher, NonceKind};
use net::gamestream::enet::Peer;
use net::gamestream::nvhttp::StreamRequest;
use net::gamestream::ping::PingGate;
use net::gamestream::rtsp::{Ports as RtspPorts, RtspSession, RtspSessionConfig};
use net::gamestream::sdp::{Description, Encryption, StreamConfig};
use net::units::{Mode, SliceCount, Timestamp};

use super::Ports;
use super::media::VideoSteer;
use super::sessions::{Client, Granted, Reply};
use super::sound::SoundPeer;
use crate::apps::prep::PREP_TIMEOUT;
use crate::session::{Session, SessionCommand};
use crate::stage::input::InputQueue;

/// A display that does not stand after this long will not: prep commands have half of it, and a
/// compositor 10 s.
pub(super) const START_PATIENCE: Duration = Duration::from_secs(30);
const _: () = assert!(START_PATIENCE.as_secs() >= PREP_TIMEOUT.as_secs() + 10 + 5);
/// From the answer to launch or resume until media flows: a client takes 100 ms.
pub(super) const PLAY_PATIENCE: Duration = Duration::from_secs(15);

/// What the session's display and encoder are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) mode: Mode,
    pub(super) slices_max: SliceCount,
    pub(super) invalidation: bool,
}

/// Where a session stands.
pub(super) enum Stage {
    /// Its display is being made; who launched it waits.
    Starting(Reply<Granted>),
    /// A client was told to come.
    Awaited,
    /// It is there.
    Streaming,
    /// Nobody watches; the application runs on.
    Suspended,
    /// Its display is taking another mode; who wants that waits.
    Changing(Changing),
}

/// Who waits for a display's other mode.
pub(super) enum Changing {
    /// A client that came back over HTTP.
    Resume(Reply<Granted>),
    /// One that came back without a mode and has announced one, as moonlight-python does.
    Announce(AnnounceWaits),
}

/// An ANNOUNCE that is not yet answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnnounceWaits {
    /// RTSP's connection.
    pub(super) connection: usize,
    /// What was announced.
    pub(super) config: StreamConfig,
    /// By whom.
    pub(super) address: IpAddr,
}

/// A client's session.
pub(super) struct Game {
    pub(super) number: u64,
    pub(super) client: Client,
    pub(super) app_name: String,
    /// Something is undone when it is over.
    pub(super) undoes: bool,
    pub(super) stage: Stage,
    /// Since when it has been there.
    pub(super) since: Timestamp,
    pub(super) session: Session,
    /// What the display was last made to have, in the client's words.
    pub(super) mode: Mode,
    /// And what it was last asked to.
    pub(super) mode_wanted: Mode,
    /// Once the display stands.
    pub(super) facts: Option<Facts>,
    /// What the client asked with last.
    pub(super) request: StreamRequest,
    /// From the grant until the stream's end.
    pub(super) stream: Option<Stream>,
    /// The session has not yet been told to suspend: its queue was full.
    pub(super) owes_suspend: bool,
    /// Where its input goes, if the display takes any.
    pub(super) input: Option<InputQueue>,
    /// It was said that its input goes nowhere.
    pub(super) input_refused: bool,
}

/// One stream: from the answer to launch or resume until it is suspended.
pub(super) struct Stream {
    pub(super) rtsp: RtspSession,
    pub(super) session_id: String,
    pub(super) key: [u8; 16],
    /// Begin of sound's initial vectors.
    pub(super) key_id: u32,
    pub(super) connect_data: u32,
    pub(super) video_ping: [u8; 16],
    pub(super) audio_ping: [u8; 16],
    /// It was said that what its client announces cannot be served.
    pub(super) refusal_told: bool,
    /// From ANNOUNCE on.
    pub(super) announced: Option<Announced>,
    /// The control stream, once it is connected.
    pub(super) peer: Option<Peer>,
    /// From the first ping after PLAY on.
    pub(super) steer: Option<VideoSteer>,
    /// Likewise, if there is sound.
    pub(super) sound: Option<SoundPeer>,
}

/// What ANNOUNCE brought.
pub(super) struct Announced {
    pub(super) config: StreamConfig,
    /// RTSP's peer: media and control are this one's.
    pub(super) address: IpAddr,
    pub(super) video: PingGate,
    pub(super) audio: PingGate,
    pub(super) cipher: ControlCipher,
}

impl Game {
    /// Tells the session. False if its queue is full; whoever needs it says it again.
    pub(super) fn command(&self, command: SessionCommand) -> bool {
        self.session.command(command)
    }

    /// Asks the display for another mode. False if the session cannot be told now.
    pub(super) fn ask_for(&mut self, now: Timestamp, mode: Mode) -> bool {
        // Before it is suspended it takes none.
        let asked = !self.owes_suspend && self.command(SessionCommand::SetMode(mode));
        if asked {
            self.mode_wanted = mode;
            self.since = now;
        }
        asked
    }

    /// When the stage it is in has taken too long.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::Starting(_) => Some(self.since + START_PATIENCE),
            Stage::Awaited | Stage::Changing(_) => Some(self.since + PLAY_PATIENCE),
            Stage::Streaming | Stage::Suspended => None,
        }
    }

    /// For a resume: the client's address and key may be others.
    pub(super) fn begin_stream(
        &mut self,
        now: Timestamp,
        ports: Ports,
    ) -> Result<Granted, boring::error::ErrorStack> {
        let invalidation = self.facts.is_some_and(|facts| facts.invalidation);
        let encrypted = self.request.core_version >= 1;
        let stream = Stream::new(ports, &self.request, encrypted, invalidation)?;
        self.stream = Some(stream);
        self.stage = Stage::Awaited;
        self.since = now;
        Ok(Granted {
            encrypted_rtsp: encrypted,
        })
    }
}

impl Stream {
    fn new(
        ports: Ports,
        request: &StreamRequest,
        encrypted: bool,
        invalidation: bool,
    ) -> Result<Self, boring::error::ErrorStack> {
        let key = *request.key.as_bytes();
        let session_id = String::from_utf8_lossy(&secret()?).into_owned();
        let (video_ping, audio_ping) = (secret()?, secret()?);
        let mut connect_data = [0; 4];
        boring::rand::rand_bytes(&mut connect_data)?;
        let connect_data = u32::from_le_bytes(connect_data);
        let rtsp = RtspSession::new(RtspSessionConfig {
            session: session_id.clone(),
            ports: RtspPorts {
                audio: ports.audio(),
                video: ports.video(),
                control: ports.control(),
            },
            audio_ping,
            video_ping,
            connect_data,
            description: Description {
                invalidation,
                supported: Encryption {
                    control_v2: true,
                    video: true,
                    audio: true,
                },
                ..Description::default()
            },
            key,
            encrypted,
            encryption_required: false,
        });
        Ok(Self {
            rtsp,
            session_id,
            key,
            key_id: request.key_id,
            connect_data,
            video_ping,
            audio_ping,
            refusal_told: false,
            announced: None,
            peer: None,
            steer: None,
            sound: None,
        })
    }

    /// The client wants this, from this address.
    pub(super) fn announce(&mut self, config: StreamConfig, address: IpAddr) {
        let nonces = match config.encryption.control_v2 {
            true => NonceKind::Directed,
            false => NonceKind::Legacy,
        };
        self.announced = Some(Announced {
            config,
            address,
            video: PingGate::new(address, self.video_ping, false),
            audio: PingGate::new(address, self.audio_ping, false),
            cipher: ControlCipher::new(self.key, nonces),
        });
    }
}

/// 16 letters and digits that nobody can guess: 64 bits.
fn secret() -> Result<[u8; 16], boring::error::ErrorStack> {
    let mut random = [0; 8];
    boring::rand::rand_bytes(&mut random)?;
    let mut text = [0; 16];
    for (at, byte) in random.iter().enumerate() {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        text[2 * at] = DIGITS[usize::from(byte >> 4)];
        text[2 * at + 1] = DIGITS[usize::from(byte & 15)];
    }
    Ok(text)
}
