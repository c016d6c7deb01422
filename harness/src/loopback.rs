//! The real host and the real client on loopback.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use crossbeam::channel::Receiver;
use engine::config::{HostConfig, Settings};
use engine::host::{Host, HostError, SessionEntry};
use engine::session::Backends;
use engine::trust::native::{Grant, NativeTrust};
use engine::trust::rights::Rights;
use gpu::decode::openh264::OpenH264Decoder;
use gpu::decode::{Decoder, Picture};
use net::client::{
    Client, ClientCursor, ClientInput, ClientModes, ClientNotice, ConnectError, ConnectOptions,
    Feedback, PairOptions, ReceiveSnapshot, Trust, pair,
};
use net::identity::{Fingerprint, Identity};
use net::limits::DATAGRAM_BYTES_MAX;
use net::native::{
    AeadSet, CodecSet, Features, FecCodes, Hello, PROTOCOL_VERSION, Reconfigured, RequestedMode,
    Welcome,
};
use net::reassemble::AccessUnit;
use net::units::{BitsPerSecond, Mode};
use tempfile::TempDir;

use crate::PATIENCE;

/// The mode that tests ask for unless size matters: small and slow, so that a test that decodes on
/// a loaded machine does not fall behind by all the frames that a client holds for it.
pub const MODE: &str = "320x240@30";

/// A host on a free port, with a state directory of its own.
pub struct LoopbackHost {
    host: Option<Host>,
    address: SocketAddr,
    fingerprint: Fingerprint,
    state: TempDir,
}

