//! The host's half of GameStream pairing, for several clients at once.
//!
//! The client shows a PIN of four digits, the operator tells it to the host, and both prove to
//! each other that they know it and own their certificates:
//!  1. `getservercert`: salt and client's certificate come; the answer (the host's certificate)
//!     waits until the operator has entered the PIN, which makes the AES key.
//!  2. `clientchallenge`: the host answers with a hash over the challenge, its certificate's
//!     signature and a secret of its own, and with a challenge to the client.
//!  3. `serverchallengeresp`: the client commits to its answer; the host shows its secret, signed.
//!  4. `clientpairingsecret`: the client shows its secret, signed. Here the host decides.
//!  5. `pairchallenge`, over HTTPS, is answered from the set of paired clients, not here.
//!
//! A client cannot try a second PIN: its commitment of step 3 comes before it sees anything that a
//! PIN could be tested against. So every pairing is one guess, and a wrong, replayed or
//! out-of-order step ends it. All clients of one kind call themselves the same, and later steps
//! carry nothing else: a step belongs to the one pairing of its `uniqueid` and address whose PIN
//! was entered, and a second PIN for the same name and address has to wait those seconds.
//!
//! Sans-IO: time and randomness are arguments. Drain [`Pairings::poll_event`] after every call.

mod crypto;
mod identity;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::nvhttp::{PairStep, UniqueId};
use crate::identity::Fingerprint;
use crate::units::Timestamp;

pub use crypto::{ClientCertificate, CryptoError};
pub use identity::PairingIdentity;

/// Pairings under way, over all clients. An operator has one PIN in mind, a household a few.
pub const PAIRINGS_MAX: usize = 8;
/// Of these from one address, so that one neighbour cannot take them all.
pub const PAIRINGS_PER_ADDRESS_MAX: usize = PAIRINGS_MAX / 2;
/// So long a pairing waits for its PIN: time to walk to the host.
pub const PIN_TIMEOUT: Duration = Duration::from_secs(180);
/// The steps after the PIN follow each other without a human.
pub const STEPS_TIMEOUT: Duration = Duration::from_secs(20);
/// Wrong guesses are remembered so long.
pub const GUESS_MEMORY: Duration = Duration::from_secs(600);
/// Wrong guesses from one address within [`GUESS_MEMORY`] before it is turned away.
pub const GUESSES_PER_ADDRESS_MAX: usize = 10;
/// Wrong guesses from anywhere within [`GUESS_MEMORY`] before nobody may pair: 40 of 10 000 PINs
/// leave a guesser 0.4 % in ten minutes, each guess with an operator's hand in it.
pub const GUESSES_MAX: usize = 40;
const _: () = assert!(GUESSES_PER_ADDRESS_MAX < GUESSES_MAX);

/// Number of a pairing within the host's life, from 1; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairingId(pub u32);

/// Who asks: what a client calls itself, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// What it calls itself.
    pub client: UniqueId,
    /// Its address; ports change from step to step.
    pub address: IpAddr,
}

/// Four digits. Wiped when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Pin([u8; 4]);

/// A text is not a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a PIN is four digits, as the client shows them")]
pub struct PinSyntax;

/// Random bytes for one pairing; fresh from the system for each.
#[derive(Clone, Copy)]
pub struct PairingRandom {
    /// The host's secret of step 2.
    pub secret: [u8; 16],
    /// The host's challenge to the client.
    pub challenge: [u8; 16],
}

/// A step is refused. The client's user may see the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// Too many at once.
    #[error("too many clients are pairing with this host; try again in a few minutes")]
    Busy,
    /// Too many wrong guesses.
    #[error("too many wrong PINs; this host takes no pairing for up to ten minutes")]
    TooManyGuesses,
    /// The client's certificate is not one.
    #[error("the client's certificate cannot be used: {0}")]
    Certificate(CryptoError),
    /// No pairing, or not at that step.
    #[error("this step belongs to no pairing that is under way; start again")]
    OutOfOrder,
    /// The client did not know the PIN, or does not own its certificate.
    #[error("the PIN was wrong")]
    WrongPin,
    /// The library failed.
    #[error("the host failed: {0}")]
    Failed(CryptoError),
}

/// A PIN cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// Nobody waits for one.
    #[error("no client waits for a PIN; start the pairing on the client first")]
    NobodyWaits,
    /// More than one waits.
    #[error("{0} clients wait for a PIN; say which pairing this PIN is for")]
    Ambiguous(usize),
    /// There is no such pairing, or it has its PIN.
    #[error("pairing {0} does not wait for a PIN (any more)")]
    NotWaiting(PairingId),
    /// Another one of the same name and address is between PIN and end.
    #[error("another client at the same address is just completing; try again in a few seconds")]
    Completing,
}

