//! The terms of a session: what the host offers, and where its operator overrules the client.

use net::limits::DATAGRAM_BYTES_MAX;
use net::native::{AeadSet, CodecSet, Features, Hello, Offer, RequestedMode};
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
