//! What clients ask for over HTTP, answered: a session is launched, resumed or ended.
//!
//! A launch waits until the undo commands of sessions that are ending have run: else they would
//! undo what the launch has just prepared. A client that comes back with another mode waits until
//! the display has it.

use std::sync::Arc;

use net::audio::Speakers;
use net::clock;
use net::gamestream::nvhttp::{LaunchRequest, ResumeRequest};
use net::identity::Fingerprint;
use net::units::{Mode, SliceCount, Timestamp};

use super::StreamHost;
use crate::apps::App;
use crate::apps::prep::launch_environment;
use crate::control::gamestream::broker::Ask;
use crate::control::gamestream::session::{Changing, Game, Stage};
use crate::control::gamestream::sessions::{Client, Granted, Reply, SessionError};
use crate::control::terms::app_command;
use crate::session::{self, AppTerms, Session, SessionRequest};

impl StreamHost {
    /// False when it is the end.
    pub(super) fn take_asks(&mut self) -> bool {
        for ask in std::mem::take(&mut self.deferred) {
            self.take_ask(ask);
        }
        while let Ok(ask) = self.asks.try_recv() {
            if matches!(ask, Ask::Stop) {
                return false;
            }
            self.take_ask(ask);
        }
        true
    }

    fn take_ask(&mut self, ask: Ask) {
        match ask {
            // No more of them can be here than the HTTP side has connections.
            Ask::Launch { .. } if self.is_undoing() => self.deferred.push(ask),
            Ask::Launch {
                client,
                app,
                request,
                reply,
            } => self.launch(client, &app, *request, reply),
            Ask::Resume {
                client,
                request,
                reply,
            } => self.resume(client, *request, reply),
            Ask::Cancel { client, reply } => {
                // Also what it wants and has not got yet; who waits for that is told by the drop.
                self.deferred.retain(
                    |ask| !matches!(ask, Ask::Launch { client: it, .. } if it.fingerprint == client),
                );
                if let Some(number) = self.number_of(client) {
                    self.end(number, "its client has ended it");
                }
                reply.send(Ok(()));
            }
            Ask::Stop => {}
        }
    }

    /// Commands of a session that is over are still undoing.
    pub(super) fn is_undoing(&self) -> bool {
        self.ending.iter().any(|ending| ending.undoes)
    }

    fn launch(&mut self, client: Client, app: &App, request: LaunchRequest, reply: Reply<Granted>) {
        if let Some(number) = self.number_of(client.fingerprint) {
            log::info!("{} launches while session {number} runs", client.name);
            return reply.send(Err(SessionError::AlreadyRunning));
        }
        let threads = self.host.encoder_threads;
        let Some(place) = self.registry.take_place(self.host.sessions_max, threads) else {
            return reply.send(Err(SessionError::Busy(self.host.sessions_max)));
        };
        let number = self.registry.number();
        for wish in unserved(&request) {
            log::info!(
                "{} asks for {wish}, which this host does not do",
                client.name
            );
        }
        let spawned = self
            .session_request(&client, app, &request, place.encoder_threads())
            .and_then(|asked| self.spawn(number, asked));
        match spawned {
            Ok(mut session) => {
                session.hold(place);
                self.running.add(client.fingerprint, app.id);
                let game = Game {
                    number,
                    client,
                    app_name: app.name.clone(),
                    undoes: app.prep.iter().any(|it| it.undo.is_some()),
                    stage: Stage::Starting(reply),
                    since: clock::now(),
                    session,
                    mode: request.mode,
                    mode_wanted: request.mode,
                    facts: None,
                    request: request.stream,
                    stream: None,
                    owes_suspend: false,
                    input: None,
                    input_refused: false,
                };
                self.games.insert(number, game);
            }
            Err(error) => {
                log::error!("a session cannot be started: {error}");
                let text = "the host could not start a session; its log says why";
                reply.send(Err(SessionError::Unavailable(text.to_owned())));
            }
        }
    }

    fn session_request(
        &self,
        client: &Client,
        app: &App,
        request: &LaunchRequest,
        encoder_threads: u8,
    ) -> std::io::Result<SessionRequest> {
        let mut environment = launch_environment(app, &client.name, request);
        environment.extend(app.environment.clone());
        let host = self.backends.display.name();
        let words = app_command(&app.run)?;
        let terms = AppTerms {
            environment,
            prep: app.prep.clone(),
            desktop: app.compositor.clone().filter(|it| it != host),
            ends_session: !words.is_empty(),
        };
        Ok(SessionRequest {
            mode: request.mode,
            slices: SliceCount::ONE,
            bitrate: crate::config::DEFAULT_BITRATE,
            app: words,
            terms,
            encoder_threads,
            audio: Speakers::from_channels(request.stream.surround.channels),
            // The client is paired: whoever may play may also be heard here.
            heard_here: self.host.host_speakers || request.stream.local_audio == Some(true),
            clipboard: false,
            microphone: false,
            // Stock clients show what the pictures show.
            cursor: false,
        })
    }

