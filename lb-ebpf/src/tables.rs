//! What the steps may ask of the maps.

use lb_common::address::{Address, MacAddr};
use lb_common::backend::{Backend, Segment};
use lb_common::listener::{Listener, ListenerKey, Vip};
use lb_common::outcome::Outcome;
use lb_common::slot::Slot;

/// The maps, read by the steps and counted in at the end. On BPF the real ones; on the host
/// [`host::HostTables`](../host/struct.HostTables.html).
pub trait Tables {
    /// Our MAC on the interface that the packet came in by.
    fn own_mac(&self) -> MacAddr;
    /// The key of the flow hash.
    fn hash_key(&self) -> u64;
    /// The interface that the packet came in by.
    fn ingress_ifindex(&self) -> u32;
    /// The VIP with that address.
    fn vip(&self, address: &Address) -> Option<Vip>;
    /// The listener with that key.
    fn listener(&self, key: &ListenerKey) -> Option<Listener>;
    /// The slot at that place of all slots.
    fn slot(&self, index: u32) -> Option<Slot>;
    /// The backend at that place of all places.
    fn backend(&self, place: u32) -> Option<Backend>;
    /// The segment with that index.
    fn segment(&self, index: u16) -> Option<Segment>;
    /// Counts a packet of so many bytes with an outcome.
    fn count_outcome(&self, outcome: Outcome, bytes: u32);
    /// Counts a packet of so many bytes with a listener, by its id.
    fn count_listener(&self, id: u32, bytes: u32);
    /// Counts a packet of so many bytes with a backend, by its place.
    fn count_backend(&self, place: u32, bytes: u32);
}
