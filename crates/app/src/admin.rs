//! The admin port: metrics and health over HTTP/1.1.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Encoder, Registry, TextEncoder};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::logging;

/// What the admin port tells.
#[async_trait]
pub trait Admin: Send + Sync + 'static {
    /// The metrics to scrape.
    fn metrics(&self) -> &Registry;

    /// Whether work can be done, in words; why not, where it can't.
    fn ready(&self) -> Result<String, String>;

    /// What else can be asked; `None` where this can't.
    async fn answer(&self, method: &str, path: &str) -> Option<Result<String, String>>;
}

/// A client that sends no request within this time is let go.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Binds the port; port 0 takes a free one. It is for one [`serve`] after the other.
pub async fn bind(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    TcpListener::bind(address).await?.into_std()
}

/// Answers until the future is dropped, which closes its connections too. With a token, whoever asks for more than health has to show
/// it (RFC 6750).
pub async fn serve(listener: TcpListener, admin: Arc<dyn Admin>, token: Option<SecretString>) {
    let token = Arc::new(token);
    let mut open = JoinSet::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely; connections end and free some.
                tracing::warn!(%error, "the admin port could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        while open.try_join_next().is_some() {}
        let (admin, token) = (Arc::clone(&admin), Arc::clone(&token));
        open.spawn(async move {
            let answer = service_fn(move |request| {
                let (admin, token) = (Arc::clone(&admin), Arc::clone(&token));
                async move {
                    let may = is_allowed(&request, token.as_ref().as_ref());
                    let answer = if may { respond(&request, &*admin).await } else { refused() };
                    Ok::<_, Infallible>(answer)
                }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), answer)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "an admin connection broke");
            }
        });
    }
}

/// Probes have no token.
fn is_allowed(request: &Request<Incoming>, token: Option<&SecretString>) -> bool {
    let Some(token) = token else { return true };
    if matches!(request.uri().path(), "/healthz" | "/readyz") {
        return true;
    }
    let shown = request.headers().get(AUTHORIZATION).and_then(|it| it.to_str().ok());
    let shown = shown.and_then(|it| it.strip_prefix("Bearer ")).unwrap_or_default();
    same(shown.as_bytes(), token.expose_secret().as_bytes())
}

/// Takes as long whatever the first byte that differs is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

fn refused() -> Response<Full<Bytes>> {
    let mut response = plain(StatusCode::UNAUTHORIZED, "a bearer token is needed\n");
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

async fn respond(request: &Request<Incoming>, admin: &dyn Admin) -> Response<Full<Bytes>> {
    let (method, path) = (request.method(), request.uri().path());
    if let Some(answer) = admin.answer(method.as_str(), path).await {
        return match answer {
            Ok(text) => plain(StatusCode::OK, line(text)),
            Err(why) => plain(StatusCode::UNPROCESSABLE_ENTITY, line(why)),
        };
    }
    if (method, path) == (&Method::POST, "/log-level") {
        let level = request.uri().query().and_then(|it| it.strip_prefix("level="));
        return match level.map_or(Err("say ?level=debug".to_owned()), logging::set_level) {
            Ok(()) => {
                plain(StatusCode::OK, line(format!("log level {}", level.unwrap_or_default())))
            }
            Err(why) => plain(StatusCode::UNPROCESSABLE_ENTITY, line(why)),
        };
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
    }
    match path {
        "/metrics" => metrics(admin.metrics()),
        "/healthz" => plain(StatusCode::OK, "ok\n"),
        "/readyz" => match admin.ready() {
            Ok(how) => plain(StatusCode::OK, line(how)),
            Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
        },
        _ => plain(StatusCode::NOT_FOUND, "/metrics, /healthz and /readyz are here\n"),
    }
}

fn line(mut text: String) -> String {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn metrics(registry: &Registry) -> Response<Full<Bytes>> {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&registry.gather(), &mut text) {
        Ok(()) => {
            let mut response = plain(StatusCode::OK, text);
            let kind = encoder.format_type().parse().expect("the encoder names a media type");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}
