//! What this machine can do, backend by backend, and where it cannot, why and what helps.

use std::fmt;
use std::net::Ipv4Addr;

use net::udp::txtime::{self, DeviceQueue};
use net::udp::{Socket, SocketConfig};
use platform::audio::recorder::{self, RecordError};
use platform::select::{self, Answer, Refusal};
use serde::Serialize;

/// One line of the examination.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// `display`, `encoder`, `decoder`, `network`, `threads`, …
    pub kind: String,
    /// The candidate or the ability.
    pub name: String,
    /// It works here.
    pub ready: bool,
    /// A detail if it does, else why not.
    pub detail: String,
    /// What helps; empty if it works or nothing does.
    pub fix: String,
}

/// The whole examination.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// This program's version.
    pub version: &'static str,
    /// A host could serve a desktop here.
    pub can_host: bool,
    /// In the order in which things are tried.
    pub findings: Vec<Finding>,
}

/// Examines this machine. Starts nothing that stays.
#[must_use]
pub fn examine() -> Report {
    let display = select::choose_display(platform::display::candidates(), None);
    let encoder = crate::host::choose_encoder(None);
    let can_host = display.chosen.is_some() && encoder.chosen.is_some();
    let decoder = crate::client::ask_decoders(None);
    let audio = crate::host::ask_audio(None);
    let clipboard = clipboard(display.chosen.as_ref().map(|it| it.name()));
    let answers = display
        .answers
        .into_iter()
        .chain(encoder.answers)
        .chain(decoder.answers)
        .chain(audio.answers);
    let mut findings: Vec<Finding> = answers.map(Finding::from).collect();
    findings.extend(input());
    findings.push(clipboard);
    findings.extend(microphone());
    findings.extend(network());
    findings.extend(platform::thread::facts().into_iter().map(Finding::from));
    findings.push(encoder_threads());
    Report {
        version: env!("CARGO_PKG_VERSION"),
        can_host,
        findings,
    }
}

/// What all sessions share.
fn encoder_threads() -> Finding {
    let all = crate::host::encoder_threads_max();
    Finding::from(Answer {
        kind: "threads",
        name: "encoders",
        result: Ok(format!(
            "at most {all} for the encoders of all sessions together, at least 1 for each"
        )),
    })
}

/// Whether keyboard and pointer work is asked of each session's own compositor; controllers are
/// the machine's.
fn input() -> Option<Finding> {
    let result = platform::inject::uinput::probe();
    Some(Finding::from(Answer {
        kind: "input",
        name: "uinput",
        result,
    }))
}

/// Whether sessions on the display that would be chosen have a clipboard to share.
fn clipboard(display: Option<&str>) -> Finding {
    let result = match display {
        Some(display) => platform::clipboard::probe_display(display),
        None => Err(Refusal::new("there is no display", "")),
    };
    let told = |detail| format!("{detail}; {}", off_unless("clipboard"));
    Finding::from(Answer {
        kind: "clipboard",
        name: "text",
        result: result.map(told),
    })
}

/// Whether sessions can have a microphone, and a client here one to record.
fn microphone() -> Vec<Finding> {
    let sources = recorder::sources();
    let host = match &sources {
        Ok(_) => Ok(format!(
            "a source for each session; {}",
            off_unless("microphone")
        )),
        Err(error) => Err(Refusal::from(error)),
    };
    let client = match sources {
        Ok(names) if names.is_empty() => Err(Refusal::from(&RecordError::NoSource)),
        Ok(names) => Ok(format!("for connect --mic NAME: {}", names.join(", "))),
        Err(error) => Err(Refusal::from(&error)),
    };
    [("host", host), ("connect", client)]
        .into_iter()
        .map(|(name, result)| {
            Finding::from(Answer {
                kind: "microphone",
                name,
                result,
            })
        })
        .collect()
}

