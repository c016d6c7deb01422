//! What GameStream clients ask over HTTP and HTTPS, and what they are told: requests parsed into
//! types, answers as XML.
//!
//! Every field that a host can act on is read here and nowhere else; all other fields (`uuid`,
//! `additionalStates`, `devicename`'s constant text, `clientHdrCap…`, `remoteControllersBitmap`,
//! which repeats `gcmap`) are knowingly passed over. The names are those that moonlight-qt's
//! `NvHTTP` and moonlight-embedded's `libgamestream` send.

mod answers;
#[cfg(test)]
mod tests;

use std::fmt;

use zeroize::Zeroize;

use super::http::{HttpRequest, Query};
use crate::units::Mode;

pub use answers::{
    AppEntry, CodecModes, HostFacts, app_list, cancelled, challenge_response, error, launched,
    not_found, paired, pairing_secret, resumed, server_certificate, server_info, unauthorised,
    unpaired,
};

/// Longest `uniqueid`, bytes: clients send 16 hexadecimal digits.
pub const UNIQUE_ID_BYTES_MAX: usize = 64;
/// Longest certificate of a client, bytes of PEM.
pub const CERTIFICATE_BYTES_MAX: usize = 6 * 1024;
const _: () = assert!(2 * CERTIFICATE_BYTES_MAX < super::http::REQUEST_BYTES_MAX);
/// RSA-4096, the largest key that is accepted, signs with 512 bytes.
pub const SIGNATURE_BYTES_MAX: usize = 512;

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `/serverinfo`
    ServerInfo,
    /// `/pair`
    Pair {
        /// Who.
        client: UniqueId,
        /// Which of the five steps.
        step: PairStep,
    },
    /// `/unpair`
    Unpair {
        /// Who.
        client: UniqueId,
    },
    /// `/applist`
    AppList,
    /// `/appasset`: the picture of an application.
    AppAsset(AppId),
    /// `/launch`
    Launch(LaunchRequest),
    /// `/resume`
    Resume(ResumeRequest),
    /// `/cancel`: end the session and its application.
    Cancel,
}

/// Why a request is refused. The message is what the client's user may see.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is no such path.
    #[error("there is nothing at this path")]
    NotFound,
    /// A field is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field is there more than once.
    #[error("{0} is given more than once")]
    Repeated(&'static str),
    /// A field cannot be read.
    #[error("{field} is not valid: {reason}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What it should be.
        reason: String,
    },
}

/// What a client calls itself: constant for many clients, so it tells nobody apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UniqueId(String);

/// Number of an application, as `applist` gives it: 1 to 2³¹ − 1, because clients read it as int.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppId(u32);

/// One of the five steps of pairing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PairStep {
    /// `phrase=getservercert`: begins, and waits for the PIN.
    GetServerCert {
        /// Goes into the key together with the PIN.
        salt: [u8; 16],
        /// The client's certificate, PEM; not yet looked into.
        certificate: Vec<u8>,
    },
    /// `clientchallenge`: one encrypted block.
    ClientChallenge([u8; 16]),
    /// `serverchallengeresp`: an encrypted SHA-256.
    ServerChallengeResponse([u8; 32]),
    /// `clientpairingsecret`
    ClientPairingSecret {
        /// What the client's hash was made with.
        secret: [u8; 16],
        /// Its signature.
        signature: Vec<u8>,
    },
    /// `phrase=pairchallenge`, over HTTPS: does the host know me now?
    PairChallenge,
}

/// The AES-128 key of a session, made by its client. Wiped when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteInputKey([u8; 16]);

/// Sound as the client wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SurroundInfo {
    /// 2, 6 or 8.
    pub channels: u8,
    /// Speakers, as WAVEFORMATEXTENSIBLE numbers them.
    pub mask: u16,
}

/// What `launch` and `resume` have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRequest {
    /// Who, in its own words.
    pub client: Option<UniqueId>,
    /// `rikey`: encrypts control, input, sound and RTSP.
    pub key: RemoteInputKey,
    /// `rikeyid`: first four bytes of initialisation vectors, big-endian.
    pub key_id: u32,
    /// `surroundAudioInfo`; stereo if it is not there.
    pub surround: SurroundInfo,
    /// `surroundParams`: the client's own channel mapping, digits, which nothing follows.
    pub surround_params: Option<String>,
    /// `continuousAudio`: send sound while it is silent.
    pub continuous_audio: bool,
    /// `localAudioPlayMode`: the host's speakers play too. Not in every `resume`.
    pub local_audio: Option<bool>,
    /// `gcmap`: bit n, controller n is connected.
    pub controllers: u32,
    /// `gcpersist`: controllers stay when the client goes.
    pub controllers_persist: bool,
    /// `hdrMode`
    pub hdr: bool,
    /// `corever`: from 1 on the client encrypts RTSP.
    pub core_version: u32,
}

