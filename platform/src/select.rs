//! Choosing a backend: every candidate is asked once, in order, and says why it does not fit.
//! All answers are kept, for the log and for `doctor`.

use std::fmt;

use crate::capture::CaptureBackend;
use crate::display::{DisplayBackend, OutputAddress, UNASKED};

/// Why a backend does not fit this machine, and what would make it fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is missing or wrong: a fact.
    pub reason: String,
    /// What the user can do about it, an imperative sentence; empty if nothing.
    pub fix: String,
}

impl Refusal {
    /// A refusal with its remedy.
    pub fn new(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            fix: fix.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        if !self.fix.is_empty() {
            write!(f, "; {}", self.fix)?;
        }
        Ok(())
    }
}

/// A candidate's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `display`, `capture`, `encoder`, …
    pub kind: &'static str,
    /// The candidate's name: `private-sway`, `screencopy`, `x264`, …
    pub name: &'static str,
    /// Ready, with a detail worth telling (a version, a socket), or why not.
    pub result: Result<String, Refusal>,
}

/// Every answer, in the order of asking, and the candidate to use.
pub struct Selection<T: ?Sized> {
    /// One for each candidate.
    pub answers: Vec<Answer>,
    /// The first that is ready, or the one that was named, if it is.
    pub chosen: Option<Box<T>>,
}

impl<T: ?Sized> Selection<T> {
    /// Why nothing was chosen, one clause for each candidate; for an error message.
    #[must_use]
    pub fn refusals(&self) -> String {
        let refused = self.answers.iter().filter_map(|answer| {
            answer
                .result
                .as_ref()
                .err()
                .map(|refusal| format!("{}: {refusal}", answer.name))
        });
        refused.collect::<Vec<_>>().join(" / ")
    }
}

/// Asks every candidate, in order, logs each answer, and takes the first that is ready. With
/// `wanted` only the candidate of that name can be taken.
pub fn choose<T: ?Sized>(
    kind: &'static str,
    candidates: Vec<Box<T>>,
    wanted: Option<&str>,
    ask: impl Fn(&T) -> (&'static str, Result<String, Refusal>),
) -> Selection<T> {
    let mut answers = Vec::with_capacity(candidates.len());
    let mut chosen = None;
    for candidate in candidates {
        let (name, result) = ask(&candidate);
        match &result {
            Ok(detail) => log::info!("{kind} {name}: ready: {detail}"),
            Err(refusal) => log::info!("{kind} {name}: {refusal}"),
        }
        let fits = result.is_ok() && wanted.is_none_or(|wanted| wanted == name);
        if fits && chosen.is_none() {
            log::info!("{kind}: using {name}");
            chosen = Some(candidate);
        }
        answers.push(Answer { kind, name, result });
    }
    Selection { answers, chosen }
}

/// Chooses a kind of display; what follows a colon in `wanted` is the candidate's own affair
/// ([`crate::display::candidates_for`]). Without `wanted` never one of
/// [`crate::display::UNASKED`]: a user who asked for a desktop wants to be told that there is none.
pub fn choose_display(
    candidates: Vec<Box<dyn DisplayBackend>>,
    wanted: Option<&str>,
) -> Selection<dyn DisplayBackend> {
    let kind = wanted.map(|wanted| wanted.split(':').next().unwrap_or(wanted));
    let mut selection = choose("display", candidates, kind, |backend| {
        (backend.name(), backend.probe())
    });
    if wanted.is_none()
        && selection
            .chosen
            .as_ref()
            .is_some_and(|it| UNASKED.contains(&it.name()))
    {
        log::info!("display: it must be asked for by name");
        selection.chosen = None;
    }
    selection
}

/// Chooses a kind of capture for `output`.
pub fn choose_capture(
    candidates: Vec<Box<dyn CaptureBackend>>,
    output: &OutputAddress,
    wanted: Option<&str>,
) -> Selection<dyn CaptureBackend> {
    choose("capture", candidates, wanted, |backend| {
        (backend.name(), backend.probe(output))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(
        answers: &[(&'static str, bool)],
        wanted: Option<&str>,
    ) -> Selection<(&'static str, bool)> {
        let candidates = answers.iter().map(|answer| Box::new(*answer)).collect();
        choose("fake", candidates, wanted, |(name, ready)| {
            let refusal = || Refusal::new("it is broken", "mend it");
            (*name, ready.then(|| "fine".to_owned()).ok_or_else(refusal))
        })
    }

    #[test]
    fn the_first_that_is_ready_is_taken_and_all_are_asked() {
        let selection = fake(&[("a", false), ("b", true), ("c", true)], None);
        assert_eq!(selection.chosen.expect("one fits").0, "b");
        assert_eq!(selection.answers.len(), 3);
    }

    #[test]
    fn a_name_overrides_the_order_but_not_a_refusal() {
        assert_eq!(
            fake(&[("a", true), ("b", true)], Some("b"))
                .chosen
                .expect("fits")
                .0,
            "b"
        );
        let selection = fake(&[("a", true), ("b", false)], Some("b"));
        assert!(selection.chosen.is_none());
        assert_eq!(selection.refusals(), "b: it is broken; mend it");
    }

    #[test]
    fn the_synthetic_display_is_never_taken_unasked() {
        let only =
            || vec![Box::new(crate::display::synthetic::Synthetic) as Box<dyn DisplayBackend>];
        assert!(choose_display(only(), None).chosen.is_none());
        assert!(choose_display(only(), Some("synthetic")).chosen.is_some());
    }
}