impl LoopbackHost {
    /// A host that draws its pictures itself, with these settings on top.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn synthetic(settings: &[(&'static str, &str)]) -> Self {
        let mut all = vec![("desktop", "synthetic"), ("app", "none")];
        all.extend_from_slice(settings);
        match Self::start(&all) {
            Ok(host) => host,
            Err(error) => panic!("{error}"),
        }
    }

    /// A host with these settings; port and state directory are chosen here.
    ///
    /// # Errors
    /// [`HostError`].
    ///
    /// # Panics
    /// If the settings are not valid.
    pub fn start(settings: &[(&'static str, &str)]) -> Result<Self, HostError> {
        Self::start_with(settings, Host::start)
    }

    /// The same on these backends.
    ///
    /// # Errors
    /// [`HostError`].
    ///
    /// # Panics
    /// If the settings are not valid.
    pub fn start_on(
        settings: &[(&'static str, &str)],
        backends: Backends,
    ) -> Result<Self, HostError> {
        Self::start_with(settings, |config| Host::start_on(config, backends))
    }

    fn start_with(
        settings: &[(&'static str, &str)],
        start: impl FnOnce(HostConfig) -> Result<Host, HostError>,
    ) -> Result<Self, HostError> {
        let state = tempfile::tempdir().expect("a temporary directory");
        let directory = state.path().to_str().expect("a readable path").to_owned();
        let mut all = vec![
            ("port", "0"),
            ("state-dir", directory.as_str()),
            ("slices", "4"),
        ];
        all.extend_from_slice(settings);
        let config = match HostConfig::from_settings(&Settings::of(&all)) {
            Ok(config) => config,
            Err(error) => panic!("{error}"),
        };
        let host = start(config)?;
        let (address, fingerprint) = (host.local_addr(), host.fingerprint());
        Ok(Self {
            host: Some(host),
            address,
            fingerprint,
            state,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What clients pin.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Its state directory.
    #[must_use]
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// Who may connect.
    ///
    /// # Panics
    /// If it was stopped.
    #[must_use]
    pub fn trust(&self) -> &NativeTrust {
        self.host.as_ref().expect("it runs").trust()
    }

    /// A client that is paired with these rights.
    ///
    /// # Panics
    /// If it was stopped, or pairing fails.
    #[must_use]
    pub fn paired(&self, rights: Rights) -> Identity {
        let identity = Identity::generate().expect("an identity");
        let grant = Grant {
            rights,
            ..Grant::default()
        };
        let opened = self.trust().open_window(grant).expect("random bytes");
        let options = PairOptions {
            host: self.address,
            identity: identity.clone(),
            pin: opened.pin,
            name: "tablet".to_owned(),
        };
        pair(options).expect("paired");
        identity
    }

    /// The sessions that stream now.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionEntry> {
        self.host.as_ref().map(Host::sessions).unwrap_or_default()
    }

    /// It serves nobody any more although nobody stopped it.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.host.as_ref().is_some_and(Host::has_failed)
    }

    /// Stops it as Ctrl-C does.
    pub fn stop(&mut self) {
        if let Some(host) = self.host.take() {
            host.stop();
        }
    }
}

/// A client that decodes what it receives, on the test's own thread.
pub struct LoopbackClient {
    client: Client,
    decoder: OpenH264Decoder,
    feedback: Feedback,
    /// The host's answers to requests for other modes, oldest first.
    pub modes: Vec<Reconfigured>,
    /// Why the session ended, once the host or the network has ended it.
    pub ended: Option<String>,
}

impl LoopbackClient {
    /// Connects for [`MODE`], trusting whoever answers.
    ///
    /// # Panics
    /// If no session comes about.
    #[must_use]
    pub fn connect(host: SocketAddr) -> Self {
        Self::with(host, Trust::FirstUse, hello(MODE)).expect("a session")
    }

    /// Connects.
    ///
    /// # Errors
    /// [`ConnectError`].
    ///
    /// # Panics
    /// If there is no decoder or identity to be had.
    pub fn with(host: SocketAddr, trust: Trust, hello: Hello) -> Result<Self, ConnectError> {
        let identity = Identity::generate().expect("an identity");
        Self::known(host, identity, trust, hello)
    }

    /// Connects with this certificate.
    ///
    /// # Errors
    /// [`ConnectError`].
    ///
    /// # Panics
    /// If there is no decoder to be had.
    pub fn known(
        host: SocketAddr,
        identity: Identity,
        trust: Trust,
        hello: Hello,
    ) -> Result<Self, ConnectError> {
        let client = Client::connect(ConnectOptions {
            host,
            identity,
            trust,
            hello,
        })?;
        let decoder = OpenH264Decoder::open().expect("a decoder");
        let feedback = client.feedback();
        Ok(Self {
            client,
            decoder,
            feedback,
            modes: Vec::new(),
            ended: None,
        })
    }

    /// What the host agreed to.
    #[must_use]
    pub const fn welcome(&self) -> &Welcome {
        self.client.welcome()
    }

    /// Who the host is.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.client.fingerprint()
    }

    /// Counts of the receiver.
    #[must_use]
    pub fn received(&self) -> ReceiveSnapshot {
        self.client.received()
    }

    /// Where input goes in.
    #[must_use]
    pub fn input(&self) -> ClientInput {
        self.client.input()
    }

    /// What it is made of, for the planes that tests look at one by one.
    #[must_use]
    pub const fn connector(&self) -> &Client {
        &self.client
    }

    /// Goes on from another address of this machine's.
    ///
    /// # Panics
    /// If there is no socket to be had there.
    pub fn rebind(&self, local: IpAddr) {
        self.client.rebind(local).expect("a socket");
    }

    /// The host's pointer, whenever it has changed.
    #[must_use]
    pub fn cursors(&self) -> Receiver<ClientCursor> {
        self.client.cursors().clone()
    }

    /// Asks for other modes.
    #[must_use]
    pub fn mode_requests(&self) -> ClientModes {
        self.client.modes()
    }

    /// Watches pictures, which `look` sees, until the request of that number is answered.
    ///
    /// # Panics
    /// As [`LoopbackClient::watch`].
    pub fn watch_until_answered(
        &mut self,
        number: u32,
        mut look: impl FnMut(&AccessUnit, &Picture<'_>),
    ) -> Reconfigured {
        loop {
            self.take_notices();
            if let Some(answer) = self.modes.iter().find(|it| it.number >= number) {
                return answer.clone();
            }
            self.watch(1, &mut look);
        }
    }

    /// Asks for an IDR as a decoder that gave up on `unit` would.
    pub fn give_up_on(&self, unit: &AccessUnit) {
        self.feedback.request_keyframe(unit.frame);
    }

    /// The next access unit, or `None` once the session is over.
    ///
    /// # Panics
    /// If neither comes within [`PATIENCE`].
    pub fn next_unit(&mut self) -> Option<AccessUnit> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.take_notices();
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "no frame came within {PATIENCE:?}: {:?}",
                self.received()
            );
            // Short, so that notices do not pile up while nothing comes.
            match self
                .client
                .units()
                .recv_timeout(left.min(Duration::from_millis(100)))
            {
                Ok(unit) => return Some(unit),
                Err(error) if error.is_disconnected() => {
                    self.take_notices();
                    return None;
                }
                Err(_) => {}
            }
        }
    }

    /// Receives and decodes `count` pictures; `look` sees each.
    ///
    /// # Panics
    /// If the session ends before, or a picture cannot be decoded.
    pub fn watch(&mut self, count: usize, mut look: impl FnMut(&AccessUnit, &Picture<'_>)) {
        let mut seen = 0;
        while seen < count {
            let unit = self.next_unit();
            let Some(unit) = unit else {
                panic!("the session ended: {:?}", self.ended)
            };
            match self.decoder.decode(unit.frame, unit.bytes()) {
                Ok(Some(picture)) => {
                    look(&unit, &picture);
                    seen += 1;
                }
                Ok(None) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Decodes a unit that was taken with [`LoopbackClient::next_unit`].
    ///
    /// # Panics
    /// If it cannot be decoded.
    pub fn look_at(&mut self, unit: &AccessUnit) {
        if let Err(error) = self.decoder.decode(unit.frame, unit.bytes()) {
            panic!("{error}");
        }
    }

    /// Takes frames until the session is over; the reason.
    pub fn until_end(&mut self) -> String {
        while self.next_unit().is_some() {}
        self.ended
            .clone()
            .unwrap_or_else(|| "no reason was given".to_owned())
    }

    /// Ends the session as a client that has seen enough.
    pub fn end(mut self) -> ReceiveSnapshot {
        self.client.end();
        self.client.received()
    }

    fn take_notices(&mut self) {
        for notice in self.client.notices().try_iter() {
            match notice {
                ClientNotice::Ended { reason } => self.ended = Some(reason),
                ClientNotice::Reconfigured(answer) => self.modes.push(answer),
                ClientNotice::FrameTimes(_) | ClientNotice::PadOutput(_) => {}
            }
        }
    }
}

/// The share of sample points whose luma is that of the synthetic display's ground, drawn again
/// here. A moving square of an eighth of the picture covers the rest.
#[must_use]
pub fn share_of_ground(picture: &Picture<'_>) -> f64 {
    let luma = |x: usize, y: usize| {
        let fold = |value: usize| (value % 256) as f64;
        let (r, g, b) = (fold(x / 8), fold(y / 4), fold((x / 64 + y / 64) * 16));
        16.0 + (0.2126 * r + 0.7152 * g + 0.0722 * b) * 219.0 / 255.0
    };
    let points: Vec<bool> = (0..picture.height)
        .step_by(7)
        .flat_map(|y| (0..picture.width).step_by(7).map(move |x| (x, y)))
        .map(|(x, y)| {
            let seen = f64::from(picture.planes[0][y * picture.strides[0] + x]);
            (seen - luma(x, y)).abs() < 12.0
        })
        .collect();
    points.iter().filter(|fits| **fits).count() as f64 / points.len() as f64
}

/// What a client of these tests asks for.
///
/// # Panics
/// If `mode` is not a mode.
#[must_use]
pub fn hello(mode: &str) -> Hello {
    let mode: Mode = mode.parse().expect("a mode");
    Hello {
        version: PROTOCOL_VERSION,
        mode: RequestedMode::from(mode),
        codecs: CodecSet::H264,
        fec_codes: FecCodes::ALL,
        aeads: AeadSet::ALL,
        required: Features::NONE,
        optional: Features::FRAME_TIMES,
        slices: 0,
        bitrate: BitsPerSecond(4_000_000),
        fec_percent: None,
        datagram_bytes_max: DATAGRAM_BYTES_MAX as u16,
        name: "test".to_owned(),
    }
}

/// Names of the encoders of this build.
#[must_use]
pub fn encoders() -> Vec<&'static str> {
    gpu::encode::candidates()
        .iter()
        .map(|kind| kind.name)
        .collect()
}
