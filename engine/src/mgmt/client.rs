//! The caller's side, for `punktfunk pin`, `clients` and `pair-window`: one request to the host
//! whose state directory this is.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

pub use super::native::{
    NativeClientView, NativeSettings, PairingGrant, PairingOpened, PairingStatus,
};
use super::routes::{ClientSettings, PinCall};
use super::{ACCESS_FILE, Access};

/// The host is on this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A PIN's answer comes when the pairing is through.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest answer, bytes: a list of all paired clients.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
const NATIVE_PAIRING: &str = "/api/v1/native/pairing";
const NATIVE_CLIENTS: &str = "/api/v1/native/clients";

/// A call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No host has been here.
    #[error(
        "{path} is not there: no host runs with this state directory; start one, or name its \
         directory with --state-dir"
    )]
    NoHost {
        /// The access file.
        path: PathBuf,
    },
    /// The access file cannot be used.
    #[error("{path} cannot be used: {reason}")]
    Access {
        /// The access file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Nobody listens there any more, or nobody answers.
    #[error("the host does not answer at {address} ({reason}); is it still running?")]
    Unreachable {
        /// Where.
        address: std::net::SocketAddr,
        /// The system's answer.
        reason: String,
    },
    /// The host says no.
    #[error("{0}")]
    Refused(String),
}

/// What became of a PIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinOutcome {
    /// The client is paired.
    Paired {
        /// Which pairing.
        id: u32,
    },
    /// The client has not finished yet.
    Pending {
        /// Which pairing.
        id: u32,
    },
}

/// A pairing that waits for its PIN.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Waiting {
    /// Its number.
    pub id: u32,
    /// IP address of the client.
    pub address: String,
    /// SHA-256 of its certificate.
    pub fingerprint: String,
    /// For how long, seconds.
    pub waits_s: u64,
}

/// A paired client.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PairedClient {
    /// SHA-256 of its certificate.
    pub fingerprint: String,
    /// What the operator calls it.
    pub name: String,
    /// When it was paired, seconds since 1970.
    pub paired_at_unix_s: u64,
    /// Slices of each picture for it; `None` leaves them to the client.
    pub slices: Option<u8>,
}

#[derive(Deserialize)]
struct NativeClients {
    clients: Vec<NativeClientView>,
}

#[derive(Deserialize)]
struct Clients {
    clients: Vec<PairedClient>,
}

#[derive(Deserialize)]
struct Pairings {
    pairings: Vec<Waiting>,
}

#[derive(Deserialize)]
struct Taken {
    id: u32,
    outcome: String,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// How to reach the host with this state directory.
///
/// # Errors
/// [`CallError::NoHost`] and [`CallError::Access`].
pub fn access(state_dir: &Path) -> Result<Access, CallError> {
    let path = state_dir.join(ACCESS_FILE);
    let json = match fs::read(&path) {
        Ok(json) => json,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(CallError::NoHost { path });
        }
        Err(error) => {
            let reason = error.to_string();
            return Err(CallError::Access { path, reason });
        }
    };
    serde_json::from_slice(&json).map_err(|error| CallError::Access {
        path,
        reason: error.to_string(),
    })
}

/// Enters a PIN.
///
/// # Errors
/// See [`CallError`].
pub fn enter_pin(
    access: &Access,
    pin: &str,
    id: Option<u32>,
    name: Option<String>,
) -> Result<PinOutcome, CallError> {
    let pin = PinCall {
        pin: pin.to_owned(),
        id,
        name,
    };
    let body = serde_json::to_string(&pin).expect("texts and numbers are always JSON");
    let (status, body) = call(access, "POST", "/api/v1/gamestream/pin", &body)?;
    match status {
        200 | 202 | 422 => {
            let Taken { id, outcome } = read(status, &body)?;
            match status {
                200 => Ok(PinOutcome::Paired { id }),
                202 => Ok(PinOutcome::Pending { id }),
                _ => Err(CallError::Refused(format!("pairing {id}: {outcome}"))),
            }
        }
        _ => Err(refusal(status, &body)),
    }
}

/// Pairings that wait for a PIN.
///
/// # Errors
/// See [`CallError`].
pub fn waiting(access: &Access) -> Result<Vec<Waiting>, CallError> {
    match call(access, "GET", "/api/v1/gamestream/pairings", "")? {
        (200, body) => Ok(read::<Pairings>(200, &body)?.pairings),
        (status, body) => Err(refusal(status, &body)),
    }
}

/// The paired clients.
///
/// # Errors
/// See [`CallError`].
pub fn clients(access: &Access) -> Result<Vec<PairedClient>, CallError> {
    match call(access, "GET", "/api/v1/gamestream/clients", "")? {
        (200, body) => Ok(read::<Clients>(200, &body)?.clients),
        // A host without GameStream has none.
        (404, _) => Ok(Vec::new()),
        (status, body) => Err(refusal(status, &body)),
    }
}

