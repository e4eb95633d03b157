use super::super::allow::AllowList;
use super::super::choices::{Algorithm, AttachMode};
use super::super::fault::FaultKind::{self, Conflict, Invalid, NotFound};
use super::super::tracking::{Persistence, Timeouts, TimeoutsChange};
use super::*;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn new(text: &str, vip: &str, protocol: Protocol, port: u16) -> NewListener {
    let vip = vip.parse().expect("a VIP");
    NewListener {
        name: name(text),
        vip,
        protocol,
        port,
        algorithm: Algorithm::SourceIpPort,
        persistence: None,
        timeouts: Timeouts::default(),
        allowed: AllowList::default(),
        vip_owner: None,
        source_rate: None,
        max_flows: None,
        slots: None,
    }
}

fn add(text: &str, vip: &str, protocol: Protocol, port: u16) -> Command {
    Command::AddListener(new(text, vip, protocol, port))
}

fn with_slots(text: &str, slots: u32) -> Command {
    Command::AddListener(NewListener { slots: Some(slots), ..new(text, "192.0.2.99", Protocol::Tcp, 80) })
}

fn backend(listener: &str, address: &str, weight: u16) -> Command {
    Command::AddBackend { listener: name(listener), address: address.parse().expect("an address"), weight }
}

fn attach(interface: &str) -> Command {
    Command::Attach { interface: interface.to_owned(), mode: AttachMode::Auto }
}

fn set_backend(weight: Option<u16>, admin_up: Option<bool>) -> Command {
    let change = BackendChange { weight, admin_up, ..BackendChange::default() };
    Command::SetBackend { listener: name("web"), address: "192.0.2.21".parse().expect("an address"), change }
}

fn set_algorithm(algorithm: Algorithm) -> Command {
    let change = ListenerChange { algorithm: Some(algorithm), ..ListenerChange::default() };
    Command::SetListener { name: name("web"), change }
}

fn drain(deadline: Option<u32>) -> Command {
    let address = "192.0.2.21".parse().expect("an address");
    Command::DrainBackend { listener: name("web"), address, deadline }
}

/// The drain of the one backend of `web`.
fn drain_of(desired: &Desired) -> Option<Drain> {
    desired.pools[&name("web")].backends.values().next().expect("a backend").drain
}

fn done(desired: &mut Desired, command: &Command) {
    let edits = desired.check(command, 0).unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
    assert!(!edits.is_empty(), "{command:?} changes nothing");
    desired.edit_all(edits);
}

/// One of everything: eth1, a listener `web` with a backend, and one for IPv6.
fn usual() -> Desired {
    let mut desired = Desired::default();
    done(&mut desired, &attach("eth1"));
    done(&mut desired, &add("web", "192.0.2.10", Protocol::Tcp, 80));
    done(&mut desired, &backend("web", "192.0.2.21", 1));
    done(&mut desired, &add("six", "2001:db8::10", Protocol::Ip, 0));
    desired
}

fn refused(desired: &Desired, command: &Command, kind: FaultKind, sentence: &str) {
    let fault = desired.clone().check(command, 0).expect_err(sentence);
    assert_eq!((fault.message.as_str(), fault.kind), (sentence, kind), "{command:?}");
}

#[test]
fn wrong_listeners_are_refused() {
    let desired = usual();
    let refused = |command, kind, sentence| refused(&desired, &command, kind, sentence);
    refused(
        add("web", "192.0.2.11", Protocol::Tcp, 80),
        Conflict,
        "there is already a listener `web`; choose another name",
    );
    refused(
        add("other", "192.0.2.10", Protocol::Tcp, 80),
        Conflict,
        "listener `web` already takes tcp port 80 of 192.0.2.10; remove it first or choose another VIP, protocol or port",
    );
    refused(
        add("other", "2001:db8::10", Protocol::Ip, 0),
        Conflict,
        "listener `six` already takes every protocol of 2001:db8::10; remove it first or choose another VIP, protocol or \
         port",
    );
    refused(
        add("all", "192.0.2.12", Protocol::Ip, 80),
        Invalid,
        "listener `all` has protocol ip, which takes every port; leave out port 80 or choose tcp, udp or sctp",
    );
    refused(
        add("own", "192.0.2.21", Protocol::Tcp, 80),
        Conflict,
        "192.0.2.21 is the own address of a backend in pool `web`; a VIP must be an address that no backend is reached by",
    );
    refused(
        with_slots("big", 65_536),
        Invalid,
        "listener `big` cannot have 65536 slots: the size of a lookup table is a prime; the nearest is 65537",
    );
    refused(
        with_slots("big", 1_000_003),
        Invalid,
        "listener `big` cannot have 1000003 slots; the largest lookup table has 655373",
    );
    refused(
        with_slots("none", 0),
        Invalid,
        "listener `none` cannot have 0 slots: the size of a lookup table is a prime; the nearest is 2",
    );
}

