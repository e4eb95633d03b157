//! Servers that are particular about what they are asked, for checks of each type: HTTP, HTTPS, TLS and UDP.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::host::Host;
use crate::listening::{Listening, everywhere};

/// What a server was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The request line, as `GET / HTTP/1.1`.
    pub line: String,
    /// The `Host` header.
    pub host: Option<String>,
    /// The name that was asked for in the TLS handshake.
    pub sni: Option<String>,
}

/// The status code of an answer.
pub type Answer = fn(&Asked) -> u16;

/// A web server that answers as its function says, and keeps what it was asked. It ends when it is dropped.
#[derive(Debug)]
pub struct Particular {
    asked: Arc<Mutex<Vec<Asked>>>,
    _listening: Listening,
}

impl Particular {
    /// Starts one on every address of a host: of HTTPS if there is a certificate, else of HTTP.
    ///
    /// # Errors
    /// The port is taken, or the thread cannot be made.
    pub fn start(host: &Host, port: u16, certificate: Option<Arc<ServerConfig>>, answer: Answer) -> Result<Self> {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&asked);
        let listening = Listening::start(host, "particular", everywhere(port), async move |listener| {
            loop {
                let (stream, _) = listener.accept().await.context("the server cannot take connections")?;
                let (certificate, asked) = (certificate.clone(), Arc::clone(&theirs));
                // A client that goes away is not the server's business.
                tokio::spawn(async move { serve(stream, certificate, answer, &asked).await.ok() });
            }
        })?;
        Ok(Self { asked, _listening: listening })
    }

    /// What it was asked, each once.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(
    stream: TcpStream,
    certificate: Option<Arc<ServerConfig>>,
    answer: Answer,
    asked: &Mutex<Vec<Asked>>,
) -> Result<()> {
    match certificate {
        None => respond(stream, None, answer, asked).await,
        Some(certificate) => {
            let stream = TlsAcceptor::from(certificate).accept(stream).await?;
            let sni = stream.get_ref().1.server_name().map(str::to_owned);
            respond(stream, sni, answer, asked).await
        }
    }
}

async fn respond<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    sni: Option<String>,
    answer: Answer,
    asked: &Mutex<Vec<Asked>>,
) -> Result<()> {
    let mut request = Vec::new();
    let mut part = [0; 1_024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let length = stream.read(&mut part).await?;
        if length == 0 {
            return Ok(());
        }
        request.extend_from_slice(&part[..length]);
    }
    let request = String::from_utf8(request)?;
    let mut lines = request.lines();
    let line = lines.next().unwrap_or_default().to_owned();
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("host").then(|| value.trim().to_owned())
    };
    let asks = Asked { line, host: lines.find_map(header), sni };
    let code = answer(&asks);
    note(asked, asks);
    let head = format!("HTTP/1.1 {code} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

fn note(asked: &Mutex<Vec<Asked>>, asks: Asked) {
    let mut known = asked.lock().unwrap_or_else(PoisonError::into_inner);
    if !known.contains(&asks) {
        known.push(asks);
    }
}

/// An authority that signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new one, that nobody trusts.
    ///
    /// # Errors
    /// No key can be made.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// Its own certificate, as lists of trusted authorities have it.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate that it has signed for a name or an address, and its key.
    fn sign(&self, name: &str) -> Result<(Certificate, KeyPair)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        // Python's clients want to know whose key signed it.
        params.use_authority_key_identifier_extension = true;
        Ok((params.signed_by(&key, &self.issuer)?, key))
    }

    /// A certificate that it has signed for a name or an address, and its key, in PEM.
    ///
    /// # Errors
    /// No key can be made.
    pub fn certify_in_pem(&self, name: &str) -> Result<(String, String)> {
        let (certificate, key) = self.sign(name)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    /// What a server needs whose certificate it has signed for a name.
    ///
    /// # Errors
    /// No key can be made.
    pub fn certify(&self, name: &str) -> Result<Arc<ServerConfig>> {
        let (certificate, key) = self.sign(name)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| anyhow!("no key: {error}"))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        Ok(Arc::new(config))
    }
}

/// A server of datagrams, that answers each that holds `question` with `answer`, from the address that it was sent to. It ends
/// when it is dropped.
#[derive(Debug)]
pub struct Datagrams {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Datagrams {
    /// Starts one at these addresses of a host.
    ///
    /// # Errors
    /// The port is taken, or the thread cannot be made.
    pub fn start(
        host: &Host,
        at: std::net::SocketAddr,
        question: &'static [u8],
        answer: &'static [u8],
    ) -> Result<Self> {
        let socket = host.enter(|| Ok(UdpSocket::bind(at)?))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = host.thread("datagrams", move || {
            let mut buffer = [0; 1_500];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer)
                    && buffer[..length] == *question
                {
                    socket.send_to(answer, from)?;
                }
            }
            Ok(())
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A server that failed was noticed by its clients.
            let _ = thread.join();
        }
    }
}
