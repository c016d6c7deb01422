//! A session climbs display, capture, encoder, pipeline, and from whatever rung it falls, it says
//! why and leaves no display and no thread.

use std::sync::Arc;

use crossbeam::channel::{Receiver, bounded};
use engine::apps::Prep;
use engine::session::{
    AppTerms, Backends, Session, SessionCommand, SessionError, SessionEvent, SessionRequest,
    StartMedia,
};
use engine::steering::ways;
use gpu::encode::{EncodeError, EncoderKind};
use harness::PATIENCE;
use harness::facts::{alone, eventually, threads};
use harness::fakes::{DisplayRemote, FakeDisplayBackend};
use harness::peer::{RecordingPeer, packetizer};
use harness::rig::THREADS;
use net::packetize::PacketizerConfig;
use net::steering::unsteered;
use net::udp::{Socket, SocketConfig};
use net::units::{BitsPerSecond, FrameId, Mode, SliceCount};
use platform::display::DisplayError;

/// An encoder that probes well and cannot be opened.
static BROKEN: EncoderKind = EncoderKind {
    name: "broken",
    probe: || Ok("as far as can be seen".to_owned()),
    open: |config| {
        let reason = "as the test wanted".to_owned();
        let slices = config.slices.get();
        Err(EncodeError::Open {
            encoder: "broken",
            mode: config.mode,
            slices,
            reason,
        })
    },
};

struct Ladder {
    session: Option<Session>,
    display: DisplayRemote,
    events: Receiver<SessionEvent>,
}

impl Ladder {
    fn climb(encoder: &'static EncoderKind, prepare: impl FnOnce(&DisplayRemote)) -> Self {
        Self::climb_for(encoder, AppTerms::default(), prepare)
    }

    fn climb_for(
        encoder: &'static EncoderKind,
        terms: AppTerms,
        prepare: impl FnOnce(&DisplayRemote),
    ) -> Self {
        let (backend, display) = FakeDisplayBackend::new();
        prepare(&display);
        let (events_in, events) = bounded(8);
        let request = SessionRequest {
            mode: "320x240@60".parse().expect("a mode"),
            slices: SliceCount::ONE,
            bitrate: BitsPerSecond(2_000_000),
            app: Vec::new(),
            terms,
            encoder_threads: 1,
            heard_here: false,
            audio: None,
            clipboard: false,
            microphone: false,
            cursor: false,
        };
        let backends = Backends {
            display: Arc::new(backend),
            encoder,
            audio: None,
            microphone: None,
        };
        let on_event = Arc::new(move |event| events_in.try_send(event).expect("a few"));
        let session = Session::spawn(request, backends, on_event).expect("a thread");
        Self {
            session: Some(session),
            display,
            events,
        }
    }

    fn event(&self) -> SessionEvent {
        self.events
            .recv_timeout(PATIENCE)
            .expect("the session says how it goes")
    }

    fn ready(&self) {
        assert!(matches!(self.event(), SessionEvent::Ready { .. }));
        assert_eq!(self.display.alive(), 1);
    }

    fn started(&self, peer: &mut RecordingPeer) {
        let any = "127.0.0.1:0".parse().expect("an address");
        let media = StartMedia {
            cutter: packetizer(PacketizerConfig::default()).into(),
            encode: None,
            socket: Socket::bind(any, SocketConfig::default()).expect("a port on loopback"),
            peer: peer.address(),
            control: ways(&unsteered(PacketizerConfig::default().protection)).0,
            audio: None,
        };
        let session = self.session.as_ref().expect("it runs");
        let taken = session.command(SessionCommand::Start(Box::new(media)));
        assert!(taken, "its queue is empty");
        assert!(matches!(self.event(), SessionEvent::Started { .. }));
        for _ in 0..3 {
            peer.next_unit();
        }
    }

    fn fails(&self) -> SessionError {
        match self.event() {
            SessionEvent::Failed(error) => error,
            SessionEvent::Ready { .. } => panic!("it is ready"),
            SessionEvent::Started { .. } => panic!("it has started"),
            SessionEvent::PadOutput => panic!("no controller is there"),
            SessionEvent::Copied => panic!("no clipboard is shared"),
            SessionEvent::Cursor => panic!("nobody draws it"),
            SessionEvent::ModeSet { .. } | SessionEvent::ModeChanged(_) => {
                panic!("nobody asked for a mode")
            }
        }
    }

