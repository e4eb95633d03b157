//! What of the pipeline has a stack frame of its own, and is proved by the verifier once, not for each way that leads there.
//!
//! The kernel allows 512 bytes of stack along the deepest chain of calls. The program itself keeps nearly nothing there: what
//! is known of a packet is in a per-CPU array, and these take turns. A program that needs more is refused when it is loaded.
//!
//! Each is a function for the linker, so its arguments are numbers, the context, or memory that it may write; memory may be
//! missing as far as the verifier knows.

use aya_ebpf::bindings::xdp_md;
use lb_common::allow::{self, Bits, Root};
use lb_common::outcome::Outcome;
use lb_common::slot::NO_BACKEND;
use lb_ebpf::finish::Finish;
use lb_ebpf::packet::{Packet, offset};
use lb_ebpf::parse::{self, Headers, Kind};
use lb_ebpf::select::Chosen;
use lb_ebpf::{fragments, pipeline, probe, rewrite, track, vip_traffic};

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

/// Choosing the backend of a packet whose flow is known.
///
/// # Safety
/// `context` must be what the kernel handed to the program that runs, and the others valid.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn choose_backend(
    context: *mut xdp_md,
    headers: *mut Headers,
    chosen: *mut Chosen,
) -> u32 {
    // SAFETY: the caller's promise.
    let (packet, tables) = unsafe { (Packet::from_context(context), BpfTables::of(context)) };
    // SAFETY: the caller's promise.
    let (Some(headers), Some(chosen)) = (unsafe { (headers.as_mut(), chosen.as_mut()) }) else {
        return Finish::drop(Outcome::Malformed).to_bits();
    };
    to_bits(pipeline::choose(&packet, headers, chosen, &tables))
}

/// The look-up in an allow-list as a subprogram: its loop is proved once, and its registers are its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn allows_source(base: u32, from: u32, bits: u32, high: u64, low: u64) -> u32 {
    let root = Root { base, from: from as u8, bits: bits as u8 };
    u32::from(allow::allows(root, Bits { high, low }, maps::allow_word))
}

/// Tracking as a subprogram, of the request that was put into its map: it wants more stack than the way of most packets
/// leaves, and the verifier proves it once, not for each way that leads here. It takes no argument: one that is not used would
/// not be passed, and the verifier wants it to be.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn track_flow() -> u32 {
    // SAFETY: it was written before the call, and is not written again before we return.
    let Some(request) = (unsafe { maps::track_request() }) else {
        return u32::from(NO_BACKEND);
    };
    u32::from(track::run(request, &BpfTables::at(0)))
}

/// Setting, adding and taking VLAN tags as a subprogram: the packet's beginning moves, and all that was known of where it
/// is ends.
///
/// # Safety
/// `context` must be what the kernel handed to the program that runs, and the others valid.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn retag_packet(
    context: *mut xdp_md,
    headers: *const Headers,
    chosen: *const Chosen,
) -> u32 {
    // SAFETY: the caller's promise.
    let (mut packet, headers, chosen) = unsafe { (Packet::from_context(context), headers.as_ref(), chosen.as_ref()) };
    let (Some(headers), Some(chosen)) = (headers, chosen) else {
        return 0;
    };
    rewrite::retag(&mut packet, headers, chosen).into()
}

/// Following a first fragment as a subprogram: few packets are fragments.
///
/// # Safety
/// Both pointers must be valid.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn follow_fragment(headers: *const Headers, chosen: *mut Chosen) -> u32 {
    // SAFETY: the caller's promise.
    let (Some(headers), Some(chosen)) = (unsafe { (headers.as_ref(), chosen.as_mut()) }) else {
        return Finish::drop(Outcome::Malformed).to_bits();
    };
    to_bits(fragments::follow(headers, chosen, &BpfTables::from_nowhere()))
}

/// What a first fragment leaves, as a subprogram.
///
/// # Safety
/// Both pointers must be valid.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn leave_first(headers: *const Headers, chosen: *const Chosen) -> u32 {
    // SAFETY: the caller's promise.
    if let (Some(headers), Some(chosen)) = unsafe { (headers.as_ref(), chosen.as_ref()) } {
        fragments::leave(headers, chosen, &BpfTables::from_nowhere());
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
    let (packet, tables) = unsafe { (Packet::from_context(context), BpfTables::of(context)) };
    let kind = match kind {
        ARP => Kind::Arp,
        DISCOVERY => Kind::Discovery,
        _ => Kind::Echo,
    };
    vip_traffic::answer(&packet, kind, offset(network), offset(transport), &tables).to_bits()
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
    probe::is_answer(&packet, headers, chosen, &BpfTables::from_nowhere()).into()
}
