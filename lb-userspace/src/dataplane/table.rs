//! The tables that packets are matched in, as the agent writes them: [`lb_common::table`] says how packets read them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lb_common::table::{Entry, FREE, MOST_PROBES, PAUSE, PLACES, WITHDRAWN, place};

use super::mmap::{Mapping, settle};
use crate::model::Fault;

/// More than a packet takes from one place of its search to the next.
const STEP: Duration = Duration::from_millis(1);

/// A table, mapped into this process's memory.
pub struct MatchTable<E: Entry> {
    words: Mapping<AtomicU64>,
    /// What is published, and where.
    places: BTreeMap<E::Key, u32>,
    /// Places that packets may still read, the one first that was withdrawn first.
    resting: VecDeque<(Instant, u32)>,
    rests: BTreeSet<u32>,
    entries: PhantomData<E>,
}

impl<E: Entry> MatchTable<E> {
    /// Length of the whole table in bytes.
    pub(super) const BYTES: usize = PLACES as usize * size_of::<E>();
    const WORDS: usize = size_of::<E>() / size_of::<u64>();

    /// Takes over what a table holds. Of two entries with one key, which a killed agent may have left, the one stays that
    /// packets find.
    pub(super) fn take(words: Mapping<AtomicU64>) -> Self {
        let mut table = Self {
            words,
            places: BTreeMap::new(),
            resting: VecDeque::new(),
            rests: BTreeSet::new(),
            entries: PhantomData,
        };
        let marked = (0..PLACES).filter(|at| table.mark(*at).load(Ordering::Acquire) != FREE);
        let published: Vec<(u32, E::Key)> =
            marked.filter_map(|at| table.entry(at).get().map(|(key, _)| (at, key))).collect();
        for (at, key) in published {
            match table.search(&key) {
                Some(first) if first == at => {
                    table.places.insert(key, at);
                }
                _ => table.withdraw(at),
            }
        }
        table
    }

    /// All that is published.
    pub(super) fn iter(&self) -> impl Iterator<Item = (E::Key, E::Value)> {
        self.places.values().filter_map(|at| self.entry(*at).get())
    }

    /// Publishes a value under a key, in place of the one that there may be: a packet meets one of the two.
    ///
    /// # Errors
    /// All places where the key may stand are taken. In a table that is a quarter full that is next to impossible.
    pub(super) fn put(&mut self, key: E::Key, value: E::Value) -> Result<(), Fault> {
        let before = self.places.get(&key).copied();
        if before.is_some_and(|at| self.entry(at).get().is_some_and(|(_, known)| known == value)) {
            return Ok(());
        }
        let at = self.place_for(&key)?;
        self.write(at, &E::new(key, value));
        self.places.insert(key, at);
        if let Some(before) = before {
            let probe = |at: u32| place(at, PLACES - E::home(&key));
            if probe(at) < probe(before) {
                // A packet that passed this place before it was published is on its way to the other one.
                thread::sleep(STEP);
            }
            self.withdraw(before);
        }
        Ok(())
    }

    /// Withdraws what is published under a key, if anything is.
    pub(super) fn remove(&mut self, key: &E::Key) {
        if let Some(at) = self.places.remove(key) {
            self.withdraw(at);
        }
    }

    /// A place where an entry with this key may be written. Where all are taken, those that rest are waited for.
    fn place_for(&mut self, key: &E::Key) -> Result<u32, Fault> {
        let home = E::home(key);
        loop {
            self.rouse();
            let mut places = (0..MOST_PROBES).map(|probe| place(home, probe));
            if let Some(at) = places.clone().find(|at| self.entry(*at).get().is_none() && !self.rests.contains(at)) {
                return Ok(at);
            }
            match self.resting.front() {
                Some((since, _)) if places.any(|at| self.rests.contains(&at)) => {
                    thread::sleep(PAUSE.saturating_sub(since.elapsed()));
                }
                _ => break,
            }
        }
        Err(Fault::unavailable(format!(
            "the {MOST_PROBES} places where such a listener or VIP may stand in its table are taken; remove one that is not \
             needed"
        )))
    }

    /// Places whose pause is over may be written again; searches end there if they would end at the next place, too.
    fn rouse(&mut self) {
        while self.resting.front().is_some_and(|(since, _)| since.elapsed() >= PAUSE) {
            let Some((_, at)) = self.resting.pop_front() else { break };
            self.rests.remove(&at);
            let mut last = at;
            while self.mark(last).load(Ordering::Relaxed) == WITHDRAWN
                && self.mark(place(last, 1)).load(Ordering::Relaxed) == FREE
            {
                self.mark(last).store(FREE, Ordering::Release);
                last = place(last, PLACES - 1);
            }
        }
    }

    /// Writes an entry at a place, whatever stands there, and publishes it by its mark.
    pub fn write(&self, at: u32, entry: &E) {
        let start = at as usize * Self::WORDS;
        let words: &[u64] = bytemuck::cast_slice(std::slice::from_ref(entry));
        for (index, word) in words.iter().enumerate().filter(|(index, _)| *index != E::MARK_WORD) {
            if let Some(place) = self.words.words().get(start + index) {
                place.store(*word, Ordering::Relaxed);
            }
        }
        settle();
        // Release: who reads the mark reads what was written before it.
        self.mark(at).store(entry.mark(), Ordering::Release);
    }

    fn withdraw(&mut self, at: u32) {
        self.mark(at).store(WITHDRAWN, Ordering::Release);
        self.resting.push_back((Instant::now(), at));
        self.rests.insert(at);
    }

    fn mark(&self, at: u32) -> &AtomicU64 {
        &self.words.words()[at as usize * Self::WORDS + E::MARK_WORD]
    }

    fn entry(&self, at: u32) -> E {
        let start = at as usize * Self::WORDS;
        let mut entry = E::zeroed();
        let words: &mut [u64] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut entry));
        for (word, place) in words.iter_mut().zip(&self.words.words()[start..]) {
            *word = place.load(Ordering::Acquire);
        }
        entry
    }

    /// Where packets find a key.
    fn search(&self, key: &E::Key) -> Option<u32> {
        let home = E::home(key);
        for at in (0..MOST_PROBES).map(|probe| place(home, probe)) {
            let entry = self.entry(at);
            if entry.get().is_some_and(|(found, _)| found == *key) {
                return Some(at);
            }
            if entry.mark() == FREE {
                break;
            }
        }
        None
    }
}
