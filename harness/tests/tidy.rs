//! House rules that a machine can check: texts that must not appear, where `unsafe` may stand,
//! which crate may use which, what the dependencies may bring. Each failure names the place and
//! what to write instead.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{env, fs};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Where a text is banned.
#[derive(Clone, Copy, PartialEq)]
enum Scope {
    /// Every text file of the project.
    Everywhere,
    /// Rust code, comments included.
    Rust,
    /// Rust code of tests.
    Tests,
}

/// Text that must not appear, and what to do instead. Written in pieces, so that this file does
/// not fail its own test.
const BANNED: &[(&str, Scope, &str)] = &[
    (
        concat!("TO", "DO"),
        Scope::Everywhere,
        "write it, or open an issue",
    ),
    (
        concat!("FIX", "ME"),
        Scope::Everywhere,
        "fix it, or open an issue",
    ),
    (
        concat!("to", "do!("),
        Scope::Rust,
        "write it, or leave the item out",
    ),
    (
        concat!("unimple", "mented!("),
        Scope::Rust,
        "write it, or leave the item out",
    ),
    (concat!("db", "g!("), Scope::Rust, "use log::debug!"),
    (
        concat!("#[ig", "nore"),
        Scope::Rust,
        "make the test work everywhere, or delete it",
    ),
    (
        concat!("as", "ync fn"),
        Scope::Rust,
        "use a thread and a bounded channel",
    ),
    (
        concat!("mpsc::", "channel("),
        Scope::Rust,
        "use a bounded channel",
    ),
    (
        concat!("unbo", "unded("),
        Scope::Rust,
        "give the channel a capacity and a policy",
    ),
    (
        concat!("static", " mut"),
        Scope::Rust,
        "use an atomic or a OnceLock",
    ),
    (
        concat!("thread::", "sleep"),
        Scope::Tests,
        "wait for the event itself, with a time limit, or pass the time in",
    ),
    (
        concat!("/wo", "rk/"),
        Scope::Everywhere,
        "name no path of a build machine",
    ),
    (
        concat!("/ro", "ot/"),
        Scope::Everywhere,
        "name no path of a build machine",
    ),
    (
        concat!("/ho", "me/"),
        Scope::Rust,
        "name no path of a build machine",
    ),
];

/// Crates from bottom to top. Each may use those before it; the executable may use all but the
/// harness, and nothing uses the executable.
const CRATES: [&str; 6] = ["net", "gpu", "platform", "engine", "bench", "harness"];

/// The C ABI: a crate beside the others, on [`CRATES`]' first alone.
const C_ABI: &str = "capi";

/// What no client library may bring: parts of the names of crates for desktops, devices and GPUs.
const DESKTOP_OR_GPU: [&str; 15] = [
    "alsa", "ash", "cuda", "dbus", "drm", "egl", "evdev", "gbm", "h264", "khronos", "pipewire",
    "vulkan", "wayland", "x11", "xkb",
];

/// The crate on top.
const EXECUTABLE: &str = "punktfunk";

/// What may lie in the root of the project.
const TOP_LEVEL: [&str; 20] = [
    ".cargo",
    ".ci",
    ".git",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "LICENSE.md",
    "README.md",
    "bench",
    "engine",
    "gpu",
    "harness",
    "net",
    "platform",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "scripts",
    "target",
];

/// Most lines of a Rust file.
const LINES_MAX: usize = 800;

/// Most columns of a line of Rust. rustfmt keeps code to 100; in comments and strings, where it
/// does not break lines, the end of a line may stand out.
const COLUMNS_MAX: usize = 110;

/// Files with `unsafe` beside `sys.rs`, `ffi.rs`, `sys/` and `ffi/`, each with its reason.
const UNSAFE_ELSEWHERE: &[(&str, &str)] = &[
    (
        "bench/src/alloc.rs",
        "an allocator cannot do without, and the file holds nothing else",
    ),
    (
        "gpu/tests/allocations.rs",
        "a counting allocator; gpu cannot use the one of bench",
    ),
];

