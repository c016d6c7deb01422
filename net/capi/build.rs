//! Links the C++ runtime into the shared library. Programs that link the static library name the
//! runtime themselves.

mod runtime;

fn main() {
    runtime::link("runtime.rs");
}
