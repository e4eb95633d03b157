//! What of the pipeline has a stack frame of its own, and is proved by the verifier once, not for each way that leads there.
//!
//! The kernel allows 512 bytes of stack along the deepest chain of calls. The program itself keeps nearly nothing there: what
//! is known of a packet is in a per-CPU array, and these take turns. A program that needs more is refused when it is loaded.
//!
//! Those that few packets go through are marked as cold, so that registers are for the others. They are put into the section of all
//! by hand: LLVM has one of its own for cold functions, and aya takes a function for the one at the same offset of another section.
//!
//! Each is a function for the linker, so its arguments are numbers, the context, or memory that it may write; memory may be
//! missing as far as the verifier knows.

use aya_ebpf::bindings::{xdp_action, xdp_md};
use lb_common::allow::{self, Bits, Root};
use lb_common::backend::{Backend, Segment};
use lb_common::flow::Flow;
use lb_common::hash;
use lb_common::listener::Listener;
use lb_common::outcome::Outcome;
use lb_common::slot::{NO_BACKEND, Slot};
use lb_common::track::pin::{Pin, Pinned, Table};
use lb_common::track::place::Found;
use lb_ebpf::finish::{Finish, Verdict};
use lb_ebpf::known::Known;
use lb_ebpf::packet::{Packet, offset};
use lb_ebpf::parse::{self, Headers, Kind};
use lb_ebpf::pinned_pool::{self, Asked};
use lb_ebpf::select::{Chosen, Place};
use lb_ebpf::track::Request;
use lb_ebpf::{fragments, pipeline, probe, rewrite, steady, track, vip_traffic};

use crate::maps::established;
use crate::maps::search::{self, Sought};
use crate::maps::{self, BpfTables};

/// What a subprogram returns for a packet that goes on; no end of a packet is this number.
const GO_ON: u32 = u32::MAX;

/// What goes through a register of a step that can end a packet.
#[inline(always)]
fn to_bits(result: Result<(), Finish>) -> u32 {
    match result {
        Ok(()) => GO_ON,
        Err(finish) => finish.to_bits(),
    }
}

/// What [`to_bits`] made a number of.
#[inline(always)]
pub(crate) fn from_bits(bits: u32) -> Result<(), Finish> {
    match bits {
        GO_ON => Ok(()),
        bits => Err(Finish::from_bits(bits)),
    }
}

/// The way of a packet that is not a steady one of IPv4.
///
/// # Safety
/// `context` must be what the kernel handed to the program that runs.
#[inline(always)]
pub(crate) unsafe fn other_packet(context: *mut xdp_md) -> u32 {
    // SAFETY: the caller's promise.
    unsafe {
        for way in [plain_ipv4, steady_ipv6, plain_ipv6, tagged_packet] {
            let action = way(context);
            if action != ANOTHER_WAY {
                return action;
            }
        }
        any_packet(context)
    }
}

/// What a way returns for a packet that it is not made for, and did nothing to; no action is this number.
const ANOTHER_WAY: u32 = u32::MAX;

/// The way of IPv4 packets that are read in one go, as a subprogram: beside it, the short way would have fewer registers.
///
/// # Safety
/// `context` must be what the kernel handed to the program that runs.
#[unsafe(no_mangle)]
#[cold]
#[unsafe(link_section = ".text")]
#[inline(never)]
unsafe extern "C" fn plain_ipv4(context: *mut xdp_md) -> u32 {
    // SAFETY: the caller's promise.
    let mut packet = unsafe { Packet::from_context(context) };
    pipeline::ipv4(&mut packet, &BpfTables).map_or(ANOTHER_WAY, maps::action)
}

/// The short way of IPv6, for the same reason.
///
/// # Safety
/// `context` must be what the kernel handed to the program that runs.
#[unsafe(no_mangle)]
#[cold]
#[unsafe(link_section = ".text")]
#[inline(never)]
unsafe extern "C" fn steady_ipv6(context: *mut xdp_md) -> u32 {
    // SAFETY: the caller's promise.
    let mut packet = unsafe { Packet::from_context(context) };
    steady::ipv6(&mut packet, &BpfTables).map_or(ANOTHER_WAY, maps::action)
}

