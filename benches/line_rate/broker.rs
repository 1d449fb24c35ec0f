//! A broker that answers each request at once and keeps nothing.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use crate::load::read_frame;
use crate::messages::Exchange;

/// A certificate for loopback that signs itself, PEM.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

const CERTIFICATE: &str = "LINE_RATE_CERTIFICATE";
const KEY: &str = "LINE_RATE_KEY";

impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]);
        let made = made.expect("a certificate can be made");
        Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    /// For a relay, which is a process of its own.
    pub(crate) fn tell(&self, command: &mut Command) {
        command.env(CERTIFICATE, &self.certificate).env(KEY, &self.key);
    }

    pub(crate) fn told() -> Self {
        let read = |name| std::env::var(name).expect("the bench tells its relay");
        Self { certificate: read(CERTIFICATE), key: read(KEY) }
    }

    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("it is PEM")
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("it is PEM");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate()], key);
        Arc::new(config.expect("the key fits"))
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate()).expect("it is a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has them");
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }

    /// A connection to whoever has this certificate.
    pub(crate) fn connect(&self, stream: TcpStream) -> impl Read + Write + use<> {
        let name = ServerName::try_from("127.0.0.1").expect("it is a name");
        let connection = ClientConnection::new(self.client(), name).expect("the config fits");
        rustls::StreamOwned::new(connection, stream)
    }
}

pub(crate) struct NullBroker {
    pub(crate) address: String,
    identity: Option<Identity>,
}

impl NullBroker {
    pub(crate) fn start(exchange: &Arc<Exchange>, tls: bool) -> Self {
        let identity = tls.then(Identity::new);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it was just bound");
        let server = identity.as_ref().map(Identity::server);
        let exchange = Arc::clone(exchange);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                stream.set_nodelay(true).expect("it is a TCP socket");
                let (server, exchange) = (server.clone(), Arc::clone(&exchange));
                std::thread::spawn(move || match server {
                    None => answer(stream, &exchange, address.port()),
                    Some(config) => {
                        let connection = ServerConnection::new(config).expect("the config fits");
                        let stream = rustls::StreamOwned::new(connection, stream);
                        answer(stream, &exchange, address.port());
                    }
                });
            }
        });
        Self { address: address.to_string(), identity }
    }

    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }
}

fn answer(mut stream: impl Read + Write, exchange: &Exchange, port: u16) {
    let mut frame = Vec::new();
    while read_frame(&mut stream, &mut frame).is_ok() {
        let [key, version] = [0, 2].map(|at| i16::from_be_bytes([frame[at], frame[at + 1]]));
        if key < 2 {
            if stream.write_all(&exchange.answer).and_then(|()| stream.flush()).is_err() {
                return;
            }
            continue;
        }
        let mut out = vec![0; 4];
        out.extend_from_slice(&frame[4..8]);
        match key {
            18 if version > 0 => out.extend([0, 35, 0, 0, 0, 0]),
            18 => {
                out.extend([0, 0, 0, 0, 0, 4]);
                for (key, last) in [(0_i16, 9_i16), (1, 4), (3, 0), (18, 0)] {
                    out.extend(key.to_be_bytes());
                    out.extend(0_i16.to_be_bytes());
                    out.extend(last.to_be_bytes());
                }
            }
            // Metadata 0: node 1, this address; no topics.
            _ => {
                out.extend([0, 0, 0, 1, 0, 0, 0, 1, 0, 9]);
                out.extend(b"127.0.0.1");
                out.extend(i32::from(port).to_be_bytes());
                out.extend([0; 4]);
            }
        }
        let size = (out.len() - 4) as i32;
        out[..4].copy_from_slice(&size.to_be_bytes());
        if stream.write_all(&out).and_then(|()| stream.flush()).is_err() {
            return;
        }
    }
}
