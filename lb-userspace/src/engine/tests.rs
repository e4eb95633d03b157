//! The engine on a data plane and a store in memory.

use lb_common::address::{Address, MacAddr, Port};
use lb_common::flow::Flow;
use lb_common::listener::Listener;
use lb_common::track::pin::{Moment, Pin, PinKey};

use self::host::Host;
use super::core::Core;
use super::status::{BackendState, InterfaceState};
use super::*;
use crate::announce::{Rival, Watched};
use crate::events::EventKind;
use crate::model::{
    Algorithm, AllowList, AttachMode, BackendAddr, BackendChange, FaultKind, ListenerChange, Name, NewListener,
    Protocol, Timeouts, VipOwner, XdpMode,
};
use crate::neighbour::{Reach, Unresolved};
use crate::reconcile::LinkChange;

mod host;

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
    }
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
fn an_interface_that_refuses_the_program_is_not_kept() {
    let host = Host::new();
    host.plane().refusing.insert("eth1".to_owned());
    let mut core = host.start();
    let before = host.state();
    let fault = core.execute(&attach("eth1")).expect_err("it refuses");
    assert_eq!(fault.message, "interface eth1 has no XDP");
    assert_eq!(host.state(), before);
    assert!(core.status().expect("a status").interfaces.is_empty());
}

#[test]
fn an_unknown_interface_is_refused_and_a_new_one_is_waited_for() {
    let mut host = Host::new();
    let mut core = host.start();
    let fault = core.execute(&attach("eth9")).expect_err("there is none");
    assert_eq!(fault.message, "there is no interface eth9 on this host; there are: eth1, eth2");
    assert_eq!(fault.kind, FaultKind::NotFound);

    host.plane().interfaces.insert("eth3".to_owned(), 4);
    assert!(!core.can_execute(&attach("eth3")), "the picture of the network lags behind");
    host.link("eth3", 4, 3);
    host.look(&mut core);
    assert!(core.can_execute(&attach("eth3")));
    do_all(&mut core, [attach("eth3")]);
}

#[test]
fn an_interface_that_goes_and_comes_back_is_attached_again() {
    let mut host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    host.view.links.remove("eth1");
    host.plane().interfaces.remove("eth1");
    host.look(&mut core);
    let status = core.status().expect("a status");
    assert_eq!(status.interfaces[0].state, InterfaceState::Missing);
    assert_eq!(slots(&mut core, "web"), [0, 0, 0]);

    host.link("eth1", 7, 1);
    for reach in host.view.backends.values_mut() {
        if let Reach::Resolved { ifindex, .. } = reach {
            *ifindex = 7;
        }
    }
    host.look(&mut core);
    assert_eq!(core.status().expect("a status").interfaces[0].ifindex, Some(7));
    assert_eq!(slots(&mut core, "web").iter().sum::<u32>(), 101);
}

#[test]
fn an_interface_that_is_only_missing_in_the_picture_forwards_on() {
    let mut host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    host.plane().changes.clear();
    let links = std::mem::take(&mut host.view.links);
    host.look(&mut core);
    core.compare_everything().expect("a comparison");
    assert_eq!(core.status().expect("a status").interfaces[0].state, InterfaceState::Attached);
    host.view.links = links;
    host.look(&mut core);
    assert_eq!(host.plane().changes, []);
}

#[test]
fn a_new_mac_of_an_interface_renews_its_program() {
    let mut host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    host.plane().links.clear();
    host.link("eth1", 2, 9);
    host.look(&mut core);
    let mac = MacAddr([2, 0, 0, 0, 0, 9]);
    assert_eq!(host.plane().links, [LinkChange::Renew { name: "eth1".to_owned(), mac }]);
    assert_eq!(host.plane().held.segments.values().map(|segment| segment.mac).collect::<Vec<_>>(), [mac]);
}

