//! The rules of tracking, tried on every schedule of small worlds: every order in which packets on several CPUs, the agent's
//! writes and its sweeps can come to the maps.
//!
//! Most worlds here have no end: packets, changes, deaths and sweeps may come as often as they like, and every state that
//! they can lead to is met.

use drlb_simulator::explore::{Step, apply, exhaust, wind_down};
use drlb_simulator::world::{Budget, ENDLESS, Setup, World};
use lb_common::protocol::{TCP, UDP};
use lb_common::slot::Slot;
use lb_common::track::pin::{Timeouts, Timing};
use lb_common::track::signal::Signal;

const LONG: Timeouts = Timeouts { handshake: 1, established: 2, closing: 1, udp: 2, other: 2 };
const SHORT: Timeouts = Timeouts { handshake: 1, established: 1, closing: 1, udp: 1, other: 1 };

/// A world in which flows of these protocols share a slot, and nothing but backends' deaths is limited.
fn world(flows: &[u8]) -> Setup {
    Setup {
        flows: flows.iter().map(|protocol| (*protocol, 0)).collect(),
        slots: 1,
        backends: 2,
        cpus: 1,
        young_room: 9,
        established_room: 9,
        timing: Timing { timeouts: SHORT, grace: 1 },
        budget: Budget { packets: ENDLESS, changes: ENDLESS, deaths: 0, sweeps: ENDLESS },
        crowding: false,
        closing: false,
        removals: false,
        none_wanted: false,
    }
}

/// Meets every state of the world.
fn all_of(setup: Setup) {
    match exhaust(setup, 61) {
        Ok(explored) => println!("{explored:?}"),
        Err(story) => panic!("{story}"),
    }
}

#[test]
fn a_tcp_flow_stays_through_all_changes() {
    let mut setup = world(&[TCP]);
    setup.backends = 3;
    setup.timing.timeouts = LONG;
    all_of(setup);
}

#[test]
fn a_udp_flow_stays_through_all_changes() {
    let mut setup = world(&[UDP]);
    setup.backends = 3;
    setup.timing.timeouts = LONG;
    all_of(setup);
}

#[test]
fn a_flow_that_closes_and_begins_anew_stays_and_the_last_backend_drains() {
    let mut setup = world(&[TCP]);
    setup.closing = true;
    setup.none_wanted = true;
    all_of(setup);
}

#[test]
fn a_flow_stays_while_backends_die_and_recover() {
    let mut setup = world(&[TCP]);
    setup.timing.timeouts = LONG;
    setup.budget.deaths = 1;
    all_of(setup);
}

#[test]
fn the_place_of_a_removed_backend_is_given_away_when_nothing_names_it() {
    let mut setup = world(&[UDP]);
    setup.budget.deaths = 1;
    setup.removals = true;
    all_of(setup);
}

#[test]
fn a_tcp_flow_whose_packets_come_on_two_cpus_stays_through_all_changes() {
    let mut setup = world(&[TCP]);
    setup.cpus = 2;
    all_of(setup);
}

#[test]
fn flows_stay_while_pins_do_not_fit() {
    let mut setup = world(&[TCP, TCP]);
    setup.established_room = 1;
    setup.budget = Budget { packets: 4, changes: 1, deaths: 0, sweeps: 0 };
    all_of(setup);
}

#[test]
fn flows_stay_while_the_tables_are_crowded() {
    for protocol in [TCP, UDP] {
        let mut setup = world(&[protocol]);
        setup.crowding = true;
        all_of(setup);
    }
}

#[test]
fn a_udp_flow_whose_packets_come_on_two_cpus_stays_through_all_changes() {
    let mut setup = world(&[UDP]);
    setup.cpus = 2;
    all_of(setup);
}

#[test]
fn flows_stay_while_both_tables_are_full() {
    for flows in [[TCP, TCP], [TCP, UDP]] {
        let mut setup = world(&flows);
        setup.young_room = 1;
        setup.established_room = 1;
        setup.crowding = true;
        setup.budget = Budget { packets: 4, changes: 1, deaths: 0, sweeps: 1 };
        all_of(setup);
    }
}

#[test]
fn a_flow_stays_while_all_backends_die_and_recover_without_end() {
    for protocol in [TCP, UDP] {
        let mut setup = world(&[protocol]);
        setup.budget.deaths = ENDLESS;
        setup.removals = true;
        all_of(setup.clone());
        setup.removals = false;
        setup.none_wanted = true;
        all_of(setup);
    }
}

#[test]
fn a_flow_whose_packets_come_on_two_cpus_stays_while_a_backend_dies() {
    for protocol in [TCP, UDP] {
        let mut setup = world(&[protocol]);
        setup.cpus = 2;
        setup.budget = Budget { packets: 3, changes: 1, deaths: 1, sweeps: 2 };
        setup.removals = true;
        all_of(setup);
    }
}

/// Sends a packet and lets it through.
fn send(world: &mut World, flow: usize, signal: Signal) {
    let mut step = Step::Send { flow, signal, cpu: 0 };
    loop {
        apply(world, step).expect("no invariant breaks");
        if world.cpus[0].is_none() {
            break;
        }
        step = Step::Run { cpu: 0 };
    }
}

/// A world with one flow at work, and a thousand others that never get beyond their first packet.
fn flooded() -> World {
    let mut setup = world(&[TCP; 1001]);
    setup.young_room = 10;
    setup.established_room = 10;
    let mut world = World::new(setup);
    send(&mut world, 0, Signal::FIRST);
    send(&mut world, 0, Signal::NONE);
    world
}

fn flood(world: &mut World) {
    for flow in 1..world.flows.len() {
        send(world, flow, Signal::FIRST);
    }
}

#[test]
fn a_flood_of_first_packets_stores_nothing_in_the_steady_state() {
    let mut world = flooded();
    flood(&mut world);
    assert_eq!((world.young.len(), world.established.len()), (0, 0));
    assert_eq!(world.counts.most_pins, 0);
}

#[test]
fn a_flood_of_first_packets_pushes_out_no_established_flow() {
    let mut world = flooded();
    apply(&mut world, Step::Want { slot: 0, backend: 1 }).expect("no invariant breaks");
    send(&mut world, 0, Signal::NONE);
    flood(&mut world);
    assert_eq!((world.young.len(), world.established.len()), (10, 1));

    let end = world.now + 4;
    while world.now < end {
        apply(&mut world, Step::Tick).expect("no invariant breaks");
        send(&mut world, 0, Signal::NONE);
    }
    apply(&mut world, Step::Settle { slot: 0 }).expect("no invariant breaks");
    assert_eq!(world.slots[..], [Slot::settling(1)]);
    send(&mut world, 0, Signal::NONE);
    assert_eq!(world.flows[0].home, Some(0));
    wind_down(&world).expect("the slot gets back to steady");
}
