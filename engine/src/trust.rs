//! Identities, pinned hosts and paired clients on disk: directories 0700, files 0600, written
//! whole or not at all.

pub mod clients;
pub mod native;
pub mod rights;
pub mod wall;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use net::gamestream::pairing::PairingIdentity;
use net::identity::{Fingerprint, Identity, IdentityError};
use zeroize::Zeroizing;

/// Which side an identity is for; a machine can be both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Serves desktops.
    Host,
    /// Shows them.
    Client,
}

impl Side {
    const fn file(self) -> &'static str {
        match self {
            Self::Host => "host-identity.pem",
            Self::Client => "client-identity.pem",
        }
    }
}

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The system's answer.
    #[error("{path}: {source}; choose another place with --state-dir")]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file is damaged.
    #[error("{path} is damaged ({reason}); remove it to start afresh")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Others can read a private key.
    #[error("{path} holds a private key and can be read by others; run: chmod 600 {path}")]
    Exposed {
        /// Which file.
        path: PathBuf,
    },
    /// Others can add themselves to the paired clients.
    #[error("{path} says who may connect and is open to others; run: chmod 600 {path}")]
    Open {
        /// Which file.
        path: PathBuf,
    },
    /// No identity could be made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// What a client knows of a host's fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// Never seen.
    Unknown,
    /// This one is pinned.
    Known(Fingerprint),
}

/// The state directory.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// Opens the directory, making it if need be.
    ///
    /// # Errors
    /// [`TrustError::Io`].
    pub fn open(directory: &Path) -> Result<Self, TrustError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| TrustError::Io {
                path: directory.to_owned(),
                source,
            })?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// The identity of one side, made at first use. Two processes that start at once agree on
    /// one.
    ///
    /// # Errors
    /// See [`TrustError`].
    pub fn identity(&self, side: Side) -> Result<Identity, TrustError> {
        let path = self.path(side.file());
        let pem = self.kept(&path, || {
            let identity = Identity::generate()?;
            let mut pem = Zeroizing::new(identity.certificate_pem()?);
            pem.extend_from_slice(&identity.key_pem()?);
            Ok(pem)
        })?;
        Identity::from_pem(&pem, &pem).map_err(|error| TrustError::Damaged {
            path,
            reason: error.to_string(),
        })
    }

    /// The host's identity towards GameStream's clients, made at first use.
    ///
    /// # Errors
    /// See [`TrustError`].
    pub fn gamestream_identity(&self) -> Result<PairingIdentity, TrustError> {
        let path = self.path("gamestream-identity.pem");
        let pem = self.kept(&path, || {
            let identity = PairingIdentity::generate()?;
            let mut pem = Zeroizing::new(identity.certificate_pem().to_vec());
            pem.extend_from_slice(&identity.key_pem()?);
            Ok(pem)
        })?;
        PairingIdentity::from_pem(&pem, &pem).map_err(|error| TrustError::Damaged {
            path,
            reason: error.to_string(),
        })
    }

    /// A file of this directory.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// What a private file holds, made if it is not there.
    fn kept(
        &self,
        path: &Path,
        make: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, TrustError>,
    ) -> Result<Zeroizing<Vec<u8>>, TrustError> {
        if !path.exists() {
            self.write(path, &make()?, Replace::No)?;
        }
        let io = |source| TrustError::Io {
            path: path.to_owned(),
            source,
        };
        let mode = fs::metadata(path).map_err(io)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(TrustError::Exposed {
                path: path.to_owned(),
            });
        }
        Ok(Zeroizing::new(fs::read(path).map_err(io)?))
    }

    /// The pinned fingerprint of `host`, written as the user named it (`address:port`).
    ///
    /// # Errors
    /// See [`TrustError`].
    pub fn pinned(&self, host: &str) -> Result<Pinned, TrustError> {
        Ok(self
            .hosts()?
            .get(host)
            .copied()
            .map_or(Pinned::Unknown, Pinned::Known))
    }

    /// Pins `host`, in place of what was pinned before.
    ///
    /// # Errors
    /// See [`TrustError`].
    pub fn pin(&self, host: &str, fingerprint: Fingerprint) -> Result<(), TrustError> {
        let mut hosts = self.hosts()?;
        hosts.insert(host.to_owned(), fingerprint);
        let texts: BTreeMap<_, _> = hosts
            .iter()
            .map(|(host, fingerprint)| (host, fingerprint.to_string()))
            .collect();
        let json = serde_json::to_vec_pretty(&texts).expect("a map of texts is always JSON");
        self.write(&self.hosts_path(), &json, Replace::Yes)
    }

    fn hosts_path(&self) -> PathBuf {
        self.directory.join("known-hosts.json")
    }

    fn hosts(&self) -> Result<BTreeMap<String, Fingerprint>, TrustError> {
        let path = self.hosts_path();
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(BTreeMap::new());
            }
            Err(source) => return Err(TrustError::Io { path, source }),
        };
        let damaged = |reason: String| TrustError::Damaged {
            path: path.clone(),
            reason,
        };
        let texts: BTreeMap<String, String> =
            serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
        texts
            .into_iter()
            .map(|(host, text)| {
                let fingerprint = text.parse().map_err(|_| damaged(format!("{text:?}")))?;
                Ok((host, fingerprint))
            })
            .collect()
    }

    /// Writes a temporary file beside, then moves it into place.
    pub(crate) fn write(
        &self,
        path: &Path,
        bytes: &[u8],
        replace: Replace,
    ) -> Result<(), TrustError> {
        let temporary = path.with_extension(format!("new-{}", std::process::id()));
        let written = (|| {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            match replace {
                Replace::Yes => fs::rename(&temporary, path),
                // A link fails if somebody else was first; theirs is as good.
                Replace::No => match fs::hard_link(&temporary, path) {
                    Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
                    _ => fs::remove_file(&temporary),
                },
            }
        })();
        written.map_err(|source| {
            // What is left of it is of no use to anybody.
            let _ = fs::remove_file(&temporary);
            TrustError::Io {
                path: path.to_owned(),
                source,
            }
        })
    }
}

