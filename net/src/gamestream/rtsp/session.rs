//! What one launched session answers, in which order.

use std::fmt::Write as _;

use crate::crypto::Gcm;

use super::super::sdp::{Announced, Description, SdpError, StreamConfig};
use super::super::video::VideoFormat;
use super::{Method, Request, RtspError, SEALED_BIT, SEALED_HEAD_BYTES, SealedRequest, nonce};

/// Longest reason in a status line, characters: the longest of ours has about 160, and clients
/// take answers of some KB.
const REASON_CHARS_MAX: usize = 240;

/// UDP ports of the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// RTP audio.
    pub audio: u16,
    /// RTP video.
    pub video: u16,
    /// ENet.
    pub control: u16,
}

/// What the session is.
#[derive(Clone, Debug)]
pub struct RtspSessionConfig {
    /// Its name, of letters and digits; nobody else can guess it.
    pub session: String,
    /// Its ports.
    pub ports: Ports,
    /// What clients send to the audio port: 16 letters or digits.
    pub audio_ping: [u8; 16],
    /// What they send to the video port.
    pub video_ping: [u8; 16],
    /// What they connect the control stream with.
    pub connect_data: u32,
    /// What the host can do.
    pub description: Description,
    /// The client's key from its launch.
    pub key: [u8; 16],
    /// Requests come encrypted, and none in plain text is taken.
    pub encrypted: bool,
    /// No session without encrypted video and audio.
    pub encryption_required: bool,
}

/// Answers, by their number (RFC 2326 section 7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Status {
    /// Done.
    Ok = 200,
    /// Not understood.
    BadRequest = 400,
    /// Encryption is required.
    Forbidden = 403,
    /// No such stream.
    NotFound = 404,
    /// No such method.
    MethodNotAllowed = 405,
    /// The codec is not offered.
    UnsupportedMediaType = 415,
    /// Not the session's name.
    SessionNotFound = 454,
    /// Not in this order.
    NotValidInThisState = 455,
    /// The host failed.
    InternalError = 500,
    /// No more sessions.
    Unavailable = 503,
}

impl Status {
    const fn phrase(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::BadRequest => "Bad Request",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::UnsupportedMediaType => "Unsupported Media Type",
            Self::SessionNotFound => "Session Not Found",
            Self::NotValidInThisState => "Method Not Valid in This State",
            Self::InternalError => "Internal Server Error",
            Self::Unavailable => "Service Unavailable",
        }
    }
}

/// Why a session description is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceError {
    /// It cannot be read, or asks for what nothing can serve.
    #[error(transparent)]
    Sdp(#[from] SdpError),
    /// The codec is not offered.
    #[error("this host does not encode {0:?}: choose another codec in the client's settings")]
    Codec(VideoFormat),
    /// Video or audio would be in plain text.
    #[error("this host sends encrypted video and sound only: update the client")]
    Plain,
}

impl AnnounceError {
    const fn status(self) -> Status {
        match self {
            Self::Sdp(_) => Status::BadRequest,
            Self::Codec(_) => Status::UnsupportedMediaType,
            Self::Plain => Status::Forbidden,
        }
    }
}

/// What the caller must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RtspEvent {
    /// The client wants this: answer with [`RtspSession::answer_announce`].
    Announced(Announced),
    /// What it wants cannot be served; it was told so.
    Refused(AnnounceError),
    /// It waits for media.
    Play,
}

/// What a request came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// To be written, then the connection to be closed. None waits for
    /// [`RtspSession::answer_announce`].
    pub response: Option<Vec<u8>>,
    /// What happened.
    pub event: Option<RtspEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Setup {
        audio: bool,
        video: bool,
        control: bool,
    },
    /// The caller decides.
    Deciding {
        cseq: u32,
    },
    Announced,
    Playing,
}

/// The machine of one session.
pub struct RtspSession {
    config: RtspSessionConfig,
    gcm: Gcm,
    state: State,
    /// Next message of ours; never used twice under the key.
    sequence: u32,
    /// Highest of the client's.
    client_sequence: Option<u32>,
}

