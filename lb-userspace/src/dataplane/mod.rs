//! The data plane in the kernel: the only home of aya.
//!
//! Maps and links are pinned on a BPF file system, in a folder of the layout's version, so that forwarding goes on
//! without the agent and the next agent finds all as it was:
//!
//! ```text
//! /sys/fs/bpf/drlb/v4/FORWARDING, SLOTS, …   the maps
//!                     links/eth1             the link that keeps the program on eth1
//!                     generic/eth2           marks that eth2 runs in generic mode
//! ```

mod batch;
mod bind;
mod counters;
mod detach;
mod events;
mod fault;
mod forwarding;
mod links;
mod maps;
mod mmap;
mod object;
mod pins;
mod preflight;
mod probes;
mod room;
mod specs;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lb_common::address::MacAddr;
use lb_common::maps::{LAYOUT, PINNED};
use lb_common::outcome::{Counter, Outcome, Refused};
use lb_common::session::{Session, SessionKey};
use lb_common::track::pin::{Moment, Pin, PinKey, Table};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::time::{ClockId, clock_gettime};

pub use bind::{Bound, Constants};
pub use counters::CounterMap;
pub use events::EventRing;
pub use forwarding::ForwardingMap;
pub use maps::Maps;
pub use object::{Instance, OBJECT, Run};
pub use pins::PinTable;
pub use probes::Probes;
pub use table::MatchTable;

use crate::model::Fault;
use crate::reconcile::{Attached, Batch, Change, DataPlane, Held, LinkChange, Station};
use fault::pin_fault;
use links::Links;

/// The data plane of one balancer.
pub struct Dataplane {
    pin_dir: PathBuf,
    /// The folder of the layout's version.
    folder: PathBuf,
    maps: Maps,
    links: Links,
    events: Option<EventRing>,
}

impl Dataplane {
    /// Opens the data plane that is pinned in a folder, and makes what is not there. Nothing of what is there changes.
    ///
    /// There is room for this many slots, or for more if the map of slots that is there has more; if it has less, one with more
    /// takes its place, see `room.rs`.
    ///
    /// The program is loaded once, so that a kernel that would refuse it does so now and not at the first `attach`. It is loaded
    /// for the first of these interfaces that is there, as the kernel takes most of a second to verify it: the first of them to
    /// be attached, with that MAC, gets this one.
    ///
    /// # Errors
    /// The kernel is too old, rights are missing, the folder is not on a BPF file system, or what is pinned there is
    /// not of this version of drlb.
    pub fn open(pin_dir: &Path, slots: u32, interfaces: &[String]) -> Result<Self, Fault> {
        preflight::check()?;
        let folder = pin_dir.join(LAYOUT);
        let fresh = !folder.exists();
        preflight::pin_folder(&folder)?;
        let opened = Self::open_maps(&folder, slots, first_of(interfaces));
        if opened.is_err() && fresh {
            // Leave nothing of a data plane that does not work.
            let _ = remove_pins(pin_dir, &folder);
        }
        let (maps, events, links) = opened?;
        Ok(Self { pin_dir: pin_dir.to_owned(), folder, maps, links, events: Some(events) })
    }

    fn open_maps(folder: &Path, slots: u32, first: Option<Constants>) -> Result<(Maps, EventRing, Links), Fault> {
        specs::check_pinned(folder)?;
        room::make(folder, slots)?;
        let mut links = Links::open(folder)?;
        let mut instance = Instance::with_room(folder, slots, first.unwrap_or(NOWHERE))?;
        // Once more: what was made just now must be as expected, too.
        specs::check_pinned(folder)?;
        let opened = (Maps::take(instance.maps())?, EventRing::take(instance.maps())?);
        if let Some(first) = first {
            links.keep(first, instance);
        }
        let (maps, events) = opened;
        Ok((maps, events, links))
    }

    /// Loads the program for an interface, on these maps.
    ///
    /// # Errors
    /// The kernel refused it.
    pub fn load(&self, constants: Constants) -> Result<Instance, Fault> {
        Instance::load(&self.folder, constants)
    }

    /// What the program tells of, to be read by one reader. `None` after the first time.
    pub const fn take_events(&mut self) -> Option<EventRing> {
        self.events.take()
    }

    /// What the program knows of probes of health checks.
    ///
    /// # Errors
    /// The kernel refused it.
    pub fn probes(&self) -> Result<Probes, Fault> {
        Probes::open(&self.folder)
    }

    /// The maps.
    pub fn maps(&mut self) -> &mut Maps {
        &mut self.maps
    }
}

impl DataPlane for Dataplane {
    fn read(&mut self) -> Result<Held, Fault> {
        let mut held = self.maps.read()?;
        held.attached = self.attached()?;
        Ok(held)
    }

