//! Handshakes with a server on loopback whose certificate is its own authority, for www.example.com and 127.0.0.1.

use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::{Failed, From, Means, Pinger};
use super::*;
use crate::model::{HealthCheck, Probe, ProbeType};

const CERTIFICATE: &str = include_str!("testdata/certificate.pem");
const KEY: &str = include_str!("testdata/key.pem");

/// A server of TLS that answers any request with a status code; of plain TCP that says nothing if there is none.
async fn server(code: Option<u16>) -> SocketAddr {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Some(code) = code else { return std::future::pending().await };
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = [0; 1_024];
                let _ = stream.read(&mut request).await;
                let answer = format!("HTTP/1.1 {code} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

fn check(kind: ProbeType, tls: TlsProbe) -> HealthCheck {
    let mut check = HealthCheck { timeout_ms: 10_000, ..HealthCheck::new(kind) };
    match &mut check.probe {
        Probe::Https(https) => https.tls = tls,
        Probe::Tls(probe) => *probe = tls,
        other => panic!("{other:?} has no TLS"),
    }
    check
}

async fn probe(check: &HealthCheck, to: SocketAddr, trust: Trust) -> Result<(), Failed> {
    let means = Means { pinger: Rc::new(Pinger::default()), trust: Rc::new(trust) };
    let from = From { address: std::net::Ipv4Addr::UNSPECIFIED.into(), port: 0, echo: 0 };
    super::super::run(check, to, from, &means).await
}

fn trusting_it() -> (tempfile::NamedTempFile, Trust) {
    let mut bundle = tempfile::NamedTempFile::new().expect("a file");
    bundle.write_all(CERTIFICATE.as_bytes()).expect("written");
    let trust = Trust::of(Some(bundle.path().to_owned()));
    (bundle, trust)
}

#[tokio::test]
async fn a_handshake_is_enough_unless_the_certificate_must_be_valid() {
    let to = server(Some(200)).await;
    let any = check(ProbeType::Tls, TlsProbe::default());
    assert_eq!(probe(&any, to, Trust::of(None)).await, Ok(()));

    let verified = |sni: Option<&str>| check(ProbeType::Tls, TlsProbe { verify: true, sni: sni.map(str::to_owned) });
    let (_bundle, trust) = trusting_it();
    assert_eq!(probe(&verified(Some("www.example.com")), to, trust).await, Ok(()));
    let (_bundle, trust) = trusting_it();
    let wrong = probe(&verified(Some("www.example.org")), to, trust).await.expect_err("another name");
    let Failed::There(wrong) = wrong else { panic!("{wrong:?}") };
    assert!(wrong.contains("no TLS handshake") && wrong.contains("www.example.org"), "{wrong}");
    let none = probe(&verified(None), to, Trust::of(None)).await.expect_err("no authorities");
    let Failed::Here(none) = none else { panic!("{none:?}") };
    assert!(none.contains("no list of trusted authorities"), "{none}");
}

#[tokio::test]
async fn https_looks_at_the_status_code_as_well() {
    let any = check(ProbeType::Https, TlsProbe::default());
    assert_eq!(probe(&any, server(Some(200)).await, Trust::of(None)).await, Ok(()));
    let wrong = probe(&any, server(Some(503)).await, Trust::of(None)).await.expect_err("another code");
    assert_eq!(wrong, Failed::There("HTTP status 503 instead of 200".to_owned()));
}

#[tokio::test]
async fn a_server_that_says_nothing_fails_when_the_time_is_over() {
    let silent = server(None).await;
    let check = HealthCheck { timeout_ms: 50, ..check(ProbeType::Tls, TlsProbe::default()) };
    let late = tokio::time::timeout(Duration::from_secs(60), probe(&check, silent, Trust::of(None))).await;
    assert_eq!(late.expect("it ends"), Err(Failed::There("no answer within 50 ms".to_owned())));
}
