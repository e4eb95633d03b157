use super::*;
use crate::model::{
    Algorithm, AllowList, Backend, Command, Desired, FaultKind, Listener, ListenerChange, Name, NewListener, Protocol,
    Timeouts, VipOwner,
};

fn listener(protocol: Protocol, port: u16) -> Listener {
    let (name, pool) = ("web".parse().expect("a name"), "web".parse().expect("a name"));
    Listener {
        name,
        vip: "192.0.2.10".parse().expect("a VIP"),
        protocol,
        port,
        pool,
        allowed: AllowList::default(),
        vip_owner: VipOwner::Xdp,
        admin_up: true,
        source_rate: None,
        max_flows: None,
    }
}

fn web() -> Listener {
    listener(Protocol::Tcp, 80)
}

fn refusal(change: HealthChange) -> String {
    change.applied_to(None, &web()).expect_err("refused").message
}

fn of(kind: ProbeType) -> HealthChange {
    HealthChange { kind: Some(kind), ..HealthChange::default() }
}

#[test]
fn the_type_follows_from_the_listener_unless_set() {
    let cases = [
        (Protocol::Tcp, 80, None, ProbeType::Tcp),
        (Protocol::Tcp, 0, None, ProbeType::Icmp),
        (Protocol::Tcp, 0, Some(8080), ProbeType::Tcp),
        (Protocol::Udp, 53, None, ProbeType::Udp),
        (Protocol::Udp, 0, Some(53), ProbeType::Udp),
        (Protocol::Sctp, 80, None, ProbeType::Icmp),
        (Protocol::Ip, 0, None, ProbeType::Icmp),
        (Protocol::Ip, 0, Some(22), ProbeType::Tcp),
    ];
    for (protocol, port, given, kind) in cases {
        let change = HealthChange { port: given, ..HealthChange::default() };
        let check = change.applied_to(None, &listener(protocol, port)).expect("a check");
        assert_eq!((check.probe.kind(), check.port), (kind, given), "{protocol} {port}");
    }
}

#[test]
fn what_is_not_named_stays() {
    let first = HealthChange { path: Some("/healthz".into()), fall: Some(5), ..of(ProbeType::Http) };
    let first = first.applied_to(None, &web()).expect("a check");
    let second = HealthChange { expect: Some("200-299,401".parse().expect("codes")), ..HealthChange::default() };
    let second = second.applied_to(Some(&first), &web()).expect("a check");
    let Probe::Http(http) = &second.probe else { panic!("{second:?}") };
    assert_eq!((http.path.as_str(), second.fall), ("/healthz", 5));
    assert!(http.expect.contains(401) && !http.expect.contains(300));

    let third = HealthChange { port: Some(8443), ..of(ProbeType::Https) };
    let third = third.applied_to(Some(&second), &web()).expect("a check");
    let Probe::Https(https) = &third.probe else { panic!("{third:?}") };
    assert_eq!((https.http.path.as_str(), third.fall, third.port), ("/", 5, Some(8443)));
    let fourth = of(ProbeType::Icmp).applied_to(Some(&third), &web()).expect("a check");
    assert_eq!(fourth.port, None, "a ping has no port");
}

#[test]
fn what_is_wrong_is_refused_with_a_sentence() {
    let cases = [
        (
            HealthChange { delay_ms: Some(99), ..of(ProbeType::Tcp) },
            "the delay of a health check cannot be 99 ms; give 100",
        ),
        (HealthChange { timeout_ms: Some(0), ..of(ProbeType::Tcp) }, "the timeout of a health check cannot be 0 ms"),
        (HealthChange { rise: Some(0), ..of(ProbeType::Tcp) }, "the rise of a health check cannot be 0; give 1 to 100"),
        (HealthChange { fall: Some(101), ..of(ProbeType::Tcp) }, "the fall of a health check cannot be 101"),
        (HealthChange { jitter: Some(51), ..of(ProbeType::Tcp) }, "cannot be 51 percent; give 0 to 50"),
        (HealthChange { path: Some("/".into()), ..of(ProbeType::Tcp) }, "of type tcp has no `path`"),
        (HealthChange { verify: Some(true), ..of(ProbeType::Http) }, "of type http has no `verify`"),
        (HealthChange { send: Some("x".into()), ..of(ProbeType::Tls) }, "of type tls has no `send`"),
        (HealthChange { port: Some(80), ..of(ProbeType::Icmp) }, "of type icmp has no port 80"),
        (HealthChange { path: Some("healthz".into()), ..of(ProbeType::Http) }, "`healthz` is not the path"),
        (HealthChange { path: Some("/a b".into()), ..of(ProbeType::Http) }, "`/a b` is not the path"),
        (HealthChange { path: Some("/\r\nX: y".into()), ..of(ProbeType::Http) }, "is not the path"),
        (HealthChange { host: Some("a\r\nb".into()), ..of(ProbeType::Http) }, "is not a host's name"),
        (HealthChange { sni: Some("a b".into()), ..of(ProbeType::Tls) }, "`a b` is not a server's name"),
        (
            HealthChange { send: Some("hex:0g".into()), ..of(ProbeType::Udp) },
            "`hex:0g` is not what a datagram can hold",
        ),
        (
            HealthChange { answer: Some("hex:0".into()), ..of(ProbeType::Udp) },
            "`hex:0` is not what a datagram can hold",
        ),
    ];
    for (change, part) in cases {
        let message = refusal(change.clone());
        assert!(message.contains(part), "{change:?}: {message}");
    }
    let fault = of(ProbeType::Http).applied_to(None, &listener(Protocol::Ip, 0)).expect_err("no port");
    assert!(fault.message.contains("listener `web` takes every port, so a http check needs"), "{fault}");
}

