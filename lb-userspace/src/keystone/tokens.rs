//! Tokens: what Keystone's version 3 gives for a password, and what it says of them.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{Directory, Project, User, role_name};
use crate::octavia::Caller;

/// How long a token is good, in seconds.
const LIFE: u64 = 3_600;
/// The most tokens that are kept; the oldest make way.
const MOST: usize = 65_536;

/// The tokens that were given.
#[derive(Debug, Default)]
pub struct Tokens {
    tokens: HashMap<String, Token>,
    given: u64,
}

#[derive(Clone, Debug)]
struct Token {
    user: String,
    until: u64,
    issued: u64,
    number: u64,
}

/// An answer of the token endpoint: the status, the token, and the body.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The token, if one is given or was asked about.
    pub token: Option<String>,
    /// The body.
    pub body: Value,
}

/// What is said of where the services are.
#[derive(Clone, Debug)]
pub struct Services {
    /// The address of all of them.
    pub url: String,
    /// Their region.
    pub region: String,
}

/// Why somebody cannot sign in, or not there.
#[must_use]
pub fn refused(status: u16, message: &str) -> Answer {
    let title = match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        _ => "Not Found",
    };
    let body = json!({ "error": { "code": status, "title": title, "message": message } });
    Answer { status, token: None, body }
}

/// Why a request without a valid token is not served.
pub const SIGN_IN: &str = "The request you have made requires authentication.";

impl Tokens {
    /// Signs somebody in by what it sent: a password, or a token that it has. `fresh` is what a new token is to be, random
    /// and not to be guessed.
    pub fn sign_in(
        &mut self,
        directory: &Directory,
        body: &Value,
        services: &Services,
        now: u64,
        fresh: String,
    ) -> Answer {
        let identity = &body["auth"]["identity"];
        let methods = identity["methods"].as_array();
        let has = |method: &str| methods.is_some_and(|methods| methods.iter().any(|one| one == method));
        let user = if has("password") {
            let given = &identity["password"]["user"];
            let user = match (given["name"].as_str(), given["id"].as_str()) {
                (Some(name), _) => directory.user(name),
                (None, Some(id)) => directory.user_by_id(id),
                (None, None) => None,
            };
            let password = given["password"].as_str().unwrap_or_default();
            user.filter(|user| user.secret.is(password))
        } else if has("token") {
            let token = identity["token"]["id"].as_str().unwrap_or_default();
            self.user(directory, token, now)
        } else {
            return refused(400, "Give the method \"password\" or \"token\", and what belongs to it.");
        };
        let Some(user) = user else { return refused(401, SIGN_IN) };
        if let Some(wanted) = scope(&body["auth"]["scope"])
            && !is_of(wanted, &user.project)
        {
            return refused(401, "The user has no role in that project.");
        }
        self.make_room(now);
        self.given += 1;
        let token = Token { user: user.name.clone(), until: now + LIFE, issued: now, number: self.given };
        let body = shown(user, &token, services);
        self.tokens.insert(fresh.clone(), token);
        Answer { status: 201, token: Some(fresh), body }
    }

    /// Tells of a token.
    #[must_use]
    pub fn show(&self, directory: &Directory, token: &str, services: &Services, now: u64) -> Answer {
        let known = self.tokens.get(token).zip(self.user(directory, token, now));
        match known {
            Some((known, user)) => {
                Answer { status: 200, token: Some(token.to_owned()), body: shown(user, known, services) }
            }
            None => refused(404, "There is no such token."),
        }
    }

    /// Ends a token.
    pub fn revoke(&mut self, token: &str) {
        self.tokens.remove(token);
    }

    /// The caller that a token is of.
    #[must_use]
    pub fn caller(&self, directory: &Directory, token: &str, now: u64) -> Option<Caller> {
        self.user(directory, token, now).map(User::caller)
    }

    fn user<'a>(&self, directory: &'a Directory, token: &str, now: u64) -> Option<&'a User> {
        let token = self.tokens.get(token).filter(|token| now < token.until)?;
        directory.user(&token.user)
    }

    fn make_room(&mut self, now: u64) {
        if self.tokens.len() < MOST {
            return;
        }
        self.tokens.retain(|_, token| now < token.until);
        if self.tokens.len() >= MOST {
            let oldest = self.given.saturating_sub(MOST as u64 / 2);
            self.tokens.retain(|_, token| token.number > oldest);
        }
    }
}

/// The project that a token is asked for, if any.
fn scope(scope: &Value) -> Option<&Value> {
    scope.get("project")
}

fn is_of(wanted: &Value, project: &Project) -> bool {
    match (wanted["id"].as_str(), wanted["name"].as_str()) {
        (Some(id), _) => id == project.id,
        (None, Some(name)) => name == project.name,
        (None, None) => false,
    }
}

/// The domain of all users and projects.
fn domain() -> Value {
    json!({ "id": "default", "name": "Default" })
}

fn shown(user: &User, token: &Token, services: &Services) -> Value {
    let moment = |seconds| format!("{}.000000Z", crate::octavia::timestamp(seconds));
    let catalogue =
        [("load-balancer", "octavia"), ("network", "neutron"), ("identity", "keystone")].map(|(sort, name)| {
            let id = |of: &str| crate::octavia::networks::id_of("service", &format!("{sort}/{of}")).replace('-', "");
            let endpoint = |interface: &str| {
                json!({
                    "id": id(interface),
                    "interface": interface,
                    "region": services.region,
                    "region_id": services.region,
                    "url": if sort == "identity" { format!("{}/v3", services.url) } else { services.url.clone() },
                })
            };
            let endpoints = ["public", "internal", "admin"].map(endpoint);
            json!({ "id": id("service"), "type": sort, "name": name, "endpoints": endpoints })
        });
    json!({ "token": {
        "methods": ["password"],
        "user": { "id": user.id, "name": user.name, "domain": domain(), "password_expires_at": null },
        "project": { "id": user.project.id, "name": user.project.name, "domain": domain() },
        "is_domain": false,
        "roles": [{ "id": crate::octavia::networks::id_of("role", role_name(user.role)).replace('-', ""), "name": role_name(user.role) }],
        "issued_at": moment(token.issued),
        "expires_at": moment(token.until),
        "audit_ids": [token_of(&token.number.to_be_bytes())],
        "catalog": catalogue,
    } })
}

/// Random bytes as a token.
#[must_use]
pub fn token_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
