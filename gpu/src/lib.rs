//! Pictures: what holds them ([`frame`]), how their colours are converted ([`convert`]), what
//! makes slices of them ([`encode`]), how those are read ([`bitstream`]) and what turns them back
//! into pictures ([`decode`]).

// In the order a picture takes; blank lines keep rustfmt from sorting them.
pub mod frame;

pub mod convert;

pub mod bitstream;

pub mod encode;

pub mod decode;
