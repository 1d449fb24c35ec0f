//! Tokens by OAuth 2.0 client credentials (RFC 6749, 4.4), kept until shortly before they end.

use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::client::{innermost, shown};
use crate::{Error, Result};

/// Where tokens come from, and who asks for them.
#[derive(Debug, Clone)]
pub struct OAuth {
    /// The token endpoint.
    pub token_url: String,
    /// The client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
    /// What the token is for.
    pub scope: Option<String>,
}

/// Asks for a token once, whoever needs it, and again when it is about to end.
#[derive(Debug)]
pub struct Tokens {
    http: reqwest::Client,
    settings: OAuth,
    /// Held while a token is asked for, so that everyone waits for the same one.
    current: Mutex<Option<Token>>,
}

#[derive(Debug)]
struct Token {
    value: SecretString,
    renew_at: Instant,
}

#[derive(Deserialize)]
struct Answer {
    access_token: SecretText,
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct SecretText(String);

/// The longest that the token endpoint may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A token is renewed this long before it ends.
const MARGIN: Duration = Duration::from_secs(30);
/// Where the server does not say how long a token lasts.
const DEFAULT_LIFE: Duration = Duration::from_mins(5);

impl Tokens {
    /// Trusts the system's authorities.
    pub fn new(settings: OAuth) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build();
        let http = http.map_err(|why| Error::Settings(format!("no HTTP client: {why}")))?;
        Ok(Self::with_client(settings, http))
    }

    pub(crate) fn with_client(settings: OAuth, http: reqwest::Client) -> Self {
        Self { http, settings, current: Mutex::default() }
    }

    /// A token that is good for a while.
    pub async fn token(&self) -> Result<SecretString> {
        let mut current = self.current.lock().await;
        if let Some(token) = current.as_ref().filter(|it| Instant::now() < it.renew_at) {
            return Ok(token.value.clone());
        }
        let token = self.ask().await?;
        let value = token.value.clone();
        *current = Some(token);
        Ok(value)
    }

    /// Forgets a token that the registry refused; another one may have come meanwhile.
    pub(crate) async fn refused(&self, token: &SecretString) {
        let mut current = self.current.lock().await;
        let same = |it: &Token| it.value.expose_secret() == token.expose_secret();
        if current.as_ref().is_some_and(same) {
            *current = None;
        }
    }

    async fn ask(&self) -> Result<Token> {
        let settings = &self.settings;
        let url = crate::client::parse(&settings.token_url)?;
        let address = shown(&url);
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(settings.scope.as_deref().map(|it| ("scope", it)));
        let answer = self
            .http
            .post(url)
            .basic_auth(&settings.client_id, Some(settings.client_secret.expose_secret()))
            .form(&form)
            .send()
            .await
            .map_err(|why| Error::Unreachable { url: address.clone(), why: innermost(&why) })?;
        let status = answer.status();
        if status.is_client_error() {
            return Err(Error::Unauthorized { url: address, status: status.as_u16() });
        }
        if !status.is_success() {
            let why = format!("the token endpoint answered HTTP {}", status.as_u16());
            return Err(Error::Unreachable { url: address, why });
        }
        // The library's error could quote the token.
        let answer: Answer = answer.json().await.map_err(|_| Error::NotARegistry {
            url: address,
            why: "the token endpoint's answer has no access_token".to_owned(),
        })?;
        let life = answer.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs);
        let renew_at = Instant::now() + life.saturating_sub(MARGIN.min(life / 2));
        Ok(Token { value: answer.access_token.0.into(), renew_at })
    }
}
