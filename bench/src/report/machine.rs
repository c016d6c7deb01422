//! Facts about the machine, without which no figure means anything.

use serde::{Deserialize, Serialize};

/// The machine on which a run was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Model of the processor.
    pub cpu: String,
    /// Logical cores that this process may use.
    pub cores: usize,
    /// Kernel and its release.
    pub kernel: String,
    /// Governor of the first core's frequency, where there is one.
    pub governor: Option<String>,
    /// Mean number of runnable tasks over the last minute, as the run ended; its own are in it.
    pub load_1min: Option<f64>,
    /// Priority that threads of the frame's way get here.
    #[serde(default)]
    pub priority: String,
    /// Compositor and its version.
    pub compositor: String,
    /// Revision of the source.
    pub revision: String,
}

impl Machine {
    /// This machine, now. What cannot be found out reads `unknown` or is `None`.
    #[must_use]
    pub fn this(compositor: &str, revision: &str) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let fact = |path: &str| read(path).trim().to_owned();
        let kernel = format!(
            "{} {} {}",
            fact("/proc/sys/kernel/ostype"),
            fact("/proc/sys/kernel/osrelease"),
            std::env::consts::ARCH,
        );
        let governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
        Self {
            cpu: cpu_model(&read("/proc/cpuinfo")),
            cores: cores(),
            kernel,
            governor: Some(governor.trim().to_owned()).filter(|name| !name.is_empty()),
            load_1min: load_1min(&read("/proc/loadavg")),
            priority: priority(),
            compositor: compositor.to_owned(),
            revision: revision.to_owned(),
        }
    }
}

/// Logical cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The first `model name` of `/proc/cpuinfo` (proc(5)); other architectures have none.
fn cpu_model(cpuinfo: &str) -> String {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == "model name")
        .map_or_else(
            || format!("unknown {}", std::env::consts::ARCH),
            |(_, model)| model.trim().to_owned(),
        )
}

/// What `doctor` says of real-time threads, without the remedy.
fn priority() -> String {
    let facts = platform::thread::facts();
    let fact = facts.into_iter().find(|fact| fact.name == "real-time");
    fact.map_or("unknown".into(), |fact| match fact.result {
        Ok(granted) => granted,
        Err(refusal) => refusal.reason,
    })
}

/// The first figure of `/proc/loadavg` (proc(5)).
fn load_1min(loadavg: &str) -> Option<f64> {
    loadavg.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_from_proc() {
        let info = "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nmodel name\t: other\n";
        assert_eq!(cpu_model(info), "Some CPU @ 3 GHz");
        assert!(cpu_model("").starts_with("unknown "));
        assert_eq!(load_1min("0.52 0.58 0.59 1/467 12345\n"), Some(0.52));
        assert_eq!(load_1min(""), None);
        let machine = Machine::this("sway 1.7", "abc");
        assert!(machine.cores >= 1 && machine.kernel.starts_with("Linux"));
    }
}
