//! The API's own behaviour, over a real socket and with a stand-in for the engine.

mod strict;

use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::*;
use crate::api::client::{Client, ClientError};
use crate::api::socket;
use crate::doctor::{Finding, Severity};
use crate::engine::status::{
    BackendState, Counters, DrainStatus, FlowState, FlowStatus, InterfaceState, OutcomeStatus, RefusedStatus,
    RivalStatus, SlotStates, TrackingStatus, VipStatus,
};
use crate::events::ring::Ring;
use crate::events::{EventCount, EventKind, News};
use crate::model::{
    Algorithm, AllowList, AttachMode, ListenerChange, NewListener, Persistence, Protocol, SourceRate, Timeouts,
    TimeoutsChange, VipOwner, XdpMode,
};

/// Takes every command and remembers it; knows one listener with one backend, and one interface.
#[derive(Clone, Default)]
struct StandIn {
    commands: Arc<Mutex<Vec<Command>>>,
    refusal: Option<Fault>,
    asked_for_flows: Arc<Mutex<Vec<FlowsQuery>>>,
}

impl Balancer for StandIn {
    async fn execute(&self, command: Command) -> Result<(), Fault> {
        self.commands.lock().expect("no panic").push(command);
        self.refusal.clone().map_or(Ok(()), Err)
    }

    async fn status(&self) -> Result<Status, Fault> {
        Ok(status_of_one())
    }

    async fn apply(&self, text: String, dry_run: bool) -> Result<Vec<String>, Fault> {
        Ok(vec![format!("~ {text} {dry_run}")])
    }

    async fn export(&self) -> Result<String, Fault> {
        Ok("# a file\n".to_owned())
    }

    async fn flows(&self, listener: Option<Name>, limit: usize) -> Result<Flows, Fault> {
        self.asked_for_flows.lock().expect("no panic").push(FlowsQuery { listener, limit: Some(limit) });
        Ok(flows_of_one())
    }

    async fn examine(&self) -> Result<Report, Fault> {
        let finding = Finding {
            code: "vip-missing".to_owned(),
            severity: Severity::Problem,
            about: "web 2001:db8::21".to_owned(),
            text: "it does not have the VIP".to_owned(),
        };
        Ok(Report { findings: vec![finding] })
    }

    async fn events(&self, query: Query, patience: Duration) -> Events {
        let text = format!("{query:?} {patience:?}");
        let mut ring = Ring::new(41);
        ring.push(News::new(EventKind::LinkUp, text).on("eth1"), 1_000);
        ring.ask(&Query { limit: 1, ..Query::default() })
    }
}

fn flows_of_one() -> Flows {
    let flow = FlowStatus {
        listener: "web".parse().expect("a name"),
        protocol: 6,
        source: "2001:db8::7".parse().expect("an address"),
        source_port: 40_000,
        destination: "2001:db8::10".parse().expect("an address"),
        destination_port: 80,
        backend: Some("2001:db8::21".parse().expect("an address")),
        state: FlowState::Established,
        idle_ms: 134,
    };
    Flows { flows: vec![flow], cut: true }
}

