//! Ways through a change that random steps seldom take, each for what it alone can show.

use super::*;

/// All flows that clients of [`a_pool_at_work`] can have.
fn all_send(world: &mut World) {
    for sent in packets::all_to_one() {
        world.step(Step::Send(sent));
    }
}

/// Flows that are at work for so many seconds, while sweeps go through.
fn at_work_for(world: &mut World, seconds: u64) {
    for _ in 0..seconds * 2 {
        world.step(Step::Time(Moment::ticks(500)));
        all_send(world);
        // Two buckets of either table, and what follows from them.
        world.step(Step::Sweep(12));
    }
}

fn switch(algorithm: Algorithm) -> Step {
    let change = ListenerChange { algorithm: Some(algorithm), ..ListenerChange::default() };
    Step::Command(Command::SetListener { name: "a".parse().expect("a name"), change })
}

#[test]
fn a_slot_settles_for_as_long_as_flows_in_it_have_pins_whatever_is_hashed() {
    for algorithm in [Algorithm::SourceIpPort, Algorithm::SourceIp] {
        let mut world = a_pool_at_work();
        world.step(switch(algorithm));
        world.settle();
        all_send(&mut world);
        for last in 4..6 {
            let (listener, address) = ("a".parse().expect("a name"), pool_address(last));
            world.step(Step::Command(Command::AddBackend { listener, address, weight: 1 }));
        }
        // [`Flows::send`] sees to it that none is moved.
        at_work_for(&mut world, 4 * u64::from(TIMEOUTS.established));
        assert_ne!(world.tracker.unsteady(), 0, "{algorithm:?}: flows are at work in slots that were moved");
        world.settle();
    }
}

#[test]
fn flows_of_before_a_switch_stay_when_it_is_over() {
    for (from, to) in [(Algorithm::SourceIpPort, Algorithm::SourceIp), (Algorithm::SourceIp, Algorithm::SourceIpPort)] {
        let mut world = a_pool_at_work();
        world.step(switch(from));
        world.settle();
        all_send(&mut world);
        world.step(switch(to));
        let before = |world: &World| world.plane.held.listeners.values().any(|held| held.before != 0);
        assert!(before(&world), "flows of before are found by what they went by");
        at_work_for(&mut world, 4 * u64::from(TIMEOUTS.established));
        assert!(!before(&world), "each has shown itself");
        world.settle();
    }
}

#[test]
fn a_pool_that_never_had_a_packet_waits_for_no_flow() {
    // Less than any idle time, and enough for two sweeps.
    const SECONDS: u64 = 2;
    for (packets, moving) in [(0, false), (1, true)] {
        let mut world = a_pool_at_work();
        for sent in &packets::all_to_one()[..packets] {
            world.step(Step::Send(*sent));
        }
        let (listener, address) = ("a".parse().expect("a name"), pool_address(4));
        world.step(Step::Command(Command::AddBackend { listener, address, weight: 1 }));
        let pool = world.held.listeners.values().next().expect("a listener").pool;
        assert_ne!(world.tracker.slots(pool).moving, 0);
        for _ in 0..SECONDS * 2 {
            world.step(Step::Time(Moment::ticks(500)));
            world.step(Step::Sweep(12));
        }
        assert_eq!(world.tracker.slots(pool).moving != 0, moving, "after {packets} packets");
        world.settle();
    }
}

/// The backends that take new flows, by the table.
fn takers(world: &World) -> BTreeSet<u8> {
    let held = &world.plane.held;
    let listener = held.listeners.values().next().expect("the listener");
    let slots = (0..listener.slots_len).map(|index| held.slot(listener.slots_base + index).current());
    let owners = slots.filter_map(|index| held.owner(listener.backends_base + u32::from(index)));
    (0..6).filter(|last| owners.clone().any(|owner| owner == pool_address(*last).address())).collect()
}

#[test]
fn a_backup_takes_new_flows_only_while_no_other_backend_can() {
    let set = |last, change| {
        let (listener, address) = ("a".parse().expect("a name"), pool_address(last));
        Step::Command(Command::SetBackend { listener, address, change })
    };
    let weight = |weight| BackendChange { weight: Some(weight), ..BackendChange::default() };
    let up = |up| BackendChange { admin_up: Some(up), ..BackendChange::default() };
    let backup = |backup| BackendChange { backup: Some(backup), ..BackendChange::default() };
    let reach = |last, reached| Step::Reach(pool_address(last), reached);
    let there = |last| reach(last, Reach::Resolved { mac: MacAddr([2, 0, 0, 0, 1, last]), ifindex: 3 });
    let gone = |last| reach(last, Reach::Unresolved { why: Unresolved::NoAnswer });
    for algorithm in Algorithm::ALL.iter().copied() {
        let mut world = a_pool_at_work();
        world.step(switch(algorithm));
        world.step(set(2, backup(true)));
        world.step(set(3, backup(true)));
        assert_eq!(takers(&world), [0, 1].into(), "{algorithm:?}");
        world.step(set(0, weight(0)));
        world.step(gone(1));
        assert_eq!(takers(&world), [2, 3].into(), "{algorithm:?}: nobody else is left");
        all_send(&mut world);
        world.step(there(1));
        assert_eq!(takers(&world), [1].into(), "{algorithm:?}: somebody else is back");
        // [`Flows::send`] sees to it that none leaves the backups.
        at_work_for(&mut world, 2 * u64::from(TIMEOUTS.established));
        world.settle();
        world.step(set(1, up(false)));
        world.step(gone(3));
        assert_eq!(takers(&world), [2].into(), "{algorithm:?}: a backup that is not there takes nothing either");
        world.step(set(2, backup(false)));
        world.step(set(1, up(true)));
        assert_eq!(takers(&world), [1, 2].into(), "{algorithm:?}: one of them is no backup any more");
        world.settle();
    }
}