/// How a pairing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairingEnd {
    /// The client is paired.
    Paired,
    /// The PIN was wrong; or the client gave up after it was entered, as it does when it was.
    WrongPin,
    /// A step was repeated or left out.
    OutOfOrder,
    /// No PIN was entered, or a step did not come.
    TimedOut,
    /// The client went away before a PIN was entered.
    Abandoned,
    /// The same client began anew.
    Replaced,
    /// The library failed.
    Failed,
}

/// What the caller must know without having asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingEnded {
    /// Which pairing.
    pub id: PairingId,
    /// Who it was.
    pub asker: Asker,
    /// How it ended.
    pub end: PairingEnd,
}

/// The answer to a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepAnswer {
    /// To the second step.
    ChallengeResponse([u8; 48]),
    /// To the third: secret and signature.
    Secret(Vec<u8>),
    /// To the fourth: keep this certificate, the client is paired.
    Paired {
        /// Which pairing.
        id: PairingId,
        /// The client's certificate.
        certificate: ClientCertificate,
    },
}

/// A pairing that waits for its PIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingPairing {
    /// Its number.
    pub id: PairingId,
    /// Where the client is.
    pub address: IpAddr,
    /// Its certificate.
    pub fingerprint: Fingerprint,
    /// Since when.
    pub since: Timestamp,
}

struct Pairing {
    id: PairingId,
    asker: Asker,
    salt: [u8; 16],
    certificate: ClientCertificate,
    random: PairingRandom,
    phase: Phase,
    since: Timestamp,
    deadline: Timestamp,
}

/// What was done last. The key is wiped with the phase.
enum Phase {
    Waiting,
    PinEntered { key: Zeroizing<[u8; 16]> },
    Challenged { key: Zeroizing<[u8; 16]> },
    Answered { client_hash: [u8; 32] },
}

/// The machine.
pub struct Pairings {
    identity: PairingIdentity,
    pairings: Vec<Pairing>,
    wrong_guesses: VecDeque<(Timestamp, IpAddr)>,
    events: VecDeque<PairingEnded>,
    next: u32,
}

impl Pairings {
    /// Of a host with this identity.
    #[must_use]
    pub fn new(identity: PairingIdentity) -> Self {
        Self {
            identity,
            pairings: Vec::with_capacity(PAIRINGS_MAX),
            wrong_guesses: VecDeque::with_capacity(GUESSES_MAX),
            events: VecDeque::new(),
            next: 1,
        }
    }

