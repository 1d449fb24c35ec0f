//! What both binaries share as processes: settings from YAML, logging, the admin port, shutdown.

pub mod admin;
pub mod logging;
pub mod settings;
pub mod shutdown;

pub use settings::{Secret, SettingsError};