/// Executors and what comes only with them: the engine is threads and sans-IO machines.
const ASYNC_RUNTIMES: [&str; 15] = [
    "actix-rt",
    "async-executor",
    "async-global-executor",
    "async-io",
    "async-std",
    "compio",
    "embassy-executor",
    "futures-executor",
    "futures-util",
    "glommio",
    "monoio",
    "pollster",
    "smol",
    "tokio",
    "tokio-util",
];

/// Dependencies that hold C or C++ code: a second copy costs minutes of build time, and two
/// BoringSSL in one executable do not share their types.
const SINGLE: [&str; 5] = [
    "boring",
    "boring-sys",
    "openh264-sys2",
    "quiche",
    "x264-sys",
];

/// Licences that a dependency may have: none of them reaches beyond its own code (MPL-2.0 beyond its
/// own files: cbindgen, which only tests use).
const LICENCES: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

#[test]
fn no_banned_text() {
    let mut found = Vec::new();
    for file in text_files() {
        let text = read(&file);
        // What follows the first `mod tests {` of a file is tests; nothing else comes after it.
        let tests_from = if is_test_file(&file) {
            0
        } else {
            text.lines()
                .position(|line| line.trim() == "mod tests {")
                .unwrap_or(usize::MAX)
        };
        for (index, line) in text.lines().enumerate() {
            for (banned, scope, instead) in BANNED {
                let applies = match scope {
                    Scope::Everywhere => true,
                    Scope::Rust => is_rust(&file),
                    Scope::Tests => is_rust(&file) && index >= tests_from,
                };
                if applies && line.contains(banned) {
                    found.push(format!("{}: `{banned}`: {instead}", place(&file, index)));
                }
            }
        }
    }
    assert_none(&found);
}

#[test]
fn unsafe_stands_only_in_its_own_modules() {
    let keyword = concat!("uns", "afe");
    let mut found = Vec::new();
    for file in text_files().into_iter().filter(|file| is_rust(file)) {
        let inside = file.components().any(|part| {
            ["sys", "ffi", "sys.rs", "ffi.rs"]
                .iter()
                .any(|name| part.as_os_str() == *name)
        });
        if inside
            || UNSAFE_ELSEWHERE
                .iter()
                .any(|(path, _why)| Path::new(path) == file)
        {
            continue;
        }
        for (index, line) in read(&file).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let mut words = code.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            if words.any(|word| word == keyword || word == concat!("uns", "afe_code")) {
                found.push(format!(
                    "{}: move it to a module `sys` or `ffi` with a safe interface",
                    place(&file, index)
                ));
            }
        }
    }
    assert_none(&found);
}

#[test]
fn files_stay_short_and_narrow() {
    let mut found = Vec::new();
    for file in text_files().into_iter().filter(|file| is_rust(file)) {
        let text = read(&file);
        let lines = text.lines().count();
        if lines > LINES_MAX {
            let file = file.display();
            found.push(format!(
                "{file}: {lines} lines, more than {LINES_MAX}: split it"
            ));
        }
        for (index, line) in text.lines().enumerate() {
            // Neither an address nor a row of a table can be broken.
            let unbreakable = line.contains("://") || line.ends_with('|');
            if line.chars().count() > COLUMNS_MAX && !unbreakable {
                found.push(format!(
                    "{}: more than {COLUMNS_MAX} columns",
                    place(&file, index)
                ));
            }
        }
    }
    assert_none(&found);
}

#[test]
fn the_root_holds_only_what_it_should() {
    let found: Vec<String> = fs::read_dir(root())
        .expect("the project's root can be listed")
        .map(|entry| entry.expect("an entry of the root").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| !TOP_LEVEL.contains(&name.as_str()) && !name.ends_with(".swp"))
        .map(|name| format!("{name}: put it in a folder, or name it in TOP_LEVEL of this test"))
        .collect();
    assert_none(&found);
}

#[test]
fn every_crate_takes_the_lints_and_the_licence_of_the_workspace() {
    let mut found = Vec::new();
    for package in metadata().workspace_packages() {
        let manifest = package.manifest_path.as_std_path();
        let text = fs::read_to_string(manifest).expect("a manifest of the workspace");
        for inherited in [
            "[lints]\nworkspace = true",
            "license.workspace = true",
            "publish.workspace = true",
        ] {
            if !text.contains(inherited) {
                found.push(format!("{}: lacks `{inherited}`", manifest.display()));
            }
        }
        if package
            .features
            .get("default")
            .is_some_and(|default| !default.is_empty())
        {
            found.push(format!("{}: has default features", manifest.display()));
        }
    }
    assert_none(&found);
}

