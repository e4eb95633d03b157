//! An agent without a data plane, and clients of its OpenStack API.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::agent::binary;
use crate::wait::{SOON, until};

/// Any subnet: without a data plane all are taken.
pub const SUBNET: &str = "11111111-1111-4111-8111-111111111111";

/// An agent without a data plane. It is killed when it is dropped.
#[derive(Debug)]
pub struct Agent {
    folder: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Agent {
    /// Starts one that nobody has to sign in to, with nothing in it.
    ///
    /// # Errors
    /// It does not come to answer.
    pub fn start() -> Result<Self> {
        Self::start_with("[api]\nauth = \"none\"\n")
    }

    /// Starts one with this configuration and nothing in it.
    ///
    /// # Errors
    /// It does not come to listen.
    pub fn start_with(configuration: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("drlb.toml"), configuration)?;
        // A free port: the system gives one, and hardly gives it again at once.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = launch(folder.path(), port)?;
        let agent = Self { folder, port, process };
        agent.wait()?;
        Ok(agent)
    }

    fn wait(&self) -> Result<()> {
        let listens =
            || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).map(drop).map_err(|error| error.to_string());
        until("the agent to listen", SOON, listens)
    }

    /// Where the API is, as `127.0.0.1:9876`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills it, whatever it does, and starts another one on what it left.
    ///
    /// # Errors
    /// The other one does not come to answer.
    pub fn kill_and_start_again(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        self.process = launch(self.folder.path(), self.port)?;
        self.wait()
    }

    /// The API's address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/v2.0/lbaas", self.address())
    }

    /// A client of its own connection.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::of(self.url())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn launch(folder: &Path, port: u16) -> Result<Child> {
    let mut command = Command::new(binary()?);
    command.arg("--socket").arg(folder.join("s")).args(["agent", "--data-plane", "off", "--state-dir"]);
    command.arg(folder.join("state")).arg("--config").arg(folder.join("drlb.toml"));
    command.args(["--api-listen", &format!("127.0.0.1:{port}")]).stdin(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("cannot start the agent")
}

/// How long one of a thousand clients waits for its turn.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client of the API.
#[derive(Clone, Debug)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
    headers: Vec<(String, String)>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: ureq::http::HeaderMap,
    /// The body; null if there is none.
    pub body: Value,
}

impl Answer {
    /// All values of a header.
    #[must_use]
    pub fn all(&self, header: &str) -> Vec<&str> {
        self.headers.get_all(header).iter().filter_map(|value| value.to_str().ok()).collect()
    }
}

impl Client {
    /// A client of what is at an address.
    #[must_use]
    pub fn of(base: String) -> Self {
        let config = ureq::Agent::config_builder().proxy(None).http_status_as_error(false);
        let config = config.timeout_connect(Some(PATIENCE)).timeout_recv_response(Some(PATIENCE));
        Self { agent: config.build().new_agent(), base, headers: Vec::new() }
    }

    /// The same with a header in each request.
    #[must_use]
    pub fn with(mut self, header: &str, value: &str) -> Self {
        self.headers.push((header.to_owned(), value.to_owned()));
        self
    }

    /// Asks, and gets the answer.
    ///
    /// # Errors
    /// There is none, or its body is no JSON.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}/{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let mut response = match body {
            Some(body) => self.agent.run(request.header("content-type", "application/json").body(body.to_string())?)?,
            None => self.agent.run(request.body(())?)?,
        };
        let text = response.body_mut().read_to_string()?;
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? };
        Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body })
    }

    /// Gets what is at a path, and its status.
    ///
    /// # Errors
    /// There is no answer, or it is no JSON.
    pub fn get(&self, path: &str) -> Result<(u16, Value)> {
        self.ask("GET", path, None).map(|answer| (answer.status, answer.body))
    }

    /// Posts a body, and gets the answer.
    ///
    /// # Errors
    /// There is no answer, or it is no JSON.
    pub fn post(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        self.ask("POST", path, Some(body)).map(|answer| (answer.status, answer.body))
    }

    /// Puts a body, and gets the answer.
    ///
    /// # Errors
    /// There is no answer, or it is no JSON.
    pub fn put(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        self.ask("PUT", path, Some(body)).map(|answer| (answer.status, answer.body))
    }

    /// Makes an object and returns its id.
    ///
    /// # Errors
    /// It is refused.
    pub fn make(&self, path: &str, body: &Value) -> Result<String> {
        let (status, made) = self.post(path, body)?;
        ensure!(status == 201, "POST {path} {body}: {status} {made}");
        let object = made.as_object().and_then(|made| made.values().next()).context("no object")?;
        Ok(object["id"].as_str().context("no id")?.to_owned())
    }

    /// The objects of a list, page by page.
    ///
    /// # Errors
    /// It cannot be listed.
    pub fn list(&self, path: &str) -> Result<Vec<Value>> {
        let (mut objects, mut marker) = (Vec::new(), String::new());
        loop {
            let (status, body) = self.get(&format!("{path}?limit=500{marker}"))?;
            ensure!(status == 200, "{path}: {status} {body}");
            let lists = body.as_object().context("no object")?.iter().filter(|(name, _)| !name.ends_with("_links"));
            let page = lists.map(|(_, list)| list).next().and_then(Value::as_array).context("no list")?;
            let Some(last) = page.last() else { return Ok(objects) };
            marker = format!("&marker={}", key(last)?);
            objects.extend_from_slice(page);
        }
    }

    /// The ids of a list.
    ///
    /// # Errors
    /// It cannot be listed.
    pub fn ids(&self, path: &str) -> Result<BTreeSet<String>> {
        self.list(path)?.iter().map(|object| Ok(key(object)?.to_owned())).collect()
    }
}

/// What an object is found by: its id, its name where it has none, its project where it has neither.
///
/// # Errors
/// It has none of them.
pub fn key(object: &Value) -> Result<&str> {
    let known = ["id", "name", "project_id"].iter().find_map(|name| object[*name].as_str());
    known.with_context(|| format!("nothing to find {object} by"))
}