    /// Those that wait for a PIN, oldest first.
    pub fn waiting(&self) -> impl Iterator<Item = WaitingPairing> + '_ {
        let waiting = self.pairings.iter().filter(|pairing| pairing.waits());
        waiting.map(|pairing| WaitingPairing {
            id: pairing.id,
            address: pairing.asker.address,
            fingerprint: pairing.certificate.fingerprint(),
            since: pairing.since,
        })
    }

    /// First step. The answer to the client, [`Self::certificate_pem`], waits for
    /// [`Self::enter_pin`]; or for an end.
    ///
    /// # Errors
    /// [`PairError`]: answer with it.
    pub fn handle_begin(
        &mut self,
        now: Timestamp,
        asker: Asker,
        salt: [u8; 16],
        certificate_pem: &[u8],
        random: PairingRandom,
    ) -> Result<PairingId, PairError> {
        self.handle_timeout(now);
        let certificate =
            ClientCertificate::from_pem(certificate_pem).map_err(PairError::Certificate)?;
        // A client that begins anew has given up what it began before; if the PIN was entered, that
        // was a guess.
        let fingerprint = certificate.fingerprint();
        let earlier = |pairing: &Pairing| {
            pairing.asker == asker && pairing.certificate.fingerprint() == fingerprint
        };
        if let Some(at) = self.pairings.iter().position(earlier) {
            self.end(now, at, PairingEnd::Replaced);
        }
        if self.guesses_are_used_up(asker.address) {
            return Err(PairError::TooManyGuesses);
        }
        let from_there = |pairing: &&Pairing| pairing.asker.address == asker.address;
        if self.pairings.len() >= PAIRINGS_MAX
            || self.pairings.iter().filter(from_there).count() >= PAIRINGS_PER_ADDRESS_MAX
        {
            return Err(PairError::Busy);
        }
        let id = PairingId(self.next);
        self.next += 1;
        self.pairings.push(Pairing {
            id,
            asker,
            salt,
            certificate,
            random,
            phase: Phase::Waiting,
            since: now,
            deadline: now + PIN_TIMEOUT,
        });
        Ok(id)
    }

    /// The operator has read the PIN from the client's screen. Without `id` it is for the only
    /// one that waits. The client is to be answered now, with [`Self::certificate_pem`].
    ///
    /// # Errors
    /// [`PinError`]; nothing has changed.
    pub fn enter_pin(
        &mut self,
        now: Timestamp,
        id: Option<PairingId>,
        pin: &Pin,
    ) -> Result<PairingId, PinError> {
        self.handle_timeout(now);
        let mut waiting = self.waiting().map(|pairing| pairing.id);
        let id = match (id, waiting.next(), waiting.count()) {
            (Some(id), ..) => id,
            (None, None, _) => return Err(PinError::NobodyWaits),
            (None, Some(only), 0) => only,
            (None, Some(_), others) => return Err(PinError::Ambiguous(1 + others)),
        };
        let at = self
            .pairings
            .iter()
            .position(|pairing| pairing.id == id && pairing.waits())
            .ok_or(PinError::NotWaiting(id))?;
        if self.active(&self.pairings[at].asker).is_some() {
            return Err(PinError::Completing);
        }
        let pairing = &mut self.pairings[at];
        pairing.phase = Phase::PinEntered {
            key: crypto::key(&pairing.salt, &pin.0),
        };
        pairing.deadline = now + STEPS_TIMEOUT;
        Ok(id)
    }

    /// The host's certificate, the answer to the first step.
    #[must_use]
    pub fn certificate_pem(&self) -> &[u8] {
        self.identity.certificate_pem()
    }

    /// Second to fourth step.
    ///
    /// # Errors
    /// [`PairError`]: answer with it. The pairing, if there was one, is over.
    pub fn handle_step(
        &mut self,
        now: Timestamp,
        asker: &Asker,
        step: &PairStep,
    ) -> Result<StepAnswer, PairError> {
        self.handle_timeout(now);
        let at = self.active(asker).ok_or(PairError::OutOfOrder)?;
        let answer = self.pairings[at].take_step(&self.identity, step);
        match &answer {
            Ok(StepAnswer::Paired { .. }) => self.end(now, at, PairingEnd::Paired),
            Ok(_) => {}
            Err(PairError::WrongPin) => self.end(now, at, PairingEnd::WrongPin),
            Err(PairError::OutOfOrder) => self.end(now, at, PairingEnd::OutOfOrder),
            Err(_) => self.end(now, at, PairingEnd::Failed),
        }
        answer
    }

    /// The client gives up, as it says. Clients that waited for a PIN say so by closing their
    /// connection ([`Self::handle_abandoned`]); this is one whose PIN was entered.
    pub fn handle_unpair(&mut self, now: Timestamp, asker: &Asker) {
        if let Some(at) = self.active(asker) {
            self.end(now, at, PairingEnd::WrongPin);
        }
    }

    /// The connection that waits for the answer to the first step is gone.
    pub fn handle_abandoned(&mut self, now: Timestamp, id: PairingId) {
        let at = self
            .pairings
            .iter()
            .position(|it| it.id == id && it.waits());
        if let Some(at) = at {
            self.end(now, at, PairingEnd::Abandoned);
        }
    }

    /// Ends what has waited too long.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some(at) = self.pairings.iter().position(|it| it.deadline <= now) {
            self.end(now, at, PairingEnd::TimedOut);
        }
        while let Some((at, _)) = self.wrong_guesses.front()
            && now.since(*at) >= GUESS_MEMORY
        {
            self.wrong_guesses.pop_front();
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.pairings.iter().map(|pairing| pairing.deadline).min()
    }

    /// What ended since the last call: one for each pairing.
    pub fn poll_event(&mut self) -> Option<PairingEnded> {
        self.events.pop_front()
    }

    /// The pairing of this asker that is between PIN and end; there is at most one.
    fn active(&self, asker: &Asker) -> Option<usize> {
        self.pairings
            .iter()
            .position(|pairing| pairing.asker == *asker && !pairing.waits())
    }

    fn guesses_are_used_up(&self, address: IpAddr) -> bool {
        let from_there = self
            .wrong_guesses
            .iter()
            .filter(|(_, from)| *from == address);
        from_there.count() >= GUESSES_PER_ADDRESS_MAX || self.wrong_guesses.len() >= GUESSES_MAX
    }

    fn end(&mut self, now: Timestamp, at: usize, end: PairingEnd) {
        // Oldest first, for those who look at the list.
        let pairing = self.pairings.remove(at);
        // Whatever ends a pairing after its PIN: the client may have been guessing.
        let guessed = !pairing.waits() && end != PairingEnd::Paired;
        if guessed {
            if self.wrong_guesses.len() == GUESSES_MAX {
                self.wrong_guesses.pop_front();
            }
            self.wrong_guesses.push_back((now, pairing.asker.address));
        }
        self.events.push_back(PairingEnded {
            id: pairing.id,
            asker: pairing.asker.clone(),
            end,
        });
    }
}

