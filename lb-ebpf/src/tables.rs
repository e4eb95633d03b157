//! What the steps may ask of the maps.

use lb_common::address::{Address, RaisedMac};
use lb_common::allow::{Bits, Root};
use lb_common::backend::{Backend, Load, Segment};
use lb_common::event::Event;
use lb_common::fragment::{DatagramKey, Trail};
use lb_common::listener::{Listener, ListenerKey, Vip};
use lb_common::outcome::Outcome;
use lb_common::probe::{ProbeKey, ProbeTarget};
use lb_common::session::{Session, SessionKey};
use lb_common::slot::Slot;
use lb_common::track::pin::{Moment, Pin, Pinned, Table};

use crate::finish::{Finish, Verdict};
use crate::known::Known;
use crate::packet::Packet;
use crate::parse::Headers;
use crate::pinned_pool::Asked;
use crate::select::{Chosen, Place};

/// The maps, read by the steps and counted in at the end. On BPF the real ones; on the host
/// [`host::HostTables`](../host/struct.HostTables.html).
pub trait Tables {
    /// Our MAC on the interface that the packet came in by.
    fn own_mac(&self) -> RaisedMac;
    /// The key of the flow hash.
    fn hash_key(&self) -> u64;
    /// The index of the interface that the packet came in by, as a word.
    fn ingress_ifindex(&self) -> u64;
    /// What backends on the segment that the packet came in from, if it has no tag, have in common ([`Backend::on`]);
    /// [`Backend::ON_NONE`] if there is no such segment.
    fn home(&self) -> u64;
    /// The VIP with that address.
    fn vip(&self, address: &Address) -> Option<Vip>;
    /// The listener with that key.
    fn listener(&self, key: &ListenerKey) -> Option<&Listener>;
    /// The same, if it is for one protocol and stands where it is looked for first, as nearly all do.
    fn listener_at_home(&self, key: &ListenerKey) -> Option<&Listener>;
    /// The slot at that place of all slots.
    fn slot(&self, index: u32) -> Option<Slot>;
    /// The backend of that slot, if it is steady and a glance tells it.
    fn glance(&self, index: u32) -> Option<u16>;
    /// The same by a glance at two slots.
    fn glance_at_pair(&self, index: u32) -> Option<u16>;
    /// The backend at that place of all places.
    fn backend(&self, place: u32) -> Option<Backend>;
    /// The segment with that index.
    fn segment(&self, index: u16) -> Option<Segment>;
    /// Runs [`parse::run`](crate::parse::run). How it is called is for the side that has the maps: on BPF it gets a stack
    /// frame of its own.
    fn parse(&self, packet: &Packet<'_>, headers: &mut Headers);
    /// Runs [`vip_traffic::answer`](crate::vip_traffic::answer) with these maps. How it is called is for the side that has
    /// them: on BPF it is a subprogram.
    fn answer(&self, packet: &Packet<'_>, headers: &Headers) -> Finish;
    /// Runs [`track::run`](crate::track::run) with these maps. How it is called is for the side that has them: on BPF it gets
    /// a stack frame of its own.
    fn track(&self, packet: &Packet<'_>, headers: &Headers, listener: &Listener, place: Place) -> u16;
    /// Runs [`pinned_pool::before`](crate::pinned_pool::before). On BPF it is a subprogram.
    fn backend_before(&self, asked: Asked<'_>) -> u16;
    /// Runs [`pinned_pool::choose`](crate::pinned_pool::choose). On BPF it is a subprogram.
    fn choose_for_new(&self, asked: Asked<'_>, counts: bool) -> u16;
    /// Keeps headers where a subprogram finds them. `None` if there is no room.
    fn keep<'a>(&self, headers: &'a Headers) -> Option<&'a Headers>;
    /// Runs [`pipeline::send`](crate::pipeline::send). On BPF it is a subprogram, so that the way of most packets need not carry
    /// it twice.
    fn send(&self, packet: &mut Packet<'_>, headers: &Headers, listener: &Listener, backend: u16) -> Verdict;
    /// Runs [`pipeline::find_slot`](crate::pipeline::find_slot). On BPF it is a subprogram.
    ///
    /// # Errors
    /// How a packet ends that has none.
    fn find_slot(&self, packet: &Packet<'_>, known: &mut Known) -> Result<(), Finish>;
    /// Runs [`rewrite::retag`](crate::rewrite::retag). On BPF it is a subprogram, after which `packet` is of no use.
    fn retag(&self, packet: &mut Packet<'_>, headers: &Headers, chosen: &Chosen) -> bool;
    /// Runs [`fragments::follow`](crate::fragments::follow). On BPF it is a subprogram.
    ///
    /// # Errors
    /// How a fragment ends that follows no other.
    fn follow_fragment(&self, headers: &mut Headers, chosen: &mut Chosen) -> Result<(), Finish>;
    /// Runs [`fragments::leave`](crate::fragments::leave). On BPF it is a subprogram, and a subprogram is given memory only
    /// if it may write there.
    fn leave_first(&self, headers: &mut Headers, chosen: &mut Chosen);
    /// Where the first fragment of a datagram went.
    fn trail(&self, key: &DatagramKey) -> Option<Trail>;
    /// Remembers where the first fragment of a datagram went. Where there is no room, the oldest makes way.
    fn leave_trail(&self, key: &DatagramKey, trail: &Trail);
    /// True while there are health checks.
    fn is_probing(&self) -> bool;
    /// The target of a probe.
    fn probe(&self, key: &ProbeKey) -> Option<ProbeTarget>;
    /// Runs [`probe::is_answer`](crate::probe::is_answer) with these maps. How it is called is for the side that has them: on
    /// BPF it is a subprogram.
    fn answers_probe(&self, packet: &Packet<'_>, headers: &mut Headers, chosen: &mut Chosen) -> bool;
    /// The time, to some milliseconds.
    fn now(&self) -> Moment;
    /// A flow's pin in a table; [`Pin::NONE`] if it has none there. With `touch`, one that was not seen at `now` yet is
    /// marked as seen, in place.
    fn pin(&self, table: Table, pinned: Pinned<'_>, now: Moment, touch: bool) -> Pin;
    /// Puts a pin into a table, in place of the one there may be. False if there is no room.
    fn insert_pin(&self, table: Table, pinned: Pinned<'_>, pin: &Pin) -> bool;
    /// Takes a flow's young pin out. The established ones are the agent's to take out.
    fn remove_young_pin(&self, pinned: Pinned<'_>);
    /// Counts a pin that there was no room for, and marks the tables of pins as crowded.
    fn pin_overflowed(&self);
    /// True while the tables of pins are marked as crowded.
    fn pins_are_crowded(&self) -> bool;
    /// A client's session.
    fn session(&self, key: &SessionKey) -> Option<Session>;
    /// Remembers a client's session. Where there is no room, the one that was not used for the longest time makes way.
    fn remember_session(&self, key: &SessionKey, session: &Session);
    /// How much the backend at a place has to do.
    fn load(&self, place: u32) -> Load;
    /// Counts a flow that begins with the load of the backend at a place.
    fn count_flow(&self, place: u32);
    /// The turn of the next new flow of a listener, by its id.
    fn next_turn(&self, listener: u32) -> u32;
    /// Counts a packet of so many bytes with an outcome.
    fn count_outcome(&self, outcome: Outcome, bytes: usize);
    /// Runs [`allow::allows`](lb_common::allow::allows) with these maps. How it is called is for the side that has them: on
    /// BPF it is a subprogram.
    fn allows(&self, root: Root, source: Bits) -> bool;
    /// Takes a token of the client's source for a new flow. False if there is none.
    fn source_may_begin(&self, listener: &Listener, client: &Address) -> bool;
    /// How many flows a listener has, by its id: as of the last sweep, and those that began since.
    fn listener_flows(&self, id: u32) -> u64;
    /// Counts a flow that begins with a listener, by its id.
    fn count_listener_flow(&self, id: u32);
    /// Tells the agent. It may miss it: nothing depends on it.
    fn tell(&self, event: &Event);
    /// Counts a packet of so many bytes that was sent to a backend: with that, with its listener, and with how it was sent, which is
    /// [`Outcome::Forwarded`] or [`Outcome::Redirected`].
    fn count_sent(&self, chosen: &Chosen, outcome: Outcome, bytes: usize);
    /// Counts a packet with a listener that refused it, by its id.
    fn count_refusal(&self, id: u32, outcome: Outcome);
}
