//! The host's real pipeline between fakes: capture, encoder and peer are the test's.

use std::sync::Arc;

use crossbeam::channel::{Receiver, bounded};
use engine::metrics::SessionMetrics;
use engine::pipeline::{self, Parts, Pipeline};
use engine::stage::StageFault;
use engine::steering::{ControlEnds, ways};
use gpu::frame::{Rect, Size};
use net::packetize::PacketizerConfig;
use net::steering::unsteered;
use net::udp::{Socket, SocketConfig};
use net::units::{BitsPerSecond, Mode, SliceCount};

use crate::PATIENCE;
use crate::facts;
use crate::fakes::{CaptureRemote, EncoderRemote, FakeCapture};
use crate::peer::{RecordingPeer, packetizer};

/// Size of the pictures.
pub const SIZE: Size = Size {
    width: 320,
    height: 240,
};
/// Everything may differ.
pub const WHOLE: Rect = Rect {
    x: 0,
    y: 0,
    width: 320,
    height: 240,
};
/// Prefix of the names of all threads of a pipeline.
pub const THREADS: &str = "pf-";

/// A running pipeline and everything that a test may do to it.
pub struct Rig {
    /// The pipeline; dropping it is what its owner does at a session's end.
    pub pipeline: Option<Pipeline>,
    /// Makes pictures, stillness and failures.
    pub capture: CaptureRemote,
    /// Knows what was encoded.
    pub encoder: EncoderRemote,
    /// Gets the datagrams.
    pub peer: RecordingPeer,
    /// What the stages count.
    pub metrics: Arc<SessionMetrics>,
    /// Why stages ended by themselves.
    pub faults: Receiver<StageFault>,
    /// Control's ends of the ways to the pipeline.
    pub steering: ControlEnds,
    /// The pipeline's own socket, to damage it.
    pub socket: std::net::UdpSocket,
}

impl Rig {
    /// Starts a pipeline at 60 Hz with four slices.
    #[must_use]
    pub fn start(encoder: EncoderRemote) -> Self {
        Self::with(encoder, "320x240@60", PacketizerConfig::default())
    }

    /// Starts a pipeline.
    ///
    /// # Panics
    /// If the system has no thread or socket left.
    #[must_use]
    pub fn with(encoder: EncoderRemote, mode: &str, config: PacketizerConfig) -> Self {
        let (capture, remote) = FakeCapture::new(SIZE);
        let peer = RecordingPeer::new();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port on loopback");
        let sending = socket.try_clone().expect("a descriptor");
        let sending = Socket::from_std(sending, SocketConfig::default()).expect("a socket");
        let metrics = Arc::new(SessionMetrics::default());
        let (faults_in, faults) = bounded(8);
        let reopen = encoder.clone();
        let mode: Mode = mode.parse().expect("a mode");
        let (control, steering) = ways(&unsteered(config.protection));
        let pipeline = pipeline::spawn(Parts {
            capture: Box::new(capture),
            encoder: encoder.open(),
            reopen: Box::new(move || Ok(reopen.open())),
            cutter: packetizer(config).into(),
            socket: sending,
            peer: peer.address(),
            mode,
            slices: SliceCount::new(4).expect("at most 32"),
            bitrate: BitsPerSecond(10_000_000),
            control,
            metrics: Arc::clone(&metrics),
            on_fault: Arc::new(move |fault| faults_in.try_send(fault).expect("one a stage")),
        });
        Self {
            pipeline: Some(pipeline.expect("threads")),
            capture: remote,
            encoder,
            peer,
            metrics,
            faults,
            steering,
            socket,
        }
    }

    /// The fault that a stage reports.
    ///
    /// # Panics
    /// If none does within [`PATIENCE`].
    #[must_use]
    pub fn fault(&self) -> StageFault {
        self.faults
            .recv_timeout(PATIENCE)
            .expect("a stage reports a fault")
    }

    /// Every thread ends by itself, though nobody has dropped the pipeline.
    pub fn ends_by_itself(&self) {
        facts::eventually("all threads of the pipeline have ended", || {
            facts::threads(THREADS).is_empty()
        });
    }

    /// Drops the pipeline and looks at what is left.
    ///
    /// # Panics
    /// If a thread, a held picture or an unread fault is left.
    pub fn ends_clean(mut self) {
        self.pipeline = None;
        // The kernel tells a joiner that a thread is over (by its cleared id) a moment before it takes
        // the thread out of /proc.
        facts::eventually("no thread outlives its pipeline", || {
            facts::threads(THREADS).is_empty()
        });
        assert_eq!(
            self.capture.surfaces_held(),
            0,
            "capture buffers that are still held"
        );
        let more: Vec<StageFault> = self.faults.try_iter().collect();
        assert!(more.is_empty(), "faults that nobody expected: {more:?}");
    }
}
