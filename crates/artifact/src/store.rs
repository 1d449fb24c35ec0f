//! Where objects lie: a folder or an S3 bucket.

mod fs;
mod s3;

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

pub use fs::Folder;
pub use s3::{Bucket, BucketSettings};

/// A place for objects. Keys are relative, with `/` between their parts.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// The object's address, for people. An empty key is the store itself.
    fn place(&self, key: &str) -> String;

    /// Writes an object, whole or not at all.
    async fn put(&self, key: &str, body: Bytes) -> Result<()>;

    /// Begins a new object that is written piece by piece; it is not there before
    /// [`Upload::finish`], which fails where someone else has written it meanwhile.
    async fn upload(&self, key: &str) -> Result<Box<dyn Upload>>;

    /// Reads an object.
    async fn get(&self, key: &str) -> Result<Bytes>;

    /// Reads part of an object; fewer bytes where it ends before the range does.
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes>;

    /// The object's size, `None` where it is not there.
    async fn size(&self, key: &str) -> Result<Option<u64>>;

    /// The keys that start with `prefix`, sorted.
    async fn list(&self, prefix: &str) -> Result<Vec<String>>;

    /// The first parts of all keys, sorted: the backups.
    async fn folders(&self) -> Result<Vec<String>>;

    /// Removes an object; one that is not there is no error.
    async fn delete(&self, key: &str) -> Result<()>;

    /// Gives an object another key.
    async fn rename(&self, from: &str, to: &str) -> Result<()>;
}

/// An object that is being written.
#[async_trait]
pub trait Upload: Send {
    /// Appends bytes.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Makes the object appear. An upload that is dropped instead leaves nothing behind.
    async fn finish(self: Box<Self>) -> Result<()>;
}

/// Why a store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The object is not there.
    #[error("{place} does not exist")]
    NotFound {
        /// Its address.
        place: String,
    },
    /// Someone else writes, or has written, an object that was to be new.
    #[error("{place} is being written by another run of this backup; let one of them end")]
    Taken {
        /// Its address.
        place: String,
    },
    /// Anything else; `why` is the store's own word.
    #[error("{action} {place} failed: {why}")]
    Failed {
        /// `reading`, `writing`, `listing`.
        action: &'static str,
        /// The address.
        place: String,
        /// The reason.
        why: String,
    },
}

/// The result of a store's work.
pub type Result<T> = std::result::Result<T, StoreError>;