#[test]
fn status_codes_are_lists_and_ranges() {
    for text in ["200", "200,204", "200-204", "200-299,401,500-599"] {
        let codes: StatusCodes = text.parse().expect(text);
        assert_eq!(codes.to_string(), text);
    }
    for text in ["", "20", "99", "600", "2000", "200,", "204-200", "200-", "a", "+20", "200;204"] {
        assert!(text.parse::<StatusCodes>().is_err(), "{text}");
    }
}

#[test]
fn json_is_flat_and_reads_back() {
    for kind in ProbeType::ALL {
        let check = HealthCheck::new(*kind);
        let json = serde_json::to_value(&check).expect("JSON");
        assert_eq!(json["type"], kind.name());
        assert_eq!(serde_json::from_value::<HealthCheck>(json).expect("a check"), check);
    }
    let json = serde_json::to_value(HealthCheck::new(ProbeType::Https)).expect("JSON");
    assert_eq!((&json["path"], &json["expect"], &json["verify"]), (&"/".into(), &"200".into(), &false.into()));
}

#[test]
fn detection_takes_the_probes_of_fall_and_one_timeout() {
    let mut check = HealthCheck { delay_ms: 1_000, timeout_ms: 500, fall: 3, ..HealthCheck::new(ProbeType::Tcp) };
    assert_eq!(check.detection(), Duration::from_millis(3 * 1_100 + 500));
    check.timeout_ms = 4_000;
    assert_eq!(check.detection(), Duration::from_millis(3 * 4_000 + 4_000));
}

#[test]
fn datagrams_are_text_or_hexadecimal_digits() {
    let udp = UdpProbe { send: Some("hex:00fF10".into()), answer: Some("ok".into()) };
    assert_eq!((udp.sent(), udp.wanted()), (vec![0, 255, 16], Some(b"ok".to_vec())));
    assert_eq!((UdpProbe::default().sent(), UdpProbe::default().wanted()), (vec![], None));
}

#[test]
fn the_pool_has_its_check_until_it_is_unset() {
    let mut desired = Desired::default();
    let mut run = |command: &Command| {
        let edits = desired.check(command, 0)?;
        let count = edits.len();
        desired.edit_all(edits);
        Ok::<_, Fault>((count, desired.pools.values().next().and_then(|pool| pool.health.clone())))
    };
    let name: Name = "web".parse().expect("a name");
    let set = |change: HealthChange| Command::SetHealth { listener: name.clone(), change };
    assert_eq!(run(&set(of(ProbeType::Tcp))).expect_err("no listener").kind, FaultKind::NotFound);
    let new = NewListener {
        name: name.clone(),
        vip: "192.0.2.10".parse().expect("a VIP"),
        protocol: Protocol::Tcp,
        port: 80,
        algorithm: Algorithm::SourceIp,
        persistence: None,
        timeouts: Timeouts::default(),
        allowed: AllowList::default(),
        vip_owner: None,
        source_rate: None,
        max_flows: None,
        slots: None,
    };
    run(&Command::AddListener(new)).expect("added");
    let (_, health) = run(&set(of(ProbeType::Http))).expect("set");
    assert_eq!(health, Some(HealthCheck::new(ProbeType::Http)));
    assert_eq!(run(&set(HealthChange::default())).expect("the same").0, 0);
    let faulty = HealthChange { fall: Some(0), ..HealthChange::default() };
    assert_eq!(run(&set(faulty)).expect_err("refused").kind, FaultKind::Invalid);
    let algorithm = Some(Algorithm::RoundRobin);
    let change = ListenerChange { algorithm, ..ListenerChange::default() };
    let (_, health) = run(&Command::SetListener { name: name.clone(), change }).expect("changed");
    assert!(health.is_some(), "another change of the pool leaves its check");
    let (_, health) = run(&Command::UnsetHealth { listener: name.clone() }).expect("unset");
    assert_eq!(health, None);
    assert_eq!(run(&Command::UnsetHealth { listener: name.clone() }).expect("the same").0, 0);
}

#[test]
fn a_backend_has_its_own_place_to_be_probed_until_that_is_taken_away() {
    let mut backend = Backend::new("192.0.2.21".parse().expect("an address"), 1);
    backend.monitor = MonitorTarget { address: None, port: Some(8080) };
    let json = serde_json::to_string(&backend).expect("JSON");
    assert_eq!(serde_json::from_str::<Backend>(&json).expect("a backend"), backend);
    let before = r#"{"address": "192.0.2.21", "weight": 1, "admin_up": true}"#;
    let read: Backend = serde_json::from_str(before).expect("as it was written before there were checks");
    assert_eq!(read.monitor, MonitorTarget::default());
}
