//! Primes, for the sizes of lookup tables.

/// True if the number is a prime. By trial division: table sizes are below a million.
pub(super) fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}

/// The prime nearest to a number and not above `largest`, itself a prime; the smaller one of two that are equally near.
pub(super) fn nearest_prime(number: u32, largest: u32) -> u32 {
    let number = number.min(largest);
    (0..=number.max(2))
        .flat_map(|distance| [number.checked_sub(distance), number.checked_add(distance)])
        .flatten()
        .find(|&candidate| candidate <= largest && is_prime(candidate))
        .unwrap_or(largest)
}

#[cfg(test)]
mod tests {
    use lb_common::limits::{DEFAULT_SLOTS, LARGEST_SLOTS};

    use super::*;

    #[test]
    fn primes_are_told_from_other_numbers() {
        let primes: Vec<_> = (0..30).filter(|&number| is_prime(number)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(DEFAULT_SLOTS) && is_prime(LARGEST_SLOTS));
        assert!(!is_prime(65_536) && !is_prime(251 * 257));
    }

    #[test]
    fn the_nearest_prime_is_found_on_either_side() {
        for (number, nearest) in [(0, 2), (1, 2), (8, 7), (65_536, 65_537), (65_538, 65_537), (u32::MAX, LARGEST_SLOTS)]
        {
            assert_eq!(nearest_prime(number, LARGEST_SLOTS), nearest, "{number}");
        }
    }
}
