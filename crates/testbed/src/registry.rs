//! An in-process Schema Registry that answers as a real Confluent one does: status, `error_code`
//! and shape. `tests/registry_facts.rs` holds it against the table, and any real one against it.

mod compatibility;
mod routes;
mod state;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use routes::Call;
use state::State;

/// What kind of registry to be.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `user:password` that every request must bring.
    pub basic_auth: Option<(String, String)>,
    /// Whether modes can be changed (`mode.mutability`).
    pub immutable_mode: bool,
    /// Like Apicurio's `ccompat`: no modes, ids and versions in registrations ignored.
    pub apicurio: bool,
    /// Tell each version's GUID, as registries since 8.0 do.
    pub guids: bool,
    /// The first id to give out.
    pub first_id: Option<u32>,
    /// An OAuth token endpoint at `/token` that wants these, and tokens on all other requests.
    pub oauth: Option<OAuthOptions>,
}

/// How tokens are given out and taken.
#[derive(Debug, Clone)]
pub struct OAuthOptions {
    /// Client id and secret.
    pub client: (String, String),
    /// A token is refused after this many requests.
    pub requests_per_token: u32,
    /// Give out unsecured JSON web tokens for this subject, as a Kafka broker without keys takes
    /// them.
    pub subject: Option<String>,
}

/// A fault to answer with instead of the truth.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// The HTTP status; 0 cuts the connection instead of an answer.
    pub status: u16,
    /// Seconds in `Retry-After`.
    pub retry_after: Option<u64>,
}

/// A request that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: String,
    /// The path and query.
    pub path: String,
}

/// A running registry; it stops when dropped.
#[derive(Debug)]
pub struct EmbeddedRegistry {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    state: Mutex<State>,
    /// What the next requests get; `None` is the truth.
    faults: Mutex<VecDeque<Option<Fault>>>,
    seen: Mutex<Vec<Seen>>,
    tokens: Mutex<Tokens>,
}

/// Tokens are numbers; the last one that was given out is good.
#[derive(Debug, Default)]
struct Tokens {
    last: u32,
    requests: u32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of these locks panics")
}

impl EmbeddedRegistry {
    /// Starts an empty registry on a free loopback port.
    pub async fn start(options: Options) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(&options)),
            options,
            faults: Mutex::default(),
            seen: Mutex::default(),
            tokens: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, task })
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers the next requests with these faults, the first one first.
    pub fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.inject_after(0, faults);
    }

    /// The same, after so many requests more are answered truly.
    pub fn inject_after(&self, requests: usize, faults: impl IntoIterator<Item = Fault>) {
        let truth = std::iter::repeat_n(None, requests);
        *lock(&self.shared.faults) = truth.chain(faults.into_iter().map(Some)).collect();
    }

    /// Every request so far, in order.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// Registers a schema directly and gives its id; panics where the registry refuses.
    pub fn register(&self, subject: &str, schema: &Value) -> u32 {
        let path = format!("/subjects/{}/versions", routes::escape(subject));
        let answer = self.call("POST", &path, schema);
        answer["id"].as_u64().expect("a registration answers with an id") as u32
    }

    /// Does directly what a request would do; panics where the registry refuses.
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.try_call(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    /// Does directly what a request would do, and gives the status and the answer.
    pub fn try_call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let call = Call::new(method, path, body.to_string().as_bytes());
        routes::answer(&call, &mut lock(&self.shared.state))
    }
}

impl Drop for EmbeddedRegistry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                // hyper closes the connection of a service that fails.
                async move {
                    respond(request, &shared)
                        .await
                        .ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionReset))
                }
            });
            // A client that goes away is no matter here.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// `None` cuts the connection.
async fn respond(request: Request<Incoming>, shared: &Shared) -> Option<Response<Full<Bytes>>> {
    let method = request.method().to_string();
    let path = request.uri().path_and_query().map_or("/", |it| it.as_str()).to_owned();
    lock(&shared.seen).push(Seen { method: method.clone(), path: path.clone() });
    if let Some(fault) = lock(&shared.faults).pop_front().flatten() {
        if fault.status == 0 {
            return None;
        }
        let body =
            json!({ "error_code": u32::from(fault.status) * 100 + 1, "message": "injected" });
        let mut response = json_response(fault.status, &body);
        if let Some(seconds) = fault.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        return Some(response);
    }
    if let Some((user, password)) = &shared.options.basic_auth {
        let wanted = format!("Basic {}", base64(format!("{user}:{password}").as_bytes()));
        if request.headers().get(AUTHORIZATION).is_none_or(|it| it.as_bytes() != wanted.as_bytes())
        {
            let refusal = json!({ "error_code": 401, "message": "Unauthorized" });
            return Some(json_response(401, &refusal));
        }
    }
    if let Some(oauth) = &shared.options.oauth
        && let Some(answer) = authorize(oauth, &request, &mut lock(&shared.tokens))
    {
        return Some(answer);
    }
    // A client that breaks off hears nothing.
    let body = request.into_body().collect().await.ok()?.to_bytes();
    let call = Call::new(&method, &path, &body);
    let (status, answer) = routes::answer(&call, &mut lock(&shared.state));
    Some(json_response(status, &answer))
}

/// A token, or a refusal; `None` lets the request pass.
fn authorize(
    oauth: &OAuthOptions,
    request: &Request<Incoming>,
    tokens: &mut Tokens,
) -> Option<Response<Full<Bytes>>> {
    let sent = request.headers().get(AUTHORIZATION).map(|it| it.as_bytes().to_vec());
    let refused = || Some(json_response(401, &json!({ "error_code": 401, "message": "no" })));
    if request.uri().path() == "/token" {
        let (id, secret) = &oauth.client;
        let wanted = format!("Basic {}", base64(format!("{id}:{secret}").as_bytes()));
        if sent.as_deref() != Some(wanted.as_bytes()) {
            return refused();
        }
        (tokens.last, tokens.requests) = (tokens.last + 1, 0);
        let token = match &oauth.subject {
            Some(subject) => unsecured_jwt(subject),
            None => format!("token-{}", tokens.last),
        };
        return Some(json_response(200, &json!({ "access_token": token, "expires_in": 3600 })));
    }
    let wanted = format!("Bearer token-{}", tokens.last);
    tokens.requests += 1;
    let good = sent.as_deref() == Some(wanted.as_bytes());
    if good && tokens.requests <= oauth.requests_per_token { None } else { refused() }
}

/// RFC 7515, appendix A.5.
fn unsecured_jwt(subject: &str) -> String {
    let now = std::time::UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_secs();
    let claims = json!({ "sub": subject, "iat": now, "exp": now + 3600 });
    let part = |json: &Value| {
        let text = base64(json.to_string().as_bytes());
        text.trim_end_matches('=').replace('+', "-").replace('/', "_")
    };
    format!("{}.{}.", part(&json!({ "alg": "none" })), part(&claims))
}

fn json_response(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status.try_into().expect("our statuses are three digits");
    let kind = "application/vnd.schemaregistry.v1+json".parse().expect("a header value");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = bytes.chunks(3).flat_map(|chunk| {
        let mut bits = [0; 4];
        bits[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(bits);
        (0..4).map(move |index| {
            let digit = DIGITS[(bits >> (18 - 6 * index) & 63) as usize];
            if index <= chunk.len() { char::from(digit) } else { '=' }
        })
    });
    digits.collect()
}
