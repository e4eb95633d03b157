//! When each check's next probe is due. Pure: it is told the time.
//!
//! A check's first probe is due at a phase of its delay that follows from a hash of its name, and the time between two
//! probes varies by its jitter. So the probes of many checks are spread over the time, after a restart too, and don't fall
//! into step.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::time::Duration;

use crate::phase::{share, varied};

/// How far after its time a probe may begin without being counted as late.
pub const PUNCTUAL: Duration = Duration::from_millis(100);

/// The rhythm of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// From one probe's time to the next one's.
    pub delay: Duration,
    /// By how many percent that varies.
    pub jitter: u8,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    rhythm: Rhythm,
    /// When its probe is due, or, while it runs, was.
    due: Duration,
    /// Probes that have begun.
    round: u64,
    running: bool,
}

/// The checks by the time that their next probe is due.
#[derive(Clone, Debug)]
pub struct Timetable<K> {
    entries: BTreeMap<K, Entry>,
    waiting: BTreeSet<(Duration, K)>,
    late: u64,
}

impl<K> Default for Timetable<K> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), waiting: BTreeSet::new(), late: 0 }
    }
}

impl<K: Ord + Clone + Hash> Timetable<K> {
    /// Adds a check, or gives it another rhythm. The first probe of one that is `new` to its pool is due within a second,
    /// that of one that is known already within its delay.
    pub fn put(&mut self, key: K, rhythm: Rhythm, new: bool, now: Duration) {
        let first = |within: Duration| now + share(within, &(&key, u64::MAX));
        match self.entries.get(&key).copied() {
            Some(entry) if entry.rhythm == rhythm => {}
            Some(entry) => {
                let due = if entry.running { entry.due } else { entry.due.min(first(rhythm.delay)) };
                self.set(key, Entry { rhythm, due, ..entry });
            }
            None => {
                let within = if new { soon(rhythm) } else { rhythm.delay };
                let due = first(within);
                self.set(key, Entry { rhythm, due, round: 0, running: false });
            }
        }
    }

    /// Makes a check's next probe due within a second, as that of a new one: something is known of it that was not. They are
    /// spread over that time.
    pub fn hasten(&mut self, key: &K, now: Duration) {
        if let Some(entry) = self.entries.get(key).copied().filter(|entry| !entry.running) {
            let soon = now + share(soon(entry.rhythm), &(key, u64::MAX));
            self.set(key.clone(), Entry { due: entry.due.min(soon), ..entry });
        }
    }

    /// Removes a check.
    pub fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.waiting.remove(&(entry.due, key.clone()));
        }
    }

    /// When the next probe is due.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// The checks whose probes are to begin now, those that are due longest first: as many as there is room for what they
    /// `need`. One that finds too little waits, and those after it do, too.
    pub fn begin(&mut self, now: Duration, room: usize, need: impl Fn(&K) -> usize) -> Vec<K> {
        let mut begun = Vec::new();
        let mut left = room;
        while let Some((due, key)) = self.waiting.first()
            && *due <= now
            && let Some(rest) = left.checked_sub(need(key))
            && let Some((due, key)) = self.waiting.pop_first()
        {
            left = rest;
            if now - due > PUNCTUAL {
                self.late += 1;
            }
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.running = true;
                entry.round += 1;
            }
            begun.push(key);
        }
        begun
    }

    /// Notes that a check's probe has ended. The next is due a delay after the time of this one, or now if that has passed:
    /// what was missed is not made up for.
    pub fn ended(&mut self, key: &K, now: Duration) {
        if let Some(entry) = self.entries.get(key).copied().filter(|entry| entry.running) {
            let due =
                (entry.due + varied(entry.rhythm.delay, entry.rhythm.jitter.into(), &(key, entry.round))).max(now);
            self.set(key.clone(), Entry { due, running: false, ..entry });
        }
    }

    /// Probes that began late, since the beginning.
    #[must_use]
    pub const fn late(&self) -> u64 {
        self.late
    }

    fn set(&mut self, key: K, entry: Entry) {
        if let Some(before) = self.entries.insert(key.clone(), entry) {
            self.waiting.remove(&(before.due, key.clone()));
        }
        if !entry.running {
            self.waiting.insert((entry.due, key));
        }
    }
}