    fn spawn(&self, number: u64, request: SessionRequest) -> std::io::Result<Session> {
        let events = self.events_in.clone();
        let waker = Arc::clone(&self.waker);
        let on_event = Arc::new(move |event| {
            // Full only if the thread stands still for many streams; gone if the host stops.
            let _ = events.try_send((number, event));
            if let Err(error) = waker.wake() {
                log::error!("GameStream's control thread cannot be woken: {error}");
            }
        });
        Session::spawn(request, self.backends.clone(), on_event)
    }

    fn resume(&mut self, client: Client, request: ResumeRequest, reply: Reply<Granted>) {
        let now = clock::now();
        let Some(number) = self.number_of(client.fingerprint) else {
            return reply.send(Err(SessionError::NothingToResume));
        };
        let is_between =
            |game: &Game| matches!(game.stage, Stage::Starting(_) | Stage::Changing(_));
        if self.games.get(&number).is_some_and(is_between) {
            let text = "this client's session is still being started; try again";
            return reply.send(Err(SessionError::Unavailable(text.to_owned())));
        }
        // Whoever has the certificate takes over what it left somewhere else.
        self.suspend(now, number, "its client comes back");
        let Some(game) = self.games.get_mut(&number) else {
            return reply.send(Err(SessionError::NothingToResume));
        };
        game.client = client;
        game.request = request.stream;
        match request.mode.filter(|mode| *mode != game.mode) {
            None => reply.send(self.grant(now, number)),
            Some(mode) if game.ask_for(now, mode) => {
                game.stage = Stage::Changing(Changing::Resume(reply));
            }
            Some(_) => {
                let text = "this client's session is still being suspended; try again";
                reply.send(Err(SessionError::Unavailable(text.to_owned())));
            }
        }
    }

    /// The display has the mode that a client came back with, or has not.
    pub(super) fn take_mode(
        &mut self,
        number: u64,
        wanted: Mode,
        result: Result<Mode, session::SessionError>,
    ) {
        let now = clock::now();
        let Some(game) = self.games.get_mut(&number) else {
            return;
        };
        let name = &game.client.name;
        let refusal = match result {
            Ok(mode) => {
                log::info!("session {number} of {name}: its display has {mode} now");
                game.mode = wanted;
                if let Some(facts) = &mut game.facts {
                    facts.mode = mode;
                }
                None
            }
            Err(error) => {
                let has = game.facts.map_or(game.mode, |facts| facts.mode);
                log::warn!("session {number} of {name} keeps {has}: {error}");
                Some(format!(
                    "this session's display cannot change its mode ({error}); come back with \
                     {has}, or end the session first"
                ))
            }
        };
        // Who waited may have been given up, and somebody else wait for something else by now.
        let is_awaited = matches!(game.stage, Stage::Changing(_)) && game.mode_wanted == wanted;
        if !is_awaited {
            return;
        }
        let stage = std::mem::replace(&mut game.stage, Stage::Suspended);
        let Stage::Changing(change) = stage else {
            return;
        };
        match change {
            Changing::Resume(reply) => reply.send(match refusal {
                None => self.grant(now, number),
                Some(text) => Err(SessionError::Unavailable(text)),
            }),
            Changing::Announce(waiting) => {
                game.stage = Stage::Awaited;
                self.answer_announced(number, &waiting, refusal.as_deref());
            }
        }
    }

    /// Tells a client to come.
    pub(super) fn grant(&mut self, now: Timestamp, number: u64) -> Result<Granted, SessionError> {
        let game = self.games.get_mut(&number);
        let game = game.ok_or(SessionError::NothingToResume)?;
        let granted = game.begin_stream(now, self.ports).map_err(|error| {
            log::error!("no random bytes: {error}");
            SessionError::Unanswered
        })?;
        if let Some(stream) = &game.stream {
            self.enet.expect(stream.connect_data);
        }
        Ok(granted)
    }

    pub(super) fn number_of(&self, client: Fingerprint) -> Option<u64> {
        let mut games = self.games.values();
        let game = games.find(|game| game.client.fingerprint == client)?;
        Some(game.number)
    }
}

/// What a launch may ask for and does not get: knowingly, and nowhere else. Every client asks for
/// game settings (`sops`): those are told to the application's own commands, and not here.
fn unserved(request: &LaunchRequest) -> impl Iterator<Item = &'static str> {
    let stream = &request.stream;
    [
        // The order of DESCRIBE's answer is one that every client takes.
        (
            stream.surround_params.is_some(),
            "an order of channels of its own (surroundParams)",
        ),
        (stream.hdr, "HDR (hdrMode)"),
    ]
    .into_iter()
    .filter_map(|(asked, wish)| asked.then_some(wish))
}