/// The way of IPv6 packets that are read in one go.
///
/// # Safety
/// `context` must be what the kernel handed to the program that runs.
#[unsafe(no_mangle)]
#[cold]
#[unsafe(link_section = ".text")]
#[inline(never)]
unsafe extern "C" fn plain_ipv6(context: *mut xdp_md) -> u32 {
    // SAFETY: the caller's promise.
    let mut packet = unsafe { Packet::from_context(context) };
    pipeline::ipv6(&mut packet, &BpfTables).map_or(ANOTHER_WAY, maps::action)
}

/// The way of most packets with a VLAN tag, as a subprogram: it has registers and stack of its own.
///
/// # Safety
/// `context` must be what the kernel handed to the program that runs.
#[unsafe(no_mangle)]
#[cold]
#[unsafe(link_section = ".text")]
#[inline(never)]
unsafe extern "C" fn tagged_packet(context: *mut xdp_md) -> u32 {
    // SAFETY: the caller's promise.
    let mut packet = unsafe { Packet::from_context(context) };
    pipeline::tagged(&mut packet, &BpfTables).map_or(ANOTHER_WAY, maps::action)
}

/// The way of any packet, as a subprogram.
///
/// # Safety
/// `context` must be what the kernel handed to the program that runs.
#[unsafe(no_mangle)]
#[cold]
#[unsafe(link_section = ".text")]
#[inline(never)]
unsafe extern "C" fn any_packet(context: *mut xdp_md) -> u32 {
    // SAFETY: the caller's promise.
    let mut packet = unsafe { Packet::from_context(context) };
    // SAFETY: nobody else asks for it.
    let Some(known) = (unsafe { maps::known() }) else {
        return xdp_action::XDP_PASS;
    };
    maps::action(pipeline::any(&mut packet, known, &BpfTables))
}

/// Parsing as a subprogram: it gets a stack frame of its own, which is gone before the later steps need theirs, and the
/// verifier proves it once.
///
/// # Safety
/// `context` must be what the kernel handed to the program that runs, and `headers` valid.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn parse_packet(context: *mut xdp_md, headers: *mut Headers) -> u32 {
    // SAFETY: the caller's promise.
    let (packet, headers) = unsafe { (Packet::from_context(context), headers.as_mut()) };
    if let Some(headers) = headers {
        parse::run(&packet, maps::own_mac(), headers);
    }
    0
}

/// Finding the slot of a packet whose flow is known.
///
/// # Safety
/// `context` must be what the kernel handed to the program that runs, and `known` valid.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn find_slot(context: *mut xdp_md, known: *mut Known) -> u32 {
    // SAFETY: the caller's promise.
    let (packet, known) = unsafe { (Packet::from_context(context), known.as_mut()) };
    match known {
        Some(known) => to_bits(pipeline::find_slot(&packet, known, &BpfTables)),
        None => Finish::drop(Outcome::Malformed).to_bits(),
    }
}

/// The search for a listener's entry behind its home, as a subprogram: its loop is proved once.
#[unsafe(no_mangle)]
#[cold]
#[unsafe(link_section = ".text")]
#[inline(never)]
pub(crate) extern "C" fn listener_behind(home: u32, mark: u64, first: u64, last: u64) -> u32 {
    search::listener_behind(Sought { home, mark, halves: [first, last] })
}

/// The same for a VIP's entry.
#[unsafe(no_mangle)]
#[cold]
#[unsafe(link_section = ".text")]
#[inline(never)]
pub(crate) extern "C" fn vip_behind(home: u32, mark: u64, first: u64, last: u64) -> u32 {
    search::vip_behind(Sought { home, mark, halves: [first, last] })
}

/// The look-up in an allow-list as a subprogram: its loop is proved once, and its registers are its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn allows_source(base: u32, from: u32, bits: u32, high: u64, low: u64) -> u32 {
    let root = Root { base, from: from as u8, bits: bits as u8 };
    u32::from(allow::allows(root, Bits { high, low }, maps::allow_word))
}

