//! How a command ends: an exit code and, where it failed, one line on stderr.

use std::fmt;
use std::process::ExitCode;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// It was tried and failed: 1.
    Failed(String),
    /// Wrong usage or settings: 2.
    Usage(String),
    /// A check failed before anything was changed: 3.
    Preflight(String),
    /// It was done, but what was found is not what it should be: 4.
    Differs(String),
}

impl Failure {
    /// The exit code that scripts can rely on.
    pub fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Preflight(_) => 3,
            Self::Differs(_) => 4,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Failed(why) | Self::Usage(why) | Self::Preflight(why) | Self::Differs(why)) =
            self;
        f.write_str(why)
    }
}

impl From<app::SettingsError> for Failure {
    fn from(error: app::SettingsError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<backup::Error> for Failure {
    fn from(error: backup::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<artifact::Error> for Failure {
    fn from(error: artifact::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<registry::Error> for Failure {
    fn from(error: registry::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<restore::Error> for Failure {
    fn from(error: restore::Error) -> Self {
        match error {
            restore::Error::Preflight(why) => Self::Preflight(why.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Prints the failure, if there is one, and gives the exit code.
pub fn report(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.code())
        }
    }
}
