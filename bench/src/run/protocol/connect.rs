//! Connecting: a paired client against a host that serves paired clients only, from the call of
//! connect to the first decoded picture, on a desktop that is there already.
//!
//! Where no sway runs, one is started, and the part is measured inside it by this program.

use std::time::{Duration, Instant};

use engine::trust::Side;
use engine::trust::native::Grant;
use net::client::PairOptions;
use net::units::Mode;
use platform::display::private_sway::PrivateSway;
use platform::display::{AppState, Cancel, DisplayRequest};
use platform::select;

use super::{Bench, BenchError, ProtocolRun, Scenario, hd, quantile, scenario};

/// Connects of which the median is taken.
pub const CONNECTS: usize = 20;
/// The kind of display that is added to a running desktop.
const RUNNING: &str = "sway";
/// For all connects inside a sway of our own.
const INSIDE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(50);

impl ProtocolRun {
    pub(super) fn connect(&mut self) -> Result<(), BenchError> {
        let candidates = platform::display::candidates();
        let wanted = self.setup.settings.value::<String>("desktop")?;
        let running = select::choose_display(candidates, Some(RUNNING));
        if running.chosen.is_some() || wanted.as_deref() == Some(RUNNING) {
            return self.connect_here();
        }
        self.connect_inside()
    }

    fn connect_here(&mut self) -> Result<(), BenchError> {
        let mut setup = self.setup.clone();
        setup.settings.overrule("desktop", RUNNING);
        let scenario = scenario("connecting", hd(60));
        let bench = Bench::start_paired(&setup, &scenario)?;
        let times = bench.pair(&scenario).and_then(|()| {
            let times = (0..CONNECTS).map(|_| bench.first_picture(&scenario));
            times.collect::<Result<Vec<_>, _>>()
        });
        bench.stop();
        let mut times: Vec<f64> = times?
            .into_iter()
            // A picture that never came is later than any.
            .map(|time| time.map_or(f64::INFINITY, |time| time.as_secs_f64() * 1e3))
            .collect();
        let p50 = quantile(&mut times, 0.5);
        self.figure("paired_connect_p50_ms", p50);
        self.note(format!(
            "connect, paired, an output and the test card in a running sway, 720p60: {} connects, \
             p50 {p50:.0}, least {:.0}, most {:.0} ms",
            times.len(),
            quantile(&mut times, 0.0),
            quantile(&mut times, 1.0),
        ));
        Ok(())
    }

    /// This program again, as the application of a private sway.
    fn connect_inside(&mut self) -> Result<(), BenchError> {
        let directory = tempfile::tempdir().map_err(BenchError::Directory)?;
        let json = directory.path().join("connect.json");
        let words = [
            "bench",
            "--protocol",
            "--only",
            "connect",
            "--desktop",
            RUNNING,
            "--json",
        ];
        let mut app = vec![self.setup.program.to_string_lossy().into_owned()];
        app.extend(words.map(str::to_owned));
        app.push(json.to_string_lossy().into_owned());
        for key in ["encoder", "decoder"] {
            if let Some(value) = self.setup.settings.value::<String>(key)? {
                app.extend([format!("--{key}"), value]);
            }
        }
        let request = DisplayRequest {
            mode: Mode::new(1280, 720, 60_000).expect("within the limits"),
            app,
            environment: Vec::new(),
            cursor_apart: false,
            cancel: Cancel::default(),
        };
        let ended = |error: &dyn std::fmt::Display| BenchError::Ended(error.to_string());
        let mut sway = PrivateSway
            .create_desktop(&request)
            .map_err(|error| ended(&error))?;
        let deadline = Instant::now() + INSIDE;
        let epitaph = loop {
            sway.check().map_err(|error| ended(&error))?;
            match sway.app() {
                AppState::Ended { epitaph, .. } => break epitaph,
                _ if Instant::now() >= deadline => break format!("it took more than {INSIDE:?}"),
                _ => std::thread::sleep(LOOK),
            }
        };
        drop(sway);
        let text = std::fs::read_to_string(&json).map_err(|_| BenchError::Ended(epitaph))?;
        let said: serde_json::Value = serde_json::from_str(&text).map_err(|error| ended(&error))?;
        let rows = said["verdicts"].as_array().into_iter().flatten();
        for row in rows {
            if let (Some(id), Some(figure)) = (row["id"].as_str(), row["measured"].as_f64()) {
                self.figure(id, figure);
            }
        }
        let notes = said["notes"].as_array().into_iter().flatten();
        for note in notes.filter_map(serde_json::Value::as_str) {
            self.note(format!("in a sway of the bench's own: {note}"));
        }
        Ok(())
    }
}

impl Bench {
    /// Makes the client of this bench a paired one.
    fn pair(&self, scenario: &Scenario) -> Result<(), BenchError> {
        let failed = |error: &dyn std::fmt::Display| BenchError::Pairing(error.to_string());
        let window = self.host.trust().open_window(Grant::default());
        let pin = window.map_err(|error| failed(&error))?.pin;
        let identity = self.client_store()?.identity(Side::Client)?;
        net::client::pair(PairOptions {
            host: self.host.local_addr(),
            identity,
            pin,
            name: scenario.name.clone(),
        })
        .map_err(|error| failed(&error))?;
        Ok(())
    }
}
