//! The pool and what happens to it.

use lb_common::address::Address;
use lb_userspace::maglev;

use super::super::explore::Dice;

/// Backends in the beginning.
const BACKENDS: usize = 100;
/// Backends that there may be.
const PLACES: usize = 120;
/// Slots of the table.
pub(super) const SLOTS: u32 = 65_537;

/// What happens to the pool, in 20 minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// From minute 2 to minute 15, every 30 seconds, one backend is added, or one is drained.
    Scaling,
    /// From minute 2 on, one backend after the other, one every 8 seconds, is drained for 30 seconds, restarted, which
    /// takes 5 seconds, and taken back.
    RollingUpdate,
    /// One backend dies, and recovers after a minute.
    Death,
    /// As [`Scenario::Scaling`]; meanwhile there come twenty first packets from nowhere for each flow.
    ScalingUnderFlood,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Scaling, Self::RollingUpdate, Self::Death, Self::ScalingUnderFlood];

    /// What happens, in a sentence without an end.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Scaling => "Scaling: every 30 s one of about 100 backends is added or drained",
            Self::RollingUpdate => {
                "Rolling update: each of 100 backends in turn is drained for 30 s, restarted and taken back"
            }
            Self::Death => "One of 100 backends dies, and recovers after a minute",
            Self::ScalingUnderFlood => "Scaling, while 20 times as many SYNs as there are flows come from nowhere",
        }
    }

    /// True if first packets from nowhere come in that second.
    pub(super) const fn is_flooded(self, second: u64) -> bool {
        matches!(self, Self::ScalingUnderFlood) && second >= 120 && second < 900
    }
}

/// How a backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// It is none, or it was restarted or died.
    Gone,
    /// It takes new flows.
    Up,
    /// It keeps its flows.
    Draining,
}

/// The pool.
#[derive(Debug)]
pub(super) struct Pool {
    backends: Vec<Life>,
    dice: Dice,
}

impl Pool {
    pub(super) fn new(seed: u64) -> Self {
        let mut backends = vec![Life::Gone; PLACES];
        backends[..BACKENDS].fill(Life::Up);
        Self { backends, dice: Dice::new(seed) }
    }

    /// The Maglev table over those that are up.
    pub(super) fn table(&self) -> Vec<u16> {
        let weighted = |(index, life): (usize, &Life)| {
            let address = Address::from(std::net::Ipv4Addr::new(10, 0, 0, index as u8 + 1));
            (address, u16::from(*life == Life::Up))
        };
        maglev::table(&self.backends.iter().enumerate().map(weighted).collect::<Vec<_>>(), SLOTS)
    }

    /// Who can be reached.
    pub(super) fn up(&self) -> Vec<bool> {
        self.backends.iter().map(|life| *life != Life::Gone).collect()
    }

    /// What happens in a second. True if that changes anything.
    pub(super) fn second(&mut self, scenario: Scenario, second: u64) -> bool {
        match scenario {
            Scenario::Scaling | Scenario::ScalingUnderFlood => {
                let now = (120..900).contains(&second) && second.is_multiple_of(30);
                if now {
                    self.scale();
                }
                now
            }
            Scenario::RollingUpdate => self.roll(second),
            Scenario::Death => match second {
                300 => self.set(7, Life::Gone),
                360 => self.set(7, Life::Up),
                _ => false,
            },
        }
    }

    fn set(&mut self, index: usize, life: Life) -> bool {
        self.backends[index] = life;
        true
    }

    fn scale(&mut self) {
        let up = self.backends.iter().filter(|life| **life == Life::Up).count();
        let more = if up + 5 > PLACES { false } else { up < BACKENDS - 10 || self.dice.below(2) == 0 };
        let candidates: Vec<_> = (0..PLACES).filter(|index| (self.backends[*index] == Life::Up) != more).collect();
        let chosen = candidates[self.dice.below(candidates.len() as u64) as usize];
        self.set(chosen, if more { Life::Up } else { Life::Draining });
    }

    fn roll(&mut self, second: u64) -> bool {
        const EVERY: u64 = 8;
        let mut changed = false;
        for (after, life) in [(0, Life::Draining), (30, Life::Gone), (35, Life::Up)] {
            if let Some(since) = second.checked_sub(120 + after)
                && since.is_multiple_of(EVERY)
                && since / EVERY < BACKENDS as u64
            {
                changed |= self.set((since / EVERY) as usize, life);
            }
        }
        changed
    }
}
