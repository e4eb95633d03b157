//! Many clients of the OpenStack API at once, and an agent that is killed while it serves them. There is no data plane.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use drlb_tests::agent::binary;
use drlb_tests::wait::{SOON, until};
use serde_json::{Value, json};

/// Any subnet: without a data plane all are taken.
const SUBNET: &str = "11111111-1111-4111-8111-111111111111";

/// An agent without a data plane. It is killed when it is dropped.
struct Agent {
    folder: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Agent {
    fn start() -> Result<Self> {
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

    fn kill_and_start_again(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        self.process = launch(self.folder.path(), self.port)?;
        self.wait()
    }

    fn client(&self) -> Client {
        let config = ureq::Agent::config_builder().proxy(None).http_status_as_error(false);
        let config = config.timeout_connect(Some(PATIENCE)).timeout_recv_response(Some(PATIENCE));
        Client { agent: config.build().new_agent(), base: format!("http://127.0.0.1:{}/v2.0/lbaas", self.port) }
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

#[derive(Clone)]
struct Client {
    agent: ureq::Agent,
    base: String,
}

impl Client {
    fn get(&self, path: &str) -> Result<(u16, Value)> {
        answer(self.agent.get(format!("{}/{path}", self.base)).call())
    }

    fn post(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        answer(self.agent.post(format!("{}/{path}", self.base)).send(body.to_string()))
    }

    fn put(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        answer(self.agent.put(format!("{}/{path}", self.base)).send(body.to_string()))
    }

    /// Makes an object and returns its id.
    fn make(&self, path: &str, body: &Value) -> Result<String> {
        let (status, made) = self.post(path, body)?;
        ensure!(status == 201, "POST {path} {body}: {status} {made}");
        let object = made.as_object().and_then(|made| made.values().next()).context("no object")?;
        Ok(object["id"].as_str().context("no id")?.to_owned())
    }

    /// The ids of a list, page by page.
    fn ids(&self, list: &str) -> Result<BTreeSet<String>> {
        let (mut ids, mut marker) = (BTreeSet::new(), String::new());
        loop {
            let (status, body) = self.get(&format!("{list}?limit=500{marker}"))?;
            ensure!(status == 200, "{list}: {status} {body}");
            let page = body[list].as_array().context("no list")?;
            let Some(last) = page.last() else { return Ok(ids) };
            marker = format!("&marker={}", last["id"].as_str().context("no id")?);
            ids.extend(page.iter().filter_map(|one| one["id"].as_str().map(str::to_owned)));
        }
    }
}

fn answer(answered: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<(u16, Value)> {
    let mut response = answered?;
    let text = response.body_mut().read_to_string()?;
    let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? };
    Ok((response.status().as_u16(), body))
}

fn load_balancer(name: &str) -> Value {
    json!({ "loadbalancer": { "name": name, "vip_subnet_id": SUBNET } })
}

#[test]
fn a_thousand_clients_at_once_each_with_its_own_objects() -> Result<()> {
    let agent = Agent::start()?;
    let begin = Arc::new(Barrier::new(1_000));
    let clients: Vec<_> = (0..1_000)
        .map(|number| {
            let (client, begin) = (agent.client(), Arc::clone(&begin));
            let life = move || -> Result<String> {
                begin.wait();
                let lb = client.make("loadbalancers", &load_balancer(&format!("lb-{number}")))?;
                let listener = json!({ "loadbalancer_id": lb, "protocol": "TCP", "protocol_port": 0, "name": "dr" });
                let listener = client.make("listeners", &json!({ "listener": listener }))?;
                let pool = json!({ "listener_id": listener, "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN" });
                let pool = client.make("pools", &json!({ "pool": pool }))?;
                let member = json!({ "member": { "address": "192.0.2.21", "protocol_port": 0 } });
                client.make(&format!("pools/{pool}/members"), &member)?;
                let (status, shown) = client.get(&format!("loadbalancers/{lb}"))?;
                ensure!(status == 200 && shown["loadbalancer"]["provisioning_status"] == "ACTIVE", "{shown}");
                Ok(lb)
            };
            thread::Builder::new().stack_size(256 << 10).spawn(life)
        })
        .collect::<std::io::Result<_>>()?;
    let mut made = BTreeSet::new();
    for client in clients {
        made.insert(client.join().expect("a client does not panic")?);
    }
    ensure!(made.len() == 1_000, "{} load balancers", made.len());
    let client = agent.client();
    ensure!(client.ids("loadbalancers")? == made, "the list has others");
    for list in ["listeners", "pools"] {
        ensure!(client.ids(list)?.len() == 1_000, "not a thousand {list}");
    }
    Ok(())
}

#[test]
fn of_two_that_change_one_object_at_once_one_is_refused_and_no_change_is_lost() -> Result<()> {
    let agent = Agent::start()?;
    let client = agent.client();
    let lb = client.make("loadbalancers", &load_balancer("lb"))?;
    let mut refused = 0;
    for round in 0..200 {
        let begin = Arc::new(Barrier::new(2));
        let writers = ["a", "b"].map(|writer| {
            let (client, begin, path) = (agent.client(), Arc::clone(&begin), format!("loadbalancers/{lb}"));
            let name = format!("{writer}{round}");
            thread::spawn(move || -> Result<(String, u16, Value)> {
                // The connection is there before, so that both requests come together.
                client.get(&path)?;
                begin.wait();
                let (status, body) = client.put(&path, &json!({ "loadbalancer": { "name": name } }))?;
                Ok((name, status, body))
            })
        });
        let mut done = Vec::new();
        for writer in writers {
            let (name, status, body) = writer.join().expect("a writer does not panic")?;
            match status {
                200 => done.push(name),
                409 => {
                    let text = format!("Invalid state PENDING_UPDATE of loadbalancer resource {lb}");
                    ensure!(body["faultstring"] == text, "{body}");
                    refused += 1;
                }
                other => anyhow::bail!("{other} {body}"),
            }
        }
        let (_, shown) = client.get(&format!("loadbalancers/{lb}"))?;
        let name = shown["loadbalancer"]["name"].as_str().context("a name")?;
        ensure!(done.iter().any(|done| done == name), "the name is {name}, and {done:?} were set");
    }
    ensure!(refused > 0, "of 200 pairs, none met");
    Ok(())
}

#[test]
fn nothing_acknowledged_is_lost_when_the_agent_is_killed() -> Result<()> {
    let mut agent = Agent::start()?;
    let acknowledged: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    for _ in 0..5 {
        let ending = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..8)
            .map(|_| {
                let (client, ending, acknowledged) = (agent.client(), Arc::clone(&ending), Arc::clone(&acknowledged));
                thread::spawn(move || {
                    // Ends with the agent, in the middle of whatever it does.
                    while !ending.load(Ordering::Relaxed) {
                        let Ok(id) = client.make("loadbalancers", &load_balancer("lb")) else { return };
                        acknowledged.lock().expect("no writer panics").insert(id);
                    }
                })
            })
            .collect();
        let before = acknowledged.lock().expect("no writer panics").len();
        until("some load balancers to be made", SOON, || {
            let now = acknowledged.lock().expect("no writer panics").len();
            if now >= before + 40 { Ok(()) } else { Err(format!("{} are", now - before)) }
        })?;
        agent.kill_and_start_again()?;
        ending.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().expect("no writer panics");
        }
        let there = agent.client().ids("loadbalancers")?;
        let lost: Vec<_> = acknowledged.lock().expect("no writer panics").difference(&there).cloned().collect();
        ensure!(lost.is_empty(), "lost: {lost:?}");
    }
    Ok(())
}
