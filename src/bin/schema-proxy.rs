//! A Kafka proxy that translates schema ids as they pass.

use std::path::PathBuf;
use std::process::ExitCode;

use app::logging;
use clap::Parser;
use kafka_backup::commands::{self, Format};
use kafka_backup::exit;

/// A Kafka proxy that translates Schema Registry ids as they pass
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The settings file
    #[arg(long)]
    config: PathBuf,
    /// Read the settings and the id map, say what is wrong with them, and end
    #[arg(long)]
    check: bool,
    /// How logs are printed on stderr
    #[arg(long, value_enum, default_value = "text")]
    log_format: Format,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::start(arguments.log_format.into(), "info");
    exit::report(if arguments.check {
        commands::proxy::check(&arguments.config).await
    } else {
        commands::proxy::run(&arguments.config).await
    })
}
