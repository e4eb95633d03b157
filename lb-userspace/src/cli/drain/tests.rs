//! Drains to each of their ends, over a real socket and with a stand-in for the engine.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::*;
use crate::api::server::{Balancer, router, serve};
use crate::api::socket;
use crate::doctor::Report;
use crate::engine::status::{Flows, Status};
use crate::events::{Events, Query};
use crate::model::{Command, Fault};

/// Shows the backend as a script has it, one step a request; the last step stays.
#[derive(Clone)]
struct Script {
    steps: Arc<Mutex<VecDeque<serde_json::Value>>>,
    drains: Arc<Mutex<Vec<Option<u32>>>>,
}

impl Balancer for Script {
    async fn execute(&self, command: Command) -> Result<(), Fault> {
        let Command::DrainBackend { deadline, .. } = command else { panic!("not a drain: {command:?}") };
        self.drains.lock().expect("no panic").push(deadline);
        Ok(())
    }

    async fn status(&self) -> Result<Status, Fault> {
        let mut steps = self.steps.lock().expect("no panic");
        let step = if steps.len() > 1 { steps.pop_front() } else { steps.front().cloned() };
        let backends: Vec<_> = step.into_iter().filter(|step| !step.is_null()).collect();
        let listener = serde_json::json!({
            "name": "web", "vip": "192.0.2.10", "protocol": "tcp", "port": 80, "algorithm": "source-ip-port",
            "persistence": null, "timeouts": {}, "slots": 7,
            "slot_states": {"steady": 7, "moving": 0, "settling": 0},
            "counters": {"packets": 0, "bytes": 0}, "backends": backends,
        });
        let status = serde_json::json!({
            "version": "0", "layout": "v3", "interfaces": [], "listeners": [listener], "outcomes": [],
            "tracking": {"pins_young": 0, "pins_established": 0, "sessions": 0, "overflows": 0, "unsteady_slots": 0,
                         "last_sweep_ms": null},
        });
        Ok(serde_json::from_value(status).expect("a status"))
    }

    async fn apply(&self, _: String, _: bool) -> Result<Vec<String>, Fault> {
        panic!("a drain applies no file")
    }

    async fn export(&self) -> Result<String, Fault> {
        panic!("a drain exports nothing")
    }

    async fn flows(&self, _: Option<Name>, _: usize) -> Result<Flows, Fault> {
        panic!("a drain asks for no flows")
    }

    async fn examine(&self) -> Result<Report, Fault> {
        unreachable!("a drain does not ask for this")
    }

    async fn events(&self, _: Query, _: Duration) -> Events {
        panic!("a drain asks for no events")
    }
}

/// The backend in a state; `flows` of a drain that began long ago, if it has one.
fn backend(state: &str, flows: Option<u64>) -> serde_json::Value {
    serde_json::json!({
        "address": "192.0.2.21", "weight": 1, "admin_up": true, "state": state, "reason": null, "mac": null,
        "interface": null, "slots": 0, "flows": flows, "counters": {"packets": 0, "bytes": 0},
        "drain": flows.map(|flows| serde_json::json!({"since": 1000, "deadline": null, "flows": flows})),
    })
}

fn listen(path: &Path, script: &Script) -> tokio::task::JoinHandle<()> {
    let (listener, bound) = socket::bind(path).expect("a socket");
    let script = script.clone();
    tokio::spawn(async move {
        let _bound = bound;
        let _ = serve(listener, router(script), std::future::pending()).await;
    })
}

/// What became of waiting: the end, the lines, and the drains that were asked for.
async fn wait(
    steps: Vec<serde_json::Value>,
    deadline: Option<u32>,
) -> (Result<String, String>, String, Vec<Option<u32>>) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("s");
    let script = Script { steps: Arc::new(Mutex::new(steps.into())), drains: Arc::default() };
    let server = listen(&path, &script);
    let answer = wait_at(&path, deadline).await;
    server.abort();
    let drains = script.drains.lock().expect("no panic").clone();
    (answer.0, answer.1, drains)
}