/// Tracking as a subprogram: it wants more stack than the way of most packets leaves, and the verifier proves it once, not for
/// each way that leads here.
///
/// # Safety
/// `context` must be what the kernel handed to the program that runs, and the others valid.
#[unsafe(no_mangle)]
#[cold]
#[unsafe(link_section = ".text")]
#[inline(never)]
pub(crate) unsafe extern "C" fn track_flow(
    context: *mut xdp_md,
    headers: *const Headers,
    listener: *const Listener,
    place: u64,
) -> u32 {
    // SAFETY: the caller's promise.
    let (packet, headers, listener) = unsafe { (Packet::from_context(context), headers.as_ref(), listener.as_ref()) };
    let (Some(headers), Some(listener)) = (headers, listener) else {
        return u32::from(NO_BACKEND);
    };
    let flow = &headers.flow;
    let signal = parse::signal(&packet, headers);
    let request = Request { listener, flow, place: Place::from_bits(place), signal };
    u32::from(track::run(request, &BpfTables))
}

/// The search for the pin of a flow at work that does not stand at its home.
///
/// # Safety
/// The pointer must be valid.
#[unsafe(no_mangle)]
#[cold]
#[unsafe(link_section = ".text")]
#[inline(never)]
pub(crate) unsafe extern "C" fn pin_behind(flow: *const Flow, hash: u64, pool: u32) -> u32 {
    // SAFETY: the caller's promise.
    let found = unsafe { flow.as_ref() }.map(|flow| established::find_behind(Pinned { flow, hash, pool }));
    found.unwrap_or(Found::Nowhere).to_bits()
}

/// Pinning a flow, as a subprogram: few packets do. The pin comes in two words.
///
/// # Safety
/// The pointer must be valid.
#[cold]
#[unsafe(link_section = ".text")]
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn insert_pin(table: u32, flow: *const Flow, pool: u32, first: u64, last: u64) -> u32 {
    // SAFETY: the caller's promise.
    let Some(flow) = (unsafe { flow.as_ref() }) else { return 0 };
    let pinned = Pinned { flow, hash: hash::flow(maps::hash_key(), flow), pool };
    let pin = Pin::from_words([first, last]);
    let is_in = if table == YOUNG { maps::insert_young(pinned, &pin) } else { established::insert(pinned, &pin) };
    is_in.into()
}

const YOUNG: u32 = Table::Young as u32;

/// The backend of a flow that began before its pool pinned every flow, as a subprogram.
///
/// # Safety
/// Both pointers must be valid.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn backend_before(listener: *const Listener, flow: *const Flow, slot: u32) -> u32 {
    // SAFETY: the caller's promise.
    let (Some(listener), Some(flow)) = (unsafe { (listener.as_ref(), flow.as_ref()) }) else {
        return u32::from(NO_BACKEND);
    };
    let asked = Asked { listener, flow, slot: Slot(slot) };
    u32::from(pinned_pool::before(asked, &BpfTables))
}

/// The choice of a backend for a new flow of a pool that pins every flow, as a subprogram.
///
/// # Safety
/// Both pointers must be valid.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn choose_for_new(
    listener: *const Listener,
    flow: *const Flow,
    slot: u32,
    counts: u32,
) -> u32 {
    // SAFETY: the caller's promise.
    let (Some(listener), Some(flow)) = (unsafe { (listener.as_ref(), flow.as_ref()) }) else {
        return u32::from(NO_BACKEND);
    };
    let asked = Asked { listener, flow, slot: Slot(slot) };
    u32::from(pinned_pool::choose(asked, counts != 0, &BpfTables))
}

