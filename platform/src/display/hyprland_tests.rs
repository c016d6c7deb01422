//! Hyprland's socket played by a thread: what is asked of it, in which order, and what a display
//! makes of its answers.

use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};

use super::*;

/// Answers as Hyprland does, and remembers what it was asked.
struct Fake {
    backend: Hyprland,
    asked: Arc<Mutex<Vec<String>>>,
    _directory: tempfile::TempDir,
}

#[derive(Default)]
struct Outputs(Vec<(String, u32, u32, f64)>);

/// How Hyprland is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// With the configuration language of before 0.55.
    Legacy,
    /// With a configuration in Lua.
    Lua,
    /// Says yes and changes nothing.
    Deaf,
}

impl Outputs {
    fn set(&mut self, name: &str, mode: &str, obeys: bool) {
        let parts: Vec<&str> = mode.split(['x', '@']).collect();
        let output = self.0.iter_mut().find(|output| output.0 == name);
        if let (Some(output), true) = (output, obeys) {
            output.1 = parts[0].parse().expect("a width");
            output.2 = parts[1].parse().expect("a height");
            output.3 = parts[2].parse().expect("a rate");
        }
    }

    fn answer(&mut self, request: &str, how: How) -> String {
        let obeys = how != How::Deaf;
        if let Some(name) = request.strip_prefix("output create headless ") {
            self.0.push((name.to_owned(), 1920, 1080, 60.0));
        } else if let Some(name) = request.strip_prefix("output remove ") {
            let before = self.0.len();
            self.0.retain(|output| output.0 != name);
            if self.0.len() == before {
                return "output not found".to_owned();
            }
        } else if how == How::Lua && request.starts_with("keyword ") {
            return "keyword can't work with non-legacy parsers. Use eval.".to_owned();
        } else if let Some(rule) = request.strip_prefix("keyword monitor ") {
            let parts: Vec<&str> = rule.split(',').collect();
            self.set(parts[0], parts[1], obeys);
        } else if let Some(rule) = request.strip_prefix("eval hl.monitor(") {
            let parts: Vec<&str> = rule.split('"').collect();
            assert_eq!((parts[0], parts[2]), ("{ output = ", ", mode = "));
            self.set(parts[1], parts[3], obeys);
        } else if request == "j/monitors" {
            let monitors = self.0.iter().map(|(name, width, height, rate)| {
                let size = format!(r#""width":{width},"height":{height}"#);
                format!(r#"{{"id":1,"name":"{name}",{size},"refreshRate":{rate:.5},"x":0}}"#)
            });
            return format!("[{}]", monitors.collect::<Vec<_>>().join(","));
        } else if request == "j/version" {
            return r#"{"branch":"","tag":"v0.57.0"}"#.to_owned();
        }
        "ok".to_owned()
    }
}

fn fake(how: How) -> Fake {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join(".socket.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut outputs = Outputs::default();
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut request = [0; 1024];
            let count = stream.read(&mut request).expect("a request");
            let request = String::from_utf8_lossy(&request[..count]).into_owned();
            let answer = outputs.answer(&request, how);
            if request != "j/monitors" {
                log.lock().expect("no panic").push(request);
            }
            // Hung up on by a peer that had enough: its own affair.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    Fake {
        backend: Hyprland {
            socket: Some(socket),
            wayland_socket: Some(directory.path().join("wayland-1")),
        },
        asked,
        _directory: directory,
    }
}

fn request(mode: &str) -> DisplayRequest {
    DisplayRequest {
        mode: mode.parse().expect("a mode"),
        app: Vec::new(),
        environment: Vec::new(),
        cursor_apart: false,
        cancel: Cancel::default(),
    }
}

#[test]
fn an_output_is_made_changed_and_removed() {
    let fake = fake(How::Legacy);
    assert_eq!(fake.backend.probe().expect("ready"), "Hyprland v0.57.0");
    let mut display = fake
        .backend
        .create(&request("1920x1200@119.88"))
        .expect("made");
    let output = display.address().and_then(|it| it.wayland.clone());
    let output = output.expect("on Wayland").output;
    display
        .set_mode("1280x720@60".parse().expect("a mode"))
        .expect("changed");
    assert_eq!(display.mode().to_string(), "1280x720@60");
    display.check().expect("there");
    drop(display);
    let asked = fake.asked.lock().expect("no panic").clone();
    let expected = [
        "j/version".to_owned(),
        format!("output create headless {output}"),
        format!("keyword monitor {output},1920x1200@119.880,auto,1"),
        format!("keyword monitor {output},1280x720@60.000,auto,1"),
        format!("output remove {output}"),
    ];
    assert_eq!(asked, expected);
}

#[test]
fn a_mode_that_does_not_come_is_a_refusal_that_leaves_nothing() {
    let fake = fake(How::Deaf);
    let error = fake.backend.create(&request("1280x720@60")).err();
    let error = error.expect("refused").to_string();
    assert!(error.contains("1920x1080@60"), "{error}");
    let asked = fake.asked.lock().expect("no panic").clone();
    assert!(asked.last().expect("asked").starts_with("output remove "));
}

#[test]
fn a_configuration_in_lua_is_spoken_to_in_lua() {
    let fake = fake(How::Lua);
    let display = fake.backend.create(&request("1280x720@60")).expect("made");
    assert_eq!(display.mode().to_string(), "1280x720@60");
    drop(display);
    let asked = fake.asked.lock().expect("no panic").clone();
    assert!(
        asked[2].starts_with("eval hl.monitor({ output = "),
        "{asked:?}"
    );
    assert!(asked[3].starts_with("output remove "), "{asked:?}");
}

#[test]
fn an_output_that_was_removed_is_gone() {
    let fake = fake(How::Legacy);
    let mut display = fake.backend.create(&request("1280x720@60")).expect("made");
    let output = display.address().and_then(|it| it.wayland.clone());
    let output = output.expect("on Wayland").output;
    let socket = fake.backend.socket.as_ref().expect("set");
    tell(
        socket,
        &format!("output remove {output}"),
        &Cancel::default(),
    )
    .expect("done");
    let error = display.check().expect_err("gone").to_string();
    assert!(error.contains("was removed"), "{error}");
}

#[test]
fn without_hyprland_the_reason_is_told() {
    let none = Hyprland::default().probe().expect_err("none");
    assert!(
        none.reason.contains("HYPRLAND_INSTANCE_SIGNATURE"),
        "{none}"
    );
    let directory = tempfile::tempdir().expect("a directory");
    let stale = Hyprland {
        socket: Some(directory.path().join("gone")),
        wayland_socket: Some(PathBuf::from("/nowhere")),
    };
    assert!(stale.probe().is_err());
}
