use lb_common::address::MacAddr;

use super::*;
use crate::model::{
    Algorithm, AllowList, Command, HealthChange, MonitorTarget, NewListener, ProbeType, Protocol, Timeouts, WhenAllDown,
};
use crate::neighbour::Link;

fn address(last: u8) -> BackendAddr {
    format!("192.0.2.{last}").parse().expect("an address")
}

fn run(desired: &mut Desired, command: &Command) {
    let edits = desired.check(command, 0).expect("it can be done");
    desired.edit_all(edits);
}

/// A listener `web` with backends 21 and 22, checked by HTTP.
fn web() -> Desired {
    let mut desired = Desired::default();
    let name: model::Name = "web".parse().expect("a name");
    let new = NewListener {
        name: name.clone(),
        vip: "192.0.2.10".parse().expect("a VIP"),
        protocol: Protocol::Tcp,
        port: 80,
        algorithm: Algorithm::SourceIp,
        persistence: None,
        timeouts: Timeouts::default(),
        slots: None,
        vip_owner: None,
        source_rate: None,
        max_flows: None,
        allowed: AllowList::default(),
    };
    run(&mut desired, &Command::AddListener(new));
    for last in [21, 22] {
        run(&mut desired, &Command::AddBackend { listener: name.clone(), address: address(last), weight: 1 });
    }
    let change = HealthChange { kind: Some(ProbeType::Http), ..HealthChange::default() };
    run(&mut desired, &Command::SetHealth { listener: name, change });
    desired
}

fn backend(desired: &mut Desired, last: u8) -> &mut model::Backend {
    let pool = desired.pools_mut().values_mut().next().expect("a pool");
    pool.backends.get_mut(&address(last)).expect("the backend")
}

fn key(last: u8) -> CheckKey {
    ("web".parse().expect("a name"), address(last))
}

fn view() -> (NetworkView, SegmentsByInterface) {
    let mut view = NetworkView::default();
    view.links
        .insert("eth1".into(), Link { ifindex: 2, mac: MacAddr([2; 6]), up: true, xdp_program: None, vlan: None });
    for last in [21, 22] {
        view.backends.insert(address(last), Reach::Resolved { mac: MacAddr([2, 0, 0, 0, 0, last]), ifindex: 2 });
    }
    view.addresses.insert(2, vec![("192.0.2.2".parse().expect("an address"), 24)]);
    (view, SegmentsByInterface::from([(2, 7)]))
}

fn check_of(desired: &Desired, view: &NetworkView, segments: &SegmentsByInterface, last: u8) -> Check {
    checks(desired, view, segments, &Standings::new()).checks.remove(&key(last)).expect("a check")
}

#[test]
fn a_probe_goes_to_the_vip_on_the_backends_mac_from_the_balancers_address() {
    let (view, segments) = view();
    let check = check_of(&web(), &view, &segments, 21);
    assert_eq!(check.vips, ["192.0.2.10:80".parse().expect("an address")]);
    assert_eq!(check.own, "192.0.2.21:80".parse().expect("an address"));
    let expected = Backend::new(MacAddr([2, 0, 0, 0, 0, 21]), 7);
    assert_eq!(check.way, Way::Vip { backend: expected, source: "192.0.2.2".parse().expect("an address") });
    assert_eq!(check.first, Standing::Unproven);
}

#[test]
fn ports_and_addresses_are_overridden_backend_before_check_before_listener() {
    let (view, segments) = view();
    let mut desired = web();
    desired.pools_mut().values_mut().next().expect("a pool").health.as_mut().expect("a check").port = Some(8080);
    assert_eq!(check_of(&desired, &view, &segments, 21).vips[0].port(), 8080);
    backend(&mut desired, 21).monitor = MonitorTarget { address: None, port: Some(9090) };
    assert_eq!(check_of(&desired, &view, &segments, 21).vips[0].port(), 9090);
    backend(&mut desired, 21).monitor.address = Some(address(99));
    let check = check_of(&desired, &view, &segments, 21);
    assert_eq!((check.way, check.own), (Way::Own, "192.0.2.99:9090".parse().expect("an address")));
}

#[test]
fn the_source_is_of_the_backends_network_and_never_a_vip() {
    let (mut view, segments) = view();
    let source = |view: &NetworkView| match check_of(&web(), view, &segments, 21).way {
        Way::Vip { source, .. } => Ok(source.to_string()),
        Way::Impossible { reason } => Err(reason),
        way => Err(format!("{way:?}")),
    };
    let own =
        |list: &[(&str, u8)]| list.iter().map(|(own, prefix)| (own.parse().expect("an address"), *prefix)).collect();
    view.addresses.insert(2, own(&[("198.51.100.2", 24), ("192.0.2.2", 16), ("192.0.2.3", 24), ("192.0.2.4", 24)]));
    assert_eq!(source(&view).as_deref(), Ok("192.0.2.3"));
    view.addresses.insert(2, own(&[("192.0.2.10", 24), ("203.0.113.5", 32), ("2001:db8::2", 64)]));
    assert_eq!(source(&view).as_deref(), Ok("203.0.113.5"));
    view.addresses.insert(2, own(&[("192.0.2.10", 24), ("2001:db8::2", 64)]));
    let reason = source(&view).expect_err("no address");
    assert!(reason.contains("the balancer has no IPv4 address on eth1 to send health checks from"), "{reason}");
}

#[test]
fn what_cannot_be_reached_fails_and_what_is_being_asked_for_is_left_alone() {
    let (mut view, segments) = view();
    view.backends.insert(address(21), Reach::Unresolved { why: Unresolved::NoAnswer });
    view.backends.insert(address(22), Reach::Unresolved { why: Unresolved::Asking });
    assert!(matches!(check_of(&web(), &view, &segments, 21).way, Way::Unreachable { .. }));
    assert!(matches!(check_of(&web(), &view, &segments, 22).way, Way::Impossible { .. }));
}

#[test]
fn who_is_not_up_takes_nothing_unless_all_are_to_be_used() {
    let mut desired = web();
    let standings = |a, b| Standings::from([(key(21), a), (key(22), b)]);
    use Standing::{Down, Unproven, Up};
    assert_eq!(unhealthy(&desired, &standings(Up, Down)), Unhealthy::from([key(22)]));
    assert_eq!(unhealthy(&desired, &standings(Unproven, Up)), Unhealthy::from([key(21)]));
    assert_eq!(unhealthy(&desired, &standings(Down, Unproven)), Unhealthy::from([key(21), key(22)]));
    let health = &mut desired.pools_mut().values_mut().next().expect("a pool").health;
    health.as_mut().expect("a check").when_all_down = WhenAllDown::UseAll;
    assert_eq!(unhealthy(&desired, &standings(Down, Unproven)), Unhealthy::new());
    assert_eq!(unhealthy(&desired, &standings(Down, Up)), Unhealthy::from([key(21)]));
    // One that takes no new flows doesn't keep the others from being used.
    backend(&mut desired, 22).weight = 0;
    assert_eq!(unhealthy(&desired, &standings(Down, Up)), Unhealthy::new());
    backend(&mut desired, 22).admin_up = false;
    assert_eq!(checks(&desired, &view().0, &view().1, &Standings::new()).checks.len(), 1);
    desired.pools_mut().values_mut().next().expect("a pool").health = None;
    assert_eq!(unhealthy(&desired, &standings(Down, Down)), Unhealthy::new());
    assert_eq!(known(&desired).count(), 0);
}
