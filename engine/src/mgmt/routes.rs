//! The calls themselves, in one table: what serves them and what describes them are the same.

use net::gamestream::pairing::{PairingEnd, PairingId, Pin, PinError};
use net::units::SliceCount;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Operators, native};
use crate::control::gamestream::paired::NAME_CHARS_MAX;
use crate::control::gamestream::{Operator, OperatorError, PinTaken};

/// One call.
pub(super) struct Route {
    /// `get`, `post`, `patch` or `delete`.
    pub(super) method: &'static str,
    /// `{…}` stands for one segment.
    pub(super) path: &'static str,
    pub(super) operation: &'static str,
    pub(super) summary: &'static str,
    pub(super) needs_token: bool,
    /// The schema of the body that it takes.
    pub(super) takes_body: Option<&'static str>,
    /// Status, what it means, and the schema of the body (none: a page).
    pub(super) answers: &'static [(u16, &'static str, Option<&'static str>)],
    pub(super) handle: fn(&Operators, &str, &[u8]) -> Answer,
}

/// All calls.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: "get",
        path: "/",
        operation: "page",
        summary: "A page to enter a PIN with.",
        needs_token: false,
        takes_body: None,
        answers: &[(
            200,
            "HTML; the token is in the fragment of its address",
            None,
        )],
        handle: |_, _, _| Answer::page("text/html; charset=utf-8", include_str!("page.html")),
    },
    Route {
        method: "get",
        path: "/page.js",
        operation: "pageScript",
        summary: "What the page runs.",
        needs_token: false,
        takes_body: None,
        answers: &[(200, "JavaScript", None)],
        handle: |_, _, _| Answer::page("text/javascript; charset=utf-8", include_str!("page.js")),
    },
    Route {
        method: "get",
        path: "/page.css",
        operation: "pageStyle",
        summary: "What the page looks like.",
        needs_token: false,
        takes_body: None,
        answers: &[(200, "CSS", None)],
        handle: |_, _, _| Answer::page("text/css; charset=utf-8", include_str!("page.css")),
    },
    Route {
        method: "get",
        path: "/api/v1/gamestream/pairings",
        operation: "listPairings",
        summary: "Pairings that wait for a PIN, oldest first.",
        needs_token: true,
        takes_body: None,
        answers: &[(200, "the list", Some("Pairings"))],
        handle: |it, argument, body| moonlight(it, list_pairings, argument, body),
    },
    Route {
        method: "post",
        path: "/api/v1/gamestream/pin",
        operation: "enterPin",
        summary: "Enter the PIN that a client shows; waits some seconds for the pairing's end.",
        needs_token: true,
        takes_body: Some("PinCall"),
        answers: &[
            (200, "the client is paired", Some("PinTaken")),
            (
                202,
                "the PIN was taken, the client has not finished yet",
                Some("PinTaken"),
            ),
            (400, "the body is not what it should be", Some("Error")),
            (404, "no such pairing waits for a PIN", Some("Error")),
            (
                409,
                "several pairings wait, or one is just completing",
                Some("Error"),
            ),
            (
                422,
                "the pairing failed: the PIN was wrong, mostly",
                Some("PinTaken"),
            ),
        ],
        handle: |it, argument, body| moonlight(it, enter_pin, argument, body),
    },
    Route {
        method: "get",
        path: "/api/v1/gamestream/clients",
        operation: "listClients",
        summary: "The paired clients.",
        needs_token: true,
        takes_body: None,
        answers: &[(200, "the list", Some("Clients"))],
        handle: |it, argument, body| moonlight(it, list_clients, argument, body),
    },
    Route {
        method: "patch",
        path: "/api/v1/gamestream/clients/{fingerprint}",
        operation: "setClient",
        summary: "Set what a client gets from its next stream on.",
        needs_token: true,
        takes_body: Some("ClientSettings"),
        answers: &[
            (200, "it is set and kept", Some("ClientSettings")),
            (
                400,
                "fingerprint or body are not what they should be",
                Some("Error"),
            ),
            (404, "no such client is paired", Some("Error")),
        ],
        handle: |it, argument, body| moonlight(it, set_client, argument, body),
    },
    Route {
        method: "delete",
        path: "/api/v1/gamestream/clients/{fingerprint}",
        operation: "unpairClient",
        summary: "Unpair a client and end its session.",
        needs_token: true,
        takes_body: None,
        answers: &[
            (200, "it is no longer paired", Some("Unpaired")),
            (400, "this is not a fingerprint", Some("Error")),
            (404, "no such client is paired", Some("Error")),
        ],
        handle: |it, argument, body| moonlight(it, unpair_client, argument, body),
    },
    Route {
        method: "get",
        path: "/api/v1/native/pairing",
        operation: "getPairing",
        summary: "How pairing by the native protocol stands.",
        needs_token: true,
        takes_body: None,
        answers: &[(200, "the newest window", Some("PairingStatus"))],
        handle: native::get_pairing,
    },
    Route {
        method: "post",
        path: "/api/v1/native/pairing",
        operation: "openPairing",
        summary: "Open a window of two minutes for one client and one try, in place of an open one.",
        needs_token: true,
        takes_body: Some("PairingGrant"),
        answers: &[
            (
                200,
                "it is open; the PIN is for the operator's eyes",
                Some("PairingOpened"),
            ),
            (400, "the body is not what it should be", Some("Error")),
        ],
        handle: native::open_pairing,
    },
    Route {
        method: "delete",
        path: "/api/v1/native/pairing",
        operation: "closePairing",
        summary: "Close the window.",
        needs_token: true,
        takes_body: None,
        answers: &[(200, "none is open", Some("PairingClosed"))],
        handle: native::close_pairing,
    },
    Route {
        method: "get",
        path: "/api/v1/native/clients",
        operation: "listNativeClients",
        summary: "The paired clients of the native protocol.",
        needs_token: true,
        takes_body: None,
        answers: &[(200, "the list", Some("NativeClients"))],
        handle: native::list,
    },
    Route {
        method: "patch",
        path: "/api/v1/native/clients/{fingerprint}",
        operation: "setNativeClient",
        summary: "Change a client; a session that loses a right by that ends.",
        needs_token: true,
        takes_body: Some("NativeSettings"),
        answers: &[
            (200, "it is changed and kept", Some("NativeClient")),
            (
                400,
                "fingerprint or body are not what they should be",
                Some("Error"),
            ),
            (404, "no such client is paired", Some("Error")),
        ],
        handle: native::set,
    },
    Route {
        method: "delete",
        path: "/api/v1/native/clients/{fingerprint}",
        operation: "unpairNativeClient",
        summary: "Unpair a client and end its session.",
        needs_token: true,
        takes_body: None,
        answers: &[
            (200, "it is no longer paired", Some("Unpaired")),
            (400, "this is not a fingerprint", Some("Error")),
            (404, "no such client is paired", Some("Error")),
        ],
        handle: native::unpair,
    },
];

