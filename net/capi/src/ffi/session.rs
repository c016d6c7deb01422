//! A session's life, what it gives and what it tells.

use std::ffi::c_char;
use std::sync::Arc;
use std::time::Duration;

use net::audio::{OpusLayout, Quality};
use net::client::{Client, ConnectError, ConnectOptions, Trust, resolve};
use net::identity::Fingerprint;
use net::input::PadOutput;
use net::native::ModeOutcome;
use net::units::Mode;

use super::{guard, limit, read, reference, text, write};
use crate::options;
use crate::session::Session;
use crate::status::{Failure, PunktfunkStatus};
use crate::types::{
    PUNKTFUNK_DEFAULT_PORT, PUNKTFUNK_MODE_GRANTED, PUNKTFUNK_MODE_IMPOSSIBLE,
    PUNKTFUNK_NAME_BYTES, PUNKTFUNK_PAD_RUMBLE, PUNKTFUNK_UNIT_BEGINS, PUNKTFUNK_UNIT_ENDS,
    PUNKTFUNK_UNIT_KEYFRAME, PUNKTFUNK_UNIT_RECOVERY, PunktfunkAudio, PunktfunkConnectOptions,
    PunktfunkConnectResult, PunktfunkMode, PunktfunkPadOutput, PunktfunkSessionInfo,
    PunktfunkStatistics, PunktfunkUnit,
};

/// A running session. Every function that takes one may be called from any thread at any time until
/// punktfunk_close is called. punktfunk_next_unit and punktfunk_release_unit, punktfunk_next_audio,
/// punktfunk_next_clipboard, punktfunk_next_cursor and punktfunk_next_pad_output each serve one
/// thread at a time; another one that calls the same meanwhile gets PUNKTFUNK_STATUS_BUSY at once.
pub struct PunktfunkSession(Session);

/// Connects, and waits for the host's answer. The session has a thread of its own, which does all
/// that has to do with the network. result may be NULL.
///
/// # Safety
/// `options` and what it points to are valid during the call; `result` is NULL or valid; `session`
/// has room for a pointer, to be given back with punktfunk_close.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_connect(
    options: *const PunktfunkConnectOptions,
    result: *mut PunktfunkConnectResult,
    session: *mut *mut PunktfunkSession,
) -> PunktfunkStatus {
    guard(|| {
        if session.is_null() {
            return Err(Failure::argument("the place for the session is NULL"));
        }
        let mut told = PunktfunkConnectResult {
            struct_size: 0,
            refuse_code: 0,
            fingerprint: [0; 32],
        };
        // SAFETY: the caller's promise.
        let connected = unsafe { read(options).and_then(|options| connect(&options, &mut told)) };
        if !result.is_null() {
            // SAFETY: the caller's promise.
            unsafe { write(result, &told)? };
        }
        let new = Arc::new(PunktfunkSession(Session::new(connected?)));
        // SAFETY: the caller's promise.
        unsafe { session.write(Arc::into_raw(new).cast_mut()) };
        Ok(())
    })
}

/// Ends the session and does not wait: calls that wait in it come back with
/// PUNKTFUNK_STATUS_ENDED. The session still has to be closed.
///
/// # Safety
/// `session` was not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_end(session: *const PunktfunkSession) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe {
        call(session, |session| {
            session.end();
            Ok(())
        })
    }
}

/// Ends the session in an orderly way, waits for the calls in it, which come back, and for its
/// thread, and frees it with all that it has lent; NULL is allowed.
///
/// # Safety
/// `session` came from this library and is used in no call that begins after this one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_close(session: *mut PunktfunkSession) -> PunktfunkStatus {
    guard(|| {
        if !session.is_null() {
            // SAFETY: the caller's promise: it came from `Arc::into_raw`, and comes back once.
            let mut session = unsafe { Arc::from_raw(session.cast_const()) };
            session.0.end_and_empty();
            // A call that has left holds on to the session for some instructions more.
            while let Err(held) = Arc::try_unwrap(session) {
                std::thread::yield_now();
                session = held;
            }
        }
        Ok(())
    })
}

