//! Nothing that was started for a display outlives the host, however the host ends.

mod common;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::*;
use platform::process::{Process, become_subreaper, kill_marked, reap_orphans, thread_usage};

#[test]
fn a_host_killed_outright_leaves_no_process_and_no_directory() {
    // The host is this very test, run again.
    let exe = std::env::current_exe().expect("known");
    let mut host = Command::new(exe)
        .args(["--exact", "hosts_when_told_to", "--nocapture"])
        .env("HOST_HERE", "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let directory = directory_told_by(host.stdout.take().expect("piped"));
    assert!(
        processes_of(&directory).len() >= 4,
        "sway, application, its child, its stray"
    );
    host.kill().expect("ours");
    host.wait().expect("ours");
    let deadline = Instant::now() + PATIENCE;
    while directory.exists() || !processes_of(&directory).is_empty() {
        assert!(
            Instant::now() < deadline,
            "left: {:?}",
            processes_of(&directory)
        );
        std::thread::yield_now();
    }
}

#[test]
fn hosts_when_told_to() {
    if std::env::var_os("HOST_HERE").is_none() {
        return;
    }
    let script = "setsid sleep 600 & sleep 600 & touch \"$(dirname \"$SWAYSOCK\")/up\"; wait";
    let display = private_display("640x480@60", &["sh", "-c", script]);
    let directory = directory(&*display);
    while !directory.join("up").exists() || processes_named(&directory, "sleep").len() < 2 {
        std::thread::yield_now();
    }
    println!("\ndirectory={}", directory.display());
    loop {
        std::thread::park();
    }
}

fn directory_told_by(stdout: std::process::ChildStdout) -> PathBuf {
    use std::io::{BufRead, BufReader};
    let lines = BufReader::new(stdout).lines().map_while(Result::ok);
    let told = lines
        .filter_map(|line| line.strip_prefix("directory=").map(PathBuf::from))
        .next();
    told.expect("the host tells its directory")
}

#[test]
fn orphans_come_to_us_and_are_collected() {
    become_subreaper().expect("allowed to everybody");
    let token = format!("test-{}", std::process::id());
    let mut command = Command::new("sh");
    command
        .args(["-c", "setsid sleep 600 & echo started >&2"])
        .env("PUNKTFUNK_DISPLAY", &token);
    let mut shell = Process::spawn("sh", command).expect("starts");
    assert!(shell.wait(PATIENCE), "the shell ends and leaves its child");
    assert_eq!(shell.epitaph(), "exit status: 0: started");
    assert_eq!(kill_marked(&token), 1, "the stray");
    reap_orphans();
    assert_eq!(kill_marked(&token), 0);
    let zombies = zombie_children();
    assert!(zombies.is_empty(), "{zombies:?}");
}

/// Names of ended children that nobody collected, but for what other tests are collecting.
fn zombie_children() -> Vec<String> {
    let own = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| stat.contains("(sleep) Z"))
        .filter(|stat| {
            let fields = stat
                .rsplit_once(')')
                .map(|(_, tail)| tail.split_whitespace());
            fields.and_then(|mut fields| fields.nth(1)) == Some(own.as_str())
        })
        .collect()
}

#[test]
fn a_child_that_will_not_end_is_killed_and_one_that_ends_is_not_kept_waiting() {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "trap '' TERM; echo deaf >&2; while :; do sleep 1; done",
    ]);
    let mut deaf = Process::spawn("deaf", command).expect("starts");
    while deaf.last_lines() != "deaf" {
        std::thread::yield_now();
    }
    deaf.stop(Duration::from_millis(50));
    assert!(
        deaf.exited()
            .expect("ended")
            .to_string()
            .contains("signal: 9")
    );

    let mut command = Command::new("sleep");
    command.arg("600");
    let mut polite = Process::spawn("polite", command).expect("starts");
    polite.stop(PATIENCE);
    assert!(
        polite
            .exited()
            .expect("ended")
            .to_string()
            .contains("signal: 15")
    );
}

#[test]
fn only_the_last_lines_are_kept() {
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "i=0; while [ $i -lt 2000 ]; do echo line $i >&2; i=$((i+1)); done; exit 7",
    ]);
    let mut talker = Process::spawn("talker", command).expect("starts");
    assert!(talker.wait(PATIENCE));
    let words = talker.epitaph();
    assert!(words.starts_with("exit status: 7: line 1988 |"), "{words}");
    assert!(words.ends_with("line 1999"), "{words}");
}

#[test]
fn usage_names_every_thread_and_its_cpu_time() {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let worker = std::thread::Builder::new().name("busy".into());
    let spin = move || {
        while !stopped.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
    };
    let worker = worker.spawn(spin).expect("starts");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let usage = thread_usage(None).expect("/proc");
        let busy = usage.iter().find(|thread| thread.name == "busy");
        if busy.is_some_and(|busy| busy.cpu >= Duration::from_millis(10)) {
            break;
        }
        assert!(Instant::now() < deadline, "{usage:?}");
        std::thread::yield_now();
    }
    stop.store(true, Ordering::Release);
    worker.join().expect("ends");
    assert!(thread_usage(Some(u32::MAX)).is_err(), "no such process");
}
