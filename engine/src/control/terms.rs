//! The terms of a session: what the host offers, and where its operator overrules the client.

use net::crypto::{
    Aead, Direction, EXPORTER_BYTES, EXPORTER_LABEL, MediaKeys, Opener, Sealer, exporter_context,
};
use net::limits::DATAGRAM_BYTES_MAX;
use net::native::{AeadSet, CodecSet, Features, Hello, Offer, RequestedMode};
use net::quic::{Link, QuicError};
use net::units::{BitsPerSecond, SliceCount};

use crate::config::{App, DEFAULT_BITRATE, HostConfig};

/// What the operator has set takes the place of what the client asks for.
pub(super) fn overrule(hello: &Hello, config: &HostConfig) -> Hello {
    let mut hello = hello.clone();
    if let Some(mode) = config.mode {
        hello.mode = RequestedMode::from(mode);
    }
    hello.slices = config.slices.map_or(hello.slices, SliceCount::get);
    hello.bitrate = config.bitrate.unwrap_or(hello.bitrate);
    hello.fec_percent = config.fec_percent.or(hello.fec_percent);
    hello
}

/// What clients are offered where the operator has set nothing else.
pub(super) fn offer(config: &HostConfig) -> Offer {
    Offer {
        codecs: CodecSet::H264,
        aeads: AeadSet::ALL,
        features: Features::KNOWN,
        slices: config.slices,
        slices_max: SliceCount::MAX,
        bitrate: config.bitrate.unwrap_or(DEFAULT_BITRATE),
        bitrate_max: BitsPerSecond(net::limits::BITRATE_MAX),
        fec_percent: config.fec_percent,
        datagram_bytes_max: DATAGRAM_BYTES_MAX as u16,
    }
}

/// The command line of what runs on a session's display; empty for nothing.
pub(super) fn app_command(app: &App) -> std::io::Result<Vec<String>> {
    Ok(match app {
        App::None => Vec::new(),
        App::Command(words) => words.clone(),
        App::TestCard => {
            let program = std::env::current_exe()?;
            vec![
                program.to_string_lossy().into_owned(),
                "testcard".to_owned(),
            ]
        }
    })
}

/// A new session's name, random.
pub(super) fn new_session_id() -> std::io::Result<[u8; 16]> {
    let mut id = [0; 16];
    boring::rand::rand_bytes(&mut id).map_err(std::io::Error::other)?;
    Ok(id)
}

/// What seals for the client, and what opens its feedback.
pub(super) fn media_keys(
    link: &mut Link,
    session: &[u8; 16],
    aead: Aead,
) -> Result<(Sealer, Opener), QuicError> {
    let mut keys = |direction| -> Result<MediaKeys, QuicError> {
        let mut exported = [0; EXPORTER_BYTES];
        let context = exporter_context(session, direction);
        link.export(EXPORTER_LABEL, &context, &mut exported)?;
        Ok(MediaKeys::from_exporter(aead, &mut exported))
    };
    let sealer = Sealer::new(keys(Direction::HostToClient)?);
    let opener = Opener::new(keys(Direction::ClientToHost)?);
    Ok((sealer, opener))
}
