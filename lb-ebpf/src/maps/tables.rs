//! What the steps ask of the maps, answered by the BPF maps.

use core::ptr::addr_of;

use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_jiffies64, bpf_ktime_get_coarse_ns};
use lb_common::address::{Address, MacAddr, RaisedMac};
use lb_common::allow::{Bits, Root};
use lb_common::backend::{Backend, Load, Segment};
use lb_common::event::Event;
use lb_common::fragment::{DatagramKey, Trail};
use lb_common::limits;
use lb_common::listener::{Listener, ListenerKey, Vip};
use lb_common::outcome::{Counter, Outcome};
use lb_common::probe::{ProbeKey, ProbeTarget};
use lb_common::rate::{self, SourceKey};
use lb_common::session::{Session, SessionKey};
use lb_common::slot::Slot;
use lb_common::track::pin::{Moment, Pin, Pinned, Table};
use lb_ebpf::finish::{Finish, Verdict};
use lb_ebpf::known::Known;
use lb_ebpf::packet::Packet;
use lb_ebpf::parse::Headers;
use lb_ebpf::pinned_pool::Asked;
use lb_ebpf::select::{Chosen, Place};
use lb_ebpf::tables::Tables;

use super::instructions::unknown;
use super::{
    EVENTS, FRAGMENTS, LISTENER_FLOWS, LISTENER_REFUSALS, LOADS, PIN_OVERFLOWS, PINS_CROWDED, PINS_YOUNG, PROBES,
    PROBING, SESSIONS, SLOTS, SOURCES, TURNS, backends, counters, established, glances, hash_key, home, ingress, known,
    own_mac, pairs, pin_key, search, segments,
};
use crate::{left_out, subprograms};

/// A part of what a CPU counts.
macro_rules! part {
    ($whole:expr, $part:ident) => {{
        let whole = $whole.as_ptr();
        // SAFETY: the pointer is to an element, which stays while the program runs. Nothing is read here.
        unsafe { &raw mut (*whole).$part }
    }};
}
/// The maps, as the steps ask for them.
pub(crate) struct BpfTables;

/// The time of the kernel's coarse clock. Before the first tick that this CPU asks in, its look at the clock is all zero, and `jiffies`
/// are not.
#[inline(always)]
fn nanos() -> u64 {
    let Some(counters) = counters() else { return 0 };
    let clock = part!(counters, clock);
    // SAFETY: helpers without arguments, and the element is this CPU's own.
    unsafe {
        let ticks = bpf_jiffies64();
        if (*clock).ticks != ticks {
            (*clock).nanos = bpf_ktime_get_coarse_ns();
            (*clock).ticks = ticks;
        }
        (*clock).nanos
    }
}

/// Counts a packet in one of this CPU's counters.
#[inline(always)]
fn count<const N: usize>(counters: *mut [Counter; N], index: u32, bytes: usize) {
    if left_out::COUNT {
        return;
    }
    // SAFETY: N is a power of two, so that the masked index is below it; the counters are this CPU's own, and the program is not
    // interrupted by itself on it.
    unsafe {
        let counter = counters.cast::<Counter>().add(index as usize & (N - 1));
        (*counter).packets = (*counter).packets.wrapping_add(1);
        (*counter).bytes = (*counter).bytes.wrapping_add(bytes as u64);
    }
}

impl Tables for BpfTables {
    #[inline(always)]
    fn own_mac(&self) -> RaisedMac {
        own_mac()
    }

    #[inline(always)]
    fn hash_key(&self) -> u64 {
        hash_key()
    }

    #[inline(always)]
    fn ingress_ifindex(&self) -> u64 {
        ingress()
    }

    #[inline(always)]
    fn home(&self) -> u64 {
        if left_out::BACKEND {
            return Backend::on(0);
        }
        home()
    }

    #[inline(always)]
    fn vip(&self, address: &Address) -> Option<Vip> {
        let entry = search::vip(address)?;
        // SAFETY: a published entry does not change, and is not written again before the packet is gone.
        Some(unsafe { (*entry).vip })
    }

    #[inline(always)]
    fn listener(&self, key: &ListenerKey) -> Option<&Listener> {
        let entry = search::listener(key)?;
        // SAFETY: as above.
        Some(unsafe { &(*entry).listener })
    }

