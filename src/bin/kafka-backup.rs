//! Backs up and restores Kafka topics with their Schema Registry.

use std::path::PathBuf;
use std::process::ExitCode;

use app::logging;
use backup::Shard;
use clap::{Parser, Subcommand};
use kafka_backup::commands::restore::How;
use kafka_backup::commands::{self, Format};
use kafka_backup::exit;

/// Backs up and restores Kafka topics with their Schema Registry
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// How results are printed on stdout
    #[arg(long, global = true, value_enum, default_value = "text")]
    format: Format,
    /// How logs are printed on stderr
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: Format,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed; 2 wrong usage or settings; \
    3 a preflight check failed, nothing was changed; 4 what was found differs";

#[derive(Subcommand)]
enum Command {
    /// Capture topics and the Schema Registry in one artefact
    Backup {
        /// The settings file
        #[arg(long)]
        config: PathBuf,
        /// Leave the topics out; no Kafka cluster is needed
        #[arg(long)]
        schemas_only: bool,
        /// Capture only this machine's partitions, such as 0/3, 1/3 and 2/3 for three; `finalize`
        /// joins them
        #[arg(long, value_name = "INDEX/COUNT", value_parser = commands::backup::shard)]
        shard: Option<Shard>,
    },
    /// Join what the shards of a backup have captured
    Finalize {
        /// The settings file of the backup
        #[arg(long)]
        config: PathBuf,
    },
    /// Restore an artefact: schemas, id map, records
    Restore {
        /// The settings file
        #[arg(long)]
        config: PathBuf,
        /// Check everything and show what would be done; change nothing
        #[arg(long)]
        dry_run: bool,
        /// Delete and replace in the target without asking (strategy: overwrite)
        #[arg(long)]
        yes: bool,
    },
    /// Compare the target registry with the backup
    Verify {
        /// The settings file of the restore
        #[arg(long)]
        config: PathBuf,
    },
    /// Show, check or make id maps
    Map {
        #[command(subcommand)]
        command: MapCommand,
    },
    /// Show which backups a store holds
    List {
        /// A folder, or s3://bucket/prefix
        #[arg(long)]
        path: String,
    },
    /// Delete old backups
    Prune {
        /// A folder, or s3://bucket/prefix
        #[arg(long)]
        path: String,
        /// Keep this many of the newest complete ones
        #[arg(long)]
        keep: usize,
        /// Only show what would be deleted
        #[arg(long)]
        dry_run: bool,
    },
    /// Show what a backup holds
    Describe {
        /// A folder, or s3://bucket/prefix
        #[arg(long)]
        path: String,
        /// The backup's id
        #[arg(long)]
        backup_id: String,
    },
    /// Check a backup against its manifests
    Validate {
        /// A folder, or s3://bucket/prefix
        #[arg(long)]
        path: String,
        /// The backup's id
        #[arg(long)]
        backup_id: String,
        /// Read every record, and look whether its schema is in the backup
        #[arg(long)]
        deep: bool,
    },
    /// Look at, set and set back what consumer groups have committed
    Offsets {
        #[command(subcommand)]
        command: OffsetsCommand,
    },
    /// Work with settings files
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Subcommand)]
enum MapCommand {
    /// Print a map as it is understood
    Show {
        /// A file, or s3://bucket/key
        file: String,
    },
    /// Check a map, and with registries whether its ids exist there
    Check {
        /// A file, or s3://bucket/key
        file: String,
        /// The source registry: a URL, or a settings file that names it
        #[arg(long)]
        source: Option<String>,
        /// The target registry: a URL, or a settings file that names it
        #[arg(long)]
        target: Option<String>,
    },
    /// Make the map between two live registries by comparing their schemas
    Generate {
        /// The source registry: a URL, or a settings file that names it
        #[arg(long)]
        source: String,
        /// The target registry: a URL, or a settings file that names it
        #[arg(long)]
        target: String,
        /// Write the map here
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum OffsetsCommand {
    /// Write down what groups have committed, and where the topics end
    Snapshot {
        /// A settings file: its `source`, or its `target` where it has no source
        #[arg(long)]
        config: PathBuf,
        /// Only these groups, as globs; all without
        #[arg(long)]
        group: Vec<String>,
        /// Write it here
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Set groups of the target to where they were in the source
    Reset {
        /// The settings file of the restore
        #[arg(long)]
        config: PathBuf,
        /// Only these groups, as globs; without, those that the file names, or all
        #[arg(long)]
        group: Vec<String>,
        /// Only show what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Set groups of the target back to what they had before the last reset
    Rollback {
        /// The settings file of the restore
        #[arg(long)]
        config: PathBuf,
        /// To what this file of `offsets snapshot` says
        #[arg(long)]
        from: Option<PathBuf>,
        /// Only show what would change
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Read a settings file as a run would and show what it means, without secrets
    Check {
        /// The settings file
        #[arg(long)]
        config: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let format = arguments.format;
    logging::start(arguments.log_format.into(), "info");
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
        Command::Describe { path, backup_id } => {
            commands::describe::run(&path, &backup_id, format).await
        }
        Command::Validate { path, backup_id, deep } => {
            commands::validate::run(&path, &backup_id, deep, format).await
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
    })
}