#[test]
fn the_same_port_of_another_protocol_or_vip_is_free() {
    let mut desired = usual();
    done(&mut desired, &add("udp", "192.0.2.10", Protocol::Udp, 80));
    done(&mut desired, &add("every", "192.0.2.10", Protocol::Tcp, 0));
    done(&mut desired, &add("ip", "192.0.2.10", Protocol::Ip, 0));
    done(&mut desired, &add("other", "192.0.2.11", Protocol::Tcp, 80));
}

#[test]
fn wrong_backends_are_refused() {
    let mut desired = usual();
    done(&mut desired, &add("dns", "192.0.2.11", Protocol::Udp, 53));
    let refused = |command, kind, sentence| refused(&desired, &command, kind, sentence);
    refused(
        backend("web", "2001:db8::21", 1),
        Invalid,
        "backend 2001:db8::21 is IPv6 and the VIP 192.0.2.10 of listener `web` is IPv4; direct routing does not \
         translate, so give the backend's IPv4 address",
    );
    refused(
        backend("web", "192.0.2.10", 1),
        Invalid,
        "backend 192.0.2.10 is the VIP of listener `web` itself; give the server's own address, by which it is found on \
         the segment",
    );
    refused(
        backend("web", "192.0.2.11", 1),
        Conflict,
        "backend 192.0.2.11 is the VIP of listener `dns`; give the server's own address, by which it is found on the \
         segment",
    );
    refused(
        backend("web", "192.0.2.21", 5),
        Conflict,
        "listener `web` already has the backend 192.0.2.21; change it with `drlb backend set`",
    );
    refused(
        backend("web", "192.0.2.22", 257),
        Invalid,
        "backend 192.0.2.22 cannot have weight 257; a weight is 0 to 256",
    );
    refused(set_backend(Some(300), None), Invalid, "backend 192.0.2.21 cannot have weight 300; a weight is 0 to 256");
}

#[test]
fn what_does_not_exist_is_told_from_what_does() {
    let mut desired = usual();
    let unknown = Command::RemoveListener { name: name("wbe") };
    refused(&desired, &unknown, NotFound, "there is no listener `wbe`; there are: six, web");
    let remove = Command::RemoveBackend { listener: name("web"), address: "192.0.2.99".parse().expect("an address") };
    refused(&desired, &remove, NotFound, "listener `web` has no backend 192.0.2.99; it has 192.0.2.21");
    let detach = Command::Detach { interface: "eth2".to_owned() };
    refused(&desired, &detach, NotFound, "drlb is not attached to eth2; it is attached to eth1");
    refused(&Desired::default(), &unknown, NotFound, "there is no listener `wbe`; there is none");
    for port in 1..10 {
        done(&mut desired, &add(&format!("l{port}"), "192.0.2.12", Protocol::Udp, port));
    }
    refused(&desired, &unknown, NotFound, "there is no listener `wbe`; there are 11 others");
}

#[test]
fn wrong_interfaces_are_refused() {
    let desired = usual();
    let refused = |command, kind, sentence| refused(&desired, &command, kind, sentence);
    refused(attach(""), Invalid, "the interface name `` must not be empty");
    refused(attach("abcdefghijklmnop"), Invalid, "the interface name `abcdefghijklmnop` has 16 bytes; 15 are allowed");
    for bad in ["../x", "a b", ".", "..", "eth0:1"] {
        let fault = usual().check(&attach(bad), 0).expect_err(bad);
        assert!(fault.message.ends_with("is not one that an interface can have"), "{}", fault.message);
    }
    refused(
        attach("eth1"),
        Conflict,
        "drlb is already attached to eth1; to attach in another mode, run `drlb detach eth1` first",
    );
}

#[test]
fn setting_what_is_so_changes_nothing() {
    let mut desired = usual();
    for command in [
        set_backend(None, None),
        set_backend(Some(1), Some(true)),
        Command::SetListener { name: name("web"), change: ListenerChange::default() },
        set_algorithm(Algorithm::SourceIpPort),
    ] {
        assert_eq!(desired.check(&command, 0), Ok(vec![]), "{command:?}");
    }
}

