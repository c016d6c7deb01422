//! The operator's calls to a running host: HTTP on loopback, described by `openapi.yaml`.
//!
//! Whoever calls must know the token, which lies with the address in a file of mode 0600 in the
//! state directory ([`ACCESS_FILE`]) and is another one at every start. Host and Origin are
//! checked beside, so that a page that a browser happens to show can neither call (cross-site
//! requests) nor read (DNS rebinding). `tiny_http` serves it with threads of its own; requests are
//! handled one after the other on `pf-mgmt`. It knows no time limits: another user of this machine
//! who leaves requests half sent can hold up these calls, though nothing else.

pub mod client;
mod native;
pub mod openapi;
mod routes;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use platform::thread::{Role, RoleThread};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tiny_http::{Header, Method, Response, Server};

use crate::control::gamestream::Operator;
use crate::trust::native::NativeTrust;
use crate::trust::{Replace, Store, TrustError};
use routes::Answer;

/// Address and token, in the state directory.
pub const ACCESS_FILE: &str = "management.json";
/// Longest body of a call, bytes: up to this `tiny_http` has read it before we see the call.
const BODY_BYTES_MAX: usize = 1024;
/// A call under way is bounded by the operator's time limits, which end when the host does.
const JOIN_TIMEOUT: Duration = Duration::from_millis(500);
/// Bytes of the token, before they become hexadecimal digits.
const TOKEN_BYTES: usize = 32;

/// The calls cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ManagementError {
    /// The address cannot be bound.
    #[error("{address} (tcp, for management) cannot be listened on: {reason}")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// The system's answer.
        reason: String,
    },
    /// The access file cannot be written.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The library has no random bytes.
    #[error("no token can be made: {0}")]
    Random(#[from] boring::error::ErrorStack),
    /// No thread.
    #[error("the management thread cannot be started: {0}")]
    Thread(std::io::Error),
}

/// What the calls are about.
#[derive(Clone)]
pub struct Operators {
    /// Who may connect by the native protocol.
    pub native: Arc<NativeTrust>,
    /// GameStream's side, if it is served.
    pub gamestream: Option<Operator>,
}

/// How to reach a host, as its access file says.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Where.
    pub address: SocketAddr,
    /// What proves that the caller may.
    pub token: String,
}

/// The management calls, being served. Dropping it ends that.
pub struct Management {
    access: Access,
    server: Arc<Server>,
    thread: Option<RoleThread<()>>,
}

impl Management {
    /// Binds `port` on loopback, makes a token and leaves both in the access file.
    ///
    /// # Errors
    /// See [`ManagementError`].
    pub fn start(port: u16, store: &Store, operators: Operators) -> Result<Self, ManagementError> {
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let server = Server::http(address).map_err(|error| ManagementError::Bind {
            address,
            reason: error.to_string(),
        })?;
        let server = Arc::new(server);
        let address = server.server_addr().to_ip().unwrap_or(address);
        let mut token = [0; TOKEN_BYTES];
        boring::rand::rand_bytes(&mut token)?;
        let access = Access {
            address,
            token: token.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        let json = serde_json::to_vec(&access).expect("two texts are always JSON");
        store.write(&store.path(ACCESS_FILE), &json, Replace::Yes)?;
        let service = Service {
            access: access.clone(),
            operators,
        };
        let listener = Arc::clone(&server);
        let body = move || service.run(&listener);
        let thread = platform::thread::spawn(Role::Control, "pf-mgmt", body)
            .map_err(ManagementError::Thread)?;
        Ok(Self {
            access,
            server,
            thread: Some(thread),
        })
    }

    /// The page's address, with the token in its fragment, which browsers keep to themselves.
    #[must_use]
    pub fn page(&self) -> String {
        page(&self.access)
    }
}

impl Drop for Management {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            // Late only if a caller holds it up; it holds nothing that the host needs.
            if let Err(error) = thread.join_within(JOIN_TIMEOUT) {
                log::warn!("{error}");
            }
        }
    }
}

/// The page's address, with the token.
#[must_use]
pub fn page(access: &Access) -> String {
    format!("http://{}/#{}", access.address, access.token)
}

