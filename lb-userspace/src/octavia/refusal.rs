//! Why a request is refused, in the words and with the status that Octavia's clients know.

use serde_json::{Value, json};

/// A refused request: the HTTP status and the body's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The sentence.
    pub text: String,
    /// True if it is refused before a resource is reached: such answers have another body.
    pub early: bool,
}

impl Refusal {
    /// A refusal by a resource.
    pub fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), early: false }
    }

    /// A refusal before a resource is reached: a path, a method or a page that does not exist.
    pub fn early(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), early: true }
    }

    /// 400: an attribute has a value that it cannot have.
    #[must_use]
    pub fn input(field: &str, value: &Value, why: &str) -> Self {
        let shown = shown(value);
        Self::new(400, format!("Invalid input for field/attribute {field}. Value: '{shown}'. {why}"))
    }

    /// 400: attributes contradict each other or the state.
    pub fn validation(detail: impl std::fmt::Display) -> Self {
        Self::new(400, format!("Validation failure: {detail}"))
    }

    /// 400: a value that an attribute cannot have here.
    pub fn option(value: impl std::fmt::Display, option: impl std::fmt::Display) -> Self {
        Self::new(400, format!("{value} is not a valid option for {option}"))
    }

    /// 403: the caller may not do this.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(403, "Policy does not allow this request to be performed.")
    }

    /// 403: there are as many as the project may have.
    #[must_use]
    pub fn quota(resource: &str) -> Self {
        Self::new(403, format!("Quota has been met for resources: {resource}"))
    }

    /// 404: there is no such object.
    #[must_use]
    pub fn not_found(resource: &str, id: &str) -> Self {
        Self::new(404, format!("{resource} {id} not found."))
    }

    /// 409: the object is being changed.
    #[must_use]
    pub fn immutable(resource: &str, id: &str) -> Self {
        Self::new(409, format!("{resource} {id} is immutable and cannot be updated."))
    }

    /// 501: direct routing cannot do this; `why` says so.
    pub fn unsupported(why: impl std::fmt::Display) -> Self {
        Self::new(501, format!("Provider '{}' does not support a requested option: {why}", super::PROVIDER))
    }

    /// 501: direct routing cannot do this to an object; `why` says so.
    pub fn not_implemented(why: impl std::fmt::Display) -> Self {
        Self::new(501, format!("Provider '{}' does not support a requested action: {why}", super::PROVIDER))
    }

    /// The answer's body.
    #[must_use]
    pub fn body(&self) -> Value {
        let Self { status, text, early } = self;
        match (early, status) {
            (true, _) => json!({ "code": status, "title": title(*status), "description": text }),
            (false, 500..=599) => json!({ "faultcode": "Server", "faultstring": text, "debuginfo": null }),
            (false, _) => json!({ "faultcode": "Client", "faultstring": text, "debuginfo": null }),
        }
    }
}

/// What a status is called in an early refusal.
const fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        413 => "Request Entity Too Large",
        _ => "Error",
    }
}

/// A value as Octavia's messages show it, which is as Python prints it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(quoted).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) => {
            let items: Vec<_> = map.iter().map(|(key, value)| format!("'{key}': {}", quoted(value))).collect();
            format!("{{{}}}", items.join(", "))
        }
        Value::Number(number) => number.to_string(),
    }
}

fn quoted(value: &Value) -> String {
    match value {
        Value::String(text) => format!("'{text}'"),
        other => shown(other),
    }
}
