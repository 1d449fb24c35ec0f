//! What both binaries share as processes: settings from YAML and the patterns in them, logging, the
//! admin port, shutdown.

pub mod admin;
pub mod logging;
mod patterns;
pub mod settings;
pub mod shutdown;

pub use patterns::{PatternError, Selection};
pub use settings::{Secret, SettingsError};
