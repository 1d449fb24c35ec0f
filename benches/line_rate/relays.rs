//! Relays that do nothing, each a process of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::broker::Identity;

const BUFFER: usize = 1 << 20;

/// Bytes through two threads a connection, as fast as user space can.
pub(crate) fn raw(upstream: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    println!("{}", listener.local_addr().expect("it was just bound"));
    for client in listener.incoming().map_while(Result::ok) {
        let broker = TcpStream::connect(upstream).expect("the broker listens");
        for stream in [&client, &broker] {
            stream.set_nodelay(true).expect("it is a TCP socket");
        }
        let clone = |it: &TcpStream| it.try_clone().expect("a socket can be cloned");
        for (mut from, mut to) in [(clone(&client), clone(&broker)), (broker, client)] {
            std::thread::spawn(move || {
                let mut buffer = vec![0; BUFFER];
                while let Ok(read @ 1..) = from.read(&mut buffer) {
                    if to.write_all(&buffer[..read]).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(std::net::Shutdown::Write);
            });
        }
    }
}

/// Whole frames through tokio, read once and written from the same buffer.
pub(crate) fn frames(upstream: &str) {
    let upstream = upstream.to_owned();
    listen(move |client| {
        let upstream = upstream.clone();
        async move {
            let broker = connect(&upstream).await;
            let ((client_read, client_write), (broker_read, broker_write)) =
                (client.into_split(), broker.into_split());
            for (mut from, mut to) in [(client_read, broker_write), (broker_read, client_write)] {
                tokio::spawn(async move {
                    let mut frame = Vec::new();
                    while let Ok(size) = from.read_i32().await {
                        frame.resize(4 + size as usize, 0);
                        frame[..4].copy_from_slice(&size.to_be_bytes());
                        if from.read_exact(&mut frame[4..]).await.is_err()
                            || to.write_all(&frame).await.is_err()
                        {
                            break;
                        }
                    }
                });
            }
        }
    });
}

/// Bytes through tokio, with TLS ended on one side and begun on the other.
pub(crate) fn tls(upstream: &str) {
    let upstream = upstream.to_owned();
    let identity = Identity::told();
    let acceptor = TlsAcceptor::from(identity.server());
    let connector = TlsConnector::from(identity.client());
    listen(move |client| {
        let (upstream, acceptor, connector) =
            (upstream.clone(), acceptor.clone(), connector.clone());
        async move {
            let Ok(client) = acceptor.accept(client).await else { return };
            let name = ServerName::try_from("127.0.0.1").expect("it is a name");
            let broker = connector.connect(name, connect(&upstream).await).await;
            let Ok(broker) = broker else { return };
            let (client_read, client_write) = tokio::io::split(client);
            let (broker_read, broker_write) = tokio::io::split(broker);
            tokio::join!(copy(client_read, broker_write), copy(broker_read, client_write));
        }
    });
}

async fn copy(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..read]).await.is_err() || to.flush().await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

fn listen<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(tokio::net::TcpStream) -> F + Send + Sync + 'static,
) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let serve = Arc::new(serve);
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        println!("{}", listener.local_addr().expect("it was just bound"));
        while let Ok((client, _)) = listener.accept().await {
            client.set_nodelay(true).expect("it is a TCP socket");
            tokio::spawn(serve(client));
        }
    });
}

async fn connect(upstream: &str) -> tokio::net::TcpStream {
    let broker = tokio::net::TcpStream::connect(upstream).await.expect("the broker listens");
    broker.set_nodelay(true).expect("it is a TCP socket");
    broker
}
