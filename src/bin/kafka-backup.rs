//! Backs up and restores Kafka topics with their Schema Registry.

use std::process::ExitCode;

use app::{logging, progress};
use clap::Parser;
use kafka_backup::cli::{Arguments, Command, ConfigCommand, MapCommand, OffsetsCommand};
use kafka_backup::commands::restore::How;
use kafka_backup::{commands, exit};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let format = arguments.format;
    if arguments.quiet {
        progress::hide();
    }
    logging::start(arguments.log_format.into(), if arguments.quiet { "error" } else { "info" });
    exit::report(match arguments.command {
        Command::Backup { config, schemas_only, shard } => {
            let how = commands::backup::How { schemas_only, shard };
            commands::backup::run(&config, how, format).await
        }
        Command::Finalize { config } => commands::backup::finalize(&config, format).await,
        Command::Restore { config, dry_run, yes } => {
            commands::restore::run(&config, How { dry_run, yes }, format).await
        }
        Command::Verify { config } => commands::verify::run(&config, format).await,
        Command::Map { command } => match command {
            MapCommand::Show { file } => commands::map::show(&file, format).await,
            MapCommand::Check { file, source, target } => {
                commands::map::check(&file, source.as_deref(), target.as_deref(), format).await
            }
            MapCommand::Generate { source, target, output } => {
                commands::map::make(&source, &target, output.as_deref(), format).await
            }
        },
        Command::List { path } => commands::list::run(&path, format).await,
        Command::Prune { path, keep, dry_run } => {
            commands::list::prune(&path, keep, dry_run, format).await
        }
        Command::Describe { backup } => {
            commands::describe::run(&backup.path, &backup.backup_id, format).await
        }
        Command::Validate { backup, deep } => {
            commands::validate::run(&backup.path, &backup.backup_id, deep, format).await
        }
        Command::Report { backup, deep, output } => {
            commands::report::run(&backup.path, &backup.backup_id, deep, &output).await
        }
        Command::Offsets { command } => match command {
            OffsetsCommand::Snapshot { config, group, output } => {
                commands::offsets::snapshot(&config, &group, output.as_deref()).await
            }
            OffsetsCommand::Reset { config, group, dry_run } => {
                commands::offsets::reset(&config, &group, dry_run, format).await
            }
            OffsetsCommand::Rollback { config, from, dry_run } => {
                commands::offsets::rollback(&config, from.as_deref(), dry_run, format).await
            }
        },
        Command::Config { command: ConfigCommand::Check { config } } => {
            commands::config::check(&config)
        }
        Command::Completions { shell } => commands::shell::completions(shell),
        Command::Man { output } => commands::shell::man(&output),
    })
}
