//! What a native session's media needs of the control thread: its identifier, keys and limits.

use net::crypto::{
    Direction, EXPORTER_BYTES, EXPORTER_LABEL, MediaKeys, Opener, Sealer, exporter_context,
};
use net::limits::BITRATE_MIN;
use net::native::{Agreed, RepairRequest, RepairWish};
use net::packetize::Protection;
use net::quic::{Link, QuicError};
use net::steering::SteeringConfig;
use net::units::BitsPerSecond;

use crate::stage::encode::EncodeCommand;

/// The encoder is not asked for less: a quarter of a megabit is a readable desktop.
const BITRATE_FLOOR: BitsPerSecond = BitsPerSecond(BITRATE_MIN);

/// What a client's report asks of the encoder.
pub(super) fn repair(request: &RepairRequest) -> EncodeCommand {
    let RepairRequest {
        first_lost,
        newest_lost,
        ..
    } = *request;
    match request.wish {
        RepairWish::Recovery => EncodeCommand::Invalidate {
            first_lost,
            newest_lost,
        },
        RepairWish::Idr => EncodeCommand::Keyframe { newest_lost },
    }
}

/// Random.
pub(super) fn new_session_id() -> std::io::Result<[u8; 16]> {
    let mut id = [0; 16];
    boring::rand::rand_bytes(&mut id).map_err(std::io::Error::other)?;
    Ok(id)
}

/// What seals for the client, and what opens its feedback.
pub(super) fn media_keys(
    link: &mut Link,
    agreed: &Agreed,
    id: &[u8; 16],
) -> Result<(Sealer, Opener), QuicError> {
    let mut keys = |direction| -> Result<MediaKeys, QuicError> {
        let mut exported = [0; EXPORTER_BYTES];
        let context = exporter_context(id, direction);
        link.export(EXPORTER_LABEL, &context, &mut exported)?;
        Ok(MediaKeys::from_exporter(agreed.aead, &mut exported))
    };
    let sealer = Sealer::new(keys(Direction::HostToClient)?);
    let opener = Opener::new(keys(Direction::ClientToHost)?);
    Ok((sealer, opener))
}

/// The path decides between what was agreed and the least that is a picture; not over what
/// operator or client have fixed.
pub(super) const fn steering_config(agreed: &Agreed) -> SteeringConfig {
    SteeringConfig {
        bitrate_min: BITRATE_FLOOR,
        bitrate_max: agreed.bitrate,
        frame_interval: agreed.mode.refresh().interval(),
        protection: match agreed.fec_percent {
            Some(percent) => Some(Protection::at_frame_end(percent)),
            None => None,
        },
        datagram_bytes_max: agreed.datagram_bytes_max as usize,
    }
}
