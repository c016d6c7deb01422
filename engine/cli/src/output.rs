//! What a verb tells the user on standard output.

use std::fmt::Display;
use std::io::Write;

/// Prints a line. A closed pipe (`punktfunk host | head -1`) is no reason to stop serving.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
