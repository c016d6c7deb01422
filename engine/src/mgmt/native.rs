//! The calls about the native protocol: the pairing window and the paired clients. What crosses the
//! wire is the same for who serves and who calls.

use net::identity::Fingerprint;
use net::native::pairing::{WindowEnd, WindowState};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use super::Operators;
use super::routes::Answer;
use crate::trust::clients::{ClientsError, NAME_CHARS_MAX, NativeClient};
use crate::trust::native::Grant;
use crate::trust::rights::Rights;
use crate::trust::wall::unix_s;

/// The body of `openPairing`: what the client that pairs gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairingGrant {
    /// What it is called; left out, that is the client's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it may do; left out, everything.
    #[serde(default)]
    pub rights: Rights,
    /// Until when, seconds since 1970; left out, for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_unix_s: Option<u64>,
}

/// The answer of `openPairing`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingOpened {
    /// Which window.
    pub window: u64,
    /// For the operator's eyes: to be typed at the client.
    pub pin: String,
    /// How long it is open, seconds.
    pub seconds: u64,
}

/// How pairing stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingStatus {
    /// The newest window; 0 before the first.
    pub window: u64,
    /// `open`, `tried` (a client is at it), or how it ended: `none` (never opened), `paired`,
    /// `failed`, `timed out`, `closed`.
    pub state: String,
    /// For how much longer it is open, seconds.
    pub seconds_left: u64,
    /// Attempts that failed since the host began.
    pub failed: u64,
    /// Requests without a window, or while another client was at it.
    pub refused: u64,
    /// Clients that were paired.
    pub paired: u64,
    /// The client that was paired last.
    pub last_fingerprint: Option<String>,
    /// Its name.
    pub last_name: Option<String>,
}

/// A paired client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NativeClientView {
    /// SHA-256 of its certificate.
    pub fingerprint: String,
    /// What it is called.
    pub name: String,
    /// When it was paired, seconds since 1970.
    pub paired_at_unix_s: u64,
    /// What it may do.
    pub rights: Rights,
    /// Until when, seconds since 1970; `None` for ever.
    pub expires_at_unix_s: Option<u64>,
    /// It may no more.
    pub expired: bool,
}

/// The body of `setNativeClient`: what is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NativeSettings {
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rights: Option<Rights>,
    /// Until when, seconds since 1970; null for ever.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub expires_at_unix_s: Option<Option<u64>>,
}

/// Null is something that was given.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(from).map(Some)
}

pub(super) fn open_pairing(operators: &Operators, _: &str, body: &[u8]) -> Answer {
    let call: PairingGrant = match serde_json::from_slice(body) {
        Ok(call) => call,
        Err(error) => return Answer::error(400, &error.to_string()),
    };
    if let Err(text) = check(call.name.as_deref(), Some(&call.rights)) {
        return Answer::error(400, &text);
    }
    let grant = Grant {
        name: call.name,
        rights: call.rights,
        expires_at_unix_s: call.expires_at_unix_s,
    };
    match operators.native.open_window(grant) {
        Ok(opened) => Answer::json(
            200,
            &json!(PairingOpened {
                window: opened.number,
                pin: opened.pin.digits().to_owned(),
                seconds: opened.time.as_secs(),
            }),
        ),
        Err(error) => Answer::error(500, &format!("no PIN can be made: {error}")),
    }
}

pub(super) fn get_pairing(operators: &Operators, _: &str, _: &[u8]) -> Answer {
    let view = operators.native.window();
    let (state, left) = match view.state {
        WindowState::Open(left) => ("open", left.as_secs()),
        WindowState::Tried => ("tried", 0),
        WindowState::Closed(None) => ("none", 0),
        WindowState::Closed(Some(WindowEnd::Paired)) => ("paired", 0),
        WindowState::Closed(Some(WindowEnd::Failed)) => ("failed", 0),
        WindowState::Closed(Some(WindowEnd::TimedOut)) => ("timed out", 0),
        WindowState::Closed(Some(WindowEnd::Closed)) => ("closed", 0),
    };
    let (last_fingerprint, last_name) = view.paired.unzip();
    let status = PairingStatus {
        window: view.number,
        state: state.to_owned(),
        seconds_left: left,
        failed: view.counts.failed,
        refused: view.counts.refused,
        paired: view.counts.paired,
        last_fingerprint: last_fingerprint.map(|it| it.to_string()),
        last_name,
    };
    Answer::json(200, &json!(status))
}

pub(super) fn close_pairing(operators: &Operators, _: &str, _: &[u8]) -> Answer {
    let closed = operators.native.close_window();
    Answer::json(200, &json!({ "closed": closed }))
}

pub(super) fn list(operators: &Operators, _: &str, _: &[u8]) -> Answer {
    let clients = operators.native.clients().list();
    let views: Vec<_> = clients.iter().map(view).collect();
    Answer::json(200, &json!({ "clients": views }))
}

pub(super) fn set(operators: &Operators, fingerprint: &str, body: &[u8]) -> Answer {
    let Ok(fingerprint) = fingerprint.parse::<Fingerprint>() else {
        return Answer::error(400, "this is not a fingerprint");
    };
    let settings: NativeSettings = match serde_json::from_slice(body) {
        Ok(settings) => settings,
        Err(error) => return Answer::error(400, &error.to_string()),
    };
    if let Err(text) = check(settings.name.as_deref(), settings.rights.as_ref()) {
        return Answer::error(400, &text);
    }
    let edited = operators.native.clients().edit(fingerprint, |client| {
        if let Some(name) = settings.name {
            client.name = name;
        }
        if let Some(rights) = settings.rights {
            client.rights = rights;
        }
        if let Some(expires) = settings.expires_at_unix_s {
            client.expires_at_unix_s = expires;
        }
    });
    match edited {
        Ok(Some(client)) => Answer::json(200, &json!(view(&client))),
        Ok(None) => Answer::error(404, "no such client is paired"),
        Err(error) => failed(&error),
    }
}

pub(super) fn unpair(operators: &Operators, fingerprint: &str, _: &[u8]) -> Answer {
    let Ok(fingerprint) = fingerprint.parse() else {
        return Answer::error(400, "this is not a fingerprint");
    };
    match operators.native.clients().remove(fingerprint) {
        Ok(true) => Answer::json(200, &json!({ "unpaired": true })),
        Ok(false) => Answer::error(404, "no such client is paired"),
        Err(error) => failed(&error),
    }
}

fn view(client: &NativeClient) -> NativeClientView {
    NativeClientView {
        fingerprint: client.fingerprint.to_string(),
        name: client.name.clone(),
        paired_at_unix_s: client.paired_at_unix_s,
        rights: client.rights.clone(),
        expires_at_unix_s: client.expires_at_unix_s,
        expired: client.has_expired(unix_s()),
    }
}

fn check(name: Option<&str>, rights: Option<&Rights>) -> Result<(), String> {
    let is_bad = |name: &str| {
        name.trim().is_empty()
            || name.chars().count() > NAME_CHARS_MAX
            || name.chars().any(char::is_control)
    };
    if name.is_some_and(is_bad) {
        return Err(format!("name: it is 1 to {NAME_CHARS_MAX} characters"));
    }
    rights.map_or(Ok(()), Rights::check_names)
}

fn failed(error: &ClientsError) -> Answer {
    let status = match error {
        ClientsError::Full => 409,
        ClientsError::Trust(_) => 500,
    };
    Answer::error(status, &error.to_string())
}
