//! Times that are spread by a hash: what is due of many does not fall into step, and each run has the same phases.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// A part of `of` that follows from `what`: from nothing to nearly all.
#[must_use]
pub fn share(of: Duration, what: &impl Hash) -> Duration {
    // The keys of this hasher are fixed.
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    of.mul_f64((hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64)
}

/// A time that differs from `period` by so many percent at most, as follows from `what`.
#[must_use]
pub fn varied(period: Duration, percent: u32, what: &impl Hash) -> Duration {
    let reach = period * percent / 100;
    period - reach + share(reach * 2, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varied_time_is_around_its_period_and_spread() {
        let period = Duration::from_secs(10);
        let times: Vec<Duration> = (0..1_000_u32).map(|number| varied(period, 20, &number)).collect();
        assert!(times.iter().all(|time| (Duration::from_secs(8)..Duration::from_secs(12)).contains(time)));
        let early = times.iter().filter(|time| **time < period).count();
        assert!((400..600).contains(&early), "{early} of 1,000 are early");
        assert_eq!(varied(period, 20, &7_u32), times[7]);
        assert_eq!(varied(period, 0, &7_u32), period);
    }
}
