//! The command line's side of the API.

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::types::ErrorBody;
use crate::model::Fault;

/// How long an answer may take. Attaching loads and verifies a program, which takes a second or so on a slow machine.
const LONGEST_ANSWER: Duration = Duration::from_secs(60);

/// Why there is no answer to show. `Display` is the sentence for the user.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error(
        "cannot reach the agent at {socket}: {source}. Start it with `drlb agent`, or name its socket with --socket"
    )]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The socket is not ours to use.
    #[error(
        "no permission to use the agent's socket {socket}: only its owner may. Run this as root, or as the agent's user"
    )]
    NotAllowed {
        /// The socket.
        socket: PathBuf,
    },
    /// The agent went away before it answered.
    #[error(
        "the agent at {socket} broke off before it answered: {reason}. See its log; `drlb status` shows what was done"
    )]
    BrokenOff {
        /// The socket.
        socket: PathBuf,
        /// What happened.
        reason: String,
    },
    /// The answer is not one of this version's.
    #[error(
        "the agent at {socket} gave an answer that is not understood: {reason}. Are it and this command of one version?"
    )]
    NotUnderstood {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The agent refused, or failed.
    #[error("{0}")]
    Fault(Fault),
}

/// A successful answer.
#[derive(Clone, Debug)]
pub struct Answer {
    socket: PathBuf,
    /// The body, as it came.
    pub text: String,
}

impl Answer {
    /// The body as what it is.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_str(&self.text)
            .map_err(|error| ClientError::NotUnderstood { socket: self.socket.clone(), reason: error.to_string() })
    }
}

/// Speaks to the agent behind a socket, with a connection for each request.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the agent that listens there. Connects to nothing yet.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Reads a resource. The path's segments need no escaping.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get(&self, path: &[&str]) -> Result<Answer, ClientError> {
        self.request(Method::GET, path, &[], None::<&()>).await
    }

    /// Reads what the parameters choose of a resource. Neither names nor values need escaping.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn query(&self, path: &[&str], parameters: &[(&str, &str)]) -> Result<Answer, ClientError> {
        self.request(Method::GET, path, parameters, None::<&()>).await
    }

    /// Makes a resource.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post(&self, path: &[&str], body: &impl Serialize) -> Result<Answer, ClientError> {
        self.request(Method::POST, path, &[], Some(body)).await
    }

    /// Changes a resource.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn patch(&self, path: &[&str], body: &impl Serialize) -> Result<Answer, ClientError> {
        self.request(Method::PATCH, path, &[], Some(body)).await
    }

    /// Removes a resource. The answer has no body.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete(&self, path: &[&str]) -> Result<Answer, ClientError> {
        self.request(Method::DELETE, path, &[], None::<&()>).await
    }

    /// Replaces a resource by a text.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn put_text(
        &self,
        path: &[&str],
        parameters: &[(&str, &str)],
        text: String,
    ) -> Result<Answer, ClientError> {
        self.send(Method::PUT, path, parameters, "application/toml", text.into_bytes()).await
    }

    async fn request(
        &self,
        method: Method,
        path: &[&str],
        parameters: &[(&str, &str)],
        body: Option<&impl Serialize>,
    ) -> Result<Answer, ClientError> {
        let body = match body {
            Some(body) => serde_json::to_vec(body).map_err(|error| self.not_understood(error))?,
            None => Vec::new(),
        };
        self.send(method, path, parameters, "application/json", body).await
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        parameters: &[(&str, &str)],
        kind: &str,
        body: Vec<u8>,
    ) -> Result<Answer, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(uri(path, parameters))
            .header(header::HOST, "drlb")
            .header(header::CONTENT_TYPE, kind)
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.not_understood(error))?;
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(error))?;
        let (status, body) = tokio::time::timeout(LONGEST_ANSWER, exchange(stream, request))
            .await
            .map_err(|_| self.broken_off(format!("it took more than {} s", LONGEST_ANSWER.as_secs())))?
            .map_err(|error| self.broken_off(error))?;
        let text = String::from_utf8(body.into()).map_err(|error| self.not_understood(error))?;
        let answer = Answer { socket: self.socket.clone(), text };
        if status.is_success() { Ok(answer) } else { Err(ClientError::Fault(answer.parse::<ErrorBody>()?.error)) }
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        let socket = self.socket.clone();
        match source.kind() {
            io::ErrorKind::PermissionDenied => ClientError::NotAllowed { socket },
            _ => ClientError::Unreachable { socket, source },
        }
    }

    fn broken_off(&self, reason: impl ToString) -> ClientError {
        ClientError::BrokenOff { socket: self.socket.clone(), reason: reason.to_string() }
    }

    fn not_understood(&self, reason: impl ToString) -> ClientError {
        ClientError::NotUnderstood { socket: self.socket.clone(), reason: reason.to_string() }
    }
}

async fn exchange(stream: UnixStream, request: Request<Full<Bytes>>) -> hyper::Result<(StatusCode, Bytes)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    };
    tokio::pin!(answer, connection);
    // The connection moves the bytes, so both must be driven; it may end, with the answer complete, first.
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => { ended?; answer.await }
    }
}

/// A path from its segments, below the version, and its parameters.
fn uri(segments: &[&str], parameters: &[(&str, &str)]) -> String {
    let mut uri = String::from("/v1");
    for segment in segments {
        uri.push('/');
        escape(&mut uri, segment);
    }
    for (index, (name, value)) in parameters.iter().enumerate() {
        uri.push(if index == 0 { '?' } else { '&' });
        escape(&mut uri, name);
        uri.push('=');
        escape(&mut uri, value);
    }
    uri
}

/// Appends a text with all escaped but what may stand anywhere in a path and a query (RFC 3986 sections 3.3 and 3.4), as
/// far as drlb's names and addresses use it.
fn escape(uri: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            uri.push(byte.into());
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stays_a_segment() {
        let segments = ["listeners", "a/../b?c#d%", "backends", "2001:db8::21"];
        assert_eq!(uri(&segments, &[]), "/v1/listeners/a%2F..%2Fb%3Fc%23d%25/backends/2001:db8::21");
    }

    #[test]
    fn a_parameter_stays_a_parameter() {
        assert_eq!(
            uri(&["flows"], &[("listener", "a&b=c+d"), ("limit", "7")]),
            "/v1/flows?listener=a%26b%3Dc%2Bd&limit=7"
        );
    }

    #[tokio::test]
    async fn an_agent_that_does_not_run_is_told_in_a_sentence() {
        let error = Client::new(Path::new("/nonexistent/drlb.sock")).get(&["status"]).await.expect_err("no agent");
        assert_eq!(
            error.to_string(),
            "cannot reach the agent at /nonexistent/drlb.sock: No such file or directory (os error 2). Start it with \
             `drlb agent`, or name its socket with --socket"
        );
    }
}
