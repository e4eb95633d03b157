//! Faults as HTTP answers, and bodies and parameters that are read strictly.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::types::ErrorBody;
use crate::model::{Fault, FaultKind};

/// A success with a body.
pub(super) struct Json<T>(pub(super) StatusCode, pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        // Indented, as the command line shows it unchanged and people read it with curl.
        match serde_json::to_string_pretty(&self.1) {
            Ok(mut text) => {
                text.push('\n');
                let json = HeaderValue::from_static("application/json");
                (self.0, [(header::CONTENT_TYPE, json)], text).into_response()
            }
            Err(error) => {
                let text = format!("the answer could not be written as JSON: {error}\n");
                (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
            }
        }
    }
}

/// A success whose body is a file in TOML.
pub(super) struct Toml(pub(super) String);

impl IntoResponse for Toml {
    fn into_response(self) -> Response {
        let toml = HeaderValue::from_static("application/toml");
        ([(header::CONTENT_TYPE, toml)], self.0).into_response()
    }
}

/// A refusal or a failure.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    fault: Fault,
}

impl Failure {
    pub(super) const fn new(status: StatusCode, fault: Fault) -> Self {
        Self { status, fault }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let status = match fault.kind {
            FaultKind::Invalid => StatusCode::BAD_REQUEST,
            FaultKind::NotFound => StatusCode::NOT_FOUND,
            FaultKind::Conflict => StatusCode::CONFLICT,
            FaultKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            FaultKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, fault }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        Json(self.status, ErrorBody { error: self.fault }).into_response()
    }
}

/// A request's body, read as JSON whatever its content type says. The router bounds its size.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        read_json(&read_body(request, state).await?).map(Self)
    }
}

/// The same where a request that has no body says all with that.
pub(super) struct OptionalBody<T>(pub(super) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = read_body(request, state).await?;
        if bytes.is_empty() { Ok(Self(T::default())) } else { read_json(&bytes).map(Self) }
    }
}

/// A request's body as a text.
pub(super) struct TextBody(pub(super) String);

impl<S: Send + Sync> FromRequest<S> for TextBody {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = read_body(request, state).await?;
        let not_text = |_| Fault::invalid("the request's body is no text in UTF-8");
        Ok(Self(String::from_utf8(bytes.into()).map_err(not_text)?))
    }
}

async fn read_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Failure> {
    Bytes::from_request(request, state).await.map_err(|rejection| {
        let status = rejection.status();
        let message = if status == StatusCode::PAYLOAD_TOO_LARGE {
            format!("the request's body is too long; {} bytes are read", super::server::LONGEST_BODY)
        } else {
            format!("the request's body could not be read: {rejection}")
        };
        Failure::new(status, Fault::invalid(message))
    })
}

fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes)
        .map_err(|error| Fault::invalid(format!("the request's body is refused: {error}")).into())
}

/// The variable segments of a request's path.
pub(super) struct Segments<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(segments)) => Ok(Self(segments)),
            Err(rejection) => {
                let path = parts.uri.path();
                Err(Fault::invalid(format!("the path {path} is refused: {}", rejection.body_text())).into())
            }
        }
    }
}

/// The parameters of a request's URL, behind the `?`.
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let path = parts.uri.path();
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(rejection) => {
                // What went wrong, without axum's introduction.
                let text = rejection.body_text();
                let reason = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
                Err(Fault::invalid(format!("the parameters of {path} are refused: {reason}")).into())
            }
        }
    }
}

/// Refuses a request with parameters by the name of the first: for paths that take none.
pub(super) async fn without_parameters(
    Parameters(parameters): Parameters<Vec<(String, String)>>,
    request: Request,
    next: Next,
) -> Response {
    match parameters.first() {
        None => next.run(request).await,
        Some((name, _)) => {
            let path = request.uri().path();
            let message = format!("{path} does not know the parameter `{name}`; it takes none");
            Failure::from(Fault::invalid(message)).into_response()
        }
    }
}
