//! Pictures: what holds them ([`frame`]), how their colours are converted ([`convert`]), what
//! makes slices of them ([`encode`]), how those are read ([`bitstream`]) and what turns them back
//! into pictures ([`decode`]).

pub mod bitstream;
pub mod convert;
pub mod decode;
pub mod encode;
pub mod frame;
