//! Looking after flows: slots that settle, drains, limits, regions.

use super::*;

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
            ports: Ports::new(Port::from_host(port), Port::from_host(80)),
            protocol: 6,
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
