//! From settings to the things they describe.

use std::path::Path;
use std::sync::Arc;

use app::SettingsError;
use artifact::Store;
use artifact::store::{Bucket, BucketSettings, Folder};
use kafka::Cluster;
use registry::{Auth, Client};

use crate::exit::Failure;
use crate::settings::Servers;
use crate::settings::job::{Backend, SchemaRegistry, Storage, Urls};

/// The cluster behind `bootstrap_servers`.
pub(crate) fn cluster(file: &Path, section: &str, servers: &Servers) -> Result<Cluster, Failure> {
    let addresses = servers
        .addresses()
        .map_err(|why| SettingsError::new(file, format!("{section}.bootstrap_servers: {why}")))?;
    Ok(Cluster::new(addresses))
}

/// The store of the `storage` section.
pub(crate) async fn store(file: &Path, storage: &Storage) -> Result<Arc<dyn Store>, Failure> {
    let missing = |key: &str, backend: &str| {
        SettingsError::new(file, format!("storage: `{key}` is missing for backend {backend}"))
    };
    match storage.backend {
        Backend::Filesystem => {
            let path = storage.path.as_ref().ok_or_else(|| missing("path", "filesystem"))?;
            Ok(Arc::new(Folder::new(path)))
        }
        Backend::S3 => {
            let bucket = storage.bucket.as_ref().ok_or_else(|| missing("bucket", "s3"))?;
            let credentials = match (&storage.access_key_id, &storage.secret_access_key) {
                (Some(id), Some(secret)) => Some((id.clone(), secret.expose().to_owned())),
                (None, None) => None,
                (Some(_), None) => return Err(missing("secret_access_key", "s3").into()),
                (None, Some(_)) => return Err(missing("access_key_id", "s3").into()),
            };
            let prefix = storage.prefix.as_deref().unwrap_or_default();
            let settings = BucketSettings {
                bucket: bucket.clone(),
                prefix: prefix.trim_matches('/').to_owned(),
                region: storage.region.clone(),
                endpoint: storage.endpoint.clone(),
                path_style: storage.path_style,
                credentials,
            };
            Ok(Arc::new(Bucket::open(settings).await))
        }
    }
}

/// The store at a path, or at `s3://bucket/prefix` with AWS's standard environment.
pub(crate) async fn store_at(place: &str) -> Result<Arc<dyn Store>, Failure> {
    let Some(rest) = place.strip_prefix("s3://") else {
        return Ok(Arc::new(Folder::new(place)));
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(Failure::Usage(format!("`{place}` names no bucket; write s3://bucket/prefix")));
    }
    let settings = BucketSettings {
        bucket: bucket.to_owned(),
        prefix: prefix.trim_matches('/').to_owned(),
        // What AWS's own tools read, for services other than AWS's.
        path_style: std::env::var_os("AWS_ENDPOINT_URL").is_some(),
        ..BucketSettings::default()
    };
    Ok(Arc::new(Bucket::open(settings).await))
}

/// The registry of the `schema_registry` section.
pub(crate) fn registry(file: &Path, settings: &SchemaRegistry) -> Result<Client, Failure> {
    let urls = match &settings.url {
        Urls::One(url) => vec![url.clone()],
        Urls::Several(urls) => urls.clone(),
    };
    let auth = match &settings.auth {
        None => Auth::None,
        Some(basic) => {
            let (username, password) = (basic.username.clone(), basic.password.guarded());
            Auth::Basic { username, password }
        }
    };
    let settings = registry::Settings {
        urls,
        auth,
        requests_per_second: settings.rate_limit.requests_per_second,
        ..registry::Settings::new("")
    };
    Client::new(&settings).map_err(|why| SettingsError::new(file, why).into())
}
