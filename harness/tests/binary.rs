//! The executable is one file: it needs nothing at run time but glibc's core and libgcc_s.

use std::path::PathBuf;
use std::{env, fs};

use object::Endianness;
use object::elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH, FileHeader64};
use object::read::elf::{Dyn, FileHeader};

/// What may be needed: all of it is on every Debian that has a libc. Everything else is linked
/// into the executable, or found with dlopen when it is asked for.
const NEEDED: [&str; 4] = [
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libgcc_s.so.1",
    "libm.so.6",
];

#[test]
fn needs_only_the_core_of_glibc() {
    let extra: Vec<String> = dynamic_strings(DT_NEEDED)
        .into_iter()
        .filter(|library| !NEEDED.contains(&library.as_str()))
        .collect();
    assert!(
        extra.is_empty(),
        "{} needs {extra:?}: link them as archives (see net/capi/runtime.rs) or dlopen them",
        executable().display()
    );
}

#[test]
fn searches_no_library_path_of_the_build_machine() {
    for tag in [DT_RPATH, DT_RUNPATH] {
        let paths = dynamic_strings(tag);
        assert!(
            paths.is_empty(),
            "{} has the library paths {paths:?}",
            executable().display()
        );
    }
}

/// The strings of all entries with this tag in the executable's dynamic section.
fn dynamic_strings(tag: u32) -> Vec<String> {
    let path = executable();
    let data = fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{} cannot be read ({error}): build it with `cargo build -p punktfunk --features \
             x264`, or name another with PUNKTFUNK_BIN",
            path.display()
        )
    });
    let data = data.as_slice();
    let header = FileHeader64::<Endianness>::parse(data).expect("a 64-bit ELF file");
    let endian = header.endian().expect("a known byte order");
    let sections = header.sections(endian, data).expect("section headers");
    let (entries, strings) = sections
        .dynamic(endian, data)
        .expect("a readable dynamic section")
        .expect("a dynamically linked executable");
    let strings = sections
        .strings(endian, data, strings)
        .expect("the dynamic section's strings");
    entries
        .iter()
        .filter(|entry| entry.tag32(endian) == Some(tag))
        .map(|entry| {
            entry
                .string(endian, strings)
                .expect("a string of the dynamic section")
        })
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .collect()
}

/// `PUNKTFUNK_BIN`, as scripts/test sets it, or the executable of the same cargo profile.
fn executable() -> PathBuf {
    env::var_os("PUNKTFUNK_BIN").map_or_else(
        || {
            // This test is target/PROFILE/deps/binary-HASH.
            let test = env::current_exe().expect("Linux knows the path of a running executable");
            test.ancestors()
                .nth(2)
                .expect("cargo's target directory")
                .join("punktfunk")
        },
        PathBuf::from,
    )
}