    fn set_mode(&self, mode: &str) -> Result<Mode, SessionError> {
        let mode = mode.parse().expect("a mode");
        let session = self.session.as_ref().expect("it runs");
        assert!(session.command(SessionCommand::SetMode(mode)));
        match self.event() {
            SessionEvent::ModeSet { wanted, result } => {
                assert_eq!(wanted, mode);
                result
            }
            SessionEvent::Failed(error) => panic!("{error}"),
            _ => panic!("something else"),
        }
    }

    fn change_mode(&self, mode: &str) -> Result<(Mode, FrameId), SessionError> {
        let session = self.session.as_ref().expect("it runs");
        let mode = mode.parse().expect("a mode");
        assert!(session.command(SessionCommand::ChangeMode(mode)));
        match self.event() {
            SessionEvent::ModeChanged(result) => result,
            SessionEvent::Failed(error) => panic!("{error}"),
            _ => panic!("something else"),
        }
    }

    fn suspend(&self) {
        let session = self.session.as_ref().expect("it runs");
        assert!(session.command(SessionCommand::Suspend));
    }

    fn leaves_nothing(mut self) {
        self.session = None;
        assert_eq!(self.display.alive(), 0, "displays");
        // The kernel lets go of a joined thread's entry a moment later.
        eventually("no thread is left", || threads(THREADS).is_empty());
        assert!(self.events.is_empty(), "it has nothing more to say");
    }
}

fn openh264() -> &'static EncoderKind {
    let kind = gpu::encode::candidates()
        .iter()
        .find(|kind| kind.name == "openh264");
    kind.expect("every build has it")
}

#[test]
fn no_display_can_be_made() {
    let _alone = alone();
    let ladder = Ladder::climb(openh264(), DisplayRemote::refuse);
    let error = ladder.fails();
    assert!(
        matches!(error, SessionError::Display(DisplayError::Start { .. })),
        "{error:?}"
    );
    ladder.leaves_nothing();
}

#[test]
fn the_encoder_cannot_be_opened() {
    let _alone = alone();
    let ladder = Ladder::climb(&BROKEN, |_| {});
    let error = ladder.fails();
    assert!(
        matches!(error, SessionError::Encode(EncodeError::Open { .. })),
        "{error:?}"
    );
    ladder.leaves_nothing();
}

#[test]
fn the_client_goes_before_it_starts() {
    let _alone = alone();
    let ladder = Ladder::climb(openh264(), |_| {});
    ladder.ready();
    ladder.leaves_nothing();
}

#[test]
fn the_owner_goes_before_it_is_ready() {
    let _alone = alone();
    let mut ladder = Ladder::climb(openh264(), |_| {});
    ladder.session = None;
    assert_eq!(ladder.display.alive(), 0);
    assert!(threads(THREADS).is_empty());
}

#[test]
fn the_display_vanishes_before_the_client_starts() {
    let _alone = alone();
    let ladder = Ladder::climb(openh264(), |_| {});
    ladder.ready();
    ladder.display.vanish();
    let error = ladder.fails();
    assert!(
        matches!(error, SessionError::Display(DisplayError::Gone { .. })),
        "{error:?}"
    );
    ladder.leaves_nothing();
}

#[test]
fn the_display_vanishes_in_the_middle_of_the_stream() {
    let _alone = alone();
    let ladder = Ladder::climb(openh264(), |_| {});
    ladder.ready();
    ladder.started(&mut RecordingPeer::new());
    ladder.display.vanish();
    let error = ladder.fails();
    assert!(
        matches!(error, SessionError::Display(DisplayError::Gone { .. })),
        "{error:?}"
    );
    eventually("nobody has to drop it for its display to go", || {
        ladder.display.alive() == 0
    });
    ladder.leaves_nothing();
}

#[test]
fn the_client_ends_a_stream() {
    let _alone = alone();
    let ladder = Ladder::climb(openh264(), |_| {});
    ladder.ready();
    ladder.started(&mut RecordingPeer::new());
    assert!(threads(THREADS).len() >= 5, "{:?}", threads(THREADS));
    ladder.leaves_nothing();
}

fn shell(script: &str) -> Option<Vec<String>> {
    Some(["sh", "-c", script].map(str::to_owned).into())
}

/// Commands that write down when they run.
fn noted(path: &std::path::Path, scripts: &[(&str, &str)]) -> AppTerms {
    let note = |word: &str| shell(&format!("printf '%s ' {word} >>\"$KEPT\""));
    AppTerms {
        environment: [("KEPT".to_owned(), path.display().to_string())].into(),
        prep: scripts
            .iter()
            .map(|(before, undo)| Prep {
                before: note(before),
                undo: note(undo),
            })
            .collect(),
        ..AppTerms::default()
    }
}

