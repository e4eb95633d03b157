//! The table by itself: in order, and with two packets and the agent at work in it at once, in every order of their accesses.
//!
//! An operation is run again for each of its accesses: what it was told before is told again, the next access is made, and what
//! would come after that is not done. As the code does the same when it is told the same, that is one step of it.

extern crate std;
use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::vec;
use std::vec::Vec;

use super::*;
use crate::limits::PIN_PLACES;
use crate::slot::NO_BACKEND;

/// A flow, by its number: all have the home 0, and marks by the number.
type Key = u8;

fn sought(key: Key) -> Sought {
    Sought::new(u64::from(key) << 40)
}

const fn pin(key: Key, backend: u16) -> Pin {
    Pin { backend, state: Pin::ESTABLISHED, reserved: 0, check: key as u32, seen: Moment(0), slot: 0 }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    mark: u32,
    key: Key,
    pin: Pin,
}

/// The places of one home, and the map of those that found none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Table {
    places: Vec<Place>,
    reach: u32,
    more: BTreeMap<Key, u16>,
}

impl Table {
    /// A table in which only these places are free; the others are another flow's.
    fn with_free(free: &[u32]) -> Self {
        let mark = |at| if free.contains(&at) { FREE } else { sought(99).mark };
        let place = |at| Place { mark: mark(at), key: 99, pin: pin(99, 99) };
        Self { places: (0..MOST_PROBES).map(place).collect(), reach: 0, more: BTreeMap::new() }
    }
}

/// What an access gave.
type Answer = u64;

/// A table as an operation sees it that has made some accesses already, and is let make one more.
struct Steps<'a> {
    table: RefCell<&'a mut Table>,
    told: RefCell<&'a mut Vec<Answer>>,
    known: usize,
    next: Cell<usize>,
}

impl<'a> Steps<'a> {
    fn new(table: &'a mut Table, told: &'a mut Vec<Answer>) -> Self {
        let known = told.len();
        Self { table: RefCell::new(table), told: RefCell::new(told), known, next: Cell::new(0) }
    }

    fn access(&self, make: impl FnOnce(&mut Table) -> Answer) -> Answer {
        let index = self.next.replace(self.next.get() + 1);
        let mut told = self.told.borrow_mut();
        if index == self.known {
            told.push(make(&mut self.table.borrow_mut()));
        }
        told.get(index).copied().unwrap_or(0)
    }

    /// True if the operation has made all its accesses.
    fn is_through(&self) -> bool {
        self.next.get() <= self.known + 1
    }
}

impl Places for Steps<'_> {
    type Key = Key;

    fn mark(&self, at: u32) -> u32 {
        self.access(|table| table.places[at as usize].mark.into()) as u32
    }

    fn is_of(&self, at: u32, key: Key) -> bool {
        self.access(|table| (table.places[at as usize].key == key).into()) != 0
    }

    fn reach(&self, _: u32) -> u32 {
        self.access(|table| table.reach.into()) as u32
    }

    fn extend(&self, _: u32, reach: u32) {
        self.access(|table| {
            table.reach |= reach;
            0
        });
    }

    fn claim(&self, at: u32, claimed: u32) -> bool {
        let claimed = self.access(|table| {
            let mark = &mut table.places[at as usize].mark;
            let is_free = *mark == FREE;
            if is_free {
                *mark = claimed;
            }
            is_free.into()
        });
        claimed != 0
    }

    fn write(&self, at: u32, key: Key, pin: &Pin) {
        // Two accesses.
        self.renew(at, pin);
        self.access(|table| {
            table.places[at as usize].key = key;
            0
        });
    }

    fn renew(&self, at: u32, pin: &Pin) {
        self.access(|table| {
            table.places[at as usize].pin = *pin;
            0
        });
    }

    fn publish(&self, at: u32, mark: u32) {
        self.access(|table| {
            table.places[at as usize].mark = mark;
            0
        });
    }

    fn is_more(&self, key: Key) -> bool {
        self.access(|table| table.more.contains_key(&key).into()) != 0
    }

    fn insert_more(&self, key: Key, pin: &Pin) -> bool {
        self.access(|table| {
            table.more.insert(key, pin.backend);
            1
        }) != 0
    }

    fn find_behind(&self, sought: Sought, key: Key) -> Found {
        find_behind(sought, key, self)
    }
}

/// What a packet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Work {
    /// Looks for the pin of a flow.
    Look(Key),
    /// Pins a flow to a backend.
    Pin(Key, u16),
}

/// A packet: what it has to do, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Packet {
    todo: Vec<Work>,
    told: Vec<Answer>,
    /// The pin that a look found, if the pin is in the table at that time and not read yet.
    found: Option<Found>,
    /// Places that were withdrawn since what it does began: not free before it is through.
    rest: Vec<u32>,
    /// The flow was pinned when what it does began, and all the while since.
    is_promised: bool,
}

