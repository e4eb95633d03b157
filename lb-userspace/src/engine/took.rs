//! How long commands take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the parts of the last command took that changed something.
#[derive(Debug, Default)]
pub struct Took {
    plan: AtomicU64,
    store: AtomicU64,
    maps: AtomicU64,
}

impl Took {
    /// Checking it, and planning what to change in the maps.
    #[must_use]
    pub fn plan(&self) -> Duration {
        of(&self.plan)
    }

    /// Writing it down, until it was on the disk.
    #[must_use]
    pub fn store(&self) -> Duration {
        of(&self.store)
    }

    /// From then on until the maps were so.
    #[must_use]
    pub fn maps(&self) -> Duration {
        of(&self.maps)
    }
}

fn of(nanoseconds: &AtomicU64) -> Duration {
    Duration::from_nanos(nanoseconds.load(Ordering::Relaxed))
}

/// Measures one command.
pub(super) struct Watch {
    since: Instant,
    parts: [u64; 3],
    part: usize,
}

impl Watch {
    pub(super) fn start() -> Self {
        Self { since: Instant::now(), parts: [0; 3], part: 0 }
    }

    /// A part is done, and the next one begins.
    pub(super) fn part(&mut self) {
        let now = Instant::now();
        self.parts[self.part] = (now - self.since).as_nanos() as u64;
        (self.since, self.part) = (now, (self.part + 1).min(2));
    }

    /// All is done.
    pub(super) fn tell(&self, took: &Took) {
        for (told, part) in [&took.plan, &took.store, &took.maps].into_iter().zip(self.parts) {
            told.store(part, Ordering::Relaxed);
        }
    }
}
