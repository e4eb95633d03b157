//! The BPF maps, and what the agent writes into the program: the one home of map access. Their names and meaning are in
//! `lb_common::maps`.

pub(crate) mod established;
mod instructions;
pub(crate) mod search;
mod tables;

use core::hint::cold_path;
use core::ptr::NonNull;

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, xdp_action};
use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, DevMap, HashMap, LruHashMap, PerCpuArray, RingBuf};
use lb_common::address::RaisedMac;
use lb_common::backend::{Backend, BackendOwner, Load, Segment};
use lb_common::counters::{Counters, MOST_IN_ONE};
use lb_common::forwarding::Forwarding;
use lb_common::fragment::{DatagramKey, Trail};
use lb_common::limits;
use lb_common::outcome::Refused;
use lb_common::probe::{ProbeKey, ProbeTarget};
use lb_common::rate::SourceKey;
use lb_common::session::{Session, SessionKey};
use lb_common::slot::{Glance, GlancePair, SlotLine};
use lb_common::table::{self, ListenerEntry, VipEntry};
use lb_common::track::pin::{Pin, PinKey, Pinned};
use lb_common::track::place::{PinPlace, PinPlaces};
use lb_ebpf::finish::Verdict;
use lb_ebpf::known::Known;

pub(crate) use tables::BpfTables;

#[map]
static FORWARDING: Array<Forwarding> = Array::pinned(1, BPF_F_MMAPABLE);

// The parts of the one element of [`FORWARDING`]. The agent fills in where they are before the program is loaded
// (`lb_common::forwarding::PARTS`), so that they need no look-up.
unsafe extern "C" {
    static FORWARDING_LISTENERS: [ListenerEntry; table::PLACES as usize];
    static FORWARDING_VIPS: [VipEntry; table::PLACES as usize];
    static FORWARDING_BACKENDS: [Backend; limits::MAX_BACKENDS as usize];
    static FORWARDING_GLANCES: [Glance; limits::MAX_GLANCES as usize];
    static FORWARDING_PAIRS: [GlancePair; limits::MAX_GLANCES as usize / 2];
    static FORWARDING_SEGMENTS: [Segment; limits::MAX_SEGMENTS as usize];
}

// The one element of [`PINS_ESTABLISHED`], and that of [`COUNTERS`], in the same way.
unsafe extern "C" {
    static PIN_PLACES: PinPlaces;
    static ALL_COUNTERS: [Counters; MOST_IN_ONE];
}

/// The agent makes it for all CPUs that the host could have.
#[map]
static COUNTERS: Array<Counters> = Array::pinned(1, BPF_F_MMAPABLE);
#[map]
static SLOTS: Array<SlotLine> = Array::pinned(limits::MAX_SLOTS / limits::SLOTS_PER_LINE as u32, BPF_F_MMAPABLE);
#[map]
static BACKEND_OWNERS: Array<BackendOwner> = Array::pinned(limits::MAX_BACKENDS, BPF_F_MMAPABLE);
#[map]
static EGRESS: DevMap = DevMap::pinned(limits::MAX_SEGMENTS, 0);
#[map]
static PINS_YOUNG: LruHashMap<PinKey, Pin> = LruHashMap::pinned(limits::MAX_YOUNG_PINS, 0);
#[map]
static PINS_ESTABLISHED: Array<PinPlaces> = Array::pinned(1, BPF_F_MMAPABLE);
// Not allocated beforehand: as long as there are places, they take no memory.
#[map]
static PINS_MORE: HashMap<PinKey, Pin> = HashMap::pinned(limits::MAX_ESTABLISHED_PINS, BPF_F_NO_PREALLOC);
#[map]
static SESSIONS: LruHashMap<SessionKey, Session> = LruHashMap::pinned(limits::MAX_SESSIONS, 0);
#[map]
static FRAGMENTS: LruHashMap<DatagramKey, Trail> = LruHashMap::pinned(limits::MAX_FRAGMENTED, 0);
#[map]
static LOADS: Array<Load> = Array::pinned(limits::MAX_BACKENDS, BPF_F_MMAPABLE);
#[map]
static TURNS: PerCpuArray<u32> = PerCpuArray::pinned(limits::MAX_LISTENERS, 0);
#[map]
static PIN_OVERFLOWS: PerCpuArray<u64> = PerCpuArray::pinned(1, 0);
#[map]
static PINS_CROWDED: Array<u64> = Array::pinned(1, BPF_F_MMAPABLE);
#[map]
static ALLOWED: Array<u64> = Array::pinned(limits::MAX_ALLOW_WORDS, BPF_F_MMAPABLE);
#[map]
static LISTENER_REFUSALS: PerCpuArray<Refused> = PerCpuArray::pinned(limits::MAX_LISTENERS, 0);
#[map]
static SOURCES: LruHashMap<SourceKey, u64> = LruHashMap::pinned(limits::MAX_SOURCES, 0);
#[map]
static LISTENER_FLOWS: Array<u64> = Array::pinned(limits::MAX_LISTENERS, BPF_F_MMAPABLE);
#[map]
static EVENTS: RingBuf = RingBuf::pinned(limits::EVENTS_BYTES, 0);
// Not allocated beforehand: without health checks there are no probes, and they take no memory.
#[map]
static PROBES: HashMap<ProbeKey, ProbeTarget> = HashMap::pinned(limits::MAX_PROBES, BPF_F_NO_PREALLOC);
#[map]
static PROBE_LINK: DevMap = DevMap::pinned(1, 0);
#[map]
static PROBING: Array<u32> = Array::pinned(1, 0);
/// What is known of a packet on its way. Not pinned: it means nothing from one packet to the next.
#[map]
static KNOWN: PerCpuArray<Known> = PerCpuArray::with_max_entries(1, 0);
/// The key of the pin of a packet's flow. Not pinned: it means nothing from one packet to the next.
#[map]
static PIN_KEY: PerCpuArray<PinKey> = PerCpuArray::with_max_entries(1, 0);

