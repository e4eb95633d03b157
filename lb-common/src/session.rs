//! Sessions: which backend a client's flows go to, where a pool is set to remember that (session persistence).

use bytemuck::{Pod, Zeroable};

use crate::address::Address;
use crate::track::pin::Moment;

/// Key of the sessions' map. 20 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct SessionKey {
    /// The client's address, or the network that it is in.
    pub client: Address,
    /// Number of the pool.
    pub pool: u32,
}

impl SessionKey {
    /// The session of a client, with the leading `bits` (1–128, IPv4 mapped) of its address.
    #[inline(always)]
    #[must_use]
    pub const fn new(client: &Address, bits: u8, pool: u32) -> Self {
        let [a, b, c, d] = client.0;
        let bits = bits as u32;
        Self { client: Address([a & mask(bits, 0), b & mask(bits, 32), c & mask(bits, 64), d & mask(bits, 96)]), pool }
    }
}

/// The mask of the word that begins at bit `from`, in network order.
#[inline(always)]
const fn mask(bits: u32, from: u32) -> u32 {
    if bits >= from + 32 {
        u32::MAX
    } else if bits <= from {
        0
    } else {
        (u32::MAX << (from + 32 - bits)).to_be()
    }
}

/// Where a client's flows go. 8 bytes.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Session {
    /// The backend, by its index in the pool.
    pub backend: u16,
    /// Always zero.
    pub reserved: u16,
    /// When a flow of the client last began.
    pub seen: Moment,
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn a_session_is_the_leading_bits_of_the_client() {
        let client = Address::from(Ipv6Addr::new(0x2001, 0xdb8, 0x1234, 0x5678, 1, 2, 3, 4));
        for (bits, network) in [
            (128, "2001:db8:1234:5678:1:2:3:4"),
            (64, "2001:db8:1234:5678::"),
            (48, "2001:db8:1234::"),
            (33, "2001:db8::"),
            (20, "2001::"),
        ] {
            let network: Ipv6Addr = network.parse().expect("an address");
            assert_eq!(SessionKey::new(&client, bits, 7).client, Address::from(network), "{bits} bits");
        }
        let v4 = Address::from(Ipv4Addr::new(198, 51, 100, 7));
        assert_eq!(SessionKey::new(&v4, 128, 7).client, v4);
        assert_eq!(SessionKey::new(&v4, 120, 7).client, Address::from(Ipv4Addr::new(198, 51, 100, 0)));
    }
}
