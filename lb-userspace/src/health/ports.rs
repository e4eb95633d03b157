//! The ports that probes are sent from, and the identifiers of echo requests. Pure: it is told the time.
//!
//! Each probe has one to itself, by which its packets are known. After the probe it rests for a while, so that what comes
//! late is not taken for another probe's, and our last packets still reach the backend.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use lb_common::probe::ProbeKey;

/// The first port; those below need rights, and some filters know them.
const FIRST: u16 = 1_024;
/// How long a port rests.
pub const REST: Duration = Duration::from_secs(3);

/// Ports by protocol and address.
#[derive(Debug, Default)]
pub struct Ports {
    ranges: BTreeMap<(u8, IpAddr), Range>,
    /// Those that rest, with the time until when.
    resting: VecDeque<(Duration, u8, IpAddr, u16)>,
}

#[derive(Debug)]
struct Range {
    /// The next that was never taken.
    next: Option<u16>,
    /// Those that were given back, the longest first.
    free: VecDeque<u16>,
}

impl Ports {
    /// Takes a port; `None` if all are taken.
    pub fn take(&mut self, protocol: u8, source: IpAddr) -> Option<u16> {
        let range =
            self.ranges.entry((protocol, source)).or_insert_with(|| Range { next: Some(FIRST), free: VecDeque::new() });
        match range.next {
            Some(port) => {
                range.next = port.checked_add(1);
                Some(port)
            }
            None => range.free.pop_front(),
        }
    }

    /// Gives a port back: it rests from now on.
    pub fn give_back(&mut self, protocol: u8, source: IpAddr, port: u16, now: Duration) {
        self.resting.push_back((now + REST, protocol, source, port));
    }

    /// The probes whose ports have rested, by their keys. Their ports can be taken again.
    pub fn rested(&mut self, now: Duration) -> Vec<ProbeKey> {
        let mut keys = Vec::new();
        while let Some((_, protocol, source, port)) = self.resting.pop_front_if(|(until, ..)| *until <= now) {
            if let Some(range) = self.ranges.get_mut(&(protocol, source)) {
                range.free.push_back(port);
            }
            keys.push(key(protocol, source, port));
        }
        keys
    }
}

/// The key of a probe.
#[must_use]
pub fn key(protocol: u8, source: IpAddr, port: u16) -> ProbeKey {
    ProbeKey::new(source.into(), lb_common::address::Port::from_host(port), protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn a_port_is_one_probes_own_until_it_has_rested() {
        let mut ports = Ports::default();
        let all: Vec<_> = std::iter::from_fn(|| ports.take(6, SOURCE)).collect();
        assert_eq!(all.len(), 65_536 - 1_024);
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "each once");
        assert!(ports.take(17, SOURCE).is_some(), "another protocol has its own");
        ports.give_back(6, SOURCE, 2_000, Duration::ZERO);
        ports.give_back(6, SOURCE, 1_500, Duration::from_secs(1));
        assert!(ports.rested(REST - Duration::from_millis(1)).is_empty());
        assert_eq!(ports.take(6, SOURCE), None);
        assert_eq!(ports.rested(REST), [key(6, SOURCE, 2_000)]);
        assert_eq!((ports.take(6, SOURCE), ports.take(6, SOURCE)), (Some(2_000), None));
    }
}
