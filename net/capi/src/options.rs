//! What a program wants of a session, checked.

use std::time::Duration;

use net::audio::Speakers;
use net::client::Trust;
use net::identity::Fingerprint;
use net::limits::DATAGRAM_BYTES_MAX;
use net::native::{AeadSet, CodecSet, Features, FecCodes, Hello, PROTOCOL_VERSION, RequestedMode};
use net::reassemble::Granularity;
use net::units::BitsPerSecond;

use crate::status::Failure;
use crate::types::{
    PUNKTFUNK_CONNECT_CLIPBOARD, PUNKTFUNK_CONNECT_CURSOR, PUNKTFUNK_CONNECT_MICROPHONE,
    PUNKTFUNK_CONNECT_NO_AES, PUNKTFUNK_FEC_NONE, PUNKTFUNK_GRANULARITY_FRAMES,
    PUNKTFUNK_GRANULARITY_SLICES, PUNKTFUNK_TRUST_ASK, PUNKTFUNK_TRUST_FIRST_USE,
    PUNKTFUNK_TRUST_PINNED, PunktfunkConnectOptions,
};

/// The Hello that asks for it.
///
/// # Errors
/// [`Failure::argument`] for what no host can be asked for.
pub fn hello(options: &PunktfunkConnectOptions, name: &str) -> Result<Hello, Failure> {
    let mode = RequestedMode {
        width: options.width,
        height: options.height,
        millihz: options.refresh_millihz,
    };
    mode.check().map_err(Failure::argument)?;
    const KNOWN: u32 = PUNKTFUNK_CONNECT_NO_AES
        | PUNKTFUNK_CONNECT_CLIPBOARD
        | PUNKTFUNK_CONNECT_MICROPHONE
        | PUNKTFUNK_CONNECT_CURSOR;
    if options.flags & !KNOWN != 0 {
        return Err(Failure::argument("flags has bits that are not known"));
    }
    if options.reserved != [0; 6] {
        return Err(Failure::argument("reserved is not zero"));
    }
    let sound = match options.audio_channels {
        0 => Features::NONE,
        channels => Features::sound(
            Speakers::from_channels(channels)
                .ok_or_else(|| Failure::argument("audio_channels is none of 0, 2, 6 and 8"))?,
        ),
    };
    let asked = |flag, feature| match options.flags & flag {
        0 => Features::NONE,
        _ => feature,
    };
    let clipboard = asked(PUNKTFUNK_CONNECT_CLIPBOARD, Features::CLIPBOARD);
    let microphone = asked(PUNKTFUNK_CONNECT_MICROPHONE, Features::MICROPHONE);
    let cursor = asked(PUNKTFUNK_CONNECT_CURSOR, Features::CURSOR);
    Ok(Hello {
        version: PROTOCOL_VERSION,
        mode,
        codecs: CodecSet::H264,
        fec_codes: FecCodes::ALL,
        aeads: if options.flags & PUNKTFUNK_CONNECT_NO_AES == 0 {
            AeadSet::ALL
        } else {
            AeadSet::CHACHA20_POLY1305
        },
        required: Features::NONE,
        optional: sound.union(clipboard).union(microphone).union(cursor),
        slices: options.slices,
        bitrate: BitsPerSecond(options.bitrate),
        fec_percent: match options.fec_percent {
            0 => None,
            PUNKTFUNK_FEC_NONE => Some(0),
            percent => Some(percent),
        },
        datagram_bytes_max: match options.datagram_bytes_max {
            0 => DATAGRAM_BYTES_MAX as u16,
            bytes => bytes,
        },
        name: name.to_owned(),
    })
}

/// How the host is judged.
///
/// # Errors
/// [`Failure::argument`].
pub fn trust(options: &PunktfunkConnectOptions) -> Result<Trust, Failure> {
    match options.trust {
        PUNKTFUNK_TRUST_PINNED => Ok(Trust::Pinned(Fingerprint::from(options.fingerprint))),
        PUNKTFUNK_TRUST_FIRST_USE => Ok(Trust::FirstUse),
        PUNKTFUNK_TRUST_ASK => Ok(Trust::Ask),
        _ => Err(Failure::argument("trust is none of PUNKTFUNK_TRUST_*")),
    }
}

/// In what pieces the decoder takes frames.
///
/// # Errors
/// [`Failure::argument`].
pub fn granularity(options: &PunktfunkConnectOptions) -> Result<Granularity, Failure> {
    match options.granularity {
        PUNKTFUNK_GRANULARITY_FRAMES => Ok(Granularity::Frames),
        PUNKTFUNK_GRANULARITY_SLICES => Ok(Granularity::Slices),
        _ => Err(Failure::argument(
            "granularity is none of PUNKTFUNK_GRANULARITY_*",
        )),
    }
}

/// When to give up.
#[must_use]
pub fn limit(options: &PunktfunkConnectOptions) -> Option<Duration> {
    (options.timeout_ms > 0).then(|| Duration::from_millis(options.timeout_ms.into()))
}
