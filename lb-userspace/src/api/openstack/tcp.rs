//! The API on a TCP port, plain or over TLS.

use std::fs::File;
use std::future::Future;
use std::io::{self, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use crate::model::Fault;
use crate::settings::{Api, Tls};

/// Connections that wait to be taken: as many clients as may come at once.
const BACKLOG: u32 = 4_096;
/// How long a client may take to shake hands.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections that have shaken hands and wait to be served.
const READY: usize = 64;
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
/// When the port fails.
pub async fn serve(port: Port, router: Router, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let stop = async {
        stop.await;
        let _ = stopping.send(());
    };
    let ended = async {
        let _ = stopped.await;
        tokio::time::sleep(LAST_REQUESTS).await
    };
    let Port { listener, address, tls } = port;
    match tls {
        None => {
            let served = axum::serve(listener, router).with_graceful_shutdown(stop);
            tokio::select! { result = served.into_future() => result, () = ended => Ok(()) }
        }
        Some(acceptor) => {
            let (ready_out, ready) = mpsc::channel(READY);
            let shaking = tokio::spawn(shake_hands(listener, acceptor, ready_out));
            let served = axum::serve(TlsListener { ready, address }, router).with_graceful_shutdown(stop);
            let result = tokio::select! { result = served.into_future() => result, () = ended => Ok(()) };
            shaking.abort();
            result
        }
    }
}

/// Takes connections and shakes hands with each apart, so that a slow client keeps nobody waiting. Ends with its receiver.
async fn shake_hands(mut listener: TcpListener, acceptor: TlsAcceptor, ready: mpsc::Sender<TlsConnection>) {
    while !ready.is_closed() {
        let (stream, address) = Listener::accept(&mut listener).await;
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            // A client that speaks no TLS, or goes away, is no concern of ours.
            if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
                let _ = ready.send((stream, address)).await;
            }
        });
    }
}

type TlsConnection = (TlsStream<TcpStream>, SocketAddr);

/// Connections that have shaken hands.
struct TlsListener {
    ready: mpsc::Receiver<TlsConnection>,
    address: SocketAddr,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> TlsConnection {
        match self.ready.recv().await {
            Some(connection) => connection,
            // Nothing comes any more; the server is told to stop by another way.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
