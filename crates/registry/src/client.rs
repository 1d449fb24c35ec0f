//! Asking a registry, politely (a rate limit) and stubbornly (retries).

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use governor::DefaultDirectRateLimiter;
use governor::Quota;
use reqwest::{Certificate, Identity, Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use crate::oauth::{OAuth, Tokens};
use crate::{Error, Result, Schema, Version};

/// How to reach a registry.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its addresses; each request tries them in order.
    pub urls: Vec<String>,
    /// Who we are.
    pub auth: Auth,
    /// Who may have signed the registry's certificate, PEM; `None` for the system's authorities.
    pub ca_certificates: Option<String>,
    /// Our certificate, PEM.
    pub client_certificate: Option<String>,
    /// Its key, PEM.
    pub client_key: Option<SecretString>,
    /// The most requests in one second, retries included.
    pub requests_per_second: NonZeroU32,
    /// When to try again.
    pub retry: Retry,
    /// The longest that one request may take.
    pub timeout: Duration,
}

/// Who we are to the registry.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Nobody.
    None,
    /// HTTP basic.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: SecretString,
    },
    /// A bearer token by client credentials.
    OAuth(OAuth),
}

/// When to try again after a reset, a timeout, 429 or 5xx.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// How often to ask in all.
    pub max_attempts: usize,
    /// The first wait; each further one is twice as long, with jitter.
    pub initial_backoff: Duration,
    /// The longest wait, `Retry-After` excepted.
    pub max_backoff: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            initial_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(10),
        }
    }
}

/// Confluent Cloud allows 25 requests a second to one API key.
const REQUESTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(25).expect("25 is not zero");

/// The longest that `Retry-After` can make us wait.
const RETRY_AFTER_LIMIT: Duration = Duration::from_mins(2);

impl Settings {
    /// The defaults for a registry at one address.
    pub fn new(url: &str) -> Self {
        Self {
            urls: vec![url.to_owned()],
            auth: Auth::None,
            ca_certificates: None,
            client_certificate: None,
            client_key: None,
            requests_per_second: REQUESTS_PER_SECOND,
            retry: Retry::default(),
            timeout: Duration::from_secs(30),
        }
    }
}

/// A registry.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    urls: Vec<Url>,
    auth: Arc<Credentials>,
    limiter: Arc<DefaultDirectRateLimiter>,
    requests_per_second: NonZeroU32,
    retry: Retry,
}

/// What goes with each request.
#[derive(Debug)]
enum Credentials {
    None,
    Basic { username: String, password: SecretString },
    Tokens(Tokens),
}

/// One request, whichever address takes it and however often it is tried.
struct Call<'a> {
    method: Method,
    path: &'a [&'a str],
    query: &'a [(&'a str, String)],
    body: Option<&'a Value>,
}

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