/// The way of a packet to a backend that is known, as a subprogram.
///
/// # Safety
/// `context` must be what the kernel handed to the program that runs, and the others valid.
#[unsafe(no_mangle)]
#[cold]
#[unsafe(link_section = ".text")]
#[inline(never)]
pub(crate) unsafe extern "C" fn send_packet(
    context: *mut xdp_md,
    headers: *const Headers,
    listener: *const Listener,
    backend: u32,
) -> u32 {
    // SAFETY: the caller's promise.
    let (mut packet, headers, listener) =
        unsafe { (Packet::from_context(context), headers.as_ref(), listener.as_ref()) };
    let (Some(headers), Some(listener)) = (headers, listener) else {
        return Verdict::DROP.to_bits();
    };
    pipeline::send(&mut packet, headers, listener, backend as u16, &BpfTables).to_bits()
}

/// Setting, adding and taking VLAN tags as a subprogram: the packet's beginning moves, and all that was known of where it
/// is ends. What it needs comes as numbers, so that the way of most packets need not keep it in memory: where the tag and the
/// network header are, the backend, our MAC on the way out, and the VLAN.
///
/// # Safety
/// `context` must be what the kernel handed to the program that runs.
#[unsafe(no_mangle)]
#[cold]
#[unsafe(link_section = ".text")]
#[inline(never)]
pub(crate) unsafe extern "C" fn retag_packet(
    context: *mut xdp_md,
    places: u32,
    backend: u64,
    out: u64,
    vlan: u32,
) -> u32 {
    // SAFETY: the caller's promise.
    let mut packet = unsafe { Packet::from_context(context) };
    let (tag, network) = (offset((places >> 16).into()), offset((places & 0xffff).into()));
    let segment = Segment::new(0, Backend(out).mac(), vlan as u16);
    let chosen = Chosen { backend: Backend(backend), segment, ..Chosen::NONE };
    rewrite::retag(&mut packet, &Headers { tag, network, ..Headers::NONE }, &chosen).into()
}

/// Following a first fragment as a subprogram: few packets are fragments.
///
/// # Safety
/// Both pointers must be valid.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn follow_fragment(headers: *const Headers, chosen: *mut Chosen) -> u32 {
    // SAFETY: the caller's promise.
    let (headers, chosen) = unsafe { (headers.as_ref(), chosen.as_mut()) };
    let (Some(headers), Some(chosen)) = (headers, chosen) else {
        return Finish::drop(Outcome::Malformed).to_bits();
    };
    to_bits(fragments::follow(headers, chosen, &BpfTables))
}

/// What a first fragment leaves, as a subprogram.
///
/// # Safety
/// Both pointers must be valid.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn leave_first(headers: *const Headers, chosen: *const Chosen) -> u32 {
    // SAFETY: the caller's promise.
    let (headers, chosen) = unsafe { (headers.as_ref(), chosen.as_ref()) };
    if let (Some(headers), Some(chosen)) = (headers, chosen) {
        fragments::leave(headers, chosen, &BpfTables);
    }
    0
}

/// The answers to a VIP's own traffic as a subprogram: few packets want them, and the way of most need not carry them.
///
/// # Safety
/// `context` must be what the kernel handed to the program that runs.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn answer_for_vip(context: *mut xdp_md, kind: u32, network: u64, transport: u64) -> u32 {
    // SAFETY: the caller's promise.
    let packet = unsafe { Packet::from_context(context) };
    let kind = match kind {
        ARP => Kind::Arp,
        DISCOVERY => Kind::Discovery,
        _ => Kind::Echo,
    };
    vip_traffic::answer(&packet, kind, offset(network), offset(transport), &BpfTables).to_bits()
}

const ARP: u32 = Kind::Arp as u32;
const DISCOVERY: u32 = Kind::Discovery as u32;

/// Whether a packet answers a probe, as a subprogram: few packets are looked at so, and the way of most need not carry it.
///
/// # Safety
/// `context` must be what the kernel handed to the program that runs, and the others valid.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn answers_probe(
    context: *mut xdp_md,
    headers: *const Headers,
    chosen: *mut Chosen,
) -> u32 {
    // SAFETY: the caller's promise.
    let (packet, headers, chosen) = unsafe { (Packet::from_context(context), headers.as_ref(), chosen.as_mut()) };
    let (Some(headers), Some(chosen)) = (headers, chosen) else {
        return 0;
    };
    probe::is_answer(&packet, headers, chosen, &BpfTables).into()
}
