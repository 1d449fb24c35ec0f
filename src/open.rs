//! From settings to the things they describe.

mod map;

use std::path::Path;
use std::sync::Arc;

use app::SettingsError;
use artifact::Store;
use artifact::store::{Bucket, BucketSettings, Folder};
use async_trait::async_trait;
use kafka::security::{Certificates, PasswordMechanism, Sasl, TokenSource};
use kafka::{Cluster, Security};
use registry::client::{OAuth, Retry, Tokens};
use registry::{Auth, Client};
use secrecy::SecretString;

use crate::exit::Failure;
use crate::settings::job::{Backend, Job, Mechanism, Protocol, Storage};
use crate::settings::registry::{AuthKind, SchemaRegistry};
use crate::settings::{self, Servers};

pub(crate) use map::MapPlace;

/// The cluster of the `source` or `target` section.
pub(crate) fn cluster(
    file: &Path,
    section: &str,
    servers: &Servers,
    settings: &settings::job::Security,
) -> Result<Cluster, Failure> {
    let addresses = servers
        .addresses()
        .map_err(|why| SettingsError::new(file, format!("{section}.bootstrap_servers: {why}")))?;
    let security = security(settings)
        .map_err(|why| SettingsError::new(file, format!("{section}.security: {why}")))?;
    Ok(Cluster::new(addresses, security))
}

pub(crate) fn security(settings: &settings::job::Security) -> Result<Security, String> {
    let protocol = settings.security_protocol;
    let mut security = Security::default();
    if matches!(protocol, Protocol::Ssl | Protocol::SaslSsl) {
        let read = |key: &str, path: Option<&Path>| match path {
            None => Ok(None),
            Some(path) => match std::fs::read_to_string(path) {
                Ok(pem) => Ok(Some(pem)),
                Err(why) => Err(format!("{key}: {}: {why}", path.display())),
            },
        };
        let own = read("ssl_certificate_location", settings.ssl_certificate_location.as_deref())?;
        let key = read("ssl_key_location", settings.ssl_key_location.as_deref())?;
        let own = match (own, key) {
            (None, None) => None,
            (Some(own), Some(key)) => Some((own, key.into())),
            (Some(_), None) => return Err("`ssl_key_location` is missing".to_owned()),
            (None, Some(_)) => return Err("`ssl_certificate_location` is missing".to_owned()),
        };
        let authorities = read("ssl_ca_location", settings.ssl_ca_location.as_deref())?;
        security = security.with_tls(&Certificates { authorities, own })?;
    }
    let wants_sasl = matches!(protocol, Protocol::SaslPlaintext | Protocol::SaslSsl);
    match (wants_sasl, settings.sasl_mechanism) {
        (false, None) => Ok(security),
        (false, Some(_)) => {
            Err("`sasl_mechanism` needs `security_protocol: SASL_SSL` or SASL_PLAINTEXT".to_owned())
        }
        (true, None) => Err("`sasl_mechanism` is missing".to_owned()),
        (true, Some(mechanism)) => Ok(security.with_sasl(sasl(settings, mechanism)?)),
    }
}

fn sasl(settings: &settings::job::Security, mechanism: Mechanism) -> Result<Sasl, String> {
    let missing = |key: &str| format!("`{key}` is missing");
    let mechanism = match mechanism {
        Mechanism::Plain => PasswordMechanism::Plain,
        Mechanism::ScramSha256 => PasswordMechanism::ScramSha256,
        Mechanism::ScramSha512 => PasswordMechanism::ScramSha512,
        Mechanism::OauthBearer => {
            let (url, id, secret) = (
                settings.sasl_oauthbearer_token_endpoint_url.clone(),
                settings.sasl_oauthbearer_client_id.clone(),
                settings.sasl_oauthbearer_client_secret.as_ref(),
            );
            let oauth = OAuth {
                token_url: url.ok_or_else(|| missing("sasl_oauthbearer_token_endpoint_url"))?,
                client_id: id.ok_or_else(|| missing("sasl_oauthbearer_client_id"))?,
                client_secret: secret
                    .ok_or_else(|| missing("sasl_oauthbearer_client_secret"))?
                    .guarded(),
                scope: settings.sasl_oauthbearer_scope.clone(),
            };
            let tokens = Tokens::new(oauth).map_err(|why| why.to_string())?;
            return Ok(Sasl::Bearer(Arc::new(BearerTokens(tokens))));
        }
    };
    Ok(Sasl::Password {
        mechanism,
        username: settings.sasl_username.clone().ok_or_else(|| missing("sasl_username"))?,
        password: settings
            .sasl_password
            .as_ref()
            .ok_or_else(|| missing("sasl_password"))?
            .guarded(),
    })
}