/// What becomes of a file that is there.
#[derive(Clone, Copy)]
pub(crate) enum Replace {
    Yes,
    No,
}

/// Renames a damaged file to a name beside it that nothing has, so that what was put aside before
/// stays, and returns that.
pub(crate) fn put_aside(path: &Path) -> std::io::Result<PathBuf> {
    let name = |count: u32| path.with_extension(format!("damaged-{}-{count}", wall::unix_s()));
    let free = (0..).map(name).find(|aside| !aside.exists());
    let aside = free.expect("no directory holds four thousand million files of one second");
    fs::rename(path, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = Store::open(&directory.path().join("state")).expect("open");
        (directory, store)
    }

    #[test]
    fn an_identity_persists_and_is_private() {
        let (directory, store) = store();
        let first = store.identity(Side::Host).expect("made").fingerprint();
        assert_eq!(
            store.identity(Side::Host).expect("read").fingerprint(),
            first
        );
        assert_ne!(
            store.identity(Side::Client).expect("made").fingerprint(),
            first
        );
        let path = directory.path().join("state/host-identity.pem");
        assert_eq!(
            fs::metadata(path).expect("there").permissions().mode() & 0o777,
            0o600
        );
        let path = directory.path().join("state");
        assert_eq!(
            fs::metadata(path).expect("there").permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn an_exposed_key_is_refused() {
        let (directory, store) = store();
        store.identity(Side::Host).expect("made");
        let path = directory.path().join("state/host-identity.pem");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
        assert!(matches!(
            store.identity(Side::Host),
            Err(TrustError::Exposed { .. })
        ));
    }

    #[test]
    fn a_damaged_identity_is_named() {
        let (directory, store) = store();
        store.identity(Side::Host).expect("made");
        let path = directory.path().join("state/host-identity.pem");
        fs::write(&path, "nonsense").expect("write");
        assert!(matches!(
            store.identity(Side::Host),
            Err(TrustError::Damaged { .. })
        ));
    }

    #[test]
    fn pins_are_kept_and_replaced() {
        let (_directory, store) = store();
        let one = Identity::generate().expect("generate").fingerprint();
        let two = Identity::generate().expect("generate").fingerprint();
        assert_eq!(store.pinned("a:1").expect("read"), Pinned::Unknown);
        store.pin("a:1", one).expect("pin");
        store.pin("b:1", two).expect("pin");
        assert_eq!(store.pinned("a:1").expect("read"), Pinned::Known(one));
        store.pin("a:1", two).expect("pin");
        assert_eq!(store.pinned("a:1").expect("read"), Pinned::Known(two));
    }
}
