//! How fast flows end, from counts of those that are left.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time that a pace is taken over: long enough to be steady, short enough to follow a change.
const WINDOW: Duration = Duration::from_secs(15);

/// Counts of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Pace {
    counts: VecDeque<(Instant, u64)>,
}

impl Pace {
    /// So many flows are left now.
    pub(super) fn count(&mut self, now: Instant, flows: u64) {
        self.counts.push_back((now, flows));
        while self.counts.get(1).is_some_and(|&(at, _)| now.duration_since(at) >= WINDOW) {
            self.counts.pop_front();
        }
    }

    /// Flows that end in a second. None while too little is known, or when flows do not become fewer.
    pub(super) fn rate(&self) -> Option<f64> {
        let (&(began, first), &(ended, last)) = (self.counts.front()?, self.counts.back()?);
        let seconds = ended.duration_since(began).as_secs_f64();
        (seconds > 0.0 && last < first).then(|| (first - last) as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rate after counts at these seconds.
    fn rate(counts: &[(u64, u64)]) -> Option<f64> {
        let start = Instant::now();
        let mut pace = Pace::default();
        for &(second, flows) in counts {
            pace.count(start + Duration::from_secs(second), flows);
        }
        pace.rate()
    }

    #[test]
    fn a_pace_is_flows_by_seconds() {
        assert_eq!(rate(&[(0, 100), (1, 90), (4, 80)]), Some(5.0));
    }

    #[test]
    fn there_is_no_pace_while_flows_do_not_become_fewer() {
        assert_eq!(rate(&[]), None);
        assert_eq!(rate(&[(0, 100)]), None);
        assert_eq!(rate(&[(0, 100), (0, 90)]), None);
        assert_eq!(rate(&[(0, 100), (1, 100)]), None);
        assert_eq!(rate(&[(0, 100), (1, 110)]), None);
    }

    #[test]
    fn a_pace_follows_what_the_last_seconds_brought() {
        assert_eq!(rate(&[(0, 1_000), (20, 100), (30, 90), (35, 85)]), Some(1.0));
    }
}
