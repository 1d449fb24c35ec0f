use std::fs::{File, TryLockError};
use std::io::{ErrorKind, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::fs;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::{Result, Store, StoreError, Upload};

/// Files still being written end so, and are not objects.
const UNFINISHED: &str = ".tmp";
/// How often, and after which pause, a file that another process writes is tried again.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// A store in a folder of the file system.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Nothing is created before the first object is written.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    fn fail(&self, action: &'static str, key: &str) -> impl Fn(std::io::Error) -> StoreError {
        let place = self.place(key);
        move |why| match why.kind() {
            ErrorKind::NotFound if action == "reading" => {
                StoreError::NotFound { place: place.clone() }
            }
            _ => StoreError::Failed { action, place: place.clone(), why: why.to_string() },
        }
    }
}

#[async_trait]
impl Store for Folder {
    fn place(&self, key: &str) -> String {
        self.path(key).display().to_string()
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<()> {
        // Two may write the same at the same time, such as shards the facts of one topic.
        let mut tries = 0;
        let mut upload = loop {
            match self.begin(key).await {
                Err(StoreError::Taken { .. }) if tries < TRIES => tries += 1,
                begun => break begun?,
            }
            tokio::time::sleep(PAUSE).await;
        };
        upload.write(body).await?;
        Box::new(upload).finish().await
    }

    async fn upload(&self, key: &str) -> Result<Box<dyn Upload>> {
        let mut upload = self.begin(key).await?;
        upload.is_new = true;
        Ok(Box::new(upload))
    }

    async fn get(&self, key: &str) -> Result<Bytes> {
        let bytes = fs::read(self.path(key)).await.map_err(self.fail("reading", key))?;
        Ok(bytes.into())
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        let fail = self.fail("reading", key);
        let mut file = fs::File::open(self.path(key)).await.map_err(&fail)?;
        file.seek(SeekFrom::Start(range.start)).await.map_err(&fail)?;
        let length = range.end.saturating_sub(range.start);
        let mut bytes = Vec::with_capacity(length as usize);
        file.take(length).read_to_end(&mut bytes).await.map_err(&fail)?;
        Ok(bytes.into())
    }

    async fn size(&self, key: &str) -> Result<Option<u64>> {
        match fs::metadata(self.path(key)).await {
            Ok(facts) => Ok(Some(facts.len())),
            Err(why) if why.kind() == ErrorKind::NotFound => Ok(None),
            Err(why) => Err(self.fail("reading", key)(why)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        // Only folders that the prefix names whole can hold matching keys.
        let start = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut keys = Vec::new();
        let mut folders = vec![start.to_owned()];
        while let Some(folder) = folders.pop() {
            for (name, is_folder) in self.entries(&folder).await? {
                let key = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                if is_folder {
                    folders.push(key);
                } else if key.starts_with(prefix) && !key.ends_with(UNFINISHED) {
                    keys.push(key);
                }
            }
        }
        keys.sort_unstable();
        Ok(keys)
    }

    async fn folders(&self) -> Result<Vec<String>> {
        let entries = self.entries("").await?;
        let mut names: Vec<_> =
            entries.into_iter().filter(|(_, is_folder)| *is_folder).map(|(name, _)| name).collect();
        names.sort_unstable();
        Ok(names)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let path = self.path(key);
        match fs::remove_file(&path).await {
            Err(why) if why.kind() != ErrorKind::NotFound => Err(self.fail("deleting", key)(why)),
            _ => {
                // Keys have no folders: one that is empty now is nothing.
                let folders = path.ancestors().skip(1).take_while(|it| *it != self.root);
                for folder in folders {
                    if fs::remove_dir(folder).await.is_err() {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        fs::rename(self.path(from), self.path(to)).await.map_err(self.fail("writing", to))
    }
}

impl Folder {
    /// Opens a file beside the object's place. It is locked, so what a killed run left there is
    /// written over, and what a running one writes is not.
    async fn begin(&self, key: &str) -> Result<Unfinished> {
        let path = self.path(key);
        let fail = self.fail("writing", key);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).await.map_err(&fail)?;
        let mut temporary = path.clone().into_os_string();
        temporary.push(UNFINISHED);
        let temporary = PathBuf::from(temporary);
        let options = fs::OpenOptions::new().create(true).truncate(false).write(true).clone();
        let file = options.open(&temporary).await.map_err(&fail)?.into_std().await;
        let place = self.place(key);
        let locked = !matches!(file.try_lock(), Err(TryLockError::WouldBlock));
        // Whoever held the lock may have given the file its name, or removed it, just before.
        let ours = file.metadata().map_err(&fail)?.ino();
        let named = fs::metadata(&temporary).await.ok().map(|it| it.ino());
        if !locked || named != Some(ours) {
            return Err(StoreError::Taken { place });
        }
        file.set_len(0).map_err(&fail)?;
        let (file, guard) = (Arc::new(file), Guard(Some(temporary)));
        Ok(Unfinished { file, guard, path, place, is_new: false })
    }

    /// Names in a folder and whether each is a folder itself; none where there is no such folder.
    async fn entries(&self, folder: &str) -> Result<Vec<(String, bool)>> {
        let fail = self.fail("listing", folder);
        let mut reader = match fs::read_dir(self.path(folder)).await {
            Ok(reader) => reader,
            Err(why) if why.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(why) => return Err(fail(why)),
        };
        let mut entries = Vec::new();
        while let Some(entry) = reader.next_entry().await.map_err(&fail)? {
            let is_folder = entry.file_type().await.map_err(&fail)?.is_dir();
            entries.extend(entry.file_name().into_string().map(|name| (name, is_folder)));
        }
        Ok(entries)
    }
}

/// Removes the temporary file of an upload that is dropped before its end.
struct Guard(Option<PathBuf>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Nothing to tell anyone: the file is not an object, and listing leaves it out.
            let _ = std::fs::remove_file(path);
        }
    }
}

struct Unfinished {
    file: Arc<File>,
    guard: Guard,
    path: PathBuf,
    place: String,
    /// Whether nothing may be there yet.
    is_new: bool,
}

impl Unfinished {
    /// On a thread that may wait, with the bytes as they are: tokio's own file would copy them.
    async fn blocking(
        &self,
        work: impl FnOnce(&File) -> std::io::Result<()> + Send + 'static,
    ) -> std::io::Result<()> {
        let file = Arc::clone(&self.file);
        let done = tokio::task::spawn_blocking(move || work(&file)).await;
        done.unwrap_or_else(|why| Err(std::io::Error::other(why)))
    }

    fn fail(&self, why: &std::io::Error) -> StoreError {
        StoreError::Failed { action: "writing", place: self.place.clone(), why: why.to_string() }
    }
}

#[async_trait]
impl Upload for Unfinished {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let written = self.blocking(move |mut file| file.write_all(&bytes)).await;
        written.map_err(|why| self.fail(&why))
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        if self.is_new && fs::try_exists(&self.path).await.map_err(|why| self.fail(&why))? {
            return Err(StoreError::Taken { place: self.place.clone() });
        }
        let result = self.publish().await;
        result.map_err(|why| self.fail(&why))
    }
}

impl Unfinished {
    /// The bytes must be on disk before the name is, and the name before we say so.
    async fn publish(&mut self) -> std::io::Result<()> {
        self.blocking(File::sync_all).await?;
        if let Some(temporary) = self.guard.0.take() {
            fs::rename(temporary, &self.path).await?;
        }
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::File::open(folder).await?.sync_all().await
    }
}
