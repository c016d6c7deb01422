//! Links x264 statically. Its bindings say "link x264" without a kind, and Debian's library
//! folder holds both kinds, of which linkers prefer the shared one. So this puts a folder before
//! it that holds the archive alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");
    if env::var_os("CARGO_FEATURE_X264").is_none() {
        return;
    }
    let Some(archive) = archive() else {
        println!("cargo:warning=libx264.a was not found: x264 is linked as a shared library");
        return;
    };
    let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("x264");
    fs::create_dir_all(&folder).expect("OUT_DIR is writable");
    let copy = folder.join("libx264.a");
    // A link of that name, left by an older build, would be written through.
    drop(fs::remove_file(&copy));
    fs::copy(&archive, &copy).expect("the archive can be copied to OUT_DIR");
    println!("cargo:rerun-if-changed={}", archive.display());
    println!("cargo:rustc-link-search=native={}", folder.display());
}

/// Where pkg-config says that libx264 lives.
fn archive() -> Option<PathBuf> {
    let output = Command::new("pkg-config")
        .args(["--variable=libdir", "x264"])
        .output()
        .ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    let archive = Path::new(folder.trim()).join("libx264.a");
    archive.is_file().then_some(archive)
}
