//! When a counter that should stand still goes up. Pure: it is told the time.

use std::collections::BTreeMap;
use std::time::Duration;

/// While something goes on, it is told no more often than this.
pub const AGAIN: Duration = Duration::from_secs(60);

/// Counters by what they count.
#[derive(Debug)]
pub struct Rising<K> {
    seen: BTreeMap<K, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The count when it was last told.
    told: u64,
    /// When that was; `None` if never.
    at: Option<Duration>,
}

impl<K> Default for Rising<K> {
    fn default() -> Self {
        Self { seen: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Rising<K> {
    /// Takes a counter as it is. Returns by how much it went up since that was last told, if that is to be told now. The
    /// first time, what it counted before is nobody's news.
    pub fn look(&mut self, what: &K, count: u64, now: Duration) -> Option<u64> {
        let Some(seen) = self.seen.get_mut(what) else {
            self.seen.insert(what.clone(), Seen { told: count, at: None });
            return None;
        };
        // A counter that is smaller than it was is another one.
        let rise = count.checked_sub(seen.told);
        if rise.is_none() {
            seen.told = count;
        }
        if rise.unwrap_or(0) == 0 || seen.at.is_some_and(|at| now < at + AGAIN) {
            return None;
        }
        *seen = Seen { told: count, at: Some(now) };
        rise
    }

    /// Forgets what is no more.
    pub fn retain(&mut self, is_there: impl Fn(&K) -> bool) {
        self.seen.retain(|what, _| is_there(what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_is_told_at_once_and_then_once_a_minute_with_all_that_came_meanwhile() {
        let second = Duration::from_secs;
        let mut rising = Rising::default();
        assert_eq!(rising.look(&"pins", 7, second(0)), None, "from before");
        assert_eq!(rising.look(&"pins", 7, second(1)), None);
        assert_eq!(rising.look(&"pins", 9, second(2)), Some(2));
        assert_eq!(rising.look(&"pins", 19, second(3)), None);
        assert_eq!(rising.look(&"pins", 19, second(61)), None);
        assert_eq!(rising.look(&"pins", 19, second(62)), Some(10));
        assert_eq!(rising.look(&"pins", 19, second(999)), None);
        assert_eq!(rising.look(&"pins", 3, second(1_000)), None, "another counter");
        assert_eq!(rising.look(&"pins", 4, second(1_001)), Some(1));
        rising.retain(|_| false);
        assert_eq!(rising.look(&"pins", 9, second(1_002)), None);
    }
}
