//! Who is served: pairing on the control stream, and the rights of those who are paired.
//!
//! What takes time, keeping a new client on disk, happens on a thread of its own (`pf-pairing`), so
//! that nobody's session waits for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, TryRecvError, bounded};
use mio::Waker;
use net::identity::Fingerprint;
use net::native::pairing::{
    Binding, EXPORTER_BYTES, EXPORTER_LABEL, Entropy, HostPairing, PairingError, PairingMessage,
    Share, Tag,
};
use net::native::{End, EndReason, HostSession, HostState, Refuse, RefuseCode};
use net::quic::Link;
use net::units::Timestamp;
use platform::thread::Role;

use crate::config::{Admit, HostConfig};
use crate::metrics::SessionMetrics;
use crate::session::Session;
use crate::trust::native::{KeepError, NativeTrust, Trying};
use crate::trust::rights::Rights;
use crate::trust::wall::{Wall, unix_s};

/// How often an expiry is looked at. Not slept until: the time of day jumps.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What a stranger is told.
const NOT_PAIRED: &str = "this host serves paired clients only: run `punktfunk pair-window` on it, \
                          then `punktfunk pair HOST --pin PIN` here with the PIN that it shows";

/// The host's side of it, on the control thread.
pub(super) struct Admission {
    admit: Admit,
    trust: Arc<NativeTrust>,
    host: Fingerprint,
    host_name: String,
    /// The application of every session.
    app: String,
    wall: Wall,
    waker: Arc<Waker>,
}

/// One peer's.
#[derive(Default)]
pub(super) struct Standing {
    step: Step,
    admitted: Option<Admitted>,
}

#[derive(Default)]
enum Step {
    #[default]
    None,
    /// The client has our share.
    Begun {
        trying: Trying,
        pairing: HostPairing,
        client: Fingerprint,
        name: String,
    },
    /// The client has proven that it knows the PIN.
    Keeping {
        tag: Tag,
        kept: Receiver<Result<(), KeepError>>,
    },
}

/// A session of a paired client.
struct Admitted {
    client: Fingerprint,
    rights: Rights,
    /// Of the paired clients when it was last looked at, and when that was.
    version: u64,
    looked: Timestamp,
}

impl Standing {
    /// Something of a paired client's session may run out.
    pub(super) const fn is_watched(&self) -> bool {
        self.admitted.is_some()
    }

    /// Where input is counted that this client may not send, if it may not.
    pub(super) fn refused_input(&self, session: Option<&Session>) -> Option<Arc<SessionMetrics>> {
        let refused = self.admitted.as_ref().is_some_and(|it| !it.rights.input);
        session
            .filter(|_| refused)
            .map(|session| Arc::clone(session.metrics()))
    }
}

impl Admission {
    pub(super) fn new(
        config: &HostConfig,
        trust: Arc<NativeTrust>,
        host: Fingerprint,
        waker: Arc<Waker>,
    ) -> Self {
        Self {
            admit: config.admit,
            trust,
            host,
            host_name: config.name.clone(),
            app: config.app.name(),
            wall: Wall::new(unix_s(), net::clock::now()),
            waker,
        }
    }

    /// A message of a pairing. Whatever is out of order ends the connection.
    pub(super) fn pair(
        &self,
        now: Timestamp,
        link: &mut Link,
        machine: &mut HostSession,
        standing: &mut Standing,
        message: PairingMessage,
    ) {
        let from = link.peer();
        match (std::mem::take(&mut standing.step), message) {
            (Step::None, PairingMessage::Request { share, name }) => {
                match self.begin(link, &share, name) {
                    Ok((step, share)) => {
                        standing.step = step;
                        machine.send_pairing(now, PairingMessage::Reply { share });
                    }
                    Err(refuse) => machine.refuse(refuse),
                }
            }
            (
                Step::Begun {
                    trying,
                    pairing,
                    client,
                    name,
                },
                PairingMessage::Confirm { tag },
            ) => match pairing.handle_confirm(&tag) {
                Ok(tag) => match self.keep(from, trying, client, name) {
                    Ok(kept) => standing.step = Step::Keeping { tag, kept },
                    Err(error) => machine.refuse(failed(from, &error)),
                },
                Err(error) => machine.refuse(failed(from, &error)),
            },
            _ => machine.end(End {
                reason: EndReason::Protocol,
                text: "a message of a pairing is out of order".to_owned(),
            }),
        }
    }

    /// A client wants a session: what it may do in it.
    pub(super) fn admit(
        &mut self,
        now: Timestamp,
        link: &mut Link,
        standing: &mut Standing,
    ) -> Result<Rights, Refuse> {
        // Whoever goes on with a Hello has given up what pairing it had begun.
        standing.step = Step::None;
        if self.admit != Admit::Paired {
            return Ok(Rights::all());
        }
        let version = self.trust.clients().version();
        let found = link.peer_fingerprint();
        let found = found.and_then(|it| self.trust.clients().find(it));
        let Some(client) = found else {
            return Err(refuse(RefuseCode::NotPaired, NOT_PAIRED));
        };
        if client.has_expired(self.wall.read(unix_s(), now)) {
            log::info!("{} at {} has expired", client.name, link.peer());
            return Err(refuse(RefuseCode::Expired, EXPIRED));
        }
        if let Err(lacking) = client.rights.check(&self.app) {
            return Err(refuse(RefuseCode::NotAllowed, &lacking.to_string()));
        }
        standing.admitted = Some(Admitted {
            client: client.fingerprint,
            rights: client.rights.clone(),
            version,
            looked: now,
        });
        Ok(client.rights)
    }

