//! An id map where it lies: in a file, in S3, or at an address.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use artifact::Store;
use artifact::store::StoreError;
use async_trait::async_trait;
use proxy::MapSource;
use reqwest::StatusCode;
use reqwest::header::AUTHORIZATION;
use secrecy::{ExposeSecret, SecretString};
use wire::id_map::MapFile;

use super::store_at;
use crate::exit::Failure;

/// Where an id map lies.
#[derive(Debug)]
pub(crate) struct MapPlace {
    /// As the user wrote it.
    name: String,
    kind: Kind,
}

enum Kind {
    Object { store: Arc<dyn Store>, key: String },
    Address { client: reqwest::Client, authorization: Option<SecretString> },
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Object { .. } => "Object",
            Self::Address { .. } => "Address",
        })
    }
}

const TIMEOUT: Duration = Duration::from_secs(10);
/// A million ids take about 20 MB.
const MOST_BYTES: usize = 256 << 20;

impl MapPlace {
    /// A path, `s3://bucket/key`, or an address; nothing is read yet.
    pub(crate) async fn at(
        place: &str,
        authorization: Option<SecretString>,
    ) -> Result<Self, Failure> {
        let name = place.to_owned();
        if place.starts_with("http://") || place.starts_with("https://") {
            let client = reqwest::Client::builder().timeout(TIMEOUT).build();
            let client = client.map_err(|why| Failure::Usage(format!("id map {place}: {why}")))?;
            return Ok(Self { name, kind: Kind::Address { client, authorization } });
        }
        if authorization.is_some() {
            let why = format!("id map {place}: `authorization` is for addresses");
            return Err(Failure::Usage(why));
        }
        let (store, key) = match place.rsplit_once('/') {
            Some((folder, key)) if place.starts_with("s3://") => (store_at(folder).await?, key),
            _ => (store_at("").await?, place),
        };
        Ok(Self { name, kind: Kind::Object { store, key: key.to_owned() } })
    }

    /// Its text as it is now.
    pub(crate) async fn read(&self) -> Result<String, Failure> {
        let bytes = match &self.kind {
            Kind::Object { store, key } => match store.get(key).await {
                Ok(bytes) => bytes.to_vec(),
                Err(StoreError::NotFound { .. }) => {
                    return Err(Failure::Usage(format!("id map {} does not exist", self.name)));
                }
                Err(error) => return Err(Failure::Failed(format!("id map: {error}"))),
            },
            Kind::Address { client, authorization } => {
                self.get(client, authorization.as_ref()).await?
            }
        };
        String::from_utf8(bytes)
            .map_err(|why| Failure::Usage(format!("id map {}: {why}", self.name)))
    }

    async fn get(
        &self,
        client: &reqwest::Client,
        authorization: Option<&SecretString>,
    ) -> Result<Vec<u8>, Failure> {
        let failed =
            |why: &dyn fmt::Display| Failure::Failed(format!("id map {}: {why}", self.name));
        let mut request = client.get(&self.name);
        if let Some(shown) = authorization {
            request = request.header(AUTHORIZATION, shown.expose_secret());
        }
        // reqwest's own text names the address once more.
        let mut response = request.send().await.map_err(|why| failed(&why.without_url()))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                return Err(Failure::Usage(format!("id map {} does not exist", self.name)));
            }
            status => return Err(failed(&format!("HTTP {status}"))),
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|why| failed(&why.without_url()))? {
            if bytes.len() + chunk.len() > MOST_BYTES {
                return Err(failed(&"it is larger than 256 MiB"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// The map as it is now.
    pub(crate) async fn map(&self) -> Result<MapFile, Failure> {
        self.parse(&self.read().await?)
    }

    /// The map that was read.
    pub(crate) fn parse(&self, text: &str) -> Result<MapFile, Failure> {
        MapFile::parse(text).map_err(|why| Failure::Usage(format!("id map {}: {why}", self.name)))
    }
}

#[async_trait]
impl MapSource for MapPlace {
    async fn text(&self) -> Result<String, String> {
        self.read().await.map_err(|why| why.to_string())
    }
}
