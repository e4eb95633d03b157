use std::net::Ipv4Addr;

use lb_common::limits::DEFAULT_SLOTS;
use proptest::prelude::*;

use super::*;

fn walk(offset: u32, skip: u32) -> Walk {
    Walk { offset, skip, weight: 1 }
}

fn backend(number: u32) -> Address {
    Ipv4Addr::from_bits(0x0a00_0001 + number).into()
}

fn backends(count: u32, weight: impl Fn(u32) -> u16) -> Vec<(Address, u16)> {
    (0..count).map(|number| (backend(number), weight(number))).collect()
}

/// Slots of each backend.
fn shares(table: &[u16], count: usize) -> Vec<u32> {
    let mut shares = vec![0; count];
    for &slot in table {
        shares[usize::from(slot)] += 1;
    }
    shares
}

/// The table as addresses, which is what two balancers must agree on.
fn addresses(backends: &[(Address, u16)], slots: u32) -> Vec<Option<Address>> {
    table(backends, slots).iter().map(|&slot| backends.get(usize::from(slot)).map(|backend| backend.0)).collect()
}

/// Slots that two tables disagree on.
fn moved(before: &[Option<Address>], after: &[Option<Address>]) -> usize {
    before.iter().zip(after).filter(|(before, after)| before != after).count()
}

#[test]
fn the_papers_table_1() {
    let (b0, b1, b2) = (walk(3, 4), walk(0, 2), walk(3, 1));
    assert_eq!(fill(&[b0, b1, b2], 7), [1, 0, 1, 0, 2, 2, 0]);
    // Without B1, with B2 as the second.
    assert_eq!(fill(&[b0, b2], 7), [0, 0, 0, 0, 1, 1, 1]);
}

#[test]
fn a_weight_of_zero_sits_out() {
    let (b0, b1, b2) = (walk(3, 4), walk(0, 2), walk(3, 1));
    assert_eq!(fill(&[b0, Walk { weight: 0, ..b1 }, b2], 7), [0, 0, 0, 0, 2, 2, 2]);
    assert_eq!(fill(&[Walk { weight: 0, ..b0 }], 7), [NO_BACKEND; 7]);
    assert_eq!(fill(&[], 7), [NO_BACKEND; 7]);
}

/// The table of a known pool, as a digest: it must not change between versions, or balancers of two versions would send
/// one flow to two backends.
#[test]
fn the_table_never_changes_between_versions() {
    let pool = backends(10, |number| 1 + number as u16);
    let bytes: Vec<u8> = table(&pool, DEFAULT_SLOTS).iter().flat_map(|slot| slot.to_le_bytes()).collect();
    assert_eq!(hash::bytes(0, &bytes), 0xbf39_3973_57cc_8594);
}

#[test]
fn equal_weights_share_evenly() {
    for count in [3, 10, 100, 1000] {
        let shares = shares(&table(&backends(count, |_| 7), DEFAULT_SLOTS), count as usize);
        let (least, most) = (shares.iter().min().expect("some"), shares.iter().max().expect("some"));
        assert!(most - least <= 1, "{count} backends: {least} to {most}");
    }
}

#[test]
fn shares_are_in_proportion_to_weights() {
    for count in [3, 10, 100, 1000] {
        let pool = backends(count, |number| [1, 10, 256][number as usize % 3]);
        let total: u32 = pool.iter().map(|backend| u32::from(backend.1)).sum();
        for (share, (_, weight)) in shares(&table(&pool, DEFAULT_SLOTS), pool.len()).iter().zip(&pool) {
            let fair = f64::from(DEFAULT_SLOTS) * f64::from(*weight) / f64::from(total);
            assert!((f64::from(*share) - fair).abs() < 2.0, "{count} backends: {share} slots, fair are {fair}");
        }
    }
}

/// The share of slots that a change moves beyond those that it must, which are the ones that a backend loses.
fn needless(before: &[(Address, u16)], after: &[(Address, u16)]) -> f64 {
    let (old, new) = (addresses(before, DEFAULT_SLOTS), addresses(after, DEFAULT_SLOTS));
    let held = |table: &[Option<Address>], address| table.iter().filter(|slot| **slot == Some(address)).count();
    let lost = |(address, _): &(Address, u16)| held(&old, *address).saturating_sub(held(&new, *address));
    let needed: usize = before.iter().map(lost).sum();
    (moved(&old, &new) - needed) as f64 / f64::from(DEFAULT_SLOTS)
}

#[test]
fn a_change_moves_few_slots_of_those_that_it_does_not_concern() {
    for count in [3, 10, 100] {
        for weight in [|_| 1, |number: u32| [1, 2, 5, 10][number as usize % 4]] {
            let pool = backends(count, weight);
            let mut without = pool.clone();
            without.remove(count as usize / 2);
            let mut with = pool.clone();
            with.push((backend(5000), 2));
            let mut heavier = pool.clone();
            heavier[0].1 *= 2;
            for (what, after) in [("removal", without), ("addition", with), ("new weight", heavier)] {
                let needless = needless(&pool, &after);
                assert!(needless < 0.01, "{count} backends, {what}: {needless} of the slots move without need");
            }
        }
    }
}

fn any_pool() -> impl Strategy<Value = Vec<(Address, u16)>> {
    prop::collection::btree_map(any::<u32>(), 0_u16..=256, 1..40)
        .prop_map(|pool| pool.into_iter().map(|(bits, weight)| (Ipv4Addr::from_bits(bits).into(), weight)).collect())
}

fn any_slots() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![41, 251, 1009, 4093])
}

proptest! {
    #[test]
    fn the_order_of_backends_does_not_matter(pool in any_pool(), slots in any_slots(), turn in 0_usize..40) {
        let mut other = pool.clone();
        other.reverse();
        other.rotate_left(turn % pool.len());
        prop_assert_eq!(addresses(&pool, slots), addresses(&other, slots));
    }

    #[test]
    fn every_slot_has_a_backend_of_some_weight(pool in any_pool(), slots in any_slots()) {
        let some = pool.iter().any(|backend| backend.1 > 0);
        for slot in table(&pool, slots) {
            match some {
                true => prop_assert!(pool[usize::from(slot)].1 > 0),
                false => prop_assert_eq!(slot, NO_BACKEND),
            }
        }
    }

    #[test]
    fn each_backend_has_its_share(pool in any_pool(), slots in any_slots()) {
        let total: u64 = pool.iter().map(|backend| u64::from(backend.1)).sum();
        prop_assume!(total > 0);
        for (share, (_, weight)) in shares(&table(&pool, slots), pool.len()).iter().zip(&pool) {
            let fair = f64::from(slots) * f64::from(*weight) / total as f64;
            // Each share is rounded to whole turns, which moves the last round by at most one turn of each backend.
            let tolerance = 1.5 + pool.len() as f64 * f64::from(*weight) / total as f64;
            prop_assert!((f64::from(*share) - fair).abs() <= tolerance, "{} slots, fair are {}", share, fair);
        }
    }

    #[test]
    fn only_proportions_count(pool in any_pool(), slots in any_slots()) {
        let halves: Vec<_> = pool.iter().map(|(address, weight)| (*address, weight / 2)).collect();
        let doubles: Vec<_> = halves.iter().map(|(address, weight)| (*address, weight * 2)).collect();
        prop_assert_eq!(table(&halves, slots), table(&doubles, slots));
    }
}