/// The registry's token client, for brokers.
#[derive(Debug)]
struct BearerTokens(Tokens);

#[async_trait]
impl TokenSource for BearerTokens {
    async fn token(&self) -> Result<SecretString, String> {
        self.0.token().await.map_err(|why| match why {
            registry::Error::Unauthorized { url, status } => {
                format!("{url} refused the client credentials (HTTP {status})")
            }
            other => other.to_string(),
        })
    }
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
        Backend::Azure | Backend::Gcs => {
            let why = "storage: there are filesystem and s3; azure and gcs are not there yet";
            Err(SettingsError::new(file, why).into())
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

/// The registry at a URL, or the one that a settings file names, with its credentials.
pub(crate) fn registry_at(place: &str) -> Result<Client, Failure> {
    if place.starts_with("http://") || place.starts_with("https://") {
        let client = Client::new(&registry::Settings::new(place));
        return client.map_err(|why| Failure::Usage(why.to_string()));
    }
    let file = Path::new(place);
    let job: Job = app::settings::load(file)?;
    match job.registry() {
        Some(settings) => registry(file, settings),
        None => Err(SettingsError::new(file, "it names no `enterprise.schema_registry`").into()),
    }
}

/// The registry of the `schema_registry` section.
pub(crate) fn registry(file: &Path, settings: &SchemaRegistry) -> Result<Client, Failure> {
    let retry = &settings.retry;
    let tls = &settings.tls;
    let settings = registry::Settings {
        urls: settings.url.to_vec(),
        auth: auth(file, settings)?,
        ca_certificates: pem(file, "ca_cert", tls.ca_cert.as_deref())?,
        client_certificate: pem(file, "client_cert", tls.client_cert.as_deref())?,
        client_key: pem(file, "client_key", tls.client_key.as_deref())?.map(Into::into),
        requests_per_second: settings.rate_limit.requests_per_second,
        retry: Retry {
            max_attempts: retry.max_attempts,
            initial_backoff: retry.initial_backoff.0,
            max_backoff: retry.max_backoff.0,
        },
        ..registry::Settings::new("")
    };
    Client::new(&settings).map_err(|why| SettingsError::new(file, why).into())
}

fn auth(file: &Path, settings: &SchemaRegistry) -> Result<Auth, Failure> {
    let Some(auth) = &settings.auth else { return Ok(Auth::None) };
    let missing = |key: &str| {
        let kind = format!("{:?}", auth.kind).to_lowercase();
        SettingsError::new(file, format!("schema_registry.auth: `{key}` is missing for {kind}"))
    };
    Ok(match auth.kind {
        AuthKind::Basic => Auth::Basic {
            username: auth.username.clone().ok_or_else(|| missing("username"))?,
            password: auth.password.as_ref().ok_or_else(|| missing("password"))?.guarded(),
        },
        AuthKind::Mtls => {
            if settings.tls.client_cert.is_none() || settings.tls.client_key.is_none() {
                let why = "schema_registry.tls: mtls needs `client_cert` and `client_key`";
                return Err(SettingsError::new(file, why).into());
            }
            Auth::None
        }
        AuthKind::Oauth => Auth::OAuth(OAuth {
            token_url: auth.token_url.clone().ok_or_else(|| missing("token_url"))?,
            client_id: auth.client_id.clone().ok_or_else(|| missing("client_id"))?,
            client_secret: auth
                .client_secret
                .as_ref()
                .ok_or_else(|| missing("client_secret"))?
                .guarded(),
            scope: auth.scope.clone(),
        }),
    })
}

fn pem(file: &Path, key: &str, path: Option<&Path>) -> Result<Option<String>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let read = std::fs::read_to_string(path);
    let fail = |why| {
        SettingsError::new(file, format!("schema_registry.tls.{key}: {}: {why}", path.display()))
    };
    Ok(Some(read.map_err(fail)?))
}