#[test]
fn edits_are_undone_in_reverse() {
    let mut desired = usual();
    let before = desired.clone();
    for command in [
        attach("eth2"),
        Command::Detach { interface: "eth1".to_owned() },
        add("dns", "192.0.2.10", Protocol::Udp, 53),
        Command::RemoveListener { name: name("web") },
        backend("web", "192.0.2.22", 0),
        set_backend(Some(9), Some(false)),
        set_algorithm(Algorithm::SourceIp),
    ] {
        let edits = desired.check(&command, 0).expect("it can be done");
        let undo = desired.edit_all(edits);
        assert_ne!(desired, before, "{command:?}");
        desired.edit_all(undo);
        assert_eq!(desired, before, "{command:?}");
    }
}

#[test]
fn a_pool_goes_with_its_last_listener() {
    let mut desired = usual();
    let mut second = desired.listeners[&name("web")].clone();
    (second.name, second.port) = (name("web-tls"), 443);
    desired.edit(Edit::PutListener(second));
    done(&mut desired, &Command::RemoveListener { name: name("web") });
    assert_eq!(desired.pools[&name("web")].backends.len(), 1);
    done(&mut desired, &Command::RemoveListener { name: name("web-tls") });
    assert!(!desired.pools.contains_key(&name("web")));
}

#[test]
fn limits_are_told_before_they_are_exceeded() {
    let mut desired = Desired::default();
    for port in 1..=64 {
        done(&mut desired, &add(&format!("l{port}"), "192.0.2.10", Protocol::Tcp, port));
    }
    refused(
        &desired,
        &add("more", "192.0.2.10", Protocol::Tcp, 65),
        Conflict,
        "a lookup table of 65537 slots does not fit: 4195328 of the balancer's 4195328 are taken; set fewer slots with \
         --slots, or make room for more with `room` in [tables] of the agent's configuration",
    );

    let mut desired = Desired::default();
    done(&mut desired, &with_slots("few", 3));
    for last in 1..=3 {
        done(&mut desired, &backend("few", &format!("192.0.2.{last}"), 1));
    }
    refused(
        &desired,
        &backend("few", "192.0.2.4", 1),
        Conflict,
        "listener `few` has 3 slots and as many backends; for more, make it anew with more slots",
    );

    let mut desired = usual();
    for number in 1..limits::MAX_POOL_BACKENDS {
        let address = format!("10.0.{}.{}", number / 256, number % 256);
        done(&mut desired, &backend("web", &address, 1));
    }
    refused(
        &desired,
        &backend("web", "10.1.0.1", 1),
        Conflict,
        "listener `web` already has 4096 backends, the most that one can",
    );
}

#[test]
fn a_drain_has_a_beginning_and_a_deadline_and_ends_when_the_backend_is_put_back() {
    let mut desired = usual();
    let edits = desired.check(&drain(Some(300)), 1_000).expect("it can be done");
    desired.edit_all(edits);
    assert_eq!(drain_of(&desired), Some(Drain { since: 1_000, deadline: Some(1_300), drained: false }));
    let edits = desired.check(&drain(None), 1_100).expect("it can be done");
    desired.edit_all(edits);
    assert_eq!(drain_of(&desired), Some(Drain { since: 1_000, deadline: None, drained: false }));
    assert_eq!(desired.check(&drain(None), 1_200), Ok(vec![]), "it is so already");

    done(&mut desired, &set_backend(Some(7), None));
    assert!(drain_of(&desired).is_some(), "a weight does not put it back");
    done(&mut desired, &set_backend(None, Some(true)));
    assert_eq!(drain_of(&desired), None);

    done(&mut desired, &set_backend(None, Some(false)));
    refused(
        &desired,
        &drain(None),
        Conflict,
        "backend 192.0.2.21 of listener `web` is out of service and has nothing to drain; put it back with `drlb backend \
         set web 192.0.2.21 --up`",
    );
}