// Numbers that the agent writes into the instructions before the program is loaded, in place of these addresses: nothing stands
// there (`lb_common::maps`).
unsafe extern "C" {
    static OWN_MAC: u8;
    static INGRESS: u8;
    static HOME: u8;
    static COUNTED_CPUS: u8;
    static HASH_KEY: u8;
}

/// What the kernel is to do, as its number. Where the packet goes out is noted.
#[inline(always)]
pub(crate) fn action(verdict: Verdict) -> u32 {
    match (verdict.action(), verdict.segment()) {
        (Some(action), _) => action,
        (None, Some(segment)) => redirect(segment),
        (None, None) => redirect_to_probes(),
    }
}

/// Sends the packet out of a segment's interface; drops it if the interface is gone.
#[inline(always)]
fn redirect(segment: u16) -> u32 {
    EGRESS.redirect(u32::from(segment), u64::from(xdp_action::XDP_DROP)).unwrap_or_else(|action| action)
}

/// Sends the packet to where probes are sent from; passes it if that is gone, as when the agent was killed.
#[inline(always)]
fn redirect_to_probes() -> u32 {
    PROBE_LINK.redirect(0, u64::from(xdp_action::XDP_PASS)).unwrap_or_else(|action| action)
}

/// Room for what is known of one packet, this CPU's own.
///
/// # Safety
/// A program may ask for it once, and its subprograms not at all.
#[inline(always)]
pub(crate) unsafe fn known<'a>() -> Option<&'a mut Known> {
    let known = KNOWN.get_ptr_mut(0)?;
    // SAFETY: the element is this CPU's own, the caller has the only reference to it, and zeros, that it begins with,
    // are valid: each of its enums has a variant 0.
    Some(unsafe { &mut *known })
}

/// Our MAC on the interface.
#[inline(always)]
pub(crate) fn own_mac() -> RaisedMac {
    RaisedMac(&raw const OWN_MAC as u64)
}

/// The index of the interface.
#[inline(always)]
fn ingress() -> u64 {
    &raw const INGRESS as u64
}

/// What backends on the untagged segment behind the interface have in common.
#[inline(always)]
fn home() -> u64 {
    &raw const HOME as u64
}

/// The key of the flow hash.
#[inline(always)]
pub(crate) fn hash_key() -> u64 {
    &raw const HASH_KEY as u64
}

/// The first of the backends of all pools.
#[inline(always)]
fn backends() -> *const Backend {
    (&raw const FORWARDING_BACKENDS).cast()
}

/// The first of the glances.
#[inline(always)]
fn glances() -> *const Glance {
    (&raw const FORWARDING_GLANCES).cast()
}

/// The first of the pairs of glances.
#[inline(always)]
fn pairs() -> *const GlancePair {
    (&raw const FORWARDING_PAIRS).cast()
}

/// The first of the segments.
#[inline(always)]
fn segments() -> *const Segment {
    (&raw const FORWARDING_SEGMENTS).cast()
}

/// The table of listeners.
#[inline(always)]
fn listeners() -> *const ListenerEntry {
    (&raw const FORWARDING_LISTENERS).cast()
}

/// The table of VIPs.
#[inline(always)]
fn vips() -> *const VipEntry {
    (&raw const FORWARDING_VIPS).cast()
}

/// The first of the places of pins.
#[inline(always)]
fn pin_places() -> *mut PinPlace {
    (&raw const PIN_PLACES).cast_mut().cast()
}

/// What is this CPU's own. It is always there, which the verifier cannot know.
#[inline(always)]
fn counters() -> Option<NonNull<Counters>> {
    // SAFETY: a helper without arguments.
    let cpu = u64::from(unsafe { bpf_get_smp_processor_id() });
    if cpu < &raw const COUNTED_CPUS as u64 {
        let all: *mut Counters = (&raw const ALL_COUNTERS).cast_mut().cast();
        // SAFETY: there are so many.
        Some(unsafe { NonNull::new_unchecked(all.add(cpu as usize)) })
    } else {
        // The others' way has no jump then.
        cold_path();
        NonNull::new(COUNTERS.get_ptr_mut(cpu as u32)?)
    }
}

/// A word of the allow-lists.
#[inline(always)]
pub(crate) fn allow_word(index: u32) -> Option<u64> {
    ALLOWED.get(index).copied()
}

/// Puts a pin among the young ones. An LRU map makes room by itself.
#[inline(always)]
pub(crate) fn insert_young(pinned: Pinned<'_>, pin: &Pin) -> bool {
    // SAFETY: nobody else reads the key.
    unsafe { pin_key(pinned) }.is_some_and(|key| PINS_YOUNG.insert(key, pin, 0).is_ok())
}

/// Notes the key of a flow's pin in this CPU's own element, where the kernel takes it from.
///
/// # Safety
/// It must not be called again while what is returned lives.
#[inline(always)]
unsafe fn pin_key<'a>(pinned: Pinned<'_>) -> Option<&'a PinKey> {
    let place = PIN_KEY.get_ptr_mut(0)?;
    // SAFETY: the element is this CPU's own, and the caller promises that nobody reads it.
    unsafe {
        place.write(pinned.key());
        Some(&*place)
    }
}
