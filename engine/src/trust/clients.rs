//! The native protocol's paired clients, on disk: one file of mode 0600, replaced whole. A file that
//! cannot be read is put aside and told, never emptied. Whoever looks somebody up never waits for
//! the disk.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use net::identity::Fingerprint;
use serde::{Deserialize, Serialize};

use super::rights::Rights;
use super::{Replace, Store, TrustError, put_aside};

/// Its name in the state directory.
pub const FILE: &str = "native-clients.json";
/// Paired clients at once: a household's devices many times over.
pub const CLIENTS_MAX: usize = 256;
/// Longest name of a client, characters.
pub const NAME_CHARS_MAX: usize = 64;

/// A paired client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeClient {
    /// Its certificate.
    pub fingerprint: Fingerprint,
    /// What it calls itself, or the operator calls it.
    pub name: String,
    /// When it was paired, seconds since 1970.
    pub paired_at_unix_s: u64,
    /// What it may do.
    pub rights: Rights,
    /// When it may no more, seconds since 1970; `None` for never.
    pub expires_at_unix_s: Option<u64>,
}

impl NativeClient {
    /// It has expired by then; also if the clock stands before the pairing and so tells nothing.
    #[must_use]
    pub fn has_expired(&self, unix_s: u64) -> bool {
        let expires = self.expires_at_unix_s;
        expires.is_some_and(|at| unix_s >= at || unix_s < self.paired_at_unix_s)
    }
}

/// The set cannot be kept. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
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
    rights: Rights,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at_unix_s: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    clients: Vec<Entry>,
}

type List = Arc<Vec<NativeClient>>;

/// The set, shared by all threads.
#[derive(Debug)]
pub struct NativeClients {
    store: Store,
    /// Held while the file is written, by one writer after the other.
    writing: Mutex<()>,
    /// Held for a look only.
    list: Mutex<List>,
    version: AtomicU64,
}

impl NativeClients {
    /// Reads the set; nobody is in it if there is no file.
    ///
    /// # Errors
    /// [`TrustError`] if the file is there but cannot be opened, is open to others, or is damaged
    /// and cannot be put aside.
    pub fn open(store: &Store) -> Result<Self, TrustError> {
        let list = read(&store.path(FILE))?;
        Ok(Self {
            store: store.clone(),
            writing: Mutex::new(()),
            list: Mutex::new(Arc::new(list)),
            version: AtomicU64::new(0),
        })
    }

    /// All of them, in the order in which they came.
    #[must_use]
    pub fn list(&self) -> Arc<Vec<NativeClient>> {
        Arc::clone(&self.look())
    }

    /// The one with this certificate.
    #[must_use]
    pub fn find(&self, fingerprint: Fingerprint) -> Option<NativeClient> {
        let list = self.look();
        list.iter()
            .find(|it| it.fingerprint == fingerprint)
            .cloned()
    }

    /// Another one after each change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Adds a client, in place of an earlier pairing of the same certificate. It is on disk when
    /// this returns.
    ///
    /// # Errors
    /// [`ClientsError`].
    pub fn add(&self, client: NativeClient) -> Result<(), ClientsError> {
        self.change(|clients| {
            clients.retain(|it| it.fingerprint != client.fingerprint);
            if clients.len() >= CLIENTS_MAX {
                return Err(ClientsError::Full);
            }
            clients.push(client);
            Ok(true)
        })?;
        Ok(())
    }

    /// Removes a client. False if it was not there.
    ///
    /// # Errors
    /// [`ClientsError::Trust`].
    pub fn remove(&self, fingerprint: Fingerprint) -> Result<bool, ClientsError> {
        self.change(|clients| {
            let before = clients.len();
            clients.retain(|it| it.fingerprint != fingerprint);
            Ok(clients.len() < before)
        })
    }

    /// Changes a client; what it is after that, `None` if it was not there.
    ///
    /// # Errors
    /// [`ClientsError::Trust`].
    pub fn edit(
        &self,
        fingerprint: Fingerprint,
        edit: impl FnOnce(&mut NativeClient),
    ) -> Result<Option<NativeClient>, ClientsError> {
        let mut edited = None;
        self.change(|clients| {
            let mut them = clients.iter_mut();
            if let Some(client) = them.find(|it| it.fingerprint == fingerprint) {
                edit(client);
                edited = Some(client.clone());
            }
            Ok(edited.is_some())
        })?;
        Ok(edited)
    }

