//! A data plane in memory, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use lb_common::outcome::{Counter, Outcome};
use lb_common::slot::{NO_BACKEND, Slot};

use super::{Attached, Change, DataPlane, Held, LinkChange, Sizes};
use crate::model::{AttachMode, Fault, XdpMode};

/// A data plane that a test can look into while the engine has it.
impl DataPlane for Arc<Mutex<Memory>> {
    fn read(&mut self) -> Result<Held, Fault> {
        open(self).read()
    }

    fn attached(&mut self) -> Result<BTreeMap<String, Attached>, Fault> {
        open(self).attached()
    }

    fn change(&mut self, change: &Change) -> Result<(), Fault> {
        open(self).change(change)
    }

    fn link(&mut self, change: &LinkChange) -> Result<Option<Attached>, Fault> {
        open(self).link(change)
    }

    fn interface_exists(&self, name: &str) -> bool {
        open(self).interface_exists(name)
    }

    fn listener_counter(&self, id: u32) -> Result<Counter, Fault> {
        open(self).listener_counter(id)
    }

    fn backend_counter(&self, place: u32) -> Result<Counter, Fault> {
        open(self).backend_counter(place)
    }

    fn outcome_counter(&self, outcome: Outcome) -> Result<Counter, Fault> {
        open(self).outcome_counter(outcome)
    }

    fn remove_pins(&mut self) -> Result<(), Fault> {
        open(self).remove_pins()
    }
}

fn open(memory: &Arc<Mutex<Memory>>) -> MutexGuard<'_, Memory> {
    memory.lock().expect("no test panics while it looks into it")
}

/// Maps and links in memory, which check after each change what a packet could meet.
pub(crate) struct Memory {
    pub(crate) held: Held,
    /// Changes that were made.
    pub(crate) changes: Vec<Change>,
    pub(crate) links: Vec<LinkChange>,
    /// How many more changes succeed before one fails.
    pub(crate) changes_left: Option<usize>,
    /// Interfaces that refuse the program.
    pub(crate) refusing: BTreeSet<String>,
    /// Interfaces that the host has, with their indexes.
    pub(crate) interfaces: BTreeMap<String, u32>,
    pub(crate) pins_removed: bool,
}

impl Memory {
    pub(crate) fn new(sizes: Sizes) -> Self {
        Self {
            held: Held::empty(sizes),
            changes: Vec::new(),
            links: Vec::new(),
            changes_left: None,
            refusing: BTreeSet::new(),
            interfaces: BTreeMap::new(),
            pins_removed: false,
        }
    }

    /// At every moment, a slot that a packet can reach names no backend, or one that has a place and can be reached.
    fn check(&self) {
        for (key, listener) in &self.held.listeners {
            for index in 0..listener.slots_len {
                let slot = self.held.slot(listener.slots_base + index);
                assert_eq!(slot.current(), slot.previous(), "{key:?}, slot {index} is not steady");
                if slot.current() != NO_BACKEND {
                    assert!(u32::from(slot.current()) < listener.backends_len, "{key:?}, slot {index}: {slot:?}");
                    let place = listener.backends_base + u32::from(slot.current());
                    assert!(self.held.owner(place).is_some(), "{key:?}, slot {index} names the free place {place}");
                    assert!(self.held.backend(place).is_reachable(), "{key:?}, slot {index}: {place} is unreachable");
                }
            }
        }
    }
}

impl DataPlane for Memory {
    /// What is read back knows nothing of slots that no listener has, nor of when something was freed.
    fn read(&mut self) -> Result<Held, Fault> {
        let mut read = Held::empty(self.held.sizes);
        read.listeners = self.held.listeners.clone();
        read.vips = self.held.vips.clone();
        read.segments = self.held.segments.clone();
        read.egress = self.held.egress.clone();
        read.attached = self.attached()?;
        for index in 0..read.sizes.slots {
            read.set_slot(index, Slot(0xdead_beef));
        }
        for listener in self.held.listeners.values() {
            for index in listener.slots_base..listener.slots_base + listener.slots_len {
                read.set_slot(index, self.held.slot(index));
            }
        }
        for place in 0..read.sizes.places {
            let owner = self.held.owner(place).unwrap_or(lb_common::backend::BackendOwner::FREE.address);
            let owner = lb_common::backend::BackendOwner { address: owner };
            read.set_place(place, owner, self.held.backend(place));
        }
        Ok(read)
    }

    /// As in the kernel, a link ends with its interface.
    fn attached(&mut self) -> Result<BTreeMap<String, Attached>, Fault> {
        let interfaces = &self.interfaces;
        self.held.attached.retain(|name, attached| interfaces.get(name) == Some(&attached.ifindex));
        Ok(self.held.attached.clone())
    }

    fn change(&mut self, change: &Change) -> Result<(), Fault> {
        match &mut self.changes_left {
            Some(0) => {
                self.changes_left = None;
                return Err(Fault::unavailable("the map is full"));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        match change {
            Change::WriteSlots { base, moves } => {
                let mut seen = BTreeSet::new();
                assert!(moves.iter().all(|(index, _)| seen.insert(index) && base + index < self.held.sizes.slots));
            }
            Change::TakePlace { place, .. } | Change::CopyPlace { to: place, .. } => {
                assert_eq!(self.held.owner(*place), None, "place {place} is taken twice");
            }
            _ => {}
        }
        self.held.change(change);
        self.changes.push(change.clone());
        self.check();
        Ok(())
    }

    fn link(&mut self, change: &LinkChange) -> Result<Option<Attached>, Fault> {
        self.links.push(change.clone());
        match change {
            LinkChange::Attach { name, ifindex, mac, mode } => {
                if self.refusing.contains(name) {
                    return Err(Fault::unavailable(format!("interface {name} has no XDP")));
                }
                let mode = if *mode == AttachMode::Generic { XdpMode::Generic } else { XdpMode::Native };
                let attached = Attached { ifindex: *ifindex, mac: Some(*mac), mode };
                assert_eq!(self.held.attached.insert(name.clone(), attached), None, "{name} is attached twice");
            }
            LinkChange::Renew { name, mac } => {
                self.held.attached.get_mut(name).expect("it is attached").mac = Some(*mac);
            }
            LinkChange::Detach { name } => {
                self.held.attached.remove(name);
            }
        }
        let (LinkChange::Attach { name, .. } | LinkChange::Renew { name, .. } | LinkChange::Detach { name }) = change;
        Ok(self.held.attached.get(name).cloned())
    }

    fn interface_exists(&self, name: &str) -> bool {
        self.interfaces.contains_key(name)
    }

    fn listener_counter(&self, _: u32) -> Result<Counter, Fault> {
        Ok(Counter::default())
    }

    fn backend_counter(&self, _: u32) -> Result<Counter, Fault> {
        Ok(Counter::default())
    }

    fn outcome_counter(&self, _: Outcome) -> Result<Counter, Fault> {
        Ok(Counter::default())
    }

    fn remove_pins(&mut self) -> Result<(), Fault> {
        self.pins_removed = true;
        Ok(())
    }
}
