//! What both binaries share as processes: settings from YAML and the patterns in them, logging,
//! progress, the admin port, shutdown.

pub mod admin;
pub mod logging;
mod patterns;
pub mod progress;
pub mod settings;
pub mod shutdown;

pub use patterns::{PatternError, Selection};
pub use settings::{Secret, SettingsError};
