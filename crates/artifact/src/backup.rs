use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::manifest::{FORMAT_VERSION, Manifest, ObjectSum, RegistryManifest, Segment};
use crate::store::{Store, StoreError};
use crate::{Error, Result, escape, layout};

/// One backup in a store.
#[derive(Debug, Clone)]
pub struct Backup {
    store: Arc<dyn Store>,
    id: String,
    /// The JSON objects that its manifest lists, by their usual places.
    listed: Arc<BTreeMap<String, ObjectSum>>,
}

impl Backup {
    /// Names a backup; nothing is read or written.
    pub fn new(store: Arc<dyn Store>, id: &str) -> Self {
        Self { store, id: id.to_owned(), listed: Arc::default() }
    }

    /// The same backup, to be added to: what its manifest lists stays as it is until the next
    /// manifest takes its place. `registry` is the registry's part of it.
    #[must_use]
    pub fn continued(&self, manifest: &Manifest, registry: Option<&RegistryManifest>) -> Self {
        let mut listed = BTreeMap::new();
        for topic in &manifest.topics {
            listed.insert(layout::topic(&topic.name), topic.facts.clone());
        }
        listed.extend(manifest.groups.clone().map(|it| (layout::GROUPS.to_owned(), it)));
        if let Some(part) = &manifest.schema_registry {
            listed.extend(registry.iter().flat_map(|it| it.objects.clone()));
            listed.insert(layout::REGISTRY_MANIFEST.to_owned(), part.manifest.clone());
        }
        Self { listed: Arc::new(listed), ..self.clone() }
    }

    /// Deletes what the manifest before `self` was continued listed and `now` does not.
    pub async fn drop_superseded(&self, now: &Self) -> Result<()> {
        let places = |of: &Self| -> BTreeSet<String> {
            of.listed.iter().map(|(usual, sum)| sum.place(usual).to_owned()).collect()
        };
        for place in places(self).difference(&places(now)) {
            self.remove(place).await?;
        }
        Ok(())
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

    /// Reads `manifest.json`, where there is one.
    pub async fn find_manifest(&self) -> Result<Option<Manifest>> {
        match self.manifest().await {
            Ok(manifest) => Ok(Some(manifest)),
            Err(Error::NoBackup { .. } | Error::Unfinished { .. }) => Ok(None),
            Err(why) => Err(why),
        }
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

    /// Writes a JSON object, unless it is there as it is, and gives what a manifest says of it.
    pub async fn put_json(&self, object: &str, value: &impl Serialize) -> Result<ObjectSum> {
        let document = Document::new(value);
        let (sum, is_new) = self.place_for(object, &document);
        if is_new {
            self.put(sum.place(object), document.bytes.into()).await?;
        }
        Ok(sum)
    }

    /// Where a JSON object has to be written, and whether it has to be at all.
    pub fn place_for(&self, object: &str, document: &Document) -> (ObjectSum, bool) {
        let mut sum = document.sum.clone();
        match self.listed.get(object) {
            Some(listed) if listed.sha256 == sum.sha256 => (listed.clone(), false),
            Some(_) => {
                sum.object = Some(layout::changed(object, &sum.sha256));
                (sum, true)
            }
            None => (sum, true),
        }
    }

    /// The objects whose places begin so, sorted.
    pub async fn objects(&self, prefix: &str) -> Result<Vec<String>> {
        let own = self.key("");
        let keys = self.store.list(&self.key(prefix)).await?;
        Ok(keys.iter().filter_map(|it| it.strip_prefix(&own)).map(str::to_owned).collect())
    }

    /// Removes an object; one that is not there is no error.
    pub async fn remove(&self, object: &str) -> Result<()> {
        Ok(self.store.delete(&self.key(object)).await?)
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
        let key = self.key(sum.place(object));
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
        let sum = ObjectSum::of(&bytes);
        Self { bytes, sum }
    }

    /// What is written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
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
