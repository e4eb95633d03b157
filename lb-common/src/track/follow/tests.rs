extern crate std;

use core::cell::{Cell, RefCell};
use std::vec;
use std::vec::Vec;

use super::*;
use crate::protocol::{TCP, UDP};

const A: u16 = 0;
const B: u16 = 1;
const C: u16 = 2;

fn packet(protocol: u8, signal: Signal) -> Packet {
    Packet { slot: 9, check: 77, protocol, signal }
}

fn pin(backend: u16, state: u8) -> Pin {
    Pin { backend, state, reserved: 0, check: 77, seen: Moment(1), slot: 9 }
}

/// Maps that hold one flow's world.
struct Maps {
    slot: Slot,
    dead: Vec<u16>,
    young: Cell<Pin>,
    established: Cell<Pin>,
    full: bool,
    crowded: bool,
    overflows: Cell<u32>,
    reads: RefCell<Vec<&'static str>>,
}

impl Maps {
    fn new(slot: Slot) -> Self {
        Self {
            slot,
            dead: vec![],
            young: Cell::new(Pin::NONE),
            established: Cell::new(Pin::NONE),
            full: false,
            crowded: false,
            overflows: Cell::new(0),
            reads: RefCell::default(),
        }
    }

    fn table(&self, table: Table) -> &Cell<Pin> {
        match table {
            Table::Young => &self.young,
            Table::Established => &self.established,
        }
    }

    /// Where a packet goes, and what is pinned then, young and established: backend and state.
    fn after(&self, protocol: u8, signal: Signal) -> (u16, (u16, u8), (u16, u8)) {
        let backend = follow(&packet(protocol, signal), self);
        let show = |pin: Pin| (pin.backend, pin.state);
        (backend, show(self.young.get()), show(self.established.get()))
    }
}

impl Memory for Maps {
    fn slot(&self) -> Slot {
        self.reads.borrow_mut().push("slot");
        self.slot
    }

    fn serves(&self, backend: u16) -> bool {
        self.reads.borrow_mut().push("backend");
        backend <= C && !self.dead.contains(&backend)
    }

    fn look(&self, table: Table, now: Moment, touch: bool) -> Pin {
        self.reads.borrow_mut().push("pin");
        let pin = self.table(table).get();
        if touch && pin != Pin::NONE {
            self.table(table).set(Pin { seen: now, ..pin });
        }
        pin
    }

    fn insert(&self, table: Table, pin: &Pin) -> bool {
        let room = table == Table::Young || !self.full || self.established.get() != Pin::NONE;
        if room {
            self.table(table).set(*pin);
        }
        room
    }

    fn remove_young(&self) {
        self.table(Table::Young).set(Pin::NONE);
    }

    fn overflowed(&self) {
        self.overflows.set(self.overflows.get() + 1);
    }

    fn is_crowded(&self) -> bool {
        self.crowded
    }

    fn now(&self) -> Moment {
        Moment(5)
    }
}

const NONE: (u16, u8) = (NO_BACKEND, 0);

#[test]
fn a_steady_slot_costs_one_read_and_stores_nothing() {
    let maps = Maps::new(Slot::steady(A));
    for signal in [Signal::FIRST, Signal::NONE, Signal::CLOSING] {
        assert_eq!(maps.after(TCP, signal), (A, NONE, NONE));
    }
    assert_eq!(*maps.reads.borrow(), ["slot"; 3]);
}

#[test]
fn a_new_flow_in_a_moving_slot_takes_the_current_backend_and_stays() {
    let maps = Maps::new(Slot::moving(A, B));
    assert_eq!(maps.after(TCP, Signal::FIRST), (B, (B, Pin::HANDSHAKE), NONE));
    assert_eq!(maps.after(TCP, Signal::FIRST), (B, (B, Pin::HANDSHAKE), NONE), "its first packet again");
    assert_eq!(maps.after(TCP, Signal::NONE), (B, NONE, (B, Pin::ESTABLISHED)));
    assert_eq!(maps.after(TCP, Signal::CLOSING), (B, NONE, (B, Pin::CLOSING)));
    assert_eq!(maps.after(TCP, Signal::NONE), (B, NONE, (B, Pin::CLOSING)));
}

#[test]
fn an_old_flow_in_a_moving_slot_takes_the_previous_backend_and_stays() {
    let mut maps = Maps::new(Slot::moving(A, B));
    assert_eq!(maps.after(TCP, Signal::NONE), (A, NONE, (A, Pin::ESTABLISHED)));
    maps.slot = Slot::settling(B);
    assert_eq!(maps.after(TCP, Signal::NONE), (A, NONE, (A, Pin::ESTABLISHED)));
    assert_eq!(maps.established.get().seen, Moment(5));
}

