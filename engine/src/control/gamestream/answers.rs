//! Who may ask what, and the answer.
//!
//! | | HTTP | HTTPS, unpaired | HTTPS, paired |
//! |---|---|---|---|
//! | `serverinfo` | yes, as unpaired | 401 | yes |
//! | `pair`, steps 1 to 4; `unpair` of a pairing under way | yes | 401 | yes |
//! | `pair`, step 5; `unpair` of the client itself | 401 | 401 | yes |
//! | `applist`, `appasset`, `launch`, `resume`, `cancel` | 401 | 401 | yes |

use std::net::IpAddr;

use net::gamestream::http::{Content, HttpRequest, HttpResponse};
use net::gamestream::nvhttp::{self, AppEntry, PairStep, Request, UniqueId};
use net::gamestream::pairing::{
    Asker, ClientCertificate, CryptoError, PIN_TIMEOUT, PairError, PairingEnd, PairingId,
    PairingRandom, StepAnswer,
};
use net::identity::Fingerprint;
use net::units::Timestamp;

use super::connection::REQUEST_TIMEOUT;
use super::http::{BROKER_TIMEOUT, Server};
use super::sessions::{Client, Granted, Reply};
use crate::trust::TrustError;

impl Server {
    /// The answer; `None` if it comes later.
    pub(super) fn handle_request(
        &mut self,
        now: Timestamp,
        id: usize,
        http: &HttpRequest,
    ) -> Option<HttpResponse> {
        let connection = self.connection(id)?;
        let (peer, local, secure) = (connection.peer, connection.local, connection.is_secure());
        let certificate = connection.certificate();
        let paired = certificate.and_then(|it| self.paired.find(it));
        let client = paired.map(|paired| Client {
            fingerprint: paired.certificate.fingerprint(),
            name: paired.name.clone(),
            slices: paired.slices,
            address: peer,
            local,
        });
        if secure && client.is_none() {
            return Some(nvhttp::unauthorised());
        }
        let request = match Request::parse(http) {
            Ok(request) => request,
            Err(refused) => {
                match client {
                    // Its user sees the same words.
                    Some(client) => log::warn!("{} asks {}: {refused}", client.name, http.path),
                    None => log::debug!("{peer}: {}: {refused}", http.path),
                }
                return Some(HttpResponse::from(&refused));
            }
        };
        match (request, client) {
            (Request::ServerInfo, client) => {
                let running = client
                    .as_ref()
                    .and_then(|client| self.sessions.current(client.fingerprint));
                Some(nvhttp::server_info(
                    &self.facts,
                    local.ip(),
                    client.is_some(),
                    running,
                ))
            }
            (
                Request::Pair {
                    step: PairStep::PairChallenge,
                    ..
                },
                Some(_),
            ) => Some(nvhttp::paired(true)),
            (
                Request::Pair {
                    step: PairStep::PairChallenge,
                    ..
                },
                None,
            ) => Some(nvhttp::unauthorised()),
            (Request::Pair { client, step }, _) => {
                let asker = Asker {
                    client,
                    address: peer.ip(),
                };
                self.handle_pair(now, id, asker, step)
            }
            (Request::Unpair { client: unique_id }, client) => {
                Some(self.handle_unpair(now, peer.ip(), unique_id, client))
            }
            (request, Some(client)) => self.handle_paired(now, id, request, client),
            (_, None) => Some(nvhttp::unauthorised()),
        }
    }

    fn handle_pair(
        &mut self,
        now: Timestamp,
        id: usize,
        asker: Asker,
        step: PairStep,
    ) -> Option<HttpResponse> {
        let address = asker.address;
        let result = match step {
            PairStep::GetServerCert { salt, certificate } => {
                match self.begin_pairing(now, id, asker, salt, &certificate) {
                    Ok(()) => return None,
                    Err(refused) => Err(refused),
                }
            }
            step => self.pairings.handle_step(now, &asker, &step),
        };
        Some(match result {
            Ok(StepAnswer::ChallengeResponse(sealed)) => nvhttp::challenge_response(&sealed),
            Ok(StepAnswer::Secret(secret)) => nvhttp::pairing_secret(&secret),
            Ok(StepAnswer::Paired {
                id: pairing,
                certificate,
            }) => self.keep_paired(pairing, address, certificate),
            // As clients know a wrong PIN: done, and not paired.
            Err(PairError::WrongPin) => nvhttp::paired(false),
            Err(refused) => {
                log::warn!("pairing with {address}: {refused}");
                nvhttp::error(pair_status(&refused), &refused.to_string())
            }
        })
    }

    fn begin_pairing(
        &mut self,
        now: Timestamp,
        id: usize,
        asker: Asker,
        salt: [u8; 16],
        certificate: &[u8],
    ) -> Result<(), PairError> {
        let address = asker.address;
        let random = random().map_err(|error| {
            log::error!("no random bytes: {error}");
            PairError::Failed(CryptoError::Library)
        })?;
        let pairing = self
            .pairings
            .handle_begin(now, asker, salt, certificate, random)?;
        log::info!(
            "pairing {pairing}: a client at {address} shows a PIN; enter it with: punktfunk pin \
             PIN --id {pairing}"
        );
        self.waiting_for_pin.insert(pairing, id);
        // The pairing's own time limits come first.
        if let Some(connection) = self.connection(id) {
            connection.deadline = now + PIN_TIMEOUT + REQUEST_TIMEOUT;
        }
        Ok(())
    }

