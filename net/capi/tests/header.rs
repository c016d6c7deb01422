//! The checked-in header is what the sources say, and no number in it ever changes its meaning.
//! `PUNKTFUNK_BLESS=1` writes the header anew, and appends new names to the list of numbers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn generated() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("a configuration");
    let builder = cbindgen::Builder::new().with_config(config);
    // It follows the modules from here.
    let bindings = builder.with_src(root.join("src/lib.rs")).generate();
    let bindings = bindings.expect("sources that cbindgen reads");
    let mut header = Vec::new();
    bindings.write(&mut header);
    String::from_utf8(header).expect("UTF-8")
}

#[test]
fn the_header_is_as_generated() {
    let path = place("include/punktfunk.h");
    let generated = generated();
    if is_blessed() {
        std::fs::write(&path, &generated).expect("the header can be written");
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == generated,
        "include/punktfunk.h has drifted: PUNKTFUNK_BLESS=1 cargo test -p capi"
    );
}

/// `numbers.txt` has every name that a header ever had. A name may leave the header; its line stays.
#[test]
fn no_number_is_used_again() {
    let path = place("numbers.txt");
    let mut list = std::fs::read_to_string(&path).unwrap_or_default();
    let header = generated();
    let current = numbers(&header);
    assert!(current.len() > 50, "{current:?}");
    if is_blessed() {
        let known = listed(&list);
        let new = current
            .iter()
            .filter(|(name, _)| !known.contains_key(*name));
        let lines: String = new
            .map(|(name, number)| format!("{name} {number}\n"))
            .collect();
        list.push_str(&lines);
        std::fs::write(&path, &list).expect("the list can be written");
    }
    let listed = listed(&list);
    for (name, number) in &current {
        assert_eq!(
            listed.get(name),
            Some(number),
            "{name}: give new things new names; PUNKTFUNK_BLESS=1 appends them to numbers.txt"
        );
    }
    let mut meanings = BTreeMap::new();
    for (name, number) in listed
        .iter()
        .filter(|(name, _)| name.starts_with("PUNKTFUNK_STATUS_"))
    {
        let before = meanings.insert(number, name);
        assert_eq!(before, None, "{name} has the number of another status");
    }
}

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn is_blessed() -> bool {
    std::env::var_os("PUNKTFUNK_BLESS").is_some()
}

/// Names and numbers of the header, but for the version, which is there to change.
fn numbers(header: &str) -> BTreeMap<&str, i64> {
    header
        .lines()
        .filter_map(|line| {
            let (name, number) = match line.strip_prefix("#define ") {
                Some(define) => define.split_once(' ')?,
                None => line.trim().strip_suffix(',')?.split_once(" = ")?,
            };
            Some((name, number.parse().ok()?))
        })
        .filter(|(name, _)| *name != "PUNKTFUNK_ABI_VERSION")
        .collect()
}

fn listed(list: &str) -> BTreeMap<&str, i64> {
    let lines: Vec<&str> = list.lines().filter(|line| !line.starts_with('#')).collect();
    let listed: BTreeMap<&str, i64> = lines
        .iter()
        .map(|line| {
            let (name, number) = line.split_once(' ').expect("a name and a number");
            (name, number.parse().expect("a number"))
        })
        .collect();
    assert_eq!(
        listed.len(),
        lines.len(),
        "a name stands twice in numbers.txt"
    );
    listed
}
