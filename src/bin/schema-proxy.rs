//! A Kafka proxy that translates schema ids as they pass.

use std::process::ExitCode;

use app::logging;
use clap::Parser;
use kafka_backup::cli::ProxyArguments;
use kafka_backup::{commands, exit};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = ProxyArguments::parse();
    logging::start(arguments.log_format.into(), if arguments.quiet { "error" } else { "info" });
    exit::report(if arguments.check {
        commands::proxy::check(&arguments.config).await
    } else {
        commands::proxy::run(&arguments.config).await
    })
}