impl RtspSession {
    /// A session was launched.
    #[must_use]
    pub fn new(config: RtspSessionConfig) -> Self {
        Self {
            gcm: Gcm::new(&config.key),
            config,
            state: State::Setup {
                audio: false,
                video: false,
                control: false,
            },
            sequence: 1,
            client_sequence: None,
        }
    }

    /// True once PLAY came.
    #[must_use]
    pub const fn is_playing(&self) -> bool {
        matches!(self.state, State::Playing)
    }

    /// Opens a request; which sequence it had before is refused.
    ///
    /// # Errors
    /// [`RtspError::Sealed`] if it is another session's, [`RtspError::Replayed`],
    /// [`RtspError::Malformed`].
    pub fn open(&mut self, sealed: &SealedRequest) -> Result<Request, RtspError> {
        let request = sealed.open(&self.config.key)?;
        let sequence = sealed.sequence;
        if self
            .client_sequence
            .is_some_and(|highest| sequence <= highest)
        {
            return Err(RtspError::Replayed { sequence });
        }
        self.client_sequence = Some(sequence);
        Ok(request)
    }

    /// Takes a request that came for this session; `sealed` if it was encrypted.
    pub fn handle(&mut self, request: &Request, sealed: bool) -> Step {
        if sealed != self.config.encrypted {
            // Never tell in plain text what was to be secret.
            return answer(plain(request.cseq, Status::Forbidden, None, "", ""));
        }
        let named = request.session.as_ref();
        if named.is_some_and(|named| *named != self.config.session) {
            return self.status(request, Status::SessionNotFound);
        }
        match request.method {
            Method::Options => self.respond(
                request,
                "Public: OPTIONS, DESCRIBE, SETUP, ANNOUNCE, PLAY\r\n",
                "",
            ),
            Method::Describe => self.describe(request),
            Method::Setup => self.setup(request),
            Method::Announce => self.announce(request),
            Method::Play => self.play(request),
            Method::Unknown => self.status(request, Status::MethodNotAllowed),
        }
    }

    /// Answers the ANNOUNCE that [`RtspEvent::Announced`] told of; `Ok` lets the client play, and
    /// a reason takes the place of the status line's phrase (RFC 2326 section 7.1.1), where a
    /// client's log has it. None if there is no such.
    pub fn answer_announce(&mut self, answer: Result<(), (Status, &str)>) -> Option<Vec<u8>> {
        let State::Deciding { cseq } = self.state else {
            return None;
        };
        let (status, reason) = answer.err().unzip();
        let status = status.unwrap_or(Status::Ok);
        self.state = match answer {
            Ok(()) => State::Announced,
            Err(_) => State::Setup {
                audio: true,
                video: true,
                control: true,
            },
        };
        let text = plain(cseq, status, reason, "", "");
        Some(self.seal(text))
    }

    fn describe(&mut self, request: &Request) -> Step {
        let sdp = self.config.description.to_sdp();
        let head = format!(
            "Content-type: application/sdp\r\nContent-length: {}\r\n",
            sdp.len()
        );
        self.respond(request, &head, &sdp)
    }

    fn setup(&mut self, request: &Request) -> Step {
        let State::Setup {
            audio,
            video,
            control,
        } = &mut self.state
        else {
            return self.status(request, Status::NotValidInThisState);
        };
        let name = request.target.split_once("streamid=").map(|(_, name)| name);
        let kind = name.and_then(|name| name.split('/').next());
        let ports = self.config.ports;
        let (done, port) = match kind {
            Some("audio") => (audio, ports.audio),
            Some("video") => (video, ports.video),
            Some("control") => (control, ports.control),
            _ => return self.status(request, Status::NotFound),
        };
        *done = true;
        let secret = match kind {
            Some("control") => format!("X-SS-Connect-Data: {}", self.config.connect_data),
            Some("audio") => ping_line(&self.config.audio_ping),
            _ => ping_line(&self.config.video_ping),
        };
        let session = &self.config.session;
        let head = format!(
            "Session: {session};timeout = 90\r\nTransport: unicast;server_port={port}\r\n{secret}\r\n"
        );
        self.respond(request, &head, "")
    }

