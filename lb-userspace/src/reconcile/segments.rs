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

/// Plans the segments: one for each interface that is wanted and attached.
pub(super) fn plan_segments(desired: &Desired, view: &NetworkView, held: &Held) -> Result<SegmentPlan, Fault> {
    let mut plan = SegmentPlan { by_interface: BTreeMap::new(), set: Vec::new(), clear: Vec::new() };
    let mut taken: Vec<u16> = held.segments.keys().chain(held.egress.keys()).copied().collect();
    for name in desired.interfaces.keys() {
        let Some(attached) = held.attached.get(name) else { continue };
        let held_segment = held.segments.iter().find(|(_, segment)| segment.ifindex == attached.ifindex);
        let mac = match view.links.get(name) {
            Some(link) if link.ifindex == attached.ifindex => link.mac,
            Some(_) => continue,
            // Not in the picture, but the program is attached: its segment stays as it is.
            None => match held_segment {
                Some((_, segment)) => segment.mac,
                None => continue,
            },
        };
        let index = match held_segment {
            Some((index, _)) => *index,
            None => (0..held.sizes.segments).find(|index| !taken.contains(index)).ok_or_else(|| {
                Fault::unavailable(format!("there is no free segment for interface {name}; detach another interface"))
            })?,
        };
        taken.push(index);
        plan.by_interface.insert(attached.ifindex, index);
        let segment = Segment { ifindex: attached.ifindex, mac, reserved: 0 };
        // The kernel itself takes an interface that goes out of the egress map, so both are compared.
        if held.segments.get(&index) != Some(&segment) || held.egress.get(&index) != Some(&attached.ifindex) {
            plan.set.push(Change::SetSegment { index, segment });
        }
    }
    taken.sort_unstable();
    taken.dedup();
    let unused = taken.into_iter().filter(|index| !plan.by_interface.values().any(|used| used == index));
    plan.clear = unused.map(|index| Change::ClearSegment { index }).collect();
    Ok(plan)
}