/// The pin that a look leads to: [`NO_BACKEND`] if there is none, or it is another flow's.
fn read(table: &Table, key: Key, found: Found) -> u16 {
    match found {
        Found::Here(at) => {
            let pin = table.places[at as usize].pin;
            if pin.check == u32::from(key) { pin.backend } else { NO_BACKEND }
        }
        Found::More => table.more.get(&key).copied().unwrap_or(NO_BACKEND),
        Found::Nowhere => NO_BACKEND,
    }
}

/// Two packets and the agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    table: Table,
    packets: Vec<Packet>,
    /// Flows that the agent is to take out.
    out: Vec<Key>,
    /// What was found of each flow by a look, one after the other.
    seen: Vec<(Key, u16)>,
    /// Flows that were pinned, and the agent did not take out since.
    pinned: Vec<Key>,
}

impl World {
    fn new(table: Table, works: &[&[Work]], out: &[Key]) -> Self {
        let packet = |work: &&[Work]| Packet {
            todo: work.to_vec(),
            told: vec![],
            found: None,
            rest: vec![],
            is_promised: false,
        };
        let packets = works.iter().map(packet).collect();
        Self { table, packets, out: out.to_vec(), seen: vec![], pinned: vec![] }
    }

    /// The next step of a packet. False if it has nothing to do.
    fn step(&mut self, number: usize) -> bool {
        let packet = &mut self.packets[number];
        let Some(work) = packet.todo.first().copied() else { return false };
        let (Work::Look(flow) | Work::Pin(flow, _)) = work;
        if packet.told.is_empty() {
            packet.is_promised = self.pinned.contains(&flow);
        }
        let through = match (work, packet.found) {
            (Work::Look(key), Some(found)) => {
                let backend = read(&self.table, key, found);
                assert!(backend != NO_BACKEND || !packet.is_promised, "flow {key} is pinned and not found");
                self.seen.push((key, backend));
                true
            }
            (Work::Look(key), None) => {
                let steps = Steps::new(&mut self.table, &mut packet.told);
                let found = find(sought(key), key, &steps);
                if steps.is_through() {
                    packet.found = Some(found);
                }
                false
            }
            (Work::Pin(key, backend), _) => {
                let steps = Steps::new(&mut self.table, &mut packet.told);
                insert(sought(key), key, &pin(key, backend), &steps);
                let through = steps.is_through();
                if through {
                    self.pinned.push(key);
                }
                through
            }
        };
        if through {
            packet.todo.remove(0);
            packet.told.clear();
            packet.found = None;
            packet.rest.clear();
        }
        true
    }

    /// The agent takes a place from the next flow that it is to take out, the one that packets follow at last. False if there is none.
    fn take_out(&mut self) -> bool {
        let Some(key) = self.out.last().copied() else { return false };
        self.pinned.retain(|pinned| *pinned != key);
        for packet in &mut self.packets {
            let is_of = matches!(packet.todo.first(), Some(Work::Look(flow) | Work::Pin(flow, _)) if *flow == key);
            packet.is_promised &= !is_of;
        }
        let is_its = |place: &Place| place.mark == sought(key).mark && place.key == key;
        if let Some(at) = self.table.places.iter().rposition(is_its) {
            self.table.places[at].mark = withdrawn(Moment(0));
            for packet in self.packets.iter_mut().filter(|packet| !packet.told.is_empty()) {
                packet.rest.push(at as u32);
            }
        } else {
            self.table.more.remove(&key);
            self.out.pop();
        }
        true
    }

    /// The agent gives a place back that nobody can be at any more. False if there is none.
    fn give_back(&mut self) -> bool {
        let rests = |at: u32| self.packets.iter().any(|packet| packet.rest.contains(&at));
        let at = (0..).zip(&self.table.places).find(|(at, place)| place.mark & STATE == WITHDRAWN && !rests(*at));
        let Some((at, _)) = at else { return false };
        self.table.places[at as usize].mark = FREE;
        true
    }
}