/// A call about GameStream, on a host that serves it.
fn moonlight(
    operators: &Operators,
    handle: fn(&Operator, &str, &[u8]) -> Answer,
    argument: &str,
    body: &[u8],
) -> Answer {
    match &operators.gamestream {
        Some(operator) => handle(operator, argument, body),
        None => {
            let text = "this host serves no Moonlight clients; start it with --gamestream";
            Answer::error(404, text)
        }
    }
}

/// What goes back.
pub(super) struct Answer {
    pub(super) status: u16,
    content: &'static str,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self {
            status,
            content: "application/json",
            body: value.to_string().into_bytes(),
        }
    }

    pub(super) fn error(status: u16, message: &str) -> Self {
        Self::json(status, &json!({ "error": message }))
    }

    fn page(content: &'static str, text: &str) -> Self {
        Self {
            status: 200,
            content,
            body: text.as_bytes().to_vec(),
        }
    }

    pub(super) fn headers(&self) -> [(&'static str, &'static str); 6] {
        [
            ("Content-Type", self.content),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            (
                "Content-Security-Policy",
                "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; \
                 frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
            ),
        ]
    }
}

/// The route, and what stands for its `{…}`.
pub(super) fn find<'a>(method: &str, path: &'a str) -> Option<(&'static Route, &'a str)> {
    ROUTES
        .iter()
        .filter(|route| route.method == method)
        .find_map(|route| match route.path.split_once('{') {
            None => (route.path == path).then_some((route, "")),
            Some((before, _)) => {
                let argument = path.strip_prefix(before)?;
                (!argument.is_empty() && !argument.contains('/')).then_some((route, argument))
            }
        })
}

