//! The OpenStack API over HTTP: discovery, signing in, load balancing, and the networks that clients look up. What is said
//! is decided in [`crate::octavia`] and [`crate::keystone`].

mod access;
mod identity;
mod respond;
pub mod tcp;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, Method as HttpMethod, StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::{any, get};
use serde_json::{Value, json};

pub use self::access::Access;
use self::respond::{Flavour, answer, refuse, unsigned};
use crate::engine::Engine;
use crate::octavia::query::Parameters;
use crate::octavia::{Area, Method, Refusal, Reply, Request};

/// The longest body that is read, in bytes: a load balancer with thousands of members.
const LONGEST_BODY: usize = 4 << 20;
/// The version of Octavia's API that is served.
const VERSION: &str = "v2.30";
/// When that version came, which clients want to be told.
const UPDATED: &str = "2025-07-04T00:00:00Z";

/// What the API is served from: the engine, or a stand-in in tests.
pub trait Service: Clone + Send + Sync + 'static {
    /// Answers a request; see [`Engine::octavia`].
    fn octavia(&self, request: Request) -> impl Future<Output = Result<Reply, Refusal>> + Send;
}

impl Service for Engine {
    fn octavia(&self, request: Request) -> impl Future<Output = Result<Reply, Refusal>> + Send {
        Engine::octavia(self, request)
    }
}

/// What the handlers share.
#[derive(Clone)]
struct Front<S> {
    service: S,
    access: Arc<Access>,
}

/// The paths. `access` says who may use them.
pub fn router<S: Service>(service: S, access: Arc<Access>) -> Router {
    let mut router = Router::new();
    for path in ["/", "/load-balancer", "/load-balancer/"] {
        router = router.route(path, get(versions::<S>));
    }
    for prefix in ["/v2.0", "/v2", "/load-balancer/v2.0", "/load-balancer/v2"] {
        router = router
            .route(prefix, get(version::<S>))
            .route(&format!("{prefix}/"), get(version::<S>))
            .route(&format!("{prefix}/lbaas/{{*path}}"), any(balancing::<S>))
            .route(&format!("{prefix}/octavia/{{*path}}"), any(amphorae::<S>));
        for list in ["networks", "subnets", "ports", "extensions"] {
            router = router
                .route(&format!("{prefix}/{list}"), any(networks::<S>))
                .route(&format!("{prefix}/{list}/{{id}}"), any(networks::<S>));
        }
    }
    router.merge(identity::router()).layer(DefaultBodyLimit::max(LONGEST_BODY)).with_state(Front { service, access })
}

/// The same, with an answer for every other path: for a port of its own.
pub fn whole<S: Service>(service: S, access: Arc<Access>) -> Router {
    router(service, access).fallback(no_such_path).method_not_allowed_fallback(no_such_method)
}

async fn no_such_path() -> Response {
    refuse(&Refusal::early(404, "The resource could not be found."), Flavour::Octavia)
}

async fn no_such_method() -> Response {
    let text = "The server could not comply with the request since it is not supported by this resource.";
    refuse(&Refusal::early(405, text), Flavour::Octavia)
}

async fn versions<S: Service>(State(front): State<Front<S>>, headers: HeaderMap) -> Response {
    let url = front.access.url(&headers);
    let version = json!({
        "id": VERSION,
        "status": "CURRENT",
        "updated": UPDATED,
        "links": [{ "rel": "self", "href": format!("{url}/v2") }],
    });
    answer(StatusCode::OK, Some(&json!({ "versions": [version] })))
}

async fn version<S: Service>(State(front): State<Front<S>>, headers: HeaderMap) -> Response {
    let url = front.access.url(&headers);
    let links = json!([{ "rel": "self", "href": format!("{url}/v2.0/") }]);
    answer(StatusCode::OK, Some(&json!({ "version": { "id": "v2.0", "status": "CURRENT", "links": links } })))
}

/// A request as it came.
struct Incoming {
    method: HttpMethod,
    uri: Uri,
    headers: HeaderMap,
    parameters: Option<Vec<(String, String)>>,
    body: Bytes,
}

