//! One command a module.

pub mod backup;
pub mod config;
pub mod describe;
pub mod list;
pub mod map;
pub mod offsets;
pub mod proxy;
pub mod report;
pub mod restore;
pub mod shell;
pub mod validate;
pub mod verify;

use clap::ValueEnum;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl From<Format> for app::logging::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Json => Self::Json,
        }
    }
}

/// Ends when someone asks the process to.
async fn asked_to_stop() {
    match app::shutdown::asked().await {
        Ok(signal) => tracing::warn!("{signal}: stopping"),
        // Without signals there is only the end of the work to wait for.
        Err(_) => std::future::pending().await,
    }
}

/// Prints a result as JSON.
fn print_json(value: &impl serde::Serialize) {
    let json = serde_json::to_string_pretty(value).expect("results have string keys only");
    println!("{json}");
}

/// 1536 as `1.5 KiB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} bytes") } else { format!("{value:.1} {}", UNITS[unit]) }
}
