//! The engine on a data plane and a store in memory.

use std::collections::BTreeMap;

use lb_common::address::{Address, MacAddr, Port, Ports};
use lb_common::flow::Flow;
use lb_common::listener::Listener;
use lb_common::track::pin::{Moment, Pin, PinKey};

use self::host::Host;
use super::core::Core;
use super::status::{BackendState, InterfaceState};
use super::*;
use crate::announce::{Rival, Watched};
use crate::doctor::Seen;
use crate::events::EventKind;
use crate::model::{
    Algorithm, AllowList, AttachMode, BackendAddr, BackendChange, FaultKind, ListenerChange, Name, NewListener,
    Protocol, Timeouts, VipOwner, XdpMode,
};
use crate::neighbour::{Reach, Unresolved};
use crate::reconcile::{Scope, Sizes, plan};

mod flows;
mod host;
mod links;
mod many;
mod openstack;
mod told;
mod touched;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn address(last: u8) -> BackendAddr {
    format!("192.0.2.{last}").parse().expect("an address")
}

fn attach(interface: &str) -> Command {
    Command::Attach { interface: interface.to_owned(), mode: AttachMode::Native }
}

fn detach(interface: &str) -> Command {
    Command::Detach { interface: interface.to_owned() }
}

fn add_listener(text: &str, port: u16) -> Command {
    Command::AddListener(NewListener {
        name: name(text),
        vip: "192.0.2.10".parse().expect("a VIP"),
        protocol: Protocol::Tcp,
        port,
        algorithm: Algorithm::SourceIpPort,
        persistence: None,
        timeouts: Timeouts::default(),
        allowed: AllowList::default(),
        vip_owner: None,
        source_rate: None,
        max_flows: None,
        slots: Some(101),
    })
}

fn add_backend(listener: &str, last: u8, weight: u16) -> Command {
    Command::AddBackend { listener: name(listener), address: address(last), weight }
}

fn do_all(core: &mut Core, commands: impl IntoIterator<Item = Command>) {
    for command in commands {
        core.execute(&command).unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
        nothing_was_missed(core);
    }
}

/// A command looks at what it touches alone. Whoever looks at everything then finds nothing more to do.
fn nothing_was_missed(core: &mut Core) {
    let view = core.view.clone().expect("a picture of the network");
    let left = plan(&core.desired, &view, core.health.unhealthy(), &core.held, &Scope::All);
    assert_eq!(left, Ok(vec![]), "for the maps");
    let objects = core.openstack.adopt(&core.desired, None);
    assert_eq!(objects, Ok(vec![]), "of the API's objects");
    let targets = core.targets.borrow().backends.clone();
    assert_eq!(targets, core.desired.backend_addresses(), "of the neighbours");
    let (owned, checks) = (core.owned.borrow().clone(), core.health.checks().borrow().clone());
    core.tell_owned();
    assert_eq!(*core.owned.borrow(), owned, "to be announced");
    core.health.ask(&core.desired, &view, &core.held, None);
    assert_eq!(*core.health.checks().borrow(), checks, "to be checked");
}

/// A listener `web` with three backends behind eth1.
fn usual(core: &mut Core) {
    do_all(core, [attach("eth1"), add_listener("web", 80)]);
    do_all(core, [add_backend("web", 21, 1), add_backend("web", 22, 1), add_backend("web", 23, 2)]);
}

fn slots(core: &mut Core, listener: &str) -> Vec<u32> {
    let status = core.status().expect("a status");
    let listener = status.listeners.into_iter().find(|found| found.name == name(listener)).expect("the listener");
    listener.backends.into_iter().map(|backend| backend.slots).collect()
}

#[test]
fn commands_reach_the_maps_and_the_status() {
    let host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    do_all(&mut core, [add_backend("web", 24, 0), add_backend("web", 25, 1), add_backend("web", 99, 1)]);
    let change = BackendChange { admin_up: Some(false), ..BackendChange::default() };
    do_all(&mut core, [Command::SetBackend { listener: name("web"), address: address(25), change }]);

    let status = core.status().expect("a status");
    let [interface] = status.interfaces.as_slice() else { panic!("{:?}", status.interfaces) };
    assert_eq!(
        (interface.state, interface.mode, interface.ifindex),
        (InterfaceState::Attached, Some(XdpMode::Native), Some(2))
    );
    assert_eq!(interface.mac.as_deref(), Some("02:00:00:00:00:01"));
    let [web] = status.listeners.as_slice() else { panic!("{:?}", status.listeners) };
    let states: Vec<_> = web.backends.iter().map(|backend| backend.state).collect();
    use BackendState::{AdminDown, NoWeight, Serving, Unresolved};
    assert_eq!(states, [Serving, Serving, Serving, NoWeight, AdminDown, Unresolved]);
    let slots: Vec<_> = web.backends.iter().map(|backend| backend.slots).collect();
    assert_eq!((slots[0] + slots[1] + slots[2], &slots[3..]), (101, &[0, 0, 0][..]));
    assert!(slots[2] > slots[0] && slots[2] > slots[1]);
    assert_eq!(web.backends[0].mac.as_deref(), Some("02:00:00:00:01:15"));
    assert_eq!(web.backends[0].interface.as_deref(), Some("eth1"));
    let reason = web.backends[4].reason.as_deref().expect("a reason");
    assert!(reason.contains("`drlb backend set web 192.0.2.25 --up`"), "{reason}");
    assert_eq!(serde_json::to_value(&status).expect("JSON")["listeners"][0]["backends"][3]["state"], "no-weight");
}

