//! Links the C++ runtime into the executable, and tells it which revision it was built from.

#[path = "../../net/capi/runtime.rs"]
mod runtime;

use std::fs;
use std::process::Command;

fn main() {
    runtime::link("../../net/capi/runtime.rs");
    name_revision();
}

/// Tells the sources' revision to the crate as `PUNKTFUNK_REVISION`, where git knows it; sources
/// without their history, or without git, build all the same.
fn name_revision() {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
    };
    let Some(revision) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return;
    };
    println!("cargo:rustc-env=PUNKTFUNK_REVISION={revision}");
    // Grows with every commit and check-out. Named only if it is there: cargo would run this
    // again and again for a file that is not.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && fs::exists(&log).unwrap_or(false)
    {
        println!("cargo:rerun-if-changed={log}");
    }
}
