//! Checkers in other languages agree with the vectors, and notice when one is wrong.

use std::path::Path;
use std::process::Command;

/// Runs a checker on a folder of vectors; what it says if it is not content.
fn complaint(checker: &mut Command, vectors: &Path) -> Option<String> {
    let output = checker.arg(vectors).output();
    let output = output.unwrap_or_else(|error| panic!("{checker:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    (!output.status.success()).then(|| String::from_utf8_lossy(&said).into_owned())
}

/// It agrees with the vectors as they are, and with none of `files` once a digit near its end is
/// another.
fn check_with(checker: impl Fn() -> Command, files: &[&str]) {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    assert_eq!(complaint(&mut checker(), &vectors), None);
    let copy =
        std::env::temp_dir().join(format!("pf-vectors-{}-{}", std::process::id(), files.len()));
    std::fs::create_dir_all(&copy).expect("a temporary directory");
    for file in ALL_FILES {
        std::fs::copy(vectors.join(file), copy.join(file)).expect("copied");
    }
    for file in files {
        let text = std::fs::read(vectors.join(file)).expect("vectors");
        let mut damaged = text.clone();
        // The last digit but one: of a tag, of parity, of a length's or a text's last byte.
        let at = damaged.len() - 3;
        damaged[at] = if damaged[at] == b'0' { b'1' } else { b'0' };
        std::fs::write(copy.join(file), &damaged).expect("written");
        assert!(
            complaint(&mut checker(), &copy).is_some(),
            "{file} is not looked at"
        );
        std::fs::write(copy.join(file), &text).expect("written");
    }
    assert_eq!(complaint(&mut checker(), &copy), None);
    std::fs::remove_dir_all(&copy).expect("removed");
}

const ALL_FILES: [&str; 10] = [
    "messages.txt",
    "pairing.txt",
    "sealed.txt",
    "fec.txt",
    "video.txt",
    "feedback.txt",
    "audio.txt",
    "input.txt",
    "microphone.txt",
    "cursor.txt",
];

#[test]
fn a_python_script_of_its_own_agrees() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/check.py");
    let checker = || {
        let mut python = Command::new("python3");
        python.arg(&script);
        python
    };
    check_with(checker, &ALL_FILES);
}

#[test]
fn a_c_program_of_its_own_agrees() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/check.c");
    let program = std::env::temp_dir().join(format!("punktfunk-check-{}", std::process::id()));
    let strict = [
        "-std=c11",
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Werror",
        "-O1",
    ];
    let mut cc = Command::new("cc");
    let built = cc
        .args(strict)
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .output();
    let built = built.expect("cc is installed");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    let files = [
        "messages.txt",
        "pairing.txt",
        "fec.txt",
        "feedback.txt",
        "audio.txt",
        "input.txt",
        "microphone.txt",
        "cursor.txt",
    ];
    check_with(|| Command::new(&program), &files);
    std::fs::remove_file(&program).expect("removed");
}