#[test]
fn dependencies_point_downwards() {
    let metadata = metadata();
    let mut found = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let below = match CRATES.iter().position(|other| *other == name) {
            Some(height) => &CRATES[..height],
            None if name == EXECUTABLE => &CRATES[..CRATES.len() - 1],
            None if name == C_ABI => &CRATES[..1],
            None => {
                found.push(format!("{name}: name its place in CRATES of this test"));
                continue;
            }
        };
        for dependency in package
            .dependencies
            .iter()
            .filter(|other| other.path.is_some())
        {
            if !below.contains(&dependency.name.as_str()) {
                found.push(format!("{name} must not depend on {}", dependency.name));
            }
        }
    }
    assert_none(&found);
}

/// What is built for a client that brings its own window and decoder.
#[test]
fn the_client_library_brings_no_desktop_and_no_gpu() {
    let metadata = metadata();
    let graph = metadata
        .resolve
        .as_ref()
        .expect("cargo resolves")
        .nodes
        .iter();
    let nodes: BTreeMap<_, _> = graph.map(|node| (&node.id, node)).collect();
    let library = metadata
        .workspace_packages()
        .into_iter()
        .find(|package| package.name.as_str() == C_ABI)
        .expect("the crate of the C ABI");
    let (mut waiting, mut seen) = (vec![&library.id], BTreeSet::new());
    while let Some(id) = waiting.pop() {
        if seen.insert(id) {
            let linked = nodes[id].deps.iter().filter(|dependency| {
                let kinds = dependency.dep_kinds.iter();
                kinds.clone().any(|it| it.kind == DependencyKind::Normal)
            });
            waiting.extend(linked.map(|dependency| &dependency.pkg));
        }
    }
    let names: BTreeSet<&str> = metadata
        .packages
        .iter()
        .filter(|package| seen.contains(&package.id))
        .map(|package| package.name.as_str())
        .collect();
    assert!(
        names.contains("net") && names.contains("quiche"),
        "{names:?}"
    );
    let found: Vec<String> = names
        .iter()
        .filter(|name| DESKTOP_OR_GPU.iter().any(|part| is_part_of(part, name)))
        .map(|name| format!("{name}: keep it out of net and of net/capi"))
        .collect();
    assert_none(&found);
}

/// True if a name has that part: as a whole word where it is short.
fn is_part_of(part: &str, name: &str) -> bool {
    let mut words = name.split(['-', '_']);
    if part.len() < 4 {
        words.any(|word| word == part || word.strip_suffix("sys") == Some(part))
    } else {
        name.contains(part)
    }
}

#[test]
fn no_async_runtime() {
    let found: Vec<String> = metadata()
        .packages
        .iter()
        .filter(|package| ASYNC_RUNTIMES.contains(&package.name.as_str()))
        .map(|package| format!("{}: `cargo tree -i` says who wants it", full_name(package)))
        .collect();
    assert_none(&found);
}

#[test]
fn native_code_comes_once() {
    let metadata = metadata();
    let mut found = Vec::new();
    for single in SINGLE {
        let copies: BTreeSet<String> = metadata
            .packages
            .iter()
            .filter(|package| package.name.as_str() == single)
            .map(full_name)
            .collect();
        if copies.len() != 1 {
            found.push(format!("{single}: one version is wanted, not {copies:?}"));
        }
    }
    assert_none(&found);
}

#[test]
fn licences_are_permissive() {
    let found: Vec<String> = metadata()
        .packages
        .iter()
        .filter(|package| !package.license.as_deref().is_some_and(licence_is_allowed))
        .map(|package| format!("{}: licence {:?}", full_name(package), package.license))
        .collect();
    assert_none(&found);
}

/// The x264 library is under the GPL, which no manifest says: its bindings are under MIT.
#[test]
fn x264_is_only_there_on_request() {
    let found: Vec<String> = metadata()
        .workspace_packages()
        .iter()
        .flat_map(|package| {
            package
                .dependencies
                .iter()
                .map(move |other| (package, other))
        })
        .filter(|(_, dependency)| dependency.name == "x264-sys" && !dependency.optional)
        .map(|(package, _)| format!("{}: make x264-sys optional", package.name))
        .collect();
    assert_none(&found);
}

