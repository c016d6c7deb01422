//! Many sessions on one host: a fault of one's encoder or display costs no other a frame, neither
//! does a flood of malformed datagrams, and clients that come and go, some of them violently, leave
//! nothing behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use bench::run::{Churn, Flood, Held};
use engine::session::Backends;
use gpu::encode::openh264::OpenH264Encoder;
use gpu::encode::{
    Capabilities, EncodeError, Encoded, Encoder, EncoderKind, PictureKind, SliceSink, openh264,
};
use gpu::frame::Frame;
use harness::facts::{alone, eventually};
use harness::fakes::{DisplayRemote, FakeDisplayBackend};
use harness::loopback::{LoopbackClient, LoopbackHost, MODE, hello};
use net::client::{ReceiveSnapshot, Trust};
use net::units::{BitsPerSecond, FrameId, SliceCount};
use platform::display::{DisplayBackend, DisplayError, DisplayRequest, VirtualDisplay};
use platform::select::Refusal;

/// The mode of the session that something befalls. [`MODE`] is the others'.
const FRAIL_MODE: &str = "352x288@30";
const FRAIL_WIDTH: u16 = 352;
/// Pictures that its encoder encodes, in the test where it fails.
const FRAIL_PICTURES: u32 = 20;

/// As openh264, but in the frail mode it fails for good when it is told to, opened anew or not.
static FRAIL: EncoderKind = EncoderKind {
    name: "frail",
    probe: openh264::probe,
    open: |config| {
        Ok(Box::new(FrailEncoder {
            encoder: OpenH264Encoder::open(config)?,
            is_frail: config.mode.width() == FRAIL_WIDTH,
        }))
    },
};
static FAILS: AtomicBool = AtomicBool::new(false);
static ENCODED: AtomicU32 = AtomicU32::new(0);

struct FrailEncoder {
    encoder: OpenH264Encoder,
    is_frail: bool,
}

impl Encoder for FrailEncoder {
    fn capabilities(&self) -> Capabilities {
        self.encoder.capabilities()
    }

    fn encode(
        &mut self,
        frame: &Frame,
        id: FrameId,
        kind: PictureKind,
        sink: &mut dyn SliceSink,
    ) -> Result<Encoded, EncodeError> {
        let fails = self.is_frail && FAILS.load(Ordering::Acquire);
        if fails && ENCODED.fetch_add(1, Ordering::AcqRel) >= FRAIL_PICTURES {
            return Err(EncodeError::Picture {
                encoder: "frail",
                frame: id,
                reason: "as the test wanted".to_owned(),
            });
        }
        self.encoder.encode(frame, id, kind, sink)
    }

    fn reconfigure(&mut self, rate: BitsPerSecond, slices: SliceCount) -> Result<(), EncodeError> {
        self.encoder.reconfigure(rate, slices)
    }

    fn invalidate_references(&mut self, first_lost: FrameId) -> bool {
        self.encoder.invalidate_references(first_lost)
    }
}

/// Displays of the frail mode have a remote control of their own.
struct TwoKinds {
    frail: FakeDisplayBackend,
    others: FakeDisplayBackend,
}

impl DisplayBackend for TwoKinds {
    fn name(&self) -> &'static str {
        "two kinds"
    }

    fn probe(&self) -> Result<String, Refusal> {
        Ok(String::new())
    }

    fn create(&self, request: &DisplayRequest) -> Result<Box<dyn VirtualDisplay>, DisplayError> {
        match request.mode.width() {
            FRAIL_WIDTH => self.frail.create(request),
            _ => self.others.create(request),
        }
    }
}

fn host() -> (LoopbackHost, DisplayRemote) {
    FAILS.store(false, Ordering::Release);
    ENCODED.store(0, Ordering::Release);
    let (frail, remote) = FakeDisplayBackend::new();
    let (others, _) = FakeDisplayBackend::new();
    let backends = Backends {
        display: Arc::new(TwoKinds { frail, others }),
        encoder: &FRAIL,
        audio: None,
        microphone: None,
    };
    let host = LoopbackHost::start_on(&[("app", "none")], backends);
    (host.expect("a host"), remote)
}

/// A session that must not notice what befalls others: not one frame is left out.
struct Bystander {
    enough: Arc<AtomicBool>,
    watching: JoinHandle<(u32, ReceiveSnapshot)>,
}

