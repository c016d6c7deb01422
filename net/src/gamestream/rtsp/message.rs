//! One request: collected, opened, parsed.

use crate::crypto::Gcm;

use super::{HEAD_BYTES_MAX, REQUEST_BYTES_MAX, SEALED_BIT, SEALED_HEAD_BYTES, nonce};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// What is there.
    Options,
    /// What the host can do.
    Describe,
    /// A stream's port.
    Setup,
    /// What the client wants.
    Announce,
    /// Begin.
    Play,
    /// Anything else.
    Unknown,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub method: Method,
    /// Of what: an URL or `streamid=…`.
    pub target: String,
    /// The client's number of the request.
    pub cseq: u32,
    /// The session that it names, without parameters.
    pub session: Option<String>,
    /// The address that it calls the host by; `0.0.0.0` asks for little audio.
    pub host: Option<String>,
    /// What follows the head.
    pub payload: Vec<u8>,
}

/// Why there is no request. The connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtspError {
    /// It does not end.
    #[error("the request has more than {max} bytes: no client's is that long")]
    TooLong {
        /// What is read at most, bytes.
        max: usize,
    },
    /// It is not RTSP.
    #[error("the request is not RTSP 1.0 ({what})")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// It opens under no key.
    #[error("the encrypted request does not open under this session's key")]
    Sealed,
    /// Its sequence was used before.
    #[error("the encrypted request repeats sequence {sequence}")]
    Replayed {
        /// Its sequence.
        sequence: u32,
    },
}

const fn malformed<T>(what: &'static str) -> Result<T, RtspError> {
    Err(RtspError::Malformed { what })
}

/// What a connection brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A request in plain text.
    Plain(Request),
    /// One to be opened; the key says whose it is.
    Sealed(SealedRequest),
}

/// An encrypted request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRequest {
    /// The client's number of the message.
    pub sequence: u32,
    tag: [u8; 16],
    sealed: Vec<u8>,
}

impl SealedRequest {
    /// Opens it with a session's key. It stays whole, so that other keys can be tried.
    ///
    /// # Errors
    /// [`RtspError::Sealed`] if this is not the key; [`RtspError::Malformed`] for what was sealed
    /// with it.
    pub fn open(&self, key: &[u8; 16]) -> Result<Request, RtspError> {
        let mut plain = self.sealed.clone();
        if !Gcm::new(key).open(&nonce(self.sequence, b'C'), &mut plain, &self.tag) {
            return Err(RtspError::Sealed);
        }
        match parse(&plain)? {
            Some(request) => Ok(request),
            None => malformed("it is not whole"),
        }
    }
}

/// Collects a connection's request.
#[derive(Debug, Default)]
pub struct RtspReader {
    bytes: Vec<u8>,
}

impl RtspReader {
    /// For one connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what came; the request, once it is whole. What follows it is ignored.
    ///
    /// # Errors
    /// [`RtspError`].
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<Option<Received>, RtspError> {
        let max = REQUEST_BYTES_MAX;
        if self.bytes.len() + bytes.len() > max {
            return Err(RtspError::TooLong { max });
        }
        self.bytes.extend_from_slice(bytes);
        match self.bytes.first() {
            Some(first) if first & 0x80 != 0 => self.sealed(),
            Some(_) => Ok(parse(&self.bytes)?.map(Received::Plain)),
            None => Ok(None),
        }
    }

    fn sealed(&self) -> Result<Option<Received>, RtspError> {
        let Some((head, sealed)) = self.bytes.split_at_checked(SEALED_HEAD_BYTES) else {
            return Ok(None);
        };
        let word = |at: usize| {
            let bytes = [head[at], head[at + 1], head[at + 2], head[at + 3]];
            u32::from_be_bytes(bytes)
        };
        let length = (word(0) & !SEALED_BIT) as usize;
        let max = REQUEST_BYTES_MAX - SEALED_HEAD_BYTES;
        if length > max {
            return Err(RtspError::TooLong { max });
        }
        let mut tag = [0; 16];
        tag.copy_from_slice(&head[8..]);
        Ok(sealed.get(..length).map(|sealed| {
            Received::Sealed(SealedRequest {
                sequence: word(4),
                tag,
                sealed: sealed.to_vec(),
            })
        }))
    }
}

/// The request that `bytes` begin with; none if they are not all of it.
fn parse(bytes: &[u8]) -> Result<Option<Request>, RtspError> {
    let head = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else {
        if bytes.len() >= HEAD_BYTES_MAX {
            return Err(RtspError::TooLong {
                max: HEAD_BYTES_MAX,
            });
        }
        return Ok(None);
    };
    let Ok(text) = str::from_utf8(&head[..end]) else {
        return malformed("its head is not text");
    };
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("RTSP/1.0"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return malformed("its first line");
    };
    let mut request = Request {
        method: method_of(method),
        target: target.to_owned(),
        cseq: 0,
        session: None,
        host: None,
        payload: Vec::new(),
    };
    let mut cseq = None;
    let mut payload_bytes = None;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            return malformed("a header without a colon");
        };
        let value = value.trim();
        if name.eq_ignore_ascii_case("CSeq") {
            set_number(&mut cseq, value)?;
        } else if name.eq_ignore_ascii_case("Content-length") {
            set_number(&mut payload_bytes, value)?;
        } else if name.eq_ignore_ascii_case("Session") {
            let session = value.split(';').next().unwrap_or_default();
            request.session = Some(session.trim().to_owned());
        } else if name.eq_ignore_ascii_case("Host") {
            request.host = Some(value.to_owned());
        }
    }
    let Some(cseq) = cseq else {
        return malformed("it has no CSeq");
    };
    request.cseq = cseq;
    let payload = &bytes[end + 4..];
    let length = payload_bytes.unwrap_or(0) as usize;
    if length > REQUEST_BYTES_MAX - HEAD_BYTES_MAX {
        return Err(RtspError::TooLong {
            max: REQUEST_BYTES_MAX,
        });
    }
    let Some(payload) = payload.get(..length) else {
        return Ok(None);
    };
    request.payload = payload.to_vec();
    Ok(Some(request))
}

fn set_number(place: &mut Option<u32>, value: &str) -> Result<(), RtspError> {
    // `parse` would take a sign.
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    match value.parse() {
        Ok(number) if digits && place.is_none() => {
            *place = Some(number);
            Ok(())
        }
        _ => malformed("a number is none, or stated twice"),
    }
}

fn method_of(word: &str) -> Method {
    match word {
        "OPTIONS" => Method::Options,
        "DESCRIBE" => Method::Describe,
        "SETUP" => Method::Setup,
        "ANNOUNCE" => Method::Announce,
        "PLAY" => Method::Play,
        _ => Method::Unknown,
    }
}
