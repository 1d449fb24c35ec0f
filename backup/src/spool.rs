//! Documents that wait until it is known that they may be written.

use std::io::{self, Read, Seek, SeekFrom, Write};

use artifact::{Backup, Document};
use bytes::Bytes;
use futures_util::stream::{self, TryStreamExt};
use tempfile::SpooledTempFile;

use crate::{Error, Result};

/// What is held in memory; the rest goes to a temporary file without a name.
const IN_MEMORY: usize = 4 << 20;
/// Objects that are written at the same time.
const CONCURRENT_WRITES: usize = 16;

/// A registry's documents, in memory or, when there are many, on disk.
pub(crate) struct Spool {
    file: SpooledTempFile,
    objects: Vec<(String, usize)>,
}

impl Spool {
    pub(crate) fn new() -> Self {
        Self { file: SpooledTempFile::new(IN_MEMORY), objects: Vec::new() }
    }

    pub(crate) fn push(&mut self, object: String, document: &Document) -> Result<()> {
        self.file.write_all(document.bytes()).map_err(failed)?;
        self.objects.push((object, document.bytes().len()));
        Ok(())
    }

    /// Writes all of them.
    pub(crate) async fn write(mut self, backup: &Backup) -> Result<()> {
        self.file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let file = &mut self.file;
        let objects = self.objects.iter().map(|(object, length)| {
            let mut bytes = vec![0; *length];
            file.read_exact(&mut bytes).map_err(failed)?;
            Ok::<_, Error>((object, Bytes::from(bytes)))
        });
        stream::iter(objects)
            .map_ok(|(object, bytes)| async move { Ok(backup.put(object, bytes).await?) })
            .try_buffer_unordered(CONCURRENT_WRITES)
            .try_collect()
            .await
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err gives it away")]
fn failed(why: io::Error) -> Error {
    Error::Temporary(why.to_string())
}
