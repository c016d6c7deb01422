//! The clients that are paired, on disk: one file of mode 0600, replaced whole. A file that cannot
//! be read is put aside and told, never emptied.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use net::gamestream::pairing::ClientCertificate;
use net::identity::Fingerprint;
use net::units::SliceCount;
use serde::{Deserialize, Serialize};

use crate::trust::wall::unix_s;
use crate::trust::{Replace, Store, TrustError, put_aside};

/// Paired clients at once: a household's devices many times over; 2 KB each.
pub const CLIENTS_MAX: usize = 256;
/// Longest name of a client, characters.
pub const NAME_CHARS_MAX: usize = 64;

/// A paired client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairedClient {
    /// What the operator calls it.
    pub name: String,
    /// Its certificate.
    pub certificate: ClientCertificate,
    /// When it was paired, seconds since 1970.
    pub paired_at_unix_s: u64,
    /// Slices of each picture for it, where the operator has set them.
    pub slices: Option<SliceCount>,
}

/// The set cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum PairedError {
    /// It is full.
    #[error("{CLIENTS_MAX} clients are paired; unpair one first")]
    Full,
    /// It cannot be written.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// As it is in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    fingerprint: String,
    paired_at_unix_s: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slices: Option<u8>,
    certificate: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    clients: Vec<Entry>,
}

/// The set.
#[derive(Debug)]
pub struct PairedClients {
    store: Store,
    clients: Vec<PairedClient>,
}

impl PairedClients {
    /// Reads the set; nobody is in it if there is no file.
    ///
    /// # Errors
    /// [`TrustError::Io`] if the file is there but cannot be opened, or cannot be put aside.
    pub fn open(store: &Store) -> Result<Self, TrustError> {
        let path = path(store);
        let io = |source| TrustError::Io {
            path: path.clone(),
            source,
        };
        let clients = match fs::read(&path) {
            Ok(json) => match parse(&json) {
                Ok(clients) => clients,
                Err(reason) => {
                    let aside = put_aside(&path).map_err(io)?;
                    log::warn!(
                        "{} is damaged ({reason}): it was put aside as {}, and no GameStream \
                         client is paired until it is mended or they pair again",
                        path.display(),
                        aside.display()
                    );
                    Vec::new()
                }
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(io(error)),
        };
        Ok(Self {
            store: store.clone(),
            clients,
        })
    }

    /// All of them, in the order in which they came.
    #[must_use]
    pub fn list(&self) -> &[PairedClient] {
        &self.clients
    }

    /// The one with this certificate.
    #[must_use]
    pub fn find(&self, fingerprint: Fingerprint) -> Option<&PairedClient> {
        let mut clients = self.clients.iter();
        clients.find(|client| client.certificate.fingerprint() == fingerprint)
    }

    /// Adds a client, in place of an earlier pairing of the same certificate, whose settings it
    /// keeps. It is on disk when this returns.
    ///
    /// # Errors
    /// [`PairedError`]; nothing has changed.
    pub fn add(&mut self, certificate: ClientCertificate, name: &str) -> Result<(), PairedError> {
        let fingerprint = certificate.fingerprint();
        let slices = self.find(fingerprint).and_then(|client| client.slices);
        let mut clients = self.clients.clone();
        clients.retain(|client| client.certificate.fingerprint() != fingerprint);
        if clients.len() >= CLIENTS_MAX {
            return Err(PairedError::Full);
        }
        clients.push(PairedClient {
            name: name.chars().take(NAME_CHARS_MAX).collect(),
            certificate,
            paired_at_unix_s: unix_s(),
            slices,
        });
        self.keep(clients)?;
        Ok(())
    }

    /// Removes a client. False if it was not there.
    ///
    /// # Errors
    /// [`TrustError::Io`]; nothing has changed.
    pub fn remove(&mut self, fingerprint: Fingerprint) -> Result<bool, TrustError> {
        let mut clients = self.clients.clone();
        clients.retain(|client| client.certificate.fingerprint() != fingerprint);
        if clients.len() == self.clients.len() {
            return Ok(false);
        }
        self.keep(clients)?;
        Ok(true)
    }

    /// Sets a client's slices; `None` leaves them to the client. False if it was not there.
    ///
    /// # Errors
    /// [`TrustError::Io`]; nothing has changed.
    pub fn set_slices(
        &mut self,
        fingerprint: Fingerprint,
        slices: Option<SliceCount>,
    ) -> Result<bool, TrustError> {
        let mut clients = self.clients.clone();
        let mut them = clients.iter_mut();
        let Some(client) = them.find(|it| it.certificate.fingerprint() == fingerprint) else {
            return Ok(false);
        };
        client.slices = slices;
        self.keep(clients)?;
        Ok(true)
    }

    fn keep(&mut self, clients: Vec<PairedClient>) -> Result<(), TrustError> {
        let entries = clients.iter().map(|client| Entry {
            name: client.name.clone(),
            fingerprint: client.certificate.fingerprint().to_string(),
            paired_at_unix_s: client.paired_at_unix_s,
            slices: client.slices.map(SliceCount::get),
            certificate: String::from_utf8_lossy(client.certificate.pem()).into_owned(),
        });
        let file = File {
            clients: entries.collect(),
        };
        let json = serde_json::to_vec_pretty(&file).expect("texts and numbers are always JSON");
        self.store.write(&path(&self.store), &json, Replace::Yes)?;
        self.clients = clients;
        Ok(())
    }
}

fn path(store: &Store) -> PathBuf {
    store.path("gamestream-clients.json")
}

fn parse(json: &[u8]) -> Result<Vec<PairedClient>, String> {
    let file: File = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let client = |entry: Entry| {
        let Entry { name, .. } = entry;
        let certificate = ClientCertificate::from_pem(entry.certificate.as_bytes())
            .map_err(|error| format!("the certificate of {name:?}: {error}"))?;
        if certificate.fingerprint().to_string() != entry.fingerprint {
            return Err(format!("the fingerprint of {name:?} is another one"));
        }
        let slices = |count| {
            SliceCount::new(count).ok_or_else(|| format!("{count} slices of {name:?} are too many"))
        };
        Ok(PairedClient {
            slices: entry.slices.map(slices).transpose()?,
            name,
            certificate,
            paired_at_unix_s: entry.paired_at_unix_s,
        })
    };
    file.clients.into_iter().map(client).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use net::gamestream::pairing::PairingIdentity;

    use super::*;

    fn certificate() -> ClientCertificate {
        let identity = PairingIdentity::generate().expect("an identity");
        ClientCertificate::from_pem(identity.certificate_pem()).expect("a certificate")
    }

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("open");
        (directory, store)
    }

