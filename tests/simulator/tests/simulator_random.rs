//! The rules of tracking on random schedules of worlds that are too large for all of them: many flows of every kind on four
//! CPUs, backends that come, go, die, recover and are replaced without end. The seeds are fixed.

use drlb_simulator::explore::wander;
use drlb_simulator::world::{Budget, Counts, ENDLESS, Setup};
use lb_common::protocol::{SCTP, TCP, UDP};
use lb_common::track::pin::{Timeouts, Timing};

/// Encapsulating Security Payload (RFC 4303): a protocol without ports.
const ESP: u8 = 50;

fn world(flows: usize, slots: usize) -> Setup {
    let protocols = [TCP, TCP, UDP, SCTP, ESP];
    Setup {
        flows: (0..flows).map(|flow| (protocols[flow % protocols.len()], flow % slots)).collect(),
        slots,
        backends: 6,
        cpus: 4,
        young_room: flows,
        established_room: flows,
        timing: Timing {
            timeouts: Timeouts { handshake: 4, established: 12, closing: 5, udp: 8, other: 10 },
            grace: 2,
        },
        budget: Budget { packets: ENDLESS, changes: ENDLESS, deaths: ENDLESS, sweeps: ENDLESS },
        crowding: false,
        closing: true,
        removals: true,
        none_wanted: false,
    }
}

/// Goes so many ways through the world, and adds up what happened.
fn go(setup: &Setup, ways: u64, steps: usize) -> Counts {
    let mut sum = Counts::default();
    for seed in 0..ways {
        let counts = match wander(setup.clone(), seed, steps) {
            Ok(world) => world.counts,
            Err(story) => panic!("{story}"),
        };
        sum.delivered += counts.delivered;
        sum.kept += counts.kept;
        sum.pushed_out += counts.pushed_out;
        sum.overflows += counts.overflows;
        sum.most_pins = sum.most_pins.max(counts.most_pins);
    }
    println!("{sum:?}");
    assert!(sum.kept > sum.delivered / 3, "most packets are of a flow that was promised a backend: {sum:?}");
    sum
}

#[test]
fn flows_stay_in_a_busy_world() {
    let sum = go(&world(40, 6), 10, 20_000);
    assert_eq!((sum.pushed_out, sum.overflows), (0, 0));
}

#[test]
fn flows_stay_where_few_flows_meet_many_changes() {
    go(&world(5, 2), 10, 20_000);
}

#[test]
fn flows_stay_where_no_backend_may_be_wanted() {
    let mut setup = world(20, 3);
    setup.none_wanted = true;
    go(&setup, 10, 20_000);
}

#[test]
fn flows_stay_while_the_tables_are_crowded_now_and_then() {
    let mut setup = world(20, 3);
    setup.crowding = true;
    go(&setup, 10, 20_000);
}

#[test]
fn what_does_not_fit_is_counted_and_the_tables_keep_to_their_size() {
    let mut setup = world(40, 6);
    setup.young_room = 6;
    setup.established_room = 12;
    let sum = go(&setup, 10, 20_000);
    assert!(sum.pushed_out > 0 && sum.overflows > 0, "{sum:?}");
    assert_eq!(sum.most_pins, 18);
}
