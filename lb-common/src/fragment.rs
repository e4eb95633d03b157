//! What the first fragment of a datagram leaves behind, so that the others, which have no ports, go where it went.

use bytemuck::{Pod, Zeroable};

use crate::address::Address;
use crate::backend::Backend;
use crate::flow::Flow;
use crate::track::pin::Moment;

/// What the fragments of one datagram have in common (RFC 791 section 3.2, RFC 8200 section 4.5). 40 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct DatagramKey {
    /// Who sent it.
    pub source: Address,
    /// Whom it was sent to.
    pub destination: Address,
    /// Its identification: 16 bits of IPv4, 32 of IPv6, in host order.
    pub id: u32,
    /// IPv4: its protocol. IPv6: always zero, as the fragments need not agree in it.
    pub protocol: u8,
    /// Always zero.
    pub reserved: [u8; 3],
}

impl DatagramKey {
    /// A datagram of a flow; with `returning`, one that the VIP sent to the client, as an ICMP error quotes it.
    #[inline(always)]
    #[must_use]
    pub const fn new(flow: &Flow, id: u32, returning: bool) -> Self {
        let protocol = if flow.destination.is_v4() { flow.protocol } else { 0 };
        let (source, destination) =
            if returning { (flow.destination, flow.source) } else { (flow.source, flow.destination) };
        Self { source, destination, id, protocol, reserved: [0; 3] }
    }
}

/// Where the first fragment of a datagram went. 24 bytes, no padding.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Trail {
    /// What stood in the backend's place: another word there means that it is not the same backend any more. Nothing, if
    /// no listener had the datagram, and the kernel got it.
    pub backend: Backend,
    /// The backend's place.
    pub place: u32,
    /// Id of the listener, for its counter.
    pub listener: u32,
    /// When the first fragment came.
    pub seen: Moment,
    /// Where the first fragment ends, in units of 8 bytes from the beginning of the datagram; [`Trail::SPOILT`] when
    /// another was found to overlap it.
    pub end: u16,
    /// Always zero.
    pub reserved: u16,
}

impl Trail {
    /// How long a trail is followed, in ticks: for as long as Linux waits for the rest of a datagram
    /// (`net.ipv4.ipfrag_time`, 30 s). It is counted from the first fragment.
    pub const LIFETIME: u32 = Moment::ticks(30_000);

    /// The [`Trail::end`] of a datagram whose fragments overlap: it is beyond where any fragment can begin.
    pub const SPOILT: u16 = u16::MAX;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol;

    #[test]
    fn a_key_has_the_protocol_only_where_the_fragments_agree_in_it() {
        let (v4, v6) = (Address::from_v4_word(1), Address([1, 2, 3, 4]));
        let of = |address| DatagramKey::new(&Flow::without_ports(address, address, protocol::UDP), 7, false);
        assert_eq!(of(v4).protocol, protocol::UDP);
        assert_eq!(of(v6).protocol, 0);
    }

    #[test]
    fn a_returning_datagram_goes_from_the_vip_to_the_client() {
        let flow = Flow::without_ports(Address::from_v4_word(1), Address::from_v4_word(2), protocol::UDP);
        let (there, back) = (DatagramKey::new(&flow, 7, false), DatagramKey::new(&flow, 7, true));
        assert_eq!((there.source, there.destination), (flow.source, flow.destination));
        assert_eq!((back.source, back.destination), (flow.destination, flow.source));
    }
}