    #[test]
    fn clients_survive_a_restart_and_can_be_removed() {
        let (_directory, store) = store();
        let mut clients = PairedClients::open(&store).expect("none yet");
        let (one, two) = (certificate(), certificate());
        clients.add(one.clone(), "phone").expect("added");
        clients.add(two.clone(), "television").expect("added");
        clients.add(one.clone(), "telephone").expect("replaced");
        let mode = fs::metadata(path(&store)).expect("there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);

        let mut again = PairedClients::open(&store).expect("read");
        assert_eq!(again.list(), clients.list());
        let found = again.find(one.fingerprint()).expect("paired");
        assert_eq!(found.name, "telephone");
        assert_eq!(found.slices, None);
        let four = SliceCount::new(4);
        assert!(again.set_slices(two.fingerprint(), four).expect("kept"));
        let mut again = PairedClients::open(&store).expect("read");
        let slices = |clients: &PairedClients| clients.find(two.fingerprint()).map(|it| it.slices);
        assert_eq!(slices(&again), Some(four));
        again.add(two.clone(), "television").expect("replaced");
        assert_eq!(slices(&again), Some(four), "who pairs again keeps them");
        assert!(again.set_slices(two.fingerprint(), None).expect("kept"));
        let mut again = PairedClients::open(&store).expect("read");
        assert_eq!(slices(&again), Some(None));
        assert!(again.remove(one.fingerprint()).expect("removed"));
        assert!(!again.remove(one.fingerprint()).expect("not there"));
        assert!(
            !again
                .set_slices(one.fingerprint(), four)
                .expect("not there")
        );
        let again = PairedClients::open(&store).expect("read");
        assert_eq!(again.list().len(), 1);
        assert!(again.find(one.fingerprint()).is_none());
    }

    #[test]
    fn a_damaged_file_is_put_aside_whole() {
        let (directory, store) = store();
        let mut clients = PairedClients::open(&store).expect("none yet");
        clients.add(certificate(), "phone").expect("added");
        let good = fs::read_to_string(path(&store)).expect("there");
        for damaged in [
            good[..good.len() / 2].to_owned(),
            good.replace("\"fingerprint\": \"", "\"fingerprint\": \"0"),
            good.replace("CERTIFICATE", "CERTIFICAT"),
            good.replace("\"certificate\"", "\"slices\": 77, \"certificate\""),
        ] {
            fs::write(path(&store), &damaged).expect("written");
            let clients = PairedClients::open(&store).expect("goes on");
            assert!(clients.list().is_empty());
            assert!(!path(&store).exists());
            let aside = fs::read_dir(directory.path()).expect("a directory");
            let aside = aside.map(|entry| entry.expect("an entry").path());
            let mut aside = aside.filter(|path| path.to_string_lossy().contains("damaged-"));
            let kept = aside.next().expect("put aside");
            assert_eq!(fs::read_to_string(&kept).expect("there"), damaged);
            fs::remove_file(kept).expect("removed");
        }
    }

    #[test]
    fn what_cannot_be_written_is_not_paired() {
        let (directory, store) = store();
        let mut clients = PairedClients::open(&store).expect("none yet");
        // A directory in the file's place: not even root can replace it by a file.
        fs::create_dir(path(&store)).expect("a directory");
        assert!(clients.add(certificate(), "phone").is_err());
        assert!(clients.list().is_empty());
        drop(directory);
    }
}