impl Client {
    /// Checks the settings; the registry is not asked yet.
    pub fn new(settings: &Settings) -> Result<Self> {
        let urls: Vec<Url> = settings.urls.iter().map(|url| parse(url)).collect::<Result<_>>()?;
        if urls.is_empty() {
            return Err(Error::Settings("schema_registry.url names no registry".to_owned()));
        }
        let http = tls(reqwest::Client::builder(), settings)?
            .timeout(settings.timeout)
            .connect_timeout(settings.timeout.min(Duration::from_secs(10)))
            .user_agent(concat!("kafka-backup/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|why| Error::Settings(format!("no HTTP client: {}", innermost(&why))))?;
        let limiter =
            DefaultDirectRateLimiter::direct(Quota::per_second(settings.requests_per_second));
        let auth = match settings.auth.clone() {
            Auth::None => Credentials::None,
            Auth::Basic { username, password } => Credentials::Basic { username, password },
            Auth::OAuth(oauth) => Credentials::Tokens(Tokens::with_client(oauth, http.clone())),
        };
        let (auth, limiter) = (Arc::new(auth), Arc::new(limiter));
        let (requests_per_second, retry) = (settings.requests_per_second, settings.retry);
        Ok(Self { http, urls, auth, limiter, requests_per_second, retry })
    }

    /// The most requests in one second.
    pub fn requests_per_second(&self) -> u32 {
        self.requests_per_second.get()
    }

    /// The address, without credentials.
    pub fn url(&self) -> String {
        shown(&self.urls[0])
    }

    /// All subjects of every context; soft-deleted ones too where asked for.
    pub async fn subjects(&self, deleted: bool) -> Result<Vec<String>> {
        let query = [("deleted", deleted.to_string())];
        self.get(&["subjects"], &query).await
    }

    /// The numbers of a subject's versions, ascending; soft-deleted ones too where asked for.
    /// `None` where it has none.
    pub async fn versions(&self, subject: &str, deleted: bool) -> Result<Option<Vec<u32>>> {
        let query = [("deleted", deleted.to_string())];
        if_set(self.get(&["subjects", subject, "versions"], &query).await)
    }

    /// One version of a subject; a soft-deleted one only where `deleted` is set.
    pub async fn version(&self, subject: &str, version: u32, deleted: bool) -> Result<Version> {
        let path = ["subjects", subject, "versions", &version.to_string()];
        self.get(&path, &[("deleted", deleted.to_string())]).await
    }

    /// The contexts, `.` being the default one. `None` where the registry has no such thing.
    pub async fn contexts(&self) -> Result<Option<Vec<String>>> {
        if_set(self.get(&["contexts"], &[]).await)
    }

    /// A schema by its id in a context (`.` is the default one), `None` where there is none.
    /// Soft-deleted versions' schemas are there too.
    pub async fn schema(&self, id: u32, context: &str) -> Result<Option<Schema>> {
        if_set(self.get(&["schemas", "ids", &id.to_string()], &of_context(context)).await)
    }

    /// Which versions of which subjects have the id, soft-deleted ones too.
    pub async fn users(&self, id: u32, context: &str) -> Result<Vec<(String, u32)>> {
        let mut query = of_context(context);
        query.push(("deleted", "true".to_owned()));
        let path = ["schemas", "ids", &id.to_string(), "versions"];
        let users: Option<Vec<User>> = if_set(self.get(&path, &query).await)?;
        Ok(users.unwrap_or_default().into_iter().map(|it| (it.subject, it.version)).collect())
    }

    /// Ids of the schemas that reference a version.
    pub async fn referencing(&self, subject: &str, version: u32) -> Result<Vec<u32>> {
        let path = ["subjects", subject, "versions", &version.to_string(), "referencedby"];
        Ok(if_set(self.get(&path, &[]).await)?.unwrap_or_default())
    }

    /// Why the schema can't follow the subject's latest version; none where it can, or where the
    /// registry does not tell.
    pub async fn conflicts(&self, subject: &str, schema: &Schema) -> Result<Vec<String>> {
        let path = ["compatibility", "subjects", subject, "versions", "latest"];
        let query = [("verbose", "true".to_owned())];
        let answer: Option<Compatibility> =
            if_set(self.send(Method::POST, &path, &query, &json!(schema)).await)?;
        Ok(match answer {
            Some(Compatibility { is_compatible: false, messages }) if messages.is_empty() => {
                vec!["it gave no reason".to_owned()]
            }
            Some(Compatibility { is_compatible: false, messages }) => messages,
            _ => Vec::new(),
        })
    }

    /// The config of a subject, or the global one. `None` where none is set or offered.
    pub async fn config(&self, subject: Option<&str>) -> Result<Option<Value>> {
        let mut path = vec!["config"];
        path.extend(subject);
        if_set(self.get(&path, &[]).await)
    }

    /// The mode of a subject, or the global one. `None` where none is set or offered.
    pub async fn mode(&self, subject: Option<&str>) -> Result<Option<String>> {
        let mut path = vec!["mode"];
        path.extend(subject);
        let answer: Option<Mode> = if_set(self.get(&path, &[]).await)?;
        Ok(answer.map(|it| it.mode))
    }

    /// The registry's version, where it tells.
    pub async fn server_version(&self) -> Result<Option<String>> {
        let answer: Option<ServerVersion> =
            if_set(self.get(&["v1", "metadata", "version"], &[]).await)?;
        Ok(answer.map(|it| it.version))
    }

    /// The id of the registry's cluster, where it tells.
    pub async fn cluster_id(&self) -> Result<Option<String>> {
        let answer: Option<ServerId> = if_set(self.get(&["v1", "metadata", "id"], &[]).await)?;
        Ok(answer.and_then(|it| it.id.as_str().map(str::to_owned)))
    }

    /// Registers a schema and gives its id. The same schema again gives the same id.
    ///
    /// No version is sent: a registry would store it as metadata, which makes another schema of it.
    pub async fn register(&self, subject: &str, schema: &Schema) -> Result<u32> {
        let path = ["subjects", subject, "versions"];
        let answer: Registered = self.send(Method::POST, &path, &[], &json!(schema)).await?;
        Ok(answer.id)
    }

    /// Registers a schema with an id and a version of our choice; the subject is in IMPORT mode.
    ///
    /// The registry replaces another schema with this version without a word: look before.
    pub async fn import(
        &self,
        subject: &str,
        (id, version): (u32, u32),
        schema: &Schema,
    ) -> Result<()> {
        let mut body = json!(schema);
        body["id"] = id.into();
        body["version"] = version.into();
        let path = ["subjects", subject, "versions"];
        self.send::<Value>(Method::POST, &path, &[], &body).await?;
        Ok(())
    }

    /// The version of the subject that has this schema, `None` where it has none. Soft-deleted
    /// versions count only where `deleted` is set.
    pub async fn lookup(
        &self,
        subject: &str,
        schema: &Schema,
        deleted: bool,
    ) -> Result<Option<Version>> {
        let query = [("deleted", deleted.to_string())];
        if_set(self.send(Method::POST, &["subjects", subject], &query, &json!(schema)).await)
    }

    /// Soft-deletes a version; one that is deleted already is no error.
    pub async fn delete_version(&self, subject: &str, version: u32) -> Result<()> {
        let path = ["subjects", subject, "versions", &version.to_string()];
        match self.delete(&path, &[]).await {
            Err(error) if error.code() == Some(ALREADY_SOFT_DELETED) => Ok(()),
            result => result,
        }
    }

    /// Removes a subject's own config, if it has one.
    pub async fn delete_config(&self, subject: &str) -> Result<()> {
        if_set(self.delete(&["config", subject], &[]).await)?;
        Ok(())
    }

    /// Removes a subject's own mode, if it has one.
    pub async fn delete_mode(&self, subject: &str) -> Result<()> {
        if_set(self.delete(&["mode", subject], &[]).await)?;
        Ok(())
    }

    /// Sets a subject's config, or the global one, as [`Self::config`] gave it.
    pub async fn set_config(&self, subject: Option<&str>, config: &Value) -> Result<()> {
        let mut path = vec!["config"];
        path.extend(subject);
        let mut config = config.clone();
        // GET and PUT name the level differently.
        if let Some(fields) = config.as_object_mut()
            && let Some(level) = fields.remove("compatibilityLevel")
        {
            fields.insert("compatibility".to_owned(), level);
        }
        self.send::<Value>(Method::PUT, &path, &[], &config).await?;
        Ok(())
    }

    /// Sets a subject's mode, or the global one. IMPORT is refused where there are versions, unless
    /// `force` is set.
    pub async fn set_mode(&self, subject: Option<&str>, mode: &str, force: bool) -> Result<()> {
        let mut path = vec!["mode"];
        path.extend(subject);
        let query = [("force", force.to_string())];
        let query = if force { &query[..] } else { &[] };
        self.send::<Value>(Method::PUT, &path, query, &json!({ "mode": mode })).await?;
        Ok(())
    }

    async fn delete(&self, path: &[&str], query: &[(&str, String)]) -> Result<()> {
        let call = Call { method: Method::DELETE, path, query, body: None };
        self.ask::<Value>(&call).await?;
        Ok(())
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T> {
        self.ask(&Call { method: Method::GET, path, query, body: None }).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: &Value,
    ) -> Result<T> {
        self.ask(&Call { method, path, query, body: Some(body) }).await
    }

    async fn ask<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T> {
        let once = || self.any_of_the_urls(call);
        let backoff = ExponentialBuilder::default()
            .with_min_delay(self.retry.initial_backoff)
            .with_max_delay(self.retry.max_backoff)
            .with_max_times(self.retry.max_attempts.saturating_sub(1))
            .with_jitter();
        let answer = once
            .retry(backoff)
            .when(Error::is_transient)
            .adjust(|error, wait| match error {
                Error::Answer { retry_after: Some(seconds), .. } => {
                    wait.map(|_| Duration::from_secs(*seconds).min(RETRY_AFTER_LIMIT))
                }
                _ => wait,
            })
            .notify(|error, wait| {
                let wait = wait.as_millis();
                tracing::warn!("{error}; asking again in {wait} ms");
            })
            .await;
        let (url, text) = answer?;
        serde_json::from_str(&text).map_err(|why| Error::NotARegistry { url, why: why.to_string() })
    }

    /// Asks the addresses in order until one can be reached.
    async fn any_of_the_urls(&self, call: &Call<'_>) -> Result<(String, String)> {
        let mut last = None;
        for base in &self.urls {
            match self.authorized(base, call).await {
                Err(error @ Error::Unreachable { .. }) => last = Some(error),
                answer => return answer,
            }
        }
        Err(last.expect("there is one address at least"))
    }

    /// With a token, where we have those: a refused one is renewed once.
    async fn authorized(&self, base: &Url, call: &Call<'_>) -> Result<(String, String)> {
        let Credentials::Tokens(tokens) = &*self.auth else {
            return self.once(base, call, None).await;
        };
        let token = tokens.token().await?;
        let answer = self.once(base, call, Some(&token)).await;
        if !matches!(answer, Err(Error::Unauthorized { status: 401, .. })) {
            return answer;
        }
        tokens.refused(&token).await;
        let token = tokens.token().await?;
        self.once(base, call, Some(&token)).await
    }

    async fn once(
        &self,
        base: &Url,
        call: &Call<'_>,
        token: Option<&SecretString>,
    ) -> Result<(String, String)> {
        self.limiter.until_ready().await;
        let mut url = base.clone();
        url.path_segments_mut()
            .expect("parse() took http and https only, which have paths")
            .pop_if_empty()
            .extend(call.path);
        let shown = shown(&url);
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query);
        }
        let mut request =
            self.http.request(call.method.clone(), url).header("Accept", CONTENT_TYPE);
        if let Credentials::Basic { username, password } = &*self.auth {
            request = request.basic_auth(username, Some(password.expose_secret()));
        }
        if let Some(token) = token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(body) = call.body {
            request = request.header("Content-Type", CONTENT_TYPE).body(body.to_string());
        }
        let unreachable =
            |why: reqwest::Error| Error::Unreachable { url: shown.clone(), why: innermost(&why) };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let retry_after = answer
            .headers()
            .get("Retry-After")
            .and_then(|it| it.to_str().ok()?.trim().parse().ok());
        let text = answer.text().await.map_err(unreachable)?;
        if status.is_success() {
            return Ok((shown, text));
        }
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(Error::Unauthorized { url: shown, status: status.as_u16() });
        }
        let refusal: Refusal = serde_json::from_str(&text).unwrap_or_default();
        let method = method_name(&call.method);
        let message = refusal
            .message
            .filter(|it| !it.is_empty())
            .unwrap_or_else(|| status.canonical_reason().unwrap_or("it gave no reason").to_owned());
        let (status, code) = (status.as_u16(), refusal.error_code);
        Err(Error::Answer { method, url: shown, status, code, message, retry_after })
    }
}

