//! Links the C++ runtime into what is built, so that it needs nothing at run time but glibc's core
//! and libgcc_s. A part of two build scripts: the executable's (`engine/cli`) and `libpunktfunk`'s.
//!
//! The crates that bring C++ code (boring-sys, openh264-sys2) name the library without saying
//! static or shared, and the linker prefers the shared one that lies beside the archive. So the
//! archive is offered in a directory of its own, which is searched first. `gpu/build.rs` does the
//! same for x264, and `harness/tests/binary.rs` reads the outcome from the ELF file.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

const ARCHIVE: &str = "libstdc++.a";

/// Tells cargo where the archive is; `runtime_rs` is this file, as seen from the caller's crate.
pub(crate) fn link(runtime_rs: &str) {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={runtime_rs}");
    println!("cargo:rerun-if-env-changed=CXX");
    let compiler = env::var("CXX").unwrap_or_else(|_| "g++".into());
    let answer = Command::new(&compiler)
        .arg(format!("-print-file-name={ARCHIVE}"))
        .output()
        .unwrap_or_else(|error| panic!("{compiler} does not start ({error}): install g++"));
    // A compiler that does not have the file answers with the bare name.
    let archive = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim());
    assert!(
        archive.is_absolute(),
        "{compiler} finds no {ARCHIVE}: install g++"
    );
    println!("cargo:rerun-if-changed={}", archive.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("archives");
    fs::create_dir_all(&out).expect("cargo's OUT_DIR is writable");
    let copy = out.join(ARCHIVE);
    // A link of that name, left by an older build, would be written through.
    drop(fs::remove_file(&copy));
    fs::copy(&archive, &copy).expect("the archive can be copied to OUT_DIR");
    println!("cargo:rustc-link-search=native={}", out.display());
}
