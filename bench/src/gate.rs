//! The budgets (`bench/budgets.toml`) and the judgement of measured figures by them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Which side of the bound is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Comparison {
    /// The figure must not exceed the bound.
    AtMost,
    /// The figure must reach the bound.
    AtLeast,
}

/// A row of the budget table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Name under which the bench reports the figure.
    pub id: String,
    /// What is measured, for people.
    pub description: String,
    /// Which side is good.
    pub comparison: Comparison,
    /// The bound, in `unit`.
    pub bound: f64,
    /// Unit of figure and bound.
    pub unit: String,
}

/// How a figure stands to its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Within the bound.
    Pass,
    /// Past the bound, or not a number.
    Fail,
    /// This run did not measure it.
    NotMeasured,
}

/// A judged row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The row.
    #[serde(flatten)]
    pub budget: Budget,
    /// The figure, if there is one.
    pub measured: Option<f64>,
    /// The judgement.
    pub outcome: Outcome,
}

/// Why a budget file is refused.
#[derive(Debug, thiserror::Error)]
pub enum BudgetError {
    /// Not TOML, or not of the expected form.
    #[error("the budgets are not readable: {0}")]
    Syntax(#[from] toml::de::Error),
    /// The same row twice.
    #[error("the budget {0} stands in the file twice; remove one of the rows")]
    Twice(String),
    /// A bound that nothing can be held against.
    #[error("the bound of budget {0} is not a finite number")]
    Bound(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    budget: Vec<Budget>,
}

/// Reads a budget file.
///
/// # Errors
/// See [`BudgetError`].
pub fn parse(text: &str) -> Result<Vec<Budget>, BudgetError> {
    let file: File = toml::from_str(text)?;
    for (index, budget) in file.budget.iter().enumerate() {
        if file.budget[..index]
            .iter()
            .any(|earlier| earlier.id == budget.id)
        {
            return Err(BudgetError::Twice(budget.id.clone()));
        }
        if !budget.bound.is_finite() {
            return Err(BudgetError::Bound(budget.id.clone()));
        }
    }
    Ok(file.budget)
}

/// The project's own budgets.
#[must_use]
pub fn budgets() -> Vec<Budget> {
    parse(include_str!("../budgets.toml")).expect("a test reads the checked-in file")
}

/// Judges measured figures, by identifier, against the project's budgets, in the file's order.
#[must_use]
pub fn gate(measured: &BTreeMap<String, f64>) -> Vec<Verdict> {
    judge_all(budgets(), measured)
}

/// Judges measured figures, by identifier, against these budgets, in their order.
#[must_use]
pub fn judge_all(budgets: Vec<Budget>, measured: &BTreeMap<String, f64>) -> Vec<Verdict> {
    budgets
        .into_iter()
        .map(|budget| {
            let measured = measured.get(&budget.id).copied();
            let outcome = measured.map_or(Outcome::NotMeasured, |figure| judge(&budget, figure));
            Verdict {
                budget,
                measured,
                outcome,
            }
        })
        .collect()
}

/// Whether any row failed.
#[must_use]
pub fn failed(verdicts: &[Verdict]) -> bool {
    verdicts
        .iter()
        .any(|verdict| verdict.outcome == Outcome::Fail)
}

/// All verdicts as lines of at most 100 columns where the descriptions allow it.
#[must_use]
pub fn render(verdicts: &[Verdict]) -> String {
    verdicts
        .iter()
        .map(|verdict| format!("{verdict}\n"))
        .collect()
}

fn judge(budget: &Budget, figure: f64) -> Outcome {
    let good = match budget.comparison {
        Comparison::AtMost => figure <= budget.bound,
        Comparison::AtLeast => figure >= budget.bound,
    };
    if good { Outcome::Pass } else { Outcome::Fail }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Budget {
            description,
            comparison,
            bound,
            unit,
            ..
        } = &self.budget;
        let word = match self.outcome {
            Outcome::Pass => "pass",
            Outcome::Fail => "FAIL",
            Outcome::NotMeasured => "–",
        };
        let sign = match comparison {
            Comparison::AtMost => '≤',
            Comparison::AtLeast => '≥',
        };
        write!(f, "{word:<5}")?;
        match self.measured {
            Some(figure) => write!(f, "{figure:>10.3} ")?,
            None => write!(f, "{:>10} ", "not run")?,
        }
        write!(f, "{sign} {bound:<6}{unit:<12}{description}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_file_is_valid_and_every_row_is_judged() {
        let verdicts = gate(&BTreeMap::new());
        assert_eq!(verdicts.len(), budgets().len());
        assert!(
            verdicts
                .iter()
                .all(|verdict| verdict.outcome == Outcome::NotMeasured)
        );
        assert!(!failed(&verdicts));
        let widest = render(&verdicts)
            .lines()
            .map(|line| line.chars().count())
            .max();
        assert!(widest <= Some(120), "{widest:?}");
    }

    #[test]
    fn bounds_belong_to_the_good_side() {
        let figures = [
            ("frames_lost_720p60", 0.0),
            ("overhead_p99_ms", 1.6),
            ("frame_fill_mean", 0.85),
            ("sealed_send_over_bare_gso", 0.69),
            ("connect_to_picture_p50_ms", f64::NAN),
        ];
        let measured = figures.map(|(id, figure)| (id.to_owned(), figure)).into();
        let verdicts = gate(&measured);
        let outcome = |id: &str| {
            verdicts
                .iter()
                .find(|verdict| verdict.budget.id == id)
                .expect("a row")
                .outcome
        };
        let outcomes = figures.map(|(id, _)| outcome(id));
        use Outcome::{Fail, Pass};
        assert_eq!(outcomes, [Pass, Fail, Pass, Fail, Fail]);
        assert!(failed(&verdicts));
    }

    #[test]
    fn bad_files_are_refused() {
        let row = "[[budget]]\nid = \"a\"\ndescription = \"\"\ncomparison = \"at-most\"\n";
        let row = |bound: &str| format!("{row}bound = {bound}\nunit = \"ms\"\n");
        assert!(matches!(
            parse(&(row("1.0") + &row("2.0"))),
            Err(BudgetError::Twice(_))
        ));
        assert!(matches!(parse(&row("nan")), Err(BudgetError::Bound(_))));
        assert!(matches!(parse(&row("\"x\"")), Err(BudgetError::Syntax(_))));
        assert!(matches!(parse("budgets = 3"), Err(BudgetError::Syntax(_))));
    }
}
