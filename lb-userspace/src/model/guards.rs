//! What a listener's limits are.

use lb_common::limits::MAX_ESTABLISHED_PINS;
use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// How fast each source may begin flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRate {
    /// New flows a second, 1 to [`SourceRate::MOST`].
    pub rate: u32,
    /// New flows at once, 1 to [`SourceRate::MOST`].
    pub burst: u32,
    /// Leading bits of an IPv6 client's address that are one source, 1 to 128.
    #[serde(default = "site")]
    pub ipv6_prefix: u8,
    /// Leading bits of an IPv4 client's address that are one source, 1 to 32.
    #[serde(default = "host")]
    pub ipv4_prefix: u8,
}

/// A /64 is what one host or site has at least (RFC 6177), and what it can take addresses of at will.
const fn site() -> u8 {
    64
}

const fn host() -> u8 {
    32
}

impl SourceRate {
    /// The highest rate and burst.
    pub const MOST: u32 = 1_000_000;

    /// A limit for single IPv4 addresses and /64 networks of IPv6.
    #[must_use]
    pub const fn new(rate: u32, burst: u32) -> Self {
        Self { rate, burst, ipv6_prefix: site(), ipv4_prefix: host() }
    }

    /// Nanoseconds in which one more flow may begin.
    #[must_use]
    pub fn interval(&self) -> u32 {
        1_000_000_000 / self.rate.max(1)
    }

    /// Checks the ranges.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let most = Self::MOST;
        for (what, value) in [("rate", self.rate), ("burst", self.burst)] {
            if !(1..=most).contains(&value) {
                return Err(Fault::invalid(format!("the {what} of new flows cannot be {value}; give 1 to {most}")));
            }
        }
        for (family, prefix, most) in [("IPv6", self.ipv6_prefix, 128), ("IPv4", self.ipv4_prefix, 32)] {
            if !(1..=most).contains(&prefix) {
                return Err(Fault::invalid(format!(
                    "a source of {family} cannot be the leading {prefix} bits of an address; give 1 to {most}"
                )));
            }
        }
        Ok(())
    }
}

/// Checks how many flows there may be at once.
pub(super) fn check_max_flows(flows: u32) -> Result<(), Fault> {
    match (1..=MAX_ESTABLISHED_PINS).contains(&flows) {
        true => Ok(()),
        false => Err(Fault::invalid(format!(
            "a listener cannot be limited to {flows} flows; give 1 to {MAX_ESTABLISHED_PINS}, or no limit"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_checked() {
        assert_eq!(SourceRate::new(1, 1).check(), Ok(()));
        assert_eq!(SourceRate::new(1, 1).interval(), 1_000_000_000);
        assert_eq!(SourceRate::new(SourceRate::MOST, 1).interval(), 1_000);
        for rate in [
            SourceRate::new(0, 1),
            SourceRate::new(1, 0),
            SourceRate::new(1_000_001, 1),
            SourceRate { ipv4_prefix: 33, ..SourceRate::new(1, 1) },
            SourceRate { ipv6_prefix: 0, ..SourceRate::new(1, 1) },
        ] {
            assert!(rate.check().is_err(), "{rate:?}");
        }
        assert!(check_max_flows(0).is_err() && check_max_flows(1_048_577).is_err() && check_max_flows(5).is_ok());
    }
}
