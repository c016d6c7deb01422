//! From a client's Hello and a host's offer to the session, or to the reason why there is none.

use crate::crypto::Aead;
use crate::limits::{
    BITRATE_MAX, BITRATE_MIN, DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN, FEC_PERCENT_MAX,
    SLICES_PER_FRAME_MAX,
};

use crate::units::{BitsPerSecond, Mode, SliceCount};

use super::PROTOCOL_VERSION;
use super::messages::{
    AeadSet, ClockDomain, Codec, CodecSet, Features, FecCodes, Hello, Refuse, RefuseCode, Welcome,
};

/// What a host can do and prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What its encoders make.
    pub codecs: CodecSet,
    /// What it may seal with.
    pub aeads: AeadSet,
    /// What it has of the protocol's optional parts.
    pub features: Features,
    /// Slices if the client leaves the choice; `None` for as many as pictures of the agreed size
    /// are worth: [`slices_worth`].
    pub slices: Option<SliceCount>,
    /// Most slices of its encoder.
    pub slices_max: SliceCount,
    /// Bitrate if the client leaves the choice.
    pub bitrate: BitsPerSecond,
    /// Highest bitrate that the operator allows.
    pub bitrate_max: BitsPerSecond,
    /// Parity in percent if the client leaves the choice; `None` lets it follow the loss.
    pub fec_percent: Option<u8>,
    /// Largest media datagram that it sends, bytes of UDP payload.
    pub datagram_bytes_max: u16,
}

/// What host and client agree on: a [`Welcome`] without names and session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// What the host encodes.
    pub mode: Mode,
    /// How.
    pub codec: Codec,
    /// What media is sealed with.
    pub aead: Aead,
    /// Parity in percent of the data; `None` if it follows the loss.
    pub fec_percent: Option<u8>,
    /// Features in use.
    pub features: Features,
    /// Slices in a frame.
    pub slices: SliceCount,
    /// Bitrate.
    pub bitrate: BitsPerSecond,
    /// Largest media datagram, bytes of UDP payload.
    pub datagram_bytes_max: u16,
}

impl Agreed {
    /// The Welcome for it.
    #[must_use]
    pub fn welcome(
        self,
        session: [u8; 16],
        clock: ClockDomain,
        host_name: String,
        encoder_name: String,
    ) -> Welcome {
        Welcome {
            session,
            mode: self.mode,
            codec: self.codec,
            aead: self.aead,
            fec_percent: self.fec_percent,
            features: self.features,
            slices: self.slices,
            bitrate: self.bitrate,
            datagram_bytes_max: self.datagram_bytes_max,
            clock,
            host_name,
            encoder_name,
        }
    }
}

/// Finds what both can do. Bitrate and slices above what the host offers are lowered to it.
/// Parity needs a client that recovers both codes; without them there is none.
///
/// # Errors
/// The [`Refuse`] to send.
pub fn negotiate(hello: &Hello, offer: &Offer) -> Result<Agreed, Refuse> {
    if hello.version != PROTOCOL_VERSION {
        return Err(refuse(
            RefuseCode::Version,
            format!(
                "this host speaks version {PROTOCOL_VERSION} of punktfunk, the client version {}: \
                 update the older one",
                hello.version
            ),
        ));
    }
    let missing = hello
        .required
        .without(offer.features.common(Features::KNOWN));
    if !missing.is_empty() {
        return Err(refuse(
            RefuseCode::Feature,
            format!(
                "the client requires features that this host lacks (bits {:#x})",
                missing.0
            ),
        ));
    }
    let mode = hello
        .mode
        .check()
        .map_err(|error| refuse(RefuseCode::Mode, error.to_string()))?;
    if !hello.codecs.common(offer.codecs).contains(Codec::H264) {
        return Err(refuse(
            RefuseCode::Codec,
            "this host encodes H.264, which the client does not decode".to_owned(),
        ));
    }
    let aead = hello.aeads.best_common(offer.aeads).ok_or_else(|| {
        refuse(
            RefuseCode::Aead,
            "host and client have no media encryption in common".to_owned(),
        )
    })?;
    let wanted = hello.required.union(hello.optional);
    let bitrate = agree_bitrate(hello, offer)?;
    let picture_bytes = bitrate.bytes_per_frame(mode.refresh());
    Ok(Agreed {
        mode,
        codec: Codec::H264,
        aead,
        fec_percent: agree_fec_percent(hello, offer),
        features: wanted.common(offer.features).common(Features::KNOWN),
        slices: agree_slices(hello, offer, picture_bytes)?,
        bitrate,
        datagram_bytes_max: agree_datagram_bytes(hello, offer)?,
    })
}

