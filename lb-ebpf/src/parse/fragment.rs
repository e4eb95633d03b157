//! Fragments of IPv4 (RFC 791 section 3.2) and IPv6 (RFC 8200 section 4.5): which part of its datagram a packet is.

use lb_common::outcome::Outcome;

use super::transport::header_length;
use super::{Headers, Kind};

/// Which part of its datagram a packet is.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment. It has the header above IP.
    First,
    /// Another fragment.
    Later,
}

/// Which part of which datagram a packet is. Of an ICMP error: what the packet that it quotes was.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Which part.
    pub part: Part,
    /// Identification of the datagram, in host order.
    pub id: u32,
    /// Where it begins in the datagram, in units of 8 bytes.
    pub from: u16,
    /// Where it ends, in the same units, rounded down.
    pub to: u16,
}

impl Fragment {
    /// No fragment.
    pub const NONE: Self = Self { part: Part::Whole, id: 0, from: 0, to: 0 };
}

/// The longest datagram, in bytes (RFC 791 section 3.1).
const LONGEST: usize = 65_535;

/// Notes that the packet is a fragment: `from` in units of 8 bytes, `bytes` long, with `more` behind it, of a datagram of
/// that protocol. True for a first one that can be read on.
#[inline(always)]
pub(super) fn run(id: u32, from: u16, more: bool, bytes: usize, protocol: u8, headers: &mut Headers) -> bool {
    let start = usize::from(from) * 8;
    if bytes == 0 || (more && !bytes.is_multiple_of(8)) || start + bytes > LONGEST {
        headers.flowless(Outcome::Malformed);
        return false;
    }
    let part = if from == 0 { Part::First } else { Part::Later };
    headers.fragment = Fragment { part, id, from, to: from.wrapping_add((bytes / 8) as u16) };
    if from == 0 {
        return true;
    }
    if start < header_length(protocol) {
        // It holds a piece of the header that the first one must hold (RFC 3128).
        headers.flowless(Outcome::FragmentTiny);
    } else {
        headers.kind = Kind::LaterFragment;
    }
    false
}
