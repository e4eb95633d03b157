//! The tables that packets are matched in: what is written there is what packets meet, whatever happened before.

use lb_common::address::Port;
use lb_common::maps::FORWARDING;
use lb_common::table::{Entry as _, ListenerEntry, MOST_PROBES, place};

use super::*;

fn put(plane: &mut Dataplane, key: ListenerKey, listener: Listener) {
    plane.change(&Change::PutListener { key, listener, new: false }).expect("a change");
}

/// A packet is sent to the backend, and counted with that listener.
fn is_found(plane: &mut Dataplane, instance: &mut Instance, id: u32) {
    let before = plane.listener_counter(id).expect("a counter").packets;
    let run = instance.run(&packet()).expect("a run");
    assert_eq!(run.packet[..6], [2, 0, 0, 0, 0, 21], "{run:?}");
    assert_eq!(plane.listener_counter(id).expect("a counter").packets, before + 1);
}

/// This listener is read back, and no other.
fn is_all_there_is(plane: &mut Dataplane, key: ListenerKey, listener: Listener) {
    let held = plane.read().expect("maps");
    assert_eq!((held.listeners.get(&key), held.listeners.len()), (Some(&listener), 1));
}

/// The map of what packets are forwarded by, as it is pinned.
fn forwarding(pins: &Path) -> Map {
    Map::Array(MapData::from_pin(pins.join(LAYOUT).join(FORWARDING)).expect("the pinned map"))
}

#[test]
fn a_listener_that_changes_more_often_than_its_table_has_places_is_always_found() {
    isolated(|pins| {
        let mut plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("a new data plane");
        let (key, listener) = fill(&mut plane);
        let mut instance = plane.load(INSTANCE).expect("the program");
        for change in 0..3 * MOST_PROBES {
            let id = 3 + change % 2;
            put(&mut plane, key, Listener { id, ..listener });
            is_found(&mut plane, &mut instance, id);
        }
        assert_eq!(plane.read().expect("maps").listeners.len(), 1);
    });
}

#[test]
fn a_listener_behind_another_is_found_when_that_one_is_gone() {
    isolated(|pins| {
        let mut plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("a new data plane");
        let (key, listener) = fill(&mut plane);
        let mut instance = plane.load(INSTANCE).expect("the program");
        // Others whose search begins where this one's does: the second to be put stands behind the first.
        let others: Vec<ListenerKey> = (1..=u16::MAX)
            .flat_map(|port| (1..=6).map(move |last| (port, last)))
            .map(|(port, last)| ListenerKey::new(Ipv4Addr::new(192, 0, 2, last).into(), 6, Port::from_host(port)))
            .filter(|other| other.home() == key.home())
            .take(2)
            .collect();
        let [first, second] = others[..] else { panic!("no other listener begins there") };
        plane.change(&Change::RemoveListener { key }).expect("a change");
        for (key, id) in [(first, 10), (second, 11), (key, 3)] {
            put(&mut plane, key, Listener { id, ..listener });
        }
        is_found(&mut plane, &mut instance, 3);
        for other in [first, second] {
            plane.change(&Change::RemoveListener { key: other }).expect("a change");
            is_found(&mut plane, &mut instance, 3);
        }
        drop(plane);
        let mut plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("the pinned data plane");
        is_all_there_is(&mut plane, key, listener);
        is_found(&mut plane, &mut instance, 3);
    });
}

#[test]
fn of_two_entries_that_a_killed_agent_left_the_one_stays_that_packets_find() {
    isolated(|pins| {
        let mut plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("a new data plane");
        let (key, listener) = fill(&mut plane);
        drop(plane);
        let behind = place(key.home(), 1);
        let left = ListenerEntry::new(key, Listener { id: 4, ..listener });
        ForwardingMap::listeners(&forwarding(pins)).expect("the table").write(behind, &left);

        let mut plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("the pinned data plane");
        is_all_there_is(&mut plane, key, listener);
        let mut instance = plane.load(INSTANCE).expect("the program");
        is_found(&mut plane, &mut instance, 3);
        plane.change(&Change::RemoveListener { key }).expect("a change");
        let run = instance.run(&packet()).expect("a run");
        assert_eq!(run.packet, packet(), "the other entry is still found");
    });
}

#[test]
fn what_a_glance_tells_is_what_the_slot_says_also_after_a_kill_between_the_two() {
    isolated(|pins| {
        let mut plane = Dataplane::open(pins, MAX_SLOTS, &[]).expect("a new data plane");
        fill(&mut plane);
        let mut instance = plane.load(INSTANCE).expect("the program");
        is_found(&mut plane, &mut instance, 3);
        let forwarding = ForwardingMap::open(&forwarding(pins)).expect("the map");
        // As if all slots had been at backend 0 before, and the agent was killed when it had written the slots.
        (0..64).for_each(|index| forwarding.set_glance(index, Slot::steady(0)));
        let run = instance.run(&packet()).expect("a run");
        assert_eq!(run.verdict, 1, "there is no backend 0: {run:?}");
        plane.read().expect("maps");
        is_found(&mut plane, &mut instance, 3);
        // Moving slots are not told by a glance.
        let moving = (0..7).map(|index| (index, Slot::moving(1, 2))).collect();
        plane.change(&Change::WriteSlots { base: 16, moves: moving }).expect("a change");
        assert!((16..23).all(|index| forwarding.glance(index).is_some_and(|glance| glance.backend().is_none())));
        assert!((16..23).all(|index| forwarding.pair(index).is_some_and(|pair| pair.backend(index).is_none())));
    });
}