/// Says what the host agreed to.
///
/// # Safety
/// `session` was not closed; `info` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_session_info(
    session: *const PunktfunkSession,
    info: *mut PunktfunkSessionInfo,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe { call(session, |session| write(info, &describe(session.client()))) }
}

/// Says which mode holds now, and what became of requests for others.
///
/// # Safety
/// `session` was not closed; `mode` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_mode(
    session: *const PunktfunkSession,
    mode: *mut PunktfunkMode,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe {
        call(session, |session| {
            write(mode, &current_mode(session.client()))
        })
    }
}

/// Asks the host for another mode, and does not wait: punktfunk_mode tells when the request of
/// *number (which may be NULL), or a later one, was answered. Ask as often as a window is dragged: the
/// newest request wins, and the old mode's pictures go on until the new one's come.
///
/// # Safety
/// `session` was not closed; `number` is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_request_mode(
    session: *const PunktfunkSession,
    width: u32,
    height: u32,
    refresh_millihz: u32,
    number: *mut u32,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe {
        call(session, |session| {
            let wanted = Mode::new(width, height, refresh_millihz).map_err(Failure::argument)?;
            let request = session.client().modes().request(wanted);
            if let Some(number) = number.as_mut() {
                *number = request;
            }
            Ok(())
        })
    }
}

/// Waits for the next access unit, or part of one, at most timeout_ms. unit.data is valid until the
/// next call of this function or punktfunk_release_unit for the session, and until punktfunk_close.
/// What is left after the session's end still comes, then PUNKTFUNK_STATUS_ENDED.
///
/// Take units without delay: while 7 wait, the next is dropped and the picture repaired.
///
/// # Safety
/// `session` was not closed; `unit` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_next_unit(
    session: *const PunktfunkSession,
    timeout_ms: u32,
    unit: *mut PunktfunkUnit,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe {
        call(session, |session| {
            // Before a unit is taken that could not be handed out.
            super::struct_size(unit)?;
            let told = session.next_unit(limit(timeout_ms), |taken| PunktfunkUnit {
                struct_size: 0,
                frame: taken.frame.0,
                data: taken.bytes().as_ptr(),
                length: taken.bytes().len(),
                received_first_ns: taken.received_first.as_ns(),
                complete_ns: taken.complete.as_ns(),
                flags: [
                    (taken.begins, PUNKTFUNK_UNIT_BEGINS),
                    (taken.ends, PUNKTFUNK_UNIT_ENDS),
                    (taken.keyframe, PUNKTFUNK_UNIT_KEYFRAME),
                    (taken.recovery, PUNKTFUNK_UNIT_RECOVERY),
                ]
                .iter()
                .map(|(is_set, flag)| if *is_set { *flag } else { 0 })
                .sum(),
                captured_us: taken.captured.0,
                repaired_shards: taken.repaired_shards,
                reserved: 0,
            })?;
            write(unit, &told)
        })
    }
}

/// Gives the last unit back before the next is taken: its data is not valid any more.
///
/// # Safety
/// `session` was not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_release_unit(
    session: *const PunktfunkSession,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe { call(session, Session::release_unit) }
}

/// The decoder can do nothing with that frame: nothing more comes until there is an IDR, or
/// another picture that needs nothing of what was lost.
///
/// # Safety
/// `session` was not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_request_keyframe(
    session: *const PunktfunkSession,
    frame: u32,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe {
        call(session, |session| {
            session.request_keyframe(frame);
            Ok(())
        })
    }
}

/// A picture was decoded, in so many microseconds: the host's rate control follows it.
///
/// # Safety
/// `session` was not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_decoded(
    session: *const PunktfunkSession,
    took_us: u32,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe {
        call(session, |session| {
            session
                .feedback()
                .decoded(Duration::from_micros(took_us.into()));
            Ok(())
        })
    }
}

