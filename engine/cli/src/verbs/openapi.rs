//! `punktfunk openapi`

use argh::FromArgs;

use crate::exit::Failure;
use crate::output::say;

/// Print the description (OpenAPI 3.1) of a host's management calls.
#[derive(FromArgs)]
#[argh(subcommand, name = "openapi")]
pub struct Openapi {}

impl Openapi {
    #[expect(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "every verb is run in the same way"
    )]
    pub fn run(self) -> Result<(), Failure> {
        say(engine::mgmt::openapi::text().trim_end());
        Ok(())
    }
}