fn status_of_one() -> Status {
    let counters = Counters { packets: 3, bytes: 200 };
    let backend = BackendStatus {
        address: "2001:db8::21".parse().expect("an address"),
        weight: 1,
        admin_up: true,
        backup: false,
        state: BackendState::Serving,
        reason: None,
        mac: Some("02:00:00:00:00:21".into()),
        interface: Some("eth1".into()),
        slots: 65_537,
        flows: Some(7),
        drain: Some(DrainStatus { since: 1_000, deadline: None, flows: 7 }),
        health: None,
        monitor: crate::model::MonitorTarget::default(),
        counters,
    };
    let listener = ListenerStatus {
        admin_up: true,
        fault: None,
        name: "web".parse().expect("a name"),
        vip: "2001:db8::10".parse().expect("an address"),
        protocol: Protocol::Tcp,
        port: 80,
        algorithm: Algorithm::SourceIpPort,
        persistence: None,
        timeouts: Timeouts::default(),
        vip_owner: VipOwner::Host,
        source_rate: None,
        max_flows: Some(100),
        flows: Some(7),
        allowed: 1,
        allowed_cidrs: Some(vec!["2001:db8::/32".parse().expect("a prefix")].into()),
        health: None,
        slots: 65_537,
        slot_states: SlotStates { steady: 65_530, moving: 7, settling: 0 },
        counters,
        refused: RefusedStatus { denied: 9, too_many_new_flows: 8, too_many_flows: 7 },
        backends: vec![backend],
    };
    let interface = InterfaceStatus {
        name: "eth1".into(),
        configured_mode: AttachMode::Native,
        mode: Some(XdpMode::Native),
        ifindex: Some(2),
        mac: Some("02:00:00:00:00:01".into()),
        state: InterfaceState::Attached,
        reason: None,
    };
    let outcome =
        OutcomeStatus { name: "forwarded".into(), meaning: "Sent to a backend.".into(), packets: 3, bytes: 200 };
    let vip = VipStatus {
        address: "2001:db8::10".parse().expect("an address"),
        owner: VipOwner::Host,
        announced_on: vec!["eth1".into()],
        reason: None,
        rivals: vec![RivalStatus {
            mac: "02:00:00:00:00:99".into(),
            interface: "eth1".into(),
            claims: true,
            seen: 1_000,
            frames: 3,
            reason: "it has the VIP, too".into(),
        }],
    };
    Status {
        vips: vec![vip],
        version: "0.1.0".into(),
        layout: "v1".into(),
        interfaces: vec![interface],
        listeners: vec![listener],
        outcomes: vec![outcome],
        tracking: TrackingStatus { pins_established: 7, ..TrackingStatus::default() },
        checks: crate::engine::status::ChecksStatus::default(),
        events: vec![EventCount { kind: EventKind::LinkUp, count: 3 }],
    }
}

/// A server on a socket of its own; it ends with the test's runtime.
struct Served {
    folder: tempfile::TempDir,
    balancer: StandIn,
}

impl Served {
    fn start(refusal: Option<Fault>) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let balancer = StandIn { refusal, ..StandIn::default() };
        let (listener, bound) = socket::bind(&folder.path().join("s")).expect("a socket");
        let served = balancer.clone();
        tokio::spawn(async move {
            let _bound = bound;
            serve(listener, router(served), std::future::pending()).await
        });
        Self { folder, balancer }
    }

    fn client(&self) -> Client {
        Client::new(&self.folder.path().join("s"))
    }

    fn last_command(&self) -> Command {
        self.balancer.commands.lock().expect("no panic").pop().expect("a command")
    }

    /// A request as it stands on the wire: status, headers and body of the answer.
    async fn raw(&self, method: &str, path: &str, body: &str) -> (u16, hyper::HeaderMap, String) {
        let stream = UnixStream::connect(self.folder.path().join("s")).await.expect("the server listens");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
        tokio::spawn(connection);
        let request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "drlb")
            .body(Full::new(Bytes::from(body.to_owned())))
            .expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, headers, String::from_utf8(body.to_vec()).expect("text"))
    }

    /// Status, kind and message of a refusal.
    async fn refusal(&self, method: &str, path: &str, body: &str) -> (u16, String, String) {
        let (status, _, text) = self.raw(method, path, body).await;
        let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"));
        let part = |name: &str| json["error"][name].as_str().unwrap_or_else(|| panic!("no {name}: {text}")).to_owned();
        (status, part("kind"), part("message"))
    }
}

