//! The hash that spreads flows over a lookup table's slots.
//!
//! Each 64-bit word of the input is multiplied by an odd constant of its own; the sum of the products is shifted into itself and
//! multiplied once more, so that the high bits depend on all bits of the input. One of the words is what a flow's listener is looked
//! for by: VIP, protocol and port. No multiplication waits for more than one
//! other, however long the input is: a packet waits for its hash before anything else. BPF has no 64×64→128 multiplication, so
//! hashes that are built on it (wyhash, xxh3) are not to be had. Each bit of what tells the flows of a VIP apart (client, ports,
//! protocol) changes each bit that chooses a slot with a probability close to one half; the VIP's own bits change fewer.
//!
//! The hash is keyed: all balancers of a deployment must use one key to agree with each other. It is not a
//! cryptographic one: a client that knows the key can choose ports that meet in one slot, which gains it nothing but
//! the backend of its choice.

use crate::address::Address;
use crate::flow::Flow;
use crate::listener::ListenerKey;

/// The key that balancers use when none is set, so that they agree without being told.
pub const DEFAULT_KEY: u64 = 0x6472_6c62_2d6b_6579;

/// What the words are multiplied by: the 64-bit golden ratio (the increment of SplitMix64), and multipliers of finalizers that are
/// known to mix well, among them SplitMix64's and MurmurHash3's.
pub(crate) const FACTORS: [u64; 5] =
    [0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93, 0x94d0_49bb_1331_11eb, 0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53];
/// What their sum is multiplied by.
const MIX: u64 = 0xbf58_476d_1ce4_e5b9;

#[inline(always)]
const fn mix(sum: u64) -> u64 {
    let mixed = (sum ^ (sum >> 32)).wrapping_mul(MIX);
    mixed ^ (mixed >> 32)
}

/// An address as one summand. The high bits of a word change few bits of a product, and where an address stands in a packet, they
/// are those that differ most: they are laid over the low ones first.
#[inline(always)]
const fn halves(key: u64, [first, last]: [u64; 2], one: u64, other: u64) -> u64 {
    let (first, last) = (first ^ (first >> 32), last ^ (last >> 32));
    (key ^ first).wrapping_mul(one).wrapping_add(last.wrapping_mul(other))
}

/// What one word brings to a hash: its high bits depend on all bits of the word.
#[inline(always)]
pub(crate) const fn spread(word: u64) -> u64 {
    word.wrapping_mul(FACTORS[2])
}

/// Hash of the whole 5-tuple: the algorithm `source-ip-port`.
#[inline(always)]
#[must_use]
pub const fn flow(key: u64, flow: &Flow) -> u64 {
    let to = spread(ListenerKey::exact(flow).word());
    let ports = (flow.ports.to_word() as u64).wrapping_mul(FACTORS[3]);
    let from = if flow.destination.is_v4() {
        (key ^ flow.source.0[3] as u64).wrapping_mul(FACTORS[4])
    } else {
        halves(key, flow.source.halves(), FACTORS[0], FACTORS[1])
    };
    mix(to.wrapping_add(ports).wrapping_add(from))
}

/// Hash of the client's address alone: the algorithm `source-ip`. All flows of one client get one hash.
#[inline(always)]
#[must_use]
pub const fn source(key: u64, source: &Address) -> u64 {
    mix(halves(key, source.halves(), FACTORS[0], FACTORS[1]))
}

#[inline(always)]
const fn fold(state: u64, word: u64) -> u64 {
    let mixed = (state ^ word).wrapping_mul(FACTORS[0]);
    mixed ^ (mixed >> 32)
}

/// David Stafford's "Mix13" finalizer, the one of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
#[inline(always)]
const fn finish(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// Hash of any bytes, for what the agent derives from a backend's address (its order and its way through the table). No packet waits
/// for it: each word is folded in after the one before.
#[must_use]
pub fn bytes(key: u64, bytes: &[u8]) -> u64 {
    let mut state = fold(key, bytes.len() as u64);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = fold(state, u64::from_le_bytes(word));
    }
    finish(state)
}

