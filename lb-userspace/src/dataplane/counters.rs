//! The counters that the program keeps for each CPU ([`lb_common::counters`]), in this process's memory.

use std::mem::{offset_of, size_of};
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::Map;
use lb_common::counters::Counters;
use lb_common::limits::{MAX_BACKENDS, MAX_LISTENERS};
use lb_common::maps::COUNTERS;
use lb_common::outcome::{Counter, Outcome};

use super::mmap::Mapping;
use super::object::possible_cpus;
use crate::model::Fault;

/// Words of a [`Counter`]: packets and bytes.
const COUNTER_WORDS: usize = size_of::<Counter>() / size_of::<u64>();
/// Words of what one CPU has.
const CPU_WORDS: usize = size_of::<Counters>() / size_of::<u64>();

/// The map `COUNTERS`.
pub struct CounterMap {
    words: Mapping<AtomicU64>,
}

impl CounterMap {
    /// Maps the map `COUNTERS`.
    ///
    /// # Errors
    /// It is another map, or there is no memory.
    pub fn open(map: &Map) -> Result<Self, Fault> {
        Ok(Self { words: Mapping::of_array(map, COUNTERS, 0, possible_cpus()? * size_of::<Counters>())? })
    }

    /// What became of packets. What was forwarded is counted with the listeners, those that are gone among them.
    #[must_use]
    pub fn outcome(&self, outcome: Outcome) -> Counter {
        let own = self.sum(outcome_offset(outcome));
        match outcome {
            Outcome::Forwarded => {
                (0..MAX_LISTENERS).filter_map(forwarded_offset).fold(own, |sum, offset| sum.plus(self.sum(offset)))
            }
            _ => own,
        }
    }

    /// What was sent to the backends of a listener, by its id.
    #[must_use]
    pub fn listener(&self, id: u32) -> Counter {
        let parts = [forwarded_offset(id), redirected_offset(id)];
        parts.into_iter().flatten().fold(Counter::default(), |sum, offset| sum.plus(self.sum(offset)))
    }

    /// What was sent to the backend of a place.
    #[must_use]
    pub fn backend(&self, place: u32) -> Counter {
        backend_offset(place).map_or_else(Counter::default, |offset| self.sum(offset))
    }

    /// Lets the counter of a listener, by its id, begin anew. What was forwarded for the one that had the id stays so.
    pub(super) fn clear_listener(&self, id: u32) {
        if let Some(forwarded) = forwarded_offset(id) {
            let gone = outcome_offset(Outcome::Forwarded);
            self.set(Some(gone), |cpu| read(&cpu[gone..]).plus(read(&cpu[forwarded..])));
            self.set(Some(forwarded), |_| Counter::default());
        }
        self.set(redirected_offset(id), |_| Counter::default());
    }

    /// Lets the counter of a place begin anew.
    pub(super) fn clear_backend(&self, place: u32) {
        self.set(backend_offset(place), |_| Counter::default());
    }

    /// Lets the counter of a place go on from what another one's is now.
    pub(super) fn copy_backend(&self, from: u32, to: u32) {
        if let Some(from) = backend_offset(from) {
            self.set(backend_offset(to), |cpu| read(&cpu[from..]));
        }
    }

    fn sum(&self, offset: usize) -> Counter {
        self.cpus().fold(Counter::default(), |sum, cpu| sum.plus(read(&cpu[offset..])))
    }

    /// Writes a counter of each CPU. What that CPU counts at this moment may be lost, or what is written.
    fn set(&self, offset: Option<usize>, value: impl Fn(&[AtomicU64]) -> Counter) {
        let Some(offset) = offset else { return };
        for cpu in self.cpus() {
            let Counter { packets, bytes } = value(cpu);
            cpu[offset].store(packets, Ordering::Relaxed);
            cpu[offset + 1].store(bytes, Ordering::Relaxed);
        }
    }

    fn cpus(&self) -> impl Iterator<Item = &[AtomicU64]> {
        self.words.words().chunks_exact(CPU_WORDS)
    }
}

fn read(words: &[AtomicU64]) -> Counter {
    Counter { packets: words[0].load(Ordering::Relaxed), bytes: words[1].load(Ordering::Relaxed) }
}

// Where a counter's words begin, of those of its CPU.

const fn outcome_offset(outcome: Outcome) -> usize {
    offset_of!(Counters, outcomes) / size_of::<u64>() + outcome as usize * COUNTER_WORDS
}

fn forwarded_offset(id: u32) -> Option<usize> {
    let offset = offset_of!(Counters, forwarded) / size_of::<u64>() + id as usize * COUNTER_WORDS;
    (id < MAX_LISTENERS).then_some(offset)
}

fn redirected_offset(id: u32) -> Option<usize> {
    let offset = offset_of!(Counters, redirected) / size_of::<u64>() + id as usize * COUNTER_WORDS;
    (id < MAX_LISTENERS).then_some(offset)
}

fn backend_offset(place: u32) -> Option<usize> {
    let offset = offset_of!(Counters, backends) / size_of::<u64>() + place as usize * COUNTER_WORDS;
    (place < MAX_BACKENDS).then_some(offset)
}