/// Waits for the next 5 ms of sound, at most timeout_ms. They come when they are due: play them at
/// once. audio.data is valid until the next call of this function for the session, and until
/// punktfunk_close. Of 32 packets that nobody took the newest is dropped.
///
/// # Safety
/// `session` was not closed; `audio` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_next_audio(
    session: *const PunktfunkSession,
    timeout_ms: u32,
    audio: *mut PunktfunkAudio,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe {
        call(session, |session| {
            super::struct_size(audio)?;
            let told = session.next_audio(limit(timeout_ms), |packet| {
                let opus = packet.opus().unwrap_or_default();
                PunktfunkAudio {
                    struct_size: 0,
                    reserved: 0,
                    data: opus.as_ptr(),
                    length: opus.len(),
                }
            })?;
            write(audio, &told)
        })
    }
}

/// Waits for what an application wants of a controller, at most timeout_ms.
///
/// # Safety
/// `session` was not closed; `output` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_next_pad_output(
    session: *const PunktfunkSession,
    timeout_ms: u32,
    output: *mut PunktfunkPadOutput,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe {
        call(session, |session| {
            super::struct_size(output)?;
            let PadOutput::Rumble {
                controller,
                strong,
                weak,
            } = session.next_pad_output(limit(timeout_ms))?;
            let told = PunktfunkPadOutput {
                struct_size: 0,
                kind: PUNKTFUNK_PAD_RUMBLE,
                controller,
                strong,
                weak,
                reserved: [0; 2],
            };
            write(output, &told)
        })
    }
}

/// Counts of the session so far.
///
/// # Safety
/// `session` was not closed; `statistics` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_statistics(
    session: *const PunktfunkSession,
    statistics: *mut PunktfunkStatistics,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe {
        call(session, |session| {
            let counted = session.client().received();
            let told = PunktfunkStatistics {
                struct_size: 0,
                reserved: 0,
                datagrams: counted.datagrams,
                bytes: counted.bytes,
                not_opened: counted.not_opened,
                frames: counted.frames,
                frames_lost: counted.frames_lost,
                frames_hidden: counted.frames_hidden,
                frames_overrun: counted.frames_overrun,
                shards_repaired: counted.shards_repaired,
                rounds_asked: counted.rounds_asked,
                repair_requests: counted.repair_requests,
                keyframe_requests: counted.keyframe_requests,
                round_trip_us: counted.round_trip_us,
                audio_played: counted.audio_played,
                audio_repaired: counted.audio_repaired,
                audio_concealed: counted.audio_concealed,
                audio_overrun: counted.audio_overrun,
                cursor_states: counted.cursor_states,
                cursor_repaired: counted.cursor_repaired,
                cursor_shapes: counted.cursor_shapes,
            };
            write(statistics, &told)
        })
    }
}

/// Lets a call into a session, which stays until the call is done whatever happens meanwhile.
///
/// # Safety
/// `session` is null or was not closed before the call began.
pub(super) unsafe fn call(
    session: *const PunktfunkSession,
    call: impl FnOnce(&Session) -> Result<(), Failure>,
) -> PunktfunkStatus {
    guard(|| {
        if session.is_null() {
            return Err(Failure::argument("session is NULL"));
        }
        // SAFETY: the caller's promise: close has not taken the first reference back yet.
        let session = unsafe {
            Arc::increment_strong_count(session);
            Arc::from_raw(session)
        };
        session.0.enter(call)
    })
}

