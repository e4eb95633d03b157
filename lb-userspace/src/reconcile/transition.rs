//! What a pool's listeners become when the way changes in which its flows get their backends.
//!
//! A flow that is not pinned is found by the hash that it went by. When a pool comes to hash something else, or to pin every
//! flow, such flows are left, so the listener says what was hashed of them ([`Listener::before`]) until the engine has seen
//! that none can be left. A pool that pins every flow and is to do so no more hands over in its slots: they settle, so that
//! the pins are followed until the last is gone.

use lb_common::listener::Listener;

use crate::model::{Algorithm, Pool, Vip};

/// How new flows and old ones get their backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mode {
    /// As in [`Listener::algorithm`].
    pub(super) algorithm: u8,
    /// As in [`Listener::before`].
    pub(super) before: u8,
    /// True if the pool pins every flow.
    pub(super) pins: bool,
    /// True if it does so as a listener limits its flows.
    pub(super) limited: bool,
}

/// The number of an algorithm in a listener.
pub(super) const fn algorithm_of(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::SourceIpPort => Listener::SOURCE_IP_PORT,
        Algorithm::SourceIp => Listener::SOURCE_IP,
        Algorithm::RoundRobin => Listener::ROUND_ROBIN,
        Algorithm::LeastConnections => Listener::LEAST_CONNECTIONS,
    }
}

/// Leading bits of a client's address that make one session at a VIP; 0 for no persistence.
pub(super) fn persistence_of(pool: &Pool, vip: Vip) -> u8 {
    pool.persistence.map_or(0, |persistence| match vip.ip().is_ipv4() {
        true => 96 + persistence.ipv4_prefix,
        false => persistence.ipv6_prefix,
    })
}

/// What was hashed of the flows of a listener that are not pinned: a `BEFORE_` constant, [`Listener::BEFORE_NOTHING`] if all
/// are pinned.
fn unpinned_go_by(listener: &Listener) -> u8 {
    match (listener.before, listener.pins_every_flow()) {
        (Listener::BEFORE_NOTHING, true) => Listener::BEFORE_NOTHING,
        (Listener::BEFORE_NOTHING, false) => before_of(listener.algorithm),
        (before, _) => before,
    }
}

/// The `BEFORE_` constant of what an algorithm hashes.
const fn before_of(algorithm: u8) -> u8 {
    match algorithm {
        Listener::SOURCE_IP => Listener::BEFORE_SOURCE_IP,
        _ => Listener::BEFORE_SOURCE_IP_PORT,
    }
}

impl Mode {
    /// The mode that a pool takes, given the listeners that it has in the maps, and whether one of those that it is to have limits
    /// its flows.
    pub(super) fn after<'a>(pool: &Pool, limited: bool, mut held: impl Iterator<Item = &'a Listener>) -> Self {
        let algorithm = algorithm_of(pool.algorithm);
        let needs_pins = algorithm > Listener::SOURCE_IP || pool.persistence.is_some() || limited;
        let unpinned = held.by_ref().map(unpinned_go_by).find(|before| *before != Listener::BEFORE_NOTHING);
        let before = match unpinned {
            Some(before) if needs_pins || before != before_of(algorithm) => before,
            _ => Listener::BEFORE_NOTHING,
        };
        Self { algorithm, before, pins: needs_pins || before != Listener::BEFORE_NOTHING, limited }
    }

    /// True if every flow is pinned, so that no packet needs to know what its slot had before.
    pub(super) const fn knows_all(self) -> bool {
        self.pins && self.before == Listener::BEFORE_NOTHING
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytemuck::Zeroable;

    use super::*;
    use crate::model::{Persistence, Timeouts};

    const RR: Algorithm = Algorithm::RoundRobin;
    const LC: Algorithm = Algorithm::LeastConnections;
    const PORT: Algorithm = Algorithm::SourceIpPort;
    const IP: Algorithm = Algorithm::SourceIp;

    fn before(from: (Algorithm, bool, u8), to: (Algorithm, bool)) -> u8 {
        let pool = Pool {
            name: "a".parse().expect("a name"),
            algorithm: to.0,
            persistence: to.1.then(Persistence::default),
            timeouts: Timeouts::default(),
            slots: 7,
            health: None,
            backends: BTreeMap::new(),
        };
        let persistence = if from.1 { 128 } else { 0 };
        let (algorithm, before) = (algorithm_of(from.0), from.2);
        let listener = Listener { algorithm, before, persistence, ..Listener::zeroed() };
        Mode::after(&pool, false, std::iter::once(&listener)).before
    }

    #[test]
    fn flows_that_are_not_pinned_are_found_by_what_they_went_by() {
        const NONE: u8 = Listener::BEFORE_NOTHING;
        const BY_PORT: u8 = Listener::BEFORE_SOURCE_IP_PORT;
        const BY_IP: u8 = Listener::BEFORE_SOURCE_IP;
        for (from, to, expected) in [
            ((PORT, false, NONE), (PORT, false), NONE),
            ((PORT, false, NONE), (IP, false), BY_PORT),
            ((IP, false, NONE), (PORT, false), BY_IP),
            ((PORT, false, NONE), (RR, false), BY_PORT),
            ((IP, false, NONE), (LC, false), BY_IP),
            ((IP, false, NONE), (IP, true), BY_IP),
            // All are pinned.
            ((RR, false, NONE), (LC, false), NONE),
            ((RR, false, NONE), (IP, false), NONE),
            ((RR, true, NONE), (RR, false), NONE),
            ((PORT, true, NONE), (PORT, false), NONE),
            // Before those of the last change have shown themselves.
            ((RR, false, BY_PORT), (RR, false), BY_PORT),
            ((RR, false, BY_PORT), (LC, true), BY_PORT),
            ((RR, false, BY_PORT), (IP, false), BY_PORT),
            ((RR, false, BY_PORT), (PORT, false), NONE),
            ((IP, false, BY_PORT), (PORT, false), NONE),
            ((IP, false, BY_PORT), (IP, false), BY_PORT),
            ((IP, false, BY_PORT), (PORT, true), BY_PORT),
            ((PORT, true, BY_PORT), (PORT, false), NONE),
        ] {
            assert_eq!(before(from, to), expected, "{from:?} to {to:?}");
        }
    }
}