#[test]
fn a_pin_of_no_use_in_a_settling_slot_is_not_written_again() {
    let maps = Maps::new(Slot::settling(B));
    maps.young.set(pin(B, Pin::HANDSHAKE));
    for signal in [Signal::FIRST, Signal::NONE, Signal::CLOSING] {
        assert_eq!(maps.after(TCP, signal), (B, (B, Pin::HANDSHAKE), NONE));
    }
}

#[test]
fn a_udp_flow_in_a_moving_slot_takes_the_previous_backend_and_is_young_at_first() {
    let maps = Maps::new(Slot::moving(A, B));
    assert_eq!(maps.after(UDP, Signal::NONE), (A, (A, Pin::UDP), NONE));
    assert_eq!(maps.after(UDP, Signal::NONE), (A, NONE, (A, Pin::UDP)));
}

#[test]
fn a_flow_without_a_pin_in_a_settling_slot_takes_the_current_backend_and_leaves_no_trace() {
    let maps = Maps::new(Slot::settling(B));
    for signal in [Signal::FIRST, Signal::NONE, Signal::CLOSING] {
        assert_eq!(maps.after(TCP, signal), (B, NONE, NONE));
    }
}

#[test]
fn a_flow_whose_backend_died_does_not_jump_back_when_it_recovers() {
    for slot in [Slot::moving(A, B), Slot::settling(B)] {
        let mut maps = Maps::new(slot);
        maps.established.set(pin(C, Pin::ESTABLISHED));
        maps.dead = vec![C];
        assert_eq!(maps.after(TCP, Signal::NONE), (B, NONE, (B, Pin::ESTABLISHED)));
        maps.dead = vec![];
        assert_eq!(maps.after(TCP, Signal::NONE), (B, NONE, (B, Pin::ESTABLISHED)));
    }
}

#[test]
fn a_dead_previous_backend_is_nobodys() {
    let mut maps = Maps::new(Slot::moving(A, B));
    maps.dead = vec![A];
    assert_eq!(maps.after(TCP, Signal::NONE), (B, NONE, (B, Pin::ESTABLISHED)));
}

#[test]
fn without_a_backend_that_serves_nothing_is_pinned() {
    let mut maps = Maps::new(Slot::moving(A, B));
    maps.dead = vec![A, B];
    assert_eq!(maps.after(TCP, Signal::NONE), (NO_BACKEND, NONE, NONE));
    maps.slot = Slot::moving(A, NO_BACKEND);
    assert_eq!(maps.after(TCP, Signal::FIRST), (NO_BACKEND, NONE, NONE));
}

#[test]
fn the_last_backend_drains_its_flows_and_gets_no_new_ones() {
    let mut maps = Maps::new(Slot::moving(A, NO_BACKEND));
    assert_eq!(maps.after(TCP, Signal::FIRST), (NO_BACKEND, NONE, NONE));
    assert_eq!(maps.after(TCP, Signal::NONE), (A, NONE, (A, Pin::ESTABLISHED)));
    maps.slot = Slot::settling(NO_BACKEND);
    assert_eq!(maps.after(TCP, Signal::NONE), (A, NONE, (A, Pin::ESTABLISHED)));
}

#[test]
fn a_new_flow_with_the_ports_of_a_closed_one_takes_the_current_backend() {
    for slot in [Slot::moving(A, B), Slot::settling(B)] {
        let maps = Maps::new(slot);
        maps.established.set(pin(C, Pin::CLOSING));
        assert_eq!(maps.after(TCP, Signal::FIRST), (B, NONE, (B, Pin::HANDSHAKE)), "{slot:?}");
    }
}

#[test]
fn a_flow_that_there_is_no_room_for_stays_among_the_young() {
    let mut maps = Maps::new(Slot::moving(A, B));
    maps.full = true;
    maps.after(TCP, Signal::FIRST);
    assert_eq!(maps.after(TCP, Signal::NONE), (B, (B, Pin::ESTABLISHED), NONE));
    assert_eq!(maps.overflows.get(), 1);
    maps.full = false;
    assert_eq!(maps.after(TCP, Signal::NONE), (B, NONE, (B, Pin::ESTABLISHED)));
}

#[test]
fn an_old_flow_that_there_is_no_room_for_is_counted() {
    let mut maps = Maps::new(Slot::moving(A, B));
    maps.full = true;
    assert_eq!(maps.after(TCP, Signal::NONE), (A, NONE, NONE));
    assert_eq!(maps.overflows.get(), 1);
}

