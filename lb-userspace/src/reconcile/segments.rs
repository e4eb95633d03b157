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
    let mut taken: Vec<u16> = held.segments.keys().chain(held.egress.keys()).copied().collect();
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
        plan.add(name, attached.ifindex, segment, held, &mut taken)?;
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
            plan.add(name, link.ifindex, segment, held, &mut taken)?;
        }
    }
    taken.sort_unstable();
    taken.dedup();
    let unused = taken.into_iter().filter(|index| !plan.by_interface.values().any(|used| used == index));
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
        held: &Held,
        taken: &mut Vec<u16>,
    ) -> Result<(), Fault> {
        let index = match held_segment(held, segment.ifindex, segment.vlan) {
            Some((index, _)) => index,
            None => (0..held.sizes.segments).find(|index| !taken.contains(index)).ok_or_else(|| {
                Fault::unavailable(format!("there is no free segment for interface {name}; detach another interface"))
            })?,
        };
        taken.push(index);
        self.by_interface.insert(ifindex, index);
        // The kernel itself takes an interface that goes out of the egress map, so both are compared.
        if held.segments.get(&index) != Some(&segment) || held.egress.get(&index) != Some(&segment.ifindex) {
            self.set.push(Change::SetSegment { index, segment });
        }
        Ok(())
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
