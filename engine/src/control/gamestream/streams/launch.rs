//! What clients ask for over HTTP, answered: a session is launched, resumed or ended.

use std::sync::Arc;

use net::audio::Speakers;
use net::clock;
use net::gamestream::nvhttp::{ResumeRequest, StreamRequest};
use net::identity::Fingerprint;
use net::units::{SliceCount, Timestamp};

use super::StreamHost;
use crate::apps::App;
use crate::control::gamestream::broker::Ask;
use crate::control::gamestream::session::{Game, Stage};
use crate::control::gamestream::sessions::{Client, Granted, Reply, SessionError};
use crate::control::terms::app_command;
use crate::session::{Session, SessionRequest};

impl StreamHost {
    /// False when it is the end.
    pub(super) fn take_asks(&mut self) -> bool {
        while let Ok(ask) = self.asks.try_recv() {
            match ask {
                Ask::Stop => return false,
                Ask::Launch {
                    client,
                    app,
                    request,
                    reply,
                } => {
                    if let Some(number) = self.number_of(client.fingerprint) {
                        log::info!("{} launches while session {number} runs", client.name);
                        reply.send(Err(SessionError::AlreadyRunning));
                        continue;
                    }
                    let asked = SessionRequest {
                        mode: request.mode,
                        slices: SliceCount::ONE,
                        bitrate: crate::config::DEFAULT_BITRATE,
                        app: Vec::new(),
                        encoder_threads: self.host.encoder_threads,
                        audio: Speakers::from_channels(request.stream.surround.channels),
                    };
                    self.launch(client, &app, asked, request.stream, reply);
                }
                Ask::Resume {
                    client,
                    request,
                    reply,
                } => reply.send(self.resume(client, *request)),
                Ask::Cancel { client, reply } => {
                    if let Some(number) = self.number_of(client) {
                        self.end(number, "its client has ended it");
                    }
                    reply.send(Ok(()));
                }
            }
        }
        true
    }

    fn launch(
        &mut self,
        client: Client,
        app: &App,
        mut asked: SessionRequest,
        request: StreamRequest,
        reply: Reply<Granted>,
    ) {
        if self.games.len() + self.ending.len() >= self.host.sessions_max {
            return reply.send(Err(SessionError::Busy(self.host.sessions_max)));
        }
        asked.app = match self.command_of(app) {
            Ok(words) => words,
            Err(text) => {
                log::warn!("{} is not launched: {text}", app.name);
                return reply.send(Err(SessionError::Unavailable(text)));
            }
        };
        let number = self.registry.number();
        match self.spawn(number, asked) {
            Ok(session) => {
                self.running.add(client.fingerprint, app.id);
                let game = Game {
                    number,
                    client,
                    app_name: app.name.clone(),
                    stage: Stage::Starting(reply),
                    since: clock::now(),
                    session,
                    facts: None,
                    request,
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

    /// What runs on the display; else why this application cannot be had.
    fn command_of(&self, app: &App) -> Result<Vec<String>, String> {
        if !app.prep.is_empty() {
            return Err(format!(
                "{} has prep commands, which this host does not run yet; remove them",
                app.name
            ));
        }
        let display = self.backends.display.name();
        if app.compositor.as_deref().is_some_and(|it| it != display) {
            return Err(format!(
                "{} wants another display than this host's, which is {display}",
                app.name
            ));
        }
        let words = app_command(&app.run).map_err(|error| error.to_string())?;
        if words.is_empty() || app.environment.is_empty() {
            return Ok(words);
        }
        let variables = app.environment.iter();
        let variables = variables.map(|(name, value)| format!("{name}={value}"));
        Ok(std::iter::once("env".to_owned())
            .chain(variables)
            .chain(words)
            .collect())
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

    fn resume(&mut self, client: Client, request: ResumeRequest) -> Result<Granted, SessionError> {
        let now = clock::now();
        let number = self.number_of(client.fingerprint);
        let number = number.ok_or(SessionError::NothingToResume)?;
        // Whoever has the certificate takes over what it left somewhere else.
        self.suspend(now, number, "its client comes back");
        let game = self.games.get_mut(&number);
        let game = game.ok_or(SessionError::NothingToResume)?;
        let facts = game
            .facts
            .filter(|_| matches!(game.stage, Stage::Suspended));
        let Some(facts) = facts else {
            let text = "this client's session is still being started; try again";
            return Err(SessionError::Unavailable(text.to_owned()));
        };
        if let Some(mode) = request.mode
            && (mode.width(), mode.height()) != (facts.mode.width(), facts.mode.height())
        {
            return Err(SessionError::Unavailable(format!(
                "this session's display has {}; ask for that, or end the session first",
                facts.mode
            )));
        }
        game.client = client;
        game.request = request.stream;
        self.grant(now, number)
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
