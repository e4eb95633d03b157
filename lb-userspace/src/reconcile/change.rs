//! What can be changed in the maps.

use lb_common::address::Address;
use lb_common::backend::{Backend, Segment};
use lb_common::listener::{Listener, ListenerKey, Vip};
use lb_common::slot::Slot;

/// A change of the maps. Done twice, it leaves the same state as done once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Write a segment and the interface that frames go out by.
    SetSegment {
        /// The segment's index.
        index: u16,
        /// The interface and our MAC on it.
        segment: Segment,
    },
    /// Give up a segment that no backend in use stands on.
    ClearSegment {
        /// The segment's index.
        index: u16,
    },
    /// Give a free place to a backend, with its counters at zero.
    TakePlace {
        /// The place in the backends' map.
        place: u32,
        /// The backend's address.
        owner: Address,
        /// Where it is.
        backend: Backend,
    },
    /// Copy a place, its owner and its counters to a free place.
    CopyPlace {
        /// The place in the backends' map.
        from: u32,
        /// The free place.
        to: u32,
    },
    /// Write where the backend of a place is.
    SetPlace {
        /// The place in the backends' map.
        place: u32,
        /// Where it is.
        backend: Backend,
    },
    /// Write the weight of the backend of a place, 0 for one that takes no new flow.
    SetWeight {
        /// The place in the backends' map.
        place: u32,
        /// The weight.
        weight: u32,
    },
    /// Give up a place that no slot, pin or session names.
    ///
    /// Only its owner is taken away. Where the backend was stays readable until the place is taken again, for the
    /// packet that is between its slot and its backend in this moment.
    FreePlace {
        /// The place in the backends' map.
        place: u32,
    },
    /// Write slots of a lookup table or of a schedule.
    WriteSlots {
        /// The first slot of that in the slots' map.
        base: u32,
        /// Slots by their index from there.
        moves: Vec<(u32, Slot)>,
    },
    /// Write an allow-list into a region that no listener has.
    WriteAllowed {
        /// The first word of the region.
        base: u32,
        /// Its words.
        words: Vec<u64>,
    },
    /// Write a listener.
    PutListener {
        /// What it listens on.
        key: ListenerKey,
        /// The listener and its pool.
        listener: Listener,
        /// True if its counters are to start at zero.
        new: bool,
    },
    /// Remove a listener.
    RemoveListener {
        /// What it listens on.
        key: ListenerKey,
    },
    /// Write a VIP.
    PutVip {
        /// The VIP's address.
        address: Address,
        /// What listens on it.
        vip: Vip,
    },
    /// Remove a VIP: its packets pass from now on.
    RemoveVip {
        /// The VIP's address.
        address: Address,
    },
}
