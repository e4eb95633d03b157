//! Limits on how many new flows a second a source begins: a token bucket, kept as the one moment at which it would be full
//! again (the virtual scheduling of ITU-T I.371, annex A, also called GCRA). A word for each source, and no timer.

use bytemuck::{Pod, Zeroable};

use crate::address::Address;
use crate::allow::Bits;

/// Key of the sources' map: a network of clients, at one listener. 24 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct SourceKey {
    /// The first 64 bits of the network; an IPv4 one has its 32 at the top.
    pub high: u64,
    /// The other 64 bits.
    pub low: u64,
    /// The listener's id.
    pub listener: u32,
    /// Always zero.
    pub reserved: u32,
}

impl SourceKey {
    /// The network of a client, of the first `bits` of its address: 1 to 32 for IPv4, 1 to 128 for IPv6.
    #[inline(always)]
    #[must_use]
    pub const fn new(client: &Address, bits: u8, listener: u32) -> Self {
        let Bits { high, low } = Bits::of(client);
        let bits = bits as u32;
        let high = if bits >= 64 { high } else { high & !(u64::MAX >> (bits & 63)) };
        let low = if bits >= 128 {
            low
        } else if bits <= 64 {
            0
        } else {
            low & !(u64::MAX >> (bits & 63))
        };
        Self { high, low, listener, reserved: 0 }
    }
}

/// Takes a token for a new flow at `now`. `full` is when the bucket would be full again, 0 for one that is; `interval` the
/// nanoseconds in which one token comes, `burst` how many a full bucket has. The new `full`, or `None` if there is no token.
#[inline(always)]
#[must_use]
pub const fn take(full: u64, now: u64, interval: u32, burst: u32) -> Option<u64> {
    let begin = if full > now { full } else { now };
    let after = begin + interval as u64;
    if after - now > interval as u64 * burst as u64 { None } else { Some(after) }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_passes_and_then_as_many_as_tokens_come() {
        let interval = (SECOND / 10) as u32;
        let mut full = 0;
        let mut passed = |now: u64, tries: u32| {
            (0..tries).filter(|_| take(full, now, interval, 5).map(|after| full = after).is_some()).count()
        };
        assert_eq!(passed(100 * SECOND, 8), 5);
        assert_eq!(passed(100 * SECOND + SECOND / 10, 8), 1);
        assert_eq!(passed(100 * SECOND + SECOND / 5 - 1, 8), 0);
        assert_eq!(passed(101 * SECOND, 20), 5, "no more than a full bucket has");
        assert_eq!(passed(200 * SECOND, 20), 5);
        let over_a_minute: usize = (0..6_000).map(|step| passed(300 * SECOND + step * SECOND / 100, 3)).sum();
        assert_eq!(over_a_minute, 604, "ten a second, and the burst");
    }

    #[test]
    fn an_empty_bucket_lets_nothing_pass() {
        assert_eq!(take(0, 7 * SECOND, 1, 0), None);
    }

    #[test]
    fn a_source_is_the_first_bits_of_its_address() {
        let v4 = Address::from(Ipv4Addr::new(198, 51, 100, 7));
        let of = |bits| SourceKey::new(&v4, bits, 3).high;
        assert_eq!((of(32), of(24), of(1)), (0xc633_6407_0000_0000, 0xc633_6400_0000_0000, 1 << 63));
        let v6 = Address::from(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6));
        let of = |bits| SourceKey::new(&v6, bits, 3);
        assert_eq!((of(128).high, of(128).low), (0x2001_0db8_0001_0002, 0x0003_0004_0005_0006));
        assert_eq!((of(64).high, of(64).low), (0x2001_0db8_0001_0002, 0));
        assert_eq!((of(56).high, of(56).low), (0x2001_0db8_0001_0000, 0));
        assert_eq!((of(80).high, of(80).low), (0x2001_0db8_0001_0002, 0x0003_0000_0000_0000));
    }
}
