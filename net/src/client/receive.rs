//! The receive thread: one socket, QUIC and media.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crossbeam::channel::TrySendError;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::audio::Hearing;
use super::cursor;
use super::microphone::Speaking;
use super::pair::any_port;
use super::quiet::Quiet;
use super::{
    ClientNotice, Command, ConnectError, ConnectOptions, DecoderLoad, Ends, MediaStream,
    StreamEvent, Trust,
};
use crate::audio::datagram::KIND_AUDIO;
use crate::clock;
use crate::crypto::{
    Direction, EXPORTER_BYTES, EXPORTER_LABEL, MediaKeys, Opener, Sealer, exporter_context,
};
use crate::identity::Fingerprint;
use crate::limits::{CONTROL_BODY_BYTES_MAX, DATAGRAM_BYTES_MAX, REFRESH_MILLIHZ_MIN};
use crate::media;
use crate::native::cursor::CURSOR_DATAGRAM;
use crate::native::input::{InputSender, OUTPUT_DATAGRAM, OutputReceiver};
use crate::native::{
    ClientEvent, ClientSession, ClientState, ClientStatistics, End, EndReason, Reconfigured,
    RepairWish, StepLimits, Welcome,
};
use crate::quic::{Link, PACKET_BYTES_MAX, QuicError};
use crate::reassemble::{Granularity, ReassemblerConfig};
use crate::udp::{self, Datagram, Socket, SocketConfig, Wait};
use crate::units::{FrameId, RefreshMilliHz, Timestamp};

const SOCKET: Token = Token(0);
const WAKE: Token = Token(1);
/// How often the host hears how it goes.
const STATISTICS_INTERVAL: Duration = Duration::from_secs(1);
/// Receive calls in a turn before QUIC's timers and the owner get theirs.
const RECEIVES_PER_TURN: usize = 16;

pub(super) struct Receiving {
    host: SocketAddr,
    trust: Trust,
    poll: Poll,
    waker: Arc<Waker>,
    socket: Socket,
    receiver: udp::Receiver,
    link: Link,
    session: ClientSession,
    /// There once keys are.
    media: Option<MediaStream>,
    granularity: Granularity,
    /// There once sound was agreed on.
    hearing: Option<Hearing>,
    speaking: Speaking,
    /// Until the host has answered.
    ends: Ends,
    answered: bool,
    /// The caller has given up before that.
    abandoned: bool,
    fingerprint: Option<Fingerprint>,
    statistics_due: Timestamp,
    scratch: Box<[u8]>,
    input: InputSender,
    /// Room for a packet of [`Receiving::input`].
    packet: Vec<u8>,
    pad_output: OutputReceiver,
    quiet: Quiet,
    /// An answer that the caller's queue of notices had no room for; a newer one says it, too.
    reconfigured: Option<Reconfigured>,
}

impl Receiving {
    pub(super) fn new(
        options: ConnectOptions,
        granularity: Granularity,
        ends: Ends,
    ) -> Result<Self, ConnectError> {
        let socket = Socket::bind(any_port(options.host), SocketConfig::default())?;
        let local = socket.local_addr()?;
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let fd = socket.as_fd().as_raw_fd();
        poll.registry()
            .register(&mut SourceFd(&fd), SOCKET, Interest::READABLE)?;
        let link = Link::connect(&options.identity, local, options.host)?;
        let now = clock::now();
        Ok(Self {
            host: options.host,
            trust: options.trust,
            poll,
            waker,
            socket,
            receiver: udp::Receiver::new(),
            link,
            session: ClientSession::new(now, StepLimits::default(), options.hello),
            media: None,
            granularity,
            hearing: None,
            speaking: Speaking::new(),
            ends,
            answered: false,
            abandoned: false,
            fingerprint: None,
            statistics_due: now + STATISTICS_INTERVAL,
            scratch: vec![0; CONTROL_BODY_BYTES_MAX].into_boxed_slice(),
            input: InputSender::default(),
            packet: Vec::with_capacity(PACKET_BYTES_MAX),
            pad_output: OutputReceiver::default(),
            quiet: Quiet::default(),
            reconfigured: None,
        })
    }

