//! Measurement: what is drawn ([`picture`], [`marker`], [`testcard`]), how decoded pixels are held
//! against it ([`verify`]), how the figures are reported and judged ([`report`], [`gate`]), and how
//! a run is kept for the simulator ([`record`]).

pub mod alloc;
pub mod gate;
pub mod listener;
pub mod marker;
pub mod micro;
pub mod picture;
pub mod record;
pub mod report;
pub mod run;
pub mod testcard;
pub mod verify;
