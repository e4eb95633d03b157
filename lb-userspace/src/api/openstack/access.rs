//! Who a request is from.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, header};
use base64ct::{Base64, Encoding};

use crate::keystone::{Directory, Services, Tokens};
use crate::octavia::Caller;
use crate::settings::Api;

/// Who may use the API, and how it is found.
pub struct Access {
    pub(super) directory: Directory,
    api: Api,
    tokens: Mutex<Tokens>,
    /// True if whoever reaches it may do everything.
    open: bool,
}

/// How a client can sign in: values of `WWW-Authenticate` (RFC 9110 section 11.6.1).
pub(super) struct Challenge {
    pub(super) ways: Vec<String>,
}

impl Access {
    /// Access by the users of a directory, or by all if the configuration says so.
    #[must_use]
    pub fn new(directory: Directory, api: Api) -> Self {
        let open = api.open;
        Self { directory, api, tokens: Mutex::default(), open }
    }

    /// Access by whoever can open the agent's Unix socket: its owner.
    #[must_use]
    pub fn of_the_owner(directory: Directory) -> Self {
        Self { open: true, ..Self::new(directory, Api { region: "RegionOne".to_owned(), ..Api::default() }) }
    }

    pub(super) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address that the services are at, as the client called it.
    pub(super) fn url(&self, headers: &HeaderMap) -> String {
        if let Some(url) = &self.api.url {
            return url.clone();
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        let scheme = if self.api.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{host}")
    }

    pub(super) fn services(&self, headers: &HeaderMap) -> Services {
        Services { url: self.url(headers), region: self.api.region.clone() }
    }

    /// The caller that a request is from.
    ///
    /// # Errors
    /// Nobody has signed it, or not rightly.
    pub(super) async fn caller(self: &Arc<Self>, headers: &HeaderMap) -> Result<Caller, Challenge> {
        if self.open {
            return Ok(self.directory.owner());
        }
        let token = headers.get("x-auth-token").and_then(|token| token.to_str().ok()).map(str::to_owned);
        let basic = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(basic);
        let known = token.as_ref().and_then(|token| self.tokens().caller(&self.directory, token, now()));
        if let Some(caller) = known {
            return Ok(caller);
        }
        // To check a password takes its time, and is not for the threads that serve.
        let access = Arc::clone(self);
        let checked = tokio::task::spawn_blocking(move || access.check(token.as_deref(), basic.as_ref()));
        checked.await.ok().flatten().ok_or_else(|| self.challenge(headers))
    }

    fn check(&self, token: Option<&str>, basic: Option<&(String, String)>) -> Option<Caller> {
        if let Some((secret, token)) = self.directory.admin_token.as_ref().zip(token)
            && secret.is(token)
        {
            return Some(self.directory.owner());
        }
        let (name, password) = basic?;
        self.directory.user(name).filter(|user| user.secret.is(password)).map(crate::keystone::User::caller)
    }

    fn challenge(&self, headers: &HeaderMap) -> Challenge {
        let uri = format!("Keystone uri=\"{}/v3\"", self.url(headers));
        Challenge { ways: vec![uri, "Basic realm=\"drlb\"".to_owned()] }
    }
}

/// Name and password of `Basic …` (RFC 7617).
fn basic(value: &str) -> Option<(String, String)> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(Base64::decode_vec(encoded.trim()).ok()?).ok()?;
    text.split_once(':').map(|(name, password)| (name.to_owned(), password.to_owned()))
}

/// The time in seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
