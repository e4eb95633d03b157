//! When a backend counts as up or down, given what its probes found. Pure: it is told the time.
//!
//! | standing | probe answered rightly | probe failed |
//! |---|---|---|
//! | **unproven** | up | down |
//! | **up** | failures in a row: none | one more; at `fall` of them: down |
//! | **down** | one more; at `rise` of them: up | right answers in a row: none |
//!
//! A backend is *unproven* from when it is added to a pool that is checked to its first probe; it takes no traffic so long.
//!
//! # Flapping
//! Each time it goes down, a backend that was not up for a [`calm`] time since it last went down needs twice as many right
//! answers as before to come up, up to 16 times `rise`. From the third time on it is called flapping. After a calm time up,
//! all that is forgotten. It is the idea of route flap damping (RFC 2439), with answers counted instead of a penalty that decays.

use std::time::Duration;

use crate::model::HealthCheck;

/// Whether a backend is taken to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No probe has come to an end yet.
    Unproven,
    /// It is.
    Up,
    /// It is not.
    Down,
}

/// A backend's standing, and what leads to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    standing: Standing,
    /// Probes in a row that speak against the standing.
    against: u32,
    /// Times that it went down, as far as they are not forgotten.
    falls: u32,
    /// When it came to its standing.
    since: Duration,
}

/// What a probe led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing has changed.
    Same,
    /// It counts as up from now on.
    CameUp,
    /// It counts as down from now on.
    WentDown,
}

/// From how many times down on a backend is called flapping.
const FLAPPING: u32 = 3;
/// By how much damping multiplies `rise` at most, as a power of two.
const MOST_DAMPING: u32 = 4;

/// How long a backend must have been up for its going down to be forgotten: a minute, or twenty delays.
#[must_use]
pub fn calm(check: &HealthCheck) -> Duration {
    Duration::from_secs(60).max(check.delay() * 20)
}

impl Machine {
    /// A backend that comes to be checked, with the standing that it is known to have.
    #[must_use]
    pub const fn new(standing: Standing, now: Duration) -> Self {
        Self { standing, against: 0, falls: 0, since: now }
    }

    /// Takes what a probe found: whether the right answer came.
    pub fn probed(&mut self, answered: bool, check: &HealthCheck, now: Duration) -> Step {
        let (after, step, needed) = match self.standing {
            Standing::Unproven if answered => (Standing::Up, Step::CameUp, 1),
            Standing::Unproven => (Standing::Down, Step::WentDown, 1),
            Standing::Up => (Standing::Down, Step::WentDown, u32::from(check.fall)),
            Standing::Down => (Standing::Up, Step::CameUp, self.needed(check)),
        };
        if self.standing == Standing::Up && now.saturating_sub(self.since) >= calm(check) {
            self.falls = 0;
        }
        if answered == (self.standing == Standing::Up) && self.standing != Standing::Unproven {
            self.against = 0;
            return Step::Same;
        }
        self.against += 1;
        if self.against < needed {
            return Step::Same;
        }
        if self.standing == Standing::Up {
            self.falls = self.falls.saturating_add(1);
        }
        (self.standing, self.against, self.since) = (after, 0, now);
        step
    }

    /// Whether it is taken to serve.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// True if it keeps going down and coming up.
    #[must_use]
    pub const fn is_flapping(&self) -> bool {
        self.falls >= FLAPPING
    }

    /// How many right answers in a row bring it up when it is down.
    #[must_use]
    pub fn needed(&self, check: &HealthCheck) -> u32 {
        u32::from(check.rise) << self.falls.saturating_sub(1).min(MOST_DAMPING)
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