#[test]
fn licence_expressions_are_understood() {
    for allowed in [
        "MIT",
        "MIT/Apache-2.0",
        "Apache-2.0 / MIT",
        "GPL-2.0 OR MIT",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(licence_is_allowed(allowed), "{allowed}");
    }
    for refused in [
        "GPL-2.0",
        "MIT AND GPL-2.0",
        "(MIT OR ISC) AND GPL-2.0",
        "",
        "(MIT",
    ] {
        assert!(!licence_is_allowed(refused), "{refused}");
    }
}

/// True if the SPDX expression can be met with [`LICENCES`] alone.
fn licence_is_allowed(expression: &str) -> bool {
    // "MIT/Apache-2.0" is how it was written before SPDX.
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    any_of(&mut words) && words.is_empty()
}

/// `all-of OR all-of …`; takes its words from the end of `words`.
fn any_of(words: &mut Vec<&str>) -> bool {
    let mut allowed = all_of(words);
    while words.pop_if(|word| *word == "OR").is_some() {
        allowed |= all_of(words);
    }
    allowed
}

/// `licence AND licence …`, where a licence may be an expression in parentheses.
fn all_of(words: &mut Vec<&str>) -> bool {
    let mut allowed = licence(words);
    while words.pop_if(|word| *word == "AND").is_some() {
        allowed &= licence(words);
    }
    allowed
}

fn licence(words: &mut Vec<&str>) -> bool {
    match words.pop() {
        Some("(") => any_of(words) & (words.pop() == Some(")")),
        Some(name) if words.pop_if(|word| *word == "WITH").is_some() => {
            let exception = words.pop().unwrap_or_default();
            LICENCES.contains(&format!("{name} WITH {exception}").as_str())
        }
        Some(name) => LICENCES.contains(&name),
        None => false,
    }
}

/// The dependency graph with all features, for this platform. Read from the file that
/// scripts/test has prepared (the tests' user may not have cargo), else asked of cargo.
fn metadata() -> Metadata {
    if let Some(file) = env::var_os("PUNKTFUNK_METADATA") {
        let json = fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("PUNKTFUNK_METADATA={}: {error}", file.display()));
        return MetadataCommand::parse(json).expect("the output of cargo metadata");
    }
    let platform = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .features(cargo_metadata::CargoOpt::AllFeatures)
        .other_options(
            ["--offline", "--locked", "--filter-platform", &platform]
                .map(String::from)
                .to_vec(),
        )
        .exec()
        .expect("cargo knows this workspace; after a change of Cargo.toml, build first")
}

fn full_name(package: &Package) -> String {
    format!("{} {}", package.name, package.version)
}

/// Every text file of the project, relative to its root, in a stable order.
fn text_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for top in TOP_LEVEL
        .iter()
        .filter(|name| ![".git", "target", "Cargo.lock"].contains(name))
    {
        collect(Path::new(top), &mut files);
    }
    files.sort();
    assert!(
        files.len() > 20,
        "only {} files below {}",
        files.len(),
        root().display()
    );
    files
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    let full = root().join(path);
    if full.is_dir() {
        for entry in fs::read_dir(&full).expect("a folder of the project can be listed") {
            collect(&path.join(entry.expect("an entry").file_name()), files);
        }
    } else if fs::read(&full).is_ok_and(|bytes| str::from_utf8(&bytes).is_ok()) {
        files.push(path.into());
    }
}

fn read(file: &Path) -> String {
    fs::read_to_string(root().join(file)).expect("a file that was just listed")
}

fn is_rust(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "rs")
}

/// `tests/…`, `…/tests.rs`, `…_tests.rs`, and all of the harness.
fn is_test_file(file: &Path) -> bool {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    file.starts_with("harness")
        || stem == "tests"
        || stem.ends_with("_tests")
        || file.components().any(|part| part.as_os_str() == "tests")
}

fn place(file: &Path, index: usize) -> String {
    format!("{}:{}", file.display(), index + 1)
}

fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("harness lies in the root")
        .into()
}
