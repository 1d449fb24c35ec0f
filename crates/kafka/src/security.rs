//! Who a cluster's brokers are, and who we are to them: TLS and SASL.

use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use rsasl::prelude::{Mechname, SASLClient, SASLConfig, Session};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_platform_verifier::BuilderVerifierExt;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Address;

/// `security_protocol` and what it needs; the default is PLAINTEXT.
#[derive(Debug, Clone, Default)]
pub struct Security {
    tls: Option<Arc<ClientConfig>>,
    sasl: Option<Sasl>,
}

/// Certificates, PEM.
#[derive(Debug, Clone, Default)]
pub struct Certificates {
    /// Who may have signed the brokers' certificates; `None` for the system's authorities.
    pub authorities: Option<String>,
    /// Our certificate and its key.
    pub own: Option<(String, SecretString)>,
}

/// Who we are.
#[derive(Debug, Clone)]
pub enum Sasl {
    /// PLAIN (RFC 4616), SCRAM-SHA-256 or SCRAM-SHA-512 (RFC 5802).
    Password {
        /// Which of them.
        mechanism: PasswordMechanism,
        /// The user.
        username: String,
        /// The password.
        password: SecretString,
    },
    /// OAUTHBEARER (RFC 7628, KIP-255).
    Bearer(Arc<dyn TokenSource>),
}

/// How a password is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordMechanism {
    /// As it is: only within TLS.
    Plain,
    /// Proved.
    ScramSha256,
    /// Proved.
    ScramSha512,
}

/// Where bearer tokens come from.
#[async_trait]
pub trait TokenSource: fmt::Debug + Send + Sync {
    /// A token that is good for a while, or why there is none.
    async fn token(&self) -> Result<SecretString, String>;
}

/// A connection, with TLS or without.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Security {
    /// Adds TLS.
    ///
    /// # Errors
    ///
    /// Says which certificate or key can't be used.
    pub fn with_tls(mut self, certificates: &Certificates) -> Result<Self, String> {
        let builder = ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .map_err(|why| why.to_string())?;
        let builder = if let Some(pem) = &certificates.authorities {
            let mut roots = RootCertStore::empty();
            for certificate in certificates_of(pem, "ssl_ca_location")? {
                roots.add(certificate).map_err(|why| format!("ssl_ca_location: {why}"))?;
            }
            builder.with_root_certificates(roots)
        } else {
            builder.with_platform_verifier().map_err(|why| why.to_string())?
        };
        let config = match &certificates.own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates_of(certificate, "ssl_certificate_location")?;
                let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes())
                    .map_err(|why| format!("ssl_key_location: {why}"))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|why| format!("ssl_certificate_location, ssl_key_location: {why}"))?
            }
        };
        self.tls = Some(Arc::new(config));
        Ok(self)
    }

    /// Adds SASL.
    #[must_use]
    pub fn with_sasl(mut self, sasl: Sasl) -> Self {
        self.sasl = Some(sasl);
        self
    }

    /// Whether nothing is done on a connection but to open it.
    pub fn is_plain(&self) -> bool {
        self.tls.is_none() && self.sasl.is_none()
    }

    /// Our credentials, where we have some.
    pub fn sasl(&self) -> Option<&Sasl> {
        self.sasl.as_ref()
    }

    /// Shakes hands, where there is TLS.
    pub(crate) async fn wrap(
        &self,
        stream: TcpStream,
        address: &Address,
    ) -> io::Result<Box<dyn Stream>> {
        let Some(config) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(TlsConnector::from(Arc::clone(config)).connect(name, stream).await?))
    }
}

/// Our own certificate towards clients, and which of theirs we want.
///
/// # Errors
///
/// Says which certificate or key can't be used.
pub fn server(
    certificate: &str,
    key: &SecretString,
    client_authorities: Option<&str>,
) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|why| why.to_string())?;
    let builder = if let Some(pem) = client_authorities {
        let mut roots = RootCertStore::empty();
        for certificate in certificates_of(pem, "client_ca")? {
            roots.add(certificate).map_err(|why| format!("client_ca: {why}"))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build().map_err(|why| why.to_string())?)
    } else {
        builder.with_no_client_auth()
    };
    let chain = certificates_of(certificate, "certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes())
        .map_err(|why| format!("key: {why}"))?;
    let config = builder.with_single_cert(chain, key);
    config.map(Arc::new).map_err(|why| format!("certificate, key: {why}"))
}

fn certificates_of(pem: &str, key: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match all {
        Ok(all) if all.is_empty() => Err(format!("{key}: there is no certificate in it")),
        Ok(all) => Ok(all),
        Err(why) => Err(format!("{key}: {why}")),
    }
}

impl PasswordMechanism {
    /// As SaslHandshake names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Sasl {
    /// As SaslHandshake names it.
    pub(crate) fn mechanism(&self) -> &'static str {
        match self {
            Self::Password { mechanism, .. } => mechanism.name(),
            Self::Bearer(_) => "OAUTHBEARER",
        }
    }

    /// Begins an exchange.
    pub(crate) async fn begin(&self) -> Result<Exchange, String> {
        match self {
            Self::Bearer(tokens) => {
                let token = tokens.token().await?;
                // RFC 7628, 3.1: no authorization id, one key, and an end.
                let first = format!("n,,\u{1}auth=Bearer {}\u{1}\u{1}", token.expose_secret());
                Ok(Exchange::Last(Some(first.into_bytes())))
            }
            Self::Password { username, password, .. } => {
                let password = password.expose_secret().to_owned();
                let config = SASLConfig::with_credentials(None, username.clone(), password)
                    .map_err(|why| why.to_string())?;
                let name =
                    Mechname::parse(self.mechanism().as_bytes()).map_err(|why| why.to_string())?;
                let session = SASLClient::new(config).start_suggested([name].iter());
                Ok(Exchange::Session(Box::new(session.map_err(|why| why.to_string())?)))
            }
        }
    }
}

/// What is said in turns until both sides are content.
pub(crate) enum Exchange {
    Session(Box<Session>),
    /// One message more, or none.
    Last(Option<Vec<u8>>),
}

impl Exchange {
    /// What to send after the broker's last word; `None` where nothing is left to say.
    pub(crate) fn step(&mut self, heard: Option<&[u8]>) -> Result<Option<Vec<u8>>, String> {
        match self {
            Self::Last(first) => Ok(first.take()),
            Self::Session(session) => {
                if heard.is_some_and(|it| !has_whole_attributes(it, Word::Other)) {
                    return Err("the broker's word has an attribute without a value".to_owned());
                }
                let mut said = Vec::new();
                let state = session.step(heard, &mut said).map_err(|why| why.to_string())?;
                if state.is_finished() {
                    // PLAIN is done with its only message.
                    *self = Self::Last(None);
                }
                Ok(state.has_sent_message().then_some(said))
            }
        }
    }
}

/// Which word of SCRAM it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// A client's first, which begins with a flag and a name that may be empty (RFC 5802, 7).
    ClientFirst,
    /// Any other.
    Other,
}

/// Whether each attribute of a word of SCRAM has its letter and its `=`. The library takes that for
/// granted and panics otherwise.
pub(crate) fn has_whole_attributes(word: &[u8], which: Word) -> bool {
    word.split(|it| *it == b',').enumerate().all(|(index, part)| match (which, index) {
        (Word::ClientFirst, 0) => true,
        (Word::ClientFirst, 1) if part.is_empty() => true,
        _ => part.get(1) == Some(&b'='),
    })
}