    /// True if there was something to change: it is on disk then, and after that in the list.
    fn change(
        &self,
        change: impl FnOnce(&mut Vec<NativeClient>) -> Result<bool, ClientsError>,
    ) -> Result<bool, ClientsError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut clients = Vec::clone(&self.look());
        if !change(&mut clients)? {
            return Ok(false);
        }
        let path = self.store.path(FILE);
        self.store.write(&path, &to_json(&clients), Replace::Yes)?;
        *self.look() = Arc::new(clients);
        self.version.fetch_add(1, Ordering::AcqRel);
        Ok(true)
    }

    fn look(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn to_json(clients: &[NativeClient]) -> Vec<u8> {
    let entry = |client: &NativeClient| Entry {
        name: client.name.clone(),
        fingerprint: client.fingerprint.to_string(),
        paired_at_unix_s: client.paired_at_unix_s,
        rights: client.rights.clone(),
        expires_at_unix_s: client.expires_at_unix_s,
    };
    let clients = clients.iter().map(entry).collect();
    serde_json::to_vec_pretty(&File { clients }).expect("texts and numbers are always JSON")
}

fn read(path: &Path) -> Result<Vec<NativeClient>, TrustError> {
    let io = |source| TrustError::Io {
        path: path.to_owned(),
        source,
    };
    let json = match fs::read(path) {
        Ok(json) => json,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(error)),
    };
    let mode = fs::metadata(path).map_err(io)?.permissions().mode();
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(TrustError::Open { path });
    }
    match parse(&json) {
        Ok(clients) => Ok(clients),
        Err(reason) => {
            let aside = put_aside(path).map_err(io)?;
            log::warn!(
                "{} is damaged ({reason}): it was put aside as {}, and no client of the native \
                 protocol is paired until it is mended or they pair again",
                path.display(),
                aside.display()
            );
            Ok(Vec::new())
        }
    }
}

fn parse(json: &[u8]) -> Result<Vec<NativeClient>, String> {
    let file: File = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    if file.clients.len() > CLIENTS_MAX {
        return Err(format!("{} clients are too many", file.clients.len()));
    }
    let client = |entry: Entry| {
        let Entry { name, .. } = entry;
        if !(1..=NAME_CHARS_MAX).contains(&name.chars().count()) {
            return Err(format!("a name of {} characters", name.chars().count()));
        }
        entry.rights.check_names()?;
        let fingerprint = entry.fingerprint.parse();
        Ok(NativeClient {
            fingerprint: fingerprint.map_err(|error| format!("{name:?}: {error}"))?,
            name,
            paired_at_unix_s: entry.paired_at_unix_s,
            rights: entry.rights,
            expires_at_unix_s: entry.expires_at_unix_s,
        })
    };
    let clients = file.clients.into_iter().map(client);
    let clients = clients.collect::<Result<Vec<_>, String>>()?;
    for (at, client) in clients.iter().enumerate() {
        let same = |it: &NativeClient| it.fingerprint == client.fingerprint;
        if clients[..at].iter().any(same) {
            return Err(format!("{:?} is there twice", client.name));
        }
    }
    Ok(clients)
}

#[cfg(test)]
mod tests {
    use net::identity::Identity;

    use super::*;

