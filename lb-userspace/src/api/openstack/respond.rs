//! Answers and refusals in the form that each service's clients read.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use super::access::Challenge;
use crate::keystone::SIGN_IN;
use crate::octavia::Refusal;

/// Whose clients read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    /// Octavia's.
    Octavia,
    /// Neutron's.
    Neutron,
}

/// An answer with a body, or without one.
pub(super) fn answer(status: StatusCode, body: Option<&Value>) -> Response {
    let mut response = match body {
        Some(body) => {
            let json = HeaderValue::from_static("application/json");
            (status, [(header::CONTENT_TYPE, json)], body.to_string()).into_response()
        }
        None => (status, Body::empty()).into_response(),
    };
    // Clients show it with an error, for the log.
    if let Ok(id) = HeaderValue::from_str(&format!("req-{}", Uuid::new_v4())) {
        response.headers_mut().insert("x-openstack-request-id", id);
    }
    response
}

/// A refusal.
pub(super) fn refuse(refusal: &Refusal, flavour: Flavour) -> Response {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    let body = match flavour {
        Flavour::Octavia => refusal.body(),
        Flavour::Neutron => {
            let sort = match refusal.status {
                404 => "NotFound",
                403 => "PolicyNotAuthorized",
                501 => "NotImplemented",
                _ => "BadRequest",
            };
            json!({ "NeutronError": { "type": sort, "message": refusal.text, "detail": "" } })
        }
    };
    answer(status, Some(&body))
}

/// The answer to a request that nobody has signed.
pub(super) fn unsigned(challenge: &Challenge) -> Response {
    let body = json!({ "error": { "code": 401, "title": "Unauthorized", "message": SIGN_IN } });
    let mut response = answer(StatusCode::UNAUTHORIZED, Some(&body));
    for way in &challenge.ways {
        if let Ok(way) = HeaderValue::from_str(way) {
            response.headers_mut().append(header::WWW_AUTHENTICATE, way);
        }
    }
    response
}
