//! The schedule of round robin: whose turn is when.
//!
//! Smooth weighted round robin, as nginx has it since 1.3.1: in each turn every backend gains its weight; the one that
//! has gained most has the turn, and pays the sum of all weights. So each has its share, and the turns of a heavy one are
//! spread over the round instead of in a row.

use lb_common::limits::MAX_POOL_BACKENDS;

/// The most turns of a schedule: no fewer than the backends of a pool, so that each has one.
const MAX_TURNS: u64 = MAX_POOL_BACKENDS as u64;

/// The turns of one round, as indexes of the weights. As many as the sum of the weights divided by what they have in
/// common; where that is more than 4,096, the shares are rounded so that it is not.
pub(super) fn schedule(weights: &[u16]) -> Vec<u16> {
    let common = weights.iter().fold(0, |common, weight| gcd(common, u64::from(*weight))).max(1);
    let mut shares: Vec<u64> = weights.iter().map(|weight| u64::from(*weight) / common).collect();
    let sum: u64 = shares.iter().sum();
    if sum > MAX_TURNS {
        let count = shares.iter().filter(|share| **share > 0).count() as u64;
        for share in shares.iter_mut().filter(|share| **share > 0) {
            *share = 1 + *share * MAX_TURNS.saturating_sub(count) / sum;
        }
    }
    let sum = shares.iter().sum::<u64>() as i64;
    let mut gained = vec![0_i64; shares.len()];
    let turn = |_| {
        let mut best = 0;
        for (index, share) in shares.iter().enumerate() {
            gained[index] += *share as i64;
            if gained[index] > gained[best] {
                best = index;
            }
        }
        gained[best] -= sum;
        best as u16
    };
    (0..sum).map(turn).collect()
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn turns_are_spread_over_the_round() {
        assert!(schedule(&[]).is_empty());
        assert_eq!(schedule(&[3]), [0]);
        assert_eq!(schedule(&[2, 2, 2]), [0, 1, 2]);
        assert_eq!(schedule(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(schedule(&[10, 30]), [1, 0, 1, 1]);
    }

    #[test]
    fn a_pool_of_the_largest_size_has_a_turn_for_each() {
        let weights: Vec<u16> = (0..4_096).map(|index| index % 256 + 1).collect();
        let turns = schedule(&weights);
        assert_eq!(turns.len(), 4_096);
        let mut seen = turns.clone();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 4_096);
    }

    proptest! {
        #[test]
        fn each_has_turns_by_its_weight(weights in prop::collection::vec(0_u16..=256, 1..20)) {
            let turns = schedule(&weights);
            let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            prop_assert!(turns.len() as u64 <= MAX_TURNS);
            for (index, weight) in weights.iter().enumerate() {
                let count = turns.iter().filter(|turn| usize::from(**turn) == index).count() as f64;
                let share = f64::from(*weight) / (sum.max(1) as f64) * turns.len() as f64;
                prop_assert!((count - share).abs() <= 1.5, "{index}: {count} turns of {}, share {share}", turns.len());
            }
        }
    }
}
