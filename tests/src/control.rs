//! An agent without a data plane, and clients of its OpenStack API.

use std::collections::BTreeSet;
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
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("drlb.toml"), "[api]\nauth = \"none\"\n")?;
        // A free port: the system gives one, and hardly gives it again at once.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = launch(folder.path(), port)?;
        let agent = Self { folder, port, process };
        agent.wait()?;
        Ok(agent)
    }

    fn wait(&self) -> Result<()> {
        let client = self.client();
        until("the agent to answer", SOON, || match client.get("loadbalancers?limit=1") {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        })
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
        format!("http://127.0.0.1:{}/v2.0/lbaas", self.port)
    }

    /// A client of its own connection.
    #[must_use]
    pub fn client(&self) -> Client {
        let config = ureq::Agent::config_builder().proxy(None).http_status_as_error(false);
        let config = config.timeout_connect(Some(PATIENCE)).timeout_recv_response(Some(PATIENCE));
        Client { agent: config.build().new_agent(), base: self.url() }
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
}

impl Client {
    /// Gets what is at a path, and its status.
    ///
    /// # Errors
    /// There is no answer, or it is no JSON.
    pub fn get(&self, path: &str) -> Result<(u16, Value)> {
        answer(self.agent.get(format!("{}/{path}", self.base)).call())
    }

    /// Posts a body, and gets the answer.
    ///
    /// # Errors
    /// There is no answer, or it is no JSON.
    pub fn post(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        answer(self.agent.post(format!("{}/{path}", self.base)).send(body.to_string()))
    }

    /// Puts a body, and gets the answer.
    ///
    /// # Errors
    /// There is no answer, or it is no JSON.
    pub fn put(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        answer(self.agent.put(format!("{}/{path}", self.base)).send(body.to_string()))
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

fn answer(answered: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<(u16, Value)> {
    let mut response = answered?;
    let text = response.body_mut().read_to_string()?;
    let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? };
    Ok((response.status().as_u16(), body))
}
