//! Who may connect by the native protocol: the paired clients and the operator's pairing window.
//! Shared by the control thread and the operator's calls; nobody holds it while waiting.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use net::clock;
use net::identity::Fingerprint;
use net::native::pairing::{
    Attempt, PairingCounts, PairingWindow, Pin, WINDOW, WindowRefusal, WindowState,
};

use super::clients::{ClientsError, NativeClient, NativeClients};
use super::rights::Rights;
use super::wall::unix_s;
use super::{Store, TrustError};

/// What the client that pairs in a window gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// What it is called; `None` leaves that to it.
    pub name: Option<String>,
    /// What it may do.
    pub rights: Rights,
    /// Until when, seconds since 1970; `None` for ever.
    pub expires_at_unix_s: Option<u64>,
}

/// A window that was opened.
#[derive(Clone, Debug)]
pub struct OpenWindow {
    /// Tells it from others.
    pub number: u64,
    /// For the operator's eyes.
    pub pin: Pin,
    /// How long it is open.
    pub time: Duration,
}

/// How pairing stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingView {
    /// The newest window; 0 before the first.
    pub number: u64,
    /// Where it stands.
    pub state: WindowState,
    /// Attempts since the host began.
    pub counts: PairingCounts,
    /// The client that was paired last.
    pub paired: Option<(Fingerprint, String)>,
}

#[derive(Debug, Default)]
struct Desk {
    window: PairingWindow,
    grant: Grant,
    paired: Option<(Fingerprint, String)>,
}

/// The whole of it.
#[derive(Debug)]
pub struct NativeTrust {
    clients: NativeClients,
    desk: Mutex<Desk>,
}

impl NativeTrust {
    /// Reads the paired clients; no window is open.
    ///
    /// # Errors
    /// See [`NativeClients::open`].
    pub fn open(store: &Store) -> Result<Self, TrustError> {
        Ok(Self {
            clients: NativeClients::open(store)?,
            desk: Mutex::default(),
        })
    }

    /// The paired clients.
    #[must_use]
    pub const fn clients(&self) -> &NativeClients {
        &self.clients
    }

    /// Opens a window of two minutes with a new PIN, in place of one that is open.
    ///
    /// # Errors
    /// The library's, if it has no random bytes.
    pub fn open_window(&self, grant: Grant) -> Result<OpenWindow, boring::error::ErrorStack> {
        let mut random = [0; 8];
        boring::rand::rand_bytes(&mut random)?;
        let pin = Pin::from_random(random);
        let mut desk = self.desk();
        let number = desk.window.open(clock::now(), pin.clone());
        desk.grant = grant;
        log::info!("pairing window {number} is open");
        Ok(OpenWindow {
            number,
            pin,
            time: WINDOW,
        })
    }

    /// Closes the window. False if none was open.
    pub fn close_window(&self) -> bool {
        self.desk().window.close()
    }

    /// How pairing stands.
    #[must_use]
    pub fn window(&self) -> PairingView {
        let mut desk = self.desk();
        let (number, state) = desk.window.state(clock::now());
        PairingView {
            number,
            state,
            counts: desk.window.counts(),
            paired: desk.paired.clone(),
        }
    }

    /// A client asks to pair.
    ///
    /// # Errors
    /// [`WindowRefusal`], counted.
    pub(crate) fn begin(self: &Arc<Self>) -> Result<Trying, WindowRefusal> {
        let mut desk = self.desk();
        let (attempt, pin) = desk.window.begin(clock::now())?;
        Ok(Trying {
            trust: Arc::clone(self),
            attempt: Some(attempt),
            pin,
            grant: desk.grant.clone(),
        })
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one attempt of a window. Dropped before [`Trying::keep`] has kept the client it has failed,
/// which closes the window.
#[derive(Debug)]
pub(crate) struct Trying {
    trust: Arc<NativeTrust>,
    attempt: Option<Attempt>,
    pin: Pin,
    grant: Grant,
}

/// A client that knew the PIN is not paired all the same.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    /// The operator has closed the window meanwhile.
    #[error("the operator has closed the window")]
    Closed,
    /// It cannot be kept.
    #[error(transparent)]
    Clients(#[from] ClientsError),
}

impl Trying {
    pub(crate) const fn pin(&self) -> &Pin {
        &self.pin
    }

    /// Keeps the client: it waits for the disk.
    pub(crate) fn keep(mut self, fingerprint: Fingerprint, name: &str) -> Result<(), KeepError> {
        let attempt = self.attempt.as_ref().expect("taken only below");
        if !self.trust.desk().window.is_current(attempt) {
            return Err(KeepError::Closed);
        }
        let grant = std::mem::take(&mut self.grant);
        let name = grant.name.unwrap_or_else(|| match name.trim() {
            "" => "client".to_owned(),
            name => name.to_owned(),
        });
        self.trust.clients.add(NativeClient {
            fingerprint,
            name: name.clone(),
            paired_at_unix_s: unix_s(),
            rights: grant.rights,
            expires_at_unix_s: grant.expires_at_unix_s,
        })?;
        let attempt = self.attempt.take().expect("there above");
        let mut desk = self.trust.desk();
        desk.window.succeed(&attempt);
        desk.paired = Some((fingerprint, name));
        Ok(())
    }
}

impl Drop for Trying {
    fn drop(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.trust.desk().window.fail(&attempt);
        }
    }
}

#[cfg(test)]
mod tests {
    use net::identity::Identity;
    use net::native::pairing::WindowEnd;

