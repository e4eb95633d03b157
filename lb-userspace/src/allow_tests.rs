use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::address::Address;
use lb_common::allow::{Root, allows};
use proptest::prelude::*;

use super::*;

/// A region's place in the map: what is before it belongs to others.
const BASE: u32 = 1_000;

fn prefix(address: IpAddr, length: u8) -> PrefixBits {
    let Bits { high, low } = Bits::of(&Address::from(address));
    let keep = |word: u64, bits: u32| if bits == 0 { 0 } else { word & u64::MAX << (64 - bits) };
    let length32 = u32::from(length);
    let bits = Bits { high: keep(high, length32.min(64)), low: keep(low, length32.saturating_sub(64)) };
    PrefixBits { bits, length }
}

fn parse(text: &str) -> PrefixBits {
    let (address, length) = text.split_once('/').expect("a prefix");
    prefix(address.parse().expect("an address"), length.parse().expect("a length"))
}

fn look_up(trie: &Trie, address: IpAddr) -> bool {
    let root = Root { base: BASE, from: trie.from, bits: trie.bits };
    let word = |at: u32| trie.words.get(at.checked_sub(BASE)? as usize).copied();
    allows(root, Bits::of(&Address::from(address)), word)
}

/// One prefix after the other.
fn naive(prefixes: &[PrefixBits], address: IpAddr) -> bool {
    let address = Bits::of(&Address::from(address));
    prefixes.iter().any(|prefix| (0..u32::from(prefix.length)).all(|bit| address.at(bit, 1) == prefix.bits.at(bit, 1)))
}

#[test]
fn the_ends_of_each_prefix_are_in_and_their_neighbours_out() {
    let texts = ["10.0.0.0/8", "192.0.2.128/25", "198.51.100.7/32", "203.0.113.0/31", "203.0.113.4/30"];
    let trie = build(texts.map(parse).to_vec());
    for (address, allowed) in [
        ("9.255.255.255", false),
        ("10.0.0.0", true),
        ("10.255.255.255", true),
        ("11.0.0.0", false),
        ("192.0.2.127", false),
        ("192.0.2.128", true),
        ("192.0.2.255", true),
        ("192.0.3.0", false),
        ("198.51.100.6", false),
        ("198.51.100.7", true),
        ("198.51.100.8", false),
        ("203.0.113.1", true),
        ("203.0.113.2", false),
        ("203.0.113.7", true),
        ("0.0.0.0", false),
        ("255.255.255.255", false),
    ] {
        assert_eq!(look_up(&trie, address.parse().expect("an address")), allowed, "{address}");
    }
}

#[test]
fn everything_can_be_allowed_by_one_prefix_and_by_its_parts() {
    for texts in [&["0.0.0.0/0"][..], &["0.0.0.0/1", "128.0.0.0/1"], &["0.0.0.0/1", "192.0.0.0/2", "128.0.0.0/2"]] {
        let trie = build(texts.iter().map(|text| parse(text)).collect());
        assert_eq!(trie.words.len(), HEADER as usize + 2, "{texts:?} is one prefix");
        for address in [0_u32, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            assert!(look_up(&trie, Ipv4Addr::from(address).into()), "{texts:?}, {address:x}");
        }
    }
}

#[test]
fn the_deepest_trie_is_walked_to_its_end() {
    // Every length has one prefix, so that each node has but a few.
    let all = |bits: u8| {
        (1..=bits).map(move |length| (u128::MAX << (u32::from(128 - length)) & !(1 << (128 - length)), length))
    };
    let v6: Vec<_> = all(128).map(|(bits, length)| prefix(Ipv6Addr::from(bits).into(), length)).collect();
    let trie = build(v6.clone());
    for PrefixBits { bits: Bits { high, low }, .. } in &v6 {
        let address = Ipv6Addr::from(u128::from(*high) << 64 | u128::from(*low));
        assert!(look_up(&trie, address.into()), "{address}");
    }
    assert!(!look_up(&trie, Ipv6Addr::from(u128::MAX).into()));
}

#[test]
fn ten_thousand_prefixes_take_a_few_words_each() {
    let mut random = 1_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 16
    };
    let v4: Vec<_> = (0..10_000).map(|_| prefix(Ipv4Addr::from(next() as u32).into(), 24)).collect();
    let v6: Vec<_> = (0..10_000)
        .map(|_| prefix(Ipv6Addr::from(0x2001 << 112 | u128::from(next()) << 64 | u128::from(next())).into(), 128))
        .collect();
    // All in one corner: nothing to be told by the first bits.
    let near: Vec<_> = (0..10_000).map(|n| prefix(Ipv4Addr::from(0x0a00_0000 + n * 3).into(), 32)).collect();
    for (what, list) in [("IPv4", v4), ("IPv6", v6), ("neighbours", near)] {
        let words = build(list).words.len();
        assert!(words < 10_000 * 8, "{what}: {words} words");
    }
}

/// Prefixes that lie in and beside each other: addresses of few bits set, and of all lengths.
fn prefixes(v4: bool) -> impl Strategy<Value = Vec<PrefixBits>> {
    let most = if v4 { 32 } else { 128_u8 };
    prop::collection::vec((address(v4), 0..=most), 1..60)
        .prop_map(|list| list.into_iter().map(|(address, length)| prefix(address, length.max(3))).collect())
}

fn address(v4: bool) -> impl Strategy<Value = IpAddr> {
    let sparse = prop::collection::vec(0_u32..128, 0..6)
        .prop_map(|set| set.into_iter().fold(0_u128, |bits, bit| bits ^ 1 << bit));
    prop_oneof![sparse, any::<u128>()].prop_map(move |bits| {
        if v4 { Ipv4Addr::from((bits >> 96) as u32 | bits as u32).into() } else { Ipv6Addr::from(bits).into() }
    })
}

fn agree(list: &[PrefixBits], others: &[IpAddr]) -> Result<(), TestCaseError> {
    let trie = build(list.to_vec());
    let v4 = others.first().is_some_and(IpAddr::is_ipv4);
    let at = |bits: u128| -> IpAddr {
        if v4 { Ipv4Addr::from((bits >> 96) as u32).into() } else { Ipv6Addr::from(bits).into() }
    };
    // The first and the last address of each prefix, and what is beside them.
    let edges = list.iter().flat_map(|PrefixBits { bits, length }| {
        let first = u128::from(bits.high) << 64 | u128::from(bits.low);
        let unit: u128 = if v4 { 1 << 96 } else { 1 };
        let last = first | u128::MAX.checked_shr(u32::from(*length)).unwrap_or(0) & unit.wrapping_neg();
        [first, first.wrapping_sub(unit), last, last.wrapping_add(unit)]
    });
    for address in edges.map(at).chain(others.iter().copied()) {
        prop_assert_eq!(look_up(&trie, address), naive(list, address), "{}", address);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn ipv4_is_looked_up_as_one_prefix_after_the_other_would(
        list in prefixes(true), others in prop::collection::vec(address(true), 1..40)
    ) {
        agree(&list, &others)?;
    }

    #[test]
    fn ipv6_is_looked_up_as_one_prefix_after_the_other_would(
        list in prefixes(false), others in prop::collection::vec(address(false), 1..40)
    ) {
        agree(&list, &others)?;
    }

    #[test]
    fn the_order_of_the_list_means_nothing(list in prefixes(false)) {
        let mut turned = list.clone();
        turned.reverse();
        prop_assert_eq!(build(list), build(turned));
    }
}
