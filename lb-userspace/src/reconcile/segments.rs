//! The segments that backends can stand on: one for each interface that the program is attached to.

use std::collections::BTreeMap;

use lb_common::backend::Segment;

use super::change::Change;
use super::held::Held;
use crate::model::{Desired, Fault};
use crate::neighbour::NetworkView;

/// The index of the segment of each attached interface, by the interface's index.
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

/// Plans the segments: one for each interface that is wanted, attached and there.
pub(super) fn plan_segments(desired: &Desired, view: &NetworkView, held: &Held) -> Result<SegmentPlan, Fault> {
    let held_index = |ifindex: u32| held.segments.iter().find(|(_, s)| s.ifindex == ifindex).map(|(index, _)| *index);
    let mut plan = SegmentPlan { by_interface: BTreeMap::new(), set: Vec::new(), clear: Vec::new() };
    let mut taken: Vec<u16> = held.segments.keys().chain(held.egress.keys()).copied().collect();
    for (name, interface) in &view.links {
        let attached = held.attached.get(name).is_some_and(|attached| attached.ifindex == interface.ifindex);
        if !attached || !desired.interfaces.contains_key(name) {
            continue;
        }
        let index = match held_index(interface.ifindex) {
            Some(index) => index,
            None => (0..held.sizes.segments).find(|index| !taken.contains(index)).ok_or_else(|| {
                Fault::unavailable(format!("there is no free segment for interface {name}; detach another interface"))
            })?,
        };
        taken.push(index);
        plan.by_interface.insert(interface.ifindex, index);
        let segment = Segment { ifindex: interface.ifindex, mac: interface.mac, reserved: 0 };
        // The kernel itself takes an interface that goes out of the egress map, so both are compared.
        if held.segments.get(&index) != Some(&segment) || held.egress.get(&index) != Some(&interface.ifindex) {
            plan.set.push(Change::SetSegment { index, segment });
        }
    }
    taken.sort_unstable();
    taken.dedup();
    let unused = taken.into_iter().filter(|index| !plan.by_interface.values().any(|used| used == index));
    plan.clear = unused.map(|index| Change::ClearSegment { index }).collect();
    Ok(plan)
}
