//! What is told to the log of events.

use super::*;

/// What the log has of these kinds, as sentences.
pub(super) fn told(core: &Core, kinds: &[EventKind]) -> Vec<String> {
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
        core.compared(done);
    }
    let told = told(&core, &[EventKind::OpenstackError, EventKind::OpenstackRecovered]);
    let [error, recovered] = &told[..] else { panic!("{told:#?}") };
    assert!(error.starts_with(&format!("openstack-error: load balancer {id}")), "{error}");
    assert!(error.ends_with("went to ERROR: the map is full"), "{error}");
    assert!(recovered.starts_with("openstack-recovered: ") && recovered.ends_with("is ACTIVE again"), "{recovered}");
}
