//! An HTTP request.

use std::net::IpAddr;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, Version, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Failed;
use crate::model::{HttpProbe, HttpVersion};

/// Sends a request over a connection, and looks at the status code of the answer.
///
/// # Errors
/// Another code, or no answer.
pub(super) async fn request<S>(stream: S, probe: &HttpProbe, vip: IpAddr) -> Result<(), Failed>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let fault = |error: hyper::Error| match error.is_incomplete_message() || error.is_closed() {
        true => Failed::There("the connection was closed before an answer came".to_owned()),
        false => Failed::There(format!("no HTTP answer: {error}")),
    };
    let host = probe.host.clone().unwrap_or_else(|| match vip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    });
    let version = match probe.version {
        HttpVersion::Http10 => Version::HTTP_10,
        HttpVersion::Http11 => Version::HTTP_11,
    };
    let request = Request::builder()
        .method(probe.method.name())
        .uri(&probe.path)
        .version(version)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("drlb/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Failed::Here(format!("the request cannot be made: {error}")))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(fault)?;
    let (mut connection, mut answer) = (std::pin::pin!(connection), std::pin::pin!(sender.send_request(request)));
    let mut closed = false;
    let answer = loop {
        tokio::select! {
            answer = &mut answer => break answer.map_err(fault)?,
            // It may end with the answer, which is told all the same.
            _ = &mut connection, if !closed => closed = true,
        }
    };
    let code = answer.status().as_u16();
    match probe.expect.contains(code) {
        true => Ok(()),
        false => Err(Failed::There(format!("HTTP status {code} instead of {}", probe.expect))),
    }
}
