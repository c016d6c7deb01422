//! One connection and what its session has with it: each plane reads, decides and writes here, in
//! the turns of [`super::NativeHost`].

use std::net::SocketAddr;
use std::time::Duration;

use crossbeam::channel::Receiver;
use net::audio::datagram::KIND_REPORT;
use net::audio::microphone::KIND_MICROPHONE;
use net::clock;
use net::native::input::INPUT_DATAGRAM;
use net::native::{Agreed, Features, HostSession, HostState, Refuse, StepLimits};
use net::quic::Link;
use net::times::FrameTimes;
use net::units::{FrameId, Timestamp};

use super::super::admission::Standing;
use super::super::cursor::{self, CursorPlane};
use super::super::input::InputPlane;
use super::super::shared;
use super::super::sound::Sound;
use super::super::steer::Steer;
use crate::host::Registry;
use crate::session::{Session, SessionCommand, Shared};
use crate::stage::cursor::CursorFeed;
use crate::stage::encode::EncodeCommand;
use crate::stage::input::InputQueue;

/// A frame that has not come after this long will not: longer than any round trip that is played
/// over, and than the client's own deadlines.
const OVERDUE: Duration = Duration::from_millis(700);

/// One connection whose handshake is done.
pub(super) struct Peer {
    pub(super) machine: HostSession,
    pub(super) standing: Standing,
    /// From Hello on.
    pub(super) wanted: Option<Wanted>,
    /// From the decision on.
    pub(super) session: Option<Session>,
    /// From the Welcome on, if the display takes input.
    pub(super) input: Option<InputPlane>,
    /// From the Welcome on, as far as it was agreed on.
    pub(super) shared: Shared,
    /// From the Welcome on, if the client draws the pointer and the capture tells of it.
    pub(super) cursor: Option<CursorPlane>,
    /// From Start on.
    pub(super) steer: Option<Steer>,
    /// From Start on, if the client listens.
    pub(super) sound: Option<Sound>,
    /// From Start on.
    pub(super) reports: Option<Receiver<FrameTimes>>,
    /// The frame sent last, and when control heard of it.
    pub(super) last_sent: Option<(FrameId, Timestamp)>,
    /// Where the client has moved, until its session knows.
    pub(super) moved: Option<SocketAddr>,
    /// Since when the machine has been at its end.
    pub(super) ended: Option<Timestamp>,
}

pub(super) struct Wanted {
    pub(super) agreed: Agreed,
    /// Without which the client wants no session.
    pub(super) required: Features,
    pub(super) client: String,
    pub(super) number: u64,
    pub(super) id: [u8; 16],
}

impl Peer {
    pub(super) fn new(now: Timestamp) -> Self {
        let machine = HostSession::new(now, StepLimits::default());
        Self {
            machine,
            standing: Standing::default(),
            wanted: None,
            session: None,
            input: None,
            shared: Shared::default(),
            cursor: None,
            steer: None,
            sound: None,
            reports: None,
            last_sent: None,
            moved: None,
            ended: None,
        }
    }

    /// Its session stands, and has these planes beside pictures and sound; what is missing is taken
    /// out of what was agreed on.
    ///
    /// # Errors
    /// The refusal, if the client goes nowhere without what is missing.
    pub(super) fn open_planes(
        &mut self,
        input: Option<InputQueue>,
        shared: Shared,
        cursor: Option<CursorFeed>,
    ) -> Result<(), Refuse> {
        let Some(wanted) = &mut self.wanted else {
            return Ok(());
        };
        let (features, required) = (&mut wanted.agreed.features, wanted.required);
        shared::settle(features, required, &shared)?;
        self.shared = shared;
        let refused = self.standing.refused_input(self.session.as_ref());
        self.input = input.map(|queue| InputPlane::new(queue, refused));
        self.cursor = cursor.map(CursorPlane::new);
        *features = cursor::settle(*features, required, &self.cursor)?;
        Ok(())
    }

    pub(super) fn read(&mut self, now: Timestamp, link: &mut Link, scratch: &mut [u8]) {
        loop {
            match link.read(scratch) {
                Ok(0) => return,
                Ok(bytes) => {
                    if let Err(error) = self.machine.handle_stream(now, &scratch[..bytes]) {
                        log::info!("{} broke the protocol: {error}", link.peer());
                        return;
                    }
                }
                Err(_) => return self.machine.handle_closed(),
            }
        }
    }