    fn attached(&mut self) -> Result<BTreeMap<String, Attached>, Fault> {
        self.links.read()
    }

    fn change(&mut self, change: &Change) -> Result<(), Fault> {
        self.maps.change(change)
    }

    fn link(&mut self, change: &LinkChange) -> Result<Option<Attached>, Fault> {
        match change {
            LinkChange::Attach { name, ifindex, station, mode } => {
                self.links.attach(name, *ifindex, *station, *mode).map(Some)
            }
            LinkChange::Renew { name, station } => self.links.renew(name, *station),
            LinkChange::Detach { name } => self.links.detach(name).map(|()| None),
        }
    }

    fn interface_exists(&self, name: &str) -> bool {
        nix::net::if_::if_nametoindex(name).is_ok()
    }

    fn listener_counter(&self, id: u32) -> Result<Counter, Fault> {
        Ok(self.maps.counters().listener(id))
    }

    fn listener_refusals(&self, id: u32) -> Result<Refused, Fault> {
        self.maps.listener_refusals(id)
    }

    fn backend_counter(&self, place: u32) -> Result<Counter, Fault> {
        Ok(self.maps.counters().backend(place))
    }

    fn outcome_counter(&self, outcome: Outcome) -> Result<Counter, Fault> {
        Ok(self.maps.counters().outcome(outcome))
    }

    fn now(&self) -> Moment {
        // The clock of `bpf_ktime_get_coarse_ns`. It cannot fail for a clock that every kernel has.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(std::time::Duration::from).unwrap_or_default();
        Moment::from_nanos(now.as_nanos() as u64)
    }

    fn pins(&mut self, table: Table, from: Option<u32>) -> Result<Batch<PinKey, Pin>, Fault> {
        let now = self.now();
        self.maps.pins(table, from, now)
    }

    fn remove_pins(&mut self, table: Table, keys: &[PinKey]) -> Result<(), Fault> {
        let now = self.now();
        self.maps.remove_pins(table, keys, now)
    }

    fn sessions(&mut self, from: Option<u32>) -> Result<Batch<SessionKey, Session>, Fault> {
        self.maps.sessions(from)
    }

    fn remove_sessions(&mut self, keys: &[SessionKey]) -> Result<(), Fault> {
        self.maps.remove_sessions(keys)
    }

    fn set_flows(&mut self, place: u32, flows: u32) {
        self.maps.set_flows(place, flows);
    }

    fn set_listener_flows(&mut self, id: u32, flows: u64) {
        self.maps.set_listener_flows(id, flows);
    }

    fn listener_flows(&self, id: u32) -> u64 {
        self.maps.listener_flows(id)
    }

    fn pin_overflows(&self) -> Result<u64, Fault> {
        self.maps.pin_overflows()
    }

    fn pins_are_crowded(&self) -> bool {
        self.maps.pins_are_crowded()
    }

    fn mark_pins_crowded(&mut self, crowded: bool) {
        self.maps.mark_pins_crowded(crowded);
    }

    fn remove_maps(&mut self) -> Result<(), Fault> {
        remove_pins(&self.pin_dir, &self.folder)
    }
}

/// An instance that is for no interface.
const NOWHERE: Constants = Constants::new(0, Station { mac: MacAddr([0; 6]), home: None });

/// An instance for the first of some interfaces that is there.
fn first_of(interfaces: &[String]) -> Option<Constants> {
    // What cannot be read is loaded for later.
    let addresses: Vec<_> = getifaddrs().ok()?.collect();
    let instance_for = |address: &InterfaceAddress| {
        let link = address.address.as_ref()?.as_link_addr()?;
        // The first to be attached nearly always has the first segment.
        let station = Station { mac: MacAddr(link.addr()?), home: Some(0) };
        Some(Constants::new(u32::try_from(link.ifindex()).ok()?, station))
    };
    let first =
        |name: &String| addresses.iter().filter(|address| address.interface_name == *name).find_map(instance_for);
    interfaces.iter().find_map(first)
}

/// Removes the pinned maps and the folders, in which there must be no link.
fn remove_pins(pin_dir: &Path, folder: &Path) -> Result<(), Fault> {
    let removed = |result: io::Result<()>, path: &Path| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(pin_fault(path, "removed", &error)),
        _ => Ok(()),
    };
    for name in PINNED {
        let path = folder.join(name);
        removed(fs::remove_file(&path), &path)?;
    }
    for path in links::folders(folder).iter().map(PathBuf::as_path).chain([folder]) {
        removed(fs::remove_dir(path), path)?;
    }
    // The pin folder itself may be the root of a file system, or hold something of another version.
    let _ = fs::remove_dir(pin_dir);
    Ok(())
}

#[cfg(test)]
mod tests;