    pub(super) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Runs until the session is over: wait, take datagrams, let time pass, deliver, answer.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(8);
        let mut more = false;
        // The Initial: nothing comes before it is out.
        self.transmit();
        while !self.link.is_closed() && !self.abandoned {
            let timeout = if more { Duration::ZERO } else { self.timeout() };
            if let Err(error) = self.poll.poll(&mut events, Some(timeout))
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                log::error!("the receive thread's poll failed: {error}");
                break;
            }
            more = self.take_datagrams();
            self.link.handle_timeout();
            self.take_commands();
            self.take_input();
            self.read_planes();
            self.deliver();
            self.hear();
            self.control();
            self.transmit();
        }
        self.session.handle_closed();
        self.take_events();
    }

    fn timeout(&mut self) -> Duration {
        let now = clock::now();
        let media = self.media.as_mut();
        let wakes = [
            self.session.poll_timeout(),
            media.and_then(|media| media.poll_timeout(now)),
            self.hearing.as_ref().and_then(Hearing::poll_timeout),
            Some(self.statistics_due),
            self.input.poll_timeout(),
            self.quiet.poll_timeout(),
        ];
        let own = wakes.into_iter().flatten().map(|at| at.since(now)).min();
        let own = own.unwrap_or(STATISTICS_INTERVAL);
        self.link.timeout().map_or(own, |quic| quic.min(own))
    }

    /// True if more is waiting in the socket.
    fn take_datagrams(&mut self) -> bool {
        for _ in 0..RECEIVES_PER_TURN {
            match self.receiver.recv(&self.socket, Wait::No) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => {
                    log::debug!("receiving: {error}");
                    return false;
                }
            }
            let now = clock::now();
            let counters = &self.ends.counters;
            for (datagram, from) in self.receiver.datagrams() {
                let Some(&first) = datagram.first() else {
                    continue;
                };
                if !media::is_media(first) {
                    self.link.receive(datagram, from);
                    self.quiet.heard();
                } else if let Some(media) = &mut self.media {
                    add(&counters.datagrams, 1);
                    add(&counters.bytes, datagram.len() as u64);
                    if media.handle_datagram(now, datagram).is_err() {
                        add(&counters.not_opened, 1);
                    } else {
                        self.quiet.heard_media(now);
                    }
                }
            }
            // Between receive calls, so that a frame in the middle of a burst does not wait for
            // the burst's end.
            self.deliver();
        }
        true
    }

    fn take_commands(&mut self) {
        if self.session.state() == ClientState::Streaming
            && let Some(request) = self.ends.modes.take()
        {
            self.session.request_mode(request);
        }
        if self.session.state() == ClientState::Streaming
            && let Some(text) = self.ends.clipboard.take()
            && let Err(error) = self.session.set_clipboard(clock::now(), text)
        {
            log::warn!("{error}");
        }
        while let Ok(command) = self.ends.commands.try_recv() {
            match command {
                Command::RequestKeyframe(frame) => {
                    if let Some(media) = &mut self.media {
                        media.undecodable(frame);
                    }
                }
                Command::Rebind(socket) => self.rebind(socket),
                Command::End => {
                    let text = "the client has ended the session".to_owned();
                    self.session.end(End {
                        reason: EndReason::Done,
                        text,
                    });
                }
                Command::Abandon => {
                    self.abandoned = true;
                    self.link.close("the client did not wait");
                    self.transmit();
                }
            }
        }
    }

    /// To QUIC the path seems the same, as behind a router that has forgotten it: the host sees the
    /// new address, and validates it as soon as it has heard a QUIC packet from there.
    fn rebind(&mut self, socket: Socket) {
        let (old, new) = (self.socket.as_fd().as_raw_fd(), socket.as_fd().as_raw_fd());
        let registry = self.poll.registry();
        let watched = registry.register(&mut SourceFd(&new), SOCKET, Interest::READABLE);
        if let Err(error) = watched {
            log::error!("the new socket cannot be watched: {error}");
            return;
        }
        if let Err(error) = registry.deregister(&mut SourceFd(&old)) {
            log::warn!("the old socket is still watched: {error}");
        }
        self.socket = socket;
        self.link.ping();
    }

    /// Input, from the caller to datagrams and stream.
    fn take_input(&mut self) {
        let now = clock::now();
        if self.session.state() != ClientState::Streaming {
            return;
        }
        self.input.handle_timeout(now);
        loop {
            let next = self.ends.inputs.try_recv();
            if let Ok(event) = next {
                self.input.push(now, event);
            }
            while self.input.poll_datagram(now, &mut self.packet) {
                // What is not sent is repeated, and told by the stream.
                self.link.send_datagram(&self.packet);
            }
            if next.is_err() {
                break;
            }
        }
        self.speaking.pass_on(&self.ends.spoken, &mut self.link);
        while self.session.has_input_room() && self.input.poll_message(now, &mut self.packet) {
            self.session.send_input(self.packet.clone());
        }
    }

    /// What came by QUIC DATAGRAM, told apart by the first byte.
    fn read_planes(&mut self) {
        let now = clock::now();
        while let Some(bytes) = self.link.read_datagram(&mut self.scratch) {
            let datagram = &self.scratch[..bytes];
            match (datagram.first(), &mut self.hearing) {
                (Some(&OUTPUT_DATAGRAM), _) => {
                    take_pad_output(&mut self.pad_output, &self.ends, datagram);
                }
                (Some(&KIND_AUDIO), Some(hearing)) => hearing.handle(now, datagram),
                (Some(&CURSOR_DATAGRAM), _) => self.session.handle_cursor_datagram(datagram),
                _ => {}
            }
        }
    }

    fn deliver(&mut self) {
        let Some(media) = &mut self.media else {
            return;
        };
        let now = clock::now();
        let counters = &self.ends.counters;
        media.set_decoder_load(DecoderLoad {
            decode_us: counters.decode_us.load(Relaxed),
            waiting_units: u8::try_from(self.ends.units.len()).unwrap_or(u8::MAX),
        });
        while let Some(event) = media.poll(now) {
            match event {
                StreamEvent::Unit(unit) => {
                    add(&counters.frames, u64::from(unit.ends));
                    let (frame, keyframe) = (unit.frame, unit.keyframe);
                    match self.ends.units.try_send(unit) {
                        Ok(()) => media.delivered(frame, keyframe),
                        Err(TrySendError::Full(_)) => {
                            add(&counters.frames_overrun, 1);
                            media.overrun(frame);
                        }
                        // Nobody decodes any more: the session is about to end.
                        Err(TrySendError::Disconnected(_)) => {}
                    }
                }
                StreamEvent::Hidden(_) => {
                    add(&counters.frames, 1);
                    add(&counters.frames_hidden, 1);
                }
                StreamEvent::Lost(loss) => {
                    add(&counters.frames_lost, u64::from(loss.count()));
                    log::debug!(
                        "{} lost, {} in all: {:?}",
                        loss.first,
                        loss.count(),
                        loss.reason
                    );
                }
                StreamEvent::Repair(request) => {
                    add(&counters.repair_requests, 1);
                    if request.wish == RepairWish::Idr {
                        add(&counters.keyframe_requests, 1);
                    }
                    self.session.request_repair(request);
                }
            }
        }
        counters
            .shards_repaired
            .store(media.stats().repaired_shards, Relaxed);
        counters.rounds_asked.store(media.wants().rounds, Relaxed);
        let mut datagram = [0; DATAGRAM_BYTES_MAX];
        if let Some(bytes) = media.poll_feedback(now, &mut datagram) {
            add(&counters.feedbacks, 1);
            let us = |time: Duration| time.as_micros() as u64;
            if let Some(round_trip) = media.clock().round_trip() {
                counters
                    .round_trip_us
                    .store(us(round_trip.smoothed), Relaxed);
            }
            if let Some(offset) = media.clock().offset_at(now) {
                let uncertainty_us = offset.uncertainty_ns / 1000;
                counters.clock_uncertainty_us.store(uncertainty_us, Relaxed);
            }
            // What cannot be sent now is said again soon.
            let _ = self.socket.send_many(&[Datagram {
                to: self.link.peer(),
                bytes: &datagram[..bytes],
            }]);
        }
    }

    fn hear(&mut self) {
        let Some(hearing) = &mut self.hearing else {
            return;
        };
        let now = clock::now();
        let offset = self.media.as_mut().and_then(|it| it.clock().offset_at(now));
        let (heard, counters) = (&self.ends.heard, &self.ends.counters);
        hearing.deliver(now, offset, &mut self.link, heard, counters);
    }

    fn control(&mut self) {
        let now = clock::now();
        if self.link.is_established() && self.fingerprint.is_none() {
            match self.judge() {
                Ok(fingerprint) => {
                    self.fingerprint = Some(fingerprint);
                    self.session.handle_connected(now);
                }
                Err(error) => {
                    // Our half of the handshake first: quiche sends the close of a connection
                    // only once nothing older waits, and the host could not read it either.
                    self.transmit();
                    self.link.close("not the host that this client trusts");
                    return self.answer(Err(error));
                }
            }
        }
        self.read(now);
        if self.session.state() == ClientState::Streaming && self.quiet.poll(now) {
            self.link.ping();
        }
        self.session.handle_timeout(now);
        self.take_events();
        self.tell_mode();
        if self.session.state() == ClientState::Streaming && self.statistics_due <= now {
            self.statistics_due = now + STATISTICS_INTERVAL;
            let statistics = self.statistics();
            self.session.send_statistics(&statistics);
        } else if self.statistics_due <= now {
            self.statistics_due = now + STATISTICS_INTERVAL;
        }
        self.write();
        if self.session.state() == ClientState::Ended {
            self.transmit();
            self.link.close("the session is over");
        }
    }

    /// Holds the host's certificate against what the caller trusts.
    fn judge(&mut self) -> Result<Fingerprint, ConnectError> {
        let host = self.host;
        let Some(found) = self.link.peer_fingerprint() else {
            let reason = "it has shown no certificate".to_owned();
            return Err(ConnectError::Unreachable { host, reason });
        };
        match self.trust {
            Trust::Pinned(expected) if expected != found => Err(ConnectError::Impostor {
                host,
                found,
                expected,
            }),
            Trust::Ask => Err(ConnectError::Unknown { host, found }),
            Trust::Pinned(_) | Trust::FirstUse => Ok(found),
        }
    }

    fn read(&mut self, now: Timestamp) {
        loop {
            match self.link.read(&mut self.scratch) {
                Ok(0) => return,
                Ok(bytes) => {
                    if let Err(error) = self.session.handle_stream(now, &self.scratch[..bytes]) {
                        return self.ended(error.to_string());
                    }
                }
                Err(_) => return self.session.handle_closed(),
            }
        }
    }

    fn write(&mut self) {
        while let Some(bytes) = self.session.poll_transmit() {
            match self.link.write(bytes) {
                Ok(0) => return,
                Ok(taken) => self.session.consumed(taken),
                Err(_) => return self.session.handle_closed(),
            }
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                ClientEvent::Welcome(welcome) => self.welcome(welcome),
                ClientEvent::Refused(refuse) => {
                    let error = ConnectError::Refused {
                        code: refuse.code,
                        text: refuse.text,
                    };
                    self.answer(Err(error));
                }
                ClientEvent::FrameTimes(times) => {
                    let count = times.len() as u64;
                    if self
                        .ends
                        .notices
                        .try_send(ClientNotice::FrameTimes(times))
                        .is_err()
                    {
                        add(&self.ends.counters.frame_times_dropped, count);
                    }
                }
                ClientEvent::PadOutput(packet) => {
                    take_pad_output(&mut self.pad_output, &self.ends, &packet);
                }
                ClientEvent::Cursor => {
                    let cursor = self.session.cursor();
                    cursor::count(cursor, &self.ends.counters);
                    self.ends.cursors.put(clock::now(), cursor);
                }
                ClientEvent::Reconfigured(answer) => {
                    self.ends.modes.answered(answer.clone());
                    self.reconfigured = Some(answer);
                }
                ClientEvent::Clipboard(text) => self.ends.copied.put(text),
                ClientEvent::Ended(end) => {
                    let reason = match end.reason {
                        EndReason::Disconnected => {
                            format!("{}: {}", end.text, self.link.close_reason())
                        }
                        _ => end.text,
                    };
                    self.ended(reason);
                }
            }
        }
    }

    fn tell_mode(&mut self) {
        if let Some(answer) = self.reconfigured.take()
            && let Err(TrySendError::Full(ClientNotice::Reconfigured(answer))) = self
                .ends
                .notices
                .try_send(ClientNotice::Reconfigured(answer))
        {
            self.reconfigured = Some(answer);
        }
    }

    /// Keys first, then Start: the host may send as soon as it has that.
    fn welcome(&mut self, welcome: Welcome) {
        let keys = media_keys(&mut self.link, &welcome, Direction::HostToClient).and_then(|host| {
            let client = media_keys(&mut self.link, &welcome, Direction::ClientToHost)?;
            Ok((Opener::new(host), Sealer::new(client)))
        });
        match keys {
            Ok((opener, sealer)) => {
                let config = ReassemblerConfig {
                    granularity: self.granularity,
                    ..reassembler_config(&welcome)
                };
                self.hearing = welcome.features.speakers().map(|_| Hearing::new());
                self.media = Some(MediaStream::new(clock::now(), opener, sealer, config));
                let fingerprint = self.fingerprint.expect("judged before Hello was sent");
                if self.session.start() {
                    self.answer(Ok((welcome, fingerprint)));
                }
            }
            Err(error) => self.answer(Err(error.into())),
        }
    }

    fn answer(&mut self, answer: Result<(Welcome, Fingerprint), ConnectError>) {
        if !self.answered {
            self.answered = true;
            // The caller waits for it; it cannot be gone.
            let _ = self.ends.answer.try_send(answer);
        }
    }

    fn ended(&mut self, reason: String) {
        if self.answered {
            // The first reason is the true one.
            let _ = self.ends.ended.set(reason.clone());
            // Full: the caller takes nothing and will see the channels close.
            let _ = self.ends.notices.try_send(ClientNotice::Ended { reason });
        } else {
            self.answer(Err(ConnectError::Unreachable {
                host: self.host,
                reason,
            }));
        }
    }

    fn transmit(&mut self) {
        let mut packet = [0; PACKET_BYTES_MAX];
        while let Some((bytes, to)) = self.link.poll_transmit(&mut packet) {
            if let Err(error) = self.socket.send_many(&[Datagram {
                to,
                bytes: &packet[..bytes],
            }]) {
                // QUIC repeats what matters, and gives up by time.
                log::debug!("sending to {to}: {error}");
            }
        }
    }

    /// Everything before the reassembler's front was delivered or given up.
    fn newest_frame(&self) -> Option<FrameId> {
        let front = self.media.as_ref()?.front();
        front.0.checked_sub(1).map(FrameId)
    }

    fn statistics(&self) -> ClientStatistics {
        let counters = self.ends.counters.snapshot();
        ClientStatistics {
            frames_received: counters.frames,
            frames_lost: counters.frames_lost,
            shards_repaired: counters.shards_repaired,
            frames_decoded: self.ends.counters.decoded.load(Relaxed),
            datagrams: counters.datagrams,
            bytes: counters.bytes,
            not_opened: counters.not_opened,
            newest_frame: self.newest_frame(),
        }
    }
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Relaxed);
}