/// # Safety
/// What `options` points to is valid.
unsafe fn connect(
    options: &PunktfunkConnectOptions,
    told: &mut PunktfunkConnectResult,
) -> Result<Client, Failure> {
    // SAFETY: the caller's promise.
    let (host, name, identity) = unsafe {
        let name = match options.name.is_null() {
            true => "libpunktfunk",
            false => text(options.name, "name")?,
        };
        (
            text(options.host, "host")?,
            name,
            reference(options.identity, "identity")?,
        )
    };
    let hello = options::hello(options, name)?;
    let granularity = options::granularity(options)?;
    let mut wanted = ConnectOptions {
        trust: options::trust(options)?,
        identity: identity.0.clone(),
        hello,
        host: resolve(host, PUNKTFUNK_DEFAULT_PORT).map_err(|error| {
            let text = format!("{host} is not a host that can be found: {error}");
            Failure::new(PunktfunkStatus::Unreachable, text)
        })?,
    };
    let limit = options::limit(options);
    loop {
        let error = match Client::connect_within(wanted.clone(), granularity, limit, || ()) {
            Ok(client) => {
                told.fingerprint = *client.fingerprint().as_bytes();
                return Ok(client);
            }
            Err(error) => error,
        };
        match &error {
            ConnectError::Unknown { found, .. } => {
                told.fingerprint = *found.as_bytes();
                // SAFETY: the caller's promise.
                if unsafe { ask(options, found) } {
                    // Exactly the host that was asked about, and nobody who takes its place.
                    wanted.trust = Trust::Pinned(*found);
                    continue;
                }
            }
            ConnectError::Impostor { found, .. } => told.fingerprint = *found.as_bytes(),
            ConnectError::Refused { code, .. } => told.refuse_code = code.to_wire().into(),
            _ => {}
        }
        return Err(Failure::from(&error));
    }
}

/// True if whoever decides trusts that host.
///
/// # Safety
/// The callback of `options` is one.
unsafe fn ask(options: &PunktfunkConnectOptions, found: &Fingerprint) -> bool {
    let Some(ask) = options.ask else {
        return false;
    };
    // SAFETY: the caller's promise; 32 bytes, there during the call.
    unsafe { ask(options.ask_user, found.as_bytes().as_ptr()) != 0 }
}

fn current_mode(client: &Client) -> PunktfunkMode {
    let answer = client.modes().answer();
    let mode = answer
        .as_ref()
        .map_or(client.welcome().mode, |answer| answer.mode);
    let outcome = answer.as_ref().map(|answer| answer.outcome);
    PunktfunkMode {
        struct_size: 0,
        width: mode.width().into(),
        height: mode.height().into(),
        refresh_millihz: mode.refresh().get(),
        first_frame: answer.as_ref().map_or(0, |answer| answer.first_frame.0),
        request: answer.as_ref().map_or(0, |answer| answer.number),
        outcome: match outcome {
            None | Some(ModeOutcome::Granted) => PUNKTFUNK_MODE_GRANTED,
            Some(ModeOutcome::Impossible) => PUNKTFUNK_MODE_IMPOSSIBLE,
            Some(ModeOutcome::Failed) => 2,
            Some(ModeOutcome::Unknown(number)) => number,
        },
        reserved: [0; 3],
    }
}

fn describe(client: &Client) -> PunktfunkSessionInfo {
    let welcome = client.welcome();
    let speakers = welcome.features.speakers();
    let layout = speakers.map(|speakers| OpusLayout::of(speakers, Quality::Normal));
    PunktfunkSessionInfo {
        struct_size: 0,
        datagram_bytes_max: welcome.datagram_bytes_max,
        codec: welcome.codec.to_wire(),
        slices: welcome.slices.get(),
        bitrate: welcome.bitrate.0,
        session: welcome.session,
        fingerprint: *client.fingerprint().as_bytes(),
        aead: welcome.aead as u8,
        audio_channels: speakers.map_or(0, |speakers| speakers.channels() as u8),
        audio_streams: layout.map_or(0, |layout| layout.streams),
        audio_coupled: layout.map_or(0, |layout| layout.coupled),
        audio_mapping: layout.map_or([0; 8], |layout| layout.mapping),
        host_name: name(&welcome.host_name),
        encoder_name: name(&welcome.encoder_name),
        reserved: [0; 2],
    }
}

/// As a text that ends with a zero byte; names on the wire are shorter.
pub(super) fn name(text: &str) -> [c_char; PUNKTFUNK_NAME_BYTES] {
    let mut name = [0; PUNKTFUNK_NAME_BYTES];
    let end = text.floor_char_boundary(PUNKTFUNK_NAME_BYTES - 1);
    for (place, byte) in name.iter_mut().zip(&text.as_bytes()[..end]) {
        *place = byte.cast_signed() as c_char;
    }
    name
}
