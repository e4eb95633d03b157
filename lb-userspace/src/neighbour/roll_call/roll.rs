//! Who is asked when. Pure: it is told the time, and answers with frames.
//!
//! | a backend | next |
//! |---|---|
//! | answered, or is new | is asked alone a [`PERIOD`] after it was asked last, give or take [`JITTER`] percent |
//! | was asked alone | after [`PATIENCE`], is asked for before all |
//! | was asked for before all | again after [`FIRST_PAUSE`], then twice that, and so on up to [`LAST_PAUSE`] |
//!
//! An answer counts if it comes from the MAC that is known. Another one is the kernel's matter; it may pass over it, if it has
//! changed the entry within the last second (`LOCKTIME` in its net/ipv4/arp.c), which is why there is a next question soon. When
//! it has learnt another MAC, [`Roll::set`] brings that, and all begins anew. A backend that is gone for good is given up by the
//! kernel after some 40 s, and then is none of ours: see [`places`](super::places).
//!
//! All together there are [`RATE`] questions a second at most, so that with more than half as many backends each has its turn
//! later.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lb_common::address::MacAddr;

use super::Place;
use crate::model::BackendAddr;
use crate::phase::{share, varied};

/// Time between two questions to a backend that answers.
pub const PERIOD: Duration = Duration::from_millis(500);
/// By how many percent that varies.
pub const JITTER: u32 = 10;
/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_millis(150);
/// Time between the first two questions before all.
pub const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest time between two of them.
pub const LAST_PAUSE: Duration = Duration::from_secs(30);
/// The most questions a second.
pub const RATE: u32 = 2_000;
/// The most at a time.
pub const BURST: u32 = 20;

/// Time that one question takes of what there is.
const EACH: Duration = Duration::from_nanos(1_000_000_000 / RATE as u64);

/// A question, and the interface that it is to go out of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Index of the interface.
    pub ifindex: u32,
    /// The frame.
    pub frame: Vec<u8>,
}

/// What was last done about a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing, or it has answered.
    Content,
    /// It was asked alone.
    Asked,
    /// It was asked for before all, so many times.
    Sought(u32),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    place: Place,
    step: Step,
    /// When the next question is due.
    due: Duration,
    /// When it was asked alone last, and how often it was.
    asked: Duration,
    rounds: u64,
}

/// The backends, and what is due about each.
#[derive(Debug, Default)]
pub struct Roll {
    entries: BTreeMap<BackendAddr, Entry>,
    /// The same by what is due next.
    waiting: BTreeSet<(Duration, BackendAddr)>,
    /// When there is room for the next question.
    room: Duration,
}

impl Roll {
    /// Says who is to be asked from now on. One that is new, or elsewhere than before, is asked within a [`PERIOD`].
    pub fn set(&mut self, places: &BTreeMap<BackendAddr, Place>, now: Duration) {
        let gone: Vec<_> = self.entries.keys().filter(|backend| !places.contains_key(backend)).copied().collect();
        for backend in gone {
            self.remove(backend);
        }
        for (backend, place) in places {
            match self.entries.get_mut(backend) {
                Some(entry) if entry.place.mac == place.mac && entry.place.ifindex == place.ifindex => {
                    entry.place = *place;
                }
                _ => {
                    let due = now + share(PERIOD, &(backend, u64::MAX));
                    let (step, asked, rounds) = (Step::Content, due, 0);
                    self.put(*backend, Entry { place: *place, step, due, asked, rounds });
                }
            }
        }
    }

    /// True if nobody is to be asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When the next question is due, and there is room for it.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        self.waiting.first().map(|(due, _)| (*due).max(self.room))
    }

    /// Takes note that a host with that MAC says that it has that address.
    pub fn hear(&mut self, backend: BackendAddr, mac: MacAddr, now: Duration) {
        let Some(entry) = self.entries.get(&backend).copied() else { return };
        if entry.step != Step::Content && entry.place.mac == mac {
            let due = (entry.asked + varied(PERIOD, JITTER, &(backend, entry.rounds))).max(now);
            self.put(backend, Entry { step: Step::Content, due, ..entry });
        }
    }

    /// The questions that are due now, as many as there is room for.
    pub fn due(&mut self, now: Duration) -> Vec<Question> {
        let mut questions = Vec::new();
        // What was not used is lost, but for a burst.
        self.room = self.room.max(now.saturating_sub(EACH * (BURST - 1)));
        while let Some((due, backend)) = self.waiting.first().copied()
            && due <= now
            && self.room <= now
            && let Some(entry) = self.entries.get(&backend).copied()
        {
            let pause = |times: u32| FIRST_PAUSE.saturating_mul(1 << times.min(16)).min(LAST_PAUSE);
            let next = match entry.step {
                Step::Content => {
                    Entry { step: Step::Asked, due: now + PATIENCE, asked: now, rounds: entry.rounds + 1, ..entry }
                }
                Step::Asked => Entry { step: Step::Sought(1), due: now + pause(0), ..entry },
                Step::Sought(times) => Entry { step: Step::Sought(times + 1), due: now + pause(times), ..entry },
            };
            self.put(backend, next);
            if let Some(frame) = entry.place.question(backend, next.step == Step::Asked) {
                questions.push(Question { ifindex: entry.place.ifindex, frame });
                self.room += EACH;
            }
        }
        questions
    }

    fn put(&mut self, backend: BackendAddr, entry: Entry) {
        self.remove(backend);
        self.entries.insert(backend, entry);
        self.waiting.insert((entry.due, backend));
    }

    fn remove(&mut self, backend: BackendAddr) {
        if let Some(before) = self.entries.remove(&backend) {
            self.waiting.remove(&(before.due, backend));
        }
    }
}

#[cfg(test)]
#[path = "roll_tests.rs"]
mod tests;