fn take_pad_output(receiver: &mut OutputReceiver, ends: &Ends, packet: &[u8]) {
    match receiver.handle_packet(packet) {
        // Full: the caller takes nothing; the stream's copy is as old by then.
        Ok(Some(output)) => drop(ends.notices.try_send(ClientNotice::PadOutput(output))),
        Ok(None) => {}
        Err(error) => log::debug!("controllers' output: {error}"),
    }
}

fn media_keys(
    link: &mut Link,
    welcome: &Welcome,
    direction: Direction,
) -> Result<MediaKeys, QuicError> {
    let mut exported = [0; EXPORTER_BYTES];
    let context = exporter_context(&welcome.session, direction);
    link.export(EXPORTER_LABEL, &context, &mut exported)?;
    Ok(MediaKeys::from_exporter(welcome.aead, &mut exported))
}

/// Room for frames four times as large as their share of the bitrate: the host's controller keeps
/// them below twice. At low bitrates for any IDR. The share is that of the slowest mode that there
/// is: the mode may change while the session runs, and memory that no frame needs is never touched.
fn reassembler_config(welcome: &Welcome) -> ReassemblerConfig {
    let config = ReassemblerConfig::default();
    let slowest = RefreshMilliHz::new(REFRESH_MILLIHZ_MIN).expect("a limit is within the limits");
    let share_bytes = welcome.bitrate.bytes_per_frame(slowest);
    let wanted = usize::try_from(share_bytes.saturating_mul(4)).unwrap_or(usize::MAX);
    ReassemblerConfig {
        access_unit_bytes_max: wanted.max(config.access_unit_bytes_max),
        ..config
    }
}
