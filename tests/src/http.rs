//! HTTP servers on the backends, and clients.

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::routing;

use crate::host::Host;
use crate::listening::{Listening, everywhere};

/// Bytes of the answer to `GET /large`: thousands of full frames.
pub const LARGE: usize = 8 << 20;

/// A server on every address of a host, IPv4 and IPv6. It ends when it is dropped, connections and all.
///
/// `GET /` answers its name, `GET /large` answers [`LARGE`] bytes, `POST /length` the length of what it was sent.
#[derive(Debug)]
pub struct Server {
    _listening: Listening,
}

impl Server {
    /// Starts a server named after its host. It takes connections when this returns.
    ///
    /// # Errors
    /// The port is taken, or the thread cannot be made.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let name = host.name().to_owned();
        let listening = Listening::start(host, "http", everywhere(port), async move |listener| {
            axum::serve(listener, service(name)).await.context("the server ended")
        })?;
        Ok(Self { _listening: listening })
    }
}

fn service(name: String) -> Router {
    Router::new()
        .route("/", routing::get(move || async move { name }))
        .route("/large", routing::get(|| async { vec![b'x'; LARGE] }))
        .route("/length", routing::post(|body: Bytes| async move { body.len().to_string() }))
        .layer(DefaultBodyLimit::disable())
}

/// How long a client waits for each step of a request. A step takes well below a millisecond; a lost segment is sent again
/// after 200 ms, a lost SYN after a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client. It does its requests in whatever namespace its thread is in.
#[derive(Clone, Debug)]
pub struct Client {
    agent: ureq::Agent,
}

impl Client {
    /// A client that makes a new connection for every request.
    #[must_use]
    pub fn fresh() -> Self {
        Self::with_idle_connections(0)
    }

    /// A client that keeps its connection and uses it for the next request.
    #[must_use]
    pub fn keep_alive() -> Self {
        Self::with_idle_connections(1)
    }

    fn with_idle_connections(count: usize) -> Self {
        // Timeouts of single steps only: one for the whole would start a thread for each look-up of a name.
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .max_idle_connections(count)
            .max_idle_connections_per_host(count)
            .timeout_connect(Some(PATIENCE))
            .timeout_send_request(Some(PATIENCE))
            .timeout_send_body(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_recv_body(Some(PATIENCE))
            .build();
        Self { agent: config.new_agent() }
    }

    /// The answer to a `GET`.
    ///
    /// # Errors
    /// There was none, or its status is not 2xx.
    pub fn get(&self, to: SocketAddr, path: &str) -> Result<String> {
        let url = format!("http://{to}{path}");
        let mut response = self.agent.get(&url).call().with_context(|| format!("GET {url}"))?;
        let mut text = String::new();
        response.body_mut().as_reader().read_to_string(&mut text).with_context(|| format!("GET {url}"))?;
        Ok(text)
    }

    /// The answer to a `POST` of this body.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post(&self, to: SocketAddr, path: &str, body: &[u8]) -> Result<String> {
        let url = format!("http://{to}{path}");
        let mut response = self.agent.post(&url).send(body).with_context(|| format!("POST {url}"))?;
        response.body_mut().read_to_string().with_context(|| format!("POST {url}"))
    }
}

/// Answers of a `GET /` from a host, with a connection of its own.
///
/// # Errors
/// As [`Client::get`].
pub fn get(host: &Host, address: IpAddr, port: u16) -> Result<String> {
    host.enter(|| Client::fresh().get(SocketAddr::new(address, port), "/"))
}
