//! As much of Keystone's version 3 as clients need to sign in with a `clouds.yaml`.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};
use uuid::Uuid;

use super::access::now;
use super::respond::{answer, unsigned};
use super::{Front, Service};
use crate::keystone::{Answer, Project, refused, token_of};

/// The paths.
pub(super) fn router<S: Service>() -> Router<Front<S>> {
    let tokens = get(show_token::<S>).post(sign_in::<S>).delete(revoke::<S>);
    Router::new()
        .route("/v3", get(version::<S>))
        .route("/v3/", get(version::<S>))
        .route("/v3/auth/tokens", tokens)
        .route("/v3/auth/projects", get(projects::<S>))
        .route("/v3/projects", get(projects::<S>))
        .route("/v3/projects/{id}", get(project::<S>))
}

async fn version<S: Service>(State(front): State<Front<S>>, headers: HeaderMap) -> Response {
    let url = front.access.url(&headers);
    let version = json!({
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{ "rel": "self", "href": format!("{url}/v3/") }],
        "media-types": [{ "base": "application/json", "type": "application/vnd.openstack.identity-v3+json" }],
    });
    answer(StatusCode::OK, Some(&json!({ "version": version })))
}

fn told(told: &Answer) -> Response {
    let status = StatusCode::from_u16(told.status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = answer(status, Some(&told.body));
    if let Some(token) = told.token.as_deref().and_then(|token| HeaderValue::from_str(token).ok()) {
        response.headers_mut().insert("x-subject-token", token);
    }
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("X-Auth-Token"));
    response
}

async fn sign_in<S: Service>(State(front): State<Front<S>>, headers: HeaderMap, body: Bytes) -> Response {
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return told(&refused(400, "The request's body is no JSON."));
    };
    let services = front.access.services(&headers);
    let access = Arc::clone(&front.access);
    let fresh = token_of(&[*Uuid::new_v4().as_bytes(), *Uuid::new_v4().as_bytes()].concat());
    // To check a password takes its time: first without the lock, and then, as it is known to be right, with it.
    let answered = tokio::task::spawn_blocking(move || {
        let given = &body["auth"]["identity"]["password"]["user"];
        let user = given["name"].as_str().and_then(|name| access.directory.user(name));
        if let Some(user) = user {
            let _ = user.secret.is(given["password"].as_str().unwrap_or_default());
        }
        access.tokens().sign_in(&access.directory, &body, &services, now(), fresh)
    });
    match answered.await {
        Ok(answered) => told(&answered),
        Err(_) => told(&refused(401, crate::keystone::SIGN_IN)),
    }
}

fn subject(headers: &HeaderMap) -> &str {
    headers.get("x-subject-token").and_then(|token| token.to_str().ok()).unwrap_or_default()
}

async fn show_token<S: Service>(State(front): State<Front<S>>, headers: HeaderMap) -> Response {
    if let Err(challenge) = front.access.caller(&headers).await {
        return unsigned(&challenge);
    }
    let services = front.access.services(&headers);
    told(&front.access.tokens().show(&front.access.directory, subject(&headers), &services, now()))
}

async fn revoke<S: Service>(State(front): State<Front<S>>, headers: HeaderMap) -> Response {
    if let Err(challenge) = front.access.caller(&headers).await {
        return unsigned(&challenge);
    }
    front.access.tokens().revoke(subject(&headers));
    answer(StatusCode::NO_CONTENT, None)
}

fn shown(project: &Project, url: &str) -> Value {
    json!({
        "id": project.id,
        "name": project.name,
        "description": "",
        "domain_id": "default",
        "parent_id": "default",
        "enabled": true,
        "is_domain": false,
        "tags": [],
        "options": {},
        "links": { "self": format!("{url}/v3/projects/{}", project.id) },
    })
}

async fn projects<S: Service>(
    State(front): State<Front<S>>,
    headers: HeaderMap,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Response {
    if let Err(challenge) = front.access.caller(&headers).await {
        return unsigned(&challenge);
    }
    let url = front.access.url(&headers);
    let name = parameters.iter().find(|(key, _)| key == "name").map(|(_, name)| name);
    let projects =
        front.access.directory.projects.iter().filter(|project| name.is_none_or(|name| project.name == *name));
    let projects: Vec<Value> = projects.map(|project| shown(project, &url)).collect();
    let links = json!({ "self": format!("{url}/v3/projects"), "next": null, "previous": null });
    answer(StatusCode::OK, Some(&json!({ "projects": projects, "links": links })))
}

async fn project<S: Service>(State(front): State<Front<S>>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    if let Err(challenge) = front.access.caller(&headers).await {
        return unsigned(&challenge);
    }
    let url = front.access.url(&headers);
    // By its id alone: a client that has a name asks for the list.
    match front.access.directory.projects.iter().find(|project| project.id == id) {
        Some(project) => answer(StatusCode::OK, Some(&json!({ "project": shown(project, &url) }))),
        None => told(&refused(404, &format!("Could not find project: {id}."))),
    }
}