struct Service {
    access: Access,
    operators: Operators,
}

impl Service {
    fn run(&self, server: &Server) {
        // An error says that the server was told to end.
        while let Ok(mut request) = server.recv() {
            let answer = self.handle(&mut request);
            let response = answer.headers().into_iter().fold(
                Response::from_data(answer.body).with_status_code(answer.status),
                |response, (name, value)| {
                    let header = Header::from_bytes(name, value);
                    response.with_header(header.expect("our own headers are ASCII"))
                },
            );
            if let Err(error) = request.respond(response) {
                log::debug!("a management call was given up by its caller: {error}");
            }
        }
    }

    fn handle(&self, request: &mut tiny_http::Request) -> Answer {
        let header = |name: &'static str| {
            let mut found = request.headers().iter().filter(|it| it.field.equiv(name));
            match (found.next(), found.next()) {
                (one, None) => Ok(one.map(|it| it.value.as_str().to_owned())),
                _ => Err(Answer::error(400, "a header is given more than once")),
            }
        };
        let headers = (|| {
            Ok((
                header("Host")?,
                header("Origin")?,
                header("Authorization")?,
                header("Content-Type")?,
            ))
        })();
        let (host, origin, authorization, content) = match headers {
            Ok(headers) => headers,
            Err(answer) => return answer,
        };
        if let Err(answer) = self.check_place(host.as_deref(), origin.as_deref()) {
            return answer;
        }
        let path = request
            .url()
            .split('?')
            .next()
            .unwrap_or_default()
            .to_owned();
        let method = match request.method() {
            Method::Get => "get",
            Method::Post => "post",
            Method::Patch => "patch",
            Method::Delete => "delete",
            _ => return Answer::error(405, "this is not served here"),
        };
        let Some((route, argument)) = routes::find(method, &path) else {
            return Answer::error(404, "there is nothing at this path");
        };
        if route.needs_token && !self.knows_token(authorization.as_deref()) {
            return Answer::error(401, "the token is missing or wrong");
        }
        let body = match self.body(request, route.takes_body.is_some(), content.as_deref()) {
            Ok(body) => body,
            Err(answer) => return answer,
        };
        (route.handle)(&self.operators, argument, &body)
    }

    /// Only what was addressed to this machine as this machine, and not by another site's page.
    fn check_place(&self, host: Option<&str>, origin: Option<&str>) -> Result<(), Answer> {
        let port = self.access.address.port();
        let ours = |text: &str| {
            ["127.0.0.1", "localhost"]
                .iter()
                .any(|name| text == format!("{name}:{port}"))
        };
        if !host.is_some_and(ours) {
            return Err(Answer::error(421, "this host is not served here"));
        }
        let same = |origin: &str| origin.strip_prefix("http://").is_some_and(ours);
        if origin.is_some_and(|origin| !same(origin)) {
            return Err(Answer::error(403, "other sites may not call here"));
        }
        Ok(())
    }

    fn knows_token(&self, authorization: Option<&str>) -> bool {
        let told = authorization.and_then(|text| text.strip_prefix("Bearer "));
        told.is_some_and(|told| bool::from(told.as_bytes().ct_eq(self.access.token.as_bytes())))
    }

    fn body(
        &self,
        request: &mut tiny_http::Request,
        wanted: bool,
        content: Option<&str>,
    ) -> Result<Vec<u8>, Answer> {
        let mut body = Vec::new();
        if !wanted {
            return Ok(body);
        }
        // A form of another site cannot send this type without asking first.
        if content.is_none_or(|it| it.split(';').next() != Some("application/json")) {
            return Err(Answer::error(415, "the body is application/json"));
        }
        if request.body_length().is_none_or(|it| it > BODY_BYTES_MAX) {
            return Err(Answer::error(
                413,
                "the body is too long, or of no stated length",
            ));
        }
        let mut reader = request.as_reader().take(BODY_BYTES_MAX as u64);
        match reader.read_to_end(&mut body) {
            Ok(_) => Ok(body),
            Err(_) => Err(Answer::error(400, "the body did not come")),
        }
    }
}