    #[inline(always)]
    fn listener_at_home(&self, key: &ListenerKey) -> Option<&Listener> {
        let entry = search::listener_at_home(key)?;
        // SAFETY: as above.
        Some(unsafe { &(*entry).listener })
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<Slot> {
        if left_out::SELECT {
            return Some(Slot::steady(0));
        }
        let line = SLOTS.get_ptr(index / limits::SLOTS_PER_LINE as u32)?;
        // SAFETY: the index within the line is below SLOTS_PER_LINE; volatile because the agent stores slots while
        // they are read here, each in one word.
        Some(unsafe { addr_of!((*line).0).cast::<Slot>().add(index as usize % limits::SLOTS_PER_LINE).read_volatile() })
    }

    #[inline(always)]
    fn glance(&self, index: u32) -> Option<u16> {
        if left_out::SELECT {
            return Some(0);
        }
        // SAFETY: the masked index is below MAX_GLANCES; volatile because the agent stores glances while they are read here, each
        // in one byte.
        unsafe { glances().add((index & (limits::MAX_GLANCES - 1)) as usize).read_volatile() }.backend()
    }

    #[inline(always)]
    fn glance_at_pair(&self, index: u32) -> Option<u16> {
        if left_out::SELECT {
            return Some(0);
        }
        // SAFETY: as above, of half as many pairs.
        unsafe { pairs().add((index >> 1 & (limits::MAX_GLANCES / 2 - 1)) as usize).read_volatile() }.backend(index)
    }

    #[inline(always)]
    fn backend(&self, place: u32) -> Option<Backend> {
        if left_out::BACKEND {
            return Some(Backend::new(MacAddr([2, 0, 0, 0, 0, 1]), 0));
        }
        let backends = backends();
        // SAFETY: the masked place is below MAX_BACKENDS; volatile because the agent stores backends while they are read here,
        // each in one word.
        Some(unsafe { backends.add((place & (limits::MAX_BACKENDS - 1)) as usize).read_volatile() })
    }

    #[inline(always)]
    fn segment(&self, index: u16) -> Option<Segment> {
        if left_out::BACKEND {
            return Some(Segment::new(self.ingress_ifindex() as u32, own_mac().mac(), 0));
        }
        let segments = segments();
        // SAFETY: the masked index is below MAX_SEGMENTS.
        Some(Segment::of_words(unsafe {
            segments.add(usize::from(index) & (limits::MAX_SEGMENTS as usize - 1)).cast::<[u64; 2]>().read()
        }))
    }

    #[inline(always)]
    fn parse(&self, packet: &Packet<'_>, headers: &mut Headers) {
        // SAFETY: the packet was made of the context of the program that runs.
        unsafe { subprograms::parse_packet(packet.context(), headers) };
    }

    #[inline(always)]
    fn answer(&self, packet: &Packet<'_>, headers: &Headers) -> Finish {
        let (network, transport) = (headers.network as u64, headers.transport as u64);
        // SAFETY: the packet was made of the context of the program that runs.
        Finish::from_bits(unsafe {
            subprograms::answer_for_vip(packet.context(), headers.kind as u32, network, transport)
        })
    }

    #[inline(always)]
    fn track(&self, packet: &Packet<'_>, headers: &Headers, listener: &Listener, place: Place) -> u16 {
        // SAFETY: the packet was made of the context of the program that runs, and the others are valid while it runs.
        unsafe { subprograms::track_flow(packet.context(), headers, listener, place.to_bits()) as u16 }
    }

    #[inline(always)]
    fn backend_before(&self, asked: Asked<'_>) -> u16 {
        // SAFETY: all are valid while it runs.
        unsafe { subprograms::backend_before(asked.listener, asked.flow, asked.slot.0) as u16 }
    }

    #[inline(always)]
    fn choose_for_new(&self, asked: Asked<'_>, counts: bool) -> u16 {
        // SAFETY: as above.
        unsafe { subprograms::choose_for_new(asked.listener, asked.flow, asked.slot.0, counts.into()) as u16 }
    }

    #[inline(always)]
    fn keep<'a>(&self, headers: &'a Headers) -> Option<&'a Headers> {
        // SAFETY: who keeps something has not asked for it before, and does not keep another.
        let known: &'a mut Known = unsafe { known() }?;
        known.headers = *headers;
        Some(&known.headers)
    }

    #[inline(always)]
    fn send(&self, packet: &mut Packet<'_>, headers: &Headers, listener: &Listener, backend: u16) -> Verdict {
        // SAFETY: the packet was made of the context of the program that runs, and the others are valid while it runs.
        Verdict::from_bits(unsafe { subprograms::send_packet(packet.context(), headers, listener, backend.into()) })
    }

    #[inline(always)]
    fn find_slot(&self, packet: &Packet<'_>, known: &mut Known) -> Result<(), Finish> {
        // SAFETY: the packet was made of the context of the program that runs, and `known` is valid while it runs.
        subprograms::from_bits(unsafe { subprograms::find_slot(packet.context(), known) })
    }

    #[inline(always)]
    fn retag(&self, packet: &mut Packet<'_>, headers: &Headers, chosen: &Chosen) -> bool {
        let (backend, out) = (chosen.backend.0, Backend::new(chosen.segment.mac, 0).0);
        let places = (headers.tag as u32) << 16 | headers.network as u32;
        // SAFETY: the packet was made of the context of the program that runs.
        unsafe { subprograms::retag_packet(packet.context(), places, backend, out, chosen.segment.vlan.into()) != 0 }
    }

    #[inline(always)]
    fn follow_fragment(&self, headers: &mut Headers, chosen: &mut Chosen) -> Result<(), Finish> {
        // SAFETY: both are valid while it runs.
        subprograms::from_bits(unsafe { subprograms::follow_fragment(headers, chosen) })
    }

    #[inline(always)]
    fn leave_first(&self, headers: &mut Headers, chosen: &mut Chosen) {
        // SAFETY: both are valid while it runs.
        unsafe { subprograms::leave_first(headers, chosen) };
    }

    #[inline(always)]
    fn trail(&self, key: &DatagramKey) -> Option<Trail> {
        // SAFETY: an element is replaced as a whole; one that is given to another datagram while it is read here sends one
        // fragment to that one's backend, and its datagram is lost.
        unsafe { FRAGMENTS.get(key) }.copied()
    }

    #[inline(always)]
    fn leave_trail(&self, key: &DatagramKey, trail: &Trail) {
        // An LRU map makes room by itself.
        let _ = FRAGMENTS.insert(key, trail, 0);
    }

    #[inline(always)]
    fn is_probing(&self) -> bool {
        PROBING.get(0).is_some_and(|probing| *probing != 0)
    }

    #[inline(always)]
    fn probe(&self, key: &ProbeKey) -> Option<ProbeTarget> {
        // SAFETY: the kernel replaces an element as a whole. It may give the old one to another probe while it is read
        // here: then one packet of a probe goes astray, and the probe has to be sent again.
        unsafe { PROBES.get(key) }.copied()
    }

    #[inline(always)]
    fn answers_probe(&self, packet: &Packet<'_>, headers: &mut Headers, chosen: &mut Chosen) -> bool {
        // SAFETY: the packet was made of the context of the program that runs.
        unsafe { subprograms::answers_probe(packet.context(), headers, chosen) != 0 }
    }

    #[inline(always)]
    fn now(&self) -> Moment {
        Moment::from_nanos(nanos())
    }

    #[inline(always)]
    fn pin(&self, table: Table, pinned: Pinned<'_>, now: Moment, touch: bool) -> Pin {
        let pin = match table {
            // SAFETY: nobody else reads the key.
            Table::Young => unsafe { pin_key(pinned) }.and_then(|key| PINS_YOUNG.get_ptr_mut(key)),
            Table::Established => established::find(pinned),
        };
        let Some(pin) = pin else {
            return Pin::NONE;
        };
        // SAFETY: the pointer is to an element of 16 bytes, aligned to 8. It may become another flow's while it is used here:
        // then the first word, read in one load, has that flow's check, and `seen` is the only thing written in place.
        unsafe {
            let words = pin.cast::<[u64; 2]>();
            let found =
                Pin::from_words([(&raw const (*words)[0]).read_volatile(), (&raw const (*words)[1]).read_volatile()]);
            if touch && found.seen != now {
                (&raw mut (*pin).seen).write_volatile(now);
            }
            found
        }
    }

    #[inline(always)]
    fn insert_pin(&self, table: Table, pinned: Pinned<'_>, pin: &Pin) -> bool {
        let [first, last] = pin.words();
        // SAFETY: the flow is valid while it runs.
        unsafe { subprograms::insert_pin(table as u32, pinned.flow, pinned.pool, first, last) != 0 }
    }

    #[inline(always)]
    fn remove_young_pin(&self, pinned: Pinned<'_>) {
        // SAFETY: nobody else reads the key.
        if let Some(key) = unsafe { pin_key(pinned) } {
            // That it is gone already is what was wanted.
            let _ = PINS_YOUNG.remove(key);
        }
    }

    #[inline(always)]
    fn pin_overflowed(&self) {
        if let Some(count) = PIN_OVERFLOWS.get_ptr_mut(0) {
            // SAFETY: the element is this CPU's own.
            unsafe { *count = (*count).wrapping_add(1) };
        }
        if let Some(crowded) = PINS_CROWDED.get_ptr_mut(0) {
            // SAFETY: the pointer is to the element; whoever writes it at the same time writes a whole word, too.
            unsafe { crowded.write_volatile(1) };
        }
    }

    #[inline(always)]
    fn pins_are_crowded(&self) -> bool {
        // SAFETY: the pointer is to the element; volatile because others write it, in one word.
        PINS_CROWDED.get_ptr(0).is_some_and(|crowded| unsafe { crowded.read_volatile() } != 0)
    }

    #[inline(always)]
    fn session(&self, key: &SessionKey) -> Option<Session> {
        // SAFETY: an element is replaced as a whole; one that is given to another client while it is read here sends one
        // new flow to that one's backend.
        unsafe { SESSIONS.get(key) }.copied()
    }

    #[inline(always)]
    fn remember_session(&self, key: &SessionKey, session: &Session) {
        // An LRU map makes room by itself.
        let _ = SESSIONS.insert(key, session, 0);
    }

    #[inline(always)]
    fn load(&self, place: u32) -> Load {
        LOADS.get(place).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn count_flow(&self, place: u32) {
        if let Some(load) = LOADS.get_ptr_mut(place) {
            // SAFETY: the pointer is to an element. Two CPUs may count at once and one count be lost: the agent's next
            // sweep counts anew.
            unsafe { (*load).flows = (*load).flows.wrapping_add(1) };
        }
    }

    #[inline(always)]
    fn next_turn(&self, listener: u32) -> u32 {
        let Some(turn) = TURNS.get_ptr_mut(listener) else {
            return 0;
        };
        // SAFETY: the element is this CPU's own. The CPU's number sets the CPUs apart, so that not all begin with the
        // first backend.
        unsafe {
            let now = *turn;
            *turn = now.wrapping_add(1);
            now.wrapping_add(bpf_get_smp_processor_id())
        }
    }

    #[inline(always)]
    fn allows(&self, root: Root, source: Bits) -> bool {
        subprograms::allows_source(root.base, root.from.into(), root.bits.into(), source.high, source.low) != 0
    }

    #[inline(always)]
    fn source_may_begin(&self, listener: &Listener, client: &Address) -> bool {
        let key = SourceKey::new(client, listener.rate_prefix, listener.id);
        let now = nanos();
        match SOURCES.get_ptr_mut(key) {
            Some(bucket) => {
                // SAFETY: the pointer is to an element of one word, read and written whole. Two CPUs may take one token, and
                // one that makes way meanwhile costs its successor a token: a limit is no count.
                unsafe {
                    let after = rate::take(bucket.read_volatile(), now, listener.rate_interval, listener.rate_burst);
                    after.map(|after| bucket.write_volatile(after)).is_some()
                }
            }
            None => match rate::take(0, now, listener.rate_interval, listener.rate_burst) {
                // An LRU map makes room by itself.
                Some(after) => {
                    let _ = SOURCES.insert(key, after, 0);
                    true
                }
                None => false,
            },
        }
    }

    #[inline(always)]
    fn listener_flows(&self, id: u32) -> u64 {
        // SAFETY: the pointer is to an element; volatile because others write it, in one word.
        LISTENER_FLOWS.get_ptr(id).map_or(0, |flows| unsafe { flows.read_volatile() })
    }

    #[inline(always)]
    fn count_listener_flow(&self, id: u32) {
        if let Some(flows) = LISTENER_FLOWS.get_ptr_mut(id) {
            // SAFETY: as above. Two CPUs may count at once and one count be lost: the agent's next sweep counts anew.
            unsafe { flows.write_volatile(flows.read_volatile().wrapping_add(1)) };
        }
    }

    #[inline(always)]
    fn tell(&self, event: &Event) {
        // A full ring loses it, as it may.
        let _ = EVENTS.output::<Event>(event, 0);
    }

    #[inline(always)]
    fn count_refusal(&self, id: u32, outcome: Outcome) {
        if let Some(refused) = LISTENER_REFUSALS.get_ptr_mut(id) {
            // SAFETY: the element is this CPU's own.
            unsafe { (*refused).count(outcome) };
        }
    }

    #[inline(always)]
    fn count_outcome(&self, outcome: Outcome, bytes: usize) {
        if let Some(counters) = counters() {
            count(part!(counters, outcomes), unknown(outcome as u64) as u32, bytes);
        }
    }

    #[inline(always)]
    fn count_sent(&self, chosen: &Chosen, outcome: Outcome, bytes: usize) {
        let Some(counters) = counters() else { return };
        if outcome as u32 == Outcome::Forwarded as u32 {
            count(part!(counters, forwarded), chosen.listener, bytes);
        } else {
            count(part!(counters, redirected), chosen.listener, bytes);
            count(part!(counters, outcomes), outcome as u32, bytes);
        }
        // Behind what the offset of an instruction can be: left to itself, the compiler works out where that is for each of the two
        // numbers there.
        let backends = unknown(part!(counters, backends) as u64) as *mut [Counter; limits::MAX_BACKENDS as usize];
        count(backends, chosen.place, bytes);
    }
}