impl Pairing {
    const fn waits(&self) -> bool {
        matches!(self.phase, Phase::Waiting)
    }

    fn take_step(
        &mut self,
        identity: &PairingIdentity,
        step: &PairStep,
    ) -> Result<StepAnswer, PairError> {
        match (std::mem::replace(&mut self.phase, Phase::Waiting), step) {
            (Phase::PinEntered { key }, PairStep::ClientChallenge(challenge)) => {
                let answer = self.answer_challenge(identity, &key, challenge);
                self.phase = Phase::Challenged { key };
                answer.map_err(PairError::Failed)
            }
            (Phase::Challenged { key }, PairStep::ServerChallengeResponse(encrypted)) => {
                let hash = crypto::decrypt(&key, encrypted);
                let signature = identity.sign(&self.random.secret);
                let (Ok(client_hash), Ok(signature)) = (hash, signature) else {
                    self.phase = Phase::Challenged { key };
                    return Err(PairError::Failed(CryptoError::Library));
                };
                self.phase = Phase::Answered { client_hash };
                let mut answer = self.random.secret.to_vec();
                answer.extend_from_slice(&signature);
                Ok(StepAnswer::Secret(answer))
            }
            (
                Phase::Answered { client_hash },
                PairStep::ClientPairingSecret { secret, signature },
            ) => {
                self.phase = Phase::Answered { client_hash };
                self.decide(&client_hash, secret, signature)
            }
            (phase, _) => {
                self.phase = phase;
                Err(PairError::OutOfOrder)
            }
        }
    }

    fn answer_challenge(
        &self,
        identity: &PairingIdentity,
        key: &[u8; 16],
        challenge: &[u8; 16],
    ) -> Result<StepAnswer, CryptoError> {
        let challenge: [u8; 16] = crypto::decrypt(key, challenge)?;
        let secret = &self.random.secret;
        let hash = crypto::hash(&[&challenge, identity.certificate_signature(), secret]);
        let mut answer = [0; 48];
        answer[..32].copy_from_slice(&hash);
        answer[32..].copy_from_slice(&self.random.challenge);
        Ok(StepAnswer::ChallengeResponse(crypto::encrypt(
            key, &answer,
        )?))
    }

    /// The client knew the PIN if its hash was over our challenge, and is whom it says if its
    /// secret is signed by its certificate's key.
    fn decide(
        &self,
        client_hash: &[u8; 32],
        secret: &[u8; 16],
        signature: &[u8],
    ) -> Result<StepAnswer, PairError> {
        let certificate = &self.certificate;
        let hash = crypto::hash(&[&self.random.challenge, certificate.signature(), secret]);
        let known = bool::from(hash.ct_eq(client_hash));
        let owned = certificate.has_signed(secret, signature);
        if known && owned {
            Ok(StepAnswer::Paired {
                id: self.id,
                certificate: certificate.clone(),
            })
        } else {
            Err(PairError::WrongPin)
        }
    }
}

impl FromStr for Pin {
    type Err = PinSyntax;

    fn from_str(text: &str) -> Result<Self, PinSyntax> {
        let digits: [u8; 4] = text.as_bytes().try_into().map_err(|_| PinSyntax)?;
        if digits.iter().all(u8::is_ascii_digit) {
            Ok(Self(digits))
        } else {
            Err(PinSyntax)
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(..)")
    }
}

impl fmt::Debug for PairingRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairingRandom(..)")
    }
}

impl fmt::Display for PairingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for PairingEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Paired => "paired",
            Self::WrongPin => "the PIN was wrong",
            Self::OutOfOrder => "the client repeated or left out a step",
            Self::TimedOut => "it took too long",
            Self::Abandoned => "the client went away",
            Self::Replaced => "the client began anew",
            Self::Failed => "the host failed",
        })
    }
}