/// How soon what is new is looked at.
fn soon(rhythm: Rhythm) -> Duration {
    rhythm.delay.min(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rhythm(delay: Duration) -> Rhythm {
        Rhythm { delay, jitter: 10 }
    }

    /// What most checks need.
    fn one<K>(_: &K) -> usize {
        1
    }

    #[test]
    fn the_first_probes_of_a_restart_are_spread_over_the_delay() {
        let mut table = Timetable::default();
        for key in 0..5_000 {
            table.put(key, rhythm(SECOND), false, Duration::ZERO);
        }
        let counts: Vec<_> =
            (1..=10).map(|tenth| table.begin(Duration::from_millis(tenth * 100), usize::MAX, one).len()).collect();
        assert_eq!(counts.iter().sum::<usize>(), 5_000);
        assert!(counts.iter().all(|count| (400..600).contains(count)), "{counts:?}");
        assert_eq!(table.late(), 0);
    }

    #[test]
    fn each_probe_is_a_delay_after_the_one_before_give_or_take_the_jitter() {
        let mut table = Timetable::default();
        table.put("a", rhythm(SECOND), true, Duration::ZERO);
        let mut last = None;
        let mut gaps = Vec::new();
        for _ in 0..100 {
            let due = table.next().expect("one is due");
            assert_eq!(table.begin(due, 1, one), ["a"]);
            assert_eq!(table.next(), None, "while it runs none is due");
            table.ended(&"a", due + Duration::from_millis(300));
            gaps.extend(last.map(|last| due - last));
            last = Some(due);
        }
        let (least, most) = (gaps.iter().min().expect("gaps"), gaps.iter().max().expect("gaps"));
        assert!(*least >= Duration::from_millis(900) && *most <= Duration::from_millis(1_100), "{least:?} {most:?}");
        assert!(*most - *least > Duration::from_millis(100), "they vary");
    }

    #[test]
    fn a_probe_that_takes_longer_than_the_delay_is_followed_at_once_and_only_once() {
        let mut table = Timetable::default();
        table.put("a", rhythm(SECOND), true, Duration::ZERO);
        let due = table.next().expect("one is due");
        table.begin(due, 1, one);
        table.ended(&"a", due + SECOND * 5);
        assert_eq!(table.next(), Some(due + SECOND * 5));
        assert_eq!(table.begin(due + SECOND * 5, 9, one), ["a"]);
    }

    #[test]
    fn what_finds_no_room_waits_its_turn_and_is_counted_as_late() {
        let mut table = Timetable::default();
        for key in 0..10 {
            table.put(key, rhythm(SECOND), true, Duration::ZERO);
        }
        let first = table.begin(SECOND, 4, one);
        assert_eq!(first.len(), 4);
        let second = table.begin(SECOND * 3, 100, one);
        assert_eq!(second.len(), 6);
        assert!(first.iter().all(|key| !second.contains(key)));
        assert!(table.late() >= 6, "{}", table.late());
    }

    #[test]
    fn a_check_that_is_removed_or_gets_another_rhythm_is_due_no_more_or_sooner() {
        let mut table = Timetable::default();
        table.put("a", rhythm(SECOND * 3_600), false, Duration::ZERO);
        table.put("a", rhythm(SECOND), false, Duration::ZERO);
        assert!(table.next().expect("one is due") <= SECOND);
        table.remove(&"a");
        assert_eq!(table.next(), None);
        table.ended(&"a", SECOND);
        assert_eq!(table.next(), None);
    }

    #[test]
    fn a_check_that_needs_more_than_is_left_waits_and_is_not_overtaken() {
        let mut table = Timetable::default();
        for key in 0..10 {
            table.put(key, rhythm(SECOND), true, Duration::ZERO);
        }
        let order = table.clone().begin(SECOND, 10, one);
        let need = |key: &i32| if *key == order[2] { 5 } else { 1 };
        assert_eq!(table.begin(SECOND, 6, need), order[..2]);
        assert!(table.begin(SECOND, 4, need).is_empty());
        assert_eq!(table.begin(SECOND, 7, need), order[2..5]);
    }

    #[test]
    fn a_check_is_hastened_to_within_a_second_unless_it_is_due_sooner_or_runs() {
        let mut table = Timetable::default();
        for key in 0..1_000 {
            table.put(key, rhythm(SECOND * 3_600), false, Duration::ZERO);
        }
        assert!(table.begin(SECOND * 2, usize::MAX, one).len() < 10);
        let running = table.entries.values().filter(|entry| entry.running).count();
        for key in 0..1_000 {
            table.hasten(&key, SECOND * 2);
        }
        let half = table.begin(SECOND * 2 + SECOND / 2, usize::MAX, one).len();
        assert!((400..600).contains(&half), "{half} of them in the first half of the second");
        assert_eq!(half + table.begin(SECOND * 3, usize::MAX, one).len() + running, 1_000);
        table.ended(&0, SECOND * 3);
        let due = table.next();
        table.hasten(&0, SECOND * 3_700);
        assert_eq!(table.next(), due, "it was due sooner");
    }
}
