//! A fake of every trait that a session is made of. Each is a real backend that keeps its trait's
//! contract, and has a remote control for the test.

mod capture;
mod display;
mod encoder;
mod microphone;

pub use capture::{CaptureRemote, FakeCapture};
pub use display::{DisplayRemote, FakeDisplayBackend};
pub use encoder::{EncodeCall, EncoderRemote, FakeEncoder, Fault, Shape, slice_bytes};
pub use microphone::{FakeMicrophones, MicrophonesRemote};
