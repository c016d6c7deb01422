//! Version check and failure paths, with scripts in gamescope's place.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::capture::pipewire::NodeName;

/// What gamescope 3.11.49 answers.
const OF_DEBIAN_12: &str = r#"echo "gamescope: unrecognized option '--version'
See --help for a list of options." >&2; exit 1"#;

/// A program that does what `script` says.
fn stand_in(script: &str) -> (tempfile::TempDir, Gamescope) {
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join(NAME);
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("our file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("our file");
    (directory, Gamescope { program })
}

fn request(app: &[&str]) -> DisplayRequest {
    DisplayRequest {
        mode: "1280x720@59.94".parse().expect("valid"),
        app: app.iter().map(|word| (*word).to_owned()).collect(),
        environment: Vec::new(),
        cursor_apart: false,
        cancel: Cancel::default(),
    }
}

fn failure(script: &str, request: &DisplayRequest) -> String {
    let (_directory, backend) = stand_in(script);
    let failed = backend.create(request);
    failed.err().expect("it has no node").to_string()
}

#[test]
fn versions_are_read() {
    let now =
        "[gamescope] [\x1b[0;34mInfo\x1b[0m]  console: gamescope version 3.16.24 (gcc 15.2.0)\n";
    assert_eq!(version_of(now), Some((3, 16, 24)));
    assert_eq!(
        version_of("gamescope version 3.16.14-2-g1a2b (gcc)"),
        Some((3, 16, 14))
    );
    assert_eq!(version_of("gamescope version v4.0"), Some((4, 0, 0)));
    assert_eq!(
        version_of("usage: gamescope [options...] -- [command...]"),
        None
    );
    assert_eq!(version_of("version unknown"), None);
    assert_eq!(version_of("gamescope version 12a34bc (gcc)"), None, "git's");
}

#[test]
fn one_without_a_version_is_asked_what_it_can() {
    let script = r#"case $1 in
--help) echo '  --backend  select rendering backend: auto, drm, headless, wayland' >&2 ;;
*) echo 'gamescope version fcc1341 (gcc 16.2.0)' >&2 ;;
esac"#;
    let (_directory, backend) = stand_in(script);
    let ready = backend.probe().expect("it is headless");
    assert_eq!(ready, "gamescope of an unknown version");
}

#[test]
fn smaller_pictures_of_the_same_shape_can_be_had() {
    let scales = |from: &str, to: &str| {
        let [from, to] = [from, to].map(|mode| mode.parse().expect("valid"));
        scales_to(from, to)
    };
    assert!(scales("1920x1080@60", "1280x720@60"));
    assert!(scales("1920x1080@60", "1920x1080@60"));
    assert!(scales("2560x1440@120", "1920x1080@120"));
    assert!(scales("1280x720@60", "800x450@60"));
    // 480 · 1280 / 720 is 853.3, which becomes 854.
    assert!(scales("1280x720@60", "854x480@60"));
    assert!(!scales("1280x720@60", "840x480@60"));
    assert!(!scales("1280x720@60", "1920x1080@60"), "not up");
    assert!(!scales("1280x720@60", "640x480@60"), "another shape");
    assert!(!scales("1280x720@60", "640x360@30"), "another rate");
}

#[test]
fn rates_are_whole() {
    let mode = |text: &str| mode_of(text.parse().expect("valid")).to_string();
    assert_eq!(mode("1280x720@59.94"), "1280x720@60");
    assert_eq!(mode("1280x720@120"), "1280x720@120");
}

#[test]
fn the_newest_node_is_taken() {
    let words =
        "a | pipewire: stream available on node ID: 41 | stream available on node ID: 57 | b";
    assert_eq!(node_of(words), Some(57));
    assert_eq!(node_of("stream available on node ID: "), None);
    assert_eq!(node_of("nothing"), None);
}

#[test]
fn old_ones_and_missing_ones_are_refused_with_the_reason() {
    let refusal = |script: &str| {
        let (_directory, backend) = stand_in(script);
        backend.probe().map_err(|refusal| refusal.to_string())
    };
    let ready = refusal("echo 'gamescope version 3.16.24 (gcc 15)' >&2");
    assert_eq!(ready, Ok("gamescope 3.16.24".to_owned()));
    let old = refusal("echo 'gamescope version 3.14.2'").expect_err("too old");
    assert!(old.contains("3.14 is too old"), "{old}");
    assert!(old.contains("install gamescope 3.16"), "{old}");
    let older = refusal(OF_DEBIAN_12).expect_err("3.11.49");
    assert!(older.contains("does not say its version"), "{older}");
    let none = Gamescope {
        program: "/nowhere/gamescope".into(),
    };
    let none = none.probe().expect_err("missing").to_string();
    assert!(none.contains("no such program"), "{none}");
}