    /// The client is paired once it is on disk. Without a new name it keeps the one it had.
    fn keep_paired(
        &mut self,
        pairing: PairingId,
        address: IpAddr,
        certificate: ClientCertificate,
    ) -> HttpResponse {
        let fingerprint = certificate.fingerprint();
        let before = self.paired.find(fingerprint);
        let before = before.map(|client| client.name.clone());
        let name = self.names.remove(&pairing).or(before);
        let name = name.unwrap_or_else(|| format!("Moonlight at {address}"));
        match self.paired.add(certificate, &name) {
            Ok(()) => {
                log::info!("paired with {name} ({fingerprint})");
                nvhttp::paired(true)
            }
            Err(error) => {
                log::warn!("{name} is not paired: {error}");
                self.tell_end(pairing, PairingEnd::Failed);
                nvhttp::error(500, "the host cannot keep this pairing; its log says why")
            }
        }
    }

    /// Over HTTPS a paired client goes for good. Over HTTP somebody, who may be anybody, gives up
    /// the pairing that is under way from there.
    fn handle_unpair(
        &mut self,
        now: Timestamp,
        address: IpAddr,
        unique_id: UniqueId,
        client: Option<Client>,
    ) -> HttpResponse {
        let Some(client) = client else {
            let asker = Asker {
                client: unique_id,
                address,
            };
            self.pairings.handle_unpair(now, &asker);
            return nvhttp::unpaired();
        };
        match self.unpair(client.fingerprint) {
            Ok(_) => nvhttp::unpaired(),
            Err(error) => {
                log::warn!("{} is still paired: {error}", client.name);
                nvhttp::error(500, "the host cannot forget this client; its log says why")
            }
        }
    }

    /// Forgets a client and ends its session. False if it was not paired.
    pub(super) fn unpair(&mut self, client: Fingerprint) -> Result<bool, TrustError> {
        let removed = self.paired.remove(client)?;
        if removed {
            log::info!("the client {client} is no longer paired");
            self.sessions.cancel(client, Reply::new(|_| {}));
        }
        Ok(removed)
    }

    fn handle_paired(
        &mut self,
        now: Timestamp,
        id: usize,
        request: Request,
        client: Client,
    ) -> Option<HttpResponse> {
        if let Some(connection) = self.connection(id) {
            connection.deadline = now + BROKER_TIMEOUT;
        }
        let encrypted = |granted: Granted| granted.encrypted_rtsp;
        let mut rtsp = client.local;
        rtsp.set_port(self.ports.rtsp());
        self.refresh_apps();
        match request {
            Request::AppList => {
                let hdr = self.facts.codecs.has(nvhttp::CodecModes::HEVC_MAIN10);
                let entries = self.apps.list().iter().map(|app| AppEntry {
                    id: app.id,
                    name: &app.name,
                    hdr,
                });
                Some(nvhttp::app_list(entries))
            }
            Request::AppAsset(app) => Some(match self.apps.find(app) {
                Some(app) => HttpResponse {
                    status: 200,
                    content: Content::Png,
                    body: app.picture(),
                },
                None => nvhttp::not_found("there is no such application"),
            }),
            Request::Launch(request) => {
                let Some(app) = self.apps.find(request.app).cloned() else {
                    let text = "this application is no longer there; open the list again";
                    return Some(nvhttp::error(404, text));
                };
                log::info!("{} launches {} at {}", client.name, app.name, request.mode);
                let reply = self.reply(id, move |it| nvhttp::launched(rtsp, encrypted(it)));
                self.sessions.launch(client, app, request, reply);
                None
            }
            Request::Resume(request) => {
                log::info!("{} resumes", client.name);
                let reply = self.reply(id, move |it| nvhttp::resumed(rtsp, encrypted(it)));
                self.sessions.resume(client, request, reply);
                None
            }
            Request::Cancel => {
                log::info!("{} ends its session", client.name);
                let reply = self.reply(id, |()| nvhttp::cancelled());
                self.sessions.cancel(client.fingerprint, reply);
                None
            }
            Request::ServerInfo | Request::Pair { .. } | Request::Unpair { .. } => {
                unreachable!("answered for everybody")
            }
        }
    }
}

const fn pair_status(refused: &PairError) -> u16 {
    match refused {
        PairError::Busy | PairError::TooManyGuesses => 503,
        PairError::Failed(_) => 500,
        PairError::Certificate(_) | PairError::OutOfOrder | PairError::WrongPin => 400,
    }
}

fn random() -> Result<PairingRandom, boring::error::ErrorStack> {
    let mut random = PairingRandom {
        secret: [0; 16],
        challenge: [0; 16],
    };
    boring::rand::rand_bytes(&mut random.secret)?;
    boring::rand::rand_bytes(&mut random.challenge)?;
    Ok(random)
}
