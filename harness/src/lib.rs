//! What the behaviour tests are made of: fakes that are real backends ([`fakes`]), peers that
//! record or misbehave ([`peer`], [`relay`], [`middle`], [`stranger`], [`stub_host`]), the real
//! pipeline between fakes ([`rig`]), the real host and client on loopback ([`loopback`]), a seeded
//! network in virtual time ([`sim`]), the executable ([`program`]), a stock GameStream client
//! ([`moonlight`]), a private PipeWire ([`sound_server`]), and facts about this process and others
//! ([`facts`]).
//!
//! Tests wait for facts ([`facts::eventually`], channels), each with one generous limit
//! ([`PATIENCE`]); no time is asserted anywhere.

pub mod facts;
pub mod fakes;
pub mod loopback;
pub mod middle;
pub mod moonlight;
pub mod peer;
pub mod program;
pub mod relay;
pub mod rig;
pub mod sim;
pub mod sound_server;
pub mod stranger;
pub mod stub_host;
pub mod wave;

use std::time::Duration;

/// Long enough for any machine: a test that waits this long for a fact has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);
