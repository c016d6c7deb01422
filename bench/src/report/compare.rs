//! Two runs of the same content side by side, as `--compare` prints them.

use serde::{Deserialize, Serialize};

use super::Report;

/// One stage of both runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparisonRow {
    /// The stage's identifier.
    pub id: String,
    /// The stage's name.
    pub name: String,
    /// Median of the first and the second run, ms.
    pub p50_ms: [f64; 2],
    /// 99th percentile of the first and the second run, ms.
    pub p99_ms: [f64; 2],
    /// Median of the first over that of the second run; `None` where the latter is zero.
    pub p50_ratio: Option<f64>,
    /// The same of the 99th percentile.
    pub p99_ratio: Option<f64>,
}

/// The first run over the second: below 1 the first is faster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Names of the two runs.
    pub names: [String; 2],
    /// Stages that both runs measured.
    pub rows: Vec<ComparisonRow>,
}

impl Comparison {
    /// The row of a stage.
    #[must_use]
    pub fn stage(&self, id: &str) -> Option<&ComparisonRow> {
        self.rows.iter().find(|row| row.id == id)
    }
}

/// Compares run `a` with run `b`, stage by stage.
#[must_use]
pub fn compare(a: &Report, b: &Report) -> Comparison {
    let ratio = |pair: [f64; 2]| (pair[1] > 0.0).then(|| pair[0] / pair[1]);
    let rows = a.stages.iter().filter_map(|first| {
        let second = b.stage(&first.id)?;
        if first.times.count == 0 || second.times.count == 0 {
            return None;
        }
        let p50_ms = [first.times.p50_ms, second.times.p50_ms];
        let p99_ms = [first.times.p99_ms, second.times.p99_ms];
        Some(ComparisonRow {
            id: first.id.clone(),
            name: first.name.clone(),
            p50_ms,
            p99_ms,
            p50_ratio: ratio(p50_ms),
            p99_ratio: ratio(p99_ms),
        })
    });
    Comparison {
        names: [a.run.name.clone(), b.run.name.clone()],
        rows: rows.collect(),
    }
}