#[tokio::test]
async fn each_request_becomes_its_command() {
    let served = Served::start(None);
    let client = served.client();
    let name: Name = "web".parse().expect("a name");
    let address: BackendAddr = "2001:db8::21".parse().expect("an address");

    client.post(&["interfaces"], &serde_json::json!({"name": "eth1"})).await.expect("attach");
    assert_eq!(served.last_command(), Command::Attach { interface: "eth1".into(), mode: AttachMode::Native });
    client.delete(&["interfaces", "eth1"]).await.expect("detach");
    assert_eq!(served.last_command(), Command::Detach { interface: "eth1".into() });

    let body = serde_json::json!({"name": "web", "vip": "2001:db8::10", "protocol": "ip"});
    client.post(&["listeners"], &body).await.expect("add");
    let listener = NewListener {
        name: name.clone(),
        vip: "2001:db8::10".parse().expect("an address"),
        protocol: Protocol::Ip,
        port: 0,
        algorithm: Algorithm::SourceIpPort,
        persistence: None,
        timeouts: Timeouts::default(),
        allowed: AllowList::default(),
        vip_owner: None,
        source_rate: None,
        max_flows: None,
        slots: None,
    };
    assert_eq!(served.last_command(), Command::AddListener(listener.clone()));
    let body = serde_json::json!({"name": "web", "vip": "2001:db8::10", "protocol": "ip", "algorithm": "round-robin",
        "persistence": {"timeout": 300, "ipv6_prefix": 64}, "timeouts": {"udp": 30}});
    client.post(&["listeners"], &body).await.expect("add");
    let listener = NewListener {
        algorithm: Algorithm::RoundRobin,
        persistence: Some(Persistence { timeout: 300, ipv6_prefix: 64, ipv4_prefix: 32 }),
        timeouts: Timeouts { udp: 30, ..Timeouts::default() },
        ..listener
    };
    assert_eq!(served.last_command(), Command::AddListener(listener));
    client.delete(&["listeners", "web"]).await.expect("remove");
    assert_eq!(served.last_command(), Command::RemoveListener { name: name.clone() });

    let path = ["listeners", "web", "backends", "2001:db8::21"];
    client.post(&path[..3], &serde_json::json!({"address": address})).await.expect("add");
    assert_eq!(served.last_command(), Command::AddBackend { listener: name.clone(), address, weight: 1 });
    let patch = BackendPatch { weight: Some(7), ..BackendPatch::default() };
    client.patch(&path, &patch).await.expect("set");
    let change = patch.try_into().expect("a change");
    assert_eq!(served.last_command(), Command::SetBackend { listener: name.clone(), address, change });
    for (body, deadline) in [(serde_json::json!({}), None), (serde_json::json!({"deadline": 300}), Some(300))] {
        client.post(&[&path[..], &["drain"]].concat(), &body).await.expect("drain");
        assert_eq!(served.last_command(), Command::DrainBackend { listener: name.clone(), address, deadline });
    }
    let (status, ..) = served.raw("POST", "/v1/listeners/web/backends/2001:db8::21/drain", "").await;
    assert_eq!(status, 200);
    assert_eq!(served.last_command(), Command::DrainBackend { listener: name.clone(), address, deadline: None });
    client.delete(&path).await.expect("remove");
    assert_eq!(served.last_command(), Command::RemoveBackend { listener: name, address });
}

