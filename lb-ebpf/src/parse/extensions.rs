//! IPv6 extension headers (RFC 8200 section 4).
//!
//! On BPF the walk is a subprogram of its own: the verifier then proves it once, and not again for each way in which a
//! packet can come here (with tags or without, the packet's own headers or those that an ICMP error quotes), which would
//! be more than it is willing to follow.

use lb_common::outcome::Outcome;

use crate::packet::Packet;

/// Extension headers that are stepped over. RFC 8200 recommends an order in which there are at most seven.
const MAX_EXTENSIONS: usize = 7;

// The numbers of the registry "IPv6 Extension Header Types".
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// Length of a fragment header (RFC 8200 section 4.5).
pub(super) const FRAGMENT_HEADER: usize = 8;
/// The fragment offset, of the 16 bits that end with "more fragments".
pub(super) const FRAGMENT_OFFSET: u16 = 0xfff8;
/// "More fragments", of the same 16 bits.
const MORE_FRAGMENTS: u16 = 1;

/// Where the extension headers end.
#[derive(Clone, Copy)]
pub(super) struct Upper {
    /// Where the next header begins.
    pub(super) at: usize,
    /// Its protocol.
    pub(super) protocol: u8,
    /// Where the fragment header begins; 0 for a packet that is whole. In a later fragment, nothing behind it was read.
    pub(super) fragment_at: usize,
    end: End,
}

#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Reached,
    Malformed,
    TooMany,
}

impl Upper {
    /// True for a fragment.
    #[inline(always)]
    pub(super) fn is_fragment(&self) -> bool {
        self.fragment_at != 0
    }

    /// Why the upper header can't be reached; `None` if it is.
    #[inline(always)]
    pub(super) fn obstacle(&self) -> Option<Outcome> {
        match self.end {
            End::Reached => None,
            End::Malformed => Some(Outcome::Malformed),
            End::TooMany => Some(Outcome::TooManyExtensions),
        }
    }
}

#[inline(always)]
const fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS | MOBILITY | HOST_IDENTITY | SHIM6
    )
}

/// Steps over the extension headers that begin at `at`, the first of type `next`.
#[inline(always)]
pub(super) fn step_over(packet: &Packet<'_>, at: usize, next: u8) -> Upper {
    if !is_extension(next) {
        return Upper { at, protocol: next, fragment_at: 0, end: End::Reached };
    }
    #[cfg(target_arch = "bpf")]
    return subprogram::call(packet, at, next);
    #[cfg(not(target_arch = "bpf"))]
    return walk(packet, at, next);
}

#[inline(always)]
fn walk(packet: &Packet<'_>, at: usize, next: u8) -> Upper {
    let mut upper = Upper { at, protocol: next, fragment_at: 0, end: End::Malformed };
    for _ in 0..MAX_EXTENSIONS {
        if !is_extension(upper.protocol) {
            break;
        }
        let Some(header) = packet.view::<2>(upper.at) else {
            return upper;
        };
        let length = usize::from(header.u8::<1>());
        let bytes = match upper.protocol {
            AUTHENTICATION => (length + 2) * 4,
            FRAGMENT => {
                let Some(header) = packet.view::<FRAGMENT_HEADER>(upper.at) else {
                    return upper;
                };
                let bits = header.u16::<2>();
                // "Atomic" fragments (RFC 6946), the first and the last in one, are whole packets.
                if bits & (FRAGMENT_OFFSET | MORE_FRAGMENTS) != 0 {
                    if upper.is_fragment() {
                        // A fragment of a fragment: no host makes it.
                        return upper;
                    }
                    upper.fragment_at = upper.at;
                }
                if bits & FRAGMENT_OFFSET != 0 {
                    upper.end = End::Reached;
                    return upper;
                }
                FRAGMENT_HEADER
            }
            _ => (length + 1) * 8,
        };
        upper.protocol = header.u8::<0>();
        upper.at += bytes;
    }
    upper.end = if is_extension(upper.protocol) { End::TooMany } else { End::Reached };
    upper
}

/// The walk as a subprogram. What it returns has to go through one register.
#[cfg(target_arch = "bpf")]
mod subprogram {
    use aya_ebpf::bindings::xdp_md;

    use super::{End, Packet, Upper, walk};
    use crate::packet::offset;

    /// An offset in what is returned. The walk goes at most 7 × 2048 bytes beyond the farthest offset of a packet.
    const OFFSET: u64 = 0xff_ffff;

    /// Bits 0–23: where the upper header begins; 24–47: where the fragment header does; 48–55: the protocol; 56–63: the end.
    ///
    /// # Safety
    /// `context` must be what the kernel handed to the program that runs.
    #[unsafe(no_mangle)]
    #[inline(never)]
    unsafe extern "C" fn step_over_extensions(context: *mut xdp_md, at: u64, next: u64) -> u64 {
        // SAFETY: the caller's promise.
        let packet = unsafe { Packet::from_context(context) };
        let upper = walk(&packet, offset(at), next as u8);
        upper.at as u64 & OFFSET
            | (upper.fragment_at as u64 & OFFSET) << 24
            | u64::from(upper.protocol) << 48
            | (upper.end as u64) << 56
    }

    #[inline(always)]
    pub(super) fn call(packet: &Packet<'_>, at: usize, next: u8) -> Upper {
        // SAFETY: the packet was made of the context of the program that runs.
        let result = unsafe { step_over_extensions(packet.context(), at as u64, u64::from(next)) };
        Upper {
            at: (result & OFFSET) as usize,
            fragment_at: (result >> 24 & OFFSET) as usize,
            protocol: (result >> 48) as u8,
            end: match result >> 56 {
                0 => End::Reached,
                1 => End::Malformed,
                _ => End::TooMany,
            },
        }
    }
}