/// `/launch`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchRequest {
    /// Which application.
    pub app: AppId,
    /// `mode`: the display to be made.
    pub mode: Mode,
    /// `sops`: the host may change the application's settings. There is nothing that it would.
    pub optimise: bool,
    /// The stream.
    pub stream: StreamRequest,
}

/// `/resume`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumeRequest {
    /// `mode`, where the client says it: it may be another one than at `launch`.
    pub mode: Option<Mode>,
    /// The stream.
    pub stream: StreamRequest,
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn parse(http: &HttpRequest) -> Result<Self, RequestError> {
        let fields = Fields(&http.query);
        match http.path.as_str() {
            "/serverinfo" => Ok(Self::ServerInfo),
            "/pair" => Ok(Self::Pair {
                client: fields.required("uniqueid")?,
                step: pair_step(&fields)?,
            }),
            "/unpair" => Ok(Self::Unpair {
                client: fields.required("uniqueid")?,
            }),
            "/applist" => Ok(Self::AppList),
            "/appasset" => Ok(Self::AppAsset(fields.required("appid")?)),
            "/launch" => Ok(Self::Launch(LaunchRequest {
                app: fields.required("appid")?,
                mode: fields.required::<FpsMode>("mode")?.0,
                optimise: fields.switch("sops")?.unwrap_or(false),
                stream: stream(&fields)?,
            })),
            "/resume" => Ok(Self::Resume(ResumeRequest {
                mode: fields.optional::<FpsMode>("mode")?.map(|mode| mode.0),
                stream: stream(&fields)?,
            })),
            "/cancel" => Ok(Self::Cancel),
            _ => Err(RequestError::NotFound),
        }
    }
}

impl RequestError {
    /// GameStream's status code for it.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::NotFound => 404,
            _ => 400,
        }
    }
}

fn pair_step(fields: &Fields<'_>) -> Result<PairStep, RequestError> {
    match fields.text("phrase")? {
        Some("getservercert") => Ok(PairStep::GetServerCert {
            salt: fields.required::<Block<16>>("salt")?.0,
            certificate: fields.bytes("clientcert", CERTIFICATE_BYTES_MAX)?,
        }),
        Some("pairchallenge") => Ok(PairStep::PairChallenge),
        Some(_) => Err(RequestError::Invalid {
            field: "phrase",
            reason: "it is getservercert or pairchallenge".to_owned(),
        }),
        None => {
            if let Some(Block(challenge)) = fields.optional("clientchallenge")? {
                Ok(PairStep::ClientChallenge(challenge))
            } else if let Some(Block(hash)) = fields.optional("serverchallengeresp")? {
                Ok(PairStep::ServerChallengeResponse(hash))
            } else {
                let bytes = fields.bytes("clientpairingsecret", 16 + SIGNATURE_BYTES_MAX)?;
                let (secret, signature) =
                    bytes
                        .split_first_chunk::<16>()
                        .ok_or_else(|| RequestError::Invalid {
                            field: "clientpairingsecret",
                            reason: "it is 16 bytes and a signature".to_owned(),
                        })?;
                Ok(PairStep::ClientPairingSecret {
                    secret: *secret,
                    signature: signature.to_vec(),
                })
            }
        }
    }
}

fn stream(fields: &Fields<'_>) -> Result<StreamRequest, RequestError> {
    let surround_params = fields.optional::<Digits>("surroundParams")?;
    Ok(StreamRequest {
        client: fields.optional("uniqueid")?,
        key: RemoteInputKey(fields.required::<Block<16>>("rikey")?.0),
        key_id: fields.required::<KeyId>("rikeyid")?.0,
        surround: fields
            .optional("surroundAudioInfo")?
            .unwrap_or(SurroundInfo::STEREO),
        surround_params: surround_params.map(|digits| digits.0),
        continuous_audio: fields.switch("continuousAudio")?.unwrap_or(false),
        local_audio: fields.switch("localAudioPlayMode")?,
        controllers: fields.optional::<Number>("gcmap")?.map_or(0, |n| n.0),
        controllers_persist: fields.switch("gcpersist")?.unwrap_or(false),
        hdr: fields.switch("hdrMode")?.unwrap_or(false),
        core_version: fields.optional::<Number>("corever")?.map_or(0, |n| n.0),
    })
}

/// Typed access to the query.
struct Fields<'a>(&'a Query);