impl Bystander {
    fn new(host: &LoopbackHost) -> Self {
        let mut client = LoopbackClient::connect(host.address());
        let enough = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&enough);
        let watching = std::thread::spawn(move || {
            let (mut next, mut after) = (FrameId(0), 0);
            // A second more once the worst is over.
            while after < 30 {
                after += u32::from(told.load(Ordering::Acquire));
                let unit = client.next_unit().expect("the session goes on");
                assert_eq!(unit.frame, next, "no frame is left out");
                next = next.next();
            }
            (next.0, client.end())
        });
        Self { enough, watching }
    }

    fn noticed_nothing(self) -> u32 {
        self.enough.store(true, Ordering::Release);
        let (frames, received) = self.watching.join().expect("the session goes on");
        assert_eq!((received.frames_lost, received.not_opened), (0, 0));
        frames
    }
}

fn frail_client(host: &LoopbackHost) -> LoopbackClient {
    let hello = hello(FRAIL_MODE);
    let client = LoopbackClient::with(host.address(), Trust::FirstUse, hello);
    let mut client = client.expect("a session");
    client.watch(5, |_, picture| {
        assert_eq!(picture.width, usize::from(FRAIL_WIDTH));
    });
    client
}

#[test]
fn an_encoder_that_fails_ends_its_own_session_alone() {
    let _alone = alone();
    let (host, _remote) = host();
    let bystander = Bystander::new(&host);
    let mut client = frail_client(&host);
    client.watch(3, |_, _| {});
    FAILS.store(true, Ordering::Release);
    let reason = client.until_end();
    assert!(reason.contains("as the test wanted"), "{reason}");
    eventually("only the other session is left", || {
        host.sessions().len() == 1
    });
    bystander.noticed_nothing();
    assert!(!host.has_failed());
}

#[test]
fn a_display_that_vanishes_ends_its_own_session_alone() {
    let _alone = alone();
    let (host, remote) = host();
    let bystander = Bystander::new(&host);
    let mut client = frail_client(&host);
    remote.vanish();
    let reason = client.until_end();
    assert!(reason.contains("as the test wanted"), "{reason}");
    eventually("its displays are dropped", || remote.alive() == 0);
    bystander.noticed_nothing();
    assert!(!host.has_failed());
}

/// An application that ends leaves its session with an empty desktop, and the others with theirs.
#[test]
fn an_application_that_ends_ends_no_session() {
    let _alone = alone();
    let (host, remote) = host();
    let bystander = Bystander::new(&host);
    let mut client = frail_client(&host);
    remote.end_apps();
    // Longer than the interval in which it is looked at.
    client.watch(60, |_, _| {});
    client.end();
    bystander.noticed_nothing();
}

#[test]
fn a_display_that_cannot_be_made_is_refused_beside_one_that_streams() {
    let _alone = alone();
    let (host, remote) = host();
    let bystander = Bystander::new(&host);
    remote.refuse();
    let refused = LoopbackClient::with(host.address(), Trust::FirstUse, hello(FRAIL_MODE));
    let error = refused.err().expect("no display").to_string();
    assert!(error.contains("as the test wanted"), "{error}");
    bystander.noticed_nothing();
}

/// Twenty thousand a second as far as the machine lets them come.
#[test]
fn a_flood_of_malformed_datagrams_costs_no_frame() {
    let _alone = alone();
    let host = LoopbackHost::synthetic(&[]);
    let bystander = Bystander::new(&host);
    let flood = Flood::start(host.address()).expect("a socket");
    flood.turn(true);
    eventually("the flood has been there", || flood.sent() >= 60_000);
    // Somebody new comes in all the same.
    let mut guest = LoopbackClient::connect(host.address());
    guest.watch(5, |_, _| {});
    guest.end();
    bystander.noticed_nothing();
    drop(flood);
    assert!(!host.has_failed());
}

/// What a host may hold more than before without that anything was left: the heaps' granularity.
/// Where freed memory stays on them 200 visits leave several times this.
const MORE_BYTES_MAX: u64 = 12 << 20;

#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    let _alone = alone();
    let host = LoopbackHost::synthetic(&[("max-sessions", "16")]);
    let mode = MODE.parse().expect("a mode");
    let mut churn = Churn::new(host.address(), host.fingerprint(), mode);
    churn.visit(10).expect("visits");
    let first = churn.settle().expect("they end");
    churn.visit(190).expect("visits");
    churn.settle().expect("they end");
    eventually("what is held is as after the first ten", || {
        let held = Held::now().expect("/proc");
        held.descriptors <= first.descriptors
            && held.threads <= first.threads
            && held.resident_bytes <= first.resident_bytes + MORE_BYTES_MAX
    });
    let counts = churn.counts();
    assert_eq!((counts.silent, counts.closed), (32, 64), "{counts:?}");
    assert_eq!(counts.orderly, 200 - 32 - 64, "{counts:?}");
    // Places, too.
    assert!(host.sessions().is_empty() && !host.has_failed());
    let mut client = LoopbackClient::connect(host.address());
    client.watch(3, |_, _| {});
}
