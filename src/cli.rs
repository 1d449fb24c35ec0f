//! What can be said on the command lines of both programs.

use std::path::PathBuf;

use backup::Shard;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::commands::{self, Format};

/// The version, and the commit that it was built from.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("BUILD_COMMIT"), ")");

/// Backs up and restores Kafka topics with their Schema Registry
#[derive(Debug, Parser)]
#[command(name = "kafka-backup", version = VERSION, after_help = EXIT_CODES)]
pub struct Arguments {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// How results are printed on stdout
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub format: Format,
    /// How logs are printed on stderr
    #[arg(long, global = true, value_enum, default_value = "text")]
    pub log_format: Format,
    /// Log only errors, and show no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed; 2 wrong usage or settings; \
    3 a preflight check failed, nothing was changed; 4 what was found differs";

/// What `kafka-backup` does.
#[derive(Debug, Subcommand)]
pub enum Command {
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
        /// What to do with them
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
        /// Which
        #[command(flatten)]
        backup: OneBackup,
    },
    /// Check a backup against its manifests
    Validate {
        /// Which
        #[command(flatten)]
        backup: OneBackup,
        /// Read every record, and look whether its schema is in the backup
        #[arg(long)]
        deep: bool,
    },
    /// Write down what a backup holds, whether it is whole, and how ids changed: for a change ticket
    Report {
        /// Which
        #[command(flatten)]
        backup: OneBackup,
        /// Read every record, and look whether its schema is in the backup
        #[arg(long)]
        deep: bool,
        /// A `.html` or `.json` file
        #[arg(long, short)]
        output: PathBuf,
    },
    /// Look at, set and set back what consumer groups have committed
    Offsets {
        /// What to do with them
        #[command(subcommand)]
        command: OffsetsCommand,
    },
    /// Work with settings files
    Config {
        /// What to do with them
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print what makes a shell complete the commands of both programs
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Write the manual pages of both programs
    Man {
        /// Into this folder
        #[arg(long, short)]
        output: PathBuf,
    },
}

/// Names a backup.
#[derive(Debug, Args)]
pub struct OneBackup {
    /// A folder, or s3://bucket/prefix
    #[arg(long)]
    pub path: String,
    /// The backup's id
    #[arg(long)]
    pub backup_id: String,
}

/// What is done with id maps.
#[derive(Debug, Subcommand)]
pub enum MapCommand {
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

/// What is done with consumer groups' offsets.
#[derive(Debug, Subcommand)]
pub enum OffsetsCommand {
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

/// What is done with settings files.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read a settings file as a run would and show what it means, without secrets
    Check {
        /// The settings file
        #[arg(long)]
        config: PathBuf,
    },
}

/// A Kafka proxy that translates Schema Registry ids as they pass
#[derive(Debug, Parser)]
#[command(name = "schema-proxy", version = VERSION)]
pub struct ProxyArguments {
    /// The settings file
    #[arg(long)]
    pub config: PathBuf,
    /// Read the settings and the id map, say what is wrong with them, and end
    #[arg(long)]
    pub check: bool,
    /// How logs are printed on stderr
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: Format,
    /// Log only errors
    #[arg(long, short)]
    pub quiet: bool,
}