#[test]
fn an_interface_that_cannot_be_attached_again_is_named_and_tried_again() {
    let mut host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    host.plane().refusing.insert("eth1".to_owned());
    host.link("eth1", 7, 1);
    host.look(&mut core);
    let status = core.status().expect("a status");
    assert_eq!(status.interfaces[0].state, InterfaceState::Failed);
    assert_eq!(status.interfaces[0].reason.as_deref(), Some("interface eth1 has no XDP"));
    // The other commands are not held up.
    do_all(&mut core, [add_backend("web", 24, 1)]);
    host.plane().refusing.clear();
    core.compare_everything().expect("a comparison");
    let status = core.status().expect("a status");
    assert_eq!((status.interfaces[0].state, &status.interfaces[0].reason), (InterfaceState::Attached, &None));
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

/// The idle times of `web` are over, and sweeps have gone through: as many as it takes.
fn settle(host: &Host, core: &mut Core) {
    for _ in 0..10 {
        host.plane().now.0 += Moment::ticks(u64::from(Timeouts::default().established) * 2_000);
        sweep(core);
    }
}

/// A whole sweep.
fn sweep(core: &mut Core) {
    core.sweep();
    while core.is_sweeping() {
        core.sweep();
    }
}

fn backend_status(core: &mut Core, last: u8) -> status::BackendStatus {
    let status = core.status().expect("a status");
    let backends = status.listeners.into_iter().flat_map(|listener| listener.backends);
    backends.into_iter().find(|backend| backend.address == address(last)).expect("the backend")
}

fn drain(last: u8, deadline: Option<u32>) -> Command {
    Command::DrainBackend { listener: name("web"), address: address(last), deadline }
}

#[test]
fn slots_get_back_to_steady_and_nothing_is_left_to_do() {
    let host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    let states = |core: &mut Core| core.status().expect("a status").listeners[0].slot_states;
    assert!(states(&mut core).moving > 0, "backends that came one after the other");
    assert!(core.has_flows());
    settle(&host, &mut core);
    assert_eq!(states(&mut core), status::SlotStates { steady: 101, moving: 0, settling: 0 });
    assert!(!core.has_flows(), "nothing to sweep for");
    assert_eq!(backend_status(&mut core, 21).flows, None);
}

#[test]
fn a_backend_drains_and_is_taken_out_when_nothing_is_left() {
    let host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    settle(&host, &mut core);
    do_all(&mut core, [drain(22, None)]);
    let backend = backend_status(&mut core, 22);
    assert_eq!((backend.state, backend.slots), (BackendState::Draining, 0));
    sweep(&mut core);
    assert_eq!(backend_status(&mut core, 22).state, BackendState::Draining, "a silent flow may still be there");
    settle(&host, &mut core);
    let backend = backend_status(&mut core, 22);
    assert_eq!((backend.state, backend.drain.map(|drain| drain.flows)), (BackendState::Drained, Some(0)));

    // It stays so, and comes back when asked for.
    let mut core = host.start();
    assert_eq!(backend_status(&mut core, 22).state, BackendState::Drained);
    let change = BackendChange { admin_up: Some(true), ..BackendChange::default() };
    do_all(&mut core, [Command::SetBackend { listener: name("web"), address: address(22), change }]);
    let backend = backend_status(&mut core, 22);
    assert_eq!((backend.state, backend.drain), (BackendState::Serving, None));
    assert!(backend.slots > 0);
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    settle(&host, &mut core);
    do_all(&mut core, [drain(22, Some(0))]);
    sweep(&mut core);
    assert_eq!(backend_status(&mut core, 22).state, BackendState::Drained);
    do_all(&mut core, [drain(23, Some(3_600))]);
    sweep(&mut core);
    assert_eq!(backend_status(&mut core, 23).state, BackendState::Draining);
}

#[test]
fn a_new_agent_watches_what_it_finds_and_gives_no_number_twice() {
    let host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    let unsteady = core.status().expect("a status").tracking.unsteady_slots;
    assert!(unsteady > 0);
    let number = |host: &Host| host.plane().held.listeners.values().next().expect("a listener").pool;
    let first = number(&host);
    // A pin outlives its pool, until a sweep.
    let flow = Flow::without_ports(address(99).address(), address(98).address(), 6);
    let pin = Pin { backend: 0, state: Pin::ESTABLISHED, reserved: 0, check: 0, seen: Moment(0), slot: 0 };
    host.plane().pins[0].insert(PinKey::new(&flow, first + 5), pin);

    let mut core = host.start();
    assert_eq!(core.status().expect("a status").tracking.unsteady_slots, unsteady);
    assert_eq!(number(&host), first);
    do_all(&mut core, [Command::RemoveListener { name: name("web") }, add_listener("web", 80)]);
    assert_eq!(number(&host), first + 6);
    sweep(&mut core);
    assert!(host.plane().pins[0].is_empty(), "nobody looks for that pin");
}

#[test]
fn the_places_of_removed_backends_are_free_after_a_sweep_that_finds_no_pin() {
    let host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    settle(&host, &mut core);
    do_all(&mut core, [Command::RemoveBackend { listener: name("web"), address: address(22) }]);
    let owned = |host: &Host| host.plane().held.owners_in(0..256).count();
    assert_eq!(owned(&host), 3);
    // Put back at once, it has its place again.
    do_all(&mut core, [add_backend("web", 22, 1)]);
    assert_eq!(owned(&host), 3);
    do_all(&mut core, [Command::RemoveBackend { listener: name("web"), address: address(22) }]);
    settle(&host, &mut core);
    assert_eq!(owned(&host), 2);
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
fn a_sweep_counts_the_flows_at_work_of_the_listeners_that_limit_them() {
    let host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    let limit = |max_flows| {
        let change = ListenerChange { max_flows: Some(max_flows), ..ListenerChange::default() };
        Command::SetListener { name: name("web"), change }
    };
    do_all(&mut core, [limit(Some(5))]);
    let listener = *host.plane().held.listeners.values().next().expect("a listener");
    assert!(listener.pins_every_flow() && listener.guards & Listener::GUARD_FLOWS != 0 && listener.max_flows == 5);
    let now = host.plane().now;
    let insert = |port, state, pool| {
        let flow = Flow {
            source: Address::from(std::net::Ipv4Addr::new(198, 51, 100, 7)),
            destination: Address::from(std::net::Ipv4Addr::new(192, 0, 2, 10)),
            source_port: Port::from_host(port),
            destination_port: Port::from_host(80),
            protocol: 6,
            reserved: [0; 3],
        };
        let pin = Pin { backend: 0, state, reserved: 0, check: 0, seen: now, slot: 0 };
        host.plane().pins[1].insert(PinKey::new(&flow, pool), pin);
    };
    for (port, state) in [(1, Pin::ESTABLISHED), (2, Pin::ESTABLISHED), (3, Pin::CLOSING), (4, Pin::HANDSHAKE)] {
        insert(port, state, listener.pool);
    }
    // The program counted flows that began; a sweep knows better.
    host.plane().listener_flows.insert(listener.id, 99);
    sweep(&mut core);
    assert_eq!(host.plane().listener_flows[&listener.id], 2);
    let status = core.status().expect("a status");
    assert_eq!((status.listeners[0].max_flows, status.listeners[0].flows), (Some(5), Some(2)));
    do_all(&mut core, [limit(None)]);
    let listener = *host.plane().held.listeners.values().next().expect("a listener");
    assert!(!listener.pins_every_flow() && listener.guards == 0, "{listener:?}");
    assert_eq!(core.status().expect("a status").listeners[0].flows, None);
}

#[test]
fn the_region_of_an_allow_list_is_free_again_when_no_packet_can_read_it() {
    let host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    let allow = |prefix: &str| {
        let allowed = Some(vec![prefix.parse().expect("a prefix")].into());
        let change = ListenerChange { allowed, ..ListenerChange::default() };
        Command::SetListener { name: name("web"), change }
    };
    let base = || host.plane().held.listeners.values().next().expect("a listener").allow_base;
    let mut bases = Vec::new();
    for prefix in ["10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16"] {
        do_all(&mut core, [allow(prefix)]);
        bases.push(base());
    }
    assert!(bases[0] != bases[1] && bases[1] != bases[2] && bases[0] != bases[2], "{bases:?}");
    let now = host.plane().now;
    host.plane().now = Moment(now.0 + Moment::ticks(3_000));
    do_all(&mut core, [allow("10.3.0.0/16")]);
    assert_eq!(base(), bases[0], "the first one is free by now");
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
    let (engine, _feeds) = Engine::with(host.boot()).expect("an engine");
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
        let (engine, _feeds) = Engine::with(host.boot()).expect("an engine");
        engine.network_changed(Arc::new(host.view.clone()));
        engine.execute(command).await.expect("done");
        let other = engine.clone();
        engine.stop().await;
        assert_eq!(host.plane().pins_removed, removed);
        let fault = other.status().await.expect_err("it has stopped");
        assert_eq!(fault.message, "the agent is stopping; ask again when it runs");
    }
}

#[test]
fn an_interface_whose_link_is_down_is_named() {
    let mut host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    host.view.links.get_mut("eth1").expect("the link").up = false;
    host.look(&mut core);
    let interface = core.status().expect("a status").interfaces.remove(0);
    assert_eq!(interface.state, InterfaceState::Down);
    assert!(interface.reason.expect("a reason").contains("`ip link set eth1 up`"));
}

/// What the log has of these kinds, as sentences.
fn told(core: &Core, kinds: &[EventKind]) -> Vec<String> {
    let found = core.told.log.counts().into_iter().filter(|count| count.count > 0).map(|count| count.kind);
    assert!(found.count() > 0, "nothing was told");
    let query = Query { kinds: kinds.iter().copied().collect(), limit: 100, ..Query::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let events = runtime.block_on(core.told.log.ask(query, Duration::ZERO)).events;
    events.into_iter().map(|event| format!("{}: {}", event.kind, event.text)).collect()
}

#[test]
fn where_the_program_runs_is_told() {
    use EventKind::{LinkReplaced, XdpAttached, XdpDetached, XdpFailed, XdpReattached, XdpRenewed};
    let kinds = [LinkReplaced, XdpAttached, XdpDetached, XdpFailed, XdpReattached, XdpRenewed];
    let mut host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    host.link("eth1", 2, 9);
    host.look(&mut core);
    host.link("eth1", 7, 9);
    host.look(&mut core);
    do_all(&mut core, [detach("eth1")]);
    host.plane().refusing.insert("eth2".to_owned());
    for _ in 0..2 {
        core.execute(&attach("eth2")).expect_err("it refuses");
    }
    let told = told(&core, &kinds);
    let codes: Vec<_> = told.iter().map(|line| line.split(':').next().unwrap_or_default()).collect();
    let expected = [
        "xdp-attached",
        "xdp-renewed",
        "link-replaced",
        "xdp-detached",
        "xdp-reattached",
        "xdp-detached",
        "xdp-failed",
    ];
    assert_eq!(codes, expected, "{told:#?}");
}

#[test]
fn refused_flows_and_pins_without_room_are_told_with_how_many_and_not_those_of_before() {
    let host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    let change = ListenerChange { max_flows: Some(Some(1)), ..ListenerChange::default() };
    do_all(&mut core, [Command::SetListener { name: name("web"), change }]);
    host.plane().overflows = 5;
    core.look_at_limits(Duration::from_secs(1));
    host.plane().overflows = 7;
    host.plane().refused.too_many_flows = 3;
    core.look_at_limits(Duration::from_secs(2));
    assert_eq!(
        told(&core, &[EventKind::PinsOverflow, EventKind::LimitReached]),
        [
            "pins-overflow: 2 flows at work could not be remembered for want of room; such may get another backend",
            "limit-reached: listener `web` refused 3 packets of new flows, as it has as many flows as it may have"
        ]
    );
}

#[test]
fn a_load_balancer_that_goes_to_error_is_told_with_the_reason_once_and_that_it_is_back() {
    let host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    let kind = crate::octavia::schema::Kind::LoadBalancer;
    let id = core.openstack.catalogue.all(kind).next().expect("a load balancer").0.to_owned();
    core.openstack.catalogue.begin(kind, &id, crate::octavia::catalogue::PENDING_UPDATE);
    let failed = Err(Fault::unavailable("the map is full"));
    for done in [&failed, &failed, &Ok(()), &Ok(())] {
        core.settled(done);
    }
    let told = told(&core, &[EventKind::OpenstackError, EventKind::OpenstackRecovered]);
    let [error, recovered] = &told[..] else { panic!("{told:#?}") };
    assert!(error.starts_with(&format!("openstack-error: load balancer {id}")), "{error}");
    assert!(error.ends_with("went to ERROR: the map is full"), "{error}");
    assert!(recovered.starts_with("openstack-recovered: ") && recovered.ends_with("is ACTIVE again"), "{recovered}");
}