/// What reaches beyond pictures and sound is opened by the operator alone.
fn off_unless(what: &str) -> String {
    format!("off unless the host says --{what}, and a paired client has the right {what}")
}

fn network() -> Vec<Finding> {
    let answer = |name, result| {
        Finding::from(Answer {
            kind: "network",
            name,
            result,
        })
    };
    let bound = Socket::bind((Ipv4Addr::LOCALHOST, 0).into(), SocketConfig::default());
    let socket = match bound {
        Ok(socket) => socket,
        Err(error) => {
            let refusal = Refusal::new(error.to_string(), "");
            return vec![answer("udp", Err(refusal))];
        }
    };
    let able = socket.capabilities();
    let ability = |has: bool, kernel: &str, without: &str| {
        if has {
            Ok(String::new())
        } else {
            Err(Refusal::new(
                without.to_owned(),
                format!("use Linux {kernel} or newer"),
            ))
        }
    };
    let buffers = format!(
        "{} KiB to send, {} KiB to receive",
        able.send_buffer_bytes / 1024,
        able.receive_buffer_bytes / 1024
    );
    vec![
        answer(
            "gso",
            ability(
                able.gso,
                "4.18",
                "datagrams are sent with sendmmsg, at several times the cost",
            ),
        ),
        answer(
            "gro",
            ability(able.gro, "5.0", "datagrams are received one by one"),
        ),
        answer("buffers", Ok(buffers)),
        answer("txtime", departure_times(txtime::device_queues())),
    ]
}

/// Whether a device's queue keeps departure times (`--pace txtime`), device by device.
fn departure_times(devices: std::io::Result<Vec<DeviceQueue>>) -> Result<String, Refusal> {
    let devices = devices.map_err(|error| {
        let reason = format!("the kernel does not name the devices' queues: {error}");
        Refusal::new(reason, "")
    })?;
    let (mut able, mut unable, mut fix) = (Vec::new(), Vec::new(), String::new());
    for DeviceQueue { device, queue } in &devices {
        match queue {
            Ok(queue) => able.push(format!("{device} has {}", queue.name())),
            Err(refusal) => {
                unable.push(refusal.to_string());
                if fix.is_empty() {
                    fix = format!(
                        "as root: tc qdisc replace dev {device} root fq (wants the kernel module \
                         sch_fq)"
                    );
                }
            }
        }
    }
    if able.is_empty() {
        if unable.is_empty() {
            unable.push("there is no device but loopback".to_owned());
        }
        let reason = format!("{}; departures are by timer", unable.join("; "));
        Err(Refusal::new(reason, fix))
    } else {
        able.push("for --pace txtime, which nobody has measured to be better yet".to_owned());
        Ok(able.join(", "))
    }
}

impl From<Answer> for Finding {
    fn from(answer: Answer) -> Self {
        let (ready, detail, fix) = match answer.result {
            Ok(detail) => (true, detail, String::new()),
            Err(refusal) => (false, refusal.reason, refusal.fix),
        };
        let (kind, name) = (answer.kind.to_owned(), answer.name.to_owned());
        Self {
            kind,
            name,
            ready,
            detail,
            fix,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .findings
            .iter()
            .map(|finding| finding.name.len())
            .max()
            .unwrap_or(0);
        let mut kind = "";
        for finding in &self.findings {
            let heading = if finding.kind == kind {
                ""
            } else {
                &finding.kind
            };
            kind = &finding.kind;
            let mark = if finding.ready { "yes" } else { "no " };
            write!(
                f,
                "{heading:<10} {:<width$}  {mark}  {}",
                finding.name, finding.detail
            )?;
            f.write_str("\n")?;
            if !finding.fix.is_empty() {
                writeln!(
                    f,
                    "{:<10} {:<width$}       to mend it: {}",
                    "", "", finding.fix
                )?;
            }
        }
        let verdict = if self.can_host { "can" } else { "cannot" };
        writeln!(f, "\nthis machine {verdict} host")
    }
}