#[test]
fn a_backend_behind_an_interface_that_is_not_attached_takes_nothing() {
    let mut host = Host::new();
    let mac = MacAddr([2, 0, 0, 0, 1, 22]);
    host.view.backends.insert(address(22), Reach::Resolved { mac, ifindex: 3 });
    let mut core = host.start();
    usual(&mut core);
    assert_eq!(slots(&mut core, "web")[1], 0);
    let status = core.status().expect("a status");
    let backend = &status.listeners[0].backends[1];
    assert_eq!(backend.state, BackendState::NoInterface);
    let reason = "it is behind eth2, which drlb is not attached to; run `drlb attach eth2`";
    assert_eq!(backend.reason.as_deref(), Some(reason));
    do_all(&mut core, [attach("eth2")]);
    assert!(slots(&mut core, "web")[1] > 0);
    do_all(&mut core, [detach("eth1")]);
    assert_eq!(slots(&mut core, "web"), [0, 101, 0]);
}

#[test]
fn a_new_agent_changes_nothing() {
    let mut host = Host::new();
    usual(&mut host.start());
    let before = host.state();
    host.plane().changes.clear();
    // The first picture of the network, before any neighbour has answered.
    host.view.backends.clear();
    let mut core = host.start();
    assert_eq!(slots(&mut core, "web").iter().sum::<u32>(), 101);
    core.compare_everything().expect("a comparison");
    assert_eq!(host.plane().changes, []);
    assert_eq!(host.state(), before);
}

#[test]
fn nothing_is_changed_before_the_first_picture_of_the_network() {
    let host = Host::new();
    usual(&mut host.start());
    host.plane().changes.clear();
    let mut core = host.boot();
    core.compare_everything().expect("nothing to do");
    assert!(!core.can_execute(&add_backend("web", 24, 1)));
    let fault = core.execute(&add_backend("web", 24, 1)).expect_err("too early");
    assert_eq!(fault.kind, FaultKind::Unavailable);
    assert_eq!(host.plane().changes, []);
}

#[test]
fn a_refused_commit_leaves_all_as_it_was() {
    let host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    let before = host.state();
    host.store.lock().expect("entries").refuses = true;
    for command in [add_backend("web", 24, 1), attach("eth2"), detach("eth1"), add_listener("dns", 53)] {
        let fault = core.execute(&command).expect_err("the disk is full");
        assert_eq!(fault.message, "the disk is full");
        assert_eq!(host.state(), before);
    }
    host.store.lock().expect("entries").refuses = false;
    do_all(&mut core, [add_backend("web", 24, 1), attach("eth2"), detach("eth1"), add_listener("dns", 53)]);
}

#[test]
fn a_command_that_fails_halfway_leaves_all_as_it_was() {
    let remove = Command::RemoveListener { name: name("web") };
    let change = ListenerChange { algorithm: Some(Algorithm::SourceIp), ..ListenerChange::default() };
    let set = Command::SetListener { name: name("web"), change };
    for command in [add_backend("web", 24, 1), add_listener("dns", 53), remove, set, detach("eth1")] {
        for step in 0.. {
            let host = Host::new();
            let mut core = host.start();
            usual(&mut core);
            let before = host.state();
            host.plane().changes_left = Some(step);
            if core.execute(&command).is_ok() {
                assert!(step > 0, "{command:?} has no step");
                break;
            }
            assert_eq!(host.state(), before, "{command:?} fails at step {step}");
            core.compare_everything().expect("a comparison");
            core.execute(&command).expect("now it can be done");
        }
    }
}

#[test]
fn a_backend_whose_mac_is_lost_takes_nothing_until_it_is_found_again() {
    let mut host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    let full = slots(&mut core, "web");
    let resolved = host.view.backends[&address(22)].clone();
    for (why, taken) in [(Unresolved::Asking, full[1]), (Unresolved::NoAnswer, 0), (Unresolved::Asking, 0)] {
        host.view.backends.insert(address(22), Reach::Unresolved { why: why.clone() });
        host.look(&mut core);
        assert_eq!(slots(&mut core, "web")[1], taken, "{why:?}");
    }
    host.view.backends.insert(address(22), resolved);
    host.look(&mut core);
    assert_eq!(slots(&mut core, "web"), full);
}

