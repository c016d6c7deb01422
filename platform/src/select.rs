//! Choosing a backend: every candidate is asked once, in order, and says why it does not fit.
//! All answers are kept, for the log and for `doctor`.

use std::fmt;

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