#[test]
fn while_the_tables_are_crowded_flows_begin_at_the_previous_backend_without_a_pin() {
    let mut maps = Maps::new(Slot::moving(A, B));
    maps.crowded = true;
    assert_eq!(maps.after(TCP, Signal::FIRST), (A, NONE, NONE));
    assert_eq!(maps.after(UDP, Signal::NONE), (A, NONE, NONE));
    assert_eq!(
        maps.after(TCP, Signal::NONE),
        (A, NONE, (A, Pin::ESTABLISHED)),
        "an old flow is pinned, if there is room"
    );

    let mut maps = Maps::new(Slot::moving(A, B));
    maps.crowded = true;
    maps.dead = vec![A];
    assert_eq!(maps.after(TCP, Signal::FIRST), (B, (B, Pin::HANDSHAKE), NONE));

    let mut maps = Maps::new(Slot::moving(A, NO_BACKEND));
    maps.crowded = true;
    assert_eq!(maps.after(TCP, Signal::FIRST), (NO_BACKEND, NONE, NONE), "no backend is wanted for new flows");
}

#[test]
fn a_pin_whose_element_became_another_flows_is_none() {
    let maps = Maps::new(Slot::settling(B));
    maps.established.set(Pin { check: 78, ..pin(C, Pin::ESTABLISHED) });
    assert_eq!(maps.after(TCP, Signal::NONE).0, B);
}

#[test]
fn what_only_tells_of_a_flow_leaves_no_trace() {
    let maps = Maps::new(Slot::moving(A, B));
    assert_eq!(maps.after(TCP, Signal::RELATED), (A, NONE, NONE));
    maps.young.set(pin(B, Pin::HANDSHAKE));
    assert_eq!(maps.after(TCP, Signal::RELATED), (B, (B, Pin::HANDSHAKE), NONE));
    assert_eq!(maps.young.get().seen, Moment(1));
}

#[test]
fn the_rule_over_all_facts() {
    let signals = [Signal::NONE, Signal::FIRST, Signal::CLOSING];
    let tables = [None, Some(Table::Young), Some(Table::Established)];
    let states = [Pin::HANDSHAKE, Pin::ESTABLISHED, Pin::CLOSING, Pin::UDP];
    let slots = [Slot::moving(A, B), Slot::moving(A, NO_BACKEND), Slot::settling(B), Slot::settling(NO_BACKEND)];
    let mut cases = 0;
    for (signal, table, state, slot, bits) in signals.into_iter().flat_map(|signal| {
        tables.into_iter().flat_map(move |table| {
            states.into_iter().flat_map(move |state| {
                slots.into_iter().flat_map(move |slot| (0..16).map(move |bits| (signal, table, state, slot, bits)))
            })
        })
    }) {
        let pin = if table.is_some() { pin(C, state) } else { Pin::NONE };
        let facts = Facts {
            slot,
            table,
            pin,
            pinned_serves: bits & 1 != 0 && table.is_some(),
            previous_serves: bits & 2 != 0 && slot.is_moving(),
            current: slot.current(),
            current_serves: bits & 4 != 0 && slot.current() != NO_BACKEND,
            crowded: bits & 8 != 0,
        };
        for protocol in [TCP, UDP] {
            let decision = decide(&packet(protocol, signal), &facts);
            let case = std::format!("{protocol} {signal:?} {facts:?} gives {decision:?}");
            let serves = match decision.backend {
                A => facts.previous_serves,
                B => facts.current_serves,
                C => facts.pinned_serves,
                _ => decision.write == Write::Nothing,
            };
            assert!(serves, "only who serves gets a packet, and only who has it is pinned: {case}");
            let begins_anew = signal == Signal::FIRST && pin.state == Pin::CLOSING;
            assert!(!facts.pinned_serves || begins_anew || decision.backend == C, "a pin is followed: {case}");
            assert!(
                decision.backend != A || signal != Signal::FIRST || (facts.crowded && decision.write == Write::Nothing),
                "a new flow to the previous: {case}"
            );
            assert!(table.is_some() || slot.is_moving() || decision.write == Write::Nothing, "a trace: {case}");
            assert!(
                signal != Signal::FIRST || table == Some(Table::Established) || decision.write != Write::Established,
                "a first packet among the established: {case}"
            );
            assert!(
                table.is_none()
                    || decision.backend == C
                    || decision.write != Write::Nothing
                    || !serves
                    || decision.backend == NO_BACKEND,
                "a pin that was not followed stays in force: {case}"
            );
            cases += 1;
        }
    }
    assert_eq!(cases, 3 * 3 * 4 * 4 * 16 * 2);
}
