//! The client's clipboard: the one of the desktop that it runs in, a file, or both.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crossbeam::channel::Receiver;
use net::client::{Client, ClientClipboard};
use net::native::Features;
use platform::display::{OutputAddress, WaylandOutput};
use platform::thread::{Role, RoleThread};

use super::ClientError;
use crate::stage::clipboard::{ClipboardQueue, ClipboardThread};

/// Writing one text takes no longer.
const JOIN_TIMEOUT: Duration = Duration::from_secs(2);

/// What a client's clipboard is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClipboardChoice {
    /// That of the desktop in which this process runs (`WAYLAND_DISPLAY`).
    pub desktop: bool,
    /// The newest text from the host goes into this file, which nobody else may read.
    pub out: Option<PathBuf>,
    /// The host's desktop gets this text at first.
    pub text: Option<String>,
}

impl ClipboardChoice {
    /// What to ask the host for.
    #[must_use]
    pub fn features(&self) -> Features {
        if *self == Self::default() {
            Features::NONE
        } else {
            Features::CLIPBOARD
        }
    }
}

/// A clipboard that is shared with a host. It goes on until its client is dropped.
pub(super) struct Sharing {
    /// Before the desktop's: it puts into it.
    forward: RoleThread<()>,
    /// Held for its thread.
    _desktop: Option<ClipboardThread>,
    texts: Arc<AtomicU64>,
}

impl Sharing {
    /// Shares what the choice says, if the host has agreed.
    pub(super) fn start(
        client: &Client,
        choice: ClipboardChoice,
    ) -> Result<Option<Self>, ClientError> {
        if choice.features().is_empty() {
            return Ok(None);
        }
        let clipboard = client.clipboard();
        if let Some(text) = choice.text
            && let Err(error) = clipboard.set(text)
        {
            log::warn!("{error}");
        }
        if !client.welcome().features.contains(Features::CLIPBOARD) {
            return Ok(None);
        }
        let desktop = choice.desktop.then(|| open_desktop(clipboard)).flatten();
        let queue = desktop.as_ref().map(ClipboardThread::queue);
        let texts = Arc::new(AtomicU64::new(0));
        let (copied, counted) = (client.copied().clone(), Arc::clone(&texts));
        let out = choice.out;
        let run = move || forward(&copied, out.as_deref(), queue.as_ref(), &counted);
        let forward = platform::thread::spawn(Role::Control, "pf-copied", run)
            .map_err(ClientError::Thread)?;
        Ok(Some(Self {
            forward,
            _desktop: desktop,
            texts,
        }))
    }

    /// After the client was dropped: how many texts came.
    pub(super) fn finish(self) -> u64 {
        if let Err(error) = self.forward.join_within(JOIN_TIMEOUT) {
            log::error!("{error}");
        }
        self.texts.load(Relaxed)
    }
}

fn forward(
    copied: &Receiver<String>,
    out: Option<&Path>,
    desktop: Option<&ClipboardQueue>,
    texts: &AtomicU64,
) {
    for text in copied {
        texts.fetch_add(1, Relaxed);
        if let Some(path) = out
            && let Err(error) = write(path, &text)
        {
            log::warn!("{} cannot be written: {error}", path.display());
        }
        if let Some(desktop) = desktop {
            desktop.put(text);
        }
    }
}

/// Another file takes the place of the one before, so that nobody reads half a text.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(new, path)
}

/// The desktop's, from which what is copied goes to the host.
fn open_desktop(clipboard: ClientClipboard) -> Option<ClipboardThread> {
    let Some(address) = own_desktop() else {
        log::warn!(
            "this side has no desktop to share the clipboard of: WAYLAND_DISPLAY names none"
        );
        return None;
    };
    let (opened, answers) = platform::clipboard::open(Some(&address));
    let Some(opened) = opened else {
        for answer in answers {
            if let Err(refusal) = answer.result {
                log::warn!("this desktop's clipboard is not shared: {refusal}");
            }
        }
        return None;
    };
    let on_copied = move |queue: &ClipboardQueue| {
        if let Some(text) = queue.poll_copied()
            && let Err(error) = clipboard.set(text)
        {
            log::warn!("{error}");
        }
    };
    ClipboardThread::spawn(opened, Box::new(on_copied))
        .inspect_err(|error| log::warn!("this desktop's clipboard is not shared: {error}"))
        .ok()
}

/// `WAYLAND_DISPLAY`, a path or a name in `XDG_RUNTIME_DIR`.
fn own_desktop() -> Option<OutputAddress> {
    let name = PathBuf::from(std::env::var_os("WAYLAND_DISPLAY")?);
    let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(PathBuf::new, PathBuf::from);
    let wayland_socket = base.join(name);
    wayland_socket.is_absolute().then(|| {
        OutputAddress::from(WaylandOutput {
            wayland_socket,
            output: String::new(),
        })
    })
}
