//! The API on a TCP port, plain or over TLS.

use std::fs::File;
use std::future::Future;
use std::io::{self, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::respond::answer;
use crate::keystone::refused;
use crate::model::Fault;
use crate::settings::{Api, Tls};

/// Connections that wait to be taken: as many clients as may come at once.
const BACKLOG: u32 = 4_096;
/// How long a client may take to shake hands.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first byte of a client that speaks TLS: a record of the handshake (RFC 8446 section 5.1). No request begins so.
const HANDSHAKE: u8 = 22;
/// How long requests that have begun may take after the server was told to stop.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// A port that is listened on, with the TLS that is spoken there.
pub struct Port {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
}

impl Port {
    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Listens where the configuration says; `None` if it says nothing.
///
/// # Errors
/// The address cannot be listened on, or the certificate or its key cannot be used.
pub fn bind(api: &Api) -> Result<Option<Port>, Fault> {
    let Some(address) = api.listen else { return Ok(None) };
    let tls = api.tls.as_ref().map(acceptor).transpose()?;
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    let (listener, address) = listen().map_err(|error: io::Error| {
        Fault::unavailable(format!("cannot listen on {address}: {error}; give another --api-listen"))
    })?;
    Ok(Some(Port { listener, address, tls }))
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, Fault> {
    let unusable = |path: &Path, error: &dyn std::fmt::Display| {
        Fault::unavailable(format!("{} cannot be used for TLS: {error}", path.display()))
    };
    let open = |path: &Path| File::open(path).map(BufReader::new).map_err(|error| unusable(path, &error));
    let chain = CertificateDer::pem_reader_iter(open(&tls.certificate)?);
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|error| unusable(&tls.certificate, &error))?;
    let key = PrivateKeyDer::from_pem_reader(open(&tls.key)?).map_err(|error| unusable(&tls.key, &error))?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| unusable(&tls.certificate, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until `stop` completes, and then finishes the requests that have begun.
///
/// # Errors
/// None so far: what goes wrong of a connection ends that one.
pub async fn serve(port: Port, router: Router, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    let Port { mut listener, tls, .. } = port;
    let (stopping, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let stream = tokio::select! {
            () = &mut stop => break,
            // Those that have ended make way.
            Some(_) = connections.join_next() => continue,
            (stream, _) = Listener::accept(&mut listener) => stream,
        };
        connections.spawn(connection(stream, tls.clone(), router.clone(), stopped.clone()));
    }
    drop((listener, stopping));
    let ended = async { while connections.join_next().await.is_some() {} };
    // Those that take longer are cut off.
    let _ = tokio::time::timeout(LAST_REQUESTS, ended).await;
    Ok(())
}

/// Serves one connection. A client that goes away, or trusts another authority, is no concern of ours.
async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router, stopped: watch::Receiver<()>) {
    let Some(acceptor) = tls else { return speak(stream, router, stopped).await };
    let begin = async {
        let mut first = [0];
        stream.peek(&mut first).await?;
        io::Result::Ok(first == [HANDSHAKE])
    };
    match tokio::time::timeout(PATIENCE, begin).await {
        Ok(Ok(true)) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
                speak(stream, router, stopped).await;
            }
        }
        Ok(Ok(false)) => speak(stream, Router::new().fallback(async || tell_to_speak_tls()), stopped).await,
        _ => {}
    }
}

/// What is answered to plain HTTP where TLS is spoken. A client shows it, where it would show but a broken connection.
fn tell_to_speak_tls() -> Response {
    let refusal = refused(400, "This port speaks HTTPS: give an address that begins with https://");
    answer(StatusCode::BAD_REQUEST, Some(&refusal.body))
}

/// Speaks HTTP/1.1, with `Headers-In-This-Case`: scripts look for `X-Subject-Token` with `awk`.
async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router, mut stopped: watch::Receiver<()>) {
    let service = TowerToHyperService::new(router);
    let mut connection =
        pin!(http1::Builder::new().title_case_headers(true).serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => {}
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