async fn wait_at(path: &Path, deadline: Option<u32>) -> (Result<String, String>, String) {
    let client = Client::new(path);
    let drain = Drain {
        client: &client,
        listener: "web".parse().expect("a name"),
        address: "192.0.2.21".parse().expect("an address"),
        interval: Duration::from_millis(5),
        patience: Duration::from_secs(5),
    };
    let mut progress = Progress::new(Vec::new(), None);
    let end = drain.end(deadline, &mut progress).await;
    let end = end.map(|answer| drained(&drain.listener, &answer.parse().expect("a backend")));
    (end.map_err(|failure| failure.to_string()), String::from_utf8(progress.finish()).expect("text"))
}

#[tokio::test]
async fn a_drain_is_waited_for_to_its_end() {
    let steps = vec![
        backend("serving", None),
        backend("draining", Some(0)),
        backend("draining", Some(2)),
        backend("draining", Some(2)),
        backend("draining", Some(1)),
        backend("drained", Some(0)),
    ];
    let (end, lines, drains) = wait(steps, Some(300)).await;
    assert_eq!(end.as_deref(), Ok("drained backend 192.0.2.21 of web\n"));
    let subjects: Vec<_> = lines.lines().map(|line| line.split(", ").next().unwrap_or_default()).collect();
    let line = |state: &str| format!("draining 192.0.2.21 of web: {state}");
    assert_eq!(subjects, [line("its flows are being counted"), line("2 flows left"), line("1 flow left")]);
    assert_eq!(drains, [Some(300)]);
}

#[tokio::test]
async fn flows_that_a_deadline_cut_off_are_told() {
    let (end, ..) = wait(vec![backend("serving", None), backend("drained", Some(3))], None).await;
    assert_eq!(end.as_deref(), Ok("drained backend 192.0.2.21 of web; 3 flows were left at its deadline\n"));
}

#[tokio::test]
async fn waiting_for_a_drain_under_way_leaves_its_deadline() {
    let steps = || vec![backend("draining", Some(3)), backend("draining", Some(3)), backend("drained", Some(0))];
    let (end, _, drains) = wait(steps(), None).await;
    assert!(end.is_ok() && drains.is_empty(), "{end:?} {drains:?}");
    let (end, _, drains) = wait(steps(), Some(60)).await;
    assert!(end.is_ok(), "{end:?}");
    assert_eq!(drains, [Some(60)]);
}

#[tokio::test]
async fn a_cancelled_drain_is_told_from_a_finished_one() {
    let steps = vec![backend("serving", None), backend("draining", Some(3)), backend("serving", None)];
    let (end, ..) = wait(steps, None).await;
    let expected = "the drain of backend 192.0.2.21 of web was cancelled; the backend is serving now";
    assert_eq!(end.expect_err("cancelled"), expected);
    let steps = vec![backend("serving", None), backend("draining", Some(3)), serde_json::Value::Null];
    let (end, ..) = wait(steps, None).await;
    assert_eq!(end.expect_err("removed"), "backend 192.0.2.21 of web was removed before it was drained");
}

#[tokio::test]
async fn an_agent_that_restarts_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("s");
    let script = Script {
        // For the look before, the answer to the drain, and twice after that.
        steps: Arc::new(Mutex::new(
            vec![
                backend("serving", None),
                backend("draining", Some(3)),
                backend("draining", Some(3)),
                backend("draining", Some(3)),
            ]
            .into(),
        )),
        drains: Arc::default(),
    };
    let server = listen(&path, &script);
    let waiting = tokio::spawn({
        let path = path.clone();
        async move { wait_at(&path, None).await }
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    while script.steps.lock().expect("no panic").len() > 1 {
        assert!(Instant::now() < deadline, "nobody asks");
        tokio::task::yield_now().await;
    }
    server.abort();
    let _ = server.await;
    *script.steps.lock().expect("no panic") = vec![backend("draining", Some(2)), backend("drained", Some(0))].into();
    let _server = listen(&path, &script);
    let (end, lines) = waiting.await.expect("no panic");
    assert_eq!(end.as_deref(), Ok("drained backend 192.0.2.21 of web\n"), "{lines}");
}