    /// Told apart by their first byte; of a kind that nobody here knows they are dropped.
    pub(super) fn read_datagrams(&mut self, now: Timestamp, link: &mut Link, scratch: &mut [u8]) {
        while let Some(bytes) = link.read_datagram(scratch) {
            let datagram = &scratch[..bytes];
            match datagram.first() {
                Some(&KIND_REPORT) => {
                    if let Some(sound) = &mut self.sound {
                        sound.handle_report(now, datagram);
                    }
                }
                Some(&INPUT_DATAGRAM) => self.take_input(now, datagram),
                Some(&KIND_MICROPHONE) => shared::hear(&self.machine, &self.shared, datagram),
                _ => {}
            }
        }
    }

    pub(super) fn write(&mut self, link: &mut Link) {
        while let Some(bytes) = self.machine.poll_transmit() {
            match link.write(bytes) {
                Ok(0) => return,
                Ok(taken) => self.machine.consumed(taken),
                Err(_) => return self.machine.handle_closed(),
            }
        }
    }

    /// A media datagram of the client's.
    pub(super) fn handle_media(&mut self, now: Timestamp, datagram: &mut [u8]) {
        let Some(steer) = &mut self.steer else { return };
        steer.handle_datagram(now, datagram);
        self.pass_repairs();
    }

    /// What steering asks of the encoder.
    pub(super) fn pass_repairs(&mut self) {
        let Some(steer) = &mut self.steer else { return };
        while let Some(command) = steer.poll_repair() {
            // Left out where the queue is full; the client reports its damage until it is gone.
            let session = self.session.as_ref();
            let _ = session.is_some_and(|it| it.command(SessionCommand::Encode(command)));
        }
    }

    /// Input that is ahead of the stream. Before Start nothing is taken.
    pub(super) fn take_input(&mut self, now: Timestamp, datagram: &[u8]) {
        if let Some(input) = &mut self.input
            && self.machine.state() == HostState::Streaming
        {
            input.handle_packet(now, datagram);
        }
    }

    pub(super) fn pass_pad_output(&mut self, link: &mut Link) {
        if let Some(input) = &mut self.input
            && self.machine.state() == HostState::Streaming
        {
            input.pass_output(&mut self.machine, link);
        }
    }

    pub(super) fn pass_cursor(&mut self, now: Timestamp, link: &mut Link) {
        if let Some(cursor) = &mut self.cursor
            && self.machine.state() == HostState::Streaming
        {
            cursor.pass_on(now, &mut self.machine, link);
        }
    }

    /// False if there is no session or it takes no command now.
    pub(super) fn command(&self, command: SessionCommand) -> bool {
        let session = self.session.as_ref();
        session.is_some_and(|session| session.command(command))
    }

    /// Media follows the path that QUIC has validated. QUIC tells it once, so it is kept until
    /// the session has taken it.
    pub(super) fn follow(&mut self, link: &mut Link) {
        self.moved = link.take_migration().or(self.moved);
        if let Some(peer) = self.moved
            && self.command(SessionCommand::Redirect(peer))
        {
            self.moved = None;
            log::info!("media follows its client to {peer}");
            if let Some(steer) = &mut self.steer {
                steer.handle_move(clock::now());
            }
            self.pass_repairs();
        }
    }

    pub(super) fn pass_reports(&mut self) {
        let Some(reports) = &self.reports else { return };
        let times: Vec<FrameTimes> = reports.try_iter().collect();
        if let Some(last) = times.last() {
            self.last_sent = Some((last.frame, clock::now()));
            self.machine.send_frame_times(&times);
        }
    }

    /// A client that has lost the last frame before stillness cannot know: nothing follows that
    /// would show the gap. Its statistics tell.
    pub(super) fn mend_the_end(&self, now: Timestamp, newest_at_client: Option<FrameId>) {
        if let Some((newest_lost, at)) = self.last_sent
            && now.since(at) >= OVERDUE
            && newest_at_client < Some(newest_lost)
        {
            let keyframe = EncodeCommand::Keyframe { newest_lost };
            self.command(SessionCommand::Encode(keyframe));
        }
    }

    pub(super) fn end_session(&mut self, ending: &mut Vec<Session>, registry: &Registry) {
        self.reports = None;
        self.steer = None;
        self.input = None;
        self.shared = Shared::default();
        self.cursor = None;
        self.sound = None;
        if let Some(mut session) = self.session.take() {
            session.end();
            ending.push(session);
        }
        if let Some(wanted) = self.wanted.take() {
            registry.remove(wanted.number);
        }
    }
}