    fn announce(&mut self, request: &Request) -> Step {
        let all = State::Setup {
            audio: true,
            video: true,
            control: true,
        };
        if self.state != all {
            return self.status(request, Status::NotValidInThisState);
        }
        if request.session.is_none() {
            return self.status(request, Status::SessionNotFound);
        }
        let mut announced = match self.read(&request.payload) {
            Ok(announced) => announced,
            Err(error) => {
                let reason = error.to_string();
                let text = plain(request.cseq, error.status(), Some(&reason), "", "");
                let mut step = answer(self.seal(text));
                step.event = Some(RtspEvent::Refused(error));
                return step;
            }
        };
        if announced.config.audio.channels == 2 {
            // Stereo's quality is told by the address that the client calls the host by.
            let low = |host: &String| host.contains("0.0.0.0");
            announced.config.audio.high_quality = request.host.as_ref().is_some_and(|it| !low(it));
        }
        self.state = State::Deciding { cseq: request.cseq };
        Step {
            response: None,
            event: Some(RtspEvent::Announced(announced)),
        }
    }

    /// What is announced, if the host has it.
    fn read(&self, sdp: &[u8]) -> Result<Announced, AnnounceError> {
        let announced = StreamConfig::parse(sdp)?;
        let format = announced.config.format;
        let description = &self.config.description;
        let offered = match format {
            VideoFormat::H264 => true,
            VideoFormat::Hevc => description.hevc,
            VideoFormat::Av1 => description.av1,
        };
        if !offered {
            return Err(AnnounceError::Codec(format));
        }
        let encryption = announced.config.encryption;
        if self.config.encryption_required && !(encryption.video && encryption.audio) {
            return Err(AnnounceError::Plain);
        }
        Ok(announced)
    }

    fn play(&mut self, request: &Request) -> Step {
        if request.session.is_none() {
            return self.status(request, Status::SessionNotFound);
        }
        match self.state {
            State::Announced => {
                self.state = State::Playing;
                let mut step = self.status(request, Status::Ok);
                step.event = Some(RtspEvent::Play);
                step
            }
            State::Playing => self.status(request, Status::Ok),
            _ => self.status(request, Status::NotValidInThisState),
        }
    }

    fn status(&mut self, request: &Request, status: Status) -> Step {
        answer(self.seal(plain(request.cseq, status, None, "", "")))
    }

    fn respond(&mut self, request: &Request, head: &str, payload: &str) -> Step {
        answer(self.seal(plain(request.cseq, Status::Ok, None, head, payload)))
    }

    fn seal(&mut self, plain: Vec<u8>) -> Vec<u8> {
        if !self.config.encrypted {
            return plain;
        }
        let sequence = self.sequence;
        self.sequence += 1;
        let mut out = vec![0; SEALED_HEAD_BYTES + plain.len()];
        let (head, sealed) = out.split_at_mut(SEALED_HEAD_BYTES);
        let mut tag = [0; 16];
        self.gcm
            .seal(&nonce(sequence, b'H'), &plain, sealed, &mut tag);
        head[..4].copy_from_slice(&(plain.len() as u32 | SEALED_BIT).to_be_bytes());
        head[4..8].copy_from_slice(&sequence.to_be_bytes());
        head[8..].copy_from_slice(&tag);
        out
    }
}

const fn answer(response: Vec<u8>) -> Step {
    Step {
        response: Some(response),
        event: None,
    }
}

fn ping_line(ping: &[u8; 16]) -> String {
    format!("X-SS-Ping-Payload: {}", String::from_utf8_lossy(ping))
}

fn plain(cseq: u32, status: Status, reason: Option<&str>, head: &str, payload: &str) -> Vec<u8> {
    let mut out = String::with_capacity(128 + REASON_CHARS_MAX + head.len() + payload.len());
    let phrase = reason.map(phrase);
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "RTSP/1.0 {} {}\r\nCSeq: {cseq}\r\n{head}\r\n{payload}",
        status as u16,
        phrase.as_deref().unwrap_or(status.phrase())
    );
    out.into_bytes()
}

/// As it may stand in a status line: one line of plain characters, not too long.
fn phrase(reason: &str) -> String {
    let plain = |it: char| match it {
        ' '..='~' => it,
        _ => '?',
    };
    reason.chars().take(REASON_CHARS_MAX).map(plain).collect()
}
