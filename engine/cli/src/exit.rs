//! One line that says what went wrong and what to do, and an exit code that scripts can tell
//! apart.

use std::fmt;
use std::process::ExitCode;

/// What kind of failure; the number is the exit code, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The command line, a variable or the configuration file is wrong.
    Usage = 2,
    /// The port is taken or the address is not ours.
    Bind = 3,
    /// No display can be made here, or the one we had died.
    Display = 4,
    /// No encoder or decoder works here.
    Codec = 5,
    /// A file of the state directory cannot be used.
    State = 6,
    /// The host cannot be reached.
    Unreachable = 7,
    /// The host is not the one that was pinned, nobody vouches for it, or it does not know the PIN.
    Trust = 8,
    /// The host refused or ended the session.
    Refused = 9,
    /// A result could not be written.
    Output = 10,
    /// The bench ran and a budget was not held.
    Budget = 11,
    /// Something in the system failed that is none of the above.
    System = 12,
}

/// A failed run.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    message: String,
}

impl Failure {
    /// A failure with its line for the user.
    pub fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
        }
    }

    /// The user asked for something that does not exist.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Its exit code.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line, whatever a library put into its message.
        let mut lines = self
            .message
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty());
        let mut before = lines.next().unwrap_or("failed");
        f.write_str(before)?;
        lines.try_for_each(|line| {
            let separator = if before.ends_with(':') { " " } else { "; " };
            before = line;
            write!(f, "{separator}{line}")
        })
    }
}

impl From<engine::config::ConfigError> for Failure {
    fn from(error: engine::config::ConfigError) -> Self {
        Self::usage(error)
    }
}

impl From<engine::trust::TrustError> for Failure {
    fn from(error: engine::trust::TrustError) -> Self {
        Self::new(Kind::State, error)
    }
}

fn gamestream_kind(error: &engine::control::gamestream::GameStreamError) -> Kind {
    use engine::control::gamestream::GameStreamError;
    use engine::mgmt::ManagementError;
    match error {
        GameStreamError::Bind { .. }
        | GameStreamError::BindUdp { .. }
        | GameStreamError::Management(ManagementError::Bind { .. }) => Kind::Bind,
        GameStreamError::Trust(_) | GameStreamError::Management(ManagementError::Trust(_)) => {
            Kind::State
        }
        GameStreamError::Tls(_)
        | GameStreamError::Thread(_)
        | GameStreamError::Management(ManagementError::Random(_) | ManagementError::Thread(_)) => {
            Kind::System
        }
    }
}

impl From<engine::mgmt::client::CallError> for Failure {
    fn from(error: engine::mgmt::client::CallError) -> Self {
        use engine::mgmt::client::CallError;
        let kind = match &error {
            CallError::NoHost { .. } | CallError::Unreachable { .. } => Kind::Unreachable,
            CallError::Access { .. } => Kind::State,
            CallError::Refused(_) => Kind::Refused,
        };
        Self::new(kind, error)
    }
}

impl From<engine::host::HostError> for Failure {
    fn from(error: engine::host::HostError) -> Self {
        use engine::host::HostError;
        let kind = match &error {
            HostError::Bind { .. } => Kind::Bind,
            HostError::NoDisplay { .. } => Kind::Display,
            HostError::NoEncoder { .. } => Kind::Codec,
            HostError::Trust(_) => Kind::State,
            HostError::Control(_) | HostError::Thread(_) => Kind::System,
            HostError::GameStream(error) => gamestream_kind(error),
        };
        Self::new(kind, error)
    }
}
