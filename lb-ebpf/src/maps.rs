//! The BPF maps and globals: the one home of map access. Their names and meaning are in `lb_common::maps`.

use core::ptr::addr_of;

use aya_ebpf::bindings::{BPF_F_MMAPABLE, xdp_action};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, DevMap, HashMap, PerCpuArray};
use aya_ebpf::programs::XdpContext;
use lb_common::address::{Address, MacAddr};
use lb_common::backend::{Backend, BackendOwner, Segment};
use lb_common::limits;
use lb_common::listener::{Listener, ListenerKey, Vip};
use lb_common::outcome::{Counter, Outcome};
use lb_common::slot::{Slot, SlotLine};
use lb_ebpf::tables::Tables;

#[map]
static LISTENERS: HashMap<ListenerKey, Listener> = HashMap::pinned(limits::MAX_LISTENERS, 0);
#[map]
static VIPS: HashMap<Address, Vip> = HashMap::pinned(limits::MAX_VIPS, 0);
#[map]
static SLOTS: Array<SlotLine> = Array::pinned(limits::MAX_SLOTS / limits::SLOTS_PER_LINE as u32, BPF_F_MMAPABLE);
#[map]
static BACKENDS: Array<Backend> = Array::pinned(limits::MAX_BACKENDS, BPF_F_MMAPABLE);
#[map]
static BACKEND_OWNERS: Array<BackendOwner> = Array::pinned(limits::MAX_BACKENDS, BPF_F_MMAPABLE);
#[map]
static SEGMENTS: Array<Segment> = Array::pinned(limits::MAX_SEGMENTS, 0);
#[map]
static EGRESS: DevMap = DevMap::pinned(limits::MAX_SEGMENTS, 0);
#[map]
static OUTCOME_COUNTERS: PerCpuArray<Counter> = PerCpuArray::pinned(Outcome::COUNT, 0);
#[map]
static LISTENER_COUNTERS: PerCpuArray<Counter> = PerCpuArray::pinned(limits::MAX_LISTENERS, 0);
#[map]
static BACKEND_COUNTERS: PerCpuArray<Counter> = PerCpuArray::pinned(limits::MAX_BACKENDS, 0);

/// Set by the agent before the program is loaded: our MAC on the interface.
#[unsafe(no_mangle)]
static OWN_MAC: [u8; 6] = [0; 6];
/// Set by the agent before the program is loaded: the key of the flow hash.
#[unsafe(no_mangle)]
static HASH_KEY: u64 = 0;

/// Sends the packet out of a segment's interface; drops it if the interface is gone.
#[inline(always)]
pub(crate) fn redirect(segment: u16) -> u32 {
    EGRESS.redirect(u32::from(segment), u64::from(xdp_action::XDP_DROP)).unwrap_or_else(|action| action)
}

/// The maps, as the steps ask for them.
pub(crate) struct BpfTables {
    ingress_ifindex: u32,
}

impl BpfTables {
    /// The maps, seen from the interface that the packet of this context came in by.
    #[inline(always)]
    pub(crate) fn new(ctx: &XdpContext) -> Self {
        // SAFETY: the kernel hands a valid `xdp_md` to the program.
        Self { ingress_ifindex: unsafe { (*ctx.ctx).ingress_ifindex } }
    }
}

#[inline(always)]
fn count(map: &PerCpuArray<Counter>, index: u32, bytes: u32) {
    if let Some(counter) = map.get_ptr_mut(index) {
        // SAFETY: the element is this CPU's own, and the program is not interrupted by itself on it.
        unsafe {
            (*counter).packets = (*counter).packets.wrapping_add(1);
            (*counter).bytes = (*counter).bytes.wrapping_add(u64::from(bytes));
        }
    }
}

impl Tables for BpfTables {
    #[inline(always)]
    fn own_mac(&self) -> MacAddr {
        // SAFETY: a valid static; volatile because the loader changes it behind the compiler's back.
        MacAddr(unsafe { addr_of!(OWN_MAC).read_volatile() })
    }

    #[inline(always)]
    fn hash_key(&self) -> u64 {
        // SAFETY: as above.
        unsafe { addr_of!(HASH_KEY).read_volatile() }
    }

    #[inline(always)]
    fn ingress_ifindex(&self) -> u32 {
        self.ingress_ifindex
    }

    #[inline(always)]
    fn vip(&self, address: &Address) -> Option<Vip> {
        // SAFETY: an element may be changed by the agent while it is read here; a `Vip` is one word.
        unsafe { VIPS.get(address) }.copied()
    }

    #[inline(always)]
    fn listener(&self, key: &ListenerKey) -> Option<Listener> {
        // SAFETY: the kernel replaces an element of a hash map as a whole and frees the old one only when no program
        // can still read it.
        unsafe { LISTENERS.get(key) }.copied()
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<Slot> {
        let line = SLOTS.get_ptr(index / limits::SLOTS_PER_LINE as u32)?;
        // SAFETY: the index within the line is below SLOTS_PER_LINE; volatile because the agent stores slots while
        // they are read here, each in one word.
        Some(unsafe { addr_of!((*line).0).cast::<Slot>().add(index as usize % limits::SLOTS_PER_LINE).read_volatile() })
    }

    #[inline(always)]
    fn backend(&self, place: u32) -> Option<Backend> {
        let backend = BACKENDS.get_ptr(place)?;
        // SAFETY: the pointer is to an element; volatile because the agent stores backends while they are read here,
        // each in one word.
        Some(unsafe { backend.read_volatile() })
    }

    #[inline(always)]
    fn segment(&self, index: u16) -> Option<Segment> {
        SEGMENTS.get(u32::from(index)).copied()
    }

    #[inline(always)]
    fn count_outcome(&self, outcome: Outcome, bytes: u32) {
        count(&OUTCOME_COUNTERS, outcome as u32, bytes);
    }

    #[inline(always)]
    fn count_listener(&self, id: u32, bytes: u32) {
        count(&LISTENER_COUNTERS, id, bytes);
    }

    #[inline(always)]
    fn count_backend(&self, place: u32, bytes: u32) {
        count(&BACKEND_COUNTERS, place, bytes);
    }
}
