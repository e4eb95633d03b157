//! The segments that backends can stand on: the interfaces that the program is attached to, and their VLANs.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::backend::Segment;

use super::change::Change;
use super::held::Held;
use crate::model::{Desired, Fault};
use crate::neighbour::{NetworkView, Vlan};

/// The index of the segment of each attached interface, and of each VLAN, by the interface's index.
pub type SegmentsByInterface = BTreeMap<u32, u16>;

/// What changes about the segments.
pub(super) struct SegmentPlan {
    /// The segments as they will be.
    pub(super) by_interface: SegmentsByInterface,
    /// To do before backends are placed on them.
    pub(super) set: Vec<Change>,
    /// To do when no backend stands on them any more.
    pub(super) clear: Vec<Change>,
}

/// Plans the segments: one for each interface that is wanted and attached, and one for each of its VLANs that a backend
/// stands in. A VLAN that drlb is attached to itself is an interface like any other.
pub(super) fn plan_segments(desired: &Desired, view: &NetworkView, held: &Held) -> Result<SegmentPlan, Fault> {
    let mut plan = SegmentPlan { by_interface: BTreeMap::new(), set: Vec::new(), clear: Vec::new() };
    let mut indexes = Indexes::of(held);
    for name in desired.interfaces.keys() {
        let Some(attached) = held.attached.get(name) else { continue };
        let mac = match view.links.get(name) {
            Some(link) if link.ifindex == attached.ifindex => link.mac,
            Some(_) => continue,
            // Not in the picture, but the program is attached: its segment stays as it is.
            None => match held_segment(held, attached.ifindex, 0) {
                Some((_, segment)) => segment.mac,
                None => continue,
            },
        };
        let segment = Segment::new(attached.ifindex, mac, 0);
        let index = indexes.home(attached.ifindex, attached.station.and_then(|station| station.home));
        plan.add(name, attached.ifindex, segment, index, held)?;
    }
    let attached: BTreeSet<u32> = plan.by_interface.keys().copied().collect();
    for (name, link) in &view.links {
        let Some(Vlan { parent, id }) = link.vlan else { continue };
        if !attached.contains(&parent) || attached.contains(&link.ifindex) {
            continue;
        }
        // A segment that is there stays while its VLAN does: after a restart the backends are known only later.
        let is_used =
            held_segment(held, parent, id).is_some() || view.backends.values().any(|reach| reach.is_behind(link));
        if is_used {
            let segment = Segment::new(parent, link.mac, id);
            plan.add(name, link.ifindex, segment, indexes.of_vlan(parent, id), held)?;
        }
    }
    let there: BTreeSet<u16> = held.segments.keys().chain(held.egress.keys()).copied().collect();
    let unused = there.into_iter().filter(|index| !plan.by_interface.values().any(|used| used == index));
    plan.clear = unused.map(|index| Change::ClearSegment { index }).collect();
    Ok(plan)
}

impl SegmentPlan {
    /// Adds the segment of the interface with that name and index.
    fn add(
        &mut self,
        name: &str,
        ifindex: u32,
        segment: Segment,
        index: Option<u16>,
        held: &Held,
    ) -> Result<(), Fault> {
        let index = index.ok_or_else(|| {
            Fault::unavailable(format!("there is no free segment for interface {name}; detach another interface"))
        })?;
        self.by_interface.insert(ifindex, index);
        // The kernel itself takes an interface that goes out of the egress map, so both are compared.
        if held.segments.get(&index) != Some(&segment) || held.egress.get(&index) != Some(&segment.ifindex) {
            self.set.push(Change::SetSegment { index, segment });
        }
        Ok(())
    }
}

/// Gives segments their indexes: those that they have, and new ones to the others.
pub(super) struct Indexes<'a> {
    held: &'a Held,
    taken: BTreeSet<u16>,
}

impl<'a> Indexes<'a> {
    pub(super) fn of(held: &'a Held) -> Self {
        // What a program goes by is nobody else's, even before there is such a segment.
        let homes = held.attached.values().filter_map(|attached| attached.station?.home);
        let taken = held.segments.keys().chain(held.egress.keys()).copied().chain(homes).collect();
        Self { held, taken }
    }

    /// The index of an interface's untagged segment; the program that runs there may have been loaded for one. `None` if there is no
    /// index left.
    pub(super) fn home(&mut self, ifindex: u32, loaded: Option<u16>) -> Option<u16> {
        let free = |index: &u16| !self.held.segments.contains_key(index) && !self.held.egress.contains_key(index);
        let known = held_segment(self.held, ifindex, 0).map(|(index, _)| index).or(loaded.filter(free));
        known.or_else(|| self.next())
    }

    /// The index of the segment of a VLAN.
    fn of_vlan(&mut self, parent: u32, id: u16) -> Option<u16> {
        held_segment(self.held, parent, id).map(|(index, _)| index).or_else(|| self.next())
    }

    fn next(&mut self) -> Option<u16> {
        let index = (0..self.held.sizes.segments).find(|index| !self.taken.contains(index))?;
        self.taken.insert(index);
        Some(index)
    }
}

fn held_segment(held: &Held, ifindex: u32, vlan: u16) -> Option<(u16, &Segment)> {
    let same = |segment: &Segment| segment.ifindex == ifindex && segment.vlan == vlan;
    held.segments.iter().find(|(_, segment)| same(segment)).map(|(index, segment)| (*index, segment))
}

/// The segments that are held, by the interface that backends on them are behind.
#[must_use]
pub fn held_segments(held: &Held, view: &NetworkView) -> SegmentsByInterface {
    let interface_of = |segment: &Segment| match segment.vlan {
        0 => Some(segment.ifindex),
        id => {
            let vlan = Some(Vlan { parent: segment.ifindex, id });
            view.links.values().find(|link| link.vlan == vlan).map(|link| link.ifindex)
        }
    };
    held.segments.iter().filter_map(|(index, segment)| Some((interface_of(segment)?, *index))).collect()
}
