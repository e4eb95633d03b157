//! drlb's way, by the code that the program and the agent run.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use lb_common::protocol;
use lb_common::slot::Slot;
use lb_common::track::change::{Watch, retarget};
use lb_common::track::follow::{self, Memory, follow};
use lb_common::track::pin::{Moment, Pin, Table, Timeouts, Timing};
use lb_common::track::sweep::{Fill, Sweep, is_crowded, is_done};

use super::lru::Lru;
use super::pool::SLOTS;
use super::{Packet, Tracking, moment};

/// Just enough tracking.
#[derive(Debug)]
pub(super) struct JustEnough {
    name: &'static str,
    timing: Timing,
    slots: Vec<Slot>,
    up: Vec<bool>,
    watches: BTreeMap<u32, Watch>,
    pins: RefCell<Pins>,
    crowded_at: Option<Moment>,
}

#[derive(Debug)]
struct Pins {
    young: Lru<Pin>,
    established: HashMap<u64, Pin>,
    room: usize,
    crowded: bool,
}

impl JustEnough {
    /// With room for so many established flows, and for a quarter as many young ones; `idle` is in seconds.
    pub(super) fn new(name: &'static str, idle: u64, room: usize) -> Self {
        let timeouts = Timeouts { established: Moment::ticks(idle * 1_000), ..Timeouts::DEFAULT };
        let closing = timeouts.closing.min(timeouts.established);
        Self {
            name,
            timing: Timing { timeouts: Timeouts { closing, ..timeouts }, grace: Timing::GRACE },
            slots: vec![Slot::EMPTY; SLOTS as usize],
            up: vec![],
            watches: BTreeMap::new(),
            pins: RefCell::new(Pins { young: Lru::new(room / 4), established: HashMap::new(), room, crowded: false }),
            crowded_at: None,
        }
    }

    fn write(&mut self, slot: u32, word: Slot, now: Moment) {
        self.slots[slot as usize] = word;
        if word.is_steady() {
            self.watches.remove(&slot);
        } else {
            self.watches.entry(slot).or_insert(Watch::new(word, now)).changed(word, now);
        }
    }

    fn sweep(&mut self, now: Moment) {
        let sweep = Sweep { began: now, now, timing: &self.timing };
        let mut found: HashMap<u32, u32> = HashMap::new();
        let pins = self.pins.get_mut();
        let mut judge = |pin: &Pin, superseded| {
            *found.entry(pin.slot).or_default() += 1;
            is_done(pin, superseded, self.watches.get(&pin.slot), &sweep)
        };
        let established = &mut pins.established;
        pins.young.sweep(|flow, pin| judge(pin, established.contains_key(&flow)));
        established.retain(|_, pin| !judge(pin, false));
        let steady: Vec<_> = (self.watches.iter_mut())
            .filter_map(|(slot, watch)| {
                let seen = found.get(slot).copied().unwrap_or(0);
                Some((*slot, watch.swept(now, seen, now, self.timing.grace)?))
            })
            .collect();
        for (slot, word) in steady {
            self.write(slot, word, now);
        }
    }
}

impl Tracking for JustEnough {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn pool_changed(&mut self, table: &[u16], up: &[bool], now: u64) {
        self.up = up.to_vec();
        for (slot, wanted) in table.iter().enumerate() {
            let word =
                retarget(self.slots[slot], *wanted, |backend| up.get(usize::from(backend)).is_some_and(|up| *up));
            if word != self.slots[slot] {
                self.write(slot as u32, word, moment(now));
            }
        }
    }

    fn packet(&mut self, packet: &Packet, now: u64) -> u16 {
        let maps = Maps { way: self, packet, now: moment(now) };
        let check = packet.flow as u32;
        follow(&follow::Packet { slot: packet.slot, check, protocol: protocol::TCP, signal: packet.signal }, &maps)
    }

    fn second(&mut self, now: u64) {
        let now = moment(now);
        let pins = self.pins.get_mut();
        let room = pins.room as u64;
        let young = Fill { pins: pins.young.len() as u64, room: room / 4 };
        let was = pins.crowded;
        pins.crowded = is_crowded(was, young, Fill { pins: pins.established.len() as u64, room });
        if was || pins.crowded {
            self.crowded_at = Some(now);
        }
        let idle = self.timing.timeouts.longest(protocol::TCP);
        let settled: Vec<_> = (self.watches.iter())
            .filter_map(|(slot, watch)| {
                Some((*slot, watch.settles(now, idle, self.timing.grace, self.crowded_at, None)?))
            })
            .collect();
        for (slot, word) in settled {
            self.write(slot, word, now);
        }
        self.sweep(now);
    }

    fn pins(&self) -> usize {
        let pins = self.pins.borrow();
        pins.young.len() + pins.established.len()
    }
}

/// The maps, as a packet sees them.
struct Maps<'a> {
    way: &'a JustEnough,
    packet: &'a Packet,
    now: Moment,
}

impl Memory for Maps<'_> {
    fn slot(&self) -> Slot {
        self.way.slots[self.packet.slot as usize]
    }

    fn serves(&self, backend: u16) -> bool {
        self.way.up.get(usize::from(backend)).is_some_and(|up| *up)
    }

    fn look(&self, table: Table, now: Moment, touch: bool) -> Pin {
        let pins = &mut *self.way.pins.borrow_mut();
        let pin = match table {
            Table::Young => pins.young.get(self.packet.flow),
            Table::Established => pins.established.get_mut(&self.packet.flow),
        };
        let Some(pin) = pin else { return Pin::NONE };
        let found = *pin;
        if touch {
            pin.seen = now;
        }
        found
    }

    fn insert(&self, table: Table, pin: &Pin) -> bool {
        let pins = &mut *self.way.pins.borrow_mut();
        match table {
            Table::Young => pins.young.insert(self.packet.flow, *pin),
            Table::Established => {
                let known = pins.established.contains_key(&self.packet.flow);
                if !known && pins.established.len() >= pins.room {
                    return false;
                }
                pins.established.insert(self.packet.flow, *pin);
            }
        }
        true
    }

    fn remove_young(&self) {
        self.way.pins.borrow_mut().young.remove(self.packet.flow);
    }

    fn overflowed(&self) {
        self.way.pins.borrow_mut().crowded = true;
    }

    fn is_crowded(&self) -> bool {
        self.way.pins.borrow().crowded
    }

    fn now(&self) -> Moment {
        self.now
    }
}
