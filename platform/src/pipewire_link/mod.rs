//! libpipewire, found at run time: the executable starts, and says what is missing, on a machine
//! without it.
//!
//! The crate `pipewire` calls functions by name and would have the linker look for them in the
//! library. Here each of those names is a function of ours, a bare jump to an address that
//! [`load`] takes from the library. Until then the address is one of a function that ends the
//! process with a message, so a call that nobody prepared cannot go unnoticed.

mod sys;

use std::ffi::{CStr, CString};
use std::sync::OnceLock;

use pipewire::context::Context;

/// Why libpipewire is not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The library is not there, or cannot be loaded.
    #[error("libpipewire cannot be loaded ({0})")]
    Library(String),
    /// It is too old or not what its name says.
    #[error("libpipewire has no function {0}; 0.3.50 or newer is needed")]
    Function(&'static str),
}

/// Loads the library and initialises it, once for the process; every later call gives the same
/// answer. Nothing of the crate `pipewire` may be called before it has succeeded.
///
/// # Errors
/// [`LinkError`].
pub fn load() -> Result<(), LinkError> {
    static LOADED: OnceLock<Result<(), LinkError>> = OnceLock::new();
    LOADED
        .get_or_init(|| {
            sys::fill()?;
            pipewire::init();
            Ok(())
        })
        .clone()
}

/// Loads one of PipeWire's modules into this process, with its arguments as PipeWire writes
/// properties; it goes when the context does. False if there is no such module or it refuses.
pub(crate) fn load_module(context: &Context, name: &CStr, arguments: &str) -> bool {
    CString::new(arguments).is_ok_and(|arguments| sys::load_module(context, name, &arguments))
}
