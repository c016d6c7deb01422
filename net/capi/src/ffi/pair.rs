//! Pairing.

use net::client::{PairError, PairOptions, resolve};
use net::native::pairing::Pin;

use super::session::name;
use super::{guard, read, reference, text, write};
use crate::status::{Failure, PunktfunkStatus};
use crate::types::{
    PUNKTFUNK_DEFAULT_PORT, PUNKTFUNK_NAME_BYTES, PunktfunkPairOptions, PunktfunkPairResult,
};

/// Pairs with a host whose operator has opened a window and told its PIN: one connection, one try,
/// after which the window is closed. The host's fingerprint, which result has afterwards, is to be
/// pinned, and the identity to be kept: the host knows the client by it. Waits within the
/// protocol's time limits, under a minute. result may be NULL; the fingerprint is lost then.
///
/// # Safety
/// `options` and what it points to are valid during the call; `result` is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_pair(
    options: *const PunktfunkPairOptions,
    result: *mut PunktfunkPairResult,
) -> PunktfunkStatus {
    guard(|| {
        // SAFETY: the caller's promise.
        let wanted = unsafe { read(options).and_then(|options| wanted(&options))? };
        if !result.is_null() {
            // A PIN is good for one try: not for one whose outcome has no place.
            // SAFETY: the caller's promise.
            unsafe { super::struct_size(result)? };
        }
        let paired = net::client::pair(wanted);
        if !result.is_null() {
            // SAFETY: the caller's promise.
            unsafe { write(result, &told(&paired))? };
        }
        paired.map(|_| ()).map_err(|error| Failure::from(&error))
    })
}

/// # Safety
/// What `options` points to is valid.
unsafe fn wanted(options: &PunktfunkPairOptions) -> Result<PairOptions, Failure> {
    if options.reserved != 0 {
        return Err(Failure::argument("reserved is not zero"));
    }
    // SAFETY: the caller's promise.
    let (host, pin, name, identity) = unsafe {
        (
            text(options.host, "host")?,
            text(options.pin, "pin")?,
            text(options.name, "name")?,
            reference(options.identity, "identity")?,
        )
    };
    if name.len() >= PUNKTFUNK_NAME_BYTES {
        return Err(Failure::argument("name is longer than 64 bytes"));
    }
    Ok(PairOptions {
        pin: pin.parse::<Pin>().map_err(Failure::argument)?,
        host: resolve(host, PUNKTFUNK_DEFAULT_PORT).map_err(|error| {
            let text = format!("{host} is not a host that can be found: {error}");
            Failure::new(PunktfunkStatus::Unreachable, text)
        })?,
        identity: identity.0.clone(),
        name: name.to_owned(),
    })
}

fn told(paired: &Result<net::client::Paired, PairError>) -> PunktfunkPairResult {
    let paired_with = paired.as_ref().ok();
    PunktfunkPairResult {
        struct_size: 0,
        refuse_code: match paired {
            Err(PairError::Refused { code, .. }) => u32::from(code.to_wire()),
            _ => 0,
        },
        fingerprint: paired_with.map_or([0; 32], |paired| *paired.fingerprint.as_bytes()),
        host_name: name(paired_with.map_or("", |paired| &paired.host_name)),
        reserved: [0; 7],
    }
}