#[test]
fn sessions_and_idle_times_are_set_one_by_one() {
    let mut desired = usual();
    let timeouts = TimeoutsChange { udp: Some(5), ..TimeoutsChange::default() };
    let set = |change| Command::SetListener { name: name("web"), change };
    done(&mut desired, &set(ListenerChange { timeouts, ..ListenerChange::default() }));
    let persistence = Some(Some(Persistence::default()));
    done(&mut desired, &set(ListenerChange { persistence, ..ListenerChange::default() }));
    let pool = &desired.pools[&name("web")];
    assert_eq!(pool.timeouts, Timeouts { udp: 5, ..Timeouts::default() });
    assert_eq!(pool.persistence, Some(Persistence::default()));
    done(&mut desired, &set(ListenerChange { persistence: Some(None), ..ListenerChange::default() }));
    assert_eq!(desired.pools[&name("web")].persistence, None);

    let timeouts = TimeoutsChange { closing: Some(0), ..TimeoutsChange::default() };
    let refused = |command, sentence| refused(&desired, &command, Invalid, sentence);
    refused(
        set(ListenerChange { timeouts, ..ListenerChange::default() }),
        "the idle time `closing` cannot be 0 seconds; give 1 to 604800",
    );
    let persistence = Some(Some(Persistence { ipv6_prefix: 0, ..Persistence::default() }));
    refused(
        set(ListenerChange { persistence, ..ListenerChange::default() }),
        "a session of IPv6 clients cannot be their leading 0 bits; give 1 to 128",
    );
}

#[test]
fn an_allow_list_replaces_the_one_before_and_is_of_the_vips_family() {
    let mut desired = Desired::default();
    done(&mut desired, &add("web", "192.0.2.10", Protocol::Tcp, 80));
    let list =
        |texts: &[&str]| -> AllowList { texts.iter().map(|text| text.parse().expect(text)).collect::<Vec<_>>().into() };
    let set = |allowed| Command::SetListener {
        name: name("web"),
        change: ListenerChange { allowed: Some(allowed), ..ListenerChange::default() },
    };
    done(&mut desired, &set(list(&["10.1.2.3/8", "192.0.2.7"])));
    done(&mut desired, &set(list(&["10.1.2.3/16"])));
    assert_eq!(desired.listeners[&name("web")].allowed, list(&["10.1.0.0/16"]));
    assert_eq!(desired.check(&set(list(&["10.1.0.0/16"])), 0), Ok(vec![]), "it is so already");
    let fault = desired.check(&set(list(&["2001:db8::/32"])), 0).expect_err("IPv6");
    assert_eq!(fault.kind, Invalid);
    let new = NewListener { allowed: list(&["::/0"]), ..new("other", "192.0.2.11", Protocol::Tcp, 80) };
    assert_eq!(desired.check(&Command::AddListener(new), 0).expect_err("IPv6").kind, Invalid);
    done(&mut desired, &set(AllowList::default()));
    assert!(desired.listeners[&name("web")].allowed.is_empty());
}

#[test]
fn all_listeners_of_a_vip_have_one_owner() {
    let mut desired = Desired::default();
    desired.default_owner = VipOwner::None;
    let with_owner = |text, port, vip_owner| {
        Command::AddListener(NewListener { vip_owner, ..new(text, "192.0.2.10", Protocol::Tcp, port) })
    };
    let owner = |desired: &Desired, text| desired.listeners[&name(text)].vip_owner;
    done(&mut desired, &with_owner("web", 80, None));
    assert_eq!(owner(&desired, "web"), VipOwner::None, "the agent's default");
    done(&mut desired, &with_owner("tls", 443, Some(VipOwner::None)));
    let fault = desired.check(&with_owner("ssh", 22, Some(VipOwner::Xdp)), 0).expect_err("another owner");
    assert_eq!(fault.kind, Conflict);
    assert!(fault.message.contains("`drlb listener set tls --vip-owner xdp` first"), "{}", fault.message);
    let set = |text, owner| Command::SetListener {
        name: name(text),
        change: ListenerChange { vip_owner: Some(owner), ..ListenerChange::default() },
    };
    done(&mut desired, &set("web", VipOwner::Host));
    assert_eq!((owner(&desired, "web"), owner(&desired, "tls")), (VipOwner::Host, VipOwner::Host));
    done(&mut desired, &with_owner("ssh", 22, None));
    assert_eq!(owner(&desired, "ssh"), VipOwner::Host, "as the other listeners");
    assert_eq!(desired.check(&set("tls", VipOwner::Host), 0), Ok(vec![]), "it is so already");
    done(&mut desired, &Command::AddListener(new("other", "192.0.2.11", Protocol::Tcp, 80)));
    assert_eq!(owner(&desired, "other"), VipOwner::None, "another VIP");
}