    /// What has come of a pairing, and whether a session may go on.
    pub(super) fn look(
        &mut self,
        now: Timestamp,
        machine: &mut HostSession,
        standing: &mut Standing,
    ) {
        if machine.state() == HostState::Ended {
            // An attempt that was begun has failed by that.
            standing.step = Step::None;
            return;
        }
        if let Step::Keeping { tag, kept } = &standing.step {
            let (tag, kept) = (*tag, kept.try_recv());
            match kept {
                Err(TryRecvError::Empty) => {}
                Ok(Ok(())) => {
                    standing.step = Step::None;
                    let host_name = self.host_name.clone();
                    machine.send_pairing(now, PairingMessage::Done { tag, host_name });
                }
                Ok(Err(error)) => {
                    let text = format!("the host could not keep this client: {error}");
                    machine.refuse(refuse(RefuseCode::Internal, &text));
                }
                Err(TryRecvError::Disconnected) => {
                    let text = "the host failed; its log says why";
                    machine.refuse(refuse(RefuseCode::Internal, text));
                }
            }
        }
        if let Some(admitted) = &mut standing.admitted
            && let Some(text) = self.lost(now, admitted)
        {
            standing.admitted = None;
            let reason = EndReason::NotAllowed;
            let text = text.to_owned();
            // Before Start there is no session to end yet, only one to refuse.
            machine.refuse(refuse(RefuseCode::NotAllowed, &text));
            machine.end(End { reason, text });
        }
    }

    /// Why a paired client's session is over.
    fn lost(&mut self, now: Timestamp, admitted: &mut Admitted) -> Option<&'static str> {
        let version = self.trust.clients().version();
        if version == admitted.version && now.since(admitted.looked) < LOOK_INTERVAL {
            return None;
        }
        (admitted.version, admitted.looked) = (version, now);
        let Some(client) = self.trust.clients().find(admitted.client) else {
            return Some("this client was unpaired");
        };
        if client.has_expired(self.wall.read(unix_s(), now)) {
            return Some(EXPIRED);
        }
        let lasts = admitted.rights.lasts_under(&client.rights, &self.app);
        (!lasts).then_some("the operator has taken a right from this client; connect again")
    }

    fn begin(&self, link: &mut Link, share: &Share, name: String) -> Result<(Step, Share), Refuse> {
        let from = link.peer();
        let Some(client) = link.peer_fingerprint() else {
            let text = "a client without a certificate cannot be paired";
            return Err(refuse(RefuseCode::PairingFailed, text));
        };
        let trying = self.trust.begin().map_err(|closed| {
            // As many as strangers like: counted, and told only to who asks.
            log::debug!("{from} ({client}) wants to pair: {closed}");
            refuse(RefuseCode::PairingClosed, &closed.to_string())
        })?;
        log::info!("{from} ({client}) begins to pair");
        let begun = channel(link).and_then(|(channel, entropy)| {
            let binding = Binding {
                client,
                host: self.host,
                channel,
            };
            HostPairing::begin(trying.pin(), &binding, &entropy, share)
        });
        let (pairing, share) = begun.map_err(|error| failed(from, &error))?;
        let step = Step::Begun {
            trying,
            pairing,
            client,
            name,
        };
        Ok((step, share))
    }

    fn keep(
        &self,
        from: SocketAddr,
        trying: Trying,
        client: Fingerprint,
        name: String,
    ) -> Result<Receiver<Result<(), KeepError>>, std::io::Error> {
        let (kept_in, kept) = bounded(1);
        let waker = Arc::clone(&self.waker);
        platform::thread::spawn(Role::Control, "pf-pairing", move || {
            let result = trying.keep(client, &name);
            match &result {
                Ok(()) => log::info!("{from} ({client}) is paired as {name:?}"),
                Err(error) => log::warn!("{from} ({client}) is not paired: {error}"),
            }
            // Gone: so is the client.
            let _ = kept_in.try_send(result);
            if let Err(error) = waker.wake() {
                log::error!("control cannot be woken: {error}");
            }
        })?;
        Ok(kept)
    }
}

const EXPIRED: &str = "the pairing of this client has expired: pair again, or have the operator \
                       extend it with `punktfunk clients NAME --expires`";

/// What binds the pairing to the connection, and what makes it unlike any other.
fn channel(link: &mut Link) -> Result<([u8; EXPORTER_BYTES], Entropy), PairingError> {
    let mut channel = [0; EXPORTER_BYTES];
    let mut entropy = Entropy::new([0; 48]);
    link.export(EXPORTER_LABEL, &[], &mut channel)
        .map_err(|_| PairingError::Library)?;
    boring::rand::rand_bytes(&mut *entropy)?;
    Ok((channel, entropy))
}

/// The one failure of a window.
fn failed(from: SocketAddr, error: &dyn std::error::Error) -> Refuse {
    log::warn!("a pairing with {from} failed: {error}");
    refuse(RefuseCode::PairingFailed, &error.to_string())
}

fn refuse(code: RefuseCode, text: &str) -> Refuse {
    Refuse {
        code,
        text: text.to_owned(),
    }
}