#[test]
fn what_the_doctor_says_of_a_lost_mac_is_of_one_moment() {
    let seen = Seen {
        devices: BTreeMap::new(),
        told: Err("nobody was asked".into()),
        tried: BTreeMap::new(),
        moved: BTreeMap::new(),
    };
    let mut host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    for (when_asked, later, code) in [
        (Unresolved::NoAnswer, Unresolved::Asking, "backend-silent"),
        (Unresolved::Asking, Unresolved::NoAnswer, "backend-unresolved"),
    ] {
        host.view.backends.insert(address(22), Reach::Unresolved { why: Unresolved::NoAnswer });
        host.look(&mut core);
        host.view.backends.insert(address(22), Reach::Unresolved { why: when_asked.clone() });
        host.look(&mut core);
        let questions = core.questions();
        // The kernel asks, gives up, and asks again while the doctor looks at other things.
        host.view.backends.insert(address(22), Reach::Unresolved { why: later });
        host.look(&mut core);
        let report = doctor::examine(&core.status().expect("a status"), &questions, &seen);
        let findings: Vec<_> = report.findings.iter().filter(|finding| finding.about == "web 192.0.2.22").collect();
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        assert_eq!((finding.code.as_str(), &finding.text), (code, &when_asked.to_string()));
    }
}

#[test]
fn what_others_change_in_the_maps_is_repaired() {
    let host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    let before = host.state();
    host.plane().held.vips.clear();
    let base = host.plane().held.listeners.values().next().expect("a listener").slots_base;
    host.plane().held.set_slot(base + 3, lb_common::slot::Slot::EMPTY);
    assert_ne!(host.state(), before);
    core.compare_everything().expect("a comparison");
    assert_eq!(host.state(), before);
}

#[test]
fn what_is_announced_are_the_vips_that_are_ours_on_the_interfaces_that_are_attached() {
    let host = Host::new();
    let mut core = host.start();
    let feeds = core.feeds();
    let told = || {
        let owned = feeds.owned.borrow();
        let vips: Vec<_> = owned.vips.iter().map(ToString::to_string).collect();
        (vips.join(" "), owned.ports.keys().cloned().collect::<Vec<_>>().join(" "))
    };
    assert_eq!(told(), (String::new(), String::new()));
    do_all(&mut core, [attach("eth1"), add_listener("web", 80)]);
    assert_eq!(told(), ("192.0.2.10".into(), "eth1".into()));
    let owner = |owner| {
        let change = ListenerChange { vip_owner: Some(owner), ..ListenerChange::default() };
        Command::SetListener { name: name("web"), change }
    };
    do_all(&mut core, [owner(VipOwner::Host)]);
    assert_eq!(told(), (String::new(), "eth1".into()));
    // Nobody asks anything by it all the same.
    assert_eq!(feeds.owned.borrow().others, ["192.0.2.10".parse().expect("an address")].into());
    do_all(&mut core, [owner(VipOwner::None), owner(VipOwner::Xdp), detach("eth1")]);
    assert_eq!(told(), ("192.0.2.10".into(), String::new()));
    let rival = Rival {
        vip: "192.0.2.10".parse().expect("an address"),
        mac: MacAddr([2, 9, 9, 9, 9, 9]),
        interface: "eth1".to_owned(),
        claims: true,
        seen: 7,
        frames: 1,
    };
    feeds.watched.send_replace(Arc::new(Watched { rivals: vec![rival], fault: None }));
    let status = core.status().expect("a status");
    let [vip] = &status.vips[..] else { panic!("one VIP, not {:?}", status.vips) };
    assert!(vip.rivals[0].reason.starts_with("the host 02:09:09:09:09:09 behind eth1 has 192.0.2.10, too"), "{vip:?}");
}

#[test]
fn targets_are_all_backends() {
    let host = Host::new();
    let mut core = host.start();
    let targets = core.feeds().targets;
    usual(&mut core);
    assert_eq!(targets.borrow().backends, [21, 22, 23].map(address).into());
    do_all(&mut core, [Command::RemoveBackend { listener: name("web"), address: address(22) }]);
    assert_eq!(targets.borrow().backends, [21, 23].map(address).into());
}

#[tokio::test]
async fn a_command_waits_for_the_first_picture_of_the_network() {
    let host = Host::new();
    let (engine, _feeds, _) = Engine::with(host.boot()).expect("an engine");
    let early = tokio::spawn({
        let engine = engine.clone();
        async move { engine.execute(attach("eth1")).await }
    });
    assert!(engine.status().await.expect("a status").interfaces.is_empty());
    engine.network_changed(Arc::new(host.view.clone()));
    assert_eq!(early.await.expect("a task"), Ok(()));
    assert_eq!(engine.status().await.expect("a status").interfaces.len(), 1);
}

#[tokio::test]
async fn stopping_leaves_what_forwards_and_removes_the_rest() {
    let host = Host::new();
    for (command, removed) in [(attach("eth1"), false), (detach("eth1"), true)] {
        let (engine, _feeds, _) = Engine::with(host.boot()).expect("an engine");
        engine.network_changed(Arc::new(host.view.clone()));
        engine.execute(command).await.expect("done");
        let other = engine.clone();
        engine.stop().await;
        assert_eq!(host.plane().pins_removed, removed);
        let fault = other.status().await.expect_err("it has stopped");
        assert_eq!(fault.message, "the agent is stopping; ask again when it runs");
    }
}