fn agree_fec_percent(hello: &Hello, offer: &Offer) -> Option<u8> {
    if !hello.fec_codes.contains(FecCodes::ALL) {
        return Some(0);
    }
    let wanted = hello.fec_percent.or(offer.fec_percent);
    wanted.map(|percent| percent.min(FEC_PERCENT_MAX))
}

/// Slices that a picture of that many bytes is worth being cut into. Each costs two wake-ups of
/// threads (a tenth of a millisecond of CPU on a virtual machine), so one shall be worth a few
/// datagrams, and 8 are enough for sending to keep up with encoding.
#[must_use]
pub fn slices_worth(picture_bytes: u64) -> SliceCount {
    const SLICE_BYTES: u64 = 5000;
    let slices = (picture_bytes / SLICE_BYTES).clamp(4, 8);
    SliceCount::new(slices as u8).expect("between 4 and 8")
}

fn agree_slices(hello: &Hello, offer: &Offer, picture_bytes: u64) -> Result<SliceCount, Refuse> {
    if hello.slices == 0 {
        let slices = offer.slices.unwrap_or_else(|| slices_worth(picture_bytes));
        return Ok(slices.min(offer.slices_max));
    }
    let Some(slices) = SliceCount::new(hello.slices) else {
        return Err(refuse(
            RefuseCode::Value,
            format!(
                "{} slices: ask for 1 to {SLICES_PER_FRAME_MAX}",
                hello.slices
            ),
        ));
    };
    Ok(slices.min(offer.slices_max))
}

fn agree_bitrate(hello: &Hello, offer: &Offer) -> Result<BitsPerSecond, Refuse> {
    let highest = offer.bitrate_max.min(BitsPerSecond(BITRATE_MAX));
    if hello.bitrate.0 == 0 {
        return Ok(offer.bitrate.min(highest).max(BitsPerSecond(BITRATE_MIN)));
    }
    if !(BITRATE_MIN..=BITRATE_MAX).contains(&hello.bitrate.0) {
        return Err(refuse(
            RefuseCode::Value,
            format!(
                "{} is not a bitrate to stream at: ask for {} to {}",
                hello.bitrate,
                BitsPerSecond(BITRATE_MIN),
                BitsPerSecond(BITRATE_MAX)
            ),
        ));
    }
    Ok(hello.bitrate.min(highest).max(BitsPerSecond(BITRATE_MIN)))
}

fn agree_datagram_bytes(hello: &Hello, offer: &Offer) -> Result<u16, Refuse> {
    let least = hello.datagram_bytes_max.min(offer.datagram_bytes_max);
    if usize::from(least) < DATAGRAM_BYTES_MIN {
        return Err(refuse(
            RefuseCode::Value,
            format!("datagrams of {least} bytes are too small: {DATAGRAM_BYTES_MIN} are needed"),
        ));
    }
    Ok(least.min(DATAGRAM_BYTES_MAX as u16))
}

const fn refuse(code: RefuseCode, text: String) -> Refuse {
    Refuse { code, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pictures_are_cut_less() {
        for (picture_bytes, slices) in
            [(0, 4), (20_833, 4), (41_667, 8), (25_000, 5), (u64::MAX, 8)]
        {
            assert_eq!(
                slices_worth(picture_bytes).get(),
                slices,
                "{picture_bytes} bytes"
            );
        }
    }
}
