//! `punktfunk doctor`

use argh::FromArgs;
use engine::doctor;

use crate::exit::{Failure, Kind};
use crate::output::say;

/// Say, backend by backend, what this machine can do, and where it cannot, why and what helps.
#[derive(FromArgs)]
#[argh(subcommand, name = "doctor")]
pub struct Doctor {
    /// print JSON instead of a table
    #[argh(switch)]
    json: bool,
}

impl Doctor {
    pub fn run(self) -> Result<(), Failure> {
        let report = doctor::examine();
        if self.json {
            let json = serde_json::to_string_pretty(&report)
                .map_err(|error| Failure::new(Kind::Output, error))?;
            say(json);
        } else {
            say(report);
        }
        Ok(())
    }
}