#[test]
fn it_is_started_with_the_mode_and_the_application() {
    let words = failure(r#"echo "$@" >&2; exit 3"#, &request(&["game", "--fast"]));
    let line = "--backend headless -W 1280 -H 720 -r 60 --expose-wayland -- game --fast";
    assert!(words.contains(line), "{words}");
    assert!(words.contains("exit status: 3"), "{words}");
}

#[test]
fn its_sockets_are_its_own_and_pipewire_is_the_users() {
    let script = r#"echo "$XDG_RUNTIME_DIR|$PUNKTFUNK_DISPLAY|$WAYLAND_DISPLAY|" >&2; exit 1"#;
    let words = failure(script, &request(&["game"]));
    let (_, own) = words.split_once("1: ").expect("a line");
    let mut parts = own.split('|');
    let (runtime, token) = (parts.next(), parts.next());
    assert_eq!(runtime, token, "{words}");
    assert!(own.contains("/punktfunk-"), "{words}");
    assert!(
        !Path::new(runtime.expect("there")).exists(),
        "it is left behind"
    );
}

#[test]
fn without_an_application_there_is_nothing_to_show() {
    let words = failure("exit 0", &request(&[]));
    assert!(words.contains("name one (--app)"), "{words}");
}

#[test]
fn a_node_that_shows_nothing_is_a_failed_start() {
    let script = "echo 'pipewire: stream available on node ID: 4294967290' >&2; sleep 1000";
    let words = failure(script, &request(&["game"]));
    assert!(words.contains("its node shows no pictures"), "{words}");
}

#[test]
fn a_cancelled_start_ends_at_once() {
    let mut request = request(&["game"]);
    request.cancel = Cancel::default();
    request.cancel.ask();
    let words = failure("sleep 1000", &request);
    assert!(words.contains("the session is over"), "{words}");
}

/// Waits until it is told to fall, or to end.
const WAITS: &str = r#"echo 'stream available on node ID: 41' >&2
until test -e "$0.go"; do sleep 0.01; done
rm "$0.go"
"#;

/// Looks until it is so.
fn eventually(fact: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "never came true: {fact}");
        std::thread::park_timeout(LOOK_INTERVAL);
    }
}

/// One whose script does that when it is told to.
fn living(then: &str) -> (tempfile::TempDir, Arc<Life>, impl Fn()) {
    let (directory, backend) = stand_in(&format!("{WAITS}{then}"));
    let go = directory.path().join(format!("{NAME}.go"));
    let request = request(&["game"]);
    let begun = Life::begin(&backend.program, &request, request.mode);
    let (life, node) = begun.expect("it starts");
    assert_eq!(node, NodeName::Id(41));
    let tell = move || fs::write(&go, "").expect("our file");
    (directory, life, tell)
}

#[test]
fn one_that_falls_is_followed_by_another_and_only_once_in_a_while() {
    let (_directory, life, fall) = living("kill -s KILL $$");
    let end = End(Arc::clone(&life));
    let before = life.directory();
    assert_eq!(life.next(), None, "it lives");
    fall();
    eventually("another follows", || {
        assert_eq!(life.check(true), Ok(()), "its pictures may go on");
        assert_eq!(life.app(true), AppState::Running);
        life.next() == Some(NodeName::Id(41))
    });
    assert_ne!(life.directory(), before, "it is another one");
    assert!(life.goes_on());
    fall();
    eventually("it has fallen", || life.check(false).is_err());
    assert_eq!(life.next(), None, "too soon");
    let reason = life.check(true).and(life.check(false));
    let reason = reason.expect_err("it has ended");
    assert!(reason.contains("signal: 9"), "{reason}");
    let ended = life.app(false);
    assert!(
        matches!(ended, AppState::Ended { success: false, .. }),
        "{ended:?}"
    );
    assert!(!life.goes_on());
    drop(end);
    assert_eq!(life.directory(), None);
}

#[test]
fn nothing_follows_on_one_that_ends_by_itself_or_whose_display_goes() {
    let (_directory, life, finish) = living("exit 0");
    finish();
    eventually("its application has ended", || life.check(true).is_err());
    assert_eq!(life.next(), None);
    let ended = life.app(true);
    assert!(
        matches!(ended, AppState::Ended { success: true, .. }),
        "{ended:?}"
    );
    let (_directory, life, fall) = living("kill -s KILL $$");
    life.leave();
    fall();
    eventually("it has fallen", || life.check(false).is_err());
    assert_eq!(life.next(), None);
}

#[test]
fn one_that_does_not_start_again_has_ended() {
    let (directory, life, fall) = living("kill -s KILL $$");
    let broken = "#!/bin/sh\necho no more >&2; exit 4\n";
    let program = directory.path().join(NAME);
    // A shell reads its script as it goes: the new one is another file.
    let newer = directory.path().join("newer");
    fs::write(&newer, broken).expect("our file");
    fs::set_permissions(&newer, fs::Permissions::from_mode(0o755)).expect("our file");
    fs::rename(&newer, &program).expect("our file");
    fall();
    eventually("it is not started again", || {
        assert_eq!(life.next(), None);
        life.check(true).is_err()
    });
    let reason = life.check(true).expect_err("there is none");
    assert!(reason.contains("no more"), "{reason}");
    assert!(!life.goes_on());
}