impl Fields<'_> {
    fn text(&self, name: &'static str) -> Result<Option<&str>, RequestError> {
        self.0.get(name).map_err(|_| RequestError::Repeated(name))
    }

    fn optional<T: Field>(&self, name: &'static str) -> Result<Option<T>, RequestError> {
        let parse = |text| {
            T::parse(text).map_err(|reason| RequestError::Invalid {
                field: name,
                reason,
            })
        };
        self.text(name)?.map(parse).transpose()
    }

    fn required<T: Field>(&self, name: &'static str) -> Result<T, RequestError> {
        self.optional(name)?.ok_or(RequestError::Missing(name))
    }

    fn switch(&self, name: &'static str) -> Result<Option<bool>, RequestError> {
        Ok(self.optional::<Number>(name)?.map(|n| n.0 != 0))
    }

    fn bytes(&self, name: &'static str, bytes_max: usize) -> Result<Vec<u8>, RequestError> {
        let text = self.text(name)?.ok_or(RequestError::Missing(name))?;
        let mut bytes = vec![0; text.len() / 2];
        if text.len() > 2 * bytes_max || from_hex(text, &mut bytes).is_none() {
            return Err(RequestError::Invalid {
                field: name,
                reason: format!("it is at most {bytes_max} bytes in hexadecimal digits"),
            });
        }
        Ok(bytes)
    }
}

/// A value that reads itself, or says what it should be.
trait Field: Sized {
    fn parse(text: &str) -> Result<Self, String>;
}

/// Bytes as hexadecimal digits.
struct Block<const N: usize>([u8; N]);

impl<const N: usize> Field for Block<N> {
    fn parse(text: &str) -> Result<Self, String> {
        let mut bytes = [0; N];
        from_hex(text, &mut bytes).ok_or(format!("it is {} hexadecimal digits", 2 * N))?;
        Ok(Self(bytes))
    }
}

/// Fills `bytes`; `None` if the text is not exactly that long or has other characters.
fn from_hex(text: &str, bytes: &mut [u8]) -> Option<()> {
    if text.len() != 2 * bytes.len() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(())
}

struct Number(u32);

impl Field for Number {
    fn parse(text: &str) -> Result<Self, String> {
        let number = text.parse().map_err(|_| "it is a number".to_owned())?;
        Ok(Self(number))
    }
}

/// A signed number of 32 bits, which some clients write unsigned.
struct KeyId(u32);

impl Field for KeyId {
    fn parse(text: &str) -> Result<Self, String> {
        let signed = || text.parse::<i32>().map(i32::cast_unsigned);
        let number = text.parse::<u32>().or_else(|_| signed());
        Ok(Self(
            number.map_err(|_| "it is a 32-bit number".to_owned())?,
        ))
    }
}

/// Channel count, streams, coupled streams and mapping: 3 to 11 digits.
struct Digits(String);

impl Field for Digits {
    fn parse(text: &str) -> Result<Self, String> {
        if text.len() <= 16 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err("it is at most 16 digits".to_owned())
        }
    }
}

/// `1920x1080x60`
struct FpsMode(Mode);

impl Field for FpsMode {
    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split('x').map(str::parse::<u32>);
        let (Some(Ok(width)), Some(Ok(height)), Some(Ok(fps)), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("it is WIDTHxHEIGHTxFPS".to_owned());
        };
        let mode = Mode::new(width, height, fps.saturating_mul(1000));
        mode.map(Self).map_err(|error| error.to_string())
    }
}

impl Field for UniqueId {
    fn parse(text: &str) -> Result<Self, String> {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if plain && (1..=UNIQUE_ID_BYTES_MAX).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "it is 1 to {UNIQUE_ID_BYTES_MAX} letters and digits"
            ))
        }
    }
}

impl Field for AppId {
    fn parse(text: &str) -> Result<Self, String> {
        let id = text.parse().ok().and_then(Self::new);
        id.ok_or("it is the number of an application".to_owned())
    }
}

impl Field for SurroundInfo {
    fn parse(text: &str) -> Result<Self, String> {
        let Number(bits) = Number::parse(text)?;
        let [channels, zero, mask @ ..] = bits.to_le_bytes();
        match channels {
            2 | 6 | 8 if zero == 0 => Ok(Self {
                channels,
                mask: u16::from_le_bytes(mask),
            }),
            _ => Err("it asks for 2, 6 or 8 channels".to_owned()),
        }
    }
}

impl UniqueId {
    /// 1 to [`UNIQUE_ID_BYTES_MAX`] letters and digits.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Self::parse(text).ok()
    }
}

impl fmt::Display for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AppId {
    /// From 1 to 2³¹ − 1.
    #[must_use]
    pub const fn new(id: u32) -> Option<Self> {
        if id >= 1 && id <= i32::MAX as u32 {
            Some(Self(id))
        } else {
            None
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl SurroundInfo {
    /// Front left and right.
    pub const STEREO: Self = Self {
        channels: 2,
        mask: 3,
    };
}

impl RemoteInputKey {
    /// The key's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<[u8; 16]> for RemoteInputKey {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl Drop for RemoteInputKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for RemoteInputKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemoteInputKey(..)")
    }
}
