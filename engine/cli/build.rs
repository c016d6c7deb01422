//! Links the C++ runtime and x264 into the executable, so that it needs nothing at run time but
//! glibc's core and libgcc_s.
//!
//! The crates that bring C and C++ code (boring-sys, openh264-sys2, x264-sys) name their libraries
//! without saying static or shared, and the linker prefers the shared one that lies beside the
//! archive. So the archives are offered in a directory of their own, which is searched first.
//! `harness/tests/binary.rs` reads the outcome from the ELF file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CXX");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("archives");
    fs::create_dir_all(&out).expect("cargo's OUT_DIR is writable");
    offer(&out, "libstdc++.a", "g++");
    if env::var_os("CARGO_FEATURE_X264").is_some() {
        offer(&out, "libx264.a", "libx264-dev");
    }
    println!("cargo:rustc-link-search=native={}", out.display());
}

/// Puts a link to the compiler's `archive` into `directory`, or says which package lacks.
fn offer(directory: &Path, archive: &str, package: &str) {
    let compiler = env::var("CXX").unwrap_or_else(|_| "g++".into());
    let answer = Command::new(&compiler)
        .arg(format!("-print-file-name={archive}"))
        .output()
        .unwrap_or_else(|error| panic!("{compiler} does not start ({error}): install g++"));
    // A compiler that does not have the file answers with the bare name.
    let found = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim());
    assert!(
        found.is_absolute(),
        "{compiler} finds no {archive}: install {package}"
    );
    println!("cargo:rerun-if-changed={}", found.display());
    let link = directory.join(archive);
    // Made anew each time: a link from before a compiler update leads nowhere.
    let _absent = fs::remove_file(&link);
    std::os::unix::fs::symlink(&found, &link).expect("cargo's OUT_DIR is writable");
}
