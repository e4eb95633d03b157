//! A table that pushes out what was not used for the longest time.

use std::collections::{HashMap, VecDeque};

/// A table with room for so many.
#[derive(Debug)]
pub(super) struct Lru<T> {
    room: usize,
    entries: HashMap<u64, (T, u64)>,
    /// Keys in the order of their uses; only the last use of a key counts.
    uses: VecDeque<(u64, u64)>,
    clock: u64,
}

impl<T: Copy> Lru<T> {
    pub(super) fn new(room: usize) -> Self {
        Self { room, entries: HashMap::new(), uses: VecDeque::new(), clock: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// A look, which counts as a use.
    pub(super) fn get(&mut self, key: u64) -> Option<&mut T> {
        self.clock += 1;
        let (value, used) = self.entries.get_mut(&key)?;
        *used = self.clock;
        self.uses.push_back((key, self.clock));
        Some(value)
    }

    pub(super) fn insert(&mut self, key: u64, value: T) {
        self.clock += 1;
        self.entries.insert(key, (value, self.clock));
        self.uses.push_back((key, self.clock));
        while self.entries.len() > self.room {
            let Some((key, used)) = self.uses.pop_front() else { break };
            if self.entries.get(&key).is_some_and(|(_, last)| *last == used) {
                self.entries.remove(&key);
            }
        }
        if self.uses.len() > 8 * self.room + 1024 {
            let entries = &self.entries;
            self.uses.retain(|(key, used)| entries.get(key).is_some_and(|(_, last)| last == used));
        }
    }

    pub(super) fn remove(&mut self, key: u64) {
        self.entries.remove(&key);
    }

    /// Removes those for which `done` is true.
    pub(super) fn sweep(&mut self, mut done: impl FnMut(u64, &T) -> bool) {
        self.entries.retain(|key, (value, _)| !done(*key, value));
    }
}
