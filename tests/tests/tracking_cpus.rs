//! Tracking on all CPUs at once: packets of one flow on two of them in the same moment, while the agent takes pins out and gives their
//! places back.

use std::ops::RangeInclusive;
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use drlb_tests::packet::{Frame, Transport, tcp};
use drlb_tests::program::{Action, Program};
use drlb_tests::sample::{self, OWN_MAC, VIP_TURNS};
use lb_common::limits::PIN_PLACES;
use lb_common::track::pin::Moment;
use nix::time::{ClockId, clock_gettime};

/// Flows, by their client's port.
const FLOWS: RangeInclusive<u16> = 1..=8_000;

#[test]
fn a_flow_stays_whose_packets_pin_it_on_two_cpus_at_once() {
    let mut program = Program::load(&sample::tables()).expect("the program loads");
    // Most places are taken at first, by pins that the agent takes out; so some flows find none.
    program.crowd(|at| at % 64 != 0);
    let now = || {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock that every kernel has");
        Moment::from_nanos(Duration::from(now).as_nanos() as u64)
    };
    let mut places = 0;

    let (together, first) = (Barrier::new(2), Mutex::new(0));
    let frame = |transport: Transport| Frame::to(OWN_MAC).ip("198.51.100.7", VIP_TURNS).carry(transport).bytes();
    let stray = program
        .on_two_cpus(
            |cpu, run| {
                let mut strays = Vec::new();
                for port in FLOWS {
                    let backend = |transport| {
                        let answer = run(&frame(transport)).expect("a run");
                        assert_eq!(answer.verdict, Action::Transmit);
                        answer.packet[5]
                    };
                    // The flow begins on the one, its next packets come on both.
                    if cpu == usize::from(port % 2) {
                        *first.lock().expect("a backend") = backend(tcp(port, 80).syn());
                    }
                    together.wait();
                    let chosen = *first.lock().expect("a backend");
                    let taken = [tcp(port, 80).ack(), tcp(port, 80).ack(), tcp(port, 80).fin().ack()].map(backend);
                    if taken != [chosen; 3] {
                        strays.push((port, chosen, taken));
                    }
                    together.wait();
                }
                strays
            },
            |pins| {
                std::thread::sleep(Duration::from_millis(5));
                places = pins.look_through(0..PIN_PLACES, now()).len();
            },
        )
        .concat();
    assert_eq!(stray, [], "flows that went to another backend than they began at");

    let spilt = program.spilt().expect("a count");
    assert!(places > 100 && spilt > 100, "{places} places, {spilt} without: the test is about both kinds");
    // A flow that found no place on the one CPU, and one that was just given back on the other, has a pin of each kind until the sweep.
    assert!(places + spilt >= FLOWS.len(), "{places} and {spilt} pins of {} flows", FLOWS.len());
}
