//! A TLS handshake.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Failed;
use crate::model::TlsProbe;

/// Where distributions keep the certificates of the authorities that they trust.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Which certificates are valid: for a probe that verifies, and for one that doesn't.
pub(in crate::health) struct Trust {
    verifying: Result<Arc<ClientConfig>, String>,
    trusting: Result<Arc<ClientConfig>, String>,
}

impl Trust {
    /// Reads the authorities that this host trusts: the file that `SSL_CERT_FILE` names, or the distribution's.
    pub(in crate::health) fn read() -> Self {
        let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        Self::of(named.or_else(|| BUNDLES.iter().map(PathBuf::from).find(|path| path.exists())))
    }

    /// Reads the authorities in a file, if there is one.
    fn of(bundle: Option<PathBuf>) -> Self {
        let provider = Arc::new(ring::default_provider());
        let verifying = match bundle {
            None => Err("this host has no list of trusted authorities; install ca-certificates".to_owned()),
            Some(path) => verifying(&provider, &path),
        };
        Self { verifying, trusting: trusting(&provider) }
    }
}

fn verifying(provider: &Arc<CryptoProvider>, bundle: &Path) -> Result<Arc<ClientConfig>, String> {
    let fault = |error: &dyn std::fmt::Display| {
        format!("the trusted authorities in {} cannot be read: {error}", bundle.display())
    };
    let mut roots = RootCertStore::empty();
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(bundle).map_err(|error| fault(&error))?.collect();
    // One that is not understood is one fewer that is trusted.
    roots.add_parsable_certificates(certificates.map_err(|error| fault(&error))?);
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn trusting(provider: &Arc<CryptoProvider>) -> Result<Arc<ClientConfig>, String> {
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(Arc::clone(provider))))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Takes any certificate, but wants the handshake to be signed with its key: the server has the key that it shows.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Does the handshake. `name` is the server's, or its address if it has none.
///
/// # Errors
/// It fails, or the certificate is not valid where it must be.
pub(super) async fn handshake(
    stream: TcpStream,
    name: Option<&str>,
    address: IpAddr,
    probe: &TlsProbe,
    trust: &Trust,
) -> Result<TlsStream<TcpStream>, Failed> {
    let config = if probe.verify { &trust.verifying } else { &trust.trusting };
    let config = config.clone().map_err(Failed::Here)?;
    let name = match name {
        // A `Host` header may name a port as well, and an address is no name.
        Some(name) => {
            let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
            ServerName::try_from(host.to_owned()).unwrap_or_else(|_| ServerName::IpAddress(address.into()))
        }
        None => ServerName::IpAddress(address.into()),
    };
    let refused = |error| Failed::There(format!("no TLS handshake: {error}"));
    TlsConnector::from(config).connect(name, stream).await.map_err(refused)
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