/// A hash brought into `0..count` without a division: the high half of the product (Lemire, "Fast Random Integer
/// Generation in an Interval", 2019). Gives 0 when `count` is 0.
#[inline(always)]
#[must_use]
pub const fn reduce(hash: u64, count: u32) -> u32 {
    (((hash >> 32) * count as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;

    use super::*;
    use crate::address::{Port, Ports};
    use crate::protocol;

    fn flow_number(i: u32) -> Flow {
        Flow {
            source: Address::from_v4_word((0x0a00_0000 + i / 1000).to_be()),
            destination: Address::from_v4_word(0xc000_020a_u32.to_be()),
            ports: Ports::new(Port::from_host(1024 + (i % 1000) as u16), Port::from_host(80)),
            protocol: protocol::TCP,
        }
    }

    fn flow6_number(i: u32) -> Flow {
        let word = |number: u32| number.to_be();
        Flow {
            source: Address([word(0x2001_0db8), 0, word(i / 100_000), word(i / 1000)]),
            destination: Address([word(0x2001_0db8), 0, 0, word(10)]),
            ..flow_number(i)
        }
    }

    /// How far hashes are from an even spread over `buckets`, in deviations of what chance would do (chi-square).
    fn uneven(hashes: impl Iterator<Item = u64>, buckets: u32) -> f64 {
        let mut counts = vec![0_u32; buckets as usize];
        hashes.for_each(|hash| counts[reduce(hash, buckets) as usize] += 1);
        let expected = f64::from(counts.iter().sum::<u32>()) / f64::from(buckets);
        let chi: f64 = counts.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
        let freedom = f64::from(buckets - 1);
        (chi - freedom) / (2.0 * freedom).sqrt()
    }

    fn with(source: u32, destination: u32, ports: [u32; 2]) -> Flow {
        let [from, to] = ports.map(|port| Port::from_host(port as u16));
        Flow {
            source: Address::from_v4_word(source.to_be()),
            destination: Address::from_v4_word(destination.to_be()),
            ports: Ports::new(from, to),
            protocol: protocol::TCP,
        }
    }

    #[test]
    fn flows_that_differ_in_little_spread_evenly() {
        let (client, vip) = (0x0a00_0000_u32, 0xc000_020a_u32);
        let sets: [(&str, &dyn Fn(u32) -> Flow); 12] = [
            ("clients and ports", &flow_number),
            ("clients and ports of IPv6", &flow6_number),
            ("all ports of clients", &|i| with(client + i / 65_536, vip, [i % 65_536, 80])),
            ("every second port", &|i| with(client + i / 8_192, vip, [32_768 + i * 2 % 16_384, 443])),
            ("clients with one port", &|i| with(client + i, vip, [40_000, 80])),
            ("the first of each /24", &|i| with((i << 8) + 1, vip, [40_000, 80])),
            ("the first bytes of an address", &|i| with(i.reverse_bits(), vip, [40_000, 80])),
            ("VIPs", &|i| with(client + i / 1_000, vip + i % 1_000, [40_000, 80])),
            ("ports of a VIP", &|i| with(client + i / 1_000, vip, [40_000, i % 1_000])),
            ("both ports alike", &|i| with(client + i / 60_000, vip, [i % 60_000; 2])),
            ("networks of IPv6", &|i| Flow { source: Address([0x20, i.to_be(), 0, 1_u32.to_be()]), ..flow6_number(0) }),
            ("hosts of IPv6", &|i| Flow { source: Address([0x20, 0, i << 16, i.to_be()]), ..flow6_number(0) }),
        ];
        for (what, flow_of) in sets {
            for (buckets, flows) in [(251, 60_000), (1_009, 60_000), (65_537, 600_000)] {
                let by_flow = uneven((0..flows).map(|i| flow(DEFAULT_KEY, &flow_of(i))), buckets);
                assert!(by_flow.abs() < 6.0, "{what} over {buckets}: {by_flow} deviations");
            }
        }
        for buckets in [251, 1_009, 65_537] {
            let by_source =
                uneven((0..600_000).map(|i| source(DEFAULT_KEY, &with(client + i, vip, [0; 2]).source)), buckets);
            assert!(by_source.abs() < 6.0, "clients over {buckets}: {by_source} deviations");
        }
    }

    /// Any flow of that number: nothing of it follows from the one before.
    fn any_flow(number: u32, is_v4: bool) -> Flow {
        let word = |salt: u64| finish(fold(salt, number.into())) as u32;
        let address = |salt| match is_v4 {
            true => Address::from_v4_word(word(salt)),
            false => Address([0, 1, 2, 3].map(|part| word(salt + part))),
        };
        Flow { source: address(0), destination: address(4), ports: Ports::from_wire(word(8)), protocol: word(10) as u8 }
    }

    /// Of each bit that chooses a slot: how far the share of flows for which it changes with the input is from one half, at most.
    fn bias(is_v4: bool, change: impl Fn(&mut Flow)) -> f64 {
        const FLOWS: u32 = 2_000;
        let mut changed = [0_u32; 32];
        for number in 0..FLOWS {
            let before = any_flow(number, is_v4);
            let mut after = before;
            change(&mut after);
            let difference = (flow(DEFAULT_KEY, &before) ^ flow(DEFAULT_KEY, &after)) >> 32;
            for (bit, changed) in changed.iter_mut().enumerate() {
                *changed += (difference >> bit) as u32 & 1;
            }
        }
        let bias = changed.map(|changed| (f64::from(changed) / f64::from(FLOWS) - 0.5).abs());
        bias.into_iter().fold(0.0, f64::max)
    }

    #[test]
    fn each_bit_that_tells_flows_of_a_vip_apart_changes_each_that_chooses_a_slot_half_of_the_time() {
        for is_v4 in [true, false] {
            // A deviation is 0.011.
            let check = |what: &str, bit: u32, bias: f64| {
                assert!(bias < 0.07, "bit {bit} of the {what} ({}): {bias}", if is_v4 { "IPv4" } else { "IPv6" });
            };
            for bit in if is_v4 { 96..128 } else { 0..128 } {
                let word = bit as usize / 32;
                check("source", bit, bias(is_v4, |flow| flow.source.0[word] ^= 1 << (bit % 32)));
            }
            for bit in 0..32 {
                let flip = |ports: &mut Ports| *ports = Ports::from_wire((ports.to_word() ^ 1 << bit).to_le());
                check("ports", bit, bias(is_v4, |flow| flip(&mut flow.ports)));
            }
            for bit in 0..8 {
                check("protocol", bit, bias(is_v4, |flow| flow.protocol ^= 1 << bit));
            }
        }
    }

    #[test]
    fn words_of_ipv6_addresses_that_change_places_change_the_hash() {
        let mut base = flow6_number(123_456);
        base.destination.0[1] = 1;
        let [a, b] = base.source.halves();
        let [c, d] = base.destination.halves();
        let of = |source, destination| {
            let flow = Flow {
                source: Address(bytemuck::cast(source)),
                destination: Address(bytemuck::cast(destination)),
                ..base
            };
            super::flow(DEFAULT_KEY, &flow)
        };
        let orders: [([u64; 2], [u64; 2]); 5] =
            [([a, b], [c, d]), ([b, a], [c, d]), ([a, b], [d, c]), ([c, d], [a, b]), ([a, d], [c, b])];
        let hashes: std::collections::BTreeSet<u64> = orders.map(|(one, other)| of(one, other)).into();
        assert_eq!(hashes.len(), orders.len());
    }

    #[test]
    fn source_hash_ignores_everything_but_the_source() {
        let (a, b) = (flow_number(1), flow_number(2));
        assert_eq!(a.source, b.source);
        assert_eq!(source(DEFAULT_KEY, &a.source), source(DEFAULT_KEY, &b.source));
        assert_ne!(source(DEFAULT_KEY, &a.source), source(DEFAULT_KEY, &flow_number(5_000).source));
    }

    #[test]
    fn the_key_changes_the_hash() {
        let f = flow_number(7);
        assert_ne!(flow(DEFAULT_KEY, &f), flow(DEFAULT_KEY + 1, &f));
    }

    #[test]
    fn reduce_stays_in_range() {
        assert_eq!(reduce(u64::MAX, 7), 6);
        assert_eq!(reduce(0, 7), 0);
        assert_eq!(reduce(u64::MAX, 0), 0);
    }
}