fn list_pairings(operator: &Operator, _: &str, _: &[u8]) -> Answer {
    match operator.waiting() {
        Ok(pairings) => {
            let list = pairings.iter().map(|it| {
                json!({
                    "id": it.id.0,
                    "address": it.address,
                    "fingerprint": it.fingerprint.to_string(),
                    "waits_s": it.waits_s,
                })
            });
            Answer::json(200, &json!({ "pairings": list.collect::<Vec<_>>() }))
        }
        Err(error) => failed(&error),
    }
}

fn list_clients(operator: &Operator, _: &str, _: &[u8]) -> Answer {
    match operator.clients() {
        Ok(clients) => {
            let list = clients.iter().map(|it| {
                json!({
                    "fingerprint": it.fingerprint.to_string(),
                    "name": it.name,
                    "paired_at_unix_s": it.paired_at_unix_s,
                    "slices": it.slices.map(SliceCount::get),
                })
            });
            Answer::json(200, &json!({ "clients": list.collect::<Vec<_>>() }))
        }
        Err(error) => failed(&error),
    }
}

fn unpair_client(operator: &Operator, fingerprint: &str, _: &[u8]) -> Answer {
    let Ok(fingerprint) = fingerprint.parse() else {
        return Answer::error(400, "this is not a fingerprint");
    };
    match operator.unpair(fingerprint) {
        Ok(true) => Answer::json(200, &json!({ "unpaired": true })),
        Ok(false) => Answer::error(404, "no such client is paired"),
        Err(error) => failed(&error),
    }
}

/// The body of `setClient`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientSettings {
    /// Null leaves them to the client. It must be there: a setting that is left out by mistake
    /// would be taken back.
    #[serde(deserialize_with = "Option::deserialize")]
    pub(super) slices: Option<u8>,
}

fn set_client(operator: &Operator, fingerprint: &str, body: &[u8]) -> Answer {
    let Ok(fingerprint) = fingerprint.parse() else {
        return Answer::error(400, "this is not a fingerprint");
    };
    let settings: ClientSettings = match serde_json::from_slice(body) {
        Ok(settings) => settings,
        Err(error) => return Answer::error(400, &error.to_string()),
    };
    let slices = settings.slices.map(SliceCount::new);
    if slices == Some(None) {
        let most = SliceCount::MAX.get();
        return Answer::error(400, &format!("slices: it is 1 to {most}, or null"));
    }
    match operator.set_slices(fingerprint, slices.flatten()) {
        Ok(true) => Answer::json(200, &json!(settings)),
        Ok(false) => Answer::error(404, "no such client is paired"),
        Err(error) => failed(&error),
    }
}

/// The body of `enterPin`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PinCall {
    pub(super) pin: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
}

fn enter_pin(operator: &Operator, _: &str, body: &[u8]) -> Answer {
    let call: PinCall = match serde_json::from_slice(body) {
        Ok(call) => call,
        Err(error) => return Answer::error(400, &error.to_string()),
    };
    let pin: Pin = match call.pin.parse() {
        Ok(pin) => pin,
        Err(error) => return Answer::error(400, &format!("pin: {error}")),
    };
    let nameless = |name: &String| name.trim().is_empty() || name.chars().count() > NAME_CHARS_MAX;
    if call.name.as_ref().is_some_and(nameless) {
        let text = format!("name: it is 1 to {NAME_CHARS_MAX} characters");
        return Answer::error(400, &text);
    }
    match operator.enter_pin(call.id.map(PairingId), pin, call.name) {
        Ok(PinTaken { id, end }) => {
            let (status, outcome) = match end {
                Some(PairingEnd::Paired) => (200, "paired".to_owned()),
                Some(end) => (422, end.to_string()),
                None => (202, "the client has not finished yet".to_owned()),
            };
            Answer::json(status, &json!({ "id": id.0, "outcome": outcome }))
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &OperatorError) -> Answer {
    let status = match error {
        OperatorError::Pin(PinError::NobodyWaits | PinError::NotWaiting(_)) => 404,
        OperatorError::Pin(PinError::Ambiguous(_) | PinError::Completing) => 409,
        OperatorError::Trust(_) => 500,
        OperatorError::NoAnswer => 503,
    };
    Answer::error(status, &error.to_string())
}