    use super::*;

    fn trust() -> (tempfile::TempDir, Arc<NativeTrust>) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("open");
        let trust = NativeTrust::open(&store).expect("none yet");
        (directory, Arc::new(trust))
    }

    #[test]
    fn a_client_gets_what_the_window_grants() {
        let (_directory, trust) = trust();
        assert!(trust.begin().is_err());
        let grant = Grant {
            name: Some("telly".to_owned()),
            expires_at_unix_s: Some(u64::MAX),
            ..Grant::default()
        };
        let opened = trust.open_window(grant).expect("random bytes");
        let trying = trust.begin().expect("open");
        assert_eq!(trying.pin(), &opened.pin);
        let fingerprint = Identity::generate().expect("one").fingerprint();
        trying.keep(fingerprint, "its own").expect("kept");
        let kept = trust.clients().find(fingerprint).expect("there");
        assert_eq!(
            (&kept.name[..], kept.expires_at_unix_s),
            ("telly", Some(u64::MAX))
        );
        let view = trust.window();
        assert_eq!(view.state, WindowState::Closed(Some(WindowEnd::Paired)));
        assert_eq!(view.paired, Some((fingerprint, "telly".to_owned())));
    }

    #[test]
    fn who_goes_away_has_failed_and_closed_the_window() {
        let (_directory, trust) = trust();
        trust.open_window(Grant::default()).expect("random bytes");
        drop(trust.begin().expect("open"));
        let view = trust.window();
        assert_eq!(view.state, WindowState::Closed(Some(WindowEnd::Failed)));
        assert_eq!((view.counts.begun, view.counts.failed), (1, 1));
        assert!(trust.begin().is_err());
    }

    #[test]
    fn a_window_that_was_closed_pairs_nobody() {
        let (_directory, trust) = trust();
        trust.open_window(Grant::default()).expect("random bytes");
        let trying = trust.begin().expect("open");
        assert!(trust.close_window());
        let fingerprint = Identity::generate().expect("one").fingerprint();
        let refused = trying.keep(fingerprint, "late");
        assert!(matches!(refused, Err(KeepError::Closed)));
        assert!(trust.clients().list().is_empty());
    }

    #[test]
    fn what_the_disk_does_not_take_is_a_failure() {
        let (directory, trust) = trust();
        std::fs::create_dir(directory.path().join(super::super::clients::FILE))
            .expect("in its way");
        trust.open_window(Grant::default()).expect("random bytes");
        let fingerprint = Identity::generate().expect("one").fingerprint();
        let refused = trust.begin().expect("open").keep(fingerprint, "tablet");
        assert!(matches!(refused, Err(KeepError::Clients(_))));
        assert_eq!(
            trust.window().state,
            WindowState::Closed(Some(WindowEnd::Failed))
        );
    }

    #[test]
    fn pins_of_windows_differ() {
        let (_directory, trust) = trust();
        let mut pins: Vec<_> = (0..5)
            .map(|_| {
                trust
                    .open_window(Grant::default())
                    .expect("random bytes")
                    .pin
            })
            .map(|pin| pin.digits().to_owned())
            .collect();
        pins.dedup();
        assert!(pins.len() > 1);
    }
}