/// Unpairs a Moonlight client.
///
/// # Errors
/// See [`CallError`].
pub fn unpair(access: &Access, fingerprint: &str) -> Result<(), CallError> {
    let path = format!("/api/v1/gamestream/clients/{fingerprint}");
    expect_200(call(access, "DELETE", &path, "")?).map(|_| ())
}

/// Opens a pairing window of the native protocol.
///
/// # Errors
/// See [`CallError`].
pub fn open_pairing(access: &Access, grant: &PairingGrant) -> Result<PairingOpened, CallError> {
    let body = serde_json::to_string(grant).expect("texts and numbers are always JSON");
    let body = expect_200(call(access, "POST", NATIVE_PAIRING, &body)?)?;
    read(200, &body)
}

/// How pairing stands.
///
/// # Errors
/// See [`CallError`].
pub fn pairing(access: &Access) -> Result<PairingStatus, CallError> {
    read(200, &expect_200(call(access, "GET", NATIVE_PAIRING, "")?)?)
}

/// Closes the window.
///
/// # Errors
/// See [`CallError`].
pub fn close_pairing(access: &Access) -> Result<(), CallError> {
    expect_200(call(access, "DELETE", NATIVE_PAIRING, "")?).map(|_| ())
}

/// The paired clients of the native protocol.
///
/// # Errors
/// See [`CallError`].
pub fn native_clients(access: &Access) -> Result<Vec<NativeClientView>, CallError> {
    let body = expect_200(call(access, "GET", NATIVE_CLIENTS, "")?)?;
    Ok(read::<NativeClients>(200, &body)?.clients)
}

/// Changes a client of the native protocol; what it is after that.
///
/// # Errors
/// See [`CallError`].
pub fn set_native(
    access: &Access,
    fingerprint: &str,
    settings: &NativeSettings,
) -> Result<NativeClientView, CallError> {
    let body = serde_json::to_string(settings).expect("texts and numbers are always JSON");
    let path = format!("{NATIVE_CLIENTS}/{fingerprint}");
    read(200, &expect_200(call(access, "PATCH", &path, &body)?)?)
}

/// Unpairs a client of the native protocol; its session ends.
///
/// # Errors
/// See [`CallError`].
pub fn unpair_native(access: &Access, fingerprint: &str) -> Result<(), CallError> {
    let path = format!("{NATIVE_CLIENTS}/{fingerprint}");
    expect_200(call(access, "DELETE", &path, "")?).map(|_| ())
}

fn expect_200((status, body): (u16, String)) -> Result<String, CallError> {
    match status {
        200 => Ok(body),
        _ => Err(refusal(status, &body)),
    }
}

/// Sets the slices of each picture that a client gets from its next stream on; `None` leaves them
/// to the client.
///
/// # Errors
/// See [`CallError`].
pub fn set_slices(access: &Access, fingerprint: &str, slices: Option<u8>) -> Result<(), CallError> {
    let path = format!("/api/v1/gamestream/clients/{fingerprint}");
    let settings = ClientSettings { slices };
    let body = serde_json::to_string(&settings).expect("numbers are always JSON");
    match call(access, "PATCH", &path, &body)? {
        (200, _) => Ok(()),
        (status, body) => Err(refusal(status, &body)),
    }
}

fn read<'a, T: Deserialize<'a>>(status: u16, body: &'a str) -> Result<T, CallError> {
    serde_json::from_str(body)
        .map_err(|_| CallError::Refused(format!("the host answered with status {status}")))
}

fn refusal(status: u16, body: &str) -> CallError {
    match read::<Refusal>(status, body) {
        Ok(refusal) => CallError::Refused(refusal.error),
        Err(garbled) => garbled,
    }
}

/// Status and body.
fn call(access: &Access, method: &str, path: &str, body: &str) -> Result<(u16, String), CallError> {
    let Access { address, token } = access;
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(address, CONNECT_TIMEOUT)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(CONNECT_TIMEOUT))?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n\
             {body}",
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
        Ok(answer)
    };
    let unreachable = |reason: String| CallError::Unreachable {
        address: *address,
        reason,
    };
    let answer = exchange().map_err(|error| unreachable(error.to_string()))?;
    let status = answer.split(' ').nth(1).and_then(|text| text.parse().ok());
    match (status, answer.split_once("\r\n\r\n")) {
        (Some(status), Some((_, body))) => Ok((status, body.to_owned())),
        _ => Err(unreachable("its answer is not HTTP".to_owned())),
    }
}
