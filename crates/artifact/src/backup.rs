use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::manifest::{FORMAT_VERSION, Manifest, ObjectSum, Segment};
use crate::store::{Store, StoreError};
use crate::{Error, Result, escape, layout};

/// One backup in a store.
#[derive(Debug, Clone)]
pub struct Backup {
    store: Arc<dyn Store>,
    id: String,
}

impl Backup {
    /// Names a backup; nothing is read or written.
    pub fn new(store: Arc<dyn Store>, id: &str) -> Self {
        Self { store, id: id.to_owned() }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it lies, for people.
    pub fn place(&self) -> String {
        self.store.place(&self.id)
    }

    /// The store it lies in.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The store's key of one of its objects.
    pub fn key(&self, object: &str) -> String {
        format!("{}/{object}", self.id)
    }

    /// Makes sure that a new backup may be written here.
    pub async fn check_not_complete(&self) -> Result<()> {
        if self.store.size(&self.key(layout::MANIFEST)).await?.is_none() {
            return Ok(());
        }
        Err(Error::Complete { backup_id: self.id.clone(), place: self.place() })
    }

    /// Reads `manifest.json`.
    pub async fn manifest(&self) -> Result<Manifest> {
        let key = self.key(layout::MANIFEST);
        let bytes = match self.store.get(&key).await {
            Ok(bytes) => bytes,
            Err(StoreError::NotFound { .. }) => return Err(self.missing().await?),
            Err(error) => return Err(error.into()),
        };
        let place = self.store.place(&key);
        let version: FormatOnly = parse(&bytes, &place)?;
        if version.format_version > FORMAT_VERSION {
            let (found, known) = (version.format_version, FORMAT_VERSION);
            return Err(Error::Format { place, found, known });
        }
        parse(&bytes, &place)
    }

    async fn missing(&self) -> Result<Error> {
        let (backup_id, place) = (self.id.clone(), self.place());
        if self.store.list(&format!("{}/", self.id)).await?.is_empty() {
            let place = self.store.place("");
            let known = self.store.folders().await?;
            return Ok(Error::NoBackup { backup_id, place, known });
        }
        Ok(Error::Unfinished { backup_id, place })
    }

    /// Deletes it: the manifest first, so that what is left of an interrupted deletion is unfinished.
    pub async fn delete(&self) -> Result<()> {
        self.store.delete(&self.key(layout::MANIFEST)).await?;
        for key in self.store.list(&format!("{}/", self.id)).await? {
            self.store.delete(&key).await?;
        }
        Ok(())
    }

    /// Writes a JSON object and gives what a manifest says of it.
    pub async fn put_json(&self, object: &str, value: &impl Serialize) -> Result<ObjectSum> {
        let document = Document::new(value);
        self.put(object, document.bytes.into()).await?;
        Ok(document.sum)
    }

    /// Writes an object.
    pub async fn put(&self, object: &str, bytes: Bytes) -> Result<()> {
        Ok(self.store.put(&self.key(object), bytes).await?)
    }

    /// Whether a segment is there with its size; its checksum shows when it is read.
    pub async fn check_size(&self, topic: &str, partition: i32, segment: &Segment) -> Result<()> {
        let key = self.key(&layout::segment_log(topic, partition, segment.base_offset));
        let why = match self.store.size(&key).await? {
            Some(bytes) if bytes == segment.bytes => return Ok(()),
            Some(bytes) => format!("it has {bytes} bytes where {} were written", segment.bytes),
            None => "it is missing".to_owned(),
        };
        Err(Error::Damaged { place: self.store.place(&key), why })
    }

    /// Reads an object that no manifest lists; `None` where it is not there.
    pub async fn find(&self, object: &str) -> Result<Option<Bytes>> {
        match self.store.get(&self.key(object)).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The same for JSON.
    pub async fn find_json<T: DeserializeOwned>(&self, object: &str) -> Result<Option<T>> {
        let place = || self.store.place(&self.key(object));
        self.find(object).await?.map(|bytes| parse(&bytes, &place())).transpose()
    }

    /// Reads a JSON object and checks it against what its manifest says.
    pub async fn json<T: DeserializeOwned>(&self, object: &str, sum: &ObjectSum) -> Result<T> {
        let key = self.key(object);
        let place = self.store.place(&key);
        let bytes = match self.store.get(&key).await {
            Err(StoreError::NotFound { .. }) => {
                return Err(Error::Damaged { place, why: "it is missing".to_owned() });
            }
            bytes => bytes?,
        };
        if bytes.len() as u64 != sum.bytes {
            let why = format!("it has {} bytes where {} were written", bytes.len(), sum.bytes);
            return Err(Error::Damaged { place, why });
        }
        if escape::hex(&Sha256::digest(&bytes)) != sum.sha256 {
            return Err(Error::Damaged { place, why: "its SHA-256 does not match".to_owned() });
        }
        parse(&bytes, &place)
    }
}

/// A JSON object as it is written.
#[derive(Debug)]
pub struct Document {
    bytes: Vec<u8>,
    sum: ObjectSum,
}

impl Document {
    /// Writes it into memory.
    pub fn new(value: &impl Serialize) -> Self {
        let mut bytes = serde_json::to_vec_pretty(value).expect("manifests have string keys only");
        bytes.push(b'\n');
        let sum =
            ObjectSum { bytes: bytes.len() as u64, sha256: escape::hex(&Sha256::digest(&bytes)) };
        Self { bytes, sum }
    }

    /// What is written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What a manifest says of it.
    pub fn sum(&self) -> &ObjectSum {
        &self.sum
    }
}

#[derive(serde::Deserialize)]
struct FormatOnly {
    format_version: u32,
}

fn parse<T: DeserializeOwned>(bytes: &[u8], place: &str) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|why| Error::Damaged { place: place.to_owned(), why: why.to_string() })
}