#[test]
fn what_is_prepared_is_there_before_the_display_and_undone_after_it() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let kept = directory.path().join("kept");
    let terms = noted(&kept, &[("a", "-a"), ("b", "-b")]);
    let ladder = Ladder::climb_for(openh264(), terms, |_| {});
    ladder.ready();
    let text = || std::fs::read_to_string(&kept).expect("written");
    assert_eq!(text(), "a b ");
    ladder.started(&mut RecordingPeer::new());
    ladder.leaves_nothing();
    assert_eq!(text(), "a b -b -a ");
}

#[test]
fn a_prep_command_fails() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let kept = directory.path().join("kept");
    let mut terms = noted(&kept, &[("a", "-a")]);
    terms.prep.push(Prep {
        before: shell("echo no luck >&2; false"),
        undo: shell("echo never >>\"$KEPT\""),
    });
    let ladder = Ladder::climb_for(openh264(), terms, |_| {});
    let error = ladder.fails();
    assert!(matches!(error, SessionError::Prep(_)), "{error:?}");
    assert!(error.to_string().contains("no luck"), "{error}");
    assert_eq!(ladder.display.alive(), 0);
    ladder.leaves_nothing();
    let text = std::fs::read_to_string(&kept).expect("written");
    assert_eq!(text, "a -a ");
}

#[test]
fn an_application_asks_for_a_display_that_is_not_to_be_had() {
    let _alone = alone();
    let terms = AppTerms {
        desktop: Some("weston".to_owned()),
        ..AppTerms::default()
    };
    let ladder = Ladder::climb_for(openh264(), terms, |_| {});
    let error = ladder.fails();
    assert!(matches!(error, SessionError::NoDisplay { .. }), "{error:?}");
    assert!(error.to_string().contains("weston"), "{error}");
    ladder.leaves_nothing();
}

#[test]
fn another_mode_between_two_streams() {
    let _alone = alone();
    let ladder = Ladder::climb(openh264(), |_| {});
    ladder.ready();
    ladder.started(&mut RecordingPeer::new());
    let watched = ladder.set_mode("640x480@60");
    assert!(matches!(watched, Err(SessionError::Watched)), "{watched:?}");
    ladder.suspend();
    let changed = ladder.set_mode("640x480@60").expect("it obeys");
    assert_eq!((changed.width(), changed.height()), (640, 480));
    ladder.started(&mut RecordingPeer::new());
    ladder.suspend();
    ladder.display.refuse_modes();
    let refused = ladder.set_mode("320x240@60");
    let refused = refused.expect_err("it is stubborn").to_string();
    assert!(refused.contains("320x240"), "{refused}");
    // It goes on as it was.
    ladder.started(&mut RecordingPeer::new());
    ladder.leaves_nothing();
}

#[test]
fn an_application_is_left() {
    let _alone = alone();
    let terms = AppTerms {
        ends_session: true,
        ..AppTerms::default()
    };
    let ladder = Ladder::climb_for(openh264(), terms, |_| {});
    ladder.ready();
    ladder.started(&mut RecordingPeer::new());
    ladder.display.end_apps();
    let error = ladder.fails();
    assert!(
        matches!(error, SessionError::AppEnded { success: true, .. }),
        "{error:?}"
    );
    ladder.leaves_nothing();

    // Where it is not the session's, nothing ends with it.
    let ladder = Ladder::climb(openh264(), DisplayRemote::end_apps);
    ladder.ready();
    ladder.started(&mut RecordingPeer::new());
    ladder.leaves_nothing();
}

#[test]
fn a_watched_display_changes_its_mode_and_goes_on() {
    let _alone = alone();
    let mut peer = RecordingPeer::new();
    let ladder = Ladder::climb(openh264(), |_| {});
    ladder.ready();
    assert!(matches!(
        ladder.change_mode("640x480@60"),
        Err(SessionError::NotWatched)
    ));
    ladder.started(&mut peer);
    for wanted in ["640x480@30", "320x240@30", "320x240@60", "1280x720@60"] {
        let (mode, first) = ladder.change_mode(wanted).expect("it can");
        assert_eq!(mode, wanted.parse().expect("a mode"));
        let unit = loop {
            let unit = peer.next_unit();
            if unit.frame >= first {
                break unit;
            }
        };
        assert_eq!((unit.frame, unit.keyframe), (first, true), "{wanted}");
    }
    // One that refuses goes on as it is, and so do the pictures.
    ladder.display.refuse_modes();
    let error = ladder.change_mode("640x480@60").expect_err("it refuses");
    assert!(matches!(error, SessionError::Display(_)), "{error}");
    let before = peer.next_unit().frame;
    while peer.next_unit().frame < FrameId(before.0 + 10) {}
    ladder.leaves_nothing();
}