async fn balancing<S: Service>(
    State(front): State<Front<S>>,
    Path(path): Path<String>,
    method: HttpMethod,
    uri: Uri,
    headers: HeaderMap,
    parameters: Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
    body: Bytes,
) -> Response {
    let parameters = parameters.ok().map(|Query(parameters)| parameters);
    let incoming = Incoming { method, uri, headers, parameters, body };
    let path = path.split('/').map(str::to_owned).collect();
    pass_on(&front, incoming, path, Area::LoadBalancing, Flavour::Octavia).await
}

async fn networks<S: Service>(
    State(front): State<Front<S>>,
    method: HttpMethod,
    uri: Uri,
    headers: HeaderMap,
    parameters: Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
    body: Bytes,
) -> Response {
    let parameters = parameters.ok().map(|Query(parameters)| parameters);
    // The path is that behind the version.
    let path = uri.path().split('/').skip_while(|segment| !segment.starts_with("v2")).skip(1);
    let path: Vec<String> = path.map(str::to_owned).collect();
    let incoming = Incoming { method, uri, headers, parameters, body };
    pass_on(&front, incoming, path, Area::Networks, Flavour::Neutron).await
}

/// There are no amphorae: the balancer is the host.
async fn amphorae<S: Service>(
    State(front): State<Front<S>>,
    Path(path): Path<String>,
    method: HttpMethod,
    headers: HeaderMap,
) -> Response {
    if let Err(challenge) = front.access.caller(&headers).await {
        return unsigned(&challenge);
    }
    match path.trim_end_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        ["amphorae"] if method == HttpMethod::GET => {
            answer(StatusCode::OK, Some(&json!({ "amphorae": [], "amphorae_links": [] })))
        }
        ["amphorae", id, ..] => refuse(&Refusal::not_found("Amphora", id), Flavour::Octavia),
        ["amphorae"] => no_such_method().await,
        _ => no_such_path().await,
    }
}

async fn pass_on<S: Service>(
    front: &Front<S>,
    incoming: Incoming,
    path: Vec<String>,
    area: Area,
    flavour: Flavour,
) -> Response {
    let Incoming { method, uri, headers, parameters, body } = incoming;
    let caller = match front.access.caller(&headers).await {
        Ok(caller) => caller,
        Err(challenge) => return unsigned(&challenge),
    };
    if !accepts_json(&headers) {
        return refuse(&Refusal::early(406, "Only content type application/json is accepted."), flavour);
    }
    let method = match method {
        HttpMethod::GET | HttpMethod::HEAD => Method::Get,
        HttpMethod::POST => Method::Post,
        HttpMethod::PUT => Method::Put,
        HttpMethod::DELETE => Method::Delete,
        _ => return no_such_method().await,
    };
    let Some(parameters) = parameters else {
        return refuse(&Refusal::early(400, "The parameters of the address cannot be read."), flavour);
    };
    let body = match read_body(method, &body) {
        Ok(body) => body,
        Err(refusal) => return refuse(&refusal, flavour),
    };
    let here = format!("{}{}", front.access.url(&headers), uri.path());
    let request = Request { area, method, path, parameters: Parameters(parameters), body, caller, here };
    match front.service.octavia(request).await {
        Ok(Reply { status, body }) => answer(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), body.as_ref()),
        Err(refusal) => refuse(&refusal, flavour),
    }
}

/// The body, if the method has one.
fn read_body(method: Method, body: &Bytes) -> Result<Option<Value>, Refusal> {
    if body.is_empty() || !matches!(method, Method::Post | Method::Put) {
        return Ok(None);
    }
    let refused = |error| Refusal::new(400, format!("Request is not in valid JSON format: {error}"));
    serde_json::from_slice(body).map(Some).map_err(refused)
}

fn accepts_json(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter().peekable();
    if accepted.peek().is_none() {
        return true;
    }
    let kinds = accepted.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let mut kinds = kinds.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    kinds.any(|kind| matches!(kind, "" | "*/*" | "application/*" | "application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_accepted_unless_something_else_is_asked_for() {
        let accepts = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, value.parse().expect("a header"));
            accepts_json(&headers)
        };
        assert!(accepts_json(&HeaderMap::new()));
        for (value, right) in [
            ("*/*", true),
            ("application/json", true),
            ("", true),
            ("text/html, */*;q=0.1", true),
            ("text/html", false),
        ] {
            assert_eq!(accepts(value), right, "{value}");
        }
    }
}