#[derive(Deserialize)]
struct Mode {
    mode: String,
}

#[derive(Deserialize)]
struct ServerVersion {
    version: String,
}

/// A string, or in some versions an object with more.
#[derive(Deserialize)]
struct ServerId {
    id: Value,
}

#[derive(Deserialize)]
struct Registered {
    id: u32,
}

#[derive(Deserialize)]
struct User {
    subject: String,
    version: u32,
}

#[derive(Deserialize)]
struct Compatibility {
    is_compatible: bool,
    #[serde(default)]
    messages: Vec<String>,
}

/// The registry's error code for a version that is soft-deleted already.
const ALREADY_SOFT_DELETED: u32 = 40406;

/// Ids of other contexts need a subject that names theirs.
fn of_context(context: &str) -> Vec<(&'static str, String)> {
    if context == "." { Vec::new() } else { vec![("subject", format!(":{context}:"))] }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error_code: u32,
    message: Option<String>,
}

/// 404 means that something is not set, or that this registry does not offer it.
fn if_set<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn tls(mut builder: reqwest::ClientBuilder, settings: &Settings) -> Result<reqwest::ClientBuilder> {
    let fail =
        |key: &str, why: String| Error::Settings(format!("schema_registry.tls.{key}: {why}"));
    if let Some(pem) = &settings.ca_certificates {
        let certificates = Certificate::from_pem_bundle(pem.as_bytes())
            .map_err(|why| fail("ca_cert", innermost(&why)))?;
        if certificates.is_empty() {
            return Err(fail("ca_cert", "there is no certificate in it".to_owned()));
        }
        builder = builder.tls_certs_only(certificates);
    }
    match (&settings.client_certificate, &settings.client_key) {
        (None, None) => Ok(builder),
        (Some(certificate), Some(key)) => {
            let pem = format!("{certificate}\n{}", key.expose_secret());
            let identity = Identity::from_pem(pem.as_bytes())
                .map_err(|why| fail("client_cert and client_key", innermost(&why)))?;
            Ok(builder.identity(identity))
        }
        (Some(_), None) => Err(fail("client_key", "it is missing beside client_cert".to_owned())),
        (None, Some(_)) => Err(fail("client_cert", "it is missing beside client_key".to_owned())),
    }
}

pub(crate) fn parse(url: &str) -> Result<Url> {
    match Url::parse(url) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        Ok(url) => {
            let scheme = url.scheme();
            Err(Error::Settings(format!("schema_registry.url: {scheme} is not http or https")))
        }
        Err(why) => Err(Error::Settings(format!("schema_registry.url `{url}`: {why}"))),
    }
}

/// The address without a user, a password and a query.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // These fail only on addresses that can't have credentials in the first place.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.to_string()
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "POST",
    }
}

/// The cause at the bottom says most: "Connection refused", not "error sending request".
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
