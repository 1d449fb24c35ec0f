//! What a backup is: where its objects lie, what its manifests say, and the stores that hold it.
//!
//! Every object is written whole or not at all and has its size and SHA-256 in a manifest; the
//! manifest of the whole is written last, so a backup without it is unfinished.

mod backup;
pub mod escape;
pub mod layout;
pub mod manifest;
mod segment;
mod segments;
pub mod store;

pub use backup::{Backup, Document};
pub use manifest::Manifest;
pub use segment::{SegmentReader, SegmentWriter};
pub use segments::{Found, Segments};
pub use store::{Store, StoreError};

/// Why an artefact can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such backup.
    #[error(
        "no backup `{backup_id}` at {place}; {}",
        if known.is_empty() { "there are none".to_owned() } else { format!("there are: {}", known.join(", ")) }
    )]
    NoBackup {
        /// The id asked for.
        backup_id: String,
        /// Where it was looked for.
        place: String,
        /// The ids that are there.
        known: Vec<String>,
    },
    /// It was begun but never finished.
    #[error(
        "backup `{backup_id}` at {place} is unfinished: it has no manifest.json. \
         Run the backup again with the same backup_id to complete it"
    )]
    Unfinished {
        /// The id asked for.
        backup_id: String,
        /// Where it lies.
        place: String,
    },
    /// An object's bytes are not those that were written.
    #[error("{place} is damaged: {why}")]
    Damaged {
        /// The object.
        place: String,
        /// What does not fit.
        why: String,
    },
    /// A manifest of a later format.
    #[error("{place} has format version {found}; this program reads up to {known}. Upgrade it")]
    Format {
        /// The manifest.
        place: String,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
}

/// The result of work on an artefact.
pub type Result<T> = std::result::Result<T, Error>;