    fn client(name: &str) -> NativeClient {
        NativeClient {
            fingerprint: Identity::generate().expect("an identity").fingerprint(),
            name: name.to_owned(),
            paired_at_unix_s: 1_700_000_000,
            rights: Rights::default(),
            expires_at_unix_s: None,
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("open");
        (directory, store)
    }

    #[test]
    fn clients_survive_a_restart_with_their_rights() {
        let (_directory, store) = store();
        let clients = NativeClients::open(&store).expect("none yet");
        let (one, two) = (client("tablet"), client("television"));
        clients.add(one.clone()).expect("kept");
        clients.add(two.clone()).expect("kept");
        let version = clients.version();
        let edited = clients.edit(two.fingerprint, |it| {
            it.rights.input = false;
            it.rights.apps = Some(vec!["foot".to_owned()]);
            it.expires_at_unix_s = Some(1_800_000_000);
        });
        let edited = edited.expect("kept").expect("there");
        assert!(clients.version() > version);
        let mode = fs::metadata(store.path(FILE)).expect("there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);

        let again = NativeClients::open(&store).expect("read");
        assert_eq!(**again.list(), [one.clone(), edited.clone()]);
        assert_eq!(again.find(two.fingerprint), Some(edited));
        assert!(again.remove(one.fingerprint).expect("kept"));
        assert!(!again.remove(one.fingerprint).expect("not there"));
        assert!(
            again
                .edit(one.fingerprint, |_| ())
                .expect("not there")
                .is_none()
        );
        assert_eq!(NativeClients::open(&store).expect("read").list().len(), 1);
    }

    #[test]
    fn who_pairs_again_is_there_once_and_with_the_new_rights() {
        let (_directory, store) = store();
        let clients = NativeClients::open(&store).expect("none yet");
        let mut one = client("tablet");
        clients.add(one.clone()).expect("kept");
        one.rights.audio = false;
        clients.add(one.clone()).expect("kept");
        assert_eq!(**clients.list(), [one]);
    }

    #[test]
    fn a_damaged_file_is_put_aside_whole() {
        let (directory, store) = store();
        let clients = NativeClients::open(&store).expect("none yet");
        clients.add(client("tablet")).expect("kept");
        let path = store.path(FILE);
        let good = fs::read_to_string(&path).expect("there");
        let keys_twice = good.replacen('{', "{\"clients\": [],", 1);
        let one = clients.list()[0].clone();
        let client_twice = String::from_utf8(to_json(&[one.clone(), one])).expect("text");
        let mut kept = Vec::new();
        for damaged in [
            good[..good.len() / 2].to_owned(),
            good.replace("\"fingerprint\": \"", "\"fingerprint\": \"0"),
            good.replace("\"view\": true", "\"view\": 1"),
            good.replace("\"apps\": null", "\"apps\": null, \"root\": true"),
            good.replace("tablet", ""),
            keys_twice,
            client_twice,
            String::new(),
        ] {
            assert_ne!(damaged, good);
            fs::write(&path, &damaged).expect("written");
            let clients = NativeClients::open(&store).expect("goes on");
            assert!(clients.list().is_empty());
            assert!(!path.exists());
            kept.push(damaged);
            clients.add(client("another")).expect("kept");
        }
        let aside = fs::read_dir(directory.path()).expect("a directory");
        let aside = aside.map(|entry| entry.expect("an entry").path());
        let aside = aside.filter(|path| path.to_string_lossy().contains("damaged-"));
        let mut aside: Vec<_> = aside
            .map(|path| fs::read_to_string(path).expect("it"))
            .collect();
        aside.sort();
        kept.sort();
        assert_eq!(aside, kept, "each is there, none in the place of another");
    }

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        let (_directory, store) = store();
        let clients = NativeClients::open(&store).expect("none yet");
        clients.add(client("tablet")).expect("kept");
        let path = store.path(FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).expect("ours");
        let refused = NativeClients::open(&store).expect_err("open to others");
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
    }

    #[test]
    fn what_cannot_be_written_is_not_paired() {
        let (_directory, store) = store();
        let clients = NativeClients::open(&store).expect("none yet");
        // A directory in the file's place: not even root can replace it by a file.
        fs::create_dir(store.path(FILE)).expect("a directory");
        let refused = clients.add(client("tablet")).expect_err("not kept");
        assert!(refused.to_string().contains(FILE), "{refused}");
        assert!(clients.list().is_empty());
        assert_eq!(clients.version(), 0);
    }

    #[test]
    fn the_set_is_bounded() {
        let (_directory, store) = store();
        let many = (0..CLIENTS_MAX).map(|number| client(&format!("client {number}")));
        let many: Vec<_> = many.collect();
        store
            .write(&store.path(FILE), &to_json(&many), Replace::Yes)
            .expect("written");
        let clients = NativeClients::open(&store).expect("read");
        assert!(matches!(
            clients.add(client("one more")),
            Err(ClientsError::Full)
        ));
        clients.add(many[7].clone()).expect("one that is there");
    }

    #[test]
    fn expiry_needs_a_clock_that_can_be_right() {
        let mut one = client("tablet");
        assert!(!one.has_expired(u64::MAX));
        one.expires_at_unix_s = Some(one.paired_at_unix_s + 60);
        assert!(!one.has_expired(one.paired_at_unix_s + 59));
        assert!(one.has_expired(one.paired_at_unix_s + 60));
        assert!(one.has_expired(one.paired_at_unix_s - 1));
    }
}