/// Goes through all orders, and hands over each world in which nothing is left to do.
fn explore(world: World, mut at_the_end: impl FnMut(&World)) -> usize {
    let mut known = HashSet::new();
    let mut open = vec![Box::new(world)];
    while let Some(world) = open.pop() {
        let mut is_end = true;
        for choice in 0..world.packets.len() + 2 {
            let mut next = world.clone();
            let did = match choice.checked_sub(next.packets.len()) {
                None => next.step(choice),
                Some(0) => next.take_out(),
                Some(_) => next.give_back(),
            };
            if did {
                is_end = false;
                if known.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
        if is_end {
            at_the_end(&world);
        }
    }
    known.len()
}

/// What a look finds when nothing else is at work.
fn look(table: &Table, key: Key) -> u16 {
    let mut told = Vec::new();
    let mut table = table.clone();
    loop {
        let steps = Steps::new(&mut table, &mut told);
        let found = find(sought(key), key, &steps);
        if steps.is_through() {
            return read(&table, key, found);
        }
    }
}

use Work::{Look, Pin as Put};

#[test]
fn two_packets_that_pin_one_flow_at_once_agree_on_a_pin_that_is_followed() {
    for free in [&[0, 1, 2][..], &[3, 7], &[5], &[]] {
        let works: [&[Work]; 2] = [&[Put(1, 10), Look(1), Look(1)], &[Put(1, 20), Look(1), Put(1, 20)]];
        let mut ends = 0;
        explore(World::new(Table::with_free(free), &works, &[]), |world| {
            ends += 1;
            assert!([10, 20].contains(&look(&world.table, 1)), "{world:?}");
            assert!(world.seen.iter().all(|seen| [(1, 10), (1, 20)].contains(seen)), "{world:?}");
        });
        assert!(ends > 0);
    }
}

#[test]
fn packets_of_two_flows_take_two_places_and_each_finds_its_own() {
    for free in [&[0, 1][..], &[4], &[]] {
        let works: [&[Work]; 2] = [&[Put(1, 10), Look(1), Put(1, 11), Look(1)], &[Look(2), Put(2, 20), Look(2)]];
        explore(World::new(Table::with_free(free), &works, &[]), |world| {
            assert_eq!((look(&world.table, 1), look(&world.table, 2)), (11, 20), "{world:?}");
            let seen = |key| world.seen.iter().filter(move |seen| seen.0 == key).map(|seen| seen.1);
            assert!(seen(1).eq([10, 11]) && seen(2).eq([NO_BACKEND, 20]), "{world:?}");
        });
    }
}

#[test]
fn a_flow_that_the_agent_takes_out_while_it_is_pinned_anew_is_whole_or_gone() {
    for free in [&[0][..], &[2, 5], &[]] {
        let works: [&[Work]; 2] = [&[Put(1, 10), Put(1, 11), Look(1)], &[Put(2, 20), Look(2), Put(2, 21)]];
        let mut gone = 0;
        explore(World::new(Table::with_free(free), &works, &[1]), |world| {
            // In the table, or taken out after it was written last.
            let backend = look(&world.table, 1);
            assert!(backend == 11 || (backend == NO_BACKEND && !world.pinned.contains(&1)), "{world:?}");
            gone += usize::from(backend == NO_BACKEND);
            assert_eq!(look(&world.table, 2), 21, "{world:?}");
        });
        assert!(gone > 0, "the agent was never last");
    }
}

#[test]
fn a_pin_that_found_no_place_stays_where_it_is_when_there_is_one() {
    let works: [&[Work]; 2] = [&[Put(1, 10), Put(1, 11), Put(1, 12), Look(1)], &[Look(1)]];
    let mut table = Table::with_free(&[]);
    table.places[2] = Place { mark: sought(98).mark, key: 98, pin: pin(98, 98) };
    explore(World::new(table, &works, &[98]), |world| {
        assert_eq!(look(&world.table, 1), 12, "{world:?}");
        assert!(world.table.more.get(&1).is_none_or(|backend| *backend == 12), "{world:?}");
    });
}

#[test]
fn a_home_is_made_of_the_bits_that_do_not_choose_the_slot() {
    let homes: HashSet<u32> = (0..1_000).map(|low| Sought::new(0xabcd_ef00_0000_0000 | low << 7).home).collect();
    assert!(homes.len() > 900, "{} homes of 1,000 flows of one slot", homes.len());
    let all = (0..PIN_PLACES).map(|hash| Sought::new(u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    assert!(all.into_iter().all(|sought| is_published(sought.mark) && sought.home < PIN_PLACES));
}

#[test]
fn a_place_rests_for_the_grace_also_when_time_wraps() {
    for since in [0, 5, u32::MAX >> 2, u32::MAX] {
        let mark = withdrawn(Moment(since));
        let later = |ticks| Moment(since.wrapping_add(ticks));
        assert!(!is_published(mark) && mark != FREE);
        assert!(!has_rested(mark, later(0), 8) && !has_rested(mark, later(8), 8) && has_rested(mark, later(9), 8));
        assert!(has_rested(mark, later(1_000_000), 8));
    }
    assert!(!has_rested(FREE, Moment(1_000), 8) && !has_rested(sought(1).mark, Moment(1_000), 8));
}

#[test]
fn what_was_found_goes_through_a_register() {
    for found in [Found::Here(0), Found::Here(PIN_PLACES - 1), Found::More, Found::Nowhere] {
        assert_eq!(Found::from_bits(found.to_bits()), found);
    }
}