#[tokio::test]
async fn what_a_patch_does_not_name_stays_and_null_is_a_value() {
    let served = Served::start(None);
    let persistence = Persistence { timeout: 300, ..Persistence::default() };
    let udp = TimeoutsChange { udp: Some(30), ..TimeoutsChange::default() };
    let none = ListenerChange::default();
    for (body, change) in [
        (r#"{"algorithm": "source-ip"}"#, ListenerChange { algorithm: Some(Algorithm::SourceIp), ..none.clone() }),
        (
            r#"{"persistence": {"timeout": 300}}"#,
            ListenerChange { persistence: Some(Some(persistence)), ..none.clone() },
        ),
        (r#"{"persistence": null}"#, ListenerChange { persistence: Some(None), ..none.clone() }),
        (r#"{"timeouts": {"udp": 30}}"#, ListenerChange { timeouts: udp, ..none.clone() }),
        (r#"{"max_flows": null}"#, ListenerChange { max_flows: Some(None), ..none.clone() }),
        (r#"{"max_flows": 7}"#, ListenerChange { max_flows: Some(Some(7)), ..none.clone() }),
        (
            r#"{"source_rate": {"rate": 5, "burst": 9}}"#,
            ListenerChange { source_rate: Some(Some(SourceRate::new(5, 9))), ..none.clone() },
        ),
        (r#"{"source_rate": null}"#, ListenerChange { source_rate: Some(None), ..none.clone() }),
        (r#"{"allowed_cidrs": []}"#, ListenerChange { allowed: Some(AllowList::default()), ..none.clone() }),
        (
            r#"{"allowed_cidrs": ["2001:db8::7/32"]}"#,
            ListenerChange { allowed: Some(vec!["2001:db8::/32".parse().expect("a prefix")].into()), ..none },
        ),
    ] {
        let expected = Command::SetListener { name: "web".parse().expect("a name"), change };
        let (status, _, text) = served.raw("PATCH", "/v1/listeners/web", body).await;
        assert_eq!((status, served.last_command()), (200, expected.clone()), "{body}: {text}");
        // The command line sends the same as the types say it.
        let patch: ListenerPatch = serde_json::from_str(body).expect(body);
        served.client().patch(&["listeners", "web"], &patch).await.expect(body);
        assert_eq!(served.last_command(), expected, "{body}");
    }
}

#[tokio::test]
async fn flows_are_those_that_the_parameters_choose() {
    let served = Served::start(None);
    let client = served.client();
    for (parameters, listener, limit) in [
        (&[][..], None, FLOWS),
        (&[("listener", "web")], Some("web"), FLOWS),
        (&[("limit", "1"), ("listener", "web")], Some("web"), 1),
        (&[("limit", "10000")], None, MOST_FLOWS),
    ] {
        let answer = client.query(&["flows"], parameters).await.expect("flows");
        assert_eq!(answer.parse::<Flows>().expect("JSON"), flows_of_one());
        let asked = served.balancer.asked_for_flows.lock().expect("no panic").pop();
        let listener = listener.map(|name| name.parse().expect("a name"));
        assert_eq!(asked, Some(FlowsQuery { listener, limit: Some(limit) }));
    }
}

#[tokio::test]
async fn a_file_is_applied_tried_and_exported_as_text() {
    let served = Served::start(None);
    let client = served.client();
    for (parameters, dry_run) in [(&[][..], false), (&[("dry-run", "true")], true)] {
        let answer = client.put_text(&["config"], parameters, "a = 1".to_owned()).await.expect("done");
        let changes = vec![format!("~ a = 1 {dry_run}")];
        assert_eq!(answer.parse::<Applied>().expect("JSON"), Applied { changes, dry_run });
    }
    let (status, headers, body) = served.raw("GET", "/v1/config", "").await;
    assert_eq!((status, headers["content-type"].as_bytes()), (200, b"application/toml".as_slice()));
    assert_eq!(body, "# a file\n");
    for (method, path) in
        [("PUT", "/v1/config?dry_run=true"), ("PUT", "/v1/config?dry-run=yes"), ("GET", "/v1/config?a")]
    {
        let (status, kind, _) = served.refusal(method, path, "").await;
        assert_eq!((status, kind.as_str()), (400, "invalid"), "{path}");
    }
}

#[tokio::test]
async fn every_get_shows_its_part_of_the_status() {
    let served = Served::start(None);
    let client = served.client();
    let status = status_of_one();
    let mut short = status.clone();
    // Where all listeners are shown, their allow-lists are not.
    short.listeners[0].allowed_cidrs = None;
    assert_eq!(client.get(&["status"]).await.expect("status").parse::<Status>().expect("JSON"), short);
    let stats: Stats = client.get(&["stats"]).await.expect("stats").parse().expect("JSON");
    assert_eq!(stats, status.clone().into());
    let listeners: Listeners = client.get(&["listeners"]).await.expect("listeners").parse().expect("JSON");
    assert_eq!(listeners.listeners, short.listeners);
    let listener: ListenerStatus = client.get(&["listeners", "web"]).await.expect("one").parse().expect("JSON");
    assert_eq!(listener, status.listeners[0]);
    let backends: Backends =
        client.get(&["listeners", "web", "backends"]).await.expect("backends").parse().expect("JSON");
    assert_eq!(backends.backends, status.listeners[0].backends);
    let path = ["listeners", "web", "backends", "2001:db8::21"];
    let backend: BackendStatus = client.get(&path).await.expect("one").parse().expect("JSON");
    assert_eq!(backend, status.listeners[0].backends[0]);
    let interfaces: Interfaces = client.get(&["interfaces"]).await.expect("interfaces").parse().expect("JSON");
    assert_eq!(interfaces.interfaces, status.interfaces);
    let interface: InterfaceStatus = client.get(&["interfaces", "eth1"]).await.expect("one").parse().expect("JSON");
    assert_eq!(interface, status.interfaces[0]);
}

#[tokio::test]
async fn a_made_resource_is_201_and_a_removed_one_204_without_a_body() {
    let served = Served::start(None);
    let (status, headers, body) = served.raw("POST", "/v1/interfaces", r#"{"name": "eth1", "mode": "auto"}"#).await;
    assert_eq!((status, headers["content-type"].as_bytes()), (201, b"application/json".as_slice()));
    assert!(body.contains(r#""name": "eth1""#), "{body}");
    let (status, _, body) = served.raw("DELETE", "/v1/interfaces/eth1", "").await;
    assert_eq!((status, body.as_str()), (204, ""));
}

#[tokio::test]
async fn what_the_engine_refuses_keeps_its_kind_and_sentence() {
    let cases = [
        (Fault::invalid("a"), 400, "invalid"),
        (Fault::not_found("b"), 404, "not-found"),
        (Fault::conflict("c"), 409, "conflict"),
        (Fault::unavailable("d"), 503, "unavailable"),
        (Fault::internal("e"), 500, "internal"),
    ];
    for (fault, status, kind) in cases {
        let served = Served::start(Some(fault.clone()));
        let answer = served.refusal("DELETE", "/v1/listeners/web", "").await;
        assert_eq!(answer, (status, kind.into(), fault.message.clone()));
        let error = served.client().delete(&["listeners", "web"]).await.expect_err("refused");
        assert!(matches!(error, ClientError::Fault(told) if told == fault));
    }
}

#[tokio::test]
async fn a_silent_client_does_not_keep_the_server_alive() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("s");
    let (listener, _bound) = socket::bind(&path).expect("a socket");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, router(StandIn::default()), async move {
        let _ = stopped.await;
    }));
    let _silent = UnixStream::connect(&path).await.expect("the server listens");
    Client::new(&path).get(&["status"]).await.expect("the server serves");
    stop.send(()).expect("the server waits for it");
    let limit = LAST_REQUESTS + Duration::from_secs(5);
    tokio::time::timeout(limit, server).await.expect("in time").expect("no panic").expect("no error");
}

#[tokio::test]
async fn events_are_asked_for_by_what_they_are_about() {
    let served = Served::start(None);
    let path = "/v1/events?after=7&limit=9&kind=link-up,link-down&listener=web&vip=192.0.2.10&backend=192.0.2.21&interface=eth1&wait=3";
    let (status, _, body) = served.raw("GET", path, "").await;
    assert_eq!(status, 200, "{body}");
    let events: Events = serde_json::from_str(&body).expect("events");
    let asked = Query {
        after: Some(7),
        limit: 9,
        kinds: [EventKind::LinkUp, EventKind::LinkDown].into(),
        listener: Some("web".parse().expect("a name")),
        vip: Some("192.0.2.10".parse().expect("a VIP")),
        backend: Some("192.0.2.21".parse().expect("an address")),
        interface: Some("eth1".to_owned()),
    };
    assert_eq!(events.events[0].text, format!("{asked:?} 3s"));
    assert_eq!((events.events[0].number, events.next, events.lost), (42, 42, 0));
    let refusals = [
        ("limit=0", "`limit` cannot be 0; give 1 to 8192"),
        ("wait=31", "`wait` cannot be 31; give 0 to 30 seconds"),
        ("kind=link-sideways", "there is no kind of event `link-sideways`; docs/events.md lists them"),
        ("color=red", "unknown field `color`"),
    ];
    for (parameters, sentence) in refusals {
        let (status, _, body) = served.raw("GET", &format!("/v1/events?{parameters}"), "").await;
        assert!(status == 400 && body.contains(sentence), "{parameters}: {status} {body}");
    }
}

#[tokio::test]
async fn the_doctor_is_asked_without_a_body_or_with_an_empty_one() {
    let served = Served::start(None);
    let client = served.client();
    let report: Report = client.post(&["doctor"], &NoParameters {}).await.expect("it looks").parse().expect("its JSON");
    assert_eq!((report.findings.len(), report.findings[0].code.as_str()), (1, "vip-missing"));
    let refused = client.post(&["doctor"], &serde_json::json!({"deep": true})).await.expect_err("no such field");
    assert!(refused.to_string().contains("deep"), "{refused}");
}
